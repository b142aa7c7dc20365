//! A trusted core that neither answers nor ends: what its replica can know of that. Such a replica looks as any other, but
//! does not vote, so whoever counts replicas must be told.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::trusted::CoreStatus;

/// How long a core that owes answers may be silent before its replica says so. It answers in less than a millisecond, and
/// on a machine with much else to do in some; no replica votes in time with one that needs this long.
pub const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Why a trusted core does not answer, as far as its replica can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Stall {
    /// Its process was stopped, and nobody has told it to go on.
    Stopped,
    /// It runs and owes answers, but has given none for longer than [`SILENT_AFTER`].
    Silent {
        /// For how long, in ms.
        for_ms: u64,
    },
}

impl Stall {
    /// What keeps `core` from answering, which has been silent for so long; none if nothing does.
    pub(crate) fn of(core: &CoreStatus, silent: Option<Duration>) -> Option<Stall> {
        if core.pid.is_some_and(is_stopped) {
            return Some(Stall::Stopped);
        }
        let long = silent.filter(|silent| *silent > SILENT_AFTER)?;
        Some(Stall::Silent { for_ms: u64::try_from(long.as_millis()).unwrap_or(u64::MAX) })
    }
}

/// Whether a process stands still by a signal or for a debugger. The state follows the name in brackets, in which
/// anything may stand; see proc(5).
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

/// Since when a core owes answers and has given none.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    owed: u64,
    since: Option<Instant>,
}

impl Silence {
    pub(crate) fn asked(&mut self, now: Instant) {
        self.owed += 1;
        self.since.get_or_insert(now);
    }

    pub(crate) fn answered(&mut self, now: Instant) {
        self.owed = self.owed.saturating_sub(1);
        self.since = (self.owed > 0).then_some(now);
    }

    /// How long it has lasted; none while nothing is owed.
    pub(crate) fn lasts(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trusted::{BackingName, Precautions};

    #[test]
    fn silence_begins_with_a_question_or_the_last_answer_and_ends_when_nothing_is_owed() {
        let (began, mut silence) = (Instant::now(), Silence::default());
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(silence.lasts(at(5_000)), None);
        silence.asked(at(0));
        silence.asked(at(100));
        assert_eq!(silence.lasts(at(300)), Some(Duration::from_millis(300)));
        silence.answered(at(400));
        assert_eq!(silence.lasts(at(500)), Some(Duration::from_millis(100)));
        silence.answered(at(600));
        assert_eq!(silence.lasts(at(9_000)), None);
    }

    #[test]
    fn a_core_stalls_once_it_has_been_silent_for_long() {
        let core = CoreStatus {
            backing: BackingName::Process,
            pid: Some(std::process::id()),
            precautions: Precautions::default(),
            boot: None,
        };
        assert_eq!(Stall::of(&core, None), None);
        assert_eq!(Stall::of(&core, Some(SILENT_AFTER)), None);
        let long = SILENT_AFTER + Duration::from_millis(1);
        assert_eq!(Stall::of(&core, Some(long)), Some(Stall::Silent { for_ms: 1001 }));
    }
}
