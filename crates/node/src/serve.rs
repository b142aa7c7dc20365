//! The life of one replica's process.
//!
//! ```text
//!   provision: make or open the identity, start the trusted core, bind the listener, write public.json
//!   wait:      whoever deploys puts genesis.bin into the directory
//!   check:     it names exactly this replica, here, and an application of this program
//!   run:       until a signal, the administrator's word, or the end of the parent
//! ```

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smr_replica::genesis::BadGenesis;
use smr_replica::{Genesis, Member};
use smr_wire::ReplicaId;
use smr_wire::client::FaultModel;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tracing::info;

use crate::applications::Applications;
use crate::files::{self, FileError, Secrecy};
use crate::identity::{Identity, IdentityError, Public};
use crate::limits::Limits;
use crate::node::{Disk, Ended, Node, Parts, StartError};
use crate::store::{self, DiskError};
use crate::trusted::boots::{self, BadBoots};
use crate::trusted::{Born, CoreError, CoreOptions};

/// Written by a replica into its directory: who it is, and which process.
pub const PUBLIC_FILE: &str = "public.json";

/// Written by whoever deploys into a replica's directory: how the service begins.
pub const GENESIS_FILE: &str = "genesis.bin";

/// Tells that the replica has run: its promises were in memory.
const RAN_FILE: &str = "ran";

/// Bytes of a genesis at most.
pub const GENESIS_BYTES_MAX: usize = 1 << 20;

/// Bytes of [`PUBLIC_FILE`] at most.
pub const PUBLIC_BYTES_MAX: usize = 64 << 10;

/// How long a replica waits for its genesis: whoever started it may have died before writing it.
const GENESIS_PATIENCE: Duration = Duration::from_secs(600);

/// How often a replica looks for its genesis.
const GENESIS_POLL: Duration = Duration::from_millis(20);

/// What a process is told on its command line.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The replica's data directory; made if it is not there.
    pub dir: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// Threads that execute commands.
    pub workers: NonZeroUsize,
    /// Whether to end when standard input does, that is with the process that holds the other end.
    pub die_with_parent: bool,
    /// What stands behind its trusted core.
    pub core: CoreOptions,
    /// How it lies.
    #[cfg(feature = "misbehave")]
    pub misbehaviour: Option<crate::misbehave::Misbehaviour>,
}

impl NodeOptions {
    /// With as many workers as there are cores, a life of its own, and the trusted core within it.
    #[must_use]
    pub fn new(dir: PathBuf, listen: impl Into<Listen>) -> NodeOptions {
        NodeOptions {
            dir,
            listen: listen.into(),
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            die_with_parent: false,
            core: CoreOptions::default(),
            #[cfg(feature = "misbehave")]
            misbehaviour: None,
        }
    }
}

/// Where a replica listens, and where others find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Its own address; port 0 takes a free one.
    pub at: SocketAddr,
    /// What others dial to reach it, if that is another address: a forwarded port, or a proxy.
    pub advertised: Option<SocketAddr>,
}

impl From<SocketAddr> for Listen {
    fn from(at: SocketAddr) -> Listen {
        Listen { at, advertised: None }
    }
}

/// Content of [`PUBLIC_FILE`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicFile {
    /// The replica.
    pub replica: Public,
    /// Its process.
    pub pid: u32,
}

impl PublicFile {
    /// Reads it from a replica's directory; none if it is not there yet.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub fn read(dir: &Path) -> Result<Option<PublicFile>, NodeError> {
        let path = dir.join(PUBLIC_FILE);
        let Some(bytes) = files::read(&path, PUBLIC_BYTES_MAX)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| NodeError::Malformed { path, error: error.to_string() })
    }
}

/// Runs a replica from the first start to its end.
///
/// # Errors
/// Why it could not start, or why it ended otherwise than it was told to.
pub async fn run(options: NodeOptions, applications: &Applications) -> Result<(), NodeError> {
    let mut stop = StopSignals::new(options.die_with_parent)?;
    let mut provisioned = Provisioned::with_core(&options.dir, options.listen, options.core).await?;
    info!(address = provisioned.public().address, "waiting for the genesis of the service");
    let genesis = tokio::select! {
        genesis = timeout(GENESIS_PATIENCE, provisioned.genesis()) => {
            genesis.map_err(|_| NodeError::NoGenesis { dir: options.dir.clone() })??
        }
        () = stop.stopped() => return Ok(()),
    };
    let parts = provisioned.join(genesis, options.workers)?;
    #[cfg(feature = "misbehave")]
    let parts = Parts { misbehaviour: options.misbehaviour, ..parts };
    info!(service = parts.genesis.name, replica = %parts.me, "starting");
    let mut node = Node::start(parts, applications)?;
    tokio::select! {
        ended = node.ended() => ended?,
        () = stop.stopped() => node.stop().await?,
    }
    info!("ended as told");
    Ok(())
}

