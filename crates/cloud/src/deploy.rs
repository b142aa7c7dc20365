//! From a blueprint to a running service and its one key.
//!
//! ```text
//!   lock -> administrator's key -> start replicas -> each makes its keys and tells the public ones
//!        -> genesis to each -> they generate the service's key -> all answer as ready
//!        -> f+1 equal statements of the key, each under its replica's signature -> descriptor
//! ```
//!
//! Secret keys are made inside the replicas; nothing here ever sees one but the administrator's.

mod again;
mod steps;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use smr_node::operator::NodePhase;
use smr_node::trusted::tpm::Device;
use smr_plan::{Application, Blueprint, ServiceName};
use smr_replica::genesis::BadGenesis;
use smr_wire::{Descriptor, Generation, ReplicaId, ServiceId, Slot};
use tokio::time::Instant;

use crate::provider::{Handle, Life, Provider, ProviderError, stop_all};
use crate::returns::is_on_disk;
use crate::service::{Home, Record, ServiceDir, ServiceError};
use steps::Deployment;
pub(crate) use steps::{is_certified, launch};

/// How to deploy; what is deployed stands in the blueprint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeployOptions {
    /// The program that runs builtin applications: this one.
    pub binary: PathBuf,
    /// The directory of the description, from which an application's relative path counts.
    pub base: PathBuf,
    /// The address that replicas listen at.
    pub host: IpAddr,
    /// How long replicas are to live.
    pub life: Life,
    /// Where machines have their TPM, if it is to vouch for trusted cores.
    pub tpm: Device,
    /// How long the whole may take.
    pub patience: Duration,
    /// Whether a service that lost its trusted cores may go on without what replicas know that cannot be asked.
    pub losses: Losses,
}

/// Whether something that was acknowledged may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Losses {
    /// Nothing.
    Refused,
    /// What only replicas know that are gone.
    Allowed,
}

impl DeployOptions {
    /// On this machine's own address, for good, with the TPM where Linux has it, within two minutes, without a loss.
    #[must_use]
    pub fn new(binary: PathBuf, base: PathBuf) -> DeployOptions {
        DeployOptions {
            binary,
            base,
            host: Ipv4Addr::LOCALHOST.into(),
            life: Life::Detached,
            tpm: Device::File(PathBuf::from("/dev/tpmrm0")),
            patience: Duration::from_secs(120),
            losses: Losses::Refused,
        }
    }
}

/// Deploys `blueprint`; a service of this name that was stopped, and keeps what it is bound to on disk, goes on. If it fails,
/// whatever was started is ended again; what a new service left is put aside, and what a stopped one has stays.
///
/// # Errors
/// Why there is no service, and what to do.
pub async fn deploy(
    home: &Home,
    blueprint: &Blueprint,
    options: &DeployOptions,
    provider: &impl Provider,
    on_progress: impl FnMut(Progress),
) -> Result<Deployed, DeployError> {
    let service = home.service(&blueprint.name);
    let _lock = service.lock()?;
    let stopped = stopped(&service, blueprint, provider)?;
    let (began, goes_on) = (Instant::now(), stopped.is_some());
    let record = stopped.unwrap_or_else(|| Record::new(blueprint.clone()));
    let mut deployment = Deployment::new(&service, record, options, provider, began, on_progress);
    let deployed = if goes_on { deployment.go_on().await } else { deployment.run().await };
    match deployed {
        Ok(descriptor) => Ok(Deployed {
            name: blueprint.name.clone(),
            dir: service.path(),
            descriptor_file: service.descriptor(),
            descriptor,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }),
        Err(error) => {
            let handles = deployment.started();
            let undone = if goes_on {
                stopped_again(&service, provider, handles, error).await
            } else {
                undone(&service, provider, handles, error).await
            };
            Err(undone)
        }
    }
}

/// How long replicas of a service that did not come to be may take to end.
const UNDO_PATIENCE: Duration = Duration::from_secs(3);

