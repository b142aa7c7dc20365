//! What several cores gain for requests that lock, compute and lock again, and what a round that is too large costs
//! a few clients.
//!
//! `cargo bench -p smr-uds --bench speedup`. Each figure is the median of [`REPEATS`] ratios; both sides of a ratio
//! are measured one after the other, so that other load on the machine hits both.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex as StdMutex};
use std::thread;
use std::time::{Duration, Instant};

use smr_uds::{Config, Mutex, Scheduler, TaskEnd, Workers, preset};

const REPEATS: usize = 7;

/// What stands for the work of a request.
#[derive(Clone, Copy)]
enum Work {
    /// So many turns of a loop: real work, for real cores.
    Loops(u64),
    /// A wait of the thread: as if there were enough cores.
    Timed(Duration),
}

impl Work {
    fn run(self) {
        match self {
            Work::Loops(count) => {
                for turn in 0..count {
                    std::hint::black_box(turn);
                }
            }
            Work::Timed(time) => sleep(time),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock; nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "stands for work, or lets a driver look now and then")]
fn sleep(time: Duration) {
    thread::sleep(time);
}

/// Turns of the loop in a microsecond, when nobody disturbs it.
fn loops_per_us() -> f64 {
    let once = || {
        let begin = now();
        Work::Loops(100_000).run();
        begin.elapsed()
    };
    let least = (0..200).map(|_| once()).min().expect("it ran");
    100_000.0 / (least.as_secs_f64() * 1e6)
}

/// `requests` on this thread, by plain calls.
fn direct(requests: u32, work: Work) -> Duration {
    let mutex = StdMutex::new(0_u64);
    let begin = now();
    for _ in 0..requests {
        *mutex.lock().expect("nobody panics") += 1;
        work.run();
        *mutex.lock().expect("nobody panics") += 1;
    }
    begin.elapsed()
}

/// The same on plain threads: what the machine gives at most.
fn threads(count: u32, requests: u32, work: Work) -> Duration {
    let mutex = StdMutex::new(0_u64);
    let begin = now();
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                for _ in 0..requests / count {
                    *mutex.lock().expect("nobody panics") += 1;
                    work.run();
                    *mutex.lock().expect("nobody panics") += 1;
                }
            });
        }
    });
    begin.elapsed()
}

/// The same as tasks.
fn scheduled(config: Config, workers: u32, requests: u32, work: Work) -> Duration {
    let scheduler = Scheduler::new(config).expect("valid settings");
    let mutex = Arc::new(Mutex::new(0_u64));
    let left = Arc::new(AtomicU32::new(requests));
    let (sender, end) = channel();
    // Admitted before the clock starts: the thread that admits would want a core of its own.
    for _ in 0..requests {
        let (mutex, left, sender) = (mutex.clone(), left.clone(), sender.clone());
        let task = async move {
            *mutex.lock().await += 1;
            work.run();
            *mutex.lock().await += 1;
        };
        let sink = move |end| {
            assert_eq!(end, TaskEnd::Done(()));
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                sender.send(()).expect("awaited");
            }
        };
        scheduler.admit(task, sink).expect("there is room");
    }
    scheduler.fill().expect("there is room");
    let begin = now();
    let workers = Workers::start(&scheduler, count_of(workers)).expect("the system has threads");
    end.recv().expect("the last task tells");
    let took = begin.elapsed();
    workers.stop();
    took
}

