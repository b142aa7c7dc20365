//! One request of a task, from the first poll to the grant.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::core::{Op, TaskId};
use crate::executor::current::{self, Current};
use crate::task::Fault;

/// Asks for what `begin` says; ready when it is granted. A fault ends the task instead.
pub(super) fn request<B>(begin: B) -> Request<B>
where
    B: FnOnce(&mut Current) -> Result<Op, Fault> + Unpin,
{
    Request::new(begin)
}

/// Ends the current task.
pub(super) async fn fail(fault: Fault) -> ! {
    current::with(|current| {
        if let Some(current) = current {
            current.stand.fail(fault);
        }
    });
    std::future::pending().await
}

/// Says what to ask for, when the request is first polled.
pub(super) trait Ask: Unpin {
    /// In the current task.
    fn ask(self, current: &mut Current) -> Result<Op, Fault>;
}

impl<F: FnOnce(&mut Current) -> Result<Op, Fault> + Unpin> Ask for F {
    fn ask(self, current: &mut Current) -> Result<Op, Fault> {
        self(current)
    }
}

pub(super) struct Request<B> {
    begin: Option<B>,
    /// Whose request, and which of its requests.
    outstanding: Option<(TaskId, u64)>,
}

/// A request was granted.
#[derive(Clone, Copy)]
pub(super) struct Granted {
    pub(super) task: TaskId,
    /// After a wait that another task ended.
    pub(super) woken: bool,
}

impl<B: Ask> Request<B> {
    pub(super) const fn new(begin: B) -> Request<B> {
        Request { begin: Some(begin), outstanding: None }
    }

    fn progress(&mut self, current: &mut Current, cx: &Context<'_>) -> Poll<Granted> {
        match self.outstanding {
            None => {
                let Some(begin) = self.begin.take() else { return Poll::Pending };
                match begin.ask(current) {
                    Ok(op) => {
                        let asked = current.stand.ask(op, cx.waker());
                        self.outstanding = asked.map(|number| (current.stand.task, number));
                    }
                    Err(fault) => current.stand.fail(fault),
                }
                Poll::Pending
            }
            Some((task, number)) if task == current.stand.task => {
                if !current.stand.take_granted(number) {
                    return Poll::Pending;
                }
                self.outstanding = None;
                Poll::Ready(Granted { task, woken: current.stand.woken })
            }
            // Another task's request, handed over.
            Some(_) => {
                current.stand.fail(Fault::ForeignAwait);
                Poll::Pending
            }
        }
    }
}

impl<B: Ask> Future for Request<B> {
    type Output = Granted;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Granted> {
        current::with(|current| {
            let current =
                current.expect("a deterministic lock is awaited inside a task; see Scheduler::admit");
            self.progress(current, cx)
        })
    }
}

impl<B> Drop for Request<B> {
    fn drop(&mut self) {
        if let Some((task, _)) = self.outstanding {
            current::with(|current| {
                if let Some(current) = current.filter(|current| current.stand.task == task) {
                    current.stand.give_up();
                }
            });
        }
    }
}
