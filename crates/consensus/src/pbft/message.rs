//! What PBFT replicas say to each other, and how each message is checked.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, Signature};
use smr_wire::{ReplicaId, Slot, View};

use crate::batch::Batch;
use crate::decision::{self, Decides};
use crate::group::{Group, Seat};
use crate::known_bugs;
use crate::quorum::{Ballot, Phase, QuorumCertificate};
use crate::upkeep::Upkeep;
use crate::verified::{Refused, Rules, Verify};

/// A message between replicas. The channel proves who sent it; what must convince a third replica is signed.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// The primary's proposal. Its signature is its prepare vote.
    Proposal {
        /// In which view.
        view: View,
        /// For which slot.
        slot: Slot,
        /// What.
        batch: Batch,
        /// The primary's prepare vote.
        signature: Signature,
    },
    /// A vote of its sender.
    Vote {
        /// For what.
        ballot: Ballot,
        /// The sender's.
        signature: Signature,
    },
    /// What its author knows of undecided slots, for the primary of the next view.
    ViewChange(ViewChange),
    /// A quorum of those: the next view begins.
    NewView(NewView),
    /// What is the same in every engine.
    Upkeep(Upkeep<QuorumCertificate>),
}

impl From<Upkeep<QuorumCertificate>> for Message {
    fn from(upkeep: Upkeep<QuorumCertificate>) -> Message {
        Message::Upkeep(upkeep)
    }
}

/// Commit votes decide.
impl Decides for QuorumCertificate {
    fn slot(&self) -> Slot {
        self.ballot.slot
    }

    fn digest(&self) -> Digest {
        self.ballot.digest
    }

    fn check_decides(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        if self.ballot.phase != Phase::deciding() {
            return Err(Refused::Certificate);
        }
        self.check(rules)
    }
}

/// Shows that everything up to a slot is decided, by commit certificates.
pub type PrefixProof = decision::PrefixProof<QuorumCertificate>;

/// A decided slot with the commit votes that decided it.
pub type Decision = decision::Decision<QuorumCertificate>;

/// What a replica that left a view knows.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ViewChange {
    /// Who says it.
    pub author: ReplicaId,
    /// The view it is on its way to.
    pub to: View,
    /// The last slot of its decided prefix.
    pub decided: Slot,
    /// That it is.
    pub proof: PrefixProof,
    /// The highest certificate it has for each slot above, in ascending order: what may have been decided there.
    pub claims: Vec<QuorumCertificate>,
    /// The author's, over all of the above.
    pub signature: Signature,
}

impl ViewChange {
    /// Signs what this seat knows.
    #[must_use]
    pub fn sign(
        seat: &Seat,
        to: View,
        decided: Slot,
        proof: PrefixProof,
        claims: Vec<QuorumCertificate>,
    ) -> ViewChange {
        let mut change =
            ViewChange { author: seat.me, to, decided, proof, claims, signature: Signature([0; 64]) };
        change.signature = seat.sign(&change.statement(&seat.group));
        change
    }

    fn statement(&self, group: &Group) -> Digest {
        group.statement(
            "SMRCLOUD-VIEW-CHANGE-V1",
            &(self.author, self.to, self.decided, &self.proof, &self.claims),
        )
    }

    fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let alpha = rules.config.window_slots;
        let ascending = self.claims.windows(2).all(|pair| pair[0].ballot.slot < pair[1].ballot.slot);
        let within = self.claims.iter().all(|claim| {
            claim.ballot.slot > self.decided
                && claim.ballot.slot <= self.decided.plus(2 * alpha)
                && claim.ballot.view < self.to
        });
        if !ascending || !within || self.to == View(0) {
            return Err(Refused::Shape);
        }
        let statement = self.statement(rules.group);
        if !rules.group.signed_by(self.author, &statement, &self.signature, rules.verifier) {
            return Err(Refused::Signature);
        }
        self.proof.check(self.decided, rules)?;
        self.claims.iter().try_for_each(|claim| claim.check(rules))
    }
}

/// A quorum of view changes: whoever has it knows how the view begins. Any quorum of them gives a safe beginning,
/// but not all give the same one, so the view's primary signs which it is: nobody else can make the others begin
/// in another way than the primary.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct NewView {
    /// Which view.
    pub view: View,
    /// Exactly a quorum, in ascending order of author.
    pub changes: Vec<ViewChange>,
    /// The view's primary's, over all of the above.
    pub signature: Signature,
}

