//! Simulated clients: the real invocation, a made-up workload, and the record of what each of them saw.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use smr_client::{
    Certified, Config, ContactId, Effect, Event, Failure, Invocation, ProofCheck, Report, Ticket,
};
use smr_crypto::threshold::{ServiceKey, ServiceSignature};
use smr_crypto::{Digest, IdentityKey, Verifier};
use smr_replica::Genesis;
use smr_wire::client::{ProofKind, WIRE_VERSION};
use smr_wire::{ClientId, FromContact, ServiceId, Timestamp, ToContact};

use crate::history::{Ask, BankOp, Op, Record};
use crate::rng::Rng;
use crate::threshold::Scheme;
use crate::world::Setting;

/// Keys that clients fight over; few, so that they meet.
const KEYS: u64 = 3;

/// Commands that a client has in flight at most.
const IN_FLIGHT_MAX: u64 = 3;

/// All clients of a world.
pub struct Clients {
    clients: Vec<Client>,
    history: Vec<Record>,
}

/// What a client has to tell whoever watches.
#[derive(Debug)]
pub(crate) enum Told {
    /// How a command ended.
    Ended { command: Vec<u8>, how: String },
    /// What it noticed on the way.
    Noticed(Report),
}

struct Client {
    index: usize,
    invocation: Invocation,
    service: ServiceId,
    rng: Rng,
    /// Commands still to be asked.
    left: usize,
    in_flight: BTreeMap<Ticket, usize>,
    in_flight_max: usize,
    value_bytes: usize,
    pause_us_max: u64,
    /// How long it waits for a contact's welcome, in microseconds.
    welcome_us: u64,
    teller: Option<Teller>,
    asked: u64,
    next_ask_us: u64,
    armed_us: Option<u64>,
    /// Contacts whose welcome is awaited, and until when.
    greeting: BTreeMap<usize, u64>,
    outbox: VecDeque<(usize, ToContact)>,
    /// Taken after each happening.
    told: Vec<Told>,
    /// Whom it knows when it begins.
    contacts: Vec<usize>,
    begun: bool,
    unknown: u64,
}

/// What a client of the bank keeps in mind about its payments.
#[derive(Default)]
struct Teller {
    /// Its own account is there, and no payment is under way.
    may_pay: bool,
    /// A payment waits for its deposit, which comes next.
    owes: bool,
}

impl Teller {
    fn hears(&mut self, ask: &Ask, answer: &str) {
        let Ask::Bank(op) = ask else { return };
        let is_purse = matches!(op, BankOp::Neutral(text) if text.starts_with("open p"));
        if is_purse && matches!(answer, "ok" | "exists") || matches!(op, BankOp::Pay(..)) {
            self.may_pay = true;
        }
    }
}

/// The service's key, once a correct replica knows it.
pub(crate) type KnownKey = Arc<OnceLock<ServiceKey>>;

/// Judges signatures as the world makes them.
struct Proofs {
    scheme: Scheme,
    key: KnownKey,
}

impl ProofCheck for Proofs {
    fn verify(&self, statement: &Digest, signature: &ServiceSignature) -> bool {
        self.key.get().is_some_and(|key| self.scheme.verify(key, statement, signature))
    }
}

/// The replicas, of so many, that a client knows when it begins.
fn contacts(setting: &Setting, replicas: usize, client: usize) -> Vec<usize> {
    match &setting.regions {
        Some(regions) if setting.near => (0..replicas)
            .min_by_key(|replica| regions.one_way_us(replicas + client, *replica))
            .into_iter()
            .collect(),
        _ => (0..replicas).collect(),
    }
}

