//! A record in a segment, and how the chain of them is read.
//!
//! ```text
//!   crc of head (4) | of bytes (4) | length (4) | place (4) | sequence (8) | slot (8) | bytes | zeros up to 8
//! ```
//!
//! `sequence` counts records of all segments without a gap. `place` counts from the first record that no sync had covered
//! when this one was made, so a head alone proves that everything before its group was durable. A marker is a head
//! without bytes where the next record will stand: it proves the same, and is written over. Checksums begin with the
//! segment's number and salt, so bytes of another life of the file, or of a record's content, are no records.

use std::ops::Range;

use crate::known_bugs::TAKES_ANOTHER_LIFE;
use crate::sheet::{double, word};

/// Length of a record's head.
pub(crate) const HEAD_BYTES: usize = 32;

/// What stands as length in a marker.
const MARKER: u32 = u32::MAX;

/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// The next multiple of [`ALIGNMENT`].
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
}

/// Where checksums of a segment's records begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(segment: u64, salt: u64) -> Seed {
        if TAKES_ANOTHER_LIFE.is_on() {
            return Seed(0);
        }
        Seed(crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), &salt.to_le_bytes()))
    }

    fn of(self, covered: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, covered)
    }
}

/// What a head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) slot: u64,
    /// First sequence of its group.
    pub(crate) group: u64,
}

/// Adds a record to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, seed: Seed, head: Head, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("the configuration limits records to 1 GiB");
    let at = out.len();
    out.extend_from_slice(&head_bytes(seed, head, length, record));
    out.extend_from_slice(record);
    out.resize(at + padded(out.len() - at), 0);
}

/// The marker that everything before `sequence` is durable.
pub(crate) fn marker(seed: Seed, sequence: u64) -> [u8; HEAD_BYTES] {
    head_bytes(seed, Head { sequence, slot: 0, group: sequence }, MARKER, &[])
}

fn head_bytes(seed: Seed, head: Head, length: u32, record: &[u8]) -> [u8; HEAD_BYTES] {
    let place = u32::try_from(head.sequence - head.group).expect("a group is synced long before");
    let mut bytes = [0; HEAD_BYTES];
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..16].copy_from_slice(&place.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.slot.to_le_bytes());
    let crc = seed.of(&bytes[8..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc32c::crc32c_append(crc, record).to_le_bytes());
    bytes
}

/// A whole head at a place, and the place of the bytes it stands for; none of a marker.
fn parse_head(segment: &[u8], at: usize, seed: Seed) -> Option<(Head, Option<Range<usize>>)> {
    let bytes = segment.get(at..at.checked_add(HEAD_BYTES)?)?;
    if word(bytes, 0) != seed.of(&bytes[8..]) {
        return None;
    }
    let (length, sequence) = (word(bytes, 8), double(bytes, 16));
    let group = sequence.checked_sub(u64::from(word(bytes, 12)))?;
    let place = (length != MARKER).then(|| at + HEAD_BYTES..at + HEAD_BYTES + length as usize);
    Some((Head { sequence, slot: double(bytes, 24), group }, place))
}

/// A whole record at a place.
fn parse(segment: &[u8], at: usize, seed: Seed) -> Option<(Head, Range<usize>)> {
    let (head, place) = parse_head(segment, at, seed)?;
    let place = place?;
    let record = segment.get(place.clone())?;
    let crc = crc32c::crc32c_append(word(segment, at), record);
    (word(segment, at + 4) == crc).then_some((head, place))
}

/// The records of a segment, up to the first that is not whole.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Each with the place of its bytes.
    pub(crate) records: Vec<(Head, Range<usize>)>,
    /// Where the next record would stand.
    pub(crate) end: usize,
    /// Which it would be.
    pub(crate) next: u64,
}

impl Chain {
    /// Reads on from the record `first` at `at`.
    pub(crate) fn read(segment: &[u8], at: usize, first: u64, seed: Seed) -> Chain {
        let mut chain = Chain { records: Vec::new(), end: at, next: first };
        while let Some((head, bytes)) = parse(segment, chain.end, seed) {
            if head.sequence != chain.next && !TAKES_ANOTHER_LIFE.is_on() {
                break;
            }
            chain.end = padded(bytes.end);
            chain.next += 1;
            chain.records.push((head, bytes));
        }
        chain
    }

