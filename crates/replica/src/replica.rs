//! The composition: one `step` over consensus, sessions, blocks, checkpoints, transfer and key generation.

mod checkpointing;
mod client;
mod durable;
mod fetch;
mod generations;
mod healing;
mod ordered;
mod peer;
mod restart;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::lanes::core::{AttestedDealing, Refusal};
use smr_consensus::protocol::Observation as ConsensusObservation;
use smr_consensus::{Batch, Engine, Entry, Group, Protocol, Seat};
use smr_crypto::dkg::{DealingSeed, DecryptionKey};
use smr_crypto::threshold::{GroupKey, KeyShare};
use smr_crypto::{Digest, IdentityKey, PublicKey, Verifier};
use smr_wire::{EndpointCertificate, Epoch, ReplicaId, ServiceId, Slot, Timestamp};

pub use self::durable::{CannotGoOn, Found};
use self::durable::{Keeping, Restoring};
use self::generations::Generations;
use self::healing::{Healed, Healing};
pub use self::restart::NotRestarted;
use self::restart::Restarting;
use crate::checkpoint::Checkpoints;
use crate::effect::{ConnectionId, Effect, Event, Input, Observation, Timer};
use crate::epoch::{Voice, Wants};
use crate::genesis::Genesis;
use crate::message::{Incoming, Message, PeerMessage};
use crate::quota::Quota;
use crate::replies::{Blocks, Key, Member, Shares, Statement};
use crate::status::{Halt, Phase, Status};
use crate::system::{SystemCommand, SystemState};
use crate::transfer::Transfer;
use crate::waiting::Waiting;

/// What only this replica knows. Made on its machine; never encoded, never sent.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Signs what it says.
    pub identity: Arc<IdentityKey>,
    /// Opens the shares encrypted to it.
    pub decryption: Arc<DecryptionKey>,
    /// What its dealings are made from where no trusted core makes them, so that a restart deals the same again rather than
    /// something else.
    pub dealing_seed: DealingSeed,
}

/// A whole replica.
#[derive(Clone, Debug)]
pub struct Replica {
    genesis: Arc<Genesis>,
    service: ServiceId,
    seat: Seat,
    secrets: Secrets,
    /// Verifies what cores say in what was ordered.
    verifier: Arc<Verifier>,
    engine: Engine,
    /// Events that consensus gets before this step ends.
    inbox: VecDeque<smr_consensus::Event<smr_consensus::Message>>,
    system: SystemState,
    voice: Voice,
    key: Option<Arc<GroupKey>>,
    share: Option<Arc<KeyShare>>,
    /// Decided, but not admitted while a state is being taken.
    decided: VecDeque<(Slot, Batch)>,
    /// Admitted, not yet executed.
    executing: BTreeMap<Slot, Executing>,
    executed: Slot,
    /// Executed slots whose replies are not signed, or not sent to clients that wait here.
    unsettled: BTreeSet<Slot>,
    /// The application's state after this slot is being taken.
    draining: Option<Slot>,
    /// Bytes of the batches admitted since the last one was.
    since_checkpoint: u64,
    /// What was admitted since the last stable state, to be executed again if this replica's own turns out to be wrong. As
    /// limited as the log of consensus, and the same memory.
    admitted: VecDeque<(Slot, Batch)>,
    /// A state on its way into this replica.
    restoring: Option<Restoring>,
    keeping: Keeping,
    /// What is wrong with its own state, until it has the right one.
    healing: Option<Healing>,
    healed: Healed,
    /// Raised when what workers make of its state is of no use any more.
    turn: u64,
    /// Why this replica says nothing more to clients, if it has come to that.
    halted: Option<Halt>,
    blocks: Blocks,
    shares: Shares,
    endpoints: Option<EndpointCertificate>,
    waiting: Waiting,
    /// Requests that consensus has not taken or refused yet; empty between steps.
    offering: BTreeMap<Digest, Offering>,
    quota: Quota,
    checkpoints: Checkpoints,
    transfer: Transfer,
    generations: Generations,
    restarting: Restarting,
}

