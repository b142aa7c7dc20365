//! A replica as plain, ordered data: what it will say later depends on nothing else, time apart. Two replicas with
//! equal outlines answer the same inputs alike, so whoever explores interleavings needs to follow only one of them.
//!
//! Left out are lengths of waiting (patience, back-off), whom to ask for what was missed, signatures, and which votes a
//! certificate consists of, as any quorum convinces alike. A view change matters only by what it says.

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::beginning::{Beginning, Ground, ViewChange};
use super::core::{Item, Register, Registers};
use super::{Asked, Certificate, Endorsement, Lanes, Place, PrefixProof, Proposer};
use crate::basis::BasisOutline;

/// What one replica knows and has said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Outline {
    /// What is the same in every engine.
    pub basis: BasisOutline<PlaceOutline, Register>,
    /// How the last view that began here did.
    pub beginning: Beginning,
    /// How those began that its votes may have to be shown to be right in.
    pub begun: Vec<Beginning>,
    /// What its core holds.
    pub registers: Registers,
    /// What its core was asked for and has not answered.
    pub asked: Vec<AskedOutline>,
    /// Up to here its own slots have proposals.
    pub proposed: Slot,
    /// Its own proposals that are not settled.
    pub own: Vec<Slot>,
    /// The last slot in which it saw a proposal.
    pub seen: Slot,
    /// What others, and itself, told for a view that has not begun.
    pub changes: Vec<ChangeOutline>,
    /// How the view that it is on its way to begins, says its coordinator.
    pub new_view: Option<Beginning>,
    /// Whose slowness made it want another view.
    pub blames: Option<ReplicaId>,
    /// Who acknowledged which beginning last, by its digest.
    pub acknowledgements: Vec<(ReplicaId, View, Digest)>,
}

/// What a core was asked for, with what its answer is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AskedOutline {
    /// Votes.
    Endorse {
        /// In which view.
        view: View,
        /// For what.
        items: Vec<Item>,
        /// Slots whose batches go along as proposals.
        proposes: Vec<Slot>,
    },
    /// To leave for a view.
    Leave {
        /// Which one.
        to: View,
        /// The last vote in each lane.
        lanes: Vec<Option<Register>>,
    },
    /// The beginning of a view.
    Begin {
        /// Which one.
        view: View,
        /// What it follows from.
        changes: Vec<ChangeOutline>,
    },
}

/// What a replica knows of a slot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PlaceOutline {
    /// What stands there in the highest view in which it knows it.
    pub proposal: Option<(View, Digest)>,
    /// Who proposed that, and in which view as its vote says.
    pub proposer: Option<(ReplicaId, View)>,
    /// Votes, of each replica the last.
    pub votes: Vec<(ReplicaId, View, Digest)>,
    /// The view in which it proposed there itself.
    pub is_ours: Option<View>,
    /// The view of its own last vote, and who proposed what that was for; nobody if the view's beginning named it.
    pub ours: Option<(View, Option<(ReplicaId, View)>)>,
    /// What is decided here, while an earlier slot is not.
    pub decision: Option<Register>,
    /// Other batches it holds for this slot: for which it voted, the latest last, and those it had to ask for.
    pub bodies: (Vec<Digest>, Vec<Digest>),
}

/// What a view change says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChangeOutline {
    /// Who says it.
    pub author: ReplicaId,
    /// The view it is on its way to.
    pub to: View,
    /// The last vote in each lane.
    pub lanes: Vec<Option<Register>>,
    /// Who was slow.
    pub blames: Option<ReplicaId>,
    /// The last slot of its decided prefix.
    pub decided: Slot,
    /// The slot of the checkpoint that shows it.
    pub checkpoint: Slot,
    /// The decisions that show it.
    pub commits: Vec<Register>,
    /// Who proposed what each vote above is for; nobody if the view's beginning named it.
    pub grounds: Vec<Option<ReplicaId>>,
    /// How the views began that it shows.
    pub views: Vec<Beginning>,
}

impl Lanes {
    /// This replica as plain data.
    #[must_use]
    pub fn outline(&self) -> Outline {
        // Every field is named, so that a new one does not compile until somebody says whether it matters here.
        let Lanes {
            schedule: _,
            basis,
            beginning,
            begun,
            registers,
            asked,
            proposed,
            own,
            seen,
            nudged: _,
            changes,
            new_view,
            acknowledgements,
            pace,
            clock: _,
        } = self;
        Outline {
            basis: basis.outline(Place::outline, Certificate::decided),
            beginning: beginning.clone(),
            begun: begun.values().map(|certificate| certificate.beginning.clone()).collect(),
            registers: registers.clone(),
            asked: asked.iter().map(Asked::outline).collect(),
            proposed: *proposed,
            own: own.iter().copied().collect(),
            seen: *seen,
            changes: changes.values().map(ViewChange::outline).collect(),
            new_view: new_view.as_ref().map(|(_, beginning)| beginning.clone()),
            blames: pace.slow(),
            acknowledgements: acknowledgements
                .iter()
                .map(|(id, (view, digest, _))| (*id, *view, *digest))
                .collect(),
        }
    }
}

impl Asked {
    fn outline(&self) -> AskedOutline {
        match self {
            Asked::Endorse { endorsement: Endorsement { view, items, signature: _ }, batches } => {
                let proposes = batches.iter().map(|(slot, _)| *slot).collect();
                AskedOutline::Endorse { view: *view, items: items.clone(), proposes }
            }
            Asked::Leave { to, lanes } => AskedOutline::Leave { to: *to, lanes: lanes.clone() },
            Asked::Begin { view, changes } => AskedOutline::Begin {
                view: *view,
                changes: changes.iter().map(ViewChange::outline).collect(),
            },
        }
    }
}

impl Certificate {
    /// What it decides.
    #[must_use]
    pub fn decided(&self) -> Register {
        Register { view: self.view, item: self.item }
    }
}

impl Place {
    fn outline(&self) -> PlaceOutline {
        let Place { proposal, proposer, votes, is_ours, sent: _, ours, decision, voted, fetched } = self;
        let who = |proposer: &Option<Proposer>| proposer.as_ref().map(|(by, vote)| (*by, vote.view));
        PlaceOutline {
            proposal: proposal.as_ref().map(|(view, batch)| (*view, batch.digest())),
            proposer: who(proposer),
            votes: votes.iter().collect(),
            is_ours: *is_ours,
            ours: ours.as_ref().map(|(view, proposer)| (*view, who(proposer))),
            decision: decision.as_ref().map(|(certificate, _)| certificate.decided()),
            bodies: (voted.digests(), fetched.iter().map(crate::Batch::digest).collect()),
        }
    }
}

impl ViewChange {
    /// What it says, without signatures.
    #[must_use]
    pub fn outline(&self) -> ChangeOutline {
        let ViewChange {
            author,
            to,
            lanes,
            report: _,
            blames,
            decided,
            proof: PrefixProof { checkpoint, commits },
            grounds,
            views,
            signature: _,
        } = self;
        let by = |ground: &Ground| match ground {
            Ground::Proposed(by, _) => Some(*by),
            Ground::Recovered => None,
        };
        ChangeOutline {
            author: *author,
            to: *to,
            lanes: lanes.clone(),
            blames: *blames,
            decided: *decided,
            checkpoint: checkpoint.as_ref().map(|c| c.checkpoint.slot).unwrap_or_default(),
            commits: commits.iter().map(Certificate::decided).collect(),
            grounds: grounds.iter().map(by).collect(),
            views: views.iter().map(|certificate| certificate.beginning.clone()).collect(),
        }
    }
}
