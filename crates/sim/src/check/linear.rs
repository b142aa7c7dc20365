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
//! it, and of equal ones the one asked first; and a configuration that failed is not tried again, nor one that differs
//! only in having used up more of the unknown ones. Of several unknown ones that would do, the one that fewest others
//! may need goes first: what is used up too early shows only much later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display, Formatter, Result as FmtResult};

pub use super::kv::{check_keys, check_kv, check_store};

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

/// Classes in all sets that are remembered, 8 bytes each; what fails beyond is tried again if it comes again.
const REMEMBERED_MAX: usize = 32 << 20;

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

/// A kind of unknown operation: its place in the list of kinds.
type Class = usize;

/// A configuration, and which way out of it is tried next.
struct Frame<S> {
    /// The return it stands before.
    at: usize,
    state: S,
    /// Operations with an answer that were placed and have not returned, in order of place.
    early: Vec<Place>,
    /// The class of the unknown one whose placing led here, if one did.
    took: Option<Class>,
    /// The state before that one, as long as nothing has needed it.
    unneeded: Option<S>,
    /// What may be placed next, as far as it was wanted.
    ways: Ways,
    /// How long the order was on the way in.
    placed: usize,
}

/// The ways out of a configuration.
#[derive(Default)]
enum Ways {
    #[default]
    Unseen,
    /// Operations with an answer; the next to try.
    Known(Vec<Place>, usize),
    /// None of those led anywhere: classes of unknown ones that they may need; the next to try.
    Unknown(Vec<Class>, usize),
}

/// One way out of a configuration.
#[derive(Clone, Copy)]
enum Way {
    Known(Place),
    Unknown(Class),
}

/// The return, the state and the early ones of a configuration that failed.
type Failed<S> = (usize, S, Vec<Place>);

