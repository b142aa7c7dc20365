//! Named timers of one replica. A handful, so an ordered set does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smr_replica::Timer;
use tokio::time::Instant;

/// Timers that run, by when they run out.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Instant>,
    order: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// (Re)starts one.
    pub(super) fn arm(&mut self, timer: Timer, now: Instant, after: Duration) {
        self.disarm(timer);
        let at = now + after;
        self.at.insert(timer, at);
        self.order.insert((at, timer));
    }

    /// Stops one.
    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// Takes one that has run out, the earliest first.
    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        (at <= now).then(|| {
            self.disarm(timer);
            timer
        })
    }

    /// When the next one runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_run_out_in_order_and_arming_again_restarts() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut timers = Timers::default();
        timers.arm(Timer::Repeat, now, ms(10));
        timers.arm(Timer::Transfer, now, ms(5));
        timers.arm(Timer::Ceremony, now, ms(1));
        timers.arm(Timer::Repeat, now, ms(3));
        timers.disarm(Timer::Ceremony);
        timers.disarm(Timer::Ceremony);
        assert_eq!(timers.next(), Some(now + ms(3)));
        assert_eq!(timers.due(now + ms(2)), None);
        assert_eq!(timers.due(now + ms(20)), Some(Timer::Repeat));
        assert_eq!(timers.due(now + ms(20)), Some(Timer::Transfer));
        assert_eq!((timers.due(now + ms(20)), timers.next()), (None, None));
    }
}
