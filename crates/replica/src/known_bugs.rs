//! Known ways to get a replica wrong, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `Sessions::admit`: no memory.
pub static RUNS_A_REPEAT: Bug = Bug {
    name: "runs-a-repeat",
    what: "A command that comes again is executed again.",
    source: "etcd-io/etcd #18424, #14890: retries execute twice",
};

/// In `Sessions::admit`: by the other clock.
pub static JUDGES_BY_WHAT_HAS_ENDED: Bug = Bug {
    name: "judges-by-what-has-ended",
    what: "Whether a command is a repeat depends on whether its first run has ended here, so on this replica's speed.",
    source: "our own history",
};

/// In `Sessions::outcome`: whatever came last.
pub static REPEATS_THE_LAST_REPLY: Bug = Bug {
    name: "repeats-the-last-reply",
    what: "A repeat gets the reply to the last command of its session.",
    source: "BFT-SMaRt keeps one reply for each client; our clients have several commands in flight",
};

/// In `install`: a fetched state without sessions.
pub static LOSES_SESSIONS_IN_TRANSFER: Bug = Bug {
    name: "loses-sessions-in-transfer",
    what: "A replica that fetched a state has forgotten which commands were executed.",
    source: "Raft thesis, section 6.3; the snapshot without sessions",
};

/// In `admit_decided`: no wait.
pub static ADMITS_DURING_A_SNAPSHOT: Bug = Bug {
    name: "admits-during-a-snapshot",
    what: "Slots after a checkpoint are admitted before its state is taken, so the state depends on timing.",
    source: "our own history",
};

/// In `on_peer` and `repeat`: silence.
pub static REPEATS_NO_CHECKPOINT: Bug = Bug {
    name: "repeats-no-checkpoint",
    what: "Checkpoint votes and certificates are sent once; whoever missed them fills its log and waits for ever.",
    source: "concord-bft PR 927: late replicas stuck as no new checkpoints come",
};

/// In `setup`: one too few.
pub static THRESHOLD_OF_F: Bug = Bug {
    name: "threshold-of-f",
    what: "f shares make the service's signature, so the faulty replicas can sign alone.",
    source: "EBAWA and all of its kind: f+1 equal replies",
};

/// In `received`: no look at the path.
pub static TAKES_ANY_CHUNK: Bug = Bug {
    name: "takes-any-chunk",
    what: "Chunks of a fetched state are not checked against its certificate.",
    source: "bft-smart/library #16: only one recoverer is stable",
};

/// In `begin_slot`: the proposer's clock.
pub static TIME_RUNS_BACKWARDS: Bug = Bug {
    name: "time-runs-backwards",
    what: "Agreed time is whatever the proposer says.",
    source: "our own history: the batch that fills a slot has time 0",
};

/// In `Voters::admit`: any key.
pub static NEEDS_NO_VOUCHER: Bug = Bug {
    name: "needs-no-voucher",
    what: "A replica's own word is enough for another key of its trusted core, so a liar has two voices.",
    source: "MinBFT and EBAWA say nothing of cores that begin anew",
};

/// In `drain_slots`: no room for what is under way.
pub static BARRIER_AT_ONCE: Bug = Bug {
    name: "barrier-at-once",
    what: "A generation ends with the next slot, though later ones may be decided in it already.",
    source: "Lamport, Malkhi and Zhou, SIGACT News 2010: the trap of alpha",
};

/// In `settle_checkpoint`: alone.
pub static BEGINS_A_GENERATION_ALONE: Bug = Bug {
    name: "begins-a-generation-alone",
    what: "A replica enters the next generation as soon as it has the state itself, and helps nobody to get there.",
    source: "our own history",
};

/// In `attested`: no look at the attestation.
pub static TAKES_ANY_DEALING: Bug = Bug {
    name: "takes-any-dealing",
    what: "A dealing counts without its core's attestation, so a replica may deal shares that do not fit.",
    source: "our own notes on key generation: with 2f+1 replicas complaints do not tell a bad dealer from a liar in time",
};

/// In `pass`: nothing is held back.
pub static GATE_STANDS_OPEN: Bug = Bug {
    name: "gate-stands-open",
    what: "Votes leave before they are on disk.",
    source: "Ongaro and Ousterhout, Raft, ATC 2014, figure 2: state is on stable storage before a server answers",
};

/// In `keep_fetched`: at once.
pub static RESTS_ON_WHAT_IS_NOT_KEPT: Bug = Bug {
    name: "rests-on-what-is-not-kept",
    what: "A fetched state is taken over while it is still being written, so a crash leaves a gap between state and log.",
    source: "our own notes on state transfer",
};

/// In `may_restart`: no look at what it has.
pub static RESTARTS_BELOW_WHAT_IT_DECIDED: Bug = Bug {
    name: "restarts-below-what-it-decided",
    what: "A replica takes a manifest up though it has decided more than that says.",
    source: "our own notes: a manifest is written by people, who may have asked the wrong replicas",
};

/// In `restart::next`: the first answers.
pub static ASKS_ONLY_SOME: Bug = Bug {
    name: "asks-only-some",
    what: "The administrator ends a generation where n-f replicas are, though another one may know more.",
    source: "our own notes: the only correct one among f+1 that told a client may be the one that was not asked",
};

/// All of them.
pub const ALL: &[&Bug] = &[
    &RUNS_A_REPEAT,
    &JUDGES_BY_WHAT_HAS_ENDED,
    &REPEATS_THE_LAST_REPLY,
    &LOSES_SESSIONS_IN_TRANSFER,
    &ADMITS_DURING_A_SNAPSHOT,
    &REPEATS_NO_CHECKPOINT,
    &THRESHOLD_OF_F,
    &TAKES_ANY_CHUNK,
    &TIME_RUNS_BACKWARDS,
    &NEEDS_NO_VOUCHER,
    &BARRIER_AT_ONCE,
    &BEGINS_A_GENERATION_ALONE,
    &TAKES_ANY_DEALING,
    &GATE_STANDS_OPEN,
    &RESTS_ON_WHAT_IS_NOT_KEPT,
    &RESTARTS_BELOW_WHAT_IT_DECIDED,
    &ASKS_ONLY_SOME,
];
