//! The decided prefix, what is open above it, and what is kept below: the same in every engine that votes.
//!
//! ```text
//!   ... log base | decided, kept, executed ... | decided | open: the window ......... |
//!       at a stable checkpoint         execution       the prefix        voting ends, memory of votes ends later
//! ```

use smr_wire::Slot;

use crate::batch::Batch;
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::known_bugs;
use crate::log::DecidedLog;
use crate::record::Cease;
use crate::window::Window;

/// Lengths of the log that decisions take at most at one that is behind and has not heard of the checkpoints of others. It
/// needs two: those that decide are no more than one above a stable checkpoint, which leaves one below it.
const LOGS_MAX: u64 = 4;

/// Where a replica stands: open slots with state `P`, and decisions with certificates `C`.
#[derive(Clone, Debug)]
pub struct Ledger<P, C> {
    /// Slots above the decided prefix; we vote in the lower half and remember others' votes in both.
    pub window: Window<P>,
    /// What was decided and is not yet pruned.
    pub log: DecidedLog<C>,
    /// The last stable checkpoint, which may lie ahead of the decided prefix.
    stable: Option<CheckpointCertificate>,
    /// The stable checkpoint before `stable`, or a length of log below that: what is decided is kept above it, so that a
    /// replica that is only a little behind need not fetch a whole state.
    stable_before: Slot,
    executed: Slot,
    settled: Slot,
    /// The last slot of this generation, once it is known.
    barrier: Option<Slot>,
    /// How far it goes in this generation, if its cores are gone.
    ceased: Option<Cease>,
    window_slots: u64,
    log_slots_max: u64,
    backlog_slots_max: u64,
}

impl<P: Default, C> Ledger<P, C> {
    /// Nothing is decided.
    #[must_use]
    pub fn new(config: &Config) -> Ledger<P, C> {
        Ledger {
            window: Window::new(2 * config.window_slots),
            log: DecidedLog::default(),
            stable: None,
            stable_before: Slot(0),
            executed: Slot(0),
            settled: Slot(0),
            barrier: None,
            ceased: None,
            window_slots: config.window_slots,
            log_slots_max: config.log_slots_max,
            backlog_slots_max: config.backlog_slots_max,
        }
    }

    /// The last slot of the decided prefix.
    #[must_use]
    pub fn decided(&self) -> Slot {
        self.window.decided()
    }

    /// The last slot in which we may vote. The window keeps view changes bounded: whoever votes in a slot has
    /// decided everything a window below it. The log's limit makes ordering wait for the checkpoint. Nothing stands above
    /// the barrier, so a quorum is always one of a single generation.
    #[must_use]
    pub fn vote_limit(&self) -> Slot {
        let in_window = self.decided().plus(self.window_slots);
        let in_log = self.stable_slot().plus(self.log_slots_max);
        let limit = if known_bugs::LOG_WITHOUT_END.is_on() { in_window } else { in_window.min(in_log) };
        self.barrier.map_or(limit, |barrier| limit.min(barrier))
    }

    /// `slot` is the last one of this generation.
    pub fn set_barrier(&mut self, slot: Slot) {
        self.barrier = Some(slot);
    }

    /// Nothing is decided any more above the slot that this names, but for what is.
    pub fn cease(&mut self, cease: Cease) {
        self.ceased = Some(Cease { slot: cease.slot.max(self.decided()), ..cease });
    }

    /// How far it goes, if it does not go on without end.
    #[must_use]
    pub fn ceased(&self) -> Option<Cease> {
        self.ceased
    }

    /// Whether slots are wanted, whatever is in them, as a barrier lies ahead.
    #[must_use]
    pub fn hurries(&self) -> bool {
        self.barrier.is_some_and(|barrier| self.decided() < barrier)
    }

    /// Slots above the decided prefix in which we may vote.
    #[must_use]
    pub fn window_slots(&self) -> u64 {
        self.window_slots
    }

    /// The last stable checkpoint.
    #[must_use]
    pub fn stable(&self) -> Option<&CheckpointCertificate> {
        self.stable.as_ref()
    }

    /// Its slot, and that of the one before.
    #[must_use]
    pub fn checkpoints(&self) -> (Slot, Slot) {
        (self.stable_slot(), self.stable_before)
    }

    /// Everything up to here is executed.
    #[must_use]
    pub fn executed(&self) -> Slot {
        self.executed
    }

    /// The replies of everything up to here are signed and sent.
    #[must_use]
    pub fn settled(&self) -> Slot {
        self.settled
    }

    /// Notes that everything up to `slot` is executed.
    pub fn note_executed(&mut self, slot: Slot) {
        self.executed = self.executed.max(slot);
    }

    /// Notes that the replies of everything up to `slot` are signed and sent.
    pub fn note_settled(&mut self, slot: Slot) {
        self.settled = self.settled.max(slot);
    }

