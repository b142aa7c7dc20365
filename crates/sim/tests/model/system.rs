//! The model: three correct replicas, and a faulty one that is nothing but what it can send.
//!
//! A state is three numbers. Each stands for a replica with all that it has said, made once and kept in a table, and
//! so does each step that it was made to take: the same step of the same replica is never computed twice, however
//! many states it occurs in.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, RwLock};

use smr_wire::ReplicaId;

use crate::explore::{Explored, Property, State};
use crate::facts::{Fact, Facts};
use crate::faulty::{self, Scene};
use crate::kit::{Case, Kit};
use crate::replica::{Key, Move, Replica};

/// A case, explored.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) kit: Kit,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    numbers: BTreeMap<Arc<Key>, u32>,
    known: Vec<Arc<Known>>,
}

/// A replica that occurs.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) replica: Replica,
    hash: u64,
    /// Its hash if the twins changed places.
    swapped: u64,
    steps: Mutex<BTreeMap<Arc<Move>, Option<u32>>>,
    /// All steps that are open, by what the other two have said.
    open: Mutex<BTreeMap<[u64; 2], Open>>,
    said: u64,
    /// Those among them that votes make, by what the other two have voted for: a part that occurs often.
    by_votes: Mutex<BTreeMap<[u64; 2], Open>>,
    voted: u64,
    /// Those that became it in a step.
    origins: Mutex<Vec<u32>>,
}

/// Steps, and whom each makes of the replica.
type Open = Arc<Vec<(Arc<Move>, u32)>>;

fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl System {
    pub(crate) fn new(case: Case) -> System {
        System { kit: Kit::new(case), table: RwLock::default() }
    }

    /// The replicas of a state.
    fn replicas_of(&self, state: State) -> [Arc<Known>; 3] {
        let table = self.table.read().unwrap();
        state.replicas().map(|number| table.known[number as usize].clone())
    }

    fn number(&self, replica: Replica) -> u32 {
        if let Some(number) = self.table.read().unwrap().numbers.get(&replica.key) {
            return *number;
        }
        let key = Arc::new(replica.key.clone());
        let hash = hash_of(&key);
        let swapped = self.kit.twins().map_or(hash, |twins| hash_of(&key.swapped(twins)));
        let (said, voted) = (hash_of(&key.sent), hash_of(&key.sent.votes));
        let mut table = self.table.write().unwrap();
        let next = u32::try_from(table.known.len()).unwrap();
        let number = *table.numbers.entry(key).or_insert(next);
        if number == next {
            let (steps, open, by_votes) = (Mutex::default(), Mutex::default(), Mutex::default());
            let origins = Mutex::default();
            let known = Known { replica, hash, swapped, steps, open, said, by_votes, voted, origins };
            table.known.push(Arc::new(known));
        }
        number
    }

    fn after(&self, me: u32, known: &Known, step: Move) -> Option<(Arc<Move>, u32)> {
        if let Some((step, number)) = known.steps.lock().unwrap().get_key_value(&step) {
            return number.map(|number| (step.clone(), number));
        }
        let number = known.replica.after(&step, &self.kit).map(|replica| self.number(replica));
        let step = Arc::new(step);
        known.steps.lock().unwrap().insert(step.clone(), number);
        if let Some(number) = number {
            let after = self.table.read().unwrap().known[number as usize].clone();
            let mut origins = after.origins.lock().unwrap();
            if !origins.contains(&me) {
                origins.push(me);
            }
        }
        number.map(|number| (step, number))
    }

    /// The steps open to one of the replicas: a matter of what it knows and what the others have said.
    fn open(&self, state: State, known: &[Arc<Known>; 3], place: usize) -> Open {
        let (me, others) = (&known[place], [&known[(place + 1) % 3], &known[(place + 2) % 3]]);
        let said = others.map(|other| other.said);
        if let Some(open) = me.open.lock().unwrap().get(&said) {
            return open.clone();
        }
        let all = keys(known);
        let certified = faulty::certified(&self.kit, all);
        let mine = &me.replica.key;
        let scene = Scene { kit: &self.kit, me: mine.id, mine, all, certified: &certified };
        let number = state.replicas()[place];
        let votes = self.by_votes(number, me, others);
        let steps = scene.moves().into_iter().filter_map(|step| self.after(number, me, step));
        let open = Arc::new(steps.chain(votes.iter().cloned()).collect());
        me.open.lock().unwrap().insert(said, Arc::clone(&open));
        open
    }

    fn by_votes(&self, number: u32, me: &Known, others: [&Arc<Known>; 2]) -> Open {
        let voted = others.map(|other| other.voted);
        if let Some(open) = me.by_votes.lock().unwrap().get(&voted) {
            return open.clone();
        }
        let votes = others.map(|other| (other.replica.key.id, &other.replica.key.sent.votes));
        let steps = faulty::votes(&self.kit, &me.replica.key.sent.votes, votes).into_iter();
        let open = Arc::new(steps.filter_map(|step| self.after(number, me, step)).collect());
        me.by_votes.lock().unwrap().insert(voted, Arc::clone(&open));
        open
    }
}

fn keys(known: &[Arc<Known>; 3]) -> [(ReplicaId, &Key); 3] {
    [&known[0], &known[1], &known[2]].map(|k| (k.replica.key.id, &k.replica.key))
}

impl Explored for System {
    fn title(&self) -> String {
        format!("{:?}", self.kit.case)
    }

    fn replicas(&self) -> usize {
        self.table.read().unwrap().known.len()
    }

    fn start(&self) -> State {
        let start: Vec<u32> = self.kit.correct().map(|id| self.number(Replica::new(id, &self.kit))).collect();
        State::of(start.try_into().expect("three are correct"))
    }

    fn next(&self, state: State, next: &mut Vec<State>) {
        let known = self.replicas_of(state);
        for place in 0..3 {
            let becomes = self.open(state, &known, place);
            next.extend(becomes.iter().map(|(_, becomes)| {
                let mut replicas = state.replicas();
                replicas[place] = *becomes;
                State::of(replicas)
            }));
        }
    }

    /// The same for states that differ only in who is which twin.
    fn mark(&self, state: State) -> u64 {
        let known = self.replicas_of(state);
        let mut mark = hash_of(&[&known[0], &known[1], &known[2]].map(|k| k.hash));
        if let Some(twins) = self.kit.twins() {
            let place = |id: ReplicaId| known.iter().position(|k| k.replica.key.id == id).unwrap();
            let mut other = [&known[0], &known[1], &known[2]].map(|k| k.swapped);
            other.swap(place(twins[0]), place(twins[1]));
            mark = mark.min(hash_of(&other));
        }
        mark
    }

    fn facts(&self, _: Option<State>, state: State) -> u32 {
        Facts::of(&self.kit, keys(&self.replicas_of(state))).bits()
    }

    fn properties(&self) -> Vec<Property> {
        Fact::properties(&self.kit.case)
    }

    fn origins(&self, _: usize, number: u32) -> Vec<u32> {
        let known = self.table.read().unwrap().known[number as usize].clone();
        known.origins.lock().unwrap().clone()
    }

    fn step(&self, from: State, to: State) -> String {
        let (before, after) = (from.replicas(), to.replicas());
        let place = (0..3).find(|place| before[*place] != after[*place]).expect("a step changes a replica");
        let known = self.replicas_of(from);
        let open = self.open(from, &known, place);
        let step = open.iter().find(|(_, becomes)| *becomes == after[place]);
        format!("{}: {:?}", known[place].replica.key.id, step.expect("it is open").0)
    }
}
