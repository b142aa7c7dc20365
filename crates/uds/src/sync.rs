//! What tasks share: like the usual locks, but granted in the same order on every replica.
//!
//! Each `async` function here makes one request when it is first polled, and must be awaited to its end from then
//! on. All take one turn of their task. Polled outside of a task they panic: there is no order that they could
//! follow. An object belongs to the scheduler whose task uses it first.

mod barrier;
mod binding;
mod condvar;
mod lock;
mod mutex;
mod request;
mod rwlock;
mod semaphore;
mod task;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};
pub use task::{advance, spawn, yield_now};

/// The value was not there to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a task holds the lock, or this is inside a task; await `lock` there")]
pub struct NotAtRest;
