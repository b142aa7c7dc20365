//! Which task this thread polls, and what that task has asked for.
//!
//! A request reaches the core only when the poll in which it was made is over. So what a task may not do (a second
//! request, a dropped one) is seen before the core knows of it, and looks the same on every replica, however soon
//! the lock would have been granted.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::core::{LockId, Op, Share, TaskId, Then};
use crate::executor::returned::Returned;
use crate::executor::shared::Shared;
use crate::task::{Fault, Panicked, Polled, Work};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The waker with which tasks are polled. Wakes nobody, as the core says who goes on. Known by its address, since
/// its table of functions may be there several times.
pub(crate) static WAKER: &Waker = Waker::noop();

/// The task that this thread polls.
pub(crate) struct Current {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stand: Box<Stand>,
}

impl Current {
    /// The task stopped at a request: whether it was granted at once, so that the task can be polled again.
    #[inline]
    fn goes_on(&mut self) -> bool {
        let Some(lock) = self.stand.wants_lock().filter(|_| self.stand.streak > 0) else { return false };
        if self.shared.grant_at_once(&self.stand, lock) {
            self.stand.streak -= 1;
            self.stand.grant();
            true
        } else {
            self.stand.streak = 0;
            false
        }
    }

    /// The task gives back what it has of a lock.
    #[inline]
    pub(crate) fn hand_back(&mut self, lock: LockId, share: Share) {
        self.stand.held -= 1;
        if share != Share::All || !self.stand.returned.leave(lock) {
            self.shared.unlock(self.stand.task, lock, share);
        }
    }
}

/// What a task has asked for and done, kept between its polls.
pub(crate) struct Stand {
    pub(crate) task: TaskId,
    /// What it runs; absent while it is polled.
    pub(crate) work: Option<Box<dyn Work>>,
    /// What it has given back.
    pub(crate) returned: Returned,
    /// Requests made so far; names the next one.
    requests: u64,
    /// The outstanding request.
    asked: Option<Asked>,
    /// The request that was granted and whose future has not seen it yet.
    granted: Option<u64>,
    /// The first thing that went wrong.
    fault: Option<Fault>,
    /// It was woken by another task since its last request.
    pub(crate) woken: bool,
    /// The task that it wants to spawn.
    pub(crate) child: Option<Box<dyn Work>>,
    /// Guards and permits that it has.
    pub(crate) held: u32,
    /// It had write access to the value of a lock, or spawned a task.
    pub(crate) wrote: bool,
    pub(crate) kind: Kind,
    /// Its future is dropped in order to be made anew.
    restarting: bool,
    /// How often it may yet go on in this poll. Above 0 only when trying is worth while.
    pub(crate) streak: u32,
}

/// What a task may do when it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Waits like a thread.
    Plain,
    /// Waits only before it has had an effect, and begins from the top.
    Restartable,
    /// Was spawned by one that restarts; may not wait.
    Restless,
}

struct Asked {
    op: Op,
    request: u64,
    /// Set if a future of the task's own stands between: who has to be woken to have the request polled.
    waker: Option<Waker>,
}

impl Stand {
    /// The stand of a new task.
    pub(crate) fn new(task: TaskId, kind: Kind, returned: Returned) -> Stand {
        Stand {
            task,
            work: None,
            returned,
            requests: 0,
            asked: None,
            granted: None,
            fault: None,
            woken: false,
            child: None,
            held: 0,
            wrote: false,
            kind,
            restarting: false,
            streak: 0,
        }
    }

    /// The lock that it asks for alone, if it stopped there and is at no fault.
    #[inline]
    fn wants_lock(&self) -> Option<LockId> {
        match &self.asked {
            Some(Asked { op: Op::Acquire { lock, share: Share::All }, waker: None, .. })
                if self.fault.is_none() && self.granted.is_none() =>
            {
                Some(*lock)
            }
            _ => None,
        }
    }

    /// The outstanding request has been granted. Who is to be woken.
    #[inline]
    fn grant(&mut self) -> Option<Waker> {
        let Asked { op, request, waker } = self.asked.take()?;
        self.granted = Some(request);
        self.held += u32::from(matches!(op, Op::Acquire { .. }));
        waker
    }

