//! A slot that has begun and is not reported, and the block of its outcomes.

use std::collections::BTreeMap;

use smr_wire::{Slot, Timestamp};

use crate::application::Place;
use crate::host::{CommandOutcome, HostEvent, LateOutcome};

#[derive(Debug)]
pub(super) struct OpenSlot {
    pub(super) slot: Slot,
    /// The agreed time for whatever runs in its block.
    pub(super) time: Timestamp,
    outcomes: Vec<Option<CommandOutcome>>,
    late: BTreeMap<Place, CommandOutcome>,
    /// How many that belong to the block run.
    pub(super) running: usize,
}

/// What an outcome is to its block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// That of the block's own command at this position.
    Own(usize),
    /// That of a command that waited.
    Late,
    /// Nobody asked for it.
    Inner,
}

impl Part {
    /// What it is in the block of who woke it.
    pub(super) fn after_wait(self) -> Part {
        match self {
            Part::Own(_) | Part::Late => Part::Late,
            Part::Inner => Part::Inner,
        }
    }
}

impl OpenSlot {
    pub(super) fn new(slot: Slot, time: Timestamp, commands: usize) -> OpenSlot {
        OpenSlot { slot, time, outcomes: vec![None; commands], late: BTreeMap::new(), running: 0 }
    }

    /// Whether nothing in its block runs, so that nothing can come into it any more either.
    pub(super) fn is_over(&self) -> bool {
        self.running == 0
    }

    /// Something in its block has come to this.
    pub(super) fn note(&mut self, part: Part, place: Place, outcome: CommandOutcome) {
        match part {
            Part::Own(position) => self.outcomes[position] = Some(outcome),
            Part::Late => {
                self.late.insert(place, outcome);
            }
            Part::Inner => {}
        }
    }

    pub(super) fn report(self) -> HostEvent {
        let late = self.late.into_iter().map(|(place, outcome)| LateOutcome {
            slot: place.slot,
            position: place.position,
            outcome,
        });
        HostEvent::Executed { slot: self.slot, outcomes: self.outcomes, late: late.collect() }
    }
}
