//! Real tasks under every executor: the order of owners of each lock is that of the plain rules.

#![expect(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use common::{Chance, Op, Program, programs, reference};
use smr_uds::{Config, Fault, Mutex, Scheduler, Seeded, TaskEnd, Workers, preset};

type Log = Arc<Vec<Mutex<Vec<usize>>>>;
type End = (usize, TaskEnd<usize>);

/// Admits `programs` and a fill marker; the locks, each with the list of its owners so far.
fn admit(scheduler: &Scheduler, programs: &[Program], locks: usize, ends: &Sender<End>) -> Log {
    let log: Log = Arc::new((0..locks).map(|_| Mutex::new(Vec::new())).collect());
    for (number, program) in programs.iter().enumerate() {
        let (log, program, ends) = (log.clone(), program.clone(), ends.clone());
        let task = async move {
            let mut held = BTreeMap::new();
            for op in program {
                match op {
                    Op::Lock(lock) => {
                        let mut guard = log[lock].lock().await;
                        guard.push(number);
                        held.insert(lock, guard);
                    }
                    Op::Unlock(lock) => drop(held.remove(&lock)),
                    Op::Compute(rounds) => compute(rounds),
                }
            }
            number
        };
        scheduler.admit(task, move |end| ends.send((number, end)).unwrap()).unwrap();
    }
    scheduler.fill().unwrap();
    log
}

fn compute(rounds: u32) {
    std::hint::black_box(
        (0..rounds).fold(1u32, |product, n| std::hint::black_box(product.wrapping_mul(31) ^ n)),
    );
}

fn orders(log: &Log) -> Vec<Vec<usize>> {
    log.iter().map(|lock| lock.at_rest(|order| order.clone()).unwrap()).collect()
}

/// The next end; a run that hangs fails.
fn next(ends: &Receiver<End>) -> End {
    ends.recv_timeout(Duration::from_secs(20)).expect("the run hangs")
}

fn all_done(ends: &Receiver<End>, count: usize) {
    let mut seen = vec![false; count];
    for _ in 0..count {
        let (number, end) = next(ends);
        assert_eq!(end, TaskEnd::Done(number));
        assert!(!std::mem::replace(&mut seen[number], true), "task {number} ended twice");
    }
}

fn settings(chance: &mut Chance) -> (Config, usize, usize) {
    if chance.below(4) == 0 {
        return (preset::sequential(), 1, 1000);
    }
    let (n, s) = (1 + chance.below(3), 1 + chance.below(3));
    let config = preset::rounds(u32::try_from(n).unwrap(), u32::try_from(s).unwrap());
    (Config { tasks_max: u32::try_from(n + chance.below(6)).unwrap(), ..config }, n, s)
}

#[test]
fn seeded_polling_keeps_the_orders_of_the_plain_rules() {
    for seed in 0..1000 {
        let mut chance = Chance(seed);
        let locks = 1 + chance.below(4);
        let programs = programs(&mut chance, 10, locks);
        let (config, n, s) = settings(&mut chance);
        let expected = reference(&programs, locks, n, s);
        for poll_seed in [seed, seed + 1] {
            let scheduler = Scheduler::new(config).unwrap();
            let (sender, ends) = channel();
            let log = admit(&scheduler, &programs, locks, &sender);
            Seeded::new(poll_seed).run(&scheduler);
            all_done(&ends, programs.len());
            assert_eq!(orders(&log), expected, "seed {seed}, {config:?}, {programs:?}");
        }
    }
}

#[test]
fn worker_threads_keep_the_orders_of_the_plain_rules() {
    for seed in 0..60 {
        let mut chance = Chance(1000 + seed);
        let locks = 1 + chance.below(4);
        let programs = programs(&mut chance, 24, locks);
        let (config, n, s) = settings(&mut chance);
        let expected = reference(&programs, locks, n, s);
        for workers in [1, 2, 4] {
            let scheduler = Scheduler::new(config).unwrap();
            let workers = Workers::start(&scheduler, NonZeroUsize::new(workers).unwrap()).unwrap();
            let (sender, ends) = channel();
            let log = admit(&scheduler, &programs, locks, &sender);
            all_done(&ends, programs.len());
            workers.stop();
            assert_eq!(orders(&log), expected, "seed {seed}, {config:?}, {programs:?}");
        }
    }
}

