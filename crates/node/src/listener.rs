//! The one listener of a replica: takes connections, learns what each is for and whose it is, and hands it on.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::channel::{Accepted, Acceptor, Arrived, Role};
use crate::edge::Edge;
use crate::handshakes::{Pass, Room};
use crate::peers::{self, Incomings};
use crate::{gateway, operator};

/// How long to wait when the system has no connection to give, mostly because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until it is dropped; they end with it.
pub(crate) async fn listen(edge: Arc<Edge>, listener: TcpListener, acceptor: Acceptor) {
    let incomings = Arc::new(Incomings::new(edge.group.size()));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match edge.handshakes.arrive(address) {
            Some(pass) => {
                let newcomer = Newcomer { stream, address, pass };
                connections.spawn(take(edge.clone(), incomings.clone(), acceptor.clone(), newcomer));
            }
            None => edge.metrics.counters.connections_refused.one(),
        }
    }
}

/// A connection of which nothing is known.
struct Newcomer {
    stream: TcpStream,
    address: IpAddr,
    pass: Pass,
}

async fn take(edge: Arc<Edge>, incomings: Arc<Incomings>, acceptor: Acceptor, newcomer: Newcomer) {
    let address = newcomer.address;
    let Accepted { stream, role, key } = match prove(&edge, &acceptor, newcomer).await {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return edge.metrics.counters.connections_refused.one(),
        Err(error) => {
            debug!(%error, "a connection failed its handshake");
            edge.metrics.counters.handshakes_failed.one();
            return;
        }
    };
    match role {
        Role::Client => gateway::serve(edge, stream, address).await,
        Role::Peer => match key.and_then(|key| edge.genesis.member_with_channel(&key)) {
            Some(from) if from != edge.me => {
                edge.handshakes.know(address);
                peers::receive(&edge, &incomings, from, stream).await;
            }
            _ => edge.metrics.counters.handshakes_failed.one(),
        },
        Role::Operator if key == Some(edge.genesis.administrator) => {
            edge.handshakes.know(address);
            operator::serve(edge, stream).await;
        }
        Role::Operator => {
            edge.metrics.counters.handshakes_failed.one();
            operator::turn_away(stream, "this is not the administrator's key of the service").await;
        }
    }
}

/// The handshake; none if there was no room for it.
async fn prove(edge: &Edge, acceptor: &Acceptor, newcomer: Newcomer) -> io::Result<Option<Accepted>> {
    let Newcomer { stream, pass, .. } = newcomer;
    let arrived = Arrived::hear(stream, edge.limits.arrival).await?;
    let room = match arrived.role {
        Role::Client => Room::Clients,
        Role::Peer | Role::Operator => Room::Members,
    };
    let Some(_pass) = pass.go_to(room) else { return Ok(None) };
    acceptor.accept(arrived, edge.limits.handshake).await.map(Some)
}
