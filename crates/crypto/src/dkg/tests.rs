//! Whole ceremonies: honest, with absent and lying participants, late, repeated.

use super::*;
use crate::Digest;
use crate::threshold::{KeyShare, ServiceSignature};

/// Participants with keys and seeds from their index, and the rules for n = 3f+1.
struct Cast {
    setup: Setup,
    keys: Vec<DecryptionKey>,
}

impl Cast {
    fn new(faults: u16) -> Cast {
        let participants = 3 * faults + 1;
        let keys: Vec<DecryptionKey> =
            (0..participants).map(|i| DecryptionKey::from_seed(&seed(1, i))).collect();
        let enough = participants - faults;
        let setup = Setup {
            context: Digest::of("TEST", &[b"service, epoch, attempt"]),
            threshold: faults + 1,
            encryption_keys: keys.iter().map(DecryptionKey::public).collect(),
            dealings: enough,
            assurance: Assurance::Confirmed(enough),
        };
        Cast { setup, keys }
    }

    /// The same participants as 2f+1, whose dealings are attested.
    fn attested(faults: u16) -> Cast {
        let Cast { setup, mut keys } = Cast::new(faults);
        keys.truncate(2 * usize::from(faults) + 1);
        let encryption_keys = keys.iter().map(DecryptionKey::public).collect();
        let dealings = faults + 1;
        Cast { setup: Setup { encryption_keys, dealings, assurance: Assurance::Attested, ..setup }, keys }
    }

    fn dealing(&self, dealer: u16) -> Dealing {
        Dealing::make(&self.setup, dealer, &seed(2, dealer))
    }

    /// A dealing whose shares for `victims` are wrong.
    fn spoiled(&self, dealer: u16, victims: &[u16]) -> Dealing {
        let mut dealing = self.dealing(dealer);
        victims.iter().for_each(|victim| dealing.shares[usize::from(*victim)][31] ^= 1);
        dealing
    }

    fn everyone(&self) -> Vec<u16> {
        (0..).take(self.keys.len()).collect()
    }

    /// A ceremony up to the cut, with these dealings in order.
    fn dealt(&self, dealings: impl IntoIterator<Item = (u16, Dealing)>) -> Ceremony {
        let mut ceremony = Ceremony::new(self.setup.clone());
        for (dealer, dealing) in dealings {
            ceremony.apply(dealer, Command::Deal(dealing)).unwrap();
        }
        assert_eq!(ceremony.phase(), Phase::Confirming);
        ceremony
    }

    fn confirm(&self, ceremony: &mut Ceremony, me: u16) -> Progress {
        let confirm = ceremony.confirmation(me, &self.keys[usize::from(me)]);
        ceremony.apply(me, Command::Confirm(confirm)).unwrap()
    }

    fn finish(&self, ceremony: &mut Ceremony, confirming: &[u16]) -> Outcome {
        confirming.iter().for_each(|me| drop(self.confirm(ceremony, *me)));
        let Progress::Closed(outcome) = ceremony.apply(confirming[0], Command::Close).unwrap() else {
            panic!("not closed: {}", ceremony.progress());
        };
        assert_eq!(ceremony.closed(), Some(&outcome));
        outcome
    }

    fn share(&self, ceremony: &Ceremony, me: u16) -> Result<KeyShare, NoShare> {
        ceremony.key_share(me, &self.keys[usize::from(me)])
    }

    /// That any threshold of `holders`, taken as neighbours, sign what a client's library accepts, and that no fewer do.
    fn assert_usable(&self, ceremony: &Ceremony, holders: &[u16]) {
        let group = &ceremony.closed().unwrap().group;
        let shares: Vec<KeyShare> = holders.iter().map(|me| self.share(ceremony, *me).unwrap()).collect();
        for share in &shares {
            assert_eq!(group.share_keys[usize::from(share.index())], share.public());
        }
        let statement = Digest::of("TEST", &[b"signed"]);
        let signed: Vec<_> = shares.iter().map(|share| (share.index(), share.sign(&statement))).collect();
        let threshold = usize::from(self.setup.threshold);
        let mut signatures: Vec<ServiceSignature> = signed
            .windows(threshold)
            .map(|some| group.combine_verified(&statement, some).unwrap().signature)
            .collect();
        signatures.dedup();
        assert_eq!(signatures.len(), 1, "whoever signs, the signature is the same");
        assert!(client_accepts(group, &statement, &signatures[0]));
        assert!(group.combine_verified(&statement, &signed[1..threshold]).is_err());
    }
}

