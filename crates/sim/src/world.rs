//! A whole service in one thread: seed in, history out.
//!
//! Virtual time jumps from one happening to the next. Everything that could differ between two runs (delays, losses,
//! faults, the order in which tasks are polled, what clients ask) is drawn from the seed, so the same seed makes the
//! same run, byte for byte.

pub(crate) mod crash;
mod effects;
pub mod faults;
pub(crate) mod happenings;
mod reboot;
pub(crate) mod rest;
mod restart;
pub(crate) mod stage;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smr_consensus::lanes::core::SoftwareCore;
use smr_consensus::verified::Rules;
use smr_consensus::{Config as OrderingConfig, Group, ProtocolName, Seat};
use smr_crypto::dkg::{DealingSeed, DecryptionKey};
use smr_crypto::{IdentityKey, PublicKey, Verifier};
use smr_replica::{Config, Event, Genesis, Manifest, Member, Replica, Scheduling, Secrets};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, ServiceId, Timestamp};

use crate::adversary::{Adversary, Misdeed};
use crate::check::lanes::Watches;
use crate::clients::{Clients, KnownKey};
use crate::durable::Durable;
use crate::host::Machine;
use crate::network::{Host, Network, Weather};
use crate::observe::{Observer, Violation};
use crate::regions::Regions;
use crate::rng::Rng;
use crate::rounds::Rounds;
use crate::threshold::Scheme;
use crate::trace::Trace;
use happenings::Happening;
use stage::{Party, Stage};

/// What a run is to be like; everything else follows from the seed.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which protocol.
    pub protocol: ProtocolName,
    /// Which application: `kv` or `bank`.
    pub application: String,
    /// How many replicas may fail (f).
    pub faults: u16,
    /// Whether pairings are real.
    pub scheme: Scheme,
    /// How links behave until the world heals.
    pub weather: Weather,
    /// Where hosts stand, if they are not all in one building.
    pub regions: Option<Regions>,
    /// The replica that two machines are from when the world wakes: both have its keys and what it knew, and neither
    /// knows of the other. The second one stands after all others.
    pub twin: Option<ReplicaId>,
    /// Which machines were taken over, and what they do.
    pub misdeeds: BTreeMap<u16, Misdeed>,
    /// How commands run side by side.
    pub scheduling: Scheduling,
    /// Limits and timing of the replicas.
    pub config: Config,
    /// How many clients there are.
    pub clients: usize,
    /// How many commands each of them asks.
    pub commands: usize,
    /// How long a client waits before it asks the next one at most, in microseconds.
    pub pause_us_max: u64,
    /// Whether a client knows the nearest replica only, and not all of them.
    pub near: bool,
    /// How patient clients are.
    pub patience: smr_client::Config,
    /// Bytes that clients add to the values that they write, so that replies that show them are large.
    pub value_bytes: usize,
    /// How long the execution of a slot takes at most, in microseconds.
    pub execution_us_max: u64,
    /// Whether messages are encoded and decoded on their way.
    pub encode: bool,
    /// Whether machines have disks and come back with what is on them.
    pub durable: bool,
}

/// The agreed beginning of time in every run, in ms since 1970.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);

/// A service, its clients, its network and its clock.
pub struct World {
    setting: Setting,
    now_us: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    happened: u64,
    machines: Vec<Machine>,
    clients: Clients,
    known: KnownKey,
    network: Network,
    rounds: Option<Rounds>,
    rng: Rng,
    /// The first voters.
    group: Arc<Group>,
    genesis: Arc<Genesis>,
    administrator: Arc<IdentityKey>,
    /// Keys of all trusted cores that there ever were.
    cores: BTreeSet<PublicKey>,
    /// What the administrator has signed, by the generation that it ended.
    manifests: BTreeMap<Generation, Manifest>,
    verifier: Arc<Verifier>,
    observer: Observer,
    /// Where the protocol is one of `lanes`: its invariants.
    watch: Option<Watches>,
    refused: u64,
    violation: Option<Violation>,
    /// Where a script directs this world, if one does.
    stage: Option<Stage>,
    /// What happened, in words, if somebody wants to read it.
    pub trace: Trace,
}

impl World {
    /// A service whose replicas are about to begin.
    #[must_use]
    pub fn new(setting: Setting, seed: u64, trace: Trace) -> World {
        let mut world = World::still(setting, seed, trace);
        for index in 0..world.machines.len() {
            let start_us = world.rng.within(0, 20_000);
            world.plan(start_us, Happening::Event { machine: index, event: Event::Start });
        }
        for client in 0..world.setting.clients {
            let start_us = world.rng.within(0, 20_000);
            world.plan(start_us, Happening::Client { client });
        }
        world
    }

