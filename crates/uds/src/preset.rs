//! Named settings: `sequential`, `sat`, `mat`, `pds1`, `pds2`, `kendo`, `rounds`, `blocks`.
//!
//! A preset imitates a published scheduler in what decides the order of locks. Where the original had threads, a
//! pool or a processor's counters, ours has tasks, primaries and [`crate::advance`].

use crate::config::{Blocked, Config, Order, Start};

/// One task after the other: the next one starts when the one before has left or waits on a condition. What every
/// replicated service without deterministic multithreading does, and best where commands are very short.
/// (One primary alone would not be it: later tasks would compute up to their first lock.)
#[must_use]
pub const fn sequential() -> Config {
    Config { start: Start::AsPrimary, tasks_max: 1, ..base(1, u32::MAX) }
}

/// SAT, one active thread: like [`sequential`], but a task that is blocked lets the next one run. For commands that
/// wait for each other while they hold locks; uses one core.
/// Source: Domaschka, Hauck, Reiser, Kapitza, *Deterministic Multithreading for Java-based Replicated Objects*
/// (PDCS 2006), after Jimenez-Peris, Patino-Martinez, Arevalo, *Deterministic scheduling for transactional
/// multithreaded replicas* (SRDS 2000).
#[must_use]
pub const fn sat() -> Config {
    Config { start: Start::AsPrimary, blocked: Blocked::YieldsPlace, ..base(1, u32::MAX) }
}

/// MAT, multiple active threads: all compute, only the oldest that is not blocked takes locks. For long
/// computations before the first lock; never waits for newcomers, so its latency is low under light load.
/// Source: Reiser, Domaschka, Hauck, Kapitza, Schroeder-Preikschat, *Consistent replication of multithreaded
/// distributed objects* (SRDS 2006).
#[must_use]
pub const fn mat() -> Config {
    Config { blocked: Blocked::YieldsPlace, ..base(1, u32::MAX) }
}

/// PDS-1, preemptive deterministic scheduling: a pool of tasks, one lock for each per round, in their order. For
/// steady load of commands that are much alike. `pool` is the number of primaries.
/// Source: Basile, Whisnant, Kalbarczyk, Iyer, *Loose synchronization of multithreaded replicas* (SRDS 2002) and
/// *A preemptive deterministic scheduling algorithm for multithreaded replicas* (DSN 2003).
#[must_use]
pub const fn pds1(pool: u32) -> Config {
    base(pool, 1)
}

/// PDS-2: like [`pds1`], with up to two locks per round. For commands that nest two locks or use a second one.
#[must_use]
pub const fn pds2(pool: u32) -> Config {
    base(pool, 2)
}

/// Kendo: a lock goes to the task with the smallest logical clock. For commands of very different length that
/// tell their work by [`crate::advance`]; without that it is a round robin. Rounds of 64 turns let ended tasks be
/// replaced. `pool` is the number of primaries.
/// Source: Olszewski, Ansel, Amarasinghe, *Kendo: efficient deterministic multithreading in software* (ASPLOS 2009).
#[must_use]
pub const fn kendo(pool: u32) -> Config {
    Config { order: Order::Clocks, ..base(pool, 64) }
}

/// `primaries` tasks take turns in round robin, `steps` turns each per round. The general case; more primaries
/// for more cores, more steps for commands with several locks.
/// Source: Hauck, Habiger, Domaschka, *UDS: a novel and flexible scheduling algorithm for deterministic
/// multithreading* (SRDS 2016), with the order that its authors' prototypes use.
#[must_use]
pub const fn rounds(primaries: u32, steps: u32) -> Config {
    base(primaries, steps)
}

/// Like [`rounds`], but each primary has all its turns at once: the older task never waits for a younger one, so a
/// burst's last tasks need no fill marker to go on up to the end of their round.
/// Source: UDS (SRDS 2016), the total order as a parameter.
#[must_use]
pub const fn blocks(primaries: u32, steps: u32) -> Config {
    Config { order: Order::Blocks, ..base(primaries, steps) }
}

/// All names that [`by_name`] knows.
pub const NAMES: [&str; 8] = ["sequential", "sat", "mat", "pds1", "pds2", "kendo", "rounds", "blocks"];

/// The preset of this name with `primaries` tasks per round, where it has that choice, and one step per round
/// where the steps are open. `None`: there is no such name.
#[must_use]
pub fn by_name(name: &str, primaries: u32) -> Option<Config> {
    Some(match name {
        "sequential" => sequential(),
        "sat" => sat(),
        "mat" => mat(),
        "pds1" => pds1(primaries),
        "pds2" => pds2(primaries),
        "kendo" => kendo(primaries),
        "rounds" => rounds(primaries, 1),
        "blocks" => blocks(primaries, 1),
        _ => return None,
    })
}

const fn base(primaries: u32, steps: u32) -> Config {
    Config {
        primaries,
        steps,
        order: Order::RoundRobin,
        start: Start::AtOnce,
        blocked: Blocked::KeepsPlace,
        tasks_max: if primaries > 64 { primaries.saturating_mul(4) } else { 256 },
        waiting_max: 1 << 16,
        spawned_max: 1 << 10,
        backlog_max: 1 << 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_valid_setting_under_its_name() {
        for primaries in [1, 4, 64, 65, 4096] {
            for name in NAMES {
                let config = by_name(name, primaries).unwrap();
                assert_eq!(config.validate(), Ok(()), "{name}");
            }
            assert_eq!(rounds(primaries, u32::MAX).validate(), Ok(()));
        }
        assert_eq!(by_name("lsa", 1), None);
    }
}
