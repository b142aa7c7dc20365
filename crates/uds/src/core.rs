//! The scheduler as a pure value: tasks ask for locks, unlock and end; grants come out.
//!
//! Source: UDS (SRDS 2016) in its round-robin form. We differ in: a retry after a round needs a new
//! turn; a round without progress grows the next one; a fill marker, ordered like a task, lets the tasks before it
//! go on without newcomers; a cycle of waits ends its youngest task.
//!
//! ```text
//!   list (agreed order)   t1 t2 t3 t4 F t5 ...        t = task, F = fill marker
//!   round, N=3, S=2       primaries t1 t2 t3          turns t1 t2 t3 t1 t2 t3
//!   a turn                one request for a lock: granted, or queued behind the owner
//!   the round ends        when it is full and no primary runs; unused turns lapse, queued requests ask again
//! ```
//!
//! Why grants do not depend on timing: (1) a round's primaries are the first of the list that have not left, a
//! function of the list and of earlier rounds; (2) requests reach a lock in the order of turns, and an unlock
//! hands over in that order, so whether it comes before or after the next request decides nothing; (3) the end of
//! a round is the one stuck state of a confluent system; (4) a running task that holds a lock is a primary, since
//! rounds end only when no primary runs. Tasks that never took a turn may run ahead of their round: they have
//! touched nothing that is shared.

mod round;

use std::collections::VecDeque;

use crate::config::{BadConfig, Config};
use round::Round;

/// The state of one scheduler: the list of tasks, the locks, and the round that is going on.
#[derive(Debug)]
pub struct Core {
    config: Config,
    /// Settings that a marker has announced for the next round.
    announced: Option<Config>,
    /// The next round wants this many times `config.primaries`; more than 1 only after rounds without progress.
    growth: u32,
    /// No more tasks than this can have been alive at once, so a round of this size holds every lock owner.
    size_max: u32,
    /// What comes after the primaries of this round. At most `2 * tasks_max` entries beyond the room check.
    list: VecDeque<Entry>,
    tasks: Vec<Task>,
    tasks_free: Vec<usize>,
    locks: Vec<Lock>,
    locks_free: Vec<usize>,
    round: Round,
    /// Tasks that have not left.
    live: u32,
    /// Tasks admitted so far; the next one's number.
    admitted: u64,
    /// Walks through the graph of waits so far; see [`Core::doom_cycles`].
    walks: u64,
}

impl Core {
    /// An idle scheduler.
    ///
    /// # Errors
    /// The setting that is out of range.
    pub fn new(config: Config) -> Result<Core, BadConfig> {
        config.validate()?;
        Ok(Core {
            config,
            announced: None,
            growth: 1,
            size_max: config.tasks_max,
            list: VecDeque::new(),
            tasks: Vec::new(),
            tasks_free: Vec::new(),
            locks: Vec::new(),
            locks_free: Vec::new(),
            round: Round::new(config.primaries, config.steps),
            live: 0,
            admitted: 0,
            walks: 0,
        })
    }

