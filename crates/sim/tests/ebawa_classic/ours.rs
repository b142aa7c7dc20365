//! The same questions to ours: three real `Lanes` values, with real cores, as EBAWA repaired runs.
//!
//! The network forgets. In each step something happens at one replica, some of the others hear it and what follows, and
//! the rest never will: whatever is not said again is lost. That is harder on a replica that fell behind than a sender that
//! keeps its log until a checkpoint.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::lanes::core::SoftwareCore;
use smr_consensus::lanes::schedule::Schedule;
use smr_consensus::lanes::{Lanes, Message, Outline};
use smr_consensus::protocol::{Effect, Effects, Event, Input, Protocol, Timer};
use smr_consensus::verified::{Rules, Verified};
use smr_consensus::{Config, Entry, EntryBody, Group, Seat, Status};
use smr_crypto::dkg::DealingSeed;
use smr_crypto::{Digest, IdentityKey, Verifier};
use smr_wire::client::{Access, Call, Command, FaultModel};
use smr_wire::{Generation, ReplicaId, Request, RequestNumber, ServiceId, SessionId, Slot, Timestamp, View};

const SIZE: usize = 3;
/// Who can hear each other in a step.
const ISLANDS: [&[usize]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];
const CLOCK: Timestamp = Timestamp(1_700_000_000_000);

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The next entry is offered to this replica.
    Offer(usize),
    /// A timer of this replica runs out.
    Timer(usize, Timer),
    /// Status periods pass for all that hear each other, so many that each asks each.
    Periods,
}

/// See [`Bounds::last_slot`].
pub(crate) const JUDGED: Slot = Slot(4);

/// Periods in which a replica asks everyone: only the second one without progress makes it ask, one peer each time.
const PERIODS: usize = 4;

/// How a world of ours is bounded, and what is wrong with it on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Entries that are offered.
    pub(crate) entries: usize,
    /// Slots between checkpoints.
    pub(crate) checkpoint_slots: u64,
    /// The last view that may be entered.
    pub(crate) last_view: View,
    /// The last slot that may be decided: an entry whose proposer took a state over its slot is proposed again, so there
    /// is no end to slots. States up to [`JUDGED`] are judged, and those above are there to be reached from them.
    pub(crate) last_slot: Slot,
    /// What the network never carries.
    pub(crate) never: fn(&Message) -> bool,
}

/// What all have in common.
pub(crate) struct Kit {
    bounds: Bounds,
    group: Arc<Group>,
    config: Config,
    keys: Vec<Arc<IdentityKey>>,
    cores: Vec<Arc<IdentityKey>>,
    verifier: Arc<Verifier>,
}

/// Three replicas with their cores, and how many entries were offered.
#[derive(Clone, Debug)]
pub(crate) struct Trio {
    pub(crate) replicas: Vec<Lanes>,
    cores: Vec<SoftwareCore>,
    /// Timers that run.
    timers: BTreeSet<(usize, Timer)>,
    offered: usize,
}

impl Kit {
    pub(crate) fn new(bounds: Bounds) -> Kit {
        let verifier = Arc::new(Verifier::simulated([1; 32]));
        let key = |seed: u8| Arc::new(IdentityKey::from_seed(&[seed; 32]).known_to(verifier.clone()));
        let keys: Vec<_> = (1..=3).map(key).collect();
        let cores: Vec<_> = (11..=13).map(key).collect();
        let publics = |keys: &[Arc<IdentityKey>]| keys.iter().map(|key| key.public()).collect();
        let group = Group {
            service: ServiceId(Digest::default()),
            generation: Generation(0),
            model: FaultModel::Hybrid,
            faults: 1,
            keys: publics(&keys),
            cores: publics(&cores),
        };
        let config = Config { window_slots: 3, pipeline_slots: 3, exclusion_slots: 4, ..Config::default() };
        Kit { bounds, group: Arc::new(group), config, keys, cores, verifier }
    }

    fn begin(&self) -> Trio {
        let seat = |id| Seat::new(self.group.clone(), ReplicaId::at(id), self.keys[id].clone());
        let core = |id: usize| {
            SoftwareCore::new(
                self.group.clone(),
                self.config.window_slots,
                ReplicaId::at(id),
                self.cores[id].clone(),
                DealingSeed([0; 32]),
            )
        };
        let mut trio = Trio {
            replicas: (0..SIZE)
                .map(|id| Lanes::new(Schedule::Rotating, seat(id), self.config.clone()))
                .collect(),
            cores: (0..SIZE).map(core).collect(),
            timers: BTreeSet::new(),
            offered: 0,
        };
        (0..SIZE).for_each(|who| self.happen(&mut trio, who, Event::Start, &[who]));
        trio
    }

