//! Proofs that somebody knows the one scalar that leads from some points to others, without showing it. With one pair
//! of points that is Schnorr's proof of knowledge; with two, Chaum and Pedersen's proof that both have the same
//! logarithm. Non-interactive by hashing everything public, the statement first.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::Digest;
use crate::curve::{Point, Scalar};

/// A proof, as two scalars of 32 bytes, big endian, that may or may not be any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// The hash of the statement, the points, and the commitment that the response answers to.
    pub challenge: [u8; 32],
    /// The answer.
    pub response: [u8; 32],
}

/// `image = secret * base`.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) base: Point,
    pub(super) image: Point,
}

impl Proof {
    /// Proves knowledge of `secret`, which leads from the base to the image of every pair, as part of `statement`.
    /// Deterministic; the nonce depends on all that the challenge does, so no nonce serves two challenges.
    pub(super) fn make(secret: &Scalar, statement: &Digest, pairs: &[Pair]) -> Proof {
        let points: Vec<[u8; 48]> =
            pairs.iter().flat_map(|pair| [pair.base.encode(), pair.image.encode()]).collect();
        let mut parts: Vec<&[u8]> = points.iter().map(<[u8; 48]>::as_slice).collect();
        let secret_bytes = secret.to_bytes();
        parts.push(&statement.0);
        parts.push(&*secret_bytes);
        let nonce = Scalar::derive("SMRCLOUD-DKG-NONCE-V1", &parts);
        let challenge = challenge(statement, pairs, &Pair::times_all(pairs, &nonce));
        let response = nonce.plus_product(&challenge, secret);
        Proof { challenge: *challenge.to_bytes(), response: *response.to_bytes() }
    }

    /// Whether whoever made this knew the scalar, and meant `statement`.
    pub(super) fn holds(&self, statement: &Digest, pairs: &[Pair]) -> bool {
        let (Some(claimed), Some(response)) =
            (Scalar::from_bytes(&self.challenge), Scalar::from_bytes(&self.response))
        else {
            return false;
        };
        let commitments: Vec<Point> =
            pairs.iter().map(|pair| pair.base.times(&response).minus(&pair.image.times(&claimed))).collect();
        challenge(statement, pairs, &commitments).to_bytes() == claimed.to_bytes()
    }
}

impl Pair {
    fn times_all(pairs: &[Pair], nonce: &Scalar) -> Vec<Point> {
        pairs.iter().map(|pair| pair.base.times(nonce)).collect()
    }
}

fn challenge(statement: &Digest, pairs: &[Pair], commitments: &[Point]) -> Scalar {
    let points: Vec<[u8; 48]> = (pairs.iter().zip(commitments))
        .flat_map(|(pair, commitment)| [pair.base.encode(), pair.image.encode(), commitment.encode()])
        .collect();
    let statement = std::iter::once(statement.0.as_slice());
    let parts: Vec<&[u8]> = statement.chain(points.iter().map(<[u8; 48]>::as_slice)).collect();
    Scalar::derive("SMRCLOUD-DKG-CHALLENGE-V1", &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(base: Point, secret: &Scalar) -> Pair {
        Pair { base, image: base.times(secret) }
    }

    #[test]
    fn a_proof_holds_for_its_statement_and_its_points_only() {
        let (secret, other) = (Scalar::derive("TEST", &[b"a"]), Scalar::derive("TEST", &[b"b"]));
        let (statement, g) = (Digest::of("TEST", &[]), Point::generator());
        let pairs = [pair(g, &secret), pair(g.times(&other), &secret)];
        let proof = Proof::make(&secret, &statement, &pairs);
        assert!(proof.holds(&statement, &pairs));
        assert!(!proof.holds(&Digest::default(), &pairs));
        assert!(!proof.holds(&statement, &pairs[..1]));
        assert!(!proof.holds(&statement, &[pairs[0], pair(g.times(&other), &other)]));
        let unequal = [pairs[0], pair(g.times(&other), &other)];
        assert!(!Proof::make(&secret, &statement, &unequal).holds(&statement, &unequal));
    }

    #[test]
    fn a_proof_with_any_byte_flipped_does_not_hold() {
        let secret = Scalar::derive("TEST", &[b"a"]);
        let (statement, pairs) = (Digest::default(), [pair(Point::generator(), &secret)]);
        let proof = Proof::make(&secret, &statement, &pairs);
        for byte in 0..32 {
            let (mut first, mut second) = (proof, proof);
            first.challenge[byte] ^= 1;
            second.response[byte] ^= 0x80;
            assert!(!first.holds(&statement, &pairs) && !second.holds(&statement, &pairs), "byte {byte}");
        }
    }
}
