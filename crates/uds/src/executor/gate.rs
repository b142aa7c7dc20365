//! The mutex around what threads share, and the sleep of those that find nothing to do.
//!
//! No wake-up is lost, because a thread counts itself as asleep under the mutex, after it has looked for work there
//! once more; and whoever brings work counts the sleepers under the same mutex.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use crate::primitives::{AtomicUsize, Condvar, Mutex, MutexGuard};

/// What there is to do for threads.
pub(crate) trait Chores {
    /// For how many of them there is something.
    fn count(&self) -> usize;
}

/// `S`, for one thread at a time.
pub(crate) struct Gate<S> {
    room: Mutex<Room<S>>,
    /// [`Chores::count`] a moment ago, for idle threads that look before they sleep. A hint; the mutex decides.
    chores: AtomicUsize,
    idle: Condvar,
}

/// What is behind the gate.
pub(crate) struct Room<S> {
    state: S,
    /// Threads that sleep in [`Gate::wait`], and how many of them have been woken but do not run yet.
    asleep: usize,
    woken: usize,
}

/// The right to use what is behind the gate; given back by [`Gate::leave`].
pub(crate) type Inside<'a, S> = MutexGuard<'a, Room<S>>;

const UNBROKEN: &str = "nothing that can panic runs under the scheduler's mutex";

impl<S: Chores> Gate<S> {
    pub(crate) fn new(state: S) -> Gate<S> {
        let room = Room { state, asleep: 0, woken: 0 };
        Gate { room: Mutex::new(room), chores: AtomicUsize::new(0), idle: Condvar::new() }
    }

    pub(crate) fn enter(&self) -> Inside<'_, S> {
        self.room.lock().expect(UNBROKEN)
    }

    /// Wakes as many sleepers as there is work.
    pub(crate) fn leave(&self, mut inside: Inside<'_, S>) {
        let chores = inside.state.count();
        let wake = chores.min(inside.asleep).saturating_sub(inside.woken);
        inside.woken += wake;
        self.chores.store(chores, Ordering::Relaxed);
        drop(inside);
        (0..wake).for_each(|_| self.idle.notify_one());
    }

    /// Waits until there is something to do or `gone` holds; a thread calls it after it found nothing.
    pub(crate) fn wait(&self, gone: impl Fn() -> bool) {
        let mut inside = self.enter();
        while inside.state.count() == 0 && !gone() {
            inside.asleep += 1;
            inside = self.idle.wait(inside).expect(UNBROKEN);
            inside.asleep -= 1;
            inside.woken = inside.woken.saturating_sub(1);
        }
        if gone() {
            // The call may have been for work rather than for going: pass it on.
            self.leave(inside);
        }
    }

    /// Makes sleepers look at their reason to go.
    pub(crate) fn wake_all(&self) {
        // Under the mutex, so that nobody is between its look and its sleep.
        let mut inside = self.enter();
        inside.woken = inside.asleep;
        self.idle.notify_all();
    }

    /// Whether there was something to do a moment ago.
    pub(crate) fn looks_busy(&self) -> bool {
        self.chores.load(Ordering::Relaxed) > 0
    }

    /// The state, when nobody else can reach it.
    pub(crate) fn get_mut(&mut self) -> Option<&mut S> {
        self.room.get_mut().ok().map(|room| &mut room.state)
    }
}

impl<S> Deref for Room<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S> DerefMut for Room<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.state
    }
}
