//! How a model is explored, whatever it is of: all of it, or as far as there is time, or in walks.
//!
//! Of a state that was visited nothing stays but a number of eight bytes. Which way leads to a state is found again when
//! somebody wants to know it: by a second search, among states whose replicas can still become those of that one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use smr_sim::rng::Rng;

use crate::compact::Marks;

const THREADS: usize = 2;

/// States that a thread takes between two looks at the clock and at the other thread.
const AT_ONCE: usize = 1024;

/// How often a long search says how far it is.
const NEWS: Duration = Duration::from_secs(60);

/// Three replicas by their numbers, each of which takes 21 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct State(u64);

const BITS: u32 = 21;

impl State {
    pub(crate) fn of(replicas: [u32; 3]) -> State {
        assert!(replicas.iter().all(|number| number >> BITS == 0), "more replicas than a state can name");
        State(replicas.iter().fold(0, |state, number| state << BITS | u64::from(*number)))
    }

    pub(crate) fn replicas(self) -> [u32; 3] {
        let all = (1 << BITS) - 1;
        [2, 1, 0].map(|place| u32::try_from(self.0 >> (place * BITS) & all).unwrap())
    }

    /// As one number.
    pub(crate) fn mark(self) -> u64 {
        self.0
    }
}

/// What is true of states, and whether it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    /// Its bit among the facts of a state.
    pub(crate) fact: u32,
    pub(crate) expected: Expected,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    Never,
    Sometimes,
}

/// A model whose states name replicas that it keeps.
pub(crate) trait Explored: Sync {
    /// What is explored, in a line.
    fn title(&self) -> String;

    /// How many replicas occur.
    fn replicas(&self) -> usize;

    fn start(&self) -> State;

    /// Adds the states that are one step further.
    fn next(&self, state: State, next: &mut Vec<State>);

    /// The same for states of which one is visited in place of all.
    fn mark(&self, state: State) -> u64 {
        state.mark()
    }

    /// What is true of a state that was reached from `before`, of which everything was noted.
    fn facts(&self, before: Option<State>, state: State) -> u32;

    fn properties(&self) -> Vec<Property>;

    /// Which replicas became this one in a step.
    fn origins(&self, place: usize, number: u32) -> Vec<u32>;

    /// The step from one state to the next.
    fn step(&self, from: State, to: State) -> String;
}

/// What was found: how it went, and which properties were met on the way, or missed though all was visited.
pub(crate) struct Found {
    pub(crate) summary: String,
    /// All that was true of some state.
    pub(crate) met: u32,
    pub(crate) violations: Vec<String>,
    pub(crate) missed: Vec<&'static str>,
}

/// A search under way.
struct Search<'a, M> {
    model: &'a M,
    began: Instant,
    time: Duration,
    visited: Marks,
    states: AtomicUsize,
    steps: AtomicUsize,
    depth: AtomicUsize,
    met: AtomicU32,
    never: u32,
    /// The first state of which something is true that must never be.
    wrong: Mutex<Option<State>>,
    stop: AtomicBool,
    news: Mutex<Instant>,
}

