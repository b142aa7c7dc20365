//! What one lock and unlock costs, with nothing in between: beside the usual mutexes, on one worker and on two.
//!
//! `cargo bench -p smr-uds --bench locks`; a part of a name after `--` picks.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use smr_uds::{Mutex, Scheduler, TaskEnd, Workers, preset};

/// Which locks the tasks of a measurement use.
#[derive(Clone, Copy, Debug)]
enum Locks {
    Own,
    Common,
}

/// Every task locks and unlocks `rounds` times; how long all of them take together.
fn deterministic(tasks: u32, locks: Locks, workers: NonZeroUsize, rounds: u64) -> Duration {
    // Alone, a task has all turns of the round; else one each, which is the round robin that costs most.
    let config = if tasks == 1 { preset::rounds(1, u32::MAX) } else { preset::rounds(tasks, 1) };
    let scheduler = Scheduler::new(config).expect("valid settings");
    let common = Arc::new(Mutex::new(0_u64));
    let (sender, ends): (Sender<TaskEnd<()>>, Receiver<TaskEnd<()>>) = channel();
    for _ in 0..tasks {
        let mutex = match locks {
            Locks::Own => Arc::new(Mutex::new(0)),
            Locks::Common => common.clone(),
        };
        let sender = sender.clone();
        let task = async move {
            for _ in 0..rounds {
                *mutex.lock().await += 1;
            }
        };
        scheduler.admit(task, move |end| sender.send(end).expect("awaited")).expect("there is room");
    }
    scheduler.fill().expect("there is room");
    let begin = now();
    let workers = Workers::start(&scheduler, workers).expect("the system has threads");
    for _ in 0..tasks {
        assert_eq!(ends.recv(), Ok(TaskEnd::Done(())));
    }
    let took = begin.elapsed();
    workers.stop();
    took
}

/// The same with threads and the standard library's mutex.
fn standard(threads: usize, locks: Locks, rounds: u64) -> Duration {
    let common = Arc::new(std::sync::Mutex::new(0_u64));
    let barrier = Arc::new(Barrier::new(threads + 1));
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let mutex = match locks {
                Locks::Own => Arc::new(std::sync::Mutex::new(0)),
                Locks::Common => common.clone(),
            };
            let barrier = barrier.clone();
            thread::Builder::new().spawn(move || {
                barrier.wait();
                for _ in 0..rounds {
                    *std::hint::black_box(&mutex).lock().expect("nobody panics") += 1;
                }
            })
        })
        .collect::<Result<_, _>>()
        .expect("the system has threads");
    barrier.wait();
    let begin = now();
    for thread in threads {
        thread.join().expect("nobody panics");
    }
    begin.elapsed()
}

/// The same with tasks of Tokio, on one thread.
fn tokio(tasks: u32, locks: Locks, rounds: u64) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let common = Arc::new(tokio::sync::Mutex::new(0_u64));
    let begin = now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let mutex = match locks {
                Locks::Own => Arc::new(tokio::sync::Mutex::new(0)),
                Locks::Common => common.clone(),
            };
            runtime.spawn(async move {
                for _ in 0..rounds {
                    *std::hint::black_box(&mutex).lock().await += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).expect("nobody panics");
    }
    begin.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock; nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}

/// Measures, per lock and unlock of any task, what `run` does when each of `tasks` does so many.
fn measure(criterion: &mut Criterion, name: &str, tasks: u32, run: impl Fn(u64) -> Duration) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|pairs| {
            let each = pairs.div_ceil(u64::from(tasks));
            // Rounded up to whole rounds; few pairs would measure the start of threads instead.
            let each = each.max(2000);
            let per_pair = run(each).as_secs_f64() / (each * u64::from(tasks)) as f64;
            Duration::from_secs_f64(per_pair * pairs as f64)
        });
    });
}

fn locks(criterion: &mut Criterion) {
    measure(criterion, "std/1-thread", 1, |rounds| standard(1, Locks::Own, rounds));
    measure(criterion, "std/2-threads-common", 2, |rounds| standard(2, Locks::Common, rounds));
    measure(criterion, "tokio/1-task", 1, |rounds| tokio(1, Locks::Own, rounds));
    measure(criterion, "tokio/16-tasks-common", 16, |rounds| tokio(16, Locks::Common, rounds));
    for workers in [1, 2].map(|count| NonZeroUsize::new(count).expect("not 0")) {
        for tasks in [1, 4, 16, 64] {
            let name = format!("uds/{workers}-workers/{tasks}-tasks-own");
            measure(criterion, &name, tasks, |rounds| deterministic(tasks, Locks::Own, workers, rounds));
            if tasks > 1 {
                let name = format!("uds/{workers}-workers/{tasks}-tasks-common");
                measure(criterion, &name, tasks, |rounds| {
                    deterministic(tasks, Locks::Common, workers, rounds)
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = locks
}
criterion_main!(benches);