fn seed(kind: u8, participant: u16) -> [u8; 32] {
    Digest::of("TEST-SEED", &[&[kind], &participant.to_le_bytes()]).0
}

fn client_accepts(
    group: &crate::threshold::GroupKey,
    statement: &Digest,
    signature: &ServiceSignature,
) -> bool {
    let key = blst::min_pk::PublicKey::key_validate(&group.service_key.0).unwrap();
    let signature = blst::min_pk::Signature::sig_validate(&signature.0, true).unwrap();
    let suite = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
    signature.verify(true, &statement.0, suite, &[], &key, true) == blst::BLST_ERROR::BLST_SUCCESS
}

#[test]
fn without_faults_everyone_gets_a_share_of_one_key() {
    for faults in [0, 1, 2] {
        let cast = Cast::new(faults);
        let dealers: Vec<u16> = cast.everyone().into_iter().take(usize::from(cast.setup.dealings)).collect();
        let mut ceremony = cast.dealt(dealers.iter().map(|dealer| (*dealer, cast.dealing(*dealer))));
        let outcome = cast.finish(&mut ceremony, &cast.everyone());
        assert_eq!((outcome.qualified, outcome.excluded), (dealers, vec![]));
        assert!(ceremony.unproven().is_empty());
        cast.assert_usable(&ceremony, &cast.everyone());
    }
}

#[test]
fn absent_participants_hold_nothing_up_and_find_their_share_later() {
    let cast = Cast::new(2);
    let present = [6, 1, 2, 5, 0];
    let mut ceremony = cast.dealt(present.map(|dealer| (dealer, cast.dealing(dealer))));
    cast.finish(&mut ceremony, &present);
    cast.assert_usable(&ceremony, &cast.everyone());
}

#[test]
fn the_same_commands_give_the_same_state_and_shares_wherever_they_are_applied() {
    let cast = Cast::new(1);
    let dealings = [(3, cast.dealing(3)), (0, cast.spoiled(0, &[1])), (1, cast.dealing(1))];
    let mut ceremony = cast.dealt(dealings.clone());
    let confirmed = [1, 2, 3].map(|me| (me, ceremony.confirmation(me, &cast.keys[usize::from(me)])));
    cast.finish(&mut ceremony, &[1, 2, 3]);
    let mut late = Ceremony::new(cast.setup.clone());
    let deals = dealings.into_iter().map(|(dealer, dealing)| (dealer, Command::Deal(dealing)));
    let confirms = confirmed.into_iter().map(|(me, confirm)| (me, Command::Confirm(confirm)));
    for (from, command) in deals.chain(confirms).chain([(3, Command::Close)]) {
        // Every step may be followed by a restart from the encoded state.
        late = borsh::from_slice(&borsh::to_vec(&late).unwrap()).unwrap();
        late.apply(from, command).unwrap();
    }
    assert_eq!(borsh::to_vec(&late).unwrap(), borsh::to_vec(&ceremony).unwrap());
    assert_eq!(late, ceremony);
    cast.assert_usable(&late, &cast.everyone());
}

#[test]
fn a_dealer_with_a_wrong_share_for_one_is_excluded_by_its_complaint() {
    for faults in [1, 2] {
        let cast = Cast::new(faults);
        let dealers: Vec<u16> = cast.everyone().into_iter().take(usize::from(cast.setup.dealings)).collect();
        let liar_and_victim = |dealer| {
            if dealer == 1 { cast.spoiled(1, &[2]) } else { cast.dealing(dealer) }
        };
        let mut ceremony = cast.dealt(dealers.iter().map(|dealer| (*dealer, liar_and_victim(*dealer))));
        assert_eq!(cast.confirm(&mut ceremony, 0), Progress::Confirmed { excluded: vec![], unproven: 0 });
        assert_eq!(cast.confirm(&mut ceremony, 2), Progress::Confirmed { excluded: vec![1], unproven: 0 });
        let rest: Vec<u16> = cast.everyone().into_iter().filter(|me| ![0, 2].contains(me)).collect();
        let outcome = cast.finish(&mut ceremony, &rest);
        assert!(!outcome.qualified.contains(&1));
        assert_eq!(outcome.excluded, [(1, Reason::BadShare { accuser: 2 })]);
        cast.assert_usable(&ceremony, &cast.everyone());
    }
}

