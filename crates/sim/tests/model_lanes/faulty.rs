//! The faulty replica: what its core says, which is all that it cannot make up, and everything else it can send.

use std::collections::BTreeSet;

use smr_consensus::lanes::ChangeOutline;
use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::{Item, Operation, Register, SoftwareCore};
use smr_consensus::lanes::schedule::Schedule;
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use crate::choices::{complete, selections};
use crate::ear::{Ear, Votes};
use crate::kit::{Kit, Steps, Vote};
use crate::replica::{Key, Move};
use crate::scene::{Scene, is_for};

/// The faulty replica.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    core: SoftwareCore,
    pub(crate) key: Key,
}

impl Faulty {
    pub(crate) fn new(id: ReplicaId, kit: &Kit) -> Faulty {
        let core = kit.core(id).expect("the faulty one has a core");
        Faulty { core, key: Key::new(id) }
    }

    /// This replica after a step, if its core agrees to it.
    pub(crate) fn after(&self, step: &Move, kit: &Kit) -> Option<Faulty> {
        let mut next = self.clone();
        let operation = match step {
            Move::Endorse(view, item) => Operation::Endorse { view: *view, items: vec![*item] },
            Move::Leave(to) => Operation::Leave { to: *to },
            Move::Open(opening) => {
                Operation::Begin { view: opening.beginning.view, digest: kit.opening_digest(opening) }
            }
            Move::Patience | Move::NewViewTimeout | Move::Answer | Move::Hear(_) => {
                unreachable!("it needs no reason")
            }
        };
        next.core.attest(&operation).ok()?;
        let said = &mut next.key.said;
        match step {
            Move::Endorse(view, item) => {
                said.votes.insert(Vote { view: *view, items: vec![*item], proposes: Vec::new() });
            }
            Move::Leave(to) => {
                said.reports.insert((*to, next.core.registers().lanes().to_vec()));
            }
            Move::Open(opening) => {
                said.openings.insert(opening.clone());
            }
            Move::Patience | Move::NewViewTimeout | Move::Answer | Move::Hear(_) => {}
        }
        Some(next)
    }

    /// What its steps depend on.
    pub(crate) fn ear(&self, kit: &Kit) -> Ear {
        let (view, begun) = (self.core.registers().floor(), self.core.registers().begun());
        let begins = begun < view && kit.group.primary_of(view) == self.key.id;
        Ear {
            votes: Votes::In(view),
            views: (view, view),
            wishes: None,
            coordinates: Some(view).filter(|_| begins).into_iter().collect(),
            wide: false,
        }
    }

    /// What it may ask its core for.
    pub(crate) fn moves(&self, scene: &Scene<'_>) -> Vec<Move> {
        let (kit, view) = (scene.kit, self.core.registers().floor());
        // Its core may leave for one view after the other, as a report more takes nothing from it.
        let last = if kit.case.steps == Steps::All { kit.case.views } else { kit.case.views.min(view.0 + 2) };
        let mut moves: Vec<Move> = (view.0 + 1..last).map(|to| Move::Leave(View(to))).collect();
        for slot in kit.slots() {
            let items = self.digests(scene, view, slot).into_iter().map(|digest| Item { slot, digest });
            moves.extend(items.map(|item| Move::Endorse(view, item)));
        }
        if view > View(0) && kit.group.primary_of(view) == self.key.id {
            let sets = selections(&scene.all_changes(view)).into_iter();
            let quorums = sets.filter(|set| set.len() == kit.group.quorum());
            let openings: BTreeSet<_> = quorums.map(|set| scene.opening(view, set)).collect();
            moves.extend(openings.into_iter().map(Move::Open));
        }
        moves
    }

    /// What it may vote for: whatever others voted for there, and what it likes. Its second batch differs from the first in
    /// nothing, so it takes the first one first. In the last view, of which nobody reports, and in a slot that is not its
    /// own, a vote does nothing but make a quorum with another one.
    fn digests(&self, scene: &Scene<'_>, view: View, slot: Slot) -> BTreeSet<Digest> {
        let [one, other, nil] = scene.kit.choices;
        let votes = scene.others().flat_map(|(_, said)| &said.votes).filter(|vote| vote.view == view);
        let here = votes.flat_map(|vote| &vote.items).filter(|item| item.slot == slot);
        let here: BTreeSet<Digest> = here.map(|item| item.digest).collect();
        let counts_only = view.next().0 == scene.kit.case.views && !self.leads(scene, view, slot);
        if counts_only && scene.kit.case.steps == Steps::Fewest {
            return here;
        }
        let begun = scene.certified_views.iter().filter(|begun| begun.view == view);
        let named = begun.filter_map(|begun| begun.at(slot));
        let used = self.key.said.votes.iter().any(|vote| vote.items.iter().any(|item| item.digest == one));
        here.into_iter().chain(named).chain([one, nil]).chain(used.then_some(other)).collect()
    }
}

