//! Who proposes in which slot: a function of what the view's beginning says, never of what a replica thinks.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::{ReplicaId, Slot, View};

use crate::group::Group;
use crate::known_bugs;

/// How the right to propose goes round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// One replica proposes all slots of a view.
    Stable,
    /// Each slot has another one.
    Rotating,
}

/// A replica whose turn held the others up, and until when it gets none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct Exclusion {
    /// Who.
    pub replica: ReplicaId,
    /// It proposes in no slot up to this one.
    pub until: Slot,
    /// How often it was excluded in a row, less one: each time doubles the next.
    pub again: u8,
}

/// How often an exclusion doubles at most.
const DOUBLINGS_MAX: u8 = 6;

/// So many times as long as the longest exclusion it is remembered that there was one.
const MEMORY: u64 = 2;

/// Who proposes in `slot` of `view`, in which these are excluded. The slot lies above what the view's beginning binds: up to
/// there everybody may be out.
#[must_use]
pub fn leader(
    schedule: Schedule,
    group: &Group,
    view: View,
    excluded: &[Exclusion],
    slot: Slot,
) -> ReplicaId {
    match schedule {
        Schedule::Stable => group.primary_of(view),
        Schedule::Rotating => {
            let is_out = |id: &ReplicaId| excluded.iter().any(|e| e.replica == *id && e.until >= slot);
            let turns: Vec<ReplicaId> = group.members().filter(|id| !is_out(id)).collect();
            let turn = slot.0.wrapping_add(view.0) % turns.len() as u64;
            turns[usize::try_from(turn).expect("smaller than the group")]
        }
    }
}

/// What follows for a view whose beginning binds slots up to `bound`, when `blamed` held the last view up: it gets no
/// turns for `base` slots, and twice as many each time. At most f are out at a time, so a correct replica always has
/// turns; the one that was blamed longest ago comes back first.
#[must_use]
pub fn exclude(
    before: &[Exclusion],
    blamed: ReplicaId,
    bound: Slot,
    base: u64,
    faults: u16,
) -> Vec<Exclusion> {
    let forgotten = bound.minus(MEMORY * (base << DOUBLINGS_MAX));
    let mut after: Vec<Exclusion> =
        before.iter().filter(|e| e.replica != blamed && e.until > forgotten).copied().collect();
    let again = before.iter().find(|e| e.replica == blamed).map_or(0, |e| (e.again + 1).min(DOUBLINGS_MAX));
    // The order is that in which they were blamed.
    after.push(Exclusion { replica: blamed, until: bound.plus(base << again), again });
    if known_bugs::EXCLUDES_MORE_THAN_F.is_on() {
        return after;
    }
    let out = after.iter().filter(|e| e.until > bound).count();
    let surplus = out.saturating_sub(usize::from(faults));
    for exclusion in after.iter_mut().filter(|e| e.until > bound).take(surplus) {
        exclusion.until = bound;
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::tests::group_of_three;

    #[test]
    fn turns_go_round_and_pass_over_who_is_excluded_until_it_comes_back() {
        let group = group_of_three();
        let turns = |excluded: &[Exclusion], view| -> Vec<u16> {
            (1..=6).map(|s| leader(Schedule::Rotating, &group, View(view), excluded, Slot(s)).0).collect()
        };
        assert_eq!(turns(&[], 0), [1, 2, 0, 1, 2, 0]);
        assert_eq!(turns(&[], 1), [2, 0, 1, 2, 0, 1]);
        let out = exclude(&[], ReplicaId(2), Slot(0), 4, 1);
        let with = turns(&out, 0);
        assert!(with[..4].iter().all(|id| *id != 2) && with[4..].contains(&2), "{with:?}");
        assert_eq!(leader(Schedule::Stable, &group, View(4), &out, Slot(9)), ReplicaId(1));
    }

    #[test]
    fn at_most_f_are_out_and_each_time_takes_longer() {
        let once = exclude(&[], ReplicaId(2), Slot(10), 4, 1);
        assert_eq!(once, [Exclusion { replica: ReplicaId(2), until: Slot(14), again: 0 }]);
        let twice = exclude(&once, ReplicaId(2), Slot(20), 4, 1);
        assert_eq!(twice, [Exclusion { replica: ReplicaId(2), until: Slot(28), again: 1 }]);
        let other = exclude(&twice, ReplicaId(0), Slot(21), 4, 1);
        let out = |e: &Exclusion| e.until > Slot(21);
        assert_eq!(other.iter().filter(|e| out(e)).map(|e| e.replica.0).collect::<Vec<_>>(), [0]);
        let later = exclude(&other, ReplicaId(1), Slot(100_000), 4, 1);
        assert_eq!(later.len(), 1, "what is long ago is forgotten");
    }
}
