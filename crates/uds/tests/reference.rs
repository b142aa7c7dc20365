//! All rules of rounds once more in their plainest form (lists, searches, one fixed order of execution), and random
//! programs run by every executor: the owners of each lock follow each other as in the plain form.

#![expect(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

mod common;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use common::Chance;
use smr_uds::{
    Condvar, Config, Mutex, Order, RwLock, Scheduler, Seeded, Semaphore, Workers, preset, spawn, yield_now,
};

/// What a task does. Objects are numbered: mutexes `0..3`, a lock for readers and writers 3, a semaphore 4. Several
/// are taken in ascending order, so nothing deadlocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Take(usize),
    Read,
    Give(usize),
    /// With only this mutex in hand.
    Wait(usize),
    NotifyOne(usize),
    NotifyAll(usize),
    Yield,
    Spawn,
}

const MUTEXES: usize = 3;
const TABLE: usize = 3;
const SEMAPHORE: usize = 4;
const PERMITS: usize = 2;

/// What a spawned task does.
const CHILD: [Act; 5] = [Act::Take(0), Act::Give(0), Act::Take(1), Act::NotifyOne(0), Act::Give(1)];

#[derive(Clone, Debug)]
enum Item {
    Task(Vec<Act>),
    Fill,
    Config(Config),
}

fn items(chance: &mut Chance) -> Vec<Item> {
    let mut items = Vec::new();
    for _ in 0..=chance.below(9) {
        match chance.below(8) {
            0 => items.push(Item::Fill),
            1 => items.push(Item::Config(config(chance))),
            _ => {}
        }
        items.push(Item::Task(program(chance)));
    }
    items.push(Item::Fill);
    items
}

fn config(chance: &mut Chance) -> Config {
    let mut number = || u32::try_from(1 + chance.below(3)).unwrap();
    let (n, s) = (number(), number());
    if number() == 1 { preset::blocks(n, s) } else { preset::rounds(n, s) }
}

fn program(chance: &mut Chance) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut held: Vec<usize> = Vec::new();
    for _ in 0..chance.below(10) {
        match chance.below(12) {
            0 => acts.push(Act::Yield),
            1 => acts.push(Act::NotifyOne(chance.below(MUTEXES))),
            2 => acts.push(Act::NotifyAll(chance.below(MUTEXES))),
            3 => acts.push(Act::Spawn),
            4 if held.len() == 1 && held[0] < MUTEXES => acts.push(Act::Wait(held[0])),
            5..=7 if !held.is_empty() => acts.push(Act::Give(held.remove(chance.below(held.len())))),
            _ => {
                let first = held.iter().max().map_or(0, |highest| highest + 1);
                if first <= SEMAPHORE {
                    let object = first + chance.below(SEMAPHORE + 1 - first);
                    held.push(object);
                    acts.push(if object == TABLE && chance.below(2) == 0 {
                        Act::Read
                    } else {
                        Act::Take(object)
                    });
                }
            }
        }
    }
    acts.extend(held.into_iter().map(Act::Give));
    acts
}

/// The plain form.
mod plain {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Status {
        Runs,
        Wants(Act),
        Blocked(Act),
        Waits,
        Gone,
    }

    struct Task {
        label: u64,
        program: VecDeque<Act>,
        children: u64,
        status: Status,
    }

    #[derive(Clone, PartialEq)]
    enum Entry {
        Task(usize),
        /// The end of a task's followers.
        End(usize),
        Fill,
        Config(Config),
    }

    #[derive(Default)]
    struct Object {
        alone: bool,
        shares: usize,
        queue: Vec<(usize, Act)>,
        owners: Vec<u64>,
    }

    pub(super) struct Plain {
        tasks: Vec<Task>,
        list: Vec<Entry>,
        objects: Vec<Object>,
        conditions: Vec<Vec<usize>>,
        followers: Vec<(usize, usize)>,
        progress: bool,
    }

    fn object(act: Act) -> usize {
        match act {
            Act::Take(object) => object,
            _ => TABLE,
        }
    }

