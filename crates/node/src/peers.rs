//! Links between replicas. Each replica dials every other one and only sends on what it dialled; what it accepts,
//! it only receives on. A message is checked on its link's own task, so links verify side by side, and waits there
//! for room at the core, so that a peer that floods holds up nobody but itself.
//!
//! ```text
//!   core -> outbox of peer -> dialled link -> Hello, Message, Message ... -> accepted link -> check -> core
//! ```

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_client::connect::frame::{read_frame, write_frame};
use smr_client::connect::tls::ChannelKey;
use smr_replica::{Event, Incoming, Message};
use smr_wire::client::WIRE_VERSION;
use smr_wire::{Generation, ReplicaId, ServiceId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::channel::{Dialer, Role};
use crate::edge::Edge;
use crate::metrics::RefusalKind;
use crate::outbox::Outbox;

/// The sending side of all links, and which accepted link of each peer is the current one.
pub(crate) struct Peers {
    edge: Arc<Edge>,
    outboxes: Vec<Option<Arc<PeerOutbox>>>,
    says_in: Generation,
    // Ends with the peers.
    _dialled: JoinSet<()>,
}

impl Peers {
    /// Dials every other member, for as long as this lives.
    pub(crate) fn dial(edge: &Arc<Edge>, own: &ChannelKey) -> Peers {
        let mut dialled = JoinSet::new();
        let outboxes = edge.group.members().map(|to| {
            (to != edge.me).then(|| {
                let outbox = Arc::new(Outbox::new(edge.limits.peer_outbox));
                let member = &edge.genesis.members[to.index()];
                let dialer = Dialer::new(own, member.channel, Role::Peer, &member.address);
                dialled.spawn(keep_dialled(edge.clone(), to, dialer, outbox.clone()));
                outbox
            })
        });
        Peers {
            edge: edge.clone(),
            outboxes: outboxes.collect(),
            says_in: edge.group.generation,
            _dialled: dialled,
        }
    }

    /// To one peer; of how many bytes it is.
    pub(crate) fn send(&self, to: ReplicaId, message: &Message) -> usize {
        let frame = self.encoded(message);
        self.put(to, &frame);
        frame.len()
    }

    /// To all of them; encoded once.
    pub(crate) fn broadcast(&self, message: &Message) {
        let frame = self.encoded(message);
        self.edge.group.members().for_each(|to| self.put(to, &frame));
    }

    fn encoded(&self, message: &Message) -> Arc<[u8]> {
        smr_wire::encode(&(self.says_in, message)).into()
    }

    /// What is said from now on is said in this generation.
    pub(crate) fn say_in(&mut self, generation: Generation) {
        self.says_in = generation;
    }

    fn put(&self, to: ReplicaId, frame: &Arc<[u8]>) {
        if let Some(Some(outbox)) = self.outboxes.get(to.index()) {
            let dropped = outbox.put_newest(frame.clone(), frame.len());
            self.edge.metrics.peer(to).dropped.add(dropped as u64);
        }
    }
}

/// Encoded messages; those for all are shared by all.
type PeerOutbox = Outbox<Arc<[u8]>>;

/// The first frame on a link.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct PeerHello {
    pub(crate) service: ServiceId,
    pub(crate) version: u16,
    pub(crate) from: ReplicaId,
}

/// Bytes of a hello at most.
const HELLO_BYTES_MAX: usize = 64;

/// How long a link may take no byte at all before it is given up and dialled again.
const WRITE_PATIENCE: Duration = Duration::from_secs(15);

async fn keep_dialled(edge: Arc<Edge>, to: ReplicaId, dialer: Dialer, outbox: Arc<PeerOutbox>) {
    let mut wait = edge.limits.redial_min;
    loop {
        match dialer.dial(edge.limits.handshake).await {
            Ok(stream) => {
                info!(peer = %to, "link to peer stands");
                edge.metrics.peer(to).out.store(true, Ordering::Relaxed);
                let began = tokio::time::Instant::now();
                let error = send(&edge, to, stream, &outbox).await;
                edge.metrics.peer(to).out.store(false, Ordering::Relaxed);
                info!(peer = %to, reason = ?error.err().map(|e| e.to_string()), "link to peer ended");
                // A peer that takes the link and drops it at once is dialled ever more slowly, too.
                if began.elapsed() > edge.limits.redial_max {
                    wait = edge.limits.redial_min;
                }
            }
            Err(error) => debug!(peer = %to, %error, "cannot reach peer"),
        }
        tokio::time::sleep(wait.mul_f64(jitter())).await;
        wait = (wait * 2).min(edge.limits.redial_max);
    }
}