    /// Whether the log has room for one more decision, execution keeps up well enough for it, and the generation has one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let ceases = self.ceased.filter(|_| !known_bugs::GOES_ON_AFTER_IT_CEASED.is_on());
        let end = self.barrier.into_iter().chain(ceases.map(|cease| cease.slot)).min();
        if end.is_some_and(|end| self.decided() >= end) {
            return false;
        }
        if self.decided().since(self.log.base()) >= LOGS_MAX * self.log_slots_max {
            return false;
        }
        self.decided().since(self.executed) < self.backlog_slots_max
            || known_bugs::BACKLOG_WITHOUT_END.is_on()
    }

    /// Whether execution keeps up well enough for a proposal in `slot`.
    #[must_use]
    pub fn may_propose(&self, slot: Slot) -> bool {
        slot <= self.vote_limit() && slot <= self.executed.plus(self.backlog_slots_max)
    }

    /// Proposals that were not settled yet, when `proposed` is the last one.
    #[must_use]
    pub fn open(&self, proposed: Slot) -> u64 {
        proposed.since(self.settled.min(self.decided()))
    }

    /// Moves the prefix over the next slot, which is decided.
    pub fn push(&mut self, batch: Batch, certificate: C) -> Slot {
        self.window.advance();
        self.log.push(self.decided(), batch, certificate);
        self.decided()
    }

    /// A checkpoint became stable: the log below the one before goes. True if it was news. Whoever is behind hears of
    /// checkpoints that it has not reached. Others have those states, so nobody needs what is far below them; otherwise its
    /// log would grow for as long as it stays behind.
    pub fn stabilise(&mut self, certificate: CheckpointCertificate) -> bool {
        let slot = certificate.checkpoint.slot;
        let is_news = slot > self.stable_slot();
        if is_news {
            self.stable_before = self.stable_slot().max(slot.minus(self.log_slots_max));
            self.stable = Some(certificate);
            self.log.prune(self.stable_before.min(self.decided()));
        }
        is_news
    }

    /// A certified state was installed in place of decisions that were missed. True if the prefix moved.
    pub fn install(&mut self, certificate: CheckpointCertificate) -> bool {
        let slot = certificate.checkpoint.slot;
        self.note_executed(slot);
        self.note_settled(slot);
        let moves = slot > self.decided();
        if moves {
            self.window.skip_to(slot);
            self.log.prune(slot);
            if slot > self.stable_slot() {
                self.stable_before = slot;
                self.stable = Some(certificate);
            }
        }
        moves
    }

    fn stable_slot(&self) -> Slot {
        self.stable.as_ref().map(|c| c.checkpoint.slot).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use smr_crypto::Digest;

    const LOG: u64 = 8;

    fn ledger() -> Ledger<(), ()> {
        Ledger::new(&Config {
            window_slots: 4,
            log_slots_max: LOG,
            backlog_slots_max: LOG,
            ..Config::default()
        })
    }

    fn checkpoint(slot: u64) -> CheckpointCertificate {
        let checkpoint = Checkpoint { slot: Slot(slot), digest: Digest::default() };
        CheckpointCertificate { checkpoint, votes: Vec::new() }
    }

    /// Decides and executes up to `slot`, if there is room.
    fn decide(ledger: &mut Ledger<(), ()>, slot: u64) -> Slot {
        while ledger.decided() < Slot(slot) && ledger.has_room() {
            let decided = ledger.push(Batch::nil(), ());
            ledger.note_executed(decided);
        }
        ledger.decided()
    }

    #[test]
    fn the_log_of_one_that_stays_behind_reaches_no_further_than_a_length_below_what_others_have() {
        let mut ledger = ledger();
        for ahead in (0..20).map(|step| 20 + 4 * step) {
            assert_eq!(decide(&mut ledger, ahead - 6), Slot(ahead - 6));
            assert!(ledger.stabilise(checkpoint(ahead)));
            assert!(ledger.log.base() >= Slot(ahead - LOG), "{}", ledger.log.base());
        }
        ledger.stabilise(checkpoint(1000));
        assert_eq!((ledger.log.base(), ledger.log.after(Slot(0)).count()), (ledger.decided(), 0));
        let next = ledger.decided().0 + 1;
        assert_eq!(decide(&mut ledger, next), Slot(next), "it goes on from there");
    }

    #[test]
    fn who_hears_of_no_checkpoint_takes_so_many_decisions_and_then_waits_for_one() {
        let mut ledger = ledger();
        assert_eq!(decide(&mut ledger, 1000), Slot(LOGS_MAX * LOG));
        assert!(ledger.stabilise(checkpoint(LOGS_MAX * LOG)));
        assert!(ledger.has_room());
    }

    #[test]
    fn a_checkpoint_that_is_known_outlasts_a_state_below_it() {
        let mut ledger = ledger();
        ledger.stabilise(checkpoint(20));
        assert!(ledger.install(checkpoint(16)));
        assert_eq!((ledger.checkpoints().0, ledger.decided()), (Slot(20), Slot(16)));
        assert!(ledger.install(checkpoint(24)));
        assert_eq!(ledger.checkpoints(), (Slot(24), Slot(24)));
    }
}
