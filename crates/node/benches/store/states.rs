//! What it costs to keep a state of 1 GiB in chunks of 4 KiB, whole and with a hundredth of it changed, and to open it again;
//! beside a file of as many bytes that is written and read by hand.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use smr_crypto::merkle;
use smr_node::store::files::Files;
use smr_store::{CheckpointWriter, ChunkName, Chunks, Store, StoreConfig};

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 4096;

/// Chunks of the state.
const CHUNKS: usize = 1 << 18;

/// Chunks that change between one checkpoint and the next: a hundredth.
const CHANGES: usize = CHUNKS / 100;

/// Checkpoints, so many that files are left behind in both chains.
const CHECKPOINTS: u64 = 160;

/// Bytes after which what is written by hand is synced, as the store does.
const SYNC_EVERY_CHUNKS: usize = (16 << 20) / CHUNK_BYTES;

/// Where chance begins.
const SEED: u64 = 0x5a17_5a17;

pub(crate) fn measure(directory: &Path) {
    let mut state = State::new();
    let by_hand = directory.join("state by hand");
    let (written, ()) = timed(|| write_by_hand(&by_hand, &state));
    let (read, ()) = timed(|| read_by_hand(&by_hand));
    fs::remove_file(&by_hand).unwrap();
    println!("by hand: written and synced {}, read {}", speed(written), speed(read));

    let path = directory.join("states");
    let (store, _) = open(&path);
    let mut writer = store.checkpoint_writer(Files::clone(store.disk()));
    for slot in 1..=2 {
        let before = resident_peak_from_now();
        let (took, bytes) = timed(|| keep(&mut writer, slot, &state));
        let more = resident_peak().saturating_sub(before);
        println!(
            "state {slot}, whole: {}, {:.2} of by hand; {} MiB written; {} bytes of memory a chunk",
            speed(took),
            written.as_secs_f64() / took.as_secs_f64(),
            bytes >> 20,
            more / CHUNKS,
        );
        state.change();
    }
    let (mut times, mut sizes, mut mores, mut on_disk) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for slot in 3..=CHECKPOINTS {
        let before = resident_peak_from_now();
        let (took, bytes) = timed(|| keep(&mut writer, slot, &state));
        mores.push(resident_peak().saturating_sub(before) / CHUNKS);
        times.push(took);
        sizes.push(bytes);
        on_disk.push(bytes_in(&path));
        state.change();
    }
    let whole = (CHUNKS * CHUNK_BYTES) as f64;
    let total = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
    let most_on_disk = *on_disk.iter().max().unwrap() as f64;
    let (middle, longest) = (median(&mut times), times[times.len() - 1]);
    println!(
        "states 3 to {CHECKPOINTS}, 1/100 changed each: median {:.0} ms, longest {:.0} ms; {:.4} of the state written at first, median {:.4}, mean {:.4}, most {:.4}",
        middle.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
        sizes[0] as f64 / whole,
        median(&mut sizes.clone()) as f64 / whole,
        total / whole,
        *sizes.iter().max().unwrap() as f64 / whole,
    );
    println!(
        "  a median one takes {:.3} of a whole one by hand; {} bytes of memory a chunk at most; {:.2} times the two states on disk at most",
        middle.as_secs_f64() / written.as_secs_f64(),
        mores.iter().max().unwrap(),
        most_on_disk / (2.0 * whole),
    );
    drop((writer, store));
    let (took, (store, found)) = timed(|| open(&path));
    assert_eq!((found.checkpoints.len(), found.skipped.len()), (2, 0));
    println!(
        "opened, both verified: {:.0} ms, {:.2} of two read by hand",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() / (2.0 * read.as_secs_f64())
    );
    let newest = &found.checkpoints[0];
    let (took, ()) =
        timed(|| (0..newest.chunks()).for_each(|index| drop(newest.chunk(store.disk(), index).unwrap())));
    println!("its chunks one by one: {}", speed(took));
}

/// A state in memory.
struct State {
    bytes: Vec<u8>,
    names: Vec<ChunkName>,
    chance: u64,
}

impl State {
    fn new() -> State {
        let mut state =
            State { bytes: vec![0; CHUNKS * CHUNK_BYTES], names: vec![[0; 32]; CHUNKS], chance: SEED };
        (0..CHUNKS).for_each(|index| state.fill(index));
        state
    }

    /// Changes chunks anywhere: the worst for tables, which are short where neighbours stay together.
    fn change(&mut self) {
        for _ in 0..CHANGES {
            let index = usize::try_from(self.draw() >> 33).unwrap() % CHUNKS;
            self.fill(index);
        }
    }

    fn fill(&mut self, index: usize) {
        let drawn = self.draw();
        let chunk = &mut self.bytes[index * CHUNK_BYTES..][..CHUNK_BYTES];
        chunk.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&drawn.to_le_bytes()));
        self.names[index] = merkle::leaf(chunk).0;
    }

    fn draw(&mut self) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.chance
    }
}

impl Chunks for State {
    fn count(&self) -> usize {
        CHUNKS
    }

    fn name(&self, index: usize) -> ChunkName {
        self.names[index]
    }

    fn bytes(&self, index: usize) -> &[u8] {
        &self.bytes[index * CHUNK_BYTES..][..CHUNK_BYTES]
    }
}

fn keep(writer: &mut CheckpointWriter<Files>, slot: u64, state: &State) -> u64 {
    let kept = writer.keep(slot, b"header", state).unwrap();
    assert_eq!(kept.mended, None);
    kept.written_bytes
}

fn open(path: &Path) -> (Store<Files>, smr_store::Found) {
    Store::open(Files::open(path).unwrap(), StoreConfig::with_salt(SEED), &[1; 32]).unwrap()
}

fn write_by_hand(path: &Path, state: &State) {
    let mut file = File::create(path).unwrap();
    for part in state.bytes.chunks(SYNC_EVERY_CHUNKS * CHUNK_BYTES) {
        part.chunks(1 << 20).for_each(|block| file.write_all(block).unwrap());
        file.sync_data().unwrap();
    }
}

fn read_by_hand(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut block = vec![0; 1 << 20];
    while file.read(&mut block).unwrap() > 0 {}
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn speed(took: Duration) -> String {
    let mib = ((CHUNKS * CHUNK_BYTES) >> 20) as f64;
    format!("{:.0} ms ({:.0} MiB/s)", took.as_secs_f64() * 1e3, mib / took.as_secs_f64())
}

fn median<T: Copy + Ord>(of: &mut [T]) -> T {
    of.sort_unstable();
    of[of.len() / 2]
}

/// Bytes of checkpoints.
fn bytes_in(path: &Path) -> u64 {
    let files = fs::read_dir(path).unwrap().map(Result::unwrap);
    let of_states = files.filter(|file| file.file_name().to_str().unwrap().starts_with('c'));
    of_states.map(|file| file.metadata().unwrap().len()).sum()
}

/// Bytes of memory in use; the highest is counted from now on.
fn resident_peak_from_now() -> usize {
    // What this means stands in proc(5): the peak is forgotten.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    resident_peak()
}

/// The highest number of bytes of memory in use.
fn resident_peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