impl Clients {
    pub(crate) fn new(
        setting: &Setting,
        genesis: &Genesis,
        verifier: &Arc<Verifier>,
        known: &KnownKey,
        rng: &mut Rng,
    ) -> Clients {
        let client = |index: usize| {
            let mut rng = rng.fork();
            let key = IdentityKey::from_seed(&rng.bytes32()).known_to(verifier.clone());
            let proofs = Arc::new(Proofs { scheme: setting.scheme, key: known.clone() });
            let seed = rng.bytes32();
            let invocation = Invocation::new(setting.patience.clone(), genesis.service(), key, proofs, &seed);
            Client {
                index,
                invocation: invocation.expect("valid settings"),
                service: genesis.service(),
                left: setting.commands,
                in_flight: BTreeMap::new(),
                in_flight_max: usize::try_from(rng.within(1, IN_FLIGHT_MAX)).expect("few"),
                value_bytes: setting.value_bytes,
                pause_us_max: setting.pause_us_max,
                welcome_us: setting.patience.connect_ms * 1000,
                teller: (setting.application == "bank").then(Teller::default),
                asked: 0,
                next_ask_us: rng.within(0, setting.pause_us_max * 5 / 2),
                armed_us: None,
                greeting: BTreeMap::new(),
                outbox: VecDeque::new(),
                told: Vec::new(),
                contacts: contacts(setting, genesis.members.len(), index),
                begun: false,
                unknown: 0,
                rng,
            }
        };
        Clients { clients: (0..setting.clients).map(client).collect(), history: Vec::new() }
    }

    /// What every client asked and saw, in the order of asking.
    #[must_use]
    pub fn history(&self) -> &[Record] {
        &self.history
    }

    /// How many commands have an answer.
    #[must_use]
    pub fn answered(&self) -> usize {
        let ended = |client: &Client| usize::try_from(client.asked).expect("fits") - client.in_flight.len();
        self.clients.iter().map(ended).sum()
    }

    /// Whether everything that was to be asked has come to an end.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.clients.iter().all(|client| client.left == 0 && client.in_flight.is_empty())
    }

    /// What has not, in words.
    #[must_use]
    pub fn unanswered(&self) -> Vec<String> {
        let told = |client: &Client| {
            format!("c{}: {} in flight, {} to ask", client.index, client.in_flight.len(), client.left)
        };
        let waits = |client: &&Client| client.left > 0 || !client.in_flight.is_empty();
        self.clients.iter().filter(waits).map(told).collect()
    }

    /// Commands whose outcome their client never learned.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.clients.iter().map(|client| client.unknown).sum()
    }

    /// A contact's words reach a client.
    pub(crate) fn frame(&mut self, client: usize, contact: usize, frame: FromContact, now_us: u64) {
        let (own, history) = (&mut self.clients[client], &mut self.history);
        let id = contact_id(contact);
        match frame {
            FromContact::Welcome { certificate, .. } => {
                if own.greeting.remove(&contact).is_some() {
                    let event = match certificate {
                        Some(certificate) => {
                            let accepts = [ProofKind::Certified, ProofKind::Channel];
                            Event::Connected(id, certificate.proof(&accepts))
                        }
                        None => Event::Disconnected { contact: id, why: "not ready".into() },
                    };
                    own.step(event, now_us, history);
                }
            }
            frame => own.step(Event::Frame { contact: id, frame }, now_us, history),
        }
    }

    /// A client looks at its clock.
    pub(crate) fn wake(&mut self, client: usize, now_us: u64) {
        let (own, history) = (&mut self.clients[client], &mut self.history);
        if !own.begun {
            own.begun = true;
            let ids = own.contacts.iter().copied().map(contact_id).collect();
            own.step(Event::Contacts(ids), now_us, history);
        }
        let late: Vec<usize> =
            own.greeting.iter().filter(|(_, until_us)| **until_us <= now_us).map(|(c, _)| *c).collect();
        for contact in late {
            own.greeting.remove(&contact);
            let why = "no welcome".to_string();
            own.step(Event::Disconnected { contact: contact_id(contact), why }, now_us, history);
        }
        if own.armed_us.is_some_and(|due_us| due_us <= now_us) {
            own.armed_us = None;
            own.step(Event::Timer, now_us, history);
        }
        while own.left > 0 && own.in_flight.len() < own.in_flight_max && own.next_ask_us <= now_us {
            own.ask(now_us, history);
        }
    }

    /// A client whose contacts are these from now on opens a session.
    pub(crate) fn connect(&mut self, client: usize, contacts: &[usize], now_us: u64) {
        let (own, history) = (&mut self.clients[client], &mut self.history);
        let ids = contacts.iter().copied().map(contact_id).collect();
        own.step(Event::Contacts(ids), now_us, history);
        if !own.begun {
            own.begun = true;
            own.step(Event::Start, now_us, history);
        }
    }

    /// A client asks this.
    pub(crate) fn ask(&mut self, client: usize, ask: Ask, now_us: u64) {
        let (own, history) = (&mut self.clients[client], &mut self.history);
        own.asked += 1;
        own.call(ask, now_us, history);
    }

    /// Who a client is.
    pub(crate) fn id(&self, client: usize) -> ClientId {
        self.clients[client].invocation.client()
    }

    /// What a client has to tell.
    pub(crate) fn take_told(&mut self, client: usize) -> Vec<Told> {
        std::mem::take(&mut self.clients[client].told)
    }

    /// What a client wants sent.
    pub(crate) fn take_frames(&mut self, client: usize) -> Vec<(usize, ToContact)> {
        self.clients[client].outbox.drain(..).collect()
    }

    /// When a client next has something to do by itself.
    pub(crate) fn next_wake_us(&self, client: usize) -> Option<u64> {
        let own = &self.clients[client];
        let asks = own.left > 0 && own.in_flight.len() < own.in_flight_max;
        let ask_us = asks.then_some(own.next_ask_us);
        own.greeting.values().copied().chain(own.armed_us).chain(ask_us).min()
    }
}