    impl Plain {
        /// The owners of each mutex, and of the table's writers, in their order; who waits in the end.
        pub(super) fn run(mut config: Config, items: &[Item]) -> (Vec<Vec<u64>>, usize) {
            let mut plain = Plain {
                tasks: Vec::new(),
                list: Vec::new(),
                objects: (0..=SEMAPHORE).map(|_| Object::default()).collect(),
                conditions: vec![Vec::new(); MUTEXES],
                followers: Vec::new(),
                progress: false,
            };
            for item in items {
                let entry = match item {
                    Item::Task(program) => {
                        let label = plain.tasks.len() as u64 + 1;
                        Entry::Task(plain.add(label, program))
                    }
                    Item::Fill => Entry::Fill,
                    Item::Config(config) => Entry::Config(*config),
                };
                // Of two neighbours the later holds; between other entries each has its effect.
                plain.list.push(entry);
            }
            let (mut pending, mut growth) = (None, 1);
            loop {
                let size = config.primaries as usize * growth;
                let (primaries, closed, passed) = plain.compose(size, &mut pending);
                if passed {
                    config = pending.take().unwrap_or(config);
                    growth = 1;
                    continue;
                }
                plain.progress = false;
                plain.round(&config, &primaries, size, closed);
                if !closed && primaries.len() < size {
                    break;
                }
                plain.end_round(&primaries);
                growth = if plain.progress { 1 } else { growth * 2 };
                config = pending.take().unwrap_or(config);
            }
            let waiting = plain.tasks.iter().filter(|task| task.status == Status::Waits).count();
            (plain.objects.into_iter().map(|object| object.owners).take(TABLE + 1).collect(), waiting)
        }

        fn add(&mut self, label: u64, program: &[Act]) -> usize {
            let program = program.iter().copied().collect();
            self.tasks.push(Task { label, program, children: 0, status: Status::Runs });
            self.tasks.len() - 1
        }

        /// The primaries; whether a marker closes the round; whether a marker was passed instead.
        fn compose(&mut self, size: usize, pending: &mut Option<Config>) -> (Vec<usize>, bool, bool) {
            let mut primaries = Vec::new();
            let mut at = 0;
            while primaries.len() < size && at < self.list.len() {
                match self.list[at].clone() {
                    Entry::Task(task) => primaries.push(task),
                    Entry::End(_) => {}
                    Entry::Config(config) => {
                        *pending = Some(config);
                        self.list.remove(at);
                        continue;
                    }
                    Entry::Fill if primaries.is_empty() => {
                        self.list.remove(at);
                        return (primaries, false, true);
                    }
                    Entry::Fill => return (primaries, true, false),
                }
                at += 1;
            }
            (primaries, false, false)
        }

        fn round(&mut self, config: &Config, primaries: &[usize], size: usize, closed: bool) {
            let steps = config.steps as usize;
            let mut turns: VecDeque<usize> = match config.order {
                Order::Blocks => (0..size).flat_map(|place| vec![place; steps]).collect(),
                _ => (0..steps).flat_map(|_| 0..size).collect(),
            };
            if closed {
                turns.retain(|place| *place < primaries.len());
            }
            let mut left = vec![false; primaries.len()];
            loop {
                // One may let another run that was looked at before.
                let runs = |plain: &Plain, place: &usize| {
                    plain.tasks[primaries[*place]].status == Status::Runs && !left[*place]
                };
                while let Some(place) = (0..primaries.len()).find(|place| runs(self, place)) {
                    self.compute(primaries[place]);
                }
                let Some(&place) = turns.front() else { return };
                let Some(&task) = primaries.get(place) else { return };
                match self.tasks[task].status {
                    Status::Wants(act) if !left[place] => {
                        turns.pop_front();
                        self.act(task, act);
                        left[place] = self.tasks[task].status == Status::Waits;
                    }
                    _ => turns.retain(|other| *other != place),
                }
            }
        }

        /// What a task does without a turn, until it wants one.
        fn compute(&mut self, task: usize) {
            match self.tasks[task].program.pop_front() {
                None => {
                    self.tasks[task].status = Status::Gone;
                    self.progress = true;
                }
                Some(Act::Give(given)) => self.give(given),
                Some(act) => self.tasks[task].status = Status::Wants(act),
            }
        }

