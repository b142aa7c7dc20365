//! Runs an application: decided commands enter the deterministic scheduler in slot order, side by side and without
//! a barrier between slots, and outcomes are reported slot by slot.

mod line;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use smr_crypto::Digest;
use smr_uds::{Scheduler, TaskEnd};
use smr_wire::{ClientId, Slot, Timestamp};

use crate::application::{Application, Context, RestoreError};
use line::{Act, Line, Ticket};

/// An application and the line of operations before it. No call waits; what comes of it is reported to the sink.
///
/// The host has no threads. Commands run wherever the tasks of [`AnyHost::scheduler`] are polled: on
/// [`smr_uds::Workers`] in production, on [`smr_uds::Seeded`] in a simulation, which runs it after each operation
/// until nothing can be polled; everything that can be reported then has been.
pub struct Host<A>(Arc<Inner<A>>);

impl<A: Application> Host<A> {
    /// A host of `application` in the state that it starts with, before slot 1. `sink` is called for one event
    /// after the other, in order, on whichever thread made it happen. It must not wait; it may give operations.
    ///
    /// # Errors
    /// The setting that is out of range.
    pub fn new(application: A, config: HostConfig, sink: EventSink) -> Result<Host<A>, BadHostConfig> {
        let scheduler = Scheduler::new(config.validate()?)?;
        let desk = Mutex::new(Desk { line: Line::new(&config), busy: false });
        Ok(Host(Arc::new(Inner { application: Arc::new(application), scheduler, config, desk, sink })))
    }
}

/// A [`Host`], whatever its application: what a node and a simulation run.
///
/// Operations take effect in the order in which they are given, from one thread at a time.
pub trait AnyHost: Send + Sync {
    /// Executes a slot: [`HostEvent::Executed`]. Slots are given without gaps, those without commands too.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    fn execute(&self, work: SlotWork) -> Result<(), HostError>;

    /// Takes the state after `slot`, the last one given, once it and all before have ended and before anything
    /// later begins: [`HostEvent::SnapshotTaken`]. All replicas take them after the same slots, because one shapes
    /// the order of what comes after it: as on a replica that begins with this snapshot.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    fn snapshot(&self, slot: Slot) -> Result<(), HostError>;

    /// Makes the whole host start again from the state after `slot`: [`HostEvent::Restored`]. Whatever was given
    /// before and is not reported is dropped without a report; commands that run are waited for, not listened to.
    fn restore(&self, slot: Slot, snapshot: Vec<u8>);

    /// The ordered fill marker behind all slots given so far: their commands wait for no later ones. Wanted where
    /// the scheduler has several primaries, when [`Scheduler::is_starving`] for a while.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    fn fill(&self) -> Result<(), HostError>;

    /// Where the commands run; to be polled by somebody.
    fn scheduler(&self) -> &Scheduler;
}

impl<A: Application> AnyHost for Host<A> {
    fn execute(&self, work: SlotWork) -> Result<(), HostError> {
        self.0.desk().line.execute(work)?;
        self.0.pump();
        Ok(())
    }

    fn snapshot(&self, slot: Slot) -> Result<(), HostError> {
        self.0.desk().line.snapshot(slot)?;
        self.0.pump();
        Ok(())
    }

    fn restore(&self, slot: Slot, snapshot: Vec<u8>) {
        self.0.desk().line.restore(slot, snapshot);
        self.0.pump();
    }

    fn fill(&self) -> Result<(), HostError> {
        self.0.desk().line.fill()?;
        self.0.pump();
        Ok(())
    }

    fn scheduler(&self) -> &Scheduler {
        &self.0.scheduler
    }
}

impl<A> std::fmt::Debug for Host<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// Where a host reports to.
pub type EventSink = Arc<dyn Fn(HostEvent) + Send + Sync>;

