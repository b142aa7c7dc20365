//! Linearizability: is there one order of all operations that explains every answer and keeps apart what was apart
//! in time? Source: Wing & Gong, JPDC 1993; Lowe, "Testing for linearizability", 2017, for placing operations no
//! sooner than they return and for the memo; Horn & Kroening, FORTE 2015, for taking each key by itself.
//!
//! ```text
//!   returns, in order:   r1 ------- r2 ------------- r3          a configuration stands before one return:
//!   before r2 returns:   place r2, or first an open one          (return, state, placed early)
//! ```
//!
//! Depth first, without recursion. Three things keep it small, all of them exact: an open operation that only reads
//! is placed as soon as its answer fits; one with an unknown outcome is placed only right before one that may need
//! it, and of equal ones the one asked first; and a configuration that failed is not tried again, nor one that differs only in having used up more
//! of the unknown ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display, Formatter, Result as FmtResult};

pub use super::kv::{check_kv, check_store};

/// What one machine would do.
pub trait Model {
    /// All that it remembers.
    type State: Clone + Ord + Debug;
    /// What can be asked of it.
    type Op: Clone + PartialEq + Debug;
    /// What it can answer.
    type Answer: Clone + Debug;

    /// Before the first operation.
    fn first(&self) -> Self::State;

    /// The state after `op` in `state`, or none if it would not give `answer`. An answer that is not known fits
    /// always.
    fn step(&self, state: &Self::State, op: &Self::Op, answer: Option<&Self::Answer>) -> Option<Self::State>;

    /// Whether `op`, where it gives `answer`, changes nothing, whatever the state. False is always correct, and
    /// slower.
    fn only_reads(&self, op: &Self::Op, answer: &Self::Answer) -> bool;

    /// Whether `then` may turn out otherwise for standing right after `first` and not without it. False promises
    /// that wherever `then` can follow `first`, it can stand without it and leaves the same state; true is always
    /// correct, and slower. Asked of a `first` whose outcome is not known.
    fn may_need(&self, then: &Self::Op, answer: Option<&Self::Answer>, first: &Self::Op) -> bool;
}

/// One operation as its client saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation<O, A> {
    /// Whose.
    pub client: usize,
    /// What.
    pub op: O,
    /// When it was asked. Any unit, the same for all.
    pub asked: u64,
    /// When it was answered, and how; none if that is not known: it may take effect at any time since, or never.
    pub answer: Option<(u64, A)>,
}

/// An operation of a model.
pub type OperationOf<M> = Operation<<M as Model>::Op, <M as Model>::Answer>;

/// Placements that the search tries before it gives up, beyond a few for each operation. A failed one costs some
/// hundred bytes. A history that is linearizable needs hardly more than one for each operation; one that is not, and
/// has many writes of unknown outcome on one key, can need more than anyone has.
pub const TRIES_MAX: usize = 300_000;

/// Sets of used unknown operations that are remembered for one configuration; remembering more costs more than it
/// saves.
const SETS_MAX: usize = 64;

/// Operations that a counterexample shows from the order that led to it.
const SHOWN_MAX: usize = 12;

/// States that a counterexample shows.
const STATES_MAX: usize = 8;

/// Why a history is not known to be linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotLinear {
    /// It is not.
    Stuck(Stuck),
    /// The search gave up after [`TRIES_MAX`]; too much was open at the same time. The suspect is as far as it came,
    /// and in all likelihood the culprit.
    Undecided(Stuck),
}

/// The shortest beginning of a history that no order explains: everything up to one answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// The operation whose answer fits nowhere: its place in the history that was checked.
    pub operation: usize,
    /// The same in words.
    pub shown: String,
    /// How many answers could be explained up to there.
    pub explained: usize,
    /// One order that explains them, the last operations of it, in words.
    pub order: Vec<String>,
    /// States in which the machine could have been, in words; not all, if there are many.
    pub states: Vec<String>,
    /// Operations that were open at that time and not in that order, in words.
    pub open: Vec<String>,
}

/// Whether `history`, in any order, is linearizable for `model`.
///
/// # Errors
/// The shortest beginning that no order explains, or that the search gave up.
pub fn check<M: Model>(model: &M, history: &[OperationOf<M>]) -> Result<(), NotLinear> {
    Search::new(model, history, (0..history.len()).collect()).run()
}

