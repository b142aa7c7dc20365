//! What the sleep and wake protocol of the executor is made of. `tests/memory_model.rs` builds the same protocol of
//! other ones, which try all interleavings and all reorderings that the memory model allows.

pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