        fn act(&mut self, task: usize, act: Act) {
            match act {
                Act::Take(_) | Act::Read => {
                    let at = object(act);
                    if self.objects[at].queue.is_empty() && self.fits(act) {
                        self.grant(task, act);
                    } else {
                        self.objects[at].queue.push((task, act));
                        self.tasks[task].status = Status::Blocked(act);
                    }
                    return;
                }
                Act::Wait(mutex) => {
                    self.tasks[task].status = Status::Waits;
                    self.conditions[mutex].push(task);
                    self.progress = true;
                    self.give(mutex);
                    return;
                }
                Act::NotifyOne(condition) if !self.conditions[condition].is_empty() => {
                    let woken = self.conditions[condition].remove(0);
                    self.wake(task, woken, condition);
                }
                Act::NotifyAll(condition) => {
                    for woken in std::mem::take(&mut self.conditions[condition]) {
                        self.wake(task, woken, condition);
                    }
                }
                Act::Spawn => {
                    self.tasks[task].children += 1;
                    let label = self.tasks[task].label * 100 + self.tasks[task].children;
                    let child = self.add(label, &CHILD);
                    self.followers.push((task, child));
                }
                Act::NotifyOne(_) | Act::Yield | Act::Give(_) => {}
            }
            self.progress = true;
            self.tasks[task].status = Status::Runs;
        }

        fn wake(&mut self, by: usize, woken: usize, mutex: usize) {
            self.tasks[woken].status = Status::Wants(Act::Take(mutex));
            self.followers.push((by, woken));
        }

        fn fits(&self, act: Act) -> bool {
            let object = &self.objects[object(act)];
            match act {
                Act::Read => !object.alone,
                Act::Take(SEMAPHORE) => object.shares < PERMITS,
                _ => !object.alone && object.shares == 0,
            }
        }

        fn grant(&mut self, task: usize, act: Act) {
            let label = self.tasks[task].label;
            let object = &mut self.objects[object(act)];
            match act {
                Act::Read | Act::Take(SEMAPHORE) => object.shares += 1,
                _ => {
                    object.alone = true;
                    object.owners.push(label);
                }
            }
            self.tasks[task].status = Status::Runs;
            self.progress = true;
        }

        fn give(&mut self, given: usize) {
            let object = &mut self.objects[given];
            if object.alone {
                object.alone = false;
            } else {
                object.shares -= 1;
            }
            while let Some(&(next, act)) = self.objects[given].queue.first() {
                if !self.fits(act) {
                    return;
                }
                self.objects[given].queue.remove(0);
                self.grant(next, act);
            }
        }

        fn end_round(&mut self, primaries: &[usize]) {
            for object in &mut self.objects {
                object.queue.clear();
            }
            for task in &mut self.tasks {
                if let Status::Blocked(act) = task.status {
                    task.status = Status::Wants(act);
                }
            }
            let woken: Vec<usize> = self.followers.iter().map(|(_, who)| *who).collect();
            for &task in primaries {
                // Who was woken in the round in which it began to wait has a new place; the old one goes.
                if matches!(self.tasks[task].status, Status::Gone | Status::Waits) || woken.contains(&task) {
                    let place = self.place(&Entry::Task(task)).unwrap();
                    let end = self.place(&Entry::End(task));
                    let at = end.unwrap_or(place + 1);
                    for who in
                        self.followers.iter().filter(|(leader, _)| *leader == task).map(|(_, who)| *who).rev()
                    {
                        self.list.insert(at, Entry::Task(usize::MAX - who));
                    }
                    if let Some(end) = self.place(&Entry::End(task)) {
                        self.list.remove(end);
                    }
                    self.list.remove(place);
                    self.followers.retain(|(leader, _)| *leader != task);
                }
            }
            for (leader, who) in std::mem::take(&mut self.followers) {
                let end = self.place(&Entry::End(leader)).unwrap_or_else(|| {
                    let behind = self.place(&Entry::Task(leader)).unwrap() + 1;
                    self.list.insert(behind, Entry::End(leader));
                    behind
                });
                self.list.insert(end, Entry::Task(who));
            }
            let count = self.tasks.len();
            for entry in &mut self.list {
                if let Entry::Task(task) = entry
                    && *task >= count
                {
                    *task = usize::MAX - *task;
                }
            }
        }

        fn place(&self, entry: &Entry) -> Option<usize> {
            self.list.iter().position(|other| other == entry)
        }
    }
}

/// What real tasks share.
struct World {
    mutexes: [Mutex<()>; MUTEXES],
    conditions: [Condvar; MUTEXES],
    table: RwLock<()>,
    semaphore: Semaphore,
    /// Owners, written down by those who own.
    owners: [StdMutex<Vec<u64>>; TABLE + 1],
}

impl World {
    fn new() -> World {
        World {
            mutexes: Default::default(),
            conditions: Default::default(),
            table: RwLock::default(),
            semaphore: Semaphore::new(u32::try_from(PERMITS).unwrap()),
            owners: Default::default(),
        }
    }

