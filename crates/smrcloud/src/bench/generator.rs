//! A workload's operations, one after the other, from a seed: the same seed, the same operations.
//! Source: Cooper et al., SoCC 2010; the skewed chooser is that of Gray et al., Quickly Generating Billion-Record
//! Synthetic Databases, SIGMOD 1994, over as many items and with the constant that YCSB has, so that figures compare.
//! We differ in: popular records stay popular while records are inserted (YCSB sizes its keyspace in advance).

use std::ops::RangeInclusive;

use super::workload::{Distribution, KeyOrder, ScanLengths, Workload};

/// One client's operations. Clients that work side by side get different seeds.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    workload: Workload,
    chance: Chance,
    popularity: Zipfian,
    recency: Zipfian,
    lengths: Zipfian,
}

impl Generator {
    /// The generator of `workload` that `seed` decides.
    pub(crate) fn new(workload: Workload, seed: u64) -> Generator {
        let lengths = u64::from(workload.scan_records.end() - workload.scan_records.start()) + 1;
        let recency = Zipfian::new(workload.records);
        let (popularity, lengths) = (Zipfian::new(POPULARITY_ITEMS), Zipfian::new(lengths));
        Generator { workload, chance: Chance(seed), popularity, recency, lengths }
    }

    /// The next operation, when the records 0 to `records` - 1 are there; at least one is.
    pub(crate) fn next(&mut self, records: u64) -> Operation {
        assert!(records > 0, "a workload is loaded before it is run, and has at least one record");
        let mix = self.workload.mix;
        // Added up in the order of the borders below, so that what has no share is never chosen by rounding.
        let sum = mix.insert + mix.update + mix.scan + mix.read_modify_write + mix.read;
        let draw = self.chance.fraction() * sum;
        let mut border = mix.insert;
        if draw < border {
            return Operation::Insert;
        }
        let record = self.record(records);
        border += mix.update;
        if draw < border {
            return Operation::Update { record };
        }
        border += mix.scan;
        if draw < border {
            return Operation::Scan { record, records: self.scan_length() };
        }
        border += mix.read_modify_write;
        if draw < border { Operation::ReadModifyWrite { record } } else { Operation::Read { record } }
    }

    /// The key of a record, as text.
    pub(crate) fn key(&self, record: u64) -> String {
        match self.workload.keys {
            KeyOrder::Hashed => format!("user{}", scrambled(record)),
            KeyOrder::Ordered => format!("user{record:012}"),
        }
    }

    /// A new record: its fields' bytes, one field after the other; printable ASCII.
    pub(crate) fn value(&mut self) -> Vec<u8> {
        let bytes = self.workload.fields as usize * self.workload.field_bytes as usize;
        self.text(bytes)
    }

    /// Which field an update changes, from 0, and its new bytes; printable ASCII.
    pub(crate) fn field(&mut self) -> (u32, Vec<u8>) {
        let field = self.chance.below(self.workload.fields.into());
        let bytes = self.text(self.workload.field_bytes as usize);
        (u32::try_from(field).expect("below a number of that size"), bytes)
    }

    fn record(&mut self, records: u64) -> u64 {
        match self.workload.distribution {
            Distribution::Uniform => self.chance.below(records),
            Distribution::Zipfian => {
                let item = self.popularity.draw(&mut self.chance);
                consistent_bucket(scrambled(item), records)
            }
            Distribution::Latest => {
                self.recency.resize(records);
                records - 1 - self.recency.draw(&mut self.chance)
            }
        }
    }

    fn scan_length(&mut self) -> u32 {
        let range: &RangeInclusive<u32> = &self.workload.scan_records;
        let beyond_shortest = match self.workload.scan_lengths {
            ScanLengths::Uniform => self.chance.below(u64::from(range.end() - range.start()) + 1),
            ScanLengths::Zipfian => self.lengths.draw(&mut self.chance),
        };
        range.start() + u32::try_from(beyond_shortest).expect("within a range of that size")
    }

