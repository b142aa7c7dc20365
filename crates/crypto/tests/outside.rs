//! Keys, proofs and commands of key generation that somebody changed: nothing panics, nobody is wronged, and nothing
//! that is not a signature passes for one.

use smr_crypto::dkg::{Assurance, Ceremony, Command, Dealing, DecryptionKey, Phase, Reason, Setup};
use smr_crypto::threshold::{GroupKey, KeyShare, ServiceSignature, SignatureShare};
use smr_crypto::{Digest, IdentityKey, PublicKey, Signature, merkle};
use smr_mutate::{Dice, Encoding, runs};

/// Executions of what computes with points, which takes a millisecond each, in a usual run.
const EXECUTIONS: u64 = 400;

struct Cast {
    setup: Setup,
    keys: Vec<DecryptionKey>,
}

impl Cast {
    fn new() -> Cast {
        let keys: Vec<DecryptionKey> = (1..=4).map(|seed| DecryptionKey::from_seed(&[seed; 32])).collect();
        let encryption_keys = keys.iter().map(DecryptionKey::public).collect();
        let context = Digest::of("TEST", &[b"context"]);
        Cast {
            setup: Setup {
                context,
                threshold: 2,
                encryption_keys,
                dealings: 3,
                assurance: Assurance::Confirmed(3),
            },
            keys,
        }
    }

    fn deal(&self, dealer: u16) -> Command {
        Command::Deal(Dealing::make(&self.setup, dealer, &[50 + u8::try_from(dealer).expect("few"); 32]))
    }

    fn dealt(&self) -> Ceremony {
        let mut ceremony = Ceremony::new(self.setup.clone());
        (0..3).for_each(|dealer| drop(ceremony.apply(dealer, self.deal(dealer)).expect("a dealing")));
        ceremony
    }

    fn finish(&self, ceremony: &mut Ceremony) -> Option<GroupKey> {
        for (me, key) in (0..).zip(&self.keys) {
            let confirm = ceremony.confirmation(me, key);
            // Whoever was spoken for has confirmed already.
            let _ = ceremony.apply(me, Command::Confirm(confirm));
        }
        let _ = ceremony.apply(0, Command::Close);
        ceremony.closed().map(|outcome| outcome.group.clone())
    }
}

/// Participant 3 says what it likes, before and after the cut.
#[test]
fn no_command_of_one_participant_breaks_key_generation_or_wrongs_another() {
    let cast = Cast::new();
    let mut said: Vec<Command> = (0..4).map(|dealer| cast.deal(dealer)).collect();
    let dealt = cast.dealt();
    said.extend((0..).zip(&cast.keys).map(|(me, key)| Command::Confirm(dealt.confirmation(me, key))));
    // With another's key all shares seem bad, so there is something to complain about.
    said.push(Command::Confirm(dealt.confirmation(3, &cast.keys[1])));
    said.push(Command::Close);
    let corpus: Vec<Encoding> = said.iter().map(Encoding::of).collect();
    let mut dice = Dice::new(runs::seed());
    let (mut read, mut applied) = (0u64, 0u64);
    let reads = |bytes: &[u8]| borsh::from_slice::<Command>(bytes).is_ok();
    let mut counted = runs::Counted::new("commands of key generation");
    for execution in 0..runs::executions(EXECUTIONS) {
        counted.one();
        let bytes = dice.pick(&corpus).expect("some").wild(&corpus, &mut dice.clone(), reads);
        dice.draw();
        let Ok(command) = borsh::from_slice::<Command>(&bytes) else { continue };
        assert!(borsh::to_vec(&command).expect("memory") == bytes, "accepted in two encodings");
        read += 1;
        let mut ceremony =
            if dice.draw() & 1 == 1 { cast.dealt() } else { Ceremony::new(cast.setup.clone()) };
        let before = ceremony.clone();
        match ceremony.apply(3, command) {
            Ok(_) => applied += 1,
            Err(_) => {
                assert!(ceremony == before, "execution {execution}: refused, but something has changed");
            }
        }
        for dealer in 0..3 {
            if ceremony.phase() == Phase::Dealing {
                let _ = ceremony.apply(dealer, cast.deal(dealer));
            }
        }
        let again = borsh::from_slice::<Ceremony>(&borsh::to_vec(&ceremony).expect("memory"));
        assert!(again.is_ok_and(|again| again == ceremony), "execution {execution}: does not read back");
        if dice.below(8) == 0 {
            let key = cast.finish(&mut ceremony);
            assert!(key.is_some(), "execution {execution}: no key: {}", ceremony.progress());
            let outcome = ceremony.closed().expect("it has a key");
            let wronged = |(who, _): &&(u16, Reason)| *who != 3;
            assert!(outcome.excluded.iter().find(wronged).is_none(), "{:?}", outcome.excluded);
            for (me, key) in (0..3).zip(&cast.keys) {
                assert!(ceremony.key_share(me, key).is_ok(), "execution {execution}: {me} has no share");
            }
        }
    }
    println!("key generation: {read} commands read, {applied} applied");
    assert!(read > EXECUTIONS / 4 && applied > EXECUTIONS / 20);
}