/// 0.5 to 1.5, so that peers that fell together do not come back together.
fn jitter() -> f64 {
    let drawn = getrandom::u32().unwrap_or(u32::MAX / 2);
    0.5 + f64::from(drawn) / f64::from(u32::MAX)
}

async fn send<S>(edge: &Edge, to: ReplicaId, stream: S, outbox: &PeerOutbox) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, writer) = tokio::io::split(stream);
    let mut writer = BufWriter::with_capacity(edge.limits.write_bytes, writer);
    let hello = PeerHello { service: edge.service, version: WIRE_VERSION, from: edge.me };
    write_frame(&mut writer, &smr_wire::encode(&hello)).await?;
    writer.flush().await?;
    let mut nothing = [0; 1];
    loop {
        let frames = tokio::select! {
            frames = outbox.take(edge.limits.write_bytes) => frames,
            // Nothing is ever said on this side, so whatever comes is the end of the link.
            _ = reader.read(&mut nothing) => None,
        };
        let Some(frames) = frames else { return Ok(()) };
        let write = async {
            for frame in &frames {
                write_frame(&mut writer, frame).await?;
            }
            writer.flush().await
        };
        timeout(WRITE_PATIENCE, write).await??;
        let peer = edge.metrics.peer(to);
        peer.sent.add(frames.len() as u64);
        peer.sent_bytes.add(frames.iter().map(|frame| frame.len() as u64).sum());
    }
}

/// Which accepted link of each peer is the current one: a peer that comes again has lost the one before.
pub(crate) struct Incomings(Vec<Mutex<Arc<Notify>>>);

impl Incomings {
    pub(crate) fn new(size: usize) -> Incomings {
        Incomings((0..size).map(|_| Mutex::new(Arc::new(Notify::new()))).collect())
    }

    fn replace(&self, from: ReplicaId) -> Arc<Notify> {
        let ended = Arc::new(Notify::new());
        let mut current = self.0[from.index()].lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, ended.clone()).notify_one();
        ended
    }

    fn is_current(&self, from: ReplicaId, ended: &Arc<Notify>) -> bool {
        Arc::ptr_eq(&self.0[from.index()].lock().unwrap_or_else(PoisonError::into_inner), ended)
    }
}

/// Receives from a peer whose channel proved who it is, until the link ends or a newer one takes its place.
pub(crate) async fn receive<S>(edge: &Edge, incomings: &Incomings, from: ReplicaId, stream: S)
where
    S: AsyncRead + Unpin,
{
    let ended = incomings.replace(from);
    let metrics = edge.metrics.peer(from);
    metrics.incoming.store(true, Ordering::Relaxed);
    tokio::select! {
        () = receive_all(edge, from, stream) => {}
        () = ended.notified() => {}
    }
    if incomings.is_current(from, &ended) {
        metrics.incoming.store(false, Ordering::Relaxed);
    }
}

async fn receive_all<S: AsyncRead + Unpin>(edge: &Edge, from: ReplicaId, stream: S) {
    let metrics = edge.metrics.peer(from);
    let mut reader = BufReader::with_capacity(edge.limits.write_bytes, stream);
    let hello = timeout(edge.limits.handshake, read_frame(&mut reader, HELLO_BYTES_MAX)).await;
    let hello = hello.ok().and_then(Result::ok).flatten();
    let expected = PeerHello { service: edge.service, version: WIRE_VERSION, from };
    if hello.and_then(|bytes| smr_wire::decode(&bytes, HELLO_BYTES_MAX).ok()) != Some(expected) {
        metrics.refuse(RefusalKind::Hello);
        return;
    }
    let bytes_max = edge.limits.peer_frame_bytes_max;
    loop {
        let bytes = match read_frame(&mut reader, bytes_max).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    metrics.refuse(RefusalKind::TooLong);
                }
                return;
            }
        };
        let checked = smr_wire::decode::<(Generation, Message)>(&bytes, bytes_max)
            .map_err(|_| RefusalKind::Malformed)
            .and_then(|said| {
                let asker = said.1.asks_for_much().then_some(from);
                let incoming = Incoming::check(from, said, &edge.rules(&edge.voters()));
                incoming.map(|incoming| (incoming, asker)).map_err(RefusalKind::Message)
            });
        match checked {
            Ok((incoming, asker)) => {
                metrics.received.one();
                let queue = &edge.sources.peers[from.index()];
                if queue.put(Event::Peer(incoming), bytes.len(), asker).await.is_err() {
                    return;
                }
            }
            Err(kind) => {
                debug!(peer = %from, kind = kind.name(), "dropped a message");
                metrics.refuse(kind);
            }
        }
    }
}
