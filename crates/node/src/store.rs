//! Where a replica's promises are kept before they leave.
//!
//! There is one store so far: memory, which keeps nothing. A service whose replicas run so survives whatever its
//! wish names as long as no more than f of them fail or restart; a replica that lost its memory has lost its
//! promises and must not run again under the same keys, which [`crate::serve`] refuses. A store on disk goes here:
//! the core hands over each record in the order of its effects, and what follows a record waits for it.

use smr_consensus::Record;

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
