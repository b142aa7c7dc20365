//! Cycles of waits. At the end of a round all lock owners have stopped at a request that is the same everywhere, so
//! the cycles are too. A cycle never resolves by itself, hence is found at the latest when one of its tasks, which
//! all hold something, has queued in a round while the others ask or queue.

use super::*;

impl Core {
    /// Ends the youngest task of every cycle of waits that a primary waits for; whether there was one.
    pub(super) fn doom_cycles(&mut self) -> bool {
        let before = self.walks;
        let mut found = false;
        for place in 0..self.round.primaries.len() {
            let start = self.round.primaries[place];
            // A task is left alone once all that it waits for was looked at without finding a cycle.
            while self.tasks[start].walk <= before {
                self.walks += 1;
                match self.cycle_from(start, before) {
                    Some(youngest) => {
                        self.doom(youngest);
                        found = true;
                    }
                    None => break,
                }
            }
        }
        found
    }

    /// A depth-first walk from `start`: the youngest task of the first cycle met. Tasks from which there is none
    /// are marked, and passed by in later walks.
    fn cycle_from(&mut self, start: usize, before: u64) -> Option<usize> {
        let mut path: Vec<(usize, Vec<usize>)> = vec![(start, self.blockers(start))];
        while let Some((at, ahead)) = path.last_mut() {
            let at = *at;
            let Some(next) = ahead.pop() else {
                self.tasks[at].walk = self.walks;
                path.pop();
                continue;
            };
            if let Some(first) = path.iter().position(|(on, _)| *on == next) {
                return path[first..].iter().map(|(on, _)| *on).max_by_key(|on| self.tasks[*on].rank);
            }
            if self.tasks[next].walk <= before {
                let blockers = self.blockers(next);
                path.push((next, blockers));
            }
        }
        None
    }

    /// All for whom a task waits, youngest first.
    fn blockers(&self, index: usize) -> Vec<usize> {
        let task = &self.tasks[index];
        let (Phase::Asks(Op::Acquire { lock, share }) | Phase::Queued(lock, share)) = task.phase else {
            return Vec::new();
        };
        let record = &self.locks[lock.0];
        if record.is_counted() {
            return Vec::new();
        }
        if let Some(owner) = record.owner {
            return vec![owner];
        }
        if share != Share::All {
            // Readers wait for the writer who came before them, not for other readers.
            return task.behind.filter(|ahead| self.queues_for(*ahead, lock)).into_iter().collect();
        }
        if !record.is_shared() {
            return Vec::new();
        }
        let reads = |index: &usize| self.tasks[*index].held.iter().any(|hold| hold.lock == lock);
        let mut readers: Vec<usize> = (0..self.tasks.len()).filter(reads).collect();
        readers.sort_by_key(|reader| std::cmp::Reverse(self.tasks[*reader].rank));
        readers
    }

    fn queues_for(&self, index: usize, lock: LockId) -> bool {
        matches!(self.tasks[index].phase, Phase::Queued(at, _) if at == lock)
    }

    /// The youngest task of a kind.
    pub(super) fn youngest(&self, of: impl Fn(&Task) -> bool) -> Option<usize> {
        (0..self.tasks.len())
            .filter(|index| of(&self.tasks[*index]))
            .max_by_key(|index| self.tasks[*index].rank)
    }

    /// Ends the wait of a blocked task with a fault, of which it hears as a primary.
    pub(super) fn doom(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        let displaced = task.place.is_none() && matches!(task.phase, Phase::Queued(..));
        match std::mem::replace(&mut task.phase, Phase::Denied(Denial::Deadlock)) {
            Phase::Asks(op) => self.end_use(op),
            Phase::Queued(lock, _) => self.withdraw(index, lock),
            phase => unreachable!("a task in phase {phase:?} waits for no lock"),
        }
        self.event(index, trace::Kind::Denied);
        if displaced {
            self.round.returning.push(index);
        }
    }
}