async fn undone(
    service: &ServiceDir,
    provider: &impl Provider,
    handles: &[Handle],
    error: DeployError,
) -> DeployError {
    if !service.exists() {
        return error;
    }
    let stopped = stop_all(provider, handles, UNDO_PATIENCE).await;
    match stopped.map_err(DeployError::from).and_then(|_| Ok(service.put_aside()?)) {
        Ok(kept) => DeployError::Failed { error: Box::new(error), kept },
        Err(cleaning) => DeployError::NotUndone {
            error: Box::new(error),
            cleaning: Box::new(cleaning),
            name: service.name().clone(),
        },
    }
}

/// Ends what was started of a service that should have gone on. What is on its disks stays.
async fn stopped_again(
    service: &ServiceDir,
    provider: &impl Provider,
    handles: &[Handle],
    error: DeployError,
) -> DeployError {
    let stopped = stop_all(provider, handles, UNDO_PATIENCE).await.map_err(DeployError::from);
    let noted = stopped.and_then(|_| {
        let runs = |record: &Record| record.replicas.iter().any(|of| provider.is_alive(&of.handle));
        let record = service.record()?.filter(|record| !runs(record)).map(Record::stopped);
        Ok(record.map_or(Ok(()), |record| service.keep(&record))?)
    });
    match noted {
        Ok(()) => DeployError::NotResumed { error: Box::new(error), dir: service.path() },
        Err(cleaning) => DeployError::NotUndone {
            error: Box::new(error),
            cleaning: Box::new(cleaning),
            name: service.name().clone(),
        },
    }
}

/// A service that came to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Deployed {
    /// Its name.
    pub name: ServiceName,
    /// Where what belongs to it is kept.
    pub dir: PathBuf,
    /// Where the descriptor is kept.
    pub descriptor_file: PathBuf,
    /// What clients need.
    pub descriptor: Descriptor,
    /// How long it took, in ms.
    pub took_ms: u64,
}

/// How far a deployment is. Data; whoever shows it finds the words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Progress {
    /// There is a place for the service.
    Prepared {
        /// Where.
        dir: PathBuf,
    },
    /// There is a service that was stopped.
    Found {
        /// Where.
        dir: PathBuf,
    },
    /// Replicas take up what is on their disks.
    Returning {
        /// Replicas that are ready.
        ready: usize,
        /// Of how many.
        of: usize,
    },
    /// Too few trusted cores are left: replicas are asked where they are, and go no further by themselves.
    Asking {
        /// How many replicas there are.
        of: usize,
    },
    /// It goes on without what these know.
    Without {
        /// Which replicas.
        replicas: BTreeSet<ReplicaId>,
    },
    /// All that had to say where they are have: a generation ends there, and one with other cores begins.
    Restarting {
        /// Which ends.
        generation: Generation,
        /// The last slot in it.
        slot: Slot,
    },
    /// A replica's process runs.
    Started {
        /// Which, from 0.
        replica: usize,
        /// Of how many.
        of: usize,
    },
    /// A replica has made its keys.
    Listening {
        /// Which.
        replica: usize,
        /// Where.
        address: String,
    },
    /// All replicas know how the service begins.
    Begun {
        /// Its id.
        service: ServiceId,
    },
    /// The replicas make the service's key.
    Forming {
        /// Replicas that are ready.
        ready: usize,
        /// Of how many.
        of: usize,
        /// How far key generation is, in the words of one of them.
        ceremony: String,
    },
    /// Enough replicas state the same key.
    Agreed {
        /// How many said so.
        replicas: usize,
        /// How many had to.
        needed: usize,
    },
}

