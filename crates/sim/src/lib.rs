//! The simulated edge: seed in, history out.
//!
//! The same replica, application and client values as in production, under virtual time, with a network that loses,
//! repeats and delays, machines that stop, and replicas that were taken over. Everything is drawn from one seed, so
//! a run that fails is repeated by its seed.
//!
//! - [`campaign`]: many runs, each of which follows from its seed;
//! - [`run`]: what must hold in one;
//! - [`world`]: replicas, clients, network and clock together;
//! - [`scenario`]: scripts that direct a world step by step, with the recorded exchange below each step;
//! - [`network`], [`regions`]: what happens to messages, and how far they go;
//! - [`disk`]: what a crash leaves of what was written;
//! - [`adversary`]: replicas that misbehave, named by what they do;
//! - [`twins`]: two machines that are one replica, and all ways to part them from the others;
//! - `hunt`, in tests only: known bugs, switched on one by one, which the checks must find;
//! - [`observe`], [`check`]: what is watched, and linearizability of what clients saw.

pub mod adversary;
pub mod campaign;
pub mod check;
pub mod clients;
pub mod disk;
pub mod distance;
mod durable;
pub mod history;
mod host;
#[cfg(feature = "known-bugs")]
pub mod hunt;
pub mod network;
pub mod observe;
mod panics;
pub mod regions;
pub mod rng;
pub mod rounds;
pub mod run;
pub mod scenario;
pub mod threshold;
pub mod times;
pub mod trace;
pub mod twins;
mod words;
pub mod world;

pub use adversary::Misdeed;
pub use campaign::Campaign;
pub use regions::Regions;
pub use run::{Failure, Summary};
