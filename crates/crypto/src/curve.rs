//! BLS12-381: the only module that computes with scalars and points. Everything outside it sees bytes or the two
//! types below. Source of the curve and of the signature suite: draft-irtf-cfrg-bls-signature-05, minimal public
//! keys (48 bytes in G1, signatures of 96 bytes in G2); the arithmetic is blst's.
//!
//! Scalars are written as 32 bytes big endian and points compressed, as the suite does. Multiplications by scalars
//! take constant time, except those that say they are for public values. A scalar wipes itself when it is dropped;
//! that reaches what is stored, not every copy a compiler may leave in a register or on a stack.

use std::collections::BTreeSet;

use blst::min_pk::{PublicKey, SecretKey, Signature};
use blst::{BLST_ERROR, MultiPoint};
use blstrs::G1Projective;
use group::Group;
use group::ff::Field;
use zeroize::Zeroizing;

use crate::digest::Hasher;

/// The suite's name, which is mixed into every message: the one that Ethereum uses and most libraries offer.
const SUITE: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// An element of the field of exponents. Wiped when dropped, because most are secret.
pub(crate) struct Scalar(blstrs::Scalar);

impl Scalar {
    /// The sum of nothing.
    pub(crate) fn zero() -> Scalar {
        Scalar(blstrs::Scalar::ZERO)
    }

    /// The scalar that `bytes`, big endian, are the one encoding of.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Scalar> {
        Option::from(blstrs::Scalar::from_bytes_be(bytes)).map(Scalar)
    }

    /// The 32 bytes, big endian.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes_be())
    }

    /// A scalar that looks random to whoever does not know all of `parts`: 512 bits of tagged SHA-256 reduced, so its
    /// distance from uniform is below 2^-256.
    pub(crate) fn derive(tag: &str, parts: &[&[u8]]) -> Scalar {
        let mut wide = Zeroizing::new([0u8; 64]);
        for (half, bytes) in wide.chunks_mut(32).enumerate() {
            let mut hasher = Hasher::new(tag);
            parts.iter().for_each(|part| hasher.part(part));
            hasher.part(if half == 0 { b"high" } else { b"low" });
            bytes.copy_from_slice(&hasher.finish().0);
        }
        // Eight bytes at a time, most significant first: each piece is a scalar without any reduction.
        let base = blstrs::Scalar::from(1 << 32) * blstrs::Scalar::from(1 << 32);
        let pieces =
            wide.chunks(8).map(|piece| piece.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
        Scalar(pieces.fold(blstrs::Scalar::ZERO, |sum, piece| sum * base + blstrs::Scalar::from(piece)))
    }

    /// `self + other`.
    pub(crate) fn plus(&self, other: &Scalar) -> Scalar {
        Scalar(self.0 + other.0)
    }

    /// `self + factor * other`.
    pub(crate) fn plus_product(&self, factor: &Scalar, other: &Scalar) -> Scalar {
        Scalar(self.0 + factor.0 * other.0)
    }

    /// A BLS signature over `message`; none under zero, which is no key.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 96]> {
        let key = SecretKey::from_bytes(&*self.to_bytes()).ok()?;
        Some(key.sign(message, SUITE, &[]).to_bytes())
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        self.0 = blstrs::Scalar::ZERO;
        zeroize::optimization_barrier(&self.0);
    }
}

/// A polynomial over the scalars, lowest coefficient first.
pub(crate) struct Polynomial(pub(crate) Vec<Scalar>);

impl Polynomial {
    /// The value for `participant`, which is that at `participant + 1`: at 0 stands the secret.
    pub(crate) fn share_of(&self, participant: u16) -> Scalar {
        let x = Scalar(place_of(participant));
        self.0.iter().rev().fold(Scalar::zero(), |sum, coefficient| coefficient.plus_product(&sum, &x))
    }
}

/// A point of G1, the group of public keys. May be the identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point(G1Projective);

impl Point {
    /// The point that `bytes` are the one encoding of, if it is on the curve and in the group of prime order. 70 us.
    pub(crate) fn decode(bytes: &[u8; 48]) -> Option<Point> {
        Option::from(blstrs::G1Affine::from_compressed(bytes))
            .map(|point: blstrs::G1Affine| Point(point.into()))
    }

    /// As [`Point::decode`], but none for the identity, under which every key and every secret would be known.
    pub(crate) fn decode_key(bytes: &[u8; 48]) -> Option<Point> {
        Point::decode(bytes).filter(|point| !point.is_identity())
    }

    pub(crate) fn encode(&self) -> [u8; 48] {
        self.0.to_compressed()
    }

    pub(crate) fn identity() -> Point {
        Point(G1Projective::identity())
    }

    pub(crate) fn generator() -> Point {
        Point(G1Projective::generator())
    }

    pub(crate) fn is_identity(&self) -> bool {
        self.0.is_identity().into()
    }

    pub(crate) fn plus(&self, other: &Point) -> Point {
        Point(self.0 + other.0)
    }

    pub(crate) fn minus(&self, other: &Point) -> Point {
        Point(self.0 - other.0)
    }

    /// `scalar * self`, in constant time.
    pub(crate) fn times(&self, scalar: &Scalar) -> Point {
        Point(self.0 * scalar.0)
    }

    /// `factor * self` by doubling and adding; for public values.
    fn times_small(&self, factor: u32) -> Point {
        let bits = (0..32 - factor.leading_zeros()).rev();
        let product = bits.fold(G1Projective::identity(), |sum, bit| {
            let doubled = sum.double();
            if factor >> bit & 1 == 1 { doubled + self.0 } else { doubled }
        });
        Point(product)
    }
}

