//! What must never be, and what must sometimes be so that the former means something.

use std::collections::{BTreeMap, BTreeSet};

use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::{Item, Register};
use smr_consensus::lanes::schedule::Schedule;
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use crate::explore::{Expected, Property};
use crate::kit::{Case, Kit, Vote};
use crate::replica::{Acknowledged, Key, Openings, Wrong};
use crate::scene::{certified, certified_views, is_for};

/// Facts about a state, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Facts(u32);

/// What may be true of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Fact {
    Disagreement,
    TwoProposals,
    Unlocked,
    Groundless,
    Baseless,
    Beyond,
    Refused,
    Unscheduled,
    TwoBeginnings,
    Overexcluded,
    Grown,
    Panicked,
    DecidedInViewZero,
    DecidedLater,
    DecidedInTwoViews,
    Recovered,
    Skipped,
    Moved,
    Borrowed,
    Jumped,
    OnlyTheFaulty,
    Burned,
    Passed,
}

/// What one replica shows of which something may be true together with what others show.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Testimony {
    votes: BTreeSet<Vote>,
    openings: Openings,
    acknowledged: Acknowledged,
    /// For what its view changes say that somebody voted.
    reported: BTreeSet<Item>,
    decisions: BTreeSet<Register>,
    decided: Slot,
    /// The view it is in, and how that began.
    begun: Option<(View, Beginning)>,
}

impl Testimony {
    pub(crate) fn of(key: &Key) -> Testimony {
        let reports = key.said.changes.iter();
        let reported = reports.flat_map(|change| change.lanes.iter().flatten().chain(&change.commits));
        let installed = key.outline.as_ref().filter(|outline| outline.basis.installed);
        Testimony {
            votes: key.said.votes.clone(),
            openings: key.said.openings.clone(),
            acknowledged: key.said.acknowledged.clone(),
            reported: reported.map(|told| told.item).collect(),
            decisions: key.decisions().collect(),
            decided: key.decided(),
            begun: installed.map(|outline| (outline.basis.view, outline.beginning.clone())),
        }
    }
}

type All<'a> = [(ReplicaId, &'a Testimony); 3];

/// What had the right to be voted for, by view and slot.
type Rightful = BTreeMap<(View, Slot), BTreeSet<Digest>>;

impl Facts {
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    fn note(&mut self, fact: Fact, holds: bool) {
        self.0 |= u32::from(holds) << fact as u32;
    }

    /// What is true of one replica.
    pub(crate) fn of_one(kit: &Kit, key: &Key) -> Facts {
        let mut facts = Facts::default();
        let [_, _, nil] = kit.choices;
        for what in key.decisions() {
            facts.note(Fact::DecidedInViewZero, what.view == View(0));
            facts.note(Fact::DecidedLater, what.view > View(0));
            facts.note(Fact::Skipped, what.item.digest == nil);
        }
        if let Some(outline) = key.outline.as_ref().filter(|outline| outline.basis.installed) {
            let (view, begun) = (outline.basis.view, &outline.beginning);
            let left = key.said.changes.iter().any(|change| change.to == view);
            facts.note(Fact::Jumped, view > View(0) && !left);
            let named =
                |what: &Register| what.view == view && begun.at(what.item.slot) == Some(what.item.digest);
            facts.note(Fact::Recovered, key.decisions().any(|what| named(&what) && what.item.digest != nil));
            let mut lanes = outline.registers.lanes().iter().flatten();
            facts.note(Fact::Moved, lanes.any(|last| last.item.slot.0 > kit.case.window));
        }
        match &key.wrong {
            Some(Wrong::Refused(_)) => facts.note(Fact::Refused, true),
            Some(Wrong::Beyond(_)) => facts.note(Fact::Beyond, true),
            Some(Wrong::Grown(_)) => facts.note(Fact::Grown, true),
            Some(Wrong::Panicked) => facts.note(Fact::Panicked, true),
            None => {}
        }
        facts
    }