#[test]
fn the_number_of_workers_may_change_while_tasks_run() {
    let mut chance = Chance(5);
    let programs: Vec<Program> = (0..20).flat_map(|_| programs(&mut chance, 30, 3)).take(200).collect();
    let expected = reference(&programs, 3, 3, 2);
    let scheduler = Scheduler::new(preset::rounds(3, 2)).unwrap();
    let mut workers = Workers::start(&scheduler, NonZeroUsize::new(1).unwrap()).unwrap();
    let (sender, ends) = channel();
    let log = admit(&scheduler, &programs, 3, &sender);
    for (number, _) in programs.iter().enumerate() {
        next(&ends);
        workers.set_count(NonZeroUsize::new(1 + number % 4).unwrap()).unwrap();
        assert_eq!(workers.count(), 1 + number % 4);
    }
    workers.stop();
    assert_eq!(orders(&log), expected);
}

#[test]
fn workers_that_stop_leave_their_tasks_to_others() {
    let programs: Vec<Program> =
        (0..50).map(|_| vec![Op::Lock(0), Op::Compute(100), Op::Unlock(0)]).collect();
    let scheduler = Scheduler::new(preset::rounds(2, 1)).unwrap();
    let (sender, ends) = channel();
    let log = admit(&scheduler, &programs, 1, &sender);
    let workers = Workers::start(&scheduler, NonZeroUsize::new(2).unwrap()).unwrap();
    next(&ends);
    workers.stop();
    Seeded::new(1).run(&scheduler);
    assert_eq!(orders(&log), [(0..50).collect::<Vec<_>>()]);
}

#[test]
fn a_shutdown_drops_waiting_tasks_and_calls_no_sink() {
    let scheduler = Scheduler::new(preset::rounds(4, 1)).unwrap();
    let (sender, ends) = channel();
    let lock = Arc::new(Mutex::new(0));
    for _ in 0..2 {
        let (lock, sender) = (lock.clone(), sender.clone());
        let task = async move {
            let first = lock.lock().await;
            drop(first);
            let _second = lock.lock().await;
        };
        scheduler.admit(task, move |end| sender.send(end).unwrap()).unwrap();
    }
    drop(sender);
    let workers = Workers::start(&scheduler, NonZeroUsize::new(2).unwrap()).unwrap();
    // Two tasks never fill a round of four, so both wait for their second turn.
    let waits = (0..20_000).find(|_| {
        assert!(
            ends.recv_timeout(Duration::from_millis(1)).is_err(),
            "a task ended in a round that never filled"
        );
        scheduler.is_starving()
    });
    assert!(waits.is_some(), "the run hangs");
    workers.stop();
    drop(scheduler);
    assert!(ends.recv().is_err(), "a task that was dropped reported an end");
    assert_eq!(Arc::strong_count(&lock), 1);
}

#[test]
fn a_full_backlog_refuses_and_takes_again_when_a_task_has_left() {
    let config = Config { backlog_max: 2, ..preset::sequential() };
    let scheduler = Scheduler::new(config).unwrap();
    let admit = || scheduler.admit(async {}, |end| assert_eq!(end, TaskEnd::Done(())));
    assert_eq!([admit(), admit(), admit()], [Ok(0), Ok(1), Ok(2)]);
    assert!(admit().is_err());
    Seeded::new(0).run(&scheduler);
    assert!(admit().is_ok());
}