#[test]
fn no_changed_share_key_or_signature_passes_for_a_good_one() {
    let cast = Cast::new();
    let mut ceremony = cast.dealt();
    let group = cast.finish(&mut ceremony).expect("all are honest");
    let statement = Digest::of("TEST", &[b"statement"]);
    let share = |me: u16| ceremony.key_share(me, &cast.keys[usize::from(me)]).expect("a share");
    let shares: Vec<SignatureShare> = (0..4).map(|me| share(me).sign(&statement)).collect();
    let good = group.combine(&[(0, shares[0]), (1, shares[1])]).expect("two shares");
    let identity = IdentityKey::from_seed(&[9; 32]);
    let signed = (identity.public(), identity.sign(&statement));
    let secret = share(0).to_secret_bytes();

    let corpus: Vec<Encoding> = shares.iter().map(Encoding::of).chain([Encoding::of(&good)]).collect();
    let mut dice = Dice::new(runs::seed());
    let mut counted = runs::Counted::new("shares, keys and signatures");
    for _ in 0..runs::executions(EXECUTIONS / 4) {
        counted.one();
        let bytes = |encoding: &Encoding, dice: &mut Dice| {
            encoding.small(&corpus, dice, |_| true).expect("something can be changed")
        };
        let forged: [u8; 96] = bytes(&corpus[0], &mut dice).try_into().expect("as long as before");
        let is_good = shares[0].0 == forged;
        assert_eq!(group.verify_share(0, &statement, &SignatureShare(forged)), is_good);
        let combined = group
            .combine_verified(&statement, &[(0, SignatureShare(forged)), (1, shares[1]), (2, shares[2])]);
        let combined = combined.expect("two of three are good");
        assert_eq!((combined.signature, combined.culprits.is_empty()), (good, is_good));
        assert_eq!(group.service_key.verify(&statement, &ServiceSignature(forged)), forged == good.0);

        let key: [u8; 48] = bytes(&Encoding::of(&group.service_key), &mut dice).try_into().expect("as long");
        assert!(!smr_crypto::threshold::ServiceKey(key).verify(&statement, &good), "{key:02x?}");
        let (mut other_key, mut other_signature) = signed;
        if dice.draw() & 1 == 1 {
            other_key = PublicKey(bytes(&Encoding::of(&signed.0), &mut dice).try_into().expect("as long"));
        } else {
            other_signature =
                Signature(bytes(&Encoding::of(&signed.1), &mut dice).try_into().expect("as long"));
        }
        assert!(!other_key.verify(&statement, &other_signature));
        let kept = Encoding::of(&secret.to_vec()).wild(&[], &mut dice, |_| false);
        if let Some(read) = KeyShare::from_secret_bytes(kept.get(4..).unwrap_or_default()) {
            assert_eq!(Some(&read.to_secret_bytes()[..]), kept.get(4..));
        }
    }
}

#[test]
fn no_changed_path_leads_another_leaf_to_the_root() {
    let tree =
        |count: u32| merkle::Tree::new((0..count).map(|leaf| merkle::leaf(&leaf.to_le_bytes())).collect());
    let trees: Vec<merkle::Tree> = (1..40).map(tree).collect();
    let mut dice = Dice::new(runs::seed());
    let mut read = 0u64;
    let mut counted = runs::Counted::new("paths");
    for _ in 0..runs::executions(100 * EXECUTIONS) {
        counted.one();
        let tree = dice.pick(&trees).expect("some");
        let count = tree.path(0).count;
        let index = dice.below(count as usize);
        let encoding = Encoding::of(&tree.path(index));
        let reads = |bytes: &[u8]| borsh::from_slice::<merkle::Path>(bytes).is_ok();
        let bytes = encoding.wild(&[], &mut dice, reads);
        let Ok(path) = borsh::from_slice::<merkle::Path>(&bytes) else { continue };
        read += 1;
        let leaf = u32::try_from(dice.below(count as usize)).expect("few");
        if path.root_from(merkle::leaf(&leaf.to_le_bytes())) == Some(tree.root()) {
            // The count is named beside the root in whatever is signed.
            assert!(
                path.count != count || path == tree.path(leaf as usize),
                "{path:?} for {leaf} of {count}"
            );
        }
    }
    assert!(read > 0);
}
