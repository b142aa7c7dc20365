//! What a host keeps beside the application, and a whole checkpoint as chunks or as one run of bytes.
//!
//! ```text
//!   host: one or more pieces, whose number stands before the first | the application's chunks
//! ```

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::errand::Errand;
use super::timers::{Timed, Timers};
use crate::application::RestoreError;
use crate::known_bugs;
use crate::state::{Chunk, PIECE_BYTES};

/// A host at rest, without its application: equal bytes on every replica. Cheap to take, however much waits.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Kept {
    /// Digest of all lock grants since the checkpoint before, so that replicas whose schedules differ are found out.
    pub(super) trace: u64,
    /// Commands that wait on a condition, in the order in which they begin again.
    pub(super) waiting: Vec<Arc<Errand>>,
    /// Commands that wait for their time.
    pub(super) timed: Arc<Timed>,
}

/// Bytes of the number of pieces.
const COUNT_BYTES: usize = 4;

impl Kept {
    pub(super) fn new(trace: u64, waiting: Vec<Arc<Errand>>, timers: &Timers) -> Kept {
        let lost = known_bugs::TIMERS_NOT_IN_THE_SNAPSHOT.is_on();
        Kept { trace, waiting, timed: if lost { Arc::default() } else { timers.cut() } }
    }

    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let kept = borsh::to_vec(self).expect("writing to memory cannot fail");
        let pieces = (COUNT_BYTES + kept.len()).div_ceil(PIECE_BYTES);
        let pieces = u32::try_from(pieces).expect("what waits is limited");
        Chunk::pieces(&[&pieces.to_le_bytes(), kept.as_slice()].concat())
    }

    /// What a host kept, and the application's chunks.
    pub(super) fn read(chunks: &[Chunk]) -> Result<(Kept, &[Chunk]), RestoreError> {
        let wrong = || RestoreError::new("it does not begin with what a host keeps");
        let count = chunks.first().and_then(|first| first.bytes().first_chunk()).ok_or_else(wrong)?;
        let count = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| wrong())?;
        let (pieces, rest) = chunks.split_at_checked(count).filter(|_| count > 0).ok_or_else(wrong)?;
        let bytes = pieces.iter().map(Chunk::bytes).collect::<Vec<_>>().concat();
        let kept = borsh::from_slice(&bytes[COUNT_BYTES..]);
        Ok((kept.map_err(|error| RestoreError::new(error.to_string()))?, rest))
    }

    /// Puts the timers in place; the commands that wait.
    pub(super) fn take_over(self, timers: &Timers) -> Vec<Arc<Errand>> {
        timers.replace(Arc::unwrap_or_clone(self.timed));
        self.waiting
    }
}

/// A checkpoint as one run of bytes.
pub(super) fn to_bytes(chunks: &[Chunk]) -> Vec<u8> {
    let chunks: Vec<&[u8]> = chunks.iter().map(Chunk::bytes).collect();
    borsh::to_vec(&chunks).expect("writing to memory cannot fail")
}

/// The chunks of a checkpoint that was one run of bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Vec<Chunk>, RestoreError> {
    let chunks: Vec<Vec<u8>> =
        borsh::from_slice(bytes).map_err(|error| RestoreError::new(error.to_string()))?;
    Ok(chunks.into_iter().map(Chunk::new).collect())
}
