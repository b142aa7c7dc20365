//! What the threads of one scheduler share: the core, the tasks that can be polled, and those that wait.
//!
//! One mutex around all of it. A request, the grants that follow from it and the choice of the next task to poll
//! are one critical section; no code of a task runs inside.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::{BadConfig, Config};
use crate::core::{Core, Denial, Effect, LockId, Misuse, NotSuspended, Op, Resume, Share, TaskId, Then};
use crate::executor::Suspension;
use crate::executor::current::{Kind, Stand};
use crate::executor::gate::{Chores, Gate, Inside};
use crate::executor::returned::Returned;
use crate::task::{Body, Fault, Polled, WokenBy, Work, guarded};

pub(crate) struct Shared(Gate<State>);

struct State {
    core: Core,
    /// By index of the task: those that wait for a grant. As many as there are tasks, waiting ones included.
    parked: Vec<Option<Body>>,
    /// By index of the task: what it gave back. Tasks that follow each other at an index share it.
    returned: Vec<Returned>,
    /// Those that can be polled.
    ready: VecDeque<Body>,
    /// Effects behind one of which a sink is to be told, in their order; empty but for moments.
    outbox: VecDeque<Effect>,
    /// A thread tells sinks; who adds to the outbox leaves it to that one.
    delivers: bool,
    /// Whom to call when a suspension is reached, in the order in which they were admitted.
    suspensions: VecDeque<SuspensionSink>,
    /// Not admitted yet, in their order. At most `backlog_max`.
    backlog: VecDeque<Admission>,
    backlog_max: u32,
    /// Tasks admitted to the backlog so far.
    admitted: u64,
    effects: Vec<Effect>,
}

/// What stands in the agreed order.
pub(crate) enum Admission {
    Task(Kind, Box<dyn Work>),
    Fill,
    Recall,
    Suspend(SuspensionSink),
    Config(Config),
}

pub(crate) type SuspensionSink = Box<dyn FnOnce(Suspension) + Send>;

/// How often a task goes on in one poll: a worker that is to leave looks up in between.
const STREAK_MAX: u32 = 64;

/// Picks what to poll next.
pub(crate) trait Choose {
    /// A task that is granted its request at once goes on without a choice.
    const GOES_ON: bool;

    /// One of `ready` or `own`; what is not picked stays in, or goes into, `ready`.
    fn choose(&mut self, ready: &mut VecDeque<Body>, own: Option<Body>) -> Option<Body>;
}

impl Shared {
    pub(crate) fn new(config: Config) -> Result<Shared, BadConfig> {
        let state = State {
            core: Core::new(config)?,
            parked: Vec::new(),
            returned: Vec::new(),
            ready: VecDeque::new(),
            outbox: VecDeque::new(),
            delivers: false,
            suspensions: VecDeque::new(),
            backlog: VecDeque::new(),
            backlog_max: config.backlog_max,
            admitted: 0,
            effects: Vec::new(),
        };
        Ok(Shared(Gate::new(state)))
    }

    /// Puts an entry at the end of the order; how many tasks were admitted before.
    ///
    /// # Errors
    /// The entry, if the backlog is full.
    pub(crate) fn admit(&self, admission: Admission) -> Result<u64, Admission> {
        let mut state = self.lock();
        if state.backlog.len() >= state.backlog_max as usize {
            return Err(admission);
        }
        let number = state.admitted;
        state.admitted += u64::from(matches!(admission, Admission::Task(..)));
        state.backlog.push_back(admission);
        state.settle(None);
        self.publish(self.deliver(state));
        Ok(number)
    }

    /// See [`Core::resume`].
    pub(crate) fn resume(&self, how: Resume) -> Result<(), NotSuspended> {
        let mut state = self.lock();
        let State { core, effects, .. } = &mut **state;
        core.resume(how, effects)?;
        state.settle(None);
        self.publish(self.deliver(state));
        Ok(())
    }

