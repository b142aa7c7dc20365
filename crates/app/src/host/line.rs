//! What a host does next, as a pure value: which command enters the scheduler, what is reported, when the
//! application is at rest for a snapshot or a restore.
//!
//! ```text
//!   given --> waiting --> entering --> open --> reported, in slot order
//!                            |  commands one by one, while fewer than commands_max run
//!                            snapshot, restore: alone, when nothing runs
//! ```

use std::collections::VecDeque;
use std::iter::Enumerate;

use smr_wire::Slot;

use super::{CommandOutcome, HostCommand, HostConfig, HostError, HostEvent, SlotWork};
use crate::application::{Context, Place};

/// Operations in their order, from when they are given to when they are reported.
#[derive(Debug)]
pub(super) struct Line {
    commands_max: u32,
    queue_slots_max: u32,
    /// The slot to be given next; none while the application has no state to execute on.
    next_slot: Option<Slot>,
    /// Given, not begun. Together with `open` at most `queue_slots_max`.
    waiting: VecDeque<Operation>,
    /// The slot whose commands enter the scheduler; its remaining ones.
    entering: Option<Entering>,
    /// Slots that have begun and are not reported, in order.
    open: VecDeque<OpenSlot>,
    /// Commands in the scheduler, those overtaken by a restore included.
    running: u32,
    /// Nothing has entered the scheduler since its last fill marker.
    filled: bool,
    /// Restores given so far. What was given before the last one is of no interest any more.
    restores: u64,
    /// The application takes or restores a snapshot.
    resting: bool,
}

