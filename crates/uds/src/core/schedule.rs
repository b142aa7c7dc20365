//! Rounds: who joins, who has the turn, what a turn does, and what comes between two rounds.

use super::list::HEAD;
use super::mutant::Mutant;
use super::trace::Kind;
use super::*;
use crate::config::Blocked;

impl Core {
    /// Whatever can happen now: newcomers join the round, turns are taken, stuck rounds end.
    pub(super) fn advance(&mut self, effects: &mut Vec<Effect>) {
        loop {
            self.compose(effects);
            self.serve_turns(effects);
            if self.suspended || !self.round.is_over() {
                return;
            }
            if std::mem::take(&mut self.round.holder_queued) && self.doom_cycles() {
                self.round.progress = true;
            }
            if self.is_stuck_for_good() {
                return;
            }
            self.end_round();
        }
    }

    /// Whether every task that may be admitted is in the round and waits for what only an admitted one could give.
    fn is_stuck_for_good(&self) -> bool {
        let round = &self.round;
        !round.closed
            && !round.progress
            && round.size >= self.size_limit()
            && self.config.blocked == Blocked::KeepsPlace
    }

    /// Fills the round from the head of the list, up to its size or a marker.
    fn compose(&mut self, effects: &mut Vec<Effect>) {
        while !self.suspended && !self.round.is_full() {
            let node = self.list.after(self.round.cursor);
            match self.list.entry(node) {
                Entry::Head if self.is(Mutant::FillsByLocalState) && self.is_starving() => {
                    self.round.closed = true;
                }
                Entry::Head => return,
                Entry::Followers => self.round.cursor = node,
                Entry::Task(index) => {
                    self.round.cursor = node;
                    self.enlist(index, effects);
                }
                Entry::Config(config) => {
                    self.announced = Some(config);
                    self.list.remove(node);
                }
                // The marker stays until its tasks have left, which is when a round finds none before it.
                Entry::Marker(_) if !self.round.primaries.is_empty() => self.round.closed = true,
                Entry::Marker(marker) => self.pass(node, marker, effects),
            }
        }
    }

    /// A marker is the first of the list.
    fn pass(&mut self, node: Node, marker: Marker, effects: &mut Vec<Effect>) {
        if marker != Marker::Fill && self.counts.displaced > 0 {
            let index = self.youngest(|task| matches!(task.phase, Phase::Queued(..)));
            self.doom(index.expect("a displaced task is queued"));
            self.take_back();
            return;
        }
        self.list.remove(node);
        match marker {
            Marker::Fill => self.renew(),
            Marker::Recall => {
                self.recall_all(effects);
                self.renew();
            }
            Marker::Suspend => {
                self.suspended = true;
                effects.push(Effect::Suspended);
            }
        }
    }

    /// Rounds begin as on a new core.
    pub(super) fn renew(&mut self) {
        self.adopt_announced();
        // Nobody before the marker holds anything that a larger round would reach.
        self.size_max = self.config.tasks_max;
        self.growth = 1;
        self.begin_round(0);
    }

    /// Makes a task a primary of this round.
    fn enlist(&mut self, index: usize, effects: &mut Vec<Effect>) {
        let place = self.round.primaries.len();
        self.round.primaries.push(index);
        let id = self.id(index);
        let base = self.round.turns.base();
        let retries = self.is(Mutant::RetriesWithoutTurn);
        let task = &mut self.tasks[index];
        task.place = Some(place);
        if task.rank.is_none() {
            task.rank = Some(self.counts.ranked);
            self.counts.ranked += 1;
            self.counts.ranked_live += 1;
        }
        task.clock = task.clock.max(base) + std::mem::take(&mut task.ahead);
        self.round.turns.join(place, task.clock, self.config.steps);
        match task.phase {
            Phase::Running => self.round.running += 1,
            Phase::Asks(_) => {}
            Phase::Ends => self.leave(index, effects),
            Phase::Resumes => {
                // No progress: with other settings it might have begun before.
                task.phase = Phase::Running;
                self.round.running += 1;
                effects.push(Effect::Granted(id));
            }
            Phase::Denied(denial) => {
                task.phase = Phase::Running;
                self.round.running += 1;
                self.round.progress = true;
                effects.push(Effect::Denied(id, denial));
            }
            Phase::Queued(..) if retries => {}
            Phase::Queued(..) | Phase::Waits(_) | Phase::Left => {
                unreachable!("task {id:?} is listed in phase {:?}", task.phase)
            }
        }
    }

