//! How much is asked of others, and answered to each, in one period of `repeat_ms`.

use std::collections::BTreeMap;

use smr_wire::ReplicaId;

/// Blocks whose shares are asked for in one period at most.
const QUERIES_MAX: usize = 16;

/// Questions of one member for shares that are answered in one period at most. More than one asks for, because the
/// periods of two replicas do not begin together, and for the contacts' certificate.
const ANSWERS_MAX: usize = 3 * QUERIES_MAX;

/// What was asked and answered since the last repeat.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    asked: usize,
    answered: BTreeMap<ReplicaId, usize>,
}

impl Quota {
    /// Whether shares on one more block may be asked for; counts it.
    pub fn may_ask(&mut self) -> bool {
        self.asked += 1;
        self.asked <= QUERIES_MAX
    }

    /// Whether one more question of `member` is answered; counts it.
    pub fn may_answer(&mut self, member: ReplicaId) -> bool {
        let answered = self.answered.entry(member).or_default();
        *answered += 1;
        *answered <= ANSWERS_MAX
    }

    /// The next period begins.
    pub fn restart(&mut self) {
        *self = Quota::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_asks_without_end_is_answered_for_its_period_only_and_costs_the_others_nothing() {
        let mut quota = Quota::default();
        let answered =
            |quota: &mut Quota, member| (0..1000).filter(|_| quota.may_answer(ReplicaId(member))).count();
        assert_eq!(answered(&mut quota, 1), ANSWERS_MAX);
        assert_eq!(answered(&mut quota, 2), ANSWERS_MAX);
        assert_eq!((0..1000).filter(|_| quota.may_ask()).count(), QUERIES_MAX);
        quota.restart();
        assert_eq!(answered(&mut quota, 1), ANSWERS_MAX);
    }
}
