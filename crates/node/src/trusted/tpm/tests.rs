use smr_crypto::boot::key_area;
use smr_mutate::{Dice, runs};

use super::*;
use swtpm::Swtpm;

#[path = "../../../tests/common/swtpm.rs"]
mod swtpm;

#[test]
fn a_tpm_certifies_each_boot_with_a_larger_number_and_always_with_one_key() {
    let Some(swtpm) = Swtpm::start() else { return };
    let device = Device::Address(swtpm.address);
    let mut last: Option<Evidence> = None;
    for number in 0..3u8 {
        let said = statement(&PublicKey([1; 32]), &PublicKey([number; 32]));
        let evidence = certify(&device, &said).unwrap();
        assert!(evidence.certifies(&said));
        assert!(!evidence.certifies(&statement(&PublicKey([2; 32]), &PublicKey([number; 32]))));
        if let Some(last) = last {
            assert_eq!((evidence.key, evidence.counter), (last.key, last.counter + 1));
            assert!(evidence.clock_ms >= last.clock_ms);
        }
        println!("{}", serde_json::to_string(&evidence).unwrap());
        last = Some(evidence);
    }
}

#[test]
fn a_tpm_that_is_not_there_or_is_none_is_an_error_that_names_it() {
    let missing = certify(&"/dev/no-tpm".parse().unwrap(), &Digest::default()).unwrap_err().to_string();
    assert!(missing.contains("/dev/no-tpm cannot be reached"), "{missing}");
    assert!("tpm0".parse::<Device>().is_err());
    // A file takes every command and answers with nothing.
    let file = tempfile::NamedTempFile::new().unwrap();
    let device = Device::File(file.path().to_owned());
    let none = certify(&device, &Digest::default()).unwrap_err();
    assert!(matches!(none, TpmError::Strange { .. }), "{none}");
}

#[test]
fn responses_that_are_none_are_refused() {
    for bytes in [&[][..], &[0; 9], &[0x80, 1, 0, 0, 0, 9, 0, 0, 0], &[0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0]] {
        assert!(Answer::read(bytes).is_none(), "{bytes:?}");
    }
    let empty = Answer::read(&[0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]).unwrap();
    assert_eq!(empty.code, 0);
    assert!(empty.key().is_none() && empty.evidence(smr_crypto::boot::AttestationKey([0; 64])).is_none());
}

/// Recorded from a TPM in software, for a replica with a key of ones and cores with keys of 0, 1 and 2.
const RECORDED: &str = include_str!("../../../../crypto/tests/boots.json");

fn response(body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(command::HEADER_BYTES + body.len()).unwrap();
    [&[0x80, 2][..], &length.to_be_bytes(), &[0; 4], &body].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

#[test]
fn however_responses_are_changed_only_what_was_certified_is_evidence() {
    let boots: Vec<Evidence> = serde_json::from_str(RECORDED).unwrap();
    let boot = &boots[1];
    let said = statement(&PublicKey([1; 32]), &PublicKey([1; 32]));
    let created = response(&[&[0x80, 0, 0, 1], &[0; 4], &sized(&key_area(Some(&boot.key))), &[0; 20]]);
    let (r, s) = boot.signature.0.split_at(32);
    let signature = [&[0, 0x18, 0, 0x0b][..], &sized(r), &sized(s), &[0; 10]].concat();
    let certified = response(&[&[0; 4], &sized(&boot.certified(&said)), &signature]);
    let (handle, key) = Answer::read(&created).unwrap().key().unwrap();
    assert_eq!((handle, key), (0x8000_0001, boot.key));
    assert_eq!(Answer::read(&certified).unwrap().evidence(key).as_ref(), Some(boot));

    let mut dice = Dice::new(runs::seed());
    let (mut keys, mut read) = (0u64, 0u64);
    let mut counted = runs::Counted::new("responses of a TPM");
    for _ in 0..runs::executions(20_000) {
        counted.one();
        let mut created = created.clone();
        let mut certified = certified.clone();
        for bytes in [&mut created, &mut certified] {
            // The code, which stands before, is read first; and a length that lies is refused at once.
            let place = command::HEADER_BYTES + dice.below(bytes.len() - command::HEADER_BYTES);
            bytes[place] ^= 1 << dice.below(8);
            if dice.chance(200) {
                bytes.truncate(command::HEADER_BYTES + dice.below(bytes.len() - command::HEADER_BYTES));
                let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
                bytes[2..6].copy_from_slice(&length);
            }
        }
        keys += u64::from(Answer::read(&created).unwrap().key().is_some());
        let Some(evidence) = Answer::read(&certified).unwrap().evidence(boot.key) else { continue };
        read += 1;
        assert_eq!(evidence.certifies(&said), evidence == *boot, "{evidence:?}");
    }
    println!("TPM: {keys} keys and {read} certificates were read");
    assert!(keys > 100 && read > 100);
}
