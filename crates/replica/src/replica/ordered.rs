//! What comes out of the log: admission and execution.

use smr_app::{CommandOutcome, HostCommand, LateOutcome, SlotWork};
use smr_consensus::Batch;
use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::verified::Rules;
use smr_wire::client::{About, FaultModel};
use smr_wire::{Call, ClientId, Outcome, Refusal, ReplicaId, Request, SessionId, Slot};

use super::{Executing, Replica};
use crate::effect::{Effect, Observation};
use crate::known_bugs;
use crate::replies::{self, Block, BlockProof, CROWDED_OUT, Key, Member, MemberState, Statement};
use crate::sessions::{Opening, Place, Verdict};
use crate::system::Applied;

impl Replica {
    /// Admits decided slots, in order, unless a snapshot is being taken: then they wait until it is.
    pub(super) fn admit_decided(&mut self, effects: &mut Vec<Effect>) {
        while (self.draining.is_none() || known_bugs::ADMITS_DURING_A_SNAPSHOT.is_on())
            && self.restoring.is_none()
            && self.healing.is_none()
            && !self.is_at_the_end()
            && let Some((slot, batch)) = self.decided.pop_front()
        {
            self.admit(slot, &batch, effects);
        }
    }

    fn admit(&mut self, slot: Slot, batch: &Batch, effects: &mut Vec<Effect>) {
        self.system.begin_slot(slot, &batch.digest(), batch.time());
        let (mut members, mut commands) = (Vec::new(), Vec::new());
        // Slots up to a barrier are filled with nothing, so none may be left for a marker that somebody waits for.
        let (mut fill, mut timers) = (self.system.voters.barrier().is_some(), false);
        for (index, entry) in batch.entries().iter().enumerate() {
            let index = u16::try_from(index).expect("a batch has at most BATCH_ENTRIES_MAX entries");
            match entry.body() {
                EntryBody::Client(request) => {
                    self.admit_request(slot, index, request, &mut members, &mut commands);
                }
                EntryBody::System(SystemEntry { author, payload, .. }) => {
                    // A slot that was opened although others wait must not leave them waiting.
                    fill = true;
                    let config = &self.genesis.config.consensus;
                    let rules = Rules { group: &self.seat.group, config, verifier: &self.verifier };
                    match self.system.apply(*author, payload, &self.genesis, &rules) {
                        Some(Applied::Timers) => timers = true,
                        Some(Applied::Fill) | None => {}
                        Some(applied) => self.on_applied(applied, effects),
                    }
                }
            }
        }
        let (time, seed) = (self.system.time, self.system.history);
        let work = SlotWork { slot, time, seed, commands, timers, fill };
        self.executing.insert(slot, Executing { batch: batch.digest(), members });
        effects.push(Effect::Execute(work));
        let ends_generation = self.system.voters.end_slot(slot);
        self.since_checkpoint += batch.bytes() as u64;
        self.admitted.push_back((slot, batch.clone()));
        let config = &self.genesis.config;
        let is_due = slot.0.is_multiple_of(config.checkpoint_slots)
            || self.since_checkpoint >= config.checkpoint_bytes;
        if ends_generation || is_due {
            self.draining = Some(slot);
            self.since_checkpoint = 0;
            effects.push(Effect::Checkpoint { slot, strategy: config.checkpoints });
        }
    }

    /// The checks that matter: whatever a lying primary put into the log meets them here, alike on all replicas.
    fn admit_request(
        &mut self,
        slot: Slot,
        index: u16,
        request: &Request,
        members: &mut Vec<Member>,
        commands: &mut Vec<HostCommand>,
    ) {
        // Without a key no reply could be certified, so nothing is executed either.
        if self.system.key.is_none() {
            return;
        }
        let client = request.client;
        match &request.call {
            Call::Open { nonce, window } => {
                let fresh = SessionId::opened(slot, index);
                let opening = Opening { nonce: *nonce, window: *window, fresh };
                let place = Place { slot, now: self.system.time };
                let opened = self.system.sessions.open(client, opening, place, &self.genesis.config);
                let state = MemberState::Ended(opened.map_or_else(Outcome::Refused, Outcome::Opened));
                members.push(Member { client, about: About::opening(*nonce), state });
            }
            Call::Commands { session, commands: asked, .. } => {
                for command in asked {
                    let about = About { session: *session, number: command.number };
                    let state = self.judge(client, about, &command.bytes, commands);
                    members.push(Member { client, about, state });
                }
            }
        }
    }

