//! The end of a generation whose trusted cores are gone, as the administrator orders it; see [`crate::restart`] for its side.
//!
//! ```text
//!   Cease(g, s):    no vote in g any more, nothing decided above s          on disk before anybody hears where it is
//!   Restart(g, s):  learns what it lacks up to s; then the manifest stands in slot s+1
//!                   state of s+1 -> votes under identity keys -> n-f of them -> generation g+1
//! ```
//!
//! What a client was told rests on a correct replica that had decided it, on its disk. So once all have ceased nothing is
//! told any more that lies above where the highest of them stands, and that is where the generation ends.

use smr_app::SlotWork;
use smr_consensus::{Protocol, Record, record};
use smr_wire::{Generation, Slot};

use super::{Executing, Replica};
use crate::effect::{Effect, Observation};
use crate::known_bugs;
use crate::manifest::Manifest;

/// What a replica was told of the end of its generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarting {
    /// What stands behind the last slot of this generation; taken up once this replica is there.
    manifest: Option<Manifest>,
    /// Why the last one was not taken.
    refused: Option<NotRestarted>,
}

impl Restarting {
    pub(super) fn refused(&self) -> Option<NotRestarted> {
        self.refused
    }
}

/// Why a manifest is not taken up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotRestarted {
    /// The administrator of this service did not sign it, or it does not name a core for each replica.
    #[error("the administrator of this service has not signed it")]
    Unsigned,
    /// The generation did not end there: something would be lost.
    #[error(
        "the manifest ends the generation with slot {slot}, but this replica has decided up to {decided}"
    )]
    DecidedMore {
        /// Where the manifest ends it.
        slot: Slot,
        /// Where it does not end before.
        decided: Slot,
    },
    /// There is another one for the same generation, and it was first.
    #[error("this replica was given another manifest for generation {0}")]
    Another(Generation),
}

impl Replica {
    /// The administrator is about to end `generation`.
    pub(super) fn on_cease(&mut self, generation: Generation, slot: Slot) {
        // An order to end it says more.
        let is_ordered = self.engine.status().ceased.is_some_and(|ceased| ceased.order.is_some());
        if generation == self.seat.group.generation && !self.seat.group.is_bound_by_disk() && !is_ordered {
            self.cease(record::Cease { generation, slot, order: None });
        }
    }

    fn cease(&mut self, cease: record::Cease) {
        self.seat.votes = false;
        self.inbox.push_back(smr_consensus::Event::Cease(cease));
    }

    /// The administrator ends a generation. One of another generation is of no use: who is behind is shown how the next one
    /// began.
    pub(super) fn on_restart(&mut self, manifest: Manifest, effects: &mut Vec<Effect>) {
        if manifest.generation != self.seat.group.generation {
            return;
        }
        match self.may_restart(&manifest) {
            Ok(order) => {
                let Manifest { generation, slot, .. } = manifest;
                self.restarting = Restarting { manifest: Some(manifest), refused: None };
                self.cease(record::Cease { generation, slot, order: Some(order) });
            }
            Err(why) => {
                self.restarting.refused = Some(why);
                effects.push(Effect::Report(Observation::NotRestarted(why)));
            }
        }
    }

    /// What stands for the manifest, if this replica may follow it.
    fn may_restart(&self, manifest: &Manifest) -> Result<smr_crypto::Digest, NotRestarted> {
        if !manifest.holds(&self.genesis) {
            return Err(NotRestarted::Unsigned);
        }
        let (order, status) = (manifest.digest(self.service), self.engine.status());
        if status.ceased.and_then(|ceased| ceased.order).is_some_and(|first| first != order) {
            return Err(NotRestarted::Another(manifest.generation));
        }
        let (slot, decided) = (manifest.slot, status.decided);
        if decided > slot && !known_bugs::RESTARTS_BELOW_WHAT_IT_DECIDED.is_on() {
            return Err(NotRestarted::DecidedMore { slot, decided });
        }
        Ok(order)
    }

    /// Takes the manifest up once everything below it is admitted, unless the generation has ended by itself: then the
    /// state with which it did is what the others have too.
    pub(super) fn try_restart(&mut self, effects: &mut Vec<Effect>) {
        let Some(manifest) = &self.restarting.manifest else { return };
        let is_there = self.system.slot == manifest.slot
            || (self.system.slot > manifest.slot && known_bugs::RESTARTS_BELOW_WHAT_IT_DECIDED.is_on());
        let is_free = self.draining.is_none() && self.restoring.is_none() && self.healing.is_none();
        if !is_there || !is_free || self.is_at_the_end() {
            return;
        }
        let manifest = manifest.clone();
        let (slot, digest) = (self.system.slot.next(), manifest.digest(self.service));
        self.system.begin_slot(slot, &digest, self.system.time);
        self.system.voters.restart(&manifest);
        let (time, seed) = (self.system.time, self.system.history);
        // Whoever waits for newcomers to its round gets none in this generation.
        let work = SlotWork { slot, time, seed, commands: Vec::new(), timers: false, fill: true };
        self.executing.insert(slot, Executing { batch: digest, members: Vec::new() });
        effects.push(Effect::Execute(work));
        self.draining = Some(slot);
        self.since_checkpoint = 0;
        effects.push(Effect::Checkpoint { slot, strategy: self.genesis.config.checkpoints });
    }

