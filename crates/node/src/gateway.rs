//! Clients' connections: who says hello in the right way gets the current endpoint certificate, may hand in signed
//! requests and is told what became of them. Nothing a client sends reaches the core unchecked.

mod clients;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use smr_client::connect::frame::{read_frame, write_frame};
use smr_consensus::batch::EntryBody;
use smr_consensus::{Entry, Refused};
use smr_replica::Event;
use smr_wire::client::{About, WIRE_VERSION};
use smr_wire::{Call, FromContact, Hint, Outcome, Reply, ReplyProof, Request, ServiceId, ToContact};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::edge::Edge;
use crate::outbox::{Outbox, Put};
use clients::SocketId;

pub(crate) use clients::Clients;

/// One connection, as its own task sees it.
struct Connection<'a> {
    edge: &'a Edge,
    socket: SocketId,
    outbox: Arc<Outbox<FromContact>>,
}

impl Connection<'_> {
    fn say(&self, message: FromContact) -> Result<(), Ended> {
        let bytes = weight(&message);
        match self.outbox.put_or_close(message, bytes) {
            Put::Queued => Ok(()),
            Put::Overflowed | Put::Closed => Err(Ended::Lagging),
        }
    }

    fn is_waiting(&self) -> bool {
        self.edge.clients.is_waiting(self.socket, Instant::now(), &self.edge.limits)
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(edge: Arc<Edge>, stream: S, address: IpAddr) {
    let counters = &edge.metrics.counters;
    let Some((socket, outbox)) = edge.clients.open(address, &edge.limits) else {
        counters.connections_refused.one();
        return;
    };
    counters.clients_taken.one();
    let (reader, writer) = tokio::io::split(stream);
    let ended = {
        let mut writing = pin!(write_all(&outbox, writer));
        let connection = Connection { edge: &edge, socket, outbox: outbox.clone() };
        let reading = read_all(&connection, reader);
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
    debug!(?socket, ?ended, "a client's connection ended");
    match ended {
        Ended::Lagging => counters.clients_lagging.one(),
        Ended::Refused => counters.clients_refused.one(),
        Ended::Closed | Ended::Idle => {}
    }
    for client in edge.clients.close(socket) {
        // Nobody needs to know once the replica has ended.
        let _ = edge.sources.requests.put(Event::Closed(client), 0, None).await;
    }
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

async fn read_all<R: AsyncRead + Unpin>(connection: &Connection<'_>, reader: R) -> Ended {
    let limits = &connection.edge.limits;
    let mut reader = BufReader::new(reader);
    let mut welcome = false;
    loop {
        let patience = if welcome { limits.client_idle } else { limits.handshake };
        let read = next_frame(connection, &mut reader, patience).await;
        let result = match read {
            Ok(bytes) => take_frame(connection, &bytes, &mut welcome).await,
            Err(ended) => Err(ended),
        };
        if let Err(ended) = result {
            return ended;
        }
    }
}

/// The next frame, however long it takes while the client waits for replies; otherwise within `patience`.
async fn next_frame<R: AsyncRead + Unpin>(
    connection: &Connection<'_>,
    reader: &mut R,
    patience: Duration,
) -> Result<Vec<u8>, Ended> {
    let edge = connection.edge;
    // One future across all waits: half a frame may have been read.
    let mut read = pin!(read_frame(reader, edge.limits.client_frame_bytes_max));
    loop {
        match timeout(patience, &mut read).await {
            Ok(Ok(Some(bytes))) => return Ok(bytes),
            Ok(Ok(None)) => return Err(Ended::Closed),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let hint = Hint::TooLarge { bytes_max: edge.genesis.config.request_bytes_max };
                connection.say(FromContact::Hint { about: None, hint })?;
                return Err(Ended::Refused);
            }
            Ok(Err(_)) => return Err(Ended::Closed),
            Err(_) if connection.is_waiting() => {}
            Err(_) => return Err(Ended::Idle),
        }
    }
}

async fn take_frame(connection: &Connection<'_>, bytes: &[u8], welcome: &mut bool) -> Result<(), Ended> {
    match smr_wire::decode(bytes, connection.edge.limits.client_frame_bytes_max) {
        Ok(ToContact::Hello { service, version }) => {
            greet(connection, service, version)?;
            *welcome = true;
            Ok(())
        }
        Ok(ToContact::Request(request)) if *welcome => take_request(connection, request).await,
        Ok(ToContact::Request(_)) => refuse(connection, "a connection begins with Hello"),
        Err(error) => refuse(connection, error.to_string()),
    }
}

fn greet(connection: &Connection<'_>, service: ServiceId, version: u16) -> Result<(), Ended> {
    let edge = connection.edge;
    if service != edge.service {
        return refuse(
            connection,
            "this contact belongs to another service; look up the service's addresses again",
        );
    }
    let certificate = edge.published.borrow().certificate.clone();
    connection.say(FromContact::Welcome { version: WIRE_VERSION, certificate })?;
    // Its own words may mean something else in our version; from the answer it learns which one we speak.
    if version == WIRE_VERSION { Ok(()) } else { Err(Ended::Refused) }
}

fn refuse(connection: &Connection<'_>, why: impl Into<String>) -> Result<(), Ended> {
    connection.say(FromContact::Hint { about: None, hint: Hint::Unacceptable(why.into()) })?;
    Err(Ended::Refused)
}

async fn take_request(connection: &Connection<'_>, request: Request) -> Result<(), Ended> {
    let edge = connection.edge;
    let (client, abouts) = (request.client, abouts(&request));
    let say = |hint| connection.say(FromContact::Hint { about: abouts.first().copied(), hint });
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
    let begun = edge.clients.begin(connection.socket, client, &abouts, Instant::now(), &edge.limits);
    let Some(name) = begun else { return say(Hint::Busy) };
    edge.metrics.counters.requests.one();
    let bytes = entry.bytes();
    let put = edge.sources.requests.put(Event::Request { connection: name, entry }, bytes, None).await;
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

async fn write_all<W: AsyncWrite + Unpin>(outbox: &Outbox<FromContact>, writer: W) -> Ended {
    let mut writer = BufWriter::with_capacity(WRITE_BYTES, writer);
    while let Some(messages) = outbox.take(WRITE_BYTES).await {
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
        FromContact::Reply(Reply { outcome, proof, .. }) => {
            let outcome = match outcome {
                Outcome::Answer(bytes) => bytes.len(),
                Outcome::Fault(text) => text.len(),
                Outcome::Opened(_) | Outcome::Refused(_) => 0,
            };
            let siblings = match proof {
                ReplyProof::Certified { path, .. } => path.siblings.len(),
                ReplyProof::Channel { .. } => 0,
            };
            SMALL + outcome + 32 * siblings
        }
        FromContact::Welcome { certificate, .. } => {
            SMALL + certificate.as_ref().map_or(0, |c| SMALL * c.endpoints.contacts.len())
        }
        FromContact::Hint { hint: Hint::Unacceptable(why), .. } => SMALL + why.len(),
        FromContact::Hint { .. } => SMALL,
    }
}
