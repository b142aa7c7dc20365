//! The round that is going on: who takes part, whose turn it is, and whether anything moved.

use std::collections::VecDeque;

/// Turns of up to `size` primaries in round robin, the same number for each.
#[derive(Debug)]
pub(super) struct Round {
    /// Records of the tasks that take part, in list order.
    pub(super) primaries: Vec<usize>,
    /// Primaries that run: neither stopped at a request nor gone.
    pub(super) running: usize,
    /// A fill marker ended the wait for more primaries.
    pub(super) closed: bool,
    /// A lock was granted, or a task left or was told of its deadlock.
    pub(super) progress: bool,
    /// A request had to queue.
    pub(super) queued: bool,
    size: u32,
    /// Places of primaries with turns left, and how many; the front has the turn. At most `size` entries.
    turns: VecDeque<(u32, u32)>,
}

impl Round {
    /// The first round.
    pub(super) fn new(size: u32, steps: u32) -> Round {
        let mut round = Round {
            primaries: Vec::new(),
            running: 0,
            closed: false,
            progress: false,
            queued: false,
            size,
            turns: VecDeque::new(),
        };
        round.begin(Vec::new(), size, steps);
        round
    }

    /// The next round, nobody in it yet; `memory` is emptied and used again.
    pub(super) fn begin(&mut self, mut memory: Vec<usize>, size: u32, steps: u32) {
        assert!(self.running == 0, "a round ended while {} primaries ran", self.running);
        memory.clear();
        self.primaries = memory;
        self.closed = false;
        self.progress = false;
        self.queued = false;
        self.size = size;
        self.turns.clear();
        self.turns.extend((0..size).map(|place| (place, steps)));
    }

    /// Whether no further primary may join.
    pub(super) fn is_full(&self) -> bool {
        self.closed || self.primaries.len() == self.size as usize
    }

    /// Whether the round is full and stuck. Whoever asks has served all turns that could be taken.
    pub(super) fn is_over(&self) -> bool {
        self.is_full() && self.running == 0
    }

    /// The place of the primary whose turn it is; it may not have come yet.
    pub(super) fn turn(&self) -> Option<usize> {
        self.turns.front().map(|(place, _)| *place as usize)
    }

    /// The primary at the front takes its turn and goes to the end of the queue for its next one.
    pub(super) fn take(&mut self) {
        if let Some((place, left)) = self.turns.pop_front().filter(|(_, left)| *left > 1) {
            self.turns.push_back((place, left - 1));
        }
    }

    /// The primary at the front gives up all its turns.
    pub(super) fn forfeit(&mut self) {
        self.turns.pop_front();
    }
}
