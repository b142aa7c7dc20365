//! A core as a dealer of the service's key. It draws the polynomial, so nobody else knows it; it encrypts the shares, so they
//! fit; and it signs one dealing in each attempt, so a replica can neither alter its dealing nor choose among several.
//! `smr_crypto::dkg` says what follows from that.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::dkg::{Dealing, DealingSeed, Setup};
use smr_crypto::{Signature, Verifier};
use smr_wire::ReplicaId;

use super::{Refusal, Scope};

/// An attempt at key generation, as a core is told of it. It cannot tell whether that is true; what it deals by other rules
/// than the group's, the group does not take.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Attempt {
    /// Which, from 0. A core deals in ever higher ones.
    pub number: u32,
    /// Its rules.
    pub setup: Setup,
}

/// What a core dealt, with its word for it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct AttestedDealing {
    /// In which attempt.
    pub attempt: u32,
    /// What.
    pub dealing: Dealing,
    /// Over [`super::Scope::deal`].
    pub attestation: Signature,
}

impl AttestedDealing {
    /// Whether the core of `scope` dealt this by the rules `setup`. False where replicas have no cores: their word is not
    /// enough.
    #[must_use]
    pub fn holds(&self, scope: &Scope<'_>, setup: &Setup, verifier: &Verifier) -> bool {
        let statement = scope.deal(self.attempt, setup, &self.dealing);
        let core = scope.group.cores.get(scope.replica.index());
        core.is_some_and(|core| verifier.verify(core, &statement, &self.attestation))
    }
}

/// The part of a core that deals.
#[derive(Clone, Debug)]
pub(super) struct Dealer {
    /// Of the next dealing. Those before are not kept, so whoever gets in later does not learn what was dealt.
    seed: DealingSeed,
    /// The highest attempt in which it dealt.
    dealt: Option<u32>,
}

impl Dealer {
    /// One that has not dealt yet.
    pub(super) fn new(seed: DealingSeed) -> Dealer {
        Dealer { seed, dealt: None }
    }

    /// Deals as `me`, once in each attempt.
    pub(super) fn deal(&mut self, me: ReplicaId, attempt: &Attempt) -> Result<Dealing, Refusal> {
        if self.dealt.is_some_and(|last| attempt.number <= last) {
            return Err(Refusal::Dealt);
        }
        if attempt.setup.validate().is_err() {
            return Err(Refusal::Setup);
        }
        let dealing = Dealing::make(&attempt.setup, me.0, &self.seed.0);
        (self.dealt, self.seed) = (Some(attempt.number), self.seed.next());
        Ok(dealing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use smr_crypto::dkg::{Assurance, Ceremony, Command, DecryptionKey, Phase};
    use smr_crypto::{Digest, IdentityKey};
    use smr_wire::client::FaultModel;
    use smr_wire::{Generation, ServiceId};

    use super::super::SoftwareCore;
    use super::*;
    use crate::group::Group;

    fn key(place: u8) -> Arc<IdentityKey> {
        Arc::new(IdentityKey::from_seed(&[place; 32]))
    }

    fn group(service: &[u8]) -> Arc<Group> {
        Arc::new(Group {
            service: ServiceId(Digest::of("TEST", &[service])),
            generation: Generation(0),
            model: FaultModel::Hybrid,
            faults: 1,
            keys: (0..3).map(|place| key(place).public()).collect(),
            cores: (10..13).map(|place| key(place).public()).collect(),
        })
    }

    fn core(replica: u16) -> SoftwareCore {
        let place = u8::try_from(replica).unwrap();
        SoftwareCore::new(
            group(b"here"),
            8,
            ReplicaId(replica),
            key(10 + place),
            DealingSeed([20 + place; 32]),
        )
    }

    fn attempt(number: u32) -> Attempt {
        let keys = (0..3u8).map(|place| DecryptionKey::from_seed(&[30 + place; 32]).public());
        let setup = Setup {
            context: Digest::of_value("TEST", &number),
            threshold: 2,
            encryption_keys: keys.collect(),
            dealings: 2,
            assurance: Assurance::Attested,
        };
        Attempt { number, setup }
    }

    #[test]
    fn what_cores_deal_is_a_key_and_holds_for_its_group_dealer_and_attempt_only() {
        let mut ceremony = Ceremony::new(attempt(0).setup);
        for replica in [2, 0] {
            let dealt = core(replica).deal(&attempt(0)).unwrap();
            let (here, elsewhere, setup) = (group(b"here"), group(b"elsewhere"), attempt(0).setup);
            let later = here.renewed(Generation(1), here.cores.clone());
            let coreless = Group { cores: Vec::new(), ..Group::clone(&here) };
            let scope = Scope { group: &here, window_slots: 8, replica: ReplicaId(replica) };
            let holds = |dealt: &AttestedDealing, scope: &Scope<'_>, setup: &Setup| {
                dealt.holds(scope, setup, &Verifier::new(1))
            };
            assert!(holds(&dealt, &scope, &setup));
            assert!(
                holds(&dealt, &Scope { group: &later, ..scope.clone() }, &setup),
                "an attempt may outlive one"
            );
            assert!(!holds(&dealt, &Scope { group: &elsewhere, ..scope.clone() }, &setup));
            assert!(!holds(&dealt, &Scope { group: &coreless, ..scope.clone() }, &setup));
            assert!(!holds(&dealt, &Scope { replica: ReplicaId(1), ..scope.clone() }, &setup));
            assert!(!holds(&dealt, &scope, &Setup { threshold: 1, ..setup.clone() }));
            assert!(!holds(&AttestedDealing { attempt: 1, ..dealt.clone() }, &scope, &setup));
            let mut altered = dealt.clone();
            altered.dealing.shares[1][0] ^= 1;
            assert!(!holds(&altered, &scope, &setup));
            ceremony.apply(replica, Command::Deal(dealt.dealing)).unwrap();
        }
        assert_eq!(ceremony.phase(), Phase::Closed);
    }

    #[test]
    fn a_core_deals_once_in_an_attempt_and_never_in_an_earlier_one_whatever_the_rules() {
        let mut core = core(1);
        let first = core.deal(&attempt(3)).unwrap();
        assert_eq!(core.deal(&attempt(3)), Err(Refusal::Dealt));
        let other = Attempt { number: 3, ..attempt(4) };
        assert_eq!(core.deal(&other), Err(Refusal::Dealt));
        assert_eq!(core.deal(&attempt(2)), Err(Refusal::Dealt));
        let second = core.deal(&attempt(4)).unwrap();
        assert_ne!(first.dealing.commitment, second.dealing.commitment, "each has a polynomial of its own");
    }

    #[test]
    fn rules_by_which_there_is_no_key_cost_a_core_nothing() {
        let mut core = core(1);
        let mut bad = attempt(0);
        bad.setup.threshold = 4;
        assert_eq!(core.deal(&bad), Err(Refusal::Setup));
        bad.setup = Setup { encryption_keys: Vec::new(), ..attempt(0).setup };
        assert_eq!(core.deal(&bad), Err(Refusal::Setup));
        assert!(core.deal(&attempt(0)).is_ok());
    }
}
