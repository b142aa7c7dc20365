//! What a replica says, under its identity, the service's key is. Whoever deploys a service believes f+1 equal ones.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use smr_crypto::threshold::ServiceKey;
use smr_crypto::{Digest, IdentityKey, PublicKey, Signature};
use smr_wire::{Epoch, ServiceId};

/// A service's key, as one replica knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceStatement {
    /// Which service.
    pub service: ServiceId,
    /// The epoch of the key's shares.
    pub epoch: Epoch,
    /// The key.
    pub service_key: ServiceKey,
}

impl ServiceStatement {
    /// What is signed.
    #[must_use]
    pub fn statement(&self) -> Digest {
        Digest::of_value("SMRCLOUD-SERVICE-V1", self)
    }

    /// The same under `key`.
    #[must_use]
    pub fn sign(self, key: &IdentityKey) -> SignedServiceStatement {
        SignedServiceStatement { signature: key.sign(&self.statement()), statement: self }
    }
}

/// A [`ServiceStatement`] and who says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedServiceStatement {
    /// What is said.
    pub statement: ServiceStatement,
    /// The replica's.
    pub signature: Signature,
}

impl SignedServiceStatement {
    /// Whether the replica with `identity` says so.
    #[must_use]
    pub fn verify(&self, identity: &PublicKey) -> bool {
        identity.verify(&self.statement.statement(), &self.signature)
    }
}

/// The key that at least `enough` of the members with these `identities` state for `service`, each counted once:
/// with f+1 at least one of them is correct.
#[must_use]
pub fn agreed<'a>(
    service: ServiceId,
    enough: usize,
    statements: impl IntoIterator<Item = (&'a PublicKey, &'a SignedServiceStatement)>,
) -> Option<ServiceStatement> {
    let mut votes: Vec<(&PublicKey, ServiceStatement)> = Vec::new();
    for (identity, signed) in statements {
        let counted = votes.iter().any(|(who, _)| *who == identity);
        if !counted && signed.statement.service == service && signed.verify(identity) {
            votes.push((identity, signed.statement));
        }
    }
    let count = |wanted: &ServiceStatement| votes.iter().filter(|(_, said)| said == wanted).count();
    votes.iter().map(|(_, said)| *said).find(|said| count(said) >= enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: u8) -> ServiceStatement {
        let service = ServiceId(Digest::of("TEST", &[]));
        ServiceStatement { service, epoch: Epoch(1), service_key: ServiceKey([key; 48]) }
    }

    #[test]
    fn a_key_needs_enough_distinct_members_that_signed_the_same() {
        let keys: Vec<IdentityKey> = (0..4).map(|n| IdentityKey::from_seed(&[n; 32])).collect();
        let public: Vec<PublicKey> = keys.iter().map(IdentityKey::public).collect();
        let agreed = |list: &[(usize, SignedServiceStatement)]| {
            let list: Vec<_> = list.iter().map(|(who, signed)| (&public[*who], signed)).collect();
            super::agreed(said(0).service, 2, list)
        };
        let (good, lie) = (said(7), said(8));
        assert_eq!(agreed(&[(0, good.sign(&keys[0])), (1, good.sign(&keys[1]))]), Some(good));
        assert_eq!(agreed(&[(0, good.sign(&keys[0])), (0, good.sign(&keys[0]))]), None);
        assert_eq!(agreed(&[(0, good.sign(&keys[0])), (1, good.sign(&keys[0]))]), None);
        let all = [(2, lie.sign(&keys[2])), (0, good.sign(&keys[0])), (1, good.sign(&keys[1]))];
        assert_eq!(agreed(&all), Some(good));
        assert_eq!(
            super::agreed(ServiceId(Digest::default()), 1, [(&public[0], &good.sign(&keys[0]))]),
            None
        );
    }
}
