//! What a world shows to whoever watches the invariants of `lanes`: votes when they are made, and each replica as it
//! is after a step of its machine.

use smr_consensus::Message as Ordering;
use smr_consensus::lanes::Outline;
use smr_consensus::lanes::core::{Item, Register};
use smr_consensus::quorum::Ballot;
use smr_consensus::record::{Began, Record};
use smr_consensus::verified::Rules;
use smr_replica::Message;
use smr_wire::client::FaultModel;

use super::World;
use crate::check::lanes::{Voter, Watch};
use crate::observe::Violation;

impl World {
    /// A machine has stepped, and nobody has heard of it: what its replica knows, if it is correct. What rests on a promise
    /// that is not on disk yet, though it `promises` it, is nothing that anybody knows.
    pub(super) fn look_before(&mut self, machine: usize, promises: bool) -> Option<Outline> {
        let is_correct = self.is_correct(machine);
        let replica = &self.machines[machine].replica;
        let lanes = replica.engine().lanes()?;
        // One that was taken over may be the first in a generation, and its core votes there.
        let decided = replica.status().decided;
        let entered =
            self.watch.as_mut().map_or(Ok(()), |watch| watch.enters(lanes, replica.group(), decided));
        let disk = self.machines[machine].disk.as_ref();
        let settled = disk.is_none_or(|disk| disk.is_settled() && !promises);
        let settled = settled || !self.group.is_bound_by_disk();
        let outline = (is_correct && settled).then(|| lanes.outline());
        let barrier = replica.system().voters.barrier().filter(|_| is_correct);
        let generation = replica.system().voters.generation();
        self.fail(entered);
        if let Some((watches, barrier)) = self.watch.as_mut().zip(barrier) {
            let ends = watches.ends(generation, barrier);
            self.fail(ends);
        }
        let (outline, who) = (outline?, self.machines[machine].seat.me);
        self.watched(machine, |watch, _| watch.knows(who, &outline));
        Some(outline)
    }

    /// It has done what it wanted, and its core what it was asked for.
    pub(super) fn look_after(&mut self, machine: usize, outline: Option<Outline>) {
        let Some(outline) = outline.filter(|_| self.machines[machine].replica.votes()) else { return };
        let who = self.machines[machine].seat.me;
        let core = self.core(machine).map(|core| core.registers().clone());
        self.watched(machine, |watch, _| watch.answers(who, &outline, core.as_ref()));
    }

    /// A core may have been used.
    pub(super) fn watch_core(&mut self, machine: usize) {
        let Some(core) = self.core(machine) else { return };
        let (who, registers, voter) =
            (self.machines[machine].seat.me, core.registers().clone(), self.voter(machine));
        let watch = self.watch.as_mut().map(|watches| watches.of(registers.generation()));
        let seen = watch.map_or(Ok(()), |watch| watch.core(who, voter, &registers));
        self.fail(seen);
    }

    /// A disk has done something: what its replica knows counts from now on.
    pub(super) fn look_again(&mut self, machine: usize) {
        let outline = self.look_before(machine, false);
        self.look_after(machine, outline);
    }

    /// A vote that is not on disk yet.
    pub(super) fn watch_vote_under_way(&mut self, machine: usize, ballot: Ballot) {
        if self.group.model != FaultModel::Crash {
            return;
        }
        let (who, decided) = (self.machines[machine].seat.me, self.status(machine).decided);
        self.watched(machine, |watch, _| watch.stays_within(who, decided, ballot.slot));
    }

    /// Where there are no cores, a vote is what a replica would keep on its disk.
    pub(super) fn watch_record(&mut self, machine: usize, record: &Record) {
        if self.group.model != FaultModel::Crash {
            return;
        }
        let ballot = match record {
            Record::Voted(vote) => vote.ballot,
            Record::Began(Began::Lanes(certificate)) => {
                let who = self.machines[machine].seat.me;
                self.watched(machine, |watch, _| watch.begins(who, &certificate.beginning));
                return;
            }
            _ => return,
        };
        let item = Item { slot: ballot.slot, digest: ballot.digest };
        let (who, voter) = (self.machines[machine].seat.me, self.voter(machine));
        self.watched(machine, |watch, _| watch.votes(who, voter, Register { view: ballot.view, item }));
    }

    /// A replica tells all others something.
    pub(super) fn watch_word(&mut self, machine: usize, message: &Message) {
        let Message::Consensus(Ordering::Lanes(message)) = message else { return };
        let who = self.machines[machine].seat.me;
        if self.is_correct(machine) {
            self.watched(machine, |watch, rules| watch.says(who, message, rules));
        }
    }

    /// A replica that was taken over tells somebody something.
    pub(super) fn watch_lie(&mut self, machine: usize, message: &Message) {
        let Message::Consensus(Ordering::Lanes(message)) = message else { return };
        let who = self.machines[machine].seat.me;
        self.watched(machine, |watch, rules| watch.hears(who, message, rules));
    }

    fn voter(&self, machine: usize) -> Voter {
        if self.is_correct(machine) { Voter::Correct(self.status(machine).decided) } else { Voter::Faulty }
    }

    /// Has the watch of the generation in which a machine is look, if there is one.
    fn watched(
        &mut self,
        machine: usize,
        look: impl FnOnce(&mut Watch, &Rules<'_>) -> Result<(), Violation>,
    ) {
        let Some(mut watches) = self.watch.take() else { return };
        let rules = self.rules(machine);
        let seen = look(watches.of(rules.group.generation), &rules);
        self.watch = Some(watches);
        self.fail(seen);
    }
}
