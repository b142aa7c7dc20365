//! The invariants of `lanes`, I1 to I11, looked at after each step of a machine.
//!
//! ```text
//!   cores (where there are none, registers) --vote--> who voted for what --quorum--> what is decided
//!   replicas --outline--> how views began, what each knows and keeps
//! ```
//!
//! What is decided is taken from votes alone: a quorum of them binds everybody, whether a replica knows it or not. So a
//! lock that is broken shows when the second batch becomes rightful, long before a client could see it.
//!
//! | | | where |
//! | --- | --- | --- |
//! | I1 | agreement | [`Watch::votes`], [`Watch::knows`] |
//! | I2 | unique proposal | [`Watch::votes`]; and no correct replica votes for what nobody had the right to propose |
//! | I3 | lock | whenever something is decided or becomes rightful |
//! | I4 | window | [`Watch::votes`]; there is no `hist` here: agreement and the proofs of prefixes (I5) stand for it |
//! | I5 | lane completeness | [`Watch::answers`], and [`Watch::says`] of view changes |
//! | I6 | schedule | [`Watch::knows`] |
//! | I7 | view uniqueness | [`Watch::knows`], [`Watch::acknowledges`] |
//! | I8 | generations | `generations`, and [`Watch::votes`]: nothing is decided above the slot with which one ends |
//! | I9 | exactly once | [`crate::observe::Observer::executes`] of every protocol, and [`super::linear`] of the replies |
//! | I10 | checkpoint and state | [`Watch::knows`]; equal digests: [`crate::observe::Observer::stands`] |
//! | I11 | bounded memory | `memory` |

mod generations;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::{Item, Register, Registers};
use smr_consensus::lanes::schedule::Schedule;
use smr_consensus::lanes::{Lanes, Message, Outline};
use smr_consensus::verified::{Rules, Verify};
use smr_consensus::{Config, Group};
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

pub use self::generations::Watches;
use crate::observe::Violation;

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// I1: all certificates for a slot are for one batch.
    Agreement,
    /// I2: in a slot of a view one batch at most has the right to be voted for, and correct replicas vote for no other.
    Proposal,
    /// I3: what is decided in a view is the only batch that has the right to its slot in later views.
    Lock,
    /// I4: who votes in a slot has decided the one a window below.
    Window,
    /// I5: the lanes of a correct replica hold its last vote in each open slot, and what it tells of them convinces.
    Lanes,
    /// I6: replicas in one view agree whose turn it is.
    Schedule,
    /// I7: a view begins in one way, and at most f get no turns.
    View,
    /// I8: nothing is voted for by correct replicas, or decided, above the slot with which a generation ends.
    Generation,
    /// I10: nothing that is decided or stable is forgotten.
    State,
    /// I11: what is remembered is bounded.
    Memory,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::Agreement => "I1 agreement",
            Invariant::Proposal => "I2 proposal",
            Invariant::Lock => "I3 lock",
            Invariant::Window => "I4 window",
            Invariant::Lanes => "I5 lanes",
            Invariant::Schedule => "I6 schedule",
            Invariant::View => "I7 view",
            Invariant::Generation => "I8 generation",
            Invariant::State => "I10 state",
            Invariant::Memory => "I11 memory",
        })
    }
}

/// What has been seen of a service that runs a protocol of `lanes`.
#[derive(Clone, Debug)]
pub struct Watch {
    schedule: Schedule,
    group: Arc<Group>,
    config: Config,
    /// Counted here, as how the product counts may be what is wrong.
    quorum: usize,
    /// All votes, of faulty replicas too: what a core signed can be shown to anyone.
    votes: BTreeMap<(Slot, View), BTreeMap<ReplicaId, Digest>>,
    /// What a quorum voted for, and the first view in which one did.
    decided: BTreeMap<Slot, (View, Digest)>,
    /// How views began for correct replicas.
    begun: BTreeMap<View, Beginning>,
    acknowledged: BTreeMap<(View, Digest), BTreeSet<ReplicaId>>,
    /// The last vote in each lane of each core.
    lanes: BTreeMap<ReplicaId, Vec<Option<Register>>>,
    /// How far correct replicas were, and their last stable checkpoints.
    stood: BTreeMap<ReplicaId, (Slot, Slot)>,
    /// The last slot of the generation, once a correct replica knows it.
    end: Option<Slot>,
    /// Whether the administrator ended it: then what only votes show above that is decided for nobody.
    restarts: bool,
}

