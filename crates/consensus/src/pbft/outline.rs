//! A replica as plain, ordered data: what it will say later depends on nothing else, time apart. Two replicas with
//! equal outlines answer the same inputs alike, so whoever explores interleavings needs to follow only one of them.
//!
//! Left out are lengths of waiting (patience, back-off), whom to ask for what was missed, and which votes a
//! certificate consists of, as any quorum convinces alike.

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::{Beginning, Pbft, Place, PrefixProof, ViewChange};
use crate::basis::BasisOutline;
use crate::quorum::{Ballot, QuorumCertificate, Votes};

/// What one replica knows and has said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Outline {
    /// What is the same in every engine.
    pub basis: BasisOutline<PlaceOutline, Ballot>,
    /// How it began.
    pub beginning: Beginning,
    /// The last slot it proposed there.
    pub proposed: Slot,
    /// What others, and itself, told for a view that has not begun.
    pub changes: Vec<ChangeOutline>,
}

/// What a replica knows of a slot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PlaceOutline {
    /// The proposal that stands.
    pub proposal: Option<(View, Digest)>,
    /// Votes to prepare.
    pub prepares: Vec<(ReplicaId, View, Digest)>,
    /// Votes to commit.
    pub commits: Vec<(ReplicaId, View, Digest)>,
    /// The highest ballot that a quorum prepared, as far as it saw.
    pub prepared: Option<Ballot>,
    /// The highest view in which it voted to prepare.
    pub prepare_sent: Option<View>,
    /// The highest view in which it voted to commit.
    pub commit_sent: Option<View>,
    /// What is decided here, while an earlier slot is not.
    pub decision: Option<Ballot>,
    /// Other batches it holds for this slot: for which it voted, the latest last, and one it had to ask for.
    pub bodies: (Vec<Digest>, Option<Digest>),
}

/// What a view change says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChangeOutline {
    /// Who says it.
    pub author: ReplicaId,
    /// The view it is on its way to.
    pub to: View,
    /// The last slot of its decided prefix.
    pub decided: Slot,
    /// The slot of the checkpoint that shows it.
    pub checkpoint: Slot,
    /// The commits that show it.
    pub commits: Vec<Ballot>,
    /// What may have been decided above.
    pub claims: Vec<Ballot>,
}

impl Pbft {
    /// This replica as plain data.
    #[must_use]
    pub fn outline(&self) -> Outline {
        // Every field is named, so that a new one does not compile until somebody says whether it matters here.
        let Pbft { basis, beginning, new_view: _, proposed, changes } = self;
        Outline {
            basis: basis.outline(Place::outline, |certificate| certificate.ballot),
            beginning: beginning.clone(),
            proposed: *proposed,
            changes: changes.values().map(ViewChange::outline).collect(),
        }
    }
}

impl Place {
    fn outline(&self) -> PlaceOutline {
        let Place {
            proposal,
            prepares,
            commits,
            prepared,
            prepare_sent,
            commit_sent,
            decision,
            voted,
            fetched,
        } = self;
        let votes = |votes: &Votes| votes.iter().collect();
        PlaceOutline {
            proposal: proposal.as_ref().map(|(view, batch)| (*view, batch.digest())),
            prepares: votes(prepares),
            commits: votes(commits),
            prepared: prepared.as_ref().map(|(certificate, _)| certificate.ballot),
            prepare_sent: *prepare_sent,
            commit_sent: *commit_sent,
            decision: decision.as_ref().map(|(certificate, _)| certificate.ballot),
            bodies: (voted.digests(), fetched.as_ref().map(crate::Batch::digest)),
        }
    }
}

impl ViewChange {
    /// What it says, without signatures.
    #[must_use]
    pub fn outline(&self) -> ChangeOutline {
        let ballots = |list: &[QuorumCertificate]| list.iter().map(|c| c.ballot).collect();
        let ViewChange {
            author,
            to,
            decided,
            proof: PrefixProof { checkpoint, commits },
            claims,
            signature: _,
        } = self;
        ChangeOutline {
            author: *author,
            to: *to,
            decided: *decided,
            checkpoint: checkpoint.as_ref().map(|c| c.checkpoint.slot).unwrap_or_default(),
            commits: ballots(commits),
            claims: ballots(claims),
        }
    }
}
