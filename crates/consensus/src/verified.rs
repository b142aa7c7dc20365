//! Nothing enters a protocol unverified: `Verified<M>` can be made only by checking `M` against the group.

use smr_crypto::Verifier;
use smr_wire::client::BadRequest;
use smr_wire::{Generation, ReplicaId};

use crate::batch::BatchLimits;
use crate::config::Config;
use crate::group::Group;

/// A message whose signatures and limits were checked for the current generation, and the member that sent it
/// over its authenticated channel.
#[derive(Clone, Debug)]
pub struct Verified<M> {
    from: ReplicaId,
    generation: Generation,
    message: M,
}

impl<M: Verify> Verified<M> {
    /// Checks `message` from `from`. Costs signature verifications; may run on any thread.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(from: ReplicaId, message: M, rules: &Rules<'_>) -> Result<Verified<M>, Refused> {
        if !rules.group.contains(from) {
            return Err(Refused::Stranger);
        }
        message.verify(from, rules)?;
        Ok(Verified { from, generation: rules.group.generation, message })
    }
}

impl<M> Verified<M> {
    /// Who sent it.
    #[must_use]
    pub fn from(&self) -> ReplicaId {
        self.from
    }

    /// In which generation it was checked.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Sender and message.
    #[must_use]
    pub fn into_parts(self) -> (ReplicaId, M) {
        (self.from, self.message)
    }

    /// The same message as one kind of a larger family, or the reverse. Only the wrapper changes, so what was
    /// checked stays checked; kept inside the crate for that reason.
    pub(crate) fn rewrap<N>(self, wrap: impl FnOnce(M) -> Option<N>) -> Option<Verified<N>> {
        let (from, generation) = (self.from, self.generation);
        wrap(self.message).map(|message| Verified { from, generation, message })
    }
}

/// What a message is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The voters.
    pub group: &'a Group,
    /// Their limits.
    pub config: &'a Config,
    /// Where signatures are verified.
    pub verifier: &'a Verifier,
}

impl Rules<'_> {
    /// How large a batch may be.
    #[must_use]
    pub fn batch_limits(&self) -> BatchLimits {
        self.config.batch_limits()
    }
}

/// A message that can be checked.
pub trait Verify {
    /// Whether the message holds what it claims: signatures, certificates, limits.
    ///
    /// # Errors
    /// Why it is refused.
    fn verify(&self, from: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused>;

    /// Whether it is a question whose answer may be much larger than itself. Whoever says that it missed the beginning
    /// of a view is shown it, which is an answer as well. Correct replicas repeat such questions.
    fn asks_for_much(&self) -> bool;
}

/// Why a message is counted and dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Refused {
    /// From nobody in the group.
    #[error("the sender is not in the group")]
    Stranger,
    /// A signature that is not its author's.
    #[error("a signature is not its author's")]
    Signature,
    /// A certificate without enough good votes of distinct members.
    #[error("a certificate lacks votes")]
    Certificate,
    /// Sent by one who has no right to it, such as a proposal by a backup.
    #[error("the sender has no right to this message")]
    NoRight,
    /// A list longer than the limits allow, or out of order.
    #[error("a list is too long or out of order")]
    Shape,
    /// A batch, or an entry, above its limits.
    #[error("a batch or an entry is above its limits")]
    BatchLimit,
    /// A request that is not acceptable.
    #[error("a request is not acceptable: {0}")]
    Request(BadRequest),
    /// Of another protocol than the one that runs.
    #[error("a message of another protocol")]
    OtherProtocol,
}
