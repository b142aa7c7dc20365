//! Word of the administrator that a generation has ended because its trusted cores are gone, and with which cores the next
//! one begins.
//!
//! Where more than f cores are gone at once nobody is left who could order that others take their place. What was decided is
//! on the disks of the replicas: who deployed the service asks them how far they are ([`crate::restart`]), and says it.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use smr_crypto::{Digest, IdentityKey, PublicKey, Signature};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ServiceId, Slot};

use crate::genesis::Genesis;

/// "`generation` has ended with `slot`, and in the next one `cores` are the trusted cores." It stands in the slot after that
/// one as if it had been decided there, so each generation that ends so has a state of its own.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Manifest {
    /// Which generation has ended.
    pub generation: Generation,
    /// The last slot that is decided in it.
    pub slot: Slot,
    /// The keys of the next one's trusted cores, by replica.
    pub cores: Vec<PublicKey>,
    /// The administrator's.
    pub signature: Signature,
}

impl Manifest {
    /// The administrator of `service` says so. Once for each generation: two of them may make two services of one.
    #[must_use]
    pub fn sign(
        administrator: &IdentityKey,
        service: ServiceId,
        generation: Generation,
        slot: Slot,
        cores: Vec<PublicKey>,
    ) -> Manifest {
        let signature = administrator.sign(&statement(service, generation, slot, &cores));
        Manifest { generation, slot, cores, signature }
    }

    /// Whether the administrator of the service that began so said it, and of a service with cores, each of which it names.
    #[must_use]
    pub fn holds(&self, genesis: &Genesis) -> bool {
        let distinct =
            || self.cores.iter().enumerate().all(|(place, core)| !self.cores[..place].contains(core));
        genesis.protocol.profile().model == FaultModel::Hybrid
            && self.cores.len() == genesis.members.len()
            && distinct()
            && genesis.administrator.verify(&self.digest(genesis.service()), &self.signature)
    }

    /// What the signature is for; in the history of the service it stands for the manifest.
    #[must_use]
    pub fn digest(&self, service: ServiceId) -> Digest {
        statement(service, self.generation, self.slot, &self.cores)
    }
}

fn statement(service: ServiceId, generation: Generation, slot: Slot, cores: &[PublicKey]) -> Digest {
    Digest::of_value("SMRCLOUD-MANIFEST-V1", &(service, generation, slot, cores))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voters::tests::{genesis, key};
    use smr_consensus::ProtocolName;

    #[test]
    fn a_manifest_is_of_the_administrator_and_names_a_core_for_each_replica_of_a_service_that_has_them() {
        let of = |protocol, by, seeds: &[u8]| {
            let genesis = genesis(protocol);
            let cores = seeds.iter().map(|seed| key(*seed).public()).collect();
            let manifest = Manifest::sign(&key(by), genesis.service(), Generation(0), Slot(7), cores);
            let other = Manifest { slot: Slot(8), ..manifest.clone() };
            assert!(!other.holds(&genesis), "it was signed for another slot");
            manifest.holds(&genesis)
        };
        assert!(of(ProtocolName::Ebawa, 99, &[50, 21, 52]));
        assert!(!of(ProtocolName::Ebawa, 1, &[50, 21, 52]), "signed by a replica");
        assert!(!of(ProtocolName::Ebawa, 99, &[50, 21]), "one replica has none");
        assert!(!of(ProtocolName::Ebawa, 99, &[50, 21, 50]), "two replicas have the same");
        assert!(!of(ProtocolName::Paxos, 99, &[50, 21, 52]), "there are no cores");
    }
}
