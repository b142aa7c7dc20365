//! The normal case: propose, vote, decide.

use std::sync::Arc;

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::beginning::Ground;
use super::core::{ITEMS_MAX, Item, Operation};
use super::pace::Limits;
use super::schedule::Schedule;
use super::{Asked, Certificate, Endorsement, Lanes, Message, Place, Proposer};
use crate::basis::Place as _;
use crate::batch::{Batch, Entry};
use crate::batcher;
use crate::known_bugs;
use crate::protocol::{Effect, Effects, Observation};
use crate::quorum::{Ballot, Phase};
use crate::record::{Record, Vote};
use crate::upkeep::Upkeep;
use crate::verified::Refused;

impl Lanes {
    /// An entry from a client of ours, or our own: it waits here for a slot of ours; a stable primary hears of it at once.
    pub(super) fn on_offer(&mut self, entry: Entry, effects: &mut Effects<Message>) {
        if self.basis.offer(entry.clone(), effects) {
            self.tell_primary(vec![entry], effects);
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
        self.tell_primary(fresh, effects);
    }

    /// Who has no slots of its own tells whoever proposes next what waits.
    pub(super) fn tell_primary(&self, entries: Vec<Entry>, effects: &mut Effects<Message>) {
        if !self.basis.installed || entries.is_empty() || self.has_a_turn() {
            return;
        }
        effects.send(self.primary(), Upkeep::Forward(entries).into());
    }

    /// Whether a slot that is open, or may soon be, is ours to propose in.
    pub(super) fn has_a_turn(&self) -> bool {
        let first = self.decided().max(self.beginning.bound());
        let turns = self.basis.seat.group.size() as u64;
        first.up_to(first.plus(turns)).any(|slot| self.leader(slot) == self.basis.seat.me)
    }

    /// Proposes and votes for whatever is due, with as few signatures of the core as it takes.
    pub(super) fn act(&mut self, effects: &mut Effects<Message>) -> bool {
        if !self.basis.installed {
            return false;
        }
        // While the core owes so many answers, what is due waits: the others may be far ahead when it goes on.
        if self.asked.len() as u64 >= self.basis.config.window_slots {
            return false;
        }
        self.recover();
        self.propose();
        let due = self.due();
        for items in due.chunks(ITEMS_MAX) {
            self.endorse(items.to_vec(), effects);
        }
        !due.is_empty()
    }

    /// Puts in place what the view's beginning says, as far as we have it and the window has come to it.
    fn recover(&mut self) {
        if self.beginning.bound() <= self.decided() {
            return;
        }
        let (view, limit) = (self.basis.view, self.basis.ledger.vote_limit());
        let named: Vec<Item> = self.beginning.items().filter(|item| item.slot <= limit).collect();
        for Item { slot, digest } in named {
            let another = known_bugs::RECOVERS_ANOTHER_BATCH.is_on();
            let digest = if another { Batch::nil().digest() } else { digest };
            let known = self.basis.ledger.window.get(slot).is_some_and(|place| place.stands(view));
            if !known
                && let Some(batch) = self.body(slot, &digest)
                && let Some(place) = self.basis.ledger.window.entry(slot)
            {
                place.accept(view, batch, None);
            }
        }
    }

    /// Fills our own slots: with what waits, and with nothing where others are further on.
    fn propose(&mut self) {
        let mut slot = self.proposed.max(self.decided()).max(self.beginning.bound()).next();
        while self.basis.ledger.may_propose(slot) {
            if self.leader(slot) == self.basis.seat.me {
                let Some(batch) = self.value(slot) else { return };
                let view = self.basis.view;
                let place = self
                    .basis
                    .ledger
                    .window
                    .entry(slot)
                    .expect("below the vote limit, which lies in the window");
                place.accept(view, batch, None);
                place.is_ours = Some(view);
                self.proposed = slot;
            }
            slot = slot.next();
        }
    }

    fn value(&mut self, slot: Slot) -> Option<Batch> {
        let settled = self.basis.ledger.settled().min(self.decided());
        while self.own.front().is_some_and(|oldest| *oldest <= settled) {
            self.own.pop_front();
        }
        if let Some(batch) =
            batcher::cut(&mut self.basis.pool, self.own.len() as u64, self.clock, &self.basis.config)
        {
            self.own.push_back(slot);
            return Some(batch);
        }
        let passes = self.seen > slot && !known_bugs::NEVER_PASSES_ITS_TURN.is_on();
        (passes || self.basis.ledger.hurries()).then(Batch::nil)
    }

    /// Where the window is smaller than the group, our next turn may lie beyond it: asks whoever has the first open slot not
    /// to keep it for something to come.
    pub(super) fn nudge(&mut self, effects: &mut Effects<Message>) {
        let (head, me) = (self.decided().next(), self.basis.seat.me);
        let window = self.decided().plus(self.basis.ledger.window_slots());
        let waits = self.basis.installed && !self.basis.pool.is_empty() && head > self.beginning.bound();
        if !waits || head <= self.nudged || self.decided().up_to(window).any(|slot| self.leader(slot) == me) {
            return;
        }
        self.nudged = head;
        if self.has_a_turn() {
            effects.send(self.leader(head), Message::Nudge { slot: head });
        }
    }

    /// Somebody waits for `slot`.
    pub(super) fn on_nudge(&mut self, slot: Slot) {
        let is_head = slot == self.decided().next();
        if is_head && self.basis.installed && self.leader(slot) == self.basis.seat.me {
            self.seen = self.seen.max(slot.next());
        }
    }

    /// Slots in which something stands that we have not voted for in this view, and may.
    fn due(&self) -> Vec<Item> {
        let beyond =
            if known_bugs::VOTES_BEYOND_THE_WINDOW.is_on() { self.basis.config.window_slots } else { 0 };
        let (view, limit) = (self.basis.view, self.basis.ledger.vote_limit().plus(beyond));
        let open = self.basis.ledger.window.iter().filter(|(slot, place)| {
            let voted = place.ours.as_ref().is_some_and(|(ours, _)| *ours >= view);
            *slot <= limit && place.stands(view) && !voted && self.registers.may_endorse(view, *slot)
        });
        let item = |(slot, place): (Slot, &Place)| {
            place.proposal.as_ref().map(|(_, batch)| Item { slot, digest: batch.digest() })
        };
        open.filter_map(item).collect()
    }

    fn endorse(&mut self, items: Vec<Item>, effects: &mut Effects<Message>) {
        let view = self.basis.view;
        let endorsement = Endorsement { view, items: items.clone(), signature: None };
        let (own, is_kept) = (Arc::new(endorsement.clone()), self.basis.seat.group.is_bound_by_disk());
        let mut batches = Vec::new();
        for Item { slot, digest } in items.iter().copied() {
            let place = self.basis.ledger.window.entry(slot).expect("it is open, as was just seen");
            let (_, batch) = place.proposal.clone().expect("something stands there, as was just seen");
            place.ours = Some((view, place.proposer.clone()));
            let is_ours = place.is_ours == Some(view);
            if is_kept {
                let by_us = || Some((self.basis.seat.me, own.clone())).filter(|_| is_ours);
                let ground = Ground::of(place.proposer.clone().or_else(by_us));
                let ballot = Ballot { phase: Phase::Commit, view, slot, digest };
                let vote = Vote { ballot, batch: batch.clone(), ground: Some(ground) };
                effects.push(Effect::Persist(Record::Voted(Box::new(vote))));
            }
            if is_ours {
                batches.push((slot, batch));
            }
        }
        let asked = Asked::Endorse { endorsement, batches };
        self.ask(Operation::Endorse { view, items }, asked, effects);
    }

    /// Our core has voted.
    pub(super) fn on_endorsed(
        &mut self,
        endorsement: Endorsement,
        batches: Vec<(Slot, Batch)>,
        effects: &mut Effects<Message>,
    ) {
        let (me, endorsement) = (self.basis.seat.me, Arc::new(endorsement));
        for (slot, _) in &batches {
            if let Some(place) = self.basis.ledger.window.entry(*slot) {
                let ground = Some((me, endorsement.clone()));
                if let Some((view, ours)) = &mut place.ours
                    && *view == endorsement.view
                {
                    ours.clone_from(&ground);
                }
                // Where the core took its time something of a later view may stand here, on another one's word.
                if place.stands(endorsement.view) {
                    place.proposer = ground;
                }
                place.sent = Some(self.clock);
            }
        }
        effects.broadcast(Message::Endorse { endorsement: endorsement.clone(), batches });
        self.count(me, &endorsement);
    }

    /// Votes of `from`, checked, with its proposals.
    pub(super) fn on_endorse(
        &mut self,
        from: ReplicaId,
        endorsement: &Arc<Endorsement>,
        batches: Vec<(Slot, Batch)>,
        effects: &mut Effects<Message>,
    ) {
        for (slot, batch) in batches {
            self.on_proposal(from, endorsement, slot, batch, effects);
        }
        self.count(from, endorsement);
    }

    fn on_proposal(
        &mut self,
        from: ReplicaId,
        endorsement: &Arc<Endorsement>,
        slot: Slot,
        batch: Batch,
        effects: &mut Effects<Message>,
    ) {
        let (view, clock) = (self.basis.view, self.clock);
        if !self.basis.installed || endorsement.view != view || !self.basis.ledger.window.contains(slot) {
            return;
        }
        let has_turn = || self.leader(slot) == from || known_bugs::TAKES_ANY_TURN.is_on();
        if slot <= self.beginning.bound() || !has_turn() {
            effects.report(Observation::Dropped { from, why: Refused::NoRight });
            return;
        }
        let skew_ms = batch.time().since(clock).max(clock.since(batch.time()));
        if batch != Batch::nil() && skew_ms > self.basis.config.skew_max_ms {
            effects.report(Observation::Skewed { by: from, skew_ms });
            return;
        }
        let place = self.basis.ledger.window.entry(slot).expect("checked above");
        if let Some((_, standing)) = place.proposal.as_ref().filter(|(v, _)| *v == view) {
            if *standing != batch {
                effects.report(Observation::Equivocation { by: from, view, slot });
            }
            return;
        }
        self.basis.pool.proposed(batch.entries());
        place.accept(view, batch, Some((from, endorsement.clone())));
        self.seen = self.seen.max(slot);
    }

    /// Counts votes. Those of other views count too: a quorum decides, whatever view we are in.
    fn count(&mut self, from: ReplicaId, endorsement: &Arc<Endorsement>) {
        for item in &endorsement.items {
            if let Some(place) = self.basis.ledger.window.entry(item.slot) {
                place.votes.add(from, endorsement.view, item.digest, endorsement.clone());
                self.decide(item.slot);
            }
        }
    }

    /// Decides `slot` if the votes and what we hold allow it.
    pub(super) fn decide(&mut self, slot: Slot) {
        let (group, limits) = (self.basis.seat.group.clone(), self.slow_limits());
        let Some(place) = self.basis.ledger.window.entry(slot).filter(|place| place.decision.is_none())
        else {
            return;
        };
        let Some((view, digest)) = place.votes.winner(&group) else { return };
        let Some(batch) = place.body(&digest) else { return };
        let votes = place.votes.quorum(view, &digest, &group).expect("a quorum, as was just seen");
        place.decision = Some((Certificate { view, item: Item { slot, digest }, votes }, batch));
        if let Some(sent) = place.sent.filter(|_| place.is_ours == Some(view)) {
            self.pace.voted(self.clock.since(sent), limits);
        }
    }

    /// Moves the decided prefix over what is decided, as long as execution keeps up.
    pub(super) fn advance(&mut self, effects: &mut Effects<Message>) {
        loop {
            self.judge_head();
            let Some((slot, batch)) = self.basis.advance(effects) else { return };
            self.seen = self.seen.max(slot);
            effects.push(Effect::Decide { slot, batch });
        }
    }

    /// Notes how long the proposal of the first open slot was waited for, or that it is: as long as nothing stands there
    /// and a later one has been proposed. What comes after it, votes and execution, is not its proposer's doing.
    fn judge_head(&mut self) {
        let (head, view) = (self.decided().next(), self.basis.view);
        if self.schedule == Schedule::Stable || !self.basis.installed || head <= self.beginning.bound() {
            return;
        }
        let place = self.basis.ledger.window.get(head);
        if place.is_some_and(|place| place.stands(view) || place.decision.is_some()) {
            let leader = self.leader(head);
            if leader != self.basis.seat.me {
                self.pace.came(head, leader, self.clock, self.slow_limits());
            }
        } else if self.seen.max(self.proposed) > head {
            self.pace.wait(head, self.clock);
        }
    }

    fn slow_limits(&self) -> Limits {
        let config = &self.basis.config;
        Limits { floor_ms: config.slow_turn_ms, patience_ms: config.patience_ms }
    }

    /// Wants another view if the slots of one replica hold up all that come after them.
    pub(super) fn mind_pace(&mut self, effects: &mut Effects<Message>) {
        self.judge_head();
        if !self.basis.installed {
            return;
        }
        if self.pace.slow().is_some() {
            let to = self.basis.suspect("the slots of one replica hold all others up", effects);
            self.leave_for(to, effects);
        }
    }

    /// The batch with this digest, if we have it for this slot.
    pub(super) fn body(&self, slot: Slot, digest: &Digest) -> Option<Batch> {
        let logged =
            self.basis.ledger.log.get(slot).map(|(batch, _)| batch).filter(|batch| batch.digest() == *digest);
        let found = logged
            .cloned()
            .or_else(|| self.basis.ledger.window.get(slot).and_then(|place| place.body(digest)));
        found.or_else(|| Some(Batch::nil()).filter(|nil| nil.digest() == *digest))
    }
}

impl Place {
    /// Whether something stands here in `view`.
    pub(super) fn stands(&self, view: View) -> bool {
        self.proposal.as_ref().is_some_and(|(v, _)| *v == view)
    }

    /// Puts what stands here in a later view in place of what did.
    pub(super) fn accept(&mut self, view: View, batch: Batch, proposer: Option<Proposer>) {
        self.proposer = proposer;
        if let Some((earlier, standing)) = self.proposal.replace((view, batch))
            && self.ours.as_ref().is_some_and(|(ours, _)| *ours == earlier)
        {
            self.voted.keep(standing);
        }
    }
}
