//! Word of the administrator that a replica's trusted core was begun anew and has another key now.
//!
//! A core keeps its key in memory and what it said as well, so one that was begun anew has said nothing, under a key that
//! nobody knows. The group must not believe a replica about its own core: a host that was taken over would name a key of its
//! own and have two voices. So who deployed the service, and started the core, vouches for the key.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use smr_crypto::{Digest, IdentityKey, PublicKey, Signature};
use smr_wire::{Generation, ReplicaId, ServiceId};

use crate::genesis::Genesis;

/// "In `generation`, the core of `replica` may be replaced by the one with the key `core`." Each generation ends with the
/// first that is ordered in it, so none can be used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Voucher {
    /// Whose core.
    pub replica: ReplicaId,
    /// In which generation this holds.
    pub generation: Generation,
    /// The key of its new core.
    pub core: PublicKey,
    /// The administrator's.
    pub signature: Signature,
}

impl Voucher {
    /// The administrator of `service` vouches.
    #[must_use]
    pub fn sign(
        administrator: &IdentityKey,
        service: ServiceId,
        replica: ReplicaId,
        generation: Generation,
        core: PublicKey,
    ) -> Voucher {
        let signature = administrator.sign(&statement(service, replica, generation, &core));
        Voucher { replica, generation, core, signature }
    }

    /// Whether the administrator of the service that began so said it.
    #[must_use]
    pub fn holds(&self, genesis: &Genesis) -> bool {
        let statement = statement(genesis.service(), self.replica, self.generation, &self.core);
        genesis.administrator.verify(&statement, &self.signature)
    }
}

fn statement(service: ServiceId, replica: ReplicaId, generation: Generation, core: &PublicKey) -> Digest {
    Digest::of_value("SMRCLOUD-VOUCHER-V1", &(service, replica, generation, core))
}
