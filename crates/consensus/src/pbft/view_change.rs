//! Leaving a view and beginning the next.
//!
//! A replica that runs out of patience signs a wish. Whoever sees f+1 wishes leaves, shows them to all, and tells
//! what it knows of undecided slots; the next primary collects a quorum of that, and the view begins.

use smr_wire::View;

use super::{Beginning, Message, NewView, Pbft, ViewChange};
use crate::known_bugs;
use crate::protocol::{Effect, Effects, Observation};
use crate::quorum::QuorumCertificate;
use crate::record::{Began, Record};

impl Pbft {
    /// Wants another primary.
    pub(super) fn suspect(&mut self, why: &'static str, effects: &mut Effects<Message>) {
        let to = self.basis.suspect(why, effects);
        self.leave_for(to, effects);
    }

    /// Leaves for a view that enough replicas want, if there is one.
    pub(super) fn leave_for(&mut self, to: Option<View>, effects: &mut Effects<Message>) {
        if let Some(to) = to {
            self.leave(to, effects);
        }
    }

    fn leave(&mut self, to: View, effects: &mut Effects<Message>) {
        self.basis.leave(to, effects);
        self.beginning = Beginning::default();
        self.new_view = None;
        self.tell_what_is_known(effects);
    }

    /// On the way to a view: what this replica knows of undecided slots.
    pub(super) fn tell_what_is_known(&mut self, effects: &mut Effects<Message>) {
        let change = self.view_change();
        self.changes.insert(self.basis.seat.me, change.clone());
        effects.broadcast(Message::ViewChange(change));
        self.begin_if_able(effects);
    }

    fn view_change(&self) -> ViewChange {
        let claims =
            self.basis.ledger.window.iter().filter_map(|(_, place)| place.claim(self.basis.view)).collect();
        ViewChange::sign(
            &self.basis.seat,
            self.basis.view,
            self.decided(),
            self.basis.ledger.prefix_proof(),
            claims,
        )
    }

    /// What a replica that left its view knows, checked.
    pub(super) fn on_view_change(&mut self, change: ViewChange, effects: &mut Effects<Message>) {
        let newer = self.changes.get(&change.author).is_none_or(|kept| kept.to <= change.to);
        if newer && change.to >= self.basis.view {
            self.changes.insert(change.author, change);
            self.begin_if_able(effects);
        }
    }

    /// As primary of a view that has not begun: begins it once a quorum left for it.
    fn begin_if_able(&mut self, effects: &mut Effects<Message>) {
        if self.basis.installed || !self.is_primary() {
            return;
        }
        let changes: Vec<ViewChange> = self
            .changes
            .values()
            .filter(|change| change.to == self.basis.view)
            .take(self.basis.seat.group.quorum())
            .cloned()
            .collect();
        if changes.len() == self.basis.seat.group.quorum() {
            let new_view = NewView::sign(&self.basis.seat, self.basis.view, changes);
            self.install(new_view, effects);
        }
    }

    /// The beginning of a view, checked. Anyone may pass it on, as it proves itself.
    pub(super) fn on_new_view(&mut self, new_view: NewView, effects: &mut Effects<Message>) {
        if new_view.view > self.basis.view || (new_view.view == self.basis.view && !self.basis.installed) {
            self.install(new_view, effects);
        }
    }

    fn install(&mut self, new_view: NewView, effects: &mut Effects<Message>) {
        self.basis.install(new_view.view, effects);
        // Its primary says so once, and whoever votes in it is bound by it.
        effects.push(Effect::Persist(Record::Began(Began::Pbft(new_view.clone()))));
        if self.is_primary() {
            effects.broadcast(Message::NewView(new_view.clone()));
        }
        self.beginning = Beginning::of(&new_view);
        self.new_view = Some(new_view);
        self.proposed = self.beginning.decided;
        self.changes.retain(|_, change| change.to > self.basis.view);
        effects.report(Observation::Installed { view: self.basis.view, primary: self.primary() });
        if self.is_primary() {
            self.fetch_bodies(effects);
        } else {
            self.basis.forward_all(self.primary(), effects);
        }
        self.vote_reached(effects);
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
