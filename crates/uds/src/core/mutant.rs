//! Known ways to get this wrong, which can be switched on in tests that must find them.

use super::*;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Mutant {
    /// A lock goes to whoever queued last, so it matters when it is given back.
    HandsOverToTheLast,
    /// A primary's request is done when it is made.
    ActsWithoutTurn,
    /// Who was thrown out of a lock's queue at a round's end gets the lock by hand-over, without a new turn.
    RetriesWithoutTurn,
    /// A round in which nobody runs is closed without a marker.
    FillsByLocalState,
    /// A blocked task without a place runs as soon as it is granted its lock.
    ReturnsAtOnce,
    /// A new or woken task enters the list behind those that happen to be there.
    FollowsAtTheEnd,
    /// A primary that still runs when its turn comes loses it.
    SkipsRunners,
}

#[cfg(test)]
impl Mutant {
    pub(super) const ALL: [Mutant; 7] = [
        Mutant::HandsOverToTheLast,
        Mutant::ActsWithoutTurn,
        Mutant::RetriesWithoutTurn,
        Mutant::FillsByLocalState,
        Mutant::ReturnsAtOnce,
        Mutant::FollowsAtTheEnd,
        Mutant::SkipsRunners,
    ];
}

impl Core {
    #[cfg(test)]
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "as in tests, where it decides")]
    pub(super) const fn is(&self, _: Mutant) -> bool {
        false
    }
}