    /// Whether another entry may be admitted: fewer than `tasks_max` tasks live, and markers do not pile up.
    /// When it is admitted has no influence on any order.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.live < self.config.tasks_max && self.list.len() <= 2 * self.config.tasks_max as usize
    }

    /// Whether tasks live and none can go on until another is admitted or a fill marker comes.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        self.live > 0 && self.round.running == 0
    }

    /// The next task of the list. It runs from now on; whoever asks [`Core::has_room`] before keeps the limit.
    pub fn admit(&mut self, effects: &mut Vec<Effect>) -> TaskId {
        let task = Task { number: self.admitted, phase: Phase::Running, primary: false, held: 0, walk: 0 };
        self.admitted += 1;
        self.live += 1;
        let index = put(&mut self.tasks, &mut self.tasks_free, task);
        self.list.push_back(Entry::Task(index));
        self.advance(effects);
        self.id(index)
    }

    /// A fill marker at the end of the list: until all tasks before it have left, they have rounds of their own
    /// and wait for no newcomer. Tasks after it compute, but take no turn before that, and then find the core as
    /// if it were new: with the settings last announced, and nothing that came before has an influence.
    pub fn fill(&mut self, effects: &mut Vec<Effect>) {
        // Two neighbours act as one, whenever they come.
        if self.list.back() != Some(&Entry::Fill) {
            self.list.push_back(Entry::Fill);
        }
        self.advance(effects);
    }

    /// New settings at the end of the list; they hold from the round after the one that reaches this place.
    ///
    /// # Errors
    /// The setting that is out of range; nothing changes then.
    pub fn reconfigure(&mut self, config: Config, effects: &mut Vec<Effect>) -> Result<(), BadConfig> {
        config.validate()?;
        // Of two neighbours the later one holds, whenever they come.
        match self.list.back_mut() {
            Some(Entry::Config(last)) => *last = config,
            _ => self.list.push_back(Entry::Config(config)),
        }
        self.advance(effects);
        Ok(())
    }

    /// A running task asks for a lock and stops; [`Effect::Granted`] lets it go on, perhaps among these effects.
    ///
    /// # Errors
    /// What is wrong with the request; the task still runs then.
    pub fn request(&mut self, task: TaskId, lock: LockId, effects: &mut Vec<Effect>) -> Result<(), Misuse> {
        let index = self.running(task)?;
        if self.lock(lock)?.owner == Some(index) {
            return Err(Misuse::HeldByAsker);
        }
        self.locks[lock.0].askers += 1;
        self.tasks[index].phase = Phase::Asks(lock);
        if self.tasks[index].primary {
            self.round.running -= 1;
            self.advance(effects);
        }
        Ok(())
    }

    /// A running task gives a lock back; whoever waits for it longest has it next.
    ///
    /// # Errors
    /// The task does not run or does not hold the lock; nothing changes then.
    pub fn unlock(&mut self, task: TaskId, lock: LockId, effects: &mut Vec<Effect>) -> Result<(), Misuse> {
        let index = self.running(task)?;
        if self.lock(lock)?.owner != Some(index) {
            return Err(Misuse::NotHeld);
        }
        self.tasks[index].held -= 1;
        self.pass_on(lock, effects);
        Ok(())
    }

    /// A running task ends. It leaves, with what it still holds, once it is a primary: [`Effect::Left`].
    ///
    /// # Errors
    /// The task does not run.
    pub fn end(&mut self, task: TaskId, effects: &mut Vec<Effect>) -> Result<(), Misuse> {
        let index = self.running(task)?;
        self.tasks[index].phase = Phase::Ends;
        if self.tasks[index].primary {
            self.round.running -= 1;
            self.leave(index, effects);
            self.advance(effects);
        }
        Ok(())
    }

    /// A new lock, free. Its id has no influence on any order. Their number is bounded by what the caller keeps:
    /// each stands for an object of the caller's that is at least as large.
    pub fn create_lock(&mut self) -> LockId {
        LockId(put(&mut self.locks, &mut self.locks_free, Lock::default()))
    }

    /// Nobody will ask for `lock` any more; its record goes when it is free.
    pub fn retire_lock(&mut self, lock: LockId) {
        if let Some(record) = self.locks.get_mut(lock.0).filter(|record| record.stage == Stage::Used) {
            record.stage = Stage::Retired;
            self.free_if_idle(lock);
        }
    }

    /// Whatever can happen now: newcomers join the round, turns are taken, stuck rounds end.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        loop {
            self.compose(effects);
            self.serve_turns(effects);
            if !self.round.is_over() {
                return;
            }
            self.end_round();
        }
    }

    /// Fills the round from the head of the list, up to its size or a fill marker.
    fn compose(&mut self, effects: &mut Vec<Effect>) {
        while !self.round.is_full() {
            match self.list.front() {
                None => return,
                Some(Entry::Task(index)) => {
                    let index = *index;
                    self.list.pop_front();
                    self.enlist(index, effects);
                }
                // The marker stays until its tasks have left, which is when a round finds none before it.
                Some(Entry::Fill) if !self.round.primaries.is_empty() => self.round.closed = true,
                Some(Entry::Fill) => {
                    self.list.pop_front();
                    self.adopt_announced();
                    // Since the marker waits for all before it, no owner is left that a larger round would reach.
                    self.size_max = self.config.tasks_max;
                    self.begin_round(Vec::new(), true);
                }
                Some(Entry::Config(config)) => {
                    self.announced = Some(*config);
                    self.list.pop_front();
                }
            }
        }
    }

    /// Makes a task a primary of this round.
    fn enlist(&mut self, index: usize, effects: &mut Vec<Effect>) {
        self.round.primaries.push(index);
        let id = self.id(index);
        let task = &mut self.tasks[index];
        task.primary = true;
        match task.phase {
            Phase::Running => self.round.running += 1,
            Phase::Asks(_) => {}
            Phase::Ends => self.leave(index, effects),
            Phase::Doomed => {
                task.phase = Phase::Running;
                self.round.running += 1;
                self.round.progress = true;
                effects.push(Effect::Deadlocked(id));
            }
            Phase::Queued(_) | Phase::Left => unreachable!("task {id:?} is listed in phase {:?}", task.phase),
        }
    }

    /// Lets those take their turn who may, in order, up to the first one that has not come to its turn.
    fn serve_turns(&mut self, effects: &mut Vec<Effect>) {
        while let Some(place) = self.round.turn() {
            let Some(&index) = self.round.primaries.get(place) else {
                if !self.round.closed {
                    return;
                }
                self.round.forfeit();
                continue;
            };
            match self.tasks[index].phase {
                Phase::Asks(lock) => {
                    self.round.take();
                    if self.locks[lock.0].owner.is_none() {
                        self.grant(index, lock, effects);
                    } else {
                        self.locks[lock.0].queue.push_back(index);
                        self.tasks[index].phase = Phase::Queued(lock);
                        self.round.queued = true;
                    }
                }
                Phase::Left => self.round.forfeit(),
                Phase::Running | Phase::Queued(_) => return,
                Phase::Ends | Phase::Doomed => unreachable!("a primary's end takes effect at once"),
            }
        }
    }

    /// Closes a stuck round and begins the next: queued requests ask again, in a turn of the new round.
    fn end_round(&mut self) {
        for &index in &self.round.primaries {
            if let Phase::Queued(lock) = self.tasks[index].phase {
                self.locks[lock.0].queue.clear();
                self.tasks[index].phase = Phase::Asks(lock);
            }
        }
        let progress = self.round.progress | (self.round.queued && self.doom_cycles());
        let primaries = std::mem::take(&mut self.round.primaries);
        for &index in primaries.iter().rev() {
            self.tasks[index].primary = false;
            if self.tasks[index].phase == Phase::Left {
                self.tasks_free.push(index);
            } else {
                self.list.push_front(Entry::Task(index));
            }
        }
        self.adopt_announced();
        self.begin_round(primaries, progress);
    }

    fn adopt_announced(&mut self) {
        if let Some(config) = self.announced.take() {
            self.config = config;
            self.size_max = self.size_max.max(config.tasks_max);
        }
    }

    /// The next round. `memory` is what held the primaries of the last one.
    fn begin_round(&mut self, memory: Vec<usize>, progress: bool) {
        // After a shrink of N, what an old task waits for may be held by one too young for the round. Growing
        // until something moves reaches every owner, at the latest with all tasks in the round.
        self.growth = if progress { 1 } else { self.growth.saturating_mul(2) };
        let size = self.config.primaries.saturating_mul(self.growth).min(self.size_max);
        self.round.begin(memory, size, self.config.steps);
    }

    /// Ends the youngest task of every cycle of waits that a primary waits for; whether there was one. At the end
    /// of a round all lock owners have stopped at a request that is the same everywhere, so the cycles are too.
    /// A cycle never resolves by itself, hence is found at the latest when its tasks queue in one round.
    fn doom_cycles(&mut self) -> bool {
        let before = self.walks;
        let mut found = false;
        for place in 0..self.round.primaries.len() {
            self.walks += 1;
            let mut at = self.round.primaries[place];
            while self.tasks[at].walk <= before {
                self.tasks[at].walk = self.walks;
                let Some(next) = self.blocker(at) else { break };
                at = next;
            }
            // A task met in an earlier walk leads where that one led; only one met twice in this walk is news.
            if self.tasks[at].walk == self.walks && self.blocker(at).is_some() {
                self.doom_youngest(at);
                found = true;
            }
        }
        found
    }

    /// Dooms the youngest task of the cycle that `first` is on.
    fn doom_youngest(&mut self, first: usize) {
        let (mut at, mut youngest) = (first, first);
        while let Some(next) = self.blocker(at).filter(|next| *next != first) {
            at = next;
            if self.tasks[at].number > self.tasks[youngest].number {
                youngest = at;
            }
        }
        if let Phase::Asks(lock) = std::mem::replace(&mut self.tasks[youngest].phase, Phase::Doomed) {
            self.locks[lock.0].askers -= 1;
        }
    }

    /// Who owns the lock that a task asks for.
    fn blocker(&self, index: usize) -> Option<usize> {
        match self.tasks[index].phase {
            Phase::Asks(lock) => self.locks[lock.0].owner,
            _ => None,
        }
    }

    fn grant(&mut self, index: usize, lock: LockId, effects: &mut Vec<Effect>) {
        let record = &mut self.locks[lock.0];
        record.owner = Some(index);
        record.askers -= 1;
        let task = &mut self.tasks[index];
        task.phase = Phase::Running;
        task.held += 1;
        self.round.running += 1;
        self.round.progress = true;
        effects.push(Effect::Granted(self.id(index)));
    }

    /// Hands a lock over to whoever is next, or frees it.
    fn pass_on(&mut self, lock: LockId, effects: &mut Vec<Effect>) {
        match self.locks[lock.0].queue.pop_front() {
            Some(next) => self.grant(next, lock, effects),
            None => {
                self.locks[lock.0].owner = None;
                self.free_if_idle(lock);
            }
        }
    }

    /// A primary is gone: its remaining turns lapse, and what it still holds is passed on.
    fn leave(&mut self, index: usize, effects: &mut Vec<Effect>) {
        self.tasks[index].phase = Phase::Left;
        self.live -= 1;
        self.round.progress = true;
        if std::mem::take(&mut self.tasks[index].held) > 0 {
            // Only a task that leaks a guard comes here, so a search is cheap enough.
            for lock in (0..self.locks.len()).map(LockId) {
                if self.locks[lock.0].owner == Some(index) {
                    self.pass_on(lock, effects);
                }
            }
        }
        effects.push(Effect::Left(self.id(index)));
    }

    fn free_if_idle(&mut self, lock: LockId) {
        let record = &mut self.locks[lock.0];
        if record.stage == Stage::Retired && record.owner.is_none() && record.askers == 0 {
            record.stage = Stage::Free;
            self.locks_free.push(lock.0);
        }
    }

    fn id(&self, index: usize) -> TaskId {
        TaskId { index, number: self.tasks[index].number }
    }

    /// The record of a task that runs.
    fn running(&self, task: TaskId) -> Result<usize, Misuse> {
        match self.tasks.get(task.index) {
            Some(record) if record.number == task.number && record.phase == Phase::Running => Ok(task.index),
            _ => Err(Misuse::NotRunning),
        }
    }

    fn lock(&self, lock: LockId) -> Result<&Lock, Misuse> {
        match self.locks.get(lock.0) {
            Some(record) if record.stage != Stage::Free => Ok(record),
            _ => Err(Misuse::UnknownLock),
        }
    }
}

