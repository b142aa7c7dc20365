//! What must never be, and what must sometimes be so that the former means something.

use std::collections::{BTreeMap, BTreeSet};

use smr_consensus::quorum::{Ballot, Phase};
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use crate::explore::{Expected, Property};
use crate::faulty::correct_in_quorum;
use crate::kit::{Case, Kit};
use crate::replica::{Key, Wrong};

/// Facts about a state, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Facts(u32);

/// What may be true of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Fact {
    Disagreement,
    Unproposed,
    Lost,
    TwoVotes,
    Refused,
    Panicked,
    DecidedInViewZero,
    DecidedLater,
    DecidedInTwoViews,
    Carried,
    Equivocated,
    Borrowed,
    Jumped,
    FaultyClaim,
    Nil,
}

type Keys<'a> = [(ReplicaId, &'a Key); 3];

impl Facts {
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    fn note(&mut self, fact: Fact, holds: bool) {
        self.0 |= u32::from(holds) << fact as u32;
    }

    pub(crate) fn of(kit: &Kit, all: Keys<'_>) -> Facts {
        let mut facts = Facts::default();
        facts.decisions(kit, all);
        facts.votes(kit, all);
        facts.beginnings(kit, all);
        let wrong = |is: fn(&Wrong) -> bool| all.iter().any(|(_, key)| key.wrong.as_ref().is_some_and(is));
        facts.note(Fact::Refused, wrong(|w| matches!(w, Wrong::Refused(_))));
        facts.note(Fact::Panicked, wrong(|w| matches!(w, Wrong::Panicked)));
        facts
    }

    fn decisions(&mut self, kit: &Kit, all: Keys<'_>) {
        let mut decided: BTreeMap<Slot, Ballot> = BTreeMap::new();
        for (_, key) in all {
            let early = key.outline.basis.places.iter().filter_map(|(_, place)| place.decision);
            for ballot in key.outline.basis.log.iter().copied().chain(early) {
                let first = decided.entry(ballot.slot).or_insert(ballot);
                self.note(Fact::Disagreement, first.digest != ballot.digest);
                self.note(Fact::DecidedInTwoViews, first.view != ballot.view);
                self.note(Fact::DecidedInViewZero, ballot.view == View(0));
                self.note(Fact::DecidedLater, ballot.view > View(0));
                self.note(Fact::Nil, ballot.digest == smr_consensus::Batch::nil().digest());
                self.note(Fact::Unproposed, !proposed(kit, all, &ballot));
            }
        }
    }

    fn votes(&mut self, kit: &Kit, all: Keys<'_>) {
        let mut prepared: BTreeMap<(View, Slot), BTreeSet<Digest>> = BTreeMap::new();
        for (_, key) in all {
            let mut own = BTreeSet::new();
            for Ballot { phase, view, slot, digest } in &key.sent.votes {
                self.note(Fact::TwoVotes, !own.insert((phase, view, slot)));
                if *phase == Phase::Prepare {
                    prepared.entry((*view, *slot)).or_default().insert(*digest);
                } else {
                    let ballot = Ballot { phase: Phase::Prepare, view: *view, slot: *slot, digest: *digest };
                    let correct = all.iter().filter(|(_, key)| key.voted(&ballot)).count();
                    self.note(Fact::Borrowed, correct < kit.group.quorum());
                }
            }
        }
        self.note(Fact::Equivocated, prepared.values().any(|digests| digests.len() > 1));
    }

    fn beginnings(&mut self, kit: &Kit, all: Keys<'_>) {
        let votes: BTreeSet<&Ballot> = all.iter().flat_map(|(_, key)| &key.sent.votes).collect();
        let commits = votes.into_iter().filter(|ballot| ballot.phase == Phase::Commit);
        let decidable: Vec<&Ballot> = commits
            .filter(|b| all.iter().filter(|(_, key)| key.voted(b)).count() >= correct_in_quorum(kit))
            .collect();
        for (_, Key { outline, sent, .. }) in all {
            if !outline.basis.installed || outline.basis.view == View(0) {
                continue;
            }
            let beginning = &outline.beginning;
            let binds =
                |b: &Ballot| b.slot <= beginning.decided || beginning.digests.get(&b.slot) == Some(&b.digest);
            self.note(Fact::Lost, decidable.iter().any(|b| b.view < outline.basis.view && !binds(b)));
            self.note(Fact::Jumped, !sent.changes.iter().any(|change| change.to == outline.basis.view));
            for (slot, place) in &outline.basis.places {
                let standing = place.proposal.filter(|(view, _)| *view == outline.basis.view);
                let bound = beginning.digests.get(slot);
                self.note(Fact::Carried, bound.is_some() && standing.map(|(_, d)| d).as_ref() == bound);
            }
            let claims = |slot: &Slot, digest: &Digest| {
                all.iter().flat_map(|(_, key)| &key.sent.changes).any(|change| {
                    change
                        .claims
                        .iter()
                        .chain(&change.commits)
                        .any(|b| b.slot == *slot && b.digest == *digest)
                })
            };
            let nil = smr_consensus::Batch::nil().digest();
            let faulty = |(s, d): (&Slot, &Digest)| *d != nil && !claims(s, d);
            self.note(Fact::FaultyClaim, beginning.digests.iter().any(faulty));
        }
    }
}

/// Whether the primary of the ballot's view proposed it, or could have if it is the faulty replica.
fn proposed(kit: &Kit, all: Keys<'_>, ballot: &Ballot) -> bool {
    let primary = kit.group.primary_of(ballot.view);
    let said = (ballot.view, ballot.slot, ballot.digest);
    let correct = all.iter().find(|(id, _)| *id == primary);
    correct.is_none_or(|(_, key)| key.sent.proposals.contains(&said))
}

fn never(name: &'static str, fact: Fact) -> Property {
    Property { name, fact: 1 << fact as u32, expected: Expected::Never }
}

fn sometimes(name: &'static str, fact: Fact) -> Property {
    Property { name, fact: 1 << fact as u32, expected: Expected::Sometimes }
}

impl Fact {
    /// The properties of a case: all violations, and what can be reached in it.
    pub(crate) fn properties(case: &Case) -> Vec<Property> {
        let mut properties = vec![
            never("correct replicas decide the same batch in a slot", Fact::Disagreement),
            never("only what the primary proposed is decided", Fact::Unproposed),
            never("what may be decided binds every later view", Fact::Lost),
            never("no correct replica votes twice in a slot, view and phase", Fact::TwoVotes),
            never("no correct replica sends what others refuse", Fact::Refused),
            never("no message stops a replica", Fact::Panicked),
            sometimes("a slot is decided in view 0", Fact::DecidedInViewZero),
            sometimes("a slot is decided in a later view", Fact::DecidedLater),
            sometimes("a slot is decided in one view here and in another there", Fact::DecidedInTwoViews),
            sometimes("a batch that may be decided is proposed again", Fact::Carried),
            sometimes("a quorum needs the faulty replica's vote", Fact::Borrowed),
            sometimes("a replica joins a view without having left the last", Fact::Jumped),
            sometimes("a view begins with what only the faulty replica claims", Fact::FaultyClaim),
        ];
        if case.faulty == 0 {
            properties.push(sometimes("two proposals for one place reach two replicas", Fact::Equivocated));
        }
        // With a window of one, a slot is not proposed before the last one is decided.
        if case.window > 1 {
            properties.push(sometimes("a slot is filled with nothing", Fact::Nil));
        }
        properties
    }
}
