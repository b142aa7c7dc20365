//! A whole replica as one pure value: consensus, sessions, blocks of replies, checkpoints, state transfer and key
//! generation behind one `step`.
//!
//! ```text
//!   client request -> consensus -> Decide -> sessions (at most once) -> Execute -> replies -> block -> share
//!                                    \-> system commands (key generation)            combined -> client
//!   every K slots: drain -> Checkpoint -> chunks -> vote -> stable -> log pruned
//! ```
//!
//! What it is bound to is written down ([`Effect::Persist`], [`Effect::Keep`]), and after a crash it goes on from there
//! ([`Replica::resume`]).
//!
//! The same value runs under the real edge (`node`), under the seeded simulator and under a model checker. The
//! edge does what effects say and reports what came of it.

pub mod checkpoint;
pub mod chunked;
pub mod config;
pub mod effect;
pub mod epoch;
pub mod gate;
pub mod genesis;
pub mod known_bugs;
pub mod manifest;
pub mod message;
pub mod parked;
pub mod quota;
pub mod replica;
pub mod replies;
pub mod restart;
pub mod scheduling;
pub mod sessions;
pub mod status;
pub mod system;
pub mod transfer;
pub mod voters;
pub mod voucher;
pub mod waiting;

pub use chunked::Chunked;
pub use config::Config;
pub use effect::{ConnectionId, Effect, Event, Input, Observation, Timer};
pub use gate::Gate;
pub use genesis::{Genesis, Member};
pub use manifest::Manifest;
pub use message::{Incoming, Message};
pub use replica::{CannotGoOn, Found, Replica, Secrets};
pub use replies::Statement;
pub use scheduling::Scheduling;
pub use status::{Flaw, Halt, Phase, Status};
pub use voucher::Voucher;
