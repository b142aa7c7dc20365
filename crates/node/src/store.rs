//! Where a replica's promises are kept before they leave.
//!
//! - [`files`]: a directory as `smr-store` wants its disk; [`writer`]: the threads that write to it;
//! - [`Memory`], which is what replicas have so far, and which keeps nothing.
//!
//! With memory a service survives whatever its wish names as long as no more than f of its replicas fail or restart; a
//! replica that lost its memory has lost its promises and must not run again under the same keys, which [`crate::serve`]
//! refuses. The core hands over each record in the order of its effects, and what follows a record waits for it.

pub mod files;
pub mod writer;

use smr_consensus::protocol::Record;

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory;

impl Memory {
    /// Takes a record over; when this returns, the effects behind it may leave.
    pub(crate) fn keep(self, record: Record) {
        // The replica's own value holds all that memory can hold.
        drop(record);
    }
}