    fn judge(
        &mut self,
        client: ClientId,
        about: About,
        bytes: &[u8],
        commands: &mut Vec<HostCommand>,
    ) -> MemberState {
        match self.system.sessions.admit(client, about.session, about.number, self.system.time) {
            Verdict::Refused(refusal) => MemberState::Ended(Outcome::Refused(refusal)),
            Verdict::Repeat => MemberState::Repeat,
            Verdict::Run if bytes.len() > self.genesis.config.command_bytes_max as usize => {
                MemberState::TooLarge
            }
            Verdict::Run => {
                commands.push(HostCommand { caller: client, command: bytes.to_vec() });
                MemberState::Running(commands.len() - 1)
            }
        }
    }

    /// Something came of a command of key generation.
    fn on_applied(&mut self, applied: Applied, effects: &mut Vec<Effect>) {
        match applied {
            Applied::CeremonyProgressed | Applied::Fill | Applied::Timers => {}
            Applied::Rejoins(_) => self.show_barrier(),
            Applied::CeremonyFailed(reason) => {
                effects.push(Effect::Report(Observation::Ceremony(reason)));
            }
            Applied::CoresBroken(dealers) => {
                let broken = dealers.into_iter().map(ReplicaId).collect();
                effects.push(Effect::Report(Observation::CoresBroken(broken)));
            }
            Applied::KeyGenerated { qualified, excluded } => {
                self.take_key(effects);
                let share = self.share.is_some();
                effects.push(Effect::Report(Observation::KeyGenerated { qualified, excluded, share }));
            }
        }
        self.speak(false, effects);
    }

    /// Takes up the service's key and this replica's share of it from the ceremony's transcript.
    pub(super) fn take_key(&mut self, effects: &mut Vec<Effect>) {
        self.key = self.system.key.clone().map(std::sync::Arc::new);
        let share = self.system.ceremony.key_share(self.seat.me.0, &self.secrets.decryption);
        self.share = share.ok().map(std::sync::Arc::new);
        self.certify_endpoints(effects);
    }

    /// Signs the current contacts, if that was not done.
    pub(super) fn certify_endpoints(&mut self, effects: &mut Vec<Effect>) {
        let Some(endpoints) = &self.system.endpoints else {
            return;
        };
        let statement = Statement::Endpoints(endpoints.epoch, endpoints.issued);
        self.shares.prune(self.blocks.oldest(), Some(statement));
        self.sign(statement, effects);
    }

    /// Asks for this replica's share on a statement. One that has diverged says nothing more.
    pub(super) fn sign(&self, statement: Statement, effects: &mut Vec<Effect>) {
        if self.is_silent() {
            return;
        }
        if let (Some(share), Some(digest)) = (self.share.clone(), self.statement_digest(statement)) {
            effects.push(Effect::Sign { statement, digest, share });
        }
    }

    /// The application has executed `slot`.
    pub(super) fn on_executed(
        &mut self,
        slot: Slot,
        outcomes: Vec<Option<CommandOutcome>>,
        late: &[LateOutcome],
        effects: &mut Vec<Effect>,
    ) {
        // A restore may have overtaken it.
        let Some(Executing { batch, members }) = self.executing.remove(&slot) else {
            return;
        };
        assert!(slot == self.executed.next(), "slot {slot} executed after {}", self.executed);
        self.executed = slot;
        let members = self.end_members(slot, members, outcomes, late);
        self.system.sessions.end_slot(slot);
        let block = Block::close(members);
        self.system.end_slot(slot, &batch, &block.root());
        self.close_block(slot, block, effects);
        self.inbox.push_back(smr_consensus::Event::Executed(slot));
    }