/// Why a vote is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voter {
    /// It was taken over: nothing but its core binds it.
    Faulty,
    /// It is correct, and has decided everything up to here.
    Correct(Slot),
}

type Verdict = Result<(), Violation>;

fn holds(invariant: Invariant, is_so: bool, what: impl FnOnce() -> String) -> Verdict {
    if is_so { Ok(()) } else { Err(Violation::Lanes { invariant, what: what() }) }
}

impl Watch {
    /// Nothing has been seen of the service of which `lanes` is a replica.
    #[must_use]
    pub fn new(lanes: &Lanes, group: Arc<Group>, config: Config) -> Watch {
        Watch {
            schedule: lanes.schedule(),
            quorum: group.size() / 2 + 1,
            begun: BTreeMap::from([(View(0), Beginning::default())]),
            group,
            config,
            votes: BTreeMap::new(),
            decided: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            lanes: BTreeMap::new(),
            stood: BTreeMap::new(),
            end: None,
            restarts: false,
        }
    }

    /// A core was used: what it has voted for since the last time.
    ///
    /// # Errors
    /// What that violates.
    pub fn core(&mut self, who: ReplicaId, voter: Voter, registers: &Registers) -> Verdict {
        let before = self.lanes.insert(who, registers.lanes().to_vec()).unwrap_or_default();
        let old = before.into_iter().chain(std::iter::repeat(None));
        let now = registers.lanes().iter().zip(old).filter(|(now, before)| **now != *before);
        now.filter_map(|(now, _)| *now).try_for_each(|vote| self.votes(who, voter, vote))
    }

    /// `who` has voted.
    ///
    /// # Errors
    /// What that violates.
    pub fn votes(&mut self, who: ReplicaId, voter: Voter, vote: Register) -> Verdict {
        let Register { view, item: Item { slot, digest } } = vote;
        let others = self.votes.entry((slot, view)).or_default();
        let first = *others.entry(who).or_insert(digest);
        let count = others.values().filter(|other| **other == digest).count();
        holds(Invariant::Proposal, first == digest, || {
            format!("{who} votes for two batches in slot {slot} of view {view}")
        })?;
        if let Voter::Correct(decided) = voter {
            self.stays_within(who, decided, slot)?;
            holds(Invariant::Proposal, self.rightful(view, slot) == Some(digest), || {
                format!("{who} votes in slot {slot} of view {view} for what nobody had the right to propose")
            })?;
        }
        if count >= self.quorum && !self.is_void(slot) {
            self.decides(vote)?;
        }
        self.is_bound(view, slot)
    }

    /// `who`, which is correct and has decided everything up to `decided`, votes in `slot`.
    ///
    /// # Errors
    /// I4 or I8.
    pub fn stays_within(&self, who: ReplicaId, decided: Slot, slot: Slot) -> Verdict {
        self.is_within(slot, || format!("{who} votes in slot {slot}"))?;
        let end = decided.plus(self.config.window_slots);
        holds(Invariant::Window, slot <= end, || format!("{who} votes in slot {slot}, above {end}"))
    }

    /// Whether what is voted for here is decided for nobody: a generation was ended below, and no prefix reaches so far.
    fn is_void(&self, slot: Slot) -> bool {
        self.restarts && self.end.is_some_and(|end| slot > end)
    }

