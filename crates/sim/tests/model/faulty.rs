//! What reaches a correct replica: anything that others said, and anything that the faulty one can make of it.

use std::collections::BTreeSet;

use smr_consensus::pbft::ChangeOutline;
use smr_consensus::quorum::{Ballot, Phase};
use smr_wire::{ReplicaId, Slot, View};

use crate::choices::{complete, selections};
use crate::kit::{Kit, Mistake};
use crate::replica::{Key, Move};

/// One replica and the others, as they stand.
pub(crate) struct Scene<'a> {
    pub(crate) kit: &'a Kit,
    pub(crate) me: ReplicaId,
    pub(crate) mine: &'a Key,
    /// The correct ones, this one among them.
    pub(crate) all: [(ReplicaId, &'a Key); 3],
    /// Ballots for which somebody may hold a certificate.
    pub(crate) certified: &'a [Ballot],
}

impl Scene<'_> {
    /// Steps that may be open to this replica, but for votes.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        self.timeouts(&mut moves);
        self.proposals(&mut moves);
        self.wishes(&mut moves);
        self.changes(&mut moves);
        self.new_views(&mut moves);
        self.repairs(&mut moves);
        moves
    }

    fn others(&self) -> impl Iterator<Item = (ReplicaId, &Key)> {
        self.all.iter().copied().filter(|(id, _)| *id != self.me)
    }

    fn views(&self) -> impl Iterator<Item = View> + use<> {
        (0..self.kit.case.views).map(View)
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        Slot(0).up_to(Slot(self.kit.case.slots))
    }

    fn timeouts(&self, moves: &mut Vec<Move>) {
        let own = self.mine.outline.basis.wishes.first().map_or(View(0), |(_, wants)| *wants);
        let next = self.mine.outline.basis.view.next();
        if next.0 < self.kit.case.views && own < next {
            moves.push(if self.mine.outline.basis.installed { Move::Patience } else { Move::NewViewTimeout });
        }
    }

    fn proposals(&self, moves: &mut Vec<Move>) {
        let view = self.mine.outline.basis.view;
        let primary = self.kit.group.primary_of(view);
        if !self.mine.outline.basis.installed || primary == self.me {
            return;
        }
        if primary == self.kit.faulty() {
            let bound = &self.mine.outline.beginning.digests;
            for slot in self.slots() {
                let digests: BTreeSet<_> = self.kit.choices.iter().chain(bound.get(&slot)).collect();
                moves.extend(digests.into_iter().map(|digest| Move::Proposal(view, slot, *digest)));
            }
        }
        let said = self.others().flat_map(|(_, key)| &key.sent.proposals).filter(|(v, _, _)| *v == view);
        moves.extend(said.map(|(view, slot, digest)| Move::Proposal(*view, *slot, *digest)));
    }

    fn wishes(&self, moves: &mut Vec<Move>) {
        let current = self.mine.outline.basis.view;
        let of = |(id, key): (ReplicaId, &Key)| -> Vec<(ReplicaId, View)> {
            key.sent.wishes.iter().filter(|wants| **wants > current).map(|wants| (id, *wants)).collect()
        };
        let mut choices: Vec<Vec<_>> = self.others().map(of).collect();
        choices.push(self.views().filter(|v| *v > current).map(|v| (self.kit.faulty(), v)).collect());
        moves.extend(selections(&choices).into_iter().map(Move::Wishes));
    }

    /// View changes for `to` of each correct replica, and all that the faulty one can sign.
    fn all_changes(&self, to: View) -> Vec<Vec<ChangeOutline>> {
        let told = |(_, key): &(ReplicaId, &Key)| {
            key.sent.changes.iter().filter(|change| change.to == to).cloned().collect()
        };
        let mut all: Vec<Vec<ChangeOutline>> = self.all.iter().map(told).collect();
        all.push(self.faulty_changes(to));
        all
    }

    /// Every view change whose certificates exist. A claim is looked at for view and batch only, so it does not
    /// matter of which phase it is.
    fn faulty_changes(&self, to: View) -> Vec<ChangeOutline> {
        let mut changes = Vec::new();
        for decided in Slot(0).up_to(Slot(self.kit.case.slots)).chain([Slot(0)]) {
            let shown: Vec<Slot> = decided.minus(self.kit.case.window).up_to(decided).collect();
            let commits_of = |slot: &Slot| -> Vec<Ballot> {
                let fits = |b: &&Ballot| b.slot == *slot && b.phase == Phase::Commit;
                self.certified.iter().filter(fits).copied().collect()
            };
            let proofs = complete(&shown.iter().map(commits_of).collect::<Vec<_>>());
            let claims_of = |slot: Slot| -> Vec<Ballot> {
                let fits = |b: &&Ballot| b.slot == slot && b.view < to && b.phase == Phase::Prepare;
                self.certified.iter().filter(fits).copied().collect()
            };
            let above: Vec<Vec<Ballot>> =
                self.slots().filter(|slot| *slot > decided).map(claims_of).collect();
            let mut claims = selections(&above);
            claims.push(Vec::new());
            for commits in &proofs {
                changes.extend(claims.iter().map(|claims| ChangeOutline {
                    author: self.kit.faulty(),
                    to,
                    decided,
                    checkpoint: Slot(0),
                    commits: commits.clone(),
                    claims: claims.clone(),
                }));
            }
        }
        changes
    }

    fn changes(&self, moves: &mut Vec<Move>) {
        let to = self.mine.outline.basis.view;
        if self.mine.outline.basis.installed || self.kit.group.primary_of(to) != self.me {
            return;
        }
        let mut choices = self.all_changes(to);
        choices.iter_mut().for_each(|of_one| of_one.retain(|change| change.author != self.me));
        moves.extend(selections(&choices).into_iter().map(Move::Changes));
    }

    fn new_views(&self, moves: &mut Vec<Move>) {
        let Key { outline, .. } = self.mine;
        let open = |view: &View| {
            *view > outline.basis.view || (*view == outline.basis.view && !outline.basis.installed)
        };
        for view in self.views().filter(open) {
            if self.kit.group.primary_of(view) == self.kit.faulty() {
                let sets = selections(&self.all_changes(view)).into_iter();
                let quorums = sets.filter(|set| set.len() == self.kit.group.quorum());
                moves.extend(quorums.map(|mut set| {
                    set.sort();
                    Move::NewView(view, set)
                }));
            }
            let said = self.others().flat_map(|(_, key)| &key.sent.new_views).filter(|(v, _)| *v == view);
            moves.extend(said.map(|(view, changes)| Move::NewView(*view, changes.clone())));
        }
    }

    /// What was lost, given back: batches to a primary that is bound to them, and decisions.
    fn repairs(&self, moves: &mut Vec<Move>) {
        let Key { outline, .. } = self.mine;
        if outline.basis.installed && self.kit.group.primary_of(outline.basis.view) == self.me {
            let bound = outline.beginning.digests.iter();
            moves
                .extend(bound.filter(|(slot, _)| **slot > outline.proposed).map(|(s, d)| Move::Body(*s, *d)));
        }
        let decided = outline.basis.log.last().map_or(Slot(0), |ballot| ballot.slot);
        let useful = |b: &&Ballot| b.phase == Phase::Commit && b.slot > decided;
        moves.extend(self.certified.iter().filter(useful).map(|ballot| Move::Decision(*ballot)));
    }
}

