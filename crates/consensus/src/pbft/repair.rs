//! What makes up for lost messages: replicas tell each other where they stand, repeat what others seem to lack,
//! and fetch what they lack themselves. The network may drop, repeat and reorder anything.

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::{Decision, Message, Pbft};
use crate::batch::Batch;
use crate::checkpoint::CheckpointCertificate;
use crate::known_bugs;
use crate::protocol::{Effect, Effects, Timer};
use crate::quorum::{Ballot, Phase};

/// Open slots whose votes are repeated in one status period at most.
const REPEAT_SLOTS_MAX: usize = 8;

impl Pbft {
    /// One status period has passed.
    pub(super) fn on_status_timer(&mut self, effects: &mut Effects<Message>) {
        effects.arm(Timer::Status, self.config.status_ms);
        let (view, installed, decided) = (self.view, self.installed, self.decided());
        effects.broadcast(Message::Status { view, installed, decided });
        let wishes = self.suspicion.to_show(&self.seat, view, installed);
        if !wishes.is_empty() {
            effects.broadcast(Message::Suspects(wishes));
        }
        if let Some(change) = self.changes.get(&self.seat.me).filter(|_| !installed) {
            effects.broadcast(Message::ViewChange(change.clone()));
        }
        if let Some(peer) = self.catch_up.tick(decided, self.seat.group.one_correct()) {
            effects.send(peer, Message::Fetch { after: decided });
        }
        if installed && decided == self.decided_at_tick {
            if !known_bugs::REPEATS_NO_VOTES.is_on() {
                self.repeat(effects);
            }
            if self.is_primary() {
                self.fetch_bodies(effects);
            }
        }
        self.decided_at_tick = decided;
    }

    /// Nothing was decided for a whole period: says again what we said of the first open slots.
    fn repeat(&self, effects: &mut Effects<Message>) {
        let me = self.seat.me;
        for (slot, place) in self.ledger.window.iter().take(REPEAT_SLOTS_MAX) {
            if let Some((view, digest, signature)) = place.prepares.of(me).filter(|(v, _, _)| *v == self.view)
            {
                let proposal = place.proposal.as_ref().filter(|(v, _)| *v == view && self.is_primary());
                match proposal {
                    Some((_, batch)) => {
                        effects.broadcast(Message::Proposal { view, slot, batch: batch.clone(), signature });
                    }
                    None => {
                        let ballot = Ballot { phase: Phase::Prepare, view, slot, digest };
                        effects.broadcast(Message::Vote { ballot, signature });
                    }
                }
            }
            if let Some((view, digest, signature)) = place.commits.of(me) {
                let ballot = Ballot { phase: Phase::Commit, view, slot, digest };
                effects.broadcast(Message::Vote { ballot, signature });
            }
        }
    }

    /// Where `from` stands: show it the view if it missed its beginning, and note how far it is.
    pub(super) fn on_status(
        &mut self,
        from: ReplicaId,
        view: View,
        installed: bool,
        decided: Slot,
        effects: &mut Effects<Message>,
    ) {
        self.catch_up.heard(from, decided);
        if known_bugs::SHOWS_NO_NEW_VIEW.is_on() {
            return;
        }
        let missed = view < self.view || (view == self.view && !installed);
        if let Some(new_view) = self.new_view.as_ref().filter(|_| missed && self.installed) {
            effects.send(from, Message::NewView(new_view.clone()));
        }
    }

    /// `from` lacks decisions after `after`.
    pub(super) fn on_fetch(&self, from: ReplicaId, after: Slot, effects: &mut Effects<Message>) {
        if known_bugs::ANSWERS_NO_LAGGARD.is_on() {
            return;
        }
        if let Some(stable) = self.ledger.stable().filter(|_| after < self.ledger.log.base()) {
            effects.send(from, Message::Pruned(stable.clone()));
            return;
        }
        let decisions = self.ledger.decisions_after(after, self.config.fetch_bytes_max as usize);
        if !decisions.is_empty() {
            effects.send(from, Message::Decided(decisions));
        }
    }

    /// Decisions, each checked by its certificate.
    pub(super) fn on_decided(
        &mut self,
        from: ReplicaId,
        decisions: Vec<Decision>,
        effects: &mut Effects<Message>,
    ) {
        let before = self.decided();
        for Decision { batch, certificate } in decisions {
            if let Some(place) = self.ledger.window.entry(certificate.ballot.slot) {
                place.decision.get_or_insert((certificate, batch));
                self.advance(effects);
            }
        }
        if let Some(peer) = self.catch_up.answered(from, before, self.decided()) {
            effects.send(peer, Message::Fetch { after: self.decided() });
        }
    }

    /// `from` does not keep what we asked for. That there is a state in its place proves itself, so one answer is enough,
    /// and no liar can send us after what is not there.
    pub(super) fn on_pruned(
        &mut self,
        from: ReplicaId,
        certificate: &CheckpointCertificate,
        effects: &mut Effects<Message>,
    ) {
        let base = certificate.checkpoint.slot;
        if self.catch_up.asked(from) && base > self.decided() {
            effects.push(Effect::NeedState { base });
        }
    }

    /// As primary: asks for the batches that the view's beginning binds us to and that we do not have.
    pub(super) fn fetch_bodies(&self, effects: &mut Effects<Message>) {
        let lacking = self.beginning.digests.iter().filter(|(slot, digest)| {
            **slot > self.decided()
                && self.ledger.window.contains(**slot)
                && self.body(**slot, digest).is_none()
        });
        for (slot, digest) in lacking {
            effects.broadcast(Message::FetchBody { slot: *slot, digest: *digest });
        }
    }

    /// `from` asks for a batch.
    pub(super) fn on_fetch_body(
        &self,
        from: ReplicaId,
        slot: Slot,
        digest: Digest,
        effects: &mut Effects<Message>,
    ) {
        let logged = self.ledger.log.get(slot).map(|(batch, _)| batch.clone());
        let found = logged.filter(|batch| batch.digest() == digest).or_else(|| self.body(slot, &digest));
        if let Some(batch) = found {
            effects.send(from, Message::Body { slot, batch });
        }
    }

    /// A batch that we may have asked for; kept only if the view's beginning names it.
    pub(super) fn on_body(&mut self, slot: Slot, batch: Batch) {
        let named = self.beginning.digests.get(&slot) == Some(&batch.digest());
        if let Some(place) = self.ledger.window.entry(slot).filter(|_| named) {
            place.fetched = Some(batch);
        }
    }

    /// Votes for every proposal that has come into reach, after the window or its limit moved.
    pub(super) fn vote_reached(&mut self, effects: &mut Effects<Message>) {
        let (view, limit) = (self.view, self.ledger.vote_limit());
        let reached: Vec<Slot> = self
            .ledger
            .window
            .iter()
            .filter(|(slot, place)| *slot <= limit && place.awaits_vote(view))
            .map(|(slot, _)| slot)
            .collect();
        for slot in reached {
            self.vote_prepare(slot, effects);
            self.progress(slot, effects);
        }
    }
}

impl super::Place {
    /// Whether there is a proposal of `view` on which we have not voted.
    fn awaits_vote(&self, view: View) -> bool {
        self.proposal.as_ref().is_some_and(|(v, _)| *v == view) && self.prepare_sent < Some(view)
    }
}
