//! Twins: two machines with the keys of one replica and the code of a correct one, neither of which knows of the other.
//! Together they do what a Byzantine replica does: say two things, forget, vote twice. Nobody has to think of what it
//! may do: all ways to part the machines in the first views are counted, and each is a scenario with a number.
//! Source: Bano et al., "Twins: BFT Systems Made Robust", OPODIS 2021. We differ in: primaries follow from the view, so
//! a scenario chooses the twin instead; within a view votes may be lost; the second copy may also contradict the
//! beginnings of views, which correct code never does; and all of a replica runs, not only consensus.
//!
//! ```text
//!   0 1 2 3 at rest,        v0: 0 1 | 2 3 4     v1: 0 2 3 4 | 1     v2..: healed
//!   1 is copied: 4          only 3 may decide   all votes heard     everything is answered
//! ```

mod space;
mod words;

use std::cell::OnceCell;

use smr_consensus::{Config as OrderingConfig, ProtocolName};
use smr_replica::{Config, Scheduling};
use smr_wire::{ReplicaId, View};

use crate::adversary::Misdeed;
use crate::network::Weather;
use crate::observe::Violation;
use crate::rounds::{MACHINES, Rounds};
use crate::run::{Demand, Summary, check, summary};
use crate::threshold::Scheme;
use crate::trace::Trace;
use crate::world::faults::Fault;
use crate::world::rest::{Awakening, Rest};
use crate::world::{Setting, World, hasty_config};

pub use space::{Copies, ROUNDS_MAX, Scenario, Space};

/// Simulated time for each round until the world heals, in microseconds. A view that is stuck is left in less than
/// half of it, at the patience of [`config`].
const ROUND_US: u64 = 150_000;

/// Clients of a scenario: one for each of two sides.
const CLIENTS: usize = 2;

/// Commands that each of them asks, after it has opened its session.
const COMMANDS: usize = 2;

/// Source of the keys and of all else that scenarios have in common.
const COMMON_SEED: u64 = 0x0007_0717;

/// All scenarios of so many rounds, and how to run them. They begin with the same service, which has its key; each
/// thread has one of its own.
pub struct Twins {
    space: Space,
    rest: OnceCell<Result<Rest, Violation>>,
}

/// A scenario in which something did not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("scenario {number} of {rounds} rounds, step {step}, {at_ms} ms: {violation}\n  {scenario}")]
pub struct Failure {
    /// Its number.
    pub number: u64,
    /// How many rounds the scenarios have among which that is its number.
    pub rounds: usize,
    /// What it is.
    pub scenario: Scenario,
    /// After how many happenings.
    pub step: u64,
    /// At which simulated time, in ms.
    pub at_ms: u64,
    /// What did not hold.
    pub violation: Violation,
}

impl Twins {
    /// The scenarios of `rounds` rounds, 1..=[`ROUNDS_MAX`].
    #[must_use]
    pub fn new(rounds: usize) -> Twins {
        Twins { space: Space::new(rounds), rest: OnceCell::new() }
    }

    /// Which scenarios there are.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Runs the scenario with this number to the end.
    ///
    /// # Errors
    /// The first thing that did not hold.
    pub fn run(&self, number: u64) -> Result<Summary, Box<Failure>> {
        self.run_until(number, u64::MAX, Trace::off()).0
    }

    /// Runs it for `steps` happenings at most, with a trace.
    pub fn run_until(&self, number: u64, steps: u64, trace: Trace) -> (Result<Summary, Box<Failure>>, Trace) {
        let scenario = self.space.scenario(number);
        let rounds = self.space.rounds();
        let failure = |violation, step, at_ms| {
            let scenario = scenario.clone();
            Box::new(Failure { number, rounds, scenario, step, at_ms, violation })
        };
        let rest = match self.rest() {
            Ok(rest) => rest,
            Err(violation) => return (Err(failure(violation.clone(), 0, 0)), trace),
        };
        let awakening = Awakening {
            setting: setting(&scenario),
            seed: number,
            rounds: Some(Rounds {
                begin: rest.view(),
                rounds: scenario.rounds.clone(),
                reach: scenario.reach,
            }),
        };
        let mut world = rest.wake(awakening, trace);
        let heal_us = world.now_us() + ROUND_US * rounds as u64;
        world.schedule(heal_us, Fault::Heal);
        let demand = Demand {
            heal_us,
            // Views take at most 64 times the patience, and three of the four primaries are correct.
            answer_us: 30_000_000,
            converge_us: 10_000_000,
            look_us: 10_000,
        };
        let result = check(&mut world, demand, steps);
        let result = result.map_err(|violation| failure(violation, world.happened(), world.now_us() / 1000));
        (result.map(|()| summary(&world)), std::mem::take(&mut world.trace))
    }

    /// The service before anything is asked of it.
    fn rest(&self) -> &Result<Rest, Violation> {
        self.rest.get_or_init(|| {
            let setting = Setting { clients: 0, ..common() };
            let rest = World::new(setting, COMMON_SEED, Trace::off()).into_rest()?;
            // Which replicas lead the first rounds is part of what makes scenarios alike.
            assert!(
                rest.view() == View(0),
                "nothing went wrong, but the service rests in view {}",
                rest.view()
            );
            Ok(rest)
        })
    }
}

impl Failure {
    /// The command that repeats the run.
    #[must_use]
    pub fn replay(&self) -> String {
        let Failure { number, rounds, step, .. } = self;
        format!("smrcloud simulate pbft --twins --rounds {rounds} --scenario {number} --until {step}")
    }
}

fn setting(scenario: &Scenario) -> Setting {
    let second = u16::try_from(MACHINES - 1).expect("few");
    let misdeeds = match scenario.copies {
        Copies::Honest => [].into(),
        Copies::SecondContradicts => [(second, Misdeed::ContradictBeginnings)].into(),
    };
    Setting { twin: Some(ReplicaId::at(scenario.twin)), misdeeds, ..common() }
}

/// What all scenarios have in common.
fn common() -> Setting {
    Setting {
        regions: None,
        protocol: ProtocolName::Pbft,
        application: "kv".into(),
        faults: 1,
        scheme: Scheme::Cheap(COMMON_SEED),
        weather: Weather::calm(),
        twin: None,
        misdeeds: [].into(),
        scheduling: Scheduling::sequential(),
        config: config(),
        clients: CLIENTS,
        commands: COMMANDS,
        pause_us_max: 20_000,
        near: false,
        patience: smr_client::Config {
            retry_ms: 30,
            retry_max_ms: 200,
            deadline_ms: 60_000,
            hint_ms: 5,
            reconnect_ms: 10,
            avoid_ms: 50,
            avoid_max_ms: 200,
            silence_ms: 200,
            connect_ms: 50,
            ..crate::clients::hasty()
        },
        value_bytes: 0,
        execution_us_max: 500,
        encode: false,
        durable: false,
    }
}

/// Patience of a few round trips, so that little happens while nothing can.
fn config() -> Config {
    let hasty = hasty_config();
    Config {
        consensus: OrderingConfig { patience_ms: 20, new_view_ms: 40, status_ms: 50, ..hasty.consensus },
        repeat_ms: 100,
        transfer_ms: 50,
        ..hasty
    }
}
