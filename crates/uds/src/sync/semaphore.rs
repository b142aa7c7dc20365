//! A counting semaphore.

use std::fmt;

use super::binding::Binding;
use super::request::request;
use crate::core::{LockId, Op, Share, TaskId};
use crate::executor::current;

/// A number of permits. Fair: who asks for many is not overtaken by those who ask for few later.
///
/// Unlike locks, semaphores take no part in the search for cycles of waits: a task that waits for permits in a
/// circle waits until the circle stands before a suspension or recall.
pub struct Semaphore {
    permits: u32,
    binding: Binding<LockId>,
}

impl Semaphore {
    /// A semaphore with this many permits.
    #[must_use]
    pub const fn new(permits: u32) -> Semaphore {
        Semaphore { permits, binding: Binding::new() }
    }

    /// Asks for one permit.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1).await
    }

    /// Asks for `permits` at once. More than there are ends the task with [`crate::Fault::TooManyPermits`].
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn acquire_many(&self, permits: u32) -> SemaphorePermit<'_> {
        let granted = request(|current| {
            let lock = self.binding.id(&current.shared, |core| core.create_semaphore(self.permits))?;
            Ok(Op::Acquire { lock, share: Share::Part(permits) })
        });
        let task = granted.await.task;
        SemaphorePermit { semaphore: self, task, permits }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.permits).finish_non_exhaustive()
    }
}

/// Permits, until dropped. Those that leave their task come back when that ends.
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    task: TaskId,
    permits: u32,
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        current::with(|current| {
            let Some(current) = current.filter(|current| current.stand.task == self.task) else { return };
            if let Some(lock) = self.semaphore.binding.known(&current.shared) {
                current.hand_back(lock, Share::Part(self.permits));
            }
        });
    }
}
