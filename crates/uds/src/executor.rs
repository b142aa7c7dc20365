//! What polls tasks. The order of grants comes from the core; an executor decides only who computes when.
//!
//! - [`Scheduler`]: where tasks are admitted, in the agreed order;
//! - [`Workers`]: threads that poll them, as many as there are cores to give;
//! - [`Seeded`]: the caller's own thread, which picks among all that can be polled by a seed.

pub(crate) mod current;
mod gate;
pub(crate) mod returned;
mod seeded;
pub(crate) mod shared;
mod workers;

use std::future::Future;
use std::sync::Arc;

use crate::config::{BadConfig, Config};
use crate::core::{Core, NotSuspended, Resume};
use crate::task::{Job, Sink, TaskEnd};
use current::Kind;
use shared::{Admission, Shared};

pub use seeded::Seeded;
pub use workers::Workers;

/// Whether the task that runs here is panicking: what is dropped then must not panic again, which would end the process.
#[must_use]
pub fn is_panicking() -> bool {
    std::thread::panicking()
}

/// One deterministic order of lock grants. Cheap to clone; all clones are the same scheduler.
///
/// Tasks and the locks they use belong to one scheduler. Whoever calls [`Scheduler::admit`], [`Scheduler::fill`]
/// and [`Scheduler::reconfigure`] makes the calls in the agreed order; when they are made has no influence.
/// When the last clone is dropped and no executor runs, tasks that have not ended are dropped and their sinks too.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

impl Scheduler {
    /// An idle scheduler.
    ///
    /// # Errors
    /// The setting that is out of range.
    pub fn new(config: Config) -> Result<Scheduler, BadConfig> {
        Shared::new(config).map(|shared| Scheduler(Arc::new(shared)))
    }

    /// The next task; its number, which counts admitted tasks from 0. Everything that `task` awaits is of
    /// [`crate::sync`]. `sink` learns how it ended, on the thread that polled it last, after its locks were freed;
    /// sinks may be called in any order, must not wait and may admit further tasks.
    ///
    /// # Errors
    /// [`Full`]; the task was not admitted.
    pub fn admit<F>(
        &self,
        task: F,
        sink: impl FnOnce(TaskEnd<F::Output>) + Send + 'static,
    ) -> Result<u64, Full>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.admit(Admission::Task(Kind::Plain, Box::new(Job::once(task, sink)))).map_err(|_| Full)
    }

    /// Like [`Scheduler::admit`], for a task that begins from the top after each wait, with a new future of `make`.
    /// It may wait on a condition only while it has had write access to no lock and spawned no task, and holds
    /// nothing but the condition's mutex; otherwise it ends with [`crate::Fault::WaitAfterWrite`]. So a waiting task is
    /// nothing but what `make` is made of, which can be stored. (What it changes without locks is not seen.)
    ///
    /// # Errors
    /// [`Full`]; the task was not admitted.
    pub fn admit_restartable<F>(
        &self,
        make: impl Fn() -> F + Send + 'static,
        sink: impl Sink<F::Output> + 'static,
    ) -> Result<u64, Full>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.admit(Admission::Task(Kind::Restartable, Box::new(Job::again(make, sink)))).map_err(|_| Full)
    }

    /// A fill marker: until the tasks admitted before it have left, they wait for no newcomer to fill their
    /// rounds. Wanted by whoever sees [`Scheduler::is_starving`] for a while, and ordered like a task.
    ///
    /// # Errors
    /// [`Full`].
    pub fn fill(&self) -> Result<(), Full> {
        self.0.admit(Admission::Fill).map(|_| ()).map_err(|_| Full)
    }

    /// Like [`Scheduler::fill`]; when the tasks before it have left or wait, all restartable ones that wait begin
    /// from the top, in the order in which they began to wait, before whatever comes behind.
    ///
    /// # Errors
    /// [`Full`].
    pub fn recall(&self) -> Result<(), Full> {
        self.0.admit(Admission::Recall).map(|_| ()).map_err(|_| Full)
    }

    /// Like [`Scheduler::fill`]; when the tasks before it have left or wait, `reached` is called and nobody takes a
    /// turn until [`Scheduler::resume`]: the moment for a snapshot. Tasks behind it may compute up to their first
    /// request meanwhile. A task before it that only those behind it could help ends with a
    /// [`crate::Fault::Deadlock`]. `reached` must not wait, and may resume.
    ///
    /// With [`Resume::Recall`], this scheduler goes on exactly like a new one, with the settings last announced, to
    /// which the tasks of [`Suspension::waiting`] are admitted first, in that order.
    ///
    /// # Errors
    /// [`Full`].
    pub fn suspend(&self, reached: impl FnOnce(Suspension) + Send + 'static) -> Result<(), Full> {
        self.0.admit(Admission::Suspend(Box::new(reached))).map(|_| ()).map_err(|_| Full)
    }

    /// Goes on after a suspension.
    ///
    /// # Errors
    /// [`NotSuspended`]; nothing changes then.
    pub fn resume(&self, how: Resume) -> Result<(), NotSuspended> {
        self.0.resume(how)
    }

    /// New settings from the first round after this place of the order; `backlog_max` holds at once.
    ///
    /// # Errors
    /// The setting that is out of range, or [`Full`].
    pub fn reconfigure(&self, config: Config) -> Result<(), Refused> {
        config.validate()?;
        self.0.admit(Admission::Config(config)).map(|_| ()).map_err(|_| Refused::Full(Full))
    }

    /// Whether tasks have started, none of them can go on, and only a newcomer or [`Scheduler::fill`] changes
    /// that. Differs between replicas; may decide what is proposed, never what is executed.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        self.0.look(Core::is_starving)
    }

    /// A digest of all grants: equal on replicas that have come to the same place of the order and have nothing
    /// left to do before it. See [`Core::trace`].
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.0.look(Core::trace)
    }

    /// Tasks that have started and neither left nor wait on a condition or at a barrier. Those that stay although
    /// nothing is starving wait for what a waiting task holds.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.0.look(Core::live)
    }

    /// Tasks that wait on a condition or at a barrier.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.0.look(Core::waiting)
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scheduler({:p})", Arc::as_ptr(&self.0))
    }
}

/// The state of a scheduler at a suspension, equal on all replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspension {
    /// Numbers of the restartable tasks that wait, in the order in which they began to.
    pub waiting: Vec<u64>,
    /// [`Scheduler::trace`].
    pub trace: u64,
}

/// `backlog_max` entries already wait to start; this one was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many tasks wait to start; admit again when some have ended")]
pub struct Full;

/// Why settings did not enter the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// They make no sense.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// There is no room.
    #[error(transparent)]
    Full(#[from] Full),
}
