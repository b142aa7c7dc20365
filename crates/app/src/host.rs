//! Runs an application: decided commands enter the deterministic scheduler in slot order, side by side and without
//! a barrier between slots, and outcomes are reported slot by slot.

mod errand;
mod kept;
mod line;
pub mod timers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Digest;
use smr_uds::{Resume, Scheduler, Sink, TaskEnd, WokenBy};
use smr_wire::{ClientId, Slot, Timestamp};

use crate::application::{Application, Asked, Context, Place, RestoreError, Surroundings, Unavailable};
use crate::state::{Chunk, Damaged, Taken};
use errand::Errand;
use kept::Kept;
use line::{Act, Line, Ticket};
use timers::Timers;

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
        let (application, timers) = (Arc::new(application), Timers::new());
        Ok(Host(Arc::new(Inner { application, scheduler, config, timers, desk, sink })))
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
    /// later begins: [`HostEvent::Checkpointed`]. All replicas take them after the same slots, because one shapes
    /// the order of what comes after it: as on a replica that begins with this state.
    ///
    /// While a cut that was reported is still kept by somebody, the next checkpoint waits, and whatever was given
    /// behind it; so the pages of two cuts are never kept beside those of now.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    fn checkpoint(&self, slot: Slot, strategy: Strategy) -> Result<(), HostError>;

    /// Makes the whole host start again from the state after `slot`: [`HostEvent::Restored`]. Whatever was given
    /// before and is not reported is dropped without a report; commands that run are waited for, not listened to.
    /// Memory of the chunks becomes the state's, where it is that of tables.
    fn restore(&self, slot: Slot, chunks: Vec<Chunk>);

    /// Flips a bit of the memory in which the application's state is ([`crate::state::State::flip_bit`]): for tests that see it
    /// found.
    fn flip_bit(&self, draw: u64) -> bool;

    /// When the first of the commands that wait for their time is due, as far as this host knows. A hint for whoever
    /// proposes; nothing begins before a slot with [`SlotWork::timers`].
    fn due(&self) -> Option<Timestamp>;

    /// Where the commands run; to be polled by somebody.
    fn scheduler(&self) -> &Scheduler;
}

impl<A: Application> AnyHost for Host<A> {
    fn execute(&self, work: SlotWork) -> Result<(), HostError> {
        self.0.desk().line.execute(work)?;
        self.0.pump();
        Ok(())
    }

    fn checkpoint(&self, slot: Slot, strategy: Strategy) -> Result<(), HostError> {
        self.0.desk().line.checkpoint(slot, strategy)?;
        self.0.pump();
        Ok(())
    }

    fn restore(&self, slot: Slot, chunks: Vec<Chunk>) {
        self.0.desk().line.restore(slot, chunks);
        self.0.pump();
    }

    fn flip_bit(&self, draw: u64) -> bool {
        self.0.application.state().is_some_and(|state| state.flip_bit(draw))
    }

    fn due(&self) -> Option<Timestamp> {
        self.0.timers.due()
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
        /// One for each command, in their order; none for those that wait on a condition.
        outcomes: Vec<Option<CommandOutcome>>,
        /// Of commands of earlier slots that waited, and were woken here or began again here; by place.
        late: Vec<LateOutcome>,
    },
    /// The state after a slot: what the application has, the commands that wait and the timers.
    Checkpointed {
        /// After which slot.
        slot: Slot,
        /// The state. Chunks are made of it on another thread, where they are not made yet.
        state: Taken,
    },
    /// There is no state after a slot. Nothing is executed any further until a restore.
    CheckpointFailed {
        /// After which slot.
        slot: Slot,
        /// Why not.
        why: CheckpointFailure,
    },
    /// A state was restored, or cannot be; in that case nothing is executed until one can.
    Restored {
        /// After which slot.
        slot: Slot,
        /// Why not.
        result: Result<(), RestoreError>,
    },
}

/// Why a host has no state to give.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointFailure {
    /// The application panicked.
    #[error("the application panicked instead of giving its state")]
    Panicked,
    /// Memory has failed.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// When the chunks of a checkpoint are made. Both come to the same ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub enum Strategy {
    /// While no command runs.
    Quiescent,
    /// While later commands run: they wait for the cut alone. What they write is copied first, page by page.
    #[default]
    Rolling,
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
    /// Commands whose time has come begin first.
    pub timers: bool,
    /// A fill marker stands behind the commands: they and those before them wait for no later ones. Wanted when
    /// [`Scheduler::is_starving`] for a while.
    pub fill: bool,
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostCommand {
    /// Whose it is.
    pub caller: ClientId,
    /// The bytes, for the application to understand.
    pub command: Vec<u8>,
}

