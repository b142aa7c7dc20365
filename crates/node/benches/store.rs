//! What a durable record costs: appended and synced by hand, by the store, and through its threads, for groups of records.
//!
//! `cargo bench -p smr-node --bench store [-- DIRECTORY]`; the directory says which disk, and is the system's temporary
//! one if none is given.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends, as a test does")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use smr_node::store::files::Files;
use smr_node::store::writer::{Report, Writer};
use smr_store::{Store, StoreConfig};

/// Bytes of a record.
const RECORD: &[u8] = &[0x5a; 1000];

/// How long each case is measured.
const MEASURED: Duration = Duration::from_secs(3);

/// Records of a group.
const GROUPS: [u64; 3] = [1, 16, 256];

/// Slots after which the log is pruned, so that its segments are recycled, as in a service with checkpoints.
const PRUNE_EVERY_SLOTS: u64 = 65_536;

fn main() {
    let directory = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with('-'))
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("smrcloud-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for group in GROUPS {
        show("append + fdatasync", group, &by_hand(&directory.join("by-hand"), group));
        show("store", group, &by_store(&directory.join(format!("store-{group}")), group));
        show(
            "store, through its threads",
            group,
            &by_threads(&directory.join(format!("threads-{group}")), group),
        );
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

fn show(what: &str, group: u64, groups: &[Duration]) {
    let mut times = groups.to_vec();
    times.sort_unstable();
    let us = |at: usize| times[at].as_secs_f64() * 1e6;
    let rate = times.len() as f64 * group as f64 / times.iter().sum::<Duration>().as_secs_f64();
    let (median, high) = (us(times.len() / 2), us(times.len() * 99 / 100));
    println!("{what:<27} n = {group:>3}: {rate:>9.0} records/s, p50 {median:>6.0} us, p99 {high:>6.0} us");
}

/// How long each group took, of as many as there is time for.
fn measure(mut one: impl FnMut()) -> Vec<Duration> {
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < MEASURED {
        let before = Instant::now();
        one();
        times.push(before.elapsed());
    }
    times
}

fn by_hand(path: &Path, group: u64) -> Vec<Duration> {
    let mut file: File = OpenOptions::new().append(true).create(true).open(path).unwrap();
    let bytes = RECORD.repeat(usize::try_from(group).unwrap());
    let times = measure(|| {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    });
    std::fs::remove_file(path).unwrap();
    times
}

fn open(path: &Path) -> Store<Files> {
    let config = StoreConfig::with_salt(Instant::now().elapsed().subsec_nanos().into());
    Store::open(Files::open(path).unwrap(), config, &[1; 32]).unwrap().0
}

fn by_store(path: &Path, group: u64) -> Vec<Duration> {
    let mut store = open(path);
    let mut slot = 0;
    let times = measure(|| {
        for _ in 0..group {
            slot += 1;
            store.append(slot, RECORD).unwrap();
        }
        store.sync().unwrap();
        if slot % PRUNE_EVERY_SLOTS < group {
            store.prune(slot.saturating_sub(PRUNE_EVERY_SLOTS), &[RECORD]).unwrap();
        }
    });
    drop(store);
    std::fs::remove_dir_all(path).unwrap();
    times
}

fn by_threads(path: &Path, group: u64) -> Vec<Duration> {
    let store = open(path);
    let disk = store.disk().clone();
    let (send, durable) = channel();
    let tell = Arc::new(move |report| match report {
        Report::Durable(ticket) => drop(send.send(ticket)),
        Report::Failed(error) => panic!("{error}"),
        Report::Pruned(_) | Report::Kept(_) | Report::NotKept { .. } => {}
    });
    let mut writer = Writer::start(store, disk, tell).unwrap();
    let mut slot = 0;
    let times = measure(|| {
        let mut last = 0;
        for _ in 0..group {
            slot += 1;
            last = writer.append(slot, RECORD.to_vec());
        }
        while durable.recv().unwrap() < last {}
        if slot % PRUNE_EVERY_SLOTS < group {
            writer.prune(slot.saturating_sub(PRUNE_EVERY_SLOTS), vec![RECORD.to_vec()]);
        }
    });
    writer.stop();
    std::fs::remove_dir_all(path).unwrap();
    times
}
