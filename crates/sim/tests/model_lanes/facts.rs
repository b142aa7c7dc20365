//! What must never be, and what must sometimes be so that the former means something.

use std::collections::{BTreeMap, BTreeSet};

use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::{Item, Register};
use smr_consensus::lanes::schedule::Schedule;
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};
use stateright::Property;

use crate::kit::{Case, Kit};
use crate::replica::{Key, Wrong};
use crate::scene::{certified, certified_views};
use crate::system::{State, System};

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

/// Violations: the first few facts.
const VIOLATIONS: u32 = (1 << Fact::DecidedInViewZero as u32) - 1;

type Keys<'a> = [(ReplicaId, &'a Key); 3];

/// What had the right to be voted for, by view and slot.
type Rightful = BTreeMap<(View, Slot), BTreeSet<Digest>>;

impl Facts {
    pub(crate) fn has(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u32) != 0
    }

    pub(crate) fn has_violation(self) -> bool {
        self.0 & VIOLATIONS != 0
    }

    fn note(&mut self, fact: Fact, holds: bool) {
        self.0 |= u32::from(holds) << fact as u32;
    }

    pub(crate) fn of(kit: &Kit, all: Keys<'_>) -> Facts {
        let mut facts = Facts::default();
        let (certified, begun) = (certified(kit, all), certified_views(kit, all));
        facts.decisions(kit, all, &certified);
        facts.rights(&rightful(kit, all, &begun), &certified);
        facts.views(kit, all, &begun);
        facts.replicas(kit, all);
        let wrong = |is: fn(&Wrong) -> bool| all.iter().any(|(_, key)| key.wrong.as_ref().is_some_and(is));
        facts.note(Fact::Refused, wrong(|w| matches!(w, Wrong::Refused(_))));
        facts.note(Fact::Beyond, wrong(|w| matches!(w, Wrong::Beyond(_))));
        facts.note(Fact::Grown, wrong(|w| matches!(w, Wrong::Grown(_))));
        facts.note(Fact::Panicked, wrong(|w| matches!(w, Wrong::Panicked)));
        facts
    }

    /// What a quorum voted for is decided, whether a correct replica knows it or not.
    fn decisions(&mut self, kit: &Kit, all: Keys<'_>, certified: &[Register]) {
        let mut digests: BTreeMap<Slot, BTreeSet<Digest>> = BTreeMap::new();
        let mut views: BTreeMap<Slot, BTreeSet<View>> = BTreeMap::new();
        let known: Vec<Register> = all.iter().flat_map(|(_, key)| key.decisions()).collect();
        for Register { view, item } in certified.iter().chain(&known) {
            digests.entry(item.slot).or_default().insert(item.digest);
            views.entry(item.slot).or_default().insert(*view);
        }
        self.note(Fact::Disagreement, digests.values().any(|digests| digests.len() > 1));
        self.note(Fact::DecidedInTwoViews, views.values().any(|views| views.len() > 1));
        self.note(Fact::DecidedInViewZero, known.iter().any(|what| what.view == View(0)));
        self.note(Fact::DecidedLater, known.iter().any(|what| what.view > View(0)));
        let [_, _, nil] = kit.choices;
        self.note(Fact::Skipped, known.iter().any(|what| what.item.digest == nil));
        let correct = |what: &Register| {
            let voted = |(id, key): &&(ReplicaId, &Key)| Some(*id) != kit.faulty() && key.said.voted(what);
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

    fn views(&mut self, kit: &Kit, all: Keys<'_>, begun: &[Beginning]) {
        let [_, _, nil] = kit.choices;
        let reported = |item: &Item| {
            let changes = all.iter().flat_map(|(_, key)| &key.said.changes);
            let told = |what: &Register| what.item == *item;
            changes.clone().flat_map(|change| change.lanes.iter().flatten()).any(told)
                || changes.flat_map(|change| &change.commits).any(told)
        };
        let known = all.iter().map(|(_, key)| key.decided()).max().unwrap_or_default();
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
                let mut votes = votes.flat_map(|(_, key)| &key.said.votes);
                let proposed = votes.any(|v| v.view == beginning.view && v.proposes.contains(&slot));
                proposed && leads(beginning, slot) != leads(&plain, slot)
            };
            self.note(Fact::Passed, above.any(passed));
        }
    }

    fn replicas(&mut self, kit: &Kit, all: Keys<'_>) {
        let outlines = || all.iter().filter_map(|(_, key)| Some((key, key.outline.as_ref()?)));
        let mut views: BTreeMap<View, &Beginning> = BTreeMap::new();
        for (key, outline) in outlines().filter(|(_, outline)| outline.basis.installed) {
            let first = *views.entry(outline.basis.view).or_insert(&outline.beginning);
            self.note(Fact::Unscheduled, *first != outline.beginning);
            let left = key.said.changes.iter().any(|change| change.to == outline.basis.view);
            self.note(Fact::Jumped, outline.basis.view > View(0) && !left);
            let begun = &outline.beginning;
            let bound = |what: &Register| {
                what.view == outline.basis.view && begun.at(what.item.slot) == Some(what.item.digest)
            };
            let [_, _, nil] = kit.choices;
            let recovered = key.decisions().any(|what| bound(&what) && what.item.digest != nil);
            self.note(Fact::Recovered, recovered);
            let lanes = || outline.registers.lanes().iter().flatten();
            let moved = lanes().any(|last| last.item.slot.0 > kit.case.window);
            self.note(Fact::Moved, moved);
        }
        for (_, key) in all.iter().filter(|(id, _)| Some(*id) == kit.faulty()) {
            let slots: BTreeSet<Slot> =
                key.said.votes.iter().flat_map(|v| &v.items).map(|item| item.slot).collect();
            let known = all.iter().map(|(_, key)| key.decided()).max().unwrap_or_default();
            let burned = slots.last().is_some_and(|last| *last > known.plus(kit.case.window));
            self.note(Fact::Burned, burned);
        }
    }
}

