//! Every state of a case: for properties that must hold in each, with `stateright`; and for what must stay possible from
//! each, which takes the graph of all of them.

use std::collections::{BTreeMap, VecDeque};

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::protocol::{Case, Step, World, correct};

const ONE_BATCH: &str =
    "correct replicas accept the same batches in a view, and execute the same ones in the same order";

impl Model for Case {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend(world.steps(self));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(world.after(&step, self))
    }

    fn properties(&self) -> Vec<Property<Case>> {
        vec![Property::always(ONE_BATCH, |case: &Case, world: &World| agree(world, case))]
    }
}

fn agree(world: &World, case: &Case) -> bool {
    let all: Vec<_> = correct(case).map(|who| &world.replicas[who].executed).collect();
    all.iter().all(|a| all.iter().all(|b| a.iter().zip(b.iter()).all(|(x, y)| x == y)))
}

/// The shortest way to a disagreement, if there is one, and how many states were visited.
pub(crate) fn disagreement(case: &Case) -> (Option<Vec<Step>>, usize) {
    let checker = case.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    (checker.discovery(ONE_BATCH).map(|path| path.into_actions()), checker.unique_state_count())
}

/// A state from which a goal cannot be reached any more, whatever happens.
pub(crate) struct Lost {
    /// The shortest way there.
    pub(crate) steps: Vec<Step>,
    /// States that can be reached from there, it included.
    pub(crate) onward: Vec<World>,
}

/// The nearest state from which no state is reachable in which all correct replicas executed `goal` batches, if there
/// is one; and how many states there are.
pub(crate) fn lost(case: &Case, goal: usize) -> (Option<Lost>, usize) {
    let done = |world: &World| correct(case).all(|who| world.replicas[who].executed.len() >= goal);
    let graph = Graph::of(case);
    let mut hopeful = vec![false; graph.worlds.len()];
    let mut open: Vec<usize> = (0..graph.worlds.len()).filter(|place| done(&graph.worlds[*place])).collect();
    assert!(!open.is_empty(), "the goal is reached somewhere, or this shows nothing");
    while let Some(place) = open.pop() {
        if !std::mem::replace(&mut hopeful[place], true) {
            open.extend(&graph.before[place]);
        }
    }
    let nearest = hopeful.iter().position(|hopeful| !hopeful);
    let lost = nearest.map(|place| Lost { steps: graph.way_to(place), onward: graph.onward(place, case) });
    (lost, graph.worlds.len())
}

/// All states of a case, in order of their distance from the first.
struct Graph {
    worlds: Vec<World>,
    places: BTreeMap<World, usize>,
    /// From which states, by their places, each can be reached in one step.
    before: Vec<Vec<usize>>,
    /// From where it was first reached, and how.
    first: Vec<Option<(usize, Step)>>,
}

impl Graph {
    fn of(case: &Case) -> Graph {
        let begin = World::new(case);
        let mut graph = Graph {
            places: BTreeMap::from([(begin.clone(), 0)]),
            worlds: vec![begin],
            before: vec![Vec::new()],
            first: vec![None],
        };
        let mut place = 0;
        while place < graph.worlds.len() {
            let world = graph.worlds[place].clone();
            for step in world.steps(case) {
                let next = graph.place(world.after(&step, case), (place, step));
                graph.before[next].push(place);
            }
            place += 1;
        }
        graph
    }

    fn place(&mut self, world: World, first: (usize, Step)) -> usize {
        let new = self.worlds.len();
        let place = *self.places.entry(world.clone()).or_insert(new);
        if place == new {
            self.worlds.push(world);
            self.before.push(Vec::new());
            self.first.push(Some(first));
        }
        place
    }

    fn way_to(&self, mut place: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((before, step)) = &self.first[place] {
            steps.push(step.clone());
            place = *before;
        }
        steps.reverse();
        steps
    }

    fn onward(&self, place: usize, case: &Case) -> Vec<World> {
        let mut seen = vec![false; self.worlds.len()];
        let mut open = VecDeque::from([place]);
        let mut onward = Vec::new();
        while let Some(place) = open.pop_front() {
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let world = &self.worlds[place];
            onward.push(world.clone());
            open.extend(world.steps(case).iter().map(|step| self.places[&world.after(step, case)]));
        }
        onward
    }
}
