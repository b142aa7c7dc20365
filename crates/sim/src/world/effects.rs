//! The simulated edge of a replica: what it does with each effect.

use smr_app::state::Taken;
use smr_app::{CommandOutcome, HostEvent};
use smr_consensus::protocol::Observation as Ordered;
use smr_consensus::quorum::{Ballot, Phase};
use smr_consensus::{Entry, EntryBody, Message as Ordering, pbft};
use smr_replica::effect::{ConnectionId, Observation};
use smr_replica::system::SystemState;
use smr_replica::{Chunked, Effect, Event, Message};
use smr_wire::client::{FaultModel, WIRE_VERSION};
use smr_wire::{FromContact, Hint, ReplicaId, Reply, Slot, ToContact};

use super::World;
use super::happenings::{Happening, Letter};
use super::stage::{Note, Party};
use crate::observe::Violation;
use crate::trace::Said;
use crate::words::Words;

/// How long an application starves before its replica says so, in microseconds.
const FILL_AFTER_US: u64 = 20_000;

/// How long a core takes at most, in microseconds: it is another process on the same machine.
const CORE_US_MAX: u64 = 100;

impl World {
    pub(super) fn act(&mut self, machine: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                for to in self.machines_of(to) {
                    self.post(machine, to, message.clone());
                }
            }
            Effect::Broadcast(message) => {
                let me = self.machines[machine].seat.me;
                self.watch_word(machine, &message);
                for to in 0..self.machines.len() {
                    if self.machines[to].seat.me != me {
                        self.post(machine, to, message.clone());
                    }
                }
            }
            Effect::Attest(operation) => {
                let home = self.core_of(machine);
                let core = self.machines[home].core.as_mut();
                let answer = core.expect("only protocols with a core ask it").attest(&operation);
                self.watch_core(machine);
                self.core_answers(machine, Event::Attested(answer));
            }
            Effect::Deal(attempt) => {
                self.note(|_| Note::says(Party::Replica(machine), "has its core deal".into()));
                let home = self.core_of(machine);
                let mut core = self.machines[home].core.take().expect("only protocols with a core ask it");
                let dealt = match &mut self.machines[machine].adversary {
                    Some(adversary) => adversary.deal(&attempt, &mut core),
                    None => vec![core.deal(&attempt)],
                };
                self.machines[home].core = Some(core);
                for answer in dealt {
                    self.core_answers(machine, Event::Dealt(answer.map(Box::new)));
                }
            }
            Effect::Regroup(group) => {
                self.machines[machine].says_in = group.generation;
                let real =
                    !self.is_correct(machine) || group.cores.iter().all(|key| self.cores.contains(key));
                let wrong = Violation::Wronged { replica: machine, wrong: "counts on a core that is none" };
                self.fail(if real { Ok(()) } else { Err(wrong) });
            }
            Effect::Execute(work) => {
                self.note(|words| Note::says(Party::Replica(machine), words.work(&work)));
                if self.is_correct(machine) {
                    let executes = self.observer.executes(machine, &work);
                    self.fail(executes);
                }
                self.machines[machine].host.execute(work).expect("within the host's limits");
                self.run_host(machine);
            }
            Effect::Checkpoint { slot, strategy } => {
                self.note(|_| Note::says(Party::Replica(machine), format!("takes its state after s{slot}")));
                let host = &self.machines[machine].host;
                host.checkpoint(slot, strategy).expect("within the host's limits");
                self.run_host(machine);
            }
            Effect::Restore { slot, chunks } => {
                self.machines[machine].host.restore(slot, chunks);
                if self.is_correct(machine) {
                    self.observer.installs(machine, slot);
                }
                self.run_host(machine);
            }
            Effect::Sign { statement, digest, share } => {
                let author = self.machines[machine].seat.me;
                let share = self.setting.scheme.sign(author.0, &digest, &share);
                self.report_later(machine, 300, Event::Signed { statement, digest, share });
            }
            Effect::Combine { statement, digest, shares, key } => {
                let (signature, culprits) = self.setting.scheme.combine(&key, &digest, &shares);
                self.report_later(machine, 2_000, Event::Combined { statement, digest, signature, culprits });
            }
            Effect::Chunk { slot, turn, system, application } => {
                self.trace.hear(|| Said::State(smr_wire::encode(&*system)));
                let due_us = self.now_us + self.own_work_us(25_000, 100_000);
                self.plan(due_us, Happening::Chunk { machine, slot, turn, system, application });
            }
            Effect::Reply { connection, reply } => {
                let clock = self.clock();
                let reply = match &mut self.machines[machine].adversary {
                    Some(adversary) => adversary.reply(reply, clock),
                    None => {
                        self.fail(self.proves(machine, connection, &reply));
                        reply
                    }
                };
                self.tell_client(machine, connection, &FromContact::Reply(reply));
            }
            Effect::Hint { connection, about, hint } => {
                self.tell_client(machine, connection, &FromContact::Hint { about, hint });
            }
            Effect::Arm { timer, after_ms } => {
                let due_us = self.now_us + after_ms * 1000;
                self.machines[machine].timers.insert(timer, due_us);
                self.plan(due_us, Happening::Timer { machine, timer, due_us });
            }
            Effect::Disarm(timer) => {
                self.machines[machine].timers.remove(&timer);
            }
            Effect::Persist(record) => self.watch_record(machine, &record),
            Effect::Keep { certificate, .. } => {
                self.report_later(machine, 100, Event::Kept(certificate.checkpoint.slot));
            }
            Effect::Prune { .. } => {}
            Effect::Report(observation) => self.on_report(machine, &observation),
        }
    }

    /// A machine hears from its core, in the order in which it was asked.
    fn core_answers(&mut self, machine: usize, answer: Event) {
        let due_us = self.now_us + self.own_work_us(5, CORE_US_MAX);
        let due_us = due_us.max(self.machines[machine].core_until_us + 1);
        self.machines[machine].core_until_us = due_us;
        self.plan(due_us, Happening::Event { machine, event: answer });
    }

    fn on_report(&mut self, machine: usize, observation: &Observation) {
        let (now_us, step) = (self.now_us, self.happened);
        self.trace.note(now_us, step, || format!("  r{machine} {}", Words::plain().observation(observation)));
        self.note(|words| Note::says(Party::Replica(machine), words.observation(observation)));
        if let Observation::Consensus(Ordered::LeftFor(view) | Ordered::Installed { view, .. }) = observation
        {
            self.machines[machine].view = *view;
        }
        if matches!(observation, Observation::KeyGenerated { .. }) && self.is_correct(machine) {
            let key = self.machines[machine].replica.group_key().map(|(_, key)| key.service_key);
            self.known.get_or_init(|| key.expect("a replica that reports its key has one"));
        }
        self.fail(self.treats_well(machine, observation));
        if self.is_correct(machine) {
            self.watch_views(machine, observation);
        }
        if matches!(observation, Observation::Flawed(_) | Observation::Halted(_)) && self.is_correct(machine)
        {
            self.fail(Err(Violation::Flawed { replica: machine }));
        }
    }

    /// What a correct replica reports does no wrong to a correct one: none is taken for a liar, whoever confirmed in
    /// key generation has its share, and all do where cores deal, which are not found to be broken; and what was certified is
    /// a state.
    fn treats_well(&self, machine: usize, observation: &Observation) -> Result<(), Violation> {
        match observation {
            _ if !self.is_correct(machine) => Ok(()),
            Observation::BadShare(liar) if self.is_correct(liar.index()) => {
                Err(Violation::Wronged { replica: liar.index(), wrong: "is taken for a liar" })
            }
            Observation::TransferFailed(_) => {
                Err(Violation::Wronged { replica: machine, wrong: "cannot read the state that it fetched" })
            }
            Observation::CoresBroken(_) => {
                Err(Violation::Wronged { replica: machine, wrong: "finds a core broken that is not" })
            }
            Observation::KeyGenerated { share: false, .. } if self.group.model == FaultModel::Hybrid => {
                Err(Violation::Wronged { replica: machine, wrong: "has no share, though cores dealt" })
            }
            Observation::KeyGenerated { share: false, .. } => {
                let ceremony = &self.machines[machine].replica.system().ceremony;
                let confirmed = ceremony.has_confirmed(ReplicaId::at(machine).0);
                let wrong = Violation::Wronged { replica: machine, wrong: "has confirmed, but has no share" };
                if confirmed { Err(wrong) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// What a correct replica tells a client is proven.
    fn proves(&self, machine: usize, connection: ConnectionId, reply: &Reply) -> Result<(), Violation> {
        let client = usize::try_from(connection.0).expect("a connection is a client's index here");
        let holds = match reply.statement(&self.group.service, &self.clients.id(client)) {
            Some((digest, signature)) => {
                self.known.get().is_some_and(|key| self.setting.scheme.verify(key, &digest, &signature))
            }
            None => self.group.model == FaultModel::Crash,
        };
        let wrong = Violation::Wronged { replica: machine, wrong: "tells a client what it cannot prove" };
        if holds || !self.is_correct(machine) { Ok(()) } else { Err(wrong) }
    }

    /// Faulty replicas alone do not make a correct one leave its view.
    fn watch_views(&mut self, machine: usize, observation: &Observation) {
        match observation {
            Observation::Consensus(Ordered::Suspected { view, .. }) => self.observer.suspects(*view),
            Observation::Consensus(Ordered::LeftFor(to)) => {
                let leaves = self.observer.leaves(machine, *to);
                self.fail(leaves);
            }
            _ => {}
        }
    }

    /// A correct replica votes once in each step, view and slot.
    fn watch_votes(&mut self, machine: usize, message: &Message) {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return };
        let ballot = match message {
            pbft::Message::Vote { ballot, .. } => *ballot,
            pbft::Message::Proposal { view, slot, batch, .. } => {
                Ballot { phase: Phase::Prepare, view: *view, slot: *slot, digest: batch.digest() }
            }
            _ => return,
        };
        let votes = self.observer.votes(machine, ballot);
        self.fail(votes);
    }

    /// Puts a message on its way, as the sender really sends it and as the network lets it through.
    fn post(&mut self, from: usize, to: usize, message: Message) {
        let clock = self.clock();
        let receiver = self.machines[to].seat.me;
        let generation = self.machines[from].says_in;
        let sender = &mut self.machines[from];
        let really = match &mut sender.adversary {
            Some(adversary) => adversary.alter(receiver, message, clock, sender.core.as_mut()),
            None => {
                self.watch_votes(from, &message);
                vec![message]
            }
        };
        if self.machines[from].adversary.is_some() {
            self.watch_core(from);
            really.iter().for_each(|message| self.watch_lie(from, message));
        }
        let own_tricks = match &mut self.machines[from].adversary {
            Some(adversary) => adversary.invent(clock),
            None => Vec::new(),
        };
        for message in really.into_iter().chain(own_tricks) {
            let late_us = self.machines[from].adversary.as_ref().map_or(0, |own| own.late_us(&message));
            self.dispatch_after(late_us, &Letter::Peer { from, to, generation, message });
        }
    }

    /// Lets the network say when a letter arrives, if it does; under a script it then waits for its delivery.
    pub(super) fn dispatch(&mut self, letter: &Letter) {
        self.dispatch_after(0, letter);
    }

    fn dispatch_after(&mut self, late_us: u64, letter: &Letter) {
        self.trace.hear(|| letter.said());
        if !self.is_carried(letter) {
            self.network.lost += 1;
            return;
        }
        let (from, to) = letter.ends();
        let delays_us = self.network.send(self.host(from), self.host(to));
        if self.stage.is_some() {
            self.hold(letter, !delays_us.is_empty());
            return;
        }
        for delay_us in delays_us {
            self.plan(self.now_us + late_us + delay_us, Happening::Arrival(letter.clone()));
        }
    }

    /// Lets the application compute, and reports what came of it a little later, in order.
    fn run_host(&mut self, machine: usize) {
        let reported = self.machines[machine].run_host();
        for event in reported {
            let event = match event {
                HostEvent::Executed { slot, outcomes, late } => {
                    Event::Executed { slot, outcomes: self.outcomes(machine, outcomes), late }
                }
                HostEvent::Checkpointed { slot, state } => Event::Checkpointed { slot, state: Ok(state) },
                HostEvent::CheckpointFailed { slot, why } => {
                    Event::Checkpointed { slot, state: Err(why.to_string()) }
                }
                HostEvent::Restored { slot, result } => {
                    Event::Restored { slot, result: result.map_err(|error| error.to_string()) }
                }
            };
            let begin_us = self.machines[machine].busy_until_us.max(self.now_us);
            let due_us = begin_us + self.own_work_us(10, self.setting.execution_us_max);
            self.machines[machine].busy_until_us = due_us;
            self.plan(due_us, Happening::Event { machine, event });
        }
        self.look_after_host(machine);
    }

    /// A worker makes chunks of a state; the application may have waited for that before it takes the next one.
    pub(super) fn chunk(
        &mut self,
        machine: usize,
        slot: Slot,
        turn: u64,
        system: &SystemState,
        application: Taken,
    ) {
        let state = application.chunks().map(|chunks| Chunked::new(system, chunks));
        let state = state.map_err(|damaged| damaged.to_string());
        self.step(machine, Event::Chunked { slot, turn, state });
        self.run_host(machine);
    }

    /// Plans the next look at whether the application starves or is to begin timed commands.
    fn look_after_host(&mut self, machine: usize) {
        let clock = self.clock();
        let host = &self.machines[machine].host;
        let starving = host.scheduler().is_starving().then_some(FILL_AFTER_US);
        let due = host.due().map(|due| (due.since(clock) * 1000).max(FILL_AFTER_US));
        let Some(after_us) = starving.into_iter().chain(due).min() else {
            return;
        };
        let look_us = self.now_us + after_us;
        // A sooner look stands, and leads to the next one.
        if self.machines[machine].look_us.is_none_or(|planned| planned > look_us) {
            self.machines[machine].look_us = Some(look_us);
            self.plan(look_us, Happening::Look { machine, look_us });
        }
    }

    /// Looks whether the application starves or is to begin timed commands.
    pub(super) fn look_at_host(&mut self, machine: usize, look_us: u64) {
        if self.machines[machine].look_us.take_if(|planned| *planned == look_us).is_none() {
            return;
        }
        let clock = self.clock();
        if self.machines[machine].host.due().is_some_and(|due| due <= clock) {
            self.step(machine, Event::TimersDue);
        }
        if self.machines[machine].host.scheduler().is_starving() {
            self.step(machine, Event::Starving);
        }
        self.look_after_host(machine);
    }

    /// How long a machine's own work takes. Under a script it takes no time.
    pub(super) fn own_work_us(&mut self, least_us: u64, most_us: u64) -> u64 {
        if self.stage.is_some() { 0 } else { self.rng.within(least_us, most_us) }
    }

    fn outcomes(
        &mut self,
        machine: usize,
        outcomes: Vec<Option<CommandOutcome>>,
    ) -> Vec<Option<CommandOutcome>> {
        match &mut self.machines[machine].adversary {
            Some(adversary) => adversary.outcomes(outcomes),
            None => outcomes,
        }
    }

    fn report_later(&mut self, machine: usize, about_us: u64, event: Event) {
        let due_us = self.now_us + self.own_work_us(about_us / 2, about_us * 2);
        self.plan(due_us, Happening::Event { machine, event });
    }

    fn tell_client(&mut self, contact: usize, connection: ConnectionId, frame: &FromContact) {
        let client = usize::try_from(connection.0).expect("a connection is a client's index here");
        self.dispatch(&Letter::ToClient { client, contact, frame: frame.clone() });
    }

    /// Whether the rounds let a letter through.
    fn is_carried(&self, letter: &Letter) -> bool {
        let Some(rounds) = &self.rounds else { return true };
        match letter {
            Letter::Peer { from, to, message, .. } => {
                rounds.carry(self.machines[*from].view, *from, *to, message)
            }
            Letter::ToContact { client, contact, .. } | Letter::ToClient { client, contact, .. } => {
                rounds.connect(self.machines[*contact].view, *client, *contact)
            }
        }
    }

    /// The gateway of a replica: what a client says.
    pub(super) fn on_contact(&mut self, client: usize, contact: usize, frame: ToContact) {
        let connection = ConnectionId(client as u64);
        match frame {
            ToContact::Hello { .. } => {
                let certificate = self.machines[contact].replica.endpoint_certificate().cloned();
                let welcome = FromContact::Welcome { version: WIRE_VERSION, certificate };
                self.tell_client(contact, connection, &welcome);
            }
            ToContact::Request(request) => {
                let entry = Entry::new(EntryBody::Client(request));
                match entry.check(&self.group, &self.verifier) {
                    Ok(()) => self.step(contact, Event::Request { connection, entry }),
                    Err(error) => {
                        let hint = Hint::Unacceptable(error.to_string());
                        self.tell_client(contact, connection, &FromContact::Hint { about: None, hint });
                    }
                }
            }
        }
    }

    /// Does what a client wants, and wakes it when it next looks at its clock.
    pub(super) fn serve_client(&mut self, client: usize) {
        for told in self.clients.take_told(client) {
            self.note(|words| Note::says(Party::Client(client), words.told(&told)));
        }
        for (contact, frame) in self.clients.take_frames(client) {
            for contact in self.machines_of(ReplicaId::at(contact)) {
                self.dispatch(&Letter::ToContact { client, contact, frame: frame.clone() });
            }
        }
        if let Some(due_us) = self.clients.next_wake_us(client) {
            self.plan(due_us.max(self.now_us), Happening::Client { client });
        }
    }
}
