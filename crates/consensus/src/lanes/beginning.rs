//! How a view begins: what replicas tell of the one they left, what follows from a quorum of that, and the proof that
//! a quorum saw it follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::{Digest, Signature};
use smr_wire::{ReplicaId, Slot, View};

use super::core::{Item, Register};
use super::message::{Endorsement, PrefixProof, check_core, scope};
use super::schedule::{Exclusion, Schedule, exclude, leader};
use crate::batch::Batch;
use crate::group::{Group, Seat};
use crate::known_bugs;
use crate::quorum::check_signatures;
use crate::verified::{Refused, Rules};

/// How a view begins: what stands in slots in which something may have been decided, and who gets no turns.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Beginning {
    /// Which view.
    pub view: View,
    /// Everything up to here is decided, and a correct replica can serve it.
    pub decided: Slot,
    /// What may have been decided above; [`Batch::nil`] where nothing can have been. Nobody proposes in these slots.
    pub digests: Vec<Digest>,
    /// Who gets no turns until when, in the order in which they were blamed.
    pub excluded: Vec<Exclusion>,
}

impl Beginning {
    /// The last slot in which nobody proposes.
    #[must_use]
    pub fn bound(&self) -> Slot {
        self.decided.plus(self.digests.len() as u64)
    }

    /// What stands in `slot`, if the beginning says so.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<Digest> {
        let place = slot.since(self.decided).checked_sub(1)?;
        usize::try_from(place).ok().and_then(|place| self.digests.get(place)).copied()
    }

    /// The slots that it binds, with what stands there.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let slots = self.decided.up_to(self.bound());
        slots.zip(&self.digests).map(|(slot, digest)| Item { slot, digest: *digest })
    }

    /// Who proposes in `slot`, above the bound.
    #[must_use]
    pub fn leader(&self, schedule: Schedule, group: &Group, slot: Slot) -> ReplicaId {
        leader(schedule, group, self.view, &self.excluded, slot)
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("SMRCLOUD-BEGINNING-V1", self)
    }
}

/// A quorum that saw a beginning follow: a correct replica is among it, so it does. The view has begun.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ViewCertificate {
    /// How the view begins.
    pub beginning: Beginning,
    /// Exactly a quorum, in ascending order of author.
    pub votes: Vec<(ReplicaId, Signature)>,
}

impl ViewCertificate {
    /// What an acknowledgement signs.
    #[must_use]
    pub fn statement(view: View, digest: &Digest, group: &Group) -> Digest {
        group.statement("SMRCLOUD-BEGUN-V1", &(view, digest))
    }

    /// How many acknowledgements it takes.
    pub(super) fn votes_needed(group: &Group) -> usize {
        if known_bugs::ONE_WORD_BEGINS_A_VIEW.is_on() { 1 } else { group.quorum() }
    }

    /// Whether a quorum acknowledged it.
    ///
    /// # Errors
    /// [`Refused::Certificate`] or [`Refused::Shape`].
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let fits = self.beginning.digests.len() as u64 <= 2 * rules.config.window_slots;
        if !fits || self.beginning.excluded.len() > rules.group.size() {
            return Err(Refused::Shape);
        }
        let statement = Self::statement(self.beginning.view, &self.beginning.digest(), rules.group);
        check_signatures(&self.votes, Self::votes_needed(rules.group), &statement, rules)
    }
}

/// Why a vote that a core reports was right.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Ground {
    /// This replica proposed it, whose turn it was.
    Proposed(ReplicaId, Arc<Endorsement>),
    /// The view's beginning says so.
    Recovered,
}

impl Ground {
    /// Of a vote for what this replica proposed, as its vote shows; or for what a view's beginning says.
    pub(super) fn of(proposer: Option<(ReplicaId, Arc<Endorsement>)>) -> Ground {
        proposer.map_or(Ground::Recovered, |(by, proposal)| Ground::Proposed(by, proposal))
    }
}

