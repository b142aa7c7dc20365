//! One replica at work: a task that owns the [`Replica`] value, feeds it and does what it says, in order.
//!
//! ```text
//!   peers ---checked---\                      /--- links to peers
//!   clients --checked---> inbox -> step -> effects --- connections of clients
//!   timers, host, jobs -/                     \--- host, jobs, timers
//! ```

mod care;
mod jobs;
mod timers;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smr_app::{AnyHost, EventSink, HostConfig, HostEvent, SlotWork, Strategy};
use smr_replica::{
    CannotGoOn, Chunked, Effect, Event, Gate, Genesis, Input, Observation, Replica, Status, Voucher,
};
use smr_uds::Workers;
use smr_wire::{ReplicaId, Slot, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::applications::Applications;
use crate::budget::Budget;
use crate::channel::Acceptor;
use crate::edge::{Edge, Published, Queues};
use crate::identity::Identity;
use crate::inbox::{Results, Waiting};
use crate::limits::Limits;
use crate::metrics::RefusalKind;
use crate::operator::{self, NodeStatus, Order};
use crate::peers::Peers;
use crate::stall::Silence;
use crate::store::{Keeper, Opened, Progress};
use crate::trusted::{Answer, Born, CoreError, Lost, Place, TrustedCore};
use care::{Care, Looker};
use jobs::Jobs;
use timers::Timers;

#[cfg(feature = "misbehave")]
use crate::misbehave::{Liar, Misbehaviour};

/// A replica at work. Dropping it ends it abruptly; [`Node::stop`] does so in order.
pub struct Node {
    edge: Arc<Edge>,
    /// None once its end was told.
    core: Option<JoinHandle<Result<(), Ended>>>,
    listener: JoinHandle<()>,
}

/// What a replica is made from.
pub struct Parts {
    /// How its service began; validated.
    pub genesis: Arc<Genesis>,
    /// Which member it is.
    pub me: ReplicaId,
    /// Its secrets.
    pub identity: Identity,
    /// Its trusted core.
    pub core: Born,
    /// Where it takes connections.
    pub listener: TcpListener,
    /// Threads that execute commands, and as many again that sign.
    pub workers: NonZeroUsize,
    /// Limits of its edge.
    pub limits: Limits,
    /// What is on its disk, if the service keeps anything there.
    pub disk: Option<Disk>,
    /// How it lies.
    #[cfg(feature = "misbehave")]
    pub misbehaviour: Option<Misbehaviour>,
}

/// A replica's disk, opened.
#[derive(Debug)]
pub struct Disk(pub(crate) Opened);

impl Node {
    /// Starts a replica, in the runtime that this is called in.
    ///
    /// # Errors
    /// The application is unknown or refuses its settings, the system gives no threads, the trusted core does not take its
    /// place, or what is on disk does not fit together.
    pub fn start(parts: Parts, applications: &Applications) -> Result<Node, StartError> {
        let Parts { genesis, me, identity, listener, workers, limits, .. } = parts;
        let asked = genesis.members[me.index()].core.is_some();
        let known = asked.then(|| (parts.core.key(), parts.core.status().clone()));
        let (edge, queues) = Edge::new(genesis.clone(), me, identity.identity().clone(), known, limits);
        let sink = host_sink(edge.sources.results.clone());
        let config = host_config(&genesis);
        let host = applications.start(&genesis.application, config, sink).ok_or_else(|| {
            let known = applications.names().collect::<Vec<_>>().join(", ");
            StartError::UnknownApplication { wanted: genesis.application.clone(), known }
        })??;
        let executor = Workers::start(host.scheduler(), workers).map_err(StartError::Threads)?;
        let jobs = Jobs::start(workers).map_err(StartError::Threads)?;
        let place = Place::of(&edge.group, genesis.config.consensus.window_slots, me);
        let results = edge.sources.results.clone();
        let deliver = Arc::new(move |answer| {
            results.put(match answer {
                Answer::Attested(answer) => Event::Attested(answer),
                Answer::Dealt(answer) => Event::Dealt(answer),
            });
        });
        let (trusted, lost) = parts.core.join(place, deliver)?;
        let (progress, disk_progress) = watch::channel(Progress::default());
        let (found, store) = parts.disk.map(|Disk(opened)| (opened.found, opened.store)).unzip();
        let start = |store| Keeper::start(store, progress, edge.sources.results.clone());
        let disk = store.map(start).transpose().map_err(StartError::Threads)?;
        let replica = Replica::resume(
            genesis,
            me,
            identity.secrets(),
            edge.core_key,
            edge.verifier.clone(),
            found.unwrap_or_default(),
        )?;
        let now = Instant::now();
        let budgets = edge.group.members().map(|_| Budget::new(edge.limits.answers, now)).collect();
        let core = Core {
            #[cfg(feature = "misbehave")]
            liar: parts.misbehaviour.map(|how| Liar::new(how, &edge)),
            trusted,
            silence: Silence::default(),
            replica,
            peers: Peers::dial(&edge, identity.channel()),
            host,
            held: VecDeque::new(),
            in_host: 0,
            jobs,
            disk,
            gate: Gate::default(),
            timers: Timers::default(),
            care: Care::default(),
            budgets,
            asker: None,
            effects: Vec::new(),
            edge: edge.clone(),
        };
        let accepting = crate::listener::listen(edge.clone(), listener, Acceptor::new(identity.channel()));
        Ok(Node {
            core: Some(tokio::spawn(core.run(queues, executor, Ends { lost, disk: disk_progress }))),
            listener: tokio::spawn(accepting),
            edge,
        })
    }

    /// How it is; none if it has ended.
    pub async fn status(&self) -> Option<NodeStatus> {
        operator::status(&self.edge).await
    }

    /// Waits until it ends: told so by the administrator, or in another way, which is told once.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn ended(&mut self) -> Result<(), Ended> {
        let Some(core) = &mut self.core else { return Ok(()) };
        let ended = core.await.map_err(|error| Ended::Panicked(error.to_string()));
        self.core = None;
        ended?
    }

    /// Ends it: connections close, threads end.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn stop(mut self) -> Result<(), Ended> {
        // If nobody listens any more it has ended by itself, and how shows below.
        let _ = self.edge.control.send(Control::Stop).await;
        self.ended().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listener.abort();
        self.core.iter().for_each(JoinHandle::abort);
    }
}

