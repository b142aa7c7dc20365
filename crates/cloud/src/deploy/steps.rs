//! The steps of one deployment, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use smr_client::connect::tls::ChannelKey;
use smr_consensus::ProtocolName;
use smr_crypto::boot::Evidence;
use smr_node::files::{self, Secrecy};
use smr_node::operator::{Client, NodePhase, NodeStatus, OperatorError};
use smr_node::serve::{GENESIS_FILE, PublicFile};
use smr_node::statement::agreed;
use smr_node::trusted::BackingName;
use smr_node::trusted::boots::{self, BOOTS_FILE};
use smr_node::trusted::tpm::Device;
use smr_node::{Public, ServiceStatement, SignedServiceStatement};
use smr_plan::blueprint::{CheckpointStrategy, Scheduler};
use smr_plan::{Blueprint, Durability, TrustedHardware};
use smr_replica::config::Strategy;
use smr_replica::{Config, Genesis, Scheduling};
use smr_wire::client::{FaultModel, ProofKind};
use smr_wire::{Descriptor, Generation, ReplicaId};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{DeployError, DeployOptions, Progress, Waiting, application_name, program};
use crate::provider::process::LOG_FILE;
use crate::provider::{Handle, Launch, Provider};
use crate::returns::counts_on_cores;
use crate::service::{Record, ReplicaRecord, ServiceDir};

/// How often to look for something that is to come.
const POLL: Duration = Duration::from_millis(20);

/// How long one question to a replica may take.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// One deployment on its way.
pub(super) struct Deployment<'a, P, F> {
    pub(super) service: &'a ServiceDir,
    pub(super) options: &'a DeployOptions,
    pub(super) provider: &'a P,
    pub(super) record: Record,
    /// Replicas that the user goes on without, whatever they know.
    pub(super) without: BTreeSet<ReplicaId>,
    /// Whose new trusted cores were vouched for, and in which generation.
    pub(super) vouched: BTreeSet<(ReplicaId, Generation)>,
    /// When all were asked where they are for the first time.
    pub(super) asked_since: Instant,
    started: Vec<Handle>,
    began: Instant,
    on_progress: F,
}

impl<'a, P: Provider, F: FnMut(Progress)> Deployment<'a, P, F> {
    pub(super) fn new(
        service: &'a ServiceDir,
        record: Record,
        options: &'a DeployOptions,
        provider: &'a P,
        began: Instant,
        on_progress: F,
    ) -> Self {
        let (without, vouched, started) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let asked_since = began;
        Deployment {
            service,
            options,
            provider,
            record,
            without,
            vouched,
            asked_since,
            started,
            began,
            on_progress,
        }
    }

    /// What was started so far.
    pub(super) fn started(&self) -> &[Handle] {
        &self.started
    }

    /// Starts a replica.
    pub(super) fn start(&mut self, dir: PathBuf, listen: SocketAddr) -> Result<Handle, DeployError> {
        let handle = self.provider.start(&launch(&self.record.blueprint, self.options, dir, listen))?;
        self.started.push(handle.clone());
        Ok(handle)
    }

    pub(super) async fn run(&mut self) -> Result<Descriptor, DeployError> {
        let blueprint = self.record.blueprint.clone();
        let protocol = blueprint.protocol.parse::<ProtocolName>();
        let protocol =
            protocol.map_err(|_| DeployError::UnknownProtocol { protocol: blueprint.protocol.clone() })?;
        let application = application_name(&blueprint.application, self.options).await?;
        if self.counts_on_tpms() {
            reach(&self.options.tpm).await?;
        }
        self.service.create()?;
        let administrator = self.service.administrator()?;
        self.service.keep(&self.record)?;
        self.tell(Progress::Prepared { dir: self.service.path() });
        self.start_replicas()?;
        let members = self.members().await?;
        let genesis = Genesis {
            name: blueprint.name.as_str().to_owned(),
            application,
            protocol,
            faults: blueprint.faults,
            members: members.iter().cloned().map(|public| public.member(protocol)).collect(),
            administrator: administrator.public(),
            durable: blueprint.durability == Durability::Disk,
            scheduling: scheduling(&blueprint),
            config: config(&blueprint),
        };
        genesis.validate()?;
        self.begin(&genesis, &members)?;
        self.wait_ready(&members, &administrator).await?;
        let statement = self.agreement(&genesis, &members, &administrator).await?;
        let descriptor = Descriptor {
            name: genesis.name.clone(),
            service: statement.service,
            service_key: statement.service_key,
            endpoints: members.iter().map(|member| member.address.clone()).collect(),
            proofs: proofs(protocol),
        };
        self.record.descriptor = Some(descriptor.clone());
        self.service.keep(&self.record)?;
        Ok(descriptor)
    }

