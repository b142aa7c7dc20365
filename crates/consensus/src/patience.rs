//! How long a replica waits for what it wants ordered before it shows it to all, and then blames whoever proposes.

use smr_wire::Slot;

use crate::config::Config;
use crate::pool::{Aged, Pool};
use crate::protocol::{Effect, Effects, Timer};
use crate::suspicion::Backoff;

/// Where ordering and execution were when the period began, and how often the head of the window was found open.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    /// Whether a period runs.
    armed: bool,
    /// See [`Pool`] for entries' own.
    head_strikes: u8,
    decided: Slot,
    executed: Slot,
}

/// Where ordering stands, as far as it matters for patience.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The last slot of the decided prefix.
    pub decided: Slot,
    /// The last one executed.
    pub executed: Slot,
    /// Whether some slot above is proposed or decided.
    pub head_is_open: bool,
}

/// What is to be done after a period.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// What everyone should be shown.
    pub relay: Vec<crate::batch::Entry>,
    /// Why another primary is wanted, if one is.
    pub blame: Option<&'static str>,
}

impl Patience {
    /// Keeps the timer running while something waits.
    pub fn mind<M>(
        &mut self,
        pool: &Pool,
        now: Standing,
        backoff: &Backoff,
        config: &Config,
        effects: &mut Effects<M>,
    ) {
        let waits = !pool.is_empty() || now.head_is_open;
        if waits && !self.armed {
            *self = Patience { armed: true, head_strikes: 0, decided: now.decided, executed: now.executed };
            effects.arm(Timer::Patience, backoff.scale_ms(config.patience_ms));
        } else if !waits && self.armed {
            self.stop(effects);
        }
    }

    /// Begins anew when something waits again.
    pub fn stop<M>(&mut self, effects: &mut Effects<M>) {
        self.armed = false;
        effects.push(Effect::Disarm(Timer::Patience));
    }

    /// One more period has passed: what everyone should be shown, and whom to blame when that did not help either.
    pub fn ran_out<M>(
        &mut self,
        pool: &mut Pool,
        now: Standing,
        backoff: &Backoff,
        config: &Config,
        effects: &mut Effects<M>,
    ) -> Verdict {
        self.armed = false;
        if !self.had_its_chance(pool, now, config) {
            // The period goes on: what is executed in it counts until there was a chance.
            self.armed = true;
            effects.arm(Timer::Patience, backoff.scale_ms(config.patience_ms));
            return Verdict::default();
        }
        let progress = now.decided > self.decided;
        let aged: Aged = pool.age(progress);
        let stuck = now.head_is_open && !progress;
        let strikes = if stuck { self.head_strikes.saturating_add(1) } else { 0 };
        self.mind(pool, now, backoff, config, effects);
        self.head_strikes = strikes;
        let blame = if aged.overdue {
            Some("an entry waits for too long")
        } else if strikes >= 2 {
            Some("a proposed slot stays undecided")
        } else {
            None
        };
        Verdict { relay: aged.relay, blame }
    }

    /// Whether whoever proposes could have ordered more in this period. While execution has its hands full a good
    /// primary waits for it, so a slow application is no reason to suspect anyone; but one that keeps all busy
    /// with what it likes gets no more than the slots of two pipelines for it, and a command to the system, for which
    /// execution itself may wait, needs nothing but room for its slot.
    fn had_its_chance(&self, pool: &Pool, now: Standing, config: &Config) -> bool {
        let behind = now.decided.since(now.executed);
        let system = pool.holds_system() && behind < config.backlog_slots_max;
        let executed = now.executed.since(self.executed);
        behind == 0 || system || executed >= 2 * config.pipeline_slots
    }
}
