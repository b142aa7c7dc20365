//! A durable log and checkpoints over any disk, as a value: what was promised is found again, or its loss is noticed.
//!
//! ```text
//!   append, append, append -> sync: durable        keep: a checkpoint, beside it
//!   log-1 | header, seal | record record ... |     cp-40 | header, table -> ck-1 | chunk chunk |
//!   log-2 | header, seal | record record ..., what is left of another life   |  spare-new | zeros |
//! ```
//!
//! - [`disk`]: what is asked of a disk; [`config`]: every limit;
//! - [`store`]: append, sync, prune; `recovery`: what is found when it is opened;
//! - `segment`, `record`, `sheet`: what stands in a file of the log, and what proves that it is whole;
//! - [`checkpoint`]: only what is new of it is written, in the background; verified when found;
//! - [`error`]: what is torn, what is damaged, and what to do.
//!
//! # What is told apart
//! A *torn tail* is what no sync had covered when the machine stopped. It is cut and reported. *Damage* is the loss of
//! what a sync had covered: then a replica would have forgotten what it promised, so the store does not open. What
//! proves that a record was covered is written by the same log (after Alagappan et al., Protocol-Aware Recovery for
//! Consensus-Based Storage, FAST 2018): each record names the first of its own group, and everything before that was
//! durable when it was written; a marker says so of the last group, at once after its sync but without a sync of its
//! own; and headers of segments, which are synced before they have their names, say so of everything before them.
//!
//! What remains undistinguishable: the machine stops after a sync and before its marker reached the disk (nobody
//! appended since, and the system has not written it back of its own accord), *and* the very records of that last
//! group are damaged too. That looks like a group that was never synced. Whoever closes with [`Store::close`] has
//! synced the marker as well. And a directory that is empty again looks like a new one: [`Found::fresh`] says so, and
//! whoever knows better must refuse it.
//!
//! # What is assumed of disks
//! A write that is torn spoils no byte outside of it, even in the same sector; a file that is synced keeps its bytes
//! unless it is damaged; names are durable once their directory is synced.

pub mod checkpoint;
pub mod config;
pub mod disk;
pub mod error;
pub mod known_bugs;
mod names;
mod record;
mod recovery;
mod segment;
mod sheet;
pub mod store;

pub use checkpoint::{CheckpointWriter, ChunkName, Chunks, FoundCheckpoint, Kept};
pub use config::StoreConfig;
pub use disk::{Disk, FileEntry};
pub use error::{Damage, Fault, OpenError, StoreError, Torn};
pub use segment::make_spare;
pub use store::{Found, Store};
