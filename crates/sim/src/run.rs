//! One run from its seed: chaos, healing, and what must hold in the end. And campaigns of many.

use std::collections::BTreeMap;

use smr_consensus::ProtocolName;

use smr_replica::Scheduling;
use smr_replica::status::Phase;

use crate::adversary::{MISDEEDS, Misdeed};
use crate::check::bank::check_bank;
use crate::check::linear;
use crate::network::Weather;
use crate::observe::Violation;
use crate::rng::Rng;
use crate::threshold::Scheme;
use crate::trace::Trace;
use crate::world::{Setting, World, cramped_config, hasty_config};

/// Simulated time in which anything may go wrong, in microseconds.
const CHAOS_US: u64 = 4_000_000;

/// What is demanded of every run of a campaign.
const DEMAND: Demand = Demand {
    heal_us: CHAOS_US,
    // A few of the longest view changes.
    answer_us: 120_000_000,
    converge_us: 30_000_000,
    look_us: 200_000,
};

/// One run in so many has real pairings; they cost milliseconds each and decide nothing.
const REAL_SCHEME_EVERY: u64 = 64;

/// Which runs to make; a seed decides all that is left open.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Which protocol.
    pub protocol: ProtocolName,
    /// How many replicas may fail (f).
    pub faults: u16,
    /// What a replica that was taken over does; drawn from the seed if none is named, and then often nothing.
    pub misdeed: Option<Misdeed>,
}

/// What must come when, in microseconds of simulated time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// When the world heals.
    pub(crate) heal_us: u64,
    /// From then on until everything that was asked is answered.
    pub(crate) answer_us: u64,
    /// From then on until all correct replicas stand alike.
    pub(crate) converge_us: u64,
    /// How often it is looked whether that is so.
    pub(crate) look_us: u64,
}

/// What a run that held showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// Things that happened.
    pub happened: u64,
    /// Slots decided.
    pub slots: u64,
    /// Commands executed.
    pub commands: u64,
    /// Commands whose outcome a client never learned.
    pub unknown: u64,
    /// The highest view that a correct replica reached.
    pub views: u64,
    /// Messages lost.
    pub lost: u64,
    /// Messages refused because they were not what they claimed to be.
    pub refused: u64,
}

/// A run in which something did not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("seed {seed:#x}, step {step}, {at_ms} ms: {violation}")]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// After how many happenings.
    pub step: u64,
    /// At which simulated time.
    pub at_ms: u64,
    /// What did not hold.
    pub violation: Violation,
}

impl Campaign {
    /// The setting that `seed` stands for.
    #[must_use]
    pub fn setting(&self, seed: u64) -> Setting {
        let mut rng = Rng::new(seed ^ 0x5e77_1e55);
        let size = u64::from(self.protocol.profile().replicas(self.faults));
        let mut misdeeds = BTreeMap::new();
        let taken_over =
            if self.misdeed.is_some() { u64::from(self.faults) } else { rng.within(0, self.faults.into()) };
        for _ in 0..taken_over {
            let who = u16::try_from(rng.within(0, size - 1)).expect("a group is small");
            misdeeds.insert(who, self.misdeed.unwrap_or_else(|| *rng.pick(MISDEEDS)));
        }
        let is_heavy = rng.chance(200);
        let preset = (*rng.pick(&smr_uds::preset::NAMES)).into();
        let (primaries, steps) = (rng.within(1, 8), rng.within(1, 3));
        let number = |drawn| u32::try_from(drawn).expect("few");
        let scheduling = Scheduling { preset, primaries: number(primaries), steps: number(steps) };
        Setting {
            protocol: self.protocol,
            faults: self.faults,
            scheme: if seed.is_multiple_of(REAL_SCHEME_EVERY) { Scheme::Real } else { Scheme::Cheap(seed) },
            weather: if rng.chance(250) { Weather::calm() } else { Weather::drawn(&mut rng) },
            twin: None,
            misdeeds,
            scheduling,
            config: if is_heavy { cramped_config() } else { hasty_config() },
            clients: usize::try_from(rng.within(1, 4)).expect("few"),
            commands: usize::try_from(rng.within(5, 25)).expect("few"),
            pause_us_max: 200_000,
            patience: crate::clients::hasty(),
            value_bytes: if is_heavy { 6 << 10 } else { 0 },
            execution_us_max: if is_heavy { 20_000 } else { 500 },
            encode: rng.chance(100),
            application: if rng.chance(125) { "bank".into() } else { "kv".into() },
        }
    }

