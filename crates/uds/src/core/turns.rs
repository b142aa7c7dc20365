//! Whose turn it is in a round: the three orders of turns.
//!
//! Places are counted from 0 in list order. A turn whose primary has not come yet blocks those after it, until
//! the round takes no newcomers.

use std::collections::{BTreeSet, VecDeque};

use crate::config::Order;

/// The turns that are left in this round.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Turns {
    RoundRobin {
        /// The first place that has not had its first turn.
        fresh: usize,
        /// Places that have, and how many turns they have left; the front is next when nobody is fresh.
        again: VecDeque<(usize, u32)>,
    },
    Blocks {
        place: usize,
        /// Turns that `place` has taken.
        taken: u32,
    },
    Clocks {
        /// Places with turns left, by logical clock. A running primary's clock only grows, so nobody behind the
        /// first can come before it.
        keys: BTreeSet<(u64, usize)>,
        /// By place: turns left.
        left: Vec<u32>,
        /// No primary that is still to come has a smaller clock.
        base: u64,
    },
}

/// The next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Of(usize),
    /// Of a primary that has not come yet.
    Absent,
    /// There are no more.
    Over,
}

impl Turns {
    pub(super) fn new(order: Order) -> Turns {
        match order {
            Order::RoundRobin => Turns::RoundRobin { fresh: 0, again: VecDeque::new() },
            Order::Blocks => Turns::Blocks { place: 0, taken: 0 },
            Order::Clocks => Turns::Clocks { keys: BTreeSet::new(), left: Vec::new(), base: 0 },
        }
    }

    /// Back to the beginning of a round. `base` is the smallest clock that a primary may have.
    pub(super) fn reset(&mut self, order: Order, smallest: u64) {
        match (self, order) {
            (Turns::RoundRobin { fresh, again }, Order::RoundRobin) => {
                *fresh = 0;
                again.clear();
            }
            (Turns::Blocks { place, taken }, Order::Blocks) => (*place, *taken) = (0, 0),
            (Turns::Clocks { keys, left, base }, Order::Clocks) => {
                keys.clear();
                left.clear();
                *base = smallest;
            }
            (turns, order) => {
                *turns = Turns::new(order);
                if let Turns::Clocks { base, .. } = turns {
                    *base = smallest;
                }
            }
        }
    }

    /// A primary comes to the next place.
    pub(super) fn join(&mut self, place: usize, clock: u64, steps: u32) {
        if let Turns::Clocks { keys, left, .. } = self {
            keys.insert((clock, place));
            left.push(steps);
        }
    }

    /// The next turn, when `present` primaries have come and more are `expected` or not.
    pub(super) fn next(&self, present: usize, expected: bool) -> Turn {
        match self {
            Turns::RoundRobin { fresh: place, .. } | Turns::Blocks { place, .. } if *place < present => {
                Turn::Of(*place)
            }
            Turns::RoundRobin { .. } | Turns::Blocks { .. } if expected => Turn::Absent,
            Turns::RoundRobin { again, .. } => {
                again.front().map_or(Turn::Over, |(place, _)| Turn::Of(*place))
            }
            Turns::Blocks { .. } => Turn::Over,
            Turns::Clocks { keys, base, .. } => match keys.first() {
                Some(&key) if !expected || key < (*base, present) => Turn::Of(key.1),
                _ if expected => Turn::Absent,
                _ => Turn::Over,
            },
        }
    }

    /// The primary whose turn it is takes it; its clock before that was `clock`.
    pub(super) fn take(&mut self, at: usize, clock: u64, steps: u32) {
        match self {
            Turns::RoundRobin { fresh, again } => {
                // Nobody else has turns left: the place stays where it is.
                if *fresh != at
                    && again.len() == 1
                    && let Some((_, left @ 2..)) = again.front_mut()
                {
                    *left -= 1;
                    return;
                }
                let left = if *fresh == at {
                    *fresh += 1;
                    steps
                } else {
                    again.pop_front().map_or(1, |(_, left)| left)
                };
                if left > 1 {
                    again.push_back((at, left - 1));
                }
            }
            Turns::Blocks { place, taken } => {
                *taken += 1;
                if *taken == steps {
                    (*place, *taken) = (*place + 1, 0);
                }
            }
            Turns::Clocks { keys, left, .. } => {
                keys.pop_first();
                left[at] -= 1;
                if left[at] > 0 {
                    keys.insert((clock + 1, at));
                }
            }
        }
    }

    /// The primary whose turn it is gives up all turns that it has left.
    pub(super) fn forfeit(&mut self, at: usize) {
        match self {
            Turns::RoundRobin { fresh, .. } if *fresh == at => *fresh += 1,
            Turns::RoundRobin { again, .. } => drop(again.pop_front()),
            Turns::Blocks { place, taken } => (*place, *taken) = (*place + 1, 0),
            Turns::Clocks { keys, .. } => drop(keys.pop_first()),
        }
    }

    /// The clock of a primary moves.
    pub(super) fn tick(&mut self, at: usize, from: u64, to: u64) {
        if let Turns::Clocks { keys, .. } = self
            && keys.remove(&(from, at))
        {
            keys.insert((to, at));
        }
    }

    /// See [`Turns::Clocks`]; 0 with other orders.
    pub(super) fn base(&self) -> u64 {
        if let Turns::Clocks { base, .. } = self { *base } else { 0 }
    }
}
