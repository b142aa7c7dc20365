//! Encrypted channels: TLS 1.3 with raw public keys on both sides. What a connection is for shows in its ALPN, who
//! is on the other side in the key that its handshake proved.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use smr_client::connect::tls::{
    self, ALPN_CLIENT, ALPN_OPERATOR, ALPN_PEER, Arrival, ChannelKey, ClientAuth, Expect,
};
use smr_crypto::PublicKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{client, server};

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A member's messages.
    Peer,
    /// A client's requests.
    Client,
    /// The administrator's questions and orders.
    Operator,
}

const ROLES: [Role; 3] = [Role::Peer, Role::Client, Role::Operator];

impl Role {
    fn alpn(self) -> &'static str {
        match self {
            Role::Peer => ALPN_PEER,
            Role::Client => ALPN_CLIENT,
            Role::Operator => ALPN_OPERATOR,
        }
    }
}

fn role(is: impl Fn(&Role) -> bool) -> io::Result<Role> {
    let role = ROLES.into_iter().find(is);
    role.ok_or_else(|| io::Error::other("the connection does not say what it is for"))
}

/// A connection that has said what it is for, and proven nothing.
pub(crate) struct Arrived {
    arrival: Arrival<TcpStream>,
    pub(crate) role: Role,
}

impl Arrived {
    /// Hears what a connection is for, within `patience`.
    pub(crate) async fn hear(stream: TcpStream, patience: Duration) -> io::Result<Arrived> {
        stream.set_nodelay(true)?;
        let arrival = timeout(patience, Arrival::hear(stream)).await??;
        // Of several, the server end chooses by the same order.
        let role = role(|role| arrival.names(role.alpn()))?;
        Ok(Arrived { arrival, role })
    }
}

/// A connection that was accepted, with what it proved.
pub(crate) struct Accepted {
    pub(crate) stream: server::TlsStream<TcpStream>,
    pub(crate) role: Role,
    /// None for an anonymous one.
    pub(crate) key: Option<PublicKey>,
}

/// Accepts channels of all roles.
#[derive(Clone)]
pub(crate) struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    pub(crate) fn new(own: &ChannelKey) -> Acceptor {
        Acceptor(tls::server_config(own, ClientAuth::Optional, &ROLES.map(Role::alpn)))
    }

    /// What the handshake proves, within `patience`.
    pub(crate) async fn accept(&self, arrived: Arrived, patience: Duration) -> io::Result<Accepted> {
        let (stream, peer) = timeout(patience, arrived.arrival.accept(&self.0)).await??;
        let role = role(|role| role.alpn() == peer.alpn)?;
        Ok(Accepted { stream, role, key: peer.key })
    }
}

/// Opens channels to one pinned key.
#[derive(Clone)]
pub(crate) struct Dialer {
    config: Arc<ClientConfig>,
    address: String,
}

impl Dialer {
    pub(crate) fn new(own: &ChannelKey, pinned: PublicKey, role: Role, address: &str) -> Dialer {
        let config = tls::client_config(Some(own), Expect::Pinned(pinned), role.alpn());
        Dialer { config, address: address.to_owned() }
    }

    /// Connects and proves both keys, within `patience`.
    pub(crate) async fn dial(&self, patience: Duration) -> io::Result<client::TlsStream<TcpStream>> {
        let connect = async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            tls::connect(&self.config, stream).await
        };
        let (stream, _) = timeout(patience, connect).await??;
        Ok(stream)
    }
}
