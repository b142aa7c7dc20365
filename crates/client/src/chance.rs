//! All chance of one client, from one seed: SHA-256 of the seed and a count.

use smr_crypto::Digest;

/// A stream of numbers that is the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    seed: Digest,
    drawn: u64,
}

impl Chance {
    pub(crate) fn new(seed: &[u8; 32]) -> Chance {
        Chance { seed: Digest::of("SMRCLOUD-CLIENT-CHANCE-V1", &[seed]), drawn: 0 }
    }

    /// Any number of 64 bits.
    pub(crate) fn number(&mut self) -> u64 {
        self.drawn += 1;
        let digest = Digest::plain(&[&self.seed.0, &self.drawn.to_le_bytes()]);
        digest.0.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// A number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_numbers_and_other_seeds_others() {
        let draw = |seed| {
            let mut chance = Chance::new(&[seed; 32]);
            [chance.number(), chance.number()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[0], draw(1)[1]);
        assert_eq!(Chance::new(&[1; 32]).below(0), 0);
    }
}