    fn start_replicas(&mut self) -> Result<(), DeployError> {
        let of = usize::from(self.record.blueprint.replicas);
        for replica in 0..of {
            let (dir, listen) = (self.service.replica(replica), SocketAddr::new(self.options.host, 0));
            let handle = self.start(dir, listen)?;
            self.record.replicas.push(ReplicaRecord { handle, public: None, restarts: 0, vouched: None });
            self.service.keep(&self.record)?;
            self.tell(Progress::Started { replica, of });
        }
        Ok(())
    }

    /// Waits until every replica has told who it is.
    async fn members(&mut self) -> Result<Vec<Public>, DeployError> {
        let mut members = Vec::new();
        for replica in 0..self.record.replicas.len() {
            let public = loop {
                let read = PublicFile::read(&self.service.replica(replica));
                match read.map_err(|error| DeployError::ReplicaUnclear { replica, why: error.to_string() })? {
                    Some(file) => break file.replica,
                    None => self.pause(|| Waiting::Public { replica }).await?,
                }
            };
            if self.counts_on_tpms() && !is_certified(&public) {
                let why = "no TPM has certified its trusted core".to_owned();
                return Err(DeployError::ReplicaUnclear { replica, why });
            }
            self.tell(Progress::Listening { replica, address: public.address.clone() });
            self.record.replicas[replica].public = Some(public.clone());
            members.push(public);
        }
        Ok(members)
    }

    fn counts_on_tpms(&self) -> bool {
        counts_on_tpms(&self.record.blueprint)
    }

    fn begin(&mut self, genesis: &Genesis, members: &[Public]) -> Result<(), DeployError> {
        let bytes = smr_wire::encode(genesis);
        let boots: Vec<&Evidence> = members.iter().filter_map(|member| member.boot.as_ref()).collect();
        for replica in 0..self.record.replicas.len() {
            if self.counts_on_tpms() {
                // Before the genesis, which is what a replica waits for.
                let json = serde_json::to_vec_pretty(&boots).expect("plain data");
                let path = self.service.replica(replica).join(BOOTS_FILE);
                files::write_atomically(&path, &json, Secrecy::Public)?;
            }
            let path = self.service.replica(replica).join(GENESIS_FILE);
            files::write_atomically(&path, &bytes, Secrecy::Public)?;
        }
        let service = genesis.service();
        self.record.service = Some(service);
        self.service.keep(&self.record)?;
        self.tell(Progress::Begun { service });
        Ok(())
    }

    /// Waits until clients can use every replica.
    async fn wait_ready(&mut self, members: &[Public], key: &ChannelKey) -> Result<(), DeployError> {
        let mut told = None;
        loop {
            let statuses = ask_all(members, key).await;
            let is_ready = |status: &NodeStatus| status.phase == NodePhase::Ready && status.certified;
            let ready = statuses.iter().flatten().filter(|status| is_ready(status)).count();
            let ceremony = statuses.iter().flatten().map(|status| status.ceremony.clone()).next_back();
            let progress =
                Progress::Forming { ready, of: members.len(), ceremony: ceremony.unwrap_or_default() };
            if told.as_ref() != Some(&progress) {
                told = Some(progress.clone());
                self.tell(progress);
            }
            if ready == members.len() {
                return Ok(());
            }
            let phases = || statuses.iter().map(|status| status.as_ref().map(|s| s.phase)).collect();
            self.pause(|| Waiting::Ready { phases: phases() }).await?;
        }
    }

    /// The key that f+1 replicas state, so at least one correct one.
    async fn agreement(
        &mut self,
        genesis: &Genesis,
        members: &[Public],
        key: &ChannelKey,
    ) -> Result<ServiceStatement, DeployError> {
        let needed = genesis.group().one_correct();
        let statements = state_all(members, key).await;
        let said = || statements.iter().map(|(member, signed)| (&member.identity, signed));
        let statement = agreed(genesis.service(), needed, said());
        let Some(statement) = statement else {
            let mut counts = BTreeMap::<[u8; 48], usize>::new();
            for (member, signed) in &statements {
                if signed.verify(&member.identity) {
                    *counts.entry(signed.statement.service_key.0).or_default() += 1;
                }
            }
            let agreed = counts.values().copied().max().unwrap_or(0);
            return Err(DeployError::NoAgreement { agreed, needed });
        };
        let replicas = statements.iter().filter(|(_, signed)| signed.statement == statement).count();
        self.tell(Progress::Agreed { replicas, needed });
        Ok(statement)
    }

    /// Waits a moment, unless a replica has ended or all has taken too long.
    async fn pause(&self, waiting: impl FnOnce() -> Waiting) -> Result<(), DeployError> {
        let ended = self.record.replicas.iter().position(|replica| !self.provider.is_alive(&replica.handle));
        if let Some(replica) = ended {
            let log = log_tail(&self.service.replica(replica).join(LOG_FILE));
            return Err(DeployError::ReplicaEnded { replica, log });
        }
        self.wait(waiting()).await
    }

