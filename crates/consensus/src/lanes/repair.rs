//! What makes up for lost messages: replicas tell each other where they stand, repeat what others seem to lack, and
//! fetch what they lack themselves. The network may drop, repeat and reorder anything.

use std::sync::Arc;

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::beginning::Beginning;
use super::core::Item;
use super::{Decision, Endorsement, Lanes, Message};
use crate::batch::Batch;
use crate::checkpoint::CheckpointCertificate;
use crate::protocol::{Effect, Effects, Timer};

/// Open slots whose votes are repeated in one status period at most, where the group is not larger.
const REPEAT_SLOTS_MAX: usize = 8;

/// Batches with the slots that they are proposed for.
type Proposals = Vec<(Slot, Batch)>;

impl Lanes {
    /// One status period has passed.
    pub(super) fn on_status_timer(&mut self, effects: &mut Effects<Message>) {
        effects.arm(Timer::Status, self.config.status_ms);
        let (view, installed, decided) = (self.view, self.installed, self.decided());
        effects.broadcast(Message::Status { view, installed, decided });
        let wishes = self.suspicion.to_show(&self.seat, view, installed);
        if !wishes.is_empty() {
            effects.broadcast(Message::Suspects(wishes));
        }
        if !installed {
            self.on_news(effects);
            self.repeat_change(effects);
        }
        if let Some(peer) = self.catch_up.tick(decided, self.seat.group.one_correct()) {
            effects.send(peer, Message::Fetch { after: decided });
        }
        if decided == self.decided_at_tick {
            self.repeat_votes(effects);
            self.fetch_bodies(effects);
        }
        self.decided_at_tick = decided;
    }

    /// The view we are on the way to has not begun: says again what we said of it.
    fn repeat_change(&self, effects: &mut Effects<Message>) {
        let me = self.seat.me;
        if let Some(change) = self.changes.get(&me) {
            effects.broadcast(Message::ViewChange(Box::new(change.clone())));
        }
        if let Some((new_view, _)) = &self.new_view
            && self.seat.group.primary_of(self.view) == me
        {
            effects.broadcast(Message::NewView(new_view.clone()));
        }
        if let Some((view, digest, signature)) = self.acknowledgements.get(&me).copied() {
            effects.broadcast(Message::Acknowledge { view, digest, signature });
        }
    }

    /// Nothing was decided for a whole period: says again what we said of the first open slots.
    fn repeat_votes(&self, effects: &mut Effects<Message>) {
        let me = self.seat.me;
        // At least one slot of each replica whose turn it is.
        let open = self.ledger.window.iter().take(REPEAT_SLOTS_MAX.max(self.seat.group.size()));
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
        self.catch_up.heard(from, decided);
        let missed = view < self.view || (view == self.view && !installed);
        if let Some(certificate) = self.begun.get(&self.view).filter(|_| missed && self.installed) {
            effects.send(from, Message::Begun(certificate.clone()));
        }
    }

    /// `from` lacks decisions after `after`.
    pub(super) fn on_fetch(&self, from: ReplicaId, after: Slot, effects: &mut Effects<Message>) {
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
            if let Some(place) = self.ledger.window.entry(certificate.item.slot) {
                place.decision.get_or_insert((certificate, batch));
                self.advance(effects);
            }
        }
        if let Some(peer) = self.catch_up.answered(from, before, self.decided()) {
            effects.send(peer, Message::Fetch { after: self.decided() });
        }
        // A coordinator may have waited for these, or for their places.
        self.on_news(effects);
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

    /// What `beginning` names above our decided prefix and we do not have.
    pub(super) fn lacking(&self, beginning: &Beginning) -> Vec<Item> {
        let above = beginning.items().filter(|item| item.slot > self.decided());
        above.filter(|item| self.body(item.slot, &item.digest).is_none()).collect()
    }

    /// Asks for the batches that we cannot go on without: those that the view's beginning names, and, to begin one, those
    /// that replicas voted for.
    pub(super) fn fetch_bodies(&self, effects: &mut Effects<Message>) {
        let mut lacking = match &self.new_view {
            Some((_, beginning)) if !self.installed => self.lacking(beginning),
            _ if self.installed => self.lacking(&self.beginning),
            _ => Vec::new(),
        };
        if !self.installed && self.new_view.is_none() && self.seat.group.primary_of(self.view) == self.seat.me
        {
            let claims =
                self.changes.values().filter(|change| change.to == self.view).flat_map(|c| c.claims());
            let missing = claims
                .map(|(_, item)| item)
                .filter(|item| item.slot > self.decided() && self.body(item.slot, &item.digest).is_none());
            lacking.extend(missing);
            lacking.sort_unstable();
            lacking.dedup();
        }
        for Item { slot, digest } in lacking.into_iter().filter(|item| self.ledger.window.contains(item.slot))
        {
            effects.broadcast(Message::FetchBody { slot, digest });
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
            effects.send(from, Message::Body { slot, batch });
        }
    }

    /// A batch that we may have asked for; kept only if somebody named it.
    pub(super) fn on_body(&mut self, slot: Slot, batch: Batch, effects: &mut Effects<Message>) {
        let item = Item { slot, digest: batch.digest() };
        let begun = self.beginning.at(slot) == Some(item.digest);
        let begins = self.new_view.as_ref().is_some_and(|(_, b)| b.at(slot) == Some(item.digest));
        let told = self.changes.values().any(|change| change.claims().any(|(_, claim)| claim == item));
        let voted = self.ledger.window.get(slot).and_then(|place| place.votes.winner(&self.seat.group));
        let wins = voted.is_some_and(|(_, digest)| digest == item.digest);
        if !(begun || begins || told || wins) {
            return;
        }
        let size = self.seat.group.size();
        if let Some(place) = self.ledger.window.entry(slot) {
            if !place.fetched.contains(&batch) {
                let surplus = (place.fetched.len() + 1).saturating_sub(size);
                place.fetched.drain(..surplus);
                place.fetched.push(batch);
            }
            self.decide(slot, effects);
            self.on_news(effects);
        }
    }

    /// Something came that a beginning may have waited for.
    fn on_news(&mut self, effects: &mut Effects<Message>) {
        if !self.installed {
            self.begin_if_able(effects);
            self.acknowledge_if_able(effects);
        }
    }
}
