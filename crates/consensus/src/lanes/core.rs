//! The trusted core: a register for each lane of the window, a floor under views, and a key. It verifies nothing and
//! knows no peers; it only never says two things.
//! Relatives: TrInc counters (Levin et al., NSDI 2009) and the checker of Damysus (Decouchant et al., EuroSys 2022),
//! here for a whole window of slots instead of a stream of messages.
//!
//! A lane is "slot modulo the window". Who votes in a slot has decided the one a window below, so a lane's last vote is
//! all that anybody can need to know of it; and the report at a change of view is complete by construction.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, IdentityKey, PublicKey, Signature};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, Slot, View};

use crate::group::Group;
use crate::known_bugs;

/// Slots that one attestation may cover. It is shown whole wherever one of them counts, so it stays short.
pub const ITEMS_MAX: usize = 16;

/// A slot and the digest of what should stand there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Item {
    /// Where.
    pub slot: Slot,
    /// What.
    pub digest: Digest,
}

/// The last vote in a lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Register {
    /// In which view.
    pub view: View,
    /// For what.
    pub item: Item,
}

/// What a core can be asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub enum Operation {
    /// A vote in this view, for each of these slots at once. Ascending; at most [`ITEMS_MAX`].
    Endorse {
        /// The view, which must be the floor.
        view: View,
        /// For what.
        items: Vec<Item>,
    },
    /// Never again a vote in a view before this one; and what the lanes hold.
    Leave {
        /// The first view in which votes are possible from now on.
        to: View,
    },
    /// How this view begins, once for each view.
    Begin {
        /// The view, which must be the floor.
        view: View,
        /// Digest of its beginning.
        digest: Digest,
    },
    /// Nothing more in an earlier generation; votes in this one begin anew.
    Advance {
        /// The generation, which must be later than its own.
        to: Generation,
    },
}

/// Why a core does not do what it is asked for. A correct replica never asks for such a thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Refusal {
    /// Of a view that was left, or is not yet reached.
    #[error("the view is not the one that this core is in")]
    View,
    /// A second vote for a slot in a view, or one for a slot that the lane is past.
    #[error("the lane of this slot is past such a vote")]
    Lane,
    /// No slots, too many of them, or not in order.
    #[error("the list of slots is empty, too long or out of order")]
    Shape,
    /// A second beginning of a view.
    #[error("this view has its beginning")]
    Begun,
    /// A generation that is not later than the one that it is in.
    #[error("this core is in that generation, or in a later one")]
    Generation,
}

/// What a core remembers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Registers {
    generation: Generation,
    lanes: Vec<Option<Register>>,
    floor: View,
    begun: View,
}

impl Registers {
    /// Those of a core that has said nothing in `generation`, for a window of `lanes` slots.
    #[must_use]
    pub fn new(generation: Generation, lanes: u64) -> Registers {
        let count = usize::try_from(lanes).expect("a window fits in memory");
        Registers { generation, lanes: vec![None; count], floor: View(0), begun: View(0) }
    }

    /// The generation in which it votes.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The view in which it votes.
    #[must_use]
    pub fn floor(&self) -> View {
        self.floor
    }

    /// The last view that it began.
    #[must_use]
    pub fn begun(&self) -> View {
        self.begun
    }

    /// The last vote in each lane.
    #[must_use]
    pub fn lanes(&self) -> &[Option<Register>] {
        &self.lanes
    }

    /// Whether a vote in `view` for `slot` is possible.
    #[must_use]
    pub fn may_endorse(&self, view: View, slot: Slot) -> bool {
        let free = known_bugs::CORE_VOTES_TWICE.is_on()
            || self.lanes[self.lane(slot)]
                .is_none_or(|last| slot > last.item.slot || (slot == last.item.slot && view > last.view));
        view == self.floor && free
    }

