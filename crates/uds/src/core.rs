//! The scheduler as a pure value: tasks ask, unlock and end; grants come out.
//!
//! Source: UDS (SRDS 2016). We differ in: a retry after a round needs a new turn; a round without progress grows
//! the next one; a primary that is blocked when nobody runs gives up its turns; markers, ordered like tasks, let
//! the tasks before them go on without newcomers; a cycle of waits ends its youngest task; conditions, semaphores,
//! barriers and spawned tasks are new.
//!
//! ```text
//!   list (agreed order)   t1 t2 t3 t4 F t5 ...        t = task, F = fill marker
//!   round, N=3, S=2       primaries t1 t2 t3          turns t1 t2 t3 t1 t2 t3 (round robin)
//!   a turn                one request: granted, or queued behind the owner, or the beginning of a wait
//!   the round ends        when it is full and no primary runs; unused turns lapse, queued requests ask again
//!   behind a task         its children and the tasks that it wakes, from the next round on
//! ```
//!
//! Why grants do not depend on timing: (1) a round's primaries are the first of the list that have not left, a
//! function of the list and of earlier rounds; (2) requests reach a lock in the order of turns, and an unlock
//! hands over in that order, so whether it comes before or after the next request decides nothing; (3) the end of
//! a round is the one stuck state of a confluent system; (4) a running task that holds a lock is a primary, since
//! rounds end only when no primary runs; (5) whatever else can be seen by others (a wait, a notification, a
//! spawn) is done in a turn. Tasks that never took a turn may run ahead of their round: they have touched nothing
//! that is shared.

mod at_once;
mod deadlock;
mod list;
mod lock;
mod mutant;
mod objects;
mod round;
mod schedule;
mod trace;
mod turns;
mod wait;

use crate::config::{BadConfig, Config, Order, Start};
use list::{Entry, List, Marker, Node};
use lock::{Hold, Lock};
use mutant::Mutant;
use objects::Objects;
use round::Round;
use trace::{Chain, Trace};
use turns::Turn;
use wait::{Barrier, Condition};

/// The state of one scheduler: the list of tasks, the objects that they share, and the round that is going on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Core {
    config: Config,
    /// Settings that a marker has announced for the next round.
    announced: Option<Config>,
    /// The next round wants this many times `config.primaries`; more than 1 only after rounds without progress.
    growth: u32,
    /// `tasks_max`, or the largest that tasks of today may have been admitted under; no round is larger.
    size_max: u32,
    /// `tasks_max` of the last settings in the list, by which those behind them are admitted.
    room: u32,
    list: List,
    tasks: Vec<Task>,
    tasks_free: Vec<usize>,
    locks: Objects<Lock>,
    conditions: Objects<Condition>,
    barriers: Objects<Barrier>,
    round: Round,
    /// A suspension was reached, and nobody has resumed.
    suspended: bool,
    counts: Counts,
    trace: Trace,
    /// Walks through the graph of waits so far.
    walks: u64,
    #[cfg(test)]
    mutant: Option<Mutant>,
}