    /// Eight characters from each draw.
    fn text(&mut self, bytes: usize) -> Vec<u8> {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = Vec::with_capacity(bytes.next_multiple_of(8));
        while text.len() < bytes {
            let draw = self.chance.draw().to_le_bytes();
            text.extend(draw.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
        text.truncate(bytes);
        text
    }
}

/// What to do next. Records are numbers, from 0; [`Generator::key`] names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// Read a record.
    Read {
        /// Which.
        record: u64,
    },
    /// Change a field of a record, or write it anew: [`Generator::field`], [`Generator::value`].
    Update {
        /// Which.
        record: u64,
    },
    /// Add a record. Clients that work side by side share the count of records, so its number is the caller's.
    Insert,
    /// Read records in the order of their keys.
    Scan {
        /// The first.
        record: u64,
        /// How many.
        records: u32,
    },
    /// Read a record, then update it.
    ReadModifyWrite {
        /// Which.
        record: u64,
    },
}

/// Items of which popular records are drawn, as in YCSB: more than there are records, so that each stands for many.
const POPULARITY_ITEMS: u64 = 10_000_000_000;

/// The skew: item i is drawn in proportion to 1 / (i+1)^THETA.
const THETA: f64 = 0.99;

/// Draws 0 most often, then 1, and so on.
#[derive(Clone, Debug)]
struct Zipfian {
    items: u64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    fn new(items: u64) -> Zipfian {
        let zeta = zeta(items);
        let n = float(items);
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - ZETA_OF_TWO / zeta);
        Zipfian { items, zeta, eta }
    }

    fn resize(&mut self, items: u64) {
        if items != self.items {
            *self = Zipfian::new(items);
        }
    }

    /// A number below `items`.
    fn draw(&self, chance: &mut Chance) -> u64 {
        let u = chance.fraction();
        let weight = u * self.zeta;
        if weight < 1.0 || self.items == 1 {
            return 0;
        }
        if weight < ZETA_OF_TWO || self.items == 2 {
            return 1;
        }
        let n = float(self.items);
        let item = n * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        whole(item).min(self.items - 1)
    }
}

/// The sum of 1 / i^THETA for i = 1 and 2.
const ZETA_OF_TWO: f64 = 1.503_477_775_028_359_4;

/// The sum of 1 / i^THETA for i = 1 to `items`: exactly for the first few, where the terms change quickly, and by the
/// Euler-Maclaurin formula for the others, so that growing services cost no time.
fn zeta(items: u64) -> f64 {
    const EXACT: u64 = 64;
    let exact: f64 = (1..=items.min(EXACT)).map(|i| float(i).powf(-THETA)).sum();
    if items <= EXACT {
        return exact;
    }
    let (first, last) = (float(EXACT), float(items));
    let integral = (last.powf(1.0 - THETA) - first.powf(1.0 - THETA)) / (1.0 - THETA);
    let ends = (last.powf(-THETA) - first.powf(-THETA)) / 2.0;
    let slopes = THETA / 12.0 * (first.powf(-THETA - 1.0) - last.powf(-THETA - 1.0));
    exact + integral + ends + slopes
}

/// Strews neighbours. Source: FNV-1a, 64 bit, over the little-endian bytes.
fn scrambled(value: u64) -> u64 {
    value.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The bucket, below `buckets`, of `key`; when buckets are added, keys move to the new ones only.
/// Source: Lamping and Veach, A Fast, Minimal Memory, Consistent Hash Algorithm, 2014.
fn consistent_bucket(mut key: u64, buckets: u64) -> u64 {
    let mut bucket = 0;
    let mut next = 0;
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = whole(float(bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)));
    }
    bucket
}

/// The only source of chance here: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Not fit for secrets.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and less than 1, in steps of 2^-53.
    fn fraction(&mut self) -> f64 {
        float(self.draw() >> 11) / float(1 << 53)
    }

    /// A number below `end`, which is at least 1. For the sizes here, no number is favoured noticeably.
    fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.draw()) * u128::from(end);
        u64::try_from(product >> 64).expect("below a number of that size")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chooser needs no more than 53 bits")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and choosers want the whole part"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests;
