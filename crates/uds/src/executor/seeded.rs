//! One thread, the caller's, that polls whichever task a seed picks: for simulations and for finding out whether
//! an application is deterministic. Equal seeds and equal tasks make equal runs, poll by poll.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::executor::Scheduler;
use crate::executor::shared::Choose;
use crate::task::Body;

/// A source of orders in which tasks are polled.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
}

impl Seeded {
    /// The orders that `seed` stands for.
    #[must_use]
    pub fn new(seed: u64) -> Seeded {
        // Xorshift never leaves zero, and small seeds take long to mix; both are cured by an odd multiplier.
        Seeded { state: seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// Polls tasks, on this thread, until none can be polled; how many polls that took. Tasks remain if they wait
    /// for newcomers or a fill marker. Does not return while a task computes for ever.
    pub fn run(&mut self, scheduler: &Scheduler) -> u64 {
        let mut polls = 0;
        let mut shared = Arc::clone(&scheduler.0);
        let mut next = shared.next(self);
        while let Some(body) = next {
            polls += 1;
            (shared, next) = shared.step(body, self);
        }
        polls
    }

    /// A number below `bound`, which is not 0. Source: xorshift64*, Vigna 2016.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let drawn = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn % bound as u64).expect("less than a usize")
    }
}

impl Choose for Seeded {
    const GOES_ON: bool = false;

    fn choose(&mut self, ready: &mut VecDeque<Body>, own: Option<Body>) -> Option<Body> {
        ready.extend(own);
        if ready.is_empty() {
            return None;
        }
        ready.swap_remove_back(self.below(ready.len()))
    }
}
