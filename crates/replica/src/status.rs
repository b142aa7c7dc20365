//! Where a replica stands, for operators.

use smr_crypto::Digest;
use crate::replica::NotRestarted;
use smr_wire::{Epoch, Generation, ReplicaId, Slot, View};

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
    /// It says nothing more to clients; see [`Halt`].
    Halted,
}

/// Why a replica says nothing more to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Halt {
    /// A quorum certified another state than its own.
    #[error("its state differs from the one that the others certified; replace this replica")]
    Diverged,
    /// The application did not give its state.
    #[error("the application panicked when asked for its state; mend the application")]
    SnapshotFailed,
    /// The application did not take over a certified state.
    #[error(
        "the application cannot read the state that the others certified; run the same version everywhere"
    )]
    RestoreFailed,
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
    /// Why it says nothing more to clients, if it has come to that.
    pub halted: Option<Halt>,
}