/// How many of each class are used, in order of class, without those of which none is.
type Used = Vec<(Class, usize)>;

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [OperationOf<M>],
    /// What the operations are called in reports.
    names: Vec<usize>,
    returns: Vec<Return>,
    /// Unknown operations, equal ones together, in the order of asking; classes that few may need first.
    classes: Vec<Vec<Place>>,
    /// How many of each class are placed in the configuration that stands last; none of those that are not here.
    used: BTreeMap<Class, usize>,
    /// For each operation with an answer, the classes that it may need, in order.
    needs: Vec<Vec<Class>>,
    /// The same for each class.
    class_needs: Vec<Vec<Class>>,
    /// The last return before which a class can be needed.
    needed_until: Vec<usize>,
    /// For configurations that failed, the smallest sets of used unknown ones that failed.
    failed: BTreeMap<Failed<M::State>, Vec<Used>>,
    /// Classes in all of `failed`.
    remembered: usize,
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
        let mut classes: Vec<Vec<Place>> = Vec::new();
        for place in unknown {
            let op = &history[place].op;
            match classes.iter_mut().find(|class| history[class[0]].op == *op) {
                Some(class) => class.push(place),
                None => classes.push(vec![place]),
            }
        }
        let needed = |then: &OperationOf<M>| -> Vec<Class> {
            let answer = then.answer.as_ref().map(|(_, answer)| answer);
            let may_need = |class: &Class| model.may_need(&then.op, answer, &history[classes[*class][0]].op);
            (0..classes.len()).filter(may_need).collect()
        };
        let known = |operation: &OperationOf<M>| operation.answer.is_some();
        let needs = |operation| if known(operation) { needed(operation) } else { Vec::new() };
        let mut needs: Vec<Vec<Class>> = history.iter().map(needs).collect();
        let mut class_needs: Vec<Vec<Class>> =
            classes.iter().map(|class| needed(&history[class[0]])).collect();
        let mut demand = vec![0; classes.len()];
        needs.iter().flatten().for_each(|class| demand[*class] += 1);
        let mut by_demand: Vec<Class> = (0..classes.len()).collect();
        by_demand.sort_by_key(|class| demand[*class]);
        let mut rank = vec![0; classes.len()];
        by_demand.iter().enumerate().for_each(|(new, old)| rank[*old] = new);
        for list in needs.iter_mut().chain(&mut class_needs) {
            list.iter_mut().for_each(|class| *class = rank[*class]);
            list.sort_unstable();
        }
        let of_rank = |lists: &mut [Vec<Place>]| -> Vec<Vec<Place>> {
            by_demand.iter().map(|class| std::mem::take(&mut lists[*class])).collect()
        };
        let (classes, class_needs) = (of_rank(&mut classes), of_rank(&mut class_needs));
        let needed_until = needed_until(&returns, &needs, &class_needs);
        Search {
            model,
            history,
            names,
            returns,
            classes,
            used: BTreeMap::new(),
            needs,
            class_needs,
            needed_until,
            failed: BTreeMap::new(),
            remembered: 0,
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
            took: None,
            unneeded: None,
            ways: Ways::default(),
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
                    Some(next) if self.has_failed(&next) => self.leave(&next),
                    Some(next) => stack.push(next),
                }
                continue;
            }
            let frame = stack.pop().expect("it was the last just now");
            self.fail(&frame);
            self.leave(&frame);
        }
        Err(NotLinear::Stuck(self.stuck()))
    }

    /// The configuration after the next operation that can be placed in `frame`, if there is one left to try: first
    /// the one that must return, then others that are open, soonest return first, then unknown ones that those before
    /// them may need.
    fn next(&mut self, frame: &mut Frame<M::State>) -> Option<Frame<M::State>> {
        loop {
            let way = self.next_way(frame)?;
            if let Some(next) = self.placed(frame, way) {
                return Some(next);
            }
        }
    }

    fn next_way(&self, frame: &mut Frame<M::State>) -> Option<Way> {
        loop {
            match &mut frame.ways {
                Ways::Unseen => frame.ways = Ways::Known(self.open(frame), 0),
                Ways::Known(places, next) => match places.get(*next) {
                    Some(place) => {
                        *next += 1;
                        return Some(Way::Known(*place));
                    }
                    None => frame.ways = Ways::Unknown(self.wanted(frame), 0),
                },
                Ways::Unknown(classes, next) => {
                    let class = *classes.get(*next)?;
                    *next += 1;
                    return Some(Way::Unknown(class));
                }
            }
        }
    }

    fn open(&self, frame: &Frame<M::State>) -> Vec<Place> {
        let open = self.returns[frame.at].open.iter();
        open.filter(|place| frame.early.binary_search(place).is_err()).copied().collect()
    }

    /// Classes with an unused operation that was asked by now and that an open one may need, or one that such a one
    /// may need.
    fn wanted(&self, frame: &Frame<M::State>) -> Vec<Class> {
        let now = self.returns[frame.at].now;
        let has_left = |class: &Class| {
            let next = self.classes[*class].get(self.used(*class));
            next.is_some_and(|place| self.history[*place].asked <= now)
        };
        let mut found = BTreeSet::new();
        let mut wanted: Vec<Class> = Vec::new();
        let mut take = |classes: &[Class], wanted: &mut Vec<Class>| {
            let new = classes.iter().filter(|class| has_left(class));
            wanted.extend(new.filter(|class| found.insert(**class)));
        };
        for place in self.open(frame) {
            take(&self.needs[place], &mut wanted);
        }
        let mut at = 0;
        while at < wanted.len() {
            take(&self.class_needs[wanted[at]], &mut wanted);
            at += 1;
        }
        wanted
    }

    /// The configuration after one operation is placed in `frame`, if it can be and is worth it.
    fn placed(&mut self, frame: &Frame<M::State>, way: Way) -> Option<Frame<M::State>> {
        // Of equal ones, the one asked first can stand wherever a later one can.
        let (place, took) = match way {
            Way::Known(place) => (place, None),
            Way::Unknown(class) => (self.classes[class][self.used(class)], Some(class)),
        };
        let state = self.step(&frame.state, place)?;
        // The same comes out without an unknown one, so it is not worth using it up.
        let without = frame.unneeded.as_ref().and_then(|before| self.step(before, place));
        if without.as_ref() == Some(&state) || (took.is_some() && state == frame.state) {
            return None;
        }
        let mut early = frame.early.clone();
        match took {
            None => early.insert(early.partition_point(|other| *other < place), place),
            Some(class) => *self.used.entry(class).or_default() += 1,
        }
        let placed = self.order.len();
        self.order.push(place);
        self.tries += 1;
        let unneeded = took.is_some().then(|| frame.state.clone());
        Some(Frame { at: frame.at, state, early, took, unneeded, ways: Ways::default(), placed })
    }

    /// Takes back what led to `frame`.
    fn leave(&mut self, frame: &Frame<M::State>) {
        self.order.truncate(frame.placed);
        if let Some(class) = frame.took {
            match self.used(class) {
                1 => drop(self.used.remove(&class)),
                more => drop(self.used.insert(class, more - 1)),
            }
        }
    }

    fn used(&self, class: Class) -> usize {
        self.used.get(&class).copied().unwrap_or_default()
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
        if self.failed.is_empty() {
            return false;
        }
        let key = (frame.at, frame.state.clone(), frame.early.clone());
        let includes = |set: &Used| set.iter().all(|(class, count)| self.used(*class) >= *count);
        self.failed.get(&key).is_some_and(|sets| sets.iter().any(includes))
    }

    /// Remembers a configuration before it is left.
    fn fail(&mut self, frame: &Frame<M::State>) {
        let matters = |class: &Class| self.needed_until[*class] >= frame.at;
        let used: Used = self
            .used
            .iter()
            .map(|(class, count)| (*class, *count))
            .filter(|(class, _)| matters(class))
            .collect();
        let sets = self.failed.entry((frame.at, frame.state.clone(), frame.early.clone())).or_default();
        let is_larger = |set: &Used| {
            let has = |class| set.binary_search_by_key(&class, |(class, _)| *class).map_or(0, |at| set[at].1);
            used.iter().all(|(class, count)| has(*class) >= *count)
        };
        sets.retain(|set| !is_larger(set));
        if sets.len() < SETS_MAX && self.remembered + used.len() <= REMEMBERED_MAX {
            self.remembered += used.len();
            sets.push(used);
        }
    }

    fn stuck(&self) -> Stuck {
        let Return { place, open, now } = &self.returns[self.furthest.at];
        let shown = |place: &Place| self.show(*place);
        let unknown = self.classes.iter().flatten().filter(|place| self.history[**place].asked <= *now);
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

/// For each class the last return before which an operation that may need it can be placed, directly or by way of
/// another unknown one. What was used of it matters no more afterwards.
fn needed_until(returns: &[Return], needs: &[Vec<Class>], class_needs: &[Vec<Class>]) -> Vec<usize> {
    let mut until = vec![0; class_needs.len()];
    for (at, one) in returns.iter().enumerate() {
        needs[one.place].iter().for_each(|class| until[*class] = at);
    }
    loop {
        let before = until.clone();
        for (then, firsts) in class_needs.iter().enumerate() {
            firsts.iter().for_each(|first| until[*first] = until[*first].max(until[then]));
        }
        if until == before {
            return until;
        }
    }
}

#[cfg(test)]
mod tests;
