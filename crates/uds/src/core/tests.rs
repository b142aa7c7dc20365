mod search;
mod world;

use super::*;
use crate::preset::{rounds, sequential};

/// A core, the effects of its last call, and its tasks by order of admission.
struct Bench {
    core: Core,
    tasks: Vec<TaskId>,
    locks: Vec<LockId>,
}

impl Bench {
    fn new(config: Config, tasks: usize, locks: usize) -> Bench {
        let mut core = Core::new(config).unwrap();
        let mut effects = Vec::new();
        let tasks: Vec<TaskId> = (0..tasks).map(|_| core.admit(&mut effects)).collect();
        effects.clear();
        for at_once in &tasks {
            // Presets whose tasks begin as primaries let the first one run, and that is all that is used of them.
            assert!(core.config.start == Start::AsPrimary || core.running(*at_once).is_ok());
        }
        let locks = (0..locks).map(|_| core.create_lock()).collect();
        Bench { core, tasks, locks }
    }

    fn ask(&mut self, task: usize, lock: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.request(self.tasks[task], lock_op(self.locks[lock]), &mut effects).unwrap();
        orders(effects)
    }

    fn unlock(&mut self, task: usize, lock: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.unlock(self.tasks[task], self.locks[lock], Share::All, &mut effects).unwrap();
        orders(effects)
    }

    fn end(&mut self, task: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.end(self.tasks[task], &mut effects).unwrap();
        orders(effects)
    }

    fn fill(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.fill(&mut effects);
        effects
    }

    fn granted(&self, task: usize) -> Effect {
        Effect::Granted(self.tasks[task])
    }

    fn left(&self, task: usize) -> Effect {
        Effect::Left(self.tasks[task])
    }
}

/// All but hints, which decide no order.
fn orders(mut effects: Vec<Effect>) -> Vec<Effect> {
    effects.retain(|effect| !matches!(effect, Effect::Wanted(_)));
    effects
}

/// A request for the whole of a lock.
fn lock_op(lock: LockId) -> Op {
    Op::Acquire { lock, share: Share::All }
}

#[test]
fn turns_are_taken_in_list_order_whoever_asks_first() {
    let mut b = Bench::new(rounds(2, 1), 2, 1);
    assert_eq!(b.ask(1, 0), []);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.unlock(0, 0), [b.granted(1)]);
}

#[test]
fn an_unlock_before_the_next_turn_leads_to_the_same_owner() {
    let mut b = Bench::new(rounds(2, 1), 2, 1);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.unlock(0, 0), []);
    assert_eq!(b.ask(1, 0), [b.granted(1)]);
}

#[test]
fn a_secondary_waits_for_the_next_round() {
    let mut b = Bench::new(rounds(1, 1), 2, 2);
    assert_eq!(b.ask(1, 1), []);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.unlock(0, 0), []);
    assert_eq!(b.end(0), [b.left(0), b.granted(1)]);
}

#[test]
fn a_round_without_newcomers_starves_until_a_fill_marker() {
    let mut b = Bench::new(rounds(3, 1), 1, 1);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.unlock(0, 0), []);
    assert!(!b.core.is_starving());
    assert_eq!(b.ask(0, 0), []);
    assert!(b.core.is_starving());
    assert_eq!(b.fill(), [b.granted(0)]);
    assert_eq!(b.unlock(0, 0), []);
    // The marker serves the task to its end, not for one round only.
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.end(0), [b.left(0)]);
    assert!(!b.core.is_starving());
}

#[test]
fn a_retry_after_a_round_needs_its_own_turn() {
    let mut b = Bench::new(rounds(2, 1), 3, 2);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.ask(1, 0), []);
    // No turns are left: the round ends with the lock held, and task 0 comes before the retry of task 1.
    assert_eq!(b.ask(0, 1), [b.granted(0)]);
    assert_eq!(b.unlock(0, 0), [b.granted(1)]);
}

#[test]
fn two_tasks_that_wait_for_each_other_end_the_younger() {
    let mut b = Bench::new(rounds(2, 2), 2, 2);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.ask(1, 1), [b.granted(1)]);
    assert_eq!(b.ask(0, 1), []);
    assert_eq!(b.ask(1, 0), [Effect::Denied(b.tasks[1], Denial::Deadlock)]);
    assert_eq!(b.unlock(1, 1), [b.granted(0)]);
    assert_eq!(b.end(1), [b.left(1)]);
}

