//! A correct replica: the real `Pbft` value, what it has said, and the steps that it can be made to take.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use smr_consensus::pbft::{ChangeOutline, Message, Outline, Pbft, PlaceOutline};
use smr_consensus::quorum::{Ballot, Phase};
use smr_consensus::upkeep::Upkeep;
use smr_consensus::verified::Verified;
use smr_consensus::{Effect, Effects, Event, Input, Protocol, Timer};
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use crate::kit::Kit;

/// Periods of patience after which a replica that still says nothing never will.
const PERIODS_MAX: usize = 8;

/// A correct replica.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pbft: Pbft,
    armed: BTreeSet<Timer>,
    pub(crate) key: Key,
}

/// All that matters of a correct replica. Equal keys: the same steps are open to it and to others because of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) id: ReplicaId,
    pub(crate) outline: Outline,
    pub(crate) sent: Sent,
    pub(crate) wrong: Option<Wrong>,
}

/// What a replica has said. Whatever was said once can reach anyone at any time, any number of times, or never.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) proposals: BTreeSet<(View, Slot, Digest)>,
    pub(crate) votes: BTreeSet<Ballot>,
    pub(crate) wishes: BTreeSet<View>,
    pub(crate) changes: BTreeSet<ChangeOutline>,
    pub(crate) new_views: BTreeSet<(View, Vec<ChangeOutline>)>,
}

/// What must never happen at one replica.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Wrong {
    /// It sent what every correct receiver refuses.
    Refused(String),
    /// It stopped.
    Panicked,
}

/// One step of a correct replica: what reaches it, all of which it takes for something to show.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Move {
    /// Its patience runs out, period by period, until it wants another primary.
    Patience,
    /// The view it is on the way to does not begin in time.
    NewViewTimeout,
    /// The primary's proposal.
    Proposal(View, Slot, Digest),
    /// Votes, one of each author at most.
    Votes(Vec<(ReplicaId, Ballot)>),
    /// Wishes for another primary.
    Wishes(Vec<(ReplicaId, View)>),
    /// View changes, to the primary of the next view.
    Changes(Vec<ChangeOutline>),
    /// A new view that consists of these.
    NewView(View, Vec<ChangeOutline>),
    /// A batch that a primary is bound to and lacks.
    Body(Slot, Digest),
    /// A batch with the votes that decided it.
    Decision(Ballot),
}

impl Replica {
    /// A replica at which every entry waits.
    pub(crate) fn new(id: ReplicaId, kit: &Kit) -> Replica {
        let pbft = kit.pbft(id);
        let key = Key { id, outline: pbft.outline(), sent: Sent::default(), wrong: None };
        let mut replica = Replica { pbft, armed: BTreeSet::new(), key };
        replica.step(Event::Start, kit);
        (0..=kit.case.slots).for_each(|number| replica.step(Event::Offer(kit.entry(number)), kit));
        replica.look(kit);
        replica
    }

    /// This replica after a step, if it shows, and shows at the last of what reaches it and no sooner: what came
    /// after that could as well come later, by itself.
    pub(crate) fn after(&self, step: &Move, kit: &Kit) -> Option<Replica> {
        let mut replica = self.clone();
        let taken = catch_unwind(AssertUnwindSafe(|| replica.take(step, kit)));
        if taken.is_err() {
            replica =
                Replica { key: Key { wrong: Some(Wrong::Panicked), ..self.key.clone() }, ..self.clone() };
        }
        taken.unwrap_or(true).then_some(replica)
    }

    /// Whether the step shows as it should.
    fn take(&mut self, step: &Move, kit: &Kit) -> bool {
        let before = self.key.clone();
        let messages = match step {
            Move::Patience => return self.wait(Timer::Patience, &before, kit),
            Move::NewViewTimeout => return self.wait(Timer::NewView, &before, kit),
            Move::Proposal(view, slot, digest) => vec![kit.proposal(*view, *slot, *digest)],
            Move::Votes(votes) => votes.iter().map(|(author, ballot)| kit.vote(*author, *ballot)).collect(),
            Move::Wishes(wishes) => wishes.iter().map(|(author, view)| kit.wish(*author, *view)).collect(),
            Move::Changes(changes) => changes.iter().map(|change| kit.view_change(change)).collect(),
            Move::NewView(view, changes) => vec![kit.new_view(*view, changes)],
            Move::Body(slot, digest) => vec![kit.body(*slot, *digest)],
            Move::Decision(ballot) => vec![kit.decision(*ballot)],
        };
        let last = messages.len() - 1;
        for (place, (from, message)) in messages.into_iter().enumerate() {
            let message = Verified::check(from, message, &kit.rules()).expect("well formed");
            self.step(Event::Message(message), kit);
            self.look(kit);
            if (self.key != before) != (place == last) {
                return false;
            }
        }
        true
    }