    /// What is true of all together.
    pub(crate) fn of_all(kit: &Kit, all: All<'_>) -> Facts {
        let mut facts = Facts::default();
        let certified = certified(kit, all.map(|(_, shown)| &shown.votes));
        let views = all.map(|(id, shown)| (id, &shown.openings, &shown.acknowledged));
        let begun = certified_views(kit, views);
        facts.decisions(kit, all, &certified);
        facts.rights(&rightful(kit, all, &begun), &certified);
        facts.views(kit, all, &begun);
        facts.burned(kit, all);
        facts
    }

    /// What a quorum voted for is decided, whether a correct replica knows it or not.
    fn decisions(&mut self, kit: &Kit, all: All<'_>, certified: &[Register]) {
        let mut digests: BTreeMap<Slot, BTreeSet<Digest>> = BTreeMap::new();
        let mut views: BTreeMap<Slot, BTreeSet<View>> = BTreeMap::new();
        let known = all.iter().flat_map(|(_, shown)| &shown.decisions);
        for Register { view, item } in certified.iter().chain(known) {
            digests.entry(item.slot).or_default().insert(item.digest);
            views.entry(item.slot).or_default().insert(*view);
        }
        self.note(Fact::Disagreement, digests.values().any(|digests| digests.len() > 1));
        self.note(Fact::DecidedInTwoViews, views.values().any(|views| views.len() > 1));
        let correct = |what: &Register| {
            let voted = |(id, shown): &&(ReplicaId, &Testimony)| {
                Some(*id) != kit.faulty() && is_for(&shown.votes, what)
            };
            all.iter().filter(voted).count()
        };
        self.note(Fact::Borrowed, certified.iter().any(|what| correct(what) < kit.group.quorum()));
    }

    fn rights(&mut self, rightful: &Rightful, certified: &[Register]) {
        self.note(Fact::TwoProposals, rightful.values().any(|digests| digests.len() > 1));
        for Register { view, item: Item { slot, digest } } in certified {
            let later = rightful.iter().filter(|((v, s), _)| v > view && s == slot);
            let all_bound = later.flat_map(|(_, digests)| digests).all(|other| other == digest);
            self.note(Fact::Unlocked, !all_bound);
            let is_rightful = rightful.get(&(*view, *slot)).is_some_and(|digests| digests.contains(digest));
            self.note(Fact::Groundless, !is_rightful);
        }
    }

    fn views(&mut self, kit: &Kit, all: All<'_>, begun: &[Beginning]) {
        let [_, _, nil] = kit.choices;
        let reported = |item: &Item| all.iter().any(|(_, shown)| shown.reported.contains(item));
        let known = all.iter().map(|(_, shown)| shown.decided).max().unwrap_or_default();
        for (place, beginning) in begun.iter().enumerate() {
            self.note(Fact::TwoBeginnings, begun[..place].iter().any(|other| other.view == beginning.view));
            self.note(Fact::Baseless, beginning.decided > known);
            let out = |e: &&smr_consensus::lanes::schedule::Exclusion| e.until > beginning.bound();
            let excluded = beginning.excluded.iter().filter(out).count();
            self.note(Fact::Overexcluded, excluded > usize::from(kit.group.faults));
            let mut named = beginning.items().filter(|item| item.digest != nil);
            self.note(Fact::OnlyTheFaulty, named.any(|item| !reported(&item)));
            let plain = Beginning { excluded: Vec::new(), ..beginning.clone() };
            let leads = |begun: &Beginning, slot| begun.leader(kit.case.schedule, &kit.group, slot);
            let mut above = kit.slots().filter(|slot| *slot > beginning.bound());
            let passed = |slot: Slot| {
                let votes = all.iter().filter(|(id, _)| leads(beginning, slot) == *id);
                let mut votes = votes.flat_map(|(_, shown)| &shown.votes);
                let proposed = votes.any(|v| v.view == beginning.view && v.proposes.contains(&slot));
                proposed && leads(beginning, slot) != leads(&plain, slot)
            };
            self.note(Fact::Passed, above.any(passed));
        }
        let mut first: BTreeMap<View, &Beginning> = BTreeMap::new();
        for (view, beginning) in all.iter().filter_map(|(_, shown)| shown.begun.as_ref()) {
            self.note(Fact::Unscheduled, *first.entry(*view).or_insert(beginning) != beginning);
        }
    }

