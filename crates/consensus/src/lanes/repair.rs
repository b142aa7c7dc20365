//! What makes up for lost messages: replicas tell each other where they stand, repeat what others seem to lack, and
//! fetch what they lack themselves. The network may drop, repeat and reorder anything.

use std::sync::Arc;

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::beginning::Beginning;
use super::core::Item;
use super::{Decision, Endorsement, Lanes, Message};
use crate::batch::Batch;
use crate::known_bugs;
use crate::protocol::Effects;
use crate::upkeep::Upkeep;

/// Open slots whose votes are repeated in one status period at most, where the group is not larger.
const REPEAT_SLOTS_MAX: usize = 8;

/// Batches with the slots that they are proposed for.
type Proposals = Vec<(Slot, Batch)>;

impl Lanes {
    /// One status period has passed.
    pub(super) fn on_status_timer(&mut self, effects: &mut Effects<Message>) {
        let stalled = self.basis.on_status_timer(effects);
        let installed = self.basis.installed;
        if !installed {
            self.on_news(effects);
            self.repeat_change(effects);
        }
        if stalled {
            self.nudged = Slot(0);
            self.repeat_votes(effects);
            self.fetch_bodies(effects);
        }
    }

    /// The view we are on the way to has not begun: says again what we said of it.
    fn repeat_change(&self, effects: &mut Effects<Message>) {
        let me = self.basis.seat.me;
        if let Some(change) = self.changes.get(&me) {
            effects.broadcast(Message::ViewChange(Box::new(change.clone())));
        }
        if let Some((new_view, _)) = &self.new_view
            && self.basis.seat.group.primary_of(self.basis.view) == me
        {
            effects.broadcast(Message::NewView(new_view.clone()));
        }
        if let Some((view, digest, signature)) = self.acknowledgements.get(&me).copied() {
            effects.broadcast(Message::Acknowledge { view, digest, signature });
        }
    }

    /// Nothing was decided for a whole period: says again what we said of the first open slots.
    fn repeat_votes(&self, effects: &mut Effects<Message>) {
        let me = self.basis.seat.me;
        // At least one slot of each replica whose turn it is.
        let open = self.basis.ledger.window.iter().take(REPEAT_SLOTS_MAX.max(self.basis.seat.group.size()));
        let mut said: Vec<(Arc<Endorsement>, Proposals)> = Vec::new();
        for (slot, place) in open {
            let Some((view, _, endorsement)) = place.votes.of(me) else { continue };
            if !said.iter().any(|(other, _)| *other == endorsement) {
                said.push((endorsement.clone(), Vec::new()));
            }
            let proposal = place.proposal.as_ref().filter(|_| place.is_ours == Some(view));
            let (_, batches) = said.iter_mut().find(|(other, _)| *other == endorsement).expect("just added");
            batches.extend(proposal.filter(|(v, _)| *v == view).map(|(_, batch)| (slot, batch.clone())));
        }
        for (endorsement, batches) in said {
            effects.broadcast(Message::Endorse { endorsement, batches });
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
        let missed = self.basis.has_missed(view, installed) && !known_bugs::SHOWS_NO_NEW_VIEW.is_on();
        if let Some(certificate) = self.begun.get(&self.basis.view).filter(|_| missed) {
            effects.send(from, Message::Begun(certificate.clone()));
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
        // A coordinator may have waited for these, or for their places.
        self.on_news(effects);
    }

    /// What `beginning` names above our decided prefix and we do not have.
    pub(super) fn lacking(&self, beginning: &Beginning) -> Vec<Item> {
        let above = beginning.items().filter(|item| item.slot > self.decided());
        above.filter(|item| self.body(item.slot, &item.digest).is_none()).collect()
    }

    /// Asks for the batches that we cannot go on without: those that the view's beginning names, and, to begin one, those
    /// that replicas voted for.
    pub(super) fn fetch_bodies(&self, effects: &mut Effects<Message>) {
        if known_bugs::ASKS_FOR_NO_BATCHES.is_on() {
            return;
        }
        let mut lacking = match &self.new_view {
            Some((_, beginning)) if !self.basis.installed => self.lacking(beginning),
            _ if self.basis.installed => self.lacking(&self.beginning),
            _ => Vec::new(),
        };
        if !self.basis.installed
            && self.new_view.is_none()
            && self.basis.seat.group.primary_of(self.basis.view) == self.basis.seat.me
        {
            let claims =
                self.changes.values().filter(|change| change.to == self.basis.view).flat_map(|c| c.claims());
            let missing = claims
                .map(|(_, item)| item)
                .filter(|item| item.slot > self.decided() && self.body(item.slot, &item.digest).is_none());
            lacking.extend(missing);
            lacking.sort_unstable();
            lacking.dedup();
        }
        for Item { slot, digest } in
            lacking.into_iter().filter(|item| self.basis.ledger.window.contains(item.slot))
        {
            effects.broadcast(Upkeep::FetchBody { slot, digest }.into());
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
        if let Some(batch) = self.body(slot, &digest) {
            effects.send(from, Upkeep::Body { slot, batch }.into());
        }
    }

    /// A batch that we may have asked for; kept only if somebody named it.
    pub(super) fn on_body(&mut self, slot: Slot, batch: Batch, effects: &mut Effects<Message>) {
        let item = Item { slot, digest: batch.digest() };
        let begun = self.beginning.at(slot) == Some(item.digest);
        let begins = self.new_view.as_ref().is_some_and(|(_, b)| b.at(slot) == Some(item.digest));
        let told = self.changes.values().any(|change| change.claims().any(|(_, claim)| claim == item));
        let voted =
            self.basis.ledger.window.get(slot).and_then(|place| place.votes.winner(&self.basis.seat.group));
        let wins = voted.is_some_and(|(_, digest)| digest == item.digest);
        if !(begun || begins || told || wins) {
            return;
        }
        let size = self.basis.seat.group.size();
        if let Some(place) = self.basis.ledger.window.entry(slot) {
            if !place.fetched.contains(&batch) {
                let surplus = (place.fetched.len() + 1).saturating_sub(size);
                place.fetched.drain(..surplus);
                place.fetched.push(batch);
            }
            self.decide(slot);
            self.on_news(effects);
        }
    }

    /// Something came that a beginning may have waited for.
    fn on_news(&mut self, effects: &mut Effects<Message>) {
        if !self.basis.installed {
            self.begin_if_able(effects);
            self.acknowledge_if_able(effects);
        }
    }
}
