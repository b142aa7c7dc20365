//! Who votes, and how many of them must agree for what.

use std::sync::Arc;

use smr_crypto::{Digest, IdentityKey, PublicKey, Signature, Verifier};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, ServiceId, View};

use crate::known_bugs;

/// The voters of one generation. Quorums are functions of it and are written nowhere else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Whose voters.
    pub service: ServiceId,
    /// Which set of voters.
    pub generation: Generation,
    /// What the members may do wrong.
    pub model: FaultModel,
    /// How many of them may do it at the same time.
    pub faults: u16,
    /// Identity keys, by replica.
    pub keys: Vec<PublicKey>,
    /// Keys of their trusted cores, by replica; none where there are no cores.
    pub cores: Vec<PublicKey>,
}

impl Group {
    /// Whether what a replica said is remembered by its disk. Otherwise its trusted core does, which begins anew with it, and
    /// nobody counts on that one until the group has agreed to.
    #[must_use]
    pub fn is_bound_by_disk(&self) -> bool {
        self.model != FaultModel::Hybrid
    }

    /// How many replicas there are (n).
    #[must_use]
    pub fn size(&self) -> usize {
        self.keys.len()
    }

    /// Replicas in order.
    pub fn members(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..self.keys.len()).map(ReplicaId::at)
    }

    /// Fewest votes such that any two such sets share a correct replica (Byzantine), or any replica (crash and
    /// hybrid, where none can vote twice): 2f+1 of 3f+1, f+1 of 2f+1.
    #[must_use]
    pub fn quorum(&self) -> usize {
        if known_bugs::HALF_IS_A_QUORUM.is_on() {
            return self.size() / 2;
        }
        match self.model {
            FaultModel::Byzantine => (self.size() + usize::from(self.faults)) / 2 + 1,
            FaultModel::Crash | FaultModel::Hybrid => self.size() / 2 + 1,
        }
    }

    /// Fewest replicas of which one is certainly correct: f+1.
    #[must_use]
    pub fn one_correct(&self) -> usize {
        usize::from(self.faults) + 1
    }

    /// Replicas that one may wait for: n-f.
    #[must_use]
    pub fn available(&self) -> usize {
        self.size() - usize::from(self.faults)
    }

    /// Replicas that must hold a state before the log below it may go: n-f.
    #[must_use]
    pub fn checkpoint_votes(&self) -> usize {
        if known_bugs::ONE_VOTE_MAKES_A_CHECKPOINT.is_on() { 1 } else { self.available() }
    }

    /// Who proposes in `view` when the primary is stable.
    #[must_use]
    pub fn primary_of(&self, view: View) -> ReplicaId {
        let size = self.size() as u64;
        ReplicaId::at(usize::try_from(view.0 % size).expect("smaller than the group"))
    }

    /// Whether `replica` belongs to the group.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        replica.index() < self.size()
    }

    /// The digest of a statement that holds in this group only: `content` under `tag`, service and generation.
    #[must_use]
    pub fn statement<T: borsh::BorshSerialize>(&self, tag: &str, content: &T) -> Digest {
        Digest::of_value(tag, &(self.service, self.generation, content))
    }

    /// The digest of a statement that outlives the generation: `content` under `tag` and service. Members keep their
    /// identity keys from one generation to the next.
    #[must_use]
    pub fn lasting_statement<T: borsh::BorshSerialize>(&self, tag: &str, content: &T) -> Digest {
        Digest::of_value(tag, &(self.service, content))
    }

    /// The same group in the generation in which these are the keys of its trusted cores.
    #[must_use]
    pub fn renewed(&self, generation: Generation, cores: Vec<PublicKey>) -> Group {
        Group { generation, cores, keys: self.keys.clone(), ..*self }
    }

    /// Whether `signature` is that of `replica` over `statement`.
    #[must_use]
    pub fn signed_by(
        &self,
        replica: ReplicaId,
        statement: &Digest,
        signature: &Signature,
        verifier: &Verifier,
    ) -> bool {
        self.keys.get(replica.index()).is_some_and(|key| verifier.verify(key, statement, signature))
    }
}

/// A replica's place in its group: who it is and the key it signs with.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The group.
    pub group: Arc<Group>,
    /// Which of its members.
    pub me: ReplicaId,
    /// The member's identity key.
    pub key: Arc<IdentityKey>,
    /// Whether the group counts on what it says. One whose trusted core the group does not know, since it was begun anew,
    /// learns what is decided and stays silent until a generation knows it.
    pub votes: bool,
}

impl Seat {
    /// The place of a member on whose word the group counts.
    #[must_use]
    pub fn new(group: Arc<Group>, me: ReplicaId, key: Arc<IdentityKey>) -> Seat {
        Seat { group, me, key, votes: true }
    }

    /// This replica's signature over a statement.
    #[must_use]
    pub fn sign(&self, statement: &Digest) -> Signature {
        self.key.sign(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(size: usize, faults: u16, model: FaultModel) -> Group {
        Group {
            service: ServiceId(Digest::default()),
            generation: Generation(0),
            model,
            faults,
            keys: (0..size).map(|i| PublicKey([u8::try_from(i).expect("small"); 32])).collect(),
            cores: Vec::new(),
        }
    }

    #[test]
    fn two_quorums_share_a_correct_replica() {
        for faults in 0..6u16 {
            let f = usize::from(faults);
            for size in 3 * f + 1..3 * f + 4 {
                let group = group(size, faults, FaultModel::Byzantine);
                assert!(2 * group.quorum() - size > f, "n={size} f={f}");
                assert!(group.quorum() <= group.available(), "n={size} f={f}");
            }
            let crash = group(2 * f + 1, faults, FaultModel::Crash);
            assert_eq!((crash.quorum(), crash.available()), (f + 1, f + 1));
        }
    }

    #[test]
    fn every_replica_becomes_primary() {
        let group = group(4, 1, FaultModel::Byzantine);
        let primaries: Vec<u16> = (0..5).map(|v| group.primary_of(View(v)).0).collect();
        assert_eq!(primaries, [0, 1, 2, 3, 0]);
    }

    #[test]
    fn nobody_but_its_members_belongs_to_a_group() {
        let group = group(4, 1, FaultModel::Byzantine);
        assert_eq!(group.members().collect::<Vec<_>>(), (0..4).map(ReplicaId).collect::<Vec<_>>());
        assert!(group.members().all(|member| group.contains(member)));
        assert!(!group.contains(ReplicaId(4)) && !group.contains(ReplicaId(5)));
    }
}
