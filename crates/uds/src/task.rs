//! A task: a future, what it asked for, and how it ends.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::core::{Op, Then};
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
    /// It made a second request while one was outstanding, as in `join!` or `select!` over two locks.
    #[error("it asked for a lock while it was already waiting for one")]
    SecondRequest,
    /// It dropped or leaked a request that it had begun to await.
    #[error("it gave up a lock request that was outstanding")]
    DroppedRequest,
    /// It used a lock, condition or barrier whose first user belongs to another scheduler.
    #[error("it asked for a lock of another scheduler")]
    OtherScheduler,
    /// It asked for a lock that it holds, or to write where it reads.
    #[error("it asked for a lock that it already holds")]
    Relock,
    /// It was the youngest of some tasks that waited for each other's locks in a circle, or waited for what no task
    /// before a suspension could give.
    #[error("it waited in a circle with other tasks, each for a lock that the next one holds")]
    Deadlock,
    /// It was granted a lock whose value is gone, because an earlier owner leaked the guard or gave it away.
    #[error("the value behind a lock was lost when an earlier owner leaked its guard")]
    ValueLost,
    /// It waited on a condition with a guard that is not its own.
    #[error("it waited on a condition with a mutex that it does not hold")]
    MutexNotHeld,
    /// It waited on a condition while others waited there with another mutex.
    #[error("it waited on a condition with another mutex than those who already wait there")]
    OtherMutex,
    /// It asked for more permits than the semaphore was made with.
    #[error("it asked for more permits than the semaphore has")]
    TooManyPermits,
    /// It wanted to wait on a condition or at a barrier, where `waiting_max` tasks wait already.
    #[error("too many tasks wait already")]
    TooManyWaiting,
    /// It wanted to spawn a task while `spawned_max` spawned ones live.
    #[error("too many spawned tasks live already")]
    TooManySpawned,
    /// It can be restarted, and wanted to wait after it had written or spawned, with another lock in its hands, or
    /// at a barrier; or it was spawned by such a task.
    #[error("it waited on a condition after it had written, or while it held another lock")]
    WaitAfterWrite,
}

/// Who learns what becomes of a task. A function of the end is one.
///
/// The calls are made outside of all tasks, must not wait and may admit further tasks. Panics in them are dropped.
/// Those about waiting, of all tasks of a scheduler, are made one after the other, in the order in which the waits
/// began and ended; that order follows the agreed one.
pub trait Sink<O>: Send {
    /// The task waits on a condition: it has had no effect and will begin from the top. Called before any task is
    /// polled that the wait let go on.
    fn waits(&mut self) {}

    /// The task waits no longer. Called before it, or the task that woke it, is polled again.
    fn woken(&mut self, by: WokenBy) {
        let _ = by;
    }

    /// The task is over; after all else. The ends of different tasks come in any order.
    fn ended(self, end: TaskEnd<O>);
}

impl<O, F: FnOnce(TaskEnd<O>) + Send> Sink<O> for F {
    fn ended(self, end: TaskEnd<O>) {
        self(end);
    }
}

/// Who woke a waiting task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WokenBy {
    /// The admitted task with this number notified, or one that descends from it.
    Task(u64),
    /// A recall.
    Recall,
}

/// A task between two polls. One pointer, because it moves several times from one poll to the next.
pub(crate) struct Body {
    pub(crate) stand: Box<Stand>,
}

const WORK: &str = "a task between two polls has its work";

impl Body {
    /// A new task, which runs `work`.
    pub(crate) fn new(mut stand: Stand, work: Box<dyn Work>) -> Body {
        stand.work = Some(work);
        Body { stand: Box::new(stand) }
    }

