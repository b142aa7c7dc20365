//! The model: three correct replicas, of which any may stop; or two, and a faulty one that is what its core said.
//!
//! A state is three numbers. Each stands for a replica with all that it has said, made once and kept in a table, and
//! so does each step that it was made to take: the same step of the same replica is never computed twice, however
//! many states it occurs in. Which steps are open to a replica depends on what it is and on what others said that it can
//! still hear, so that is what they are remembered by.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, RwLock};

use smr_wire::ReplicaId;

use crate::compact::Compact;
use crate::ear::Ear;
use crate::explore::{Explored, Property, State};
use crate::facts::{Fact, Facts, Testimony};
use crate::faulty::Faulty;
use crate::kit::{Case, Kit};
use crate::lists::Lists;
use crate::numbers::Numbers;
use crate::replica::{Key, Move, Replica, Said};
use crate::scene::Scene;
use crate::urgent;

/// A case, explored.
#[derive(Debug)]
pub(crate) struct System {
    kit: Kit,
    replicas: [Numbers<Known>; 3],
    briefs: RwLock<[Vec<Option<Brief>>; 3]>,
    said: Numbers<Said>,
    ears: Numbers<Ear>,
    testimonies: Numbers<Testimony>,
    moves: Numbers<Move>,
    /// Whom a move makes of a replica, or that it is none for it.
    steps: Compact<u32>,
    /// What reaches an ear of what was said.
    heard: Compact<u32>,
    /// Steps open to each replica, by what it can hear of the others.
    open: [Lists; 3],
    /// What testimonies show together.
    facts: Compact<u32>,
}

/// It is no step for this replica.
const NONE: u32 = u32::MAX;

/// The only step after this in a list goes before all others of all replicas.
const URGENT: u32 = u32::MAX;

/// Memory for the lists of open steps, in bytes. They are made again where it does not suffice.
const OPEN_BYTES_MAX: usize = 3 << 30;

/// A replica, of either kind.
#[derive(Debug)]
enum Anyone {
    Correct(Box<Replica>),
    Faulty(Box<Faulty>),
}

impl Anyone {
    fn new(id: ReplicaId, kit: &Kit) -> Anyone {
        if Some(id) == kit.faulty() {
            Anyone::Faulty(Box::new(Faulty::new(id, kit)))
        } else {
            Anyone::Correct(Box::new(Replica::new(id, kit)))
        }
    }

    fn key(&self) -> &Key {
        match self {
            Anyone::Correct(replica) => &replica.key,
            Anyone::Faulty(faulty) => &faulty.key,
        }
    }

    fn ear(&self, kit: &Kit) -> Ear {
        match self {
            Anyone::Correct(replica) => Ear::of_correct(&replica.key, kit),
            Anyone::Faulty(faulty) => faulty.ear(kit),
        }
    }

    fn moves(&self, scene: &Scene<'_>) -> Vec<Move> {
        match self {
            Anyone::Correct(replica) => scene.moves(&replica.key),
            Anyone::Faulty(faulty) => faulty.moves(scene),
        }
    }

    fn after(&self, step: &Move, kit: &Kit) -> Option<Anyone> {
        match self {
            Anyone::Correct(replica) => {
                let after = replica.after(step, kit)?;
                (!replica.is_longer_than_needed(step, &after, kit)).then(|| Anyone::Correct(Box::new(after)))
            }
            Anyone::Faulty(faulty) => faulty.after(step, kit).map(Box::new).map(Anyone::Faulty),
        }
    }
}

/// A replica that occurs, told from others by its key.
#[derive(Debug)]
struct Known {
    who: Anyone,
    /// Those that became it in a step.
    origins: Mutex<Vec<u32>>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Known) -> bool {
        self.who.key() == other.who.key()
    }
}

impl Eq for Known {}

