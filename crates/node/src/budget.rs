//! How much a peer may have answered: a bucket of tokens in bytes. A question of a few bytes may cost megabytes of
//! answer, so who asks without end is not answered without end.

use std::time::Duration;

use tokio::time::Instant;

/// How fast a peer's bucket fills, and how much it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetLimits {
    /// Bytes of answers per second, over a long time. More lets laggards catch up faster, and liars cost more.
    pub bytes_per_second: u64,
    /// Bytes of answers at once, after a time without questions. Not more than half of what may wait for a peer, so
    /// that answers do not push out what the protocol says to it.
    pub burst_bytes: u64,
}

/// What is left for one peer. A question is taken as long as anything is; its answer, whose size shows only once it
/// is made, may overdraw.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limits: BudgetLimits,
    /// Bytes that may be answered; below zero after an answer that was larger than the rest.
    left: i64,
    /// Up to when the bucket was filled.
    filled: Instant,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(limits: BudgetLimits, now: Instant) -> Budget {
        Budget { limits, left: signed(limits.burst_bytes), filled: now }
    }

    /// Whether a question may be answered now.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let drops = now.saturating_duration_since(self.filled).as_micros()
            * u128::from(self.limits.bytes_per_second)
            / MICROS;
        // Less than a byte stays in the time that was not counted yet.
        if drops > 0 {
            let drops = i64::try_from(drops).unwrap_or(i64::MAX);
            self.left = self.left.saturating_add(drops).min(signed(self.limits.burst_bytes));
            self.filled = now;
        }
        self.left > 0
    }

    /// Takes the bytes of an answer.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

const MICROS: u128 = Duration::from_secs(1).as_micros();

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BudgetLimits = BudgetLimits { bytes_per_second: 1000, burst_bytes: 500 };

    #[test]
    fn a_burst_is_answered_at_once_and_the_rest_as_the_bucket_fills() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mut budget = Budget::new(LIMITS, began);
        budget.charge(499);
        assert!(budget.allows(began));
        budget.charge(1001);
        assert!(!budget.allows(began), "one answer overdraws, the next waits");
        assert!(!budget.allows(after(1000)));
        assert!(budget.allows(after(1001)));
        budget.charge(1);
        assert!(!budget.allows(after(1001)));
    }

    #[test]
    fn it_holds_no_more_than_a_burst_and_asking_often_neither_gains_nor_loses() {
        let began = Instant::now();
        let mut budget = Budget::new(LIMITS, began);
        let later = began + Duration::from_secs(3600);
        assert!(budget.allows(later));
        budget.charge(500);
        assert!(!budget.allows(later));
        // 1000 looks within a millisecond, which is worth one byte.
        let allowed = (1..=1000).filter(|us| budget.allows(later + Duration::from_micros(*us))).count();
        assert_eq!(allowed, 1);
        assert!(!Budget::new(BudgetLimits { burst_bytes: 0, ..LIMITS }, began).allows(began));
    }
}
