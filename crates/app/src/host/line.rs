//! What a host does next, as a pure value: which command enters the scheduler, which block its outcome stands in,
//! what is reported, when the application is at rest for a checkpoint or a restore.
//!
//! ```text
//!   given --> waiting --> entering --> open --> reported, in slot order
//!                            |  commands one by one, while fewer than commands_max run
//!                            checkpoint, restore: the scheduler is suspended, and goes on with the next slot
//! ```
//!
//! A slot's *block* holds its commands. One that waits on a condition leaves the block, so that it holds up no other
//! reply, and joins the block of whoever wakes it. A block closes when nothing in it runs: from then on nobody can
//! be woken into it, so what it holds does not depend on who was faster. A checkpoint carries the commands that wait
//! as plain data, and every replica begins them anew, before those of the next slot.

mod open;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smr_uds::{Suspension, WokenBy};
use smr_wire::{ClientId, Slot, Timestamp};

use super::errand::Errand;
use super::{CommandOutcome, HostConfig, HostError, HostEvent, SlotWork, Strategy};
use crate::application::Place;
use crate::known_bugs;
use crate::state::Chunk;
use open::{OpenSlot, Part};

/// Operations in their order, from when they are given to when they are reported.
#[derive(Debug)]
pub(super) struct Line {
    commands_max: u32,
    queue_slots_max: u32,
    /// The slot to be given next; none while the application has no state to execute on.
    next_slot: Option<Slot>,
    /// Given, not begun. Together with `open` at most `queue_slots_max`.
    waiting: VecDeque<Operation>,
    /// What enters the scheduler next, all for the last open slot.
    entering: VecDeque<Entry>,
    /// Slots that have begun and are not reported, in order.
    open: VecDeque<OpenSlot>,
    /// What is in the scheduler. At most `commands_max` that run and the scheduler's `waiting_max` that wait.
    running: BTreeMap<Ticket, Running>,
    /// What has entered the scheduler so far, which counts the same way.
    tickets: u64,
    /// Commands that run, spawned ones and those overtaken by a restore included; those that wait are not counted.
    busy: u32,
    /// Commands that wait in the state that was restored last; they begin with the next slot.
    carried: Vec<Arc<Errand>>,
    /// Nothing has entered the scheduler since its last fill marker.
    filled: bool,
    /// Restores given so far. What was given before the last one is of no interest any more.
    restores: u64,
    rest: Rest,
    /// Cuts that somebody still keeps.
    cuts: u32,
}

impl Line {
    /// Before slot 1, the application in the state it starts with.
    pub(super) fn new(config: &HostConfig) -> Line {
        Line {
            commands_max: config.commands_max,
            queue_slots_max: config.queue_slots_max,
            next_slot: Some(Slot(1)),
            waiting: VecDeque::new(),
            entering: VecDeque::new(),
            open: VecDeque::new(),
            running: BTreeMap::new(),
            tickets: 0,
            busy: 0,
            carried: Vec::new(),
            filled: true,
            restores: 0,
            rest: Rest::None,
            cuts: 0,
        }
    }

    /// The commands of the next slot.
    pub(super) fn execute(&mut self, work: SlotWork) -> Result<(), HostError> {
        let expected = self.next_slot.ok_or(HostError::NoState)?;
        if work.slot != expected {
            return Err(HostError::NotNext { slot: work.slot, expected });
        }
        self.give(Operation::Execute(work))?;
        self.next_slot = Some(expected.next());
        Ok(())
    }

    /// A checkpoint after `slot`, which is the last one given.
    pub(super) fn checkpoint(&mut self, slot: Slot, strategy: Strategy) -> Result<(), HostError> {
        let last = self.next_slot.ok_or(HostError::NoState)?.minus(1);
        if slot != last {
            return Err(HostError::NotLast { slot, last });
        }
        self.give(Operation::Checkpoint(slot, strategy))
    }

    /// A new beginning after `slot`.
    pub(super) fn restore(&mut self, slot: Slot, chunks: Vec<Chunk>) {
        self.restores += 1;
        self.waiting.clear();
        self.entering.clear();
        self.open.clear();
        self.carried.clear();
        self.next_slot = Some(slot.next());
        self.waiting.push_back(Operation::Restore(slot, chunks));
    }