#[test]
fn a_dealer_with_wrong_shares_for_all_is_excluded_once_and_nobody_is_blamed_for_saying_so_again() {
    let cast = Cast::new(2);
    let everyone = cast.everyone();
    let mut ceremony = cast.dealt(
        [(0, cast.spoiled(0, &everyone)), (6, cast.spoiled(6, &[0, 1]))]
            .into_iter()
            .chain([2, 3, 4].map(|dealer| (dealer, cast.dealing(dealer)))),
    );
    // Made before anyone's was applied, as happens when they cross.
    let confirms = [1, 2, 3, 4, 5].map(|me| (me, ceremony.confirmation(me, &cast.keys[usize::from(me)])));
    for (me, confirm) in confirms {
        ceremony.apply(me, Command::Confirm(confirm)).unwrap();
    }
    let Ok(Progress::Closed(outcome)) = ceremony.apply(5, Command::Close) else { panic!("not closed") };
    assert_eq!(outcome.qualified, [2, 3, 4]);
    let reason = Reason::BadShare { accuser: 1 };
    assert_eq!(outcome.excluded, [(0, reason), (6, reason)]);
    assert!(ceremony.unproven().is_empty());
    cast.assert_usable(&ceremony, &everyone);
}

#[test]
fn a_victim_that_was_too_late_to_complain_has_no_share_and_knows_whose_fault_it_is() {
    let cast = Cast::new(1);
    let mut ceremony = cast.dealt([(0, cast.spoiled(0, &[3])), (1, cast.dealing(1)), (2, cast.dealing(2))]);
    let outcome = cast.finish(&mut ceremony, &[0, 1, 2]);
    assert_eq!(outcome.qualified, [0, 1, 2]);
    assert_eq!(cast.share(&ceremony, 3).unwrap_err(), NoShare::BadShares { dealers: vec![0] });
    cast.assert_usable(&ceremony, &[0, 1, 2]);
}

#[test]
fn attested_dealings_close_by_themselves_and_everyone_has_a_share_whoever_was_there() {
    for faults in [0, 1, 2] {
        let cast = Cast::attested(faults);
        let mut ceremony = Ceremony::new(cast.setup.clone());
        let dealers: Vec<u16> = cast.everyone().split_off(usize::from(faults));
        let (last, first) = dealers.split_last().unwrap();
        for dealer in first {
            let dealt = ceremony.apply(*dealer, Command::Deal(cast.dealing(*dealer)));
            assert_eq!(dealt, Ok(Progress::Dealt));
        }
        assert_eq!(ceremony.apply(*last, Command::Close), Err(Refused::Early));
        let closed = ceremony.apply(*last, Command::Deal(cast.dealing(*last)));
        let Ok(Progress::Closed(outcome)) = closed else { panic!("{closed:?}") };
        assert_eq!((ceremony.closed(), &outcome.qualified), (Some(&outcome), &dealers));
        cast.assert_usable(&ceremony, &cast.everyone());
        // There is nothing more to say, and so nothing is checked.
        for command in [Command::Deal(cast.dealing(0)), Command::Confirm(Confirm::default()), Command::Close]
        {
            assert_eq!(ceremony.apply(0, command), Err(Refused::Over));
        }
    }
}

