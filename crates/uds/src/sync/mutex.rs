//! A mutex whose owners follow each other in the same order on every replica.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use super::NotAtRest;
use super::binding::Binding;
use super::lock::{acquire, give_back};
use super::request::fail;
use crate::core::{LockId, Share, TaskId};
use crate::executor::current;
use crate::task::Fault;

/// A value that one task at a time may use. It belongs to the scheduler whose task asks for it first.
///
/// Not re-entrant and not poisoned by a panic: what a task that panicked had written stays, on every replica alike.
/// Misuse ends the task with a [`Fault`], the same everywhere; see there for what is misuse.
pub struct Mutex<T> {
    /// Empty while a guard has the value. Never contended: only the owner of the deterministic lock comes here.
    cell: std::sync::Mutex<Option<Box<T>>>,
    binding: Binding<LockId>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { cell: std::sync::Mutex::new(Some(Box::new(value))), binding: Binding::new() }
    }

    /// Asks for the lock; dropping the guard gives it back, without a turn.
    ///
    /// # Panics
    /// If it is polled outside of a task: there is no order then that it could follow.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        let task = acquire(&self.binding, Share::All).await;
        self.guard(task).await
    }

    /// Looks at the value from outside of all tasks, while none holds it: to read it after they have ended, to
    /// checkpoint and restore it.
    ///
    /// # Errors
    /// [`NotAtRest`]: a task holds it, or this is called inside a task, where the lock is the only way.
    pub fn at_rest<R>(&self, look: impl FnOnce(&mut T) -> R) -> Result<R, NotAtRest> {
        if current::is_inside() {
            return Err(NotAtRest);
        }
        self.cell.try_lock().ok().as_mut().and_then(|cell| cell.as_deref_mut()).map(look).ok_or(NotAtRest)
    }

    /// The guard of a task that holds the lock.
    pub(super) async fn guard(&self, task: TaskId) -> MutexGuard<'_, T> {
        let value = self.cell().take();
        match value {
            Some(value) => MutexGuard { mutex: self, task, value: Some(value), wrote: false },
            None => fail(Fault::ValueLost).await,
        }
    }

    fn cell(&self) -> std::sync::MutexGuard<'_, Option<Box<T>>> {
        // Only `at_rest` runs foreign code with the cell locked, and its panic leaves the value in place.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the value: reading it without the lock would differ between replicas.
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// The right to use the value, until dropped. A guard that leaves its task takes the value with it: whoever is
/// granted the lock afterwards ends with [`Fault::ValueLost`].
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    task: TaskId,
    /// Present until the guard is dropped or given to a condition.
    value: Option<Box<T>>,
    wrote: bool,
}

const PRESENT: &str = "a guard has its value until it is dropped";

impl<'a, T> MutexGuard<'a, T> {
    /// Puts the value back without unlocking: the mutex, whose lock the current task still holds.
    pub(super) fn dismantle(
        &mut self,
        current: &mut current::Current,
    ) -> Result<(&'a Mutex<T>, LockId), Fault> {
        let lock = self.mutex.binding.known(&current.shared).filter(|_| self.task == current.stand.task);
        let lock = lock.ok_or(Fault::MutexNotHeld)?;
        current.stand.wrote |= self.wrote;
        *self.mutex.cell() = self.value.take();
        Ok((self.mutex, lock))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect(PRESENT)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.wrote = true;
        self.value.as_deref_mut().expect(PRESENT)
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        let mut value = self.value.take();
        if value.is_none() {
            return;
        }
        // Outside of its task (or of its scheduler's tasks) the value must not come back: when it did would depend
        // on luck. It is then dropped at the end, where its destructor may do as it likes.
        let binding = &self.mutex.binding;
        give_back(binding, self.task, Share::All, self.wrote, &mut || *self.mutex.cell() = value.take());
    }
}
