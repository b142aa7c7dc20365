//! Where a replica stands, for operators.

use smr_crypto::Digest;
use smr_wire::{Epoch, Generation, ReplicaId, Slot, View};

use crate::replica::NotRestarted;

/// What a replica is doing, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The service has no key yet.
    GeneratingKey,
    /// It orders, executes and answers.
    Ready,
    /// It waits for the next primary.
    ChangingView,
    /// It is behind and fetches what it missed.
    CatchingUp,
    /// Its trusted core was begun anew: it follows the others until they know the core's new key.
    Rejoining,
    /// Its own state is wrong: it says nothing to clients until it has fetched the right one; see [`Flaw`].
    Healing,
    /// It says nothing more to clients; see [`Halt`].
    Halted,
}

/// What is wrong with a replica's own state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// A quorum certified another state than its own.
    #[error("its state after slot {0} differs from the one that the others certified")]
    Diverged(Slot),
    /// There is no state to be given: memory has failed, or the application panicked.
    #[error("it has no state after slot {0}: {1}")]
    NoState(Slot, String),
}

/// Why a replica says nothing more to clients.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Halt {
    /// Its state was wrong again and again.
    #[error(
        "{0}, again and again, though it fetched a right one; its memory fails, or it runs another program than the others: \
         replace this replica"
    )]
    CannotHeal(Flaw),
    /// The application did not take over a certified state.
    #[error(
        "the application cannot read the state that the others certified ({0}); run the same version everywhere"
    )]
    RestoreFailed(String),
}

/// Where a replica stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// The epoch of the service key's shares.
    pub epoch: Epoch,
    /// The set of voters it is in.
    pub generation: Generation,
    /// Whether the group counts on what it says; not while the others do not know its trusted core.
    pub votes: bool,
    /// How far it goes in this generation, if the administrator is about to end that. It holds once all that was promised is on
    /// disk.
    pub ceased: Option<Slot>,
    /// Why it did not follow the last order to end it, if it did not.
    pub not_restarted: Option<NotRestarted>,
    /// The view it is in or on its way to.
    pub view: View,
    /// Who proposes in it.
    pub primary: ReplicaId,
    /// The last slot of its decided prefix.
    pub decided: Slot,
    /// The last slot it executed.
    pub executed: Slot,
    /// The last stable checkpoint.
    pub stable: Slot,
    /// Digest over everything ordered and answered up to `executed`: equal on all correct replicas.
    pub digest: Digest,
    /// Entries that wait to be ordered.
    pub waiting: usize,
    /// Sessions of clients.
    pub sessions: usize,
    /// Whether it has a share of the service key.
    pub share: bool,
    /// How far key generation is, in words.
    pub ceremony: String,
    /// What is wrong with its own state, until it has fetched the right one.
    pub healing: Option<Flaw>,
    /// How often it had to.
    pub heals: u64,
    /// How much of a state is fetched: chunks that are there, and all.
    pub fetched: Option<(u32, u32)>,
    /// Why it says nothing more to clients, if it has come to that.
    pub halted: Option<Halt>,
}