impl Line {
    /// Before slot 1, the application in the state it starts with.
    pub(super) fn new(config: &HostConfig) -> Line {
        Line {
            commands_max: config.commands_max,
            queue_slots_max: config.queue_slots_max,
            next_slot: Some(Slot(1)),
            waiting: VecDeque::new(),
            entering: None,
            open: VecDeque::new(),
            running: 0,
            filled: true,
            restores: 0,
            resting: false,
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

    /// A fill marker.
    pub(super) fn fill(&mut self) -> Result<(), HostError> {
        self.give(Operation::Fill)
    }

    /// A snapshot after `slot`, which is the last one given.
    pub(super) fn snapshot(&mut self, slot: Slot) -> Result<(), HostError> {
        let last = self.next_slot.ok_or(HostError::NoState)?.minus(1);
        if slot != last {
            return Err(HostError::NotLast { slot, last });
        }
        self.give(Operation::Snapshot(slot))
    }

    /// A new beginning after `slot`.
    pub(super) fn restore(&mut self, slot: Slot, bytes: Vec<u8>) {
        self.restores += 1;
        self.waiting.clear();
        self.entering = None;
        self.open.clear();
        self.next_slot = Some(slot.next());
        self.waiting.push_back(Operation::Restore(slot, bytes));
    }

    /// A command has ended.
    pub(super) fn ended(&mut self, ticket: Ticket, outcome: CommandOutcome) {
        self.running -= 1;
        if ticket.restores != self.restores {
            return;
        }
        let first = self.open.front().expect("a slot is open until all its commands have ended").slot;
        let place = usize::try_from(ticket.slot.since(first)).expect("there are as many slots in memory");
        let slot = &mut self.open[place];
        let before = slot.outcomes[ticket.position].replace(outcome);
        assert!(before.is_none(), "command {} of {:?} ended twice", ticket.position, ticket.slot);
        slot.missing -= 1;
    }

    /// The application is done with a snapshot or a restore; what is to be reported unless it was overtaken.
    pub(super) fn rested(&mut self, restores: u64, event: HostEvent) -> Option<HostEvent> {
        self.resting = false;
        if restores != self.restores {
            return None;
        }
        if matches!(event, HostEvent::Restored { result: Err(_), .. } | HostEvent::SnapshotFailed { .. }) {
            self.next_slot = None;
            self.waiting.clear();
        }
        Some(event)
    }

    /// The next thing to do, if there is one now. Whoever takes it does it before the one after.
    pub(super) fn next(&mut self) -> Option<Act> {
        loop {
            if self.resting {
                return None;
            }
            if self.open.front().is_some_and(|slot| slot.missing == 0) {
                return self.open.pop_front().map(|slot| Act::Report(slot.report()));
            }
            if self.entering.is_some() {
                if self.running == self.commands_max {
                    return None;
                }
                match self.enter() {
                    Some(act) => return Some(act),
                    None => self.entering = None,
                }
            }
            if let Operation::Snapshot(_) | Operation::Restore(..) = self.waiting.front()? {
                // What runs must not wait for later commands, which may not enter. And whether or not anything
                // runs still, later commands must find the scheduler as a replica does that begins here.
                if let Some(act) = self.mark() {
                    return Some(act);
                }
                if self.running > 0 {
                    return None;
                }
            }
            match self.waiting.pop_front()? {
                Operation::Execute(work) => self.begin(work),
                Operation::Fill => {
                    if let Some(act) = self.mark() {
                        return Some(act);
                    }
                }
                Operation::Snapshot(slot) => {
                    self.resting = true;
                    return Some(Act::Snapshot { slot, restores: self.restores });
                }
                Operation::Restore(slot, bytes) => {
                    self.resting = true;
                    return Some(Act::Restore { slot, bytes, restores: self.restores });
                }
            }
        }
    }

    fn give(&mut self, operation: Operation) -> Result<(), HostError> {
        if self.waiting.len() + self.open.len() >= self.queue_slots_max as usize {
            return Err(HostError::QueueFull { queue_slots_max: self.queue_slots_max });
        }
        self.waiting.push_back(operation);
        Ok(())
    }

    /// A fill marker, unless the last one is still at the end.
    fn mark(&mut self) -> Option<Act> {
        (!std::mem::replace(&mut self.filled, true)).then_some(Act::Fill)
    }

    fn begin(&mut self, work: SlotWork) {
        let missing = work.commands.len();
        self.open.push_back(OpenSlot { slot: work.slot, outcomes: vec![None; missing], missing });
        self.entering = Some(Entering {
            place: Place { history: work.seed, slot: work.slot, position: 0 },
            now: work.time,
            commands: work.commands.into_iter().enumerate(),
        });
    }

    /// The next command of the slot that is entering.
    fn enter(&mut self) -> Option<Act> {
        let Entering { place, now, commands } = self.entering.as_mut()?;
        let (position, HostCommand { caller, command }) = commands.next()?;
        let place = Place { position: position as u64, ..*place };
        self.running += 1;
        self.filled = false;
        let ticket = Ticket { restores: self.restores, slot: place.slot, position };
        Some(Act::Admit { ticket, context: Context::new(caller, *now, place), command })
    }
}

/// What a host is to do.
#[derive(Debug)]
pub(super) enum Act {
    /// Admit a command to the scheduler, and say [`Line::ended`] when it has.
    Admit { ticket: Ticket, context: Context, command: Vec<u8> },
    /// Admit a fill marker.
    Fill,
    /// Take a snapshot, and say [`Line::rested`].
    Snapshot { slot: Slot, restores: u64 },
    /// Restore a snapshot, and say [`Line::rested`].
    Restore { slot: Slot, bytes: Vec<u8>, restores: u64 },
    /// Tell the sink.
    Report(HostEvent),
}

/// Which command an end belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    restores: u64,
    slot: Slot,
    position: usize,
}

#[derive(Debug)]
enum Operation {
    Execute(SlotWork),
    Fill,
    Snapshot(Slot),
    Restore(Slot, Vec<u8>),
}

#[derive(Debug)]
struct Entering {
    place: Place,
    now: smr_wire::Timestamp,
    commands: Enumerate<std::vec::IntoIter<HostCommand>>,
}

#[derive(Debug)]
struct OpenSlot {
    slot: Slot,
    outcomes: Vec<Option<CommandOutcome>>,
    missing: usize,
}

impl OpenSlot {
    fn report(self) -> HostEvent {
        let outcomes = self.outcomes.into_iter().map(|outcome| outcome.expect("none is missing")).collect();
        HostEvent::Executed { slot: self.slot, outcomes }
    }
}
