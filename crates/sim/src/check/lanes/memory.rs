//! I11: what a replica remembers is bounded by the group, the window and the limits of its configuration.

use smr_consensus::kept::KEPT_BATCHES_MAX;
use smr_consensus::lanes::{Outline, PlaceOutline};
use smr_consensus::pool::SYSTEM_ENTRIES_MAX;
use smr_consensus::{Config, Group};

/// Answers of a core that a replica waits for, in windows of votes. A core that answers in its time has far fewer open;
/// each view that is left while it answers adds a report.
const ASKED_WINDOWS_MAX: usize = 4;

/// Lengths of the log that decisions take at most. Voting ends one length above the last stable checkpoint, and the log
/// begins at the one before, a length below that at most. Whoever has fallen behind may take as much again before it hears of
/// a checkpoint that is stable, and then waits for one.
const LOGS_MAX: u64 = 4;

/// What a replica remembers more of than it may, in words.
pub(super) fn outgrown(outline: &Outline, group: &Group, config: &Config) -> Option<String> {
    let (size, basis) = (group.size(), &outline.basis);
    let slots = |count: u64| usize::try_from(count).expect("limits fit in memory");
    let window = slots(config.window_slots);
    let most = |of: fn(&PlaceOutline) -> usize| {
        basis.places.iter().map(|(_, place)| of(place)).max().unwrap_or_default()
    };
    let waiting = slots(config.pool_entries_max.into()) + size * SYSTEM_ENTRIES_MAX;
    let counts = [
        ("open slots", basis.places.len(), 2 * window),
        ("votes in a slot", most(|place| place.votes.len()), size),
        ("batches it voted for in a slot", most(|place| place.bodies.0.len()), KEPT_BATCHES_MAX),
        ("batches it fetched for a slot", most(|place| place.bodies.1.len()), size),
        ("entries that wait", basis.waiting.len(), waiting),
        ("wishes", basis.wishes.len(), size),
        ("views that began", outline.begun.len(), window + 1),
        ("view changes", outline.changes.len(), size),
        ("acknowledgements", outline.acknowledgements.len(), size),
        // A pipeline of them, and as many again for what is urgent, whatever the window.
        ("own proposals", outline.own.len(), slots(2 * config.pipeline_slots)),
        ("questions to its core", outline.asked.len(), ASKED_WINDOWS_MAX * window),
        ("exclusions", outline.beginning.excluded.len(), size),
        ("bound slots", outline.beginning.digests.len(), 2 * window),
        ("decisions", basis.log.len(), slots(LOGS_MAX * config.log_slots_max)),
    ];
    let too_many = counts.into_iter().find(|(_, count, most)| count > most);
    too_many.map(|(what, count, most)| format!("{count} {what}, {most} at most"))
}