impl<'a, M: Explored> Search<'a, M> {
    fn new(model: &'a M, time: Duration) -> Search<'a, M> {
        let never = model.properties().into_iter().filter(|property| property.expected == Expected::Never);
        Search {
            model,
            began: Instant::now(),
            time,
            visited: Marks::new(),
            states: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            depth: AtomicUsize::new(0),
            met: AtomicU32::new(0),
            never: never.fold(0, |all, property| all | property.fact),
            wrong: Mutex::new(None),
            stop: AtomicBool::new(false),
            news: Mutex::new(Instant::now()),
        }
    }

    /// Notes a state. True if it is new.
    fn visit(&self, before: Option<State>, state: State) -> bool {
        if !self.visited.add(self.model.mark(state), ()) {
            return false;
        }
        self.note(self.model.facts(before, state), state);
        true
    }

    fn note(&self, facts: u32, state: State) {
        if facts & !self.met.load(Ordering::Relaxed) != 0 {
            self.met.fetch_or(facts, Ordering::Relaxed);
        }
        if facts & self.never != 0 {
            self.wrong.lock().unwrap().get_or_insert(state);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn is_over(&self) -> bool {
        let over = self.began.elapsed() >= self.time;
        if over {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, states: usize, steps: usize, depth: usize) {
        self.states.fetch_add(states, Ordering::Relaxed);
        self.steps.fetch_add(steps, Ordering::Relaxed);
        self.depth.fetch_max(depth, Ordering::Relaxed);
        let mut last = self.news.lock().unwrap();
        if last.elapsed() >= NEWS {
            *last = Instant::now();
            println!("  {}", self.summary());
        }
    }

    fn summary(&self) -> String {
        let states = self.visited.len();
        format!(
            "{}: {states} states, {} steps, depth {}, {} replicas occur, {} MB of marks, {:.1} s",
            self.model.title(),
            self.steps.load(Ordering::Relaxed),
            self.depth.load(Ordering::Relaxed),
            self.model.replicas(),
            self.visited.bytes() >> 20,
            self.began.elapsed().as_secs_f64()
        )
    }

    fn found(self) -> Found {
        let wrong = *self.wrong.lock().unwrap();
        let way = wrong.map(|state| way(self.model, state));
        self.found_by(way.as_deref())
    }

    /// What was found, with a way to what is wrong, if anything is.
    fn found_by(&self, way: Option<&[State]>) -> Found {
        let summary = self.summary();
        println!("{summary}");
        let (mut violations, mut missed) = (Vec::new(), Vec::new());
        let met = self.met.load(Ordering::Relaxed);
        for Property { name, fact, expected } in self.model.properties() {
            match expected {
                Expected::Never if met & fact != 0 => {
                    let steps = way.unwrap_or_default().windows(2);
                    let steps: Vec<String> =
                        steps.map(|pair| format!("  {}", self.model.step(pair[0], pair[1]))).collect();
                    violations.push(format!(
                        "not true that {name}, after {} steps:\n{}",
                        steps.len(),
                        steps.join("\n")
                    ));
                }
                Expected::Sometimes if met & fact == 0 => missed.push(name),
                Expected::Never | Expected::Sometimes => {}
            }
        }
        Found { summary, met, violations, missed }
    }
}

/// The shortest way to a state that can be reached. All states on it are made of replicas that became those of the last.
fn way(model: &impl Explored, to: State) -> Vec<State> {
    let replicas = to.replicas();
    let earlier = [0, 1, 2].map(|place| {
        let mut all = BTreeSet::from([replicas[place]]);
        let mut open = vec![replicas[place]];
        while let Some(number) = open.pop() {
            open.extend(model.origins(place, number).into_iter().filter(|origin| all.insert(*origin)));
        }
        all
    });
    let start = model.start();
    let mut before = BTreeMap::from([(start, start)]);
    let mut open = VecDeque::from([start]);
    while let Some(state) = open.pop_front().filter(|_| !before.contains_key(&to)) {
        let mut next = Vec::new();
        model.next(state, &mut next);
        for after in next {
            let leads_there = earlier.iter().zip(after.replicas()).all(|(all, number)| all.contains(&number));
            if leads_there && !before.contains_key(&after) {
                before.insert(after, state);
                open.push_back(after);
            }
        }
    }
    let mut way = vec![to];
    while way.last() != Some(&start) {
        way.push(before[way.last().expect("it begins with one")]);
    }
    way.reverse();
    way
}

/// States whose next ones are not visited yet, with their depth: what one thread can spare for the others.
struct Spare {
    states: Mutex<(Vec<(State, usize)>, usize)>,
    bell: Condvar,
    /// Threads that wait for work.
    waiting: AtomicUsize,
}

impl Spare {
    /// Something to do; nothing if there is nothing left for anyone.
    fn take(&self) -> Option<Vec<(State, usize)>> {
        let mut held = self.states.lock().unwrap();
        held.1 += 1;
        self.waiting.store(held.1, Ordering::Relaxed);
        while held.0.is_empty() {
            if held.1 >= THREADS {
                self.bell.notify_all();
                return None;
            }
            held = self.bell.wait(held).unwrap();
        }
        held.1 -= 1;
        self.waiting.store(held.1, Ordering::Relaxed);
        Some(std::mem::take(&mut held.0))
    }

    fn give(&self, states: Vec<(State, usize)>) {
        self.states.lock().unwrap().0.extend(states);
        self.bell.notify_one();
    }
}

/// Visits every state, deepest first, which takes less memory, or as many as there is time for.
pub(crate) fn explore_deep(model: &impl Explored, time: Duration) -> Found {
    let search = Search::new(model, time);
    let start = model.start();
    search.visit(None, start);
    let spare = Spare {
        states: Mutex::new((vec![(start, 0)], 0)),
        bell: Condvar::new(),
        waiting: AtomicUsize::new(0),
    };
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                while let Some(states) = spare.take() {
                    dive(&search, &spare, states);
                }
            });
        }
    });
    let all = !search.stop.load(Ordering::Relaxed);
    let mut found = search.found();
    if all {
        println!("  every state was visited");
    } else {
        println!("  there are more states; not reached so far: {:?}", found.missed);
        found.missed.clear();
    }
    found
}