/// What is kept of a service of this name that was stopped, or of which replicas ended, and that can go on; none if the name is
/// free.
fn stopped(
    service: &ServiceDir,
    blueprint: &Blueprint,
    provider: &impl Provider,
) -> Result<Option<Record>, DeployError> {
    if !service.exists() {
        return Ok(None);
    }
    let name = service.name().clone();
    let Some(record) = service.record()? else { return Err(DeployError::Stale { name }) };
    let alive = record.replicas.iter().filter(|replica| provider.is_alive(&replica.handle)).count();
    let goes_on = is_on_disk(&record.blueprint) && record.descriptor.is_some();
    let lacks_some = goes_on && alive < record.replicas.len() && again::is_same(&record.blueprint, blueprint);
    if lacks_some {
        Ok(Some(record))
    } else if alive > 0 {
        Err(DeployError::Running { name, alive, of: record.replicas.len() })
    } else if !goes_on {
        Err(DeployError::Stale { name })
    } else {
        Err(DeployError::Another { name })
    }
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The name is taken.
    #[error(
        "the service `{name}` is running already ({alive} of {of} replicas); look at it with `smrcloud status \
         {name}`, or take it down with `smrcloud down {name}`"
    )]
    Running {
        /// Whose name.
        name: ServiceName,
        /// Replicas that run.
        alive: usize,
        /// Replicas that were started.
        of: usize,
    },
    /// The name belongs to a service that is dead.
    #[error(
        "the service `{name}` was up before, but none of its replicas runs any more. Its state was in their memory, \
         so it is gone; clear what is left with `smrcloud down {name}`, then try again"
    )]
    Stale {
        /// Whose name.
        name: ServiceName,
    },
    /// The name belongs to a service that was stopped, and this description is of another one.
    #[error(
        "a service `{name}` was stopped here and can go on, but this description asks for another one: for other \
         replicas, another application or other settings. Go on with the description that it was made from, or erase it \
         with `smrcloud down {name} --erase`, which removes its state and its key"
    )]
    Another {
        /// Whose name.
        name: ServiceName,
    },
    /// A service that was stopped did not go on.
    #[error("{error}\nWhat was started is ended again; what the service has on disk stays in {dir}")]
    NotResumed {
        /// Why.
        #[source]
        error: Box<DeployError>,
        /// Where it is kept.
        dir: PathBuf,
    },
    /// A protocol that this program has not.
    #[error("the blueprint names the protocol `{protocol}`, which this program does not have")]
    UnknownProtocol {
        /// Its name.
        protocol: String,
    },
    /// A program that does not say what it is.
    #[error(
        "{program} does not tell its application's name ({why}). It has to be an executable whose `main` is \
         `smr_node::main(name, make)`; build it first"
    )]
    NotAnApplication {
        /// Which program.
        program: PathBuf,
        /// What happened instead.
        why: String,
    },
    /// There is no TPM to count on.
    #[error(
        "trusted_hardware = \"tpm\" needs a TPM 2.0, but the TPM at {device} cannot be reached: {error}. Nothing was \
         started. {}; to do without a TPM, say trusted_hardware = \"software\" in [wish]",
        reach_it(device, error)
    )]
    NoTpm {
        /// Where it was looked for.
        device: Device,
        /// Why it cannot be reached.
        #[source]
        error: io::Error,
    },
    /// A replica ended by itself.
    #[error("replica {replica} ended by itself. The last it said:\n{log}")]
    ReplicaEnded {
        /// Which.
        replica: usize,
        /// The end of its log.
        log: String,
    },
    /// A replica's first words make no sense.
    #[error("replica {replica} does not say who it is: {why}")]
    ReplicaUnclear {
        /// Which.
        replica: usize,
        /// Why.
        why: String,
    },
    /// The replicas do not fit together.
    #[error("the replicas do not make a service: {0}")]
    Genesis(#[from] BadGenesis),
    /// All trusted cores are gone, and not every replica can be asked where it is.
    #[error(
        "the trusted cores of this service are gone, and it can go on where the replica is that knows most; but {} not say \
         where. A client may have been told what nobody else knows. {}. The last that replica {} said:\n{log}",
        they_do(replicas), bring_back(*losses), replicas.first().unwrap_or(&0)
    )]
    Unheard {
        /// Which.
        replicas: Vec<usize>,
        /// The end of the first one's log.
        log: String,
        /// Whether the user would have gone on without them.
        losses: Losses,
    },
    /// It takes too long.
    #[error("after {after:?} {waiting}")]
    TooSlow {
        /// How long.
        after: Duration,
        /// What has not come to pass.
        waiting: Waiting,
    },
    /// Replicas state different keys.
    #[error(
        "only {agreed} replicas state the same service key, but {needed} have to; do not use this service"
    )]
    NoAgreement {
        /// The largest number that agree.
        agreed: usize,
        /// How many have to.
        needed: usize,
    },
    /// What is kept of the service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A file for a replica.
    #[error(transparent)]
    File(#[from] smr_node::files::FileError),
    /// It failed, and everything was undone.
    #[error("{error}\nNothing is left running; logs are kept in {kept}")]
    Failed {
        /// Why.
        #[source]
        error: Box<DeployError>,
        /// Where what it left is kept.
        kept: PathBuf,
    },
    /// It failed, and could not be undone.
    #[error("{error}\nCleaning up failed as well ({cleaning}); try `smrcloud down {name}`")]
    NotUndone {
        /// Why.
        #[source]
        error: Box<DeployError>,
        /// Why it could not be undone.
        cleaning: Box<DeployError>,
        /// Which service.
        name: ServiceName,
    },
}

