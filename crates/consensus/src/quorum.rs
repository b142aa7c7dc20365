//! Votes of distinct replicas on one thing, and the certificates they make. The only place that counts votes.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, Signature};
use smr_wire::{ReplicaId, Slot, View};

use crate::group::Group;
use crate::known_bugs;
use crate::verified::{Refused, Rules};

/// What a vote says yes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Ballot {
    /// Which step of the protocol.
    pub phase: Phase,
    /// In which view.
    pub view: View,
    /// For which slot.
    pub slot: Slot,
    /// Of which batch.
    pub digest: Digest,
}

/// Steps in which replicas vote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub enum Phase {
    /// "The primary of this view proposed this batch for this slot, to me."
    Prepare,
    /// "A quorum prepared it, so no other batch can be decided in this slot and view."
    Commit,
}

impl Phase {
    /// The step whose quorum decides.
    pub(crate) fn deciding() -> Phase {
        if known_bugs::DECIDES_ON_PREPARES.is_on() { Phase::Prepare } else { Phase::Commit }
    }
}

impl Ballot {
    /// What a vote signs.
    #[must_use]
    pub fn statement(&self, group: &Group) -> Digest {
        group.statement("SMRCLOUD-VOTE-V1", self)
    }
}

/// Votes for one slot and phase. Of each replica only the vote of the highest view is kept, so the memory is
/// bounded by the group, and whoever votes twice in a view is counted once.
///
/// `S` is what a vote is shown with: a signature, or more.
#[derive(Clone, Debug)]
pub struct Votes<S = Signature>(BTreeMap<ReplicaId, (View, Digest, S)>);

impl<S> Default for Votes<S> {
    fn default() -> Votes<S> {
        Votes(BTreeMap::new())
    }
}

impl<S: Clone> Votes<S> {
    /// Keeps a vote unless its author already has one of this or a higher view.
    pub fn add(&mut self, author: ReplicaId, view: View, digest: Digest, shown: S) {
        let newer = self.0.get(&author).is_none_or(|(kept, _, _)| *kept < view);
        if newer {
            self.0.insert(author, (view, digest, shown));
        }
    }

    /// How many distinct replicas voted for `digest` in `view`.
    #[must_use]
    pub fn count(&self, view: View, digest: &Digest) -> usize {
        let counts = |v: View| v == view || known_bugs::MIXES_VIEWS.is_on();
        self.0.values().filter(|(v, d, _)| counts(*v) && d == digest).count()
    }

    /// Exactly a quorum of votes for `digest` in `view`, in ascending order of author; none if there are fewer.
    #[must_use]
    pub fn quorum(&self, view: View, digest: &Digest, group: &Group) -> Option<Vec<(ReplicaId, S)>> {
        if self.count(view, digest) < group.quorum() {
            return None;
        }
        let votes = self.0.iter().filter(|(_, (v, d, _))| *v == view && d == digest);
        Some(votes.map(|(author, (_, _, shown))| (*author, shown.clone())).take(group.quorum()).collect())
    }

    /// The pair of view and digest that a quorum voted for, if there is one.
    #[must_use]
    pub fn winner(&self, group: &Group) -> Option<(View, Digest)> {
        let mut candidates: Vec<(View, Digest)> = self.0.values().map(|(v, d, _)| (*v, *d)).collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().find(|(view, digest)| self.count(*view, digest) >= group.quorum())
    }

    /// The vote of `author`, if one is kept.
    #[must_use]
    pub fn of(&self, author: ReplicaId) -> Option<(View, Digest, S)> {
        self.0.get(&author).cloned()
    }

    /// All that are kept, by author.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, View, Digest)> {
        self.0.iter().map(|(author, (view, digest, _))| (*author, *view, *digest))
    }
}

impl Votes {
    /// The certificate for `ballot`, once a quorum voted for it.
    #[must_use]
    pub fn certificate(&self, ballot: Ballot, group: &Group) -> Option<QuorumCertificate> {
        let votes = self.quorum(ballot.view, &ballot.digest, group)?;
        Some(QuorumCertificate { ballot, votes })
    }
}

/// A quorum of votes on one ballot; convinces anyone who knows the group.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct QuorumCertificate {
    /// What was voted for.
    pub ballot: Ballot,
    /// Exactly a quorum of them, in ascending order of author.
    pub votes: Vec<(ReplicaId, Signature)>,
}

impl QuorumCertificate {
    /// Whether a quorum of distinct members signed the ballot.
    ///
    /// # Errors
    /// [`Refused::Certificate`].
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        check_signatures(&self.votes, rules.group.quorum(), &self.ballot.statement(rules.group), rules)
    }
}

