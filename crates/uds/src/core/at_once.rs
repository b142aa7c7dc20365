//! The common case in few steps: a task asks in its own turn for a lock that is free.

use super::*;

impl Core {
    /// A running task asks for a lock alone, as with [`Core::request`], and is granted it without an effect that says so.
    /// False, if that is not all that there is to do for it: then nothing was done.
    pub fn acquire_at_once(&mut self, task: TaskId, lock: LockId, effects: &mut Vec<Effect>) -> bool {
        let Some(asker) = self.tasks.get_mut(task.index) else { return false };
        let Some(place) = asker.place else { return false };
        let runs = asker.serial == task.serial && matches!(asker.phase, Phase::Running);
        if !runs || self.round.turn() != Turn::Of(place) {
            return false;
        }
        let Some(record) = self.locks.find_mut(lock.0).filter(|record| record.is_free()) else {
            return false;
        };
        self.round.turns.take(place, asker.clock, self.config.steps);
        self.round.progress = true;
        asker.clock += 1;
        asker.step += 1;
        record.give(lock, Share::All, task.index, asker, &mut self.trace);
        self.locks.begin_use(lock.0);
        // The asker runs, so no round ends; but turns may follow that others have been waiting for.
        if self.round.turn() != Turn::Of(place) {
            self.serve_turns(effects);
        }
        true
    }
}
