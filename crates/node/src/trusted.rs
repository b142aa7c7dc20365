//! The trusted core at the edge: what backs the registers of [`smr_consensus::lanes::core`], and how a replica asks it.
//! `docs/trusted-cores.md` says what each backing stops and what not.
//!
//! ```text
//!   replica's process                                core's process
//!   start  ---- spawn, Begin ----------------------> gives up all rights, makes a key
//!          <--- Born: public key, precautions ------
//!   join   ---- Join: service, window, replica ----> registers, all empty, for this place only
//!   ask    ---- Attest: operation -----------------> register file, then a signature
//!          <--- Attested ---------------------------
//!   deal   ---- Deal: attempt, its rules -----------> once for each attempt: a dealing, and a signature
//!          <--- Dealt ------------------------------
//! ```
//!
//! - `exchange`: what crosses between the two, a packet each;
//! - `inside`: what the core's process decides, a value without IO, and the loop around it;
//! - `precautions`: the rights it gives up, and what of that could not be had;
//! - `process`: the replica's end;
//! - `boots`, `tpm`: what a TPM says of the boot in which a core's key was made.

pub mod boots;
pub mod exchange;
pub mod inside;
pub mod precautions;
mod process;
pub mod tpm;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smr_consensus::lanes::core::{Attempt, AttestedDealing, Operation, Refusal, SoftwareCore};
use smr_crypto::boot::Evidence;
use smr_crypto::{PublicKey, Signature};
use tokio::sync::oneshot;

pub use exchange::Place;
pub use precautions::{Precaution, Precautions};

use crate::identity::IdentityError;
use exchange::{Ask, CoreSecrets};
use process::{Process, Unjoined};

/// What is to stand behind a replica's core.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Backing {
    /// The replica's own process: for tests, and for protocols that ask no core for anything.
    #[default]
    InProcess,
    /// A process of its own, which can do nothing but answer at its end of a pair of sockets.
    Process(Program),
}

/// How a replica's core is made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CoreOptions {
    /// What is to stand behind it.
    pub backing: Backing,
    /// The TPM that is to certify in which boot its key was made; none if nobody asks for that.
    pub tpm: Option<tpm::Device>,
}

/// How the process of a core is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// The words that make it a core.
    pub arguments: Vec<String>,
}

impl Program {
    /// The program that runs this, called as `trusted-core`. It is found by what runs, not by its name, so a file that
    /// took its place meanwhile is not taken for it, and another user need not be able to find it.
    #[must_use]
    pub fn this() -> Program {
        Program { path: PathBuf::from("/proc/self/exe"), arguments: vec![inside::VERB.to_owned()] }
    }
}

/// The name of a backing, for people and programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackingName {
    /// See [`Backing::InProcess`].
    InProcess,
    /// See [`Backing::Process`].
    Process,
}

impl BackingName {
    /// The word for it on a command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            BackingName::InProcess => "in-process",
            BackingName::Process => "process",
        }
    }
}

impl std::fmt::Display for BackingName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackingName::InProcess => "in the replica's process",
            BackingName::Process => "separate process",
        })
    }
}

/// What there is to say of a core, once it has its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CoreStatus {
    /// What stands behind it.
    pub backing: BackingName,
    /// Its process, if it has one of its own.
    pub pid: Option<u32>,
    /// What was done for it to be left alone.
    pub precautions: Precautions,
    /// What a TPM says of the boot in which its key was made.
    #[serde(default)]
    pub boot: Option<Evidence>,
}

impl CoreStatus {
    /// Processor time that its process has used, in microseconds: 0 if it has none of its own, or the system does not tell.
    /// To the system's tick, which is 10 ms.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        self.pid.and_then(process::cpu_us).unwrap_or_default()
    }
}

/// A core that has its key, made when it was started and kept nowhere, and no place yet.
pub struct Born {
    key: PublicKey,
    status: CoreStatus,
    unjoined: Behind<CoreSecrets, Unjoined>,
}

/// One of two things, by what stands behind a core.
enum Behind<I, P> {
    InProcess(I),
    Process(P),
}

impl Born {
    /// Starts a core and has it make its key. Waits for the core's process, if it has one, so not for a task that others
    /// wait for.
    ///
    /// # Errors
    /// Why there is none.
    pub fn start(backing: &Backing) -> Result<Born, CoreError> {
        match backing {
            Backing::InProcess => {
                let secrets = CoreSecrets::draw()?;
                let status = CoreStatus {
                    backing: BackingName::InProcess,
                    pid: None,
                    precautions: Precautions::default(),
                    boot: None,
                };
                Ok(Born { key: secrets.key.public(), status, unjoined: Behind::InProcess(secrets) })
            }
            Backing::Process(program) => {
                let (unjoined, key, precautions) = Unjoined::start(program)?;
                let pid = Some(unjoined.pid());
                let status = CoreStatus { backing: BackingName::Process, pid, precautions, boot: None };
                Ok(Born { key, status, unjoined: Behind::Process(unjoined) })
            }
        }
    }

