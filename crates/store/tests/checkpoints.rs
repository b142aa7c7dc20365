//! Checkpoints over many lives of a state that changes in part: what is written, what is shared, what is mended.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use smr_store::{CheckpointWriter, ChunkName, Disk as _, Found, Kept, Store, StoreConfig};

use common::Memory;

const OWNER: [u8; 32] = [7; 32];

/// Bytes of a chunk here.
const CHUNK_BYTES: usize = 1000;

type State = Vec<(ChunkName, Vec<u8>)>;

fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 8 << 10,
        record_bytes_max: 1000,
        chunk_bytes_max: 4 << 20,
        chunk_file_bytes: 20_000,
        chunk_files_max: 64,
        ..StoreConfig::with_salt(0x5a17)
    }
}

/// A chunk of which no other has the name.
fn chunk(number: u64) -> (ChunkName, Vec<u8>) {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&number.to_le_bytes());
    (name, number.to_le_bytes().repeat(CHUNK_BYTES / 8))
}

fn state(numbers: impl IntoIterator<Item = u64>) -> State {
    numbers.into_iter().map(chunk).collect()
}

fn open(disk: &Memory) -> (CheckpointWriter<Memory>, Found) {
    let (store, found) = Store::open(disk.clone(), config(), &OWNER).unwrap();
    (store.checkpoint_writer(disk.clone()), found)
}

/// A writer of an empty disk.
fn begin() -> (Memory, CheckpointWriter<Memory>) {
    let disk = Memory::default();
    let (writer, _) = open(&disk);
    (disk, writer)
}

fn keep(writer: &mut CheckpointWriter<Memory>, slot: u64, state: &State) -> Kept {
    let kept = writer.keep(slot, &slot.to_le_bytes(), state).unwrap();
    assert_eq!(kept.mended, None);
    kept
}

fn names(disk: &Memory, prefix: &str) -> Vec<String> {
    disk.0.borrow().keys().filter(|name| name.starts_with(prefix)).cloned().collect()
}

/// Damages the middle of a file.
fn damage(disk: &Memory, name: &str) {
    let mut files = disk.0.borrow_mut();
    let file = files.get_mut(name).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 1;
}

fn assert_is(found: &Found, disk: &Memory, at: usize, slot: u64, state: &State) {
    let kept = &found.checkpoints[at];
    assert_eq!((kept.slot, kept.header.as_slice()), (slot, &slot.to_le_bytes()[..]));
    let read: Vec<Vec<u8>> = (0..kept.chunks()).map(|index| kept.chunk(disk, index).unwrap()).collect();
    assert!(read.iter().eq(state.iter().map(|(_, bytes)| bytes)), "the state of slot {slot} is another one");
}

/// Every file of chunks in turn costs one checkpoint and leaves the other.
fn assert_share_nothing(disk: &Memory, newest: (u64, &State), before: (u64, &State)) {
    let image = disk.0.borrow().clone();
    for name in names(disk, "ck-") {
        disk.0.borrow_mut().get_mut(&name).unwrap().truncate(600);
        let (_, found) = open(disk);
        assert_eq!((found.checkpoints.len(), found.skipped.len()), (1, 1), "without {name}");
        let (slot, state) = if found.checkpoints[0].slot == newest.0 { newest } else { before };
        assert_is(&found, disk, 0, slot, state);
        disk.0.replace(image.clone());
    }
}

