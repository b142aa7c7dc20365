//! What a large state costs a whole service: four replicas in this process (pbft), each with so much of it in memory.
//!
//! `cargo bench -p smr-node --bench states`; a number behind `--` is another size in megabytes than 1024. Three figures:
//!
//! - the throughput of a few clients that each have one command under way, and the longest time between an answer and the one
//!   before, without checkpoints, and with one every 64 slots, `quiescent` and `rolling`;
//! - how long a replica that comes empty takes until it is in step, with how long it takes to hash as much on one core;
//! - what the others do meanwhile, beside what they do undisturbed.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends, as a test does")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Service, call};
use smr_app::state::{State, Table};
use smr_app::{Application, Context, Strategy};
use smr_client::connect::Client;
use smr_consensus::ProtocolName;
use smr_crypto::merkle;
use smr_node::{Applications, Node, NodePhase};

/// Replicas that run from the beginning.
const PRESENT: &[usize] = &[0, 1, 2];

/// Bytes of a value: as many as leave an entry alone in its page.
const VALUE: usize = 3 << 10;

/// Values that one command writes.
const FILLED: u64 = 2048;

const CLIENTS: u8 = 8;

const MEASURED: Duration = Duration::from_secs(8);

/// Values by number, and the command that writes many of them.
struct Store {
    state: State,
    values: Table<u64, Vec<u8>>,
}

impl Default for Store {
    fn default() -> Store {
        let mut state = State::new();
        let values = state.table_in_stripes("values", 64);
        Store { state, values }
    }
}

impl Application for Store {
    async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(command).unwrap();
        let (verb, number) = text.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        let count = if verb == "fill" { FILLED } else { 1 };
        for number in number..number + count {
            let value: Vec<u8> =
                (0..VALUE as u64 / 8).flat_map(|at| (number * 31 + at).to_le_bytes()).collect();
            self.values.insert(&number, &value).await;
        }
        b"ok".to_vec()
    }

    fn state(&self) -> Option<&State> {
        Some(&self.state)
    }
}

/// A service of three replicas with so many values, and what the fourth is made from.
async fn filled(
    strategy: Strategy,
    checkpoint_slots: u64,
    fills: u64,
) -> (Service, smr_node::Parts, Vec<Client>) {
    let applications = Applications::of("store", Store::default);
    let shape = |genesis: &mut smr_replica::Genesis| {
        genesis.application = "store".to_owned();
        genesis.config.checkpoints = strategy;
        genesis.config.checkpoint_slots = checkpoint_slots;
    };
    let bend = |parts: &mut smr_node::Parts| parts.workers = NonZeroUsize::new(2).unwrap();
    let (service, mut late) =
        Service::begun(ProtocolName::Pbft, &applications, shape, bend, PRESENT.len()).await;
    let clients = service.clients(PRESENT, CLIENTS).await;
    for fill in 0..fills {
        assert_eq!(call(&clients[0], &format!("fill {}", fill * FILLED)).await, "ok");
    }
    (service, late.pop().unwrap(), clients)
}

/// What clients saw.
struct Seen {
    per_second: f64,
    /// The longest time in which nobody got an answer.
    gap: Duration,
    /// The longest that one answer took.
    longest: Duration,
}

/// Writes of all clients until `end`, each to a value of its own choice.
async fn load(clients: &[Client], values: u64, end: impl Future<Output = ()>) -> Seen {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let one = |(number, client): (u64, Client), stop: Arc<AtomicBool>| async move {
        let (mut calls, mut draw) = (Vec::new(), number);
        while !stop.load(Ordering::Relaxed) {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let began = Instant::now();
            assert_eq!(call(&client, &format!("put {}", (draw >> 33) % values)).await, "ok");
            calls.push((Instant::now(), began.elapsed()));
        }
        calls
    };
    let numbered = (1..).zip(clients.iter().cloned());
    let loads: Vec<_> = numbered.map(|client| tokio::spawn(one(client, stop.clone()))).collect();
    end.await;
    stop.store(true, Ordering::Relaxed);
    let mut calls = Vec::new();
    for load in loads {
        calls.extend(load.await.unwrap());
    }
    calls.sort_unstable();
    let gaps = calls.windows(2).map(|pair| pair[1].0 - pair[0].0);
    Seen {
        per_second: calls.len() as f64 / began.elapsed().as_secs_f64(),
        gap: gaps.max().unwrap_or_default(),
        longest: calls.iter().map(|(_, took)| *took).max().unwrap_or_default(),
    }
}

async fn checkpoints(fills: u64) {
    println!("checkpoints         commands/s   longest gap   longest answer   checkpoints");
    let rare = smr_consensus::Config::default().log_slots_max / 2;
    let cases = [
        ("hardly any", Strategy::Rolling, rare),
        ("quiescent", Strategy::Quiescent, 64),
        ("rolling", Strategy::Rolling, 64),
    ];
    for (name, strategy, slots) in cases {
        let (service, _late, clients) = filled(strategy, slots, fills).await;
        let before = service.wait("the status", PRESENT, |_| true).await;
        let seen = load(&clients, fills * FILLED, tokio::time::sleep(MEASURED)).await;
        let after = service.wait("the status", PRESENT, |_| true).await;
        let stable = (after[0].stable.0 - before[0].stable.0) / slots;
        println!(
            "{name:<18} {:>11.0} {:>13.1?} {:>16.1?} {stable:>13}",
            seen.per_second, seen.gap, seen.longest
        );
        service.stop().await;
    }
}

async fn transfer(fills: u64) {
    let applications = Applications::of("store", Store::default);
    let (mut service, late, clients) = filled(Strategy::Rolling, 64, fills).await;
    let undisturbed = load(&clients, fills * FILLED, tokio::time::sleep(MEASURED)).await;
    let began = Instant::now();
    service.nodes.push(Some(Node::start(late, &applications).unwrap()));
    let in_step = async {
        let goal = service.wait("the status", PRESENT, |_| true).await[0].stable;
        loop {
            let status = service.nodes[3].as_ref().unwrap().status().await.unwrap();
            if status.phase == NodePhase::Ready && status.executed >= goal {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let meanwhile = load(&clients, fills * FILLED, in_step).await;
    let took = began.elapsed();
    let bytes = vec![7; VALUE + 64];
    let hashing = Instant::now();
    for _ in 0..fills * FILLED {
        std::hint::black_box(merkle::leaf(std::hint::black_box(&bytes)));
    }
    let hashing = hashing.elapsed();
    let megabytes = (fills * FILLED * VALUE as u64) as f64 / 1e6;
    println!(
        "\n{megabytes:.0} MB from three others: {:.1} s, {:.0} MB/s, while they answered {:.0} commands/s beside {:.0} undisturbed; to hash \
         as much takes {:.1} s on one core",
        took.as_secs_f64(),
        megabytes / took.as_secs_f64(),
        meanwhile.per_second,
        undisturbed.per_second,
        hashing.as_secs_f64(),
    );
    service.stop().await;
}

#[tokio::main]
async fn main() {
    let megabytes = std::env::args().filter_map(|word| word.parse::<u64>().ok()).next_back().unwrap_or(1024);
    let fills = (megabytes << 20).div_ceil(FILLED * VALUE as u64);
    checkpoints(fills).await;
    transfer(fills).await;
}
