//! What was decided and is not yet pruned: batches with the certificates that convince a laggard.

use std::collections::BTreeMap;

use smr_wire::Slot;

use crate::batch::Batch;

/// A gap-free run of decided slots, each with its batch and a certificate of type `C`.
#[derive(Clone, Debug)]
pub struct DecidedLog<C> {
    base: Slot,
    decisions: BTreeMap<Slot, (Batch, C)>,
}

impl<C> Default for DecidedLog<C> {
    fn default() -> DecidedLog<C> {
        DecidedLog { base: Slot(0), decisions: BTreeMap::new() }
    }
}

impl<C> DecidedLog<C> {
    /// The slot below the first that is kept.
    #[must_use]
    pub fn base(&self) -> Slot {
        self.base
    }

    /// Appends the decision of the slot after the last.
    pub fn push(&mut self, slot: Slot, batch: Batch, certificate: C) {
        let last = self.decisions.keys().next_back().copied().unwrap_or(self.base);
        assert!(slot == last.next(), "slot {slot} appended to a log that ends at {last}");
        self.decisions.insert(slot, (batch, certificate));
    }

    /// The decision of `slot`, if kept.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&(Batch, C)> {
        self.decisions.get(&slot)
    }

    /// Decisions after `slot`, in order.
    pub fn after(&self, slot: Slot) -> impl Iterator<Item = (Slot, &(Batch, C))> {
        self.decisions.range(slot.next()..).map(|(slot, decision)| (*slot, decision))
    }

    /// Forgets everything up to and including `slot`.
    pub fn prune(&mut self, slot: Slot) {
        self.base = self.base.max(slot);
        self.decisions = self.decisions.split_off(&self.base.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_the_rest_and_beyond_the_end_begins_anew() {
        let mut log = DecidedLog::default();
        for slot in 1..=5 {
            log.push(Slot(slot), Batch::nil(), slot);
        }
        log.prune(Slot(2));
        assert_eq!(log.base(), Slot(2));
        assert_eq!(log.after(Slot(3)).map(|(_, (_, c))| *c).collect::<Vec<_>>(), [4, 5]);
        assert!(log.get(Slot(2)).is_none());
        log.prune(Slot(9));
        log.push(Slot(10), Batch::nil(), 10);
        assert_eq!(log.after(Slot(0)).count(), 1);
    }
}
