//! Every type that is decoded from bytes of others: it never panics, takes no more memory than the bytes allow, and
//! what it accepts has no second encoding.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_mutate::{Dice, Encoding, runs};
use smr_replica::Message;
use smr_replica::system::{SYSTEM_COMMAND_BYTES_MAX, SystemCommand, SystemState};
use smr_wire::{FromContact, ToContact};

use crate::corpus::Corpus;
use crate::{alone, measured};

/// Executions of each decoder in a usual run.
const EXECUTIONS: u64 = 8_000;

/// Memory that decoding may take for each byte that came. The most costly are entries, which are decoded, encoded and
/// hashed, and lists of small elements, whose room doubles while they grow.
const MEMORY_PER_BYTE_MAX: usize = 12;

/// Memory that a length may buy before its bytes have come: the first piece that borsh reads of a list of bytes, and
/// what is in the error.
const MEMORY_AT_ONCE_MAX: usize = (1 << 20) + (16 << 10);

/// What happened to one decoder.
#[derive(Default)]
struct Tally {
    executions: u64,
    accepted: u64,
    /// The most memory for each byte, where a message is not small.
    per_byte_max: usize,
}

fn fuzz<T>(name: &'static str, corpus: &[Encoding], bytes_max: usize)
where
    T: BorshSerialize + BorshDeserialize,
{
    assert!(corpus.len() > 2, "{name}: a corpus of {}", corpus.len());
    let mut dice = Dice::new(runs::seed());
    let mut tally = Tally::default();
    let reads = |bytes: &[u8]| smr_wire::decode::<T>(bytes, bytes_max).is_ok();
    for encoding in corpus {
        judge::<T>(name, encoding.bytes(), bytes_max, &mut tally);
    }
    assert!(tally.accepted == tally.executions, "{name}: what was recorded is not read");
    let mut counted = runs::Counted::new(name);
    while counted.executions() < runs::executions(EXECUTIONS) {
        counted.one();
        let encoding = dice.pick(corpus).expect("some");
        judge::<T>(name, &encoding.wild(corpus, &mut dice, reads), bytes_max, &mut tally);
    }
    let Tally { executions, accepted, per_byte_max } = tally;
    println!(
        "{name}: {executions} executions, {accepted} accepted, at most {per_byte_max} bytes of memory a byte"
    );
    let share = accepted * 100 / executions;
    assert!((5..95).contains(&share), "{name}: {share} % were accepted, so one side is hardly tried");
}

fn judge<T>(name: &str, bytes: &[u8], bytes_max: usize, tally: &mut Tally)
where
    T: BorshSerialize + BorshDeserialize,
{
    let (decoded, memory) = measured(|| smr_wire::decode::<T>(bytes, bytes_max));
    let allowed = MEMORY_AT_ONCE_MAX + MEMORY_PER_BYTE_MAX * bytes.len();
    assert!(memory <= allowed, "{name}: {} bytes took {memory} bytes of memory", bytes.len());
    tally.executions += 1;
    if let Ok(value) = decoded {
        assert!(smr_wire::encode(&value) == bytes, "{name}: accepted in two encodings");
        tally.accepted += 1;
        if bytes.len() >= 512 {
            tally.per_byte_max = tally.per_byte_max.max(memory / bytes.len());
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic_or_take_more_memory_than_they_pay_for() {
    let _alone = alone();
    let corpus = Corpus::recorded();
    const FRAME: usize = 16 << 20;
    fuzz::<Message>("between replicas", &corpus.between, FRAME);
    fuzz::<ToContact>("of clients", &corpus.to_contact, FRAME);
    fuzz::<FromContact>("of contacts", &corpus.from_contact, FRAME);
    fuzz::<SystemCommand>("commands to the system", &corpus.system, SYSTEM_COMMAND_BYTES_MAX);
    fuzz::<SystemState>("states", &corpus.states, FRAME);
}

#[test]
fn lists_of_the_smallest_elements_and_lengths_that_lie_take_no_more_either() {
    let _alone = alone();
    let mut tally = Tally::default();
    // The first bytes of a message say what it is; then come lengths and elements of zeros, as many as fit.
    for first in 0..=u8::MAX {
        for second in [0, 1, 2, 4, 5, 8, 9] {
            for count in [0, 1, 1 << 10, 1 << 20, u32::MAX] {
                let mut bytes = vec![first % 4, second, first / 4];
                bytes.extend_from_slice(&count.to_le_bytes());
                bytes.resize(64 << 10, 0);
                judge::<Message>("between replicas", &bytes, bytes.len(), &mut tally);
                judge::<ToContact>("of clients", &bytes[1..], bytes.len(), &mut tally);
            }
        }
    }
    assert!(tally.executions > 10_000);
}
