//! Programs on a bare core, one event after the other, in any order of events.

use super::*;

/// What a task does, step by step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Act {
    Lock(usize),
    Read(usize),
    /// Gives back a lock or, with the number behind the last lock, a permit.
    Unlock(usize),
    /// With a lock in hand; the second time the task goes on without.
    Wait(usize),
    NotifyOne,
    NotifyAll,
    Permit,
    Arrive,
    Yield,
    Spawn(usize),
    Tick(u64),
}

/// What stands in the agreed order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Item {
    Task(usize),
    /// The same, restartable.
    Restartable(usize),
    Fill,
    Recall,
    Config(Config),
}

/// A case: everything that the outcome may depend on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Case {
    pub(super) config: Config,
    pub(super) programs: Vec<Vec<Act>>,
    pub(super) items: Vec<Item>,
    pub(super) locks: usize,
    pub(super) permits: u32,
    pub(super) mutant: Option<Mutant>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub(super) core: Core,
    locks: Vec<LockId>,
    condition: ConditionId,
    barrier: BarrierId,
    runs: Vec<Run>,
    admitted: usize,
    /// Ends of tasks, by what they were: a sum, since their order means nothing.
    ends: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Run {
    id: TaskId,
    program: usize,
    at: usize,
    begun: bool,
    runs: bool,
    restarts: bool,
    waited: bool,
    denied: bool,
    held: Vec<(usize, Share)>,
}

/// One thing that can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Admit,
    Step(usize),
}

/// What must not depend on the order of events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Outcome {
    trace: u64,
    live: u32,
    waiting: u32,
    ends: u64,
}

impl World {
    pub(super) fn new(case: &Case) -> World {
        let mut core = Core::new(case.config).unwrap();
        core.mutant = case.mutant;
        let mut locks: Vec<LockId> = (0..case.locks).map(|_| core.create_lock()).collect();
        locks.push(core.create_semaphore(case.permits));
        let (condition, barrier) = (core.create_condition(), core.create_barrier(2));
        World { core, locks, condition, barrier, runs: Vec::new(), admitted: 0, ends: 0 }
    }

