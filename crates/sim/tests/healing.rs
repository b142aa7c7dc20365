//! Bits of the memory flip in which one replica's application has its state: that shows within the promised number of
//! checkpoints, the replica fetches the right state and serves again, and no client ever sees a wrong value.

use std::collections::BTreeMap;

use smr_app::state::SOUND_WITHIN_CUTS;
use smr_consensus::ProtocolName;
use smr_replica::{Phase, Scheduling};
use smr_sim::Misdeed;
use smr_sim::check::linear;
use smr_sim::clients::hasty;
use smr_sim::network::Weather;
use smr_sim::threshold::Scheme;
use smr_sim::trace::Trace;
use smr_sim::world::faults::Fault;
use smr_sim::world::{Setting, World, hasty_config};

/// The replica whose memory fails.
const VICTIM: usize = 2;

/// How often it is looked how things are, in microseconds.
const LOOK_US: u64 = 5_000;

/// Simulated time that no run needs, in microseconds.
const LONG_US: u64 = 600_000_000;

fn world(protocol: ProtocolName, seed: u64) -> World {
    let setting = Setting {
        protocol,
        application: "kv".into(),
        faults: 1,
        scheme: Scheme::Cheap(1),
        weather: Weather::calm(),
        regions: None,
        twin: None,
        misdeeds: BTreeMap::from([(u16::try_from(VICTIM).expect("small"), Misdeed::FailMemory)]),
        scheduling: Scheduling { preset: "rounds".into(), primaries: 4, steps: 1 },
        config: hasty_config(),
        clients: 3,
        commands: 1_500,
        pause_us_max: 2_000,
        near: false,
        patience: hasty(),
        value_bytes: 0,
        execution_us_max: 500,
        encode: false,
        durable: false,
    };
    World::new(setting, seed, Trace::off())
}

/// Flips bits once, and gives after how many checkpoints that showed; none if what flipped was overwritten before.
fn flip(protocol: ProtocolName, seed: u64) -> Option<u64> {
    let mut world = world(protocol, seed);
    let all: Vec<usize> = (0..world.setting().protocol.profile().replicas(1).into()).collect();
    let run = |world: &mut World| {
        let until_us = world.now_us() + LOOK_US;
        world
            .run(until_us, u64::MAX)
            .unwrap_or_else(|violation| panic!("{protocol}, seed {seed}: {violation}"));
        assert!(world.now_us() < LONG_US, "{protocol}, seed {seed}: it takes too long");
    };
    let answered = |world: &World| world.clients().history().iter().filter(|r| r.answer.is_some()).count();
    while answered(&world) < 100 {
        run(&mut world);
    }
    let every = world.setting().config.checkpoint_slots;
    let before = world.status(VICTIM).executed.0 / every;
    world.schedule(world.now_us(), Fault::Flip(VICTIM, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let shows = |world: &World| {
        let status = world.status(VICTIM);
        status.phase == Phase::Healing || status.heals > 0
    };
    while !shows(&world) && !world.clients().are_done() {
        run(&mut world);
    }
    let found = shows(&world).then(|| world.status(VICTIM).executed.0 / every - before);
    while world.status(VICTIM).phase != Phase::Ready || !world.clients().are_done() {
        run(&mut world);
    }
    let stand = |world: &World, machine: usize| {
        let status = world.status(machine);
        (status.executed, status.digest)
    };
    while all.iter().any(|machine| stand(&world, *machine) != stand(&world, 0)) {
        run(&mut world);
    }
    linear::check_kv(world.clients().history())
        .unwrap_or_else(|why| panic!("{protocol}, seed {seed}: {why}"));
    found
}

#[test]
fn a_flipped_bit_is_found_within_the_promised_checkpoints_and_healed_and_no_client_sees_it() {
    for protocol in [ProtocolName::Pbft, ProtocolName::Minbft] {
        let found: Vec<Option<u64>> = (1..=6).map(|seed| flip(protocol, seed)).collect();
        let latest = found.iter().flatten().max().copied().unwrap_or_default();
        assert!(found.iter().flatten().count() >= 3, "{protocol}: few of them show: {found:?}");
        // One more, as what flipped after it was written shows at the next comparison.
        assert!(latest <= SOUND_WITHIN_CUTS + 1, "{protocol}: {found:?}");
    }
}
