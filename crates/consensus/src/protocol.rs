//! The interface that every protocol has: `step` takes one input and appends effects, in order.
//!
//! Inside there is no clock, socket, thread, file or chance. Time enters as the clock reading beside each event
//! and as timers that fire; neither is kept. The order of the effects counts: what a message promises stands in a
//! `Persist` before it.

use smr_crypto::Signature;
use smr_wire::{ReplicaId, Slot, Timestamp, View};

use crate::batch::{Batch, Entry};
use crate::checkpoint::CheckpointCertificate;
use crate::lanes::core::{Operation, Refusal};
use crate::pool::Added;
use crate::record::{Cease, Record, Unfit};
use crate::verified::{Refused, Verified};

/// A consensus protocol: decides batches, slot by slot, the same on every correct replica.
pub trait Protocol {
    /// What its replicas say to each other.
    type Message;

    /// Takes one input and appends what follows from it.
    fn step(&mut self, input: Input<Self::Message>, effects: &mut Effects<Self::Message>);

    /// Where it stands.
    fn status(&self) -> Status;

    /// What waits here, to be taken along into the next generation.
    fn waiting(&self) -> Vec<Entry>;

    /// Goes on, before it begins, from what it wrote down after the state of this checkpoint, or from the first slot. Says
    /// with [`Effect::Decide`] what is decided above, and nothing else.
    ///
    /// # Errors
    /// The records do not fit together.
    fn resume(
        &mut self,
        checkpoint: Option<CheckpointCertificate>,
        records: Vec<Record>,
        effects: &mut Effects<Self::Message>,
    ) -> Result<(), Unfit>;

    /// What it is bound to beside what it said of slots, to be written down again when older records go.
    fn standing(&self) -> Vec<Record>;
}

/// One event and the machine's clock when it happened.
#[derive(Clone, Debug)]
pub struct Input<M> {
    /// The machine's clock.
    pub clock: Timestamp,
    /// What happened.
    pub event: Event<M>,
}

/// What may happen to a protocol.
#[derive(Clone, Debug)]
pub enum Event<M> {
    /// The replica begins. Comes once, first.
    Start,
    /// An entry, already checked, that a client or this replica wants ordered.
    Offer(Entry),
    /// A message of another replica.
    Message(Verified<M>),
    /// The trusted core has done, or not, what it was asked for first of what it has not answered yet.
    Attested(Result<Signature, Refusal>),
    /// A timer that was armed has run out.
    Timer(Timer),
    /// Everything up to this slot is executed.
    Executed(Slot),
    /// The replies of everything up to this slot are signed here, and sent where this replica is the contact. A
    /// primary opens few slots beyond: each costs a signature and a combination, so under load it is better to let
    /// the next batch grow than to add another block to those that wait for theirs.
    Settled(Slot),
    /// A checkpoint became stable; the log below may go.
    Stable(CheckpointCertificate),
    /// The state of this certified checkpoint was installed in place of decisions that were missed.
    Installed(CheckpointCertificate),
    /// This slot is the last one of the generation: nothing above it is proposed or voted for, and what is open below is
    /// filled with nothing, so that it comes soon.
    Barrier(Slot),
    /// The trusted cores of this generation are gone, and the administrator is about to end it: from here on this replica
    /// says nothing that counts in it, and decides nothing above this slot but what it has decided already.
    Cease(Cease),
}

/// What a protocol wants done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect<M> {
    /// Send to one other replica.
    Send {
        /// Whom.
        to: ReplicaId,
        /// What.
        message: M,
    },
    /// Send to all other replicas.
    Broadcast(M),
    /// Final: this batch stands in this slot. Slots come in order, without gaps but for [`Event::Installed`].
    Decide {
        /// Where.
        slot: Slot,
        /// What.
        batch: Batch,
    },
    /// What became of an entry that was offered.
    Offered {
        /// Its digest.
        entry: smr_crypto::Digest,
        /// Whether it waits now.
        added: Added,
    },
    /// Decisions are missing that peers no longer keep; a checkpoint is needed instead.
    NeedState {
        /// The slot up to which at least one correct peer keeps none.
        base: Slot,
    },
    /// Have the trusted core do this. Answers come in the order of what was asked.
    Attest(Operation),
    /// (Re)start a timer.
    Arm {
        /// Which.
        timer: Timer,
        /// How long, in ms.
        after_ms: u64,
    },
    /// Stop a timer.
    Disarm(Timer),
    /// To be written down; if it is a promise, before the effects behind it leave.
    Persist(Record),
    /// Worth telling an operator or a test.
    Report(Observation),
}

