//! The real edge of a replica: sockets, timers, workers, files. One process runs one replica.
//!
//! - [`serve`]: a replica's life, from the first start in an empty directory to its end;
//! - [`node`]: the task that owns the replica's value, feeds it and does what it says;
//! - [`trusted`]: what stands behind the core that never says two things; [`stall`]: that it does not answer;
//! - [`identity`], [`files`]: secrets that are born here and never leave;
//! - `channel`, `listener`: encrypted connections, one listener for all; [`handshakes`]: room for those unproven;
//! - `inbox`: what waits for the core, in fair turns; [`budget`]: how much a peer may have answered;
//! - `peers`: links between replicas; `gateway`: connections of clients;
//! - [`operator`], [`statement`]: what an administrator may ask, on both sides;
//! - [`applications`]: what this program can run; [`entry`]: `main` of an author's program;
//! - [`limits`], [`metrics`], [`outbox`]: bounds, counts, and a queue that never makes the core wait;
//! - [`store`]: where promises are kept before they leave.

pub mod applications;
pub mod budget;
mod channel;
mod edge;
pub mod entry;
pub mod files;
mod gateway;
pub mod handshakes;
pub mod identity;
pub mod inbox;
pub mod limits;
mod listener;
pub mod metrics;
#[cfg(feature = "misbehave")]
pub mod misbehave;
pub mod node;
pub mod operator;
pub mod outbox;
#[cfg(test)]
mod outside;
mod peers;
pub mod serve;
pub mod stall;
pub mod statement;
pub mod store;
pub mod trusted;

pub use applications::Applications;
pub use entry::main;
pub use identity::{Identity, Public};
pub use limits::Limits;
pub use node::{Node, Parts};
pub use operator::{NodePhase, NodeStatus};
pub use serve::{Listen, NodeError, NodeOptions, Provisioned, run};
pub use stall::Stall;
pub use statement::{ServiceStatement, SignedServiceStatement};