/// What came of a command that has waited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LateOutcome {
    /// The slot that it came with.
    pub slot: Slot,
    /// Its position among the commands there.
    pub position: u32,
    /// The outcome.
    pub outcome: CommandOutcome,
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
        // Between two fill markers there is a command, and there is one suspension, so this is never exceeded.
        Ok(smr_uds::Config { backlog_max: 2 * self.commands_max + 4, ..self.scheduler })
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
    /// A checkpoint is of the last slot given.
    #[error("a checkpoint after slot {slot} was wanted, but {last} is the last one given")]
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
    timers: Timers,
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
            Act::Admit { ticket } => self.admit(ticket),
            Act::Timers { ticket } => self.admit_timers(ticket),
            Act::Fill => self.scheduler.fill().expect(ROOM),
            Act::Suspend => {
                let host = Arc::downgrade(self);
                let reached = move |suspension| {
                    if let Some(host) = host.upgrade() {
                        host.desk().line.suspended(suspension);
                        host.pump();
                    }
                };
                self.scheduler.suspend(reached).expect(ROOM);
            }
            Act::Resume => self.scheduler.resume(Resume::Recall).expect("it is suspended"),
            Act::Checkpoint { slot, strategy, trace, waiting, restores } => {
                let taken = catch_unwind(AssertUnwindSafe(|| self.take_state(strategy, trace, waiting)));
                let taken = taken.unwrap_or(Err(CheckpointFailure::Panicked));
                let event = match taken {
                    Ok(state) => HostEvent::Checkpointed { slot, state },
                    Err(why) => HostEvent::CheckpointFailed { slot, why },
                };
                self.rested(restores, event, Vec::new());
            }
            Act::Restore { slot, chunks, restores } => {
                let (result, waiting) = match self.restore(&chunks) {
                    Ok(waiting) => (Ok(()), waiting),
                    Err(error) => (Err(error), Vec::new()),
                };
                self.rested(restores, HostEvent::Restored { slot, result }, waiting);
            }
            Act::Report(event) => (self.sink)(event),
        }
    }

    fn take_state(
        self: &Arc<Self>,
        strategy: Strategy,
        trace: u64,
        waiting: Vec<Arc<Errand>>,
    ) -> Result<Taken, CheckpointFailure> {
        let (cut, kept) = (self.application.cut(), Kept::new(trace, waiting, &self.timers));
        self.desk().line.cut_taken();
        let host = Arc::downgrade(self);
        let cut = cut.within(
            move || kept.chunks(),
            move || {
                if let Some(host) = host.upgrade() {
                    host.desk().line.cut_dropped();
                    host.pump();
                }
            },
        );
        Ok(match strategy {
            Strategy::Quiescent => Taken::Chunks(cut.chunks()?),
            Strategy::Rolling => Taken::Cut(cut),
        })
    }

    /// The commands that wait in the restored state.
    fn restore(&self, chunks: &[Chunk]) -> Result<Vec<Arc<Errand>>, RestoreError> {
        let (kept, application) = Kept::read(chunks)?;
        catch_unwind(AssertUnwindSafe(|| self.application.restore_chunks(application)))
            .unwrap_or_else(|_| Err(RestoreError::new("the application panicked at it")))?;
        Ok(kept.take_over(&self.timers))
    }

    fn admit(self: &Arc<Self>, ticket: Ticket) {
        // Weak, because the scheduler owns what is made here: a host that is dropped drops its tasks with it.
        let (application, host) = (Arc::clone(&self.application), Arc::downgrade(self));
        let make = move || {
            let application = Arc::clone(&application);
            let begins = host.upgrade().and_then(|host| host.begins(ticket));
            async move {
                match begins {
                    Some((context, errand)) => application.execute(&context, &errand.command).await,
                    None => Vec::new(),
                }
            }
        };
        let admitted = self.scheduler.admit_restartable(make, self.follow(ticket));
        assert!(admitted.expect(ROOM) == ticket.0, "the scheduler counts as the line does");
    }

    /// Admits a task that begins what is due.
    fn admit_timers(self: &Arc<Self>, ticket: Ticket) {
        let host = Arc::downgrade(self);
        let make = move || {
            let host = host.clone();
            async move {
                // Only a guard of the desk keeps the host alive across an await, which nobody waits for.
                let Some(host) = host.upgrade() else { return Vec::new() };
                let Some((errand, now)) = host.desk().line.begins(ticket) else { return Vec::new() };
                for (index, (caller, command)) in (0..).zip(host.timers.take_due(now).await) {
                    let place = Place { path: vec![index], ..errand.place.clone() };
                    host.spawn(ticket, now, Errand { place, caller, command }).await;
                }
                Vec::new()
            }
        };
        let admitted = self.scheduler.admit_restartable(make, self.follow(ticket));
        assert!(admitted.expect(ROOM) == ticket.0, "the scheduler counts as the line does");
    }

    fn follow(self: &Arc<Self>, ticket: Ticket) -> Follow<A> {
        Follow { host: Arc::downgrade(self), ticket }
    }

    /// What begins under `ticket`, unless a restore has overtaken it.
    fn begins(self: &Arc<Self>, ticket: Ticket) -> Option<(Context, Arc<Errand>)> {
        let (errand, now) = self.desk().line.begins(ticket)?;
        let surroundings = Arc::new(Around { host: Arc::downgrade(self), ticket, now });
        Some((Context::hosted(errand.caller, now, errand.place.clone(), surroundings), errand))
    }

    /// Begins a command in the block of `parent`.
    async fn spawn(self: &Arc<Self>, parent: Ticket, now: Timestamp, errand: Errand) {
        self.desk().line.spawned(parent);
        let child = Child { host: Arc::downgrade(self), parent };
        let surroundings = Arc::new(Around { host: Arc::downgrade(self), ticket: parent, now });
        let context = Context::hosted(errand.caller, now, errand.place, surroundings);
        let application = Arc::clone(&self.application);
        smr_uds::spawn(async move {
            let _child = child;
            application.execute(&context, &errand.command).await;
        })
        .await;
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

    fn rested(&self, restores: u64, event: HostEvent, waiting: Vec<Arc<Errand>>) {
        let is_wanted = self.desk().line.rested(restores, &event, waiting);
        // What nobody wants is dropped here: a cut in it tells the desk that it is gone.
        if is_wanted {
            (self.sink)(event);
        }
    }
}

