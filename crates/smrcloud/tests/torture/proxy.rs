//! A proxy in front of each replica, through which everybody reaches it: the other replicas, clients, the
//! administrator. It knows who dials, so it can cut any direction of any link.
//!
//! ```text
//!   replica 0 --\                       gate of (0, 2)
//!   replica 1 ----> proxy of replica 2 --------------> replica 2
//!   clients   --/                       gate of (clients, 2)
//! ```
//!
//! A replica only sends on links that it dialled, so a gate closes one direction of what two replicas say.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::owner;
use crate::plan::{Cut, End};

/// Bytes that are passed on at once.
const BUFFER_BYTES: usize = 64 << 10;

/// How often to look for a replica's own address, and how long.
const LISTEN_POLL: Duration = Duration::from_millis(20);
const LISTEN_PATIENCE: Duration = Duration::from_secs(60);

/// What happens to bytes of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gate {
    /// They pass.
    Open,
    /// They wait until it opens again, as packets of a cut network do that are sent again.
    Held,
    /// They are lost, and the connection with them; new ones are refused.
    Broken,
}

/// All proxies of a service. Dropping them breaks all links.
pub(crate) struct Proxies {
    addresses: Vec<SocketAddr>,
    replicas: Arc<Vec<Replica>>,
    cuts: watch::Sender<Vec<Cut>>,
    // Ends with the proxies.
    _listening: JoinSet<()>,
}

/// What is known of a replica; nothing before it runs.
#[derive(Default)]
struct Replica {
    pid: OnceLock<u32>,
    /// Where it listens itself.
    port: OnceLock<u16>,
}

impl Proxies {
    /// In front of so many replicas, which need not run yet.
    pub(crate) async fn bind(replicas: usize) -> Proxies {
        let replicas: Arc<Vec<Replica>> = Arc::new((0..replicas).map(|_| Replica::default()).collect());
        let (cuts, watched) = watch::channel(Vec::new());
        let (mut addresses, mut listening) = (Vec::new(), JoinSet::new());
        for to in 0..replicas.len() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            addresses.push(listener.local_addr().expect("it is bound"));
            listening.spawn(listen(listener, to, replicas.clone(), watched.clone()));
        }
        Proxies { addresses, replicas, cuts, _listening: listening }
    }

    /// Where others are to dial a replica.
    pub(crate) fn address(&self, replica: usize) -> SocketAddr {
        self.addresses[replica]
    }

    /// Tells the process that a replica is.
    pub(crate) fn runs_as(&self, replica: usize, pid: u32) {
        self.replicas[replica].pid.set(pid).expect("a replica is started once");
    }

    /// Cuts exactly these links. What was read from them before may still arrive; nothing that is said from now on
    /// does, until they are healed.
    pub(crate) fn cut(&self, cuts: Vec<Cut>) {
        self.cuts.send_replace(cuts);
    }
}

async fn listen(
    listener: TcpListener,
    to: usize,
    replicas: Arc<Vec<Replica>>,
    cuts: watch::Receiver<Vec<Cut>>,
) {
    let at = listener.local_addr().expect("it is bound");
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Too many open files, or a dialler that has gone: the next one may do better.
                let Ok((stream, from)) = accepted else { continue };
                links.spawn(link(stream, from, at, to, replicas.clone(), cuts.clone()));
            }
            Some(_) = links.join_next() => {}
        }
    }
}

async fn link(
    dialled: TcpStream,
    from: SocketAddr,
    at: SocketAddr,
    to: usize,
    replicas: Arc<Vec<Replica>>,
    cuts: watch::Receiver<Vec<Cut>>,
) {
    let pids = replicas.iter().filter_map(|replica| replica.pid.get().copied());
    let pid = owner::holder(pids, from, at);
    let dialler = pid.and_then(|pid| replicas.iter().position(|replica| replica.pid.get() == Some(&pid)));
    let from = dialler.map_or(End::Clients, End::Replica);
    let gates = Gates { from, to: End::Replica(to), cuts };
    let pass = async {
        gates.clone().opened().await;
        let target = dial(&replicas[to]).await?;
        dialled.set_nodelay(true)?;
        target.set_nodelay(true)?;
        let (dialled, target) = (dialled.into_split(), target.into_split());
        // The end of either direction is the end of the link.
        tokio::select! {
            passed = pump(dialled.0, target.1, gates.clone()) => passed,
            passed = pump(target.0, dialled.1, gates.clone()) => passed,
        }
    };
    // How a link ended is no news: both sides see it.
    tokio::select! {
        _ended = pass => {}
        () = gates.clone().broken() => {}
    }
}

/// Connects to the replica itself, once it listens. One that has died refuses.
async fn dial(replica: &Replica) -> io::Result<TcpStream> {
    let look = async {
        loop {
            if let Some(port) = replica.port() {
                return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            }
            tokio::time::sleep(LISTEN_POLL).await;
        }
    };
    tokio::time::timeout(LISTEN_PATIENCE, look).await?
}

impl Replica {
    fn port(&self) -> Option<u16> {
        if let Some(port) = self.port.get() {
            return Some(*port);
        }
        let port = owner::listens_at(*self.pid.get()?)?;
        Some(*self.port.get_or_init(|| port))
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gates: Gates) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        gates.opened().await;
        to.write_all(&buffer[..read]).await?;
    }
}

/// What a link may do, as it changes.
#[derive(Clone)]
struct Gates {
    from: End,
    to: End,
    cuts: watch::Receiver<Vec<Cut>>,
}

impl Gates {
    async fn opened(&mut self) {
        self.wait(Gate::Open).await;
    }

    async fn broken(mut self) {
        self.wait(Gate::Broken).await;
    }

    async fn wait(&mut self, wanted: Gate) {
        let (from, to) = (self.from, self.to);
        let is_wanted = |cuts: &Vec<Cut>| gate(cuts, from, to) == wanted;
        if self.cuts.wait_for(is_wanted).await.is_err() {
            // The proxies are gone, and this task goes with them.
            std::future::pending::<()>().await;
        }
    }
}

fn gate(cuts: &[Cut], from: End, to: End) -> Gate {
    cuts.iter().find(|cut| cut.from == from && cut.to == to).map_or(Gate::Open, |cut| cut.gate)
}
