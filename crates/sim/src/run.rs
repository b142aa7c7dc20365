//! What must hold in a run: safety all the time, and after healing answers and equal replicas.

use smr_replica::status::Phase;

use crate::check::bank::check_bank;
use crate::check::linear;
use crate::observe::Violation;
use crate::times::Times;
use crate::world::World;

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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
    /// Simulated time from each command to its answer.
    pub answered: Times,
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
        let wrong = |m: &usize| matches!(world.status(*m).phase, Phase::Healing | Phase::Halted);
        let hurt: Vec<usize> = world.with_failing_memory().into_iter().filter(wrong).collect();
        let all_serve = all_serve && hurt.is_empty();
        if (alike && all_serve) || world.happened() >= steps {
            return Ok(());
        }
        if world.now_us() >= deadline_us {
            if let Some(machine) = hurt.first() {
                let status = world.status(*machine);
                let what = format!("r{machine} does not heal: {:?}, {:?}", status.healing, status.halted);
                return Err(Violation::Liveness(what));
            }
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
    let mut answered = Times::default();
    for record in world.clients().history() {
        record.answer.iter().for_each(|(at_us, _)| answered.add(at_us - record.asked_us));
    }
    Summary {
        simulated_us: world.now_us(),
        happened: world.happened(),
        slots: world.observer().slots(),
        commands: world.observer().commands() as u64,
        unknown: world.clients().unknown(),
        views: world.survivors().into_iter().map(|m| world.status(m).view.0).max().unwrap_or_default(),
        lost,
        refused,
        answered,
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
        self.answered += other.answered;
    }
}
