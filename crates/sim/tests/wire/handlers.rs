//! What passes every check, given to the replica: it must not panic, halt, say what nobody could read, or execute
//! something else than others do. One replica lies, with its own key, and signs again what it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use smr_app::{CommandOutcome, SlotWork};
use smr_consensus::ProtocolName;
use smr_consensus::lanes::core::SoftwareCore;
use smr_mutate::{Dice, Encoding, runs};
use smr_replica::effect::Observation;
use smr_replica::{Effect, Event, Incoming, Input, Message, Phase, Replica, Timer};
use smr_sim::adversary::mutation::sign_again;
use smr_sim::trace::Said;
use smr_sim::world::World;
use smr_wire::{ReplicaId, Slot, Timestamp};

use crate::corpus::{SPOKEN, STEPS, asked_for_rarely, kind, world};
use crate::{alone, measured};

/// Lies told to each of the copies in a usual run.
const EXECUTIONS: u64 = 2_000;

/// Messages that one copy of a replica gets before it is put away; about half of them are what was really said to it.
const STREAK: u64 = 200;

/// Effects that follow from one message at most: each open slot may be voted for, repeated, proposed and decided.
const EFFECTS_MAX: usize = 400;

/// Bytes of a message that a replica says at most; see `Limits::for_config` in `smr-node`.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// Memory that a step takes at most: an offered state may have a million chunks, each with a place.
const MEMORY_MAX: usize = 32 << 20;

/// After so many steps it is looked whether copies are to be made.
const STRIDE: u64 = 50;

/// Copies that are made of replicas in each phase of their lives: while the key is generated, in use, between views,
/// behind.
const COPIES_MAX: usize = 4;

/// Steps between two of those in use; the others do not stay as they are for long.
const APART: u64 = 1_500;

/// Phases in which copies are made, at least: of three replicas one is seldom found between views, as two begin the next.
const fn phases_min(protocol: ProtocolName) -> usize {
    if matches!(protocol, ProtocolName::Pbft) { 4 } else { 3 }
}

/// Messages of each kind whose fields are of interest: the first ones, and as many around the time of a copy.
const OF_KIND_MAX: usize = 40;
const NEAR: usize = 150;

/// A run, and copies of replicas in the middle of it.
struct Recorded {
    world: World,
    /// By whom, to whom, and what.
    said: Vec<(usize, usize, Encoding)>,
    /// Some messages of each kind.
    kinds: Vec<Vec<Encoding>>,
    stages: Vec<Stage>,
    /// What stands in each slot, as far as anybody executed it.
    executed: BTreeMap<Slot, SlotWork>,
    /// Who lies: the last one.
    liar: usize,
}

/// A copy of a replica.
struct Stage {
    steps: u64,
    target: usize,
    phase: Phase,
    replica: Replica,
    core: Option<SoftwareCore>,
    clock: Timestamp,
    /// How much was said before.
    before: usize,
}

/// A copy of a replica that goes on, with its core.
struct Copied {
    replica: Replica,
    core: Option<SoftwareCore>,
    timers: Vec<Timer>,
}

/// What has happened so far.
struct Tally {
    lies: runs::Counted,
    refused: u64,
    effects: u64,
}

