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
use crate::window::Window;

/// Where a replica stands: open slots with state `P`, and decisions with certificates `C`.
#[derive(Clone, Debug)]
pub struct Ledger<P, C> {
    /// Slots above the decided prefix; we vote in the lower half and remember others' votes in both.
    pub window: Window<P>,
    /// What was decided and is not yet pruned.
    pub log: DecidedLog<C>,
    stable: Option<CheckpointCertificate>,
    /// The stable checkpoint before `stable`: the log is kept above it, so that a replica that is only a little
    /// behind need not fetch a whole state.
    stable_before: Slot,
    executed: Slot,
    settled: Slot,
    /// The last slot of this generation, once it is known.
    barrier: Option<Slot>,
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

    /// Whether execution keeps up well enough for one more decision, and the generation has one.
    #[must_use]
    pub fn has_room(&self) -> bool {
        if self.barrier.is_some_and(|barrier| self.decided() >= barrier) {
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

    /// A checkpoint became stable: the log below the one before goes. True if it was news.
    pub fn stabilise(&mut self, certificate: CheckpointCertificate) -> bool {
        let slot = certificate.checkpoint.slot;
        let is_news = slot > self.stable_slot() && slot <= self.decided();
        if is_news {
            self.stable_before = self.stable_slot();
            self.stable = Some(certificate);
            self.log.prune(self.stable_before);
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
            self.stable_before = slot;
            self.stable = Some(certificate);
        }
        moves
    }

    fn stable_slot(&self) -> Slot {
        self.stable.as_ref().map(|c| c.checkpoint.slot).unwrap_or_default()
    }
}
