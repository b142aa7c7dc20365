//! Limits of one replica's edge. They are this machine's own business: replicas of one service may differ in them.

use std::time::Duration;

use smr_replica::Config;

use crate::budget::BudgetLimits;
use crate::handshakes::{HandshakeLimits, RoomLimits};
use crate::inbox::Weights;
use crate::outbox::OutboxLimits;

/// Limits of queues, connections and patience. Larger queues bridge longer hiccups and cost memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Checked messages of each peer that wait for the core; a link that brings more waits, and so does its sender.
    pub peer_queue: OutboxLimits,
    /// Checked requests of all clients that wait for the core; connections that bring more wait.
    pub requests_queue: OutboxLimits,
    /// What the core takes of each source before it looks at its timers again.
    pub weights: Weights,
    /// Answers to each peer's questions for decisions, batches and state; questions beyond are dropped.
    pub answers: BudgetLimits,
    /// Bytes of one frame between replicas. The largest are answers to laggards and chunks of state.
    pub peer_frame_bytes_max: usize,
    /// Messages to one peer that wait; the oldest make room for the newest.
    pub peer_outbox: OutboxLimits,
    /// Bytes of one frame from a client; larger ones end the connection.
    pub client_frame_bytes_max: usize,
    /// Replies to one client that wait; a client that lets more gather is let go.
    pub client_outbox: OutboxLimits,
    /// Connections of clients at once; further ones are closed at once.
    pub clients_max: usize,
    /// Those among them from one address.
    pub clients_per_address_max: usize,
    /// Clients that may speak on one connection; requests of more are answered `Busy`.
    pub client_identities_max: usize,
    /// Connections that are told what became of one command; of those who ask beyond, the newest replaces the last.
    pub askers_max: usize,
    /// Commands of one connection without a reply; more are answered `Busy`.
    pub client_in_flight_max: usize,
    /// After this long a command without a reply no longer counts as in flight: the client has gone elsewhere.
    pub client_in_flight_for: Duration,
    /// A connection of a client that says nothing and is told nothing for so long is closed.
    pub client_idle: Duration,
    /// Connections that are still proving who they are; further ones are closed at once.
    pub handshakes: HandshakeLimits,
    /// How long a connection may take to say what it is for; the first bytes of a handshake do.
    pub arrival: Duration,
    /// How long a connection may take to prove who it is and to say hello.
    pub handshake: Duration,
    /// Connections of the administrator at once.
    pub operators_max: usize,
    /// Bytes of one frame of the operator protocol.
    pub operator_frame_bytes_max: usize,
    /// The first wait before a peer is dialled again; doubles up to `redial_max`, with jitter.
    pub redial_min: Duration,
    /// The longest wait before a peer is dialled again.
    pub redial_max: Duration,
    /// Bytes that are gathered into one write.
    pub write_bytes: usize,
    /// How long connections have to end when the replica stops.
    pub stop: Duration,
}

/// Bytes of messages to one peer that wait.
const PEER_OUTBOX_BYTES_MAX: usize = 32 << 20;

impl Limits {
    /// Limits that let everything through that `config` allows.
    #[must_use]
    pub fn for_config(config: &Config) -> Limits {
        let batch = config.consensus.batch_bytes_max as usize;
        let fetch = config.consensus.fetch_bytes_max as usize;
        let request = config.request_bytes_max as usize;
        let reply = config.reply_bytes_max as usize;
        Limits {
            peer_queue: OutboxLimits { frames_max: 512, bytes_max: 32 << 20 },
            requests_queue: OutboxLimits { frames_max: 1024, bytes_max: 32 << 20 },
            weights: Weights { results: 64, peer_messages: 32, requests: 32 },
            answers: BudgetLimits {
                bytes_per_second: 32 << 20,
                burst_bytes: PEER_OUTBOX_BYTES_MAX as u64 / 2,
            },
            // A view change may carry two windows of certificates, which stay below the same again.
            peer_frame_bytes_max: (8 << 20) + batch + fetch + config.answer_bytes as usize,
            peer_outbox: OutboxLimits { frames_max: 16_384, bytes_max: PEER_OUTBOX_BYTES_MAX },
            client_frame_bytes_max: 2 * request + 1024,
            client_outbox: OutboxLimits { frames_max: 8192, bytes_max: (1 << 20) + 2 * reply },
            clients_max: 1024,
            // Many clients may share an address, but somebody else always gets in.
            clients_per_address_max: 768,
            client_identities_max: 16,
            askers_max: 4,
            client_in_flight_max: 4096,
            client_in_flight_for: Duration::from_secs(60),
            client_idle: Duration::from_secs(600),
            handshakes: HandshakeLimits {
                strangers: RoomLimits { at_once_max: 256, per_address_max: 128 },
                known: RoomLimits { at_once_max: 512, per_address_max: 256 },
                clients: RoomLimits { at_once_max: 256, per_address_max: 128 },
                members: RoomLimits { at_once_max: 256, per_address_max: 128 },
            },
            arrival: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            operators_max: 16,
            operator_frame_bytes_max: 64 << 10,
            redial_min: Duration::from_millis(20),
            redial_max: Duration::from_secs(2),
            write_bytes: 256 << 10,
            stop: Duration::from_secs(5),
        }
    }
}
