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