    /// Waits a moment, unless all has taken too long.
    pub(super) async fn wait(&self, waiting: Waiting) -> Result<(), DeployError> {
        if self.began.elapsed() > self.options.patience {
            return Err(DeployError::TooSlow { after: self.options.patience, waiting });
        }
        sleep(POLL).await;
        Ok(())
    }

    pub(super) fn tell(&mut self, progress: Progress) {
        (self.on_progress)(progress);
    }
}

fn counts_on_tpms(blueprint: &Blueprint) -> bool {
    blueprint.trusted_hardware == Some(TrustedHardware::Tpm)
}

/// How the process of a replica is started that keeps its files in `dir`.
pub(crate) fn launch(
    blueprint: &Blueprint,
    options: &DeployOptions,
    dir: PathBuf,
    listen: SocketAddr,
) -> Launch {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Launch {
        program: program(&blueprint.application, options),
        dir,
        listen,
        // They share this machine.
        workers: NonZeroUsize::new(cores / usize::from(blueprint.replicas)).unwrap_or(NonZeroUsize::MIN),
        life: options.life,
        core: core_backing(blueprint),
        tpm: counts_on_tpms(blueprint).then(|| options.tpm.clone()),
    }
}

/// How commands run, as the blueprint says.
fn scheduling(blueprint: &Blueprint) -> Scheduling {
    let Scheduler { preset, primaries, steps } = blueprint.scheduler.clone();
    Scheduling { preset, primaries, steps }
}

/// The limits of a blueprint in the words of a replica.
fn config(blueprint: &Blueprint) -> Config {
    let checkpoints = match blueprint.checkpoint {
        CheckpointStrategy::Quiescent => Strategy::Quiescent,
        CheckpointStrategy::Rolling => Strategy::Rolling,
    };
    Config {
        checkpoints,
        checkpoint_slots: blueprint.checkpoint_slots,
        command_bytes_max: blueprint.limits.command_bytes_max,
        request_bytes_max: blueprint.limits.request_bytes_max,
        reply_bytes_max: blueprint.limits.reply_bytes_max,
        sessions_max: blueprint.limits.sessions_max,
        ..Config::default()
    }
}

/// How each replica is; none for one that does not answer, which is no news while they start.
pub(super) async fn ask_all(members: &[Public], key: &ChannelKey) -> Vec<Option<NodeStatus>> {
    let mut statuses = Vec::new();
    for member in members {
        statuses.push(async { connect(member, key).await?.status().await }.await.ok());
    }
    statuses
}

/// What each replica that answers states.
async fn state_all<'m>(members: &'m [Public], key: &ChannelKey) -> Vec<(&'m Public, SignedServiceStatement)> {
    let mut statements = Vec::new();
    for member in members {
        if let Ok(Some(signed)) = async { connect(member, key).await?.service().await }.await {
            statements.push((member, signed));
        }
    }
    statements
}

async fn connect(member: &Public, key: &ChannelKey) -> Result<Client, OperatorError> {
    Client::connect(&member.address, member.channel, key, ASK_PATIENCE).await
}

/// Lines of a log that are shown.
const TAIL_LINES: usize = 12;

/// Bytes of a log that are looked at, from its end.
const TAIL_BYTES: u64 = 8 << 10;

/// The end of a replica's log, indented.
pub(super) fn log_tail(path: &std::path::Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    // What it says goes to a terminal, which has to stay in one piece.
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    if shown.is_empty() {
        return "    (nothing)".to_owned();
    }
    shown.iter().map(|line| format!("    {}", clean(line))).collect::<Vec<_>>().join("\n")
}

/// Sees whether there is a TPM at all, before anything is started that would end without one. Whether it does what it
/// should only shows when replicas ask it.
async fn reach(device: &Device) -> Result<(), DeployError> {
    let reached = match device {
        Device::File(path) => tokio::fs::OpenOptions::new().read(true).write(true).open(path).await.map(drop),
        Device::Address(address) => match timeout(ASK_PATIENCE, TcpStream::connect(address)).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
    };
    reached.map_err(|error| DeployError::NoTpm { device: device.clone(), error })
}

/// Whether a TPM has certified the replica's core.
pub(crate) fn is_certified(public: &Public) -> bool {
    public.boot.as_ref().is_some_and(|boot| boots::certifies(boot, &public.identity, &public.core))
}

/// What stands behind trusted cores: a process of their own wherever the protocol counts on them.
fn core_backing(blueprint: &Blueprint) -> BackingName {
    if counts_on_cores(blueprint) { BackingName::Process } else { BackingName::InProcess }
}

/// What clients accept as proof of a reply: where machines do not lie, the word of a contact besides.
fn proofs(protocol: ProtocolName) -> Vec<ProofKind> {
    match protocol.profile().model {
        FaultModel::Crash => vec![ProofKind::Certified, ProofKind::Channel],
        FaultModel::Hybrid | FaultModel::Byzantine => vec![ProofKind::Certified],
    }
}
