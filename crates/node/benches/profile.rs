//! What deterministic multithreading gives a whole service: four replicas in this process, clients that each have
//! one command under way, and commands that compute for a while between two short critical sections. To compute is
//! to sleep here, as on replicas with a core for each worker; everything else shares the cores there are.
//!
//! `cargo bench -p smr-node --bench profile`; words behind `--` choose the lines that contain one of them.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends, as a test does")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Service, call};
use smr_app::{Application, Context, RestoreError};
use smr_client::connect::Client;
use smr_node::Applications;
use smr_replica::Scheduling;
use smr_uds::Mutex;

const ALL: &[usize] = &[0, 1, 2, 3];

/// Threads that execute commands on each replica.
const WORKERS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// How long a command computes, in ms.
const WORK_MS: u64 = 4;

const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(6);

/// Counts commands under one lock, which each takes before and after its work.
#[derive(Default)]
struct Work {
    steps: Mutex<u64>,
}

impl Application for Work {
    async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
        let ms = std::str::from_utf8(command).ok().and_then(|text| text.strip_prefix("work ")?.parse().ok());
        let Some(ms) = ms else { return b"error: work MS".to_vec() };
        *self.steps.lock().await += 1;
        std::thread::sleep(Duration::from_millis(ms));
        *self.steps.lock().await += 1;
        b"ok".to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.steps.at_rest(|steps| steps.to_le_bytes().to_vec()).expect("no command runs meanwhile")
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let bytes = snapshot.try_into().map_err(|_| RestoreError::new("a state has 8 bytes"))?;
        self.steps.at_rest(|steps| *steps = u64::from_le_bytes(bytes)).expect("no command runs meanwhile");
        Ok(())
    }
}

/// One line of the table.
struct Case {
    scheduling: Scheduling,
    clients: u8,
}

impl Case {
    fn new(preset: &str, primaries: u32, steps: u32, clients: u8) -> Case {
        Case { scheduling: Scheduling { preset: preset.to_owned(), primaries, steps }, clients }
    }

    fn name(&self) -> String {
        let Scheduling { preset, primaries, steps } = &self.scheduling;
        match preset.as_str() {
            "rounds" => format!("{preset} {primaries} x {steps}, {} clients", self.clients),
            _ => format!("{preset}, {} clients", self.clients),
        }
    }

    /// Runs a service under this load.
    async fn measure(&self) -> Measured {
        let applications = Applications::of("work", Work::default);
        let shape = |genesis: &mut smr_replica::Genesis| {
            genesis.application = "work".to_owned();
            genesis.scheduling = self.scheduling.clone();
        };
        let service = Service::of(&applications, shape, |parts| parts.workers = WORKERS).await;
        let clients = service.clients(ALL, self.clients).await;
        let end = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let load = |client| tokio::spawn(load(client, end.clone()));
        let loads: Vec<_> = clients.into_iter().map(load).collect();
        tokio::time::sleep(WARM_UP).await;
        let before = service.wait("the status", ALL, |_| true).await;
        let from = began.elapsed();
        tokio::time::sleep(MEASURED).await;
        let after = service.wait("the status", ALL, |_| true).await;
        let until = began.elapsed();
        end.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        for load in loads {
            let calls = load.await.unwrap().into_iter();
            took.extend(
                calls.filter(|(ended, _)| (from..until).contains(&(*ended - began))).map(|(_, took)| took),
            );
        }
        took.sort_unstable();
        service.stop().await;
        let seconds = (until - from).as_secs_f64();
        let counted = |name: &str| after[0].counters[name] - before[0].counters[name];
        let per_second = |count: u64| count as f64 / seconds;
        Measured {
            requests: per_second(took.len() as u64),
            slots: per_second(after[0].executed.0 - before[0].executed.0),
            fills: per_second(counted("slots_filled")),
            shares: per_second(counted("shares_signed")),
            took,
        }
    }
}

/// One client: the next command when the one before was answered. Tells when each ended, and how long it took.
async fn load(client: Client, end: Arc<AtomicBool>) -> Vec<(Instant, Duration)> {
    let mut calls = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let began = Instant::now();
        assert_eq!(call(&client, &format!("work {WORK_MS}")).await, "ok");
        calls.push((Instant::now(), began.elapsed()));
    }
    calls
}

/// What came of it; numbers are per second.
struct Measured {
    requests: f64,
    slots: f64,
    /// Slots with a fill marker.
    fills: f64,
    /// Shares of service signatures that one replica made.
    shares: f64,
    /// What each request took, ascending.
    took: Vec<Duration>,
}

impl Measured {
    /// The mean time of a request, in ms.
    fn mean_ms(&self) -> f64 {
        self.took.iter().sum::<Duration>().as_secs_f64() * 1000.0 / self.took.len() as f64
    }

    /// The time that a share of the requests did not exceed, in ms.
    fn percentile_ms(&self, percent: usize) -> f64 {
        let last = self.took.len().saturating_sub(1);
        self.took.get(last * percent / 100).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let rounds = [2, 4, 8, 16].into_iter().flat_map(|primaries| [1, 2].map(|steps| (primaries, steps)));
    let mut cases = vec![Case::new("sequential", 1, 1, 16), Case::new("mat", 1, 1, 16)];
    cases.extend(rounds.map(|(primaries, steps)| Case::new("rounds", primaries, steps, 16)));
    cases.extend([8, 2].map(|primaries| Case::new("rounds", primaries, 1, 2)));
    // What ordering and certifying add to the work.
    cases.push(Case::new("mat", 1, 1, 1));
    println!(
        "{:26} {:>10} {:>9} {:>8} {:>8} {:>6} {:>8} {:>8} {:>8}",
        format!("work {WORK_MS} ms"),
        "requests/s",
        "mean ms",
        "p50",
        "p95",
        "ratio",
        "slots/s",
        "fills/s",
        "shares/s"
    );
    let mut first = None;
    for case in cases {
        let name = case.name();
        if !chosen.is_empty() && !chosen.iter().any(|word| name.contains(word)) {
            continue;
        }
        let measured = case.measure().await;
        let ratio = measured.requests / *first.get_or_insert(measured.requests);
        println!(
            "{name:26} {:10.1} {:9.1} {:8.1} {:8.1} {ratio:6.2} {:8.1} {:8.1} {:8.1}",
            measured.requests,
            measured.mean_ms(),
            measured.percentile_ms(50),
            measured.percentile_ms(95),
            measured.slots,
            measured.fills,
            measured.shares
        );
    }
}