    fn wait(&mut self, timer: Timer, before: &Key, kit: &Kit) -> bool {
        for _ in 0..PERIODS_MAX {
            if self.key != *before || !self.armed.remove(&timer) {
                break;
            }
            self.step(Event::Timer(timer), kit);
            self.look(kit);
        }
        self.key != *before
    }

    fn step(&mut self, event: Event<Message>, kit: &Kit) {
        let mut effects = Effects::default();
        self.pbft.step(Input { clock: kit.clock(self.key.id), event }, &mut effects);
        let mut executed = None;
        for effect in effects.drain() {
            match effect {
                Effect::Send { message, .. } | Effect::Broadcast(message) => self.say(message, kit),
                Effect::Decide { slot, .. } => executed = Some(slot),
                Effect::Arm { timer, .. } => {
                    self.armed.insert(timer);
                }
                Effect::Disarm(timer) => {
                    self.armed.remove(&timer);
                }
                Effect::Offered { .. }
                | Effect::NeedState { .. }
                | Effect::Attest(_)
                | Effect::Persist(_)
                | Effect::Report(_) => {}
            }
        }
        if let Some(slot) = executed {
            self.step(Event::Executed(slot), kit);
            self.step(Event::Settled(slot), kit);
        }
    }

    /// Notes what others can use of a message. Entries are with everyone from the start, and what is asked and
    /// answered to make up for losses the faulty replica sends unasked.
    fn say(&mut self, message: Message, kit: &Kit) {
        if let Err(refused) = Verified::check(self.key.id, message.clone(), &kit.rules()) {
            self.key.wrong = Some(Wrong::Refused(refused.to_string()));
        }
        let sent = &mut self.key.sent;
        match message {
            Message::Proposal { view, slot, batch, .. } => {
                sent.proposals.insert((view, slot, kit.know(&batch)));
            }
            Message::Vote { ballot, .. } => {
                sent.votes.insert(ballot);
            }
            Message::Upkeep(Upkeep::Suspects(wishes)) => {
                let own = wishes.iter().filter(|wish| wish.author == self.key.id);
                sent.wishes.extend(own.map(|wish| wish.wants).filter(|wants| wants.0 < kit.case.views));
            }
            Message::ViewChange(change) => {
                sent.changes.insert(change.outline());
            }
            Message::NewView(new_view) => {
                let changes = new_view.changes.iter().map(|change| change.outline()).collect();
                sent.new_views.insert((new_view.view, changes));
            }
            Message::Upkeep(Upkeep::Forward(_))
            | Message::Upkeep(Upkeep::Status { .. })
            | Message::Upkeep(Upkeep::Fetch { .. })
            | Message::Upkeep(Upkeep::Decided(_))
            | Message::Upkeep(Upkeep::Pruned(_))
            | Message::Upkeep(Upkeep::FetchBody { .. })
            | Message::Upkeep(Upkeep::Body { .. }) => {}
        }
    }

    /// Takes the outline, without what a step has used up. Every step uses what reaches it: votes have made a vote
    /// or a decision, wishes a departure, view changes a beginning. None of them is looked at again: of the same
    /// view there is nothing left to do with them, and in a later view they do not count.
    fn look(&mut self, kit: &Kit) {
        let mut outline = self.pbft.outline();
        outline.basis.wishes.retain(|(author, wants)| *author == self.key.id && wants.0 < kit.case.views);
        outline.changes.clear();
        for (_, place) in &mut outline.basis.places {
            place.prepares.clear();
            place.commits.clear();
        }
        outline.basis.places.retain(|(_, place)| *place != PlaceOutline::default());
        self.key.outline = outline;
    }
}

impl Key {
    /// Whether the replica has signed a vote for this ballot, in whatever message.
    pub(crate) fn voted(&self, ballot: &Ballot) -> bool {
        let proposed = (ballot.view, ballot.slot, ballot.digest);
        self.sent.votes.contains(ballot)
            || (ballot.phase == Phase::Prepare && self.sent.proposals.contains(&proposed))
    }

    /// The same key if two replicas changed places.
    pub(crate) fn swapped(&self, twins: [ReplicaId; 2]) -> Key {
        let other = |id: ReplicaId| match id {
            id if id == twins[0] => twins[1],
            id if id == twins[1] => twins[0],
            id => id,
        };
        let mut key = Key { id: other(self.id), ..self.clone() };
        let change =
            |change: &ChangeOutline| ChangeOutline { author: other(change.author), ..change.clone() };
        key.sent.changes = self.sent.changes.iter().map(change).collect();
        let new_view = |(view, changes): &(View, Vec<ChangeOutline>)| {
            let mut changes: Vec<ChangeOutline> = changes.iter().map(change).collect();
            changes.sort();
            (*view, changes)
        };
        key.sent.new_views = self.sent.new_views.iter().map(new_view).collect();
        key.outline.basis.wishes =
            self.outline.basis.wishes.iter().map(|(id, view)| (other(*id), *view)).collect();
        key
    }
}
