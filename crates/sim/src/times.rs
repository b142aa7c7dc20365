//! Response times, counted by size: little room whatever the number of runs, and each within an eighth of the truth.

use std::collections::BTreeMap;

/// Bits of a time that are kept.
const KEPT_BITS: u32 = 4;

/// How many response times there were of each size.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Times(BTreeMap<u64, u64>);

impl Times {
    /// Counts one, in microseconds.
    pub fn add(&mut self, us: u64) {
        let dropped = (u64::BITS - us.leading_zeros()).saturating_sub(KEPT_BITS);
        *self.0.entry(us >> dropped << dropped).or_default() += 1;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The time, in microseconds, that `per_mille` of them do not exceed; none if there are none.
    #[must_use]
    pub fn quantile_us(&self, per_mille: u64) -> Option<u64> {
        let wanted = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(us, count)| {
            seen += count;
            (seen >= wanted).then_some(*us)
        })
    }
}

impl std::ops::AddAssign for Times {
    fn add_assign(&mut self, other: Times) {
        for (us, count) in other.0 {
            *self.0.entry(us).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth_of_the_truth() {
        let mut times = Times::default();
        assert_eq!(times.quantile_us(500), None);
        (1..=1000).for_each(|ms| times.add(ms * 1000));
        let mut more = Times::default();
        more.add(90_000_000);
        times += more;
        assert_eq!(times.count(), 1001);
        for (per_mille, truth) in [(500_u64, 501_000_u64), (990, 991_000), (1000, 90_000_000)] {
            let found = times.quantile_us(per_mille).expect("some");
            assert!(found <= truth && found >= truth - truth / 8, "{per_mille}: {found} for {truth}");
        }
    }
}