/// What a host reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostEvent {
    /// A slot was executed; slots come in order.
    Executed {
        /// Which.
        slot: Slot,
        /// One for each command, in their order.
        outcomes: Vec<CommandOutcome>,
    },
    /// The state after a slot.
    SnapshotTaken {
        /// After which slot.
        slot: Slot,
        /// The state, as the application writes it.
        bytes: Vec<u8>,
    },
    /// The application panicked instead of giving its state. It is not executed any further until a restore.
    SnapshotFailed {
        /// After which slot.
        slot: Slot,
    },
    /// A state was restored, or cannot be; in that case nothing is executed until one can.
    Restored {
        /// After which slot.
        slot: Slot,
        /// Why not.
        result: Result<(), RestoreError>,
    },
}

/// The commands of one decided slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotWork {
    /// Which slot.
    pub slot: Slot,
    /// Its agreed time.
    pub time: Timestamp,
    /// Digest of the history up to it, from which chance is drawn.
    pub seed: Digest,
    /// The commands, in their order.
    pub commands: Vec<HostCommand>,
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostCommand {
    /// Whose it is.
    pub caller: ClientId,
    /// The bytes, for the application to understand.
    pub command: Vec<u8>,
}

/// What came of a command: the same on every replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandOutcome {
    /// The application's reply.
    Answer(Vec<u8>),
    /// There is none, for this reason.
    Fault(CommandFault),
}

/// Why a command has no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandFault {
    /// The application did what no deterministic task may do.
    #[error("the application failed at this command: {0}")]
    Task(#[from] smr_uds::Fault),
    /// The reply was dropped; the command has had its effect.
    #[error(
        "the reply has {bytes} bytes, but at most {bytes_max} are allowed; the command has had its effect"
    )]
    ReplyTooLong {
        /// Its length.
        bytes: u64,
        /// `reply_bytes_max`.
        bytes_max: u32,
    },
}

/// Settings of a host. `scheduler` and `reply_bytes_max` must be equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostConfig {
    /// How commands run side by side. Its `backlog_max` is ignored: the line before the scheduler bounds it.
    pub scheduler: smr_uds::Config,
    /// Commands in the scheduler at once, at least its `primaries`; later ones wait in line. Each costs its
    /// future's memory. 1..=1,048,576.
    pub commands_max: u32,
    /// Operations given and not yet reported at once, at least 1; more are refused.
    pub queue_slots_max: u32,
    /// Bytes of a reply at most; a longer one becomes [`CommandFault::ReplyTooLong`].
    pub reply_bytes_max: u32,
}

impl HostConfig {
    /// Settings around a scheduler's.
    #[must_use]
    pub const fn new(scheduler: smr_uds::Config) -> HostConfig {
        HostConfig { scheduler, commands_max: 1 << 14, queue_slots_max: 1024, reply_bytes_max: 1 << 20 }
    }

    /// The scheduler's settings, if all make sense.
    fn validate(&self) -> Result<smr_uds::Config, BadHostConfig> {
        self.scheduler.validate()?;
        let least = self.scheduler.primaries;
        if !(least..=1 << 20).contains(&self.commands_max) {
            return Err(BadHostConfig::Commands { commands_max: self.commands_max, least });
        }
        if self.queue_slots_max == 0 {
            return Err(BadHostConfig::Queue);
        }
        // Between two fill markers there is a command, so this much is never exceeded.
        Ok(smr_uds::Config { backlog_max: 2 * self.commands_max + 2, ..self.scheduler })
    }
}

/// A setting that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHostConfig {
    /// Of the scheduler.
    #[error(transparent)]
    Scheduler(#[from] smr_uds::BadConfig),
    /// A round of the scheduler could never fill, or memory would.
    #[error("commands_max is {commands_max}, but must be between {least} and 1048576")]
    Commands {
        /// What was given.
        commands_max: u32,
        /// `primaries` of the scheduler.
        least: u32,
    },
    /// There would be no room for any operation.
    #[error("queue_slots_max is 0, but must be at least 1")]
    Queue,
}