    fn entry(&self, number: usize) -> Entry {
        let commands = vec![Command { number: RequestNumber(number as u64 + 1), bytes: Vec::new() }];
        let call = Call::Commands { session: SessionId(1), access: Access::Ordered, commands };
        let client = IdentityKey::from_seed(&[99; 32]).known_to(self.verifier.clone());
        Entry::new(EntryBody::Client(Request::sign(&client, self.group.service, call)))
    }

    /// What may happen next, each with those who hear each other then.
    fn steps(&self, trio: &Trio) -> Vec<(Happening, Vec<usize>)> {
        let offer = (trio.offered < self.bounds.entries).then_some(trio.offered % SIZE);
        let may_leave = self.bounds.last_view > View(0);
        let timers = trio.timers.iter().filter(|(_, timer)| may_leave && *timer != Timer::Status);
        let timers = timers.map(|(who, timer)| (*who, Happening::Timer(*who, *timer)));
        let with = |(who, happening)| {
            let islands = ISLANDS.iter().filter(move |island| island.contains(&who));
            islands.map(move |island| (happening, island.to_vec()))
        };
        let ones = offer.map(|who| (who, Happening::Offer(who))).into_iter().chain(timers).flat_map(with);
        let several = ISLANDS.iter().filter(|island| island.len() > 1);
        ones.chain(several.map(|island| (Happening::Periods, island.to_vec()))).collect()
    }

    fn after(&self, trio: &Trio, happening: Happening, island: &[usize]) -> Trio {
        let mut next = trio.clone();
        match happening {
            Happening::Offer(who) => {
                next.offered += 1;
                self.happen(&mut next, who, Event::Offer(self.entry(trio.offered)), island);
            }
            Happening::Timer(who, timer) => {
                next.timers.remove(&(who, timer));
                self.happen(&mut next, who, Event::Timer(timer), island);
            }
            Happening::Periods => {
                for who in std::iter::repeat_n(island, PERIODS).flatten() {
                    self.happen(&mut next, *who, Event::Timer(Timer::Status), island);
                }
            }
        }
        next
    }

    /// An event, and all that follows from it on the island; nothing else hears of it.
    fn happen(&self, trio: &mut Trio, who: usize, event: Event<Message>, island: &[usize]) {
        let mut events = VecDeque::from([(who, event)]);
        while let Some((who, event)) = events.pop_front() {
            let mut effects = Effects::default();
            trio.replicas[who].step(Input { clock: CLOCK, event }, &mut effects);
            // What a machine does for its replica comes before what others say.
            let mut own = Vec::new();
            for effect in effects.drain() {
                match effect {
                    Effect::Send { to, message } => {
                        self.post(who, [to.index()], &message, island, &mut events);
                    }
                    Effect::Broadcast(message) => {
                        let others = (0..SIZE).filter(|to| *to != who);
                        self.post(who, others, &message, island, &mut events);
                    }
                    Effect::Decide { slot, .. } => own.extend([Event::Executed(slot), Event::Settled(slot)]),
                    Effect::Attest(operation) => {
                        own.push(Event::Attested(trio.cores[who].attest(&operation)));
                    }
                    Effect::NeedState { base } => {
                        let held =
                            island.iter().map(|who| trio.replicas[*who].outline().basis.stable.0).max();
                        let held = held.filter(|stable| *stable >= base);
                        own.extend(held.map(|slot| Event::Installed(self.certificate(slot))));
                    }
                    Effect::Arm { timer, .. } => {
                        trio.timers.insert((who, timer));
                    }
                    Effect::Disarm(timer) => {
                        trio.timers.remove(&(who, timer));
                    }
                    Effect::Offered { .. } | Effect::Persist(_) | Effect::Report(_) => {}
                }
            }
            own.into_iter().rev().for_each(|event| events.push_front((who, event)));
            if events.is_empty() {
                self.stabilise(trio, island, &mut events);
            }
        }
    }

    fn post(
        &self,
        from: usize,
        to: impl IntoIterator<Item = usize>,
        message: &Message,
        island: &[usize],
        events: &mut VecDeque<(usize, Event<Message>)>,
    ) {
        let rules = Rules { group: &self.group, config: &self.config, verifier: &self.verifier };
        for to in to.into_iter().filter(|to| island.contains(to) && !(self.bounds.never)(message)) {
            let checked = Verified::check(ReplicaId::at(from), message.clone(), &rules);
            events.push_back((to, Event::Message(checked.expect("what correct replicas say is accepted"))));
        }
    }

