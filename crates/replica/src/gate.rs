//! What a replica says and does waits here until what it promises is on disk: a vote must outlive the crash of whoever
//! gave it, and what was decided by its own vote is not decided before.

use std::collections::VecDeque;

use crate::effect::Effect;
use crate::known_bugs;

/// Holds back what leaves the machine or is executed, in order, behind promises that are not on disk yet.
#[derive(Debug, Default)]
pub struct Gate {
    held: VecDeque<(u64, Effect)>,
    written: u64,
    durable: u64,
}

impl Gate {
    /// A promise was given to the disk. Tickets ascend.
    pub fn written(&mut self, ticket: u64) {
        self.written = ticket;
    }

    /// The effect, if it may be done now; otherwise it is kept.
    pub fn pass(&mut self, effect: Effect) -> Option<Effect> {
        if self.is_open() || !counts(&effect) || known_bugs::GATE_STANDS_OPEN.is_on() {
            return Some(effect);
        }
        self.held.push_back((self.written, effect));
        None
    }

    /// Everything up to this ticket is on disk: what waited for that, in order.
    pub fn durable(&mut self, ticket: u64) -> Vec<Effect> {
        self.durable = self.durable.max(ticket);
        let free = self.held.partition_point(|(needs, _)| *needs <= self.durable);
        self.held.drain(..free).map(|(_, effect)| effect).collect()
    }

    /// Whether everything promised is on disk.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.durable >= self.written
    }

    /// Whether anything promised comes after this ticket.
    #[must_use]
    pub fn waits_beyond(&self, ticket: u64) -> bool {
        self.written > self.durable.max(ticket)
    }

    /// How many effects wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// Whether it tells anybody else anything, or has the application do something.
fn counts(effect: &Effect) -> bool {
    let leaves = matches!(
        effect,
        Effect::Send { .. } | Effect::Broadcast(_) | Effect::Reply { .. } | Effect::Hint { .. }
    );
    leaves || matches!(effect, Effect::Execute(_) | Effect::Checkpoint { .. } | Effect::Restore { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{ConnectionId, Timer};
    use smr_wire::Hint;

    fn said(connection: u64) -> Effect {
        Effect::Hint { connection: ConnectionId(connection), about: None, hint: Hint::Busy }
    }

    fn to(effects: &[Effect]) -> Vec<u64> {
        let connection = |effect: &Effect| match effect {
            Effect::Hint { connection, .. } => connection.0,
            other => panic!("{other:?}"),
        };
        effects.iter().map(connection).collect()
    }

    #[test]
    fn what_leaves_waits_for_the_promises_before_it_and_for_no_others() {
        let mut gate = Gate::default();
        assert!(gate.pass(said(1)).is_some(), "nothing was promised");
        gate.written(7);
        assert!(gate.pass(said(2)).is_none());
        assert!(gate.pass(Effect::Disarm(Timer::Repeat)).is_some(), "that tells nobody anything");
        gate.written(8);
        assert!(gate.pass(said(3)).is_none());
        assert_eq!(to(&gate.durable(7)), [2]);
        assert_eq!(to(&gate.durable(9)), [3]);
        assert!(gate.pass(said(4)).is_some());
        assert_eq!(gate.held(), 0);
    }
}
