//! Whether the service signed. One pairing (about a millisecond) answers for every reply of a block, and for all
//! clients of a process that share one [`ServiceProofs`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use smr_crypto::Digest;
use smr_crypto::threshold::{ServiceKey, ServiceSignature};

/// Judges signatures of one service.
pub trait ProofCheck: Send + Sync {
    /// Whether `signature` is the service's over `statement`.
    fn verify(&self, statement: &Digest, signature: &ServiceSignature) -> bool;
}

/// Parts of the memo; statements that fall into different ones are verified at the same time.
const PARTS: usize = 16;

/// The service's key and the last statements it was seen to have signed.
pub struct ServiceProofs {
    key: ServiceKey,
    parts: Vec<Mutex<Part>>,
    part_max: usize,
}

#[derive(Default)]
struct Part {
    signed: BTreeMap<Digest, ServiceSignature>,
    order: VecDeque<Digest>,
}

impl ServiceProofs {
    /// Remembers about `remembered_max` statements, about 250 bytes each.
    #[must_use]
    pub fn new(key: ServiceKey, remembered_max: usize) -> ServiceProofs {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        ServiceProofs { key, parts, part_max: remembered_max.div_ceil(PARTS) }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &ServiceKey {
        &self.key
    }

    fn part(&self, statement: &Digest) -> MutexGuard<'_, Part> {
        let part = &self.parts[usize::from(statement.0[0]) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProofCheck for ServiceProofs {
    /// Holds the part of the memo meanwhile: a second client with a reply of the same block waits for the first
    /// one's verification instead of repeating it.
    fn verify(&self, statement: &Digest, signature: &ServiceSignature) -> bool {
        let mut part = self.part(statement);
        // A key has exactly one BLS signature on a statement, so any other is wrong.
        if let Some(signed) = part.signed.get(statement) {
            return signed == signature;
        }
        if !self.key.verify(statement, signature) {
            return false;
        }
        part.signed.insert(*statement, *signature);
        part.order.push_back(*statement);
        if part.order.len() > self.part_max
            && let Some(oldest) = part.order.pop_front()
        {
            part.signed.remove(&oldest);
        }
        true
    }
}

impl std::fmt::Debug for ServiceProofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceProofs(of {:?})", self.key)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A whole service's key, held in one hand.
    pub(crate) struct Signer(blst::min_pk::SecretKey);

    impl Signer {
        pub(crate) fn new(seed: u8) -> Signer {
            Signer(blst::min_pk::SecretKey::key_gen(&[seed; 32], &[]).unwrap())
        }

        pub(crate) fn key(&self) -> ServiceKey {
            ServiceKey(self.0.sk_to_pk().to_bytes())
        }

        pub(crate) fn sign(&self, statement: &Digest) -> ServiceSignature {
            let dst = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
            ServiceSignature(self.0.sign(&statement.0, dst, &[]).to_bytes())
        }
    }

    #[test]
    fn the_memo_answers_as_the_key_does() {
        let signer = Signer::new(1);
        let proofs = ServiceProofs::new(signer.key(), 8);
        let (a, b) = (Digest::of("TEST", &[b"a"]), Digest::of("TEST", &[b"b"]));
        for _ in 0..2 {
            assert!(!proofs.verify(&a, &signer.sign(&b)));
            assert!(proofs.verify(&a, &signer.sign(&a)));
            assert!(!proofs.verify(&a, &Signer::new(2).sign(&a)));
        }
    }

    #[test]
    fn the_memo_forgets_the_oldest() {
        let signer = Signer::new(1);
        let proofs = ServiceProofs::new(signer.key(), 16);
        for n in 0..40u8 {
            let statement = Digest::of("TEST", &[&[n]]);
            assert!(proofs.verify(&statement, &signer.sign(&statement)));
            assert!(proofs.part(&statement).signed.contains_key(&statement), "the last one stays");
        }
        assert!(proofs.parts.iter().all(|part| part.lock().unwrap().signed.len() <= 1));
    }
}
