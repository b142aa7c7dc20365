//! Locks and semaphores: a number of permits, of which a mutex or a writer takes all and a reader one. Requests are
//! granted in the order of turns; nobody overtakes, so writers do not starve.

use std::collections::VecDeque;

use super::mutant::Mutant;
use super::*;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Lock {
    permits: u32,
    taken: u32,
    /// Who holds all of it.
    pub(super) owner: Option<usize>,
    /// Requests whose turn came while they did not fit, in the order of turns.
    queue: VecDeque<(usize, Share)>,
    /// The last task that queued for all of it.
    last_alone: Option<usize>,
    /// A semaphore: who waits does not wait for a certain holder, and may hold some already.
    counted: bool,
    pub(super) chain: Chain,
}

/// A part of a lock, held by a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Hold {
    pub(super) lock: LockId,
    pub(super) permits: u32,
}

impl Lock {
    pub(super) const fn new(permits: u32, counted: bool) -> Lock {
        Lock {
            permits,
            taken: 0,
            owner: None,
            queue: VecDeque::new(),
            last_alone: None,
            counted,
            chain: Chain::EMPTY,
        }
    }

    fn fits(&self, share: Share) -> bool {
        match share {
            Share::All => self.taken == 0,
            Share::Part(permits) => self.owner.is_none() && permits <= self.permits - self.taken,
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.taken == 0 && self.queue.is_empty()
    }

    /// Gives a share that fits to a task.
    pub(super) fn give(
        &mut self,
        lock: LockId,
        share: Share,
        index: usize,
        task: &mut Task,
        trace: &mut Trace,
    ) {
        let permits = match share {
            Share::All => {
                self.owner = Some(index);
                self.permits
            }
            Share::Part(permits) => permits,
        };
        self.taken += permits;
        task.held.push(Hold { lock, permits });
        task.behind = None;
        trace.grant(&mut self.chain, task.rank.unwrap_or(u64::MAX), task.step);
    }

    /// Forgets who queues; they ask again.
    pub(super) fn flush(&mut self) {
        self.queue.clear();
        self.last_alone = None;
    }

    /// Whether somebody who waits for it waits for certain others, and for all of them.
    pub(super) fn is_counted(&self) -> bool {
        self.counted
    }

    pub(super) fn is_shared(&self) -> bool {
        self.taken > 0 && self.owner.is_none()
    }
}

impl Core {
    pub(super) fn check_acquire(&self, index: usize, lock: LockId, share: Share) -> Result<(), Misuse> {
        let record = self.find_lock(lock)?;
        if let Share::Part(permits) = share
            && permits > record.permits
        {
            return Err(Misuse::TooManyPermits);
        }
        let held = !record.counted && self.tasks[index].held.iter().any(|hold| hold.lock == lock);
        if held { Err(Misuse::HeldByAsker) } else { Ok(()) }
    }

    /// A primary's turn to ask for a lock.
    pub(super) fn acquire(&mut self, index: usize, lock: LockId, share: Share, effects: &mut Vec<Effect>) {
        let record = &mut self.locks[lock.0];
        if record.queue.is_empty() && record.fits(share) {
            return self.grant(index, lock, share, effects);
        }
        record.queue.push_back((index, share));
        let owner = record.owner;
        let task = &mut self.tasks[index];
        task.phase = Phase::Queued(lock, share);
        task.behind = record.last_alone;
        if share == Share::All {
            record.last_alone = Some(index);
        }
        self.round.holder_queued |= !task.held.is_empty();
        effects.extend(owner.map(|owner| Effect::Wanted(self.id(owner))));
    }

    fn grant(&mut self, index: usize, lock: LockId, share: Share, effects: &mut Vec<Effect>) {
        let at_once = self.is(Mutant::ReturnsAtOnce);
        let id = self.id(index);
        let record = &mut self.locks[lock.0];
        let task = &mut self.tasks[index];
        record.give(lock, share, index, task, &mut self.trace);
        if share == Share::All && !record.queue.is_empty() {
            effects.push(Effect::Wanted(id));
        }
        if task.place.is_some() {
            self.go_on(index, effects);
        } else if at_once {
            task.phase = Phase::Running;
            self.round.returning.push(index);
            effects.push(Effect::Granted(id));
        } else {
            task.phase = Phase::Resumes;
            self.round.progress = true;
            self.round.returning.push(index);
        }
    }

    /// Takes from a task what it acquired as this share of a lock; whether it had done so.
    pub(super) fn release(
        &mut self,
        index: usize,
        lock: LockId,
        share: Share,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let permits = match share {
            Share::All => self.locks[lock.0].permits,
            Share::Part(permits) => permits,
        };
        let held = &mut self.tasks[index].held;
        let hold = Hold { lock, permits };
        if held.last() == Some(&hold) {
            held.pop();
        } else {
            let Some(place) = held.iter().rposition(|other| *other == hold) else { return false };
            held.remove(place);
        }
        let record = &mut self.locks[lock.0];
        record.taken -= hold.permits;
        if record.owner == Some(index) {
            record.owner = None;
        }
        self.pass_on(lock, effects);
        self.locks.end_use(lock.0);
        true
    }

    /// Grants a lock to those who are next, as far as it goes.
    pub(super) fn pass_on(&mut self, lock: LockId, effects: &mut Vec<Effect>) {
        while let Some((index, share)) = self.next_in_queue(lock) {
            self.grant(index, lock, share, effects);
        }
    }

    fn next_in_queue(&mut self, lock: LockId) -> Option<(usize, Share)> {
        let lifo = self.is(Mutant::HandsOverToTheLast);
        let record = &mut self.locks[lock.0];
        let next = *if lifo { record.queue.back() } else { record.queue.front() }?;
        if !record.fits(next.1) {
            return None;
        }
        if lifo { record.queue.pop_back() } else { record.queue.pop_front() }
    }

    /// A task no longer waits for a lock.
    pub(super) fn withdraw(&mut self, index: usize, lock: LockId) {
        let record = &mut self.locks[lock.0];
        record.queue.retain(|(other, _)| *other != index);
        if record.last_alone == Some(index) {
            record.last_alone = None;
        }
        for task in &mut self.tasks {
            task.behind = task.behind.filter(|ahead| *ahead != index);
        }
        self.locks.end_use(lock.0);
    }
}
