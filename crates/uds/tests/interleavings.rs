//! The pure core under random interleavings of everything that can happen: who runs, when the next task is
//! admitted, when a marker arrives. Whatever the interleaving, each lock has one order of owners.

#![expect(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

mod common;

use common::{Chance, Op, Program, programs, reference};
use smr_uds::core::{Core, Effect, LockId, Op as Ask, Share, TaskId};
use smr_uds::{Config, preset};

/// Runs `programs` in an order of events drawn from `chance`; the order of owners of each lock, and who ended in a
/// deadlock. `markers` stand in the list behind as many tasks as they say.
fn run(
    config: Config,
    programs: &[Program],
    locks: usize,
    markers: &[(usize, Marker)],
    chance: &mut Chance,
) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut core = Core::new(config).unwrap();
    let mut world = World {
        tasks: Vec::new(),
        done: Vec::new(),
        locks: (0..locks).map(|_| core.create_lock()).collect(),
        orders: vec![Vec::new(); locks],
        deadlocked: Vec::new(),
        left: 0,
    };
    let mut markers: Vec<(usize, Marker)> = markers.to_vec();
    markers.push((programs.len(), Marker::Fill));
    markers.reverse();
    let mut effects = Vec::new();
    for _ in 0..1_000_000 {
        if world.left == programs.len() {
            return (world.orders, world.deadlocked);
        }
        let runnable: Vec<usize> = (0..world.tasks.len()).filter(|task| world.done[*task].runs).collect();
        let listed = world.tasks.len();
        let can_list = listed < programs.len() || !markers.is_empty();
        if can_list && core.has_room() && (runnable.is_empty() || chance.below(4) == 0) {
            if let Some((_, marker)) = markers.pop_if(|(place, _)| *place == listed) {
                match marker {
                    Marker::Fill => core.fill(&mut effects),
                    Marker::Config(config) => core.reconfigure(config, &mut effects).unwrap(),
                }
            } else {
                let id = core.admit(&mut effects);
                world.tasks.push(id);
                world.done.push(Done { begun: false, runs: false, ops: 0, held: Vec::new(), ends: false });
            }
        } else {
            assert!(!runnable.is_empty(), "nothing can happen, but {} tasks have left", world.left);
            let task = runnable[chance.below(runnable.len())];
            world.step(&mut core, task, &programs[task], &mut effects);
        }
        world.note(programs, &mut effects);
    }
    panic!("no end in sight");
}

#[derive(Clone, Copy)]
enum Marker {
    Fill,
    Config(Config),
}

struct World {
    tasks: Vec<TaskId>,
    done: Vec<Done>,
    locks: Vec<LockId>,
    orders: Vec<Vec<usize>>,
    deadlocked: Vec<usize>,
    left: usize,
}

struct Done {
    begun: bool,
    runs: bool,
    ops: usize,
    held: Vec<usize>,
    /// After a deadlock, a task only gives back what it holds.
    ends: bool,
}

impl World {
    fn step(&mut self, core: &mut Core, task: usize, program: &[Op], effects: &mut Vec<Effect>) {
        let done = &mut self.done[task];
        let op = if done.ends {
            done.held.last().map(|lock| Op::Unlock(*lock))
        } else {
            program.get(done.ops).copied()
        };
        match op {
            None => {
                done.runs = false;
                core.end(self.tasks[task], effects).unwrap();
            }
            Some(Op::Compute(_)) => done.ops += 1,
            Some(Op::Lock(lock)) => {
                done.runs = false;
                core.request(
                    self.tasks[task],
                    Ask::Acquire { lock: self.locks[lock], share: Share::All },
                    effects,
                )
                .unwrap();
            }
            Some(Op::Unlock(lock)) => {
                done.ops += 1;
                done.held.retain(|held| *held != lock);
                core.unlock(self.tasks[task], self.locks[lock], Share::All, effects).unwrap();
            }
        }
    }

    fn note(&mut self, programs: &[Program], effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Granted(id) => {
                    let task = usize::try_from(id.number()).unwrap();
                    let done = &mut self.done[task];
                    if !done.begun {
                        (done.begun, done.runs) = (true, true);
                        continue;
                    }
                    let Op::Lock(lock) = programs[task][done.ops] else {
                        panic!("a grant that nobody asked for")
                    };
                    done.runs = true;
                    done.ops += 1;
                    done.held.push(lock);
                    self.orders[lock].push(task);
                }
                Effect::Denied(id, _) => {
                    let task = usize::try_from(id.number()).unwrap();
                    self.done[task].runs = true;
                    self.done[task].ends = true;
                    self.deadlocked.push(task);
                }
                Effect::Left(_) => self.left += 1,
                // A hint, which decides nothing.
                Effect::Wanted(_) => {}
                other => panic!("{other:?} without a cause"),
            }
        }
    }
}