/// What a replica that left a view knows.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ViewChange {
    /// Who says it.
    pub author: ReplicaId,
    /// The view it is on its way to.
    pub to: View,
    /// The last vote in each lane, as its core reports.
    pub lanes: Vec<Option<Register>>,
    /// The core's, over the view and the lanes.
    pub report: Signature,
    /// Whose turns held it up, if it left for that; see [`NewView::beginning`].
    pub blames: Option<ReplicaId>,
    /// The last slot of its decided prefix.
    pub decided: Slot,
    /// That it is.
    pub proof: PrefixProof,
    /// For each vote above, in order of slots, why it was right.
    pub grounds: Vec<Ground>,
    /// The views that those votes were in, and the last that began for the author; but for the first of all.
    pub views: Vec<ViewCertificate>,
    /// The author's, over all of the above.
    pub signature: Signature,
}

impl ViewChange {
    /// Signs the rest.
    #[must_use]
    pub fn signed(mut self, seat: &Seat) -> ViewChange {
        self.signature = seat.sign(&self.statement(&seat.group));
        self
    }

    fn statement(&self, group: &Group) -> Digest {
        group.statement(
            "SMRCLOUD-LANES-CHANGE-V1",
            &(
                self.author,
                self.to,
                &self.lanes,
                &self.report,
                self.blames,
                self.decided,
                &self.proof,
                &self.grounds,
                &self.views,
            ),
        )
    }

    /// The votes above the decided prefix, in order of slots. Others are for slots that are decided.
    #[must_use]
    pub fn open(&self) -> Vec<Register> {
        let above = self.lanes.iter().flatten().filter(|vote| vote.item.slot > self.decided);
        let mut open: Vec<Register> = above.copied().collect();
        open.sort_unstable_by_key(|vote| vote.item.slot);
        open
    }

    /// What may have been decided, as far as this replica knows: above the base of its proof.
    pub(super) fn claims(&self) -> impl Iterator<Item = (View, Item)> {
        let commits = self.proof.commits.iter().map(|commit| (commit.view, commit.item));
        commits.chain(self.open().into_iter().map(|vote| (vote.view, vote.item)))
    }

    /// Whether it is what it claims to be, but for the rights of whoever proposed; see [`ViewChange::is_right`].
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let window = rules.config.window_slots;
        let of_us = self.blames.is_none_or(|blamed| rules.group.contains(blamed));
        let shaped = self.to > View(0) && self.lanes.len() as u64 == window && of_us;
        let in_lanes = self.lanes.iter().zip(0..).all(|(vote, lane)| {
            vote.is_none_or(|vote| vote.item.slot.0 % window == lane && vote.view < self.to)
        });
        let open = self.open();
        // Who votes in a slot has decided the one a window below.
        let within = open.last().is_none_or(|vote| vote.item.slot.since(self.decided) <= window)
            || known_bugs::PREFIX_NEEDS_NO_PROOF.is_on();
        let views = self.views.windows(2).all(|pair| pair[0].beginning.view < pair[1].beginning.view);
        let few = self.views.len() <= open.len() + 1
            && self.views.iter().all(|view| view.beginning.view > View(0) && view.beginning.view < self.to);
        if !shaped || !in_lanes || !within || !views || !few || self.grounds.len() != open.len() {
            return Err(Refused::Shape);
        }
        let statement = self.statement(rules.group);
        if !rules.group.signed_by(self.author, &statement, &self.signature, rules.verifier) {
            return Err(Refused::Signature);
        }
        let core = scope(self.author, rules);
        check_core(&core, &core.leave(self.to, &self.lanes), &self.report, rules)?;
        for ground in &self.grounds {
            if let Ground::Proposed(by, proposal) = ground {
                proposal.check(*by, rules)?;
            }
        }
        if !known_bugs::PREFIX_NEEDS_NO_PROOF.is_on() {
            self.proof.check(self.decided, rules)?;
        }
        self.views.iter().try_for_each(|view| view.check(rules))
    }

    /// Whether each vote that the core reports above the decided prefix was right: in a view that had begun, for what
    /// the beginning names or the one whose turn it was proposed. Otherwise a faulty replica and its core could make
    /// something look as if it had been decided.
    #[must_use]
    pub fn is_right(&self, schedule: Schedule, group: &Group) -> bool {
        if known_bugs::VOTES_NEED_NO_GROUND.is_on() {
            return true;
        }
        let first = Beginning::default();
        self.open().iter().zip(&self.grounds).all(|(vote, ground)| {
            let begun = if vote.view == View(0) { Some(&first) } else { self.view(vote.view) };
            begun.is_some_and(|begun| is_ground(vote, ground, begun, schedule, group))
        })
    }

    /// How this view began, as it shows.
    fn view(&self, view: View) -> Option<&Beginning> {
        self.views.iter().map(|certificate| &certificate.beginning).find(|begun| begun.view == view)
    }
}

