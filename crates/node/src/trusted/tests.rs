use std::sync::Mutex;

use smr_consensus::Config;
use smr_consensus::lanes::core::{ITEMS_MAX, Item, Scope};
use smr_crypto::dkg::{Assurance, DealingSeed, DecryptionKey, Setup};
use smr_crypto::{Digest, IdentityKey, Verifier};
use smr_mutate::{Dice, Encoding, runs};
use smr_replica::genesis::MEMBERS_MAX;
use smr_wire::{Generation, ReplicaId, ServiceId, Slot, View};

use super::exchange::{Ask, Misuse, PACKET_BYTES_MAX, Said, WINDOW_SLOTS_MAX};
use super::inside::Core;
use super::*;

fn place() -> Place {
    Place {
        service: ServiceId(Digest::default()),
        generation: Generation(0),
        window_slots: 8,
        replica: ReplicaId(1),
    }
}

fn endorse(slot: u64, text: &str) -> Operation {
    let digest = Digest::of("T", &[text.as_bytes()]);
    Operation::Endorse { view: View(0), items: vec![Item { slot: Slot(slot), digest }] }
}

fn secrets() -> CoreSecrets {
    CoreSecrets { key: Arc::new(IdentityKey::from_seed(&[3; 32])), seed: DealingSeed([4; 32]) }
}

fn prepare() -> Result<(CoreSecrets, Precautions), ()> {
    Ok((secrets(), Precautions::default()))
}

/// Key generation of a group of 2f+1.
fn attempt(number: u32, faults: u16) -> Attempt {
    let key = |place: u16| DecryptionKey::from_seed(&Digest::of_value("T", &place).0).public();
    let setup = Setup {
        context: Digest::of_value("T", &number),
        threshold: faults + 1,
        encryption_keys: (0..2 * faults + 1).map(key).collect(),
        dealings: faults + 1,
        assurance: Assurance::Attested,
    };
    Attempt { number, setup }
}

fn deal(number: u32) -> Ask {
    Ask::Deal(Box::new(attempt(number, 1)))
}

fn answer(core: &mut Core, ask: &Ask) -> Said {
    core.answer(&smr_wire::encode(ask), prepare)
}

fn joined() -> Core {
    let mut core = Core::default();
    assert!(matches!(answer(&mut core, &Ask::Begin), Said::Born { .. }));
    assert_eq!(answer(&mut core, &Ask::Join(place())), Said::Joined);
    core
}

#[test]
fn a_core_speaks_only_after_its_key_and_its_place_and_has_one_of_each() {
    let mut core = Core::default();
    let refused = Said::Refused;
    assert_eq!(answer(&mut core, &Ask::Attest(endorse(1, "a"))), refused(Misuse::Early));
    assert_eq!(answer(&mut core, &deal(0)), refused(Misuse::Early));
    assert_eq!(answer(&mut core, &Ask::Join(place())), refused(Misuse::Early));
    let Said::Born { key, .. } = answer(&mut core, &Ask::Begin) else { panic!("it begins") };
    assert_eq!(answer(&mut core, &Ask::Begin), refused(Misuse::Again));
    assert_eq!(answer(&mut core, &Ask::Attest(endorse(1, "a"))), refused(Misuse::Early));
    assert_eq!(answer(&mut core, &deal(0)), refused(Misuse::Early));
    for window_slots in [0, WINDOW_SLOTS_MAX + 1, u64::MAX] {
        let ask = Ask::Join(Place { window_slots, ..place() });
        assert_eq!(answer(&mut core, &ask), refused(Misuse::Window));
    }
    assert_eq!(answer(&mut core, &Ask::Join(place())), Said::Joined);
    // In a smaller window lanes would be folded together, and elsewhere all registers would be empty.
    let smaller = Place { window_slots: 1, ..place() };
    assert_eq!(answer(&mut core, &Ask::Join(smaller)), refused(Misuse::Again));

    let operation = endorse(1, "a");
    let Said::Attested(Ok(signature)) = answer(&mut core, &Ask::Attest(operation.clone())) else {
        panic!("a first vote")
    };
    let group = Place::of(&group(), 8, ReplicaId(1)).core(secrets());
    let whole = group_of(key);
    let scope = Scope { group: &whole, window_slots: 8, replica: ReplicaId(1) };
    assert!(key.verify(&scope.of(&operation, group.registers()), &signature));
    assert_eq!(answer(&mut core, &Ask::Attest(endorse(1, "b"))), Said::Attested(Err(Refusal::Lane)));

    let Said::Dealt(Ok(dealt)) = answer(&mut core, &deal(0)) else { panic!("a first dealing") };
    assert!(dealt.holds(&scope, &attempt(0, 1).setup, &Verifier::new(1)));
    assert_eq!(answer(&mut core, &deal(0)), Said::Dealt(Err(Refusal::Dealt)));
    assert!(matches!(answer(&mut core, &deal(1)), Said::Dealt(Ok(_))), "another attempt");
}