    /// Lets those take their turn who may, in order, up to the first one that has not come to its turn.
    pub(super) fn serve_turns(&mut self, effects: &mut Vec<Effect>) {
        while let Turn::Of(place) = self.round.turn() {
            let index = self.round.primaries[place];
            let skips = self.is(Mutant::SkipsRunners);
            let task = &mut self.tasks[index];
            if task.place != Some(place) {
                // It waits, or was woken since; its next turn is in a later round.
                self.round.turns.forfeit(place);
                continue;
            }
            match task.phase {
                Phase::Asks(op) => {
                    self.round.turns.take(place, task.clock, self.config.steps);
                    task.clock += 1;
                    task.step += 1;
                    self.perform(index, op, effects);
                }
                // While somebody runs, a blocked task may yet be granted in time for its turn. When nobody does,
                // it cannot: only those after it could help.
                Phase::Queued(..) if self.round.running == 0 => self.round.turns.forfeit(place),
                Phase::Running if skips => self.round.turns.forfeit(place),
                Phase::Running | Phase::Queued(..) => return,
                Phase::Left => self.round.turns.forfeit(place),
                phase => unreachable!("a primary is in phase {phase:?}"),
            }
        }
    }

    /// A task's turn.
    pub(super) fn perform(&mut self, index: usize, op: Op, effects: &mut Vec<Effect>) {
        match op {
            Op::Acquire { lock, share } => self.acquire(index, lock, share, effects),
            Op::Wait { condition, lock, then } => self.wait(index, condition, lock, then, effects),
            Op::NotifyOne(condition) => self.notify(index, condition, 1, effects),
            Op::NotifyAll(condition) => self.notify(index, condition, usize::MAX, effects),
            Op::Arrive(barrier) => self.arrive(index, barrier, effects),
            Op::Yield => {
                self.event(index, Kind::Yielded);
                self.go_on(index, effects);
            }
            Op::Spawn => self.spawn(index, effects),
        }
    }

    fn spawn(&mut self, index: usize, effects: &mut Vec<Effect>) {
        if self.counts.spawned_bound >= self.config.spawned_max {
            return self.deny(index, Denial::TooManySpawned, effects);
        }
        self.counts.spawned += 1;
        self.counts.spawned_bound += 1;
        self.event(index, Kind::Spawned);
        let child = self.create_task(self.tasks[index].number, Some(index));
        self.follow(index, child);
        effects.push(Effect::Spawned { by: self.id(index), child: self.id(child) });
        self.start(child, effects);
        self.go_on(index, effects);
    }

    /// `who` enters the list behind `leader`, a primary, when the round ends.
    pub(super) fn follow(&mut self, leader: usize, who: usize) {
        if self.is(Mutant::FollowsAtTheEnd) {
            self.tasks[who].node = Some(self.list.push_back(Entry::Task(who)));
            return;
        }
        let node = self.tasks[leader].node.expect("a primary has a place in the list");
        self.round.followers.push((node, who));
    }

    /// A primary that stood at a request runs again.
    pub(super) fn go_on(&mut self, index: usize, effects: &mut Vec<Effect>) {
        self.tasks[index].phase = Phase::Running;
        self.round.running += 1;
        self.round.progress = true;
        effects.push(Effect::Granted(self.id(index)));
    }

    /// A primary's request fails in its turn.
    pub(super) fn deny(&mut self, index: usize, denial: Denial, effects: &mut Vec<Effect>) {
        if let Phase::Asks(op) = self.tasks[index].phase {
            self.end_use(op);
        }
        self.event(index, Kind::Denied);
        self.tasks[index].phase = Phase::Running;
        self.round.running += 1;
        self.round.progress = true;
        effects.push(Effect::Denied(self.id(index), denial));
    }

    pub(super) fn event(&mut self, index: usize, kind: Kind) {
        let task = &self.tasks[index];
        self.trace.event(task.rank.unwrap_or(u64::MAX), task.step, kind);
    }

    /// A primary is gone: its remaining turns lapse, and what it still holds is passed on.
    pub(super) fn leave(&mut self, index: usize, effects: &mut Vec<Effect>) {
        // Only a task that leaks a guard still holds something.
        while let Some(Hold { lock, permits }) = self.tasks[index].held.first().copied() {
            self.release(index, lock, Share::Part(permits), effects);
        }
        self.event(index, Kind::Left);
        let task = &mut self.tasks[index];
        task.phase = Phase::Left;
        self.round.vacated.extend(task.node.take());
        self.counts.spawned -= u32::from(task.spawned);
        self.counts.counted -= u32::from(task.counted);
        self.counts.live -= 1;
        self.counts.ranked_live -= 1;
        self.round.progress = true;
        effects.push(Effect::Left(self.id(index)));
    }

