//! What a replica writes down, and from which it goes on after a crash.
//!
//! Records are in the order of what they tell of. Those that are promises are on disk before anything that follows from
//! them leaves; the others spare a replica that comes back the trouble of asking. Where a trusted core answers for what a
//! replica said, the disk need not: such a replica writes down only what is decided.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Digest;
use smr_wire::{Generation, Slot, View};

use crate::batch::Batch;
use crate::decision::Decides as _;
use crate::lanes::beginning::{Ground, ViewCertificate};
use crate::quorum::{Ballot, QuorumCertificate};
use crate::suspicion::Suspect;
use crate::verified::Rules;
use crate::{lanes, pbft};

/// Something that happened, or that this replica is bound to.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Record {
    /// No vote in an earlier view will follow.
    Entered {
        /// The view.
        view: View,
        /// On whose wishes it left, if it did on wishes: those who have not heard them may stay where they are for ever.
        wishes: Vec<Suspect>,
    },
    /// As the coordinator of this view, this replica says how it begins; only once.
    Begins(View),
    /// A view began.
    Began(Began),
    /// A vote for this ballot leaves. Boxed, as it is larger than the rest.
    Voted(Box<Vote>),
    /// A quorum prepared this ballot, and a vote to commit it leaves.
    Prepared(QuorumCertificate),
    /// This batch may have been decided here, and others count on this replica to have it.
    Held {
        /// Where.
        slot: Slot,
        /// What.
        batch: Batch,
    },
    /// Everything up to this slot is decided, and in it stands what the proof names.
    Decided {
        /// Where.
        slot: Slot,
        /// What decided it.
        proof: Proof,
        /// What stands there, unless an earlier record has it.
        batch: Option<Batch>,
    },
    /// In a generation whose trusted cores are gone nothing more will be voted for, and nothing decided but this far.
    Ceased(Cease),
}

/// How far a replica goes in a generation that the administrator is about to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Cease {
    /// The generation.
    pub generation: Generation,
    /// Nothing above this slot is decided in it, but for what is decided already.
    pub slot: Slot,
    /// Digest of the order that ends it there, once this replica was given one: it takes no other.
    pub order: Option<Digest>,
}

/// The first vote of a replica for a batch in a view.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// For what.
    pub ballot: Ballot,
    /// Its batch.
    pub batch: Batch,
    /// Why it was right, in `lanes`.
    pub ground: Option<Ground>,
}

/// What shows how a view began.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Began {
    /// In `pbft`.
    Pbft(pbft::NewView),
    /// In `lanes`.
    Lanes(ViewCertificate),
}

/// What decided a slot.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Proof {
    /// There is nobody else.
    Alone,
    /// Votes to commit, in `pbft`.
    Quorum(QuorumCertificate),
    /// Votes, in `lanes`.
    Lanes(lanes::Certificate),
}

impl From<QuorumCertificate> for Proof {
    fn from(certificate: QuorumCertificate) -> Proof {
        Proof::Quorum(certificate)
    }
}

impl From<lanes::Certificate> for Proof {
    fn from(certificate: lanes::Certificate) -> Proof {
        Proof::Lanes(certificate)
    }
}

impl Record {
    /// The slot that it tells of. Of no use any more once that is part of a checkpoint; one without a slot is replaced by
    /// what [`crate::Protocol::standing`] says.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Record::Entered { .. } | Record::Begins(_) | Record::Began(_) | Record::Ceased(_) => None,
            Record::Voted(vote) => Some(vote.ballot.slot),
            Record::Prepared(certificate) => Some(certificate.ballot.slot),
            Record::Held { slot, .. } | Record::Decided { slot, .. } => Some(*slot),
        }
    }

    /// Whether what it says is shown to voters of this generation. One of another generation is of no use in this one.
    #[must_use]
    pub fn holds(&self, rules: &Rules<'_>) -> bool {
        match self {
            Record::Decided { proof: Proof::Lanes(certificate), .. } => {
                certificate.check_decides(rules).is_ok()
            }
            Record::Decided { proof: Proof::Quorum(certificate), .. } => {
                certificate.check_decides(rules).is_ok()
            }
            Record::Ceased(cease) => cease.generation == rules.group.generation,
            _ => true,
        }
    }

    /// Whether it must be on disk before what follows from it leaves. What a quorum decided it can be asked for again, as
    /// long as their votes are on their disks; where cores answer for votes, they may all be gone at once.
    #[must_use]
    pub fn is_promise(&self) -> bool {
        match self {
            Record::Decided { proof: Proof::Quorum(_), .. } => false,
            Record::Decided { proof: Proof::Lanes(certificate), .. } => {
                certificate.votes.iter().any(|(_, vote)| vote.signature.is_some())
            }
            _ => true,
        }
    }
}

/// Records from which this replica cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "what is on disk does not fit together: {0}; this replica may have forgotten what it promised and must not run"
)]
pub struct Unfit(pub &'static str);