impl Recorded {
    fn new(protocol: ProtocolName, spoken: usize) -> Recorded {
        let mut world = world(protocol);
        let liar = usize::from(protocol.profile().replicas(1)) - 1;
        let mut stages: Vec<Stage> = Vec::new();
        while world.happened() < STEPS {
            world.run(u64::MAX, world.happened() + STRIDE).expect("a run in which nobody lies");
            // Backups before the primary, whose proposals would be others than those that were voted for.
            for target in world.survivors().into_iter().rev().filter(|machine| *machine != liar) {
                let (replica, phase) = (world.replica(target), world.status(target).phase);
                // What its application executes is not copied, so nothing may be in it.
                let is_idle = replica.status().executed == replica.system().slot && world.core_rests(target);
                let steps = world.happened();
                let alike: Vec<u64> =
                    stages.iter().filter(|stage| stage.phase == phase).map(|stage| stage.steps).collect();
                let is_apart = phase != Phase::Ready || alike.last().is_none_or(|last| last + APART <= steps);
                if is_idle && is_apart && alike.len() < COPIES_MAX {
                    let (replica, core, clock) =
                        (replica.clone(), world.core(target).cloned(), world.clock());
                    stages.push(Stage {
                        steps,
                        target,
                        phase,
                        replica,
                        core,
                        clock,
                        before: between(&world).count(),
                    });
                    break;
                }
            }
        }
        let mut kinds: BTreeMap<String, Vec<Encoding>> = BTreeMap::new();
        for (_, _, message) in between(&world) {
            let rare = asked_for_rarely(message).into_iter().flatten();
            for message in rare.chain([message.clone()]) {
                let known = kinds.entry(kind(&message)).or_default();
                if known.len() < OF_KIND_MAX {
                    known.push(Encoding::of(&message));
                }
            }
        }
        assert!(kinds.len() == spoken, "only these were said: {:?}", kinds.keys());
        let phases: BTreeSet<String> = stages.iter().map(|stage| format!("{:?}", stage.phase)).collect();
        assert!(phases.len() >= phases_min(protocol), "only these phases came: {phases:?}");
        let said = between(&world).map(|(from, to, message)| (from, to, Encoding::of(message))).collect();
        let kinds = kinds.into_values().collect();
        Recorded { world, said, kinds, stages, executed: BTreeMap::new(), liar }
    }

    /// A copy of a replica hears what was really said to it, in order, and lies in between.
    fn streak(&mut self, stage: usize, dice: &mut Dice, tally: &mut Tally) {
        let Stage { target, ref replica, ref core, clock, before, .. } = self.stages[stage];
        let mut copy = Copied { replica: replica.clone(), core: core.clone(), timers: Vec::new() };
        let mut next = before;
        let near = before.saturating_sub(NEAR)..(before + NEAR).min(self.said.len());
        for _ in 0..STREAK {
            let event = match dice.below(20) {
                0 if !copy.timers.is_empty() => {
                    let place = dice.below(copy.timers.len());
                    Event::Timer(copy.timers.swap_remove(place))
                }
                0..10 => {
                    let to_it = |(_, to, _): &&(usize, usize, Encoding)| *to == target;
                    let Some((from, _, encoding)) = self.said[next..].iter().find(to_it) else { continue };
                    let Some(true_one) = self.checked(*from, decode(encoding.bytes())) else { continue };
                    next += 1 + self.said[next..].iter().position(|one| one.1 == target).expect("just found");
                    true_one
                }
                _ => {
                    tally.lies.one();
                    let Some(lie) = self.lie(near.clone(), dice) else {
                        tally.refused += 1;
                        continue;
                    };
                    lie
                }
            };
            self.step(&mut copy, clock, event, tally);
        }
    }

    /// A changed message of anybody, said by the liar, if it passes the checks.
    fn lie(&self, near: Range<usize>, dice: &mut Dice) -> Option<Event> {
        let near: Vec<Encoding> = self.said[near].iter().map(|(.., encoding)| encoding.clone()).collect();
        let encoding = match dice.below(3) {
            0 => dice.pick(&near)?,
            _ => dice.pick(dice.clone().pick(&self.kinds)?)?,
        };
        let changed = encoding.wild(&near, dice, |bytes| decode(bytes).is_some());
        self.checked(self.liar, Some(sign_again(self.world.seat(self.liar), decode(&changed)?)))
    }

    fn checked(&self, from: usize, message: Option<Message>) -> Option<Event> {
        let rules = self.world.rules(from);
        let said = (rules.group.generation, message?);
        Incoming::check(ReplicaId::at(from), said, &rules).ok().map(Event::Peer)
    }

