//! Leaving a view and beginning the next.
//!
//! A replica that runs out of patience signs a wish. Whoever sees f+1 wishes leaves, shows them to all, and tells
//! what it knows of undecided slots; the next primary collects a quorum of that, and the view begins.

use smr_wire::View;

use super::message::FORWARD_ENTRIES_MAX;
use super::{Beginning, Message, NewView, Pbft, ViewChange};
use crate::known_bugs;
use crate::pool::parcels;
use crate::protocol::{Effect, Effects, Observation, Record, Timer};
use crate::quorum::QuorumCertificate;
use crate::suspicion::Suspect;

impl Pbft {
    /// Wants another primary, and says so to all.
    pub(super) fn suspect(&mut self, why: &'static str, effects: &mut Effects<Message>) {
        let wants = self.view.next();
        if self.suspicion.wish_of(self.seat.me) < wants {
            effects.report(Observation::Suspected { view: self.view, why });
            self.wish(wants, effects);
            self.follow_suspicion(effects);
        }
    }

    fn wish(&mut self, wants: View, effects: &mut Effects<Message>) {
        let suspect = Suspect::sign(&self.seat, wants);
        self.suspicion.add(suspect);
        effects.broadcast(Message::Suspects(vec![suspect]));
    }

    /// Wishes of replicas, each signed by its author.
    pub(super) fn on_suspects(&mut self, suspects: Vec<Suspect>, effects: &mut Effects<Message>) {
        suspects.into_iter().for_each(|suspect| self.suspicion.add(suspect));
        self.follow_suspicion(effects);
    }

    fn follow_suspicion(&mut self, effects: &mut Effects<Message>) {
        if let Some((to, wishes)) = self.suspicion.target(self.view, &self.seat.group) {
            self.leave(to, wishes, effects);
        }
    }

    fn leave(&mut self, to: View, wishes: Vec<Suspect>, effects: &mut Effects<Message>) {
        assert!(to > self.view, "leaving view {} for {to}, which is not later", self.view);
        self.view = to;
        self.installed = false;
        self.beginning = Beginning::default();
        self.new_view = None;
        self.backoff.failed();
        effects.push(Effect::Persist(Record::Entered(to)));
        effects.report(Observation::LeftFor(to));
        effects.broadcast(Message::Suspects(wishes));
        if self.suspicion.wish_of(self.seat.me) < to {
            self.wish(to, effects);
        }
        let change = self.view_change();
        self.changes.insert(self.seat.me, change.clone());
        effects.broadcast(Message::ViewChange(change));
        effects.arm(Timer::NewView, self.backoff.scale_ms(self.config.new_view_ms));
        self.begin_if_able(effects);
    }

    fn view_change(&self) -> ViewChange {
        let claims = self.ledger.window.iter().filter_map(|(_, place)| place.claim(self.view)).collect();
        ViewChange::sign(&self.seat, self.view, self.decided(), self.ledger.prefix_proof(), claims)
    }

    /// What a replica that left its view knows, checked.
    pub(super) fn on_view_change(&mut self, change: ViewChange, effects: &mut Effects<Message>) {
        let newer = self.changes.get(&change.author).is_none_or(|kept| kept.to <= change.to);
        if newer && change.to >= self.view {
            self.changes.insert(change.author, change);
            self.begin_if_able(effects);
        }
    }

    /// As primary of a view that has not begun: begins it once a quorum left for it.
    fn begin_if_able(&mut self, effects: &mut Effects<Message>) {
        if self.installed || !self.is_primary() {
            return;
        }
        let changes: Vec<ViewChange> = self
            .changes
            .values()
            .filter(|change| change.to == self.view)
            .take(self.seat.group.quorum())
            .cloned()
            .collect();
        if changes.len() == self.seat.group.quorum() {
            let new_view = NewView::sign(&self.seat, self.view, changes);
            effects.broadcast(Message::NewView(new_view.clone()));
            self.install(new_view, effects);
        }
    }

    /// The beginning of a view, checked. Anyone may pass it on, as it proves itself.
    pub(super) fn on_new_view(&mut self, new_view: NewView, effects: &mut Effects<Message>) {
        if new_view.view > self.view || (new_view.view == self.view && !self.installed) {
            self.install(new_view, effects);
        }
    }

    fn install(&mut self, new_view: NewView, effects: &mut Effects<Message>) {
        if new_view.view > self.view {
            effects.push(Effect::Persist(Record::Entered(new_view.view)));
        }
        self.view = new_view.view;
        self.installed = true;
        self.beginning = Beginning::of(&new_view);
        self.new_view = Some(new_view);
        self.proposed = self.beginning.decided;
        self.changes.retain(|_, change| change.to > self.view);
        self.pool.restart();
        effects.push(Effect::Disarm(Timer::NewView));
        self.patience.stop(effects);
        effects.report(Observation::Installed { view: self.view, primary: self.primary() });
        if self.is_primary() {
            self.fetch_bodies(effects);
        } else {
            for entries in parcels(self.pool.all(), FORWARD_ENTRIES_MAX) {
                effects.send(self.primary(), Message::Forward(entries));
            }
        }
        self.vote_reached(effects);
    }

    /// The view we are on the way to has not begun in time.
    pub(super) fn on_new_view_timeout(&mut self, effects: &mut Effects<Message>) {
        if !self.installed {
            effects.arm(Timer::NewView, self.backoff.scale_ms(self.config.new_view_ms));
            self.suspect("the next view does not begin", effects);
        }
    }
}

impl super::Place {
    /// The certificate that says most of what may have been decided here before view `to`: a decision, or the
    /// highest prepared. Whoever is late may know a decision of `to` itself, or of a later view, which says nothing
    /// of how `to` must begin.
    fn claim(&self, to: View) -> Option<QuorumCertificate> {
        if known_bugs::DROPS_WHAT_WAS_PREPARED.is_on() {
            return None;
        }
        let decided = self.decision.as_ref().map(|(certificate, _)| certificate);
        let prepared = self.prepared.as_ref().map(|(certificate, _)| certificate);
        [decided, prepared].into_iter().flatten().find(|claim| claim.ballot.view < to).cloned()
    }
}