/// A replica that has its keys and its address, and no service yet.
#[derive(Debug)]
pub struct Provisioned {
    dir: PathBuf,
    identity: Identity,
    listener: TcpListener,
    core: Born,
    public: Public,
}

impl Provisioned {
    /// As [`Provisioned::with_core`], with the core in this process.
    ///
    /// # Errors
    /// The same.
    pub async fn provision(dir: &Path, listen: impl Into<Listen>) -> Result<Provisioned, NodeError> {
        Provisioned::with_core(dir, listen, CoreOptions::default()).await
    }

    /// Makes or opens the identity in `dir`, starts the trusted core, binds the listener and tells of all three in
    /// [`PUBLIC_FILE`].
    ///
    /// # Errors
    /// The directory, a file in it or the address cannot be used, there is no core, or the replica has run before.
    pub async fn with_core(
        dir: &Path,
        listen: impl Into<Listen>,
        core: CoreOptions,
    ) -> Result<Provisioned, NodeError> {
        let Listen { at, advertised } = listen.into();
        let identity = Identity::create_or_open(dir)?;
        if has_run(dir)? && !may_return(dir)? {
            return Err(NodeError::HasRun { dir: dir.to_owned() });
        }
        let bind = async {
            let listener = TcpListener::bind(at).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind.await.map_err(|error| NodeError::Bind { listen: at, error })?;
        let replica = identity.identity().public();
        let born = tokio::task::spawn_blocking(move || {
            let mut born = Born::start(&core.backing)?;
            core.tpm.iter().try_for_each(|tpm| born.certify(tpm, &replica))?;
            Ok::<Born, CoreError>(born)
        });
        let core = born.await.expect("to start a core does not panic, and nothing aborts it")?;
        let public = identity.public(&core, &advertised.unwrap_or(address).to_string());
        let file = PublicFile { replica: public.clone(), pid: std::process::id() };
        let json = serde_json::to_vec_pretty(&file).expect("plain data with text keys");
        files::write_atomically(&dir.join(PUBLIC_FILE), &json, Secrecy::Public)?;
        Ok(Provisioned { dir: dir.to_owned(), identity, listener, core, public })
    }

    /// What the others need to know of it.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Waits for [`GENESIS_FILE`].
    ///
    /// # Errors
    /// The file cannot be read or is no genesis, or the core is gone.
    pub async fn genesis(&mut self) -> Result<Genesis, NodeError> {
        let path = self.dir.join(GENESIS_FILE);
        loop {
            self.core.check()?;
            if let Some(genesis) = read_genesis(&path)? {
                return Ok(genesis);
            }
            tokio::time::sleep(GENESIS_POLL).await;
        }
    }

    /// Takes its place in the service. From here on this directory belongs to one run, unless the replica writes down what it
    /// promises, and goes on from there, or the protocol asks a trusted core for its promises: a replica that comes back without its memory does not know what it has promised, so it would
    /// count as one that lies. Its core's new key is none that the others know, so it cannot contradict itself; it follows
    /// until the administrator has vouched for that key.
    ///
    /// # Errors
    /// The genesis is not valid or does not name exactly this replica, a member's core is not certified though this one is, or
    /// what is on disk cannot be used.
    pub fn join(self, genesis: Genesis, workers: NonZeroUsize) -> Result<Parts, NodeError> {
        genesis.validate()?;
        let certified = self.public.boot.is_some();
        let me = self.public.member(genesis.protocol);
        let place = genesis.members.iter().position(|member| member.identity == me.identity);
        let place = place.ok_or(NodeError::NotAMember)?;
        let returns = has_run(&self.dir)?;
        let known = Member {
            core: if returns { me.core } else { genesis.members[place].core },
            ..genesis.members[place].clone()
        };
        if known != me {
            return Err(NodeError::OtherMember { replica: ReplicaId::at(place), address: me.address });
        }
        if me.core.is_some() {
            let status = self.core.status();
            info!(backing = %status.backing, precautions = %status.precautions, "trusted core");
        }
        if certified {
            for (member, boot) in boots::check(&self.dir, &genesis)?.iter().enumerate() {
                info!(member, tpm = %boot.key, boot = boot.counter, "certified core");
            }
        }
        let me = ReplicaId::at(place);
        let disk = genesis.durable.then(|| store::open(&self.dir, &genesis, me, returns)).transpose()?;
        files::write_atomically(&self.dir.join(RAN_FILE), b"", Secrecy::Public)?;
        Ok(Parts {
            disk: disk.map(Disk),
            limits: Limits::for_config(&genesis.config),
            genesis: Arc::new(genesis),
            me,
            identity: self.identity,
            core: self.core,
            listener: self.listener,
            workers,
            #[cfg(feature = "misbehave")]
            misbehaviour: None,
        })
    }
}

/// Whether a replica has run in this directory.
fn has_run(dir: &Path) -> Result<bool, NodeError> {
    Ok(files::read(&dir.join(RAN_FILE), 0)?.is_some())
}

/// Whether one that has run may come back: what it said is on its disk, or the protocol counts on its trusted core alone.
fn may_return(dir: &Path) -> Result<bool, NodeError> {
    let genesis = read_genesis(&dir.join(GENESIS_FILE))?;
    let hybrid = |genesis: &Genesis| genesis.protocol.profile().model == FaultModel::Hybrid;
    Ok(genesis.is_some_and(|genesis| genesis.durable || hybrid(&genesis)))
}

fn read_genesis(path: &Path) -> Result<Option<Genesis>, NodeError> {
    let Some(bytes) = files::read(path, GENESIS_BYTES_MAX)? else { return Ok(None) };
    let genesis = smr_wire::decode(&bytes, GENESIS_BYTES_MAX);
    genesis
        .map(Some)
        .map_err(|error| NodeError::Malformed { path: path.to_owned(), error: error.to_string() })
}

/// What makes a process end in order.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    die_with_parent: bool,
}