/// Whether `votes` are exactly `needed` signatures of distinct members, in ascending order, over `statement`.
///
/// # Errors
/// [`Refused::Certificate`].
pub fn check_signatures(
    votes: &[(ReplicaId, Signature)],
    needed: usize,
    statement: &Digest,
    rules: &Rules<'_>,
) -> Result<(), Refused> {
    let distinct =
        votes.windows(2).all(|pair| pair[0].0 < pair[1].0) || known_bugs::COUNTS_A_VOTE_AGAIN.is_on();
    let enough = votes.len() == needed || known_bugs::ACCEPTS_SHORT_CERTIFICATES.is_on();
    let signed = || {
        votes
            .iter()
            .all(|(author, signature)| rules.group.signed_by(*author, statement, signature, rules.verifier))
    };
    if enough && distinct && signed() { Ok(()) } else { Err(Refused::Certificate) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbft::tests::group_of_four;
    use smr_crypto::Verifier;

    fn ballot(view: u64, text: &str) -> Ballot {
        Ballot {
            phase: Phase::Commit,
            view: View(view),
            slot: Slot(1),
            digest: Digest::of("T", &[text.as_bytes()]),
        }
    }

    #[test]
    fn a_certificate_needs_a_quorum_of_distinct_signatures_on_one_ballot() {
        let (group, keys) = group_of_four();
        let verifier = Verifier::new(64);
        let config = crate::Config::default();
        let rules = Rules { group: &group, config: &config, verifier: &verifier };
        let ballot = ballot(0, "x");
        let mut votes = Votes::default();
        for (i, key) in keys.iter().enumerate().take(2) {
            votes.add(ReplicaId::at(i), ballot.view, ballot.digest, key.sign(&ballot.statement(&group)));
        }
        votes.add(ReplicaId(1), ballot.view, ballot.digest, keys[1].sign(&ballot.statement(&group)));
        assert_eq!(votes.certificate(ballot, &group), None);
        votes.add(ReplicaId(3), ballot.view, ballot.digest, keys[3].sign(&ballot.statement(&group)));
        let certificate = votes.certificate(ballot, &group).expect("three of four");
        assert_eq!(certificate.check(&rules), Ok(()));
        assert_eq!(votes.winner(&group), Some((ballot.view, ballot.digest)));

        let mut twice = certificate.clone();
        twice.votes[1] = twice.votes[0];
        assert_eq!(twice.check(&rules), Err(Refused::Certificate));
        let mut fewer = certificate.clone();
        fewer.votes.pop();
        assert_eq!(fewer.check(&rules), Err(Refused::Certificate));
        let moved = QuorumCertificate { ballot: Ballot { slot: Slot(2), ..ballot }, ..certificate };
        assert_eq!(moved.check(&rules), Err(Refused::Certificate));
    }

    #[test]
    fn votes_of_two_views_are_not_mixed_and_the_higher_view_is_kept() {
        let (group, keys) = group_of_four();
        let mut votes = Votes::default();
        for (i, key) in keys.iter().enumerate() {
            let ballot = ballot(if i < 2 { 0 } else { 1 }, "x");
            votes.add(ReplicaId::at(i), ballot.view, ballot.digest, key.sign(&ballot.statement(&group)));
        }
        assert_eq!(votes.winner(&group), None);
        let higher = ballot(1, "x");
        votes.add(ReplicaId(0), higher.view, higher.digest, keys[0].sign(&higher.statement(&group)));
        votes.add(ReplicaId(0), View(0), Digest::default(), keys[0].sign(&Digest::default()));
        assert_eq!(votes.winner(&group), Some((higher.view, higher.digest)));
    }

    #[test]
    fn a_certificate_holds_only_votes_for_its_own_batch_and_view() {
        let (group, keys) = group_of_four();
        let verifier = Verifier::new(64);
        let config = crate::Config::default();
        let rules = Rules { group: &group, config: &config, verifier: &verifier };
        let (mine, other, earlier) = (ballot(1, "x"), ballot(1, "y"), ballot(0, "x"));
        for stray in [other, earlier] {
            let mut votes = Votes::default();
            let cast = [stray, mine, mine, mine];
            for (i, (key, ballot)) in keys.iter().zip(cast).enumerate() {
                let signature = key.sign(&ballot.statement(&group));
                votes.add(ReplicaId::at(i), ballot.view, ballot.digest, signature);
                assert_eq!(votes.certificate(mine, &group).is_some(), i == 3);
            }
            assert_eq!(votes.count(stray.view, &stray.digest), 1);
            let certificate = votes.certificate(mine, &group).expect("three of four");
            assert_eq!(certificate.check(&rules), Ok(()));
        }
    }

    #[test]
    fn of_two_votes_in_one_view_the_first_counts() {
        let (group, keys) = group_of_four();
        let mut votes = Votes::default();
        for ballot in [ballot(1, "x"), ballot(1, "y")] {
            votes.add(ReplicaId(0), ballot.view, ballot.digest, keys[0].sign(&ballot.statement(&group)));
        }
        let (first, second) = (ballot(1, "x"), ballot(1, "y"));
        assert_eq!((votes.count(View(1), &first.digest), votes.count(View(1), &second.digest)), (1, 0));
        assert_eq!(votes.of(ReplicaId(0)).map(|(_, digest, _)| digest), Some(first.digest));
        assert_eq!(votes.of(ReplicaId(1)), None);
    }
}
