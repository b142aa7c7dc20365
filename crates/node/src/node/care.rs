//! When the application needs something from the order: a fill marker, because what runs waits for newcomers, or the
//! word that the time of timed commands has come. Looks only while there is something that could need it.

use std::time::Duration;

use smr_app::AnyHost;
use smr_wire::Timestamp;
use tokio::time::Instant;

/// How long the application starves before its replica asks for a fill marker. Short, as somebody waits for it; long
/// enough for the next batch of a busy service to come by itself.
const FILL_AFTER: Duration = Duration::from_millis(2);

/// How soon the same is asked for again: about as long as ordering takes where replicas are far apart.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What was seen, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Care {
    next: Option<Instant>,
    starves_since: Option<Instant>,
    asked_fill: Option<Instant>,
    asked_timers: Option<Instant>,
}

/// What the application needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Needs {
    pub(super) fill: bool,
    pub(super) timers: bool,
}

impl Care {
    /// When to look again, if ever.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks at the host, which has `given` operations that it has not reported.
    pub(super) fn look(&mut self, now: Instant, clock: Timestamp, given: u32, host: &dyn AnyHost) -> Needs {
        // A look that is planned for a timer far ahead does not serve what has been given since.
        let in_time = |next: &Instant| given == 0 || *next <= now + FILL_AFTER;
        if self.next.filter(in_time).is_some_and(|next| now < next) {
            return Needs::default();
        }
        let starves = given > 0 && host.scheduler().is_starving();
        let due = host.due();
        let needs = self.judge(now, starves, due.is_some_and(|due| due <= clock));
        let soon = (given > 0).then_some(now + FILL_AFTER);
        let timed = due.map(|due| now + Duration::from_millis(due.since(clock)).max(FILL_AFTER));
        self.next = soon.into_iter().chain(timed).min();
        needs
    }

    fn judge(&mut self, now: Instant, starves: bool, due: bool) -> Needs {
        let since = starves.then(|| *self.starves_since.get_or_insert(now));
        self.starves_since = since;
        let long = since.is_some_and(|since| now >= since + FILL_AFTER);
        Needs { fill: ask(&mut self.asked_fill, long, now), timers: ask(&mut self.asked_timers, due, now) }
    }
}

/// Whether to ask for something that is wanted, given when it was asked for last.
fn ask(asked: &mut Option<Instant>, wanted: bool, now: Instant) -> bool {
    let again = asked.is_none_or(|asked| now >= asked + ASK_AGAIN_AFTER);
    *asked = if wanted && again { Some(now) } else { asked.filter(|_| wanted) };
    wanted && again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_starves_for_a_while_asks_once_and_again_only_later() {
        let (began, mut care) = (Instant::now(), Care::default());
        let mut fill =
            |after_ms, starves| care.judge(began + Duration::from_millis(after_ms), starves, false).fill;
        assert_eq!([fill(0, true), fill(1, true), fill(2, true)], [false, false, true]);
        assert_eq!([fill(4, true), fill(51, true), fill(52, true)], [false, false, true]);
        assert_eq!([fill(60, false), fill(61, true), fill(63, true)], [false, false, true]);
    }

    #[test]
    fn timed_commands_are_asked_for_at_once() {
        let (began, mut care) = (Instant::now(), Care::default());
        let mut timers =
            |after_ms, due| care.judge(began + Duration::from_millis(after_ms), false, due).timers;
        assert_eq!(
            [timers(0, false), timers(1, true), timers(2, true), timers(60, true)],
            [false, true, false, true]
        );
    }
}
