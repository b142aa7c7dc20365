//! The edge of the client: sockets, TLS and timers around an [`Invocation`]. Nothing is decided here.
//!
//! ```text
//!   Client::call -> mailbox -> engine task: Invocation::step -> effects
//!                                 ^  |
//!                 frames, breaks  |  v  frames
//!                              link task per contact: TCP, TLS, Hello, Welcome, certificate
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "this module is the edge of the client, and reads the clocks for it"
)]

mod engine;
pub mod frame;
mod link;
#[cfg(test)]
mod tests;
pub mod tls;

use std::sync::{Arc, Mutex, PoisonError};

use smr_crypto::IdentityKey;
use smr_wire::client::{Descriptor, ProofKind};
use tokio::sync::{mpsc, oneshot};

use self::engine::{Engine, Mail};
use crate::config::{BadConfig, Config};
use crate::invocation::{Invocation, Report};
use crate::outcome::{Certified, Failure, Unknown};
use crate::proof::{ProofCheck, ServiceProofs};

/// Calls that may lie in the mailbox; beyond, callers wait for room before their call counts as made.
const MAIL_MAX: usize = 1024;

/// Statements that [`Client::connect`] remembers as signed, about 250 bytes each.
const PROOFS_REMEMBERED: usize = 4096;

/// A client of one service. Clones share one session and one connection per contact.
#[derive(Clone, Debug)]
pub struct Client {
    mail: mpsc::Sender<Mail>,
    stats: Arc<Mutex<Stats>>,
}

impl Client {
    /// Begins to be the client with `key` of the service that `descriptor` describes. Connects in the background.
    ///
    /// # Errors
    /// A descriptor or a setting that cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(descriptor: Descriptor, key: IdentityKey, config: Config) -> Result<Client, BadClient> {
        let proofs = Arc::new(ServiceProofs::new(descriptor.service_key, PROOFS_REMEMBERED));
        Client::connect_sharing(descriptor, key, config, proofs)
    }

    /// As [`Client::connect`], with verified proofs shared among the clients of a process, so that one block of
    /// replies costs one pairing for all of them.
    ///
    /// # Errors
    /// A descriptor or a setting that cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect_sharing(
        descriptor: Descriptor,
        key: IdentityKey,
        config: Config,
        proofs: Arc<ServiceProofs>,
    ) -> Result<Client, BadClient> {
        check(&descriptor, &proofs)?;
        let seed = tls::system_seed().ok_or(BadClient::Chance)?;
        let judge: Arc<dyn ProofCheck> = Arc::<ServiceProofs>::clone(&proofs);
        let settings = config.clone();
        let invocation = Invocation::new(config, descriptor.service, key, judge, &seed)?;
        let (mail, mailbox) = mpsc::channel(MAIL_MAX);
        let stats = Arc::new(Mutex::new(Stats::default()));
        let engine = Engine::new(invocation, descriptor, &settings, proofs, Arc::clone(&stats));
        tokio::spawn(engine.run(mailbox));
        Ok(Client { mail, stats })
    }

    /// Has `command` executed once, and returns the answer that the service signed. Dropping the future does not
    /// recall the command.
    ///
    /// # Errors
    /// Why there is no answer; [`Failure::may_have_executed`] tells what to conclude.
    pub async fn call(&self, command: Vec<u8>) -> Result<Certified, Failure> {
        let (done, result) = oneshot::channel();
        if self.mail.send(Mail::Call { command, done }).await.is_err() {
            return Err(Failure::Closed);
        }
        result.await.unwrap_or(Err(Failure::Abandoned))
    }

    /// Asks again for the outcome of a command, under its own number.
    ///
    /// # Errors
    /// As [`Client::call`]; what could not be found out stays [`Failure::Unknown`].
    pub async fn ask_again(&self, unknown: Unknown) -> Result<Certified, Failure> {
        let (done, result) = oneshot::channel();
        if let Err(mpsc::error::SendError(mail)) = self.mail.send(Mail::Again { unknown, done }).await {
            let Mail::Again { unknown, .. } = mail else {
                return Err(Failure::Abandoned);
            };
            return Err(Failure::Unknown(Box::new(unknown)));
        }
        result.await.unwrap_or(Err(Failure::Abandoned))
    }

    /// Takes no more calls, waits until those that were made have ended, and closes all connections.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.mail.send(Mail::Close { done }).await.is_ok() {
            // An error says that the engine is gone, which is what was wanted.
            let _gone = closed.await;
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why there can be no such client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadClient {
    /// A setting outside its limits.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// A descriptor without addresses.
    #[error("the descriptor of `{name}` names no address of the service")]
    NoEndpoints {
        /// The service's name.
        name: String,
    },
    /// A descriptor whose kinds of proof this client does not know.
    #[error(
        "the descriptor of `{name}` does not allow certified replies, the only kind this client verifies"
    )]
    NoProofs {
        /// The service's name.
        name: String,
    },
    /// Proofs to be shared that are of another key.
    #[error("the shared proofs are of another service key than the descriptor of `{name}` names")]
    OtherKey {
        /// The service's name.
        name: String,
    },
    /// The system gave no random bytes.
    #[error("the system's source of chance gives nothing")]
    Chance,
}

/// Counts of what happened to a client.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Sessions opened.
    pub opened: u64,
    /// Sessions that the service gave up.
    pub sessions_gone: u64,
    /// Requests sent again.
    pub resent: u64,
    /// Remarks of contacts on requests.
    pub hints: u64,
    /// Lies of contacts.
    pub lies: u64,
    /// Channels that broke or could not be made.
    pub lost: u64,
    /// Frames of no use.
    pub surplus: u64,
    /// Why the last channel was lost, for people.
    pub last_lost: Option<String>,
}

impl Stats {
    fn count(&mut self, report: Report) {
        match report {
            Report::Opened(_) => self.opened += 1,
            Report::SessionGone(_) => self.sessions_gone += 1,
            Report::Resent { .. } => self.resent += 1,
            Report::Hint { .. } => self.hints += 1,
            Report::Lie { .. } => self.lies += 1,
            Report::Surplus(_) => self.surplus += 1,
            Report::Lost { why, .. } => {
                self.lost += 1;
                self.last_lost = Some(why);
            }
        }
    }
}

fn check(descriptor: &Descriptor, proofs: &ServiceProofs) -> Result<(), BadClient> {
    let name = || descriptor.name.clone();
    if descriptor.endpoints.is_empty() {
        return Err(BadClient::NoEndpoints { name: name() });
    }
    if !descriptor.proofs.contains(&ProofKind::Certified) {
        return Err(BadClient::NoProofs { name: name() });
    }
    if *proofs.key() != descriptor.service_key {
        return Err(BadClient::OtherKey { name: name() });
    }
    Ok(())
}
