//! Other replicas beside consensus: shares, checkpoint votes, state transfer.

use smr_consensus::checkpoint::CheckpointCertificate;
use smr_wire::{ReplicaId, Slot};

use super::Replica;
use crate::effect::{Effect, Observation, Timer};
use crate::known_bugs;
use crate::message::PeerMessage;
use crate::replies::Statement;
use crate::system::SystemState;

impl Replica {
    /// A message of `from`, checked.
    pub(super) fn on_peer(&mut self, from: ReplicaId, message: PeerMessage, effects: &mut Vec<Effect>) {
        match message {
            PeerMessage::Share { statement, share } => {
                if self.wants_share(statement) {
                    self.shares.add(statement, from, share);
                    self.try_combine(statement, effects);
                }
            }
            PeerMessage::ShareQuery { statement } => {
                self.on_share_query(from, statement, effects);
            }
            PeerMessage::CheckpointVote { checkpoint, signature } => {
                // Whoever still votes for what is stable has missed the votes of others, who repeat them no more.
                let repeats = !known_bugs::REPEATS_NO_CHECKPOINT.is_on();
                if repeats && let Some(certificate) = self.checkpoints.certificate_from(checkpoint.slot) {
                    Replica::send(effects, from, PeerMessage::Stable(certificate.clone()));
                }
                self.checkpoints.add(from, checkpoint, signature);
                if let Some(certificate) = self.checkpoints.certified(&self.seat.group) {
                    self.settle_checkpoint(certificate, effects);
                }
            }
            PeerMessage::Stable(certificate) => self.settle_checkpoint(certificate, effects),
            PeerMessage::Moved(certificate) => self.on_moved(certificate, effects),
            PeerMessage::StateQuery { above, begun } => self.on_state_query(from, above, begun, effects),
            PeerMessage::StateOffer { certificate, chunks } => {
                self.on_state_offer(from, certificate, chunks, effects);
            }
            PeerMessage::ChunkQuery { slot, index } => {
                let found = self.checkpoints.image(slot).and_then(|image| image.chunk(index));
                self.checkpoints.pin(from, slot);
                if let Some((bytes, path)) = found {
                    Replica::send(effects, from, PeerMessage::Chunk { slot, bytes, path });
                }
            }
            PeerMessage::Chunk { slot, bytes, path } => {
                if self.transfer.received(slot, bytes, &path) {
                    self.ask_chunks(1, effects);
                    self.try_restore(effects);
                }
            }
        }
    }

    fn wants_share(&self, statement: Statement) -> bool {
        match statement {
            Statement::Block(slot) => self.blocks.wants(slot),
            // Of contacts only the current certificate, or before there is one the first, is of use.
            Statement::Endpoints(epoch, issued) => match &self.system.endpoints {
                Some(current) => current.epoch == epoch && current.issued == issued,
                None => false,
            },
        }
    }

    fn on_state_query(
        &mut self,
        from: ReplicaId,
        above: Slot,
        begun: Option<Slot>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some((certificate, image)) = self.checkpoints.offer(above, begun) {
            self.checkpoints.pin(from, certificate.checkpoint.slot);
            Replica::send(effects, from, PeerMessage::StateOffer { certificate, chunks: image.count() });
        }
    }

    /// Consensus misses decisions up to `base`, which correct peers no longer keep.
    pub(super) fn want_state(&mut self, base: Slot, effects: &mut Vec<Effect>) {
        if self.restoring.is_none() && self.transfer.want(base) {
            effects.push(Effect::Report(Observation::TransferBegan(self.system.slot)));
            self.ask_next_source(effects);
        }
    }

    /// A period of a transfer has passed.
    pub(super) fn on_transfer_timer(&mut self, effects: &mut Vec<Effect>) {
        if self.transfer.is_fast_enough(self.genesis.config.chunks_in_flight) {
            effects.push(Effect::Arm { timer: Timer::Transfer, after_ms: self.genesis.config.transfer_ms });
        } else {
            self.ask_next_source(effects);
        }
    }

    /// Turns to the next peer for the state that is wanted; does nothing if none is.
    pub(super) fn ask_next_source(&mut self, effects: &mut Vec<Effect>) {
        let Some(base) = self.transfer.wanted() else { return };
        // Meanwhile a peer that keeps more may have given the decisions after all: all of them, as one that gives few
        // at a time would otherwise end every transfer that others begin to serve.
        let above = self.system.slot;
        if above >= base {
            self.transfer.finish();
            return;
        }
        let source = self.transfer.next_source(self.seat.me, self.seat.group.size());
        let begun = self.transfer.begun();
        Replica::send(effects, source, PeerMessage::StateQuery { above, begun });
        effects.push(Effect::Arm { timer: Timer::Transfer, after_ms: self.genesis.config.transfer_ms });
    }

    fn on_state_offer(
        &mut self,
        from: ReplicaId,
        certificate: CheckpointCertificate,
        chunks: u32,
        effects: &mut Vec<Effect>,
    ) {
        if self.transfer.offered(from, self.system.slot, certificate, chunks) {
            self.ask_chunks(self.genesis.config.chunks_in_flight, effects);
        }
    }

    fn ask_chunks(&mut self, count: u32, effects: &mut Vec<Effect>) {
        if let Some((source, slot, indexes)) = self.transfer.ask(count) {
            for index in indexes {
                Replica::send(effects, source, PeerMessage::ChunkQuery { slot, index });
            }
        }
    }

    fn try_restore(&mut self, effects: &mut Vec<Effect>) {
        let Some((certificate, image)) = self.transfer.complete() else { return };
        effects.push(Effect::Disarm(Timer::Transfer));
        // Admitted meanwhile: going back would execute slots twice.
        if certificate.checkpoint.slot <= self.system.slot {
            self.transfer.finish();
        } else {
            self.keep_fetched(certificate, image, effects);
        }
    }

    /// The application has taken over a fetched state, or not.
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
        self.executed = slot;
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