/// How many there are, or have been, of whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Counts {
    /// Tasks that have neither left nor wait.
    live: u32,
    /// Admitted tasks that have neither left nor ever waited. (Counting those that were woken would make it a
    /// matter of luck whether the last task for which there was room comes in before them.)
    counted: u32,
    /// Tasks on conditions and at barriers.
    waiting: u32,
    /// Blocked tasks without a place in the list.
    displaced: u32,
    /// Spawned tasks that have not left.
    spawned: u32,
    /// The same at the end of the last round, and those spawned since: equal on all replicas.
    spawned_bound: u32,
    /// Tasks admitted so far; the next one's number.
    admitted: u64,
    /// Tasks that have become primaries; the next one's rank.
    ranked: u64,
    /// Tasks with a rank among the live ones: all that can hold something.
    ranked_live: u32,
    /// Waits begun so far.
    waits: u64,
    /// Tasks of either kind; tells users of one record apart.
    created: u64,
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
            room: config.tasks_max,
            list: List::new(),
            tasks: Vec::new(),
            tasks_free: Vec::new(),
            locks: Objects::new(),
            conditions: Objects::new(),
            barriers: Objects::new(),
            round: Round::new(config.primaries, config.order),
            suspended: false,
            counts: Counts::default(),
            trace: Trace::default(),
            walks: 0,
            #[cfg(test)]
            mutant: None,
        })
    }

    /// Whether another task may be admitted: of those admitted, fewer than `tasks_max` live and have never waited,
    /// or the round still wants some. When it is admitted has no influence on any order.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let wanted = !self.round.is_full() && self.round.admits;
        wanted || self.counts.counted < self.room
    }

    /// Whether another marker may be admitted: they do not pile up.
    #[must_use]
    pub fn has_room_for_marker(&self) -> bool {
        self.list.len() <= 4 * (self.size_max as usize).max(self.counts.live as usize)
    }

    /// Whether tasks live and none can go on until another is admitted or a fill marker comes.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        self.counts.live > 0 && self.round.running == 0 && !self.suspended && !self.round.is_full()
    }

    /// Tasks that have neither left nor wait on a condition or at a barrier.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.counts.live
    }

    /// Tasks that wait on a condition or at a barrier.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.counts.waiting
    }

    /// A digest of all grants since the beginning or the last recall. Equal on replicas that have come to the same
    /// place of the order and have nothing left to do before it. It tells which task's which turn was granted at
    /// one object after which other; not what was written. It is quick and not cryptographic: it finds accidents,
    /// not forgers.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.digest()
    }

    /// The next task. It runs when [`Effect::Granted`] says so; whoever asks [`Core::has_room`] before keeps the
    /// limit.
    pub fn admit(&mut self, effects: &mut Vec<Effect>) -> TaskId {
        let number = self.counts.admitted;
        self.counts.admitted += 1;
        let index = self.create_task(number, None);
        self.tasks[index].node = Some(self.list.push_back(Entry::Task(index)));
        self.start(index, effects);
        self.advance(effects);
        self.id(index)
    }

    /// A fill marker at the end of the list: until all tasks before it have left or wait, they have rounds of their
    /// own and wait for no newcomer. Tasks after it compute, but take no turn before that, and then find the core
    /// as if it were new but for the tasks that wait: with the settings last announced, and nothing that came
    /// before has an influence. If the tasks before it can only go on with the help of those after it, they do.
    pub fn fill(&mut self, effects: &mut Vec<Effect>) {
        self.mark(Marker::Fill, effects);
    }

    /// A marker like [`Core::fill`], which then wakes all waiting tasks that restart, in the order in which they
    /// began to wait. If no others wait, the core is as new from there on.
    pub fn recall(&mut self, effects: &mut Vec<Effect>) {
        self.mark(Marker::Recall, effects);
    }

    /// A marker like [`Core::fill`], at which everything stops: [`Effect::Suspended`]. Tasks before it that could
    /// only be helped by those after it end with [`Denial::Deadlock`]. Nobody takes a turn until [`Core::resume`].
    pub fn suspend(&mut self, effects: &mut Vec<Effect>) {
        self.mark(Marker::Suspend, effects);
    }

    /// Goes on after a suspension.
    ///
    /// # Errors
    /// [`NotSuspended`]; nothing changes then.
    pub fn resume(&mut self, how: Resume, effects: &mut Vec<Effect>) -> Result<(), NotSuspended> {
        if !std::mem::take(&mut self.suspended) {
            return Err(NotSuspended);
        }
        if how == Resume::Recall {
            self.recall_all(effects);
        }
        self.renew();
        self.advance(effects);
        Ok(())
    }

    /// New settings at the end of the list; they hold from the round after the one that reaches this place.
    ///
    /// # Errors
    /// The setting that is out of range; nothing changes then.
    pub fn reconfigure(&mut self, config: Config, effects: &mut Vec<Effect>) -> Result<(), BadConfig> {
        config.validate()?;
        self.room = config.tasks_max;
        // Of two neighbours the later one holds, whenever they come.
        match self.list.last() {
            Entry::Config(last) => *last = config,
            _ => drop(self.list.push_back(Entry::Config(config))),
        }
        self.advance(effects);
        Ok(())
    }

    /// A running task asks for a turn and stops; [`Effect::Granted`] lets it go on, perhaps among these effects.
    ///
    /// # Errors
    /// What is wrong with the request; the task still runs then.
    pub fn request(&mut self, task: TaskId, op: Op, effects: &mut Vec<Effect>) -> Result<(), Misuse> {
        let index = self.running(task)?;
        self.check(index, op)?;
        self.begin_use(op);
        self.tasks[index].phase = Phase::Asks(op);
        let Some(place) = self.tasks[index].place else { return Ok(()) };
        self.round.running -= 1;
        if self.is(Mutant::ActsWithoutTurn) {
            self.perform(index, op, effects);
        } else if self.round.running == 0 || self.round.turn() == Turn::Of(place) {
            self.advance(effects);
        }
        // Otherwise whoever has the turn still runs or is to come.
        Ok(())
    }

    /// A running task gives back what it acquired as this share of a lock or semaphore; whoever waits for it longest has it next.
    ///
    /// # Errors
    /// The task does not run or does not hold the lock; nothing changes then.
    pub fn unlock(
        &mut self,
        task: TaskId,
        lock: LockId,
        share: Share,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Misuse> {
        let index = self.running(task)?;
        self.find_lock(lock)?;
        if !self.release(index, lock, share, effects) {
            return Err(Misuse::NotHeld);
        }
        Ok(())
    }

    /// A running task adds to its logical clock. Matters with [`Order::Clocks`] only.
    ///
    /// # Errors
    /// The task does not run.
    pub fn tick(&mut self, task: TaskId, ticks: u64, effects: &mut Vec<Effect>) -> Result<(), Misuse> {
        let index = self.running(task)?;
        let task = &mut self.tasks[index];
        let from = task.clock;
        // Far below the end of the range, so that turns can add to it.
        let ticks = ticks.min(1 << 40);
        if task.place.is_none() {
            // Counted from where its next round begins, since when that begins is luck.
            task.ahead = task.ahead.saturating_add(ticks).min(1 << 60);
        }
        if let Some(place) = task.place {
            task.clock = from.saturating_add(ticks).min(1 << 60);
            self.round.turns.tick(place, from, task.clock);
            self.advance(effects);
        }
        Ok(())
    }

    /// A running task ends. It leaves, with what it still holds, once it is a primary: [`Effect::Left`].
    ///
    /// # Errors
    /// The task does not run.
    pub fn end(&mut self, task: TaskId, effects: &mut Vec<Effect>) -> Result<(), Misuse> {
        let index = self.running(task)?;
        self.tasks[index].phase = Phase::Ends;
        if self.tasks[index].place.is_some() {
            self.round.running -= 1;
            self.leave(index, effects);
            self.advance(effects);
        }
        Ok(())
    }

    /// A new lock, free, for one owner or many readers. Its id has no influence on any order. Their number is
    /// bounded by what the caller keeps: each stands for an object of the caller's that is at least as large. The
    /// same holds for what else is created here.
    pub fn create_lock(&mut self) -> LockId {
        LockId(self.locks.create(Lock::new(u32::MAX, false)))
    }

    /// A new semaphore with this many permits, which are asked for and given back as locks are.
    pub fn create_semaphore(&mut self, permits: u32) -> LockId {
        LockId(self.locks.create(Lock::new(permits, true)))
    }

    /// A new condition, nobody waiting.
    pub fn create_condition(&mut self) -> ConditionId {
        ConditionId(self.conditions.create(Condition::default()))
    }

    /// A new barrier for this many tasks; 0 acts as 1.
    pub fn create_barrier(&mut self, parties: u32) -> BarrierId {
        BarrierId(self.barriers.create(Barrier::new(parties)))
    }

    /// Nobody will ask for `lock` any more; its record goes when it is free.
    pub fn retire_lock(&mut self, lock: LockId) {
        self.locks.retire(lock.0);
    }

    /// Nobody will come to `condition` any more. Who waits there waits for a recall.
    pub fn retire_condition(&mut self, condition: ConditionId) {
        self.conditions.retire(condition.0);
    }

    /// Nobody will come to `barrier` any more.
    pub fn retire_barrier(&mut self, barrier: BarrierId) {
        self.barriers.retire(barrier.0);
    }

    /// Numbers of the waiting tasks that a recall restarts, in the order in which they began to wait.
    #[must_use]
    pub fn recallable(&self) -> Vec<u64> {
        self.waiting_restarters().into_iter().map(|index| self.tasks[index].number).collect()
    }

    fn mark(&mut self, marker: Marker, effects: &mut Vec<Effect>) {
        self.list.push_back(Entry::Marker(marker));
        self.advance(effects);
    }

    fn create_task(&mut self, number: u64, parent: Option<usize>) -> usize {
        let serial = self.counts.created;
        self.counts.created += 1;
        self.counts.live += 1;
        self.counts.counted += u32::from(parent.is_none());
        let task = Task {
            number,
            serial,
            rank: None,
            step: 0,
            phase: Phase::Resumes,
            place: None,
            node: None,
            clock: 0,
            ahead: 0,
            held: Vec::new(),
            behind: None,
            wait: 0,
            waits_on: None,
            spawned: parent.is_some(),
            counted: parent.is_none(),
            walk: 0,
        };
        match self.tasks_free.pop() {
            Some(index) => {
                let held = std::mem::take(&mut self.tasks[index].held);
                self.tasks[index] = Task { held, ..task };
                index
            }
            None => {
                self.tasks.push(task);
                self.tasks.len() - 1
            }
        }
    }

    /// Lets a task that has touched nothing compute, now or when it is a primary.
    fn start(&mut self, index: usize, effects: &mut Vec<Effect>) {
        if self.config.start == Start::AtOnce {
            self.tasks[index].phase = Phase::Running;
            effects.push(Effect::Granted(self.id(index)));
        } else {
            self.tasks[index].phase = Phase::Resumes;
        }
    }

    fn check(&self, index: usize, op: Op) -> Result<(), Misuse> {
        let unknown = Misuse::UnknownObject;
        match op {
            Op::Acquire { lock, share } => self.check_acquire(index, lock, share),
            Op::Wait { condition, lock, .. } => {
                self.conditions.find(condition.0).ok_or(unknown)?;
                let owned = self.find_lock(lock)?.owner == Some(index);
                if owned { Ok(()) } else { Err(Misuse::NotHeld) }
            }
            Op::NotifyOne(condition) | Op::NotifyAll(condition) => {
                self.conditions.find(condition.0).map(|_| ()).ok_or(unknown)
            }
            Op::Arrive(barrier) => self.barriers.find(barrier.0).map(|_| ()).ok_or(unknown),
            Op::Yield | Op::Spawn => Ok(()),
        }
    }

    fn begin_use(&mut self, op: Op) {
        match op {
            Op::Acquire { lock, .. } => self.locks.begin_use(lock.0),
            Op::Wait { condition: at, .. } | Op::NotifyOne(at) | Op::NotifyAll(at) => {
                self.conditions.begin_use(at.0);
            }
            Op::Arrive(barrier) => self.barriers.begin_use(barrier.0),
            Op::Yield | Op::Spawn => {}
        }
    }

    fn end_use(&mut self, op: Op) {
        match op {
            Op::Acquire { lock, .. } => self.locks.end_use(lock.0),
            Op::Wait { condition: at, .. } | Op::NotifyOne(at) | Op::NotifyAll(at) => {
                self.conditions.end_use(at.0);
            }
            Op::Arrive(barrier) => self.barriers.end_use(barrier.0),
            Op::Yield | Op::Spawn => {}
        }
    }

    fn id(&self, index: usize) -> TaskId {
        TaskId { index, serial: self.tasks[index].serial, number: self.tasks[index].number }
    }

    /// The record of a task that runs.
    fn running(&self, task: TaskId) -> Result<usize, Misuse> {
        match self.tasks.get(task.index) {
            Some(record) if record.serial == task.serial && matches!(record.phase, Phase::Running) => {
                Ok(task.index)
            }
            _ => Err(Misuse::NotRunning),
        }
    }

    fn find_lock(&self, lock: LockId) -> Result<&Lock, Misuse> {
        self.locks.find(lock.0).ok_or(Misuse::UnknownObject)
    }
}

