//! Signatures for most simulated runs: the shape of the real ones at the price of a hash. Curves and pairings cost
//! most of the time and decide nothing; a share of the runs uses the real ones all the same.

use smr_crypto::threshold::{GroupKey, KeyShare, ServiceKey, ServiceSignature, SignatureShare};
use smr_crypto::{Digest, Verifier};
use smr_wire::ReplicaId;

/// Which signatures a run uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// BLS12-381, as in production.
    Real,
    /// Hashes under a secret of the world.
    Cheap(u64),
}

/// Signatures that a run with real ones remembers.
const REMEMBERED: usize = 1 << 15;

impl Scheme {
    /// What verifies signatures of identities.
    #[must_use]
    pub fn verifier(self) -> Verifier {
        match self {
            Scheme::Real => Verifier::new(REMEMBERED),
            Scheme::Cheap(secret) => Verifier::simulated(Digest::of_value("SIM-IDENTITIES", &secret).0),
        }
    }

    /// A share of `author` on `digest`.
    #[must_use]
    pub fn sign(self, author: u16, digest: &Digest, share: &KeyShare) -> SignatureShare {
        match self {
            Scheme::Real => share.sign(digest),
            Scheme::Cheap(secret) => cheap_share(secret, author, digest),
        }
    }

    /// What combining gives: the signature, if there were enough good shares, and who sent bad ones.
    #[must_use]
    pub fn combine(
        self,
        key: &GroupKey,
        digest: &Digest,
        shares: &[(u16, SignatureShare)],
    ) -> (Option<ServiceSignature>, Vec<ReplicaId>) {
        let Scheme::Cheap(secret) = self else {
            return real(key, digest, shares);
        };
        let is_good = |author: u16, share: &SignatureShare| *share == cheap_share(secret, author, digest);
        let bad = shares.iter().filter(|(author, share)| !is_good(*author, share));
        let culprits: Vec<ReplicaId> = bad.map(|(author, _)| ReplicaId(*author)).collect();
        let enough = shares.len() - culprits.len() >= usize::from(key.threshold);
        (enough.then(|| cheap_signature(secret, digest)), culprits)
    }

    /// Whether `signature` is the service's on `digest`.
    #[must_use]
    pub fn verify(self, key: &ServiceKey, digest: &Digest, signature: &ServiceSignature) -> bool {
        match self {
            Scheme::Real => key.verify(digest, signature),
            Scheme::Cheap(secret) => *signature == cheap_signature(secret, digest),
        }
    }
}

fn real(
    key: &GroupKey,
    digest: &Digest,
    shares: &[(u16, SignatureShare)],
) -> (Option<ServiceSignature>, Vec<ReplicaId>) {
    match key.combine_verified(digest, shares) {
        Ok(combined) => (Some(combined.signature), combined.culprits.into_iter().map(ReplicaId).collect()),
        Err(bad) => (None, bad.culprits.into_iter().map(ReplicaId).collect()),
    }
}

fn cheap_share(secret: u64, author: u16, digest: &Digest) -> SignatureShare {
    let hash = Digest::of_value("SIM-SHARE", &(secret, author, digest));
    SignatureShare(stretch(&hash))
}

fn cheap_signature(secret: u64, digest: &Digest) -> ServiceSignature {
    ServiceSignature(stretch(&Digest::of_value("SIM-SIGNATURE", &(secret, digest))))
}

fn stretch(hash: &Digest) -> [u8; 96] {
    let mut bytes = [0; 96];
    bytes.chunks_mut(32).for_each(|chunk| chunk.copy_from_slice(&hash.0));
    bytes
}