    /// Does what is asked for, or nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn apply(&mut self, operation: &Operation) -> Result<(), Refusal> {
        match operation {
            Operation::Endorse { view, items } => {
                // Neighbours in order and all within a window are in lanes of their own.
                let ascending = items.windows(2).all(|pair| pair[0].slot < pair[1].slot);
                let (Some(first), Some(last)) = (items.first(), items.last()) else {
                    return Err(Refusal::Shape);
                };
                let fits = last.slot.since(first.slot) < self.lanes.len() as u64;
                if !ascending || !fits || items.len() > ITEMS_MAX {
                    return Err(Refusal::Shape);
                }
                if *view != self.floor {
                    return Err(Refusal::View);
                }
                if !items.iter().all(|item| self.may_endorse(*view, item.slot)) {
                    return Err(Refusal::Lane);
                }
                for item in items {
                    let lane = self.lane(item.slot);
                    self.lanes[lane] = Some(Register { view: *view, item: *item });
                }
            }
            Operation::Leave { to } if *to > self.floor => {
                self.floor = *to;
                if known_bugs::CORE_FORGETS_ITS_VOTES.is_on() {
                    self.lanes.fill(None);
                }
            }
            Operation::Leave { .. } => return Err(Refusal::View),
            Operation::Begin { view, .. } if *view != self.floor => return Err(Refusal::View),
            Operation::Begin { view, .. } if *view <= self.begun => return Err(Refusal::Begun),
            Operation::Begin { view, .. } => self.begun = *view,
            Operation::Advance { to } if *to > self.generation => {
                *self = Registers::new(*to, self.lanes.len() as u64);
            }
            Operation::Advance { .. } => return Err(Refusal::Generation),
        }
        Ok(())
    }

    fn lane(&self, slot: Slot) -> usize {
        usize::try_from(slot.0 % self.lanes.len() as u64).expect("smaller than a list")
    }
}

/// What every statement of a core names, so that it holds nowhere else. A core that was told of a smaller window would
/// fold lanes together and hide votes, so the window is part of it.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The group, with its service and generation.
    pub group: &'a Group,
    /// Slots of the window.
    pub window_slots: u64,
    /// Whose core.
    pub replica: ReplicaId,
}

impl Scope<'_> {
    /// What a core signs when it votes.
    #[must_use]
    pub fn endorse(&self, view: View, items: &[Item]) -> Digest {
        self.statement("SMRCLOUD-CORE-ENDORSE-V1", &(view, items))
    }

    /// What it signs when it leaves for a view with these lanes.
    #[must_use]
    pub fn leave(&self, to: View, lanes: &[Option<Register>]) -> Digest {
        self.statement("SMRCLOUD-CORE-LEAVE-V1", &(to, lanes))
    }

    /// What it signs when it begins a view.
    #[must_use]
    pub fn begin(&self, view: View, digest: &Digest) -> Digest {
        self.statement("SMRCLOUD-CORE-BEGIN-V1", &(view, digest))
    }

    /// What it signs when it does `operation` and then holds `registers`.
    #[must_use]
    pub fn of(&self, operation: &Operation, registers: &Registers) -> Digest {
        match operation {
            Operation::Endorse { view, items } => self.endorse(*view, items),
            Operation::Leave { to } => self.leave(*to, registers.lanes()),
            Operation::Begin { view, digest } => self.begin(*view, digest),
            Operation::Advance { to } => self.statement("SMRCLOUD-CORE-ADVANCE-V1", to),
        }
    }

    /// The key with which this replica's statements are signed: that of its core, or its own where machines are trusted
    /// not to lie.
    #[must_use]
    pub fn key(&self) -> Option<&PublicKey> {
        let keys = if self.group.model == FaultModel::Hybrid { &self.group.cores } else { &self.group.keys };
        keys.get(self.replica.index())
    }

    fn statement<T: BorshSerialize>(&self, tag: &str, content: &T) -> Digest {
        self.group.statement(tag, &(self.window_slots, self.replica, content))
    }
}

