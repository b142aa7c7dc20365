//! A correct replica: the real `Lanes` value with its core, what it has said, and the steps that it can be made to take.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::{Item, Operation, Register, SoftwareCore};
use smr_consensus::lanes::{ChangeOutline, Lanes, Message, Outline, PlaceOutline};
use smr_consensus::upkeep::Upkeep;
use smr_consensus::verified::Verified;
use smr_consensus::{Effect, Effects, Event, Input, Observation, Protocol, Timer};
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use crate::kit::{Answers, Kit, Opening, Steps, Vote};

/// Periods of patience after which a replica that still says nothing never will.
const PERIODS_MAX: usize = 8;

/// A correct replica.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    lanes: Lanes,
    core: Option<SoftwareCore>,
    armed: BTreeSet<Timer>,
    /// Batches it asked for, which it is given at the end of the step.
    wanted: Vec<(Slot, Digest)>,
    /// What its core was asked for and has not answered.
    asked: VecDeque<Operation>,
    pub(crate) key: Key,
}

/// All that matters of a replica. Equal keys: the same steps are open to it and to others because of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) id: ReplicaId,
    /// What it knows; none of the faulty one, which knows everything.
    pub(crate) outline: Option<Outline>,
    /// The votes it keeps. One more of them alone shows nothing.
    votes: Vec<(Slot, ReplicaId, View, Digest)>,
    /// The view changes that it keeps for later views. They show when it leaves for one.
    later: Vec<ChangeOutline>,
    /// The wishes of others for later views that it keeps. One more of them alone shows nothing.
    wished: Vec<(ReplicaId, View)>,
    pub(crate) said: Said,
    pub(crate) wrong: Option<Wrong>,
}

/// What a replica has said. Whatever was said once can reach anyone at any time, any number of times, or never.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Said {
    pub(crate) votes: BTreeSet<Vote>,
    pub(crate) wishes: BTreeSet<View>,
    /// What the core of the faulty replica reports; it makes view changes of that when it likes.
    pub(crate) reports: BTreeSet<(View, Vec<Option<Register>>)>,
    pub(crate) changes: BTreeSet<ChangeOutline>,
    pub(crate) openings: Openings,
    pub(crate) acknowledged: Acknowledged,
}

/// How a replica said that views begin.
pub(crate) type Openings = BTreeSet<Opening>;

/// Which beginnings it acknowledged.
pub(crate) type Acknowledged = BTreeSet<(View, Digest)>;

/// What must never happen at one replica.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Wrong {
    /// It sent what every correct receiver refuses.
    Refused(String),
    /// It voted more than a window above what it has decided.
    Beyond(Slot),
    /// It remembers more than it may.
    Grown(&'static str),
    /// It stopped.
    Panicked,
}

/// One step of a replica: what reaches it, all of which it takes for something to show; or what the faulty one has
/// its core say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Move {
    /// Its patience runs out, period by period, until it wants another view.
    Patience,
    /// The view it is on the way to does not begin in time.
    NewViewTimeout,
    /// Its core answers.
    Answer,
    /// These, one after the other.
    Hear(Vec<Heard>),
    /// A vote of the faulty replica.
    Endorse(View, Item),
    /// It leaves for a view.
    Leave(View),
    /// It says how a view begins.
    Open(Opening),
}

/// A message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Heard {
    Vote(ReplicaId, Vote),
    Wish(ReplicaId, View),
    Change(ChangeOutline),
    NewView(Opening),
    Acknowledge(ReplicaId, Beginning),
    /// That a view has begun.
    Begun(ReplicaId, Beginning),
    /// A batch with the votes that decided it.
    Decision(ReplicaId, Register),
}

impl Replica {
    /// A replica at which every entry waits, or none.
    pub(crate) fn new(id: ReplicaId, kit: &Kit) -> Replica {
        let lanes = kit.lanes(id);
        let key = Key { id, outline: Some(lanes.outline()), ..Key::new(id) };
        let (core, armed) = (kit.core(id), BTreeSet::new());
        let mut replica = Replica { lanes, core, armed, wanted: Vec::new(), asked: VecDeque::new(), key };
        replica.step(Event::Start, kit);
        let entries = if kit.case.idle == Some(id.0) { 0 } else { kit.case.slots + 1 };
        (0..entries).for_each(|number| replica.step(Event::Offer(kit.entry(number)), kit));
        replica.look(kit);
        replica.lose_patience(kit);
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
        let shows = taken.unwrap_or(true);
        if shows && replica.key.wrong.is_none() {
            replica.lose_patience(kit);
        }
        shows.then_some(replica)
    }

