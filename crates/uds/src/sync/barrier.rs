//! A barrier.

use std::fmt;

use super::binding::Binding;
use super::request::request;
use crate::core::{BarrierId, Op};

/// Where tasks wait for each other: when all `parties` have come, they go on, and it is a new barrier.
///
/// Who waits gives its place up; when the last one comes, the others have places behind it from the next round on.
/// Restartable tasks, and those that they spawn, end here with [`crate::Fault::WaitAfterWrite`].
pub struct Barrier {
    parties: u32,
    binding: Binding<BarrierId>,
}

impl Barrier {
    /// A barrier for this many tasks; 0 acts as 1.
    #[must_use]
    pub const fn new(parties: u32) -> Barrier {
        Barrier { parties, binding: Binding::new() }
    }

    /// Waits until all have come.
    ///
    /// # Panics
    /// If it is polled outside of a task.
    pub async fn wait(&self) -> BarrierWaitResult {
        let granted = request(|current| {
            let barrier = self.binding.id(&current.shared, |core| core.create_barrier(self.parties))?;
            Ok(Op::Arrive(barrier))
        });
        BarrierWaitResult { is_leader: !granted.await.woken }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("parties", &self.parties).finish_non_exhaustive()
    }
}

/// How a task came through a barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether it came last. One of all.
    #[must_use]
    pub const fn is_leader(self) -> bool {
        self.is_leader
    }
}
