//! Leaving a view and beginning the next.
//!
//! A replica that runs out of patience signs a wish. Whoever sees f+1 wishes has its core leave and tells what it voted
//! for; the next view's coordinator collects a quorum of that; what follows from it is acknowledged by a quorum, and the
//! view begins.

use smr_crypto::{Digest, Signature};
use smr_wire::{ReplicaId, View};

use super::beginning::{Beginning, Ground, NewView, ViewCertificate, ViewChange};
use super::core::{Item, Operation, Register};
use super::schedule::exclude;
use super::{Asked, Lanes, Message};
use crate::known_bugs;
use crate::protocol::{Effect, Effects, Observation};
use crate::record::{Began, Record};
use crate::verified::Refused;

impl Lanes {
    /// Leaves for a view that enough replicas want, if there is one.
    pub(super) fn leave_for(&mut self, to: Option<View>, effects: &mut Effects<Message>) {
        if let Some(to) = to {
            self.leave(to, effects);
        }
    }

    /// Leaves for a later view.
    fn leave(&mut self, to: View, effects: &mut Effects<Message>) {
        self.new_view = None;
        self.basis.leave(to, effects);
        self.have_core_leave(effects);
    }

    fn have_core_leave(&mut self, effects: &mut Effects<Message>) {
        let to = self.basis.view;
        let forgets = known_bugs::CORE_FORGETS_ITS_VOTES.is_on();
        let lanes = self.registers.lanes().iter().map(|last| last.filter(|_| !forgets)).collect();
        self.ask(Operation::Leave { to }, Asked::Leave { to, lanes }, effects);
    }

    /// Our core has left for `to` and reports its lanes.
    pub(super) fn on_left(
        &mut self,
        to: View,
        lanes: Vec<Option<Register>>,
        report: Signature,
        effects: &mut Effects<Message>,
    ) {
        if self.basis.installed || self.basis.view != to {
            return;
        }
        let change = self.view_change(to, lanes, report);
        self.changes.insert(self.basis.seat.me, change.clone());
        effects.broadcast(Message::ViewChange(Box::new(change)));
        self.begin_if_able(effects);
    }

    fn view_change(&self, to: View, lanes: Vec<Option<Register>>, report: Signature) -> ViewChange {
        let mut change = ViewChange {
            author: self.basis.seat.me,
            to,
            lanes,
            report,
            decided: self.decided(),
            blames: self.pace.slow(),
            proof: self.basis.ledger.prefix_proof(),
            grounds: Vec::new(),
            views: Vec::new(),
            signature: Signature([0; 64]),
        };
        let open = change.open();
        change.grounds = open.iter().map(|vote| self.ground(vote)).collect();
        let last = self.beginning.view;
        let shown = |view: View| view == last || open.iter().any(|vote| vote.view == view);
        change.views = self.begun.iter().filter(|(view, _)| shown(**view)).map(|(_, v)| v.clone()).collect();
        change.signed(&self.basis.seat)
    }

    fn ground(&self, vote: &Register) -> Ground {
        let place = self.basis.ledger.window.get(vote.item.slot);
        let ours = place.and_then(|place| place.ours.as_ref());
        let (_, ground) = ours
            .filter(|(view, _)| *view == vote.view)
            .expect("who voted in an open slot keeps its last vote there");
        Ground::of(ground.clone())
    }

    /// What a replica that left its view knows, checked but for the rights of those who proposed.
    pub(super) fn on_view_change(
        &mut self,
        from: ReplicaId,
        change: ViewChange,
        effects: &mut Effects<Message>,
    ) {
        let newer = self.changes.get(&change.author).is_none_or(|kept| kept.to <= change.to);
        if !newer || change.to < self.basis.view {
            return;
        }
        if !change.is_right(self.schedule, &self.basis.seat.group) {
            effects.report(Observation::Dropped { from, why: Refused::NoRight });
            return;
        }
        let is_news = self.changes.get(&change.author).is_none_or(|kept| kept.to < change.to);
        self.changes.insert(change.author, change);
        self.begin_if_able(effects);
        if is_news {
            self.fetch_bodies(effects);
        }
    }

