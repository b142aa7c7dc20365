//! The invariants in each generation, and between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use smr_consensus::lanes::Lanes;
use smr_consensus::{Config, Group};
use smr_wire::{Generation, ReplicaId, Slot};

use super::{Invariant, Verdict, Watch, holds};

/// What has been seen of a service that runs a protocol of `lanes`, by generation.
#[derive(Clone, Debug)]
pub struct Watches(BTreeMap<Generation, Watch>);

impl Watches {
    /// Nothing has been seen of the service of which `lanes` is a replica.
    #[must_use]
    pub fn new(lanes: &Lanes, group: Arc<Group>, config: Config) -> Watches {
        Watches(BTreeMap::from([(group.generation, Watch::new(lanes, group, config))]))
    }

    /// What has been seen of a generation in which a replica is or was.
    ///
    /// # Panics
    /// If no replica has entered it.
    pub fn of(&mut self, generation: Generation) -> &mut Watch {
        self.0.get_mut(&generation).expect("whose core votes in a generation has entered it")
    }

    /// A correct replica has admitted that `generation` ends with `slot`, whether it has entered it or not.
    ///
    /// # Errors
    /// I8: others say another slot, or something is decided above.
    pub fn ends(&mut self, generation: Generation, slot: Slot) -> Verdict {
        let Some(watch) = self.0.get_mut(&generation) else { return Ok(()) };
        if watch.restarts {
            return Ok(());
        }
        let end = *watch.end.get_or_insert(slot);
        holds(Invariant::Generation, end == slot, || {
            format!("generation {generation} ends with slot {end} and with slot {slot}")
        })?;
        let beyond = watch.decided.keys().next_back().copied().filter(|last| *last > slot);
        holds(Invariant::Generation, beyond.is_none(), || {
            format!("generation {generation} ends with slot {slot}, but more is decided in it")
        })
    }

    /// The administrator ends `generation` with `slot`, as its cores are gone. They may have voted for more, of which nobody
    /// heard: from here on that is nothing that was decided.
    ///
    /// # Errors
    /// I8: a correct replica knows that more is decided.
    pub fn restarts(&mut self, generation: Generation, slot: Slot) -> Verdict {
        let Some(watch) = self.0.get_mut(&generation) else { return Ok(()) };
        (watch.end, watch.restarts) = (Some(slot), true);
        let known = watch.stood.values().map(|(decided, _)| *decided).max().unwrap_or_default();
        holds(Invariant::Generation, known <= slot, || {
            format!("generation {generation} is ended with slot {slot}, but {known} is decided")
        })
    }

    /// A replica that has decided up to `slot` is in the generation of `group`.
    ///
    /// # Errors
    /// I8: whoever votes in it was agreed, and nothing above `slot` was decided in an earlier one.
    pub fn enters(&mut self, lanes: &Lanes, group: &Arc<Group>, slot: Slot) -> Verdict {
        if let Some(watch) = self.0.get(&group.generation) {
            return holds(Invariant::Generation, watch.group == *group, || {
                format!("replicas differ on who votes in generation {}", group.generation)
            });
        }
        let Some((_, before)) = self.0.iter_mut().next_back() else { return Ok(()) };
        let end = *before.end.get_or_insert(slot);
        let beyond =
            before.decided.keys().next_back().copied().filter(|last| *last > end && !before.restarts);
        let new = Watch::new(lanes, group.clone(), before.config.clone());
        self.0.insert(group.generation, new);
        holds(Invariant::Generation, beyond.is_none(), || {
            format!("generation {} begins after slot {end}, but more was decided before", group.generation)
        })
    }

    /// A correct replica came back with what is on its disk: it may know less than before, but for what it voted for, and
    /// stands `(decided, stable)` in the generation of `group`.
    pub fn returns(&mut self, who: ReplicaId, group: &Group, stands: (Slot, Slot)) {
        for (generation, watch) in &mut self.0 {
            watch.stood.remove(&who);
            if *generation == group.generation {
                watch.stood.insert(who, stands);
            }
        }
    }

    /// A correct replica began anew: it stands nowhere, and its core is another one.
    pub fn forgets(&mut self, who: ReplicaId) {
        for watch in self.0.values_mut() {
            watch.stood.remove(&who);
            watch.lanes.remove(&who);
        }
    }
}