#[test]
fn a_bad_share_in_an_attested_dealing_is_proven_to_everybody_and_the_others_go_on() {
    let cast = Cast::attested(2);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    for dealing in [(3, cast.dealing(3)), (1, cast.spoiled(1, &[0, 4])), (2, cast.dealing(2))] {
        ceremony.apply(dealing.0, Command::Deal(dealing.1)).unwrap();
    }
    assert_eq!(cast.share(&ceremony, 4).unwrap_err(), NoShare::BadShares { dealers: vec![1] });
    let key = ceremony.closed().unwrap().group.clone();
    let complain = |ceremony: &Ceremony, me: u16| {
        Command::Confirm(ceremony.confirmation(me, &cast.keys[usize::from(me)]))
    };
    // Of one with good shares, in place of another's: it proves nothing, and is counted once.
    let borrowed = complain(&ceremony, 4);
    let unproven = Progress::Broken { dealers: vec![], unproven: 1 };
    assert_eq!(ceremony.apply(3, borrowed.clone()), Ok(unproven));
    assert_eq!(ceremony.apply(3, borrowed), Err(Refused::Repeated));
    assert_eq!(
        ceremony.apply(2, complain(&ceremony, 2)),
        Err(Refused::Over),
        "it has nothing to complain about"
    );

    let (first, second) = (complain(&ceremony, 4), complain(&ceremony, 0));
    let shown = Progress::Broken { dealers: vec![1], unproven: 0 };
    assert_eq!(ceremony.apply(4, first), Ok(shown));
    let known = Progress::Broken { dealers: vec![], unproven: 0 };
    assert_eq!(ceremony.apply(0, second), Ok(known));
    assert_eq!(ceremony.broken().iter().collect::<Vec<_>>(), [(&1, &4)]);
    assert_eq!(
        ceremony.progress(),
        "key generation: done with 3 dealers, 0 excluded; bad shares under attestation of: 1"
    );
    assert_eq!(ceremony.closed().unwrap().group, key);
    cast.assert_usable(&ceremony, &[1, 2, 3]);
}

#[test]
fn a_dealer_that_says_two_different_things_is_excluded_and_another_takes_its_place() {
    let cast = Cast::new(1);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    let mut deal = |dealer, dealing| ceremony.apply(dealer, Command::Deal(dealing));
    assert_eq!(deal(2, cast.dealing(2)), Ok(Progress::Dealt));
    assert_eq!(deal(2, cast.dealing(2)), Err(Refused::Repeated));
    let another = Dealing::make(&cast.setup, 2, &[9; 32]);
    assert_eq!(deal(2, another), Ok(Progress::Equivocated));
    assert_eq!(deal(2, cast.dealing(2)), Err(Refused::Excluded));
    assert_eq!(deal(0, cast.dealing(0)), Ok(Progress::Dealt));
    assert_eq!(deal(1, cast.dealing(1)), Ok(Progress::Dealt));
    assert_eq!(deal(3, cast.dealing(3)), Ok(Progress::DealingsComplete));
    assert_eq!(deal(1, Dealing::make(&cast.setup, 1, &[9; 32])), Err(Refused::Late));
    let outcome = cast.finish(&mut ceremony, &cast.everyone());
    assert_eq!(outcome.excluded, [(2, Reason::Equivocated)]);
    cast.assert_usable(&ceremony, &cast.everyone());
}

#[test]
fn a_dealing_of_another_ceremony_or_of_another_dealer_neither_counts_nor_excludes() {
    let cast = Cast::new(1);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    let other = Setup { context: Digest::default(), ..cast.setup.clone() };
    let replayed = Dealing::make(&other, 2, &seed(2, 2));
    let refused = Err(Refused::BadDealing(BadDealing::ConstantProof));
    assert_eq!(ceremony.apply(2, Command::Deal(replayed.clone())), refused);
    assert_eq!(ceremony.apply(1, Command::Deal(cast.dealing(2))), refused);
    ceremony.apply(2, Command::Deal(cast.dealing(2))).unwrap();
    assert_eq!(ceremony.apply(2, Command::Deal(replayed)), refused);
    // The ephemeral key of another, whose shares a complaint would then open.
    let mut borrowed = cast.dealing(3);
    borrowed.ephemeral = cast.dealing(2).ephemeral;
    borrowed.ephemeral_proof = cast.dealing(2).ephemeral_proof;
    assert!(ceremony.apply(3, Command::Deal(borrowed)).is_err());
}