    /// As coordinator of a view that has not begun: says how it begins, once a quorum left for it and what they voted
    /// for is here.
    pub(super) fn begin_if_able(&mut self, effects: &mut Effects<Message>) {
        let (view, group) = (self.basis.view, self.basis.seat.group.clone());
        let coordinates = group.primary_of(view) == self.basis.seat.me;
        if self.basis.installed
            || !coordinates
            || self.registers.begun() >= view
            || self.registers.floor() < view
        {
            return;
        }
        let changes: Vec<ViewChange> = self
            .changes
            .values()
            .filter(|change| change.to == view && self.holds_all_of(change))
            .take(group.quorum())
            .cloned()
            .collect();
        if changes.len() == group.quorum() {
            let digest = NewView::digest(view, &changes);
            if self.basis.seat.group.is_bound_by_disk() {
                effects.push(Effect::Persist(Record::Begins(view)));
            }
            self.ask(Operation::Begin { view, digest }, Asked::Begin { view, changes }, effects);
        }
    }

    /// Whether the batches that `change` speaks of are here, or decided, and no vote of a single core could bind a view to a
    /// time that is still to come.
    pub(super) fn holds_all_of(&self, change: &ViewChange) -> bool {
        let is_here =
            |item: &Item| item.slot <= self.decided() || self.body(item.slot, &item.digest).is_some();
        change.claims().all(|(_, item)| is_here(&item)) && self.is_timely(change)
    }

    /// Whether what its core voted for, and nobody may have decided, has a time that a correct replica could have voted for by
    /// now, clocks being apart as far as is allowed. Time never runs backwards, so one batch from the future would stay.
    fn is_timely(&self, change: &ViewChange) -> bool {
        let latest = self.clock.plus_ms(2 * self.basis.config.skew_max_ms);
        change.open().iter().all(|vote| {
            let batch = self.body(vote.item.slot, &vote.item.digest);
            batch.is_none_or(|batch| batch.time() <= latest)
        })
    }

    /// What a coordinator says of how a view begins, checked but for what needs the schedule.
    pub(super) fn on_new_view(&mut self, new_view: NewView, effects: &mut Effects<Message>) {
        let known = new_view.view == self.basis.view && (self.basis.installed || self.new_view.is_some());
        if new_view.view < self.basis.view || known {
            return;
        }
        let group = self.basis.seat.group.clone();
        if !new_view.changes.iter().all(|change| change.is_right(self.schedule, &group)) {
            let from = group.primary_of(new_view.view);
            effects.report(Observation::Dropped { from, why: Refused::NoRight });
            return;
        }
        if new_view.view > self.basis.view {
            self.leave(new_view.view, effects);
        }
        let beginning = new_view.beginning(self.schedule, &group, self.basis.config.exclusion_slots);
        self.new_view = Some((new_view, beginning));
        self.acknowledge_if_able(effects);
        self.fetch_bodies(effects);
    }

    /// Acknowledges the beginning of the view we are on the way to, once we have what it names: f+1 of us do then.
    pub(super) fn acknowledge_if_able(&mut self, effects: &mut Effects<Message>) {
        let Some((_, beginning)) = self.new_view.as_ref().filter(|_| !self.basis.installed) else { return };
        let (view, me) = (self.basis.view, self.basis.seat.me);
        if self.acknowledgements.get(&me).is_some_and(|(acknowledged, _, _)| *acknowledged >= view) {
            return;
        }
        let timely =
            self.new_view.iter().all(|(new_view, _)| new_view.changes.iter().all(|c| self.is_timely(c)));
        if !timely || !self.lacking(beginning).is_empty() {
            return;
        }
        let digest = beginning.digest();
        self.write_down_what_it_names(effects);
        let signature =
            self.basis.seat.sign(&ViewCertificate::statement(view, &digest, &self.basis.seat.group));
        effects.broadcast(Message::Acknowledge { view, digest, signature });
        self.on_acknowledge(me, view, digest, signature, effects);
    }