    /// What begins under `ticket`, and the agreed time; none if a restore has overtaken it.
    pub(super) fn begins(&self, ticket: Ticket) -> Option<(Arc<Errand>, Timestamp)> {
        let running = self.running.get(&ticket).filter(|running| running.restores == self.restores)?;
        let block = running.block.expect("what runs is in a block");
        Some((running.errand.clone(), self.open[self.place_of(block)].time))
    }

    /// A command asks for another one, which runs in its block.
    pub(super) fn spawned(&mut self, parent: Ticket) {
        self.busy += 1;
        let running = self.running.get_mut(&parent).expect("who spawns has not ended");
        running.members += 1;
        self.joins(parent);
    }

    /// A spawned command has ended, or never began.
    pub(super) fn spawned_ended(&mut self, parent: Ticket) {
        self.leaves(parent);
        self.gone(parent);
    }

    /// A command begins to wait on a condition; it leaves its block.
    pub(super) fn waits(&mut self, ticket: Ticket) {
        self.leaves(ticket);
        self.running.get_mut(&ticket).expect(KNOWN).block = None;
    }

    /// A command that waited joins the block of who woke it; those that a recall wakes have joined one already.
    pub(super) fn woken(&mut self, ticket: Ticket, by: WokenBy) {
        if let WokenBy::Task(number) = by {
            self.runs_again(ticket, self.running[&Ticket(number)].block);
        }
    }

    /// A command has ended.
    pub(super) fn ended(&mut self, ticket: Ticket, outcome: CommandOutcome) {
        let running = &self.running[&ticket];
        if let Some(slot) = running.block.filter(|_| running.restores == self.restores) {
            let (part, place) = (running.part, running.errand.place.clone());
            let index = self.place_of(slot);
            self.open[index].note(part, place, outcome);
        }
        self.leaves(ticket);
        self.gone(ticket);
    }

    /// A cut was taken.
    pub(super) fn cut_taken(&mut self) {
        self.cuts += 1;
    }

    /// Nobody keeps a cut that was taken any more.
    pub(super) fn cut_dropped(&mut self) {
        self.cuts -= 1;
    }

    /// The scheduler has come to a suspension.
    pub(super) fn suspended(&mut self, suspension: Suspension) {
        self.rest = Rest::Suspended(suspension);
    }

    /// The application is done with a checkpoint or a restore; whether that is to be reported, as nothing has overtaken it.
    /// `carried` are commands that wait in the state that it has now and are not in the scheduler.
    pub(super) fn rested(&mut self, restores: u64, event: &HostEvent, carried: Vec<Arc<Errand>>) -> bool {
        if let Rest::Busy(suspension) = std::mem::replace(&mut self.rest, Rest::None) {
            self.rest = Rest::Suspended(suspension);
        }
        if restores != self.restores {
            return false;
        }
        self.carried.extend(carried);
        if matches!(event, HostEvent::Restored { result: Err(_), .. } | HostEvent::CheckpointFailed { .. }) {
            self.next_slot = None;
            self.waiting.clear();
        }
        true
    }

    /// The next thing to do, if there is one now. Whoever takes it does it before the one after.
    pub(super) fn next(&mut self) -> Option<Act> {
        loop {
            if matches!(self.rest, Rest::Coming | Rest::Busy(_)) {
                return None;
            }
            // The last slot may still be entering.
            let whole = self.entering.is_empty() || self.open.len() > 1;
            if whole && self.open.front().is_some_and(OpenSlot::is_over) {
                return self.open.pop_front().map(|slot| Act::Report(slot.report()));
            }
            if !self.entering.is_empty() {
                match self.enter() {
                    Entered::Act(act) => return Some(act),
                    Entered::Nothing => continue,
                    Entered::Crowded => return None,
                }
            }
            if matches!(self.waiting.front()?, Operation::Execute(_)) {
                if let Some(Operation::Execute(work)) = self.waiting.pop_front() {
                    self.begin(work);
                }
                continue;
            }
            return self.come_to_rest();
        }
    }