    /// `what` happens in a slot of this generation.
    fn is_within(&self, slot: Slot, what: impl FnOnce() -> String) -> Verdict {
        let end = self.end.unwrap_or(slot);
        holds(Invariant::Generation, slot <= end, || {
            format!("{}, above {end}, where a generation ended", what())
        })
    }

    /// The batch that has the right to be voted for, as far as is known.
    fn rightful(&self, view: View, slot: Slot) -> Option<Digest> {
        let begun = self.begun.get(&view)?;
        if slot <= begun.bound() {
            return begun.at(slot);
        }
        let leader = begun.leader(self.schedule, &self.group, slot);
        self.votes.get(&(slot, view))?.get(&leader).copied()
    }

    /// What has the right to `slot` in `view` is what an earlier view decided, if one did.
    fn is_bound(&self, view: View, slot: Slot) -> Verdict {
        let Some((earlier, digest)) = self.decided.get(&slot).filter(|(earlier, _)| *earlier < view) else {
            return Ok(());
        };
        holds(Invariant::Lock, self.rightful(view, slot).is_none_or(|other| other == *digest), || {
            format!(
                "slot {slot} was decided in view {earlier}, and another batch has the right to it in {view}"
            )
        })
    }

    /// A quorum voted for this.
    fn decides(&mut self, what: Register) -> Verdict {
        let Register { view, item: Item { slot, digest } } = what;
        self.is_within(slot, || format!("slot {slot} is decided"))?;
        let first = self.decided.entry(slot).or_insert((view, digest));
        first.0 = first.0.min(view);
        let agreed = first.1 == digest;
        holds(Invariant::Agreement, agreed, || format!("two batches are decided in slot {slot}"))?;
        let later: Vec<View> = self.begun.range(view.next()..).map(|(later, _)| *later).collect();
        later.into_iter().try_for_each(|later| self.is_bound(later, slot))
    }

    /// `who` saw that a view begins so, and signed that.
    ///
    /// # Errors
    /// What that violates.
    pub fn acknowledges(&mut self, who: ReplicaId, view: View, digest: Digest) -> Verdict {
        self.acknowledged.entry((view, digest)).or_default().insert(who);
        let of_view = self.acknowledged.range((view, Digest([0; 32]))..=(view, Digest([255; 32])));
        let begun = of_view.filter(|(_, authors)| authors.len() >= self.quorum).count();
        holds(Invariant::View, begun <= 1, || format!("view {view} begins in two ways"))
    }

    /// A view has begun for a correct replica.
    ///
    /// # Errors
    /// What that violates.
    pub fn begins(&mut self, who: ReplicaId, beginning: &Beginning) -> Verdict {
        let Beginning { view, decided, excluded, .. } = beginning;
        if let Some(first) = self.begun.get(view) {
            return holds(Invariant::View, first == beginning, || format!("view {view} begins in two ways"));
        }
        self.begun.insert(*view, beginning.clone());
        let out = excluded.iter().filter(|e| e.until > beginning.bound()).count();
        holds(Invariant::View, out <= usize::from(self.group.faults), || {
            format!("{out} replicas get no turns in view {view}")
        })?;
        let known = self.stood.values().map(|(decided, _)| *decided).max().unwrap_or_default();
        holds(Invariant::Lock, *decided <= known, || {
            format!(
                "view {view}, as {who} has it, takes slots up to {decided} as decided; no correct replica has more than {known}"
            )
        })?;
        let slots: BTreeSet<Slot> = self.decided.range(decided.next()..).map(|(slot, _)| *slot).collect();
        slots.into_iter().try_for_each(|slot| self.is_bound(*view, slot))
    }

