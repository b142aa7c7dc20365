//! Time, and numbers that look like chance.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock; nothing is decided by it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Numbers that look like chance. Source: xorshift64*, Vigna 2016.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Draws {
        Draws(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}