    /// A step towards the checkpoint or restore that is first in line.
    fn come_to_rest(&mut self) -> Option<Act> {
        if self.cuts > 0 && matches!(self.waiting.front(), Some(Operation::Checkpoint(..))) {
            return None;
        }
        let Rest::Suspended(suspension) = &self.rest else {
            self.rest = Rest::Coming;
            return Some(Act::Suspend);
        };
        // The last sinks may still be on their way.
        if self.busy > 0 {
            return None;
        }
        let suspension = suspension.clone();
        if matches!(self.waiting.front(), Some(Operation::Restore(..))) && !suspension.waiting.is_empty() {
            // What waited before a restore is sent on, to its end.
            self.resume();
            return Some(Act::Resume);
        }
        let restores = self.restores;
        self.rest = Rest::Busy(suspension.clone());
        match self.waiting.pop_front()? {
            Operation::Execute(_) => unreachable!("a slot needs no rest"),
            Operation::Checkpoint(slot, strategy) => {
                let of = |number: &u64| Arc::clone(&self.running[&Ticket(*number)].errand);
                let waiting = suspension.waiting.iter().map(of).chain(self.carried.iter().cloned());
                let lost = known_bugs::WAITING_LOST_AT_A_CHECKPOINT.is_on();
                let waiting = waiting.filter(|_| !lost).collect();
                Some(Act::Checkpoint { slot, strategy, trace: suspension.trace, waiting, restores })
            }
            Operation::Restore(slot, chunks) => Some(Act::Restore { slot, chunks, restores }),
        }
    }

    /// The scheduler goes on as if it were new, and what waits begins first, in the block of the last open slot. That
    /// is noted here rather than when the scheduler says so, which may be after that slot would seem to be over.
    fn resume(&mut self) {
        let rest = std::mem::replace(&mut self.rest, Rest::None);
        let Rest::Suspended(Suspension { waiting, .. }) = rest else { return };
        let block = self.open.back().map(|open| open.slot);
        for ticket in waiting.into_iter().map(Ticket) {
            self.runs_again(ticket, block);
        }
        self.filled &= known_bugs::DROPS_THE_FILL_AFTER_A_CHECKPOINT.is_on();
    }

    /// A command that waited runs, in this block.
    fn runs_again(&mut self, ticket: Ticket, block: Option<Slot>) {
        self.busy += 1;
        let running = self.running.get_mut(&ticket).expect(KNOWN);
        running.block = block;
        running.part = running.part.after_wait();
        self.joins(ticket);
    }

    fn give(&mut self, operation: Operation) -> Result<(), HostError> {
        if self.waiting.len() + self.open.len() >= self.queue_slots_max as usize {
            return Err(HostError::QueueFull { queue_slots_max: self.queue_slots_max });
        }
        self.waiting.push_back(operation);
        Ok(())
    }

    fn begin(&mut self, work: SlotWork) {
        let SlotWork { slot, time, seed, commands, timers, fill } = work;
        let place = |position| Place { slot, position, path: Vec::new(), history: seed };
        self.open.push_back(OpenSlot::new(slot, time, commands.len()));
        if matches!(self.rest, Rest::Suspended(_)) {
            self.entering.push_back(Entry::Resume);
        }
        let carried = std::mem::take(&mut self.carried);
        self.entering.extend(carried.into_iter().map(|errand| Entry::Command(errand, Part::Late)));
        if timers {
            let errand = Errand { place: place(u32::MAX), caller: NOBODY, command: Vec::new() };
            self.entering.push_back(Entry::Timers(Arc::new(errand)));
        }
        for (position, command) in commands.into_iter().enumerate() {
            let index = u32::try_from(position).expect("a batch has fewer commands");
            let errand = Errand { place: place(index), caller: command.caller, command: command.command };
            self.entering.push_back(Entry::Command(Arc::new(errand), Part::Own(position)));
        }
        if fill {
            self.entering.push_back(Entry::Fill);
        }
    }

    fn enter(&mut self) -> Entered {
        match self.entering.front() {
            Some(Entry::Command(..) | Entry::Timers(_)) if self.busy >= self.commands_max => {
                return Entered::Crowded;
            }
            _ => {}
        }
        match self.entering.pop_front() {
            None => Entered::Nothing,
            Some(Entry::Resume) => {
                self.resume();
                Entered::Act(Act::Resume)
            }
            Some(Entry::Fill) => {
                let last = std::mem::replace(&mut self.filled, true);
                if last { Entered::Nothing } else { Entered::Act(Act::Fill) }
            }
            Some(Entry::Command(errand, part)) => {
                Entered::Act(Act::Admit { ticket: self.ticket(errand, part) })
            }
            Some(Entry::Timers(errand)) => {
                Entered::Act(Act::Timers { ticket: self.ticket(errand, Part::Inner) })
            }
        }
    }

