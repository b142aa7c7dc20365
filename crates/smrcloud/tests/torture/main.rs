//! Real replica processes, clients in processes of their own, and faults by a seeded plan: kills, stops, cut links.
//! What all clients saw, unknown outcomes included, must be linearizable, and service must resume after every phase.
//!
//! ```text
//!   this process:  plan -> faults -> proxies, signals        client processes: ask, keep journals
//!                  journals -> checker                        replica processes: smrcloud replica
//! ```
//!
//! How long and with which seed: `SMRCLOUD_TORTURE_SECONDS` and `SMRCLOUD_TORTURE_SEED`. A seed repeats the plan, not
//! the run: how processes and packets meet is the machine's own.

mod clients;
mod clock;
mod journal;
mod owner;
mod plan;
mod proxy;
mod run;
mod service;
mod worker;

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use smr_node::misbehave::Misbehaviour;
use smr_sim::check::linear::{NotLinear, check_kv};

use run::{Run, Settings};

/// How long anything may take; far more than it does on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(180);

/// How long faults come if nobody says otherwise: a few phases of each kind.
const SECONDS: u64 = 20;

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 15;

/// How often to look whether something has come to pass.
const POLL: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn through_kills_stops_and_cut_links_clients_see_one_store_and_service_resumes() {
    let settings = Settings {
        seed: setting("SMRCLOUD_TORTURE_SEED").unwrap_or_else(|| u64::from(std::process::id())),
        lasts: Duration::from_secs(setting("SMRCLOUD_TORTURE_SECONDS").unwrap_or(SECONDS)),
        liars: Vec::new(),
    };
    let mut run = Run::start(&settings).await;
    run.torture().await;
    run.finish().await;
}

/// One liar is what the service is made for: the same faults, while a replica lies all the time. So nobody else may
/// be faulty when an answer is due.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_among_four_and_everybody_cut_off_now_and_then_changes_no_answer() {
    let settings = Settings {
        seed: u64::from(std::process::id()),
        lasts: Duration::from_secs(5),
        liars: vec![(1, Misbehaviour::WrongOutcomes)],
    };
    let mut run = Run::start(&settings).await;
    run.torture().await;
    run.finish().await;
}

/// More liars than the service is made for sign what never happened, and the checker says so: it can say no.
#[tokio::test(flavor = "multi_thread")]
async fn two_liars_of_four_are_one_too_many_and_the_history_shows_it() {
    let settings = Settings {
        seed: 1,
        lasts: Duration::ZERO,
        liars: vec![(0, Misbehaviour::WrongOutcomes), (1, Misbehaviour::WrongOutcomes)],
    };
    let mut run = Run::start(&settings).await;
    // Now every quorum needs both of them, and no two replicas but they agree on an answer.
    run.stop(3).await;
    let began = Instant::now();
    let why = loop {
        match check_kv(&run.history()) {
            Err(NotLinear::Stuck(stuck)) => break stuck,
            _ => assert!(began.elapsed() < DEADLINE, "nobody has noticed that half of the replicas lie"),
        }
        tokio::time::sleep(POLL).await;
    };
    assert!(why.shown.contains("(or not)"), "{why}");
}

/// The entry of client processes; does nothing when it is called as a test.
#[test]
#[ignore = "other tests start it as a process of its own"]
fn client_process() {
    clients::entry();
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

/// Waits until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < DEADLINE, "{what}: not after {DEADLINE:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