impl PartialOrd for Known {
    fn partial_cmp(&self, other: &Known) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Known {
    fn cmp(&self, other: &Known) -> Ordering {
        self.who.key().cmp(other.who.key())
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.who.key().hash(state);
    }
}

/// A replica in the numbers that its states are made of.
#[derive(Clone, Copy, Debug)]
struct Brief {
    said: u32,
    /// Where what reports make is nothing to it, and where it is.
    ears: [u32; 2],
    /// Views that it coordinates and that have not begun, a bit each.
    coordinates: u32,
    /// Views that the faulty replica's core has left for, a bit each.
    reports: u32,
    testimony: u32,
    /// What is true of it alone.
    facts: u32,
}

impl System {
    pub(crate) fn new(case: Case) -> System {
        System {
            kit: Kit::new(case),
            replicas: Default::default(),
            briefs: RwLock::default(),
            said: Numbers::default(),
            ears: Numbers::default(),
            testimonies: Numbers::default(),
            moves: Numbers::default(),
            steps: Compact::new(),
            heard: Compact::new(),
            open: [0; 3].map(|_| Lists::new(OPEN_BYTES_MAX / 3)),
            facts: Compact::new(),
        }
    }

    pub(crate) fn case(&self) -> &Case {
        &self.kit.case
    }

    /// The number of a replica.
    fn number(&self, place: usize, who: Anyone) -> u32 {
        let number = self.replicas[place].of(Known { who, origins: Mutex::default() });
        let is_new = self.briefs.read().unwrap()[place].get(number as usize).copied().flatten().is_none();
        if is_new {
            let brief = self.brief(&self.replicas[place].value(number).who);
            let briefs = &mut self.briefs.write().unwrap()[place];
            briefs.resize(briefs.len().max(number as usize + 1), None);
            briefs[number as usize] = Some(brief);
        }
        number
    }

    fn brief(&self, who: &Anyone) -> Brief {
        let (key, ear) = (who.key(), who.ear(&self.kit));
        Brief {
            said: self.said.of(key.said.clone()),
            coordinates: ear.coordinates.iter().fold(0, |all, view| all | 1 << view.0),
            reports: key.said.reports.iter().fold(0, |all, (to, _)| all | 1 << to.0),
            ears: [false, true].map(|wide| self.ears.of(Ear { wide, ..ear.clone() })),
            testimony: self.testimonies.of(Testimony::of(key)),
            facts: Facts::of_one(&self.kit, key).bits(),
        }
    }

    fn briefs(&self, state: State) -> [Brief; 3] {
        let (briefs, numbers) = (self.briefs.read().unwrap(), state.replicas());
        [0, 1, 2].map(|place| briefs[place][numbers[place] as usize].expect("a state names who is known"))
    }

    /// What `ear` hears of what was said.
    fn heard(&self, ear: u32, said: u32) -> u32 {
        let key = pair(ear, said);
        self.heard.get(key).unwrap_or_else(|| {
            let heard = self.said.of(self.ears.value(ear).hears(&self.said.value(said)));
            self.heard.add(key, heard);
            heard
        })
    }

    /// Whom the steps that are open make of the replica at `place`; first `URGENT` if it is one that goes before all else.
    fn open(&self, state: State, briefs: &[Brief; 3], place: usize, all: &mut Vec<u32>) {
        let me = state.replicas()[place];
        let reports = briefs.iter().fold(0, |all, brief| all | brief.reports);
        let ear = briefs[place].ears[usize::from(briefs[place].coordinates & reports != 0)];
        let said = [0, 1, 2].map(|other| {
            if other == place { briefs[place].said } else { self.heard(ear, briefs[other].said) }
        });
        let [one, other] = [(place + 1) % 3, (place + 2) % 3].map(|place| said[place]);
        let key = State::of([me, one, other]).mark();
        if self.open[place].get(key, all) {
            return;
        }
        let steps = self.steps(place, me, said);
        let mut open: Vec<u32> = steps.iter().map(|(_, becomes)| *becomes).collect();
        open.sort_unstable();
        open.dedup();
        if let Some((_, becomes)) = steps.iter().find(|(step, _)| self.is_urgent(place, me, said, step)) {
            open = vec![URGENT, *becomes];
        }
        self.open[place].put(key, &open);
        all.extend(open);
    }

    /// Steps open to a replica, given what it can hear, and whom each makes of it.
    fn steps(&self, place: usize, me: u32, said: [u32; 3]) -> Vec<(Move, u32)> {
        let _switched = self.kit.switch();
        let (known, said) = (self.replicas[place].value(me), said.map(|said| self.said.value(said)));
        let all = [0, 1, 2].map(|place| (ReplicaId::at(place), &*said[place]));
        let scene = Scene::new(&self.kit, ReplicaId::at(place), all);
        let moves = known.who.moves(&scene).into_iter();
        moves.filter_map(|step| self.after(place, me, &known, &step).map(|becomes| (step, becomes))).collect()
    }