    /// Closes a stuck round and begins the next: queued requests ask again, in a turn of the new round.
    fn end_round(&mut self) {
        let mut progress = self.round.progress;
        if self.round.closed && !progress && self.keeps_place() {
            progress = self.open_marker();
        }
        for place in 0..self.round.primaries.len() {
            self.release_primary(place);
        }
        for place in 0..self.round.followers.len() {
            let (leader, index) = self.round.followers[place];
            self.tasks[index].node = Some(self.list.follow(leader, Entry::Task(index)));
        }
        self.round.followers.clear();
        while let Some(node) = self.round.vacated.pop() {
            self.list.remove(node);
        }
        self.take_back();
        self.counts.spawned_bound = self.counts.spawned;
        let clock = self.smallest_clock();
        self.adopt_announced();
        // After a shrink of N, what an old task waits for may be held by one too young for the round. Growing
        // until something moves reaches every owner, at the latest with all tasks in the round.
        self.growth = if progress { 1 } else { self.growth.saturating_mul(2) };
        self.begin_round(clock);
    }

    /// All tasks before a marker wait for what only tasks after it, or nobody, can give. Whether one of them goes on.
    fn open_marker(&mut self) -> bool {
        let node = self.list.after(self.round.cursor);
        match self.list.entry(node) {
            Entry::Marker(Marker::Fill) => {
                self.list.remove(node);
                false
            }
            _ => {
                let blocked = |task: &Task| task.place.is_some() && matches!(task.phase, Phase::Queued(..));
                self.doom(self.youngest(blocked).expect("a round without progress has a blocked primary"));
                true
            }
        }
    }

    fn release_primary(&mut self, place: usize) {
        let index = self.round.primaries[place];
        let keeps_place = self.keeps_place();
        let retries = self.is(Mutant::RetriesWithoutTurn);
        let task = &mut self.tasks[index];
        if task.place != Some(place) {
            return;
        }
        task.place = None;
        match task.phase {
            Phase::Left => self.tasks_free.push(index),
            Phase::Queued(..) if retries => {}
            Phase::Queued(lock, share) if keeps_place => {
                task.phase = Phase::Asks(Op::Acquire { lock, share });
                task.behind = None;
                self.locks[lock.0].flush();
            }
            Phase::Queued(..) => {
                self.round.vacated.extend(task.node.take());
                self.counts.displaced += 1;
            }
            _ => {}
        }
    }

    /// Tasks that were displaced and have been granted what they waited for return to the front, by age.
    pub(super) fn take_back(&mut self) {
        while let Some(index) = self.round.returning.pop() {
            let rank = self.tasks[index].rank;
            let mut at = self.list.after(HEAD);
            // Short: whoever is passed is older, hence was a primary before.
            loop {
                match self.list.entry(at) {
                    Entry::Task(other)
                        if self.tasks[other].rank.is_some() && self.tasks[other].rank < rank => {}
                    Entry::Followers => {}
                    _ => break,
                }
                at = self.list.after(at);
            }
            self.tasks[index].node = Some(self.list.insert_before(at, Entry::Task(index)));
            self.counts.displaced -= 1;
        }
    }

    /// From where the clocks of the next round count.
    fn smallest_clock(&self) -> u64 {
        if self.config.order != Order::Clocks {
            return 0;
        }
        let here = self.round.primaries.iter().map(|index| &self.tasks[*index]);
        let clocks = here.filter(|task| task.node.is_some()).map(|task| task.clock);
        clocks.min().unwrap_or(0).max(self.round.turns.base())
    }

    fn adopt_announced(&mut self) {
        if let Some(config) = self.announced.take() {
            let before = std::mem::replace(&mut self.config, config);
            self.size_max = self.size_max.max(config.tasks_max);
            if before.blocked == Blocked::YieldsPlace && self.keeps_place() {
                self.recover_displaced();
            }
        }
    }

    /// Displaced tasks have a place again and ask anew.
    fn recover_displaced(&mut self) {
        for index in 0..self.tasks.len() {
            let task = &mut self.tasks[index];
            if let Phase::Queued(lock, share) = task.phase {
                task.phase = Phase::Asks(Op::Acquire { lock, share });
                task.behind = None;
                self.locks[lock.0].flush();
                self.round.returning.push(index);
            }
        }
        self.take_back();
    }

    fn begin_round(&mut self, clock: u64) {
        let size = self.config.primaries.saturating_mul(self.growth);
        // Displaced tasks count as live, so a larger round could never fill.
        let size = size.min(self.size_limit().saturating_sub(self.counts.displaced)).max(1);
        self.round.begin(size, self.config.order, clock);
        self.round.admits = self.counts.displaced < self.size_max;
    }

    /// No round is larger: it holds all tasks that can hold something.
    fn size_limit(&self) -> u32 {
        self.size_max.max(self.counts.ranked_live + self.counts.spawned)
    }

    fn keeps_place(&self) -> bool {
        self.config.blocked == Blocked::KeepsPlace
    }
}