impl NewView {
    /// Signs what this seat, as the view's primary, has chosen.
    #[must_use]
    pub fn sign(seat: &Seat, view: View, changes: Vec<ViewChange>) -> NewView {
        let mut new_view = NewView { view, changes, signature: Signature([0; 64]) };
        new_view.signature = seat.sign(&new_view.statement(&seat.group));
        new_view
    }

    fn statement(&self, group: &Group) -> Digest {
        group.statement("SMRCLOUD-NEW-VIEW-V1", &(self.view, &self.changes))
    }

    fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let distinct = self.changes.windows(2).all(|pair| pair[0].author < pair[1].author);
        let for_it = self.changes.iter().all(|change| change.to == self.view);
        if self.changes.len() != rules.group.quorum() || !distinct || !for_it {
            return Err(Refused::Certificate);
        }
        let primary = rules.group.primary_of(self.view);
        if !rules.group.signed_by(primary, &self.statement(rules.group), &self.signature, rules.verifier) {
            return Err(Refused::Signature);
        }
        self.changes.iter().try_for_each(|change| change.check(rules))
    }
}

/// How a view begins: what its primary must propose again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Beginning {
    /// Everything up to here is decided, and correct replicas can serve it.
    pub decided: Slot,
    /// What may have been decided above: the primary proposes it again, and nothing else in these slots. Slots
    /// without a claim get [`Batch::nil`].
    pub digests: BTreeMap<Slot, Digest>,
}

impl Beginning {
    /// The beginning that a quorum of view changes implies. If a batch is decided in a slot, a quorum prepared it,
    /// so a correct author of one of these changes claims it (or has decided it), and no claim of a higher view
    /// can be for another.
    ///
    /// What only some authors have decided is proposed again like any claim: a faulty author may be the only
    /// replica that knows a decision, and then nobody else could serve it.
    #[must_use]
    pub fn of(new_view: &NewView) -> Beginning {
        let by_all = new_view.changes.iter().map(|change| change.decided).min().unwrap_or_default();
        let known = new_view.changes.iter().map(|change| change.proof.base(change.decided)).max();
        let by_any = new_view.changes.iter().map(|change| change.decided).max().unwrap_or_default();
        let begun = if known_bugs::HIGHEST_PREFIX_BEGINS.is_on() { by_any } else { by_all };
        let decided = begun.max(known.unwrap_or_default());
        let mut best: BTreeMap<Slot, (View, Digest)> = BTreeMap::new();
        let claims =
            new_view.changes.iter().flat_map(|change| change.proof.commits.iter().chain(&change.claims));
        for ballot in claims.map(|claim| claim.ballot).filter(|ballot| ballot.slot > decided) {
            let kept = best.entry(ballot.slot).or_insert((ballot.view, ballot.digest));
            if ballot.view > kept.0 {
                *kept = (ballot.view, ballot.digest);
            }
        }
        let last = best.keys().next_back().copied().unwrap_or(decided);
        let nil = Batch::nil().digest();
        let digests =
            decided.up_to(last).map(|slot| (slot, best.get(&slot).map_or(nil, |(_, d)| *d))).collect();
        Beginning { decided, digests }
    }

    /// The last slot in which the primary is bound.
    #[must_use]
    pub fn bound(&self) -> Slot {
        self.digests.keys().next_back().copied().unwrap_or(self.decided)
    }
}

impl Verify for Message {
    fn verify(&self, from: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
        match self {
            Message::Proposal { view, slot, batch, signature } => {
                if rules.group.primary_of(*view) != from {
                    return Err(Refused::NoRight);
                }
                let ballot =
                    Ballot { phase: Phase::Prepare, view: *view, slot: *slot, digest: batch.digest() };
                check_vote(from, ballot, signature, rules)?;
                batch.check(rules.group, rules.batch_limits(), rules.verifier)
            }
            Message::Vote { ballot, signature } => check_vote(from, *ballot, signature, rules),
            Message::ViewChange(change) => change.check(rules),
            Message::NewView(new_view) => new_view.check(rules),
            Message::Upkeep(upkeep) => upkeep.verify(from, rules),
        }
    }

    fn asks_for_much(&self) -> bool {
        matches!(self, Message::Upkeep(upkeep) if upkeep.asks_for_much())
    }
}

fn check_vote(
    from: ReplicaId,
    ballot: Ballot,
    signature: &Signature,
    rules: &Rules<'_>,
) -> Result<(), Refused> {
    if rules.group.signed_by(from, &ballot.statement(rules.group), signature, rules.verifier) {
        Ok(())
    } else {
        Err(Refused::Signature)
    }
}

#[cfg(test)]
mod tests;
