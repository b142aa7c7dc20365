//! What reaches a correct replica: anything that others said, and anything that the faulty one can make of it.

use std::collections::BTreeSet;

use smr_consensus::lanes::ChangeOutline;
use smr_consensus::lanes::beginning::Beginning;
use smr_consensus::lanes::core::Register;
use smr_wire::{ReplicaId, Slot, View};

use crate::choices::{complete, selections};
use crate::kit::{Kit, Opening, Vote};
use crate::replica::{Acknowledged, Heard, Key, Move, Openings, Said};

/// One replica and the others, as they stand.
pub(crate) struct Scene<'a> {
    pub(crate) kit: &'a Kit,
    pub(crate) me: ReplicaId,
    /// What each said, as far as this one can hear it.
    pub(crate) all: [(ReplicaId, &'a Said); 3],
    /// What a quorum voted for.
    pub(crate) certified: Vec<Register>,
    /// How views began for which somebody may hold a certificate.
    pub(crate) certified_views: Vec<Beginning>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(kit: &'a Kit, me: ReplicaId, all: [(ReplicaId, &'a Said); 3]) -> Scene<'a> {
        let certified = certified(kit, all.map(|(_, said)| &said.votes));
        let views = all.map(|(id, said)| (id, &said.openings, &said.acknowledged));
        Scene { kit, me, all, certified, certified_views: certified_views(kit, views) }
    }

    /// Steps that may be open to this correct replica.
    pub(crate) fn moves(&self, mine: &Key) -> Vec<Move> {
        let mut moves = Vec::new();
        moves.extend(mine.waits_for_core().then_some(Move::Answer));
        moves.extend(mine.patience(self.kit));
        self.votes(mine, &mut moves);
        self.wishes(mine, &mut moves);
        self.changes(mine, &mut moves);
        self.beginnings(mine, &mut moves);
        let useful = self.certified.iter().filter(|what| what.item.slot > mine.decided());
        moves.extend(useful.map(|what| Move::Hear(vec![Heard::Decision(self.another(), *what)])));
        moves
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = (ReplicaId, &'a Said)> {
        self.all.into_iter().filter(|(id, _)| *id != self.me)
    }

    /// Whoever gives what proves itself.
    fn another(&self) -> ReplicaId {
        self.others().map(|(id, _)| id).next().expect("there are three")
    }

    /// Votes one by one; and one before a proposal, which then finds a quorum without this replica.
    fn votes(&self, mine: &Key, moves: &mut Vec<Move>) {
        let votes: Vec<(ReplicaId, Vote)> =
            self.others().flat_map(|(id, said)| self.votes_of(id, said, mine.decided())).collect();
        for (from, vote) in &votes {
            moves.push(Move::Hear(vec![Heard::Vote(*from, vote.clone())]));
            let second = |(other, earlier): &&(ReplicaId, Vote)| {
                let common = |slot: &Slot| {
                    let mut items = vote.items.iter().filter(|item| item.slot == *slot);
                    items.any(|item| earlier.items.contains(item))
                };
                other != from && earlier.view == vote.view && vote.proposes.iter().any(common)
            };
            let pairs = votes.iter().filter(second).map(|(other, earlier)| {
                Move::Hear(vec![Heard::Vote(*other, earlier.clone()), Heard::Vote(*from, vote.clone())])
            });
            moves.extend(pairs);
        }
    }

    /// The faulty replica may keep the batch that it votes for to itself, and offer it where it is not its turn.
    fn votes_of(&self, id: ReplicaId, said: &Said, decided: Slot) -> Vec<(ReplicaId, Vote)> {
        let open = |vote: &&Vote| vote.items.iter().any(|item| item.slot > decided);
        let mut votes: Vec<Vote> = said.votes.iter().filter(open).cloned().collect();
        if Some(id) == self.kit.faulty() {
            let with_batch = |vote: &Vote| {
                let proposes = vote.items.iter().map(|item| item.slot).collect();
                Vote { proposes, ..vote.clone() }
            };
            let more: Vec<Vote> = votes.iter().map(with_batch).collect();
            votes.extend(more);
        }
        votes.into_iter().map(|vote| (id, vote)).collect()
    }

    /// Wishes; and before them, for a coordinator, view changes of both others, which then make a quorum without its own.
    fn wishes(&self, mine: &Key, moves: &mut Vec<Move>) {
        let Some(outline) = &mine.outline else { return };
        let later = (outline.basis.view.0 + 1..self.kit.case.views).map(View);
        let of = |(id, said): (ReplicaId, &Said)| -> Vec<Heard> {
            let is_said = |view: &View| Some(id) == self.kit.faulty() || said.wishes.contains(view);
            later.clone().filter(is_said).map(|view| Heard::Wish(id, view)).collect()
        };
        let wishes = selections(&self.others().map(of).collect::<Vec<_>>());
        for to in later.clone().filter(|to| self.kit.group.primary_of(*to) == self.me) {
            let before = self.changes_of_others(to);
            if self.others().all(|(id, _)| id < self.me) {
                let pairs = complete(&before);
                let both = |pair: &Vec<Heard>| {
                    let with = |wishes: &Vec<Heard>| Move::Hear([pair.clone(), wishes.clone()].concat());
                    wishes.iter().map(with).collect::<Vec<Move>>()
                };
                moves.extend(pairs.iter().flat_map(both));
            }
        }
        moves.extend(wishes.into_iter().map(Move::Hear));
    }

    fn changes_of_others(&self, to: View) -> Vec<Vec<Heard>> {
        let heard = |(of, (id, _)): (Vec<ChangeOutline>, &(ReplicaId, &Said))| {
            (*id != self.me).then(|| of.into_iter().map(Heard::Change).collect())
        };
        self.all_changes(to).into_iter().zip(&self.all).filter_map(heard).collect()
    }

    /// View changes for `to` of each replica: what the correct ones said, and all that the faulty one can make.
    pub(crate) fn all_changes(&self, to: View) -> Vec<Vec<ChangeOutline>> {
        let of = |(id, said): &(ReplicaId, &Said)| {
            if Some(*id) == self.kit.faulty() {
                return self.faulty_changes(to);
            }
            said.changes.iter().filter(|change| change.to == to).cloned().collect()
        };
        self.all.iter().map(of).collect()
    }

    /// How `view` begins after these.
    pub(crate) fn opening(&self, view: View, mut changes: Vec<ChangeOutline>) -> Opening {
        changes.sort_unstable_by_key(|change| change.author);
        self.kit.follows(view, changes)
    }

    fn changes(&self, mine: &Key, moves: &mut Vec<Move>) {
        let Some(outline) = &mine.outline else { return };
        let (to, begun) = (outline.basis.view, outline.registers.begun());
        if !outline.basis.installed && begun < to && self.kit.group.primary_of(to) == self.me {
            let changes = self.changes_of_others(to).into_iter().flatten();
            moves.extend(changes.map(|change| Move::Hear(vec![change])));
        }
    }

    /// How a view begins, says its coordinator; that another replica saw it follow; that a quorum did.
    fn beginnings(&self, mine: &Key, moves: &mut Vec<Move>) {
        let Some(outline) = &mine.outline else { return };
        let is_open = |view: View| {
            view > outline.basis.view || (view == outline.basis.view && !outline.basis.installed)
        };
        for (_, said) in self.others() {
            let openings = said.openings.iter().filter(|opening| is_open(opening.beginning.view));
            moves.extend(openings.map(|opening| Move::Hear(vec![Heard::NewView(opening.clone())])));
        }
        if let Some(beginning) = outline.new_view.as_ref().filter(|_| !outline.basis.installed) {
            let statement = (beginning.view, beginning.digest());
            let also = |(id, said): &(ReplicaId, &Said)| {
                Some(*id) == self.kit.faulty() || said.acknowledged.contains(&statement)
            };
            let others = self.others().filter(also);
            moves.extend(others.map(|(id, _)| Move::Hear(vec![Heard::Acknowledge(id, beginning.clone())])));
        }
        let begun = self.certified_views.iter().filter(|begun| is_open(begun.view));
        moves.extend(begun.map(|begun| Move::Hear(vec![Heard::Begun(self.another(), begun.clone())])));
    }
}