#[test]
fn a_checkpoint_costs_what_is_new_since_the_one_before_the_last() {
    let (disk, mut writer) = begin();
    let bytes = |chunks: u64| chunks * CHUNK_BYTES as u64;
    assert_eq!(keep(&mut writer, 1, &state(0..100)).written_bytes, bytes(100));
    assert_eq!(
        keep(&mut writer, 2, &state(0..100)).written_bytes,
        bytes(100),
        "the other chain has none of it"
    );
    let moved = state((50..100).chain(0..50));
    assert_eq!(keep(&mut writer, 3, &moved).written_bytes, 0);
    let grown = state((0..100).chain([100, 100, 101]));
    assert_eq!(keep(&mut writer, 4, &grown).written_bytes, bytes(2), "twice the same is the same");
    let back = state((0..99).chain([101]));
    assert_eq!(keep(&mut writer, 5, &back).written_bytes, bytes(1));
    assert_eq!(keep(&mut writer, 6, &grown).written_bytes, 0);
    let (mut writer, found) = open(&disk);
    assert_is(&found, &disk, 0, 6, &grown);
    assert_is(&found, &disk, 1, 5, &back);
    assert_eq!(keep(&mut writer, 7, &grown).written_bytes, bytes(2), "another life builds on it as well");
}

#[test]
fn those_that_are_kept_share_no_file() {
    let (disk, mut writer) = begin();
    let at = |slot: u64| state((slot..80).chain(1000..1000 + slot));
    for slot in 1..=20 {
        keep(&mut writer, slot, &at(slot));
        if slot > 1 {
            assert_share_nothing(&disk, (slot, &at(slot)), (slot - 1, &at(slot - 1)));
        }
    }
}

#[test]
fn the_same_slot_again_takes_the_place_of_the_first() {
    let (disk, mut writer) = begin();
    keep(&mut writer, 1, &state(0..50));
    keep(&mut writer, 2, &state(0..50));
    let again = state(1..51);
    assert_eq!(keep(&mut writer, 2, &again).written_bytes, CHUNK_BYTES as u64);
    assert_share_nothing(&disk, (2, &again), (1, &state(0..50)));
    assert_eq!(keep(&mut writer, 3, &again).written_bytes, CHUNK_BYTES as u64, "on the first");
    assert_share_nothing(&disk, (3, &again), (2, &again));
}

#[test]
fn however_long_a_state_changes_its_files_are_bounded_and_so_is_what_is_written() {
    let (disk, mut writer) = begin();
    let mut numbers: Vec<u64> = (0..500).collect();
    let (mut drawn, mut written, mut changed) = (1_u64, 0, 0);
    for slot in 1..=600 {
        // From a chunk now and then up to a tenth, as seasons go.
        for _ in 0..[0, 1, 5, 50][usize::try_from(slot / 50 % 4).unwrap()] {
            drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(drawn >> 33).unwrap() % numbers.len();
            (numbers[at], changed) = (1000 + drawn, changed + CHUNK_BYTES as u64);
        }
        let kept = keep(&mut writer, slot, &state(numbers.iter().copied()));
        // The first of each chain is whole.
        written += if slot > 2 { kept.written_bytes } else { 0 };
        let files = disk.list().unwrap().into_iter().filter(|file| file.name.starts_with("ck-"));
        let bytes: Vec<u64> = files.map(|file| file.bytes - 512).collect();
        let chains = slot.min(2) * numbers.len() as u64 * (CHUNK_BYTES as u64 + 40);
        assert!(bytes.iter().sum::<u64>() <= 2 * chains, "slot {slot}: {bytes:?}");
        assert!(bytes.len() <= 2 * config().chunk_files_max, "slot {slot}: {} files", bytes.len());
    }
    println!("{:.2} times what changed was written", written as f64 / changed as f64);
    // Each change is written in both chains, and what lives of the files that are left behind once more.
    assert!(written > changed && written < 4 * changed, "{written} bytes for {changed}");
    let (_, found) = open(&disk);
    assert_is(&found, &disk, 0, 600, &state(numbers));
}

