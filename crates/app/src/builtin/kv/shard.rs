//! A part of the store, and what its bytes cost.

use std::collections::BTreeMap;

use super::Limits;

/// The keys whose hash falls here. One lock around each, so commands on keys of different shards run side by side.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of all keys and values.
    pub(super) bytes: usize,
}

impl Shard {
    /// Its bytes once `key` has `value`.
    pub(super) fn bytes_with(&self, key: &[u8], value: &[u8]) -> usize {
        let before = self.entries.get(key).map_or(0, |old| key.len() + old.len());
        self.bytes - before + key.len() + value.len()
    }

    pub(super) fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes = self.bytes_with(&key, &value);
        self.entries.insert(key, value);
    }

    /// Whether there was such a key.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.entries.remove(key);
        self.bytes -= removed.as_ref().map_or(0, |value| key.len() + value.len());
        removed.is_some()
    }
}

/// Bytes are taken from the store's limit in portions, so that shards rarely meet at the lock around what is left.
/// What a shard has taken follows from its bytes alone, so it need not be part of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portions {
    bytes: usize,
}

/// Portions in the limit of a store that is large enough.
const PORTIONS: usize = 4096;

impl Portions {
    pub(super) fn of(limits: &Limits) -> Portions {
        Portions { bytes: (limits.store_bytes_max / PORTIONS).max(1) }
    }

    /// How many there are.
    pub(super) fn all(self, limits: &Limits) -> usize {
        limits.store_bytes_max / self.bytes
    }

    /// How many a shard of so many bytes has taken.
    pub(super) fn taken(self, bytes: usize) -> usize {
        bytes.div_ceil(self.bytes)
    }
}
