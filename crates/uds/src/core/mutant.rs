//! Known ways to get this wrong, which can be switched on in tests that must find them: in this crate's search of all
//! orders of events, and, with the feature `mutants`, under whole services that somebody simulates.

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

    #[cfg(all(not(test), feature = "mutants"))]
    #[expect(clippy::unused_self, reason = "as in tests, where it decides")]
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        outside::CHOSEN.get() == Some(mutant)
    }

    #[cfg(all(not(test), not(feature = "mutants")))]
    #[expect(clippy::unused_self, reason = "as in tests, where it decides")]
    pub(super) const fn is(&self, _: Mutant) -> bool {
        false
    }
}

#[cfg(feature = "mutants")]
mod outside {
    use std::cell::Cell;

    use super::{Core, Mutant};

    thread_local! {
        pub(super) static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Those of [`Core::MUTANTS`].
    const SHOWN: [Mutant; 4] =
        [Mutant::HandsOverToTheLast, Mutant::ActsWithoutTurn, Mutant::FollowsAtTheEnd, Mutant::SkipsRunners];

    impl Core {
        /// Known ways to get this wrong that show where whole replicas run: name, what it is, and who made the
        /// mistake. (The search of all orders of events finds these and the others.)
        pub const MUTANTS: [(&'static str, &'static str, &'static str); SHOWN.len()] = [
            (
                "hands-over-to-the-last",
                "A lock goes to whoever queued last, so it matters when it is given back.",
                "plain mutexes",
            ),
            ("acts-without-turn", "A primary's request is done when it is made.", "plain mutexes"),
            (
                "follows-at-the-end",
                "A new or woken task enters the list behind those that happen to be there.",
                "SELF: addRequest from inside a thread",
            ),
            ("skips-runners", "A primary that still runs when its turn comes loses it.", "our own history"),
        ];

        /// Puts one of [`Core::MUTANTS`], by its place there, into all schedulers on this thread; or none.
        pub fn mutate(place: Option<usize>) {
            CHOSEN.set(place.map(|place| SHOWN[place]));
        }
    }
}