    /// Looks at the core.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.lock().core)
    }

    /// Creates or retires an object of the core.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Core) -> R) -> R {
        change(&mut self.lock().core)
    }

    /// Polls `body` once, and what follows from it; the task to poll next.
    pub(crate) fn step(self: Arc<Self>, body: Body, choose: &mut impl Choose) -> (Arc<Self>, Option<Body>) {
        let (shared, body, polled) = body.poll(self);
        let next = match polled {
            Polled::Asks(op) => shared.ask(body, op, choose),
            Polled::Over(fault) => {
                shared.end(&body);
                body.report(fault);
                shared.next(choose)
            }
        };
        (shared, next)
    }

    /// A task that can be polled, if there is one.
    pub(crate) fn next(&self, choose: &mut impl Choose) -> Option<Body> {
        let mut state = self.deliver(self.lock());
        let next = choose.choose(&mut state.ready, None);
        self.publish(state);
        next
    }

    /// Puts back what [`Shared::step`] gave.
    pub(crate) fn put_back(&self, body: Body) {
        let mut state = self.lock();
        state.ready.push_back(body);
        self.publish(state);
    }

    /// The running task gives a lock back.
    pub(crate) fn unlock(&self, task: TaskId, lock: LockId, share: Share) {
        let mut state = self.lock();
        let State { core, effects, .. } = &mut **state;
        core.unlock(task, lock, share, effects).expect("a guard that unlocks is its running task's");
        state.settle(None);
        self.publish(state);
    }

    /// The running task adds to its logical clock.
    pub(crate) fn tick(&self, task: TaskId, ticks: u64) {
        let mut state = self.lock();
        let State { core, effects, .. } = &mut **state;
        core.tick(task, ticks, effects).expect("a polled task runs");
        state.settle(None);
        self.publish(state);
    }

    /// See [`Gate::wait`].
    pub(crate) fn wait(&self, leave: impl Fn() -> bool) {
        self.0.wait(leave);
    }

    /// See [`Gate::wake_all`].
    pub(crate) fn wake_all(&self) {
        self.0.wake_all();
    }

    /// Whether a task could be polled a moment ago.
    pub(crate) fn looks_ready(&self) -> bool {
        self.0.looks_busy()
    }

    /// The running task asks for a lock alone. False: it has to ask the long way.
    pub(crate) fn grant_at_once(&self, stand: &Stand, lock: LockId) -> bool {
        let mut state = self.lock();
        state.hear(stand);
        let State { core, effects, .. } = &mut **state;
        let granted = core.acquire_at_once(stand.task, lock, effects);
        state.settle(None);
        self.publish(state);
        granted
    }

    fn ask<C: Choose>(&self, body: Body, op: Op, choose: &mut C) -> Option<Body> {
        let task = body.stand.task;
        let mut state = self.lock();
        state.hear(&body.stand);
        state.park(body);
        let State { core, effects, .. } = &mut **state;
        let asked = core.request(task, op, effects);
        let granted = state.settle(Some(task));
        let own = match asked {
            Ok(()) => granted.map(|mut body| {
                body.stand.streak = if C::GOES_ON { STREAK_MAX } else { 0 };
                body
            }),
            Err(misuse) => {
                let mut body = state.unpark(task);
                body.stand.fail(match misuse {
                    Misuse::HeldByAsker => Fault::Relock,
                    Misuse::TooManyPermits => Fault::TooManyPermits,
                    Misuse::NotHeld => Fault::MutexNotHeld,
                    // It was dropped while the request lived, which takes a request that outlives the borrow.
                    Misuse::UnknownObject => Fault::DroppedRequest,
                    Misuse::NotRunning => unreachable!("a polled task runs"),
                });
                Some(body)
            }
        };
        let mut state = self.deliver(state);
        let next = choose.choose(&mut state.ready, own);
        self.publish(state);
        next
    }

    fn end(&self, body: &Body) {
        let mut state = self.lock();
        state.hear(&body.stand);
        let State { core, effects, .. } = &mut **state;
        core.end(body.stand.task, effects).expect("a polled task runs");
        state.settle(None);
        self.publish(self.deliver(state));
    }

    /// Carries out what is in the outbox, unless another thread is at it. Sinks are called without the mutex, one
    /// after the other, and what comes behind in the outbox waits for them.
    fn deliver<'a>(&'a self, mut state: Inside<'a, State>) -> Inside<'a, State> {
        if state.delivers || state.outbox.is_empty() {
            return state;
        }
        state.delivers = true;
        while let Some(effect) = state.outbox.pop_front() {
            state = match effect {
                Effect::Waits(task) => self.tell(state, task, Body::waits),
                Effect::Woken { task, by, then: Then::Restart } => {
                    let by = by.map_or(WokenBy::Recall, |by| WokenBy::Task(by.number()));
                    self.tell(state, task, |body| {
                        body.stand.restart();
                        body.woken(by);
                    })
                }
                Effect::Suspended => {
                    let sink = state.suspensions.pop_front().expect("each suspension has a sink");
                    let suspension =
                        Suspension { waiting: state.core.recallable(), trace: state.core.trace() };
                    drop(state);
                    // As with other sinks, a panic has been printed and is no matter of the other tasks.
                    let _ = guarded(|| sink(suspension));
                    self.lock()
                }
                effect => {
                    if let Some(body) = state.carry_out(effect) {
                        state.ready.push_back(body);
                    }
                    state
                }
            };
        }
        state.delivers = false;
        state
    }

    /// Lets a sink hear of a parked task.
    fn tell<'a>(
        &'a self,
        mut state: Inside<'a, State>,
        task: TaskId,
        call: impl FnOnce(&mut Body),
    ) -> Inside<'a, State> {
        let mut body = state.unpark(task);
        drop(state);
        call(&mut body);
        state = self.lock();
        state.park(body);
        state
    }

    fn lock(&self) -> Inside<'_, State> {
        self.0.enter()
    }

    /// Lets go of the mutex.
    fn publish(&self, state: Inside<'_, State>) {
        self.0.leave(state);
    }
}