impl StopSignals {
    fn new(die_with_parent: bool) -> Result<StopSignals, NodeError> {
        let listen = |kind| signal(kind).map_err(NodeError::Signals);
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(StopSignals { terminate, interrupt, die_with_parent })
    }

    async fn stopped(&mut self) {
        let parent = self.die_with_parent;
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = parent_gone(), if parent => {}
        }
    }
}

/// Waits for the end of standard input.
async fn parent_gone() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(input.read(&mut bytes).await, Ok(1..)) {}
}

/// Why a replica's process could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its secrets.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that is something else.
    #[error("{path} is damaged or of another version: {error}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// Its address.
    #[error("cannot listen at {listen}: {error}")]
    Bind {
        /// Where.
        listen: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It ran before, with its promises in memory.
    #[error(
        "the replica in {dir} has run before and kept its promises in memory only; with its memory gone it could \
         contradict itself. Take the service down and up again, or replace this replica"
    )]
    HasRun {
        /// Which.
        dir: PathBuf,
    },
    /// Nobody gave it a service.
    #[error("no {GENESIS_FILE} came into {dir} within {GENESIS_PATIENCE:?}; whoever started this has gone")]
    NoGenesis {
        /// Where it waited.
        dir: PathBuf,
    },
    /// A genesis that cannot be.
    #[error("the genesis is not valid: {0}")]
    Genesis(#[from] BadGenesis),
    /// A genesis of others.
    #[error("the genesis does not name this replica's identity key")]
    NotAMember,
    /// A genesis with wrong facts about this replica.
    #[error(
        "the genesis names this replica as {replica}, but with another address than {address} or other keys"
    )]
    OtherMember {
        /// Which it would be.
        replica: ReplicaId,
        /// Where it is.
        address: String,
    },
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The boots of the members' trusted cores.
    #[error(transparent)]
    Boots(#[from] BadBoots),
    /// What is on its disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its trusted core, before it had a service.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// It ended otherwise than it was told to.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The system does not let it hear signals.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    /// The system gives no threads.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
}
