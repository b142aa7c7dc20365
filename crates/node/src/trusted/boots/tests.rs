use smr_crypto::dkg::DecryptionKey;
use smr_mutate::{Dice, runs, text};
use smr_replica::Member;

use super::*;
use crate::files::{Secrecy, write_atomically};

/// Recorded from a TPM in software, for a replica with a key of ones and cores with keys of 0, 1 and 2.
const RECORDED: &str = include_str!("../../../../crypto/tests/boots.json");

fn genesis() -> Genesis {
    let member = |number: u8| Member {
        identity: PublicKey([1; 32]),
        channel: PublicKey([10 + number; 32]),
        encryption: DecryptionKey::from_seed(&[number; 32]).public(),
        core: Some(PublicKey([number; 32])),
        address: "127.0.0.1:1".to_owned(),
    };
    Genesis {
        name: "test".to_owned(),
        application: "kv".to_owned(),
        protocol: smr_consensus::ProtocolName::Minbft,
        faults: 1,
        members: (0..3).map(member).collect(),
        administrator: PublicKey([9; 32]),
        durable: false,
        scheduling: smr_replica::Scheduling::sequential(),
        config: smr_replica::Config::default(),
    }
}

#[test]
fn a_replica_counts_only_on_cores_that_a_tpm_has_certified_each() {
    let dir = tempfile::tempdir().unwrap();
    let checked = |boots: &[Evidence], genesis: &Genesis| {
        let json = serde_json::to_vec(boots).unwrap();
        write_atomically(&dir.path().join(BOOTS_FILE), &json, Secrecy::Public).unwrap();
        check(dir.path(), genesis)
    };
    assert!(matches!(check(dir.path(), &genesis()), Err(BadBoots::None { .. })));
    let boots: Vec<Evidence> = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(checked(&boots, &genesis()).unwrap(), boots);

    let count = checked(&boots[..2], &genesis()).unwrap_err().to_string();
    assert!(count.contains("2 boots, but there are 3 members"), "{count}");
    let mut swapped = boots.clone();
    swapped.swap(1, 2);
    let forged = checked(&swapped, &genesis());
    assert!(matches!(forged, Err(BadBoots::Forged { replica: ReplicaId(1) })), "{forged:?}");
    let mut larger = boots.clone();
    larger[2].counter += 1;
    assert!(matches!(checked(&larger, &genesis()), Err(BadBoots::Forged { replica: ReplicaId(2) })));
    let mut other = genesis();
    other.members[0].core = Some(PublicKey([7; 32]));
    assert!(matches!(checked(&boots, &other), Err(BadBoots::Forged { replica: ReplicaId(0) })));
    write_atomically(&dir.path().join(BOOTS_FILE), b"[{}]", Secrecy::Public).unwrap();
    assert!(matches!(check(dir.path(), &genesis()), Err(BadBoots::Malformed { .. })));
}

#[test]
fn no_changed_evidence_passes_for_what_tpms_said() {
    let dir = tempfile::tempdir().unwrap();
    let good: Vec<Evidence> = serde_json::from_str(RECORDED).unwrap();
    let mut dice = Dice::new(runs::seed());
    let (mut same, mut read) = (0u64, 0u64);
    let executions = runs::executions(1_000);
    let mut counted = runs::Counted::new("files of evidence");
    for _ in 0..executions {
        counted.one();
        let changed = text::change(RECORDED, "[{\"counter\":7}]", &mut dice);
        std::fs::write(dir.path().join(BOOTS_FILE), &changed).unwrap();
        match check(dir.path(), &genesis()) {
            // Spaces, and digits in the other case, change nothing.
            Ok(boots) => {
                assert_eq!(boots, good);
                same += 1;
            }
            Err(error) => {
                read += u64::from(!matches!(error, BadBoots::Malformed { .. }));
                assert!(!error.to_string().is_empty());
            }
        }
    }
    println!("boots: of {executions} files {same} were as before, {read} others were read");
    assert!(read > 0);
}
