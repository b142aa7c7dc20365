//! A lock that a running task has given back and of which the core has not heard yet.
//!
//! To tell the core costs the scheduler's mutex, and the task goes there anyway with its next request. So it leaves
//! the lock here, and only if somebody waits for it, or begins to, the core hears at once. Nobody sees a difference
//! in order: whether an unlock comes before or after the next request decides nothing, see [`crate::core`].
//!
//! ```text
//!   EMPTY --leave--> the lock --settle, want--> the core hears
//!   EMPTY --want--> WANTED: `leave` refuses, the task tells the core itself
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::LockId;
use crate::primitives::AtomicUsize;

/// One task's. `leave` is called by the thread that polls the task, the others under the scheduler's mutex.
#[derive(Clone)]
pub(crate) struct Returned(Arc<Slot>);

/// On a cache line of its own: it is written twice per lock, by whichever core polls the task.
#[repr(align(64))]
struct Slot(AtomicUsize);

const EMPTY: usize = 0;
const WANTED: usize = 1;
/// Codes of locks begin here.
const LOCKS: usize = 2;

impl Returned {
    pub(crate) fn new() -> Returned {
        Returned(Arc::new(Slot(AtomicUsize::new(EMPTY))))
    }

    /// The task leaves a lock that it held alone. False: it has to tell the core itself.
    #[inline]
    pub(crate) fn leave(&self, lock: LockId) -> bool {
        let Slot(slot) = &*self.0;
        let code = lock.place() + LOCKS;
        // Release: whoever is granted the lock next sees the value that was put back.
        slot.compare_exchange(EMPTY, code, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Somebody waits for what the task holds: the lock that it has left meanwhile. It leaves no other.
    pub(crate) fn want(&self) -> Option<LockId> {
        let Slot(slot) = &*self.0;
        lock_of(slot.swap(WANTED, Ordering::AcqRel))
    }

    /// The task comes to the core: the lock that it has left. Nothing is wanted of it if it `holds_nothing`.
    #[inline]
    pub(crate) fn settle(&self, holds_nothing: bool) -> Option<LockId> {
        let Slot(slot) = &*self.0;
        // Plain loads and stores do: all others who write are kept out, by the mutex.
        let code = slot.load(Ordering::Acquire);
        if code > WANTED || (code == WANTED && holds_nothing) {
            slot.store(EMPTY, Ordering::Relaxed);
        }
        lock_of(code)
    }
}

fn lock_of(code: usize) -> Option<LockId> {
    code.checked_sub(LOCKS).map(LockId::at)
}