/// What a task asks for; each takes a turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A lock or permits of a semaphore.
    Acquire {
        /// Which.
        lock: LockId,
        /// How much of it.
        share: Share,
    },
    /// To give a mutex back and wait until another task notifies; then to have the mutex again.
    Wait {
        /// Where to wait.
        condition: ConditionId,
        /// The mutex, which the task holds.
        lock: LockId,
        /// What follows the wait.
        then: Then,
    },
    /// To wake who has waited longest, if anybody waits.
    NotifyOne(ConditionId),
    /// To wake all who wait.
    NotifyAll(ConditionId),
    /// To wait at a barrier until all have come.
    Arrive(BarrierId),
    /// To let others have their turns.
    Yield,
    /// A new task: [`Effect::Spawned`].
    Spawn,
}

/// How much of a lock or semaphore.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Share {
    /// Alone.
    All,
    /// So many permits, 1 for a reader.
    Part(u32),
}

/// What a task does when it is woken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Then {
    /// It asks for the mutex again, by a turn of its own, and goes on.
    Relock,
    /// It begins from the top; it holds nothing while it waits.
    Restart,
}

/// How to go on after a suspension.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Resume {
    /// As after a fill marker.
    GoOn,
    /// As after a recall.
    Recall,
}

/// What a call to [`Core`] leads to, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The task runs: its request was granted, or it was admitted, spawned or woken and may begin.
    Granted(TaskId),
    /// The task runs, without what it asked for, and must end.
    Denied(TaskId, Denial),
    /// The task waits on a condition or at a barrier.
    Waits(TaskId),
    /// The task waits no longer. It does not run before [`Effect::Granted`].
    Woken {
        /// Who waited.
        task: TaskId,
        /// Who notified or came to the barrier last; nobody at a recall.
        by: Option<TaskId>,
        /// What it does now.
        then: Then,
    },
    /// A new task. It runs when [`Effect::Granted`] says so.
    Spawned {
        /// Its creator.
        by: TaskId,
        /// The new task.
        child: TaskId,
    },
    /// Others wait for a lock that this task holds alone: it should tell of the unlock soon.
    Wanted(TaskId),
    /// The task that ended has left; there is room for another.
    Left(TaskId),
    /// A suspension was reached.
    Suspended,
}

