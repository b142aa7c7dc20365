//! Which task this thread polls, and what that task has asked for.
//!
//! A request reaches the core only when the poll in which it was made is over. So what a task may not do (a second
//! request, a dropped one) is seen before the core knows of it, and looks the same on every replica, however soon
//! the lock would have been granted.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::core::{LockId, TaskId};
use crate::executor::shared::Shared;
use crate::task::{Fault, Panicked, Polled};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The task that this thread polls.
pub(crate) struct Current {
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: TaskId,
    pub(crate) stand: Stand,
}

/// What a task has asked for, kept between its polls.
#[derive(Default)]
pub(crate) struct Stand {
    /// Requests made so far; names the next one.
    requests: u64,
    /// The outstanding request.
    asked: Option<Asked>,
    /// The request that was granted and whose future has not seen it yet.
    granted: Option<u64>,
    /// The first thing that went wrong.
    fault: Option<Fault>,
}

struct Asked {
    lock: LockId,
    request: u64,
    /// Set if a future of the task's own stands between: who has to be woken to have the request polled.
    waker: Option<Waker>,
}

impl Stand {
    /// A new request of the running task, by its number. `None`: the task may not go on.
    pub(crate) fn ask(&mut self, lock: LockId, waker: &Waker) -> Option<u64> {
        if self.asked.is_some() || self.granted.is_some() {
            self.fail(Fault::SecondRequest);
        }
        if self.fault.is_some() {
            return None;
        }
        self.requests += 1;
        let waker = (!waker.will_wake(Waker::noop())).then(|| waker.clone());
        self.asked = Some(Asked { lock, request: self.requests, waker });
        Some(self.requests)
    }

    /// Whether `request` has been granted; true once.
    pub(crate) fn take_granted(&mut self, request: u64) -> bool {
        self.fault.is_none() && self.granted.take_if(|granted| *granted == request).is_some()
    }

    /// Ends the task when its poll returns, for the first reason given.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// Runs `f` as `task`. `f` does not unwind.
pub(crate) fn within<R>(
    shared: Arc<Shared>,
    task: TaskId,
    stand: Stand,
    f: impl FnOnce() -> R,
) -> (Arc<Shared>, Stand, R) {
    let outer = CURRENT.replace(Some(Current { shared, task, stand }));
    let result = f();
    let current = CURRENT.replace(outer).expect("whoever replaces the current task puts it back");
    (current.shared, current.stand, result)
}

/// What the thread polls, if anything. `look` runs no code but ours.
pub(crate) fn with<R>(look: impl FnOnce(Option<&mut Current>) -> R) -> R {
    CURRENT.with_borrow_mut(|current| look(current.as_mut()))
}

/// Whether this thread is inside a task.
pub(crate) fn is_inside() -> bool {
    with(|current| current.is_some())
}

/// Begins a poll: the outstanding request, if any, has been granted. Who is to be woken.
///
/// # Errors
/// The fault for which the task may not be polled.
pub(crate) fn resume() -> Result<Option<Waker>, Fault> {
    with(|current| {
        let stand = &mut current.expect("called within a task").stand;
        if let Some(fault) = stand.fault {
            return Err(fault);
        }
        let asked = stand.asked.take();
        stand.granted = asked.as_ref().map(|asked| asked.request);
        Ok(asked.and_then(|asked| asked.waker))
    })
}

/// Ends a poll that gave `result`.
pub(crate) fn verdict(result: Result<Poll<()>, Panicked>) -> Polled {
    with(|current| {
        let stand = &mut current.expect("called within a task").stand;
        let outstanding = stand.asked.as_ref().map(|asked| asked.lock);
        let leaked = outstanding.is_some() || stand.granted.is_some();
        let over = match (result, stand.fault) {
            // First, because unwinding also drops requests.
            (Err(Panicked), _) => Some(Fault::Panicked),
            (Ok(_), Some(fault)) => Some(fault),
            (Ok(Poll::Ready(())), None) => leaked.then_some(Fault::DroppedRequest),
            (Ok(Poll::Pending), None) => match outstanding {
                Some(lock) => return Polled::Asks(lock),
                None => Some(Fault::ForeignAwait),
            },
        };
        // Whatever its destructors still ask for goes nowhere.
        stand.fault = Some(over.unwrap_or(Fault::DroppedRequest));
        Polled::Over(over)
    })
}
