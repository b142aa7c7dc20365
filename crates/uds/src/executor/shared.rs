//! What the threads of one scheduler share: the core, the tasks that can be polled, and those that wait.
//!
//! One mutex around all of it. A request, the grants that follow from it and the choice of the next task to poll
//! are one critical section; no code of a task runs inside.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::config::{BadConfig, Config};
use crate::core::{Core, Effect, LockId, Misuse, TaskId};
use crate::task::{Body, Fault, Polled, Work};

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Tasks in `State::ready`, for idle threads that look before they sleep. A hint; the mutex decides.
    ready: AtomicUsize,
    idle: Condvar,
}

struct State {
    core: Core,
    /// By index of the task: those that wait for a grant. At most `tasks_max`.
    parked: Vec<Option<Body>>,
    /// Those that can be polled. At most `tasks_max`.
    ready: VecDeque<Body>,
    /// Not admitted yet, in their order. At most `backlog_max`.
    backlog: VecDeque<Admission>,
    backlog_max: u32,
    effects: Vec<Effect>,
    /// Threads that sleep in [`Shared::wait`], and how many of them have been woken but do not run yet.
    asleep: usize,
    woken: usize,
}

/// What stands in the agreed order.
pub(crate) enum Admission {
    Task(Box<dyn Work>),
    Fill,
    Config(Config),
}

/// Picks what to poll next.
pub(crate) trait Choose {
    /// One of `ready` or `own`; what is not picked stays in, or goes into, `ready`.
    fn choose(&mut self, ready: &mut VecDeque<Body>, own: Option<Body>) -> Option<Body>;
}

impl Shared {
    pub(crate) fn new(config: Config) -> Result<Shared, BadConfig> {
        let state = State {
            core: Core::new(config)?,
            parked: Vec::new(),
            ready: VecDeque::new(),
            backlog: VecDeque::new(),
            backlog_max: config.backlog_max,
            effects: Vec::new(),
            asleep: 0,
            woken: 0,
        };
        Ok(Shared { state: Mutex::new(state), ready: AtomicUsize::new(0), idle: Condvar::new() })
    }

    /// Puts an entry at the end of the order.
    ///
    /// # Errors
    /// The entry, if the backlog is full.
    pub(crate) fn admit(&self, admission: Admission) -> Result<(), Admission> {
        let mut state = self.lock();
        if state.backlog.len() >= state.backlog_max as usize {
            return Err(admission);
        }
        state.backlog.push_back(admission);
        state.settle(None);
        self.publish(state);
        Ok(())
    }

    /// See [`Core::is_starving`].
    pub(crate) fn is_starving(&self) -> bool {
        self.lock().core.is_starving()
    }

    /// Polls `body` once, and what follows from it; the task to poll next.
    pub(crate) fn step(
        self: Arc<Self>,
        mut body: Body,
        choose: &mut impl Choose,
    ) -> (Arc<Self>, Option<Body>) {
        let (shared, polled) = body.poll(self);
        let next = match polled {
            Polled::Asks(lock) => shared.ask(body, lock, choose),
            Polled::Over(fault) => {
                shared.end(body.task);
                body.report(fault);
                shared.next(choose)
            }
        };
        (shared, next)
    }

