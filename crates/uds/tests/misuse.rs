//! What tasks may not do, and what they do to themselves: each ends with its fault, and the others go on.

#![expect(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use std::future::{Future, pending, poll_fn};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex as StdMutex};
use std::task::Poll;
use std::time::Duration;

use smr_uds::{Fault, Mutex, MutexGuard, Scheduler, Seeded, TaskEnd, Workers, preset};

type Locks = Arc<[Mutex<u64>; 2]>;

/// The end of `bad` between two tasks that use the same locks and come to a good end.
fn end_of<F>(bad: impl Fn(Locks) -> F) -> TaskEnd<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let [before, end, after] = ends_of(bad);
    assert_eq!([before, after], [TaskEnd::Done(()), TaskEnd::Done(())]);
    end
}

/// Runs `bad` between two tasks that use the same locks, in many ways; the ends of all, which are always the same.
fn ends_of<F>(bad: impl Fn(Locks) -> F) -> [TaskEnd<()>; 3]
where
    F: Future<Output = ()> + Send + 'static,
{
    let run = |workers: Option<usize>, seed| {
        let scheduler = Scheduler::new(preset::rounds(2, 2)).unwrap();
        let locks: Locks = Arc::default();
        let (sender, ends) = channel();
        let good = |locks: Locks| async move {
            *locks[0].lock().await += 1;
            *locks[1].lock().await += 1;
        };
        let report = |number: u32| {
            let sender = sender.clone();
            move |end| sender.send((number, end)).unwrap()
        };
        scheduler.admit(good(locks.clone()), report(0)).unwrap();
        scheduler.admit(bad(locks.clone()), report(1)).unwrap();
        scheduler.admit(good(locks.clone()), report(2)).unwrap();
        scheduler.fill().unwrap();
        let workers =
            workers.map(|count| Workers::start(&scheduler, NonZeroUsize::new(count).unwrap()).unwrap());
        if workers.is_none() {
            Seeded::new(seed).run(&scheduler);
        }
        let mut all: Vec<_> = (0..3).map(|_| ends.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        all.sort_by_key(|(number, _)| *number);
        drop(workers);
        <[TaskEnd<()>; 3]>::try_from(all.into_iter().map(|(_, end)| end).collect::<Vec<_>>()).unwrap()
    };
    let first = run(None, 0);
    for seed in 1..20 {
        assert_eq!(run(None, seed), first);
    }
    for workers in [1, 2, 4] {
        assert_eq!(run(Some(workers), 0), first);
    }
    first
}

/// Polls two futures in turn until both have ended, or only until the first one has.
async fn both<A: Future, B: Future>(a: A, b: B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    poll_fn(move |cx| {
        a_done = a_done || a.as_mut().poll(cx).is_ready();
        b_done = b_done || b.as_mut().poll(cx).is_ready();
        if a_done && b_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn either<A: Future, B: Future>(a: A, b: B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(move |cx| {
        if a.as_mut().poll(cx).is_ready() || b.as_mut().poll(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

fn fault(fault: Fault) -> TaskEnd<()> {
    TaskEnd::Fault(fault)
}

#[test]
fn a_panic_ends_its_task_and_frees_its_locks() {
    let end = end_of(|locks| async move {
        let mut first = locks[0].lock().await;
        let _second = locks[1].lock().await;
        *first += 10;
        panic!("on purpose");
    });
    assert_eq!(end, fault(Fault::Panicked));
}

#[test]
fn a_panic_in_a_destructor_counts_as_one() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let end = end_of(|locks| async move {
        let _guard = locks[0].lock().await;
        let _bomb = Bomb;
    });
    assert_eq!(end, fault(Fault::Panicked));
}

#[test]
fn awaiting_something_foreign_ends_the_task() {
    let end = end_of(|locks| async move {
        let _guard = locks[0].lock().await;
        pending::<()>().await;
    });
    assert_eq!(end, fault(Fault::ForeignAwait));
}

#[test]
fn a_second_request_beside_an_outstanding_one_ends_the_task() {
    let end = end_of(|locks| async move {
        both(locks[0].lock(), locks[1].lock()).await;
    });
    assert_eq!(end, fault(Fault::SecondRequest));
}

#[test]
fn a_request_given_up_for_another_branch_ends_the_task() {
    let end = end_of(|locks| async move {
        either(locks[0].lock(), async {}).await;
        *locks[1].lock().await += 1;
    });
    assert_eq!(end, fault(Fault::DroppedRequest));
}

#[test]
fn a_leaked_request_ends_the_task() {
    let end = end_of(|locks| async move {
        let mut request = Box::pin(locks[0].lock());
        poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_ready())).await;
        std::mem::forget(request);
    });
    assert_eq!(end, fault(Fault::DroppedRequest));
}

#[test]
fn locking_twice_ends_the_task() {
    let end = end_of(|locks| async move {
        let _first = locks[0].lock().await;
        let _again = locks[0].lock().await;
    });
    assert_eq!(end, fault(Fault::Relock));
}

#[test]
fn a_lock_beside_something_that_is_ready_is_fine() {
    let end = end_of(|locks| async move {
        both(async { *locks[0].lock().await += 1 }, async {}).await;
    });
    assert_eq!(end, TaskEnd::Done(()));
}

#[test]
fn a_leaked_guard_costs_the_value_but_no_task_waits_for_it_for_ever() {
    let ends = ends_of(|locks| async move {
        std::mem::forget(locks[1].lock().await);
    });
    // The first task comes to this lock only after the one that leaks.
    assert_eq!(ends, [fault(Fault::ValueLost), TaskEnd::Done(()), fault(Fault::ValueLost)]);
}

#[test]
fn a_guard_that_leaves_its_task_costs_the_value() {
    let end = end_of(|_| {
        let locks: &'static [Mutex<u64>; 2] = Box::leak(Box::default());
        let kept: &'static StdMutex<Option<MutexGuard<'static, u64>>> = Box::leak(Box::default());
        async move {
            *kept.lock().unwrap() = Some(locks[0].lock().await);
        }
    });
    assert_eq!(end, TaskEnd::Done(()));
}

#[test]
fn a_lock_of_another_scheduler_ends_the_task() {
    let elsewhere = Scheduler::new(preset::sequential()).unwrap();
    let lock = Arc::new(Mutex::new(0));
    let used = lock.clone();
    elsewhere
        .admit(async move { *used.lock().await += 1 }, |end| {
            assert_eq!(end, TaskEnd::Done(()));
        })
        .unwrap();
    Seeded::new(0).run(&elsewhere);
    let end = end_of(|_| {
        let lock = lock.clone();
        async move { *lock.lock().await += 1 }
    });
    assert_eq!(end, fault(Fault::OtherScheduler));
    assert_eq!(lock.at_rest(|value| *value), Ok(1));
}

#[test]
#[should_panic(expected = "inside a task")]
fn locking_outside_of_a_task_is_a_mistake_of_the_program() {
    let lock = Mutex::new(0);
    let mut request = pin!(lock.lock());
    let _ = request.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
}

#[test]
fn a_task_cannot_look_around_its_locks() {
    let end = end_of(|locks| async move {
        assert!(locks[0].at_rest(|value| *value).is_err());
    });
    assert_eq!(end, TaskEnd::Done(()));
}

#[test]
fn a_future_that_polls_its_children_only_when_woken_is_woken() {
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Flag(AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let end = end_of(|locks| async move {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let mut child = Box::pin(async { *locks[0].lock().await += 1 });
        poll_fn(|_| {
            if !flag.0.swap(false, Ordering::SeqCst) {
                return Poll::Pending;
            }
            let waker = flag.clone().into();
            child.as_mut().poll(&mut std::task::Context::from_waker(&waker))
        })
        .await;
    });
    assert_eq!(end, TaskEnd::Done(()));
}