    /// Wants the next view, if that does not make it leave this one: whoever does can still do all that others can, so
    /// nothing is lost if patience runs out at once.
    fn lose_patience(&mut self, kit: &Kit) {
        let Some(step) = self.key.patience(kit).filter(|_| kit.case.steps == Steps::Fewest) else { return };
        let (view, mut impatient) = (self.view(), self.clone());
        if impatient.take(&step, kit) && impatient.view() == view {
            *self = impatient;
        }
    }

    fn view(&self) -> View {
        self.lanes.status().view
    }

    /// Whether what comes last would have done the same without the rest.
    pub(crate) fn is_longer_than_needed(&self, step: &Move, after: &Replica, kit: &Kit) -> bool {
        let Move::Hear(heard) = step else { return false };
        let last = heard.last().filter(|_| heard.len() > 1).map(|last| Move::Hear(vec![last.clone()]));
        let alone = last.and_then(|last| self.after(&last, kit));
        alone.is_some_and(|alone| !alone.key.shows(&after.key))
    }

    /// Whether the step shows as it should.
    fn take(&mut self, step: &Move, kit: &Kit) -> bool {
        let before = self.key.clone();
        let heard = match step {
            Move::Patience => return self.wait(Timer::Patience, &before, kit),
            Move::NewViewTimeout => return self.wait(Timer::NewView, &before, kit),
            Move::Answer => {
                let operation = self.asked.pop_front().expect("only then it can answer");
                let event = self.attest(&operation);
                self.step_and_fetch(event, kit);
                self.look(kit);
                return true;
            }
            Move::Hear(heard) => heard,
            Move::Endorse(..) | Move::Leave(_) | Move::Open(_) => {
                unreachable!("only the faulty one does that")
            }
        };
        let last = heard.len() - 1;
        for (place, heard) in heard.iter().enumerate() {
            self.hear(heard.message(kit), kit);
            self.look(kit);
            if self.key.shows(&before) != (place == last) {
                return false;
            }
        }
        true
    }

    fn hear(&mut self, (from, message): (ReplicaId, Message), kit: &Kit) {
        let message = Verified::check(from, message, &kit.rules()).expect("well formed");
        self.step_and_fetch(Event::Message(message), kit);
    }

    /// Takes an event, and is given the batches that it asks for then.
    fn step_and_fetch(&mut self, event: Event<Message>, kit: &Kit) {
        self.step(event, kit);
        let from = kit.group.members().find(|id| *id != self.key.id).expect("there are three");
        while let Some((slot, digest)) = self.wanted.pop() {
            let body = Message::Upkeep(Upkeep::Body { slot, batch: kit.batch(&digest) });
            let body = Verified::check(from, body, &kit.rules()).expect("well formed");
            self.step(Event::Message(body), kit);
        }
    }

    fn wait(&mut self, timer: Timer, before: &Key, kit: &Kit) -> bool {
        for _ in 0..PERIODS_MAX {
            if self.key.shows(before) || !self.armed.remove(&timer) {
                break;
            }
            self.step_and_fetch(Event::Timer(timer), kit);
            self.look(kit);
        }
        self.key.shows(before)
    }

