//! Consensus protocols as pure values: input in, an ordered list of effects out.
//!
//! ```text
//!   Entry (a client's request, a replica's command) -> pool -> Batch -> proposal, votes -> Decide(slot, batch)
//! ```
//!
//! - [`protocol`]: the interface that every protocol has;
//! - shared parts: [`group`] (who votes, how many must agree), [`batch`] (what is ordered), [`quorum`] (votes and
//!   certificates), [`verified`] (nothing enters unverified), [`pool`] (what waits), [`batcher`] (when to propose),
//!   [`patience`] (for how long to wait), [`suspicion`] (when enough replicas want another view), [`window`] (slots that may
//!   be open), [`log`] (what was decided), [`decision`] (what proves it), [`ledger`] (where a replica stands between both),
//!   [`checkpoint`] (certificates that end a log), [`catch_up`] (whom to ask for what was missed);
//! - [`record`]: what survives a crash;
//! - [`basis`]: those parts as one value, which an engine that votes is built on, and [`upkeep`]: what it says;
//! - engines: [`solo`], [`pbft`], [`lanes`];
//! - [`registry`]: the list of engines, a line each, from which the planner, the simulator and the tests learn.

pub mod basis;
pub mod batch;
pub mod batcher;
pub mod catch_up;
pub mod checkpoint;
pub mod config;
pub mod decision;
pub mod group;
pub mod kept;
pub mod known_bugs;
pub mod lanes;
pub mod ledger;
pub mod log;
pub mod patience;
pub mod pbft;
pub mod pool;
pub mod profile;
pub mod protocol;
pub mod quorum;
pub mod record;
pub mod registry;
pub mod solo;
pub mod suspicion;
pub mod upkeep;
pub mod verified;
pub mod window;

pub use batch::{Batch, Entry, EntryBody, SystemEntry};
pub use config::Config;
pub use group::{Group, Seat};
pub use protocol::{Effect, Effects, Event, Input, Observation, Protocol, Status, Timer};
pub use record::Record;
pub use registry::{Engine, Message, ProtocolName};
pub use verified::{Refused, Verified, Verify};
