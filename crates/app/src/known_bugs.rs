//! Known ways to get the host wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `Whole::write`: none.
pub static TIMERS_NOT_IN_THE_SNAPSHOT: Bug = Bug {
    name: "timers-not-in-the-snapshot",
    what: "A replica that begins at a checkpoint knows nothing of commands that wait for their time.",
    source: "our own history",
};

/// In `come_to_rest`: none.
pub static WAITING_LOST_AT_A_CHECKPOINT: Bug = Bug {
    name: "waiting-lost-at-a-checkpoint",
    what: "A replica that begins at a checkpoint knows nothing of commands that wait on a condition.",
    source: "our own history",
};

/// In `resume`: nothing is noted.
pub static DROPS_THE_FILL_AFTER_A_CHECKPOINT: Bug = Bug {
    name: "drops-the-fill-after-a-checkpoint",
    what: "A fill marker after a checkpoint is dropped where commands waited before, and not where the state was fetched.",
    source: "our own history",
};

/// All of them.
pub const ALL: &[&Bug] =
    &[&TIMERS_NOT_IN_THE_SNAPSHOT, &WAITING_LOST_AT_A_CHECKPOINT, &DROPS_THE_FILL_AFTER_A_CHECKPOINT];

/// In `Page::writable`: the digest of what was there stays.
pub static WRITE_NOT_MARKED: Bug = Bug {
    name: "write-not-marked",
    what: "A page that is written keeps the digest that it had, so a checkpoint takes it for unchanged.",
    source: "every incremental backup that was restored in vain",
};

/// In `Cut::chunking`: the trees as they are by then.
pub static CUT_SEES_LATER_VALUES: Bug = Bug {
    name: "cut-sees-later-values",
    what: "A checkpoint holds what was written after its place in the order.",
    source: "fuzzy checkpoints without copies, as in our own first sketch",
};

/// In `Stripes::view`: each lock is free again before the next is taken.
pub static STRIPES_SEEN_ONE_AFTER_THE_OTHER: Bug = Bug {
    name: "stripes-seen-one-after-the-other",
    what: "A look at all entries shows parts of a table at different moments, and misses what moves between them.",
    source: "the phantom of Eswaran, Gray, Lorie and Traiger, CACM 1976",
};

/// Of the containers of `state`: found by the tests of this crate, not by runs of whole services, whose tables have
/// few pages.
pub const OF_STATE: &[&Bug] = &[&WRITE_NOT_MARKED, &CUT_SEES_LATER_VALUES, &STRIPES_SEEN_ONE_AFTER_THE_OTHER];
