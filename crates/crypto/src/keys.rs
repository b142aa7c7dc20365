//! Ed25519 identity keys: who a replica, a client or an administrator is.
//! Source: RFC 8032; verification is `verify_strict` of ed25519-dalek, one signature at a time, because batch
//! verification may accept what single verification refuses and replicas must agree on what is valid.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::Signer;

use crate::Digest;

/// A secret signing key. Wiped when dropped; never printed, never encoded.
pub struct IdentityKey {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
    known_to: Option<Arc<Verifier>>,
}

impl IdentityKey {
    /// The key that `seed` stands for; the seed must come from a good source of chance and be kept secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> IdentityKey {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = PublicKey(key.verifying_key().to_bytes());
        IdentityKey { key, public, known_to: None }
    }

    /// The same key in a simulation: it signs as `verifier` wants it, see [`Verifier::simulated`].
    #[must_use]
    pub fn known_to(self, verifier: Arc<Verifier>) -> IdentityKey {
        IdentityKey { known_to: Some(verifier), ..self }
    }

    /// What others know this key by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a statement by its digest, whose tag says what kind of statement it is. About 14 us.
    #[must_use]
    pub fn sign(&self, statement: &Digest) -> Signature {
        match self.known_to.as_ref().and_then(|verifier| verifier.secret) {
            Some(secret) => simulated(&secret, &self.public, statement),
            None => Signature(self.key.sign(&statement.0).to_bytes()),
        }
    }
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityKey(of {:?})", self.public())
    }
}

/// An Ed25519 public key, as 32 bytes that may or may not be a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether `signature` is this key's over `statement`; false for keys that are no point. About 34 us.
    #[must_use]
    pub fn verify(&self, statement: &Digest, signature: &Signature) -> bool {
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(&statement.0, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    }
}

crate::hex::hex_bytes!(PublicKey, 32);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

crate::hex::hex_bytes!(Signature, 64);

/// Verifies identity signatures and remembers the last ones that were good, so that a request which arrives by
/// itself and again inside a proposal costs one verification. Shared by the threads of one machine.
#[derive(Debug)]
pub struct Verifier {
    known: Mutex<Known>,
    capacity: usize,
    /// In a simulation only.
    secret: Option<[u8; 32]>,
}

#[derive(Debug, Default)]
struct Known {
    good: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

impl Verifier {
    /// Remembers up to `capacity` good signatures, about 120 bytes each.
    #[must_use]
    pub fn new(capacity: usize) -> Verifier {
        Verifier { known: Mutex::default(), capacity, secret: None }
    }

    /// One for a simulation, where signer and verifier live together and curves would take most of the time: a
    /// signature is a hash under `secret`, which only keys that are [`IdentityKey::known_to`] it can make. What they signed
    /// is bound to key and statement as ever.
    #[must_use]
    pub fn simulated(secret: [u8; 32]) -> Verifier {
        Verifier { known: Mutex::default(), capacity: 0, secret: Some(secret) }
    }

    /// Whether `signature` is `key`'s over `statement`; the answer of [`PublicKey::verify`], sometimes sooner.
    #[must_use]
    pub fn verify(&self, key: &PublicKey, statement: &Digest, signature: &Signature) -> bool {
        if let Some(secret) = self.secret {
            return *signature == simulated(&secret, key, statement);
        }
        let memo = memo(key, statement, signature);
        if self.lock().good.contains(&memo) {
            return true;
        }
        let good = key.verify(statement, signature);
        if good {
            self.remember(memo);
        }
        good
    }

    fn remember(&self, memo: Digest) {
        let mut known = self.lock();
        if known.good.insert(memo) {
            known.order.push_back(memo);
            if known.order.len() > self.capacity
                && let Some(oldest) = known.order.pop_front()
            {
                known.good.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn memo(key: &PublicKey, statement: &Digest, signature: &Signature) -> Digest {
    Digest::plain(&[&key.0, &statement.0, &signature.0])
}

fn simulated(secret: &[u8; 32], key: &PublicKey, statement: &Digest) -> Signature {
    let hash = Digest::plain(&[secret, &key.0, &statement.0]);
    let mut bytes = [0; 64];
    bytes.chunks_mut(32).for_each(|half| half.copy_from_slice(&hash.0));
    Signature(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Digest {
        Digest::of("TEST", &[text.as_bytes()])
    }

    #[test]
    fn a_signature_holds_for_its_key_and_statement_only() {
        let (key, other) = (IdentityKey::from_seed(&[1; 32]), IdentityKey::from_seed(&[2; 32]));
        let signature = key.sign(&statement("a"));
        assert!(key.public().verify(&statement("a"), &signature));
        assert!(!key.public().verify(&statement("b"), &signature));
        assert!(!other.public().verify(&statement("a"), &signature));
    }

    #[test]
    fn the_memo_answers_as_verification_does_and_forgets_the_oldest() {
        let key = IdentityKey::from_seed(&[1; 32]);
        let verifier = Verifier::new(2);
        let good = key.sign(&statement("a"));
        for _ in 0..3 {
            assert!(verifier.verify(&key.public(), &statement("a"), &good));
            assert!(!verifier.verify(&key.public(), &statement("b"), &good));
        }
        for text in ["b", "c", "d"] {
            assert!(verifier.verify(&key.public(), &statement(text), &key.sign(&statement(text))));
        }
        assert_eq!(verifier.lock().good.len(), 2);
    }

    #[test]
    fn in_a_simulation_too_a_signature_holds_for_its_key_and_statement_only() {
        let verifier = Arc::new(Verifier::simulated([7; 32]));
        let key = |seed| IdentityKey::from_seed(&[seed; 32]).known_to(verifier.clone());
        let (key, other, outsider) = (key(1), key(2), IdentityKey::from_seed(&[1; 32]));
        let signature = key.sign(&statement("a"));
        assert!(verifier.verify(&key.public(), &statement("a"), &signature));
        assert!(!verifier.verify(&key.public(), &statement("b"), &signature));
        assert!(!verifier.verify(&other.public(), &statement("a"), &signature));
        assert!(!verifier.verify(&outsider.public(), &statement("a"), &outsider.sign(&statement("a"))));
    }

    #[test]
    fn bytes_that_are_no_key_verify_nothing() {
        let signature = IdentityKey::from_seed(&[1; 32]).sign(&statement("a"));
        assert!(!PublicKey([0xff; 32]).verify(&statement("a"), &signature));
    }

    #[test]
    fn a_secret_key_does_not_show_itself() {
        let text = format!("{:?}", IdentityKey::from_seed(&[7; 32]));
        assert!(!text.contains("07070707"), "{text}");
    }
}