/// Why a request failed in its turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Denial {
    /// The task was the youngest of a cycle of waits, or before a suspension waited for what only tasks after it
    /// could give.
    Deadlock,
    /// `waiting_max` tasks wait already.
    TooManyWaiting,
    /// `spawned_max` spawned tasks live already.
    TooManySpawned,
    /// Others wait on the condition with another mutex.
    OtherMutex,
}

/// A task, in the core that admitted it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TaskId {
    index: usize,
    serial: u64,
    number: u64,
}

impl TaskId {
    /// Place in the order of admission, from 0, of the task or, if it was spawned, of the admitted task that it
    /// descends from.
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

/// A lock or semaphore, in the core that created it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LockId(usize);

impl LockId {
    /// Its place in the table of the core that created it.
    pub(crate) const fn place(self) -> usize {
        self.0
    }

    /// The lock with this [`LockId::place`].
    pub(crate) const fn at(place: usize) -> LockId {
        LockId(place)
    }
}

/// A condition, in the core that created it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConditionId(usize);

/// A barrier, in the core that created it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BarrierId(usize);

/// A call that the state of the task or object does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misuse {
    /// The task waits, has ended, or is not of this core.
    #[error("the task does not run")]
    NotRunning,
    /// The lock, condition or barrier was retired or is not of this core.
    #[error("there is no such object")]
    UnknownObject,
    /// The task asks for a lock that it holds; locks are not re-entrant.
    #[error("the task already holds this lock")]
    HeldByAsker,
    /// The task gives back, or waits with, what it does not hold.
    #[error("the task does not hold this lock")]
    NotHeld,
    /// The semaphore will never have so many permits.
    #[error("the semaphore has fewer permits than were asked for")]
    TooManyPermits,
}

