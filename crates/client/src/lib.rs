//! The client: numbers, signs and retries commands and verifies one signature. Knows nothing of the group.
//!
//! ```text
//!   call -> Invocation (pure) -> signed request -> contact -> reply, path, signature -> Certified
//!              |  silence, lies, hints: another contact
//!              `- no answer in time: Unknown, with what it takes to ask again
//! ```
//!
//! - [`invocation`]: one client identity as a value; events in, effects out;
//! - [`outcome`]: what a caller may be told, and what it may conclude;
//! - [`proof`]: whether the service signed, with one pairing per block for all clients of a process;
//! - [`config`]: limits and timing;
//! - [`connect`]: sockets, TLS and timers around an invocation.

mod chance;
pub mod config;
pub mod connect;
pub mod invocation;
pub mod known_bugs;
pub mod outcome;
pub mod proof;

pub use config::Config;
pub use connect::Client;
pub use invocation::{ContactId, Effect, Event, Invocation, Report, Ticket};
pub use outcome::{Certified, Failure, Trouble, Unknown};
pub use proof::{ProofCheck, ServiceProofs};
