//! What waits for the core, apart by who brought it. The core takes it in turns: a few from each source, so that one
//! that floods waits for itself alone.
//!
//! ```text
//!   host, jobs --------- results ---\
//!   link of peer 0..n -- its queue --> a turn: some of each, peers in rotation --> core
//!   clients ------------ requests --/
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use smr_replica::Event;
use smr_wire::ReplicaId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits::Limits;
use crate::outbox::OutboxLimits;

/// The core's end of all sources.
pub(crate) struct Inbox {
    results: mpsc::UnboundedReceiver<Waiting>,
    /// By index of the peer; nobody puts into one's own.
    peers: Vec<mpsc::Receiver<Waiting>>,
    requests: mpsc::Receiver<Waiting>,
    weights: Weights,
    /// The peer that is first in the next turn.
    first: usize,
}

/// What the core takes of each source in one turn, at most; together they bound how late its timers may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weights {
    /// Results of the replica's own work, in events. They come first: what was begun is finished first.
    pub results: usize,
    /// Messages of each peer.
    pub peer_messages: usize,
    /// Requests of clients, all of them together, and closed connections.
    pub requests: usize,
}

/// The other ends.
pub(crate) struct Sources {
    pub(crate) results: Results,
    /// By index of the peer.
    pub(crate) peers: Vec<Source>,
    pub(crate) requests: Source,
}

impl Inbox {
    /// An empty one, for a group of `size`.
    pub(crate) fn new(size: usize, limits: &Limits) -> (Inbox, Sources) {
        let (results, results_end) = mpsc::unbounded_channel();
        let (peers, peers_ends) = (0..size).map(|_| Source::new(limits.peer_queue)).unzip();
        let (requests, requests_end) = Source::new(limits.requests_queue);
        let inbox = Inbox {
            results: results_end,
            peers: peers_ends,
            requests: requests_end,
            weights: limits.weights,
            first: 0,
        };
        (inbox, Sources { results: Results(results), peers, requests })
    }

    /// Waits until something is there, and appends one turn of it. Loses nothing when it is dropped while it waits.
    pub(crate) async fn turn(&mut self, taken: &mut Vec<Waiting>) {
        poll_fn(|context| self.poll_turn(context, taken)).await;
    }

    /// Looks at every source, so whichever of them is empty wakes the core.
    fn poll_turn(&mut self, context: &mut Context<'_>, taken: &mut Vec<Waiting>) -> Poll<()> {
        let before = taken.len();
        // How many came shows in `taken`; that a source has ended does not matter to the others.
        let _ = self.results.poll_recv_many(context, taken, self.weights.results);
        let (early, late) = self.peers.split_at_mut(self.first);
        for peer in late.iter_mut().chain(early) {
            let _ = peer.poll_recv_many(context, taken, self.weights.peer_messages);
        }
        let _ = self.requests.poll_recv_many(context, taken, self.weights.requests);
        if taken.len() == before {
            return Poll::Pending;
        }
        self.first = (self.first + 1) % self.peers.len().max(1);
        Poll::Ready(())
    }
}

/// An event that waits for the core. Its room in its queue is free again once this is dropped.
pub(crate) struct Waiting {
    pub(crate) event: Event,
    /// Who asks, if it is a question whose answer may be much larger.
    pub(crate) asker: Option<ReplicaId>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Where one source puts what it brings; whoever finds no room waits.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    queue: mpsc::Sender<Waiting>,
    /// A permit for each byte.
    room: Arc<Semaphore>,
    bytes_max: u32,
}

impl Source {
    fn new(limits: OutboxLimits) -> (Source, mpsc::Receiver<Waiting>) {
        let (queue, end) = mpsc::channel(limits.frames_max);
        let bytes_max = u32::try_from(limits.bytes_max).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(bytes_max as usize));
        (Source { queue, room, bytes_max }, end)
    }

    /// Puts an event that came as so many bytes, once there is room for it.
    ///
    /// # Errors
    /// The core has ended.
    pub(crate) async fn put(
        &self,
        event: Event,
        bytes: usize,
        asker: Option<ReplicaId>,
    ) -> Result<(), CoreEnded> {
        // One that is larger than all the room takes all of it.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| CoreEnded)?;
        self.queue.send(Waiting { event, asker, _room: Some(room) }).await.map_err(|_| CoreEnded)
    }
}

/// Nobody takes what is put any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CoreEnded;

/// Where the replica's own work puts its results. This queue needs no limit of its own: each is the result of one
/// operation, and those that are under way are limited.
#[derive(Clone, Debug)]
pub(crate) struct Results(mpsc::UnboundedSender<Waiting>);

impl Results {
    pub(crate) fn put(&self, event: Event) {
        // Nobody listens once the replica has ended.
        let _ = self.0.send(Waiting { event, asker: None, _room: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_replica::ConnectionId;
    use std::time::Duration;
    use tokio::time::timeout;

    /// Stands for any event; its number tells who brought it.
    fn event(source: u64) -> Event {
        Event::Closed(ConnectionId(source))
    }

    async fn turn(inbox: &mut Inbox) -> Vec<u64> {
        let mut taken = Vec::new();
        timeout(Duration::from_secs(60), inbox.turn(&mut taken)).await.expect("something is there");
        let number = |waiting: &Waiting| match waiting.event {
            Event::Closed(ConnectionId(number)) => number,
            _ => unreachable!("nothing else is put"),
        };
        taken.iter().map(number).collect()
    }

    fn limits() -> Limits {
        let mut limits = Limits::for_config(&smr_replica::Config::default());
        limits.peer_queue = OutboxLimits { frames_max: 8, bytes_max: 100 };
        limits.weights = Weights { results: 2, peer_messages: 1, requests: 2 };
        limits
    }

    #[tokio::test]
    async fn every_source_has_its_share_of_a_turn_however_much_another_brings() {
        let (mut inbox, sources) = Inbox::new(3, &limits());
        for _ in 0..8 {
            sources.peers[0].put(event(0), 1, None).await.unwrap();
            sources.results.put(event(9));
        }
        sources.peers[2].put(event(2), 1, None).await.unwrap();
        for _ in 0..3 {
            sources.requests.put(event(7), 1, None).await.unwrap();
        }
        assert_eq!(turn(&mut inbox).await, [9, 9, 0, 2, 7, 7]);
        sources.peers[2].put(event(2), 1, None).await.unwrap();
        assert_eq!(turn(&mut inbox).await, [9, 9, 2, 0, 7], "another peer is first");
        assert_eq!(turn(&mut inbox).await, [9, 9, 0]);
    }

    #[tokio::test]
    async fn a_peer_that_fills_its_queue_or_its_bytes_waits_and_holds_up_nobody_else() {
        let (mut inbox, sources) = Inbox::new(2, &limits());
        sources.peers[0].put(event(0), usize::MAX, None).await.unwrap();
        let waits = timeout(Duration::from_millis(20), sources.peers[0].put(event(0), 1, None)).await;
        assert!(waits.is_err(), "all its bytes are taken");
        sources.peers[1].put(event(1), 100, None).await.unwrap();
        assert_eq!(turn(&mut inbox).await, [0, 1]);
        sources.peers[0].put(event(0), 100, None).await.unwrap();
        assert_eq!(turn(&mut inbox).await, [0]);
        drop(inbox);
        assert_eq!(sources.peers[0].put(event(0), 1, None).await, Err(CoreEnded));
    }
}
