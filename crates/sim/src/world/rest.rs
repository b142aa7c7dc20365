//! A world at rest, with which many runs begin: making the service's key costs more than all that they try.

use std::collections::BTreeMap;

use smr_app::state::Chunk;
use smr_replica::{Phase, Status};
use smr_wire::{ReplicaId, Slot, View};

use super::happenings::Happening;
use super::{Setting, World, adversary};
use crate::clients::Clients;
use crate::durable::Durable;
use crate::host::Machine;
use crate::network::Network;
use crate::observe::Violation;
use crate::rng::Rng;
use crate::rounds::Rounds;
use crate::trace::Trace;

/// How long a service may take until its replicas are ready, in microseconds.
const READY_US: u64 = 60_000_000;

/// How often it is looked whether they are.
const LOOK_US: u64 = 1_000;

/// A service that has its key, has not met a client, and in which nothing is on its way.
pub struct Rest {
    world: World,
    /// The application's state on each machine.
    applications: Vec<Vec<Chunk>>,
    slot: Slot,
}

/// What a run that begins at rest is to be like.
pub struct Awakening {
    /// As that of the world at rest, except for what befalls it: clients, misdeeds, and a twin.
    pub setting: Setting,
    /// Source of all chance from here on.
    pub seed: u64,
    /// How links follow the views until the world heals, if they do.
    pub rounds: Option<Rounds>,
}

impl World {
    /// Runs until every replica is ready for clients and nothing is on its way.
    ///
    /// # Errors
    /// The property that failed before.
    pub fn into_rest(mut self) -> Result<Rest, Violation> {
        while !self.rests() {
            if self.now_us >= READY_US {
                return Err(Violation::Liveness("the service does not come to rest".into()));
            }
            self.run(self.now_us + LOOK_US, u64::MAX)?;
        }
        self.machines.iter_mut().filter_map(|machine| machine.disk.as_mut()).for_each(Durable::settle);
        let slot = self.machines[0].replica.status().executed;
        let applications = self.machines.iter_mut().map(|machine| machine.write_state(slot)).collect();
        Ok(Rest { world: self, applications, slot })
    }

    fn rests(&self) -> bool {
        let stands: Vec<Status> = self.machines.iter().map(|machine| machine.replica.status()).collect();
        stands.iter().all(|status| status.phase == Phase::Ready && status.waiting == 0)
            && stands.windows(2).all(|pair| pair[0].executed == pair[1].executed)
            && self.queue.values().all(Happening::is_wait)
            && self.machines.iter().filter_map(|machine| machine.disk.as_ref()).all(Durable::rests)
    }
}

impl Rest {
    /// The view in which it rests.
    #[must_use]
    pub fn view(&self) -> View {
        self.world.machines[0].view
    }

    /// A world that goes on from here.
    #[must_use]
    pub fn wake(&self, awakening: Awakening, trace: Trace) -> World {
        let Awakening { setting, seed, rounds } = awakening;
        let (mut rng, rest) = (Rng::new(seed), &self.world);
        let machine = |(index, of): (usize, usize)| {
            let (before, state) = (&rest.machines[of], self.applications[of].clone());
            let adversary = adversary(&setting, index, &before.seat, &mut rng, &rest.verifier);
            before.again(&rest.genesis, adversary, rng.draw(), self.slot, state)
        };
        let twin = setting.twin.map(ReplicaId::index);
        let mut machines: Vec<Machine> =
            (0..rest.machines.len()).chain(twin).enumerate().map(machine).collect();
        // A core is not copied with its host.
        machines.iter_mut().skip(rest.machines.len()).for_each(|second| second.core = None);
        let clients = Clients::new(&setting, &rest.genesis, &rest.verifier, &rest.known, &mut rng);
        let mut world = World {
            network: Network::new(setting.weather.clone(), setting.regions.clone(), rng.fork()),
            rounds,
            now_us: rest.now_us,
            queue: BTreeMap::new(),
            happened: 0,
            machines,
            clients,
            known: rest.known.clone(),
            rng,
            group: rest.group.clone(),
            genesis: rest.genesis.clone(),
            administrator: rest.administrator.clone(),
            cores: rest.cores.clone(),
            manifests: rest.manifests.clone(),
            verifier: rest.verifier.clone(),
            observer: rest.observer.clone(),
            watch: rest.watch.clone(),
            refused: 0,
            violation: None,
            stage: None,
            trace,
            setting,
        };
        world.plan_waits();
        world
    }
}

impl World {
    /// Plans what machines and clients wait for.
    fn plan_waits(&mut self) {
        for machine in 0..self.machines.len() {
            for (timer, due_us) in self.machines[machine].timers.clone() {
                self.plan(due_us, Happening::Timer { machine, timer, due_us });
            }
            if let Some(look_us) = self.machines[machine].look_us {
                self.plan(look_us, Happening::Look { machine, look_us });
            }
        }
        for client in 0..self.setting.clients {
            let begin_us = self.now_us + self.rng.within(0, self.setting.pause_us_max);
            self.plan(begin_us, Happening::Client { client });
        }
    }
}
