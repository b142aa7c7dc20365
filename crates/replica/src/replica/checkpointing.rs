//! Checkpoints of this replica: from the application's state to a certificate; see [`crate::checkpoint`].

use smr_app::state::Taken;
use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_wire::Slot;

use super::Replica;
use crate::chunked::Chunked;
use crate::effect::{Effect, Observation};
use crate::known_bugs;
use crate::status::Flaw;

impl Replica {
    /// The application's state after `slot`, with everything up to it executed and nothing later admitted.
    pub(super) fn on_checkpointed(
        &mut self,
        slot: Slot,
        state: Result<Taken, String>,
        effects: &mut Vec<Effect>,
    ) {
        if self.draining != Some(slot) {
            return;
        }
        assert!(self.executed == slot, "a state after {slot}, but executed is {}", self.executed);
        self.draining = None;
        let application = match state {
            Ok(state) => state,
            Err(why) => return self.heal(Flaw::NoState(slot, why), effects),
        };
        self.system.renew_endpoints(&self.genesis);
        if !self.is_silent() {
            let (turn, system) = (self.turn, Box::new(self.system.clone()));
            effects.push(Effect::Chunk { slot, turn, system, application });
            self.certify_endpoints_if_renewed(effects);
        }
        self.admit_decided(effects);
    }

    /// The state after `slot`, in chunks: this replica votes for it, unless it knows of a later one by now.
    pub(super) fn on_chunked(
        &mut self,
        slot: Slot,
        turn: u64,
        state: Result<Chunked, String>,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_silent() || turn != self.turn || slot <= self.checkpoints.stable() {
            return;
        }
        let image = match state {
            Ok(image) => image,
            Err(why) => return self.heal(Flaw::NoState(slot, why), effects),
        };
        let vote = self.checkpoints.vote(slot, image, &self.seat);
        Replica::broadcast(effects, vote);
        if known_bugs::BEGINS_A_GENERATION_ALONE.is_on()
            && let Some(own) = self.checkpoints.own_digest(slot)
        {
            let checkpoint = Checkpoint { slot, digest: own };
            self.enter_generation(&CheckpointCertificate { checkpoint, votes: Vec::new() }, effects);
        }
        if let Some(certificate) = self.checkpoints.certified(&self.seat.group) {
            self.settle_checkpoint(certificate, effects);
        }
    }

    fn certify_endpoints_if_renewed(&mut self, effects: &mut Vec<Effect>) {
        let certified = self.endpoints.as_ref().map(|certificate| certificate.endpoints.issued);
        if self.system.endpoints.as_ref().map(|e| e.issued) != certified {
            self.certify_endpoints(effects);
        }
    }

    /// Takes up a checkpoint that enough votes certify.
    pub(super) fn settle_checkpoint(
        &mut self,
        certificate: CheckpointCertificate,
        effects: &mut Vec<Effect>,
    ) {
        let checkpoint = certificate.checkpoint;
        if checkpoint.slot <= self.checkpoints.stable() {
            return;
        }
        if self.healing.is_some() {
            self.inbox.push_back(smr_consensus::Event::Stable(certificate));
            return;
        }
        // Ahead of us: we get there by execution or by transfer, and meanwhile know what others keep.
        let Some(own) = self.checkpoints.own_digest(checkpoint.slot) else {
            self.inbox.push_back(smr_consensus::Event::Stable(certificate));
            return;
        };
        if own != checkpoint.digest {
            let (slot, certified) = (checkpoint.slot, checkpoint.digest);
            effects.push(Effect::Report(Observation::Diverged { slot, certified, own }));
            self.heal(Flaw::Diverged(slot), effects);
            return;
        }
        certificate.votes.iter().for_each(|(author, _)| self.shares.forgive(*author));
        self.admitted.retain(|(admitted, _)| *admitted > checkpoint.slot);
        self.checkpoints.stabilise(certificate);
        effects.push(Effect::Report(Observation::Stable(checkpoint.slot)));
        self.keep_newest(effects);
    }
}
