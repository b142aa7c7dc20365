//! What a host keeps beside the application: the first chunks of its checkpoints.
//!
//! ```text
//!   host: one or more pieces | the application's chunks
//! ```

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::errand::Errand;
use super::timers::{Timed, Timers};
use crate::application::RestoreError;
use crate::known_bugs;
use crate::state::Chunk;

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

impl Kept {
    pub(super) fn new(trace: u64, waiting: Vec<Arc<Errand>>, timers: &Timers) -> Kept {
        let lost = known_bugs::TIMERS_NOT_IN_THE_SNAPSHOT.is_on();
        Kept { trace, waiting, timed: if lost { Arc::default() } else { timers.cut() } }
    }

    pub(super) fn chunks(&self) -> Vec<Chunk> {
        Chunk::before_others(&borsh::to_vec(self).expect("writing to memory cannot fail"))
    }

    /// What a host kept, and the application's chunks.
    pub(super) fn read(chunks: &[Chunk]) -> Result<(Kept, &[Chunk]), RestoreError> {
        let wrong = || RestoreError::new("it does not begin with what a host keeps");
        let (bytes, application) = Chunk::split_others(chunks).ok_or_else(wrong)?;
        let kept = borsh::from_slice(&bytes).map_err(|error| RestoreError::new(error.to_string()))?;
        Ok((kept, application))
    }

    /// Puts the timers in place; the commands that wait.
    pub(super) fn take_over(self, timers: &Timers) -> Vec<Arc<Errand>> {
        timers.replace(Arc::unwrap_or_clone(self.timed));
        self.waiting
    }
}