    /// What was on disk tells whether this replica has a part in its generation any more.
    pub(super) fn found_end(&mut self, records: &[Record]) {
        self.seat.votes &= !records.iter().any(|record| matches!(record, Record::Ceased(_)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::effect::{Event, Input};
    use crate::replica::{Found, Secrets};
    use crate::voters::tests::{genesis, key};
    use smr_consensus::ProtocolName;
    use smr_crypto::Verifier;
    use smr_crypto::dkg::{DealingSeed, DecryptionKey};
    use smr_wire::{ReplicaId, Timestamp};

    /// Replica 2, whose core was begun anew, with these records on its disk.
    fn follower(records: Vec<Record>) -> Replica {
        let secrets = Secrets {
            identity: Arc::new(key(2)),
            decryption: Arc::new(DecryptionKey::from_seed(&[2; 32])),
            dealing_seed: DealingSeed([3; 32]),
        };
        let genesis = Arc::new(genesis(ProtocolName::Ebawa));
        let (core, verifier) = (Some(key(50).public()), Arc::new(Verifier::new(8)));
        let found = Found { checkpoint: None, records };
        let me = ReplicaId(2);
        let mut replica = Replica::resume(genesis, me, secrets, core, verifier, found).expect("in order");
        step(&mut replica, Event::Start);
        replica
    }

    fn step(replica: &mut Replica, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        replica.step(Input { clock: Timestamp(1), event }, &mut effects);
        effects
    }

    fn manifest(replica: &Replica, by: u8, slot: u64, last: u8) -> Manifest {
        let cores = [20, 21, last].map(|seed| key(seed).public()).to_vec();
        Manifest::sign(&key(by), replica.service, Generation(0), Slot(slot), cores)
    }

    fn written(effects: &[Effect]) -> Vec<Record> {
        let record = |effect: &Effect| match effect {
            Effect::Persist(record) => Some(record.clone()),
            _ => None,
        };
        effects.iter().filter_map(record).collect()
    }

    fn executed(effects: &[Effect]) -> Vec<Slot> {
        let slot = |effect: &Effect| match effect {
            Effect::Execute(work) => Some(work.slot),
            _ => None,
        };
        effects.iter().filter_map(slot).collect()
    }

    #[test]
    fn who_has_ceased_wrote_down_how_far_it_goes_and_still_knows_when_it_comes_back() {
        let mut replica = follower(Vec::new());
        let generation = Generation(0);
        assert!(step(&mut replica, Event::Cease { generation: Generation(1), slot: Slot(4) }).is_empty());
        let ceased = record::Cease { generation, slot: Slot(4), order: None };
        let cease = || Event::Cease { generation, slot: Slot(4) };
        assert_eq!(written(&step(&mut replica, cease())), [Record::Ceased(ceased)]);
        assert!(written(&step(&mut replica, cease())).is_empty(), "it is written down");
        assert_eq!(follower(vec![Record::Ceased(ceased)]).status().ceased, Some(Slot(4)));
        let earlier = record::Cease { generation: Generation(7), ..ceased };
        assert_eq!(follower(vec![Record::Ceased(earlier)]).status().ceased, None, "of another generation");
    }

    #[test]
    fn a_manifest_stands_in_the_slot_after_the_last_one_and_is_written_down_first() {
        let mut replica = follower(Vec::new());
        let order = manifest(&replica, 99, 0, 50);
        let effects = step(&mut replica, Event::Restart(order.clone()));
        let persists = effects.iter().position(|effect| matches!(effect, Effect::Persist(_)));
        let executes = effects.iter().position(|effect| matches!(effect, Effect::Execute(_)));
        assert!(persists < executes, "{effects:?}");
        assert_eq!(executed(&effects), [Slot(1)]);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Checkpoint { slot: Slot(1), .. })));
        let voters = &replica.system.voters;
        assert_eq!((voters.generation(), voters.barrier()), (Generation(1), None));
        assert_eq!(voters.group(&replica.genesis).cores, order.cores);
        assert!(step(&mut replica, Event::Restart(order)).is_empty(), "it was taken up");
    }

    #[test]
    fn a_manifest_for_a_slot_that_lies_ahead_waits_and_no_other_one_takes_its_place_ever_after() {
        let mut replica = follower(Vec::new());
        let (order, other) = (manifest(&replica, 99, 3, 50), manifest(&replica, 99, 3, 51));
        let effects = step(&mut replica, Event::Restart(order.clone()));
        assert_eq!((executed(&effects), replica.status().ceased), (vec![], Some(Slot(3))));
        let mut back = follower(written(&effects));
        for replica in [&mut replica, &mut back] {
            step(replica, Event::Restart(other.clone()));
            let another = Some(NotRestarted::Another(Generation(0)));
            assert_eq!((replica.status().not_restarted, replica.status().ceased), (another, Some(Slot(3))));
            step(replica, Event::Cease { generation: Generation(0), slot: Slot(9) });
            assert_eq!(replica.status().ceased, Some(Slot(3)), "the order says where");
            assert!(step(replica, Event::Restart(order.clone())).is_empty());
            assert_eq!(replica.status().not_restarted, None);
        }
    }

    #[test]
    fn what_nobody_signed_for_this_generation_ends_nothing() {
        let mut replica = follower(Vec::new());
        let forged = manifest(&replica, 1, 0, 50);
        step(&mut replica, Event::Restart(forged));
        assert_eq!(replica.status().not_restarted, Some(NotRestarted::Unsigned));
        let later = Manifest::sign(&key(99), replica.service, Generation(1), Slot(0), vec![]);
        assert!(step(&mut replica, Event::Restart(later)).is_empty());
        assert_eq!((replica.system.slot, replica.status().ceased), (Slot(0), None));
    }
}