/// Who does not say where it is.
fn they_do(replicas: &[usize]) -> String {
    let names: Vec<String> = replicas.iter().map(usize::to_string).collect();
    match &names[..] {
        [] => "too few do".to_owned(),
        [one] => format!("replica {one} does"),
        _ => format!("replicas {} do", names.join(", ")),
    }
}

/// What helps whoever has lost replicas.
fn bring_back(losses: Losses) -> &'static str {
    match losses {
        Losses::Refused => {
            "Bring it back with its disk; or say `smrcloud up FILE --rescue`, which goes on where most replicas are: what \
             only others know is lost, acknowledged or not, and they have to be replaced"
        }
        Losses::Allowed => "Too few replicas are at one place to go on from there, whatever may be lost",
    }
}

/// What helps to reach a TPM.
fn reach_it(device: &Device, error: &io::Error) -> String {
    match device {
        Device::Address(_) => "If it is one in software, start it".to_owned(),
        Device::File(_) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("It is not open to you: join the group that `ls -l {device}` shows, often `tss`")
        }
        Device::File(_) => "If it is elsewhere, say `smrcloud up FILE --tpm PATH`".to_owned(),
    }
}

/// What a deployment was waiting for when it took too long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Replicas to tell their keys.
    Public {
        /// Which replica has not.
        replica: usize,
    },
    /// Replicas to be ready.
    Ready {
        /// What each does; none for one that does not answer.
        phases: Vec<Option<NodePhase>>,
    },
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Waiting::Public { replica } => write!(f, "replica {replica} has not said who it is"),
            Waiting::Ready { phases } => {
                f.write_str("not all replicas are ready:")?;
                for (replica, phase) in phases.iter().enumerate() {
                    match phase {
                        Some(phase) => write!(f, " replica {replica} is {phase};")?,
                        None => write!(f, " replica {replica} does not answer;")?,
                    }
                }
                f.write_str(" is the machine very busy?")
            }
        }
    }
}

/// The program that runs an application, and what to call it in errors.
fn program(application: &Application, options: &DeployOptions) -> PathBuf {
    match application {
        Application::Builtin(_) => options.binary.clone(),
        Application::Program(path) => options.base.join(path),
    }
}

/// How long a program may take to tell its application's name.
const NAME_PATIENCE: Duration = Duration::from_secs(10);

/// Characters of an application's name at most.
const NAME_CHARS_MAX: usize = 64;

/// The name of the application that a program runs, in its own words if it is not a builtin.
async fn application_name(application: &Application, options: &DeployOptions) -> Result<String, DeployError> {
    if let Application::Builtin(name) = application {
        return Ok(name.clone());
    }
    let program = program(application, options);
    let mut command = tokio::process::Command::new(&program);
    command.arg("name").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let said = match tokio::time::timeout(NAME_PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(output.stdout),
        Ok(Ok(output)) => {
            Err(format!("called as `{} name`, it ends with {}", program.display(), output.status))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err("there is no such file".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            Err(format!("called as `{} name`, it goes on for more than {NAME_PATIENCE:?}", program.display()))
        }
    };
    let named = said.and_then(|bytes| {
        let name = String::from_utf8(bytes).unwrap_or_default().trim().to_owned();
        let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control);
        if fits { Ok(name) } else { Err("what it prints when called with `name` is no name".to_owned()) }
    });
    named.map_err(|why| DeployError::NotAnApplication { program, why })
}
