//! What a replica counts. Counting costs an atomic addition; nothing decides by these numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use smr_consensus::Refused;
use smr_wire::ReplicaId;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counters of one replica's edge, since its process began.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)+
        }

        impl Counters {
            /// All of them, by name.
            #[must_use]
            pub fn report(&self) -> BTreeMap<String, u64> {
                [$((stringify!($name).to_owned(), self.$name.get())),+].into()
            }
        }
    };
}

counters! {
    /// Events that the core has taken.
    events,
    /// Slots given to the application.
    slots_given,
    /// Those among them with a fill marker, because commands waited for newcomers.
    slots_filled,
    /// Slots that the application has executed.
    slots_executed,
    /// Commands that the application has executed.
    commands_executed,
    /// Answers of the trusted core.
    attested,
    /// Shares of service signatures made.
    shares_signed,
    /// Service signatures combined.
    combined,
    /// Replies handed to connections.
    replies,
    /// Hints handed to connections.
    hints,
    /// Requests of clients that passed all checks.
    requests,
    /// Connections of clients taken.
    clients_taken,
    /// Connections closed because there were too many.
    connections_refused,
    /// Connections that did not prove who they are, or not in time, or not with a key that may come in.
    handshakes_failed,
    /// Connections of clients closed because they did not read.
    clients_lagging,
    /// Frames of clients that were no message, for another service or wrongly signed.
    clients_refused,
}

/// Why something of a peer was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RefusalKind {
    /// The first frame did not fit: another service, version or name.
    Hello,
    /// A frame longer than allowed.
    TooLong,
    /// A frame that is no message.
    Malformed,
    /// A question of one who has had as much answered as it may.
    AskedTooMuch,
    /// See [`Refused`].
    Message(Refused),
}

impl RefusalKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RefusalKind::Hello => "hello",
            RefusalKind::TooLong => "too_long",
            RefusalKind::Malformed => "malformed",
            RefusalKind::AskedTooMuch => "asked_too_much",
            RefusalKind::Message(refused) => match refused {
                Refused::Stranger => "stranger",
                Refused::Signature => "signature",
                Refused::Certificate => "certificate",
                Refused::NoRight => "no_right",
                Refused::Shape => "shape",
                Refused::BatchLimit => "batch_limit",
                Refused::Request(_) => "request",
                Refused::OtherProtocol => "other_protocol",
            },
        }
    }
}

/// What is counted of one peer.
#[derive(Debug, Default)]
pub struct PeerMetrics {
    /// Whether the link to it stands.
    pub out: AtomicBool,
    /// Whether a link from it stands.
    pub incoming: AtomicBool,
    /// Frames sent to it.
    pub sent: Counter,
    /// Bytes of those frames, before encryption.
    pub sent_bytes: Counter,
    /// Frames to it that were dropped because too many waited.
    pub dropped: Counter,
    /// Good messages of it.
    pub received: Counter,
    refused: std::sync::Mutex<BTreeMap<&'static str, u64>>,
}

impl PeerMetrics {
    /// Notes something of it that was dropped.
    pub fn refuse(&self, kind: RefusalKind) {
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *refused.entry(kind.name()).or_default() += 1;
    }

    fn report(&self, replica: ReplicaId) -> PeerReport {
        let refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        PeerReport {
            replica,
            connected: self.out.load(Ordering::Relaxed) && self.incoming.load(Ordering::Relaxed),
            sent: self.sent.get(),
            sent_bytes: self.sent_bytes.get(),
            dropped: self.dropped.get(),
            received: self.received.get(),
            refused: refused.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        }
    }
}

/// Everything counted.
#[derive(Debug)]
pub struct Metrics {
    /// Of the replica as a whole.
    pub counters: Counters,
    me: ReplicaId,
    peers: Vec<PeerMetrics>,
}

impl Metrics {
    /// Of replica `me` in a group of `size`.
    #[must_use]
    pub fn new(me: ReplicaId, size: usize) -> Metrics {
        let peers = (0..size).map(|_| PeerMetrics::default()).collect();
        Metrics { counters: Counters::default(), me, peers }
    }

    /// Of one member.
    ///
    /// # Panics
    /// If there is no such member; names of members come from the genesis.
    #[must_use]
    pub fn peer(&self, replica: ReplicaId) -> &PeerMetrics {
        &self.peers[replica.index()]
    }

    /// What is known of the other members.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerReport> {
        let all = self.peers.iter().enumerate().map(|(index, peer)| (ReplicaId::at(index), peer));
        all.filter(|(replica, _)| *replica != self.me).map(|(replica, peer)| peer.report(replica)).collect()
    }
}

/// One peer, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerReport {
    /// Which.
    pub replica: ReplicaId,
    /// Whether links stand in both directions.
    pub connected: bool,
    /// Frames sent to it.
    pub sent: u64,
    /// Bytes of those frames, before encryption.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Frames to it that were dropped because too many waited.
    pub dropped: u64,
    /// Good messages of it.
    pub received: u64,
    /// What was dropped of it, by kind.
    pub refused: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_counts_by_kind_and_leaves_out_oneself() {
        let metrics = Metrics::new(ReplicaId(1), 3);
        metrics.peer(ReplicaId(2)).refuse(RefusalKind::Malformed);
        metrics.peer(ReplicaId(2)).refuse(RefusalKind::Message(Refused::Signature));
        metrics.peer(ReplicaId(2)).refuse(RefusalKind::Message(Refused::Signature));
        metrics.counters.events.add(3);
        let peers = metrics.peers();
        assert_eq!(peers.iter().map(|peer| peer.replica.0).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(peers[1].refused, [("malformed".to_owned(), 1), ("signature".to_owned(), 2)].into());
        assert_eq!(metrics.counters.report()["events"], 3);
    }
}