/// As [`check`], for a model of parts that know nothing of each other: `part` names the one an operation is for.
/// The parts are checked one by one, which is as exact as checking the whole, and much faster.
///
/// # Errors
/// As [`check`], for the first part in order that has one; that a search gave up comes last.
pub fn check_parts<M: Model, K: Ord>(
    model: &M,
    history: &[OperationOf<M>],
    part: impl Fn(&M::Op) -> K,
) -> Result<(), NotLinear> {
    let mut parts: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for (place, operation) in history.iter().enumerate() {
        parts.entry(part(&operation.op)).or_default().push(place);
    }
    let mut undecided = None;
    for places in parts.into_values() {
        let own: Vec<OperationOf<M>> = places.iter().map(|place| history[*place].clone()).collect();
        match Search::new(model, &own, places).run() {
            Ok(()) => {}
            // Another part may have a plain answer.
            Err(NotLinear::Undecided(suspect)) => undecided = undecided.or(Some(suspect)),
            Err(stuck @ NotLinear::Stuck(_)) => return Err(stuck),
        }
    }
    undecided.map_or(Ok(()), |suspect| Err(NotLinear::Undecided(suspect)))
}

impl Display for NotLinear {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        match self {
            NotLinear::Stuck(stuck) => Display::fmt(stuck, f),
            NotLinear::Undecided(stuck) => {
                write!(f, "undecided, too much is open at the same time; but as far as was tried, {stuck}")
            }
        }
    }
}

impl Display for Stuck {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        writeln!(f, "no order explains this answer: {}", self.shown)?;
        writeln!(f, "  {} answers before it are explained, the last by this order:", self.explained)?;
        self.order.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        writeln!(f, "  the state could then be: {}", self.states.join(" or "))?;
        writeln!(f, "  open at that time and not placed:")?;
        self.open.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

impl std::error::Error for NotLinear {}

/// The place of an operation in the history.
type Place = usize;

/// One return, the moments of which everything hangs on.
struct Return {
    place: Place,
    /// Operations with an answer that were asked by then and had not returned before, soonest return first; so this
    /// one is the first.
    open: Vec<Place>,
    /// Its time.
    now: u64,
}

/// A configuration, and which way out of it is tried next.
struct Frame<S> {
    /// The return it stands before.
    at: usize,
    state: S,
    /// Operations with an answer that were placed and have not returned, in order of place.
    early: Vec<Place>,
    /// Unknown ones that were placed, in order of place.
    used: Vec<Place>,
    /// The state before the unknown one that was placed last, as long as nothing has needed that one.
    unneeded: Option<S>,
    /// The operations that may be placed next; found when first wanted.
    ways: Option<Vec<Place>>,
    /// The next of them to try.
    way: usize,
    /// How long the order was on the way in.
    placed: usize,
}

/// The return, the state and the early ones of a configuration that failed.
type Failed<S> = (usize, S, Vec<Place>);

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    /// What the operations are called in reports.
    names: Vec<usize>,
    returns: Vec<Return>,
    /// For each unknown one, the last equal one asked before it.
    equal: BTreeMap<Place, Option<Place>>,
    /// For each operation, the unknown ones that it may need.
    needs: Vec<Vec<Place>>,
    /// For configurations that failed, the smallest sets of used unknown ones that failed.
    failed: BTreeMap<Failed<M::State>, Vec<Vec<Place>>>,
    tries: usize,
    /// The order so far.
    order: Vec<Place>,
    furthest: Furthest<M::State>,
}

