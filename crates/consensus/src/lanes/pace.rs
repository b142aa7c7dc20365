//! Who holds the others up, where replicas propose in turn. One that proposes late, but not so late that patience runs
//! out, makes everybody wait at each of its slots; so what counts is how long proposals of each are waited for while
//! later ones have been made, against how long a quorum takes to vote for what this replica proposes itself.
//!
//! Each replica judges by its own clock and only wishes for another view; whom f+1 wishes cost their turns follows from
//! how the view begins ([`super::beginning`]).

use std::collections::BTreeMap;

use smr_wire::{ReplicaId, Slot, Timestamp};

/// A wait of so many rounds of votes is slow. A turn that is skipped takes two, and distances differ.
const SLOW_ROUNDS: u64 = 8;

/// Strikes for a slow slot; one in time takes one back. So who is slow in every second slot is found out.
const STRIKES_PER_SLOW: u32 = 2;

/// With so many strikes a replica holds the others up: three slow slots in a row, so that one pause is forgiven.
const STRIKES: u32 = 3 * STRIKES_PER_SLOW;

/// The part of the last round of votes in what a round usually takes, as a divisor.
const SHARE_OF_NEW: u64 = 4;

/// How long slots of each replica are waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Since when the first open slot is waited for, if it is.
    since: Option<(Slot, Timestamp)>,
    /// The last slot of which it is known how long it took.
    judged: Slot,
    /// How long a quorum usually takes to vote for a proposal of ours, in microseconds.
    round_us: u64,
    strikes: BTreeMap<ReplicaId, u32>,
}

/// When a replica is too slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Never below this wait, in ms.
    pub(super) floor_ms: u64,
    /// Above this one patience runs out, in ms.
    pub(super) patience_ms: u64,
}

impl Pace {
    /// A quorum voted for a proposal of ours within `ms`. It takes no vote of f others, so they cannot make it longer.
    pub(super) fn voted(&mut self, ms: u64, limits: Limits) {
        let round_us = 1000 * ms.min(limits.patience_ms);
        self.round_us = self.round_us - self.round_us / SHARE_OF_NEW + round_us / SHARE_OF_NEW;
    }

    /// The first open slot is waited for: a later one has been proposed, and it has not.
    pub(super) fn wait(&mut self, head: Slot, clock: Timestamp) {
        if self.since.is_none_or(|(slot, _)| slot != head) {
            self.since = Some((head, clock));
        }
    }

    /// Something stands in `head`, a slot of another replica, `leader`: how long that took, counted once.
    pub(super) fn came(&mut self, head: Slot, leader: ReplicaId, clock: Timestamp, limits: Limits) {
        if head <= self.judged {
            return;
        }
        self.judged = head;
        let waited_ms =
            self.since.take_if(|(slot, _)| *slot == head).map_or(0, |(_, since)| clock.since(since));
        let least_ms = (SLOW_ROUNDS * self.round_us / 1000).max(limits.floor_ms);
        let strikes = self.strikes.entry(leader).or_default();
        *strikes = if waited_ms > least_ms {
            (*strikes + STRIKES_PER_SLOW).min(STRIKES)
        } else {
            strikes.saturating_sub(1)
        };
    }

    /// Who holds the others up.
    pub(super) fn slow(&self) -> Option<ReplicaId> {
        self.strikes.iter().find(|(_, strikes)| **strikes >= STRIKES).map(|(id, _)| *id)
    }

    /// As if this replica had held all others up.
    #[cfg(test)]
    pub(super) fn accuse(&mut self, replica: ReplicaId) {
        self.strikes.insert(replica, STRIKES);
    }

    /// Another view has begun: what was before is held against nobody.
    pub(super) fn restart(&mut self) {
        self.since = None;
        self.strikes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { floor_ms: 50, patience_ms: 500 };

    /// Turns of two others where a round of votes takes `round_ms`, the second being waited for as long as `wait_ms` says.
    fn after(rounds: u64, round_ms: u64, wait_ms: impl Fn(u64) -> u64) -> Option<ReplicaId> {
        let (mut pace, mut clock) = (Pace::default(), Timestamp(0));
        (0..20).for_each(|_| pace.voted(round_ms, LIMITS));
        for slot in 1..=2 * rounds {
            pace.wait(Slot(slot), clock);
            let (leader, wait) = if slot % 2 == 0 { (2, wait_ms(slot / 2)) } else { (1, 2 * round_ms) };
            clock = clock.plus_ms(wait);
            pace.came(Slot(slot), ReplicaId(leader), clock, LIMITS);
        }
        pace.slow()
    }

    #[test]
    fn who_takes_many_rounds_is_found_out_and_who_takes_a_few_or_little_time_is_not() {
        assert_eq!(after(3, 10, |_| 200), Some(ReplicaId(2)));
        assert_eq!(after(20, 30, |_| 200), None, "seven rounds of votes");
        assert_eq!(after(20, 1, |_| 50), None, "no more than the floor");
        assert_eq!(after(3, 1, |_| 51), Some(ReplicaId(2)));
    }

    #[test]
    fn one_pause_is_forgiven_and_being_slow_every_second_time_is_not() {
        assert_eq!(after(20, 5, |round| if round == 20 { 10_000 } else { 10 }), None);
        assert_eq!(after(20, 5, |round| if round % 2 == 0 { 300 } else { 10 }), Some(ReplicaId(2)));
    }

    #[test]
    fn what_nobody_waits_for_is_held_against_nobody_and_a_slot_counts_once() {
        let mut pace = Pace::default();
        for slot in 1..=30 {
            pace.came(Slot(slot), ReplicaId(1), Timestamp(slot * 1000), LIMITS);
        }
        pace.wait(Slot(31), Timestamp(0));
        (0..9).for_each(|_| pace.came(Slot(31), ReplicaId(1), Timestamp(99_000), LIMITS));
        assert_eq!(pace.slow(), None);
    }
}