/// Timers by name. Arming one again restarts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// How long entries may wait.
    Patience,
    /// How long a new view may take to begin.
    NewView,
    /// Time to tell the others where we stand.
    Status,
}

/// What is worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// This replica wants another primary, and why.
    Suspected {
        /// The view it wants to leave.
        view: View,
        /// In words.
        why: &'static str,
    },
    /// This replica left for a view that has not begun yet.
    LeftFor(View),
    /// A view began.
    Installed {
        /// Which.
        view: View,
        /// Who proposes in it.
        primary: ReplicaId,
    },
    /// Two signed proposals of one primary for one slot and view.
    Equivocation {
        /// Who.
        by: ReplicaId,
        /// In which view.
        view: View,
        /// For which slot.
        slot: Slot,
    },
    /// A proposal's time is too far from this replica's clock.
    Skewed {
        /// Whose.
        by: ReplicaId,
        /// By how much, in ms.
        skew_ms: u64,
    },
    /// The trusted core does not do what a correct replica asks for: it is another one, or used by another hand.
    CoreRefused(Refusal),
    /// A message that was checked but is not acceptable here.
    Dropped {
        /// Whose.
        from: ReplicaId,
        /// Why.
        why: Refused,
    },
}

/// Where a protocol stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The view it is in or on its way to.
    pub view: View,
    /// Whether that view has begun.
    pub installed: bool,
    /// Who proposes in that view.
    pub primary: ReplicaId,
    /// The last slot of the decided prefix.
    pub decided: Slot,
    /// The highest slot that f+1 peers say they have decided, or our own if it is higher.
    pub highest: Slot,
    /// The slot below the first decision that is kept.
    pub log_base: Slot,
    /// The last stable checkpoint that is known here, reached or not.
    pub stable: Slot,
    /// Entries that wait.
    pub waiting: usize,
    /// How far it goes in this generation, if that is about to be ended.
    pub ceased: Option<Cease>,
}

/// Effects in the order in which they are to be done.
#[derive(Debug)]
pub struct Effects<M>(Vec<Effect<M>>);

impl<M> Default for Effects<M> {
    fn default() -> Effects<M> {
        Effects(Vec::new())
    }
}

impl<M> Effects<M> {
    /// Appends one.
    pub fn push(&mut self, effect: Effect<M>) {
        self.0.push(effect);
    }

    /// Appends a message to one replica.
    pub fn send(&mut self, to: ReplicaId, message: M) {
        self.push(Effect::Send { to, message });
    }

    /// Appends a message to all other replicas.
    pub fn broadcast(&mut self, message: M) {
        self.push(Effect::Broadcast(message));
    }

    /// Appends a timer's start.
    pub fn arm(&mut self, timer: Timer, after_ms: u64) {
        self.push(Effect::Arm { timer, after_ms });
    }

    /// Appends an observation.
    pub fn report(&mut self, observation: Observation) {
        self.push(Effect::Report(observation));
    }

    /// Takes all of them, in order, and leaves none.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect<M>> + '_ {
        self.0.drain(..)
    }
}

impl<M> Effect<M> {
    /// The same effect for a protocol whose messages are one kind among those of a larger family.
    pub fn map<N>(self, wrap: impl Fn(M) -> N) -> Effect<N> {
        match self {
            Effect::Send { to, message } => Effect::Send { to, message: wrap(message) },
            Effect::Broadcast(message) => Effect::Broadcast(wrap(message)),
            Effect::Decide { slot, batch } => Effect::Decide { slot, batch },
            Effect::Offered { entry, added } => Effect::Offered { entry, added },
            Effect::NeedState { base } => Effect::NeedState { base },
            Effect::Attest(operation) => Effect::Attest(operation),
            Effect::Arm { timer, after_ms } => Effect::Arm { timer, after_ms },
            Effect::Disarm(timer) => Effect::Disarm(timer),
            Effect::Persist(record) => Effect::Persist(record),
            Effect::Report(observation) => Effect::Report(observation),
        }
    }
}
