//! Shares of one BLS12-381 key. Any `threshold` participants make the one signature that a client checks against
//! the one service key; fewer learn nothing and can sign nothing. Source: Boldyreva, PKC 2003.
//!
//! ```text
//!   KeyShare::sign -> SignatureShare --\
//!   KeyShare::sign -> SignatureShare ---> GroupKey::combine_verified -> ServiceSignature -> ServiceKey::verify
//! ```
//!
//! Signatures are unique: whichever participants signed, the bytes are the same. So anyone may combine, and a cached
//! signature stays valid when the shares change. The suite is the one clients' libraries know as
//! `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_`; the message is the 32 bytes of a digest, whose tag says what kind
//! of statement it is. Keys and signatures travel as bytes that may be wrong, and are checked where they are used.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use crate::Digest;
use crate::curve::{self, Point, Scalar, SharePoint};

/// The public key of a service, as 48 bytes that may or may not be a key. Survives every change of its shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ServiceKey(pub [u8; 48]);

crate::hex::hex_bytes!(ServiceKey, 48);

impl ServiceKey {
    /// Whether `signature` is the service's on `statement`; false for bytes that are no key or no signature. 1.3 ms,
    /// of which decoding and checking this key takes a twentieth, so it is not worth keeping a decoded one.
    #[must_use]
    pub fn verify(&self, statement: &Digest, signature: &ServiceSignature) -> bool {
        curve::verify(&self.0, &statement.0, &signature.0)
    }
}

/// Combined shares; all that a client checks. 96 bytes that may or may not be a signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct ServiceSignature(pub [u8; 96]);

crate::hex::hex_bytes!(ServiceSignature, 96);

/// One participant's part of a signature, as 96 bytes that may or may not be one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SignatureShare(pub [u8; 96]);

crate::hex::hex_bytes!(SignatureShare, 96);

/// What one participant's signature shares are checked against, as 48 bytes that may or may not be a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct SharePublicKey(pub [u8; 48]);

crate::hex::hex_bytes!(SharePublicKey, 48);

/// One participant's secret share of the service key. Wiped when dropped; never printed.
pub struct KeyShare {
    index: u16,
    secret: Scalar,
}

/// Length of [`KeyShare::to_secret_bytes`].
pub const KEY_SHARE_BYTES: usize = 34;

impl KeyShare {
    /// The share of participant `index`; none if the secret is zero, which signs nothing.
    pub(crate) fn new(index: u16, secret: Scalar) -> Option<KeyShare> {
        (*secret.to_bytes() != [0; 32]).then_some(KeyShare { index, secret })
    }

    /// Whose share it is, from 0.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// What others check its signature shares against.
    #[must_use]
    pub fn public(&self) -> SharePublicKey {
        SharePublicKey(Point::generator().times(&self.secret).encode())
    }

    /// Signs a statement by its digest. 0.4 ms.
    ///
    /// # Panics
    /// Never: a share is not zero.
    #[must_use]
    pub fn sign(&self, statement: &Digest) -> SignatureShare {
        SignatureShare(
            self.secret.sign(&statement.0).expect("a share is made from a secret that is not zero"),
        )
    }

    /// For sealed storage: the index as two bytes little endian, then the secret as 32 bytes big endian.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; KEY_SHARE_BYTES]> {
        let mut bytes = Zeroizing::new([0; KEY_SHARE_BYTES]);
        bytes[..2].copy_from_slice(&self.index.to_le_bytes());
        bytes[2..].copy_from_slice(&*self.secret.to_bytes());
        bytes
    }

    /// The share that [`KeyShare::to_secret_bytes`] wrote; none for any other bytes.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8]) -> Option<KeyShare> {
        let bytes: &[u8; KEY_SHARE_BYTES] = bytes.try_into().ok()?;
        let (index, secret) = bytes.split_first_chunk()?;
        KeyShare::new(u16::from_le_bytes(*index), Scalar::from_bytes(secret.first_chunk()?)?)
    }
}

impl std::fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyShare(of participant {})", self.index)
    }
}

/// The public side of one set of shares.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct GroupKey {
    /// How many different participants must sign. At least 1.
    pub threshold: u16,
    /// What their combined signatures are checked against.
    pub service_key: ServiceKey,
    /// By participant.
    pub share_keys: Vec<SharePublicKey>,
}

