//! Going on after a crash from what was written down. Where machines lie a trusted core answers for votes, and it begins
//! anew with its replica: such a one knows from its disk what is decided, and follows until its new core is voted in.

use std::sync::Arc;

use smr_wire::View;
use smr_wire::client::FaultModel;

use super::beginning::{Ground, ViewCertificate};
use super::core::{Item, Operation, Scope};
use super::{Endorsement, Lanes, Message};
use crate::basis::Place as _;
use crate::batch::Batch;
use crate::known_bugs;
use crate::protocol::{Effect, Effects, Timer};
use crate::record::{Began, Proof, Record, Unfit, Vote};

impl Lanes {
    /// The replica begins; one that comes back on the way to a view says again what it voted for.
    pub(super) fn on_start(&mut self, effects: &mut Effects<Message>) {
        effects.arm(Timer::Status, self.basis.config.status_ms);
        if !self.basis.installed {
            effects.arm(Timer::NewView, self.basis.config.new_view_ms);
            let (to, lanes) = (self.basis.view, self.registers.lanes().to_vec());
            let (group, window_slots) = (&self.basis.seat.group, self.basis.config.window_slots);
            let scope = Scope { group, window_slots, replica: self.basis.seat.me };
            let report = self.basis.seat.sign(&scope.leave(to, &lanes));
            self.on_left(to, lanes, report, effects);
        }
    }

    /// Takes up one record.
    pub(super) fn take_up(&mut self, record: Record, effects: &mut Effects<Message>) -> Result<(), Unfit> {
        match record {
            Record::Decided { proof: Proof::Lanes(certificate), batch, .. } => {
                return self.basis.resume_decided(certificate, batch, effects);
            }
            Record::Ceased(cease) if self.basis.seat.group.model == FaultModel::Hybrid => {
                self.basis.ledger.cease(cease);
                self.basis.seat.votes = false;
            }
            _ if !self.basis.seat.group.is_bound_by_disk() => {}
            Record::Entered { view, wishes } => {
                self.basis.resume_wishes(wishes);
                self.resume_on_the_way(view);
            }
            Record::Begins(view) if view <= self.registers.begun() => {}
            Record::Begins(view) => {
                self.raise_floor(view);
                let digest = smr_crypto::Digest::default();
                self.registers.apply(&Operation::Begin { view, digest }).map_err(|_| CORE)?;
            }
            Record::Began(Began::Lanes(certificate)) => self.resume_in(certificate),
            Record::Voted(vote) => return self.resume_voted(*vote),
            Record::Held { slot, batch } => {
                if let Some(place) = self.basis.ledger.window.entry(slot) {
                    place.fetched.push(batch);
                }
            }
            Record::Prepared(_)
            | Record::Began(Began::Pbft(_))
            | Record::Ceased(_)
            | Record::Decided { proof: Proof::Alone | Proof::Quorum(_), .. } => {
                return Err(Unfit("a record of another protocol"));
            }
        }
        Ok(())
    }

    fn resume_on_the_way(&mut self, view: View) {
        // What stands is written down again from time to time.
        if view <= self.basis.view || known_bugs::RETURNS_TO_THE_FIRST_VIEW.is_on() {
            return;
        }
        self.raise_floor(view);
        self.basis.resume_view(view, false);
    }

    fn resume_in(&mut self, certificate: ViewCertificate) {
        let view = certificate.beginning.view;
        if self.basis.has_begun(view) {
            self.begun.insert(view, certificate);
            return;
        }
        self.raise_floor(view);
        self.basis.resume_view(view, true);
        self.beginning = certificate.beginning.clone();
        self.begun.insert(view, certificate);
        self.proposed = self.beginning.bound();
        self.seen = self.beginning.bound();
    }

    fn raise_floor(&mut self, view: View) {
        if self.registers.floor() < view {
            let left = self.registers.apply(&Operation::Leave { to: view });
            assert!(left.is_ok(), "a floor is raised to what lies above");
        }
    }

    fn resume_voted(&mut self, vote: Vote) -> Result<(), Unfit> {
        let Vote { ballot, batch, ground } = vote;
        let (me, view) = (self.basis.seat.me, ballot.view);
        let item = Item { slot: ballot.slot, digest: ballot.digest };
        if item.slot <= self.decided() || known_bugs::RETURNS_WITHOUT_ITS_VOTES.is_on() {
            return Ok(());
        }
        // Whoever voted in a view had entered it; where that was written down may be gone, and what stands comes later.
        self.raise_floor(view);
        self.registers.apply(&Operation::Endorse { view, items: vec![item] }).map_err(|_| CORE)?;
        let Some(place) = self.basis.ledger.window.entry(item.slot) else {
            return Err(Unfit("a vote lies beyond the window"));
        };
        let ground = match ground {
            Some(Ground::Proposed(by, proposal)) => Some((by, proposal)),
            Some(Ground::Recovered) | None => None,
        };
        place.accept(view, batch, ground.clone());
        let is_ours = ground.as_ref().is_some_and(|(by, _)| *by == me);
        place.is_ours = is_ours.then_some(view);
        place.ours = Some((view, ground));
        let endorsement = Arc::new(Endorsement { view, items: vec![item], signature: None });
        place.votes.add(me, view, item.digest, endorsement);
        Ok(())
    }

    /// Everything is taken up: what was proposed in this view, and how far others are, as own votes show.
    pub(super) fn resumed(&mut self) {
        let view = self.basis.view;
        for (slot, place) in self.basis.ledger.window.iter() {
            if place.is_ours == Some(view) {
                self.proposed = self.proposed.max(slot);
            }
            if place.ours.as_ref().is_some_and(|(ours, _)| *ours == view) {
                self.seen = self.seen.max(slot);
            }
        }
    }

    /// The batches that the next view's beginning names, but for those that are written down with a vote: with f+1
    /// acknowledgements one correct replica at least has each for ever.
    pub(super) fn write_down_what_it_names(&self, effects: &mut Effects<Message>) {
        let Some((_, beginning)) =
            self.new_view.as_ref().filter(|_| self.basis.seat.group.is_bound_by_disk())
        else {
            return;
        };
        for Item { slot, digest } in beginning.items().filter(|item| item.slot > self.decided()) {
            let place = self.basis.ledger.window.get(slot);
            let is_kept = place.is_some_and(|place| place.voted_for(&digest));
            if !is_kept
                && digest != Batch::nil().digest()
                && let Some(batch) = self.body(slot, &digest)
            {
                effects.push(Effect::Persist(Record::Held { slot, batch }));
            }
        }
    }

    /// What it is bound to beside what it said of slots.
    pub(super) fn bound_by(&self) -> Vec<Record> {
        if !self.basis.seat.group.is_bound_by_disk() {
            return self.basis.ledger.ceased().map(Record::Ceased).into_iter().collect();
        }
        let began = |certificate: &ViewCertificate| Record::Began(Began::Lanes(certificate.clone()));
        let mut records: Vec<Record> = self.begun.values().map(began).collect();
        if self.registers.floor() > View(0) && !self.basis.installed {
            records.push(self.basis.entered());
        }
        if self.registers.begun() > View(0) && self.registers.begun() == self.registers.floor() {
            records.push(Record::Begins(self.registers.begun()));
        }
        records
    }
}

const CORE: Unfit = Unfit("a vote or view that goes back behind another");