/// Follows these states, and what comes after them, but for what other threads take over.
fn dive<M: Explored>(search: &Search<'_, M>, spare: &Spare, mut stack: Vec<(State, usize)>) {
    let mut next = Vec::new();
    while !stack.is_empty() && !search.is_over() {
        let (mut states, mut steps, mut deepest) = (0, 0, 0);
        while let Some((state, depth)) = stack.pop() {
            next.clear();
            search.model.next(state, &mut next);
            (states, steps, deepest) = (states + 1, steps + next.len(), deepest.max(depth));
            let new = next.drain(..).filter(|after| search.visit(Some(state), *after));
            stack.extend(new.map(|after| (after, depth + 1)));
            if spare.waiting.load(Ordering::Relaxed) > 0 && stack.len() > 1 {
                let rest = stack.split_off(stack.len() / 2);
                spare.give(std::mem::replace(&mut stack, rest));
            }
            if states == AT_ONCE {
                break;
            }
        }
        search.count(states, steps, deepest);
    }
}

/// Visits every state, nearest first, so that what is found is as short as can be.
pub(crate) fn explore(model: &impl Explored) -> Found {
    let search = Search::new(model, Duration::MAX);
    let start = model.start();
    search.visit(None, start);
    let (mut layer, mut depth) = (vec![start], 0);
    while !layer.is_empty() && !search.is_over() {
        let (open, after) = (Mutex::new(layer.chunks(AT_ONCE)), Mutex::new(Vec::new()));
        std::thread::scope(|threads| {
            for _ in 0..THREADS {
                threads.spawn(|| {
                    let take = || open.lock().unwrap().next();
                    while let Some(states) = take().filter(|_| !search.is_over()) {
                        let further = widen(&search, states, depth);
                        after.lock().unwrap().extend(further);
                    }
                });
            }
        });
        (layer, depth) = (after.into_inner().unwrap(), depth + 1);
    }
    search.found()
}

/// New states one step further than these.
fn widen<M: Explored>(search: &Search<'_, M>, states: &[State], depth: usize) -> Vec<State> {
    let (mut next, mut new, mut steps) = (Vec::new(), Vec::new(), 0);
    for state in states {
        search.model.next(*state, &mut next);
        steps += next.len();
        new.extend(next.drain(..).filter(|after| search.visit(Some(*state), *after)));
    }
    search.count(states.len(), steps, depth);
    new
}

/// Walks at random from the beginning to an end, again and again, until so many steps were taken.
pub(crate) fn walk(model: &impl Explored, seed: u64, steps: usize) -> Found {
    let search = Search::new(model, Duration::MAX);
    let (mut chance, mut taken, mut next) = (Rng::new(seed), 0, Vec::new());
    let mut way = Vec::new();
    while taken < steps && !search.is_over() {
        let mut state = model.start();
        way = vec![state];
        loop {
            search.visited.add(model.mark(state), ());
            next.clear();
            model.next(state, &mut next);
            if next.is_empty() || taken >= steps || search.is_over() {
                break;
            }
            let after = *chance.pick(&next);
            search.note(model.facts(Some(state), after), after);
            (state, taken) = (after, taken + 1);
            way.push(state);
        }
        search.count(way.len(), way.len() - 1, way.len() - 1);
    }
    search.found_by(Some(&way))
}

/// Nothing that must never be was found, and everything that must sometimes be.
pub(crate) fn holds(found: &Found) {
    assert!(found.violations.is_empty(), "{}\n{}", found.summary, found.violations.join("\n"));
    assert!(found.missed.is_empty(), "{}\nnever reached: {:?}", found.summary, found.missed);
}

/// Few walks reach everything, but all of them together must reach a decision of a later view.
pub(crate) fn walks_are_safe(model: &impl Explored, seed: u64, steps: usize) {
    let found = walk(model, seed, steps);
    assert!(found.violations.is_empty(), "seed {seed}, {}\n{}", found.summary, found.violations.join("\n"));
    let later = "a slot is decided in a later view";
    let is_met = |property: Property| property.name == later && found.met & property.fact != 0;
    let was_reached = model.properties().into_iter().any(is_met);
    assert!(was_reached, "seed {seed}, {}: {later} was never reached", found.summary);
}
