//! A condition that tasks wait for.

use std::fmt;

use super::binding::Binding;
use super::mutex::MutexGuard;
use super::request::{fail, request};
use crate::core::{ConditionId, Core, Op, Then};
use crate::executor::current::{self, Current};
use crate::task::Fault;

/// Where tasks wait, with a mutex in their hands, until another task notifies them. To notify is a turn of the
/// order, so it needs no mutex to be the same everywhere.
///
/// A task that waits gives its place up; when it is notified, it has one behind the notifier, from the next round
/// on, where it asks for the mutex again. A restartable task begins from the top instead; see
/// [`crate::Scheduler::admit_restartable`]. There are no spurious wake-ups, but others may have had the mutex first.
pub struct Condvar {
    binding: Binding<ConditionId>,
}

impl Condvar {
    /// A condition that nobody waits for.
    #[must_use]
    pub const fn new() -> Condvar {
        Condvar { binding: Binding::new() }
    }

    /// Gives the mutex back, waits to be notified and takes the mutex again. Who waits at the same time does so
    /// with the same mutex; who uses another ends with [`Fault::OtherMutex`].
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let dismantled = current::with(|current| {
            let current = current.expect("a condition is awaited inside a task; see Scheduler::admit");
            guard.dismantle(current)
        });
        // Only now, because a guard that is not this task's asks for the current task when it is dropped.
        drop(guard);
        let (mutex, lock) = match dismantled {
            Ok(dismantled) => dismantled,
            Err(fault) => fail(fault).await,
        };
        let granted = request(|current| {
            let condition = self.id(current)?;
            Ok(Op::Wait { condition, lock, then: Then::Relock })
        });
        let task = granted.await.task;
        mutex.guard(task).await
    }

    /// Waits as long as `condition` holds of the value.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        condition: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&guard) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// Wakes the task that has waited longest, if one waits.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn notify_one(&self) {
        request(|current| Ok(Op::NotifyOne(self.id(current)?))).await;
    }

    /// Wakes all tasks that wait.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn notify_all(&self) {
        request(|current| Ok(Op::NotifyAll(self.id(current)?))).await;
    }

    fn id(&self, current: &Current) -> Result<ConditionId, Fault> {
        self.binding.id(&current.shared, Core::create_condition)
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
