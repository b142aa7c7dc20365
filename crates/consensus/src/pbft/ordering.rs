//! The normal case: propose, prepare, commit, decide.

use smr_crypto::Signature;
use smr_wire::{ReplicaId, Slot, Timestamp, View};

use super::{Message, Pbft};
use crate::basis::Place as _;
use crate::batch::{Batch, Entry};
use crate::batcher;
use crate::known_bugs;
use crate::protocol::{Effect, Effects, Observation};
use crate::quorum::{Ballot, Phase};
use crate::record::{Record, Vote};
use crate::upkeep::Upkeep;
use crate::verified::Refused;

/// The ballot on which the primary's proposal is the first vote.
pub(super) fn prepare(view: View, slot: Slot, batch: &Batch) -> Ballot {
    Ballot { phase: Phase::Prepare, view, slot, digest: batch.digest() }
}

/// A first vote for a batch, to be written down.
fn voted(ballot: Ballot, batch: &Batch) -> Effect<Message> {
    Effect::Persist(Record::Voted(Box::new(Vote { ballot, batch: batch.clone(), ground: None })))
}

impl Pbft {
    /// An entry from a client of ours, or our own: it waits here, and the primary hears of it at once.
    pub(super) fn on_offer(&mut self, entry: Entry, effects: &mut Effects<Message>) {
        if self.basis.offer(entry.clone(), effects) && self.basis.installed && !self.is_primary() {
            effects.send(self.primary(), Upkeep::Forward(vec![entry]).into());
        }
    }

    /// Entries that others wait for. What finds no room is dropped: whoever forwarded it still has it.
    pub(super) fn on_forward(
        &mut self,
        from: ReplicaId,
        entries: Vec<Entry>,
        effects: &mut Effects<Message>,
    ) {
        let fresh = self.basis.pool.forwarded(from, entries);
        // A relayed entry that the primary does not have yet may be new to it through us.
        if !fresh.is_empty() && self.basis.installed && !self.is_primary() {
            effects.send(self.primary(), Upkeep::Forward(fresh).into());
        }
    }

    /// Proposes what is due: first what the view's beginning binds us to, then new batches.
    pub(super) fn propose(&mut self, clock: Timestamp, effects: &mut Effects<Message>) {
        if !self.basis.installed || !self.is_primary() {
            return;
        }
        self.proposed = self.proposed.max(self.decided()).max(self.beginning.decided);
        while self.proposed < self.beginning.bound() && self.proposed < self.basis.ledger.vote_limit() {
            let slot = self.proposed.next();
            let digest = self.beginning.digests[&slot];
            let Some(batch) = self.body(slot, &digest) else {
                return;
            };
            self.basis.pool.proposed(batch.entries());
            self.propose_in(slot, batch, effects);
        }
        if self.proposed < self.beginning.bound() {
            return;
        }
        while self.basis.ledger.may_propose(self.proposed.next()) {
            let open_slots = self.basis.ledger.open(self.proposed);
            let cut = batcher::cut(&mut self.basis.pool, open_slots, clock, &self.basis.config);
            let nothing = self.basis.ledger.hurries().then(|| Batch::new(clock, Vec::new()));
            let Some(batch) = cut.or(nothing) else { return };
            self.propose_in(self.proposed.next(), batch, effects);
        }
    }

    fn propose_in(&mut self, slot: Slot, batch: Batch, effects: &mut Effects<Message>) {
        self.proposed = slot;
        let ballot = prepare(self.basis.view, slot, &batch);
        let signature = self.basis.seat.sign(&ballot.statement(&self.basis.seat.group));
        let (view, me) = (self.basis.view, self.basis.seat.me);
        effects.push(voted(ballot, &batch));
        effects.broadcast(Message::Proposal { view, slot, batch: batch.clone(), signature });
        let place =
            self.basis.ledger.window.entry(slot).expect("below the vote limit, which lies in the window");
        place.accept(view, batch);
        place.prepare_sent = Some(view);
        place.prepares.add(me, view, ballot.digest, signature);
        self.progress(slot, effects);
    }

    /// A proposal of the primary of `ballot.view`, which signed it.
    pub(super) fn on_proposal(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        batch: Batch,
        signature: Signature,
        clock: Timestamp,
        effects: &mut Effects<Message>,
    ) {
        if !self.basis.installed
            || ballot.view != self.basis.view
            || !self.basis.ledger.window.contains(ballot.slot)
        {
            return;
        }
        if !self.may_stand(ballot, &batch, from, clock, effects) {
            return;
        }
        let place = self.basis.ledger.window.entry(ballot.slot).expect("checked above");
        if let Some((view, standing)) = &place.proposal
            && *view == ballot.view
        {
            if *standing != batch && known_bugs::VOTES_TWICE_IN_A_VIEW.is_on() {
                place.accept(ballot.view, batch);
                (place.prepare_sent, place.commit_sent) = (None, None);
            } else if *standing != batch {
                effects.report(Observation::Equivocation { by: from, view: *view, slot: ballot.slot });
                self.suspect("the primary proposed two batches for one slot", effects);
                return;
            }
        } else {
            place.accept(ballot.view, batch);
        }
        place.prepares.add(from, ballot.view, ballot.digest, signature);
        self.vote_prepare(ballot.slot, effects);
        self.progress(ballot.slot, effects);
    }

