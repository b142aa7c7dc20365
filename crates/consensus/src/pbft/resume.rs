//! Going on after a crash from what was written down.

use smr_wire::View;

use super::{Beginning, Message, NewView, Pbft};
use crate::basis::Place as _;
use crate::known_bugs;
use crate::protocol::{Effects, Timer};
use crate::quorum::{Ballot, Phase, QuorumCertificate};
use crate::record::{Began, Proof, Record, Unfit, Vote};

impl Pbft {
    /// The replica begins; one that comes back on the way to a view says again what it knows.
    pub(super) fn on_start(&mut self, effects: &mut Effects<Message>) {
        effects.arm(Timer::Status, self.basis.config.status_ms);
        if !self.basis.installed {
            effects.arm(Timer::NewView, self.basis.config.new_view_ms);
            self.tell_what_is_known(effects);
        }
    }

    /// Takes up one record.
    pub(super) fn take_up(&mut self, record: Record, effects: &mut Effects<Message>) -> Result<(), Unfit> {
        match record {
            Record::Entered { view, wishes } => {
                self.basis.resume_wishes(wishes);
                self.resume_on_the_way(view);
            }
            Record::Began(Began::Pbft(new_view)) => self.resume_in(new_view),
            Record::Voted(vote) => return self.resume_voted(*vote),
            Record::Prepared(certificate) => return self.resume_prepared(certificate),
            Record::Decided { proof: Proof::Quorum(certificate), batch, .. } => {
                return self.basis.resume_decided(certificate, batch, effects);
            }
            Record::Begins(_)
            | Record::Began(Began::Lanes(_))
            | Record::Held { .. }
            | Record::Ceased(_)
            | Record::Decided { proof: Proof::Alone | Proof::Lanes(_), .. } => {
                return Err(Unfit("a record of another protocol"));
            }
        }
        Ok(())
    }

    fn resume_on_the_way(&mut self, view: View) {
        // What stands is written down again from time to time.
        if view <= self.basis.view {
            return;
        }
        self.basis.resume_view(view, false);
        self.beginning = Beginning::default();
        self.new_view = None;
    }

    fn resume_in(&mut self, new_view: NewView) {
        if self.basis.has_begun(new_view.view) {
            return;
        }
        self.basis.resume_view(new_view.view, true);
        self.beginning = Beginning::of(&new_view);
        self.proposed = self.beginning.decided;
        self.new_view = Some(new_view);
    }

    fn resume_voted(&mut self, vote: Vote) -> Result<(), Unfit> {
        let Vote { ballot, batch, .. } = vote;
        if ballot.slot <= self.decided() || known_bugs::RETURNS_WITHOUT_ITS_VOTES.is_on() {
            return Ok(());
        }
        let me = self.basis.seat.me;
        let signature = self.basis.seat.sign(&ballot.statement(&self.basis.seat.group));
        let place =
            self.basis.ledger.window.entry(ballot.slot).ok_or(Unfit("a vote lies beyond the window"))?;
        place.accept(ballot.view, batch);
        place.prepare_sent = Some(ballot.view);
        place.prepares.add(me, ballot.view, ballot.digest, signature);
        Ok(())
    }

    /// Everything is taken up: a primary goes on behind what it proposed in this view, as its own votes show.
    pub(super) fn resumed(&mut self) {
        if !self.is_primary() {
            return;
        }
        let (view, places) = (self.basis.view, self.basis.ledger.window.iter());
        let proposed = places.filter(|(_, place)| place.prepare_sent == Some(view)).map(|(slot, _)| slot);
        self.proposed = proposed.max().unwrap_or_default().max(self.proposed);
    }

    fn resume_prepared(&mut self, certificate: QuorumCertificate) -> Result<(), Unfit> {
        let Ballot { view, slot, digest, .. } = certificate.ballot;
        if slot <= self.decided() || known_bugs::RETURNS_WITHOUT_ITS_VOTES.is_on() {
            return Ok(());
        }
        let me = self.basis.seat.me;
        let commit = Ballot { phase: Phase::Commit, view, slot, digest };
        let signature = self.basis.seat.sign(&commit.statement(&self.basis.seat.group));
        let place = self.basis.ledger.window.entry(slot).ok_or(Unfit("a vote lies beyond the window"))?;
        let batch = place.body(&digest).ok_or(Unfit("a prepared batch is missing"))?;
        place.prepared = Some((certificate, batch));
        place.commit_sent = Some(view);
        place.commits.add(me, view, digest, signature);
        Ok(())
    }

    /// What it is bound to beside what it said of slots.
    pub(super) fn bound_by(&self) -> Vec<Record> {
        let began = self.new_view.clone().map(|new_view| Record::Began(Began::Pbft(new_view)));
        let is_first = self.basis.view == View(0);
        let entered = (!is_first).then(|| self.basis.entered());
        entered.into_iter().chain(began).collect()
    }
}
