//! A replica stands still, and is heard by nobody, while the others answer a hundred thousand requests; then it goes on, and
//! must be back in step while the others are still at work. Nobody may remember more for that than its limits allow.
//!
//! ```text
//!   cargo test -p smr-sim --test frozen                                              two thousand requests
//!   cargo test --release -p smr-sim --test frozen -- --ignored --nocapture           a hundred thousand
//! ```

use std::collections::BTreeMap;

use smr_consensus::registry::PROTOCOLS;
use smr_consensus::{Config as Ordering, Protocol, ProtocolName};
use smr_replica::{Config, Phase, Scheduling};
use smr_sim::clients::hasty;
use smr_sim::network::Weather;
use smr_sim::threshold::Scheme;
use smr_sim::trace::Trace;
use smr_sim::world::faults::Fault;
use smr_sim::world::{Setting, World};
use smr_wire::Slot;

/// Clients, each of which has up to three commands in flight.
const CLIENTS: usize = 64;

/// How often it is looked how far everybody is, in microseconds.
const LOOK_US: u64 = 10_000;

/// How long the others may take, and the frozen one to be back in step, in microseconds of simulated time.
const OTHERS_US: u64 = 3_600_000_000;
const BACK_US: u64 = 10_000_000;

/// A machine that stands still for longer than any run.
const FOR_EVER_US: u64 = 10 * OTHERS_US;

/// What a run showed.
#[derive(Debug)]
#[expect(dead_code, reason = "read by whoever prints it")]
struct Figures {
    /// Commands answered while it was frozen.
    answered: usize,
    /// Slots decided meanwhile.
    slots_missed: u64,
    /// Simulated time while it was frozen, in ms.
    frozen_ms: u64,
    /// Simulated time until it was back in step, in ms.
    back_ms: u64,
    /// The most decisions that any replica kept.
    log_slots: u64,
    /// The most entries that waited at any replica.
    waiting: usize,
}

/// Limits of a small log, so that whoever is frozen misses more than the others keep.
fn config() -> Config {
    let ordering = Ordering { log_slots_max: 128, ..Ordering::default() };
    Config { consensus: ordering, checkpoint_slots: 32, ..Config::default() }
}

fn world(protocol: ProtocolName, requests: usize) -> World {
    let setting = Setting {
        protocol,
        application: "kv".into(),
        faults: 1,
        scheme: Scheme::Cheap(1),
        weather: Weather::calm(),
        regions: None,
        twin: None,
        misdeeds: BTreeMap::new(),
        scheduling: Scheduling { preset: "rounds".into(), primaries: 4, steps: 1 },
        config: config(),
        clients: CLIENTS,
        // The last part of them is asked while it comes back.
        commands: (requests + requests / 4) / CLIENTS + 1,
        pause_us_max: 2_000,
        near: false,
        patience: hasty(),
        value_bytes: 0,
        execution_us_max: 500,
        encode: false,
        durable: false,
    };
    World::new(setting, 1, Trace::off())
}