    fn owned(&self, object: usize, label: u64) {
        self.owners[object].lock().unwrap().push(label);
    }
}

async fn run(world: Arc<World>, label: u64, program: Vec<Act>) {
    let mut mutexes = [const { None }; MUTEXES];
    let (mut reads, mut writes, mut permit) = (None, None, None);
    let mut children = 0;
    for act in program {
        match act {
            Act::Take(TABLE) => {
                writes = Some(world.table.write().await);
                world.owned(TABLE, label);
            }
            Act::Take(SEMAPHORE) => permit = Some(world.semaphore.acquire().await),
            Act::Take(mutex) => {
                mutexes[mutex] = Some(world.mutexes[mutex].lock().await);
                world.owned(mutex, label);
            }
            Act::Read => reads = Some(world.table.read().await),
            Act::Give(TABLE) => (reads, writes) = (None, None),
            Act::Give(SEMAPHORE) => permit = None,
            Act::Give(mutex) => mutexes[mutex] = None,
            Act::Wait(mutex) => {
                let guard = mutexes[mutex].take().unwrap();
                mutexes[mutex] = Some(world.conditions[mutex].wait(guard).await);
                world.owned(mutex, label);
            }
            Act::NotifyOne(condition) => world.conditions[condition].notify_one().await,
            Act::NotifyAll(condition) => world.conditions[condition].notify_all().await,
            Act::Yield => yield_now().await,
            Act::Spawn => {
                children += 1;
                let (world, label) = (world.clone(), label * 100 + children);
                spawn(boxed(world, label, CHILD.to_vec())).await;
            }
        }
    }
    drop((reads, writes, permit));
}

/// Breaks the circle of types between a task and its children.
fn boxed(
    world: Arc<World>,
    label: u64,
    program: Vec<Act>,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(run(world, label, program))
}

fn admit(scheduler: &Scheduler, items: &[Item]) -> Arc<World> {
    let world = Arc::new(World::new());
    let mut label = 0;
    for item in items {
        match item {
            Item::Task(program) => {
                label += 1;
                scheduler.admit(boxed(world.clone(), label, program.clone()), |_| ()).unwrap();
            }
            Item::Fill => scheduler.fill().unwrap(),
            Item::Config(config) => scheduler.reconfigure(*config).unwrap(),
        }
    }
    world
}

fn left_behind(scheduler: &Scheduler, world: &World) -> (Vec<Vec<u64>>, usize) {
    let owners = world.owners.iter().map(|owners| owners.lock().unwrap().clone()).collect();
    (owners, scheduler.waiting() as usize)
}

#[test]
fn seeded_polling_follows_the_plain_form() {
    let mut waiting = 0;
    for seed in 0..10_000 {
        let mut chance = Chance(seed);
        let (config, items) = (config(&mut chance), items(&mut chance));
        let expected = plain::Plain::run(config, &items);
        waiting += expected.1;
        let mut trace = None;
        for poll_seed in [seed, seed + 1] {
            let scheduler = Scheduler::new(config).unwrap();
            let world = admit(&scheduler, &items);
            Seeded::new(poll_seed).run(&scheduler);
            assert_eq!(left_behind(&scheduler, &world), expected, "seed {seed}: {config:?} {items:?}");
            assert_eq!(*trace.get_or_insert(scheduler.trace()), scheduler.trace());
        }
    }
    assert!(waiting > 300, "only {waiting} tasks waited to the end");
}

#[test]
fn workers_follow_the_plain_form() {
    for seed in 0..150 {
        let mut chance = Chance(50_000 + seed);
        let (config, items) = (config(&mut chance), items(&mut chance));
        let expected = plain::Plain::run(config, &items);
        for count in [1, 2, 4] {
            let scheduler = Scheduler::new(config).unwrap();
            let mut workers = Workers::start(&scheduler, NonZeroUsize::new(count).unwrap()).unwrap();
            let world = admit(&scheduler, &items);
            let mut looks = 0;
            while left_behind(&scheduler, &world) != expected || scheduler.live() > 0 {
                looks += 1;
                assert!(looks < 20_000, "seed {seed}: {config:?} {items:?}, {expected:?}");
                std::thread::park_timeout(Duration::from_micros(500));
                workers.set_count(NonZeroUsize::new(1 + looks % 4).unwrap()).unwrap();
            }
            workers.stop();
        }
    }
}
