//! What can happen in a world, and what follows from it.

use smr_app::state::Taken;
use smr_consensus::Protocol as _;
use smr_replica::system::SystemState;
use smr_replica::{Effect, Event, Incoming, Input, Message, Timer};
use smr_wire::{FromContact, Generation, Slot, ToContact};

use super::World;
use super::crash::DiskWork;
use super::stage::{Note, Party};
use crate::host::Health;
use crate::trace::Said;
use crate::words::Words;

/// Something that happens at a point of simulated time.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Something that was sent arrives.
    Arrival(Letter),
    /// A timer of a replica may have run out.
    Timer { machine: usize, timer: Timer, due_us: u64 },
    /// The edge of a replica has something to report.
    Event { machine: usize, event: Event },
    /// Somebody looks after a replica's application.
    Look { machine: usize, look_us: u64 },
    /// A worker of a replica makes chunks of a state.
    Chunk { machine: usize, slot: Slot, turn: u64, system: Box<SystemState>, application: Taken },
    /// The disk of a machine has done something.
    Disk { machine: usize, work: DiskWork },
    /// The administrator looks after a machine that began anew.
    Operator { machine: usize },
    /// A client looks at its clock.
    Client { client: usize },
    /// The weather or a machine changes.
    Fault(super::faults::Fault),
}

/// Something that is on its way.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// From one replica to another, said in a generation.
    Peer { from: usize, to: usize, generation: Generation, message: Message },
    /// A client's words to a contact.
    ToContact { client: usize, contact: usize, frame: ToContact },
    /// A contact's words to a client.
    ToClient { client: usize, contact: usize, frame: FromContact },
}

impl World {
    pub(super) fn happen(&mut self, happening: Happening) {
        if let Some(machine) = happening.machine() {
            match self.machines[machine].health {
                Health::Dead => return,
                Health::PausedUntil(until_us) if self.now_us < until_us => {
                    self.plan(until_us, happening);
                    return;
                }
                Health::PausedUntil(_) | Health::Up => self.machines[machine].health = Health::Up,
            }
        }
        let (now_us, step) = (self.now_us, self.happened);
        self.trace.note(now_us, step, || Words::plain().happening(&happening));
        match happening {
            Happening::Arrival(letter) => self.arrive(letter),
            Happening::Timer { machine, timer, due_us } => {
                // Disarmed or armed anew meanwhile, it means nothing.
                let current = self.machines[machine].timers.get(&timer) == Some(&due_us);
                if current {
                    self.machines[machine].timers.remove(&timer);
                    self.step(machine, Event::Timer(timer));
                }
            }
            Happening::Event { machine, event } => self.step(machine, event),
            Happening::Look { machine, look_us } => self.look_at_host(machine, look_us),
            Happening::Chunk { machine, slot, turn, system, application } => {
                self.chunk(machine, slot, turn, &system, application);
            }
            Happening::Disk { machine, work } => self.on_disk(machine, work),
            Happening::Operator { machine } => self.operate(machine),
            Happening::Client { client } => {
                self.clients.wake(client, now_us);
                self.serve_client(client);
            }
            Happening::Fault(fault) => self.suffer(fault),
        }
    }

    fn arrive(&mut self, letter: Letter) {
        match letter {
            Letter::Peer { from, to, generation, message } => self.deliver(from, to, (generation, message)),
            Letter::ToContact { client, contact, frame } => self.on_contact(client, contact, frame),
            Letter::ToClient { client, contact, frame } => {
                let contact = self.machines[contact].seat.me.index();
                self.clients.frame(client, contact, frame, self.now_us);
                self.serve_client(client);
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, said: (Generation, Message)) {
        let said = if self.setting.encode {
            let bytes = smr_wire::encode(&said);
            smr_wire::decode(&bytes, bytes.len()).expect("what was encoded reads back")
        } else {
            said
        };
        let copied = self.machines[to].adversary.as_mut().and_then(|adversary| adversary.overhear(&said.1));
        if let Some(copied) = copied {
            self.plan(self.now_us, Happening::Event { machine: to, event: Event::Dealt(Ok(copied)) });
        }
        match Incoming::check(self.machines[from].seat.me, said, &self.rules(to)) {
            Ok(incoming) => self.step(to, Event::Peer(incoming)),
            Err(why) => {
                self.refused += 1;
                self.note(|_| Note::says(Party::Replica(to), format!("refuses it: {why}")));
            }
        }
    }

    /// Gives a replica one event and does what it wants.
    pub(super) fn step(&mut self, machine: usize, event: Event) {
        let clock = self.clock();
        let mut effects = Vec::new();
        self.machines[machine].replica.step(Input { clock, event }, &mut effects);
        let promises = |effect: &Effect| matches!(effect, Effect::Persist(record) if record.is_promise());
        let outline = self.look_before(machine, effects.iter().any(promises));
        for effect in effects {
            self.act_durably(machine, effect);
        }
        self.look_after(machine, outline);
        if self.is_correct(machine) {
            let status = self.machines[machine].replica.status();
            let stands = self.observer.stands(machine, status.executed, status.digest);
            self.fail(stands);
            let known = self.machines[machine].replica.engine().status().stable;
            let keeps = self.observer.keeps(machine, &status, known, &self.genesis.config.consensus);
            self.fail(keeps);
        }
    }
}

impl Letter {
    /// What stands in it.
    pub(crate) fn said(&self) -> Said {
        match self {
            Letter::Peer { from, to, message, .. } => {
                Said::Between { from: *from, to: *to, message: message.clone() }
            }
            Letter::ToContact { frame, .. } => Said::ToContact(frame.clone()),
            Letter::ToClient { frame, .. } => Said::FromContact(frame.clone()),
        }
    }

    /// Who sent it, and to whom.
    pub(crate) fn ends(&self) -> (Party, Party) {
        match self {
            Letter::Peer { from, to, .. } => (Party::Replica(*from), Party::Replica(*to)),
            Letter::ToContact { client, contact, .. } => (Party::Client(*client), Party::Replica(*contact)),
            Letter::ToClient { client, contact, .. } => (Party::Replica(*contact), Party::Client(*client)),
        }
    }
}

impl Happening {
    /// Whether nothing is on its way with it: a machine or a client only waits for its clock.
    pub(super) fn is_wait(&self) -> bool {
        matches!(self, Happening::Timer { .. } | Happening::Look { .. } | Happening::Client { .. })
    }

    pub(super) fn machine(&self) -> Option<usize> {
        match self {
            Happening::Arrival(
                Letter::Peer { to: machine, .. } | Letter::ToContact { contact: machine, .. },
            )
            | Happening::Timer { machine, .. }
            | Happening::Event { machine, .. }
            | Happening::Look { machine, .. }
            | Happening::Chunk { machine, .. }
            | Happening::Disk { machine, .. } => Some(*machine),
            Happening::Arrival(Letter::ToClient { .. })
            | Happening::Operator { .. }
            | Happening::Client { .. }
            | Happening::Fault(_) => None,
        }
    }
}