    fn is_urgent(&self, place: usize, me: u32, said: [u32; 3], step: &Move) -> bool {
        let known = self.replicas[place].value(me);
        let said = said.map(|said| self.said.value(said));
        let others: Vec<&Said> = (0..3).filter(|other| *other != place).map(|other| &*said[other]).collect();
        match &known.who {
            Anyone::Correct(replica) => urgent::is_urgent(&replica.key, step, &others, &self.kit),
            Anyone::Faulty(_) => false,
        }
    }

    fn after(&self, place: usize, me: u32, known: &Known, step: &Move) -> Option<u32> {
        let key = pair(u32::try_from(place).unwrap() << 30 | me, self.moves.of(step.clone()));
        let becomes = self.steps.get(key).unwrap_or_else(|| {
            let after = known.who.after(step, &self.kit);
            let becomes = after.map_or(NONE, |who| self.number(place, who));
            self.steps.add(key, becomes);
            if becomes != NONE {
                let after = self.replicas[place].value(becomes);
                let mut origins = after.origins.lock().unwrap();
                if !origins.contains(&me) {
                    origins.push(me);
                }
            }
            becomes
        });
        Some(becomes).filter(|becomes| *becomes != NONE)
    }
}

fn pair(one: u32, other: u32) -> u64 {
    u64::from(one) << u32::BITS | u64::from(other)
}

impl Explored for System {
    fn title(&self) -> String {
        self.kit.case.to_string()
    }

    fn replicas(&self) -> usize {
        self.replicas.iter().map(Numbers::len).sum()
    }

    fn start(&self) -> State {
        let _switched = self.kit.switch();
        State::of([0, 1, 2].map(|place| self.number(place, Anyone::new(ReplicaId::at(place), &self.kit))))
    }

    fn next(&self, state: State, next: &mut Vec<State>) {
        let (briefs, mut becomes, begin) = (self.briefs(state), Vec::new(), next.len());
        for place in 0..3 {
            self.open(state, &briefs, place, &mut becomes);
            let is_urgent = becomes.first() == Some(&URGENT);
            if is_urgent {
                next.truncate(begin);
                becomes.remove(0);
            }
            next.extend(becomes.drain(..).map(|number| {
                let mut replicas = state.replicas();
                replicas[place] = number;
                State::of(replicas)
            }));
            if is_urgent {
                return;
            }
        }
    }

    fn facts(&self, before: Option<State>, state: State) -> u32 {
        let briefs = self.briefs(state);
        let testimonies = briefs.map(|brief| brief.testimony);
        let alone = briefs.iter().fold(0, |all, brief| all | brief.facts);
        if before.is_some_and(|before| self.briefs(before).map(|brief| brief.testimony) == testimonies) {
            return alone;
        }
        let key = State::of(testimonies).mark();
        let together = self.facts.get(key).unwrap_or_else(|| {
            let values = testimonies.map(|number| self.testimonies.value(number));
            let facts = Facts::of_all(&self.kit, [0, 1, 2].map(|p| (ReplicaId::at(p), &*values[p]))).bits();
            self.facts.add(key, facts);
            facts
        });
        alone | together
    }

    fn properties(&self) -> Vec<Property> {
        Fact::properties(&self.kit.case)
    }

    fn origins(&self, place: usize, number: u32) -> Vec<u32> {
        self.replicas[place].value(number).origins.lock().unwrap().clone()
    }

    fn step(&self, from: State, to: State) -> String {
        let (before, after) = (from.replicas(), to.replicas());
        let place = (0..3).find(|place| before[*place] != after[*place]).expect("a step changes a replica");
        let said = self.briefs(from).map(|brief| brief.said);
        let steps = self.steps(place, before[place], said);
        let step = steps.into_iter().find(|(_, becomes)| *becomes == after[place]);
        format!("{}: {:?}", ReplicaId::at(place), step.expect("it is open").0)
    }
}
