//! A machine fails and comes back with what is on its disk; what waits for the disk meanwhile.

use std::sync::Arc;

use smr_consensus::checkpoint::CheckpointCertificate;
use smr_consensus::{Protocol as _, Record};
use smr_replica::{Chunked, Effect, Event, Replica};

use super::World;
use super::faults::Fault;
use super::happenings::Happening;
use super::stage::{Note, Party};
use crate::durable::Back;
use crate::host::{Health, Machine};

/// How long a disk takes to have written what it was given, in microseconds.
const SYNC_US: u64 = 4_000;

/// How long it takes for a state.
const KEEP_US: u64 = 500_000;

/// What a disk has done.
#[derive(Clone, Debug)]
pub(crate) enum DiskWork {
    /// Everything up to this record is there.
    Synced(u64),
    /// This state.
    Kept(Box<(CheckpointCertificate, Arc<Chunked>)>),
}

impl World {
    /// Does what a replica wants, or holds it back until what it promised is on disk.
    pub(super) fn act_durably(&mut self, machine: usize, effect: Effect) {
        if let (Effect::Persist(Record::Voted(vote)), Some(_)) = (&effect, &self.machines[machine].disk) {
            self.watch_vote_under_way(machine, vote.ballot);
        }
        let Some(disk) = &mut self.machines[machine].disk else {
            self.act(machine, effect);
            return;
        };
        match effect {
            Effect::Persist(record) => {
                if disk.write(record) {
                    self.sync(machine);
                }
            }
            Effect::Keep { certificate, image } => {
                let due_us = self.now_us + self.own_work_us(KEEP_US / 100, KEEP_US);
                let work = DiskWork::Kept(Box::new((certificate, image)));
                self.plan(due_us, Happening::Disk { machine, work });
            }
            Effect::Prune { slot, standing } => {
                disk.prune(slot, &standing);
                let all = disk.begin_sync();
                self.is_on_disk(machine, all);
            }
            effect => {
                if let Some(effect) = disk.pass(effect) {
                    self.act(machine, effect);
                }
            }
        }
    }

    fn sync(&mut self, machine: usize) {
        let covers = self.machines[machine].disk.as_ref().expect("it was written to").begin_sync();
        let due_us = self.now_us + self.own_work_us(50, SYNC_US);
        self.plan(due_us, Happening::Disk { machine, work: DiskWork::Synced(covers) });
    }

    /// A disk has done something.
    pub(super) fn on_disk(&mut self, machine: usize, work: DiskWork) {
        let disk = self.machines[machine].disk.as_mut().expect("whose disk works has one");
        match work {
            DiskWork::Kept(state) => {
                let (certificate, image) = *state;
                let slot = certificate.checkpoint.slot;
                disk.keep(&certificate, &image);
                self.step(machine, Event::Kept(slot));
            }
            DiskWork::Synced(up_to) => {
                let again = disk.ends_sync(up_to);
                self.is_on_disk(machine, up_to);
                self.look_again(machine);
                if again {
                    self.sync(machine);
                }
            }
        }
    }

    /// Everything up to this record is on disk: what waited for that is done.
    fn is_on_disk(&mut self, machine: usize, up_to: u64) {
        let disk = self.machines[machine].disk.as_mut().expect("whose disk works has one");
        let (fresh, free) = disk.synced(up_to);
        fresh.iter().for_each(|record| self.watch_record(machine, record));
        for effect in free {
            self.act(machine, effect);
        }
    }

    /// A machine fails, and comes back after so long; with `rots`, a bit of its disk flips meanwhile.
    pub(super) fn crash(&mut self, machine: usize, down_us: u64, rots: bool) {
        if self.machines[machine].health == Health::Dead || self.machines[machine].disk.is_none() {
            return;
        }
        self.machines[machine].health = Health::Dead;
        self.drop_own_work(machine);
        self.schedule(self.now_us + down_us, Fault::Return(machine, rots));
    }

    /// It comes back, unless what is on its disk is damaged: then it may have forgotten what it promised, and knows that.
    pub(super) fn come_back(&mut self, machine: usize, rots: bool) {
        let Some(disk) = self.machines[machine].disk.take() else { return };
        let back = match disk.crash(&mut self.rng, rots) {
            Ok(back) => back,
            Err(damage) => {
                self.note(|_| Note::says(Party::Replica(machine), format!("stays away: {damage}")));
                return;
            }
        };
        let Back { disk, found, fresh } = back;
        fresh.iter().for_each(|record| self.watch_record(machine, record));
        self.note(|_| Note::says(Party::Replica(machine), "comes back with what is on its disk".into()));
        let Machine { seat, secrets, .. } = &self.machines[machine];
        let (seat, secrets, me, verifier) = (seat.clone(), secrets.clone(), seat.me, self.verifier.clone());
        let replica = Replica::resume(self.genesis.clone(), me, secrets.clone(), None, verifier, found);
        let replica = match replica {
            Ok(replica) => replica,
            // A state that was fetched and then damaged leaves a gap before what came after it.
            Err(why) if rots => {
                self.note(|_| Note::says(Party::Replica(machine), format!("stays away: {why}")));
                return;
            }
            Err(why) => panic!("a disk that does what it should keeps all that matters: {why}"),
        };
        self.observer.returns(machine, replica.status().decided);
        let stands = (replica.status().decided, replica.engine().status().stable);
        self.watch.iter_mut().for_each(|watch| watch.returns(me, replica.group(), stands));
        let seed = self.rng.draw();
        self.machines[machine] = Machine::new(seat, secrets, replica, &self.genesis, None, seed);
        self.machines[machine].disk = Some(disk);
        self.plan(self.now_us, Happening::Event { machine, event: Event::Start });
    }

    /// What a machine had given to its own parts is gone with it.
    pub(super) fn drop_own_work(&mut self, machine: usize) {
        self.queue.retain(|_, happening| {
            let is_own = matches!(
                happening,
                Happening::Event { .. }
                    | Happening::Timer { .. }
                    | Happening::Look { .. }
                    | Happening::Chunk { .. }
                    | Happening::Disk { .. }
            );
            !is_own || happening.machine() != Some(machine)
        });
    }
}
