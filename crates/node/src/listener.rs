//! The one listener of a replica: takes connections, learns what each is for and whose it is, and hands it on.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::channel::{Accepted, Acceptor, Role};
use crate::edge::Edge;
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
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match edge.handshakes.clone().try_acquire_owned() {
            Ok(permit) => {
                connections.spawn(take(edge.clone(), incomings.clone(), acceptor.clone(), stream, permit));
            }
            Err(_) => edge.metrics.counters.connections_refused.one(),
        }
    }
}

async fn take(
    edge: Arc<Edge>,
    incomings: Arc<Incomings>,
    acceptor: Acceptor,
    stream: TcpStream,
    handshake: OwnedSemaphorePermit,
) {
    let accepted = acceptor.accept(stream, edge.limits.handshake).await;
    drop(handshake);
    let Accepted { stream, role, key } = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            debug!(%error, "a connection failed its handshake");
            edge.metrics.counters.handshakes_failed.one();
            return;
        }
    };
    match role {
        Role::Client => gateway::serve(edge, stream).await,
        Role::Peer => match key.and_then(|key| edge.genesis.member_with_channel(&key)) {
            Some(from) if from != edge.me => peers::receive(&edge, &incomings, from, stream).await,
            _ => edge.metrics.counters.handshakes_failed.one(),
        },
        Role::Operator if key == Some(edge.genesis.administrator) => operator::serve(edge, stream).await,
        Role::Operator => {
            edge.metrics.counters.handshakes_failed.one();
            operator::turn_away(stream, "this is not the administrator's key of the service").await;
        }
    }
}
