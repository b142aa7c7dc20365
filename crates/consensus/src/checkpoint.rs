//! Certificates that end a log: so many replicas have executed everything up to a slot, with one result, that the
//! log below is not needed to recover it.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, Signature};
use smr_wire::{ReplicaId, Slot};

use crate::group::Group;
use crate::quorum::check_signatures;
use crate::verified::{Refused, Rules};

/// What a checkpoint vote says: "after `slot`, my state has this digest".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// Everything up to and including this slot is in the state.
    pub slot: Slot,
    /// Merkle root over the chunks of the state.
    pub digest: Digest,
}

impl Checkpoint {
    /// What a vote signs: slots go on from one generation to the next, so it means the same in each.
    #[must_use]
    pub fn statement(&self, group: &Group) -> Digest {
        group.lasting_statement("SMRCLOUD-CHECKPOINT-V1", self)
    }
}

/// n-f signatures on one checkpoint: a correct replica at least holds that state, and of 3f+1 replicas f+1 do.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CheckpointCertificate {
    /// Which checkpoint.
    pub checkpoint: Checkpoint,
    /// Exactly n-f of them, in ascending order of author.
    pub votes: Vec<(ReplicaId, Signature)>,
}

impl CheckpointCertificate {
    /// Whether n-f distinct members signed the checkpoint.
    ///
    /// # Errors
    /// [`Refused::Certificate`].
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let statement = self.checkpoint.statement(rules.group);
        check_signatures(&self.votes, rules.group.checkpoint_votes(), &statement, rules)
    }
}
