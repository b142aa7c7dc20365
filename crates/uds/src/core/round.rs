//! The round that is going on: who takes part, and whether anything moved.

use super::list::{HEAD, Node};
use super::turns::{Turn, Turns};
use crate::config::Order;

/// Up to `size` primaries and their turns.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Round {
    /// Records of the tasks that take part, in list order.
    pub(super) primaries: Vec<usize>,
    /// Primaries that run: neither stopped at a request nor gone.
    pub(super) running: usize,
    /// A marker ended the wait for more primaries: all tasks before it are here.
    pub(super) closed: bool,
    /// Something happened that a repetition of this round would not meet again.
    pub(super) progress: bool,
    /// A task that holds something had to queue: only then can a cycle of waits have closed.
    pub(super) holder_queued: bool,
    /// The last place of the list that was looked at.
    pub(super) cursor: Node,
    pub(super) turns: Turns,
    pub(super) size: u32,
    /// Newcomers are admitted to fill it: when it began, displaced tasks did not take all room.
    pub(super) admits: bool,
    /// Nodes of primaries that have left or wait; they stay until the round ends, for followers to enter behind.
    pub(super) vacated: Vec<Node>,
    /// Tasks that enter the list when the round ends, and behind whom.
    pub(super) followers: Vec<(Node, usize)>,
    /// Tasks without a place that were granted what they waited for.
    pub(super) returning: Vec<usize>,
}

impl Round {
    pub(super) fn new(size: u32, order: Order) -> Round {
        Round {
            primaries: Vec::new(),
            running: 0,
            closed: false,
            progress: false,
            holder_queued: false,
            cursor: HEAD,
            turns: Turns::new(order),
            size,
            admits: true,
            vacated: Vec::new(),
            followers: Vec::new(),
            returning: Vec::new(),
        }
    }

    /// The next round, nobody in it yet.
    pub(super) fn begin(&mut self, size: u32, order: Order, clock: u64) {
        assert!(self.running == 0, "a round ended while {} primaries ran", self.running);
        self.primaries.clear();
        self.closed = false;
        self.progress = false;
        self.holder_queued = false;
        self.cursor = HEAD;
        self.size = size;
        self.turns.reset(order, clock);
    }

    /// Whether no further primary may join.
    pub(super) fn is_full(&self) -> bool {
        self.closed || self.primaries.len() >= self.size as usize
    }

    pub(super) fn turn(&self) -> Turn {
        self.turns.next(self.primaries.len(), !self.is_full())
    }

    /// Whether the round is full and stuck. Whoever asks has served all turns that could be taken.
    pub(super) fn is_over(&self) -> bool {
        self.is_full() && self.running == 0
    }
}
