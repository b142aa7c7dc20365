//! What the world watches while it runs: agreement, at most once, equal digests. A violation ends the run.

use std::collections::{BTreeMap, BTreeSet};

use smr_app::{HostCommand, SlotWork};
use smr_consensus::Config;
use smr_consensus::quorum::{Ballot, Phase};
use smr_crypto::Digest;
use smr_replica::Status;
use smr_wire::{ClientId, Slot, Timestamp, View};

use crate::check::lanes::Invariant;

/// A property that did not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// Two correct replicas were given different commands for a slot.
    #[error("agreement: replica {replica} executes something else in slot {slot} than another correct one")]
    Agreement {
        /// Who.
        replica: usize,
        /// Where.
        slot: Slot,
    },
    /// A correct replica executed a slot twice or left one out.
    #[error("order: replica {replica} executes slot {slot} after slot {after}")]
    Order {
        /// Who.
        replica: usize,
        /// Where.
        slot: Slot,
        /// What came before.
        after: Slot,
    },
    /// A command was executed twice.
    #[error("at most once: slot {slot} executes {command:?} again")]
    Twice {
        /// Where.
        slot: Slot,
        /// What.
        command: String,
    },
    /// Two correct replicas have different digests after the same slot.
    #[error("state: replica {replica} has another digest after slot {slot} than another correct one")]
    State {
        /// Who.
        replica: usize,
        /// Where.
        slot: Slot,
    },
    /// A correct replica found that its own state cannot be right.
    #[error("state: replica {replica}'s own is wrong")]
    Flawed {
        /// Who.
        replica: usize,
    },
    /// The product's own assertion failed.
    #[error("assertion: {0}")]
    Assertion(String),
    /// Agreed time ran backwards.
    #[error("time: it runs backwards in slot {slot}")]
    Time {
        /// Where.
        slot: Slot,
    },
    /// A correct replica signed two votes where it may sign one.
    #[error("one vote: replica {replica} votes for two batches in one step, view and slot: {ballot:?}")]
    TwoVotes {
        /// Who.
        replica: usize,
        /// The second.
        ballot: Ballot,
    },
    /// A correct replica left its view although no correct one wanted that.
    #[error("views: replica {replica} leaves for view {to}, but correct replicas want {wanted} at most")]
    Views {
        /// Who.
        replica: usize,
        /// For which view.
        to: View,
        /// The highest that a correct replica wants.
        wanted: View,
    },
    /// Something grew beyond its limit.
    #[error("limits: replica {replica} has decided up to {decided}, but {limit} allows {most}")]
    Limit {
        /// Who.
        replica: usize,
        /// How far.
        decided: Slot,
        /// Which limit.
        limit: &'static str,
        /// What would have been right.
        most: Slot,
    },
    /// A correct replica was taken for a liar, robbed of its share of the key, given a state that is none, or led to tell
    /// a client what it cannot prove.
    #[error("wronged: replica {replica} {wrong}")]
    Wronged {
        /// Who.
        replica: usize,
        /// What befell it.
        wrong: &'static str,
    },
    /// An invariant of `lanes` does not hold.
    #[error("{invariant}: {what}")]
    Lanes {
        /// Which.
        invariant: Invariant,
        /// Where, and how it shows.
        what: String,
    },
    /// What clients saw is not linearizable.
    #[error("linearizability: {0}")]
    Linearizability(String),
    /// What clients saw of the bank is nothing that it may say.
    #[error("bank: {0}")]
    Bank(String),
    /// After healing, something did not end in time.
    #[error("liveness: {0}")]
    Liveness(String),
}

/// What correct replicas have shown so far.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    works: BTreeMap<Slot, Digest>,
    commands: BTreeSet<(ClientId, Vec<u8>)>,
    digests: BTreeMap<Slot, Digest>,
    last: BTreeMap<usize, Slot>,
    times: BTreeMap<Slot, Timestamp>,
    votes: BTreeMap<(usize, Phase, View, Slot), Digest>,
    /// What replicas that came back had decided.
    found: BTreeMap<usize, Slot>,
    /// The highest stable checkpoint that a correct replica knows of.
    stable: Slot,
    /// The highest view that a correct replica wanted out of its own impatience.
    wanted: View,
}