    fn step(&mut self, copy: &mut Copied, clock: Timestamp, event: Event, tally: &mut Tally) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            let ((), memory) = measured(|| copy.replica.step(Input { clock, event }, &mut effects));
            assert!(memory <= MEMORY_MAX, "a step takes {memory} bytes of memory");
            assert!(effects.len() <= EFFECTS_MAX, "{} effects follow", effects.len());
            tally.effects += effects.len() as u64;
            for effect in effects {
                events.extend(self.done(effect, copy));
            }
        }
    }

    /// What comes back to the replica when its edge has done what it wants.
    fn done(&mut self, effect: Effect, copy: &mut Copied) -> Option<Event> {
        let timers = &mut copy.timers;
        match effect {
            Effect::Attest(operation) => {
                let core = copy.core.as_mut().expect("only protocols with a core ask it");
                return Some(Event::Attested(core.attest(&operation)));
            }
            Effect::Deal(attempt) => {
                let core = copy.core.as_mut().expect("only protocols with a core have it deal");
                return Some(Event::Dealt(core.deal(&attempt).map(Box::new)));
            }
            Effect::Send { message, .. } | Effect::Broadcast(message) => {
                let bytes = smr_wire::encode(&message);
                assert!(bytes.len() <= FRAME_BYTES_MAX, "a message of {} bytes", bytes.len());
                assert!(decode(&bytes).as_ref() == Some(&message), "says what nobody reads: {message:?}");
            }
            Effect::Arm { timer, .. } => {
                timers.retain(|other| *other != timer);
                timers.push(timer);
            }
            Effect::Disarm(timer) => timers.retain(|other| *other != timer),
            Effect::Execute(work) => {
                let (slot, commands) = (work.slot, work.commands.len());
                let known = self.executed.entry(slot).or_insert_with(|| work.clone());
                assert!(known.seed == work.seed && known.commands == work.commands, "slot {slot} twice");
                let outcomes = vec![Some(CommandOutcome::Answer(b"x".to_vec())); commands];
                return Some(Event::Executed { slot, outcomes, late: Vec::new() });
            }
            Effect::Report(Observation::Halted(why)) => panic!("it halts: {why}"),
            _ => {}
        }
        None
    }
}

fn between(world: &World) -> impl Iterator<Item = (usize, usize, &Message)> {
    world.trace.said().iter().filter_map(|said| match said {
        Said::Between { from, to, message } => Some((*from, *to, message)),
        Said::ToContact(_) | Said::FromContact(_) | Said::State(_) => None,
    })
}

fn decode(bytes: &[u8]) -> Option<Message> {
    smr_wire::decode(bytes, bytes.len()).ok()
}

#[test]
fn no_message_that_passes_the_checks_stops_a_replica_or_parts_it_from_others() {
    let _alone = alone();
    for (protocol, spoken) in SPOKEN {
        lie_to(protocol, spoken);
    }
}

fn lie_to(protocol: ProtocolName, spoken: usize) {
    let mut recorded = Recorded::new(protocol, spoken);
    let mut dice = Dice::new(runs::seed());
    let mut all = 0;
    for stage in 0..recorded.stages.len() {
        let Stage { steps, target, phase, .. } = recorded.stages[stage];
        let mut tally = Tally { lies: runs::Counted::new("lies to replicas"), refused: 0, effects: 0 };
        while tally.lies.executions() < runs::executions(EXECUTIONS) {
            recorded.streak(stage, &mut dice, &mut tally);
        }
        let Tally { lies, refused, effects } = tally;
        let lies = lies.executions();
        println!(
            "{protocol}, replica {target}, {phase:?} after {steps} steps: {lies} lies, {refused} refused, {effects} effects"
        );
        assert!(refused * 100 / lies < 90, "{refused} of {lies} never reached it");
        all += lies;
    }
    let slots = recorded.executed.len();
    println!("{protocol}: {all} lies, {slots} slots executed meanwhile");
    assert!(slots >= 5, "only {slots} slots were executed, so replicas did not go on");
}