impl Faulty {
    /// Whether it may be its turn, however the view began.
    fn leads(&self, scene: &Scene<'_>, view: View, slot: Slot) -> bool {
        let first = Beginning::default();
        let begun = scene.certified_views.iter().filter(|begun| begun.view == view);
        let mut begun = begun.chain(Some(&first).filter(|_| view == View(0)));
        begun.any(|begun| begun.leader(scene.kit.case.schedule, &scene.kit.group, slot) == self.key.id)
    }
}

impl Scene<'_> {
    /// Every view change that the faulty replica can make of what its core reports: with any decided prefix that can be
    /// shown, and any of the views that began. Grounds are the right ones if there are any; otherwise it says that the
    /// view's beginning names it, or that it proposed it itself.
    pub(crate) fn faulty_changes(&self, to: View) -> Vec<ChangeOutline> {
        let mut changes = Vec::new();
        let Some((author, said)) = self.all.iter().find(|(id, _)| Some(*id) == self.kit.faulty()) else {
            return changes;
        };
        let views: Vec<Vec<_>> = (1..to.0)
            .map(|view| self.certified_views.iter().filter(|b| b.view == View(view)).cloned().collect())
            .collect();
        let mut shown = selections(&views);
        shown.push(Vec::new());
        for (_, lanes) in said.reports.iter().filter(|(left_for, _)| *left_for == to) {
            for (decided, commits) in self.prefixes() {
                for views in &shown {
                    let mut change = ChangeOutline {
                        author: *author,
                        to,
                        lanes: lanes.clone(),
                        blames: None,
                        decided,
                        checkpoint: Slot(0),
                        commits: commits.clone(),
                        grounds: Vec::new(),
                        views: views.clone(),
                    };
                    change.grounds = self.grounds(&change);
                    let own = change.grounds.iter().map(|by| by.or(Some(*author))).collect();
                    changes.push(ChangeOutline { grounds: own, ..change.clone() });
                    // Where turns go round it may want a correct replica to lose its own.
                    if self.kit.case.schedule == Schedule::Rotating {
                        let other = self.kit.group.members().find(|id| id != author);
                        changes.push(ChangeOutline { blames: other, ..change.clone() });
                    }
                    changes.push(change);
                }
            }
        }
        changes.sort_unstable();
        changes.dedup();
        changes.retain(|change| self.kit.accepts(change));
        changes
    }

    /// Prefixes that can be shown to be decided, with what shows it; and those that cannot.
    fn prefixes(&self) -> Vec<(Slot, Vec<Register>)> {
        let mut prefixes = Vec::new();
        for decided in Slot(0).up_to(Slot(self.kit.case.slots)).chain([Slot(0)]) {
            let shown = decided.minus(self.kit.case.window).up_to(decided);
            let of = |slot| self.certified.iter().filter(|what| what.item.slot == slot).copied().collect();
            let proofs = complete(&shown.map(of).collect::<Vec<Vec<_>>>());
            prefixes.extend(proofs.into_iter().map(|proof| (decided, proof)));
            prefixes.push((decided, Vec::new()));
        }
        prefixes.sort();
        prefixes.dedup();
        prefixes
    }

    fn grounds(&self, change: &ChangeOutline) -> Vec<Option<ReplicaId>> {
        let mut open: Vec<_> =
            change.lanes.iter().flatten().filter(|vote| vote.item.slot > change.decided).collect();
        open.sort_unstable_by_key(|vote| vote.item.slot);
        let first = Beginning::default();
        let ground = |vote: &&Register| {
            let begun = change.views.iter().chain([&first]).find(|begun| begun.view == vote.view)?;
            let leader = begun.leader(self.kit.case.schedule, &self.kit.group, vote.item.slot);
            let named = vote.item.slot <= begun.bound();
            let proposed = self.all.iter().any(|(id, said)| *id == leader && is_for(&said.votes, vote));
            Some(leader).filter(|_| proposed && !named)
        };
        open.iter().map(ground).collect()
    }
}
