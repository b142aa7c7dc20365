//! Named settings: `sequential`, `rounds`.

use crate::config::Config;

/// One task after the other: the next one starts when the one before has left. What every replicated service
/// without deterministic multithreading does. (One primary alone would not be it: later tasks would compute up to
/// their first lock.)
#[must_use]
pub const fn sequential() -> Config {
    Config { primaries: 1, steps: u32::MAX, tasks_max: 1, backlog_max: 1 << 16 }
}

/// `primaries` tasks take turns in round robin, `steps` turns each per round.
/// Source: UDS (SRDS 2016), the order that its authors' prototypes use.
#[must_use]
pub const fn rounds(primaries: u32, steps: u32) -> Config {
    let tasks_max = if primaries > 64 { primaries.saturating_mul(4) } else { 256 };
    Config { primaries, steps, tasks_max, backlog_max: 1 << 16 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_preset_is_a_valid_setting() {
        assert_eq!(super::sequential().validate(), Ok(()));
        for (primaries, steps) in [(1, 1), (4, 2), (64, 1), (65, 3), (4096, u32::MAX)] {
            assert_eq!(super::rounds(primaries, steps).validate(), Ok(()));
        }
    }
}
