//! The sleep and wake protocol of the workers, and the hand-over of locks outside of the scheduler's mutex, in all
//! interleavings and with all reorderings that the memory model allows: built of loom's primitives.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "the rest of the executor uses the rest")]
#[path = "../src/executor/gate.rs"]
mod gate;
#[path = "../src/executor/returned.rs"]
mod returned;

/// In place of the standard library's.
mod primitives {
    pub(crate) use loom::sync::atomic::AtomicUsize;
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

/// In place of the scheduler's.
mod core {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct LockId(usize);

    impl LockId {
        pub(crate) const fn place(self) -> usize {
            self.0
        }

        pub(crate) const fn at(place: usize) -> LockId {
            LockId(place)
        }
    }
}

use std::sync::atomic::Ordering;

use core::LockId;
use gate::{Chores, Gate};
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex};
use loom::thread;
use returned::Returned;

/// Pieces of work that nobody has taken.
struct Pieces(usize);

impl Chores for Pieces {
    fn count(&self) -> usize {
        self.0
    }
}

/// A worker that takes pieces until told to go; how many it got. Like `workers::work`.
fn work(gate: &Gate<Pieces>, told: &AtomicBool) -> usize {
    let gone = || told.load(Ordering::Relaxed);
    let mut got = 0;
    while !gone() {
        let mut inside = gate.enter();
        let found = inside.0 > 0;
        inside.0 -= usize::from(found);
        gate.leave(inside);
        got += usize::from(found);
        if !found {
            gate.wait(gone);
        }
    }
    got
}

fn bring(gate: &Gate<Pieces>, pieces: usize) {
    let mut inside = gate.enter();
    inside.0 += pieces;
    gate.leave(inside);
}

/// Waits until no piece is left: for ever, which loom reports, if all who could take it sleep.
fn all_taken(gate: &Gate<Pieces>) {
    while gate.enter().0 > 0 {
        thread::yield_now();
    }
}

#[test]
fn work_wakes_a_sleeper_and_so_does_the_end() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let gate = Arc::new(Gate::new(Pieces(0)));
        let told = Arc::new(AtomicBool::new(false));
        let workers = [(); 2].map(|()| {
            let (gate, told) = (gate.clone(), told.clone());
            thread::spawn(move || work(&gate, &told))
        });
        bring(&gate, 1);
        bring(&gate, 1);
        all_taken(&gate);
        told.store(true, Ordering::Relaxed);
        gate.wake_all();
        let got: usize = workers.map(|worker| worker.join().unwrap()).into_iter().sum();
        assert_eq!(got, 2);
    });
}

#[test]
fn a_worker_that_goes_passes_its_call_on() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let gate = Arc::new(Gate::new(Pieces(0)));
        let told = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let [first, second] = told.clone().map(|told| {
            let gate = gate.clone();
            thread::spawn(move || work(&gate, &told))
        });
        told[0].store(true, Ordering::Relaxed);
        gate.wake_all();
        bring(&gate, 1);
        let got = first.join().unwrap();
        all_taken(&gate);
        told[1].store(true, Ordering::Relaxed);
        gate.wake_all();
        assert_eq!(got + second.join().unwrap(), 1);
    });
}

#[test]
fn a_lock_that_is_wanted_is_heard_of_once() {
    loom::model(|| {
        // Under the mutex: how often the core has heard of the unlock.
        let heard = Arc::new(Mutex::new(0));
        let returned = Returned::new();
        let lock = LockId::at(7);
        let wanter = {
            let (heard, returned) = (heard.clone(), returned.clone());
            thread::spawn(move || {
                let mut heard = heard.lock().unwrap();
                *heard += usize::from(returned.want() == Some(lock));
            })
        };
        if !returned.leave(lock) {
            *heard.lock().unwrap() += 1;
        }
        wanter.join().unwrap();
        // Although the task has not come to the core again.
        assert_eq!(*heard.lock().unwrap(), 1);
        assert_eq!(returned.settle(true), None);
        assert!(returned.leave(lock));
    });
}
