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
mod view_change;

use std::collections::BTreeMap;

pub use message::{Beginning, Decision, Message, NewView, PrefixProof, ViewChange};
pub use outline::{ChangeOutline, Outline, PlaceOutline};
use smr_wire::client::FaultModel;
use smr_wire::{ReplicaId, Slot, Timestamp, View};

use crate::batch::Batch;
use crate::catch_up::CatchUp;
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::group::Seat;
use crate::ledger::Ledger;
use crate::patience::Patience;
use crate::pool::Pool;
use crate::profile::Profile;
use crate::protocol::{Effects, Event, Input, Protocol, Status, Timer};
use crate::quorum::{QuorumCertificate, Votes};
use crate::suspicion::{Backoff, Suspicion};

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
    seat: Seat,
    config: Config,
    /// The view we are in, or on the way to if it is not `installed`.
    view: View,
    installed: bool,
    /// How `view` began, once it is installed.
    beginning: Beginning,
    /// What installed `view`, for those who missed it.
    new_view: Option<NewView>,
    /// The last slot we proposed in `view`.
    proposed: Slot,
    ledger: Ledger<Place, QuorumCertificate>,
    pool: Pool,
    suspicion: Suspicion,
    changes: BTreeMap<ReplicaId, ViewChange>,
    backoff: Backoff,
    catch_up: CatchUp,
    patience: Patience,
    decided_at_tick: Slot,
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
    /// Batches of earlier views for which we voted, the latest last: each may have been prepared by then, so a
    /// later view may be bound to it and ask us. At most [`VOTED_BATCHES_MAX`].
    voted: Vec<Batch>,
    /// A batch that the view's beginning binds us to and that we had to ask for.
    fetched: Option<Batch>,
}

/// Batches of earlier views that a slot keeps. Each stands for a view that failed after it proposed something else
/// than the views before it; the oldest goes first.
const VOTED_BATCHES_MAX: usize = 8;

impl Pbft {
    /// A replica that has decided nothing.
    #[must_use]
    pub fn new(seat: Seat, config: Config) -> Pbft {
        Pbft {
            view: View(0),
            installed: true,
            beginning: Beginning::default(),
            new_view: None,
            proposed: Slot(0),
            ledger: Ledger::new(&config),
            pool: Pool::new(&config, seat.group.size()),
            suspicion: Suspicion::default(),
            changes: BTreeMap::new(),
            backoff: Backoff::default(),
            catch_up: CatchUp::default(),
            patience: Patience::default(),
            decided_at_tick: Slot(0),
            seat,
            config,
        }
    }

    fn primary(&self) -> ReplicaId {
        self.seat.group.primary_of(self.view)
    }

    fn is_primary(&self) -> bool {
        self.primary() == self.seat.me
    }

    /// The last slot of the decided prefix.
    fn decided(&self) -> Slot {
        self.ledger.decided()
    }

    fn on_message(
        &mut self,
        from: ReplicaId,
        message: Message,
        clock: Timestamp,
        effects: &mut Effects<Message>,
    ) {
        match message {
            Message::Forward(entries) => self.on_forward(from, entries, effects),
            Message::Proposal { view, slot, batch, signature } => {
                let ballot = ordering::prepare(view, slot, &batch);
                self.on_proposal(from, ballot, batch, signature, clock, effects);
            }
            Message::Vote { ballot, signature } => self.on_vote(from, ballot, signature, effects),
            Message::Suspects(suspects) => self.on_suspects(suspects, effects),
            Message::ViewChange(change) => self.on_view_change(change, effects),
            Message::NewView(new_view) => self.on_new_view(new_view, effects),
            Message::Status { view, installed, decided } => {
                self.on_status(from, view, installed, decided, effects);
            }
            Message::Fetch { after } => self.on_fetch(from, after, effects),
            Message::Decided(decisions) => self.on_decided(from, decisions, effects),
            Message::Pruned(certificate) => self.on_pruned(from, &certificate, effects),
            Message::FetchBody { slot, digest } => self.on_fetch_body(from, slot, digest, effects),
            Message::Body { slot, batch } => self.on_body(slot, batch),
        }
    }

    fn on_stable(&mut self, certificate: CheckpointCertificate, effects: &mut Effects<Message>) {
        if self.ledger.stabilise(certificate) {
            self.vote_reached(effects);
        }
    }

    fn on_installed(&mut self, certificate: CheckpointCertificate, effects: &mut Effects<Message>) {
        if self.ledger.install(certificate) {
            self.proposed = self.proposed.max(self.decided());
            self.vote_reached(effects);
        }
    }
}

impl Protocol for Pbft {
    type Message = Message;

    fn step(&mut self, input: Input<Message>, effects: &mut Effects<Message>) {
        match input.event {
            Event::Start => effects.arm(Timer::Status, self.config.status_ms),
            Event::Offer(entry) => self.on_offer(entry, effects),
            Event::Message(message) => {
                let (from, message) = message.into_parts();
                self.on_message(from, message, input.clock, effects);
            }
            Event::Timer(Timer::Patience) => self.on_patience(effects),
            Event::Timer(Timer::NewView) => self.on_new_view_timeout(effects),
            Event::Timer(Timer::Status) => self.on_status_timer(effects),
            Event::Executed(slot) => self.ledger.note_executed(slot),
            Event::Settled(slot) => self.ledger.note_settled(slot),
            Event::Stable(certificate) => self.on_stable(certificate, effects),
            Event::Installed(certificate) => self.on_installed(certificate, effects),
            // It has no core and asks none.
            Event::Attested(_) => {}
        }
        self.advance(effects);
        self.propose(input.clock, effects);
        let standing = self.standing();
        self.patience.mind(&self.pool, standing, &self.backoff, &self.config, effects);
    }

    fn status(&self) -> Status {
        Status {
            view: self.view,
            installed: self.installed,
            primary: self.primary(),
            decided: self.decided(),
            highest: self.catch_up.highest(self.seat.group.one_correct()).max(self.decided()),
            log_base: self.ledger.log.base(),
            waiting: self.pool.len(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
