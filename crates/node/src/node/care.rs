//! When the application needs something from the order: a fill marker, because what runs waits for newcomers, or the
//! word that the time of timed commands has come. Looks only while there is something that could need it.
//!
//! One such word does for all replicas, and each costs a slot. So the primary asks first, and the others, who see the
//! same need at about the same time, only if it does not.

use std::time::Duration;

use smr_app::AnyHost;
use smr_wire::Timestamp;
use tokio::time::Instant;

/// How long the application starves before the primary asks for a fill marker. Short, as somebody waits for it; long
/// enough for the next batch of a busy service to come by itself.
const FILL_AFTER: Duration = Duration::from_millis(2);

/// How much later the other replicas ask: longer than ordering takes where replicas are near each other. Where they
/// are far apart, some markers are ordered in vain.
const OTHERS_LATER: Duration = Duration::from_millis(20);

/// How soon the same is asked for again: about as long as ordering takes where replicas are far apart.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What was seen, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Care {
    next: Option<Instant>,
    fill: Need,
    timers: Need,
}

/// What the application needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Needs {
    pub(super) fill: bool,
    pub(super) timers: bool,
}

/// Who looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Looker {
    Primary,
    Other,
}

impl Care {
    /// When to look again, if ever.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it is time to look at the host, which has `given` operations that it has not reported. A look that is
    /// planned for a timer far ahead does not serve what has been given since.
    pub(super) fn is_time(&self, now: Instant, given: u32) -> bool {
        self.next.is_none_or(|next| now >= next || (given > 0 && next > now + FILL_AFTER))
    }

    /// Looks at the host, which has `given` operations that it has not reported.
    pub(super) fn look(
        &mut self,
        now: Instant,
        clock: Timestamp,
        looker: Looker,
        given: u32,
        host: &dyn AnyHost,
    ) -> Needs {
        let starves = given > 0 && host.scheduler().is_starving();
        let due = host.due();
        let needs = self.judge(now, looker, starves, due.is_some_and(|due| due <= clock));
        let soon = (given > 0).then_some(now + FILL_AFTER);
        let timed = due.map(|due| now + Duration::from_millis(due.since(clock)).max(FILL_AFTER));
        self.next = soon.into_iter().chain(timed).min();
        needs
    }

    fn judge(&mut self, now: Instant, looker: Looker, starves: bool, due: bool) -> Needs {
        let later = match looker {
            Looker::Primary => Duration::ZERO,
            Looker::Other => OTHERS_LATER,
        };
        Needs {
            fill: self.fill.ask(now, starves, FILL_AFTER + later),
            timers: self.timers.ask(now, due, later),
        }
    }
}

/// Something that is wanted, or not.
#[derive(Debug, Default)]
struct Need {
    since: Option<Instant>,
    asked: Option<Instant>,
}

impl Need {
    /// Whether to ask for it now: once it has been `wanted` for so long, and again.
    fn ask(&mut self, now: Instant, wanted: bool, after: Duration) -> bool {
        if !wanted {
            *self = Need::default();
            return false;
        }
        let long = now >= *self.since.get_or_insert(now) + after;
        let asks = long && self.asked.is_none_or(|asked| now >= asked + ASK_AGAIN_AFTER);
        if asks {
            self.asked = Some(now);
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(care: &mut Care, began: Instant, looker: Looker) -> impl FnMut(u64, bool) -> bool + '_ {
        move |after_ms, starves| {
            care.judge(began + Duration::from_millis(after_ms), looker, starves, false).fill
        }
    }

    #[test]
    fn a_look_planned_for_a_timer_far_ahead_is_not_waited_for_by_what_is_given_meanwhile() {
        let now = Instant::now();
        let care = Care { next: Some(now + Duration::from_secs(86_400)), ..Care::default() };
        assert!(!care.is_time(now, 0));
        assert!(care.is_time(now, 1));
        let soon = Care { next: Some(now + FILL_AFTER), ..Care::default() };
        assert!(!soon.is_time(now, 1));
    }

    #[test]
    fn who_starves_for_a_while_asks_once_and_again_only_later() {
        let mut care = Care::default();
        let mut fill = fill(&mut care, Instant::now(), Looker::Primary);
        assert_eq!([fill(0, true), fill(1, true), fill(2, true)], [false, false, true]);
        assert_eq!([fill(4, true), fill(51, true), fill(52, true)], [false, false, true]);
        assert_eq!([fill(60, false), fill(61, true), fill(63, true)], [false, false, true]);
    }

    #[test]
    fn who_is_not_the_primary_asks_if_the_primary_does_not() {
        let mut care = Care::default();
        let mut fill = fill(&mut care, Instant::now(), Looker::Other);
        assert_eq!([fill(0, true), fill(2, true), fill(21, true)], [false; 3]);
        assert_eq!([fill(22, true), fill(30, false), fill(31, true)], [true, false, false]);
    }

    #[test]
    fn timed_commands_are_asked_for_at_once() {
        let (began, mut care) = (Instant::now(), Care::default());
        let mut timers = |after_ms, due| {
            care.judge(began + Duration::from_millis(after_ms), Looker::Primary, false, due).timers
        };
        assert_eq!(
            [timers(0, false), timers(1, true), timers(2, true), timers(60, true)],
            [false, true, false, true]
        );
    }
}
