//! `lanes`: agreement with 2f+1 replicas, each slot decided by one round of votes after its proposal, up to a window of
//! slots at a time. Four protocols are one engine: machines that may crash or, with a trusted core in each, lie; and one
//! replica that proposes or all in turn.
//!
//! ```text
//!   contact --Endorse(batch of its slot)--> all --Endorse--> all : decided
//!             the proposal is the first vote      f+1 votes
//!
//!   patience runs out --Suspects--> all; f+1 of them: --ViewChange(what the core voted for)--> all
//!     --NewView(f+1 of those)--> all --Acknowledge--> all; f+1 of them: the next view begins
//! ```
//!
//! It is EBAWA (Veronese et al., HASE 2010) repaired: a vote is bound to its slot and view, not to a place in a stream of
//! messages, so nobody must hear every message of everybody; who gets no turns is part of how a view begins, computed by
//! all from the same quorum; and slots are decided side by side. Without a core it is Paxos (Lamport, TOCS 1998), in turns
//! like Mencius (Mao et al., OSDI 2008); with a stable primary and cores it is of the kind of MinBFT (Veronese et al., IEEE
//! ToC 2013).

pub mod beginning;
pub mod core;
mod follow;
mod message;
mod ordering;
mod outline;
mod pace;
mod repair;
mod resume;
pub mod schedule;
mod view_change;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smr_crypto::{Digest, Signature};
use smr_wire::client::FaultModel;
use smr_wire::{ReplicaId, Slot, Timestamp, View};

use self::beginning::{Beginning, NewView, ViewCertificate, ViewChange};
use self::core::{Operation, Refusal, Register, Registers, Scope};
pub use self::message::{Certificate, Decision, Endorsement, Message, PrefixProof};
pub use self::outline::{AskedOutline, ChangeOutline, Outline, PlaceOutline};
use self::pace::Pace;
use self::schedule::Schedule;
use crate::basis::{self, Basis};
use crate::batch::{Batch, Entry};
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::group::Seat;
use crate::kept::KeptBatches;
use crate::profile::Profile;
use crate::protocol::{Effect, Effects, Event, Input, Observation, Protocol, Status, Timer};
use crate::quorum::Votes;
use crate::record::{Record, Unfit};
use crate::upkeep::Upkeep;

/// What `paxos` says of itself.
pub const PAXOS: Profile = Profile {
    name: "paxos",
    model: FaultModel::Crash,
    per_fault: 2,
    faults_max: 5,
    strength: "survives machines that stop, with the fewest replicas and no signatures between them",
    source: "Lamport, TOCS 1998, with several slots at a time",
};

/// What `mencius` says of itself.
pub const MENCIUS: Profile = Profile {
    name: "mencius",
    model: FaultModel::Crash,
    per_fault: 2,
    faults_max: 5,
    strength: "survives machines that stop; each contact orders what its own clients ask, which helps over long distances",
    source: "Mao, Junqueira and Marzullo, OSDI 2008, with Paxos' change of view",
};

/// What `minbft` says of itself.
pub const MINBFT: Profile = Profile {
    name: "minbft",
    model: FaultModel::Hybrid,
    per_fault: 2,
    faults_max: 5,
    strength: "survives machines that lie with few replicas, as long as the small trusted core in each does not",
    source: "after Veronese et al., IEEE ToC 2013, with lanes in place of a counter",
};

/// What `ebawa` says of itself.
pub const EBAWA: Profile = Profile {
    name: "ebawa",
    model: FaultModel::Hybrid,
    per_fault: 2,
    faults_max: 5,
    strength: "survives machines that lie with few replicas, as long as the small trusted core in each does not; \
               each contact orders what its own clients ask, which helps over long distances",
    source: "after Veronese et al., HASE 2010, repaired, with a window of slots",
};

/// One replica's part.
#[derive(Clone, Debug)]
pub struct Lanes {
    schedule: Schedule,
    basis: Basis<Place, Certificate>,
    /// How the last view that began here did.
    beginning: Beginning,
    /// Views that began, as far as a vote of ours may have to be shown to be right: those that the registers name, and the
    /// last one.
    begun: BTreeMap<View, ViewCertificate>,
    /// What the core holds once it has done all that it was asked for.
    registers: Registers,
    /// What it was asked for and has not answered.
    asked: VecDeque<Asked>,
    /// Up to here our own slots of this view have their proposals.
    proposed: Slot,
    /// Our own proposals that are not settled, but for empty ones.
    own: VecDeque<Slot>,
    /// The last slot that was proposed in this view: whoever has a turn before says so if it has nothing.
    seen: Slot,
    /// The last slot whose proposal we asked for because what waits here has no slot in the window.
    nudged: Slot,
    changes: BTreeMap<ReplicaId, ViewChange>,
    /// The beginning of the view we are on the way to, from its coordinator.
    new_view: Option<(NewView, Beginning)>,
    acknowledgements: BTreeMap<ReplicaId, (View, Digest, Signature)>,
    /// How long slots of others are waited for in this view.
    pace: Pace,
    /// The machine's clock at this event.
    clock: Timestamp,
}