    /// Takes an event, and has its core answer and its application execute at once.
    fn step(&mut self, event: Event<Message>, kit: &Kit) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut decided = self.lanes.status().decided;
            let mut effects = Effects::default();
            self.lanes.step(Input { clock: kit.clock(self.key.id), event }, &mut effects);
            for effect in effects.drain() {
                match effect {
                    Effect::Send { message, .. } | Effect::Broadcast(message) => self.say(message, kit),
                    Effect::Decide { slot, .. } => {
                        decided = slot;
                        events.extend([Event::Executed(slot), Event::Settled(slot)]);
                    }
                    Effect::Attest(operation) => {
                        if let Operation::Endorse { items, .. } = &operation
                            && let Some(beyond) =
                                items.iter().find(|item| item.slot > decided.plus(kit.case.window))
                        {
                            self.key.wrong = Some(Wrong::Beyond(beyond.slot));
                        }
                        match kit.case.answers {
                            Answers::Later => self.asked.push_back(operation),
                            Answers::AtOnce => events.push_back(self.attest(&operation)),
                        }
                    }
                    Effect::Arm { timer, .. } => {
                        self.armed.insert(timer);
                    }
                    Effect::Disarm(timer) => {
                        self.armed.remove(&timer);
                    }
                    Effect::Report(Observation::CoreRefused(why)) => {
                        self.key.wrong = Some(Wrong::Refused(why.to_string()));
                    }
                    Effect::Offered { .. }
                    | Effect::NeedState { .. }
                    | Effect::Persist(_)
                    | Effect::Report(_) => {}
                }
            }
        }
    }

    fn attest(&mut self, operation: &Operation) -> Event<Message> {
        let core = self.core.as_mut().expect("where cores are asked there are some");
        Event::Attested(core.attest(operation))
    }

    /// Notes what others can use of a message. Entries are with everyone from the start, and what is asked and
    /// answered to make up for losses is given unasked; but for batches, which whoever asks for them gets.
    fn say(&mut self, message: Message, kit: &Kit) {
        if let Err(refused) = Verified::check(self.key.id, message.clone(), &kit.rules()) {
            self.key.wrong = Some(Wrong::Refused(refused.to_string()));
        }
        let said = &mut self.key.said;
        match message {
            Message::Endorse { endorsement, batches } => {
                batches.iter().for_each(|(_, batch)| {
                    kit.know(batch);
                });
                said.votes.insert(Vote {
                    view: endorsement.view,
                    items: endorsement.items.clone(),
                    proposes: batches.into_iter().map(|(slot, _)| slot).collect(),
                });
            }
            Message::Upkeep(Upkeep::Suspects(wishes)) => {
                let own = wishes.iter().filter(|wish| wish.author == self.key.id);
                said.wishes.extend(own.map(|wish| wish.wants).filter(|wants| wants.0 < kit.case.views));
            }
            Message::ViewChange(change) => {
                if !change.is_right(kit.case.schedule, &kit.group) {
                    self.key.wrong = Some(Wrong::Refused("a vote without ground".to_owned()));
                }
                said.changes.insert(change.outline());
            }
            Message::NewView(new_view) => {
                said.openings.insert(kit.opening(new_view.view, new_view.changes));
            }
            Message::Acknowledge { view, digest, .. } => {
                said.acknowledged.insert((view, digest));
            }
            Message::Upkeep(Upkeep::FetchBody { slot, digest }) => self.wanted.push((slot, digest)),
            Message::Upkeep(Upkeep::Forward(_))
            | Message::Begun(_)
            | Message::Nudge { .. }
            | Message::Upkeep(Upkeep::Status { .. })
            | Message::Upkeep(Upkeep::Fetch { .. })
            | Message::Upkeep(Upkeep::Decided(_))
            | Message::Upkeep(Upkeep::Pruned(_))
            | Message::Upkeep(Upkeep::Body { .. }) => {}
        }
    }

    /// Takes the outline, without view changes from which a beginning was made already, as they have no other use, and
    /// with what does not show set apart.
    fn look(&mut self, kit: &Kit) {
        let mut outline = self.lanes.outline();
        if let Some(what) = outgrown(&outline, kit) {
            self.key.wrong = Some(Wrong::Grown(what));
        }
        let (view, is_open) =
            (outline.basis.view, !outline.basis.installed && outline.registers.begun() < outline.basis.view);
        let changes = std::mem::take(&mut outline.changes).into_iter();
        let (now, later) = changes.filter(|change| change.to >= view).partition(|change| change.to == view);
        outline.changes = if is_open { now } else { Vec::new() };
        self.key.later = later;
        let (own, others) = outline.basis.wishes.into_iter().partition(|(author, _)| *author == self.key.id);
        (outline.basis.wishes, self.key.wished) = (own, others);
        self.key.wished.retain(|(_, wants)| *wants > view && wants.0 < kit.case.views);
        self.key.votes.clear();
        for (slot, place) in &mut outline.basis.places {
            let votes = std::mem::take(&mut place.votes).into_iter();
            self.key.votes.extend(votes.map(|(author, view, digest)| (*slot, author, view, digest)));
        }
        outline.basis.places.retain(|(_, place)| *place != PlaceOutline::default());
        self.key.outline = Some(outline);
    }
}

