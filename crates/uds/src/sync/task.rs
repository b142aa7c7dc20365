//! What a task asks for beside locks.

use std::future::Future;

use super::request::request;
use crate::core::Op;
use crate::executor::current;
use crate::task::{Job, TaskEnd};

/// Creates a task. It may compute at once; its place is behind its creator and the creator's earlier children, from
/// the next round on. Nobody learns how it ends: what it is to tell, it puts behind a lock.
///
/// # Panics
/// If it is polled outside of a task.
pub async fn spawn<F>(task: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let work = Box::new(Job::once(task, |_: TaskEnd<F::Output>| {}));
    request(|current| {
        current.stand.child = Some(work);
        current.stand.wrote = true;
        Ok(Op::Spawn)
    })
    .await;
}

/// Takes a turn and does nothing with it: others come to theirs.
///
/// # Panics
/// If it is polled outside of a task.
pub async fn yield_now() {
    request(|_| Ok(Op::Yield)).await;
}

/// Adds `ticks`, in any unit, to the task's logical clock: what it has worked. Decides whose turn is next with
/// [`crate::Order::Clocks`], and nothing otherwise. Must follow from what the task does, never from real time.
///
/// # Panics
/// Outside of a task.
pub fn advance(ticks: u64) {
    current::with(|current| {
        let current = current.expect("a logical clock is a task's");
        current.shared.tick(current.stand.task, ticks);
    });
}
