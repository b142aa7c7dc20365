//! What polls tasks. The order of grants comes from the core; an executor decides only who computes when.
//!
//! - [`Scheduler`]: where tasks are admitted, in the agreed order;
//! - [`Workers`]: threads that poll them, as many as there are cores to give;
//! - [`Seeded`]: the caller's own thread, which picks among all that can be polled by a seed.

pub(crate) mod current;
mod seeded;
pub(crate) mod shared;
mod workers;

use std::future::Future;
use std::sync::Arc;

use crate::config::{BadConfig, Config};
use crate::task::{Job, TaskEnd};
use shared::{Admission, Shared};

pub use seeded::Seeded;
pub use workers::Workers;

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

    /// The next task. Everything that `task` awaits is of [`crate::sync`]. `sink` learns how it ended, on the
    /// thread that polled it last, after its locks were freed; sinks may be called in any order, must not wait and
    /// may admit further tasks.
    ///
    /// # Errors
    /// [`Full`]; the task was not admitted.
    pub fn admit<F>(
        &self,
        task: F,
        sink: impl FnOnce(TaskEnd<F::Output>) + Send + 'static,
    ) -> Result<(), Full>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.admit(Admission::Task(Box::new(Job::new(task, sink)))).map_err(|_| Full)
    }

    /// A fill marker: until the tasks admitted before it have left, they wait for no newcomer to fill their
    /// rounds. Wanted by whoever sees [`Scheduler::is_starving`] for a while, and ordered like a task.
    ///
    /// # Errors
    /// [`Full`].
    pub fn fill(&self) -> Result<(), Full> {
        self.0.admit(Admission::Fill).map_err(|_| Full)
    }

    /// New settings from the first round after this place of the order; `backlog_max` holds at once.
    ///
    /// # Errors
    /// The setting that is out of range, or [`Full`].
    pub fn reconfigure(&self, config: Config) -> Result<(), Refused> {
        config.validate()?;
        self.0.admit(Admission::Config(config)).map_err(|_| Refused::Full(Full))
    }

    /// Whether tasks have started, none of them can go on, and only a newcomer or [`Scheduler::fill`] changes
    /// that. Differs between replicas; may decide what is proposed, never what is executed.
    #[must_use]
    pub fn is_starving(&self) -> bool {
        self.0.is_starving()
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scheduler({:p})", Arc::as_ptr(&self.0))
    }
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