const PARKED: &str = "a task that stopped at a request is parked";

impl State {
    /// Carries out the effects of a call to the core, and admits what there is room for. `own` is returned instead
    /// of made ready if it was granted.
    fn settle(&mut self, own: Option<TaskId>) -> Option<Body> {
        if self.effects.is_empty() && self.backlog.is_empty() {
            return None;
        }
        let mut granted = None;
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            for &effect in &effects {
                if let Effect::Wanted(task) = effect {
                    self.want(task);
                } else if self.is_for_sinks(effect) {
                    self.outbox.push_back(effect);
                } else if let Some(body) = self.carry_out(effect) {
                    if own == Some(body.stand.task) {
                        granted = Some(body);
                    } else {
                        self.ready.push_back(body);
                    }
                }
            }
            if self.effects.is_empty() {
                effects.clear();
                self.effects = effects;
                if !self.admit_next() {
                    return granted;
                }
            }
        }
    }

    /// The core hears of a lock that a task gave back, before anything else from it.
    fn hear(&mut self, stand: &Stand) {
        if let Some(lock) = stand.returned.settle(stand.held == 0) {
            self.unlock(stand.task, lock);
        }
    }

    /// A task holds what others wait for: the core hears at once when it gives it back.
    fn want(&mut self, task: TaskId) {
        if let Some(lock) = self.returned[task.index()].want() {
            self.unlock(task, lock);
        }
    }

    fn unlock(&mut self, task: TaskId, lock: LockId) {
        let State { core, effects, .. } = self;
        core.unlock(task, lock, Share::All, effects).expect("it was its running task's");
    }

    /// Whether an effect has to wait for a sink: it concerns one, or comes behind one that does.
    fn is_for_sinks(&self, effect: Effect) -> bool {
        self.delivers
            || !self.outbox.is_empty()
            || match effect {
                Effect::Waits(task) => self.is_restartable(task),
                Effect::Woken { then, .. } => then == Then::Restart,
                Effect::Suspended => true,
                _ => false,
            }
    }

    fn is_restartable(&self, task: TaskId) -> bool {
        self.parked[task.index()].as_ref().is_some_and(|body| body.stand.kind == Kind::Restartable)
    }

    /// Does what an effect demands without a sink; the task that can be polled now.
    fn carry_out(&mut self, effect: Effect) -> Option<Body> {
        match effect {
            Effect::Granted(task) => Some(self.unpark(task)),
            Effect::Denied(task, denial) => {
                let mut body = self.unpark(task);
                body.stand.fail(match denial {
                    Denial::Deadlock => Fault::Deadlock,
                    Denial::TooManyWaiting => Fault::TooManyWaiting,
                    Denial::TooManySpawned => Fault::TooManySpawned,
                    Denial::OtherMutex => Fault::OtherMutex,
                });
                Some(body)
            }
            Effect::Woken { task, .. } => {
                self.parked[task.index()].as_mut().expect(PARKED).stand.woken = true;
                None
            }
            Effect::Spawned { by, child } => {
                let parent = &mut self.parked[by.index()].as_mut().expect(PARKED).stand;
                let kind = if parent.kind == Kind::Plain { Kind::Plain } else { Kind::Restless };
                let work = parent.child.take().expect("who spawns brings a task");
                self.begin(child, kind, work);
                None
            }
            Effect::Waits(_) | Effect::Wanted(_) | Effect::Left(_) | Effect::Suspended => None,
        }
    }

    /// Admits the first of the backlog, if there is one and room for it.
    fn admit_next(&mut self) -> bool {
        let room = match self.backlog.front() {
            None => false,
            Some(Admission::Task(..)) => self.core.has_room(),
            Some(_) => self.core.has_room_for_marker(),
        };
        let Some(next) = room.then(|| self.backlog.pop_front()).flatten() else { return false };
        match next {
            Admission::Task(kind, work) => {
                let task = self.core.admit(&mut self.effects);
                self.begin(task, kind, work);
            }
            Admission::Fill => self.core.fill(&mut self.effects),
            Admission::Recall => self.core.recall(&mut self.effects),
            Admission::Suspend(sink) => {
                self.suspensions.push_back(sink);
                self.core.suspend(&mut self.effects);
            }
            Admission::Config(config) => {
                let valid = self.core.reconfigure(config, &mut self.effects);
                valid.expect("settings are validated when they are given");
            }
        }
        true
    }

    /// A task that was admitted or spawned.
    fn begin(&mut self, task: TaskId, kind: Kind, work: Box<dyn Work>) {
        let index = task.index();
        if self.returned.len() <= index {
            self.returned.resize_with(index + 1, Returned::new);
        }
        // Its predecessor has told of all that it gave back, but may have left with what others wanted.
        self.returned[index].settle(true);
        let returned = self.returned[index].clone();
        self.park(Body::new(Stand::new(task, kind, returned), work));
    }

    fn park(&mut self, body: Body) {
        let index = body.stand.task.index();
        if self.parked.len() <= index {
            self.parked.resize_with(index + 1, || None);
        }
        self.parked[index] = Some(body);
    }

    fn unpark(&mut self, task: TaskId) -> Body {
        self.parked[task.index()].take().expect(PARKED)
    }
}

impl Chores for State {
    fn count(&self) -> usize {
        self.ready.len() + usize::from(!self.delivers && !self.outbox.is_empty())
    }
}

impl Drop for Shared {
    /// Tasks that never ended are dropped, their sinks uncalled: an end is the same everywhere, and this is not.
    fn drop(&mut self) {
        let Some(state) = self.0.get_mut() else { return };
        let parked = std::mem::take(&mut state.parked);
        let ready = std::mem::take(&mut state.ready);
        parked.into_iter().flatten().chain(ready).for_each(Body::discard);
        for admission in std::mem::take(&mut state.backlog) {
            if let Admission::Task(_, work) = admission {
                let _ = guarded(|| drop(work));
            }
        }
    }
}