/// What the core was asked for, and what is done with its answer.
#[derive(Clone, Debug)]
enum Asked {
    /// Votes; `batches` go with those that are proposals.
    Endorse { endorsement: Endorsement, batches: Vec<(Slot, Batch)> },
    /// To leave for a view; the lanes as they were then.
    Leave { to: View, lanes: Vec<Option<Register>> },
    /// The beginning of a view.
    Begin { view: View, changes: Vec<ViewChange> },
}

/// Who proposed something, with the vote that shows it.
type Proposer = (ReplicaId, Arc<Endorsement>);

/// What we know of one slot.
#[derive(Clone, Debug, Default)]
struct Place {
    /// What stands here in the highest view in which we know it.
    proposal: Option<(View, Batch)>,
    /// Why: the vote of whoever proposed it, and who that is; none if the view's beginning says so.
    proposer: Option<Proposer>,
    votes: Votes<Arc<Endorsement>>,
    /// The view in which we proposed it.
    is_ours: Option<View>,
    /// When that left.
    sent: Option<Timestamp>,
    /// The view of our core's last vote here, and who proposed what it is for.
    ours: Option<(View, Option<Proposer>)>,
    decision: Option<(Certificate, Batch)>,
    /// Batches of earlier views for which we voted: each may have been decided, so a later view may be bound to it and
    /// ask us.
    voted: KeptBatches,
    /// Batches that we had to ask for, the latest last: one for each replica whose vote may bind a view, at most.
    fetched: Vec<Batch>,
}

impl basis::Place<Certificate> for Place {
    fn decision(&self) -> Option<&(Certificate, Batch)> {
        self.decision.as_ref()
    }

    fn decide(&mut self, certificate: Certificate, batch: Batch) {
        self.decision = Some((certificate, batch));
    }

    fn body(&self, digest: &Digest) -> Option<Batch> {
        let proposal = self.proposal.as_ref().map(|(_, batch)| batch);
        let decided = self.decision.as_ref().map(|(_, batch)| batch);
        let all = [proposal, decided].into_iter().flatten().chain(&self.fetched).chain(self.voted.iter());
        let nil = Batch::nil();
        all.chain([&nil]).find(|batch| batch.digest() == *digest).cloned()
    }

    fn voted_for(&self, digest: &Digest) -> bool {
        let ours = self.ours.as_ref().map(|(view, _)| *view);
        let standing = self.proposal.as_ref().filter(|(view, _)| ours == Some(*view));
        let voted = standing.map(|(_, batch)| batch).into_iter().chain(self.voted.iter());
        voted.into_iter().any(|batch| batch.digest() == *digest)
    }
}

impl Lanes {
    /// A replica that has decided nothing.
    #[must_use]
    pub fn new(schedule: Schedule, seat: Seat, config: Config) -> Lanes {
        Lanes {
            beginning: Beginning::default(),
            begun: BTreeMap::new(),
            registers: Registers::new(seat.group.generation, config.window_slots),
            asked: VecDeque::new(),
            proposed: Slot(0),
            own: VecDeque::new(),
            seen: Slot(0),
            nudged: Slot(0),
            changes: BTreeMap::new(),
            new_view: None,
            acknowledgements: BTreeMap::new(),
            pace: Pace::default(),
            clock: Timestamp(0),
            schedule,
            basis: Basis::new(seat, config),
        }
    }

    /// How the right to propose goes round.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// Who proposes in `slot` of the view we are in.
    fn leader(&self, slot: Slot) -> ReplicaId {
        self.beginning.leader(self.schedule, &self.basis.seat.group, slot)
    }

    /// Who proposes next, as far as we know.
    fn primary(&self) -> ReplicaId {
        if self.basis.installed {
            self.leader(self.decided().max(self.beginning.bound()).next())
        } else {
            self.basis.seat.group.primary_of(self.basis.view)
        }
    }

    /// The last slot of the decided prefix.
    fn decided(&self) -> Slot {
        self.basis.ledger.decided()
    }

