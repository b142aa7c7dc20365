//! PBFT: Byzantine agreement with 3f+1 replicas and no trusted hardware.
//! Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery", TOCS 20(4), 2002.
//!
//! ```text
//!   contact --Forward--> primary --Proposal--> all --Vote(Prepare)--> all --Vote(Commit)--> all : decided
//!                                  2f+1 prepares (the proposal counts)   2f+1 commits
//!
//!   patience runs out --Suspects--> all; f+1 of them: --ViewChange--> all --NewView--> all : next view
//! ```
//!
//! We differ in: votes are signed, so certificates stand alone and a laggard checks each decision by itself; the
//! window is counted from the decided prefix, and "decided up to here" is shown by commit certificates of one
//! window rather than by the last checkpoint; a replica leaves a view only when f+1 signed that they want to (as
//! in SBFT and others), so one faulty replica cannot make the others change primaries; bodies that a new primary
//! lacks are fetched by digest.

mod message;
mod ordering;
mod outline;
mod repair;
mod resume;
mod view_change;

use std::collections::BTreeMap;

pub use message::{Beginning, Decision, Message, NewView, PrefixProof, ViewChange};
pub use outline::{ChangeOutline, Outline, PlaceOutline};
use smr_crypto::Digest;
use smr_wire::client::FaultModel;
use smr_wire::{ReplicaId, Slot, Timestamp, View};

use crate::basis::{self, Basis};
use crate::batch::{Batch, Entry};
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::group::Seat;
use crate::kept::KeptBatches;
use crate::profile::Profile;
use crate::protocol::{Effects, Event, Input, Protocol, Status, Timer};
use crate::quorum::{QuorumCertificate, Votes};
use crate::record::{Record, Unfit};
use crate::upkeep::Upkeep;

/// What `pbft` says of itself.
pub const PROFILE: Profile = Profile {
    name: "pbft",
    model: FaultModel::Byzantine,
    per_fault: 3,
    faults_max: 5,
    strength: "survives machines that lie, without trusted hardware; the most studied protocol of its kind",
    source: "Castro and Liskov, TOCS 2002",
};

/// One replica's part in PBFT.
#[derive(Clone, Debug)]
pub struct Pbft {
    basis: Basis<Place, QuorumCertificate>,
    /// How our view began, once it is installed.
    beginning: Beginning,
    /// What installed it, for those who missed it.
    new_view: Option<NewView>,
    /// The last slot we proposed in it.
    proposed: Slot,
    changes: BTreeMap<ReplicaId, ViewChange>,
}

/// What we know of one slot.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The primary's proposal in the highest view in which we accepted one.
    proposal: Option<(View, Batch)>,
    prepares: Votes,
    commits: Votes,
    /// The certificate of the highest view in which a quorum prepared, as far as we saw, and the batch.
    prepared: Option<(QuorumCertificate, Batch)>,
    /// The highest views in which we voted.
    prepare_sent: Option<View>,
    commit_sent: Option<View>,
    decision: Option<(QuorumCertificate, Batch)>,
    /// Batches of earlier views for which we voted: each may have been prepared by then, so a later view may be bound to
    /// it and ask us.
    voted: KeptBatches,
    /// A batch that the view's beginning binds us to and that we had to ask for.
    fetched: Option<Batch>,
}

impl basis::Place<QuorumCertificate> for Place {
    fn decision(&self) -> Option<&(QuorumCertificate, Batch)> {
        self.decision.as_ref()
    }

    fn decide(&mut self, certificate: QuorumCertificate, batch: Batch) {
        self.decision = Some((certificate, batch));
    }

    fn body(&self, digest: &Digest) -> Option<Batch> {
        let proposal = self.proposal.as_ref().map(|(_, batch)| batch);
        let prepared = self.prepared.as_ref().map(|(_, batch)| batch);
        let decided = self.decision.as_ref().map(|(_, batch)| batch);
        [proposal, prepared, decided, self.fetched.as_ref()]
            .into_iter()
            .flatten()
            .chain(self.voted.iter())
            .find(|batch| batch.digest() == *digest)
            .cloned()
    }

    fn voted_for(&self, digest: &Digest) -> bool {
        let standing = self.proposal.as_ref().filter(|(view, _)| self.prepare_sent == Some(*view));
        let voted = standing.map(|(_, batch)| batch).into_iter().chain(self.voted.iter());
        voted.into_iter().any(|batch| batch.digest() == *digest)
    }
}

impl Pbft {
    /// A replica that has decided nothing.
    #[must_use]
    pub fn new(seat: Seat, config: Config) -> Pbft {
        Pbft {
            beginning: Beginning::default(),
            new_view: None,
            proposed: Slot(0),
            changes: BTreeMap::new(),
            basis: Basis::new(seat, config),
        }
    }