/// The latest return that was reached, and how things stood there.
struct Furthest<S> {
    at: usize,
    order: Vec<Place>,
    states: Vec<S>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [OperationOf<M>], names: Vec<usize>) -> Search<'a, M> {
        let (mut known, mut unknown): (Vec<Place>, Vec<Place>) =
            (0..history.len()).partition(|place| history[*place].answer.is_some());
        unknown.sort_by_key(|place| history[*place].asked);
        let returned = |place: &Place| history[*place].answer.as_ref().map(|(at, _)| *at);
        let mut by_asking = known.clone();
        by_asking.sort_by_key(|place| history[*place].asked);
        known.sort_by_key(|place| (returned(place), *place));
        let (mut returns, mut open, mut asked) = (Vec::with_capacity(known.len()), Vec::new(), 0);
        for place in known {
            // What was asked in the moment of this return was asked at the same time, not later.
            let now = returned(&place);
            while asked < by_asking.len() && Some(history[by_asking[asked]].asked) <= now {
                let key = |other: &Place| (returned(other), *other);
                let newcomer = by_asking[asked];
                let at = open.partition_point(|other| key(other) < key(&newcomer));
                open.insert(at, newcomer);
                asked += 1;
            }
            let now = now.expect("what returns has a time");
            returns.push(Return { place, open: open.clone(), now });
            open.retain(|other| *other != place);
        }
        let equal = |at: usize| {
            let op = &history[unknown[at]].op;
            (unknown[at], unknown[..at].iter().rev().find(|other| history[**other].op == *op).copied())
        };
        let needs = |then: &OperationOf<M>| {
            let answer = then.answer.as_ref().map(|(_, answer)| answer);
            let is_needed = |first: &&Place| model.may_need(&then.op, answer, &history[**first].op);
            unknown.iter().filter(is_needed).copied().collect()
        };
        Search {
            model,
            history,
            names,
            returns,
            equal: (0..unknown.len()).map(equal).collect(),
            needs: history.iter().map(needs).collect(),
            failed: BTreeMap::new(),
            tries: 0,
            order: Vec::new(),
            furthest: Furthest { at: 0, order: Vec::new(), states: Vec::new() },
        }
    }

    fn run(mut self) -> Result<(), NotLinear> {
        let start = Frame {
            at: 0,
            state: self.model.first(),
            early: Vec::new(),
            used: Vec::new(),
            unneeded: None,
            ways: None,
            way: 0,
            placed: 0,
        };
        let Some(start) = self.settle(start) else {
            return Ok(());
        };
        let mut stack = vec![start];
        while let Some(frame) = stack.last_mut() {
            if self.tries > TRIES_MAX + 8 * self.history.len() {
                return Err(NotLinear::Undecided(self.stuck()));
            }
            if let Some(next) = self.next(frame) {
                match self.settle(next) {
                    None => return Ok(()),
                    Some(next) if self.has_failed(&next) => self.order.truncate(next.placed),
                    Some(next) => stack.push(next),
                }
                continue;
            }
            let frame = stack.pop().expect("it was the last just now");
            self.order.truncate(frame.placed);
            self.fail(frame);
        }
        Err(NotLinear::Stuck(self.stuck()))
    }

    /// The configuration after the next operation that can be placed in `frame`, if there is one left to try: first
    /// the one that must return, then others that are open, soonest return first, then unknown ones that those before
    /// them may need.
    fn next(&mut self, frame: &mut Frame<M::State>) -> Option<Frame<M::State>> {
        let ways = frame.ways.take().unwrap_or_else(|| self.ways(frame));
        let next = loop {
            let Some(place) = ways.get(frame.way) else { break None };
            frame.way += 1;
            if let Some(next) = self.placed(frame, *place) {
                break Some(next);
            }
        };
        frame.ways = Some(ways);
        next
    }

    fn ways(&self, frame: &Frame<M::State>) -> Vec<Place> {
        let Return { open, now, .. } = &self.returns[frame.at];
        let mut ways: Vec<Place> =
            open.iter().filter(|place| frame.early.binary_search(place).is_err()).copied().collect();
        let mut found = BTreeSet::new();
        let mut at = 0;
        while at < ways.len() {
            for first in &self.needs[ways[at]] {
                let is_asked = self.history[*first].asked <= *now;
                if is_asked && frame.used.binary_search(first).is_err() && found.insert(*first) {
                    ways.push(*first);
                }
            }
            at += 1;
        }
        ways
    }

    /// The configuration after `place` is placed in `frame`, if it can be and is worth it.
    fn placed(&mut self, frame: &Frame<M::State>, place: Place) -> Option<Frame<M::State>> {
        let equal = self.equal.get(&place);
        let is_unknown = equal.is_some();
        // Of equal ones, the one asked first can stand wherever a later one can.
        if equal.copied().flatten().is_some_and(|equal| frame.used.binary_search(&equal).is_err()) {
            return None;
        }
        let state = self.step(&frame.state, place)?;
        // The same comes out without an unknown one, so it is not worth using it up.
        let without = frame.unneeded.as_ref().and_then(|before| self.step(before, place));
        if without.as_ref() == Some(&state) || (is_unknown && state == frame.state) {
            return None;
        }
        let (mut early, mut used) = (frame.early.clone(), frame.used.clone());
        let taken = if is_unknown { &mut used } else { &mut early };
        let at = taken.partition_point(|other| *other < place);
        taken.insert(at, place);
        let placed = self.order.len();
        self.order.push(place);
        self.tries += 1;
        let unneeded = is_unknown.then(|| frame.state.clone());
        Some(Frame { at: frame.at, state, early, used, unneeded, ways: None, way: 0, placed })
    }

    /// Places what only reads, and passes the returns of what is placed; none if all have passed.
    fn settle(&mut self, mut frame: Frame<M::State>) -> Option<Frame<M::State>> {
        loop {
            let Return { place, open, .. } = self.returns.get(frame.at)?;
            for other in open {
                if let Err(at) = frame.early.binary_search(other)
                    && self.only_reads(*other)
                    && self.step(&frame.state, *other).is_some()
                {
                    frame.early.insert(at, *other);
                    frame.unneeded = None;
                    self.order.push(*other);
                }
            }
            let Ok(at) = frame.early.binary_search(place) else {
                break;
            };
            frame.early.remove(at);
            frame.at += 1;
        }
        self.note(&frame);
        Some(frame)
    }

    fn step(&self, state: &M::State, place: Place) -> Option<M::State> {
        let operation = &self.history[place];
        self.model.step(state, &operation.op, operation.answer.as_ref().map(|(_, answer)| answer))
    }

    fn only_reads(&self, place: Place) -> bool {
        let operation = &self.history[place];
        operation.answer.as_ref().is_some_and(|(_, answer)| self.model.only_reads(&operation.op, answer))
    }

    fn note(&mut self, frame: &Frame<M::State>) {
        if frame.at > self.furthest.at || self.furthest.states.is_empty() {
            let order = self.order[self.order.len().saturating_sub(SHOWN_MAX)..].to_vec();
            self.furthest = Furthest { at: frame.at, order, states: Vec::new() };
        }
        let is_news = frame.at == self.furthest.at && !self.furthest.states.contains(&frame.state);
        if is_news && self.furthest.states.len() < STATES_MAX {
            self.furthest.states.push(frame.state.clone());
        }
    }

    fn has_failed(&self, frame: &Frame<M::State>) -> bool {
        let key = (frame.at, frame.state.clone(), frame.early.clone());
        let includes = |used: &Vec<Place>| used.iter().all(|place| frame.used.binary_search(place).is_ok());
        self.failed.get(&key).is_some_and(|sets| sets.iter().any(includes))
    }

    fn fail(&mut self, frame: Frame<M::State>) {
        let sets = self.failed.entry((frame.at, frame.state, frame.early)).or_default();
        let is_larger = |set: &Vec<Place>| frame.used.iter().all(|place| set.binary_search(place).is_ok());
        sets.retain(|set| !is_larger(set));
        if sets.len() < SETS_MAX {
            sets.push(frame.used);
        }
    }

    fn stuck(&self) -> Stuck {
        let Return { place, open, now } = &self.returns[self.furthest.at];
        let shown = |place: &Place| self.show(*place);
        let unknown = self.equal.keys().filter(|place| self.history[**place].asked <= *now);
        let others = open.iter().chain(unknown);
        let others = others.filter(|other| *other != place && !self.furthest.order.contains(other));
        Stuck {
            operation: self.names[*place],
            shown: self.show(*place),
            explained: self.furthest.at,
            order: self.furthest.order.iter().map(shown).collect(),
            states: self.furthest.states.iter().map(|state| format!("{state:?}")).collect(),
            open: others.map(shown).collect(),
        }
    }

    fn show(&self, place: Place) -> String {
        let Operation { client, op, asked, answer } = &self.history[place];
        let place = self.names[place];
        match answer {
            Some((at, answer)) => format!("#{place} client {client}, {asked} to {at}: {op:?} -> {answer:?}"),
            None => format!("#{place} client {client}, {asked} to unknown: {op:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
