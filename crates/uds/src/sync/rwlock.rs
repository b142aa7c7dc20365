//! A lock for one writer or many readers.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

use super::NotAtRest;
use super::binding::Binding;
use super::lock::{acquire, give_back};
use super::request::fail;
use crate::core::{LockId, Share, TaskId};
use crate::executor::current;
use crate::task::Fault;

/// A value that many tasks may read at once, or one may write. Fair: nobody overtakes whoever asked in an earlier
/// turn, so a stream of readers does not keep a writer out. A task may hold it only once. Otherwise like
/// [`super::Mutex`].
pub struct RwLock<T> {
    /// Shared by the readers; empty while a writer has it.
    cell: std::sync::Mutex<Option<Arc<T>>>,
    binding: Binding<LockId>,
}

impl<T> RwLock<T> {
    /// A free lock around `value`.
    pub fn new(value: T) -> RwLock<T> {
        RwLock { cell: std::sync::Mutex::new(Some(Arc::new(value))), binding: Binding::new() }
    }

    /// Asks to read; dropping the guard gives the lock back, without a turn.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        let task = acquire(&self.binding, Share::Part(1)).await;
        let value = self.cell().clone();
        match value {
            Some(value) => RwLockReadGuard { lock: self, task, value: Some(value) },
            None => fail(Fault::ValueLost).await,
        }
    }

    /// Asks to write; dropping the guard gives the lock back, without a turn.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        let task = acquire(&self.binding, Share::All).await;
        let value = self.cell().take();
        // A reader that leaked its guard, or gave it away, still looks at the value.
        match value.filter(|value| Arc::strong_count(value) == 1) {
            Some(value) => RwLockWriteGuard { lock: self, task, value: Some(value), wrote: false },
            None => fail(Fault::ValueLost).await,
        }
    }

    /// Looks at the value from outside of all tasks, while none holds it.
    ///
    /// # Errors
    /// [`NotAtRest`]: a task holds it, or this is called inside a task.
    pub fn at_rest<R>(&self, look: impl FnOnce(&mut T) -> R) -> Result<R, NotAtRest> {
        if current::is_inside() {
            return Err(NotAtRest);
        }
        let mut cell = self.cell.try_lock().map_err(|_| NotAtRest)?;
        cell.as_mut().and_then(Arc::get_mut).map(look).ok_or(NotAtRest)
    }

    fn cell(&self) -> std::sync::MutexGuard<'_, Option<Arc<T>>> {
        // Only `at_rest` runs foreign code with the cell locked, and its panic leaves the value in place.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the value: reading it without the lock would differ between replicas.
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

/// The right to read, until dropped.
#[derive(Debug)]
pub struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    task: TaskId,
    value: Option<Arc<T>>,
}

/// The right to write, until dropped.
#[derive(Debug)]
pub struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    task: TaskId,
    value: Option<Arc<T>>,
    wrote: bool,
}

const PRESENT: &str = "a guard has its value until it is dropped";

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect(PRESENT)
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect(PRESENT)
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.wrote = true;
        self.value.as_mut().and_then(Arc::get_mut).expect(PRESENT)
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        let mut value = self.value.take();
        // Dropped before the unlock, so that the next writer is alone. The cell has it too: nothing is destroyed.
        give_back(&self.lock.binding, self.task, Share::Part(1), false, &mut || drop(value.take()));
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        let mut value = self.value.take();
        give_back(&self.lock.binding, self.task, Share::All, self.wrote, &mut || {
            *self.lock.cell() = value.take();
        });
    }
}
