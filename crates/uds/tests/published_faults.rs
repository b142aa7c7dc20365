//! What went wrong in published implementations of UDS, each as a test that would see it here. The ids are those of
//! the project's notes. B5 and B6 (changes of settings from inside a task) and B10 (a manager created late) have no
//! counterpart: settings enter by the agreed order only and as a whole, and a scheduler is ready when it is made.

#![expect(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use smr_uds::{Config, Fault, Mutex, Scheduler, Seeded, TaskEnd, Workers, preset};

type Locks = Arc<[Mutex<Vec<u32>>; 3]>;

/// Tasks that nest two of three locks, and a marker behind them.
fn nested(scheduler: &Scheduler, tasks: u32) -> (Locks, Receiver<TaskEnd<()>>) {
    let locks = Locks::default();
    let (sender, ends) = channel();
    for number in 0..tasks {
        let (locks, sender) = (locks.clone(), sender.clone());
        let task = async move {
            let mut first = locks[number as usize % 2].lock().await;
            let mut second = locks[1 + number as usize % 2].lock().await;
            first.push(number);
            second.push(number);
        };
        scheduler.admit(task, move |end| sender.send(end).unwrap()).unwrap();
    }
    scheduler.fill().unwrap();
    (locks, ends)
}

fn orders(locks: &Locks) -> Vec<Vec<u32>> {
    locks.iter().map(|lock| lock.at_rest(|order| order.clone()).unwrap()).collect()
}

fn with_workers(config: Config, tasks: u32, workers: usize) -> (Vec<Vec<u32>>, u64) {
    let scheduler = Scheduler::new(config).unwrap();
    let workers = Workers::start(&scheduler, NonZeroUsize::new(workers).unwrap()).unwrap();
    let (locks, ends) = nested(&scheduler, tasks);
    for _ in 0..tasks {
        assert_eq!(ends.recv_timeout(Duration::from_secs(20)), Ok(TaskEnd::Done(())));
    }
    workers.stop();
    (orders(&locks), scheduler.trace())
}

#[test]
fn b1_a_request_thrown_out_of_the_queue_never_returns_without_its_lock() {
    // Nested locks, four primaries, one step: where the original let two tasks into one critical section.
    let expected = with_workers(preset::rounds(4, 1), 400, 1);
    for workers in [2, 4, 2, 4] {
        assert_eq!(with_workers(preset::rounds(4, 1), 400, workers), expected);
    }
}

#[test]
fn b2_rounds_are_filled_by_ordered_markers_only() {
    let scheduler = Scheduler::new(preset::rounds(16, 2)).unwrap();
    let (_, ends) = nested(&scheduler, 3);
    Seeded::new(3).run(&scheduler);
    assert_eq!(ends.try_iter().count(), 3);
    // Without a marker nothing moves, however long it takes and however often the scheduler is polled.
    let lock = Arc::new(Mutex::new(0));
    let task = async move {
        *lock.lock().await += 1;
        *lock.lock().await += 1;
    };
    scheduler.admit(task, |_| {}).unwrap();
    for seed in 0..10 {
        Seeded::new(seed).run(&scheduler);
        assert!(scheduler.is_starving() && scheduler.live() == 1);
    }
    scheduler.fill().unwrap();
    Seeded::new(0).run(&scheduler);
    assert_eq!(scheduler.live(), 0);
}

#[test]
fn b3_a_shrink_below_the_place_of_a_lock_owner_makes_progress() {
    for seed in 0..100 {
        let scheduler = Scheduler::new(preset::rounds(3, 1)).unwrap();
        let (_, first) = nested(&scheduler, 3);
        scheduler.reconfigure(preset::rounds(1, 1)).unwrap();
        let (_, then) = nested(&scheduler, 3);
        Seeded::new(seed).run(&scheduler);
        assert_eq!(
            first.try_iter().chain(then.try_iter()).filter(|end| *end == TaskEnd::Done(())).count(),
            6
        );
    }
}

#[test]
fn b4_a_retry_after_a_round_takes_a_turn_of_its_own() {
    for config in [preset::rounds(8, 1), preset::rounds(4, 1), preset::rounds(8, 2)] {
        let expected = with_workers(config, 200, 1);
        for workers in [2, 4, 4] {
            assert_eq!(with_workers(config, 200, workers), expected);
        }
    }
}

#[test]
fn b7_the_task_that_ends_a_round_goes_on_without_waiting_for_newcomers() {
    let scheduler = Scheduler::new(preset::rounds(2, 1)).unwrap();
    let lock = Arc::new(Mutex::new(0));
    let (sender, ends) = channel();
    for steps in [1, 2] {
        let (lock, sender) = (lock.clone(), sender.clone());
        let task = async move {
            for _ in 0..steps {
                *lock.lock().await += 1;
            }
        };
        scheduler.admit(task, move |_| sender.send(steps).unwrap()).unwrap();
    }
    // The second task is alone in the second round, which lacks a primary, and still has the first turn there.
    Seeded::new(0).run(&scheduler);
    assert_eq!(ends.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn b8_a_suspension_is_reached_whoever_moves_last_and_nobody_is_lost() {
    for seed in 0..100 {
        let scheduler = Scheduler::new(preset::rounds(4, 1)).unwrap();
        let (_, ends) = nested(&scheduler, 6);
        let (sender, reached) = channel();
        scheduler.suspend(move |suspension| sender.send(suspension).unwrap()).unwrap();
        let (_, later) = nested(&scheduler, 6);
        Seeded::new(seed).run(&scheduler);
        assert_eq!(
            (reached.try_iter().count(), ends.try_iter().count(), later.try_iter().count()),
            (1, 6, 0)
        );
        scheduler.resume(smr_uds::Resume::GoOn).unwrap();
        Seeded::new(seed).run(&scheduler);
        assert_eq!(later.try_iter().count(), 6);
    }
}

#[test]
fn b11_a_second_lock_and_a_panic_end_their_task_and_its_sink_is_called() {
    let scheduler = Scheduler::new(preset::rounds(2, 1)).unwrap();
    let lock = Arc::new(Mutex::new(0));
    let (sender, ends) = channel();
    for panics in [true, false] {
        let (lock, sender) = (lock.clone(), sender.clone());
        let task = async move {
            let _once = lock.lock().await;
            assert!(!panics, "on purpose");
            let _twice = lock.lock().await;
        };
        scheduler.admit(task, move |end: TaskEnd<()>| sender.send(end).unwrap()).unwrap();
    }
    Seeded::new(0).run(&scheduler);
    let ends: Vec<_> = ends.try_iter().collect();
    assert_eq!(ends, [TaskEnd::Fault(Fault::Panicked), TaskEnd::Fault(Fault::Relock)]);
}