    /// Something enters the scheduler, in the block of the last open slot.
    fn ticket(&mut self, errand: Arc<Errand>, part: Part) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.busy += 1;
        self.filled = false;
        let block = self.open.back().map(|open| open.slot);
        let running = Running { restores: self.restores, block, errand, part, members: 1 };
        self.running.insert(ticket, running);
        self.joins(ticket);
        ticket
    }

    /// One more runs in the block of `ticket`.
    fn joins(&mut self, ticket: Ticket) {
        if let Some(index) = self.block_of(ticket) {
            self.open[index].running += 1;
        }
    }

    /// One fewer runs in the block of `ticket`.
    fn leaves(&mut self, ticket: Ticket) {
        self.busy -= 1;
        if let Some(index) = self.block_of(ticket) {
            self.open[index].running -= 1;
        }
    }

    /// The command or one that it spawned is over; the last one of them takes the ticket along.
    fn gone(&mut self, ticket: Ticket) {
        let running = self.running.get_mut(&ticket).expect(KNOWN);
        running.members -= 1;
        if running.members == 0 {
            self.running.remove(&ticket);
        }
    }

    fn block_of(&self, ticket: Ticket) -> Option<usize> {
        let running = self.running.get(&ticket).expect(KNOWN);
        running.block.filter(|_| running.restores == self.restores).map(|slot| self.place_of(slot))
    }

    fn place_of(&self, slot: Slot) -> usize {
        let first = self.open.front().expect("a slot is open while something of it runs").slot;
        usize::try_from(slot.since(first)).expect("there are as many slots in memory")
    }
}

const KNOWN: &str = "a command has a ticket until it and all that it spawned have ended";

/// Whose commands nobody sent.
const NOBODY: ClientId = ClientId(smr_crypto::PublicKey([0; 32]));

/// What a host is to do.
#[derive(Debug)]
pub(super) enum Act {
    /// Admit a command to the scheduler, and say what becomes of it.
    Admit { ticket: Ticket },
    /// Admit a task that begins the commands whose time has come, and say [`Line::ended`] when it has.
    Timers { ticket: Ticket },
    /// Admit a fill marker.
    Fill,
    /// Suspend the scheduler, and say [`Line::suspended`].
    Suspend,
    /// Let the scheduler go on as if it were new, what waits first.
    Resume,
    /// Take a checkpoint in which `waiting` wait, and say [`Line::rested`].
    Checkpoint { slot: Slot, strategy: Strategy, trace: u64, waiting: Vec<Arc<Errand>>, restores: u64 },
    /// Restore a checkpoint, and say [`Line::rested`].
    Restore { slot: Slot, chunks: Vec<Chunk>, restores: u64 },
    /// Tell the sink.
    Report(HostEvent),
}

/// Names a task of the scheduler by its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket(pub(super) u64);

#[derive(Debug)]
enum Operation {
    Execute(SlotWork),
    Checkpoint(Slot, Strategy),
    Restore(Slot, Vec<Chunk>),
}

/// What enters the scheduler.
#[derive(Debug)]
enum Entry {
    Resume,
    Command(Arc<Errand>, Part),
    Timers(Arc<Errand>),
    Fill,
}

/// What came of trying to let something in.
enum Entered {
    Act(Act),
    Nothing,
    Crowded,
}

/// Whether the application is at rest.
#[derive(Debug)]
enum Rest {
    /// Commands may run.
    None,
    /// The scheduler has been asked to suspend.
    Coming,
    /// It is suspended.
    Suspended(Suspension),
    /// It is, and the application takes or restores a checkpoint.
    Busy(Suspension),
}

/// Something in the scheduler.
#[derive(Debug)]
struct Running {
    /// The restores that had been given when it entered.
    restores: u64,
    /// The slot whose block it is in; none while it waits.
    block: Option<Slot>,
    errand: Arc<Errand>,
    part: Part,
    /// Itself and what it has spawned, as far as they have not ended.
    members: u32,
}
