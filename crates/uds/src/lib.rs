//! Deterministic multithreading: every lock is granted in the same order on every replica.
//!
//! Requests become *tasks*, admitted in an agreed order. They run on as many cores as there are, and still each
//! lock is acquired in one order that depends on nothing but the order of admission and on what the tasks do:
//! not on the number of threads, not on the operating system, not on luck.
//!
//! ```
//! use smr_uds::{Mutex, Scheduler, Seeded, TaskEnd, preset};
//! use std::sync::Arc;
//!
//! let scheduler = Scheduler::new(preset::sequential()).unwrap();
//! let counter = Arc::new(Mutex::new(0));
//! for _ in 0..3 {
//!     let counter = counter.clone();
//!     let task = async move {
//!         let mut counter = counter.lock().await;
//!         *counter += 1;
//!         *counter
//!     };
//!     scheduler.admit(task, |end| assert!(matches!(end, TaskEnd::Done(1..=3)))).unwrap();
//! }
//! Seeded::new(7).run(&scheduler);
//! assert_eq!(counter.at_rest(|counter| *counter), Ok(3));
//! ```
//!
//! Layout:
//! - [`core`]: the scheduler as a pure value: a task asks, unlocks or ends, and grants come out;
//! - [`config`], [`preset`]: its settings, and named ones;
//! - [`sync`]: the locks that tasks use;
//! - [`executor`]: what polls tasks: worker threads, or one thread that chooses by a seed;
//! - [`task`]: how a task ends.
//!
//! Source: UDS (Hauck, Habiger, Domaschka, *UDS: a novel and flexible scheduling algorithm for deterministic
//! multithreading*, SRDS 2016), with the round rules restated and repaired; see [`core`].

pub mod config;
pub mod core;
pub mod executor;
pub mod preset;
mod primitives;
pub mod sync;
pub mod task;

pub use config::{BadConfig, Blocked, Config, Order, Start};
pub use core::Resume;
pub use executor::{Scheduler, Seeded, Suspension, Workers};
pub use sync::{
    Barrier, BarrierWaitResult, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    Semaphore, SemaphorePermit, advance, spawn, yield_now,
};
pub use task::{Fault, Sink, TaskEnd, WokenBy};

/// The example of the crate's introduction, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
