//! Every limit of a store.

use crate::record::{HEAD_BYTES, padded};
use crate::segment::RECORDS_AT;

/// Files of chunks that a checkpoint adds at most; what it writes is shared out evenly.
pub(crate) const CHUNK_FILES_ADDED_MAX: usize = 16;

/// So that twelve bytes of a table for each of them are below 4 GiB.
const CHUNKS_MAX: u32 = 1 << 28;

/// How large things may become. Plain data; [`crate::Store::open`] refuses a bad combination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// Length of a segment, zeros ahead of its records included. A larger one is begun more rarely, and each costs its
    /// whole length of disk from its first record on. 8 KiB..=1 GiB, a multiple of 4096.
    pub segment_bytes: u64,
    /// Bytes of a record at most. A segment holds at least one.
    pub record_bytes_max: usize,
    /// Appended bytes that wait in memory for a sync; more are written ahead of it.
    pub buffer_bytes_max: usize,
    /// Segments of the log at most: beyond it appends fail, because pruning does not keep up.
    pub segments_max: usize,
    /// Segments that are not needed and wait for their next life, so that none has to be filled with zeros. 0..=16.
    pub spares_max: usize,
    /// Checkpoints that stay. At least 2: the log reaches back to the oldest of them, so that damage to the newest
    /// costs nothing.
    pub checkpoints_kept: usize,
    /// Bytes of a checkpoint's header, and of each of its chunks, at most.
    pub chunk_bytes_max: usize,
    /// Chunks of a checkpoint at most. While one is written each takes about 60 bytes of memory, and each dead one beside
    /// them 44. Up to 2^28.
    pub chunks_max: u32,
    /// Bytes of chunks at which a file of them ends, at the least: larger states have larger files, so that there are not too
    /// many. What dies is reclaimed file by file: with a larger one in larger steps.
    pub chunk_file_bytes: u64,
    /// Files of chunks that the checkpoints of a chain have, at most. With fewer, small ones are written together more often.
    /// 32..=4096.
    pub chunk_files_max: usize,
    /// Drawn by the edge from the system's chance at each start. Checksums of this life's records begin with it, so
    /// whoever chooses what is in a record cannot make parts of it look like another record.
    pub salt: u64,
}

impl StoreConfig {
    /// What serves: 64 MiB segments (measured best, zero-filled and overwritten), with the edge's `salt`.
    #[must_use]
    pub fn with_salt(salt: u64) -> StoreConfig {
        StoreConfig {
            segment_bytes: 64 << 20,
            record_bytes_max: 32 << 20,
            buffer_bytes_max: 4 << 20,
            segments_max: 64,
            spares_max: 2,
            checkpoints_kept: 2,
            chunk_bytes_max: 16 << 20,
            chunks_max: 1 << 24,
            chunk_file_bytes: 64 << 20,
            chunk_files_max: 128,
            salt,
        }
    }

    /// Why it cannot be used, if so.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let room = self.segment_bytes.saturating_sub(RECORDS_AT as u64);
        // With the marker behind it.
        let largest = padded(self.record_bytes_max.saturating_add(2 * HEAD_BYTES)) as u64;
        let chunk_files = 2 * CHUNK_FILES_ADDED_MAX..=4096;
        let faults = [
            (!(8 << 10..=1 << 30).contains(&self.segment_bytes), "segment_bytes must be 8 KiB to 1 GiB"),
            (!self.segment_bytes.is_multiple_of(4096), "segment_bytes must be a multiple of 4096"),
            (largest > room, "a record of record_bytes_max must fit into a segment"),
            (self.segments_max < 2, "segments_max must be at least 2"),
            (self.spares_max > 16, "spares_max must be at most 16"),
            (self.checkpoints_kept < 2, "checkpoints_kept must be at least 2"),
            (self.chunk_bytes_max == 0, "chunk_bytes_max must be above 0"),
            (self.chunk_bytes_max > 1 << 30, "chunk_bytes_max must be at most 1 GiB"),
            (self.chunks_max > CHUNKS_MAX, "chunks_max must be at most 2^28"),
            (self.chunk_file_bytes == 0, "chunk_file_bytes must be above 0"),
            (!chunk_files.contains(&self.chunk_files_max), "chunk_files_max must be 32 to 4096"),
        ];
        faults.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| why)
    }
}
