//! What makes up for lost messages: replicas tell each other where they stand, repeat what others seem to lack,
//! and fetch what they lack themselves. The network may drop, repeat and reorder anything.

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::{Decision, Message, Pbft};
use crate::batch::Batch;
use crate::known_bugs;
use crate::protocol::Effects;
use crate::quorum::{Ballot, Phase};
use crate::upkeep::Upkeep;

/// Open slots whose votes are repeated in one status period at most.
const REPEAT_SLOTS_MAX: usize = 8;

impl Pbft {
    /// One status period has passed.
    pub(super) fn on_status_timer(&mut self, effects: &mut Effects<Message>) {
        let stalled = self.basis.on_status_timer(effects);
        let installed = self.basis.installed;
        if let Some(change) = self.changes.get(&self.basis.seat.me).filter(|_| !installed) {
            effects.broadcast(Message::ViewChange(change.clone()));
        }
        if installed && stalled {
            if !known_bugs::REPEATS_NO_VOTES.is_on() {
                self.repeat(effects);
            }
            if self.is_primary() {
                self.fetch_bodies(effects);
            }
        }
    }

    /// Nothing was decided for a whole period: says again what we said of the first open slots.
    fn repeat(&self, effects: &mut Effects<Message>) {
        let me = self.basis.seat.me;
        for (slot, place) in self.basis.ledger.window.iter().take(REPEAT_SLOTS_MAX) {
            if let Some((view, digest, signature)) =
                place.prepares.of(me).filter(|(v, _, _)| *v == self.basis.view)
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
        self.basis.catch_up.heard(from, decided);
        if known_bugs::SHOWS_NO_NEW_VIEW.is_on() {
            return;
        }
        if let Some(new_view) = self.new_view.as_ref().filter(|_| self.basis.has_missed(view, installed)) {
            effects.send(from, Message::NewView(new_view.clone()));
        }
    }

    /// Decisions, each checked by its certificate.
    pub(super) fn on_decided(
        &mut self,
        from: ReplicaId,
        decisions: Vec<Decision>,
        effects: &mut Effects<Message>,
    ) {
        for decision in decisions {
            self.basis.learn(from, decision);
            self.advance(effects);
        }
    }

    /// As primary: asks for the batches that the view's beginning binds us to and that we do not have.
    pub(super) fn fetch_bodies(&self, effects: &mut Effects<Message>) {
        let lacking = self.beginning.digests.iter().filter(|(slot, digest)| {
            **slot > self.decided()
                && self.basis.ledger.window.contains(**slot)
                && self.body(**slot, digest).is_none()
        });
        for (slot, digest) in lacking {
            effects.broadcast(Upkeep::FetchBody { slot: *slot, digest: *digest }.into());
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
        let logged = self.basis.ledger.log.get(slot).map(|(batch, _)| batch.clone());
        let found = logged.filter(|batch| batch.digest() == digest).or_else(|| self.body(slot, &digest));
        if let Some(batch) = found {
            effects.send(from, Upkeep::Body { slot, batch }.into());
        }
    }

    /// A batch that we may have asked for; kept only if the view's beginning names it.
    pub(super) fn on_body(&mut self, slot: Slot, batch: Batch) {
        let named = self.beginning.digests.get(&slot) == Some(&batch.digest());
        if let Some(place) = self.basis.ledger.window.entry(slot).filter(|_| named) {
            place.fetched = Some(batch);
        }
    }

    /// Votes for every proposal that has come into reach, after the window or its limit moved.
    pub(super) fn vote_reached(&mut self, effects: &mut Effects<Message>) {
        let (view, limit) = (self.basis.view, self.basis.ledger.vote_limit());
        let reached: Vec<Slot> = self
            .basis
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
        self.stands(view) && self.prepare_sent < Some(view)
    }
}