    /// Polls, as the thread's current task, until it stops at a request that is not granted at once. When it is over, the future is dropped and its guards with it.
    pub(crate) fn poll(self, shared: Arc<Shared>) -> (Arc<Shared>, Body, Polled) {
        let Body { mut stand } = self;
        let mut work = stand.work.take().expect(WORK);
        let (shared, mut stand, result) = match stand.resume() {
            Ok(waker) => current::within(shared, stand, || {
                guarded(|| {
                    // Futures that poll their children only when woken learn here whom to poll.
                    waker.into_iter().for_each(Waker::wake);
                    let mut cx = Context::from_waker(current::WAKER);
                    loop {
                        let polled = work.poll(&mut cx);
                        if polled.is_ready() || !current::goes_on() {
                            return polled;
                        }
                    }
                })
            }),
            Err(_) => (shared, stand, Ok(Poll::Pending)),
        };
        let polled = stand.verdict(result);
        let begins_anew = matches!(polled, Polled::Asks(Op::Wait { then: Then::Restart, .. }));
        if matches!(polled, Polled::Asks(_)) && !begins_anew {
            stand.work = Some(work);
            return (shared, Body { stand }, polled);
        }
        let (shared, mut stand, abandoned) = current::within(shared, stand, || guarded(|| work.abandon()));
        let polled = match (polled, abandoned) {
            (polled, Ok(())) => polled,
            (Polled::Over(Some(fault)), Err(Panicked)) => Polled::Over(Some(fault)),
            (_, Err(Panicked)) => Polled::Over(Some(Fault::Panicked)),
        };
        stand.work = Some(work);
        (shared, Body { stand }, polled)
    }

    /// Tells the sink how the task ended.
    pub(crate) fn report(mut self, fault: Option<Fault>) {
        // The panic of a sink has been printed; it must not take the thread away from the other tasks.
        let _ = guarded(|| {
            let work = self.stand.work.take().expect(WORK);
            drop(self.stand);
            work.report(fault);
        });
    }

    /// Tells the sink that the task waits.
    pub(crate) fn waits(&mut self) {
        let _ = guarded(|| self.stand.work.as_mut().expect(WORK).waits());
    }

    /// Tells the sink that the task waits no longer.
    pub(crate) fn woken(&mut self, by: WokenBy) {
        let _ = guarded(|| self.stand.work.as_mut().expect(WORK).woken(by));
    }

    /// Drops a task that will never run again, and whatever panics in it.
    pub(crate) fn discard(self) {
        let _ = guarded(|| drop(self));
    }
}

/// Where a poll has led.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Polled {
    /// The task asks for this.
    Asks(Op),
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
    fn waits(&mut self);
    /// Calls the sink.
    fn woken(&mut self, by: WokenBy);
    /// Calls the sink.
    fn report(self: Box<Self>, fault: Option<Fault>);
}

/// A future, how to make it (again), and the sink.
pub(crate) struct Job<M, F: Future, S> {
    make: M,
    future: Option<Pin<Box<F>>>,
    output: Option<F::Output>,
    sink: S,
}

impl<F: Future, S> Job<(), F, S> {
    /// A job that is done once.
    pub(crate) fn once(future: F, sink: S) -> Job<Once, F, S> {
        Job { make: Once, future: Some(Box::pin(future)), output: None, sink }
    }
}

impl<M: Fn() -> F, F: Future, S> Job<Again<M>, F, S> {
    /// A job that can begin anew.
    pub(crate) fn again(make: M, sink: S) -> Job<Again<M>, F, S> {
        Job { make: Again(make), future: None, output: None, sink }
    }
}

/// Where the future of a job comes from.
pub(crate) trait Make<F>: Send {
    /// The future of a job that has none.
    fn make(&self) -> F;
}

/// The future was given.
pub(crate) struct Once;

impl<F> Make<F> for Once {
    fn make(&self) -> F {
        unreachable!("a task that is over is not polled")
    }
}

/// The future is made when the task begins, each time.
pub(crate) struct Again<M>(M);

impl<F, M: Fn() -> F + Send> Make<F> for Again<M> {
    fn make(&self) -> F {
        (self.0)()
    }
}

impl<M, F, S> Work for Job<M, F, S>
where
    M: Make<F>,
    F: Future + Send,
    F::Output: Send,
    S: Sink<F::Output>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let future = self.future.get_or_insert_with(|| Box::pin(self.make.make()));
        future.as_mut().poll(cx).map(|output| self.output = Some(output))
    }

    fn abandon(&mut self) {
        self.future = None;
    }

    fn waits(&mut self) {
        self.sink.waits();
    }

    fn woken(&mut self, by: WokenBy) {
        self.sink.woken(by);
    }

    fn report(self: Box<Self>, fault: Option<Fault>) {
        let end = match (fault, self.output) {
            (None, Some(output)) => TaskEnd::Done(output),
            (fault, _) => TaskEnd::Fault(fault.expect("a task without fault has an output")),
        };
        self.sink.ended(end);
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