    fn burned(&mut self, kit: &Kit, all: All<'_>) {
        let known = all.iter().map(|(_, shown)| shown.decided).max().unwrap_or_default();
        for (_, shown) in all.iter().filter(|(id, _)| Some(*id) == kit.faulty()) {
            let last = shown.votes.iter().flat_map(|vote| &vote.items).map(|item| item.slot).max();
            self.note(Fact::Burned, last.is_some_and(|last| last > known.plus(kit.case.window)));
        }
    }
}

/// What the beginning of a view names, and what was proposed by those whose turn it was.
fn rightful(kit: &Kit, all: All<'_>, begun: &[Beginning]) -> Rightful {
    let first = Beginning::default();
    let mut rightful = Rightful::new();
    for beginning in begun.iter().chain([&first]) {
        for item in beginning.items() {
            rightful.entry((beginning.view, item.slot)).or_default().insert(item.digest);
        }
        for slot in kit.slots().filter(|slot| *slot > beginning.bound()) {
            let leader = beginning.leader(kit.case.schedule, &kit.group, slot);
            let leads = all.iter().filter(|(id, _)| *id == leader);
            let votes = leads.flat_map(|(_, shown)| &shown.votes);
            let items = votes.filter(|vote| vote.view == beginning.view).flat_map(|vote| &vote.items);
            let here = items.filter(|item| item.slot == slot).map(|item| item.digest);
            rightful.entry((beginning.view, slot)).or_default().extend(here);
        }
    }
    rightful
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
            never("one batch is decided in a slot", Fact::Disagreement),
            never("one batch has the right to a slot of a view", Fact::TwoProposals),
            never(
                "what is decided has the right to its slot in later views, and nothing else has",
                Fact::Unlocked,
            ),
            never("what is decided had the right to its slot", Fact::Groundless),
            never("what a view takes as decided a correct replica has decided", Fact::Baseless),
            never("a correct replica votes at most a window above what it decided", Fact::Beyond),
            never("no correct replica sends what others refuse", Fact::Refused),
            never("replicas in a view give the same replicas turns", Fact::Unscheduled),
            never("a view begins in one way", Fact::TwoBeginnings),
            never("at most f replicas get no turns", Fact::Overexcluded),
            never("what a correct replica remembers is bounded", Fact::Grown),
            never("no message stops a replica", Fact::Panicked),
            sometimes("a slot is decided in view 0", Fact::DecidedInViewZero),
            sometimes("a slot is decided in a later view", Fact::DecidedLater),
            sometimes("a slot is decided in one view and again in another", Fact::DecidedInTwoViews),
            sometimes(
                "a batch of an earlier view is decided because the view's beginning names it",
                Fact::Recovered,
            ),
            sometimes("a replica joins a view without having left the last", Fact::Jumped),
        ];
        if case.slots > case.window {
            properties.push(sometimes("a lane of a correct replica has moved on", Fact::Moved));
        }
        if case.faulty.is_some() {
            properties.push(sometimes("a quorum needs the faulty replica's vote", Fact::Borrowed));
            if case.slots > case.window {
                properties.push(sometimes("the faulty replica's lane hides an open slot", Fact::Burned));
            }
        }
        if case.faulty_proposes() {
            properties.push(sometimes(
                "a view begins with what only the faulty replica reports",
                Fact::OnlyTheFaulty,
            ));
        }
        if case.faulty_proposes() || case.window > 1 {
            properties.push(sometimes("a slot is filled with nothing", Fact::Skipped));
        }
        if case.schedule == Schedule::Rotating && case.slots > 1 {
            properties.push(sometimes("somebody has the turn of one who gets none", Fact::Passed));
        }
        properties
    }
}