    /// Has the core do something. Where there is none, the registers are ours, and it is done.
    fn ask(&mut self, operation: Operation, asked: Asked, effects: &mut Effects<Message>) {
        let done = self.registers.apply(&operation);
        assert!(done.is_ok(), "a correct replica asks for what its core does: {operation:?}, {done:?}");
        self.asked.push_back(asked);
        match (self.basis.seat.group.model, &operation) {
            (FaultModel::Hybrid, _) => effects.push(Effect::Attest(operation)),
            (_, Operation::Endorse { .. }) => self.answered(None, effects),
            (_, _) => {
                let (group, window_slots) = (self.basis.seat.group.clone(), self.basis.config.window_slots);
                let scope = Scope { group: &group, window_slots, replica: self.basis.seat.me };
                let signature = self.basis.seat.sign(&scope.of(&operation, &self.registers));
                self.answered(Some(signature), effects);
            }
        }
    }

    /// The core has done what it was asked for first.
    fn on_attested(&mut self, answer: Result<Signature, Refusal>, effects: &mut Effects<Message>) {
        match answer {
            Ok(signature) => self.answered(Some(signature), effects),
            // Another hand has used it, or it is another core: what was asked for will not be said.
            Err(why) => {
                self.asked.pop_front();
                effects.report(Observation::CoreRefused(why));
            }
        }
    }

    fn answered(&mut self, signature: Option<Signature>, effects: &mut Effects<Message>) {
        let Some(asked) = self.asked.pop_front() else { return };
        match (asked, signature) {
            (Asked::Endorse { endorsement, batches }, signature) => {
                self.on_endorsed(Endorsement { signature, ..endorsement }, batches, effects);
            }
            (Asked::Leave { to, lanes }, Some(report)) => self.on_left(to, lanes, report, effects),
            (Asked::Begin { view, changes }, Some(attestation)) => {
                let new_view = NewView { view, changes, attestation };
                effects.broadcast(Message::NewView(new_view.clone()));
                self.on_new_view(new_view, effects);
            }
            (Asked::Leave { .. } | Asked::Begin { .. }, None) => {
                unreachable!("only votes go without a signature")
            }
        }
    }

    fn on_message(&mut self, from: ReplicaId, message: Message, effects: &mut Effects<Message>) {
        match message {
            Message::Endorse { endorsement, batches } => {
                self.on_endorse(from, &endorsement, batches, effects);
            }
            Message::ViewChange(change) => self.on_view_change(from, *change, effects),
            Message::NewView(new_view) => self.on_new_view(new_view, effects),
            Message::Acknowledge { view, digest, signature } => {
                self.on_acknowledge(from, view, digest, signature, effects);
            }
            Message::Begun(certificate) => self.on_begun(certificate, effects),
            Message::Nudge { slot } => self.on_nudge(slot),
            Message::Upkeep(message) => self.on_upkeep(from, message, effects),
        }
    }

    fn on_upkeep(&mut self, from: ReplicaId, message: Upkeep<Certificate>, effects: &mut Effects<Message>) {
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
            Upkeep::Body { slot, batch } => self.on_body(slot, batch, effects),
        }
    }

    fn on_installed(&mut self, certificate: CheckpointCertificate) {
        if self.basis.on_installed(certificate) {
            self.proposed = self.proposed.max(self.decided());
        }
    }
}

impl Protocol for Lanes {
    type Message = Message;

    fn step(&mut self, input: Input<Message>, effects: &mut Effects<Message>) {
        self.clock = input.clock;
        // What its core has been asked for and has not answered will not be said.
        self.basis.seat.votes &= !matches!(input.event, Event::Cease(_));
        if !self.basis.seat.votes {
            self.follow(input.event, effects);
            return;
        }
        match input.event {
            Event::Start => self.on_start(effects),
            Event::Offer(entry) => self.on_offer(entry, effects),
            Event::Message(message) => {
                let (from, message) = message.into_parts();
                self.on_message(from, message, effects);
            }
            Event::Attested(answer) => self.on_attested(answer, effects),
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
            Event::Stable(certificate) => {
                self.basis.ledger.stabilise(certificate);
            }
            Event::Installed(certificate) => self.on_installed(certificate),
            Event::Barrier(slot) => self.basis.ledger.set_barrier(slot),
            Event::Cease(_) => unreachable!("whoever ceases follows"),
        }
        loop {
            self.advance(effects);
            if !self.act(effects) {
                break;
            }
        }
        self.nudge(effects);
        self.mind_pace(effects);
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