/// Orders and questions for the core.
pub(crate) enum Control {
    /// Where it stands.
    Status(oneshot::Sender<Standing>),
    /// The administrator vouches for the core.
    Vouched(Voucher),
    /// The administrator is about to end, or ends, a generation that lost its cores.
    Order(Order),
    /// End.
    Stop,
}

/// Where a replica stands, and what its loop knows besides.
pub(crate) struct Standing {
    pub(crate) status: Status,
    /// How long its trusted core has owed answers and given none.
    pub(crate) core_silent: Option<Duration>,
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The genesis names an application that is not in this program.
    #[error("the service runs the application `{wanted}`, but this program has only: {known}")]
    UnknownApplication {
        /// What the genesis names.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// Settings of the application's host.
    #[error(transparent)]
    Host(#[from] smr_app::host::BadHostConfig),
    /// No threads.
    #[error("the system gives no threads: {0}")]
    Threads(#[source] io::Error),
    /// The trusted core does not take its place.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// What is on disk.
    #[error(transparent)]
    Disk(#[from] CannotGoOn),
}

/// How a replica ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Its own task panicked: a mistake in this program.
    #[error("the replica failed by a mistake in this program: {0}")]
    Panicked(String),
    /// Its trusted core is gone.
    #[error(transparent)]
    WithCore(#[from] CoreError),
    /// What it promises cannot be written down.
    #[error(
        "the disk does not take what this replica has to write down ({0}), so it says nothing more; what it said is safe. \
         Make room, or mend the disk, and start it again"
    )]
    Disk(String),
}

/// From outside the core: what ends a replica, or lets what waits leave.
struct Ends {
    lost: Lost,
    disk: watch::Receiver<Progress>,
}

/// How commands run; the same on every replica of the service.
fn host_config(genesis: &Genesis) -> HostConfig {
    let config = HostConfig::new(genesis.scheduling.config().expect("a genesis was validated"));
    HostConfig { reply_bytes_max: genesis.config.reply_bytes_max, queue_slots_max: 2 * IN_HOST_MAX, ..config }
}

/// Operations that the host is given at once. It takes twice as many, because the count of them may be too low by
/// as many after a restore.
const IN_HOST_MAX: u32 = 512;

/// Hands what the host reports to the core: the host takes a limited number of operations and reports each once.
fn host_sink(results: Results) -> EventSink {
    Arc::new(move |event| {
        results.put(match event {
            HostEvent::Executed { slot, outcomes, late } => Event::Executed { slot, outcomes, late },
            HostEvent::Checkpointed { slot, state } => Event::Checkpointed { slot, state: Ok(state) },
            HostEvent::CheckpointFailed { slot, why } => {
                Event::Checkpointed { slot, state: Err(why.to_string()) }
            }
            HostEvent::Restored { slot, result } => {
                Event::Restored { slot, result: result.map_err(|error| error.to_string()) }
            }
        });
    })
}

/// Effects that wait for the disk at most before the core takes in no more. It has room for what a turn brings.
const HELD_MAX: usize = 4096;

/// An operation for the host.
enum HostWork {
    Execute(SlotWork),
    Checkpoint(Slot, Strategy),
}

struct Core {
    edge: Arc<Edge>,
    replica: Replica,
    /// What never says two things, whatever else this process is made to say.
    trusted: TrustedCore,
    silence: Silence,
    peers: Peers,
    host: Box<dyn AnyHost>,
    /// Operations that the host had no room for; in order. As limited as the replica's slots in execution.
    held: VecDeque<HostWork>,
    /// Operations that the host has and has not reported.
    in_host: u32,
    jobs: Jobs,
    /// Where it writes down what it is bound to.
    disk: Option<Keeper>,
    /// What waits until that is done.
    gate: Gate,
    timers: Timers,
    care: Care,
    /// What each member may still have answered, by index.
    budgets: Vec<Budget>,
    /// Whose question is being taken; what is sent to it meanwhile is the answer.
    asker: Option<ReplicaId>,
    effects: Vec<Effect>,
    #[cfg(feature = "misbehave")]
    liar: Option<Liar>,
}

impl Core {
    /// Runs until it is told to end, the trusted core is gone, or the disk takes no more: a replica without them can only be
    /// in the way.
    async fn run(mut self, mut queues: Queues, executor: Workers, mut ends: Ends) -> Result<(), Ended> {
        self.step(Event::Start);
        let mut turn = Vec::new();
        let end = loop {
            match self.wake(&mut queues, &mut turn, &mut ends).await {
                Next::GoOn => {}
                Next::End => break Ok(()),
                Next::EndFor(why) => {
                    error!(%why, "this replica ends");
                    break Err(why);
                }
            }
            for waiting in turn.drain(..) {
                self.take(waiting);
            }
            self.publish();
        };
        // Commands that run may take their time; the runtime's threads do not wait for them.
        let _ = tokio::task::spawn_blocking(move || executor.stop()).await;
        // Its threads write what they were given before they end.
        drop(self);
        while ends.disk.changed().await.is_ok() {}
        end
    }

    /// Waits for something to happen, and gathers a turn of it.
    async fn wake(&mut self, queues: &mut Queues, turn: &mut Vec<Waiting>, ends: &mut Ends) -> Next {
        while let Some(timer) = self.timers.due(Instant::now()) {
            self.step(Event::Timer(timer));
        }
        self.look_after_host();
        let timer = self.timers.next().into_iter().chain(self.care.next()).min();
        tokio::select! {
            biased;
            // Its other end goes only once it has told why.
            Ok(gone) = &mut ends.lost => return Next::EndFor(gone.into()),
            Ok(()) = ends.disk.changed() => {
                let Progress { durable, failed } = ends.disk.borrow_and_update().clone();
                if let Some(why) = failed {
                    return Next::EndFor(Ended::Disk(why));
                }
                self.let_through(durable);
            }
            Some(control) = queues.control.recv() => match control {
                Control::Status(reply) => {
                    let core_silent = self.silence.lasts(Instant::now());
                    let mut status = self.replica.status();
                    // Said to the administrator it is a promise.
                    status.ceased = status.ceased.filter(|_| self.gate.is_open());
                    let _ = reply.send(Standing { status, core_silent });
                }
                Control::Vouched(voucher) => self.step(Event::Vouched(voucher)),
                Control::Order(Order::Cease { generation, slot }) => self.step(Event::Cease { generation, slot }),
                Control::Order(Order::Restart(manifest)) => self.step(Event::Restart(manifest)),
                Control::Stop => return Next::End,
            },
            () = queues.inbox.turn(turn), if self.gate.held() < HELD_MAX => {}
            () = tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {}
        }
        Next::GoOn
    }

    /// Sees whether the application starves or is to begin timed commands.
    fn look_after_host(&mut self) {
        let now = Instant::now();
        if !self.care.is_time(now, self.in_host) {
            return;
        }
        let looker = if self.replica.is_primary() { Looker::Primary } else { Looker::Other };
        let needs = self.care.look(now, clock(), looker, self.in_host, &*self.host);
        if needs.timers {
            self.step(Event::TimersDue);
        }
        if needs.fill {
            self.step(Event::Starving);
        }
    }

    /// Takes what has waited, unless it is a question of one who has had enough answered.
    fn take(&mut self, waiting: Waiting) {
        if let Some(asker) = waiting.asker
            && !self.budgets[asker.index()].allows(Instant::now())
        {
            self.edge.metrics.peer(asker).refuse(RefusalKind::AskedTooMuch);
            return;
        }
        self.asker = waiting.asker;
        self.step(waiting.event);
        self.asker = None;
    }

    fn step(&mut self, event: Event) {
        let counters = &self.edge.metrics.counters;
        counters.events.one();
        #[cfg(feature = "misbehave")]
        let event = match &mut self.liar {
            Some(liar) => liar.bend(event),
            None => event,
        };
        let finished = matches!(event, Event::Executed { .. } | Event::Checkpointed { .. });
        if let Event::Attested(_) | Event::Dealt(_) = &event {
            counters.attested.one();
            self.trusted.answered();
            self.silence.answered(Instant::now());
        }
        if let Event::Executed { outcomes, .. } = &event {
            counters.slots_executed.one();
            counters.commands_executed.add(outcomes.len() as u64);
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.replica.step(Input { clock: clock(), event }, &mut effects);
        for effect in effects.drain(..) {
            self.pass(effect);
        }
        self.effects = effects;
        if finished {
            // Reports of what a restore has replaced may still come; they make the count too low by as many.
            self.in_host = self.in_host.saturating_sub(1);
            self.give_held();
        }
    }

    /// Does what the replica wants, or keeps it until what it promised is on disk.
    fn pass(&mut self, effect: Effect) {
        let Some(disk) = &mut self.disk else { return self.act(effect) };
        match effect {
            Effect::Persist(record) => {
                let ticket = disk.append(&record);
                if record.is_promise() {
                    self.gate.written(ticket);
                }
            }
            Effect::Keep { certificate, image } => disk.keep(&certificate, image),
            Effect::Prune { slot, standing } => disk.prune(slot, &standing),
            effect => {
                self.charge_held(&effect);
                if let Some(effect) = self.gate.pass(effect) {
                    self.act(effect);
                }
            }
        }
    }

    /// An answer costs whoever asked, though it has to wait.
    fn charge_held(&mut self, effect: &Effect) {
        if let Effect::Send { to, message } = effect
            && self.asker == Some(*to)
            && !self.gate.is_open()
        {
            self.budgets[to.index()].charge(smr_wire::encode(message).len());
        }
    }

    /// The disk has written everything up to this ticket.
    fn let_through(&mut self, durable: u64) {
        for effect in self.gate.durable(durable) {
            self.act(effect);
        }
    }

    fn act(&mut self, effect: Effect) {
        #[cfg(feature = "misbehave")]
        let Some(effect) = (match &mut self.liar {
            Some(liar) => liar.twist(effect, &self.peers),
            None => Some(effect),
        }) else {
            return;
        };
        match effect {
            Effect::Send { to, message } => {
                let bytes = self.peers.send(to, &message);
                if self.asker == Some(to) {
                    self.budgets[to.index()].charge(bytes);
                }
            }
            Effect::Broadcast(message) => self.peers.broadcast(&message),
            Effect::Attest(operation) => {
                self.silence.asked(Instant::now());
                self.trusted.ask(operation);
            }
            Effect::Regroup(voters) => {
                self.peers.say_in(voters.generation);
                self.edge.regroup(voters);
            }
            Effect::Deal(attempt) => {
                self.silence.asked(Instant::now());
                self.trusted.deal(attempt);
            }
            Effect::Execute(work) => self.give(HostWork::Execute(work)),
            Effect::Checkpoint { slot, strategy } => self.give(HostWork::Checkpoint(slot, strategy)),
            Effect::Restore { slot, chunks } => {
                // It replaces whatever was to come before it.
                self.held.clear();
                self.in_host = 0;
                self.host.restore(slot, chunks);
            }
            Effect::Sign { statement, digest, share } => {
                let edge = self.edge.clone();
                self.jobs.put(move || {
                    let share = share.sign(&digest);
                    edge.metrics.counters.shares_signed.one();
                    edge.sources.results.put(Event::Signed { statement, digest, share });
                });
            }
            Effect::Combine { statement, digest, shares, key } => {
                let edge = self.edge.clone();
                self.jobs.put(move || {
                    let (signature, culprits) = match key.combine_verified(&digest, &shares) {
                        Ok(combined) => (Some(combined.signature), combined.culprits),
                        Err(bad) => (None, bad.culprits),
                    };
                    edge.metrics.counters.combined.one();
                    let culprits = culprits.into_iter().map(ReplicaId).collect();
                    edge.sources.results.put(Event::Combined { statement, digest, signature, culprits });
                });
            }
            Effect::Chunk { slot, turn, system, application } => {
                let results = self.edge.sources.results.clone();
                self.jobs.put(move || {
                    let state = application.chunks().map(|chunks| Chunked::new(&system, chunks));
                    let state = state.map_err(|damaged| damaged.to_string());
                    results.put(Event::Chunked { slot, turn, state });
                });
            }
            Effect::Reply { connection, reply } => {
                self.edge.metrics.counters.replies.one();
                let_go(self.edge.clients.reply(connection, &reply));
            }
            Effect::Hint { connection, about, hint } => {
                self.edge.metrics.counters.hints.one();
                let_go(self.edge.clients.hint(connection, about, &hint));
            }
            Effect::Arm { timer, after_ms } => {
                self.timers.arm(timer, Instant::now(), Duration::from_millis(after_ms));
            }
            Effect::Disarm(timer) => self.timers.disarm(timer),
            // Nothing is kept, so nothing waits for it either.
            Effect::Persist(_) | Effect::Prune { .. } => {}
            Effect::Keep { certificate, .. } => {
                self.edge.sources.results.put(Event::Kept(certificate.checkpoint.slot));
            }
            Effect::Report(observation) => report(&observation),
        }
    }

    fn give(&mut self, work: HostWork) {
        self.held.push_back(work);
        self.give_held();
    }

    /// Gives the host what waits, as far as it has room.
    fn give_held(&mut self) {
        while self.in_host < IN_HOST_MAX
            && let Some(work) = self.held.pop_front()
        {
            self.in_host += 1;
            let given = match work {
                HostWork::Execute(slot) => {
                    let counters = &self.edge.metrics.counters;
                    counters.slots_given.one();
                    counters.slots_filled.add(slot.fill.into());
                    self.host.execute(slot)
                }
                HostWork::Checkpoint(slot, strategy) => self.host.checkpoint(slot, strategy),
            };
            // The replica has halted and said so, or the program is wrong; in both cases nothing is executed.
            if let Err(error) = given {
                error!(%error, "the application's host refuses an operation");
            }
        }
    }

    /// Shows connections what they may be told without asking the core.
    fn publish(&self) {
        let certificate = self.replica.endpoint_certificate();
        let key = self.replica.group_key().map(|(epoch, key)| (epoch, key.service_key));
        self.edge.published.send_if_modified(|published| {
            let issued = |c: &smr_wire::EndpointCertificate| (c.endpoints.epoch, c.endpoints.issued);
            let changed =
                published.key != key || published.certificate.as_ref().map(issued) != certificate.map(issued);
            if changed {
                *published = Published { certificate: certificate.cloned(), key };
            }
            changed
        });
    }
}

fn let_go(connections: usize) {
    if connections > 0 {
        debug!(connections, "clients do not read; their connections are closed");
    }
}

/// Whether the core goes on.
enum Next {
    GoOn,
    End,
    /// It cannot.
    EndFor(Ended),
}

/// The machine's clock. One before 1970 is shown as 1970, and then this replica takes part in no proposal.
fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn report(observation: &Observation) {
    match observation {
        Observation::Halted(why) => error!(%why, "this replica says nothing more to clients"),
        Observation::Flawed(flaw) => {
            warn!(%flaw, "this replica's state is wrong: it says nothing to clients until it has the right one");
        }
        Observation::Healed(slot) => {
            warn!(slot = slot.0, "this replica has fetched the right state and goes on");
        }
        Observation::Diverged { .. }
        | Observation::NotRestarted(_)
        | Observation::TransferFailed(_)
        | Observation::BadShare(_)
        | Observation::CoresBroken(_) => {
            warn!(?observation, "something is wrong");
        }
        Observation::Stable(_) => debug!(?observation, "checkpoint"),
        _ => info!(?observation, "progress"),
    }
}
