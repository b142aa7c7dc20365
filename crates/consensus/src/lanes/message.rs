//! What the replicas of `lanes` say to each other, and what of it can be checked without knowing more than the group.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, Signature};
use smr_wire::client::FaultModel;
use smr_wire::{ReplicaId, Slot, View};

use super::beginning::{NewView, ViewCertificate, ViewChange};
use super::core::{ITEMS_MAX, Item, Scope};
use crate::batch::Batch;
use crate::decision::{self, Decides};
use crate::upkeep::Upkeep;
use crate::verified::{Refused, Rules, Verify};

/// A message between replicas. The channel proves who sent it; what must convince a third replica is signed.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// The sender's votes; for slots of its own with what it proposes there.
    Endorse {
        /// The votes.
        endorsement: Arc<Endorsement>,
        /// Proposals for some of their slots, in order.
        batches: Vec<(Slot, Batch)>,
    },
    /// What its author's core last voted for in each lane, for whoever begins the next view.
    ViewChange(Box<ViewChange>),
    /// A quorum of those, from which follows how the view begins.
    NewView(NewView),
    /// "This is how the view begins": a quorum of them begins it.
    Acknowledge {
        /// Which view.
        view: View,
        /// Digest of the beginning.
        digest: Digest,
        /// The sender's.
        signature: Signature,
    },
    /// That a view has begun, for whoever missed it.
    Begun(ViewCertificate),
    /// Something waits at the sender, whose turn is beyond the window: whoever has this slot should propose there, be it
    /// nothing.
    Nudge {
        /// The first open slot.
        slot: Slot,
    },
    /// What is the same in every engine.
    Upkeep(Upkeep<Certificate>),
}

impl From<Upkeep<Certificate>> for Message {
    fn from(upkeep: Upkeep<Certificate>) -> Message {
        Message::Upkeep(upkeep)
    }
}

/// Votes of one replica in one view, under one signature of its core. Shown whole wherever one of them counts.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Endorsement {
    /// In which view.
    pub view: View,
    /// For what; ascending, at most [`ITEMS_MAX`].
    pub items: Vec<Item>,
    /// The core's. None where machines are trusted not to lie: then the channel is proof enough.
    pub signature: Option<Signature>,
}

impl Endorsement {
    /// Whether it is a vote for `digest` in `slot`.
    #[must_use]
    pub fn covers(&self, slot: Slot, digest: &Digest) -> bool {
        self.items.iter().any(|item| item.slot == slot && item.digest == *digest)
    }

    /// Whether `author` said so.
    ///
    /// # Errors
    /// [`Refused::Shape`] or [`Refused::Signature`].
    pub fn check(&self, author: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
        let ascending = self.items.windows(2).all(|pair| pair[0].slot < pair[1].slot);
        if self.items.is_empty() || self.items.len() > ITEMS_MAX || !ascending {
            return Err(Refused::Shape);
        }
        match (&self.signature, rules.group.model) {
            (None, FaultModel::Crash) => Ok(()),
            (Some(signature), FaultModel::Hybrid) => {
                let scope = scope(author, rules);
                check_core(&scope, &scope.endorse(self.view, &self.items), signature, rules)
            }
            _ => Err(Refused::Signature),
        }
    }
}

/// What the core of `author` names in all it says.
pub(super) fn scope<'a>(author: ReplicaId, rules: &Rules<'a>) -> Scope<'a> {
    Scope { group: rules.group, window_slots: rules.config.window_slots, replica: author }
}

/// Whether the core of that scope signed `statement`.
pub(super) fn check_core(
    scope: &Scope<'_>,
    statement: &Digest,
    signature: &Signature,
    rules: &Rules<'_>,
) -> Result<(), Refused> {
    let signed = scope.key().is_some_and(|key| rules.verifier.verify(key, statement, signature));
    if signed { Ok(()) } else { Err(Refused::Signature) }
}

/// A quorum of votes for one batch in one slot and view: decided.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// In which view.
    pub view: View,
    /// What.
    pub item: Item,
    /// Exactly a quorum, in ascending order of author.
    pub votes: Vec<(ReplicaId, Arc<Endorsement>)>,
}

impl Decides for Certificate {
    fn slot(&self) -> Slot {
        self.item.slot
    }

    fn digest(&self) -> Digest {
        self.item.digest
    }

    fn check_decides(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let distinct = self.votes.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let for_it = self.votes.iter().all(|(author, vote)| {
            rules.group.contains(*author)
                && vote.view == self.view
                && vote.covers(self.item.slot, &self.item.digest)
        });
        if self.votes.len() != rules.group.quorum() || !distinct || !for_it {
            return Err(Refused::Certificate);
        }
        self.votes.iter().try_for_each(|(author, vote)| vote.check(*author, rules))
    }
}

/// A decided slot with the votes that decided it.
pub type Decision = decision::Decision<Certificate>;

/// Shows that everything up to a slot is decided.
pub type PrefixProof = decision::PrefixProof<Certificate>;

impl Verify for Message {
    fn verify(&self, from: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
        match self {
            Message::Endorse { endorsement, batches } => {
                let ascending = batches.windows(2).all(|pair| pair[0].0 < pair[1].0);
                let covered = batches.iter().all(|(slot, batch)| endorsement.covers(*slot, &batch.digest()));
                if !ascending || !covered {
                    return Err(Refused::Shape);
                }
                endorsement.check(from, rules)?;
                batches
                    .iter()
                    .try_for_each(|(_, batch)| batch.check(rules.group, rules.batch_limits(), rules.verifier))
            }
            Message::ViewChange(change) => change.check(rules),
            Message::NewView(new_view) => new_view.check(rules),
            Message::Acknowledge { view, digest, signature } => {
                let statement = ViewCertificate::statement(*view, digest, rules.group);
                if rules.group.signed_by(from, &statement, signature, rules.verifier) {
                    Ok(())
                } else {
                    Err(Refused::Signature)
                }
            }
            Message::Begun(certificate) => certificate.check(rules),
            Message::Nudge { .. } => Ok(()),
            Message::Upkeep(upkeep) => upkeep.verify(from, rules),
        }
    }

    fn asks_for_much(&self) -> bool {
        matches!(self, Message::Upkeep(upkeep) if upkeep.asks_for_much())
    }
}