fn is_ground(vote: &Register, ground: &Ground, begun: &Beginning, schedule: Schedule, group: &Group) -> bool {
    let Register { view, item: Item { slot, digest } } = *vote;
    match ground {
        Ground::Recovered => begun.at(slot) == Some(digest),
        Ground::Proposed(by, proposal) => {
            slot > begun.bound()
                && *by == begun.leader(schedule, group, slot)
                && proposal.view == view
                && proposal.covers(slot, &digest)
        }
    }
}

/// A quorum of view changes, from which everyone can compute how the view begins. Not all quorums give the same
/// beginning, so the core of the view's coordinator signs which it is, once.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct NewView {
    /// Which view.
    pub view: View,
    /// Exactly a quorum, in ascending order of author.
    pub changes: Vec<ViewChange>,
    /// The coordinator's core's, over all of the above.
    pub attestation: Signature,
}

impl NewView {
    /// What the coordinator's core is shown of it.
    #[must_use]
    pub fn digest(view: View, changes: &[ViewChange]) -> Digest {
        Digest::of_value("SMRCLOUD-LANES-NEW-VIEW-V1", &(view, changes))
    }

    /// Whether it is what it claims to be, but for what needs the schedule.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        let distinct = self.changes.windows(2).all(|pair| pair[0].author < pair[1].author);
        let for_it = self.changes.iter().all(|change| change.to == self.view);
        if self.changes.len() != rules.group.quorum() || !distinct || !for_it {
            return Err(Refused::Certificate);
        }
        let core = scope(rules.group.primary_of(self.view), rules);
        let digest = NewView::digest(self.view, &self.changes);
        check_core(&core, &core.begin(self.view, &digest), &self.attestation, rules)?;
        self.changes.iter().try_for_each(|change| change.check(rules))
    }

    /// The beginning that follows: for each slot the vote of the highest view, as whatever was decided has the votes of
    /// a quorum, one of whose cores reports here, and no right vote of a later view is for anything else.
    ///
    /// What only some authors have decided is treated like any vote: a faulty author may be the only replica that
    /// knows a decision, and then nobody else could serve it.
    #[must_use]
    pub fn beginning(&self, schedule: Schedule, group: &Group, exclusion_slots: u64) -> Beginning {
        let by_all = self.changes.iter().map(|change| change.decided).min().unwrap_or_default();
        let known = self.changes.iter().map(|change| change.proof.base(change.decided)).max();
        let decided = by_all.max(known.unwrap_or_default());
        let mut best: BTreeMap<Slot, (View, Digest)> = BTreeMap::new();
        for (view, item) in self.changes.iter().flat_map(ViewChange::claims) {
            let kept = best.entry(item.slot).or_insert((view, item.digest));
            let wins = if known_bugs::LOWER_VIEW_WINS.is_on() { view < kept.0 } else { view > kept.0 };
            if wins {
                *kept = (view, item.digest);
            }
        }
        let last = best.keys().next_back().copied().unwrap_or_default().max(decided);
        let nil = Batch::nil().digest();
        let digests = decided.up_to(last).map(|slot| best.get(&slot).map_or(nil, |(_, d)| *d)).collect();
        let excluded = self.excluded(schedule, group, &best, last, exclusion_slots);
        Beginning { view: self.view, decided, digests, excluded }
    }

    /// Who gets no turns, besides those who were out already: whom the coordinator blames for being slow, or whoever held
    /// up the first slot that none of them had decided, in the last view that began for one of them; and whoever proposed
    /// nothing in a slot before one that somebody voted in, so that several who are dead do not cost a view each.
    fn excluded(
        &self,
        schedule: Schedule,
        group: &Group,
        voted: &BTreeMap<Slot, (View, Digest)>,
        bound: Slot,
        exclusion_slots: u64,
    ) -> Vec<Exclusion> {
        if schedule == Schedule::Stable {
            return Vec::new();
        }
        let first = Beginning::default();
        let views = self.changes.iter().flat_map(|change| &change.views);
        let last = views.map(|view| &view.beginning).max_by_key(|begun| begun.view).unwrap_or(&first);
        let head = self.changes.iter().map(|change| change.decided).max().unwrap_or_default().next();
        let empty = head.max(last.bound()).up_to(bound).filter(|slot| !voted.contains_key(slot));
        let mut blamed: Vec<ReplicaId> = empty.map(|slot| last.leader(schedule, group, slot)).collect();
        // The last one blamed is surely out.
        blamed.push(self.slow(group).unwrap_or_else(|| {
            if head <= last.bound() {
                group.primary_of(last.view)
            } else {
                last.leader(schedule, group, head)
            }
        }));
        let out =
            |before: Vec<Exclusion>, replica| exclude(&before, replica, bound, exclusion_slots, group.faults);
        distinct(blamed).into_iter().fold(last.excluded.clone(), out)
    }

    /// Who was slow, not silent, says the coordinator. What others say does not count: one word of a silent replica's would
    /// put a correct one out in its place. A faulty coordinator may do so, in the views that it coordinates.
    fn slow(&self, group: &Group) -> Option<ReplicaId> {
        let coordinator = group.primary_of(self.view);
        self.changes.iter().find(|change| change.author == coordinator).and_then(|change| change.blames)
    }
}