#[test]
fn every_interleaving_gives_the_orders_of_the_plain_rules() {
    for seed in 0..10_000 {
        let mut chance = Chance(seed);
        let locks = 1 + chance.below(3);
        let programs = programs(&mut chance, 6, locks);
        let (n, s) = (1 + chance.below(3), 1 + chance.below(3));
        let tasks_max = u32::try_from(n + chance.below(4)).unwrap();
        let config =
            Config { tasks_max, ..preset::rounds(u32::try_from(n).unwrap(), u32::try_from(s).unwrap()) };
        let expected = reference(&programs, locks, n, s);
        for _ in 0..4 {
            let (orders, deadlocked) = run(config, &programs, locks, &[], &mut chance);
            assert_eq!(orders, expected, "seed {seed}, {n} primaries, {s} steps, {programs:?}");
            assert!(deadlocked.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn the_sequential_preset_runs_tasks_one_by_one() {
    for seed in 0..300 {
        let mut chance = Chance(seed);
        let programs = programs(&mut chance, 6, 3);
        let mut expected = vec![Vec::new(); 3];
        for (task, program) in programs.iter().enumerate() {
            for op in program {
                if let Op::Lock(lock) = op {
                    expected[*lock].push(task);
                }
            }
        }
        assert_eq!(run(preset::sequential(), &programs, 3, &[], &mut chance).0, expected, "seed {seed}");
    }
}

#[test]
fn markers_and_changes_of_settings_among_the_tasks_keep_the_orders_equal() {
    for seed in 0..3000 {
        let mut chance = Chance(seed);
        let programs = programs(&mut chance, 8, 3);
        let size = |chance: &mut Chance| u32::try_from(1 + chance.below(4)).unwrap();
        let mut markers = Vec::new();
        for place in 0..programs.len() {
            match chance.below(4) {
                0 => markers.push((place, Marker::Fill)),
                1 => {
                    let config =
                        Config { tasks_max: 8, ..preset::rounds(size(&mut chance), size(&mut chance)) };
                    markers.push((place, Marker::Config(config)));
                }
                _ => {}
            }
        }
        let config = Config { tasks_max: 8, ..preset::rounds(size(&mut chance), size(&mut chance)) };
        let expected = run(config, &programs, 3, &markers, &mut chance);
        for _ in 0..4 {
            assert_eq!(run(config, &programs, 3, &markers, &mut chance), expected, "seed {seed}");
        }
        assert!(expected.1.is_empty(), "seed {seed}: locks taken in order cannot deadlock");
    }
}

#[test]
fn cycles_of_waits_end_the_same_tasks_in_every_interleaving() {
    let mut with_deadlock = 0;
    for seed in 0..3000 {
        let mut chance = Chance(seed);
        // Locks are renamed per task, so that they are taken in different orders.
        let mut programs = programs(&mut chance, 6, 3);
        for program in &mut programs {
            let (shift, turn) = (chance.below(3), chance.below(2));
            let rename = |lock: usize| {
                if turn == 0 { (lock + shift) % 3 } else { (3 + shift - lock) % 3 }
            };
            for op in program.iter_mut() {
                *op = match *op {
                    Op::Lock(lock) => Op::Lock(rename(lock)),
                    Op::Unlock(lock) => Op::Unlock(rename(lock)),
                    other => other,
                };
            }
        }
        let (n, s) =
            (u32::try_from(1 + chance.below(4)).unwrap(), u32::try_from(1 + chance.below(3)).unwrap());
        let mut markers = Vec::new();
        if chance.below(2) == 0 {
            markers.push((
                chance.below(programs.len()),
                Marker::Config(Config { tasks_max: 8, ..preset::rounds(1, 1) }),
            ));
        }
        let config = Config { tasks_max: 8, ..preset::rounds(n, s) };
        let expected = run(config, &programs, 3, &markers, &mut chance);
        with_deadlock += usize::from(!expected.1.is_empty());
        for _ in 0..4 {
            let found = run(config, &programs, 3, &markers, &mut chance);
            assert_eq!(found.0, expected.0, "seed {seed}, {n} primaries, {s} steps, {programs:?}");
            assert_eq!(found.1, expected.1, "seed {seed}, {n} primaries, {s} steps, {programs:?}");
        }
    }
    assert!(with_deadlock > 30, "the programs made only {with_deadlock} deadlocks");
}
