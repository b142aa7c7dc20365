//! A process of clients. Each of its seats asks one command after the other and keeps a journal; a client that does
//! not learn an outcome leaves its seat to a new one, with another key and another session.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use smr_client::{Client, Config, Failure};
use smr_crypto::IdentityKey;
use smr_sim::history::{Ask, Op, Record};
use smr_sim::rng::Rng;
use smr_wire::Descriptor;

use crate::journal::Journal;

/// Keys that clients write as they like; few, so that they meet.
const KEYS: u64 = 3;

/// The key that is only ever counted up: from a value that was read to the next one.
pub(crate) const COUNTER: &str = "counter";

/// The text that stands for no value.
const NONE: &str = "(none)";

/// Times a thousand that a client asks again for an outcome that it did not learn, instead of giving up.
const AGAIN_PER_MILLE: u64 = 500;

/// What a process of clients is told.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) descriptor: Descriptor,
    pub(crate) journal: PathBuf,
    /// What its values begin with; no other process has the same.
    pub(crate) name: String,
    pub(crate) seats: usize,
    pub(crate) seed: u64,
}

/// Works until standard input ends, that is until whoever started this says so or has died.
pub(crate) fn work(orders: &Orders) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        // An error is an end, too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let journal = Arc::new(Journal::create(&orders.journal));
    let mut rng = Rng::new(orders.seed);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let seats: Vec<_> = (0..orders.seats)
            .map(|place| {
                let name = format!("{}s{place}", orders.name);
                let seat = Seat { place, name, rng: rng.fork(), asked: 0, seen: BTreeMap::new() };
                tokio::spawn(seat.work(orders.descriptor.clone(), journal.clone(), stop.clone()))
            })
            .collect();
        for seat in seats {
            seat.await.expect("a client");
        }
    });
}

/// What became of a command.
enum End {
    Answered(String),
    /// Not known: it may have been executed, or may be yet.
    Open,
    /// It never left, and why.
    NeverSent(String),
}

/// One client after the other.
struct Seat {
    place: usize,
    name: String,
    rng: Rng,
    asked: u64,
    /// The last value that was seen of each key; none for no value.
    seen: BTreeMap<String, Option<String>>,
}

impl Seat {
    async fn work(mut self, descriptor: Descriptor, journal: Arc<Journal>, stop: Arc<AtomicBool>) {
        let mut client = self.client(&descriptor);
        while !stop.load(Ordering::Relaxed) {
            self.asked += 1;
            let ask = self.draw();
            let record = Record { client: self.place, ask, asked_us: 0, answer: None };
            let command = record.command();
            journal.asks(self.place, self.asked, &String::from_utf8_lossy(&command));
            match self.settle(&client, command).await {
                End::Answered(outcome) => {
                    journal.learns(self.place, self.asked, &outcome);
                    self.hear(&record.ask, &outcome);
                }
                End::NeverSent(why) => journal.never_sent(self.place, self.asked, &why),
                End::Open => client = self.client(&descriptor),
            }
        }
    }

    fn client(&mut self, descriptor: &Descriptor) -> Client {
        let key = IdentityKey::from_seed(&self.rng.bytes32());
        let config = Config {
            deadline_ms: self.rng.within(2_000, 6_000),
            silence_ms: 2_000,
            connect_ms: 3_000,
            avoid_max_ms: 5_000,
            ..Config::default()
        };
        Client::connect(descriptor.clone(), key, config).expect("a valid descriptor")
    }

    /// Asks, and tells what became of it.
    async fn settle(&mut self, client: &Client, command: Vec<u8>) -> End {
        let line = |text: &str| text.replace('\n', " ");
        let mut was_sent = false;
        let mut result = client.call(command).await;
        loop {
            match result {
                Ok(certified) => return End::Answered(line(&String::from_utf8_lossy(&certified.outcome))),
                Err(Failure::Fault(fault)) => return End::Answered(line(&format!("fault: {fault}"))),
                Err(Failure::Unknown(unknown)) if self.rng.chance(AGAIN_PER_MILLE) => {
                    was_sent = true;
                    result = client.ask_again(*unknown).await;
                }
                Err(failure @ Failure::Strangers { .. }) => panic!("{failure}"),
                Err(failure) if was_sent || failure.may_have_executed() => return End::Open,
                Err(failure) => return End::NeverSent(line(&format!("{failure}; {:?}", client.stats()))),
            }
        }
    }

    fn draw(&mut self) -> Ask {
        let own = format!("{}n{}", self.name, self.asked);
        let key = format!("k{}", self.rng.within(1, KEYS));
        let op = match self.rng.within(0, 9) {
            0..=2 => Op::Get,
            3..=4 => Op::Put(own),
            5 => Op::Delete,
            6..=7 => match self.seen.get(&key) {
                Some(seen) => Op::Cas(seen.clone(), own),
                None => Op::Cas(None, own),
            },
            _ => return self.count(),
        };
        Ask::Kv(key, op)
    }

    fn count(&self) -> Ask {
        let next = |seen: &Option<String>| {
            let count = seen.as_ref().map_or(Ok(0), |text| text.parse::<u64>()).ok()?;
            Some(Op::Cas(seen.clone(), (count + 1).to_string()))
        };
        Ask::Kv(COUNTER.to_string(), self.seen.get(COUNTER).and_then(next).unwrap_or(Op::Get))
    }

    fn hear(&mut self, ask: &Ask, outcome: &str) {
        let Ask::Kv(key, op) = ask else { return };
        let value = |text: &str| (text != NONE).then(|| text.to_string());
        let seen = match (op, outcome) {
            (Op::Get, text) => value(text),
            (Op::Put(new) | Op::Cas(_, new), "ok") => Some(new.clone()),
            (Op::Delete, _) => None,
            (_, text) => match text.strip_prefix("differs ") {
                Some(text) => value(text),
                None => return,
            },
        };
        // Values here are single words. What is none was made up by liars: whoever reads the journal will judge.
        if seen.as_ref().is_none_or(|text| !text.contains(' ')) {
            self.seen.insert(key.clone(), seen);
        }
    }
}