    /// A service in which nothing is about to happen.
    fn still(setting: Setting, seed: u64, trace: Trace) -> World {
        let mut rng = Rng::new(seed);
        let size = usize::from(setting.protocol.profile().replicas(setting.faults));
        let verifier = Arc::new(setting.scheme.verifier());
        let secrets: Vec<Secrets> = (0..size).map(|_| secrets(&mut rng, &verifier)).collect();
        let has_cores = setting.protocol.profile().model == FaultModel::Hybrid;
        let key = |rng: &mut Rng| Arc::new(IdentityKey::from_seed(&rng.bytes32()).known_to(verifier.clone()));
        let cores: Vec<_> = (0..size).filter(|_| has_cores).map(|_| key(&mut rng)).collect();
        let (genesis, administrator) = genesis(&setting, &secrets, &cores, &mut rng);
        let genesis = Arc::new(genesis);
        let group = Arc::new(genesis.group());
        let mut machines = Vec::with_capacity(size);
        for (index, own) in secrets.into_iter().enumerate() {
            let seat = Seat::new(group.clone(), ReplicaId::at(index), own.identity.clone());
            let adversary = adversary(&setting, index, &seat, &mut rng, &verifier);
            let core_key = cores.get(index).map(|key| key.public());
            let replica = Replica::new(genesis.clone(), seat.me, own.clone(), core_key, verifier.clone());
            let mut machine = Machine::new(seat.clone(), own, replica, &genesis, adversary, rng.draw());
            let window_slots = genesis.config.consensus.window_slots;
            let core = |key: &Arc<IdentityKey>| {
                let seed = DealingSeed(rng.bytes32());
                SoftwareCore::new(group.clone(), window_slots, seat.me, key.clone(), seed)
            };
            machine.core = cores.get(index).map(core);
            // Whoever was taken over says what it likes, whatever it wrote down.
            machine.disk = (setting.durable && machine.adversary.is_none()).then(Durable::new);
            machines.push(machine);
        }
        let consensus = &genesis.config.consensus;
        let lanes = machines.first().and_then(|first| first.replica.engine().lanes());
        let watch = lanes.map(|lanes| Watches::new(lanes, group.clone(), consensus.clone()));
        let known = KnownKey::default();
        let clients = Clients::new(&setting, &genesis, &verifier, &known, &mut rng);
        World {
            network: Network::new(setting.weather.clone(), setting.regions.clone(), rng.fork()),
            rounds: None,
            now_us: 0,
            queue: BTreeMap::new(),
            happened: 0,
            machines,
            clients,
            known,
            rng,
            group,
            genesis,
            administrator: Arc::new(administrator),
            cores: cores.iter().map(|key| key.public()).collect(),
            manifests: BTreeMap::new(),
            verifier,
            observer: Observer::default(),
            watch,
            refused: 0,
            violation: None,
            stage: None,
            trace,
            setting,
        }
    }

    /// Runs until `until_us` of simulated time, until `steps` happenings are done, or until a property fails.
    ///
    /// # Errors
    /// The property that failed.
    pub fn run(&mut self, until_us: u64, steps: u64) -> Result<(), Violation> {
        while self.happened < steps
            && let Some(((due, _), _)) = self.queue.first_key_value()
            && *due <= until_us
        {
            let ((due, _), happening) = self.queue.pop_first().expect("looked at just now");
            self.now_us = due;
            self.happened += 1;
            self.happen(happening);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        if self.happened < steps {
            self.now_us = self.now_us.max(until_us);
        }
        Ok(())
    }

    /// What it was made from.
    #[must_use]
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Simulated time, in microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// How many things have happened.
    #[must_use]
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// What correct replicas have shown so far.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Messages that were lost, and messages that were refused.
    #[must_use]
    pub fn dropped(&self) -> (u64, u64) {
        (self.network.lost, self.refused)
    }

    /// The clients and what they saw.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The trusted core of a replica, if it has one.
    #[must_use]
    pub fn core(&self, machine: usize) -> Option<&SoftwareCore> {
        self.machines[self.core_of(machine)].core.as_ref()
    }

    /// Whether its core has answered all that it was asked for, and the replica knows.
    #[must_use]
    pub fn core_rests(&self, machine: usize) -> bool {
        self.machines[machine].core_until_us < self.now_us
    }

    /// A machine's replica.
    #[must_use]
    pub fn replica(&self, machine: usize) -> &Replica {
        &self.machines[machine].replica
    }

    /// Who a machine is, with its key.
    #[must_use]
    pub fn seat(&self, machine: usize) -> &Seat {
        &self.machines[machine].seat
    }

    /// The clock of every machine: they run alike here.
    #[must_use]
    pub fn clock(&self) -> Timestamp {
        START.plus_ms(self.now_us / 1000)
    }

    fn plan(&mut self, due_us: u64, happening: Happening) {
        let sequence = self.happened.wrapping_shl(20) + self.queue.len() as u64;
        let mut key = (due_us, sequence);
        while self.queue.contains_key(&key) {
            key.1 += 1;
        }
        self.queue.insert(key, happening);
    }

    fn fail(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }

    fn is_correct(&self, machine: usize) -> bool {
        let Machine { adversary, seat, .. } = &self.machines[machine];
        adversary.is_none() && self.setting.twin != Some(seat.me)
    }

    /// The machine at which the trusted core of this one's replica stands, if it has one: twins have one between them.
    fn core_of(&self, machine: usize) -> usize {
        self.machines[machine].seat.me.index()
    }

    /// The machines that are `replica`: one, or two twins.
    fn machines_of(&self, replica: ReplicaId) -> impl Iterator<Item = usize> + use<> {
        let second = self.setting.twin.filter(|twin| *twin == replica).map(|_| self.group.size());
        std::iter::once(replica.index()).chain(second)
    }

    /// What a machine checks messages of other replicas against.
    #[must_use]
    pub fn rules(&self, machine: usize) -> Rules<'_> {
        let group = self.machines[machine].replica.group();
        Rules { group, config: &self.genesis.config.consensus, verifier: &self.verifier }
    }