/// What a quorum voted for, given what each voted for.
pub(crate) fn certified(kit: &Kit, all: [&BTreeSet<Vote>; 3]) -> Vec<Register> {
    let of = |vote: &Vote| -> Vec<Register> {
        vote.items.iter().map(|item| Register { view: vote.view, item: *item }).collect()
    };
    let mut voted: BTreeSet<Register> = all.into_iter().flatten().flat_map(of).collect();
    voted.retain(|what| all.iter().filter(|votes| is_for(votes, what)).count() >= kit.group.quorum());
    voted.into_iter().collect()
}

/// Whether one of these votes is for it.
pub(crate) fn is_for(votes: &BTreeSet<Vote>, what: &Register) -> bool {
    votes.iter().any(|vote| vote.is_for(what))
}

/// How views began that enough replicas acknowledged, given what each said of it; the faulty one acknowledges anything.
pub(crate) fn certified_views(kit: &Kit, all: [(ReplicaId, &Openings, &Acknowledged); 3]) -> Vec<Beginning> {
    let enough = |opening: &&Opening| {
        let statement = (opening.beginning.view, opening.digest);
        let also = |(id, _, acknowledged): &&(ReplicaId, &Openings, &Acknowledged)| {
            Some(*id) == kit.faulty() || acknowledged.contains(&statement)
        };
        all.iter().filter(also).count() >= kit.acknowledgements_needed()
    };
    let said = all.iter().flat_map(|(_, openings, _)| *openings).filter(enough);
    let mut said: Vec<Beginning> = said.map(|opening| opening.beginning.clone()).collect();
    said.sort_unstable();
    said.dedup();
    said
}
