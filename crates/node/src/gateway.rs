//! Clients' connections: who says hello in the right way gets the current endpoint certificate, may hand in signed
//! requests and is told what became of them. Nothing a client sends reaches the core unchecked.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smr_client::connect::frame::{read_frame, write_frame};
use smr_consensus::batch::EntryBody;
use smr_consensus::{Entry, Refused};
use smr_replica::{ConnectionId, Event};
use smr_wire::client::{About, WIRE_VERSION};
use smr_wire::{Call, FromContact, Hint, Outcome, Reply, ReplyProof, Request, ServiceId, ToContact};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::edge::Edge;
use crate::limits::Limits;
use crate::outbox::{Outbox, Put};

/// The connections of clients, by the name that the core knows them by.
pub(crate) struct Clients {
    open: Mutex<BTreeMap<ConnectionId, Arc<Client>>>,
    clients_max: usize,
}

impl Clients {
    pub(crate) fn new(clients_max: usize) -> Clients {
        Clients { open: Mutex::default(), clients_max }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Hands `message` to a connection, unless it has closed meanwhile. Tells when that made it close.
    pub(crate) fn send(&self, connection: ConnectionId, message: FromContact) -> Option<Put> {
        let client = self.lock().get(&connection).cloned()?;
        client.settled(&message);
        let bytes = weight(&message);
        Some(client.outbox.put_or_close(message, bytes))
    }

    fn open(&self, connection: ConnectionId, limits: &Limits) -> Option<Arc<Client>> {
        let mut open = self.lock();
        if open.len() >= self.clients_max {
            return None;
        }
        let client =
            Arc::new(Client { outbox: Outbox::new(limits.client_outbox), in_flight: Mutex::default() });
        open.insert(connection, client.clone());
        Some(client)
    }

    fn close(&self, connection: ConnectionId) {
        self.lock().remove(&connection);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Arc<Client>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, as its own task and the core see it.
struct Client {
    outbox: Outbox<FromContact>,
    /// Commands without a reply.
    in_flight: Mutex<BTreeMap<About, InFlight>>,
}

/// A command without a reply.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// When it came, last.
    came: Instant,
    /// The first command of the request that it came in, which a hint names for all of them.
    request: About,
}

impl Client {
    /// Notes commands that are handed in, if there is room for them; a repeat needs none.
    fn begin(&self, abouts: &[About], now: Instant, limits: &Limits) -> bool {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |in_flight: &BTreeMap<About, InFlight>| {
            let new = abouts.iter().filter(|about| !in_flight.contains_key(about)).count();
            in_flight.len() + new <= limits.client_in_flight_max
        };
        if !fits(&in_flight) {
            in_flight.retain(|_, command| command.is_hoped_for(now, limits));
        }
        let fit = fits(&in_flight);
        if fit {
            // Without a first command there is none.
            for (about, request) in abouts.iter().zip(abouts.iter().take(1).cycle()) {
                in_flight.insert(*about, InFlight { came: now, request: *request });
            }
        }
        fit
    }

    /// Notes what the core says of commands: a reply settles one, a hint its whole request, and one about nothing in
    /// particular all of them.
    fn settled(&self, message: &FromContact) {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            FromContact::Reply(Reply { about, .. }) => drop(in_flight.remove(about)),
            FromContact::Hint { about: Some(about), .. } => {
                in_flight.retain(|_, command| command.request != *about);
            }
            FromContact::Hint { about: None, .. } => in_flight.clear(),
            FromContact::Welcome { .. } => {}
        }
    }

    /// Whether a reply may still come.
    fn is_waiting(&self, now: Instant, limits: &Limits) -> bool {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.values().any(|command| command.is_hoped_for(now, limits))
    }

    /// To be said by the connection's own task.
    fn say(&self, message: FromContact) -> Result<(), Ended> {
        let bytes = weight(&message);
        match self.outbox.put_or_close(message, bytes) {
            Put::Queued => Ok(()),
            Put::Overflowed | Put::Closed => Err(Ended::Lagging),
        }
    }
}

impl InFlight {
    fn is_hoped_for(&self, now: Instant, limits: &Limits) -> bool {
        now.duration_since(self.came) < limits.client_in_flight_for
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(edge: Arc<Edge>, stream: S) {
    let counters = &edge.metrics.counters;
    let connection = edge.next_connection();
    let Some(client) = edge.clients.open(connection, &edge.limits) else {
        counters.connections_refused.one();
        return;
    };
    counters.clients_taken.one();
    let (reader, writer) = tokio::io::split(stream);
    let ended = {
        let mut writing = pin!(write_all(&client, writer));
        let reading = read_all(&edge, connection, &client, reader);
        tokio::select! {
            ended = reading => {
                // What was said last, such as why the connection ends, may still be on its way.
                if ended == Ended::Refused {
                    let _ = timeout(LAST_WORDS, &mut writing).await;
                }
                ended
            }
            ended = &mut writing => ended,
        }
    };
    debug!(connection = connection.0, ?ended, "a client's connection ended");
    match ended {
        Ended::Lagging => counters.clients_lagging.one(),
        Ended::Refused => counters.clients_refused.one(),
        Ended::Closed | Ended::Idle => {}
    }
    client.outbox.close();
    edge.clients.close(connection);
    // Nobody needs to know once the replica has ended.
    let _ = edge.sources.requests.put(Event::Closed(connection), 0, None).await;
}

/// How long the last words on a connection may take.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// The client closed it, or the network did.
    Closed,
    /// Nothing was said for long.
    Idle,
    /// The client does not read what it is told.
    Lagging,
    /// The client does not keep the rules; it was told which.
    Refused,
}

async fn read_all<R: AsyncRead + Unpin>(
    edge: &Edge,
    connection: ConnectionId,
    client: &Client,
    reader: R,
) -> Ended {
    let mut reader = BufReader::new(reader);
    let mut welcome = false;
    loop {
        let patience = if welcome { edge.limits.client_idle } else { edge.limits.handshake };
        let read = next_frame(edge, &mut reader, client, patience).await;
        let result = match read {
            Ok(bytes) => take_frame(edge, connection, client, &bytes, &mut welcome).await,
            Err(ended) => Err(ended),
        };
        if let Err(ended) = result {
            return ended;
        }
    }
}

/// The next frame, however long it takes while the client waits for replies; otherwise within `patience`.
async fn next_frame<R: AsyncRead + Unpin>(
    edge: &Edge,
    reader: &mut R,
    client: &Client,
    patience: Duration,
) -> Result<Vec<u8>, Ended> {
    // One future across all waits: half a frame may have been read.
    let mut read = pin!(read_frame(reader, edge.limits.client_frame_bytes_max));
    loop {
        match timeout(patience, &mut read).await {
            Ok(Ok(Some(bytes))) => return Ok(bytes),
            Ok(Ok(None)) => return Err(Ended::Closed),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let hint = Hint::TooLarge { bytes_max: edge.genesis.config.request_bytes_max };
                client.say(FromContact::Hint { about: None, hint })?;
                return Err(Ended::Refused);
            }
            Ok(Err(_)) => return Err(Ended::Closed),
            Err(_) if client.is_waiting(Instant::now(), &edge.limits) => {}
            Err(_) => return Err(Ended::Idle),
        }
    }
}

async fn take_frame(
    edge: &Edge,
    connection: ConnectionId,
    client: &Client,
    bytes: &[u8],
    welcome: &mut bool,
) -> Result<(), Ended> {
    match smr_wire::decode(bytes, edge.limits.client_frame_bytes_max) {
        Ok(ToContact::Hello { service, version }) => {
            greet(edge, client, service, version)?;
            *welcome = true;
            Ok(())
        }
        Ok(ToContact::Request(request)) if *welcome => take_request(edge, connection, client, request).await,
        Ok(ToContact::Request(_)) => refuse(client, "a connection begins with Hello"),
        Err(error) => refuse(client, error.to_string()),
    }
}

fn greet(edge: &Edge, client: &Client, service: ServiceId, version: u16) -> Result<(), Ended> {
    if service != edge.service {
        return refuse(
            client,
            "this contact belongs to another service; look up the service's addresses again",
        );
    }
    let certificate = edge.published.borrow().certificate.clone();
    client.say(FromContact::Welcome { version: WIRE_VERSION, certificate })?;
    // Its own words may mean something else in our version; from the answer it learns which one we speak.
    if version == WIRE_VERSION { Ok(()) } else { Err(Ended::Refused) }
}

fn refuse(client: &Client, why: impl Into<String>) -> Result<(), Ended> {
    client.say(FromContact::Hint { about: None, hint: Hint::Unacceptable(why.into()) })?;
    Err(Ended::Refused)
}

async fn take_request(
    edge: &Edge,
    connection: ConnectionId,
    client: &Client,
    request: Request,
) -> Result<(), Ended> {
    let abouts = abouts(&request);
    let say = |hint| client.say(FromContact::Hint { about: abouts.first().copied(), hint });
    let entry = Entry::new(EntryBody::Client(request));
    let bytes_max = edge.genesis.config.request_bytes_max;
    if entry.bytes() > bytes_max as usize {
        return say(Hint::TooLarge { bytes_max });
    }
    if let Err(refused) = entry.check(&edge.group, &edge.verifier) {
        edge.metrics.counters.clients_refused.one();
        let why = match refused {
            Refused::Request(bad) => bad.to_string(),
            other => other.to_string(),
        };
        return say(Hint::Unacceptable(why));
    }
    if !client.begin(&abouts, Instant::now(), &edge.limits) {
        return say(Hint::Busy);
    }
    edge.metrics.counters.requests.one();
    let bytes = entry.bytes();
    let put = edge.sources.requests.put(Event::Request { connection, entry }, bytes, None).await;
    put.map_err(|_| Ended::Closed)
}

/// What the commands of a request are answered under.
fn abouts(request: &Request) -> Vec<About> {
    match &request.call {
        Call::Open { nonce, .. } => vec![About::opening(*nonce)],
        Call::Commands { session, commands, .. } => {
            commands.iter().map(|command| About { session: *session, number: command.number }).collect()
        }
    }
}

/// Bytes that are gathered into one write; there may be many clients, so not more.
const WRITE_BYTES: usize = 16 << 10;

async fn write_all<W: AsyncWrite + Unpin>(client: &Client, writer: W) -> Ended {
    let mut writer = BufWriter::with_capacity(WRITE_BYTES, writer);
    while let Some(messages) = client.outbox.take(WRITE_BYTES).await {
        for message in &messages {
            if write_frame(&mut writer, &smr_wire::encode(message)).await.is_err() {
                return Ended::Closed;
            }
        }
        if writer.flush().await.is_err() {
            return Ended::Closed;
        }
    }
    Ended::Lagging
}

/// About as many bytes as the message takes; exact where it is large.
fn weight(message: &FromContact) -> usize {
    const SMALL: usize = 256;
    match message {
        FromContact::Reply(Reply { outcome, proof: ReplyProof::Certified { path, .. }, .. }) => {
            let outcome = match outcome {
                Outcome::Answer(bytes) => bytes.len(),
                Outcome::Fault(text) => text.len(),
                Outcome::Opened(_) | Outcome::Refused(_) => 0,
            };
            SMALL + outcome + 32 * path.siblings.len()
        }
        FromContact::Welcome { certificate, .. } => {
            SMALL + certificate.as_ref().map_or(0, |c| SMALL * c.endpoints.contacts.len())
        }
        FromContact::Hint { hint: Hint::Unacceptable(why), .. } => SMALL + why.len(),
        FromContact::Hint { .. } => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_wire::{RequestNumber, SessionId};

    fn about(number: u64) -> About {
        About { session: SessionId(1), number: RequestNumber(number) }
    }

    #[tokio::test]
    async fn commands_in_flight_are_limited_and_forgotten_after_a_while() {
        let mut limits = Limits::for_config(&smr_replica::Config::default());
        limits.client_in_flight_max = 2;
        let clients = Clients::new(1);
        let client = clients.open(ConnectionId(1), &limits).unwrap();
        assert!(clients.open(ConnectionId(2), &limits).is_none());
        let now = Instant::now();
        assert!(client.begin(&[about(1), about(2)], now, &limits));
        assert!(client.begin(&[about(1), about(2)], now, &limits), "a repeat needs no room");
        assert!(!client.begin(&[about(3)], now, &limits));
        clients.send(ConnectionId(1), FromContact::Hint { about: Some(about(1)), hint: Hint::NotReady });
        assert!(client.begin(&[about(3)], now, &limits));
        assert!(client.begin(&[about(4), about(5)], now + limits.client_in_flight_for, &limits));
    }

    #[tokio::test]
    async fn a_hint_settles_its_whole_request_and_one_about_nothing_everything() {
        let limits = Limits::for_config(&smr_replica::Config::default());
        let clients = Clients::new(1);
        let client = clients.open(ConnectionId(1), &limits).unwrap();
        let hint = |about| {
            clients.send(ConnectionId(1), FromContact::Hint { about, hint: Hint::Busy });
            client.in_flight.lock().unwrap().len()
        };
        let now = Instant::now();
        assert!(client.begin(&[about(1), about(2), about(3)], now, &limits));
        assert!(client.begin(&[about(4), about(5)], now, &limits));
        assert_eq!(hint(Some(about(1))), 2, "of three commands in one request none is left");
        assert_eq!(hint(Some(about(9))), 2, "nothing is known of this one");
        assert_eq!(hint(None), 0);
    }

    #[tokio::test]
    async fn a_connection_whose_commands_are_given_up_may_be_closed_as_idle() {
        let limits = Limits::for_config(&smr_replica::Config::default());
        let client = Clients::new(1).open(ConnectionId(1), &limits).unwrap();
        let now = Instant::now();
        assert!(!client.is_waiting(now, &limits));
        assert!(client.begin(&[about(1)], now, &limits));
        assert!(client.is_waiting(now, &limits));
        assert!(!client.is_waiting(now + limits.client_in_flight_for, &limits));
    }
}
