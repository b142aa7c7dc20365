//! When to propose, and how much: the first entry goes at once; while enough slots are open, entries gather, so
//! batches grow with the load and shrink with it, without a timer.

use smr_wire::Timestamp;

use crate::batch::Batch;
use crate::config::Config;
use crate::known_bugs;
use crate::pool::Pool;

/// The batch to propose now, if it is time for one, given how many slots are open and the proposer's clock.
pub fn cut(pool: &mut Pool, open_slots: u64, clock: Timestamp, config: &Config) -> Option<Batch> {
    // What is urgent opens as many slots again, and no more, so that its authors cannot keep all batches small.
    let is_urgent = pool.is_urgent() && !known_bugs::FILL_WAITS_FOR_SLOTS.is_on();
    let open_max = if is_urgent { 2 * config.pipeline_slots } else { config.pipeline_slots };
    let may_wait = open_slots >= open_max;
    if may_wait || !pool.has_unproposed() {
        return None;
    }
    Some(Batch::new(clock, pool.take(config.batch_limits())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Entry, EntryBody, SystemEntry};
    use crate::pool::tests::entry;

    #[test]
    fn a_lone_entry_goes_at_once_and_others_gather_while_the_pipeline_is_full() {
        let config = Config { pipeline_slots: 2, ..Config::default() };
        let mut pool = Pool::new(&config, 1);
        assert_eq!(cut(&mut pool, 0, Timestamp(1), &config), None);
        pool.add(entry(1, 1));
        assert_eq!(
            cut(&mut pool, 0, Timestamp(1), &config),
            Some(Batch::new(Timestamp(1), vec![entry(1, 1)]))
        );
        pool.add(entry(1, 2));
        pool.add(entry(1, 3));
        assert_eq!(cut(&mut pool, 2, Timestamp(2), &config), None);
        assert_eq!(cut(&mut pool, 1, Timestamp(2), &config).map(|b| b.entries().len()), Some(2));
        pool.add(entry(1, 4));
        assert_eq!(cut(&mut pool, 2, Timestamp(2), &config), None);
        let seat = crate::pbft::tests::seat(0);
        pool.add(Entry::new(EntryBody::System(SystemEntry::sign(&seat, vec![1]))));
        let batch = cut(&mut pool, 2, Timestamp(2), &config);
        assert_eq!(batch.map(|b| b.entries().len()), Some(2), "open slots may depend on it");
        pool.add(Entry::new(EntryBody::System(SystemEntry::sign(&seat, vec![2]))));
        assert_eq!(cut(&mut pool, 4, Timestamp(2), &config), None, "but only on some");
    }
}
