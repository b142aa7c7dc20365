//! A task: a future, what it asked for, and how it ends.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::core::{LockId, TaskId};
use crate::executor::current::{self, Stand};
use crate::executor::shared::Shared;

/// How a task ended: the same on every replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskEnd<O> {
    /// It returned this.
    Done(O),
    /// It did what no task may do, and was ended there. What it had changed under locks until then stays.
    Fault(Fault),
}

/// Why a task was ended. Carries no text of the task's own, which might differ between replicas.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Fault {
    /// It panicked. The message is on the machine's error output only.
    #[error("it panicked")]
    Panicked,
    /// It awaited something that is not of this crate, so nobody could tell all replicas when to go on.
    #[error("it awaited something other than a deterministic lock")]
    ForeignAwait,
    /// It asked for a second lock while one request was outstanding, as in `join!` or `select!` over two locks.
    #[error("it asked for a lock while it was already waiting for one")]
    SecondRequest,
    /// It dropped or leaked a lock request that it had begun to await.
    #[error("it gave up a lock request that was outstanding")]
    DroppedRequest,
    /// It asked for a lock whose first user belongs to another scheduler.
    #[error("it asked for a lock of another scheduler")]
    OtherScheduler,
    /// It asked for a lock that it holds.
    #[error("it asked for a lock that it already holds")]
    Relock,
    /// It was the youngest of some tasks that waited for each other's locks in a circle.
    #[error("it waited in a circle with other tasks, each for a lock that the next one holds")]
    Deadlock,
    /// It was granted a lock whose value is gone, because an earlier owner leaked the guard or gave it away.
    #[error("the value behind a lock was lost when an earlier owner leaked its guard")]
    ValueLost,
}

/// A task between two polls.
pub(crate) struct Body {
    pub(crate) task: TaskId,
    pub(crate) stand: Stand,
    work: Box<dyn Work>,
}

impl Body {
    /// The task `id`, which runs `work`.
    pub(crate) fn new(task: TaskId, work: Box<dyn Work>) -> Body {
        Body { task, stand: Stand::default(), work }
    }

    /// Polls once, as the thread's current task. When it is over, the future is dropped and its guards with it.
    pub(crate) fn poll(&mut self, shared: Arc<Shared>) -> (Arc<Shared>, Polled) {
        let work = &mut self.work;
        let stand = std::mem::take(&mut self.stand);
        let (shared, stand, polled) = current::within(shared, self.task, stand, || {
            let result = match current::resume() {
                Ok(waker) => guarded(|| {
                    // Futures that poll their children only when woken learn here whom to poll.
                    waker.into_iter().for_each(Waker::wake);
                    work.poll(&mut Context::from_waker(Waker::noop()))
                }),
                Err(_) => Ok(Poll::Pending),
            };
            let polled = current::verdict(result);
            match polled {
                Polled::Asks(_) => polled,
                Polled::Over(fault) => match guarded(|| work.abandon()) {
                    Ok(()) => polled,
                    Err(Panicked) => Polled::Over(fault.or(Some(Fault::Panicked))),
                },
            }
        });
        self.stand = stand;
        (shared, polled)
    }

    /// Tells the sink how the task ended.
    pub(crate) fn report(self, fault: Option<Fault>) {
        // The panic of a sink has been printed; it must not take the thread away from the other tasks.
        let _ = guarded(|| {
            drop(self.stand);
            self.work.report(fault);
        });
    }

    /// Drops a task that will never run again, and whatever panics in it.
    pub(crate) fn discard(self) {
        let _ = guarded(|| drop(self));
    }
}

/// Where a poll has led.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Polled {
    /// The task waits for this lock.
    Asks(LockId),
    /// It is over, without or with a fault.
    Over(Option<Fault>),
}

/// What a task runs, whatever its types.
pub(crate) trait Work: Send {
    /// Polls the future; keeps its output.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Drops the future. Called inside the task, so that its guards unlock.
    fn abandon(&mut self);
    /// Calls the sink.
    fn report(self: Box<Self>, fault: Option<Fault>);
}

/// A future and the sink of its end.
pub(crate) struct Job<F: Future, S> {
    future: Option<Pin<Box<F>>>,
    output: Option<F::Output>,
    sink: S,
}

impl<F: Future, S> Job<F, S> {
    pub(crate) fn new(future: F, sink: S) -> Job<F, S> {
        Job { future: Some(Box::pin(future)), output: None, sink }
    }
}

impl<F, S> Work for Job<F, S>
where
    F: Future + Send,
    F::Output: Send,
    S: FnOnce(TaskEnd<F::Output>) + Send,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let future = self.future.as_mut().expect("a task that is over is not polled");
        future.as_mut().poll(cx).map(|output| self.output = Some(output))
    }

    fn abandon(&mut self) {
        self.future = None;
    }

    fn report(self: Box<Self>, fault: Option<Fault>) {
        let end = match (fault, self.output) {
            (None, Some(output)) => TaskEnd::Done(output),
            (fault, _) => TaskEnd::Fault(fault.expect("a task without fault has an output")),
        };
        (self.sink)(end);
    }
}

/// A panic was caught.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs code that is not ours. What it leaves half done is its own state, behind locks that are free again.
pub(crate) fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        // The payload may panic in its own drop; nothing can be done about a third one.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(payload);
        }
        Panicked
    })
}