    /// What stands behind the end.
    pub(crate) fn beyond(&self, segment: &[u8], seed: Seed) -> Beyond {
        let mut beyond = Beyond { begun: false, behind: 0, proof: None };
        let heads = (self.end..segment.len()).step_by(ALIGNMENT).filter_map(|at| {
            // Most of what is read here is zeros or of another life, and has other numbers.
            let sequence = double(segment.get(at..at + HEAD_BYTES)?, 16);
            let possible = sequence >= self.next && sequence - self.next <= segment.len() as u64;
            possible.then(|| parse_head(segment, at, seed)).flatten().map(|found| (at, found))
        });
        for (at, (head, place)) in heads {
            let is_record = place.is_some();
            beyond.begun |= is_record && at == self.end;
            beyond.behind += u64::from(is_record && at != self.end);
            if head.group > self.next && beyond.proof.is_none() {
                beyond.proof = Some(at as u64);
            }
        }
        beyond
    }
}

/// What stands behind the end of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Beyond {
    /// The next record was begun.
    pub(crate) begun: bool,
    /// Records behind that.
    pub(crate) behind: u64,
    /// Where something proves that the next record was durable.
    pub(crate) proof: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: fn() -> Seed = || Seed::new(3, 77);

    /// A segment with records 5, 6 (one group), 7 (the next) and a marker.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut out = Vec::new();
        let mut starts = Vec::new();
        for (sequence, group, record) in [(5, 5, &b"five"[..]), (6, 5, b""), (7, 7, b"seven, longer")] {
            starts.push(out.len());
            encode(&mut out, SEED(), Head { sequence, slot: 1, group }, record);
        }
        starts.push(out.len());
        out.extend_from_slice(&marker(SEED(), 8));
        out.resize(512, 0);
        (out, starts)
    }

    #[test]
    fn a_chain_is_read_to_its_end() {
        let (segment, starts) = segment();
        let chain = Chain::read(&segment, 0, 5, SEED());
        let found: Vec<&[u8]> = chain.records.iter().map(|(_, at)| &segment[at.clone()]).collect();
        assert_eq!(found, [&b"five"[..], b"", b"seven, longer"]);
        assert_eq!((chain.end, chain.next), (starts[3], 8));
        let beyond = chain.beyond(&segment, SEED());
        assert_eq!(beyond, Beyond { begun: false, behind: 0, proof: None });
    }

    #[test]
    fn a_flipped_bit_ends_the_chain_and_what_follows_proves_what_was_lost() {
        let (whole, starts) = segment();
        for bit in 0..starts[3] * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let chain = Chain::read(&flipped, 0, 5, SEED());
            let hit = starts.iter().rposition(|start| bit / 8 >= *start).unwrap();
            if chain.next == 8 {
                let padding = [starts[0] + 36..starts[1], starts[2] + 45..starts[3]];
                assert!(padding.iter().any(|range| range.contains(&(bit / 8))), "bit {bit} was not seen");
                continue;
            }
            assert_eq!(chain.next, 5 + hit as u64, "bit {bit}");
            assert!(chain.beyond(&flipped, SEED()).proof.is_some(), "bit {bit}: no proof");
        }
    }

    #[test]
    fn records_of_the_same_group_prove_nothing() {
        let (whole, starts) = segment();
        let mut torn = whole;
        torn[starts[0] + 33] ^= 1;
        torn[starts[2]..].fill(0);
        let chain = Chain::read(&torn, 0, 5, SEED());
        let beyond = chain.beyond(&torn, SEED());
        assert_eq!((chain.next, beyond), (5, Beyond { begun: true, behind: 1, proof: None }));
    }

    #[test]
    fn records_of_another_segment_or_salt_are_none() {
        let (segment, _) = segment();
        for seed in [Seed::new(4, 77), Seed::new(3, 78)] {
            let chain = Chain::read(&segment, 0, 5, seed);
            assert!(chain.records.is_empty());
            assert_eq!(chain.beyond(&segment, seed).proof, None);
        }
    }

    #[test]
    fn a_record_within_a_record_is_none_without_the_salt() {
        let mut forged = Vec::new();
        encode(
            &mut forged,
            Seed::new(3, 0),
            Head { sequence: 9, slot: 1, group: 9 },
            b"no proof of anything",
        );
        let mut segment = Vec::new();
        encode(&mut segment, SEED(), Head { sequence: 5, slot: 1, group: 5 }, &forged);
        segment[4] ^= 1;
        let chain = Chain::read(&segment, 0, 5, SEED());
        assert_eq!(chain.beyond(&segment, SEED()), Beyond { begun: true, behind: 0, proof: None });
    }
}
