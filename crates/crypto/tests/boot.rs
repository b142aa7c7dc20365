//! Evidence of three boots that a TPM in software (swtpm 0.7.1) gave, so that no TPM is needed here.

use smr_crypto::Digest;
use smr_crypto::boot::Evidence;
use smr_mutate::{Dice, Encoding, runs};

/// What was certified in boot `number`: as `node::trusted::tpm` says it of a replica with a key of ones and a core with
/// a key of that number.
fn statement(number: usize) -> Digest {
    let core = [u8::try_from(number).expect("small"); 32];
    Digest::of("SMRCLOUD-CORE-BOOT-V1", &[&[1; 32], &core])
}

fn recorded() -> Vec<Evidence> {
    serde_json::from_str(include_str!("boots.json")).expect("as it was recorded")
}

#[test]
fn what_a_tpm_certified_is_evidence_of_that_and_of_nothing_else() {
    let boots = recorded();
    assert_eq!(boots.len(), 3);
    for (said, boot) in boots.iter().enumerate() {
        for other in 0..boots.len() {
            assert_eq!(boot.certifies(&statement(other)), other == said, "boot {said} of statement {other}");
        }
    }
    assert!(boots.windows(2).all(|pair| pair[0].key == pair[1].key && pair[0].counter < pair[1].counter));
}

#[test]
fn no_number_of_it_can_be_changed() {
    let boots = recorded();
    let good: Vec<Encoding> = boots.iter().map(Encoding::of).collect();
    let mut dice = Dice::new(runs::seed());
    let reads = |bytes: &[u8]| borsh::from_slice::<Evidence>(bytes).is_ok();
    let mut changed = 0u64;
    let mut counted = runs::Counted::new("evidence of boots");
    for _ in 0..runs::executions(2_000) {
        counted.one();
        let which = dice.below(boots.len());
        let bytes = good[which].wild(&good, &mut dice, reads);
        let Ok(boot) = borsh::from_slice::<Evidence>(&bytes) else { continue };
        let same = boot == boots[which];
        assert_eq!(boot.certifies(&statement(which)), same, "{boot:?}");
        changed += u64::from(!same);
    }
    assert!(changed > 100, "{changed}");
}