    /// The members of a slot's block with what became of them: those of its own commands that do not wait, and
    /// those that waited and were woken in it.
    fn end_members(
        &mut self,
        slot: Slot,
        members: Vec<Member>,
        outcomes: Vec<Option<CommandOutcome>>,
        late: &[LateOutcome],
    ) -> Vec<Member> {
        let bytes_max = self.genesis.config.slot_reply_bytes_max.into();
        let waits: Vec<bool> = outcomes.iter().map(Option::is_none).collect();
        let own = outcomes.into_iter().flatten();
        let mut ended: Vec<Outcome> =
            own.chain(late.iter().map(|late| late.outcome.clone())).map(outcome_of).collect();
        replies::fit(&mut ended, bytes_max, &Outcome::Fault(CROWDED_OUT.into()));
        let late_outcomes = ended.split_off(ended.len() - late.len());
        let mut own = ended.into_iter();

        let mut woken = Vec::new();
        for (late, outcome) in late.iter().zip(late_outcomes) {
            let (client, about) = self.key_of(slot, &members, late);
            self.system.sessions.ended(about.session, about.number, &outcome, &self.genesis.config);
            woken.push(Member { client, about, state: MemberState::Ended(outcome) });
        }
        let mut repeats = Vec::new();
        let mut kept = Vec::with_capacity(members.len() + woken.len());
        for Member { client, about, state } in members {
            let About { session, number } = about;
            let outcome = match state {
                MemberState::Ended(_) => {
                    kept.push(Member { client, about, state });
                    continue;
                }
                MemberState::Running(command) if waits[command] => {
                    let position = u32::try_from(command).expect("a batch has fewer commands");
                    self.system.parked.park(slot, position, (client, about));
                    continue;
                }
                MemberState::Running(_) => own.next().expect("each command is one member's, in their order"),
                MemberState::TooLarge => Outcome::Refused(Refusal::TooLarge),
                // Its outcome comes when it has waited; who asks for it gets that.
                MemberState::Repeat if self.system.parked.contains(&(client, about)) => continue,
                MemberState::Repeat => {
                    repeats.push(self.system.sessions.outcome(session, number));
                    kept.push(Member { client, about, state });
                    continue;
                }
            };
            self.system.sessions.ended(session, number, &outcome, &self.genesis.config);
            kept.push(Member { client, about, state: MemberState::Ended(outcome) });
        }
        replies::fit(&mut repeats, bytes_max, &Outcome::Refused(Refusal::Stale));
        let repeated = kept.iter_mut().filter(|member| member.state == MemberState::Repeat);
        for (member, outcome) in repeated.zip(repeats) {
            member.state = MemberState::Ended(outcome);
        }
        kept.append(&mut woken);
        kept
    }

    /// Whose command was woken in `slot`, which has these members. It may have come with the same slot, or even with a
    /// later one that runs beside it and has not ended.
    fn key_of(&mut self, slot: Slot, members: &[Member], late: &LateOutcome) -> Key {
        if let Some(key) = self.system.parked.take(late.slot, late.position) {
            return key;
        }
        self.system.parked.ends_early(late.slot, late.position);
        let later = self.executing.get(&late.slot).map(|executing| executing.members.as_slice());
        let of_slot = if late.slot == slot { members } else { later.unwrap_or_default() };
        let command = late.position as usize;
        let found = of_slot.iter().find(|member| member.state == MemberState::Running(command));
        let Member { client, about, .. } = found.expect("the host executes what it was given");
        (*client, *about)
    }

    fn close_block(&mut self, slot: Slot, block: Block, effects: &mut Vec<Effect>) {
        let empty = block.members().is_empty();
        let lost = self.blocks.add(slot, block);
        self.forget(&lost);
        let endpoints = self.system.endpoints.as_ref().map(|e| Statement::Endpoints(e.epoch, e.issued));
        self.shares.prune(self.blocks.oldest(), endpoints);
        if self.seat.group.model == FaultModel::Crash && !self.is_silent() {
            // Whoever could sign with the others could as well say so alone.
            self.blocks.prove(slot, BlockProof::Channel);
            self.reply(slot, effects);
        } else if !empty && self.share.is_some() && !self.is_silent() {
            self.unsettled.insert(slot);
            self.sign(Statement::Block(slot), effects);
            self.try_combine(Statement::Block(slot), effects);
        }
        self.report_settled();
    }
}

fn outcome_of(outcome: CommandOutcome) -> Outcome {
    match outcome {
        CommandOutcome::Answer(bytes) => Outcome::Answer(bytes),
        CommandOutcome::Fault(fault) => Outcome::Fault(fault.to_string()),
    }
}