impl Observer {
    /// A correct replica gives its application a slot's work.
    ///
    /// # Errors
    /// What that violates.
    pub fn executes(&mut self, replica: usize, work: &SlotWork) -> Result<(), Violation> {
        let slot = work.slot;
        let after = self.last.insert(replica, slot).unwrap_or_default();
        if slot != after.next() {
            return Err(Violation::Order { replica, slot, after });
        }
        let commands: Vec<_> = work.commands.iter().map(|c| (c.caller, &c.command)).collect();
        let digest = Digest::of_value("SIM-WORK", &(slot, work.time, work.seed, &commands));
        match self.works.get(&slot) {
            Some(first) if *first != digest => Err(Violation::Agreement { replica, slot }),
            Some(_) => Ok(()),
            None => {
                self.works.insert(slot, digest);
                self.times.insert(slot, work.time);
                let before = self.times.get(&slot.minus(1)).copied().unwrap_or_default();
                if work.time < before {
                    return Err(Violation::Time { slot });
                }
                // Simulated clients never write the same value, nor bring the same amount, under two numbers.
                let verbs: [&[u8]; 3] = [b"put ", b"cas ", b"deposit "];
                let writes = |c: &&HostCommand| verbs.iter().any(|verb| c.command.starts_with(verb));
                work.commands.iter().filter(writes).try_for_each(|c| {
                    let fresh = self.commands.insert((c.caller, c.command.clone()));
                    let command = String::from_utf8_lossy(&c.command).into_owned();
                    if fresh { Ok(()) } else { Err(Violation::Twice { slot, command }) }
                })
            }
        }
    }

    /// A correct replica's application took over a state after `slot`.
    pub fn installs(&mut self, replica: usize, slot: Slot) {
        self.last.insert(replica, slot);
    }

    /// A correct replica began anew, and knows so many decisions: it executes everything again, or takes over a state.
    pub fn returns(&mut self, replica: usize, decided: Slot) {
        self.last.remove(&replica);
        self.found.insert(replica, decided);
    }

    /// A correct replica has executed up to `slot` and has this digest.
    ///
    /// # Errors
    /// [`Violation::State`].
    pub fn stands(&mut self, replica: usize, slot: Slot, digest: Digest) -> Result<(), Violation> {
        let first = *self.digests.entry(slot).or_insert(digest);
        if first == digest { Ok(()) } else { Err(Violation::State { replica, slot }) }
    }

    /// A correct replica signs a vote.
    ///
    /// # Errors
    /// [`Violation::TwoVotes`].
    pub fn votes(&mut self, replica: usize, ballot: Ballot) -> Result<(), Violation> {
        let Ballot { phase, view, slot, digest } = ballot;
        let first = *self.votes.entry((replica, phase, view, slot)).or_insert(digest);
        if first == digest { Ok(()) } else { Err(Violation::TwoVotes { replica, ballot }) }
    }

    /// A correct replica wants another primary than that of `view`.
    pub fn suspects(&mut self, view: View) {
        self.wanted = self.wanted.max(view.next());
    }

    /// A correct replica leaves its view for a later one.
    ///
    /// # Errors
    /// [`Violation::Views`].
    pub fn leaves(&self, replica: usize, to: View) -> Result<(), Violation> {
        let wanted = self.wanted;
        if to <= wanted { Ok(()) } else { Err(Violation::Views { replica, to, wanted }) }
    }

    /// Where a correct replica stands, which knows of a stable checkpoint at `stable`: it keeps its limits. A decision takes
    /// the votes of correct replicas, each of which knows of a checkpoint that is not further behind than the log may be long.
    ///
    /// # Errors
    /// [`Violation::Limit`].
    pub fn keeps(
        &mut self,
        replica: usize,
        status: &Status,
        stable: Slot,
        config: &Config,
    ) -> Result<(), Violation> {
        self.stable = self.stable.max(stable);
        let found = self.found.get(&replica).copied().unwrap_or_default();
        let limits = [
            ("the log", self.stable.plus(config.log_slots_max)),
            ("the backlog", status.executed.max(found).plus(config.backlog_slots_max)),
        ];
        let decided = status.decided;
        match limits.into_iter().find(|(_, most)| decided > *most) {
            Some((limit, most)) => Err(Violation::Limit { replica, decided, limit, most }),
            None => Ok(()),
        }
    }

    /// Slots that some correct replica has executed.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.works.keys().next_back().map_or(0, |slot| slot.0)
    }

    /// Commands that were executed.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.commands.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::PublicKey;

    fn work(slot: u64, text: &str) -> SlotWork {
        let caller = ClientId(PublicKey([1; 32]));
        let commands = vec![HostCommand { caller, command: text.as_bytes().to_vec() }];
        SlotWork {
            slot: Slot(slot),
            time: Timestamp(slot),
            seed: Digest::default(),
            commands,
            timers: false,
            fill: false,
        }
    }

    #[test]
    fn each_violation_is_seen() {
        let mut observer = Observer::default();
        assert_eq!(observer.executes(0, &work(1, "put k a")), Ok(()));
        assert_eq!(observer.executes(1, &work(1, "put k a")), Ok(()));
        assert!(matches!(observer.executes(2, &work(1, "b")), Err(Violation::Agreement { .. })));
        assert!(matches!(observer.executes(0, &work(3, "c")), Err(Violation::Order { .. })));
        assert!(matches!(observer.executes(1, &work(2, "put k a")), Err(Violation::Twice { .. })));
        assert_eq!(observer.stands(0, Slot(1), Digest::default()), Ok(()));
        let other = Digest::of("T", &[]);
        assert!(matches!(observer.stands(1, Slot(1), other), Err(Violation::State { .. })));
    }
}