/// Why an operation was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostError {
    /// Slots are executed without gaps.
    #[error("slot {slot} was given, but {expected} comes next")]
    NotNext {
        /// What was given.
        slot: Slot,
        /// What would have been right.
        expected: Slot,
    },
    /// A snapshot is of the last slot given.
    #[error("a snapshot after slot {slot} was wanted, but {last} is the last one given")]
    NotLast {
        /// What was wanted.
        slot: Slot,
        /// What would have been right.
        last: Slot,
    },
    /// A restore has failed, or the application could not give its state.
    #[error("the application has no valid state; restore one first")]
    NoState,
    /// The line is full.
    #[error("{queue_slots_max} operations are not finished yet; give this one again later")]
    QueueFull {
        /// The limit.
        queue_slots_max: u32,
    },
}

struct Inner<A> {
    application: Arc<A>,
    scheduler: Scheduler,
    config: HostConfig,
    desk: Mutex<Desk>,
    sink: EventSink,
}

struct Desk {
    line: Line,
    /// Some thread does what the line wants, one thing after the other. That keeps admissions and reports in order
    /// without holding the mutex around them.
    busy: bool,
}

impl<A: Application> Inner<A> {
    /// Does whatever can be done now, unless somebody is at it already.
    fn pump(self: &Arc<Self>) {
        while let Some(act) = self.take() {
            let _idle = Idle(&self.desk);
            self.act(act);
        }
    }

    /// What this thread is to do now.
    fn take(&self) -> Option<Act> {
        let mut desk = self.desk();
        if desk.busy {
            return None;
        }
        let act = desk.line.next();
        desk.busy = act.is_some();
        act
    }

    fn act(self: &Arc<Self>, act: Act) {
        match act {
            Act::Admit { ticket, context, command } => self.admit(ticket, context, command),
            Act::Fill => self.scheduler.fill().expect("the line keeps within the scheduler's backlog"),
            Act::Snapshot { slot, restores } => {
                let event = match catch_unwind(AssertUnwindSafe(|| self.application.snapshot())) {
                    Ok(bytes) => HostEvent::SnapshotTaken { slot, bytes },
                    Err(_) => HostEvent::SnapshotFailed { slot },
                };
                self.rested(restores, event);
            }
            Act::Restore { slot, bytes, restores } => {
                let result = catch_unwind(AssertUnwindSafe(|| self.application.restore(&bytes)))
                    .unwrap_or_else(|_| Err(RestoreError::new("the application panicked at it")));
                self.rested(restores, HostEvent::Restored { slot, result });
            }
            Act::Report(event) => (self.sink)(event),
        }
    }

    fn admit(self: &Arc<Self>, ticket: Ticket, context: Context, command: Vec<u8>) {
        let application = Arc::clone(&self.application);
        let task = async move { application.execute(&context, &command).await };
        // Weak, because the scheduler owns the sink: a host that is dropped drops its tasks with it.
        let host: Weak<Self> = Arc::downgrade(self);
        let sink = move |end| {
            if let Some(host) = host.upgrade() {
                host.ended(ticket, end);
            }
        };
        self.scheduler.admit(task, sink).expect("the line keeps within the scheduler's backlog");
    }

    fn ended(self: &Arc<Self>, ticket: Ticket, end: TaskEnd<Vec<u8>>) {
        let bytes_max = self.config.reply_bytes_max;
        let outcome = match end {
            TaskEnd::Done(reply) if reply.len() > bytes_max as usize => {
                CommandOutcome::Fault(CommandFault::ReplyTooLong { bytes: reply.len() as u64, bytes_max })
            }
            TaskEnd::Done(reply) => CommandOutcome::Answer(reply),
            TaskEnd::Fault(fault) => CommandOutcome::Fault(fault.into()),
        };
        self.desk().line.ended(ticket, outcome);
        self.pump();
    }

    fn rested(&self, restores: u64, event: HostEvent) {
        let report = self.desk().line.rested(restores, event);
        report.into_iter().for_each(|event| (self.sink)(event));
    }
}

impl<A> Inner<A> {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("the line keeps its invariants, and nothing foreign runs under its mutex")
    }
}

/// Gives the desk free, also when the sink panics.
struct Idle<'a>(&'a Mutex<Desk>);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        if let Ok(mut desk) = self.0.lock() {
            desk.busy = false;
        }
    }
}

#[cfg(test)]
mod tests;