const ROOM: &str = "the line keeps within the scheduler's backlog";

impl<A> Inner<A> {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("the line keeps its invariants, and nothing foreign runs under its mutex")
    }
}

/// Tells the line what becomes of a command.
struct Follow<A> {
    host: Weak<Inner<A>>,
    ticket: Ticket,
}

impl<A: Application> Sink<Vec<u8>> for Follow<A> {
    fn waits(&mut self) {
        if let Some(host) = self.host.upgrade() {
            host.desk().line.waits(self.ticket);
            host.pump();
        }
    }

    fn woken(&mut self, by: WokenBy) {
        if let Some(host) = self.host.upgrade() {
            host.desk().line.woken(self.ticket, by);
        }
    }

    fn ended(self, end: TaskEnd<Vec<u8>>) {
        if let Some(host) = self.host.upgrade() {
            host.ended(self.ticket, end);
        }
    }
}

/// A spawned command, from before it begins until it is over, in whatever way: dropped with its future.
struct Child<A: Application> {
    host: Weak<Inner<A>>,
    parent: Ticket,
}

impl<A: Application> Drop for Child<A> {
    fn drop(&mut self) {
        if let Some(host) = self.host.upgrade() {
            host.desk().line.spawned_ended(self.parent);
            host.pump();
        }
    }
}

/// The host, as a command sees it.
struct Around<A> {
    host: Weak<Inner<A>>,
    ticket: Ticket,
    now: Timestamp,
}

impl<A: Application> Surroundings for Around<A> {
    fn spawn(&self, place: Place, caller: ClientId, command: Vec<u8>) -> Asked<'_> {
        Box::pin(async move {
            let host = self.host.upgrade().ok_or(Unavailable::NoHost)?;
            host.spawn(self.ticket, self.now, Errand { place, caller, command }).await;
            Ok(())
        })
    }

    fn after(&self, due: Timestamp, place: Place, caller: ClientId, command: Vec<u8>) -> Asked<'_> {
        Box::pin(async move {
            let host = self.host.upgrade().ok_or(Unavailable::NoHost)?;
            host.timers.add(due, Errand { place, caller, command }).await
        })
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
impl<A: Application> Host<A> {
    pub(crate) fn application(&self) -> &A {
        &self.0.application
    }
}

#[cfg(test)]
mod tests;