/// What the beginning of a view names, and what was proposed by those whose turn it was.
fn rightful(kit: &Kit, all: Keys<'_>, begun: &[Beginning]) -> Rightful {
    let first = Beginning::default();
    let mut rightful = Rightful::new();
    for beginning in begun.iter().chain([&first]) {
        for item in beginning.items() {
            rightful.entry((beginning.view, item.slot)).or_default().insert(item.digest);
        }
        for slot in kit.slots().filter(|slot| *slot > beginning.bound()) {
            let leader = beginning.leader(kit.case.schedule, &kit.group, slot);
            let leads = all.iter().filter(|(id, _)| *id == leader);
            let votes = leads.flat_map(|(_, key)| &key.said.votes);
            let items = votes.filter(|vote| vote.view == beginning.view).flat_map(|vote| &vote.items);
            let here = items.filter(|item| item.slot == slot).map(|item| item.digest);
            rightful.entry((beginning.view, slot)).or_default().extend(here);
        }
    }
    rightful
}

macro_rules! never {
    ($name:literal, $fact:ident) => {
        Property::always($name, |system: &System, state: &State| !system.facts(state).has(Fact::$fact))
    };
}

macro_rules! sometimes {
    ($name:literal, $fact:ident) => {
        Property::sometimes($name, |system: &System, state: &State| system.facts(state).has(Fact::$fact))
    };
}

impl Fact {
    /// The properties of a case: all violations, and what can be reached in it.
    pub(crate) fn properties(case: &Case) -> Vec<Property<System>> {
        let mut properties = vec![
            never!("one batch is decided in a slot", Disagreement),
            never!("one batch has the right to a slot of a view", TwoProposals),
            never!(
                "what is decided has the right to its slot in later views, and nothing else has",
                Unlocked
            ),
            never!("what is decided had the right to its slot", Groundless),
            never!("what a view takes as decided a correct replica has decided", Baseless),
            never!("a correct replica votes at most a window above what it decided", Beyond),
            never!("no correct replica sends what others refuse", Refused),
            never!("replicas in a view give the same replicas turns", Unscheduled),
            never!("a view begins in one way", TwoBeginnings),
            never!("at most f replicas get no turns", Overexcluded),
            never!("what a correct replica remembers is bounded", Grown),
            never!("no message stops a replica", Panicked),
            sometimes!("a slot is decided in view 0", DecidedInViewZero),
            sometimes!("a slot is decided in a later view", DecidedLater),
            sometimes!("a slot is decided in one view and again in another", DecidedInTwoViews),
            sometimes!(
                "a batch of an earlier view is decided because the view's beginning names it",
                Recovered
            ),
            sometimes!("a replica joins a view without having left the last", Jumped),
        ];
        if case.slots > case.window {
            properties.push(sometimes!("a lane of a correct replica has moved on", Moved));
        }
        if case.faulty.is_some() {
            properties.push(sometimes!("a quorum needs the faulty replica's vote", Borrowed));
            if case.slots > case.window {
                properties.push(sometimes!("the faulty replica's lane hides an open slot", Burned));
            }
        }
        if case.faulty_proposes() {
            properties
                .push(sometimes!("a view begins with what only the faulty replica reports", OnlyTheFaulty));
        }
        if case.faulty_proposes() || case.window > 1 {
            properties.push(sometimes!("a slot is filled with nothing", Skipped));
        }
        if case.schedule == Schedule::Rotating && case.slots > 1 {
            properties.push(sometimes!("somebody has the turn of one who gets none", Passed));
        }
        properties
    }
}