    /// A task that can be polled, if there is one.
    pub(crate) fn next(&self, choose: &mut impl Choose) -> Option<Body> {
        let mut state = self.lock();
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

    /// A new lock of the core.
    pub(crate) fn create_lock(&self) -> LockId {
        self.lock().core.create_lock()
    }

    /// The end of a lock of the core.
    pub(crate) fn retire_lock(&self, lock: LockId) {
        self.lock().core.retire_lock(lock);
    }

    /// The running task gives a lock back.
    pub(crate) fn unlock(&self, task: TaskId, lock: LockId) {
        let mut state = self.lock();
        let State { core, effects, .. } = &mut *state;
        core.unlock(task, lock, effects).expect("a guard that unlocks is its running task's");
        state.settle(None);
        self.publish(state);
    }

    /// Waits until a task can be polled or `leave` holds; a thread calls it after it found nothing.
    pub(crate) fn wait(&self, leave: impl Fn() -> bool) {
        let mut state = self.lock();
        while state.ready.is_empty() && !leave() {
            state.asleep += 1;
            state = self.idle.wait(state).expect(UNBROKEN);
            state.asleep -= 1;
            state.woken = state.woken.saturating_sub(1);
        }
        if leave() {
            // The call may have been for a task rather than for leaving: pass it on.
            self.publish(state);
        }
    }

    /// Makes sleepers look at their reason to leave.
    pub(crate) fn wake_all(&self) {
        // Under the mutex, so that nobody is between its look and its sleep.
        let mut state = self.lock();
        state.woken = state.asleep;
        self.idle.notify_all();
    }

    /// Whether a task could be polled a moment ago.
    pub(crate) fn looks_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) > 0
    }

    fn ask(&self, body: Body, lock: LockId, choose: &mut impl Choose) -> Option<Body> {
        let task = body.task;
        let mut state = self.lock();
        state.park(body);
        let State { core, effects, .. } = &mut *state;
        let asked = core.request(task, lock, effects);
        let own = match asked {
            Ok(()) => state.settle(Some(task)),
            Err(misuse) => {
                let mut body = state.unpark(task);
                body.stand.fail(match misuse {
                    Misuse::HeldByAsker => Fault::Relock,
                    // Its lock was dropped while the request lived, which takes a request that outlives the borrow.
                    Misuse::UnknownLock => Fault::DroppedRequest,
                    Misuse::NotRunning | Misuse::NotHeld => unreachable!("a polled task runs: {misuse}"),
                });
                Some(body)
            }
        };
        let next = choose.choose(&mut state.ready, own);
        self.publish(state);
        next
    }

    fn end(&self, task: TaskId) {
        let mut state = self.lock();
        let State { core, effects, .. } = &mut *state;
        core.end(task, effects).expect("a polled task runs");
        state.settle(None);
        self.publish(state);
    }

    /// Lets go of the mutex and wakes as many sleepers as there is work.
    fn publish(&self, mut state: MutexGuard<'_, State>) {
        let ready = state.ready.len();
        let wake = ready.min(state.asleep).saturating_sub(state.woken);
        state.woken += wake;
        self.ready.store(ready, Ordering::Relaxed);
        drop(state);
        (0..wake).for_each(|_| self.idle.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNBROKEN)
    }
}

const UNBROKEN: &str = "nothing that can panic runs under the scheduler's mutex";

impl State {
    /// Carries out the effects of a call to the core, and admits what there is room for. `own` is returned instead
    /// of made ready if it was granted.
    fn settle(&mut self, own: Option<TaskId>) -> Option<Body> {
        let mut granted = None;
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                let (task, fault) = match effect {
                    Effect::Granted(task) => (task, None),
                    Effect::Deadlocked(task) => (task, Some(Fault::Deadlock)),
                    Effect::Left(_) => continue,
                };
                let mut body = self.unpark(task);
                if let Some(fault) = fault {
                    body.stand.fail(fault);
                }
                if own == Some(task) {
                    granted = Some(body);
                } else {
                    self.ready.push_back(body);
                }
            }
            self.effects = effects;
            if !self.core.has_room() {
                return granted;
            }
            match self.backlog.pop_front() {
                None => return granted,
                Some(Admission::Task(work)) => {
                    let task = self.core.admit(&mut self.effects);
                    self.ready.push_back(Body::new(task, work));
                }
                Some(Admission::Fill) => self.core.fill(&mut self.effects),
                Some(Admission::Config(config)) => {
                    let valid = self.core.reconfigure(config, &mut self.effects);
                    valid.expect("settings are validated when they are given");
                }
            }
        }
    }

    fn park(&mut self, body: Body) {
        let index = body.task.index();
        if self.parked.len() <= index {
            self.parked.resize_with(index + 1, || None);
        }
        self.parked[index] = Some(body);
    }

    fn unpark(&mut self, task: TaskId) -> Body {
        self.parked[task.index()].take().expect("a task that stopped at a request is parked")
    }
}

impl Drop for Shared {
    /// Tasks that never ended are dropped, their sinks uncalled: an end is the same everywhere, and this is not.
    fn drop(&mut self) {
        let Ok(state) = self.state.get_mut() else { return };
        let parked = std::mem::take(&mut state.parked);
        let ready = std::mem::take(&mut state.ready);
        parked.into_iter().flatten().chain(ready).for_each(Body::discard);
        for admission in std::mem::take(&mut state.backlog) {
            if let Admission::Task(work) = admission {
                let _ = crate::task::guarded(|| drop(work));
            }
        }
    }
}