/// Nothing is suspended that could be resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the scheduler is not suspended")]
pub struct NotSuspended;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Task {
    number: u64,
    serial: u64,
    /// How many were primaries before it first was: its identity in the trace, and its age.
    rank: Option<u64>,
    /// Turns taken.
    step: u64,
    phase: Phase,
    /// Place among this round's primaries.
    place: Option<usize>,
    /// Place in the list.
    node: Option<Node>,
    clock: u64,
    /// What it has worked outside of rounds since its clock was last set.
    ahead: u64,
    /// What it holds, in the order of grants.
    held: Vec<Hold>,
    /// The last task that queued before it to have the lock alone.
    behind: Option<usize>,
    /// Which wait it is in.
    wait: u64,
    /// The condition that it waits on.
    waits_on: Option<ConditionId>,
    spawned: bool,
    /// Counts against `tasks_max`.
    counted: bool,
    /// The last walk of [`Core::doom_cycles`] that met it.
    walk: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Running,
    /// Wants a turn for this.
    Asks(Op),
    /// Has spent its turn and waits for the owner.
    Queued(LockId, Share),
    /// Waits on a condition or at a barrier, outside of the list.
    Waits(Then),
    /// Runs as soon as it is a primary.
    Resumes,
    /// Leaves as soon as it is a primary.
    Ends,
    /// Is told of its fault as soon as it is a primary.
    Denied(Denial),
    Left,
}

#[cfg(test)]
mod tests;