#[test]
fn what_rots_while_nobody_starts_is_found_and_written_anew() {
    let (disk, mut writer) = begin();
    let mut slot = 0;
    let mut next = |writer: &mut CheckpointWriter<Memory>| {
        slot += 1;
        let state = state((0..60).map(|number| if number == slot % 60 { 1000 + slot } else { number }));
        (slot, writer.keep(slot, &slot.to_le_bytes(), &state).unwrap(), state)
    };
    for _ in 0..8 {
        next(&mut writer);
    }
    for _ in 0..20 {
        let rotten = names(&disk, "ck-").remove(0);
        damage(&disk, &rotten);
        // Two rounds over the files of its chain, of which there are two, while each checkpoint adds one.
        let mut rounds = 4 * names(&disk, "ck-").len();
        while names(&disk, "ck-").contains(&rotten) {
            let (_, kept, _) = next(&mut writer);
            let told = kept.mended.is_none_or(|damage| damage.file == rotten);
            assert!(told && rounds > 0, "{rotten} is still there");
            rounds -= 1;
        }
    }
    let (slot, kept, state) = next(&mut writer);
    assert_eq!(kept.mended, None);
    let (_, found) = open(&disk);
    assert_eq!(found.skipped, []);
    assert_is(&found, &disk, 0, slot, &state);
}

#[test]
fn a_chunk_that_was_not_needed_any_more_is_not_believed_when_it_comes_back() {
    let (disk, mut writer) = begin();
    keep(&mut writer, 1, &state(0..50));
    for slot in 2..=4 {
        keep(&mut writer, slot, &state((0..50).filter(|number| *number != 7)));
    }
    let (_, dead) = chunk(7);
    for name in names(&disk, "ck-") {
        let mut files = disk.0.borrow_mut();
        let file = files.get_mut(&name).unwrap();
        let at = file.windows(dead.len()).position(|bytes| bytes == dead);
        at.into_iter().for_each(|at| file[at] ^= 1);
    }
    let (mut writer, found) = open(&disk);
    assert_eq!(found.skipped, [], "nothing needs it");
    let again = state(0..50);
    writer.keep(5, &5_u64.to_le_bytes(), &again).unwrap();
    let (_, found) = open(&disk);
    assert_eq!(found.skipped, []);
    assert_is(&found, &disk, 0, 5, &again);
}

#[test]
fn on_a_damaged_table_nothing_is_built() {
    let (disk, mut writer) = begin();
    let whole = state(0..50);
    keep(&mut writer, 1, &whole);
    keep(&mut writer, 2, &whole);
    let [first, _] = &names(&disk, "cp-")[..] else { panic!("two tables") };
    damage(&disk, first);
    let kept = writer.keep(3, &3_u64.to_le_bytes(), &whole).unwrap();
    assert_eq!((kept.written_bytes, kept.mended.unwrap().file), (50 * CHUNK_BYTES as u64, first.clone()));
    let (_, found) = open(&disk);
    assert_is(&found, &disk, 0, 3, &whole);
    assert_is(&found, &disk, 1, 2, &whole);
}

#[test]
fn after_a_damaged_one_was_skipped_the_next_shares_nothing_with_the_one_that_is_left() {
    let (disk, mut writer) = begin();
    keep(&mut writer, 1, &state(0..50));
    keep(&mut writer, 2, &state(1..51));
    damage(&disk, &names(&disk, "cp-")[1]);
    let (mut writer, found) = open(&disk);
    assert_eq!((found.checkpoints.len(), found.skipped.len()), (1, 1));
    let next = state(2..52);
    assert_eq!(keep(&mut writer, 3, &next).written_bytes, 50 * CHUNK_BYTES as u64);
    assert_share_nothing(&disk, (3, &next), (1, &state(0..50)));
}

#[test]
fn chunks_of_any_size_are_read_as_they_were() {
    let (disk, mut writer) = begin();
    let sizes = [0, 1, 3 << 20, 5, 1 << 20, (1 << 20) - 1, 0, 4 << 20];
    let any = |first: u8| -> State {
        let sized = |number: u8| vec![number; sizes[usize::from(number) % sizes.len()]];
        (first..).take(sizes.len()).map(|number| ([number; 32], sized(number))).collect()
    };
    keep(&mut writer, 1, &State::new());
    keep(&mut writer, 2, &any(0));
    keep(&mut writer, 3, &any(1));
    keep(&mut writer, 4, &any(2));
    let (_, found) = open(&disk);
    assert_is(&found, &disk, 0, 4, &any(2));
    assert_is(&found, &disk, 1, 3, &any(1));
}
