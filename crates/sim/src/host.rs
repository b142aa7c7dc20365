//! One simulated machine: the real replica value, the real application under the seeded executor, and its timers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use smr_app::host::HostConfig;
use smr_app::state::Chunk;
use smr_app::{AnyHost, HostEvent, Strategy, builtin};
use smr_consensus::Seat;
use smr_consensus::lanes::core::SoftwareCore;
use smr_replica::{Genesis, Replica, Secrets, Timer};
use smr_uds::Seeded;
use smr_wire::{Generation, Slot, View};

use crate::adversary::Adversary;
use crate::durable::Durable;

/// A replica and what belongs to its machine.
pub(crate) struct Machine {
    /// Who it is, with its key.
    pub(crate) seat: Seat,
    /// What survives when the machine begins anew.
    pub(crate) secrets: Secrets,
    /// The value under test.
    pub(crate) replica: Replica,
    /// Its application.
    pub(crate) host: Box<dyn AnyHost>,
    /// Polls the application's tasks.
    pub(crate) executor: Seeded,
    /// What the application has reported and the world has not taken yet.
    pub(crate) reported: Arc<Mutex<Vec<HostEvent>>>,
    /// The generation in which it speaks.
    pub(crate) says_in: Generation,
    /// Due times of timers, in microseconds.
    pub(crate) timers: BTreeMap<Timer, u64>,
    /// How the machine is doing.
    pub(crate) health: Health,
    /// The view that its replica is in or on its way to.
    pub(crate) view: View,
    /// Its trusted core, where the protocol counts on one: a host that was taken over still has it do what it does.
    pub(crate) core: Option<SoftwareCore>,
    /// What outlives a crash of it, where the service keeps anything.
    pub(crate) disk: Option<Durable>,
    /// When the core has answered what it was asked, in microseconds.
    pub(crate) core_until_us: u64,
    /// What it does wrong, if it was taken over.
    pub(crate) adversary: Option<Adversary>,
    /// What the application reports may not overtake what it reported before.
    pub(crate) busy_until_us: u64,
    /// When somebody will look after the application, if that is planned.
    pub(crate) look_us: Option<u64>,
}

/// How a machine is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// It runs.
    Up,
    /// It stands still, as under SIGSTOP, until this time in microseconds; then all that waited for it comes.
    PausedUntil(u64),
    /// It is gone for good.
    Dead,
}

impl Machine {
    /// A machine for `replica` whose application is polled in the orders that `seed` stands for.
    pub(crate) fn new(
        seat: Seat,
        secrets: Secrets,
        replica: Replica,
        genesis: &Genesis,
        adversary: Option<Adversary>,
        seed: u64,
    ) -> Machine {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink = reported.clone();
        let sink = Arc::new(move |event| lock(&sink).push(event));
        let scheduler = genesis.scheduling.config().expect("a genesis is valid");
        let config =
            HostConfig { reply_bytes_max: genesis.config.reply_bytes_max, ..HostConfig::new(scheduler) };
        let application = builtin::find(&genesis.application).expect("simulations run built-in applications");
        let host = application.start(config, sink).expect("the default settings are valid");
        Machine {
            seat,
            secrets,
            replica,
            host,
            executor: Seeded::new(seed),
            reported,
            says_in: Generation(0),
            timers: BTreeMap::new(),
            health: Health::Up,
            view: View(0),
            core: None,
            disk: None,
            core_until_us: 0,
            adversary,
            busy_until_us: 0,
            look_us: None,
        }
    }

    /// Another machine that stands where this one does, whose application takes over `state`, which is that after
    /// `slot`.
    pub(crate) fn again(
        &self,
        genesis: &Genesis,
        adversary: Option<Adversary>,
        seed: u64,
        slot: Slot,
        state: Vec<Chunk>,
    ) -> Machine {
        let mut again = Machine::new(
            self.seat.clone(),
            self.secrets.clone(),
            self.replica.clone(),
            genesis,
            adversary,
            seed,
        );
        again.host.restore(slot, state);
        let restored = again.run_host();
        assert!(matches!(restored[..], [HostEvent::Restored { result: Ok(()), .. }]), "{restored:?}");
        again.timers = self.timers.clone();
        again.view = self.view;
        again.says_in = self.says_in;
        again.core = self.core.clone();
        again.disk = self.disk.as_ref().filter(|_| again.adversary.is_none()).map(Durable::again);
        again.look_us = self.look_us;
        again
    }

    /// The application's state after `slot`, the last one that it was given.
    pub(crate) fn write_state(&mut self, slot: Slot) -> Vec<Chunk> {
        self.host.checkpoint(slot, Strategy::Quiescent).expect("nothing is executed");
        let mut written = self.run_host();
        match written.pop() {
            Some(HostEvent::Checkpointed { state, .. }) => state.chunks().expect("memory is sound"),
            other => panic!("a state was asked for, not {other:?}"),
        }
    }

    /// Lets the application compute until it waits, and takes what it reports.
    pub(crate) fn run_host(&mut self) -> Vec<HostEvent> {
        self.executor.run(self.host.scheduler());
        std::mem::take(&mut *lock(&self.reported))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