#[test]
fn a_task_may_not_ask_for_what_it_holds() {
    let mut b = Bench::new(sequential(), 1, 1);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    let refused = b.core.request(b.tasks[0], lock_op(b.locks[0]), &mut Vec::new());
    assert_eq!(refused, Err(Misuse::HeldByAsker));
    assert_eq!(b.end(0), [b.left(0)]);
}

#[test]
fn calls_that_fit_no_state_are_refused() {
    let mut b = Bench::new(rounds(2, 1), 2, 1);
    assert_eq!(b.core.unlock(b.tasks[0], b.locks[0], Share::All, &mut Vec::new()), Err(Misuse::NotHeld));
    assert_eq!(b.core.unlock(b.tasks[0], LockId(9), Share::All, &mut Vec::new()), Err(Misuse::UnknownObject));
    assert_eq!(b.ask(1, 0), []);
    assert_eq!(b.core.end(b.tasks[1], &mut Vec::new()), Err(Misuse::NotRunning));
    let stranger = TaskId { index: 0, number: 0, serial: 77 };
    assert_eq!(b.core.end(stranger, &mut Vec::new()), Err(Misuse::NotRunning));
}

#[test]
fn what_a_task_still_holds_goes_on_when_it_leaves() {
    let mut b = Bench::new(rounds(2, 1), 2, 1);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    assert_eq!(b.ask(1, 0), []);
    assert_eq!(b.end(0), [b.granted(1), b.left(0)]);
}

#[test]
fn a_shrink_to_one_primary_reaches_an_owner_that_is_younger() {
    let mut b = Bench::new(rounds(3, 1), 3, 2);
    assert_eq!(b.ask(0, 1), [b.granted(0)]);
    assert_eq!(b.unlock(0, 1), []);
    assert_eq!(b.ask(1, 1), [b.granted(1)]);
    assert_eq!(b.unlock(1, 1), []);
    let mut effects = Vec::new();
    b.core.reconfigure(rounds(1, 1), &mut effects).unwrap();
    // The settings stand behind three tasks, so the round that reaches them is a later one.
    assert_eq!(b.ask(2, 0), [b.granted(2)]);
    assert_eq!(b.ask(1, 0), []);
    assert_eq!(b.ask(2, 1), []);
    assert_eq!(b.end(0), [b.left(0), b.granted(2)]);
    assert_eq!(b.fill(), []);
    // From the next round on there is one primary, task 1, and it waits for task 2.
    assert_eq!(b.unlock(2, 1), []);
    assert_eq!(b.ask(2, 1), [b.granted(2)]);
    assert_eq!(b.unlock(2, 0), [b.granted(1)]);
}

#[test]
fn a_retired_lock_is_used_again_when_nobody_holds_it() {
    let mut b = Bench::new(sequential(), 1, 1);
    assert_eq!(b.ask(0, 0), [b.granted(0)]);
    b.core.retire_lock(b.locks[0]);
    assert_ne!(b.core.create_lock(), b.locks[0]);
    assert_eq!(b.unlock(0, 0), []);
    assert_eq!(b.core.create_lock(), b.locks[0]);
}

#[test]
fn behind_a_marker_the_announced_settings_hold_from_the_first_round() {
    let mut b = Bench::new(rounds(3, 1), 1, 1);
    let mut effects = Vec::new();
    b.core.reconfigure(rounds(1, 1), &mut effects).unwrap();
    b.core.fill(&mut effects);
    let task = b.core.admit(&mut effects);
    b.tasks.push(task);
    assert_eq!(b.ask(1, 0), []);
    assert_eq!(b.end(0), [b.left(0), b.granted(1)]);
    assert_eq!(b.unlock(1, 0), []);
    // A round of one does not wait for others.
    assert_eq!(b.ask(1, 0), [b.granted(1)]);
}

#[test]
fn whoever_holds_what_others_wait_for_is_told_so() {
    let mut b = Bench::new(rounds(3, 1), 3, 1);
    b.ask(0, 0);
    let mut effects = Vec::new();
    for waiter in [1, 2] {
        b.core.request(b.tasks[waiter], lock_op(b.locks[0]), &mut effects).unwrap();
    }
    assert_eq!(effects, [Effect::Wanted(b.tasks[0]); 2]);
    effects.clear();
    b.core.unlock(b.tasks[0], b.locks[0], Share::All, &mut effects).unwrap();
    assert_eq!(effects, [Effect::Wanted(b.tasks[1]), b.granted(1)]);
    effects.clear();
    b.core.unlock(b.tasks[1], b.locks[0], Share::All, &mut effects).unwrap();
    // Nobody waits for the last one.
    assert_eq!(effects, [b.granted(2)]);
}
