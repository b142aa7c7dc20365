use blst::BLST_ERROR;

use super::*;
use crate::curve::{Polynomial, public_share_of};

/// A key with a dealer, for tests of what comes after key generation.
fn dealt(participants: u16, threshold: u16) -> (GroupKey, Vec<KeyShare>) {
    let secret = Polynomial((0..threshold).map(|k| Scalar::derive("TEST", &[&k.to_le_bytes()])).collect());
    let public: Vec<Point> = secret.0.iter().map(|c| Point::generator().times(c)).collect();
    let shares = (0..participants).map(|i| KeyShare::new(i, secret.share_of(i)).unwrap());
    let group = GroupKey {
        threshold,
        service_key: ServiceKey(public[0].encode()),
        share_keys: (0..participants).map(|i| SharePublicKey(public_share_of(&public, i).encode())).collect(),
    };
    (group, shares.collect())
}

fn statement() -> Digest {
    Digest::of("TEST", &[b"statement"])
}

fn signed(shares: &[KeyShare], by: &[u16]) -> Vec<(u16, SignatureShare)> {
    by.iter().map(|i| (*i, shares[usize::from(*i)].sign(&statement()))).collect()
}

/// As a client's library does it, with nothing of this crate.
fn client_accepts(key: &ServiceKey, message: &[u8], signature: &ServiceSignature) -> bool {
    let key = blst::min_pk::PublicKey::key_validate(&key.0);
    let signature = blst::min_pk::Signature::sig_validate(&signature.0, true);
    let (Ok(key), Ok(signature)) = (key, signature) else {
        return false;
    };
    let suite = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
    signature.verify(false, message, suite, &[], &key, false) == BLST_ERROR::BLST_SUCCESS
}

#[test]
fn any_threshold_of_shares_makes_the_one_signature_that_any_library_accepts() {
    for (participants, threshold) in [(1, 1), (4, 2), (7, 3)] {
        let (group, shares) = dealt(participants, threshold);
        let first: Vec<u16> = (0..threshold).collect();
        let last: Vec<u16> = (participants - threshold..participants).rev().collect();
        let signature = group.combine(&signed(&shares, &first)).unwrap();
        assert_eq!(group.combine(&signed(&shares, &last)), Ok(signature));
        assert!(group.service_key.verify(&statement(), &signature));
        assert!(client_accepts(&group.service_key, &statement().0, &signature));
        assert!(!client_accepts(&group.service_key, b"another statement", &signature));
    }
}

#[test]
fn fewer_shares_than_the_threshold_sign_nothing() {
    let (group, shares) = dealt(7, 3);
    let two = signed(&shares, &[1, 5]);
    assert_eq!(group.combine(&two), Err(CombineError::TooFew { shares: 2, threshold: 3 }));
    assert_eq!(
        group.combine_verified(&statement(), &two),
        Err(BadShares { good: 2, threshold: 3, culprits: vec![] })
    );
    let pretending = GroupKey { threshold: 2, ..group };
    let signature = pretending.combine(&two).unwrap();
    assert!(!client_accepts(&pretending.service_key, &statement().0, &signature));
}

#[test]
fn shares_that_cannot_be_combined_are_refused_with_the_participant() {
    let (group, shares) = dealt(4, 2);
    let good = signed(&shares, &[0, 1]);
    assert_eq!(group.combine(&[good[0], good[0]]), Err(CombineError::Repeated(0)));
    assert_eq!(group.combine(&[good[0], (4, good[1].1)]), Err(CombineError::NoParticipant(4)));
    let identity = SignatureShare(std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 }));
    for bad in [SignatureShare([0; 96]), SignatureShare([0xff; 96]), identity] {
        assert_eq!(group.combine(&[good[0], (1, bad)]), Err(CombineError::Malformed(1)));
    }
}