impl Told {
    fn of(record: &Record, result: &Result<Certified, Failure>) -> Told {
        let how = match result {
            Ok(certified) => String::from_utf8_lossy(&certified.outcome).into_owned(),
            Err(failure) => failure.to_string(),
        };
        Told::Ended { command: record.command(), how }
    }
}

impl Client {
    fn ask(&mut self, now_us: u64, history: &mut Vec<Record>) {
        self.left -= 1;
        self.asked += 1;
        self.next_ask_us = now_us + self.rng.within(0, self.pause_us_max);
        let ask = if self.teller.is_some() { self.draw_bank() } else { self.draw_kv() };
        self.call(ask, now_us, history);
    }

    fn call(&mut self, ask: Ask, now_us: u64, history: &mut Vec<Record>) {
        let record = Record { client: self.index, ask, asked_us: now_us, answer: None };
        let ticket = Ticket(self.asked);
        self.in_flight.insert(ticket, history.len());
        let command = record.command();
        history.push(record);
        self.step(Event::Call { ticket, command }, now_us, history);
    }

    fn draw_kv(&mut self) -> Ask {
        let unique = self.value(self.index as u64, self.asked);
        let key = format!("k{}", self.rng.within(1, KEYS));
        let op = match self.rng.within(0, 9) {
            0..=2 => Op::Get,
            3 => Op::Delete,
            4..=5 => Op::Cas(self.guess(), unique),
            _ => Op::Put(unique),
        };
        Ask::Kv(key, op)
    }

