//! What a durable record costs: appended and synced by hand, by the store, and through its threads, for groups of records;
//! and what states cost, the first one and those of which a part has changed.
//!
//! `cargo bench -p smr-node --bench store [-- DIRECTORY] [records|states]`; the directory says which disk, and is the system's
//! temporary one if none is given.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends, as a test does")]

#[path = "store/states.rs"]
mod states;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use smr_node::store::files::Files;
use smr_node::store::writer::{Report, Writer};
use smr_store::{ChunkName, Chunks, Found, Store, StoreConfig};

/// Bytes of a record.
const RECORD: &[u8] = &[0x5a; 1000];

/// Rounds of each way in turn, so that other work of the machine meets all of them alike.
const ROUNDS: usize = 9;

/// How long a round is.
const ROUND: Duration = Duration::from_millis(300);

/// Records of a group.
const GROUPS: [u64; 3] = [1, 16, 256];

/// Chunks of a checkpoint that is written beside the log.
const CHECKPOINT_CHUNKS: usize = 256;

/// Each of them.
const CHUNK: &[u8] = &[0x5a; 1 << 20];

/// Slots after which the log is pruned, as in a service with checkpoints.
const PRUNE_EVERY_SLOTS: u64 = 32_768;

/// Slots after which segments are recycled and none is filled with zeros any more.
const WARM_UP_SLOTS: u64 = 6 * PRUNE_EVERY_SLOTS;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_part = |word: &&String| ["records", "states"].contains(&word.as_str());
    let part = words.iter().find(is_part).map(String::as_str);
    let given = words.iter().find(|word| !is_part(word));
    let directory = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("smrcloud-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    if part != Some("states") {
        records(&directory);
    }
    if part != Some("records") {
        states::measure(&directory);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

fn records(directory: &Path) {
    let mut by_hand = ByHand::new(&directory.join("by-hand"));
    let mut by_store = ByStore::new(&directory.join("store"));
    let mut by_threads = ByThreads::new(&directory.join("threads"), Keeps::Nothing);
    for group in GROUPS {
        let mut ways: [Way<'_>; 3] = [
            Way::new("append + fdatasync", || by_hand.commit(group)),
            Way::new("store", || by_store.commit(group)),
            Way::new("through its threads", || by_threads.commit(group)),
        ];
        (0..ROUNDS).for_each(|_| ways.iter_mut().for_each(Way::round));
        ways.iter().for_each(|way| way.show(group));
    }
    by_threads.writer.stop();
    // By itself: what it writes beside the log would meet the others in their rounds.
    let mut beside = ByThreads::new(&directory.join("beside"), Keeps::Checkpoints);
    for group in GROUPS {
        let mut way = Way::new("the same, keeping states", || beside.commit(group));
        (0..ROUNDS).for_each(|_| way.round());
        way.show(group);
    }
    beside.writer.stop();
    by_store.store.close().unwrap();
    let began = Instant::now();
    let (store, found) = open(&directory.join("store"));
    let (records, segments) = (found.records.len(), store.segments());
    println!(
        "opened: {records} records in {segments} segments, {:.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
}

/// A way to make records durable.
struct Way<'a> {
    name: &'static str,
    commit: Box<dyn FnMut() + 'a>,
    /// How long each group took.
    times: Vec<Duration>,
    /// Groups a second, of each round.
    rates: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, commit: impl FnMut() + 'a) -> Way<'a> {
        Way { name, commit: Box::new(commit), times: Vec::new(), rates: Vec::new() }
    }

    fn round(&mut self) {
        let (began, before) = (Instant::now(), self.times.len());
        while began.elapsed() < ROUND {
            let one = Instant::now();
            (self.commit)();
            self.times.push(one.elapsed());
        }
        self.rates.push((self.times.len() - before) as f64 / began.elapsed().as_secs_f64());
    }

    fn show(&self, group: u64) {
        let (mut times, mut rates) = (self.times.clone(), self.rates.clone());
        times.sort_unstable();
        rates.sort_unstable_by(f64::total_cmp);
        let us = |at: usize| times[at].as_secs_f64() * 1e6;
        let (best, middle) = (rates[ROUNDS - 1] * group as f64, rates[ROUNDS / 2] * group as f64);
        let (median, high) = (us(times.len() / 2), us(times.len() * 99 / 100));
        println!(
            "{:<24} n = {group:>3}: best {best:>9.0} records/s, median {middle:>9.0}; p50 {median:>6.0} us, p99 {high:>6.0} us",
            self.name
        );
    }
}

struct ByHand(File);

impl ByHand {
    fn new(path: &Path) -> ByHand {
        ByHand(OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    fn commit(&mut self, group: u64) {
        self.0.write_all(&RECORD.repeat(usize::try_from(group).unwrap())).unwrap();
        self.0.sync_data().unwrap();
    }
}

fn open(path: &Path) -> (Store<Files>, Found) {
    Store::open(Files::open(path).unwrap(), StoreConfig::with_salt(0x5a17), &[1; 32]).unwrap()
}

/// The slot up to which records go, where it is time for it.
fn prune_at(slot: u64, group: u64) -> Option<u64> {
    (slot % PRUNE_EVERY_SLOTS < group).then(|| slot.saturating_sub(PRUNE_EVERY_SLOTS))
}

struct ByStore {
    store: Store<Files>,
    slot: u64,
}

impl ByStore {
    fn new(path: &Path) -> ByStore {
        let (store, _) = open(path);
        // Without one, a log that was pruned does not open.
        let mut checkpoints = store.checkpoint_writer(store.disk().clone());
        checkpoints.keep(u64::MAX, b"", &vec![([0; 32], b"")]).unwrap();
        let mut way = ByStore { store, slot: 0 };
        while way.slot < WARM_UP_SLOTS {
            way.commit(1024);
        }
        way
    }

    fn commit(&mut self, group: u64) {
        for _ in 0..group {
            self.slot += 1;
            self.store.append(self.slot, RECORD).unwrap();
        }
        self.store.sync().unwrap();
        if let Some(slot) = prune_at(self.slot, group) {
            self.store.prune(slot, &[RECORD]).unwrap();
        }
    }
}

/// What is written beside the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    /// One after the other, so that there is always one under way.
    Checkpoints,
}

/// A state of which nothing was there before.
struct AllNew {
    slot: u64,
}

impl Chunks for AllNew {
    fn count(&self) -> usize {
        CHECKPOINT_CHUNKS
    }

    fn name(&self, index: usize) -> ChunkName {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&self.slot.to_le_bytes());
        name[8..16].copy_from_slice(&(index as u64).to_le_bytes());
        name
    }

    fn bytes(&self, _index: usize) -> &[u8] {
        CHUNK
    }
}

struct ByThreads {
    writer: Writer,
    keeps: Keeps,
    /// Whether a checkpoint is being written.
    under_way: Arc<AtomicBool>,
    durable: Receiver<u64>,
    slot: u64,
}

impl ByThreads {
    fn new(path: &Path, keeps: Keeps) -> ByThreads {
        let (store, _) = open(path);
        let disk = store.disk().clone();
        let (send, durable) = channel();
        let under_way = Arc::new(AtomicBool::new(false));
        let ends = under_way.clone();
        let tell = Arc::new(move |report| match report {
            Report::Durable(ticket) => drop(send.send(ticket)),
            Report::Failed(error) => panic!("{error}"),
            Report::Kept(_) | Report::NotKept { .. } => ends.store(false, Ordering::Relaxed),
            Report::Pruned(_) => {}
        });
        let writer = Writer::start(store, disk, tell).unwrap();
        let mut way = ByThreads { writer, keeps, under_way, durable, slot: 0 };
        while way.slot < WARM_UP_SLOTS {
            way.commit(1024);
        }
        way
    }

    fn commit(&mut self, group: u64) {
        if self.keeps == Keeps::Checkpoints && !self.under_way.swap(true, Ordering::Relaxed) {
            self.writer.keep(self.slot, Vec::new(), Box::new(AllNew { slot: self.slot }));
        }
        let mut last = 0;
        for _ in 0..group {
            self.slot += 1;
            last = self.writer.append(self.slot, RECORD.to_vec());
        }
        while self.durable.recv().unwrap() < last {}
        if let Some(slot) = prune_at(self.slot, group) {
            self.writer.prune(slot, vec![RECORD.to_vec()]);
        }
    }
}
