//! Conditions and barriers: tasks leave the list to wait, and enter it again behind whoever wakes them.

use std::collections::VecDeque;

use super::*;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Condition {
    /// Who waits, longest first, and the mutex that they came with.
    queue: VecDeque<(usize, LockId)>,
    chain: Chain,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Barrier {
    parties: usize,
    arrived: Vec<usize>,
    chain: Chain,
}

impl Barrier {
    pub(super) const fn new(parties: u32) -> Barrier {
        Barrier { parties: parties as usize, arrived: Vec::new(), chain: Chain::EMPTY }
    }
}

impl Core {
    /// A primary's turn to wait on a condition.
    pub(super) fn wait(
        &mut self,
        index: usize,
        condition: ConditionId,
        lock: LockId,
        then: Then,
        effects: &mut Vec<Effect>,
    ) {
        if self.counts.waiting >= self.config.waiting_max {
            return self.deny(index, Denial::TooManyWaiting, effects);
        }
        let record = &mut self.conditions[condition.0];
        if record.queue.front().is_some_and(|(_, other)| *other != lock) {
            return self.deny(index, Denial::OtherMutex, effects);
        }
        record.queue.push_back((index, lock));
        let task = &self.tasks[index];
        self.trace.grant(&mut record.chain, task.rank.unwrap_or(u64::MAX), task.step);
        // The mutex is used on by whoever asks for it when woken.
        self.locks.begin_use(lock.0);
        self.begin_wait(index, then, effects);
        self.release(index, lock, Share::All, effects);
    }

    /// A primary's turn to wake some that wait.
    pub(super) fn notify(
        &mut self,
        index: usize,
        condition: ConditionId,
        count: usize,
        effects: &mut Vec<Effect>,
    ) {
        for _ in 0..count {
            let Some((waiter, lock)) = self.conditions[condition.0].queue.pop_front() else { break };
            self.follow(index, waiter);
            self.wake(waiter, index, condition, lock, effects);
        }
        let task = &self.tasks[index];
        let record = &mut self.conditions[condition.0];
        self.trace.grant(&mut record.chain, task.rank.unwrap_or(u64::MAX), task.step);
        self.conditions.end_use(condition.0);
        self.go_on(index, effects);
    }

    /// A primary's turn to come to a barrier.
    pub(super) fn arrive(&mut self, index: usize, barrier: BarrierId, effects: &mut Vec<Effect>) {
        let by = Some(self.id(index));
        let record = &mut self.barriers[barrier.0];
        let last = record.arrived.len() + 1 >= record.parties;
        if !last && self.counts.waiting >= self.config.waiting_max {
            return self.deny(index, Denial::TooManyWaiting, effects);
        }
        let task = &self.tasks[index];
        self.trace.grant(&mut record.chain, task.rank.unwrap_or(u64::MAX), task.step);
        if !last {
            record.arrived.push(index);
            return self.begin_wait(index, Then::Relock, effects);
        }
        for other in std::mem::take(&mut record.arrived) {
            self.follow(index, other);
            self.end_wait(other);
            // It may hold locks, so it runs only as a primary.
            self.tasks[other].phase = Phase::Resumes;
            self.barriers.end_use(barrier.0);
            effects.push(Effect::Woken { task: self.id(other), by, then: Then::Relock });
        }
        self.barriers.end_use(barrier.0);
        self.go_on(index, effects);
    }

    /// Wakes all waiting tasks that restart, at the head of the list, and forgets the past.
    pub(super) fn recall_all(&mut self, effects: &mut Vec<Effect>) {
        let waiters = self.waiting_restarters();
        let tasks = &self.tasks;
        let restarts = |index: &usize| tasks[*index].phase == Phase::Waits(Then::Restart);
        let mut left = Vec::new();
        for condition in self.conditions.iter_mut() {
            left.extend(condition.queue.iter().copied().filter(|(index, _)| restarts(index)));
            condition.queue.retain(|(index, _)| !restarts(index));
        }
        for (index, lock) in left {
            if let Some(condition) = self.tasks[index].waits_on {
                self.conditions.end_use(condition.0);
            }
            self.locks.end_use(lock.0);
        }
        let first = self.list.after(list::HEAD);
        for index in waiters {
            self.end_wait(index);
            self.tasks[index].node = Some(self.list.insert_before(first, Entry::Task(index)));
            let task = &mut self.tasks[index];
            (task.rank, task.step, task.clock, task.ahead) = (None, 0, 0, 0);
            self.counts.ranked_live -= 1;
            effects.push(Effect::Woken { task: self.id(index), by: None, then: Then::Restart });
            self.start(index, effects);
        }
        if self.counts.waiting == 0 {
            self.counts.ranked = 0;
        }
        self.trace.restart();
    }

    /// Waiting tasks that restart, in the order in which they began to wait.
    pub(super) fn waiting_restarters(&self) -> Vec<usize> {
        let restarts = |index: &usize| self.tasks[*index].phase == Phase::Waits(Then::Restart);
        let mut waiters: Vec<usize> = (0..self.tasks.len()).filter(restarts).collect();
        waiters.sort_by_key(|index| self.tasks[*index].wait);
        waiters
    }

    fn begin_wait(&mut self, index: usize, then: Then, effects: &mut Vec<Effect>) {
        let task = &mut self.tasks[index];
        if let Phase::Asks(Op::Wait { condition, .. }) = task.phase {
            task.waits_on = Some(condition);
        }
        task.phase = Phase::Waits(then);
        task.place = None;
        self.counts.counted -= u32::from(std::mem::take(&mut task.counted));
        task.wait = self.counts.waits;
        self.round.vacated.extend(task.node.take());
        self.round.progress = true;
        self.counts.waits += 1;
        self.counts.waiting += 1;
        self.counts.live -= 1;
        self.counts.ranked_live -= 1;
        effects.push(Effect::Waits(self.id(index)));
    }

    fn end_wait(&mut self, index: usize) {
        self.tasks[index].waits_on = None;
        self.counts.waiting -= 1;
        self.counts.live += 1;
        self.counts.ranked_live += 1;
    }

    fn wake(
        &mut self,
        index: usize,
        by: usize,
        condition: ConditionId,
        lock: LockId,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Waits(then) = self.tasks[index].phase else {
            unreachable!("a task at a condition is in phase {:?}", self.tasks[index].phase)
        };
        self.end_wait(index);
        self.conditions.end_use(condition.0);
        effects.push(Effect::Woken { task: self.id(index), by: Some(self.id(by)), then });
        match then {
            Then::Relock => {
                self.tasks[index].phase = Phase::Asks(Op::Acquire { lock, share: Share::All });
            }
            Then::Restart => {
                self.locks.end_use(lock.0);
                self.start(index, effects);
            }
        }
    }
}
