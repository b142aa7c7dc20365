//! A machine with a trusted core begins anew: what it knew is gone but for what is on its disk, if it has one, and its core
//! has another key, for which the administrator vouches.

use std::sync::Arc;

use smr_consensus::lanes::core::SoftwareCore;
use smr_crypto::IdentityKey;
use smr_crypto::dkg::DealingSeed;
use smr_replica::{Event, Phase, Replica, Voucher};

use super::World;
use super::happenings::Happening;
use crate::host::{Health, Machine};

/// How often the administrator looks after a machine that began anew, in microseconds.
const OPERATOR_US: u64 = 300_000;

impl World {
    pub(super) fn reboot(&mut self, machine: usize) {
        if self.machines[machine].health != Health::Dead {
            self.begin_anew(machine);
        }
    }

    /// A machine that failed, or fails now, begins anew.
    pub(super) fn begin_anew(&mut self, machine: usize) {
        let key = Arc::new(IdentityKey::from_seed(&self.rng.bytes32()).known_to(self.verifier.clone()));
        self.cores.insert(key.public());
        let (seed, dealing) = (self.rng.draw(), DealingSeed(self.rng.bytes32()));
        let Machine { seat, secrets, .. } = &self.machines[machine];
        let (seat, secrets, me) = (seat.clone(), secrets.clone(), seat.me);
        let verifier = self.verifier.clone();
        let disk = self.machines[machine].disk.take();
        let back = disk.map(|disk| disk.crash(&mut self.rng, false).expect("nothing damages it"));
        let (disk, found) = back.map(|back| (back.disk, back.found)).unzip();
        let found = found.unwrap_or_default();
        let (genesis, core) = (self.genesis.clone(), Some(key.public()));
        let replica = Replica::resume(genesis, me, secrets.clone(), core, verifier, found);
        let replica = replica.expect("a disk that does what it should keeps all that matters");
        self.observer.returns(machine, replica.status().decided);
        let mut anew = Machine::new(seat, secrets, replica, &self.genesis, None, seed);
        let window_slots = self.genesis.config.consensus.window_slots;
        anew.core = Some(SoftwareCore::new(self.group.clone(), window_slots, me, key, dealing));
        anew.disk = disk;
        self.machines[machine] = anew;
        self.watch.iter_mut().for_each(|watch| watch.forgets(me));
        self.drop_own_work(machine);
        self.plan(self.now_us, Happening::Event { machine, event: Event::Start });
        self.plan(self.now_us + OPERATOR_US, Happening::Operator { machine });
    }

    /// The administrator vouches for the core of a machine that asks for that, in the generation in which it is.
    pub(super) fn operate(&mut self, machine: usize) {
        let status = self.status(machine);
        let (me, core) = (self.machines[machine].seat.me, &self.machines[machine].core);
        let key = core.as_ref().map(SoftwareCore::key).expect("what was begun anew has a core");
        if status.phase == Phase::Rejoining {
            let service = self.group.service;
            let voucher = Voucher::sign(&self.administrator, service, me, status.generation, key);
            self.step(machine, Event::Vouched(voucher));
        }
        if self.setting.durable {
            self.restart_if_needed();
        }
        if self.machines[machine].replica.group().cores[me.index()] != key {
            self.plan(self.now_us + OPERATOR_US, Happening::Operator { machine });
        }
    }
}