#[test]
fn dealings_that_are_not_in_order_are_refused() {
    let cast = Cast::new(1);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    let identity = PointBytes(std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 }));
    let mut refusal = |spoil: &dyn Fn(&mut Dealing)| {
        let mut dealing = cast.dealing(0);
        spoil(&mut dealing);
        match ceremony.apply(0, Command::Deal(dealing)) {
            Err(Refused::BadDealing(bad)) => bad,
            other => panic!("{other:?}"),
        }
    };
    let degree = |coefficients| BadDealing::Degree { coefficients, threshold: 2 };
    assert_eq!(refusal(&|d| d.commitment.truncate(1)), degree(1));
    assert_eq!(refusal(&|d| d.commitment.push(d.commitment[0])), degree(3));
    assert_eq!(refusal(&|d| d.commitment[1] = identity), degree(1));
    assert_eq!(refusal(&|d| d.commitment[0] = identity), BadDealing::Constant);
    assert_eq!(refusal(&|d| d.commitment[1].0[47] ^= 1), BadDealing::Point);
    assert_eq!(refusal(&|d| d.commitment.swap(0, 1)), BadDealing::ConstantProof);
    assert_eq!(refusal(&|d| d.shares.truncate(3)), BadDealing::Shares { shares: 3, participants: 4 });
    assert_eq!(refusal(&|d| d.ephemeral = identity), BadDealing::Ephemeral);
    assert_eq!(refusal(&|d| d.ephemeral.0 = [0xff; 48]), BadDealing::Ephemeral);
    assert_eq!(refusal(&|d| d.constant_proof.response[3] ^= 1), BadDealing::ConstantProof);
    assert_eq!(refusal(&|d| d.ephemeral_proof.challenge[3] ^= 1), BadDealing::EphemeralProof);
    assert_eq!(refusal(&|d| d.ephemeral_proof = d.constant_proof), BadDealing::EphemeralProof);
    assert_eq!(ceremony, Ceremony::new(cast.setup.clone()), "what is refused leaves nothing");
}

#[test]
fn false_complaints_exclude_nobody_and_are_counted() {
    let cast = Cast::new(1);
    let mut ceremony = cast.dealt([0, 1, 2].map(|dealer| (dealer, cast.dealing(dealer))));
    // What a liar can say at most: its true shared point, with a true proof, of a share that is good; the same again;
    // something of a dealer that did not deal, or does not exist.
    let route = |dealer| encryption::Route { setup: cast.setup.digest(), dealer, participant: 3 };
    let honest = |dealer| Complaint::make(route(dealer), &cast.dealing(dealer), &cast.keys[3]).unwrap();
    let complaints = vec![
        honest(0),
        honest(0),
        Complaint { dealer: 3, ..honest(0) },
        Complaint { dealer: 99, ..honest(0) },
    ];
    let progress = ceremony.apply(3, Command::Confirm(Confirm { complaints })).unwrap();
    assert_eq!(progress, Progress::Confirmed { excluded: vec![], unproven: 4 });
    assert_eq!(ceremony.unproven(), [(3, 4)]);
    let many = Confirm { complaints: vec![honest(0); 5] };
    assert_eq!(ceremony.apply(1, Command::Confirm(many)), Err(Refused::TooManyComplaints(5)));
    let outcome = cast.finish(&mut ceremony, &[0, 1, 2]);
    assert_eq!(outcome.qualified, [0, 1, 2]);
    cast.assert_usable(&ceremony, &cast.everyone());
}

#[test]
fn a_complaint_that_was_tampered_with_or_borrowed_proves_nothing() {
    let cast = Cast::new(1);
    let start = cast.dealt([(0, cast.spoiled(0, &[3])), (1, cast.dealing(1)), (2, cast.dealing(2))]);
    let good = start.confirmation(3, &cast.keys[3]).complaints[0];
    let tampered: [&dyn Fn(&mut Complaint); 6] = [
        &|c| c.proof.response[0] ^= 1,
        &|c| c.proof.challenge[31] ^= 1,
        &|c| c.proof.response = [0xff; 32],
        &|c| c.shared = PointBytes(cast.setup.encryption_keys[0].0),
        &|c| c.shared.0[0] ^= 0x40,
        &|c| c.dealer = 1,
    ];
    let unproven = Ok(Progress::Confirmed { excluded: vec![], unproven: 1 });
    for tamper in tampered {
        let mut complaint = good;
        tamper(&mut complaint);
        let confirm = Confirm { complaints: vec![complaint] };
        assert_eq!(start.clone().apply(3, Command::Confirm(confirm)), unproven);
    }
    let confirm = Confirm { complaints: vec![good] };
    assert_eq!(start.clone().apply(2, Command::Confirm(confirm.clone())), unproven, "it is participant 3's");
    let excluded = Ok(Progress::Confirmed { excluded: vec![0], unproven: 0 });
    assert_eq!(start.clone().apply(3, Command::Confirm(confirm)), excluded);
}

