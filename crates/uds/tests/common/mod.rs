//! Random task programs, and the scheduler's rules once more in their plainest form: lists, searches and one
//! fixed order of execution. Slow and obvious, so that the fast one can be compared with it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;

/// What a task does, step by step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Lock(usize),
    Unlock(usize),
    Compute(u32),
}

pub(crate) type Program = Vec<Op>;

/// A small generator of chance: splitmix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

/// Up to `tasks` programs over `locks` locks; nested locks are taken in ascending order and given back in any.
pub(crate) fn programs(chance: &mut Chance, tasks: usize, locks: usize) -> Vec<Program> {
    (0..=chance.below(tasks)).map(|_| program(chance, locks)).collect()
}

fn program(chance: &mut Chance, locks: usize) -> Program {
    let mut ops = Vec::new();
    let mut held: Vec<usize> = Vec::new();
    for _ in 0..chance.below(9) {
        match chance.below(4) {
            0 => ops.push(Op::Compute(u32::try_from(chance.below(200)).unwrap())),
            1 if !held.is_empty() => ops.push(Op::Unlock(held.remove(chance.below(held.len())))),
            _ => {
                let first = held.iter().max().map_or(0, |highest| highest + 1);
                if first < locks {
                    let lock = first + chance.below(locks - first);
                    held.push(lock);
                    ops.push(Op::Lock(lock));
                }
            }
        }
    }
    // What is still held is given back by the end of the task, as guards do, in the order of acquisition.
    ops.extend(held.into_iter().map(Op::Unlock));
    ops
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Run,
    WantsTurn(usize),
    OnLock(usize),
    Ended,
}

struct Task {
    program: VecDeque<Op>,
    status: Status,
}

struct Lock {
    owner: Option<usize>,
    queue: Vec<usize>,
    order: Vec<usize>,
}

/// The order in which tasks acquire each lock, with `n` primaries and `s` steps, a fill marker after the last task.
pub(crate) fn reference(programs: &[Program], locks: usize, n: usize, s: usize) -> Vec<Vec<usize>> {
    let mut tasks: Vec<Task> = programs
        .iter()
        .map(|program| Task { program: program.iter().copied().collect(), status: Status::Run })
        .collect();
    let mut locks: Vec<Lock> =
        (0..locks).map(|_| Lock { owner: None, queue: Vec::new(), order: Vec::new() }).collect();
    loop {
        let primaries: Vec<usize> =
            (0..tasks.len()).filter(|task| tasks[*task].status != Status::Ended).take(n).collect();
        if primaries.is_empty() {
            return locks.into_iter().map(|lock| lock.order).collect();
        }
        let longest = programs.iter().map(Vec::len).max().unwrap_or(0);
        let mut turns: VecDeque<usize> = (0..s.min(longest + 1)).flat_map(|_| primaries.clone()).collect();
        loop {
            let mut moved = false;
            for &task in &primaries {
                while tasks[task].status == Status::Run {
                    moved = true;
                    run(&mut tasks, &mut locks, task);
                }
            }
            if let Some(&task) = turns.front() {
                match tasks[task].status {
                    Status::Ended => {
                        turns.pop_front();
                        moved = true;
                    }
                    Status::WantsTurn(lock) => {
                        turns.pop_front();
                        moved = true;
                        if locks[lock].owner.is_none() {
                            acquire(&mut tasks, &mut locks, task, lock);
                        } else {
                            locks[lock].queue.push(task);
                            tasks[task].status = Status::OnLock(lock);
                        }
                    }
                    Status::Run | Status::OnLock(_) => {}
                }
            }
            if !moved {
                // Whoever has the turn is blocked for this round; the others go on without it.
                let Some(&blocked) = turns.front() else { break };
                turns.retain(|task| *task != blocked);
            }
        }
        for &task in &primaries {
            if let Status::OnLock(lock) = tasks[task].status {
                locks[lock].queue.retain(|waiting| *waiting != task);
                tasks[task].status = Status::WantsTurn(lock);
            }
        }
    }
}

fn run(tasks: &mut [Task], locks: &mut [Lock], task: usize) {
    match tasks[task].program.pop_front() {
        None => tasks[task].status = Status::Ended,
        Some(Op::Compute(_)) => {}
        Some(Op::Lock(lock)) => tasks[task].status = Status::WantsTurn(lock),
        Some(Op::Unlock(lock)) => {
            locks[lock].owner = None;
            if !locks[lock].queue.is_empty() {
                let next = locks[lock].queue.remove(0);
                acquire(tasks, locks, next, lock);
            }
        }
    }
}

fn acquire(tasks: &mut [Task], locks: &mut [Lock], task: usize, lock: usize) {
    locks[lock].owner = Some(task);
    locks[lock].order.push(task);
    tasks[task].status = Status::Run;
}