/// Freezes `machine` until `requests` commands were answered by the others.
fn freeze(protocol: ProtocolName, machine: usize, requests: usize) -> Figures {
    let mut world = world(protocol, requests);
    let all: Vec<usize> = world.survivors();
    let mut kept = Kept::default();
    let run = |world: &mut World, kept: &mut Kept| {
        let until_us = world.now_us() + LOOK_US;
        world.run(until_us, u64::MAX).unwrap_or_else(|violation| panic!("{protocol}: {violation}"));
        all.iter().for_each(|machine| kept.look(world, *machine, protocol));
    };
    let is_ready = |world: &World, machine: usize| world.status(machine).phase == Phase::Ready;
    while !all.iter().all(|machine| is_ready(&world, *machine)) || answered(&world) < CLIENTS {
        run(&mut world, &mut kept);
        assert!(world.now_us() < OTHERS_US, "{protocol}: the service does not come up");
    }
    let (begin_us, before, stood) = (world.now_us(), answered(&world), world.status(machine).executed);
    world.schedule(begin_us, Fault::Cut([machine].into()));
    world.schedule(begin_us, Fault::Pause(machine, FOR_EVER_US));
    while answered(&world) < before + requests {
        run(&mut world, &mut kept);
        assert!(world.now_us() < begin_us + OTHERS_US, "{protocol}: the others do not answer in time");
    }
    assert!(world.status(machine).executed <= stood.next(), "{protocol}: it was not frozen");
    let (thaw_us, others) = (world.now_us(), highest(&world, &all));
    world.schedule(thaw_us, Fault::Mend);
    world.schedule(thaw_us, Fault::Thaw(machine));
    let window = config().consensus.window_slots;
    while !is_ready(&world, machine) || world.status(machine).executed.plus(window) < highest(&world, &all) {
        run(&mut world, &mut kept);
        assert!(
            world.now_us() < thaw_us + BACK_US,
            "{protocol}: it does not come back: {:?}",
            world.status(machine)
        );
    }
    let back_us = world.now_us();
    while !world.clients().are_done() || !alike(&world, &all) {
        run(&mut world, &mut kept);
        assert!(world.now_us() < back_us + OTHERS_US, "{protocol}: replicas do not come to stand alike");
    }
    assert_eq!(world.clients().unknown(), 0, "{protocol}: commands whose outcome nobody learned");
    Figures {
        answered: requests,
        slots_missed: others.since(stood),
        frozen_ms: (thaw_us - begin_us) / 1000,
        back_ms: (back_us - thaw_us) / 1000,
        log_slots: kept.log_slots,
        waiting: kept.waiting,
    }
}

fn answered(world: &World) -> usize {
    world.clients().answered()
}

fn highest(world: &World, all: &[usize]) -> Slot {
    all.iter().map(|machine| world.status(*machine).executed).max().unwrap_or_default()
}

fn alike(world: &World, all: &[usize]) -> bool {
    let stands: Vec<_> = all.iter().map(|m| (world.status(*m).executed, world.status(*m).digest)).collect();
    stands.windows(2).all(|pair| pair[0] == pair[1])
}

/// The most that replicas remembered.
#[derive(Default)]
struct Kept {
    log_slots: u64,
    waiting: usize,
}

impl Kept {
    /// Looks at a replica. A log ends where voting does at most, and begins at the checkpoint before the last; whoever comes
    /// back has its own, and may take all of another's before it hears that a checkpoint of its own is stable.
    fn look(&mut self, world: &World, machine: usize, protocol: ProtocolName) {
        let (status, config) = (world.replica(machine).engine().status(), config());
        let log_slots = status.decided.since(status.log_base);
        let most = 2 * (config.consensus.log_slots_max + 2 * config.checkpoint_slots);
        assert!(log_slots <= most, "{protocol}: replica {machine} keeps {log_slots} decisions");
        let waiting_max = config.consensus.pool_entries_max as usize;
        assert!(status.waiting <= waiting_max, "{protocol}: {} entries wait at {machine}", status.waiting);
        self.log_slots = self.log_slots.max(log_slots);
        self.waiting = self.waiting.max(status.waiting);
    }
}

/// Every protocol that survives a replica which stands still: `solo` has but one.
fn replicated() -> impl Iterator<Item = ProtocolName> {
    PROTOCOLS.iter().copied().filter(|protocol| protocol.profile().faults_max > 0)
}

#[test]
fn a_replica_that_was_frozen_for_two_thousand_requests_comes_back() {
    for protocol in replicated() {
        // The first primary, and another.
        for machine in [0, 1] {
            println!("{protocol}, {machine}: {:?}", freeze(protocol, machine, 2_000));
        }
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_replica_that_was_frozen_for_a_hundred_thousand_requests_comes_back() {
    for protocol in replicated() {
        println!("{protocol}: {:?}", freeze(protocol, 1, 100_000));
    }
}