fn group() -> smr_consensus::Group {
    group_of(PublicKey([0; 32]))
}

/// The group of which a core sees no more than its name.
fn group_of(core: PublicKey) -> smr_consensus::Group {
    smr_consensus::Group {
        service: place().service,
        generation: place().generation,
        model: smr_wire::client::FaultModel::Hybrid,
        faults: 1,
        keys: vec![PublicKey([9; 32]); 3],
        cores: vec![PublicKey([8; 32]), core, PublicKey([7; 32])],
    }
}

#[test]
fn whatever_is_not_a_question_is_refused_and_changes_nothing() {
    let vote = Encoding::of(&Ask::Attest(endorse(3, "a")));
    let join = Encoding::of(&Ask::Join(place()));
    let first = Encoding::of(&deal(0));
    let mut dice = Dice::new(runs::seed());
    let reads = |bytes: &[u8]| smr_wire::decode::<Ask>(bytes, PACKET_BYTES_MAX).is_ok();
    let (mut garbage, mut refused, mut signed, mut dealt) = (0u64, 0u64, 0u64, 0u64);
    let mut core = joined();
    let mut counted = runs::Counted::new("packets to a core");
    for _ in 0..runs::executions(20_000) {
        counted.one();
        let which = match dice.draw() % 8 {
            0 | 1 => &join,
            2 => &first,
            _ => &vote,
        };
        let packet = which.wild(&[], &mut dice, reads);
        match core.answer(&packet, prepare) {
            Said::Refused(Misuse::Garbage) => {
                assert!(!reads(&packet));
                garbage += 1;
            }
            Said::Refused(_) | Said::Attested(Err(_)) | Said::Dealt(Err(_)) => refused += 1,
            Said::Attested(Ok(_)) => signed += 1,
            Said::Dealt(Ok(_)) => dealt += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("core: {garbage} were garbage, {refused} refused, {signed} signed, {dealt} dealt");
    assert!(garbage > 100 && refused > 100 && signed > 0 && dealt > 0);
    let long = vec![0; PACKET_BYTES_MAX + 1];
    assert_eq!(core.answer(&long, prepare), Said::Refused(Misuse::Garbage));
}

#[test]
fn whatever_comes_in_place_of_an_answer_is_read_in_one_way_or_not_at_all() {
    let mut precautions = Precautions::default();
    precautions.note(Precaution::Seccomp, Ok(()));
    precautions.note(Precaution::Landlock, Err("why".to_owned()));
    precautions.note(Precaution::OwnUser, Err("why not".to_owned()));
    let said = [
        Said::Born { key: PublicKey([3; 32]), precautions },
        Said::Attested(Ok(Signature([5; 64]))),
        Said::Attested(Err(Refusal::Lane)),
        Said::Refused(Misuse::Early),
        answer(&mut joined(), &deal(0)),
    ];
    let corpus: Vec<Encoding> = said.iter().map(Encoding::of).collect();
    let mut dice = Dice::new(runs::seed());
    let reads = |bytes: &[u8]| smr_wire::decode::<Said>(bytes, PACKET_BYTES_MAX).is_ok();
    let mut read = 0u64;
    let mut counted = runs::Counted::new("packets of a core");
    for _ in 0..runs::executions(20_000) {
        counted.one();
        let bytes = dice.pick(&corpus).expect("some").wild(&corpus, &mut dice.clone(), reads);
        dice.draw();
        if let Ok(said) = smr_wire::decode::<Said>(&bytes, PACKET_BYTES_MAX) {
            assert_eq!(smr_wire::encode(&said), bytes, "accepted in two encodings");
            read += 1;
        }
    }
    println!("core: {read} changed answers were read");
    assert!(read > 100);
}

#[test]
fn the_largest_packets_fit_and_a_core_holds_every_window_that_a_service_may_have() {
    let mut precautions = Precautions::default();
    for what in [
        Precaution::OwnUser,
        Precaution::Untraceable,
        Precaution::NoCoreDump,
        Precaution::MemoryLocked,
        Precaution::NoNewPrivileges,
        Precaution::Landlock,
        Precaution::Seccomp,
    ] {
        precautions.note(what, Err("\u{1f980}".repeat(1000)));
    }
    let born = smr_wire::encode(&Said::Born { key: PublicKey([0; 32]), precautions });
    assert!(born.len() <= PACKET_BYTES_MAX, "{}", born.len());
    let item = |slot| Item { slot: Slot(slot), digest: Digest::default() };
    let items = (1..=ITEMS_MAX as u64).map(item).collect();
    let vote = smr_wire::encode(&Ask::Attest(Operation::Endorse { view: View(1), items }));
    assert!(vote.len() < 1024, "{}", vote.len());
    // The question and the answer of key generation in the largest group of 2f+1.
    let faults = u16::try_from((MEMBERS_MAX - 1) / 2).unwrap();
    let ask = Ask::Deal(Box::new(attempt(0, faults)));
    assert!(smr_wire::encode(&ask).len() <= PACKET_BYTES_MAX);
    let said = answer(&mut joined(), &ask);
    assert!(matches!(said, Said::Dealt(Ok(_))));
    let bytes = smr_wire::encode(&said).len();
    assert!(bytes <= PACKET_BYTES_MAX, "{bytes}");

    let config = |window_slots| Config { window_slots, log_slots_max: 1 << 20, ..Config::default() };
    assert!(config(WINDOW_SLOTS_MAX).validate().is_ok());
    assert!(config(WINDOW_SLOTS_MAX + 1).validate().is_err());
}

#[test]
fn a_core_in_this_process_answers_in_order_and_is_never_lost() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let taken = answers.clone();
    let deliver: Deliver = Arc::new(move |answer| {
        taken.lock().unwrap().push(match answer {
            Answer::Attested(Ok(_)) => "signed",
            Answer::Dealt(Ok(_)) => "dealt",
            Answer::Attested(Err(_)) | Answer::Dealt(Err(_)) => "refused",
        });
    });
    let born = Born::start(&Backing::InProcess).unwrap();
    assert_eq!((born.status().backing, born.status().pid), (BackingName::InProcess, None));
    assert_ne!(born.key(), Born::start(&Backing::InProcess).unwrap().key(), "each has a key of its own");
    let (mut core, mut lost) = born.join(place(), deliver).unwrap();
    for (slot, text) in [(1, "a"), (2, "a"), (1, "b")] {
        core.ask(endorse(slot, text));
        core.answered();
    }
    core.deal(Box::new(attempt(0, 1)));
    core.answered();
    assert_eq!(*answers.lock().unwrap(), ["signed", "signed", "refused", "dealt"]);
    assert!(matches!(lost.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
}

#[test]
fn a_program_that_is_no_core_is_an_error_that_says_so() {
    let started = |path: &str, arguments: &[&str]| {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Born::start(&Backing::Process(Program { path: path.into(), arguments })).unwrap_err()
    };
    let missing = started("/no/such/program", &[]).to_string();
    assert!(missing.contains("does not start"), "{missing}");
    let ends = started("/bin/false", &[]);
    assert!(matches!(&ends, CoreError::Gone { how, .. } if how == "it failed with code 1"), "{ends}");
    let echo = started("/bin/sh", &["-c", "cat >&0"]);
    assert!(matches!(echo, CoreError::Strange { .. }), "{echo}");
}