    /// The highest checkpoint that a quorum of the island has reached.
    fn stable(&self, trio: &Trio, island: &[usize]) -> Option<Slot> {
        let mut decided: Vec<Slot> = island.iter().map(|who| trio.replicas[*who].status().decided).collect();
        decided.sort_unstable();
        let common = decided.iter().rev().nth(self.group.checkpoint_votes() - 1)?;
        let every = self.bounds.checkpoint_slots;
        Some(Slot(common.0 / every * every)).filter(|slot| *slot > Slot(0))
    }

    /// Whoever has executed up to a checkpoint that a quorum of the island has reached makes it stable.
    fn stabilise(&self, trio: &Trio, island: &[usize], events: &mut VecDeque<(usize, Event<Message>)>) {
        let Some(stable) = self.stable(trio, island) else { return };
        for who in island.iter().copied() {
            let outline = trio.replicas[who].outline();
            if outline.basis.stable.0 < stable && trio.replicas[who].status().decided >= stable {
                events.push_back((who, Event::Stable(self.certificate(stable))));
            }
        }
    }

    fn certificate(&self, slot: Slot) -> CheckpointCertificate {
        let checkpoint = Checkpoint { slot, digest: Digest::default() };
        let statement = checkpoint.statement(&self.group);
        let votes =
            (0..self.group.checkpoint_votes()).map(|id| (ReplicaId::at(id), self.keys[id].sign(&statement)));
        CheckpointCertificate { checkpoint, votes: votes.collect() }
    }
}

/// All states of a world of ours.
pub(crate) struct Explored {
    pub(crate) trios: Vec<Trio>,
    before: Vec<Vec<usize>>,
}

impl Explored {
    /// Visits every state in which no view above the last one was entered, or so many of them.
    pub(crate) fn of(kit: &Kit, states_max: usize) -> Explored {
        let begin = kit.begin();
        let mut places = BTreeMap::from([(key(&begin), 0)]);
        let mut all = Explored { trios: vec![begin], before: vec![Vec::new()] };
        let mut place = 0;
        while place < all.trios.len() && all.trios.len() < states_max {
            for (happening, island) in kit.steps(&all.trios[place]) {
                let next = kit.after(&all.trios[place], happening, &island);
                let beyond = |status: Status| {
                    status.view > kit.bounds.last_view || status.decided > kit.bounds.last_slot
                };
                if next.replicas.iter().any(|replica| beyond(replica.status())) {
                    continue;
                }
                let new = all.trios.len();
                let found = *places.entry(key(&next)).or_insert(new);
                if found == new {
                    all.trios.push(next);
                    all.before.push(Vec::new());
                }
                all.before[found].push(place);
            }
            place += 1;
        }
        all
    }

    /// States from which none is reachable in which all entries are ordered and all replicas stand alike.
    pub(crate) fn lost(&self, entries: usize) -> Vec<&Trio> {
        let mut hopeful = vec![false; self.trios.len()];
        let done =
            |trio: &Trio| trio.offered == entries && trio.decided().iter().all(|d| *d >= entries as u64);
        let alike = |trio: &Trio| trio.decided().windows(2).all(|pair| pair[0] == pair[1]);
        let is_goal = |place: &usize| done(&self.trios[*place]) && alike(&self.trios[*place]);
        let mut open: Vec<usize> = (0..self.trios.len()).filter(is_goal).collect();
        assert!(!open.is_empty(), "the goal is reached somewhere, or this shows nothing");
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut hopeful[place], true) {
                open.extend(&self.before[place]);
            }
        }
        let judged = |trio: &Trio| trio.decided().iter().all(|decided| *decided <= JUDGED.0);
        let lost = self.trios.iter().zip(hopeful).filter(|(trio, hopeful)| !hopeful && judged(trio));
        lost.map(|(trio, _)| trio).collect()
    }
}

impl Trio {
    pub(crate) fn decided(&self) -> [u64; SIZE] {
        std::array::from_fn(|who| self.replicas[who].status().decided.0)
    }
}

/// What replicas will say depends on nothing else, but for lengths of waiting and whom they ask for what they missed.
type Key = (Vec<Outline>, BTreeSet<(usize, Timer)>, usize);

fn key(trio: &Trio) -> Key {
    (trio.replicas.iter().map(Lanes::outline).collect(), trio.timers.clone(), trio.offered)
}
