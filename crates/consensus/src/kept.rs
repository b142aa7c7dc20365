//! Batches of earlier views that a slot keeps, for whoever is bound to one of them later.

use smr_crypto::Digest;

use crate::batch::Batch;

/// How many a slot keeps. Each stands for a view that failed after it proposed something else than the views before it;
/// the oldest goes first.
pub const KEPT_BATCHES_MAX: usize = 8;

/// Distinct batches, the latest last.
#[derive(Clone, Debug, Default)]
pub struct KeptBatches(Vec<Batch>);

impl KeptBatches {
    /// Keeps `batch` as the latest.
    pub fn keep(&mut self, batch: Batch) {
        self.0.retain(|kept| *kept != batch);
        self.0.push(batch);
        let surplus = self.0.len().saturating_sub(KEPT_BATCHES_MAX);
        self.0.drain(..surplus);
    }

    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Batch> {
        self.0.iter()
    }

    /// Their digests, the oldest first.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        self.0.iter().map(Batch::digest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_wire::Timestamp;

    #[test]
    fn the_latest_are_kept_and_each_once() {
        let batch = |time| Batch::new(Timestamp(time), Vec::new());
        let mut kept = KeptBatches::default();
        (0..10).chain([3]).for_each(|time| kept.keep(batch(time)));
        let expected: Vec<Digest> = [2, 4, 5, 6, 7, 8, 9, 3].map(|time| batch(time).digest()).to_vec();
        assert_eq!(kept.digests(), expected);
    }
}
