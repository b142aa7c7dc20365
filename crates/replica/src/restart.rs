//! The administrator's side of a restart: of a service whose trusted cores are gone, what to do next.
//!
//! ```text
//!   ask all where they are -> too few cores count -> Cease, to all -> nobody goes on by itself any more
//!     -> Cease as far as the highest one, until all are there -> sign a manifest, once -> all take it up
//! ```
//!
//! What a client was told is on the disk of a correct replica, and of f+1 that told it f may lie: any replica may be the one.
//! So all are asked. Whoever goes on without some of them risks what only those know; that is a rescue, and names them.

use std::collections::{BTreeMap, BTreeSet};

use smr_consensus::Group;
use smr_wire::{Generation, ReplicaId, Slot};

use crate::known_bugs;
use crate::status::Status;

/// Where a replica says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// In which generation.
    pub generation: Generation,
    /// Whether its core counts in it.
    pub votes: bool,
    /// The last slot that it has decided.
    pub decided: Slot,
    /// How far it goes in this generation, once it has ceased and that is on its disk.
    pub ceased: Option<Slot>,
}

impl Standing {
    /// As its status says; `is_on_disk` tells whether all that it promised is.
    #[must_use]
    pub fn of(status: &Status, is_on_disk: bool) -> Standing {
        let Status { generation, votes, decided, ceased, .. } = *status;
        Standing { generation, votes, decided, ceased: ceased.filter(|_| is_on_disk) }
    }
}

/// How many replicas there are, and of which of them it is enough to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// All of them (n).
    pub replicas: usize,
    /// How many of them may fail (f).
    pub faults: usize,
}

impl Size {
    /// Of a group.
    #[must_use]
    pub fn of(group: &Group) -> Size {
        Size { replicas: group.size(), faults: group.faults.into() }
    }

    fn available(self) -> usize {
        self.replicas - self.faults
    }
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Enough cores count to order what is to be done.
    Needless,
    /// Nothing, before these have answered, or are where the others are.
    Wait(BTreeSet<ReplicaId>),
    /// Tell these to cease.
    Cease {
        /// Whom.
        whom: BTreeSet<ReplicaId>,
        /// In which generation.
        generation: Generation,
        /// How far they go to be where the highest one is.
        slot: Slot,
    },
    /// Sign that this generation has ended with this slot.
    Sign {
        /// Which.
        generation: Generation,
        /// Where.
        slot: Slot,
    },
}

/// What to do next where these replicas answer, and nobody counts on those `without` which the administrator goes on.
#[must_use]
pub fn next(said: &BTreeMap<ReplicaId, Standing>, size: Size, without: &BTreeSet<ReplicaId>) -> Step {
    let generation = said.values().map(|of| of.generation).max().unwrap_or_default();
    let is_here = |of: &Standing| of.generation == generation;
    let asked: BTreeSet<ReplicaId> =
        (0..size.replicas).map(ReplicaId::at).filter(|replica| !without.contains(replica)).collect();
    let here: BTreeMap<ReplicaId, Standing> = said
        .iter()
        .filter(|(replica, of)| asked.contains(replica) && is_here(of))
        .map(|(replica, of)| (*replica, *of))
        .collect();
    if here.values().filter(|of| of.votes).count() >= size.available() {
        return Step::Needless;
    }
    let missing: BTreeSet<ReplicaId> =
        asked.iter().filter(|replica| !here.contains_key(replica)).copied().collect();
    let are_enough = known_bugs::ASKS_ONLY_SOME.is_on() && here.len() >= size.available();
    if (!missing.is_empty() && !are_enough) || here.len() < size.available() {
        return Step::Wait(missing);
    }
    let who = |lacks: &dyn Fn(&Standing) -> bool| -> BTreeSet<ReplicaId> {
        here.iter().filter(|(_, of)| lacks(of)).map(|(replica, _)| *replica).collect()
    };
    let whom = who(&|of| of.ceased.is_none());
    if !whom.is_empty() {
        return Step::Cease { whom, generation, slot: Slot(0) };
    }
    let slot = here.values().map(|of| of.decided).max().unwrap_or_default();
    let whom = who(&|of| of.ceased != Some(slot));
    let behind = who(&|of| of.decided < slot);
    if !whom.is_empty() {
        Step::Cease { whom, generation, slot }
    } else if !behind.is_empty() {
        Step::Wait(behind)
    } else {
        Step::Sign { generation, slot }
    }
}

