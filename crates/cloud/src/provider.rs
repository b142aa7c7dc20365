//! Who starts and stops replicas. To add one: a module, and a line in [`Handle`].

pub mod process;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smr_node::trusted::BackingName;
use smr_node::trusted::tpm::Device;
use tokio::time::{Instant, sleep};

pub use process::Processes;

/// Starts replicas, and acts on those that it or another of its kind started.
pub trait Provider {
    /// Starts a replica's process; it goes on by itself.
    ///
    /// # Errors
    /// Why it did not start.
    fn start(&self, launch: &Launch) -> Result<Handle, ProviderError>;

    /// Whether the replica that was started as `handle` still runs. One that took its place does not count.
    fn is_alive(&self, handle: &Handle) -> bool;

    /// Asks it to end.
    ///
    /// # Errors
    /// It cannot be asked. That it has ended is no error.
    fn ask_to_end(&self, handle: &Handle) -> Result<(), ProviderError>;

    /// Ends it without asking.
    ///
    /// # Errors
    /// It cannot be ended. That it has ended is no error.
    fn end(&self, handle: &Handle) -> Result<(), ProviderError>;
}

/// What to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// The program; understands `replica --dir D --listen A --workers W --core C`, and `--tpm T`.
    pub program: PathBuf,
    /// The replica's own directory; made if it is not there. Its log goes there, too.
    pub dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that execute commands.
    pub workers: NonZeroUsize,
    /// How long it is to live.
    pub life: Life,
    /// What is to stand behind its trusted core.
    pub core: BackingName,
    /// The TPM that is to vouch for it.
    pub tpm: Option<Device>,
}

/// How long a replica is to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Until it is told to end.
    Detached,
    /// Until the process that started it ends.
    WithParent,
}

/// How a provider finds a replica again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase", deny_unknown_fields)]
pub enum Handle {
    /// Of [`Processes`].
    Process {
        /// The process.
        pid: u32,
        /// When it began, in the system's ticks since boot: its number may be given to another one later.
        began: u64,
        /// The boot that the ticks count from.
        boot: String,
    },
}

/// How a replica ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It had ended before.
    Gone,
    /// When it was asked.
    Asked,
    /// It did not, so it was ended.
    Forced,
}

/// How often to look whether a process has ended.
const POLL: Duration = Duration::from_millis(10);

/// How long a process that was ended by force may take to disappear.
const FORCED: Duration = Duration::from_secs(5);

/// Asks all of them to end, waits for at most `patience`, and ends those that did not.
///
/// # Errors
/// One cannot be ended; the others were dealt with.
pub async fn stop_all(
    provider: &impl Provider,
    handles: &[Handle],
    patience: Duration,
) -> Result<Vec<Ending>, ProviderError> {
    let mut endings = vec![Ending::Gone; handles.len()];
    let mut failed = None;
    for (handle, ending) in handles.iter().zip(&mut endings) {
        if provider.is_alive(handle) {
            *ending = Ending::Asked;
            failed = provider.ask_to_end(handle).err().or(failed);
        }
    }
    wait_gone(provider, handles, patience).await;
    for (handle, ending) in handles.iter().zip(&mut endings) {
        if provider.is_alive(handle) {
            *ending = Ending::Forced;
            failed = provider.end(handle).err().or(failed);
        }
    }
    wait_gone(provider, handles, FORCED).await;
    if let Some(handle) = handles.iter().find(|handle| provider.is_alive(handle)) {
        failed = failed.or(Some(ProviderError::Undying { handle: handle.clone() }));
    }
    failed.map_or(Ok(endings), Err)
}

async fn wait_gone(provider: &impl Provider, handles: &[Handle], patience: Duration) {
    let until = Instant::now() + patience;
    while handles.iter().any(|handle| provider.is_alive(handle)) && Instant::now() < until {
        sleep(POLL).await;
    }
}

/// Why a provider could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The program does not start.
    #[error("cannot start {program}: {error}")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A process that cannot be signalled.
    #[error("cannot signal process {pid}: {error}")]
    Signal {
        /// Which.
        pid: u32,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A process that stays.
    #[error("{handle:?} does not end, not even by force")]
    Undying {
        /// Which.
        handle: Handle,
    },
}