    /// Whether the view's beginning and the clock allow this proposal.
    fn may_stand(
        &self,
        ballot: Ballot,
        batch: &Batch,
        from: ReplicaId,
        clock: Timestamp,
        effects: &mut Effects<Message>,
    ) -> bool {
        let bound = ballot.slot <= self.beginning.bound() && !known_bugs::BEGINNING_BINDS_NOBODY.is_on();
        if bound {
            // At or below the beginning's decided prefix there is nothing to propose.
            let allowed = self.beginning.digests.get(&ballot.slot) == Some(&ballot.digest);
            if !allowed {
                effects.report(Observation::Dropped { from, why: Refused::NoRight });
            }
            return allowed;
        }
        let skew_ms = batch.time().since(clock).max(clock.since(batch.time()));
        if skew_ms > self.basis.config.skew_max_ms {
            effects.report(Observation::Skewed { by: from, skew_ms });
            return false;
        }
        true
    }

    pub(super) fn vote_prepare(&mut self, slot: Slot, effects: &mut Effects<Message>) {
        let (view, limit) = (self.basis.view, self.basis.ledger.vote_limit());
        if !self.basis.installed || slot > limit {
            return;
        }
        let Some(place) = self.basis.ledger.window.entry(slot) else {
            return;
        };
        let Some((_, batch)) = place.proposal.clone().filter(|(v, _)| *v == view) else {
            return;
        };
        if place.prepare_sent >= Some(view) {
            return;
        }
        place.prepare_sent = Some(view);
        let ballot = prepare(view, slot, &batch);
        effects.push(voted(ballot, &batch));
        self.vote(ballot, effects);
    }

    fn vote(&mut self, ballot: Ballot, effects: &mut Effects<Message>) {
        let signature = self.basis.seat.sign(&ballot.statement(&self.basis.seat.group));
        effects.broadcast(Message::Vote { ballot, signature });
        let me = self.basis.seat.me;
        if let Some(place) = self.basis.ledger.window.entry(ballot.slot) {
            match ballot.phase {
                Phase::Prepare => place.prepares.add(me, ballot.view, ballot.digest, signature),
                Phase::Commit => place.commits.add(me, ballot.view, ballot.digest, signature),
            }
        }
    }

    /// A vote of `from`, which signed it. Votes of other views count too: a quorum of commits decides, whatever
    /// view we are in.
    pub(super) fn on_vote(
        &mut self,
        from: ReplicaId,
        ballot: Ballot,
        signature: Signature,
        effects: &mut Effects<Message>,
    ) {
        let Some(place) = self.basis.ledger.window.entry(ballot.slot) else {
            return;
        };
        match ballot.phase {
            Phase::Prepare => place.prepares.add(from, ballot.view, ballot.digest, signature),
            Phase::Commit => place.commits.add(from, ballot.view, ballot.digest, signature),
        }
        self.progress(ballot.slot, effects);
    }

    /// Takes `slot` as far as the votes allow.
    pub(super) fn progress(&mut self, slot: Slot, effects: &mut Effects<Message>) {
        let group = self.basis.seat.group.clone();
        let (view, installed) = (self.basis.view, self.basis.installed);
        let Some(place) = self.basis.ledger.window.entry(slot) else {
            return;
        };
        let late = known_bugs::COMMITS_IN_A_VIEW_IT_LEFT.is_on() && !installed;
        let view = place.proposal.as_ref().map(|(v, _)| *v).filter(|_| late).unwrap_or(view);
        let current = place.proposal.clone().filter(|(v, _)| *v == view && (installed || late));
        if let Some((_, batch)) = current
            && place.commit_sent < Some(view)
            && place.prepare_sent == Some(view)
            && let Some(certificate) = place.prepares.certificate(prepare(view, slot, &batch), &group)
        {
            place.prepared = Some((certificate.clone(), batch.clone()));
            place.commit_sent = Some(view);
            effects.push(Effect::Persist(Record::Prepared(certificate)));
            let ballot = Ballot { phase: Phase::Commit, view, slot, digest: batch.digest() };
            self.vote(ballot, effects);
        }
        self.decide(slot);
    }

    fn decide(&mut self, slot: Slot) {
        let group = self.basis.seat.group.clone();
        let Some(place) = self.basis.ledger.window.entry(slot) else {
            return;
        };
        if place.decision.is_some() {
            return;
        }
        let phase = Phase::deciding();
        let votes = match phase {
            Phase::Prepare => &place.prepares,
            Phase::Commit => &place.commits,
        };
        let Some((view, digest)) = votes.winner(&group) else {
            return;
        };
        let Some(batch) = place.body(&digest) else { return };
        let ballot = Ballot { phase, view, slot, digest };
        let certificate = votes.certificate(ballot, &group).expect("a quorum, as counted above");
        place.decision = Some((certificate, batch));
    }

    /// Moves the decided prefix over what is decided, as long as execution keeps up.
    pub(super) fn advance(&mut self, effects: &mut Effects<Message>) {
        while let Some((slot, batch)) = self.basis.advance(effects) {
            effects.push(Effect::Decide { slot, batch });
            self.vote_reached(effects);
        }
    }

    /// The batch with this digest, if we have it for this slot.
    pub(super) fn body(&self, slot: Slot, digest: &smr_crypto::Digest) -> Option<Batch> {
        let nil = Batch::nil();
        if nil.digest() == *digest {
            return Some(nil);
        }
        self.basis.ledger.window.get(slot).and_then(|place| place.body(digest))
    }
}

impl super::Place {
    /// Whether there is a proposal of `view`.
    pub(super) fn stands(&self, view: View) -> bool {
        self.proposal.as_ref().is_some_and(|(v, _)| *v == view)
    }

    /// Puts a proposal of a later view in place of the one that stands.
    pub(super) fn accept(&mut self, view: View, batch: Batch) {
        if let Some((earlier, standing)) = self.proposal.replace((view, batch))
            && self.prepare_sent == Some(earlier)
        {
            self.voted.keep(standing);
        }
    }
}