    /// Has the TPM at `device` certify in which boot its key was made, for the replica with the key `replica`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn certify(&mut self, device: &tpm::Device, replica: &PublicKey) -> Result<(), CoreError> {
        self.status.boot = Some(tpm::certify(device, &tpm::statement(replica, &self.key))?);
        Ok(())
    }

    /// The key that it signs with.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What there is to say of it.
    #[must_use]
    pub fn status(&self) -> &CoreStatus {
        &self.status
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// It is not, and why.
    pub fn check(&mut self) -> Result<(), CoreError> {
        match &mut self.unjoined {
            Behind::InProcess(_) => Ok(()),
            Behind::Process(process) => process.check(),
        }
    }

    /// Gives it its place, for good. Answers to what it is asked come through `deliver`, in the order in which it was
    /// asked; [`Lost`] tells if no more will come.
    ///
    /// # Errors
    /// It does not take its place.
    pub fn join(self, place: Place, deliver: Deliver) -> Result<(TrustedCore, Lost), CoreError> {
        let (loses, lost) = oneshot::channel();
        let core = match self.unjoined {
            Behind::InProcess(secrets) => {
                let core = Software { core: place.core(secrets), deliver, _loses: loses };
                Behind::InProcess(Box::new(core))
            }
            Behind::Process(process) => Behind::Process(process.join(place, deliver, loses)?),
        };
        Ok((TrustedCore { core, waiting: VecDeque::new(), under_way: 0 }, lost))
    }
}

impl std::fmt::Debug for Born {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Born(key {:?}, {:?})", self.key, self.status)
    }
}

/// What a core answers, in the order in which it was asked.
#[derive(Debug)]
pub enum Answer {
    /// To [`TrustedCore::ask`].
    Attested(Result<Signature, Refusal>),
    /// To [`TrustedCore::deal`].
    Dealt(Result<Box<AttestedDealing>, Refusal>),
}

/// Takes an answer of a core.
pub type Deliver = Arc<dyn Fn(Answer) + Send + Sync>;

/// Comes to pass when a core is gone that was not let go.
pub type Lost = oneshot::Receiver<CoreError>;

/// A core in its place.
pub struct TrustedCore {
    core: Behind<Box<Software>, Process>,
    /// What it will be asked once it has answered. The protocol asks for no more votes once a window's worth of answers are
    /// missing, and key generation for one dealing in each attempt, so this is limited.
    waiting: VecDeque<Ask>,
    /// What it was asked and has not answered. At most [`UNDER_WAY_MAX`].
    under_way: usize,
}

/// Packets that a core's process may have before it at once. A pair of sockets takes more than twice as many of the largest
/// ones with the system's usual settings, so to ask never waits.
const UNDER_WAY_MAX: usize = 64;

/// One in this process.
struct Software {
    core: SoftwareCore,
    deliver: Deliver,
    /// It is never lost: whoever waits for that waits on.
    _loses: oneshot::Sender<CoreError>,
}

impl TrustedCore {
    /// Asks for an operation. Does not wait: the answer is delivered.
    pub fn ask(&mut self, operation: Operation) {
        match &mut self.core {
            Behind::InProcess(software) => {
                let answer = software.core.attest(&operation);
                (software.deliver)(Answer::Attested(answer));
            }
            Behind::Process(_) => self.put(Ask::Attest(operation)),
        }
    }

    /// Asks for a dealing. Does not wait either.
    pub fn deal(&mut self, attempt: Box<Attempt>) {
        match &mut self.core {
            Behind::InProcess(software) => {
                let answer = software.core.deal(&attempt).map(Box::new);
                (software.deliver)(Answer::Dealt(answer));
            }
            Behind::Process(_) => self.put(Ask::Deal(attempt)),
        }
    }

    /// Says that an answer was taken, so that what waits can be asked.
    pub fn answered(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.go_on();
    }

    fn put(&mut self, ask: Ask) {
        self.waiting.push_back(ask);
        self.go_on();
    }

    fn go_on(&mut self) {
        let Behind::Process(process) = &self.core else { return };
        while self.under_way < UNDER_WAY_MAX
            && let Some(ask) = self.waiting.pop_front()
        {
            self.under_way += 1;
            process.send(&ask);
        }
    }
}

/// How long a core's process may take to begin and to take its place. It locks its memory, which may have to be read first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no core, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Its process does not start.
    #[error("the process of the trusted core does not start: {0}")]
    Start(#[source] io::Error),
    /// The system does not give what it takes to talk to it.
    #[error("cannot talk to the trusted core: {0}")]
    Talk(#[source] io::Error),
    /// It says something else than it should.
    #[error("the trusted core (process {pid}) says what a core does not say: {what}")]
    Strange {
        /// Its process.
        pid: u32,
        /// What it says.
        what: String,
    },
    /// No chance for a key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Nothing vouches for its boot.
    #[error(transparent)]
    Tpm(#[from] tpm::TpmError),
    /// It has ended.
    #[error(
        "the trusted core (process {pid}) is gone: {how}. Without it this replica cannot vote, and another core would have \
         another key, so the replica ends with it"
    )]
    Gone {
        /// Its process.
        pid: u32,
        /// How it ended.
        how: String,
    },
}

#[cfg(test)]
mod tests;
