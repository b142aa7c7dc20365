//! What an administrator may ask a replica, over a channel that proves the key named in the genesis. One question,
//! one answer, each a frame of JSON; so a newer administrator and an older replica understand each other as far as
//! they can.

mod client;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smr_client::connect::frame::{read_frame, write_frame};
use smr_crypto::{Digest, PublicKey};
use smr_replica::{Manifest, Phase, Voucher};
use smr_wire::{Epoch, Generation, ReplicaId, ServiceId, Slot, View};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::edge::Edge;
use crate::metrics::PeerReport;
use crate::node::{Control, Standing};
use crate::stall::Stall;
use crate::statement::{ServiceStatement, SignedServiceStatement};
use crate::trusted::CoreStatus;

pub use client::{Client, OperatorError};

/// What may be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How the replica is.
    Status,
    /// What it says, under its signature, the service's key is.
    Service,
    /// That it take this word for the key of its trusted core, which was begun anew.
    Vouch(Voucher),
    /// What it is to do where trusted cores are gone.
    Order(Order),
    /// That it ends.
    Stop,
}

/// What replicas are told of a generation whose trusted cores are gone; see [`smr_replica::restart`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To say nothing more that counts in it, and to decide nothing more above a slot.
    Cease {
        /// In which generation.
        generation: Generation,
        /// Above which slot.
        slot: Slot,
    },
    /// To end it.
    Restart(Manifest),
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Ask::Status`].
    Status(Box<NodeStatus>),
    /// To [`Ask::Service`]; none while there is no key.
    Service(Option<SignedServiceStatement>),
    /// To [`Ask::Vouch`]: it has it ordered, as long as it is of use; the status tells what came of it.
    Vouched,
    /// To [`Ask::Order`]: the status tells what came of it.
    Ordered,
    /// To [`Ask::Stop`]: it ends now.
    Stopping,
    /// To whom it does not answer, or to what it does not understand: why, in words.
    Refused(String),
}

/// What a replica is doing, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodePhase {
    /// The service has no key yet.
    GeneratingKey,
    /// It orders, executes and answers.
    Ready,
    /// It waits for the next primary.
    ChangingView,
    /// It is behind and fetches what it missed.
    CatchingUp,
    /// Its trusted core was begun anew: it follows until the administrator vouches for the core's new key.
    Rejoining,
    /// Its own state is wrong: it says nothing to clients until it has fetched the right one.
    Healing,
    /// It says nothing more to clients.
    Halted,
}

impl From<Phase> for NodePhase {
    fn from(phase: Phase) -> NodePhase {
        match phase {
            Phase::GeneratingKey => NodePhase::GeneratingKey,
            Phase::Ready => NodePhase::Ready,
            Phase::ChangingView => NodePhase::ChangingView,
            Phase::CatchingUp => NodePhase::CatchingUp,
            Phase::Rejoining => NodePhase::Rejoining,
            Phase::Healing => NodePhase::Healing,
            Phase::Halted => NodePhase::Halted,
        }
    }
}

impl std::fmt::Display for NodePhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NodePhase::GeneratingKey => "generating key",
            NodePhase::Ready => "ready",
            NodePhase::ChangingView => "changing view",
            NodePhase::CatchingUp => "catching up",
            NodePhase::Rejoining => "rejoining",
            NodePhase::Healing => "healing",
            NodePhase::Halted => "halted",
        })
    }
}

/// How a replica is: where it stands, and what its process has counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which service.
    pub service: ServiceId,
    /// The service's name.
    pub name: String,
    /// Which replica of it.
    pub replica: ReplicaId,
    /// How many replicas there are (n).
    pub replicas: usize,
    /// How many may fail at the same time (f).
    pub faults: u16,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub address: String,
    /// How long its process has run, in ms.
    pub uptime_ms: u64,
    /// Processor time that its process has used, and that of its core, in microseconds.
    #[serde(default)]
    pub cpu_us: u64,
    /// What it is doing.
    pub phase: NodePhase,
    /// The epoch of the service key's shares.
    pub epoch: Epoch,
    /// The set of voters it is in.
    #[serde(default)]
    pub generation: Generation,
    /// Whether the group counts on what it says; not while the others do not know its trusted core.
    pub votes: bool,
    /// The key of its trusted core, if the protocol asks one for anything; the service may know another one for it.
    #[serde(default)]
    pub core_key: Option<PublicKey>,
    /// How far it goes in this generation, if it was told to cease and that is on its disk.
    #[serde(default)]
    pub ceased: Option<Slot>,
    /// Why it did not follow the last order to end this generation, if it did not.
    #[serde(default)]
    pub not_restarted: Option<String>,
    /// The view it is in or on its way to.
    pub view: View,
    /// Who proposes in it.
    pub primary: ReplicaId,
    /// The last slot of its decided prefix.
    pub decided: Slot,
    /// The last slot it executed.
    pub executed: Slot,
    /// The last stable checkpoint.
    pub stable: Slot,
    /// Digest over everything ordered and answered up to `executed`: equal on all correct replicas.
    pub digest: Digest,
    /// Entries that wait to be ordered.
    pub waiting: usize,
    /// Sessions of clients.
    pub sessions: usize,
    /// Connections of clients.
    pub clients: usize,
    /// Whether it has a share of the service key.
    pub share: bool,
    /// Whether clients can verify that this is the service: it holds an endpoint certificate.
    pub certified: bool,
    /// How far key generation is, in words.
    pub ceremony: String,
    /// What is wrong with its own state, in words, until it has fetched the right one.
    #[serde(default)]
    pub healing: Option<String>,
    /// How often it had to.
    #[serde(default)]
    pub heals: u64,
    /// How much of a state it has fetched: chunks that are there, and all.
    #[serde(default)]
    pub fetched: Option<(u32, u32)>,
    /// Why it says nothing more to clients, in words, if it has come to that.
    pub halted: Option<String>,
    /// What stands behind its trusted core; none if the protocol asks no core for anything.
    #[serde(default)]
    pub core: Option<CoreStatus>,
    /// Why that core does not answer, if it does not; then this replica does not vote.
    #[serde(default)]
    pub core_stall: Option<Stall>,
    /// Counts by name.
    pub counters: BTreeMap<String, u64>,
    /// What it knows of the other replicas.
    pub peers: Vec<PeerReport>,
}

impl NodeStatus {
    fn new(edge: &Edge, standing: Standing) -> NodeStatus {
        let Standing { status, core_silent } = standing;
        NodeStatus {
            service: edge.service,
            name: edge.genesis.name.clone(),
            replica: edge.me,
            replicas: edge.group.size(),
            faults: edge.genesis.faults,
            pid: std::process::id(),
            address: edge.genesis.members[edge.me.index()].address.clone(),
            uptime_ms: u64::try_from(edge.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            cpu_us: cpu_us() + edge.core.as_ref().map_or(0, CoreStatus::cpu_us),
            phase: status.phase.into(),
            epoch: status.epoch,
            generation: status.generation,
            votes: status.votes,
            core_key: edge.core_key,
            ceased: status.ceased,
            not_restarted: status.not_restarted.map(|why| why.to_string()),
            view: status.view,
            primary: status.primary,
            decided: status.decided,
            executed: status.executed,
            stable: status.stable,
            digest: status.digest,
            waiting: status.waiting,
            sessions: status.sessions,
            clients: edge.clients.count(),
            share: status.share,
            certified: edge.published.borrow().certificate.is_some(),
            ceremony: status.ceremony,
            healing: status.healing.map(|flaw| flaw.to_string()),
            heals: status.heals,
            fetched: status.fetched,
            halted: status.halted.map(|halt| halt.to_string()),
            core: edge.core.clone(),
            core_stall: edge.core.as_ref().and_then(|core| Stall::of(core, core_silent)),
            counters: edge.metrics.counters.report(),
            peers: edge.metrics.peers(),
        }
    }
}

/// Processor time of this process so far, in microseconds.
fn cpu_us() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(used.tv_nsec / 1000).unwrap_or_default()
}

/// Serves one connection of the administrator until it ends.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(edge: Arc<Edge>, stream: S) {
    let Ok(_permit) = edge.operators.try_acquire() else {
        edge.metrics.counters.connections_refused.one();
        return turn_away(stream, "too many administrators are connected; try again later").await;
    };
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    loop {
        let frame = read_frame(&mut reader, edge.limits.operator_frame_bytes_max);
        let Ok(Ok(Some(bytes))) = timeout(edge.limits.client_idle, frame).await else { return };
        let Some(answer) = answer(&edge, &bytes).await else { return };
        let bytes = serde_json::to_vec(&answer).expect("an answer has text keys only");
        if write_frame(&mut writer, &bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        // Only once the answer is out, because with the replica ends this connection.
        if answer == Answer::Stopping {
            let _ = edge.control.send(Control::Stop).await;
        }
    }
}

/// How long somebody who is turned away may take to read why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Tells why there will be no answer, and closes the connection.
pub(crate) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, why: &str) {
    let answer = serde_json::to_vec(&Answer::Refused(why.to_owned())).expect("an answer has text keys only");
    let goodbye = async {
        write_frame(&mut stream, &answer).await?;
        stream.shutdown().await?;
        // A question that lies unread when the connection closes would make the system drop the answer.
        tokio::io::copy(&mut (&mut stream).take(LAST_BYTES_MAX), &mut tokio::io::sink()).await
    };
    let _ = timeout(LAST_WORDS, goodbye).await;
}

/// Bytes that are read of somebody who is turned away at most.
const LAST_BYTES_MAX: u64 = 64 << 10;

/// The answer; none if the replica is ending.
async fn answer(edge: &Edge, bytes: &[u8]) -> Option<Answer> {
    Some(match serde_json::from_slice(bytes) {
        Ok(Ask::Status) => Answer::Status(Box::new(status(edge).await?)),
        Ok(Ask::Service) => Answer::Service(service(edge)),
        Ok(Ask::Vouch(voucher)) => {
            edge.control.send(Control::Vouched(voucher)).await.ok()?;
            Answer::Vouched
        }
        Ok(Ask::Order(order)) => {
            edge.control.send(Control::Order(order)).await.ok()?;
            Answer::Ordered
        }
        Ok(Ask::Stop) => Answer::Stopping,
        Err(error) => Answer::Refused(error.to_string()),
    })
}

/// How the replica is; none if it is ending.
pub(crate) async fn status(edge: &Edge) -> Option<NodeStatus> {
    let (reply, answer) = oneshot::channel();
    edge.control.send(Control::Status(reply)).await.ok()?;
    Some(NodeStatus::new(edge, answer.await.ok()?))
}

fn service(edge: &Edge) -> Option<SignedServiceStatement> {
    let (epoch, service_key) = edge.published.borrow().key?;
    let statement = ServiceStatement { service: edge.service, epoch, service_key };
    Some(statement.sign(&edge.identity))
}
