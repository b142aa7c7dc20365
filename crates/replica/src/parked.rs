//! Commands that wait on a condition of the application: admitted, not executed, and in no block. Whoever wakes one
//! brings its outcome into the block of its own slot.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::Slot;

use crate::replies::Key;

/// Who asked for the commands that wait; part of the replicated state, changed as slots end. As many as the
/// application's host lets wait.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Parked {
    /// By slot and position among its commands.
    places: BTreeMap<(Slot, u32), Key>,
    keys: BTreeSet<Key>,
    /// Commands of slots that have not ended which waited and were woken in an earlier slot: their outcomes are known
    /// already. None at a checkpoint, where all slots have ended.
    ended: BTreeSet<(Slot, u32)>,
}

impl Parked {
    /// The command at `position` of `slot`, which ends now, has no outcome in it and is `key`'s: it waits, unless it
    /// was woken before.
    pub fn park(&mut self, slot: Slot, position: u32, key: Key) {
        if !self.ended.remove(&(slot, position)) {
            self.places.insert((slot, position), key);
            self.keys.insert(key);
        }
    }

    /// A command of a slot that has not ended was woken in an earlier one.
    pub fn ends_early(&mut self, slot: Slot, position: u32) {
        self.ended.insert((slot, position));
    }

    /// It has waited long enough; whose it is.
    pub fn take(&mut self, slot: Slot, position: u32) -> Option<Key> {
        let key = self.places.remove(&(slot, position))?;
        self.keys.remove(&key);
        Some(key)
    }

    /// Whether this command waits.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