/// What a call to [`Core`] leads to, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The task has the lock that it asked for, and runs.
    Granted(TaskId),
    /// The task runs, without the lock: it was the youngest of a cycle of waits, and must end.
    Deadlocked(TaskId),
    /// The task that ended has left; there is room for another.
    Left(TaskId),
}

/// A task, in the core that admitted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    index: usize,
    number: u64,
}

impl TaskId {
    /// Place of the task in the order of admission, from 0.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    /// A small number that no other task shares until this one has left.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index
    }
}

/// A lock, in the core that created it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockId(usize);

/// A call that the state of the task or lock does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misuse {
    /// The task waits, has ended, or is not of this core.
    #[error("the task does not run")]
    NotRunning,
    /// The lock was retired or is not of this core.
    #[error("there is no such lock")]
    UnknownLock,
    /// The task asks for a lock that it holds; locks are not re-entrant.
    #[error("the task already holds this lock")]
    HeldByAsker,
    /// The task gives back what it does not hold.
    #[error("the task does not hold this lock")]
    NotHeld,
}

/// A place in the agreed order.
#[derive(PartialEq, Eq, Debug)]
enum Entry {
    Task(usize),
    Fill,
    Config(Config),
}

#[derive(Debug)]
struct Task {
    number: u64,
    phase: Phase,
    primary: bool,
    /// Locks that it owns.
    held: u32,
    /// The last walk of [`Core::doom_cycles`] that met it.
    walk: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Running,
    /// Wants a turn to request this lock.
    Asks(LockId),
    /// Has spent its turn and waits for the owner.
    Queued(LockId),
    /// Leaves as soon as it is a primary.
    Ends,
    /// Is told of its deadlock as soon as it is a primary.
    Doomed,
    Left,
}

#[derive(Default, Debug)]
struct Lock {
    owner: Option<usize>,
    /// Primaries of this round whose turn came while the lock was owned, in the order of turns.
    queue: VecDeque<usize>,
    /// Tasks that ask or queue for it. More than none after its end only if one leaked its request.
    askers: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Used,
    Retired,
    Free,
}

/// Puts `value` into a free place of `all`, or behind the last.
fn put<T>(all: &mut Vec<T>, free: &mut Vec<usize>, value: T) -> usize {
    match free.pop() {
        Some(index) => {
            all[index] = value;
            index
        }
        None => {
            all.push(value);
            all.len() - 1
        }
    }
}

#[cfg(test)]
mod tests;