    /// Money that moves among a few accounts, and payments out of an account of the client's own, which only its own
    /// deposits fill: each is followed by the deposit that it waits for.
    fn draw_bank(&mut self) -> Ask {
        let purse = format!("p{}", self.index);
        // No two deposits of a client are equal.
        let amount = 100 + self.asked;
        let beside = self.in_flight_max > 1 && self.left > 0;
        let rng = &mut self.rng;
        let mut account = || format!("a{}", rng.within(1, KEYS));
        let (from, to, other) = (account(), account(), account());
        let teller = self.teller.as_mut().expect("it is a bank's client");
        if std::mem::take(&mut teller.owes) {
            return Ask::Bank(BankOp::Deposit(purse, amount));
        }
        let moved = rng.within(1, 200);
        Ask::Bank(match rng.within(0, 11) {
            _ if self.asked == 1 => BankOp::Neutral(format!("open {purse}")),
            0..=1 => BankOp::Neutral(format!("open {to}")),
            2..=4 => BankOp::Deposit(to, amount),
            5 => BankOp::Neutral(format!("each {from} {moved} {to} {other}")),
            6 => {
                let delay_ms = rng.within(0, 300);
                BankOp::Neutral(format!("after {delay_ms} transfer {from} {to} {moved}"))
            }
            7..=8 => BankOp::Total,
            9..=10 if beside && teller.may_pay => {
                // Less than the deposit that follows, so what earlier payments leave only helps.
                teller.owes = true;
                teller.may_pay = false;
                BankOp::Pay(purse, to, amount)
            }
            _ => BankOp::Neutral(format!("transfer {from} {to} {moved}")),
        })
    }

    /// A value that may stand somewhere: none, or one that some client may have put.
    fn guess(&mut self) -> Option<String> {
        let client = self.rng.within(0, 3);
        let number = self.rng.within(1, self.asked + 1);
        if self.rng.chance(300) { None } else { Some(self.value(client, number)) }
    }

    /// What `client` writes with its command `number`, as long as the setting wants it.
    fn value(&self, client: u64, number: u64) -> String {
        format!("c{client}n{number}{}", "-".repeat(self.value_bytes))
    }

    fn step(&mut self, event: Event, now_us: u64, history: &mut [Record]) {
        let mut effects = Vec::new();
        self.invocation.step(Timestamp(now_us / 1000), [event], &mut effects);
        for effect in effects {
            match effect {
                Effect::Connect(contact) => {
                    let contact = index_of(contact);
                    self.greeting.insert(contact, now_us + self.welcome_us);
                    let hello = ToContact::Hello { service: self.service, version: WIRE_VERSION };
                    self.outbox.push_back((contact, hello));
                }
                Effect::Send { contact, frame } => self.outbox.push_back((index_of(contact), frame)),
                Effect::Arm { at } => self.armed_us = Some(at.0.saturating_mul(1000)),
                Effect::Done { ticket, result } => {
                    let place = self.in_flight.remove(&ticket).expect("each call ends once");
                    self.told.push(Told::of(&history[place], &result));
                    let answer = match result {
                        Ok(certified) => String::from_utf8_lossy(&certified.outcome).into_owned(),
                        Err(Failure::Fault(fault)) => format!("fault: {fault}"),
                        Err(failure) if failure.may_have_executed() => {
                            self.unknown += 1;
                            continue;
                        }
                        // It never left: as if it had never been asked.
                        Err(_) => NEVER.to_string(),
                    };
                    if let Some(teller) = &mut self.teller {
                        teller.hears(&history[place].ask, &answer);
                    }
                    history[place].answer = Some((now_us, answer));
                }
                Effect::Report(report) => self.told.push(Told::Noticed(report)),
                Effect::Disconnect(_) => {}
            }
        }
    }
}

/// The answer of a command that never left its client.
pub(crate) const NEVER: &str = "(never sent)";

fn contact_id(contact: usize) -> ContactId {
    ContactId(u32::try_from(contact).expect("a group is small"))
}

fn index_of(contact: ContactId) -> usize {
    contact.0 as usize
}

/// Patience in proportion to that of replicas with [`crate::world::hasty_config`].
#[must_use]
pub fn hasty() -> Config {
    Config {
        window: 8,
        retry_ms: 200,
        retry_max_ms: 1_000,
        deadline_ms: 20_000,
        reconnect_ms: 50,
        avoid_ms: 500,
        avoid_max_ms: 2_000,
        silence_ms: 1_500,
        connect_ms: 400,
        ..Config::default()
    }
}