#[test]
fn a_participant_with_another_decryption_key_excludes_nobody_and_has_no_share() {
    let cast = Cast::new(1);
    let mut ceremony = cast.dealt([0, 1, 2].map(|dealer| (dealer, cast.dealing(dealer))));
    let confirm = ceremony.confirmation(3, &cast.keys[0]);
    assert_eq!(confirm.complaints.len(), 3);
    let progress = ceremony.apply(3, Command::Confirm(confirm)).unwrap();
    assert_eq!(progress, Progress::Confirmed { excluded: vec![], unproven: 3 });
    assert_eq!(cast.share(&ceremony, 0).unwrap_err(), NoShare::NotClosed);
    cast.finish(&mut ceremony, &[0, 1, 2]);
    assert_eq!(ceremony.key_share(3, &cast.keys[0]).unwrap_err(), NoShare::OtherKey);
    assert_eq!(ceremony.key_share(4, &cast.keys[0]).unwrap_err(), NoShare::NoParticipant(4));
}

#[test]
fn every_command_has_its_time() {
    let cast = Cast::new(1);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    assert_eq!(ceremony.apply(0, Command::Close), Err(Refused::Early));
    assert_eq!(ceremony.apply(0, Command::Confirm(Confirm::default())), Err(Refused::Early));
    assert_eq!(ceremony.apply(4, Command::Close), Err(Refused::NoParticipant(4)));
    let mut ceremony = cast.dealt([0, 1, 2].map(|dealer| (dealer, cast.dealing(dealer))));
    assert_eq!(ceremony.apply(3, Command::Deal(cast.dealing(3))), Err(Refused::Late));
    cast.confirm(&mut ceremony, 0);
    cast.confirm(&mut ceremony, 1);
    assert_eq!(ceremony.apply(1, Command::Confirm(Confirm::default())), Err(Refused::Repeated));
    assert_eq!(ceremony.apply(0, Command::Close), Err(Refused::Unconfirmed { confirmations: 2, needed: 3 }));
    assert!(!ceremony.may_close(true));
    cast.confirm(&mut ceremony, 3);
    assert!(ceremony.may_close(true) && !ceremony.may_close(false));
    cast.confirm(&mut ceremony, 2);
    assert!(ceremony.may_close(false));
    ceremony.apply(0, Command::Close).unwrap();
    assert!(!ceremony.may_close(true));
    assert_eq!(ceremony.apply(0, Command::Close), Err(Refused::Over));
}

#[test]
fn with_more_faults_than_planned_the_ceremony_fails_instead_of_giving_a_weak_key() {
    let cast = Cast::new(1);
    let mut ceremony =
        cast.dealt([(0, cast.spoiled(0, &[2])), (1, cast.spoiled(1, &[2])), (2, cast.dealing(2))]);
    [1, 2, 3].iter().for_each(|me| drop(cast.confirm(&mut ceremony, *me)));
    let failure = Failure::TooFewDealers { dealers: 1 };
    assert_eq!(ceremony.apply(3, Command::Close), Ok(Progress::Failed(failure)));
    assert_eq!(ceremony.phase(), Phase::Failed);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    for dealer in [0, 1] {
        ceremony.apply(dealer, Command::Deal(cast.dealing(dealer))).unwrap();
    }
    let another = |dealer| Command::Deal(Dealing::make(&cast.setup, dealer, &[9; 32]));
    assert_eq!(ceremony.apply(0, another(0)), Ok(Progress::Equivocated));
    let failure = Failure::TooFewDealers { dealers: 2 };
    assert_eq!(ceremony.apply(1, another(1)), Ok(Progress::Failed(failure)));
}