    /// What a correct replica knows after a step, before anybody hears of it.
    ///
    /// # Errors
    /// What that violates.
    pub fn knows(&mut self, who: ReplicaId, outline: &Outline) -> Verdict {
        let basis = &outline.basis;
        let decided = basis.log_base.plus(basis.log.len() as u64);
        let (before, stable) = self.stood.insert(who, (decided, basis.stable.0)).unwrap_or_default();
        holds(Invariant::State, decided >= before && basis.stable.0 >= stable, || {
            format!(
                "{who} had decided {before} and has {decided}; its checkpoint was {stable} and is {}",
                basis.stable.0
            )
        })?;
        let fresh =
            usize::try_from(decided.since(before)).expect("a log fits in memory").min(basis.log.len());
        basis.log[basis.log.len() - fresh..].iter().try_for_each(|what| self.decides(*what))?;
        basis
            .places
            .iter()
            .filter_map(|(_, place)| place.decision.filter(|what| !self.is_void(what.item.slot)))
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|what| self.decides(what))?;
        outline.begun.iter().try_for_each(|beginning| self.begins(who, beginning))?;
        let begun = self.begun.get(&outline.beginning.view);
        holds(Invariant::Schedule, begun == Some(&outline.beginning), || {
            format!("{who} has turns of its own in view {}", outline.beginning.view)
        })?;
        let outgrown = memory::outgrown(outline, &self.group, &self.config);
        holds(Invariant::Memory, outgrown.is_none(), || {
            format!("{who} remembers {}", outgrown.unwrap_or_default())
        })
    }

    /// What a correct replica's lanes hold after a step, when its core has done what it was asked for.
    ///
    /// # Errors
    /// What that violates.
    pub fn answers(&self, who: ReplicaId, outline: &Outline, core: Option<&Registers>) -> Verdict {
        let registers = &outline.registers;
        holds(Invariant::Lanes, core.is_none_or(|core| core == registers), || {
            format!("the core of {who} does not hold what it thinks")
        })?;
        let decided = outline.basis.log_base.plus(outline.basis.log.len() as u64);
        let lanes = u64::try_from(registers.lanes().len()).expect("a window fits");
        for slot in decided.up_to(decided.plus(lanes)) {
            let lane = usize::try_from(slot.0 % lanes).expect("smaller than a list");
            let held = registers.lanes()[lane].filter(|last| last.item.slot == slot);
            holds(Invariant::Lanes, held == self.last_vote(who, slot), || {
                format!("the lane of slot {slot} of {who} does not hold its last vote there")
            })?;
        }
        Ok(())
    }

    fn last_vote(&self, who: ReplicaId, slot: Slot) -> Option<Register> {
        let mut votes = self.votes.range((slot, View(0))..=(slot, View(u64::MAX))).rev();
        votes.find_map(|((_, view), votes)| {
            let digest = *votes.get(&who)?;
            Some(Register { view: *view, item: Item { slot, digest } })
        })
    }

    /// A correct replica tells all others something.
    ///
    /// # Errors
    /// What that violates.
    pub fn says(&mut self, who: ReplicaId, message: &Message, rules: &Rules<'_>) -> Verdict {
        match message {
            Message::ViewChange(change) => {
                let refused = change.check(rules).err().map(|why| why.to_string());
                let unfounded = !change.is_right(self.schedule, &self.group);
                let why = refused.or(unfounded.then(|| "a vote without ground".to_owned()));
                holds(Invariant::Lanes, why.is_none(), || {
                    format!(
                        "what {who} tells for view {} does not convince: {}",
                        change.to,
                        why.unwrap_or_default()
                    )
                })
            }
            Message::Acknowledge { view, digest, .. } => self.acknowledges(who, *view, *digest),
            _ => Ok(()),
        }
    }

    /// A faulty replica tells somebody something: what it signed in it counts.
    ///
    /// # Errors
    /// What that violates.
    pub fn hears(&mut self, who: ReplicaId, message: &Message, rules: &Rules<'_>) -> Verdict {
        match message {
            Message::Acknowledge { view, digest, .. } if message.verify(who, rules).is_ok() => {
                self.acknowledges(who, *view, *digest)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