#[test]
fn a_sink_may_admit_the_next_task() {
    fn chain(scheduler: &Scheduler, left: u32, done: Sender<()>) {
        let inner = scheduler.clone();
        let sink = move |_: TaskEnd<()>| match left {
            0 => done.send(()).unwrap(),
            _ => chain(&inner, left - 1, done),
        };
        scheduler.admit(async {}, sink).unwrap();
    }
    let scheduler = Scheduler::new(preset::sequential()).unwrap();
    let workers = Workers::start(&scheduler, NonZeroUsize::new(2).unwrap()).unwrap();
    let (done, ended) = channel();
    chain(&scheduler, 1000, done);
    ended.recv_timeout(Duration::from_secs(20)).unwrap();
    workers.stop();
}

#[test]
fn locks_taken_in_a_circle_end_the_same_tasks_on_any_number_of_workers() {
    let run = |workers: Option<usize>, seed| {
        let scheduler = Scheduler::new(preset::rounds(3, 2)).unwrap();
        let locks: Arc<Vec<Mutex<()>>> = Arc::new((0..3).map(|_| Mutex::new(())).collect());
        let ends = Arc::new(StdMutex::new(BTreeMap::new()));
        let (sender, done) = channel();
        for number in 0..9 {
            let (locks, ends, sender) = (locks.clone(), ends.clone(), sender.clone());
            let task = async move {
                let _first = locks[number % 3].lock().await;
                let _second = locks[(number + 1) % 3].lock().await;
            };
            let sink = move |end| {
                ends.lock().unwrap().insert(number, end);
                sender.send(()).unwrap();
            };
            scheduler.admit(task, sink).unwrap();
        }
        scheduler.fill().unwrap();
        match workers {
            None => drop(Seeded::new(seed).run(&scheduler)),
            Some(count) => {
                let workers = Workers::start(&scheduler, NonZeroUsize::new(count).unwrap()).unwrap();
                (0..9).for_each(|_| done.recv_timeout(Duration::from_secs(20)).unwrap());
                workers.stop();
            }
        }
        let ends = ends.lock().unwrap();
        ends.clone()
    };
    let expected = run(None, 0);
    assert_eq!(expected.len(), 9);
    assert!(expected.values().any(|end| *end == TaskEnd::Fault(Fault::Deadlock)), "{expected:?}");
    for seed in 1..50 {
        assert_eq!(run(None, seed), expected);
    }
    for workers in [1, 2, 4, 2, 4] {
        assert_eq!(run(Some(workers), 0), expected);
    }
}

#[test]
fn a_lock_that_was_given_back_is_granted_while_its_last_owner_computes() {
    // Either the second task waits already when the first gives back, or it comes after that.
    for comes_first in [true, false] {
        let scheduler = Scheduler::new(preset::rounds(2, 1)).unwrap();
        let lock = Arc::new(Mutex::new(0));
        let [(came, comes), (gave, given), (got, gotten)] = [(); 3].map(|()| channel());
        let owned = lock.clone();
        let first = async move {
            let guard = owned.lock().await;
            if comes_first {
                comes.recv_timeout(Duration::from_secs(20)).unwrap();
                // Time for its request; without it the other order is met again, which is no error.
                (0..2000).for_each(|_| std::thread::yield_now());
            }
            drop(guard);
            // The second one may have ended already, if it did not have to hear this.
            let _ = gave.send(());
            gotten.recv_timeout(Duration::from_secs(20)).unwrap();
        };
        let second = async move {
            if comes_first {
                came.send(()).unwrap();
            } else {
                given.recv_timeout(Duration::from_secs(20)).unwrap();
            }
            *lock.lock().await += 1;
            got.send(()).unwrap();
        };
        let (to_first, first_end) = channel();
        let (to_second, second_end) = channel();
        scheduler.admit(first, move |end| to_first.send(end).unwrap()).unwrap();
        scheduler.admit(second, move |end| to_second.send(end).unwrap()).unwrap();
        scheduler.fill().unwrap();
        let workers = Workers::start(&scheduler, NonZeroUsize::new(2).unwrap()).unwrap();
        for end in [first_end, second_end] {
            assert_eq!(end.recv_timeout(Duration::from_secs(30)), Ok(TaskEnd::Done(())));
        }
        workers.stop();
    }
}