#[test]
fn impossible_rules_are_refused_and_a_ceremony_by_them_has_failed() {
    let good = Cast::new(1).setup;
    let counts = |threshold, dealings, confirmations| Setup {
        threshold,
        dealings,
        assurance: Assurance::Confirmed(confirmations),
        ..good.clone()
    };
    for setup in [counts(0, 3, 3), counts(4, 3, 3), counts(2, 5, 3), counts(2, 3, 5)] {
        assert!(matches!(setup.validate(), Err(BadSetup::Counts { .. })), "{setup:?}");
        let mut ceremony = Ceremony::new(setup.clone());
        assert_eq!(ceremony.phase(), Phase::Failed);
        let dealing = Dealing::make(&setup, 0, &[1; 32]);
        assert_eq!(ceremony.apply(0, Command::Deal(dealing)), Err(Refused::Over));
    }
    let nobody = Setup { encryption_keys: vec![], ..good.clone() };
    assert_eq!(nobody.validate(), Err(BadSetup::Participants(0)));
    let crowd =
        Setup { encryption_keys: vec![good.encryption_keys[0]; PARTICIPANTS_MAX + 1], ..good.clone() };
    assert_eq!(crowd.validate(), Err(BadSetup::Participants(PARTICIPANTS_MAX + 1)));
    let identity = EncryptionKey(std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 }));
    for key in [EncryptionKey([0; 48]), EncryptionKey([0xff; 48]), identity] {
        let mut setup = good.clone();
        setup.encryption_keys[2] = key;
        assert_eq!(setup.validate(), Err(BadSetup::Key(2)));
        assert_eq!(Dealing::make(&setup, 0, &[1; 32]).shares[2], [0; 32]);
    }
    assert_eq!(good.validate(), Ok(()));
}

#[test]
fn a_status_line_says_how_far_it_is_and_who_is_missing() {
    let cast = Cast::new(1);
    let mut ceremony = Ceremony::new(cast.setup.clone());
    ceremony.apply(2, Command::Deal(cast.dealing(2))).unwrap();
    assert_eq!(ceremony.progress(), "key generation: 1 of 3 dealings; missing: 0, 1, 3");
    let mut ceremony = cast.dealt([0, 1, 2].map(|dealer| (dealer, cast.dealing(dealer))));
    cast.confirm(&mut ceremony, 1);
    assert_eq!(ceremony.progress(), "key generation: 1 confirmations, 3 needed; missing: 0, 2, 3");
    cast.finish(&mut ceremony, &[0, 2, 3]);
    assert_eq!(ceremony.progress(), "key generation: done with 3 dealers, 0 excluded");
}

#[test]
fn a_dealer_that_restarts_deals_the_same_and_the_bytes_are_pinned() {
    let cast = Cast::new(1);
    assert_eq!(cast.dealing(1), cast.dealing(1));
    assert_ne!(cast.dealing(1), Dealing::make(&cast.setup, 1, &seed(2, 2)));
    let next = Setup { context: Digest::default(), ..cast.setup.clone() };
    let secrets = |dealing: Dealing| (dealing.commitment, dealing.ephemeral);
    assert_ne!(secrets(cast.dealing(1)), secrets(Dealing::make(&next, 1, &seed(2, 1))));
    let pin = |bytes: Vec<u8>| (bytes.len(), Digest::plain(&[&bytes]).to_string());
    let (length, digest) = pin(borsh::to_vec(&cast.dealing(1)).unwrap());
    assert_eq!(
        (length, digest.as_str()),
        (408, "bb95876ba9909252f46513cb908edb96144db7263dde1a5bcd0e6b6418ff98ae")
    );
    let mut ceremony = cast.dealt([(0, cast.spoiled(0, &[3])), (1, cast.dealing(1)), (2, cast.dealing(2))]);
    let (length, digest) = pin(borsh::to_vec(&ceremony.confirmation(3, &cast.keys[3])).unwrap());
    assert_eq!(
        (length, digest.as_str()),
        (118, "78db15d845dd30ff5f9dafd08f854e9eef29752c7ff16e0f80ec50e7b9a2d78e")
    );
    cast.finish(&mut ceremony, &[3, 1, 2]);
    let (length, digest) = pin(borsh::to_vec(&ceremony).unwrap());
    assert_eq!(
        (length, digest.as_str()),
        (1352, "08116b6ebc227245eb4ecc87adbc144818962a8a78047f7affe78a700a74541f")
    );
}
