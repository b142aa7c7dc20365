//! How long a checkpoint of a gigabyte stops the commands, and what it costs those that run meanwhile: `quiescent`
//! beside `rolling`.
//!
//! `cargo bench -p smr-app --bench checkpoints`; a number after `--` is another size in megabytes. Two workers execute
//! puts of random keys; a third thread makes the chunks of a rolling cut. The pause is the longest time between two
//! slots that were executed one after the other, from the checkpoint on, of which the host stood still from the last slot
//! before the checkpoint to its report; the dip is the least throughput in
//! [`WINDOW_MS`] from then on, beside the median of those before.

#[path = "common/chance.rs"]
mod chance;
#[path = "common/service.rs"]
mod service;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use chance::{Draws, now};
use service::{COMMANDS, Service};
use smr_app::builtin::kv::{Kv, Limits};
use smr_app::state::{Chunk, Cut, Taken};
use smr_app::{HostEvent, Strategy};
use smr_wire::Slot;

/// Bytes of a value.
const VALUE: usize = 184;

/// Bytes of a key.
const KEY: usize = 16;

/// Throughput is counted in stretches of this length.
const WINDOW_MS: u64 = 50;

/// Slots between two checkpoints.
const SLOTS: u64 = 12_000;

/// Checkpoints of each strategy.
const CHECKPOINTS: u64 = 4;

fn put(key: u64, number: u64) -> Vec<u8> {
    format!("put user{key:0width$} {number:0VALUE$}", width = KEY - 4).into_bytes()
}

/// What became of a checkpoint.
struct Seen {
    begun: Instant,
    ended: Instant,
    /// From the last slot before it to its report.
    still: Duration,
    chunks: usize,
    changed: usize,
}

/// Makes chunks of cuts on a thread of its own and gives back the last ones; what is kept is a checkpoint.
fn chunker() -> (Sender<Cut>, Receiver<(Instant, Vec<Chunk>)>) {
    let (cuts, taken) = channel::<Cut>();
    let (made, chunks) = channel();
    thread::Builder::new()
        .spawn(move || {
            for cut in taken {
                let chunks = cut.chunks().expect("memory is sound");
                let _ = made.send((now(), chunks));
            }
        })
        .expect("the system has threads");
    (cuts, chunks)
}

fn changed(before: &[Chunk], after: &[Chunk]) -> usize {
    let before: std::collections::BTreeSet<_> = before.iter().map(Chunk::digest).collect();
    after.iter().filter(|chunk| !before.contains(&chunk.digest())).count()
}

/// Executes slots with a checkpoint in the middle.
fn measure(service: &mut Service, keys: u64, strategy: Option<Strategy>, seed: u64, last: &mut Vec<Chunk>) {
    let mut draws = Draws::new(seed);
    let (cuts, made) = chunker();
    let mut executed: Vec<Instant> = Vec::new();
    let (mut begun, mut quiet, mut still) = (None, None, Duration::ZERO);
    service.run(
        SLOTS,
        || put(draws.below(keys), draws.below(1000)),
        |service, count, at, event| match event {
            HostEvent::Executed { .. } => {
                executed.push(at);
                if count == SLOTS / 3
                    && let Some(strategy) = strategy
                {
                    begun = Some(now());
                    service.host.checkpoint(Slot(service.given), strategy).expect("the line has room");
                }
            }
            HostEvent::Checkpointed { state: Taken::Chunks(chunks), .. } => {
                still = at - *executed.last().expect("some");
                quiet = Some((at, chunks));
            }
            HostEvent::Checkpointed { state: Taken::Cut(cut), .. } => {
                still = at - *executed.last().expect("some");
                cuts.send(cut).expect("it lives");
            }
            other => panic!("{other:?}"),
        },
    );
    drop(cuts);
    let seen = begun.map(|begun| {
        let (ended, chunks) = quiet.unwrap_or_else(|| made.recv().expect("the chunks are made"));
        let seen = Seen { begun, ended, still, chunks: chunks.len(), changed: changed(last, &chunks) };
        *last = chunks;
        seen
    });
    report(strategy, &executed, seen.as_ref());
}

fn report(strategy: Option<Strategy>, executed: &[Instant], seen: Option<&Seen>) {
    let begun = seen.map_or(executed[executed.len() / 3], |seen| seen.begun);
    let gap = |pair: &[Instant]| pair[1] - pair[0];
    let longest = |all: &[Instant]| all.windows(2).map(gap).max().unwrap_or_default();
    let middle = executed.partition_point(|at| *at < begun);
    let (before, after) = executed.split_at(middle.saturating_sub(1));
    let rates = |all: &[Instant]| {
        let mut rates = Vec::new();
        let mut first = 0;
        for (index, at) in all.iter().enumerate() {
            let took = *at - all[first];
            if took >= Duration::from_millis(WINDOW_MS) {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                rates.push((((index - first) as u64 * COMMANDS) as f64) / took.as_secs_f64());
                first = index;
            }
        }
        rates.sort_by(f64::total_cmp);
        rates
    };
    let (usual, then) = (rates(before), rates(after));
    let median = |rates: &[f64]| rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN);
    let name = strategy.map_or("none".to_owned(), |strategy| format!("{strategy:?}"));
    print!(
        "{name:>10}: longest gap before {:6.1} ms, from then on {:7.1} ms; median/s {:7.0} before, {:7.0} after, least {:7.0}",
        longest(before).as_secs_f64() * 1e3,
        longest(after).as_secs_f64() * 1e3,
        median(&usual),
        median(&then),
        then.first().copied().unwrap_or(f64::NAN),
    );
    match seen {
        None => println!(),
        Some(seen) => println!(
            "; stood still {:.3} ms, {} of {} chunks new, made in {:.0} ms",
            seen.still.as_secs_f64() * 1e3,
            seen.changed,
            seen.chunks,
            (seen.ended - seen.begun).as_secs_f64() * 1e3
        ),
    }
}

fn main() {
    let megabytes = std::env::args().find_map(|argument| argument.parse::<u64>().ok()).unwrap_or(1024);
    let keys = (megabytes << 20) / (KEY + VALUE) as u64;
    let limits = Limits { store_bytes_max: 8 << 30, ..Limits::default() };
    let mut service = Service::new(Kv::new(limits), 2);
    let mut key = 0..;
    let begin = now();
    service.run(
        keys.div_ceil(COMMANDS),
        || put(key.next().expect("endless").min(keys - 1), 0),
        |_, _, _, _| {},
    );
    println!(
        "{keys} keys of {KEY} and values of {VALUE} bytes, put in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    let mut last = Vec::new();
    measure(&mut service, keys, None, 0, &mut last);
    for seed in 1..=CHECKPOINTS {
        for strategy in [Strategy::Quiescent, Strategy::Rolling] {
            measure(&mut service, keys, Some(strategy), seed, &mut last);
        }
    }
}