/// The median of how many times faster `after` is than `before`.
fn ratio(before: impl Fn() -> Duration, after: impl Fn() -> Duration) -> f64 {
    let mut ratios: Vec<f64> = (0..REPEATS).map(|_| before().as_secs_f64() / after().as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[REPEATS / 2]
}

fn count_of(workers: u32) -> NonZeroUsize {
    NonZeroUsize::new(workers as usize).expect("there are workers")
}

fn real_cores() {
    let per_us = loops_per_us();
    println!("\nspeed-up against plain calls: lock, compute, lock on one common lock; S=2, real work");
    println!("{:>8} {:>10} {:>10} | {:>8} {:>8} {:>8}", "", "1 worker", "2 threads", "2 workers", "", "");
    println!("{:>8} {:>10} {:>10} | {:>8} {:>8} {:>8}", "us", "N=4", "std", "N=2", "N=4", "N=8");
    for us in [10_u32, 50, 250, 1000, 4000] {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive count of loops"
        )]
        let work = Work::Loops((per_us * f64::from(us)) as u64);
        let requests = (60_000 / us).max(32);
        let plain = || direct(requests, work);
        let one = ratio(plain, || scheduled(preset::rounds(4, 2), 1, requests, work));
        let most = ratio(plain, || threads(2, requests, work));
        let [n2, n4, n8] =
            [2, 4, 8].map(|n| ratio(plain, || scheduled(preset::rounds(n, 2), 2, requests, work)));
        println!("{us:>8} {one:>10.3} {most:>10.2} | {n2:>8.2} {n4:>8.2} {n8:>8.2}");
    }
}

fn enough_cores() {
    println!("\nspeed-up with timed waits for work, as many workers as primaries; S=2");
    println!("{:>8} {:>8} {:>8} {:>8} {:>8} {:>8}", "us", "1", "2", "4", "8", "16");
    for us in [250_u32, 1000, 4000] {
        let work = Work::Timed(Duration::from_micros(u64::from(us)));
        let requests = (160_000 / us).max(64);
        let row = [1, 2, 4, 8, 16]
            .map(|n| ratio(|| direct(requests, work), || scheduled(preset::rounds(n, 2), n, requests, work)));
        println!("{us:>8} {}", row.map(|gain| format!("{gain:>8.2}")).join(" "));
    }
}

/// Mean latency that `clients` see, each with one request at a time, in rounds of `primaries`.
fn latency(primaries: u32, clients: u32, each: u32) -> Duration {
    const WORK: Work = Work::Timed(Duration::from_millis(1));
    let scheduler = Scheduler::new(preset::rounds(primaries, 2)).expect("valid settings");
    let workers =
        Workers::start(&scheduler, count_of(primaries.max(clients))).expect("the system has threads");
    let mutex = Arc::new(Mutex::new(0_u64));
    let over = AtomicBool::new(false);
    let total = thread::scope(|scope| {
        // As a leader does: who sees the scheduler starve twice proposes a marker.
        scope.spawn(|| {
            let mut starved = false;
            while !over.load(Ordering::Relaxed) {
                sleep(Duration::from_micros(50));
                let starves = scheduler.is_starving();
                if starves && starved {
                    scheduler.fill().expect("there is room");
                }
                starved = starves && !starved;
            }
        });
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let begin = now();
                    for _ in 0..each {
                        let (sender, end) = channel();
                        let mutex = mutex.clone();
                        let task = async move {
                            *mutex.lock().await += 1;
                            WORK.run();
                            *mutex.lock().await += 1;
                        };
                        let admitted = scheduler.admit(task, move |end| sender.send(end).expect("awaited"));
                        admitted.expect("there is room");
                        assert_eq!(end.recv(), Ok(TaskEnd::Done(())));
                    }
                    begin.elapsed() / each
                })
            })
            .collect();
        let total: Duration = clients.into_iter().map(|client| client.join().expect("nobody panics")).sum();
        over.store(true, Ordering::Relaxed);
        total
    });
    workers.stop();
    total / clients
}

fn few_clients() {
    println!("\nmean latency in us of 2 clients, 1 ms of timed work each; median of {REPEATS}");
    let sizes = [1, 2, 4, 8, 16];
    let medians = sizes.map(|primaries| {
        let mut means: Vec<Duration> = (0..REPEATS).map(|_| latency(primaries, 2, 40)).collect();
        means.sort();
        means[REPEATS / 2]
    });
    let best = medians.iter().min().expect("there are some");
    for (primaries, median) in sizes.into_iter().zip(medians) {
        let factor = median.as_secs_f64() / best.as_secs_f64();
        println!("  N={primaries:<3} {:>8} {factor:>6.2} times the best", median.as_micros());
    }
}

fn main() {
    real_cores();
    enough_cores();
    few_clients();
}