/// A core in the same process: for tests, and against errors of a host that does not attack its own memory.
#[derive(Clone, Debug)]
pub struct SoftwareCore {
    group: Arc<Group>,
    window_slots: u64,
    replica: ReplicaId,
    registers: Registers,
    key: Arc<IdentityKey>,
}

impl SoftwareCore {
    /// The core of `replica` that has said nothing and signs with `key`.
    #[must_use]
    pub fn new(
        group: Arc<Group>,
        window_slots: u64,
        replica: ReplicaId,
        key: Arc<IdentityKey>,
    ) -> SoftwareCore {
        let registers = Registers::new(group.generation, window_slots);
        SoftwareCore { group, window_slots, replica, registers, key }
    }

    /// The key that it signs with.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// What it remembers.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Does what is asked for and signs it.
    ///
    /// # Errors
    /// Why not.
    pub fn attest(&mut self, operation: &Operation) -> Result<Signature, Refusal> {
        self.registers.apply(operation)?;
        if let Operation::Advance { to } = operation {
            Arc::make_mut(&mut self.group).generation = *to;
        }
        let scope = Scope { group: &self.group, window_slots: self.window_slots, replica: self.replica };
        Ok(self.key.sign(&scope.of(operation, &self.registers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(slot: u64, text: &str) -> Item {
        Item { slot: Slot(slot), digest: Digest::of("T", &[text.as_bytes()]) }
    }

    fn endorse(view: u64, items: &[Item]) -> Operation {
        Operation::Endorse { view: View(view), items: items.to_vec() }
    }

    #[test]
    fn nothing_is_said_twice_and_lanes_only_go_up() {
        let mut core = Registers::new(Generation(0), 4);
        assert_eq!(core.apply(&endorse(0, &[item(1, "a"), item(2, "b")])), Ok(()));
        assert_eq!(core.apply(&endorse(0, &[item(2, "c")])), Err(Refusal::Lane));
        assert_eq!(core.apply(&endorse(0, &[item(3, "c"), item(1, "a")])), Err(Refusal::Shape));
        assert_eq!(core.apply(&endorse(0, &[item(3, "c"), item(7, "a")])), Err(Refusal::Shape), "one lane");
        assert_eq!(core.apply(&endorse(0, &[])), Err(Refusal::Shape));
        assert_eq!(core.apply(&endorse(1, &[item(3, "c")])), Err(Refusal::View));
        let before = core.clone();
        assert_eq!(core.apply(&endorse(0, &[item(2, "x"), item(3, "y")])), Err(Refusal::Lane));
        assert_eq!(core, before, "all or nothing");
        assert_eq!(core.apply(&endorse(0, &[item(5, "e")])), Ok(()));
        assert_eq!(core.apply(&endorse(0, &[item(1, "a")])), Err(Refusal::Lane), "the lane is past it");
    }

    #[test]
    fn a_view_that_was_left_is_over_and_begins_once() {
        let mut core = Registers::new(Generation(0), 4);
        assert_eq!(core.apply(&endorse(0, &[item(1, "a")])), Ok(()));
        assert_eq!(core.apply(&Operation::Leave { to: View(2) }), Ok(()));
        assert_eq!(core.apply(&Operation::Leave { to: View(2) }), Err(Refusal::View));
        assert_eq!(core.apply(&endorse(0, &[item(2, "b")])), Err(Refusal::View));
        let begin = |view| Operation::Begin { view: View(view), digest: Digest::default() };
        assert_eq!(core.apply(&begin(1)), Err(Refusal::View));
        assert_eq!(core.apply(&begin(2)), Ok(()));
        assert_eq!(core.apply(&begin(2)), Err(Refusal::Begun));
        assert_eq!(core.apply(&endorse(2, &[item(1, "b")])), Ok(()), "a later view may vote again");
        assert_eq!(core.lanes()[1].map(|last| last.view), Some(View(2)));
    }
}
