//! The promise, with the real program and real processes: clients at work, replicas killed.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smr_client::{Client, Config};
use smr_crypto::IdentityKey;
use smr_sim::check::linear::check_kv;
use smr_sim::history::{Ask, Op, Record};
use smr_wire::Descriptor;

/// Clients that write and read while replicas die.
const CLIENTS: usize = 4;

/// Commands that must be answered before the first kill, and again after it.
const ENOUGH: u64 = 60;

/// Far more than any of this takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A service deployed for one test; taken down when the test ends, however it ends.
struct Deployed {
    home: tempfile::TempDir,
}

impl Deployed {
    fn up() -> Deployed {
        let deployed = Deployed { home: tempfile::tempdir().expect("a directory") };
        let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kv.toml");
        let output = deployed.run(&["up", &description.display().to_string(), "--detach"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        deployed
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smrcloud"));
        command.env("SMRCLOUD_HOME", self.home.path()).args(arguments).output().expect("the program runs")
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.run(arguments).stdout).expect("JSON")
    }

    fn kill(&self, replica: usize) {
        let status = self.json(&["status", "kv", "--json"]);
        let pid = status["replicas"][replica]["pid"].as_u64().expect("a process");
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
        assert!(killed.success(), "replica {replica} could not be killed");
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.run(&["down", "kv"]);
    }
}

/// What clients at work share.
struct Work {
    descriptor: Descriptor,
    began: Instant,
    answered: AtomicU64,
    stop: AtomicU64,
}

impl Work {
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a short test")
    }

    async fn answered(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + DEADLINE;
        while self.answered.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "the service does not answer any more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn client(descriptor: &Descriptor, deadline_ms: u64) -> Client {
    let seed = smr_client::connect::tls::system_seed().expect("chance");
    let config = Config { deadline_ms, ..Config::default() };
    Client::connect(descriptor.clone(), IdentityKey::from_seed(&seed), config).expect("a valid descriptor")
}

/// Writes and reads until told to stop, and tells what it saw.
async fn work(index: usize, work: Arc<Work>) -> Vec<Record> {
    let client = client(&work.descriptor, 60_000);
    let mut seen = Vec::new();
    for number in 0u64.. {
        if work.stop.load(Ordering::Relaxed) > 0 {
            break;
        }
        let op = if number % 3 == 2 { Op::Get } else { Op::Put(format!("c{index}n{number}")) };
        let key = format!("k{}", number % 2);
        let ask = Ask::Kv(key, op);
        let mut record = Record { client: index, ask, asked_us: work.now_us(), answer: None };
        if let Ok(certified) = client.call(record.command()).await {
            let answer = String::from_utf8(certified.outcome).expect("text");
            record.answer = Some((work.now_us(), answer));
            work.answered.fetch_add(1, Ordering::Relaxed);
        }
        seen.push(record);
    }
    seen
}

/// Kills `victim` while clients work; everything acknowledged must be there, and the service must go on.
async fn survives(victim: usize) {
    let deployed = Deployed::up();
    let descriptor: Descriptor =
        serde_json::from_value(deployed.json(&["descriptor", "kv"])).expect("a descriptor");
    let shared = Arc::new(Work {
        descriptor,
        began: Instant::now(),
        answered: AtomicU64::new(0),
        stop: AtomicU64::new(0),
    });
    let workers: Vec<_> = (0..CLIENTS).map(|index| tokio::spawn(work(index, shared.clone()))).collect();
    shared.answered(ENOUGH).await;
    deployed.kill(victim);
    shared.answered(ENOUGH).await;
    shared.stop.store(1, Ordering::Relaxed);
    let mut history = Vec::new();
    for worker in workers {
        history.extend(worker.await.expect("a client"));
    }
    history.sort_by_key(|record| record.asked_us);
    assert!(history.iter().all(|record| record.answer.is_some()), "a command was given up");
    check_kv(&history).unwrap_or_else(|why| panic!("clients saw what cannot be: {why}"));

    let status = deployed.json(&["status", "kv", "--json"]);
    assert_eq!(status["group"]["up"], 3, "{status}");
    assert_eq!(status["replicas"][victim]["state"], "down", "{status}");

    stops_at_two(&deployed, &shared.descriptor, (victim + 1) % 4).await;
}

/// With a second one killed nothing is answered any more, rightly or wrongly, and `status` says so.
async fn stops_at_two(deployed: &Deployed, descriptor: &Descriptor, second: usize) {
    deployed.kill(second);
    let client = client(descriptor, 3_000);
    let answer = client.call(b"put k0 lost".to_vec()).await;
    assert!(answer.is_err(), "two of four answered: {answer:?}");
    let status = deployed.run(&["status", "kv"]);
    assert_eq!(status.status.code(), Some(1), "a stopped service is told by the exit code, too");
    let text = String::from_utf8(status.stdout).expect("text");
    assert!(text.contains("2 of 4 up: stopped; needs 1 more replica to go on"), "{text}");
    assert!(text.contains("smrcloud down kv"), "says what would help: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_primary_loses_nothing_and_killing_another_stops_without_a_lie() {
    survives(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_backup_loses_nothing_and_killing_another_stops_without_a_lie() {
    survives(2).await;
}
