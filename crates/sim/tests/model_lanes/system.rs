//! The model: three correct replicas, of which any may stop; or two, and a faulty one that is what its core said.
//!
//! A state is three numbers. Each stands for a replica with all that it has said, made once and kept in a table, and
//! so does each step that it was made to take: the same step of the same replica is never computed twice, however
//! many states it occurs in.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, RwLock};

use smr_wire::ReplicaId;
use stateright::{Model, Property};

use crate::explore::Explored;
use crate::facts::{Fact, Facts};
use crate::faulty::Faulty;
use crate::kit::{Case, Kit};
use crate::replica::{Key, Move, Replica};
use crate::scene::Scene;

/// A case, explored.
#[derive(Debug)]
pub(crate) struct System {
    kit: Kit,
    table: RwLock<Table>,
}

/// The replicas, in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State([u32; 3]);

/// A step of one replica, which makes it another.
#[derive(Clone)]
pub(crate) struct Action {
    place: usize,
    step: Arc<Move>,
    becomes: u32,
}

impl PartialEq for Action {
    fn eq(&self, other: &Action) -> bool {
        (self.place, self.becomes) == (other.place, other.becomes)
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", ReplicaId::at(self.place), self.step)
    }
}

#[derive(Debug, Default)]
struct Table {
    numbers: BTreeMap<Arc<Key>, u32>,
    known: Vec<Arc<Known>>,
}

/// A replica, of either kind.
#[derive(Debug)]
enum Anyone {
    Correct(Box<Replica>),
    Faulty(Box<Faulty>),
}

impl Anyone {
    fn key(&self) -> &Key {
        match self {
            Anyone::Correct(replica) => &replica.key,
            Anyone::Faulty(faulty) => &faulty.key,
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

/// A replica that occurs.
#[derive(Debug)]
struct Known {
    who: Anyone,
    steps: Mutex<BTreeMap<Arc<Move>, Option<u32>>>,
    /// All steps that are open, by what the other two have said.
    open: Mutex<BTreeMap<[u64; 2], Open>>,
    said: u64,
}

/// So many sets of open steps are remembered for each replica, so that they do not fill the memory.
const OPEN_MAX: usize = 256;

/// Steps, and whom each makes of the replica.
type Open = Arc<Vec<(Arc<Move>, u32)>>;

thread_local! {
    /// The properties of a state are asked for one after the other, and all are found together.
    static LAST: Cell<Option<(State, Facts)>> = const { Cell::new(None) };
}

fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl System {
    pub(crate) fn new(case: Case) -> System {
        System { kit: Kit::new(case), table: RwLock::default() }
    }

    fn known(&self, state: &State) -> [Arc<Known>; 3] {
        let table = self.table.read().unwrap();
        state.0.map(|number| table.known[number as usize].clone())
    }

    fn number(&self, who: Anyone) -> u32 {
        if let Some(number) = self.table.read().unwrap().numbers.get(who.key()) {
            return *number;
        }
        let (key, said) = (Arc::new(who.key().clone()), hash_of(&who.key().said));
        let mut table = self.table.write().unwrap();
        let next = u32::try_from(table.known.len()).unwrap();
        let number = *table.numbers.entry(key).or_insert(next);
        if number == next {
            table.known.push(Arc::new(Known { who, steps: Mutex::default(), open: Mutex::default(), said }));
        }
        number
    }

    fn after(&self, known: &Known, step: Move) -> Option<(Arc<Move>, u32)> {
        if let Some((step, number)) = known.steps.lock().unwrap().get_key_value(&step) {
            return number.map(|number| (step.clone(), number));
        }
        let number = known.who.after(&step, &self.kit).map(|who| self.number(who));
        let step = Arc::new(step);
        known.steps.lock().unwrap().insert(step.clone(), number);
        number.map(|number| (step, number))
    }

    /// What is true of a state.
    pub(crate) fn facts(&self, state: &State) -> Facts {
        if let Some((_, facts)) = LAST.get().filter(|(last, _)| last == state) {
            return facts;
        }
        let facts = Facts::of(&self.kit, keys(&self.known(state)));
        LAST.set(Some((*state, facts)));
        facts
    }

    /// The steps open to one of the replicas: a matter of what it knows and what the others have said.
    fn open(&self, known: &[Arc<Known>; 3], place: usize) -> Open {
        let me = &known[place];
        let said = [known[(place + 1) % 3].said, known[(place + 2) % 3].said];
        if let Some(open) = me.open.lock().unwrap().get(&said) {
            return open.clone();
        }
        let scene = Scene::new(&self.kit, ReplicaId::at(place), keys(known));
        let steps = me.who.moves(&scene).into_iter().filter_map(|step| self.after(me, step));
        let open: Open = Arc::new(steps.collect());
        let mut kept = me.open.lock().unwrap();
        if kept.len() >= OPEN_MAX {
            kept.clear();
        }
        kept.insert(said, Arc::clone(&open));
        open
    }
}

fn keys(known: &[Arc<Known>; 3]) -> [(ReplicaId, &Key); 3] {
    [&known[0], &known[1], &known[2]].map(|k| (k.who.key().id, k.who.key()))
}

impl Explored for System {
    fn title(&self) -> String {
        self.kit.case.to_string()
    }

    fn replicas(&self) -> usize {
        self.table.read().unwrap().known.len()
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let _switched = self.kit.switch();
        let new = |id| {
            if Some(id) == self.kit.faulty() {
                self.number(Anyone::Faulty(Box::new(Faulty::new(id, &self.kit))))
            } else {
                self.number(Anyone::Correct(Box::new(Replica::new(id, &self.kit))))
            }
        };
        vec![State([0, 1, 2].map(|id| new(ReplicaId(id))))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.facts(state).has_violation() {
            return;
        }
        let _switched = self.kit.switch();
        let known = self.known(state);
        for place in 0..3 {
            let open = self.open(&known, place);
            actions.extend(open.iter().cloned().map(|(step, becomes)| Action { place, step, becomes }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut replicas = state.0;
        replicas[action.place] = action.becomes;
        Some(State(replicas))
    }

    fn properties(&self) -> Vec<Property<System>> {
        Fact::properties(&self.kit.case)
    }
}
