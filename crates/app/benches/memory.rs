//! Memory and time for ten million small entries: a table, beside a `BTreeMap` behind one lock.
//!
//! `cargo bench -p smr-app --bench memory`; a number after `--` is another count of entries. Each is filled in a process
//! of its own, in an order that is not the order of keys; memory is what the system says that the process has.

#[path = "common/chance.rs"]
mod chance;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use chance::{Draws, now};
use smr_app::state::{State, Table};
use smr_uds::{Mutex, Scheduler, Seeded, TaskEnd, preset};

/// Key and value: 16 bytes each.
fn entry(number: u64) -> (Vec<u8>, Vec<u8>) {
    let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bytes = |of: u64| [of.to_be_bytes(), number.to_be_bytes()].concat();
    (bytes(key), bytes(!key))
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the system says");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number");
    pages * 4096
}

/// Runs a task that does something to `count` entries; nanoseconds for each.
fn run<F: Future<Output = ()> + Send + 'static>(scheduler: &Scheduler, count: u64, task: F) -> f64 {
    let ended = |end| assert!(matches!(end, TaskEnd::Done(())), "{end:?}");
    scheduler.admit(task, ended).expect("there is room");
    let begin = now();
    Seeded::new(1).run(scheduler);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = begin.elapsed().as_nanos() as f64 / count as f64;
    each
}

fn table(count: u64) {
    let mut state = State::new();
    let table: Table<Vec<u8>, [u8; 16]> = state.table("t");
    let scheduler = Scheduler::new(preset::rounds(1, u32::MAX)).expect("valid settings");
    let before = resident();
    let filled = table.clone();
    let puts = run(&scheduler, count, async move {
        for (key, value) in (0..count).map(entry) {
            filled.insert(&key, value.first_chunk().expect("16 bytes")).await;
        }
    });
    let after = resident();
    let read = table.clone();
    let gets = run(&scheduler, count, async move {
        let mut draws = Draws::new(1);
        for _ in 0..count {
            assert!(read.get(&entry(draws.below(count)).0).await.is_some());
        }
    });
    report("table", count, after - before, puts, gets);
    let begin = now();
    let cut = state.cut();
    let took = begin.elapsed();
    let begin = now();
    let chunks = cut.chunks().expect("memory is sound");
    println!(
        "  cut in {} us, {} chunks in {:.2} s, {} bytes more for each entry",
        took.as_micros(),
        chunks.len(),
        begin.elapsed().as_secs_f64(),
        (resident() - after) / count
    );
    let begin = now();
    let again = state.cut().chunks().expect("memory is sound");
    println!("  once more, unchanged: {:.3} s", begin.elapsed().as_secs_f64());
    assert_eq!(again.len(), chunks.len());
}

fn tree(count: u64) {
    let map: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>> = Arc::default();
    let scheduler = Scheduler::new(preset::rounds(1, u32::MAX)).expect("valid settings");
    let before = resident();
    let filled = map.clone();
    let puts = run(&scheduler, count, async move {
        for (key, value) in (0..count).map(entry) {
            filled.lock().await.insert(key, value);
        }
    });
    let after = resident();
    let read = map.clone();
    let gets = run(&scheduler, count, async move {
        let mut draws = Draws::new(1);
        for _ in 0..count {
            assert!(read.lock().await.get(&entry(draws.below(count)).0).cloned().is_some());
        }
    });
    report("BTreeMap", count, after - before, puts, gets);
}

fn report(what: &str, count: u64, bytes: u64, puts: f64, gets: f64) {
    println!(
        "{what:>9}: {} bytes for each of {count} entries, {puts:.0} ns to put, {gets:.0} ns to get",
        bytes / count
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(10_000_000);
    match arguments.last().map(String::as_str) {
        Some("table") => table(count),
        Some("tree") => tree(count),
        _ => {
            for what in ["table", "tree"] {
                let own = std::env::current_exe().expect("the system says");
                let status = Command::new(own).args([&count.to_string(), what]).status();
                assert!(status.expect("it starts").success(), "{what} failed");
            }
        }
    }
}
