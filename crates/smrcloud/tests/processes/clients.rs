//! Clients that write and read, and tell what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use smr_client::{Client, Config};
use smr_crypto::IdentityKey;
use smr_sim::check::linear::check_kv;
use smr_sim::history::{Ask, Op, Record};
use smr_wire::Descriptor;

use crate::until;

/// How long a client waits for an answer that is due, in ms.
const PATIENCE_MS: u64 = 60_000;

/// Clients at work on one service.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    workers: Vec<tokio::task::JoinHandle<Vec<Record>>>,
}

struct Shared {
    descriptor: Descriptor,
    began: Instant,
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Clients {
    /// So many of them begin.
    pub(crate) fn start(descriptor: Descriptor, count: usize) -> Clients {
        let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { descriptor, began: Instant::now(), answered, stop });
        let workers = (0..count).map(|index| tokio::spawn(work(index, count, shared.clone()))).collect();
        Clients { shared, workers }
    }

    /// Waits until so many more of their commands were answered.
    pub(crate) async fn answered(&self, more: u64) {
        let answered = || self.shared.answered.load(Ordering::Relaxed);
        let mut seen = answered();
        let goal = seen + more;
        // However many it takes: the service must only go on answering.
        while seen < goal {
            until("the service answers", || answered() > seen).await;
            seen = answered();
        }
    }

    /// Ends them; what all saw must be what one store would have answered, and nothing may be missing.
    pub(crate) async fn judge(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for worker in self.workers {
            history.extend(worker.await.expect("a client"));
        }
        history.sort_by_key(|record| record.asked_us);
        assert!(history.iter().all(|record| record.answer.is_some()), "a command was given up");
        check_kv(&history).unwrap_or_else(|why| panic!("clients saw what cannot be: {why}"));
    }
}

/// A client of its own key.
pub(crate) fn client(descriptor: &Descriptor, deadline_ms: u64) -> Client {
    let seed = smr_client::connect::tls::system_seed().expect("chance");
    let config = Config { deadline_ms, ..Config::default() };
    Client::connect(descriptor.clone(), IdentityKey::from_seed(&seed), config).expect("a valid descriptor")
}

/// Writes and reads until told to stop, and tells what it saw. Two clients or so meet at each key: more would leave the
/// judge too many orders to try.
async fn work(index: usize, count: usize, shared: Arc<Shared>) -> Vec<Record> {
    let now_us = || u64::try_from(shared.began.elapsed().as_micros()).expect("a short test");
    let client = client(&shared.descriptor, PATIENCE_MS);
    let mut seen = Vec::new();
    for number in 0usize.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let op = if number % 3 == 2 { Op::Get } else { Op::Put(format!("c{index}n{number}")) };
        let key = format!("k{}", (index + number) % count.div_ceil(2));
        let ask = Ask::Kv(key, op);
        let mut record = Record { client: index, ask, asked_us: now_us(), answer: None };
        if let Ok(certified) = client.call(record.command()).await {
            let answer = String::from_utf8(certified.outcome).expect("text");
            record.answer = Some((now_us(), answer));
            shared.answered.fetch_add(1, Ordering::Relaxed);
        }
        seen.push(record);
    }
    seen
}