/// A request on its way into the pool.
#[derive(Clone, Debug)]
struct Offering {
    connection: ConnectionId,
    keys: Vec<Key>,
}

/// A slot on its way through the application.
#[derive(Clone, Debug)]
struct Executing {
    batch: Digest,
    members: Vec<Member>,
}

impl Replica {
    /// A replica of a service that begins with `genesis`, which was validated. `core` is the key of its trusted core, if
    /// it has one; as long as the service knows another one for it, it follows and does not vote.
    #[must_use]
    pub fn new(
        genesis: Arc<Genesis>,
        me: ReplicaId,
        secrets: Secrets,
        core: Option<PublicKey>,
        verifier: Arc<Verifier>,
    ) -> Replica {
        let group = Arc::new(genesis.group());
        assert!(group.contains(me), "replica {me} is not in a group of {}", group.size());
        let votes = generations::votes(&group, me, core.as_ref());
        let seat = Seat { votes, ..Seat::new(group, me, secrets.identity.clone()) };
        let engine = genesis.protocol.start(seat.clone(), genesis.config.consensus.clone());
        Replica {
            service: seat.group.service,
            seat,
            secrets,
            verifier,
            engine,
            inbox: VecDeque::new(),
            system: SystemState::new(&genesis),
            voice: Voice::default(),
            key: None,
            share: None,
            decided: VecDeque::new(),
            executing: BTreeMap::new(),
            executed: Slot(0),
            unsettled: BTreeSet::new(),
            draining: None,
            since_checkpoint: 0,
            admitted: VecDeque::new(),
            restoring: None,
            keeping: Keeping::default(),
            healing: None,
            healed: Healed::default(),
            turn: 0,
            halted: None,
            blocks: Blocks::new(genesis.config.blocks_kept, genesis.config.blocks_bytes_max),
            shares: Shares::default(),
            endpoints: None,
            waiting: Waiting::default(),
            offering: BTreeMap::new(),
            quota: Quota::default(),
            checkpoints: Checkpoints::new(&genesis.config, genesis.faults),
            transfer: Transfer::default(),
            generations: Generations::new(core),
            restarting: Restarting::default(),
            genesis,
        }
    }