impl GroupKey {
    /// Whether `share` is that of participant `index` on `statement`; false for an index or for bytes that are
    /// nobody's. 1.3 ms.
    #[must_use]
    pub fn verify_share(&self, index: u16, statement: &Digest, share: &SignatureShare) -> bool {
        let key = self.share_keys.get(usize::from(index));
        key.is_some_and(|key| curve::verify(&key.0, &statement.0, &share.0))
    }

    /// Combines the first `threshold` of `shares`, without verifying what comes of it. A bad share gives a bad
    /// signature; a good signature says nothing about single shares. 0.6 ms for a threshold of 2, 1.4 ms for one of 6.
    ///
    /// # Errors
    /// If these are not enough shares of different participants, or one is no share at all.
    pub fn combine(&self, shares: &[(u16, SignatureShare)]) -> Result<ServiceSignature, CombineError> {
        let threshold = usize::from(self.threshold.max(1));
        let Some(shares) = shares.get(..threshold) else {
            return Err(CombineError::TooFew { shares: shares.len(), threshold });
        };
        let mut points: Vec<(u16, SharePoint)> = Vec::with_capacity(threshold);
        for (index, share) in shares {
            if usize::from(*index) >= self.share_keys.len() {
                return Err(CombineError::NoParticipant(*index));
            }
            if points.iter().any(|(earlier, _)| earlier == index) {
                return Err(CombineError::Repeated(*index));
            }
            points.push((*index, SharePoint::decode(&share.0).ok_or(CombineError::Malformed(*index))?));
        }
        let signature = curve::interpolate(&points).expect("there are shares, and of different participants");
        Ok(ServiceSignature(signature))
    }

    /// Combines shares into a signature that is verified. Good shares, which are nearly all, cost one combination and
    /// one verification; only if that fails is each share checked, the culprits named, and the signature made from
    /// the others if they are enough. The first share of a participant counts; those of nobody are ignored.
    ///
    /// # Errors
    /// If fewer than `threshold` shares are good.
    pub fn combine_verified(
        &self,
        statement: &Digest,
        shares: &[(u16, SignatureShare)],
    ) -> Result<Combined, BadShares> {
        let mut first: BTreeMap<u16, SignatureShare> = BTreeMap::new();
        for (index, share) in shares.iter().filter(|(index, _)| usize::from(*index) < self.share_keys.len()) {
            first.entry(*index).or_insert(*share);
        }
        let mut shares: Vec<(u16, SignatureShare)> = first.into_iter().collect();
        let threshold = usize::from(self.threshold.max(1));
        if shares.len() >= threshold
            && let Some(signature) = self.combine_good(statement, &shares)
        {
            return Ok(Combined { signature, culprits: Vec::new() });
        }
        let mut culprits = Vec::new();
        shares.retain(|(index, share)| {
            let good = self.verify_share(*index, statement, share);
            if !good {
                culprits.push(*index);
            }
            good
        });
        match self.combine_good(statement, &shares) {
            Some(signature) => Ok(Combined { signature, culprits }),
            None => Err(BadShares { good: shares.len(), threshold, culprits }),
        }
    }

    fn combine_good(&self, statement: &Digest, shares: &[(u16, SignatureShare)]) -> Option<ServiceSignature> {
        let signature = self.combine(shares).ok()?;
        let trusts = crate::known_bugs::COMBINES_UNVERIFIED.is_on();
        (trusts || self.service_key.verify(statement, &signature)).then_some(signature)
    }
}

/// A verified signature, and who tried to spoil it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Combined {
    /// The service's.
    pub signature: ServiceSignature,
    /// Participants whose shares were bad, ascending. Empty if the first combination held: then bad shares among those
    /// that were not needed go unnoticed.
    pub culprits: Vec<u16>,
}

/// Why shares cannot be combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CombineError {
    /// Fewer shares than the threshold.
    #[error("{shares} shares, but {threshold} are needed")]
    TooFew {
        /// How many there are.
        shares: usize,
        /// How many it takes.
        threshold: usize,
    },
    /// An index that is nobody's.
    #[error("there is no participant {0}")]
    NoParticipant(u16),
    /// Two shares of one participant.
    #[error("two shares of participant {0}")]
    Repeated(u16),
    /// Bytes that are no point of the group.
    #[error("what participant {0} sent is no signature share")]
    Malformed(u16),
}

/// Too few of the shares were good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{good} good shares, but {threshold} are needed; bad ones came from {culprits:?}")]
pub struct BadShares {
    /// How many were good.
    pub good: usize,
    /// How many it takes.
    pub threshold: usize,
    /// Whose were bad, ascending.
    pub culprits: Vec<u16>,
}

#[cfg(test)]
mod tests;
