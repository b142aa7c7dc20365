//! Known ways to lose what was stored, which tests switch on to see that the checks find them.

use smr_known_bugs::Bug;

/// In `Store::sync`: returns without one.
pub static CLAIMS_BEFORE_THE_SYNC: Bug = Bug {
    name: "claims-before-the-sync",
    what: "Records are called durable as soon as they are written.",
    source: "Pillai et al., All File Systems Are Not Created Equal, OSDI 2014",
};

/// In `Store`'s guard: a failure is reported and forgotten.
pub static SYNCS_AGAIN: Bug = Bug {
    name: "syncs-again",
    what: "After a failed sync another one is believed, though the system has dropped what the first should have written.",
    source: "Rebello et al., Can Applications Recover from fsync Failures?, ATC 2020; PostgreSQL's fsyncgate",
};

/// In `record`: checksums begin anywhere, and numbers are not looked at.
pub static TAKES_ANOTHER_LIFE: Bug = Bug {
    name: "takes-another-life",
    what: "Neither the record's number nor its segment counts, so what a recycled file held before is taken for new records.",
    source: "SQLite's write-ahead log has a salt for it; RocksDB's recyclable records a log number",
};

/// In `Store::prune`: the order.
pub static PRUNES_BEFORE_THE_HEAD: Bug = Bug {
    name: "prunes-before-the-head",
    what: "Old segments go before what stands for them is durable.",
    source: "Raft thesis, section 5.1: the log is discarded after its snapshot is written",
};

/// Wherever a file gets its name.
pub static RENAMES_UNSYNCED: Bug = Bug {
    name: "renames-unsynced",
    what: "A file gets its name before its bytes are durable.",
    source: "Pillai et al., OSDI 2014: atomic replace via rename",
};

/// The same.
pub static FORGETS_THE_DIRECTORY: Bug = Bug {
    name: "forgets-the-directory",
    what: "A new name is relied on without a sync of its directory.",
    source: "Pillai et al., OSDI 2014: safe file creation",
};

/// In `recovery`: what stands behind the end of the chain is not looked at.
pub static DAMAGE_IS_TORN: Bug = Bug {
    name: "damage-is-torn",
    what: "A destroyed record ends the log as a torn one does, with all that was durable behind it.",
    source: "Alagappan et al., Protocol-Aware Recovery, FAST 2018: ZooKeeper, etcd and LogCabin at corrupted entries",
};

/// In `recovery`: the seal is not looked at.
pub static MISSES_NO_SEGMENT: Bug = Bug {
    name: "misses-no-segment",
    what: "A log whose last segment is gone opens as a shorter one.",
    source: "Alagappan et al., FAST 2018: files that are missing",
};

/// In `checkpoint`: chunks are not verified.
pub static BELIEVES_CHECKPOINTS: Bug = Bug {
    name: "believes-checkpoints",
    what: "A checkpoint is taken as it is read.",
    source: "Alagappan et al., FAST 2018: faults of snapshots go undetected",
};

/// In `checkpoint`: where a table gets its places.
pub static TAKES_FROM_ANOTHER_FILE: Bug = Bug {
    name: "takes-from-another-file",
    what: "Places count files as they were before some were left behind, so a chunk is read from another file.",
    source: "Rosenblum and Ousterhout, The Design and Implementation of a Log-Structured File System, SOSP 1991: what is moved must be found again",
};

/// In `checkpoint`: what is removed after a checkpoint was kept.
pub static FORGETS_THE_OTHER_CHAIN: Bug = Bug {
    name: "forgets-the-other-chain",
    what: "Files go that the newest checkpoint does not need, though the one before does.",
    source: "LevelDB's RemoveObsoleteFiles: live is what any version needs",
};

/// In `checkpoint::chunk_file`: never synced.
pub static TABLE_BEFORE_CHUNKS: Bug = Bug {
    name: "table-before-chunks",
    what: "A table is durable before the chunks that it refers to.",
    source: "Pillai et al., OSDI 2014: ordering of appends and renames",
};

/// In `checkpoint`: the choice of what to build on.
pub static BUILDS_ON_THE_NEWEST: Bug = Bug {
    name: "builds-on-the-newest",
    what: "All checkpoints share the files of one chain, so what damages one damages all.",
    source: "our own notes on checkpoints",
};

/// In `checkpoint::plan`: nothing is compacted.
pub static NEVER_LEAVES_A_FILE: Bug = Bug {
    name: "never-leaves-a-file",
    what: "A file stays for one chunk that lives, so the disk fills up with dead ones.",
    source: "Rosenblum and Ousterhout, SOSP 1991: segments must be cleaned",
};

/// In `recovery`: goes on in the segment that it found.
pub static GOES_ON_BEHIND_THE_CUT: Bug = Bug {
    name: "goes-on-behind-the-cut",
    what: "New records are written over a torn tail, of which whole records may be left behind them.",
    source: "our own notes on the log",
};

/// All of them.
pub const ALL: &[&Bug] = &[
    &CLAIMS_BEFORE_THE_SYNC,
    &SYNCS_AGAIN,
    &TAKES_ANOTHER_LIFE,
    &PRUNES_BEFORE_THE_HEAD,
    &RENAMES_UNSYNCED,
    &FORGETS_THE_DIRECTORY,
    &DAMAGE_IS_TORN,
    &MISSES_NO_SEGMENT,
    &BELIEVES_CHECKPOINTS,
    &TAKES_FROM_ANOTHER_FILE,
    &FORGETS_THE_OTHER_CHAIN,
    &TABLE_BEFORE_CHUNKS,
    &BUILDS_ON_THE_NEWEST,
    &NEVER_LEAVES_A_FILE,
    &GOES_ON_BEHIND_THE_CUT,
];
