//! A replica whose own state is wrong says nothing to clients, fetches the state that the others certified, and executes what
//! was admitted since once more.
//!
//! ```text
//!   differs from what is certified, or memory has failed --> Flawed: silent, nothing is admitted
//!   --> a certified state, not older than the last one known here: what is right of the own one need not be fetched
//!   --> Healed: what was admitted behind it is admitted again
//! ```

use smr_consensus::checkpoint::CheckpointCertificate;
use smr_wire::Slot;

use super::Replica;
use crate::effect::{Effect, Observation};
use crate::status::{Flaw, Halt};

/// How often a replica begins again at the same state: after that what is wrong is not its state.
const HEALS_MAX: u32 = 3;

/// What is wrong, and from where on this replica can be put right.
#[derive(Clone, Debug)]
pub(super) struct Healing {
    flaw: Flaw,
    /// A state after this slot, or a later one.
    from: Slot,
}

impl Healing {
    pub(super) fn flaw(&self) -> &Flaw {
        &self.flaw
    }
}

/// How often it has begun again, and at which state it did last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Healed {
    at: Slot,
    /// At that state.
    times: u32,
    /// At any.
    pub(super) all: u64,
}

impl Replica {
    /// Whether it says nothing to clients, and nothing of its state to anybody.
    pub(super) fn is_silent(&self) -> bool {
        self.halted.is_some() || self.healing.is_some()
    }

    /// Its own state is wrong.
    pub(super) fn heal(&mut self, flaw: Flaw, effects: &mut Vec<Effect>) {
        // A certified state is on its way into the application already.
        if self.is_silent() || self.restoring.is_some() {
            return;
        }
        effects.push(Effect::Report(Observation::Flawed(flaw.clone())));
        let stable = self.checkpoints.stable();
        if self.healed.at == stable && self.healed.times >= HEALS_MAX {
            self.halt(Halt::CannotHeal(flaw), effects);
            return;
        }
        let from = match &flaw {
            Flaw::Diverged(slot) => *slot,
            // Before the first one is certified there is none to go back to.
            Flaw::NoState(..) => stable.max(Slot(1)),
        };
        self.healing = Some(Healing { flaw, from });
        // What workers still make of the state is wrong.
        self.turn += 1;
        self.draining = None;
        self.send_away(effects);
        self.transfer.finish();
        self.transfer.want(from);
        self.seek_state(effects);
    }

    /// A state is of use above this slot.
    pub(super) fn needs_above(&self) -> Slot {
        self.healing.as_ref().map_or(self.system.slot, |healing| healing.from.minus(1))
    }

    /// A certified state was installed: if this replica's own was wrong, it goes on from there.
    pub(super) fn healed(&mut self, certificate: &CheckpointCertificate, effects: &mut Vec<Effect>) {
        let slot = certificate.checkpoint.slot;
        let admitted = std::mem::take(&mut self.admitted);
        if self.healing.take().is_none() {
            return;
        }
        self.checkpoints.forget_own(self.seat.me);
        self.shares.forget();
        let times = if self.healed.at == slot { self.healed.times + 1 } else { 1 };
        self.healed = Healed { at: slot, times, all: self.healed.all + 1 };
        let again = admitted.into_iter().filter(|(admitted, _)| *admitted > slot);
        again.rev().for_each(|admitted| self.decided.push_front(admitted));
        // Consensus may be further than this state: then it is not installed there.
        self.inbox.push_back(smr_consensus::Event::Stable(certificate.clone()));
        effects.push(Effect::Report(Observation::Healed(slot)));
    }
}