/// Those that a rescue goes on without: all but n-f or more which have answered and are at the same place, if there are so
/// many.
#[must_use]
pub fn left_out(said: &BTreeMap<ReplicaId, Standing>, size: Size) -> Option<BTreeSet<ReplicaId>> {
    let all = (0..size.replicas).map(ReplicaId::at);
    let mut places: BTreeMap<(Generation, Slot), BTreeSet<ReplicaId>> = BTreeMap::new();
    for (replica, of) in said {
        places.entry((of.generation, of.decided)).or_default().insert(*replica);
    }
    let kept = places.into_values().find(|there| there.len() >= size.available())?;
    Some(all.filter(|replica| !kept.contains(replica)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { replicas: 3, faults: 1 };

    fn at(decided: u64, ceased: Option<u64>) -> Standing {
        let (generation, votes) = (Generation(4), false);
        Standing { generation, votes, decided: Slot(decided), ceased: ceased.map(Slot) }
    }

    fn said(standings: &[Standing]) -> BTreeMap<ReplicaId, Standing> {
        standings.iter().enumerate().map(|(replica, of)| (ReplicaId::at(replica), *of)).collect()
    }

    fn them(replicas: &[u16]) -> BTreeSet<ReplicaId> {
        replicas.iter().map(|replica| ReplicaId(*replica)).collect()
    }

    fn next_of(standings: &[Standing]) -> Step {
        next(&said(standings), SIZE, &BTreeSet::new())
    }

    #[test]
    fn all_cease_before_anybody_is_believed_then_all_get_to_the_highest_and_that_is_signed() {
        let generation = Generation(4);
        let cease = |whom: &[u16], slot| Step::Cease { whom: them(whom), generation, slot: Slot(slot) };
        assert_eq!(next_of(&[at(5, None), at(7, Some(7)), at(6, None)]), cease(&[0, 2], 0));
        assert_eq!(next_of(&[at(5, Some(5)), at(7, Some(7)), at(6, Some(6))]), cease(&[0, 2], 7));
        assert_eq!(next_of(&[at(5, Some(7)), at(7, Some(7)), at(6, Some(7))]), Step::Wait(them(&[0, 2])));
        let there = at(7, Some(7));
        assert_eq!(next_of(&[there; 3]), Step::Sign { generation, slot: Slot(7) });
        let further = at(7, Some(9));
        assert_eq!(
            next_of(&[there, further, there]),
            cease(&[1], 7),
            "it could go on to 9 once that is signed"
        );
    }

    #[test]
    fn nothing_ends_while_enough_cores_count_or_somebody_has_not_been_asked() {
        let well = Standing { votes: true, ..at(5, None) };
        assert_eq!(next_of(&[well, well]), Step::Needless, "a quorum can let the third one in");
        assert_eq!(next_of(&[well, at(5, None)]), Step::Wait(them(&[2])));
        let behind = Standing { generation: Generation(3), ..well };
        assert_eq!(next_of(&[behind, behind, at(5, None)]), Step::Wait(them(&[0, 1])), "they will be shown");
    }

    #[test]
    fn a_rescue_goes_on_without_those_that_stand_apart_as_long_as_enough_are_left() {
        let there = at(7, Some(7));
        assert_eq!(left_out(&said(&[there, there]), SIZE), Some(them(&[2])));
        assert_eq!(left_out(&said(&[at(900, None), there, there]), SIZE), Some(them(&[0])));
        assert_eq!(left_out(&said(&[there, at(6, Some(7))]), SIZE), None);
        let step = next(&said(&[there, there]), SIZE, &them(&[2]));
        assert_eq!(step, Step::Sign { generation: Generation(4), slot: Slot(7) });
        assert_eq!(next(&said(&[there]), SIZE, &them(&[1, 2])), Step::Wait(them(&[])), "too few are left");
    }
}