    /// The host number of a party: clients come after the replicas.
    fn host(&self, party: Party) -> Host {
        match party {
            Party::Replica(machine) => machine,
            Party::Client(client) => self.machines.len() + client,
        }
    }
}

/// What makes the machine `index` misbehave, if it was taken over.
fn adversary(
    setting: &Setting,
    index: usize,
    seat: &Seat,
    rng: &mut Rng,
    verifier: &Arc<Verifier>,
) -> Option<Adversary> {
    let index = u16::try_from(index).expect("a group is small");
    let misdeed = setting.misdeeds.get(&index).copied();
    misdeed.map(|misdeed| Adversary::new(misdeed, seat.clone(), rng.fork(), START, verifier))
}

fn secrets(rng: &mut Rng, verifier: &Arc<Verifier>) -> Secrets {
    Secrets {
        identity: Arc::new(IdentityKey::from_seed(&rng.bytes32()).known_to(verifier.clone())),
        decryption: Arc::new(DecryptionKey::from_seed(&rng.bytes32())),
        dealing_seed: DealingSeed(rng.bytes32()),
    }
}

/// How the service begins, and the key of its administrator.
fn genesis(
    setting: &Setting,
    secrets: &[Secrets],
    cores: &[Arc<IdentityKey>],
    rng: &mut Rng,
) -> (Genesis, IdentityKey) {
    let member = |own: &Secrets, index: usize, rng: &mut Rng| Member {
        identity: own.identity.public(),
        channel: IdentityKey::from_seed(&rng.bytes32()).public(),
        encryption: own.decryption.public(),
        core: cores.get(index).map(|key| key.public()),
        address: format!("replica-{index}:1"),
    };
    let members = secrets.iter().enumerate().map(|(index, own)| member(own, index, rng)).collect();
    let administrator = IdentityKey::from_seed(&rng.bytes32());
    let genesis = Genesis {
        name: "sim".into(),
        application: setting.application.clone(),
        protocol: setting.protocol,
        faults: setting.faults,
        members,
        administrator: administrator.public(),
        durable: setting.durable,
        scheduling: setting.scheduling.clone(),
        config: setting.config.clone(),
    };
    genesis.validate().expect("settings of simulations are valid");
    (genesis, administrator)
}

/// Settings that make rare things common: small windows, frequent checkpoints, little patience.
#[must_use]
pub fn hasty_config() -> Config {
    Config {
        consensus: OrderingConfig {
            window_slots: 4,
            pipeline_slots: 2,
            batch_entries_max: 4,
            log_slots_max: 16,
            backlog_slots_max: 6,
            pool_entries_max: 256,
            patience_ms: 150,
            new_view_ms: 300,
            status_ms: 60,
            slow_turn_ms: 40,
            skew_max_ms: 5_000,
            ..OrderingConfig::default()
        },
        checkpoint_slots: 6,
        answer_bytes: 1 << 10,
        transfer_ms: 200,
        repeat_ms: 100,
        ceremony_ms: 300,
        sessions_max: 16,
        client_sessions_max: 3,
        blocks_kept: 24,
        session_reply_bytes_max: 1 << 10,
        ..Config::default()
    }
}

/// The same with so little room for replies that most are given up before a client that missed them asks again.
#[must_use]
pub fn cramped_config() -> Config {
    Config {
        reply_bytes_max: 8 << 10,
        session_reply_bytes_max: 64 << 10,
        slot_reply_bytes_max: 32 << 10,
        blocks_bytes_max: 32 << 10,
        ..hasty_config()
    }
}

/// The service that a world runs, as clients name it.
impl World {
    /// Its id.
    #[must_use]
    pub fn service(&self) -> ServiceId {
        self.group.service
    }
}
