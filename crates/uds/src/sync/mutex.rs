//! A mutex whose owners follow each other in the same order on every replica.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use crate::core::{LockId, TaskId};
use crate::executor::current::{self, Current};
use crate::executor::shared::Shared;
use crate::task::Fault;

/// A value that one task at a time may use. It belongs to the scheduler whose task asks for it first.
///
/// Not re-entrant and not poisoned by a panic: what a task that panicked had written stays, on every replica alike.
/// Misuse ends the task with a [`Fault`], the same everywhere; see there for what is misuse.
pub struct Mutex<T> {
    /// Empty while a guard has the value. Never contended: only the owner of the deterministic lock comes here.
    cell: std::sync::Mutex<Option<Box<T>>>,
    binding: OnceLock<Binding>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { cell: std::sync::Mutex::new(Some(Box::new(value))), binding: OnceLock::new() }
    }

    /// Asks for the lock; `lock().await` is a guard, and dropping that gives the lock back. The request is made
    /// when the future is first polled; from then on it must be awaited to its end.
    ///
    /// # Panics
    /// The future, if it is polled outside of a task: there is no order then that it could follow.
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, request: None }
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

    /// The lock's id in `shared`.
    fn lock_in(&self, shared: &Arc<Shared>) -> Result<LockId, Fault> {
        let binding = self
            .binding
            .get_or_init(|| Binding { scheduler: Arc::downgrade(shared), lock: shared.create_lock() });
        if std::ptr::eq(binding.scheduler.as_ptr(), Arc::as_ptr(shared)) {
            Ok(binding.lock)
        } else {
            Err(Fault::OtherScheduler)
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

/// The value was not there to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a task holds the lock, or this is inside a task; await `lock` there")]
pub struct NotAtRest;

/// A request for a [`Mutex`], to be awaited at once.
#[must_use = "a lock is requested by awaiting it"]
#[derive(Debug)]
pub struct Lock<'a, T> {
    mutex: &'a Mutex<T>,
    /// The outstanding request: whose, and which of its requests.
    request: Option<(TaskId, u64)>,
}

impl<'a, T> Lock<'a, T> {
    /// The guard, once the current task's request was granted.
    fn progress(&mut self, current: &mut Current, cx: &Context<'_>) -> Poll<MutexGuard<'a, T>> {
        match self.request {
            None => match self.mutex.lock_in(&current.shared) {
                Ok(lock) => self.request = current.stand.ask(lock, cx.waker()).map(|n| (current.task, n)),
                Err(fault) => current.stand.fail(fault),
            },
            Some((task, request)) if task == current.task && self.mutex.lock_in(&current.shared).is_ok() => {
                if current.stand.take_granted(request) {
                    self.request = None;
                    match self.mutex.cell().take() {
                        Some(value) => {
                            return Poll::Ready(MutexGuard { mutex: self.mutex, task, value: Some(value) });
                        }
                        None => current.stand.fail(Fault::ValueLost),
                    }
                }
            }
            // Another task's request, handed over.
            Some(_) => current.stand.fail(Fault::ForeignAwait),
        }
        Poll::Pending
    }
}

impl<'a, T> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MutexGuard<'a, T>> {
        current::with(|current| {
            let current =
                current.expect("a deterministic lock is awaited inside a task; see Scheduler::admit");
            self.progress(current, cx)
        })
    }
}

impl<T> Drop for Lock<'_, T> {
    fn drop(&mut self) {
        if let Some((task, _)) = self.request {
            current::with(|current| {
                if let Some(current) = current.filter(|current| current.task == task) {
                    current.stand.fail(Fault::DroppedRequest);
                }
            });
        }
    }
}

/// The right to use the value, until dropped. A guard that leaves its task takes the value with it: whoever is
/// granted the lock afterwards ends with [`Fault::ValueLost`].
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    task: TaskId,
    /// Present until the guard is dropped.
    value: Option<Box<T>>,
}

const PRESENT: &str = "a guard has its value until it is dropped";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect(PRESENT)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect(PRESENT)
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // Outside of its task (or of its scheduler's tasks) the value must not come back: when it did would depend
        // on luck. It is then dropped below, where its destructor may do as it likes.
        current::with(|current| {
            let Some(current) = current.filter(|current| current.task == self.task) else {
                return;
            };
            if let Ok(lock) = self.mutex.lock_in(&current.shared) {
                *self.mutex.cell() = self.value.take();
                current.shared.unlock(self.task, lock);
            }
        });
    }
}

/// The scheduler that a lock belongs to, and its id there.
struct Binding {
    /// Weak, because the scheduler's tasks own applications, which own locks.
    scheduler: Weak<Shared>,
    lock: LockId,
}

impl Drop for Binding {
    fn drop(&mut self) {
        if let Some(shared) = self.scheduler.upgrade() {
            shared.retire_lock(self.lock);
        }
    }
}