    fn primary(&self) -> ReplicaId {
        self.basis.seat.group.primary_of(self.basis.view)
    }

    fn is_primary(&self) -> bool {
        self.primary() == self.basis.seat.me
    }

    /// The last slot of the decided prefix.
    fn decided(&self) -> Slot {
        self.basis.ledger.decided()
    }

    fn on_message(
        &mut self,
        from: ReplicaId,
        message: Message,
        clock: Timestamp,
        effects: &mut Effects<Message>,
    ) {
        match message {
            Message::Proposal { view, slot, batch, signature } => {
                let ballot = ordering::prepare(view, slot, &batch);
                self.on_proposal(from, ballot, batch, signature, clock, effects);
            }
            Message::Vote { ballot, signature } => self.on_vote(from, ballot, signature, effects),
            Message::ViewChange(change) => self.on_view_change(change, effects),
            Message::NewView(new_view) => self.on_new_view(new_view, effects),
            Message::Upkeep(message) => self.on_upkeep(from, message, effects),
        }
    }

    fn on_upkeep(
        &mut self,
        from: ReplicaId,
        message: Upkeep<QuorumCertificate>,
        effects: &mut Effects<Message>,
    ) {
        match message {
            Upkeep::Forward(entries) => self.on_forward(from, entries, effects),
            Upkeep::Suspects(suspects) => {
                let to = self.basis.on_suspects(suspects, effects);
                self.leave_for(to, effects);
            }
            Upkeep::Status { view, installed, decided } => {
                self.on_status(from, view, installed, decided, effects);
            }
            Upkeep::Fetch { after } => self.basis.on_fetch(from, after, effects),
            Upkeep::Decided(decisions) => self.on_decided(from, decisions, effects),
            Upkeep::Pruned(certificate) => self.basis.on_pruned(from, &certificate, effects),
            Upkeep::FetchBody { slot, digest } => self.on_fetch_body(from, slot, digest, effects),
            Upkeep::Body { slot, batch } => self.on_body(slot, batch),
        }
    }

    fn on_stable(&mut self, certificate: CheckpointCertificate, effects: &mut Effects<Message>) {
        if self.basis.ledger.stabilise(certificate) {
            self.vote_reached(effects);
        }
    }

    fn on_installed(&mut self, certificate: CheckpointCertificate, effects: &mut Effects<Message>) {
        if self.basis.on_installed(certificate) {
            self.proposed = self.proposed.max(self.decided());
            self.vote_reached(effects);
        }
    }
}

impl Protocol for Pbft {
    type Message = Message;

    fn step(&mut self, input: Input<Message>, effects: &mut Effects<Message>) {
        match input.event {
            Event::Start => self.on_start(effects),
            Event::Offer(entry) => self.on_offer(entry, effects),
            Event::Message(message) => {
                let (from, message) = message.into_parts();
                self.on_message(from, message, input.clock, effects);
            }
            Event::Timer(Timer::Patience) => {
                let to = self.basis.on_patience(Place::stands, effects);
                self.leave_for(to, effects);
            }
            Event::Timer(Timer::NewView) => {
                let to = self.basis.on_new_view_timeout(effects);
                self.leave_for(to, effects);
            }
            Event::Timer(Timer::Status) => self.on_status_timer(effects),
            Event::Executed(slot) => self.basis.ledger.note_executed(slot),
            Event::Settled(slot) => self.basis.ledger.note_settled(slot),
            Event::Stable(certificate) => self.on_stable(certificate, effects),
            Event::Installed(certificate) => self.on_installed(certificate, effects),
            Event::Barrier(slot) => self.basis.ledger.set_barrier(slot),
            // There are no cores that could be gone.
            Event::Cease(_) => {}
            // It has no core and asks none.
            Event::Attested(_) => {}
        }
        self.advance(effects);
        self.propose(input.clock, effects);
        self.basis.fetch_on(effects);
        self.basis.mind(Place::stands, effects);
    }

    fn status(&self) -> Status {
        self.basis.status(self.primary())
    }

    fn waiting(&self) -> Vec<Entry> {
        self.basis.pool.all()
    }

    fn resume(
        &mut self,
        checkpoint: Option<CheckpointCertificate>,
        records: Vec<Record>,
        effects: &mut Effects<Message>,
    ) -> Result<(), Unfit> {
        self.basis.resume(checkpoint);
        records.into_iter().try_for_each(|record| self.take_up(record, effects))?;
        self.resumed();
        Ok(())
    }

    fn standing(&self) -> Vec<Record> {
        self.bound_by()
    }
}

#[cfg(test)]
pub(crate) mod tests;