/// The public counterpart of [`Polynomial::share_of`]: what the share of `participant` times the generator must be,
/// given the coefficients times the generator.
pub(crate) fn public_share_of(coefficients: &[Point], participant: u16) -> Point {
    let x = u32::from(participant) + 1;
    coefficients.iter().rev().fold(Point::identity(), |sum, coefficient| sum.times_small(x).plus(coefficient))
}

/// Whether `signature` is over `message` under `key`; false for bytes that are no point of the right group, and
/// under the identity. 1.3 ms.
pub(crate) fn verify(key: &[u8; 48], message: &[u8], signature: &[u8; 96]) -> bool {
    let (Ok(key), Ok(signature)) = (PublicKey::uncompress(key), Signature::uncompress(signature)) else {
        return false;
    };
    signature.verify(true, message, SUITE, &[], &key, true) == BLST_ERROR::BLST_SUCCESS
}

/// A share of a signature, decoded: a point of G2 of prime order, not the identity.
#[derive(Clone, Copy)]
pub(crate) struct SharePoint(Signature);

impl SharePoint {
    /// The point that `bytes` are the one encoding of. 0.1 ms.
    pub(crate) fn decode(bytes: &[u8; 96]) -> Option<SharePoint> {
        let point = Signature::uncompress(bytes).ok()?;
        point.validate(true).ok()?;
        Some(SharePoint(point))
    }
}

/// The signature at 0 of the polynomial through `shares`: Lagrange in the exponent, for public values. None without
/// shares or if two are of the same participant.
pub(crate) fn interpolate(shares: &[(u16, SharePoint)]) -> Option<[u8; 96]> {
    let distinct: BTreeSet<u16> = shares.iter().map(|(index, _)| *index).collect();
    if shares.is_empty() || distinct.len() != shares.len() {
        return None;
    }
    if let [(_, SharePoint(single))] = shares {
        return Some(single.to_bytes());
    }
    let mut weights = Vec::with_capacity(shares.len() * 32);
    for (own, _) in shares {
        let (mut above, mut below) = (blstrs::Scalar::ONE, blstrs::Scalar::ONE);
        for (other, _) in shares.iter().filter(|(other, _)| other != own) {
            above *= place_of(*other);
            below *= place_of(*other) - place_of(*own);
        }
        let weight = above * Option::<blstrs::Scalar>::from(below.invert())?;
        weights.extend_from_slice(&weight.to_bytes_le());
    }
    let points: Vec<Signature> = shares.iter().map(|(_, SharePoint(point))| *point).collect();
    Some(points.mult(&weights, SCALAR_BITS).to_signature().to_bytes())
}

/// Bits of the order of the groups.
const SCALAR_BITS: usize = 255;

/// Where the polynomial has the share of `participant`.
fn place_of(participant: u16) -> blstrs::Scalar {
    blstrs::Scalar::from(u64::from(participant) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Scalar {
        Scalar::from_bytes(&crate::hex::read(text).unwrap()).unwrap()
    }

    #[test]
    fn signatures_are_those_of_the_suite() {
        // From the test vectors of the Ethereum consensus layer, bls12-381-tests, sign.
        let key = scalar("328388aff0d4a5b7dc9205abd374e7e98f3cd9f3418edb4eafda5fb16473d216");
        let expected: [u8; 96] = crate::hex::read(concat!(
            "ae82747ddeefe4fd64cf9cedb9b04ae3e8a43420cd255e3c7cd06a8d88b7c7f8638543719981c5d16fa3527c468c25f0",
            "026704a6951bde891360c7e8d12ddee0559004ccdbe6046b55bae1b257ee97f7cdb955773d7cf29adf3ccbb9975e4eb9",
        ))
        .unwrap();
        assert_eq!(key.sign(&[0xab; 32]), Some(expected));
        let public = Point::generator().times(&key).encode();
        assert!(verify(&public, &[0xab; 32], &expected));
        assert!(!verify(&public, &[0xac; 32], &expected));
    }

    #[test]
    fn scalars_have_one_encoding() {
        // The order of the groups, big endian, would be another zero.
        let order = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001";
        assert!(Scalar::from_bytes(&crate::hex::read(order).unwrap()).is_none());
        let derived = Scalar::derive("TEST", &[b"x"]);
        assert_eq!(Scalar::from_bytes(&derived.to_bytes()).map(|s| s.to_bytes()), Some(derived.to_bytes()));
        assert_ne!(derived.to_bytes(), Scalar::derive("TEST", &[b"y"]).to_bytes());
        assert!(Scalar::zero().sign(b"").is_none());
    }

    #[test]
    fn public_shares_are_the_shares_in_public() {
        let secret = Polynomial((0..3u8).map(|k| Scalar::derive("TEST", &[&[k]])).collect());
        let public: Vec<Point> = secret.0.iter().map(|c| Point::generator().times(c)).collect();
        for participant in [0, 1, 6, 255, u16::MAX] {
            let expected = Point::generator().times(&secret.share_of(participant));
            assert!(public_share_of(&public, participant) == expected, "{participant}");
        }
    }

    #[test]
    fn points_outside_the_group_and_second_encodings_are_refused() {
        let identity = Point::identity().encode();
        assert!(Point::decode(&identity).is_some() && Point::decode_key(&identity).is_none());
        let mut stained = identity;
        stained[47] = 1;
        assert!(Point::decode(&stained).is_none());
        assert!(Point::decode(&[0xff; 48]).is_none());
        // On the curve, as its decoding without the check of the group shows, but of another order.
        let mut outside = [0u8; 48];
        outside[0] = 0x80;
        outside[47] = 4;
        assert!(bool::from(blstrs::G1Affine::from_compressed_unchecked(&outside).is_some()));
        assert!(Point::decode(&outside).is_none());
    }
}
