//! What the bytes of a store cost.

use super::Limits;

/// Bytes are taken from the store's limit in portions, so that locks rarely meet at the one around what is left. What
/// the entries of a lock have taken follows from their bytes alone, so it need not be part of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portions {
    bytes: u64,
}

/// Portions in the limit of a store that is large enough.
const PORTIONS: u64 = 4096;

impl Portions {
    pub(super) fn of(limits: &Limits) -> Portions {
        Portions { bytes: (limits.store_bytes_max as u64 / PORTIONS).max(1) }
    }

    /// How many there are.
    pub(super) fn all(self, limits: &Limits) -> u64 {
        limits.store_bytes_max as u64 / self.bytes
    }

    /// How many so many bytes have taken.
    pub(super) fn taken(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes)
    }
}