    /// `from` saw this beginning follow.
    pub(super) fn on_acknowledge(
        &mut self,
        from: ReplicaId,
        view: View,
        digest: Digest,
        signature: Signature,
        effects: &mut Effects<Message>,
    ) {
        if self.acknowledgements.get(&from).is_none_or(|(kept, _, _)| *kept < view) {
            self.acknowledgements.insert(from, (view, digest, signature));
        }
        self.install_if_able(effects);
    }

    pub(super) fn install_if_able(&mut self, effects: &mut Effects<Message>) {
        let Some((_, beginning)) = self.new_view.as_ref().filter(|_| !self.basis.installed) else { return };
        let (digest, quorum) = (beginning.digest(), ViewCertificate::votes_needed(&self.basis.seat.group));
        let for_it =
            self.acknowledgements.iter().filter(|(_, (v, d, _))| (*v, *d) == (self.basis.view, digest));
        let votes: Vec<(ReplicaId, Signature)> =
            for_it.map(|(author, (_, _, signature))| (*author, *signature)).take(quorum).collect();
        if votes.len() == quorum {
            let certificate = ViewCertificate { beginning: beginning.clone(), votes };
            self.install(certificate, effects);
        }
    }

    /// That a view has begun, checked.
    pub(super) fn on_begun(&mut self, certificate: ViewCertificate, effects: &mut Effects<Message>) {
        let view = certificate.beginning.view;
        if view > self.basis.view || (view == self.basis.view && !self.basis.installed) {
            self.install(certificate, effects);
        }
    }

    fn install(&mut self, certificate: ViewCertificate, effects: &mut Effects<Message>) {
        let Beginning { view, .. } = certificate.beginning;
        self.basis.install(view, effects);
        if self.registers.floor() < view {
            self.have_core_leave(effects);
        }
        let last = std::mem::replace(&mut self.beginning, certificate.beginning.clone());
        if known_bugs::EXCLUDES_BY_OPINION.is_on() {
            let (group, base) = (&self.basis.seat.group, self.basis.config.exclusion_slots);
            let head = self.decided().max(last.bound()).next();
            let blamed = last.leader(self.schedule, group, head);
            self.beginning.excluded = exclude(&[], blamed, self.beginning.bound(), base, group.faults);
        }
        if self.basis.seat.group.is_bound_by_disk() {
            effects.push(Effect::Persist(Record::Began(Began::Lanes(certificate.clone()))));
        }
        self.begun.insert(view, certificate);
        self.pace.restart();
        self.forget_views();
        self.proposed = self.beginning.bound();
        self.own.clear();
        self.seen = self.beginning.bound();
        self.new_view = None;
        self.changes.retain(|_, change| change.to > view);
        self.acknowledgements.retain(|_, (acknowledged, _, _)| *acknowledged > view);
        effects.report(Observation::Installed { view, primary: self.primary() });
        self.fetch_bodies(effects);
        if !self.has_a_turn() {
            self.basis.forward_all(self.primary(), effects);
        }
    }

    /// Keeps of the views that began those that a vote of ours in an open slot was in, and the last.
    fn forget_views(&mut self) {
        let open = self.registers.lanes().iter().flatten().filter(|vote| vote.item.slot > self.decided());
        let open = open.filter(|_| !known_bugs::FORGETS_HOW_VIEWS_BEGAN.is_on());
        let named: Vec<View> = open.map(|vote| vote.view).chain([self.beginning.view]).collect();
        self.begun.retain(|view, _| named.contains(view));
    }
}