/// Ballots for which the faulty replica, with its own vote, has a certificate.
pub(crate) fn certified(kit: &Kit, all: [(ReplicaId, &Key); 3]) -> Vec<Ballot> {
    let mut ballots: BTreeSet<Ballot> = all.iter().flat_map(|(_, key)| &key.sent.votes).copied().collect();
    ballots
        .retain(|ballot| all.iter().filter(|(_, key)| key.voted(ballot)).count() >= correct_in_quorum(kit));
    ballots.into_iter().collect()
}

/// Votes of correct replicas that a certificate needs at least.
pub(crate) fn correct_in_quorum(kit: &Kit) -> usize {
    let forged = usize::from(kit.case.mistake == Some(Mistake::QuorumOfTwo));
    kit.group.quorum() - usize::from(kit.group.faults) - forged
}

/// Sets of votes that can reach `me`, of one slot and phase each.
pub(crate) fn votes(
    kit: &Kit,
    mine: &BTreeSet<Ballot>,
    others: [(ReplicaId, &BTreeSet<Ballot>); 2],
) -> Vec<Move> {
    let all: BTreeSet<Ballot> = mine.iter().chain(others[0].1).chain(others[1].1).copied().collect();
    let places: BTreeSet<(Phase, Slot)> = all.iter().map(|ballot| (ballot.phase, ballot.slot)).collect();
    let mut moves = Vec::new();
    for (phase, slot) in places {
        let here = |ballot: &&Ballot| ballot.phase == phase && ballot.slot == slot;
        let mut choices: Vec<Vec<(ReplicaId, Ballot)>> = Vec::new();
        for (id, votes) in others {
            let mut of_one: BTreeSet<Ballot> = votes.iter().filter(here).copied().collect();
            match kit.case.mistake {
                Some(Mistake::QuorumOfTwo) => of_one.extend(all.iter().filter(here)),
                Some(Mistake::MixesViews) => {
                    let views = (0..kit.case.views).map(View);
                    of_one =
                        views.flat_map(|view| of_one.iter().map(move |b| Ballot { view, ..*b })).collect();
                }
                Some(Mistake::ForgetsPrepared | Mistake::ForgetsBeginning) | None => {}
            }
            // The prepare vote of a primary is its proposal.
            of_one.retain(|b| b.phase == Phase::Commit || kit.group.primary_of(b.view) != id);
            choices.push(of_one.into_iter().map(|ballot| (id, ballot)).collect());
        }
        // A vote of the faulty replica for what nobody else votes for makes no quorum with anything.
        choices.push(all.iter().filter(here).map(|ballot| (kit.faulty(), *ballot)).collect());
        let forged = |set: &[(ReplicaId, Ballot)]| {
            let said =
                |(id, ballot)| others.iter().all(|(other, votes)| *other != id || votes.contains(ballot));
            set.iter().filter(|(id, ballot)| !said((*id, ballot))).count()
        };
        let one = kit.case.mistake == Some(Mistake::QuorumOfTwo);
        let sets = selections(&choices).into_iter().filter(|set| !one || forged(set) <= 1);
        moves.extend(sets.map(Move::Votes));
    }
    moves
}
