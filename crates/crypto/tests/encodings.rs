//! The encodings of everything here that is signed, hashed, sent or stored stay what they are; see `encodings.txt`.

use std::path::Path;

use smr_crypto::dkg::{Assurance, Ceremony, Command, Dealing, DecryptionKey, Progress, Setup};
use smr_crypto::threshold::SignatureShare;
use smr_crypto::{Digest, IdentityKey, merkle};
use smr_mutate::pins::Pins;

fn hash(bytes: &[u8]) -> String {
    Digest::plain(&[bytes]).to_string()
}

#[test]
fn encodings_are_those_of_before() {
    let mut pins = Pins::new();
    let statement = Digest::of("PIN", &[b"statement"]);
    let identity = IdentityKey::from_seed(&[1; 32]);
    pins.add("digest.tagged", &statement, hash);
    pins.add("digest.plain", &Digest::plain(&[b"a", b"b"]), hash);
    pins.add("digest.of-value", &Digest::of_value("PIN", &(7u64, vec![1u8, 2])), hash);
    pins.add("keys.public", &identity.public(), hash);
    pins.add("keys.signature", &identity.sign(&statement), hash);

    let leaves: Vec<Digest> = (0..5u8).map(|leaf| merkle::leaf(&[leaf])).collect();
    let tree = merkle::Tree::new(leaves);
    pins.add("merkle.root-of-5", &tree.root(), hash);
    pins.add("merkle.root-of-none", &merkle::Tree::new(Vec::new()).root(), hash);
    pins.add("merkle.path-2-of-5", &tree.path(2), hash);
    pins.add("merkle.path-4-of-5", &tree.path(4), hash);

    let keys: Vec<DecryptionKey> = (1..=4).map(|seed| DecryptionKey::from_seed(&[seed; 32])).collect();
    let setup = Setup {
        context: Digest::of("PIN", &[b"context"]),
        threshold: 2,
        encryption_keys: keys.iter().map(DecryptionKey::public).collect(),
        dealings: 3,
        assurance: Assurance::Confirmed(3),
    };
    pins.add("dkg.setup", &setup, hash);
    let mut ceremony = Ceremony::new(setup.clone());
    pins.add("dkg.ceremony.empty", &ceremony, hash);
    for dealer in 0..3 {
        let mut dealing = Dealing::make(&setup, dealer, &[20 + u8::try_from(dealer).expect("few"); 32]);
        if dealer == 2 {
            dealing.shares[0][31] ^= 1;
        }
        let command = Command::Deal(dealing);
        pins.add(&format!("dkg.command.deal-{dealer}"), &command, hash);
        ceremony.apply(dealer, command).expect("a dealing");
    }
    pins.add("dkg.ceremony.dealt", &ceremony, hash);
    for (me, key) in (0..3).zip(&keys) {
        let command = Command::Confirm(ceremony.confirmation(me, key));
        pins.add(&format!("dkg.command.confirm-{me}"), &command, hash);
        ceremony.apply(me, command).expect("a confirmation");
    }
    pins.add("dkg.command.close", &Command::Close, hash);
    pins.add("dkg.ceremony.confirmed", &ceremony, hash);
    let closed = ceremony.apply(0, Command::Close).expect("enough have confirmed");
    let Progress::Closed(outcome) = closed else { panic!("{closed:?}") };
    pins.add("dkg.ceremony.closed", &ceremony, hash);
    pins.add("dkg.outcome", &outcome, hash);
    pins.add("threshold.group-key", &outcome.group, hash);
    pins.add("threshold.service-key", &outcome.group.service_key, hash);

    let shares: Vec<(u16, SignatureShare)> = (0..2)
        .map(|me| (me, ceremony.key_share(me, &keys[usize::from(me)]).expect("a share").sign(&statement)))
        .collect();
    pins.add("threshold.share", &shares[0].1, hash);
    let combined = outcome.group.combine_verified(&statement, &shares).expect("two good shares");
    pins.add("threshold.signature", &combined.signature, hash);
    let share = ceremony.key_share(1, &keys[1]).expect("a share");
    pins.add_bytes("threshold.key-share", &*share.to_secret_bytes(), hash);
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encodings.txt"));
}