    /// Takes one input and appends what follows from it.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        let Input { clock, event } = input;
        match event {
            Event::Start => {
                self.inbox.push_back(smr_consensus::Event::Start);
                effects.push(Effect::Arm { timer: Timer::Repeat, after_ms: self.genesis.config.repeat_ms });
                self.begin(effects);
                self.speak(false, effects);
            }
            Event::Peer(Incoming::Consensus(message)) => {
                // What was checked for the last generation says nothing in this one.
                if message.generation() == self.seat.group.generation {
                    self.inbox.push_back(smr_consensus::Event::Message(message));
                }
            }
            Event::Peer(Incoming::Elsewhere { from, generation }) => {
                self.on_elsewhere(from, generation, effects);
            }
            Event::Peer(Incoming::Peer(message)) => {
                let (from, message) = message.into_parts();
                self.on_peer(from, message, effects);
            }
            Event::Request { connection, entry } => self.on_request(connection, entry, effects),
            Event::Closed(connection) => self.waiting.close(connection),
            Event::Attested(answer) => self.on_attested(answer),
            Event::Vouched(voucher) => self.on_vouched(voucher),
            Event::Cease { generation, slot } => self.on_cease(generation, slot),
            Event::Restart(manifest) => self.on_restart(manifest, effects),
            Event::Dealt(answer) => self.on_dealt(answer, effects),
            Event::Timer(timer) => self.on_timer(timer, effects),
            Event::Executed { slot, outcomes, late } => self.on_executed(slot, outcomes, &late, effects),
            Event::Starving => {
                self.note_starving();
                self.offer_system(&SystemCommand::Fill { end: self.system.slot });
            }
            Event::TimersDue => self.offer_system(&SystemCommand::Timers { end: self.system.slot }),
            Event::Checkpointed { slot, state } => self.on_checkpointed(slot, state, effects),
            Event::Chunked { slot, turn, state } => self.on_chunked(slot, turn, state, effects),
            Event::Kept(slot) => self.on_kept(slot, effects),
            Event::Restored { slot, result } => self.on_restored(slot, result, effects),
            Event::Signed { statement, digest, share } => self.on_signed(statement, digest, share, effects),
            Event::Combined { statement, digest, signature, culprits } => {
                self.on_combined((statement, digest), signature, &culprits, effects);
            }
        }
        self.run_consensus(clock, effects);
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let ordering = self.engine.status();
        let behind = self.transfer.is_wanted() || ordering.highest.since(self.executed) > 2 * self.window();
        let phase = if self.halted.is_some() {
            Phase::Halted
        } else if self.healing.is_some() {
            Phase::Healing
        } else if behind {
            Phase::CatchingUp
        } else if !self.seat.votes {
            Phase::Rejoining
        } else if !ordering.installed {
            Phase::ChangingView
        } else if self.endpoints.is_none() {
            Phase::GeneratingKey
        } else {
            Phase::Ready
        };
        Status {
            phase,
            epoch: self.system.epoch(),
            generation: self.seat.group.generation,
            votes: self.seat.votes,
            ceased: ordering.ceased.map(|ceased| ceased.slot),
            not_restarted: self.restarting.refused(),
            view: ordering.view,
            primary: ordering.primary,
            decided: ordering.decided,
            executed: self.executed,
            stable: self.checkpoints.stable(),
            digest: self.system.results,
            waiting: ordering.waiting,
            sessions: self.system.sessions.len(),
            share: self.share.is_some(),
            ceremony: self.system.ceremony.progress(),
            healing: self.healing.as_ref().map(|healing| healing.flaw().clone()),
            heals: self.healed.all,
            fetched: self.transfer.progress(),
            halted: self.halted.clone(),
        }
    }

    /// Whether it proposes in the view that it is in.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        let ordering = self.engine.status();
        ordering.installed && ordering.primary == self.seat.me
    }

    /// The service's key, once generated, with the epoch of its shares.
    #[must_use]
    pub fn group_key(&self) -> Option<(Epoch, &GroupKey)> {
        self.key.as_deref().map(|key| (self.system.epoch(), key))
    }

    /// The contacts under the service's signature, once there is one.
    #[must_use]
    pub fn endpoint_certificate(&self) -> Option<&EndpointCertificate> {
        self.endpoints.as_ref()
    }

    /// The voters of the generation that it is in.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.seat.group
    }

    /// Whether the group counts on what it says.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.seat.votes
    }

    /// The replicated state beside the application's, for checks.
    #[must_use]
    pub fn system(&self) -> &SystemState {
        &self.system
    }

    /// Its part in ordering, for checks.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    fn window(&self) -> u64 {
        self.genesis.config.consensus.window_slots
    }

    /// Gives consensus what waits for it, and what that leads to, until nothing is left.
    fn run_consensus(&mut self, clock: Timestamp, effects: &mut Vec<Effect>) {
        let mut ordered = smr_consensus::Effects::default();
        while let Some(event) = self.inbox.pop_front() {
            self.engine.step(smr_consensus::Input { clock, event }, &mut ordered);
            for effect in ordered.drain() {
                self.on_consensus(effect, effects);
            }
        }
        self.try_restart(effects);
    }

    fn on_consensus(
        &mut self,
        effect: smr_consensus::Effect<smr_consensus::Message>,
        effects: &mut Vec<Effect>,
    ) {
        use smr_consensus::Effect as Ordering;
        match effect {
            Ordering::Send { to, message } => {
                effects.push(Effect::Send { to, message: Message::Consensus(message) });
            }
            Ordering::Attest(operation) => self.attest(operation, effects),
            Ordering::Broadcast(message) => effects.push(Effect::Broadcast(Message::Consensus(message))),
            Ordering::Decide { slot, batch } => {
                self.decided.push_back((slot, batch));
                self.admit_decided(effects);
            }
            Ordering::Offered { entry, added } => self.on_offered(entry, added, effects),
            Ordering::NeedState { base } => self.want_state(base, effects),
            Ordering::Arm { timer, after_ms } => {
                effects.push(Effect::Arm { timer: Timer::Consensus(timer), after_ms });
            }
            Ordering::Disarm(timer) => effects.push(Effect::Disarm(Timer::Consensus(timer))),
            Ordering::Persist(record) => effects.push(Effect::Persist(record)),
            Ordering::Report(seen) => effects.push(Effect::Report(Observation::Consensus(seen))),
        }
    }

    /// Says what key generation wants of this replica, if anything.
    fn speak(&mut self, waited: bool, effects: &mut Vec<Effect>) {
        match self.voice.next(self.seat.me, &self.system, &self.secrets, waited) {
            None => {}
            Some(Wants::Deal(attempt)) => effects.push(Effect::Deal(Box::new(attempt))),
            Some(Wants::Say(command)) => {
                self.offer_system(&command);
                let said = self.system.ceremony.progress();
                effects.push(Effect::Report(Observation::Ceremony(said)));
                effects
                    .push(Effect::Arm { timer: Timer::Ceremony, after_ms: self.genesis.config.ceremony_ms });
            }
        }
    }

    /// The core has dealt. If that attempt is over by now, nobody will take it.
    fn on_dealt(&mut self, answer: Result<Box<AttestedDealing>, Refusal>, effects: &mut Vec<Effect>) {
        match answer {
            Ok(dealing) => {
                self.offer_system(&SystemCommand::Attested(dealing));
                let said = self.system.ceremony.progress();
                effects.push(Effect::Report(Observation::Ceremony(said)));
            }
            Err(why) => {
                let refused = ConsensusObservation::CoreRefused(why);
                effects.push(Effect::Report(Observation::Consensus(refused)));
            }
        }
    }

    fn offer_system(&mut self, command: &SystemCommand) {
        let body = EntryBody::System(SystemEntry::sign(&self.seat, smr_wire::encode(command)));
        self.inbox.push_back(smr_consensus::Event::Offer(Entry::new(body)));
    }

    fn on_timer(&mut self, timer: Timer, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Consensus(timer) => self.inbox.push_back(smr_consensus::Event::Timer(timer)),
            Timer::Repeat => {
                effects.push(Effect::Arm { timer: Timer::Repeat, after_ms: self.genesis.config.repeat_ms });
                self.repeat(effects);
            }
            Timer::Ceremony => {
                if self.key.is_none() {
                    effects.push(Effect::Arm {
                        timer: Timer::Ceremony,
                        after_ms: self.genesis.config.ceremony_ms,
                    });
                    self.speak(true, effects);
                }
            }
            Timer::Transfer => self.on_transfer_timer(effects),
        }
    }

    /// From here on this replica neither signs nor answers: it cannot be trusted to be right.
    fn halt(&mut self, why: Halt, effects: &mut Vec<Effect>) {
        self.halted.get_or_insert_with(|| why.clone());
        effects.push(Effect::Report(Observation::Halted(why)));
        self.send_away(effects);
    }

    fn broadcast(effects: &mut Vec<Effect>, message: PeerMessage) {
        effects.push(Effect::Broadcast(Message::Peer(message)));
    }

    fn send(effects: &mut Vec<Effect>, to: ReplicaId, message: PeerMessage) {
        effects.push(Effect::Send { to, message: Message::Peer(message) });
    }

    /// What a statement says, if this replica has come so far.
    fn statement_digest(&self, statement: Statement) -> Option<Digest> {
        match statement {
            Statement::Block(slot) => self.blocks.get(slot).map(|block| block.statement(&self.service, slot)),
            Statement::Endpoints(epoch, issued) => {
                let current = self.system.endpoints.as_ref()?;
                (current.epoch == epoch && current.issued == issued).then(|| current.statement())
            }
        }
    }
}
