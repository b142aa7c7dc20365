//! Locks for tasks: like the usual ones, but granted in the same order on every replica.

mod mutex;

pub use mutex::{Lock, Mutex, MutexGuard, NotAtRest};