/// What a replica remembers more of than it may.
fn outgrown(outline: &Outline, kit: &Kit) -> Option<&'static str> {
    let (size, window) = (kit.group.size(), usize::try_from(kit.case.window).unwrap());
    let most = |f: fn(&PlaceOutline) -> usize| outline.basis.places.iter().map(|(_, place)| f(place)).max();
    let is_too_much = [
        ("slots", outline.basis.places.len() > 2 * window),
        ("votes", most(|place| place.votes.len()) > Some(size)),
        ("batches of a slot", most(|place| place.bodies.0.len()) > Some(8)),
        ("decisions", outline.basis.log.len() as u64 > kit.case.slots),
        ("views that began", outline.begun.len() > window + 1),
        ("view changes", outline.changes.len() > size),
        ("acknowledgements", outline.acknowledgements.len() > size),
        ("wishes", outline.basis.wishes.len() > size),
        ("own proposals", outline.own.len() > window),
        // In each view at most a vote for each slot of the window, its beginning, and having left for it.
        ("questions to the core", outline.asked.len() as u64 > kit.case.views * (kit.case.window + 2)),
        ("exclusions", outline.beginning.excluded.len() > size),
        ("bound slots", outline.beginning.digests.len() > 2 * window),
    ];
    is_too_much.into_iter().find(|(_, is)| *is).map(|(what, _)| what)
}

impl Heard {
    fn message(&self, kit: &Kit) -> (ReplicaId, Message) {
        match self {
            Heard::Vote(from, vote) => (*from, kit.vote(*from, vote)),
            Heard::Wish(from, view) => (*from, kit.wish(*from, *view)),
            Heard::Change(change) => (change.author, Message::ViewChange(Box::new(kit.change(change)))),
            Heard::NewView(opening) => kit.new_view(opening),
            Heard::Acknowledge(from, beginning) => (*from, kit.acknowledge(*from, beginning)),
            Heard::Begun(from, beginning) => (*from, Message::Begun(kit.view_certificate(beginning))),
            Heard::Decision(from, what) => (*from, kit.decision(what)),
        }
    }
}

impl Key {
    /// One that has said nothing.
    pub(crate) fn new(id: ReplicaId) -> Key {
        Key {
            id,
            outline: None,
            votes: Vec::new(),
            later: Vec::new(),
            wished: Vec::new(),
            said: Said::default(),
            wrong: None,
        }
    }

    /// Whether something shows by which this replica differs from the `other`.
    fn shows(&self, other: &Key) -> bool {
        let Key { id, outline, votes: _, later: _, wished: _, said, wrong } = self;
        (id, outline, said, wrong) != (&other.id, &other.outline, &other.said, &other.wrong)
    }

    /// What can make it want the next view, if there is one and it does not.
    pub(crate) fn patience(&self, kit: &Kit) -> Option<Move> {
        let basis = &self.outline.as_ref()?.basis;
        let wish = basis.wishes.iter().find(|(author, _)| *author == self.id).map(|(_, wants)| *wants);
        let next = Some(basis.view.next()).filter(|next| next.0 < kit.case.views && wish < Some(*next));
        next.map(|_| if basis.installed { Move::Patience } else { Move::NewViewTimeout })
    }

    /// Whether its core owes it an answer.
    pub(crate) fn waits_for_core(&self) -> bool {
        self.outline.as_ref().is_some_and(|outline| !outline.asked.is_empty())
    }

    /// The last slot of the decided prefix.
    pub(crate) fn decided(&self) -> Slot {
        let log = self.outline.iter().flat_map(|outline| &outline.basis.log);
        log.last().map_or(Slot(0), |decided| decided.item.slot)
    }

    /// Every decision it has made.
    pub(crate) fn decisions(&self) -> impl Iterator<Item = Register> {
        let outlines = || self.outline.iter();
        let early =
            outlines().flat_map(|outline| &outline.basis.places).filter_map(|(_, place)| place.decision);
        outlines().flat_map(|outline| &outline.basis.log).copied().chain(early)
    }
}