/// Each once, where it stands last.
fn distinct(replicas: Vec<ReplicaId>) -> Vec<ReplicaId> {
    let mut kept: Vec<ReplicaId> = Vec::new();
    for replica in replicas {
        kept.retain(|other| *other != replica);
        kept.push(replica);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_blames_counts_only_if_it_coordinates() {
        let group = crate::lanes::tests::group_of_three();
        let change = |author, blames| ViewChange {
            author: ReplicaId(author),
            to: View(1),
            lanes: Vec::new(),
            report: Signature([0; 64]),
            blames,
            decided: Slot(0),
            proof: PrefixProof::default(),
            grounds: Vec::new(),
            views: Vec::new(),
            signature: Signature([0; 64]),
        };
        let out = |of_coordinator, of_other| {
            let changes = vec![change(1, of_coordinator), change(2, of_other)];
            let new_view = NewView { view: View(1), changes, attestation: Signature([0; 64]) };
            let beginning = new_view.beginning(Schedule::Rotating, &group, 8);
            beginning.excluded.iter().map(|e| e.replica.0).collect::<Vec<_>>()
        };
        assert_eq!(out(None, None), [1], "whose turn the first slot is");
        assert_eq!(out(None, Some(ReplicaId(0))), [1], "a word of another puts nobody out");
        assert_eq!(out(Some(ReplicaId(0)), None), [0]);
    }

    #[test]
    fn a_beginning_names_the_slots_above_what_is_decided() {
        let digest = |text: &str| Digest::of("T", &[text.as_bytes()]);
        let begun = Beginning {
            view: View(1),
            decided: Slot(4),
            digests: vec![digest("a"), digest("b")],
            excluded: Vec::new(),
        };
        assert_eq!(begun.bound(), Slot(6));
        assert_eq!(
            (begun.at(Slot(4)), begun.at(Slot(5)), begun.at(Slot(7))),
            (None, Some(digest("a")), None)
        );
        assert_eq!(begun.items().map(|item| item.slot.0).collect::<Vec<_>>(), [5, 6]);
    }
}
