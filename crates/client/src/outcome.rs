//! What a caller may be told, and what it may conclude from it.
//!
//! ```text
//!   Ok(Certified)          the service says so, under its signature
//!   Err(Refused, Fault)    likewise, but not an answer
//!   Err(Unknown)           sent, not answered in time: may have happened, may still happen, may be asked again
//!   Err(Abandoned)         likewise, but lost with the process
//!   Err(anything else)     never left this client: did not happen
//! ```

use smr_wire::{Hint, Refusal, RequestNumber, SessionId, Slot};

/// An answer of the application that the service vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certified {
    /// The answer.
    pub outcome: Vec<u8>,
    /// The slot whose block of replies carries it.
    pub slot: Slot,
    /// The command's number in its session.
    pub number: RequestNumber,
}

/// Why there is no answer. [`Failure::may_have_executed`] says what to conclude.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Certified: the service did not execute the command when it came to it. With [`Refusal::SessionGone`] and
    /// [`Refusal::Stale`] an earlier copy of the command may have been executed.
    #[error("the service refuses: {0}")]
    Refused(Refusal),
    /// Certified: the application failed on the command, in the same way on every replica.
    #[error("the application failed on the command: {0}")]
    Fault(String),
    /// Sent, but not answered before the deadline.
    #[error("{0}")]
    Unknown(Box<Unknown>),
    /// No contact could be reached before the deadline, or none that would open a session; the command never left.
    #[error("the service could not be reached in time{}", because(.last.as_ref()))]
    Unreachable {
        /// What was last in the way.
        last: Option<Trouble>,
    },
    /// Every contact answers, but none is of the service under the key that the descriptor names; the command never
    /// left.
    #[error(
        "whatever answers at the service's addresses is not the service that the descriptor names{}",
        because(.last.as_ref())
    )]
    Strangers {
        /// How that showed last.
        last: Option<Trouble>,
    },
    /// Too much waits already; the command never left.
    #[error(
        "{waiting} calls with {bytes} bytes wait for an answer already, which is the limit of this client"
    )]
    Overloaded {
        /// Calls that wait.
        waiting: u32,
        /// Their bytes.
        bytes: u64,
    },
    /// The command does not fit into a request; it never left.
    #[error("the command has {bytes} bytes, but at most {bytes_max} fit into a request")]
    TooLarge {
        /// Bytes of the command.
        bytes: u64,
        /// Bytes a command may have.
        bytes_max: u64,
    },
    /// The client was closed; the command never left.
    #[error("the client is closed")]
    Closed,
    /// The runtime that carried the client ended with the call in flight.
    #[error("the client was stopped from outside; whether the command was executed is not known")]
    Abandoned,
}

impl Failure {
    /// Whether the command may have been executed, or may be yet. If not, it may be called again as if for the
    /// first time.
    #[must_use]
    pub fn may_have_executed(&self) -> bool {
        match self {
            Failure::Refused(Refusal::TooLarge | Refusal::Full) => false,
            Failure::Refused(_) | Failure::Fault(_) | Failure::Unknown(_) | Failure::Abandoned => true,
            Failure::Unreachable { .. }
            | Failure::Strangers { .. }
            | Failure::Overloaded { .. }
            | Failure::TooLarge { .. }
            | Failure::Closed => false,
        }
    }
}

/// A command whose outcome is not known, with what it takes to ask again under its own number, so that it is
/// executed once at most. The service keeps the reply while the number is within the session's window.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no answer in time; whether command {number} of session {session} was executed is not known{}",
    because(.last.as_ref())
)]
pub struct Unknown {
    /// Its session.
    pub session: SessionId,
    /// Its number.
    pub number: RequestNumber,
    /// The command itself.
    pub command: Vec<u8>,
    /// What was last in the way.
    pub last: Option<Trouble>,
}

/// What was in the way of an answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// A contact's remark.
    #[error("{0}")]
    Hint(Hint),
    /// A contact's channel could not be made, or broke.
    #[error("{0}")]
    Channel(String),
    /// A contact said what the service never signed.
    #[error("{0}")]
    Lie(Lie),
    /// Nothing came back.
    #[error("the contact does not answer")]
    Silence,
}

/// What a contact said that the service never did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Lie {
    /// The path from the reply to its block has an impossible shape.
    #[error("the contact's reply has a path of impossible shape")]
    Path,
    /// The service did not sign the block that the reply leads to.
    #[error("the contact's reply is not signed by the service")]
    Signature,
    /// Nothing shows that the reply is the service's, and contacts of this service may lie.
    #[error("the contact's reply is not proven")]
    Unproven,
    /// A reply to something that this client never asked.
    #[error("the contact answers what was never asked")]
    NeverAsked,
    /// A certified outcome of the wrong kind: a session for a command, or an answer for a session.
    #[error("the contact's reply is of the wrong kind")]
    Kind,
}

fn because(trouble: Option<&Trouble>) -> String {
    trouble.map(|trouble| format!("; last, {trouble}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_whether_the_command_may_have_been_executed() {
        let unknown =
            Unknown { session: SessionId(1), number: RequestNumber(2), command: vec![], last: None };
        assert!(Failure::Unknown(Box::new(unknown)).may_have_executed());
        assert!(Failure::Refused(Refusal::Stale).may_have_executed());
        assert!(!Failure::Refused(Refusal::TooLarge).may_have_executed());
        assert!(!Failure::Unreachable { last: None }.may_have_executed());
    }

    #[test]
    fn a_failure_says_what_was_in_the_way() {
        let failure = Failure::Unreachable { last: Some(Trouble::Hint(Hint::NotReady)) };
        assert_eq!(
            failure.to_string(),
            "the service could not be reached in time; last, the contact is not ready yet"
        );
    }
}