    pub(super) fn events(&self, case: &Case) -> Vec<Event> {
        let mut events: Vec<Event> =
            (0..self.runs.len()).filter(|run| self.runs[*run].runs).map(Event::Step).collect();
        let room = match case.items.get(self.admitted) {
            None => false,
            Some(Item::Task(_) | Item::Restartable(_)) => self.core.has_room(),
            Some(_) => true,
        };
        if room {
            events.push(Event::Admit);
        }
        events
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            trace: self.core.trace(),
            live: self.core.live(),
            waiting: self.core.waiting(),
            ends: self.ends,
        }
    }

    pub(super) fn happen(&mut self, case: &Case, event: Event) {
        let mut effects = Vec::new();
        match event {
            Event::Admit => self.admit(case, &mut effects),
            Event::Step(run) => self.step(case, run, &mut effects),
        }
        for effect in effects {
            self.note(case, effect);
        }
        self.runs.retain(|run| run.at != usize::MAX);
    }

    fn admit(&mut self, case: &Case, effects: &mut Vec<Effect>) {
        let item = case.items[self.admitted];
        self.admitted += 1;
        match item {
            Item::Task(program) | Item::Restartable(program) => {
                let id = self.core.admit(effects);
                self.add(id, program, matches!(item, Item::Restartable(_)));
            }
            Item::Fill => self.core.fill(effects),
            Item::Recall => self.core.recall(effects),
            Item::Config(config) => self.core.reconfigure(config, effects).unwrap(),
        }
    }

    fn add(&mut self, id: TaskId, program: usize, restarts: bool) {
        let run = Run {
            id,
            program,
            at: 0,
            begun: false,
            runs: false,
            restarts,
            waited: false,
            denied: false,
            held: Vec::new(),
        };
        self.runs.push(run);
    }

    fn step(&mut self, case: &Case, place: usize, effects: &mut Vec<Effect>) {
        let run = &mut self.runs[place];
        let program = &case.programs[run.program];
        let done = run.denied || run.at >= program.len();
        if done {
            if let Some((lock, share)) = run.held.pop() {
                self.core.unlock(run.id, self.locks[lock], share, effects).unwrap();
            } else {
                run.runs = false;
                let end = (run.id.number() + 1) * 1000 + run.program as u64 * 10 + u64::from(run.denied);
                self.ends = self.ends.wrapping_add(end * end);
                self.core.end(run.id, effects).unwrap();
            }
            return;
        }
        let acquire = |lock: usize, share| Op::Acquire { lock: self.locks[lock], share };
        let op = match program[run.at] {
            Act::Lock(lock) => acquire(lock, Share::All),
            Act::Read(lock) => acquire(lock, Share::Part(1)),
            Act::Permit => acquire(case.locks, Share::Part(1)),
            Act::Unlock(lock) => {
                run.at += 1;
                if let Some(held) = run.held.iter().rposition(|(held, _)| *held == lock) {
                    let (_, share) = run.held.remove(held);
                    self.core.unlock(run.id, self.locks[lock], share, effects).unwrap();
                }
                return;
            }
            Act::Tick(ticks) => {
                run.at += 1;
                self.core.tick(run.id, ticks, effects).unwrap();
                return;
            }
            Act::Wait(lock) => {
                if std::mem::replace(&mut run.waited, true) || !run.held.contains(&(lock, Share::All)) {
                    run.at += 1;
                    return;
                }
                let restarts = run.restarts && run.held.len() == 1;
                let then = if restarts { Then::Restart } else { Then::Relock };
                Op::Wait { condition: self.condition, lock: self.locks[lock], then }
            }
            Act::NotifyOne => Op::NotifyOne(self.condition),
            Act::NotifyAll => Op::NotifyAll(self.condition),
            Act::Arrive => Op::Arrive(self.barrier),
            Act::Yield => Op::Yield,
            Act::Spawn(_) => Op::Spawn,
        };
        // The short way or the long one, as it comes: the outcome is the same.
        if let Op::Acquire { lock, share: Share::All } = op
            && (self.admitted + run.at + place).is_multiple_of(2)
            && self.core.acquire_at_once(run.id, lock, effects)
        {
            let Act::Lock(lock) = program[run.at] else { panic!("it asked for a lock") };
            run.held.push((lock, Share::All));
            run.at += 1;
            return;
        }
        match self.core.request(run.id, op, effects) {
            Ok(()) => run.runs = false,
            Err(Misuse::HeldByAsker) => run.denied = true,
            Err(misuse) => panic!("{misuse}"),
        }
    }

    fn note(&mut self, case: &Case, effect: Effect) {
        let find = |runs: &[Run], id: TaskId| runs.iter().position(|run| run.id == id).unwrap();
        match effect {
            Effect::Granted(id) => {
                let run = find(&self.runs, id);
                let run = &mut self.runs[run];
                run.runs = true;
                if std::mem::replace(&mut run.begun, true) {
                    match case.programs[run.program][run.at] {
                        Act::Lock(lock) => run.held.push((lock, Share::All)),
                        Act::Read(lock) => run.held.push((lock, Share::Part(1))),
                        Act::Permit => run.held.push((case.locks, Share::Part(1))),
                        _ => {}
                    }
                    run.at += 1;
                }
            }
            Effect::Denied(id, _) => {
                let run = find(&self.runs, id);
                let run = &mut self.runs[run];
                (run.runs, run.denied) = (true, true);
                // The mutex of a wait that was never granted again is not held.
                if let Act::Wait(lock) = case.programs[run.program][run.at] {
                    run.held.retain(|(held, _)| *held != lock);
                }
            }
            Effect::Woken { task, then: Then::Restart, .. } => {
                let run = find(&self.runs, task);
                let run = &mut self.runs[run];
                (run.at, run.begun) = (0, false);
                run.held.clear();
            }
            Effect::Spawned { by, child } => {
                let parent = &self.runs[find(&self.runs, by)];
                let Act::Spawn(program) = case.programs[parent.program][parent.at] else {
                    panic!("a child that nobody asked for")
                };
                self.add(child, program, false);
            }
            Effect::Left(id) => {
                let run = find(&self.runs, id);
                self.runs[run].at = usize::MAX;
            }
            Effect::Waits(_) | Effect::Woken { .. } | Effect::Wanted(_) | Effect::Suspended => {}
        }
    }
}
