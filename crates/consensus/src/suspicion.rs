//! When enough replicas want the next primary. A replica leaves a view only when f+1 say so, so no faulty one can
//! make the others change primaries, and it shows their signatures to everyone, so that none is left behind alone.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Signature;
use smr_wire::{ReplicaId, View};

use crate::group::{Group, Seat};
use crate::known_bugs;
use crate::verified::{Refused, Rules};

/// "I want to be in view `wants` or a later one", signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Suspect {
    /// Who says it.
    pub author: ReplicaId,
    /// The least view it still wants.
    pub wants: View,
    /// The author's.
    pub signature: Signature,
}

impl Suspect {
    /// This seat's wish for `wants`.
    #[must_use]
    pub fn sign(seat: &Seat, wants: View) -> Suspect {
        let signature = seat.sign(&Suspect::statement(&seat.group, seat.me, wants));
        Suspect { author: seat.me, wants, signature }
    }

    /// Whether its author said so.
    ///
    /// # Errors
    /// [`Refused::Signature`].
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let statement = Suspect::statement(rules.group, self.author, self.wants);
        if rules.group.signed_by(self.author, &statement, &self.signature, rules.verifier) {
            Ok(())
        } else {
            Err(Refused::Signature)
        }
    }

    fn statement(group: &Group, author: ReplicaId, wants: View) -> smr_crypto::Digest {
        group.statement("SMRCLOUD-SUSPECT-V1", &(author, wants))
    }
}

/// The highest wish of each replica.
#[derive(Clone, Debug, Default)]
pub struct Suspicion(BTreeMap<ReplicaId, Suspect>);

impl Suspicion {
    /// Notes a wish.
    pub fn add(&mut self, suspect: Suspect) {
        let newer = self.0.get(&suspect.author).is_none_or(|kept| kept.wants < suspect.wants);
        if newer {
            self.0.insert(suspect.author, suspect);
        }
    }

    /// The view that `replica` wants at least.
    #[must_use]
    pub fn wish_of(&self, replica: ReplicaId) -> View {
        self.0.get(&replica).map(|suspect| suspect.wants).unwrap_or_default()
    }

    /// The view that each replica wants at least, of those that said so.
    pub fn wishes(&self) -> impl Iterator<Item = (ReplicaId, View)> {
        self.0.iter().map(|(author, suspect)| (*author, suspect.wants))
    }

    /// What a replica that is in `view`, or on the way to it, says once a period: its own wish for a later one; and, while
    /// the view has not begun for it, the wishes of others on which it left the last one. Whoever has not heard them may
    /// stay there for ever otherwise, with nothing to do that would show it.
    #[must_use]
    pub fn to_show(&self, seat: &Seat, view: View, installed: bool) -> Vec<Suspect> {
        let own = self.wish_of(seat.me);
        if installed && own <= view {
            return Vec::new();
        }
        let mut wishes = vec![Suspect::sign(seat, own)];
        if !installed {
            let left = View(view.0.saturating_sub(1));
            let left_on = self.target(left, &seat.group).map_or(Vec::new(), |(_, wishes)| wishes);
            wishes.extend(left_on.into_iter().filter(|wish| wish.author != seat.me));
        }
        wishes
    }

    /// The highest view that f+1 replicas want at least, with their f+1 signed wishes; none if it is not above
    /// `current`.
    #[must_use]
    pub fn target(&self, current: View, group: &Group) -> Option<(View, Vec<Suspect>)> {
        let mut wishes: Vec<Suspect> = self.0.values().copied().filter(|s| s.wants > current).collect();
        wishes.sort_by_key(|suspect| std::cmp::Reverse(suspect.wants));
        let needed = if known_bugs::ONE_SUSPECT_IS_ENOUGH.is_on() { 1 } else { group.one_correct() };
        wishes.truncate(needed);
        let enough = wishes.len() == needed;
        wishes.last().filter(|_| enough).map(|least| least.wants).map(|view| (view, wishes))
    }
}

/// Waiting times that double with each view that fails and recover as slots are decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failed: u32,
    calm_slots: u64,
}

/// Doublings at most: 64 times the first wait.
const DOUBLINGS_MAX: u32 = 6;

impl Backoff {
    /// `base_ms`, doubled for each failed view that is not yet made up for.
    #[must_use]
    pub fn scale_ms(&self, base_ms: u64) -> u64 {
        base_ms << self.failed
    }

    /// A view failed.
    pub fn failed(&mut self) {
        self.failed = (self.failed + 1).min(DOUBLINGS_MAX);
        self.calm_slots = 0;
    }

    /// A slot was decided; `calm_slots_needed` of them make up for one failed view.
    pub fn decided(&mut self, calm_slots_needed: u64) {
        self.calm_slots += 1;
        if self.calm_slots >= calm_slots_needed {
            self.calm_slots = 0;
            self.failed = self.failed.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbft::tests::{group_of_four, seat};

    #[test]
    fn f_plus_one_wishes_move_and_one_does_not() {
        let (group, _) = group_of_four();
        let mut suspicion = Suspicion::default();
        suspicion.add(Suspect::sign(&seat(1), View(9)));
        assert_eq!(suspicion.target(View(0), &group), None);
        suspicion.add(Suspect::sign(&seat(2), View(3)));
        let (view, proof) = suspicion.target(View(0), &group).expect("two of four");
        assert_eq!((view, proof.len()), (View(3), 2));
        assert_eq!(suspicion.target(View(3), &group), None);
        suspicion.add(Suspect::sign(&seat(2), View(2)));
        assert_eq!(suspicion.wish_of(ReplicaId(2)), View(3));
    }

    #[test]
    fn waiting_grows_to_a_bound_and_recovers() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.failed();
        }
        assert_eq!(backoff.scale_ms(100), 6400);
        for _ in 0..12 {
            backoff.decided(2);
        }
        assert_eq!(backoff.scale_ms(100), 100);
    }
}
