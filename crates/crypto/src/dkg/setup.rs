//! The rules of one ceremony, known to all participants before it begins.

use borsh::{BorshDeserialize, BorshSerialize};

use super::encryption::EncryptionKey;
use crate::Digest;

/// Participants that a ceremony may have. The work of each grows with participants times threshold.
pub const PARTICIPANTS_MAX: usize = 256;

/// The rules of one ceremony. With n participants of which f may be at fault, n = 3f+1: threshold f+1, dealings and
/// confirmations n-f. With n = 2f+1 and dealings that cannot be bad: threshold and dealings f+1. The module's text says
/// why, and what other choices mean.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Setup {
    /// Tells this ceremony from every other: the digest of service, epoch and attempt.
    pub context: Digest,
    /// How many participants it takes to sign. 1..=`dealings`.
    pub threshold: u16,
    /// The participants, by index. 1..=[`PARTICIPANTS_MAX`].
    pub encryption_keys: Vec<EncryptionKey>,
    /// Valid dealings that end the first phase. `threshold`..=participants.
    pub dealings: u16,
    /// What makes sure that everyone has a good share.
    pub assurance: Assurance,
}

/// What makes sure that those who need a good share have one when there is a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Assurance {
    /// Participants say that they opened their shares, or which are bad. This many confirmations, at most as many as
    /// participants, without which nobody can close.
    Confirmed(u16),
    /// The caller, who lets in no dealing but of a dealer that cannot make a bad one. It is over when the dealings are
    /// complete.
    Attested,
}

impl Setup {
    /// Whether a ceremony can be held by these rules. A ceremony that begins with others has failed at once.
    ///
    /// # Errors
    /// The first rule that is impossible.
    pub fn validate(&self) -> Result<(), BadSetup> {
        let participants = self.encryption_keys.len();
        if !(1..=PARTICIPANTS_MAX).contains(&participants) {
            return Err(BadSetup::Participants(participants));
        }
        let Setup { threshold, dealings, .. } = *self;
        let confirmations = self.confirmations();
        let in_order = 1 <= threshold && threshold <= dealings && usize::from(dealings) <= participants;
        if !in_order || usize::from(confirmations) > participants {
            return Err(BadSetup::Counts { participants, threshold, dealings, confirmations });
        }
        match (0..).zip(&self.encryption_keys).find(|(_, key)| !key.is_valid()) {
            Some((participant, _)) => Err(BadSetup::Key(participant)),
            None => Ok(()),
        }
    }

    /// How many participants there are.
    #[must_use]
    pub fn participants(&self) -> usize {
        self.encryption_keys.len()
    }

    /// Confirmations without which nobody can close.
    pub(super) fn confirmations(&self) -> u16 {
        match self.assurance {
            Assurance::Confirmed(needed) => needed,
            Assurance::Attested => 0,
        }
    }

    /// What everything said in the ceremony is bound to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("SMRCLOUD-DKG-SETUP-V1", self)
    }
}

/// Why no ceremony can be held by some rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum BadSetup {
    /// Nobody, or too many.
    #[error("{0} participants; key generation is for 1 to {PARTICIPANTS_MAX}")]
    Participants(usize),
    /// Counts that cannot be reached, or that leave the key unusable.
    #[error(
        "threshold {threshold}, {dealings} dealings and {confirmations} confirmations do not fit \
         {participants} participants"
    )]
    Counts {
        /// How many participants there are.
        participants: usize,
        /// How many are to sign.
        threshold: u16,
        /// How many are to deal.
        dealings: u16,
        /// How many are to confirm.
        confirmations: u16,
    },
    /// Bytes that are no key.
    #[error("the encryption key of participant {0} is no point of the curve")]
    Key(u16),
}