    /// Runs `seed` to the end.
    ///
    /// # Errors
    /// The first thing that did not hold.
    pub fn run(&self, seed: u64) -> Result<Summary, Box<Failure>> {
        self.run_until(seed, u64::MAX, Trace::off()).0
    }

    /// Runs `seed` for `steps` happenings at most, with a trace.
    pub fn run_until(&self, seed: u64, steps: u64, trace: Trace) -> (Result<Summary, Box<Failure>>, Trace) {
        let mut world = World::new(self.setting(seed), seed, trace);
        if self.faults > 0 {
            world.schedule_chaos(CHAOS_US);
        }
        let result = check(&mut world, DEMAND, steps).map_err(|violation| {
            let (step, at_ms) = (world.happened(), world.now_us() / 1000);
            Box::new(Failure { seed, step, at_ms, violation })
        });
        (result.map(|()| summary(&world)), std::mem::take(&mut world.trace))
    }

    /// The command that repeats a run.
    #[must_use]
    pub fn replay(&self, failure: &Failure) -> String {
        let misdeed = self.misdeed.map(|m| format!(" --misdeed {}", m.name())).unwrap_or_default();
        format!(
            "smrcloud simulate {} --faults {}{misdeed} --seed {:#x} --until {}",
            self.protocol, self.faults, failure.seed, failure.step
        )
    }
}

/// Runs until everything demanded has come, or something did not hold.
pub(crate) fn check(world: &mut World, demand: Demand, steps: u64) -> Result<(), Violation> {
    let Demand { heal_us, answer_us, look_us, .. } = demand;
    let deadline_us = heal_us + answer_us;
    while !world.clients().are_done() {
        if world.now_us() >= deadline_us {
            let waiting = world.clients().unanswered().join(", ");
            return Err(Violation::Liveness(format!("not answered after healing: {waiting}")));
        }
        if world.happened() >= steps {
            return Ok(());
        }
        world.run((world.now_us() + look_us).max(heal_us), steps)?;
    }
    let history = world.clients().history();
    if world.setting().application == "bank" {
        check_bank(history, heal_us).map_err(Violation::Bank)?;
        return converge(world, demand, steps);
    }
    if let Some(late) = history.iter().find(|record| record.asked_us > heal_us && record.answer.is_none()) {
        return Err(Violation::Liveness(format!("asked after healing, outcome unknown: {late:?}")));
    }
    linear::check_kv(history).map_err(|why| Violation::Linearizability(why.to_string()))?;
    converge(world, demand, steps)
}

/// All correct replicas that live must come to stand alike, and to serve.
fn converge(world: &mut World, demand: Demand, steps: u64) -> Result<(), Violation> {
    let deadline_us = world.now_us() + demand.converge_us;
    loop {
        let stands: Vec<_> = world
            .survivors()
            .into_iter()
            .map(|m| (world.status(m).executed, world.status(m).digest))
            .collect();
        let alike = stands.windows(2).all(|pair| pair[0] == pair[1]);
        let phases: Vec<Phase> = world.survivors().into_iter().map(|m| world.status(m).phase).collect();
        let all_serve = phases.iter().all(|phase| *phase == Phase::Ready);
        if (alike && all_serve) || world.happened() >= steps {
            return Ok(());
        }
        if world.now_us() >= deadline_us {
            if alike {
                return Err(Violation::Liveness(format!("correct replicas do not serve: {phases:?}")));
            }
            let slots: Vec<String> = stands.iter().map(|(slot, _)| slot.to_string()).collect();
            return Err(Violation::Liveness(format!("correct replicas stay at slots {}", slots.join(", "))));
        }
        world.run(world.now_us() + demand.look_us, steps)?;
    }
}

/// What the run of a world showed.
pub(crate) fn summary(world: &World) -> Summary {
    let (lost, refused) = world.dropped();
    Summary {
        simulated_us: world.now_us(),
        happened: world.happened(),
        slots: world.observer().slots(),
        commands: world.observer().commands() as u64,
        unknown: world.clients().unknown(),
        views: world.survivors().into_iter().map(|m| world.status(m).view.0).max().unwrap_or_default(),
        lost,
        refused,
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.simulated_us += other.simulated_us;
        self.happened += other.happened;
        self.slots += other.slots;
        self.commands += other.commands;
        self.unknown += other.unknown;
        self.views = self.views.max(other.views);
        self.lost += other.lost;
        self.refused += other.refused;
    }
}
