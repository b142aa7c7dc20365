//! Services whose commands run side by side, wait for each other and are timed, under one scheduler after the other
//! and with another number of threads on each replica. That the order of locks is the same everywhere is part of
//! what checkpoints certify, so a replica that differs halts.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

mod common;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{DEADLINE, Service, call};
use smr_client::connect::Client;
use smr_node::{Applications, Parts};
use smr_replica::{Genesis, Scheduling};
use smr_wire::Slot;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const ALL: &[usize] = &[0, 1, 2, 3];

/// Slots from one checkpoint to the next.
const CHECKPOINT_SLOTS: u64 = 8;

/// Clients that give commands side by side.
const CLIENTS: u8 = 4;

/// Accounts among which money moves to and fro, and what is in each.
const ACCOUNTS: u64 = 6;
const DEPOSIT: u64 = 1000;

/// What each client pays once somebody else has brought it.
const PAYMENT: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_under_sequential_stays_equal_on_all_replicas() {
    busy_bank("sequential", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_under_mat_stays_equal_on_all_replicas() {
    busy_bank("mat", 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_in_rounds_of_four_by_two_stays_equal_on_all_replicas() {
    busy_bank("rounds", 4, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_in_blocks_of_three_by_two_stays_equal_on_all_replicas() {
    busy_bank("blocks", 3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_under_kendo_stays_equal_on_all_replicas() {
    busy_bank("kendo", 4, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waits_survives_checkpoints_and_a_replica_that_takes_over_their_state() {
    // What reaches the last replica goes through a door.
    let (door, _) = watch::channel(true);
    let behind_door = |parts: &mut Parts| {
        workers_by_number(parts);
        // Few messages wait for whoever does not hear them.
        parts.limits.peer_outbox.frames_max = 32;
        if parts.me.index() == 3 {
            let inner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            inner.set_nonblocking(true).unwrap();
            let address = inner.local_addr().unwrap();
            let outer = std::mem::replace(&mut parts.listener, TcpListener::from_std(inner).unwrap());
            tokio::spawn(keep_door(outer, address, door.subscribe()));
        }
    };
    let mut service = Service::of(&Applications::builtin(), bank("rounds", 4, 2), behind_door).await;
    let client = service.client(ALL).await;
    for name in ["shop", "till"] {
        assert_eq!(call(&client, &format!("open {name}")).await, "ok");
    }
    let payment = begin(&client, "pay shop till 50");
    let other = begin(&client, "pay till shop 7");

    // It hears nothing while the log that it would need is given up.
    door.send_replace(false);
    let before = service.wait("their state", ALL, |_| true).await.iter().map(|s| s.stable.0).max().unwrap();
    let missed = Slot(before + 6 * CHECKPOINT_SLOTS);
    while service.wait("their state", &[0, 1, 2], |_| true).await.iter().any(|s| s.stable < missed) {
        assert_eq!(call(&client, "balance shop").await, "0");
    }
    let deaf = service.wait("their state", &[3], |_| true).await.remove(0);
    assert!(deaf.executed < missed, "{deaf:#?}");
    door.send_replace(true);
    service.wait("the state is taken over", &[3], |status| status.executed >= missed).await;

    // From now on it is needed, and the two that wait are known to it only as a part of the state.
    service.nodes[1].take().unwrap().stop().await.unwrap();
    assert!(!payment.is_finished() && !other.is_finished());
    assert_eq!(call(&client, "deposit shop 60").await, "60");
    assert_eq!((finish(payment).await, finish(other).await), ("ok".to_owned(), "ok".to_owned()));
    assert_eq!(call(&client, "balance shop").await, "17");
    assert_eq!(call(&client, "total").await, "2 60");
    let seen = service.agree(&[0, 2, 3]).await;
    assert!(seen[2].counters["slots_executed"] < seen[2].executed.0, "{:#?}", seen[2]);
    service.stop().await;
}

/// Clients give a bank all kinds of commands, some of which wait for the last deposits.
async fn busy_bank(preset: &str, primaries: u32, steps: u32) {
    let shape = bank(preset, primaries, steps);
    let service = Service::of(&Applications::builtin(), shape, workers_by_number).await;
    let clients = service.clients(ALL, CLIENTS).await;
    for account in 0..ACCOUNTS {
        assert_eq!(call(&clients[0], &format!("open a{account}")).await, "ok");
        assert_eq!(call(&clients[0], &format!("deposit a{account} {DEPOSIT}")).await, DEPOSIT.to_string());
    }
    let mut payments = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(call(client, &format!("open purse{number}")).await, "ok");
        payments.push(begin(client, &format!("pay purse{number} a{number} {PAYMENT}")));
    }
    let done = Arc::new(AtomicBool::new(false));
    let wander = |(seed, client): (u64, &Client)| tokio::spawn(wander(client.clone(), seed, done.clone()));
    let wandering: Vec<_> = (0..).zip(&clients).map(wander).collect();

    let wanted = Slot(8 * CHECKPOINT_SLOTS);
    service.wait("checkpoints", ALL, |status| status.stable >= wanted || status.halted.is_some()).await;
    assert!(payments.iter().all(|payment| !payment.is_finished()));
    // Each brings the money that another one's payment waits for, in two parts, while the rest goes on.
    for amount in [PAYMENT - 1, 1] {
        for (number, client) in clients.iter().enumerate() {
            let purse = (number + 1) % clients.len();
            call(client, &format!("deposit purse{purse} {amount}")).await;
        }
    }
    for payment in payments {
        assert_eq!(finish(payment).await, "ok");
    }
    done.store(true, Ordering::Relaxed);
    for one in wandering {
        timeout(DEADLINE, one).await.unwrap().unwrap();
    }
    let (accounts, sum) = (ACCOUNTS + u64::from(CLIENTS), ACCOUNTS * DEPOSIT + u64::from(CLIENTS) * PAYMENT);
    assert_eq!(call(&clients[0], "total").await, format!("{accounts} {sum}"));
    let seen = service.agree(ALL).await;
    assert!(seen.iter().all(|status| status.stable >= wanted), "{seen:#?}");
    service.stop().await;
}

/// One client's commands, drawn from a seed, until told to stop. Money moves, and none comes or goes.
async fn wander(client: Client, seed: u64, done: Arc<AtomicBool>) {
    let mut state = seed;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    while !done.load(Ordering::Relaxed) {
        let (from, to, amount) = (draw(ACCOUNTS), draw(ACCOUNTS), 1 + draw(300));
        let (command, is_right): (String, fn(&str) -> bool) = match draw(8) {
            0 => ("total".to_owned(), |reply| {
                let least = ACCOUNTS * DEPOSIT;
                let sum = reply.split(' ').next_back().and_then(|sum| sum.parse().ok());
                sum.is_some_and(|sum| (least..=least + u64::from(CLIENTS) * PAYMENT).contains(&sum))
            }),
            1 => (format!("each a{from} {amount} a{to} a{} a0", draw(ACCOUNTS)), |reply| reply == "ok"),
            2 => {
                let delay_ms = draw(20);
                (format!("after {delay_ms} transfer a{from} a{to} {amount}"), |reply| reply == "ok")
            }
            3 => (format!("balance a{from}"), |reply| reply.parse::<u64>().is_ok()),
            _ => {
                let command = format!("transfer a{from} a{to} {amount}");
                (command, |reply| reply == "ok" || reply.starts_with("short "))
            }
        };
        let reply = call(&client, &command).await;
        assert!(is_right(&reply), "{command}: {reply}");
    }
}

/// Makes a service one of the bank, with checkpoints close to each other.
fn bank(preset: &str, primaries: u32, steps: u32) -> impl FnOnce(&mut Genesis) {
    let scheduling = Scheduling { preset: preset.to_owned(), primaries, steps };
    move |genesis| {
        genesis.application = "bank".to_owned();
        genesis.scheduling = scheduling;
        genesis.config.checkpoint_slots = CHECKPOINT_SLOTS;
    }
}

/// Each replica gets another number of workers.
fn workers_by_number(parts: &mut Parts) {
    parts.workers = NonZeroUsize::MIN.saturating_add(parts.me.index());
}

/// Calls beside what else there is to do.
fn begin(client: &Client, command: &str) -> JoinHandle<String> {
    let (client, command) = (client.clone(), command.to_owned());
    tokio::spawn(async move { call(&client, &command).await })
}

async fn finish(call: JoinHandle<String>) -> String {
    timeout(DEADLINE, call).await.unwrap().unwrap()
}

/// Leads connections on to `inner` while the door is open, and ends them when it closes.
async fn keep_door(outer: TcpListener, inner: SocketAddr, door: watch::Receiver<bool>) {
    while let Ok((mut outside, _)) = outer.accept().await {
        let mut door = door.clone();
        if !*door.borrow_and_update() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut inside) = TcpStream::connect(inner).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut outside, &mut inside) => {}
                _ = door.changed() => {}
            }
        });
    }
}
