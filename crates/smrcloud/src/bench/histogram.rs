//! How long operations took: counts in buckets whose width grows with the value, so that memory is fixed and every
//! quantile is within 1 % of the exact one.
//!
//! ```text
//!   below 128 ns a bucket per value; above, 128 buckets for each doubling:
//!   [128 129 .. 255] [256 258 .. 510] [512 516 .. 1020] ...
//! ```

use std::time::Duration;

/// Counts of durations, in nanoseconds; ones beyond 584 years count as that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum_ns: u128,
    max_ns: u64,
}

/// Binary digits that a bucket keeps below a value's first: 2^7 buckets to a doubling, each at most 1/128 of its
/// value wide, whose middle is at most 1/256 away from any value in it.
const DIGITS: u32 = 7;

/// Buckets to a doubling.
const PER_DOUBLING: usize = 1 << DIGITS;

/// Buckets for all of `u64`.
const BUCKETS: usize = (u64::BITS - DIGITS + 1) as usize * PER_DOUBLING;

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS], count: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one operation.
    pub(crate) fn record(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds all that `other` counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The figures that are reported; none of an empty histogram.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let mean_ns = self.sum_ns.checked_div(u128::from(self.count))?;
        Some(Summary {
            count: self.count,
            mean: nanoseconds(u64::try_from(mean_ns).unwrap_or(u64::MAX)),
            p50: self.percentile(50),
            p95: self.percentile(95),
            p99: self.percentile(99),
            max: nanoseconds(self.max_ns),
        })
    }

    /// The duration that `percent` of the operations did not exceed, within 1 %. Zero if there were none.
    fn percentile(&self, percent: u64) -> Duration {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0u128;
        for (i, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return nanoseconds(middle(i).min(self.max_ns));
            }
        }
        Duration::ZERO
    }
}

/// What a histogram says in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    /// Operations.
    pub(crate) count: u64,
    /// Their mean, exact.
    pub(crate) mean: Duration,
    /// Half of them took no longer. Within 1 %, like the next two.
    pub(crate) p50: Duration,
    /// 95 of 100 took no longer.
    pub(crate) p95: Duration,
    /// 99 of 100 took no longer.
    pub(crate) p99: Duration,
    /// The longest, exact.
    pub(crate) max: Duration,
}

fn nanoseconds(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

/// The bucket that counts `ns`.
fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(DIGITS + 1);
    let within = usize::try_from(ns >> shift).expect("has at most 8 digits");
    shift as usize * PER_DOUBLING + within
}

/// The value in the middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let shift = (bucket / PER_DOUBLING).saturating_sub(1);
    let low = (bucket - shift * PER_DOUBLING) as u64;
    (low << shift) + ((1u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.for_each(|ns| histogram.record(nanoseconds(ns)));
        histogram
    }

    #[test]
    fn every_value_has_a_bucket_whose_middle_is_near() {
        let powers = (0..64).map(|shift| 1u64 << shift);
        let values = powers.flat_map(|power| [power - 1, power, power + 1, power + power / 3]);
        for ns in values.chain([u64::MAX]) {
            let middle = middle(bucket(ns));
            assert!(middle.abs_diff(ns) <= ns / 200, "{ns} counts as {middle}");
            assert!(bucket(ns) < BUCKETS, "{ns}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_are_in_the_order_of_their_values() {
        let middles: Vec<u64> = (0..BUCKETS).map(middle).collect();
        assert!(middles.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(middles.iter().enumerate().all(|(i, middle)| bucket(*middle) == i));
    }

    #[test]
    fn quantiles_are_within_one_percent_and_mean_and_maximum_are_exact() {
        let summary = of((1..=100_000).map(|i| i * 1000)).summary().expect("not empty");
        assert_eq!((summary.count, summary.max), (100_000, Duration::from_millis(100)));
        assert_eq!(summary.mean, Duration::from_nanos(50_000_500));
        for (quantile, exact_ms) in [(summary.p50, 50u128), (summary.p95, 95), (summary.p99, 99)] {
            let exact_ns = exact_ms * 1_000_000;
            assert!(
                quantile.as_nanos().abs_diff(exact_ns) <= exact_ns / 100,
                "{quantile:?} for {exact_ms} ms"
            );
        }
    }

    #[test]
    fn a_merge_counts_what_both_counted() {
        let mut low = of(1..500);
        low.merge(&of(500..1000));
        assert_eq!(low, of(1..1000));
    }

    #[test]
    fn nothing_has_no_figures_and_one_value_is_all_of_them() {
        assert_eq!(Histogram::default().summary(), None);
        let only = Duration::from_nanos(1_234_567);
        let summary = of([1_234_567].into_iter()).summary().expect("one");
        assert_eq!((summary.mean, summary.max), (only, only));
        assert!(summary.p50 <= only && summary.p50.as_nanos() > 1_222_000, "{summary:?}");
    }
}
