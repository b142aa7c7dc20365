//! What can be wrong with a store, in words, and what to do about it.

use std::fmt;
use std::io;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What was promised is lost.
    #[error(
        "{0}. What was durable here is lost, so whoever goes on with this directory, or with an older copy of it, may break promises that were made: keep it for a look, and put a new replica in this one's place"
    )]
    Damaged(Damage),
    /// The directory belongs to somebody else.
    #[error("{file} belongs to another replica or service: give each replica a directory of its own")]
    OtherOwner {
        /// Which file says so.
        file: String,
    },
    /// Another version of this program wrote it.
    #[error(
        "{file} has version {found} of the format, and this program knows {ours}: run the program that wrote it"
    )]
    Version {
        /// Which file says so.
        file: String,
        /// What it says.
        found: u32,
        /// What is known here.
        ours: u32,
    },
    /// The limits contradict each other.
    #[error("the store's limits: {0}")]
    Config(&'static str),
    /// The disk does not do what it is asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room.
    #[error("the disk is full, while {doing} {file}: make room and start again")]
    Full {
        /// Of which file it was.
        file: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The disk, or the system before it, fails.
    #[error("the disk failed, while {doing} {file}: {error}")]
    Io {
        /// Of which file it was.
        file: String,
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Something went wrong before. What is on the disk is known again when the store is opened again.
    #[error("nothing is stored since an earlier failure ({first})")]
    Stopped {
        /// What went wrong first.
        first: String,
    },
    /// More bytes than are allowed in one.
    #[error("{bytes} bytes are too many for a {what}, which has {bytes_max} at most")]
    TooLarge {
        /// Record, header or chunk.
        what: &'static str,
        /// How many there are.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More chunks than a checkpoint may have.
    #[error("a checkpoint has {chunks_max} chunks at most")]
    TooManyChunks {
        /// The limit.
        chunks_max: u32,
    },
    /// The log is as long as it may become.
    #[error("the log has {segments_max} segments and may have no more: checkpoints do not keep up with it")]
    LogTooLong {
        /// The limit.
        segments_max: usize,
    },
    /// A checkpoint that was whole when the store was opened is not any more.
    #[error("{0}")]
    Damaged(Damage),
}

impl StoreError {
    pub(crate) fn io(file: &str, doing: &'static str, error: io::Error) -> StoreError {
        let file = file.to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { file, doing },
            _ => StoreError::Io { file, doing, error },
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file} is damaged at byte {offset}: {fault}")]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// At which byte of it.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

impl Damage {
    pub(crate) fn new(file: &str, offset: u64, fault: Fault) -> Damage {
        Damage { file: file.to_string(), offset, fault }
    }
}

/// Kinds of damage.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A file's header does not fit its checksum or its name.
    #[error("its header is destroyed")]
    Header,
    /// A file is shorter or longer than it was made.
    #[error("it has {found} bytes and was made with {made}")]
    Length {
        /// How long it is.
        found: u64,
        /// How long it was.
        made: u64,
    },
    /// The disk does not read a part of a file.
    #[error("the disk cannot read it: {0}")]
    Unreadable(String),
    /// A file of the log is not there.
    #[error("the file is missing")]
    Missing,
    /// A record that was durable is not there, as something behind it proves.
    #[error("record {sequence} is destroyed, and {proof} proves that it was durable")]
    Record {
        /// Its number.
        sequence: u64,
        /// What proves that it was there.
        proof: Proof,
    },
    /// No checkpoint can be used, and the log does not reach back to the beginning.
    #[error("no checkpoint from slot {pruned} on can be used, and the log before it is gone")]
    NoCheckpoint {
        /// Up to which slot records were removed.
        pruned: u64,
    },
    /// A part of a checkpoint does not fit its checksum, or is missing.
    #[error("part {part} of the checkpoint is destroyed")]
    Part {
        /// 0 is its header, 1 the table of its chunks.
        part: u32,
    },
    /// What a file of chunks says of them does not fit the checkpoint that refers to it.
    #[error("its index of chunks is destroyed")]
    Index,
    /// A chunk of a checkpoint does not fit its checksum, or is missing.
    #[error("chunk {chunk} of those in the file is destroyed")]
    Chunk {
        /// Which of those that are in the file, from 0.
        chunk: usize,
    },
}

/// What proves that a record was durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// A record or marker that was written after the sync that covered it, at this byte of the same file.
    Later(u64),
    /// The header of the segment that it is in.
    Header,
    /// That another segment follows.
    NextSegment,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::Later(offset) => write!(f, "what stands at byte {offset}"),
            Proof::Header => write!(f, "the segment's header"),
            Proof::NextSegment => write!(f, "the next segment"),
        }
    }
}

/// What was cut from the log's end: no sync had covered it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// In which file.
    pub file: String,
    /// From which byte on.
    pub offset: u64,
    /// Which record would have been the next.
    pub sequence: u64,
    /// Whole records that stood behind it.
    pub behind: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Torn { file, offset, sequence, behind } = self;
        write!(f, "{file} was cut at byte {offset}: record {sequence} was not whole")?;
        if *behind > 0 {
            write!(f, ", and {behind} behind it went with it")?;
        }
        write!(f, "; nothing had promised them")
    }
}
