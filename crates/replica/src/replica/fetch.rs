//! States from and for other replicas; see [`crate::transfer`].

use smr_consensus::checkpoint::CheckpointCertificate;
use smr_wire::{ReplicaId, Slot};

use super::Replica;
use crate::effect::{Effect, Observation, Timer};
use crate::known_bugs;
use crate::message::{Offer, PeerMessage};
use crate::system::SystemState;
use crate::transfer::ASKED_MAX;

impl Replica {
    /// `from` needs a state above a slot.
    pub(super) fn on_state_query(
        &mut self,
        from: ReplicaId,
        above: Slot,
        begun: Option<Slot>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some((certificate, image)) = self.checkpoints.offer(above, begun) {
            self.checkpoints.pin(from, certificate.checkpoint.slot);
            let offer = Offer { certificate, count: image.count(), root: image.root() };
            Replica::send(effects, from, PeerMessage::StateOffer(offer));
        }
    }

    pub(super) fn on_leaves_query(
        &mut self,
        from: ReplicaId,
        slot: Slot,
        block: u32,
        effects: &mut Vec<Effect>,
    ) {
        let found = self.checkpoints.image(slot).and_then(|image| image.leaves(block));
        self.checkpoints.pin(from, slot);
        if let Some((leaves, path)) = found {
            Replica::send(effects, from, PeerMessage::Leaves { slot, leaves, path });
        }
    }

    pub(super) fn on_chunks_query(
        &mut self,
        from: ReplicaId,
        slot: Slot,
        indexes: &[u32],
        effects: &mut Vec<Effect>,
    ) {
        let mut room = self.genesis.config.answer_bytes as usize;
        let mut chunks: Vec<(u32, Vec<u8>)> = Vec::new();
        if let Some(image) = self.checkpoints.image(slot) {
            for index in indexes.iter().take(ASKED_MAX) {
                let Some(chunk) = image.chunks().get(*index as usize) else { break };
                let Some(left) = room.checked_sub(chunk.bytes().len()).or(chunks.is_empty().then_some(0))
                else {
                    break;
                };
                room = left;
                chunks.push((*index, chunk.bytes().to_vec()));
            }
        }
        self.checkpoints.pin(from, slot);
        if !chunks.is_empty() {
            Replica::send(effects, from, PeerMessage::Chunks { slot, chunks });
        }
    }

    /// Consensus misses decisions up to `base`, which correct peers no longer keep.
    pub(super) fn want_state(&mut self, base: Slot, effects: &mut Vec<Effect>) {
        if self.restoring.is_none() && self.transfer.want(base) {
            effects.push(Effect::Report(Observation::TransferBegan(self.system.slot)));
            self.seek_state(effects);
        }
    }

    /// A period of a transfer has passed.
    pub(super) fn on_transfer_timer(&mut self, effects: &mut Vec<Effect>) {
        self.transfer.period_passed(self.seat.group.one_correct());
        self.ask_for_more(effects);
        self.seek_state(effects);
    }

    /// Asks who has the state that is wanted; does nothing if none is.
    pub(super) fn seek_state(&mut self, effects: &mut Vec<Effect>) {
        let Some(base) = self.transfer.wanted() else { return };
        // Meanwhile a peer that keeps more may have given the decisions after all: all of them, as one that gives few
        // at a time would otherwise end every transfer that others begin to serve.
        if self.healing.is_none() && self.system.slot >= base {
            self.transfer.finish();
            return;
        }
        let above = self.needs_above();
        for (peer, query) in self.transfer.seek(self.seat.me, self.seat.group.size(), above) {
            Replica::send(effects, peer, query);
        }
        effects.push(Effect::Arm { timer: Timer::Transfer, after_ms: self.genesis.config.transfer_ms });
    }

    pub(super) fn on_state_offer(&mut self, from: ReplicaId, offer: Offer, effects: &mut Vec<Effect>) {
        if self.transfer.offered(from, self.needs_above(), offer) {
            // What has not changed since a state that is here need not be fetched.
            if let Some(image) = self.checkpoints.last_image() {
                self.transfer.has_at_hand(image.chunks().iter());
            }
            self.seek_state(effects);
        }
        self.ask_for_more(effects);
    }

    /// Something has come.
    pub(super) fn go_on_fetching(&mut self, effects: &mut Vec<Effect>) {
        let Some((certificate, image)) = self.transfer.complete() else {
            self.ask_for_more(effects);
            return;
        };
        effects.push(Effect::Disarm(Timer::Transfer));
        // Admitted meanwhile: going back would execute slots twice.
        if certificate.checkpoint.slot <= self.needs_above() {
            self.transfer.finish();
        } else {
            self.keep_fetched(certificate, image, effects);
        }
    }

    fn ask_for_more(&mut self, effects: &mut Vec<Effect>) {
        for (peer, query) in self.transfer.ask() {
            Replica::send(effects, peer, query);
        }
    }

    /// The application has taken over a state, or not.
    pub(super) fn on_restored(&mut self, slot: Slot, result: Result<(), String>, effects: &mut Vec<Effect>) {
        let Some((certificate, system)) = self.restored(slot) else { return };
        self.transfer.finish();
        if let Err(why) = result {
            self.cannot_restore(why, effects);
            return;
        }
        self.install(slot, certificate, *system, effects);
    }

    pub(super) fn install(
        &mut self,
        slot: Slot,
        certificate: CheckpointCertificate,
        system: SystemState,
        effects: &mut Vec<Effect>,
    ) {
        self.system = system;
        if known_bugs::LOSES_SESSIONS_IN_TRANSFER.is_on() {
            self.system.sessions = crate::sessions::Sessions::default();
        }
        self.executing.clear();
        self.decided.retain(|(decided, _)| *decided > slot);
        self.draining = None;
        self.since_checkpoint = 0;
        self.executed = slot;
        self.healed(&certificate, effects);
        self.unsettled.clear();
        self.blocks.restart(slot);
        self.send_away(effects);
        self.checkpoints.stabilise(certificate.clone());
        self.take_key(effects);
        self.speak(false, effects);
        effects.push(Effect::Report(Observation::TransferDone(slot)));
        if !self.enter_generation(&certificate, effects) {
            self.show_barrier();
            self.inbox.push_back(smr_consensus::Event::Installed(certificate));
        }
        self.admit_decided(effects);
    }
}
