//! Encryption of shares to participants: a hashed Diffie-Hellman exchange between a dealer's ephemeral key and a
//! participant's key, whose shared point the participant can later reveal and prove.

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use crate::Digest;
use crate::curve::{Point, Scalar};

/// Opens the shares that dealers encrypt to one participant. Wiped when dropped; never printed. Fresh for each epoch:
/// with it and the transcript, anyone has the participant's share.
pub struct DecryptionKey(Scalar);

impl DecryptionKey {
    /// The key that `seed` stands for; the seed must come from a good source of chance and be kept secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> DecryptionKey {
        DecryptionKey(Scalar::derive("SMRCLOUD-DKG-DECRYPTION-KEY-V1", &[seed]))
    }

    /// What dealers encrypt to.
    #[must_use]
    pub fn public(&self) -> EncryptionKey {
        EncryptionKey(Point::generator().times(&self.0).encode())
    }

    pub(super) fn scalar(&self) -> &Scalar {
        &self.0
    }
}

impl std::fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecryptionKey(of {:?})", self.public())
    }
}

/// Where shares for one participant are encrypted to: 48 bytes that may or may not be a point of the curve. It comes
/// without a proof of possession; the text of [`crate::dkg`] says why none is needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct EncryptionKey(pub [u8; 48]);

crate::hex::hex_bytes!(EncryptionKey, 48);

impl EncryptionKey {
    /// Whether the bytes are a key: a point of prime order, not the identity. 70 us.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.point().is_some()
    }

    pub(super) fn point(&self) -> Option<Point> {
        Point::decode_key(&self.0)
    }
}

/// A point of G1 as it travels: 48 bytes that may or may not be one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct PointBytes(pub [u8; 48]);

crate::hex::hex_bytes!(PointBytes, 48);

/// Between whom a share travels, and in which ceremony.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) setup: Digest,
    pub(super) dealer: u16,
    pub(super) participant: u16,
}

impl Route {
    /// Encrypts or decrypts a share: the same operation. Nothing authenticates the result; it is checked against the
    /// dealer's commitment.
    pub(super) fn apply_stream(&self, shared: &Point, share: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let parts: [&[u8]; 4] =
            [&self.setup.0, &self.dealer.to_le_bytes(), &self.participant.to_le_bytes(), &shared.encode()];
        let stream = Zeroizing::new(Digest::of("SMRCLOUD-DKG-SHARE-V1", &parts).0);
        let mut applied = Zeroizing::new(*share);
        applied.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decryption_key_does_not_show_itself() {
        let key = DecryptionKey::from_seed(&[7; 32]);
        let secret = key.0.to_bytes();
        let text = format!("{key:?}");
        assert!(
            !text.contains("07070707") && !text.contains(&format!("{:02x}{:02x}", secret[0], secret[1])),
            "{text}"
        );
    }

    #[test]
    fn a_share_opens_on_its_own_route_only() {
        let route = Route { setup: Digest::default(), dealer: 1, participant: 2 };
        let shared = Point::generator();
        let sealed = route.apply_stream(&shared, &[9; 32]);
        assert_eq!(*route.apply_stream(&shared, &sealed), [9; 32]);
        for other in [
            Route { dealer: 2, participant: 1, ..route },
            Route { participant: 3, ..route },
            Route { setup: Digest([1; 32]), ..route },
        ] {
            assert_ne!(*other.apply_stream(&shared, &sealed), [9; 32]);
        }
    }
}