#[test]
fn a_share_is_good_for_its_participant_and_statement_only() {
    let (group, shares) = dealt(4, 2);
    let share = shares[2].sign(&statement());
    assert!(group.verify_share(2, &statement(), &share));
    assert!(!group.verify_share(1, &statement(), &share));
    assert!(!group.verify_share(2, &Digest::default(), &share));
    assert!(!group.verify_share(4, &statement(), &share));
    assert_eq!(group.share_keys[2], shares[2].public());
}

#[test]
fn liars_are_named_and_the_others_still_sign() {
    let (group, shares) = dealt(7, 3);
    let right = group.combine(&signed(&shares, &[0, 1, 2])).unwrap();
    let mut mixed = signed(&shares, &[6, 3, 0, 5, 1]);
    mixed[0].1 = SignatureShare([7; 96]);
    mixed[2].1 = shares[1].sign(&statement());
    mixed.push((40, SignatureShare([0; 96])));
    let combined = group.combine_verified(&statement(), &mixed).unwrap();
    assert_eq!(combined, Combined { signature: right, culprits: vec![0, 6] });
    mixed.retain(|(index, _)| *index != 5);
    assert_eq!(
        group.combine_verified(&statement(), &mixed),
        Err(BadShares { good: 2, threshold: 3, culprits: vec![0, 6] })
    );
}

#[test]
fn one_participant_repeating_itself_counts_once() {
    let (group, shares) = dealt(4, 2);
    let one = signed(&shares, &[3, 3, 3]);
    assert_eq!(
        group.combine_verified(&statement(), &one),
        Err(BadShares { good: 1, threshold: 2, culprits: vec![] })
    );
}

#[test]
fn a_signature_or_key_with_a_flipped_bit_is_refused() {
    let (group, shares) = dealt(4, 2);
    let signature = group.combine(&signed(&shares, &[0, 1])).unwrap();
    for byte in 0..96 {
        let mut flipped = signature;
        flipped.0[byte] ^= 1 << (byte % 8);
        assert!(!group.service_key.verify(&statement(), &flipped), "byte {byte} of the signature");
    }
    for byte in 0..48 {
        let mut flipped = group.service_key;
        flipped.0[byte] ^= 1 << (byte % 8);
        assert!(!flipped.verify(&statement(), &signature), "byte {byte} of the key");
    }
    for bit in 0..8 {
        let mut flipped = signature;
        flipped.0[0] ^= 1 << bit;
        assert!(!group.service_key.verify(&statement(), &flipped), "bit {bit} of the flags");
    }
}

#[test]
fn the_identity_is_neither_key_nor_signature() {
    let key = ServiceKey(Point::identity().encode());
    let signature = ServiceSignature(std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 }));
    assert!(!key.verify(&statement(), &signature));
}

#[test]
fn a_share_reads_back_from_sealed_storage_and_does_not_show_itself() {
    let (_, shares) = dealt(4, 2);
    let bytes = shares[3].to_secret_bytes();
    let read = KeyShare::from_secret_bytes(&*bytes).unwrap();
    assert_eq!((read.index(), read.public()), (3, shares[3].public()));
    assert!(KeyShare::from_secret_bytes(&bytes[1..]).is_none());
    assert!(KeyShare::from_secret_bytes(&[0; KEY_SHARE_BYTES]).is_none());
    assert!(KeyShare::from_secret_bytes(&[0xff; KEY_SHARE_BYTES]).is_none());
    assert_eq!(format!("{read:?}"), "KeyShare(of participant 3)");
}

#[test]
fn a_group_key_without_a_threshold_combines_nothing_out_of_nothing() {
    let (group, shares) = dealt(4, 2);
    let broken = GroupKey { threshold: 0, ..group };
    assert!(broken.combine(&[]).is_err());
    assert!(broken.combine_verified(&statement(), &[]).is_err());
    assert!(broken.combine_verified(&statement(), &signed(&shares, &[0])).is_err());
}