    /// A new request of the running task, by its number. `None`: the task may not go on.
    #[inline]
    pub(crate) fn ask(&mut self, op: Op, waker: &Waker) -> Option<u64> {
        if self.asked.is_some() || self.granted.is_some() {
            self.fail(Fault::SecondRequest);
        }
        if self.fault.is_some() {
            return None;
        }
        self.requests += 1;
        self.woken = false;
        let waker = (!std::ptr::eq(waker, WAKER)).then(|| waker.clone());
        self.asked = Some(Asked { op, request: self.requests, waker });
        Some(self.requests)
    }

    /// Whether `request` has been granted; true once.
    #[inline]
    pub(crate) fn take_granted(&mut self, request: u64) -> bool {
        self.fault.is_none() && self.granted.take_if(|granted| *granted == request).is_some()
    }

    /// A request was dropped before its future saw that it was granted.
    pub(crate) fn give_up(&mut self) {
        if !self.restarting {
            self.fail(Fault::DroppedRequest);
        }
    }

    /// Ends the task when its poll returns, for the first reason given.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Whether the task may wait now, and how.
    fn wait(&self) -> Result<Then, Fault> {
        match self.kind {
            Kind::Plain => Ok(Then::Relock),
            Kind::Restartable if !self.wrote && self.held == 1 => Ok(Then::Restart),
            Kind::Restartable | Kind::Restless => Err(Fault::WaitAfterWrite),
        }
    }

    /// Begins a poll: the outstanding request, if any, has been granted. Who is to be woken.
    ///
    /// # Errors
    /// The fault for which the task may not be polled.
    pub(crate) fn resume(&mut self) -> Result<Option<Waker>, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        Ok(self.grant())
    }

    /// Ends a poll that gave `result`.
    pub(crate) fn verdict(&mut self, result: Result<Poll<()>, Panicked>) -> Polled {
        let outstanding = self.asked.as_ref().map(|asked| asked.op);
        let leaked = outstanding.is_some() || self.granted.is_some();
        let over = match (result, self.fault) {
            // First, because unwinding also drops requests.
            (Err(Panicked), _) => Some(Fault::Panicked),
            (Ok(_), Some(fault)) => Some(fault),
            (Ok(Poll::Ready(())), None) => leaked.then_some(Fault::DroppedRequest),
            (Ok(Poll::Pending), None) => match outstanding {
                Some(op) => match admissible(self, op) {
                    Ok(op) => return Polled::Asks(op),
                    Err(fault) => Some(fault),
                },
                None => Some(Fault::ForeignAwait),
            },
        };
        // Whatever its destructors still ask for goes nowhere.
        self.fault = Some(over.unwrap_or(Fault::DroppedRequest));
        Polled::Over(over)
    }

    /// Back to the beginning. Requests keep counting, so that none of an earlier run is taken for a new one.
    pub(crate) fn restart(&mut self) {
        let fresh = Stand::new(self.task, self.kind, self.returned.clone());
        *self = Stand { requests: self.requests, work: self.work.take(), ..fresh };
    }
}

/// Runs `f` as `task`. `f` does not unwind.
pub(crate) fn within<R>(
    shared: Arc<Shared>,
    stand: Box<Stand>,
    f: impl FnOnce() -> R,
) -> (Arc<Shared>, Box<Stand>, R) {
    let outer = CURRENT.replace(Some(Current { shared, stand }));
    let result = f();
    let current = CURRENT.replace(outer).expect("whoever replaces the current task puts it back");
    (current.shared, current.stand, result)
}

/// What the thread polls, if anything. `look` runs no code but ours.
pub(crate) fn with<R>(look: impl FnOnce(Option<&mut Current>) -> R) -> R {
    CURRENT.with_borrow_mut(|current| look(current.as_mut()))
}

/// Whether the current task, which stopped, goes on in the same poll.
pub(crate) fn goes_on() -> bool {
    with(|current| current.is_some_and(Current::goes_on))
}

/// Whether this thread is inside a task.
pub(crate) fn is_inside() -> bool {
    with(|current| current.is_some())
}

/// The request as the core is to see it.
fn admissible(stand: &mut Stand, op: Op) -> Result<Op, Fault> {
    match op {
        Op::Wait { condition, lock, .. } => {
            let then = stand.wait()?;
            stand.restarting = then == Then::Restart;
            Ok(Op::Wait { condition, lock, then })
        }
        // An arrival is seen by others, so it is an effect, and a wait follows.
        Op::Arrive(_) if stand.kind != Kind::Plain => Err(Fault::WaitAfterWrite),
        op => Ok(op),
    }
}
