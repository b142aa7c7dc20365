//! The part of a replica's outline that is the same in every engine.

use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use super::{Basis, Place};

/// What one replica knows beside votes: of open slots `O`, of decisions `D`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BasisOutline<O, D> {
    /// The view it is in or on its way to.
    pub view: View,
    /// Whether that view has begun for it.
    pub installed: bool,
    /// Slots above the decided prefix of which it knows anything, in order.
    pub places: Vec<(Slot, O)>,
    /// What it has decided and keeps.
    pub log: Vec<D>,
    /// The slot below the first that it keeps.
    pub log_base: Slot,
    /// Its stable checkpoint and the one before.
    pub stable: (Slot, Slot),
    /// Up to where it has executed, and up to where replies are settled.
    pub executed: (Slot, Slot),
    /// Entries that wait, oldest first, and whether each stands in an open proposal.
    pub waiting: Vec<(Digest, bool)>,
    /// Which view each replica wants at least.
    pub wishes: Vec<(ReplicaId, View)>,
}

impl<P: Place<C>, C> Basis<P, C> {
    /// This part as plain data, with the engine's own outlines of open slots and of decisions.
    #[must_use]
    pub fn outline<O: Default + PartialEq, D>(
        &self,
        place: impl Fn(&P) -> O,
        decided: impl Fn(&C) -> D,
    ) -> BasisOutline<O, D> {
        // Every field is named, so that a new one does not compile until somebody says whether it matters here.
        let Basis {
            seat: _,
            config: _,
            view,
            installed,
            ledger,
            pool,
            suspicion,
            backoff: _,
            catch_up: _,
            patience: _,
            decided_at_tick: _,
        } = self;
        let places = ledger.window.iter().map(|(slot, state)| (slot, place(state)));
        let log = &ledger.log;
        BasisOutline {
            view: *view,
            installed: *installed,
            places: places.filter(|(_, outline)| *outline != O::default()).collect(),
            log: log.after(log.base()).map(|(_, (_, certificate))| decided(certificate)).collect(),
            log_base: log.base(),
            stable: ledger.checkpoints(),
            executed: (ledger.executed(), ledger.settled()),
            waiting: pool.outline(),
            wishes: suspicion.wishes().collect(),
        }
    }
}
