//! The administrator of a service that lost its trusted cores: asks all that it can, and begins a generation with new ones.

use std::collections::{BTreeMap, BTreeSet};

use smr_crypto::PublicKey;
use smr_replica::restart::{self, Size, Standing, Step};
use smr_replica::{Event, Manifest};
use smr_wire::{Generation, ReplicaId, Slot};

use super::World;
use crate::host::Health;

/// In so many of a thousand cases the administrator shows somebody a manifest that would lose what it has decided.
const ERRS_OF_1000: u64 = 300;

impl World {
    /// Does the next step of a restart, where too few cores count. Those that were taken over are nobody to count on: the
    /// administrator goes on without their word, and no client was told anything on that.
    pub(super) fn restart_if_needed(&mut self) {
        let said: BTreeMap<ReplicaId, Standing> =
            self.asked().map(|at| (at.0, self.standing(at.1))).collect();
        for (replica, of) in &said {
            if let Some(manifest) = self.manifests.get(&of.generation).cloned() {
                self.step(replica.index(), Event::Restart(manifest));
            }
        }
        let generation = said.values().map(|of| of.generation).max().unwrap_or_default();
        if self.manifests.contains_key(&generation) {
            return;
        }
        let liars: BTreeSet<ReplicaId> = (0..self.machines.len())
            .filter(|machine| !self.is_correct(*machine))
            .map(ReplicaId::at)
            .collect();
        match restart::next(&said, Size::of(&self.group), &liars) {
            Step::Needless | Step::Wait(_) => {}
            Step::Cease { whom, generation, slot } => {
                for replica in whom.into_iter().chain(liars) {
                    self.step(replica.index(), Event::Cease { generation, slot });
                }
            }
            Step::Sign { generation, slot } => {
                if self.rng.within(0, 999) < ERRS_OF_1000 && slot > Slot(0) {
                    let wrong = self.manifest(generation, slot.minus(1));
                    let whom =
                        said.iter().find(|(replica, of)| !liars.contains(replica) && of.decided == slot);
                    let (whom, _) = whom.expect("somebody has decided it");
                    self.step(whom.index(), Event::Restart(wrong));
                }
                let ends = self.watch.as_mut().map_or(Ok(()), |watch| watch.restarts(generation, slot));
                self.fail(ends);
                let (now_us, step) = (self.now_us, self.happened);
                let ends = || format!("the administrator ends generation {generation} with s{slot}");
                self.trace.note(now_us, step, ends);
                let manifest = self.manifest(generation, slot);
                self.manifests.insert(generation, manifest);
            }
        }
    }

    /// Who answers, and on which machine.
    fn asked(&self) -> impl Iterator<Item = (ReplicaId, usize)> + use<> {
        let answers = |machine: &usize| match self.machines[*machine].health {
            Health::Up => true,
            Health::PausedUntil(until_us) => until_us <= self.now_us,
            Health::Dead => false,
        };
        let all: Vec<usize> = (0..self.group.size()).filter(answers).collect();
        all.into_iter().map(|machine| (ReplicaId::at(machine), machine))
    }

    fn standing(&self, machine: usize) -> Standing {
        let disk = self.machines[machine].disk.as_ref();
        Standing::of(&self.status(machine), disk.is_none_or(|disk| disk.is_settled()))
    }

    /// That `generation` ends with `slot`, with the cores that run now.
    fn manifest(&self, generation: Generation, slot: Slot) -> Manifest {
        let core = |machine| self.core(machine).expect("each has one").key();
        let cores: Vec<PublicKey> = (0..self.group.size()).map(core).collect();
        Manifest::sign(&self.administrator, self.group.service, generation, slot, cores)
    }
}
