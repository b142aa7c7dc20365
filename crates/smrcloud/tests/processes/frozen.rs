//! A replica that stands still while the others answer many commands, and then goes on, is back in step soon, and nobody
//! holds more and more memory meanwhile.
//!
//! How many commands: `SMRCLOUD_FROZEN_COMMANDS`.

use std::time::Instant;

use rustix::process::Signal;

use crate::clients::Clients;
use crate::deployed::{
    Deployed, EBAWA, Kind, MENCIUS, MINBFT, PAXOS, PBFT, is_stopped, resident_kib, signal,
};
use crate::until;

/// Commands that the others answer meanwhile, if nobody says otherwise: some checkpoints' worth.
const COMMANDS: u64 = 2_000;

/// Clients at work.
const CLIENTS: usize = 32;

/// Memory that a replica may hold more at the end than it did when the first was frozen, in KiB, however many commands there
/// were: the log, the queues and the replies kept for clients, each with a limit of its own.
const GROWTH_KIB_MAX: u64 = 64 << 10;

async fn comes_back(kind: Kind) {
    let setting = std::env::var("SMRCLOUD_FROZEN_COMMANDS").ok();
    let commands = setting.map_or(COMMANDS, |text| text.parse().expect("a number of commands"));
    let deployed = Deployed::up(kind);
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    clients.answered(100).await;
    let frozen = kind.replicas - 1;
    let pids: Vec<u32> = (0..kind.replicas).map(|replica| deployed.pid(replica)).collect();
    let before: Vec<u64> = pids.iter().map(|pid| resident_kib(*pid)).collect();
    signal(pids[frozen], Signal::STOP);
    until("it stands still", || is_stopped(pids[frozen])).await;
    let began = Instant::now();
    clients.answered(commands).await;
    let answered_in = began.elapsed();
    signal(pids[frozen], Signal::CONT);
    let thawed = Instant::now();
    // While clients go on, so that there is always more to catch up with.
    let reached = slot(&deployed, 0);
    until("it has what was decided meanwhile", || slot(&deployed, frozen) >= reached).await;
    let caught_up_in = thawed.elapsed();
    clients.judge().await;
    until("all are in step", || {
        let status = deployed.status();
        let place = |replica: usize| {
            let said = &status["replicas"][replica];
            (said["slot"].clone(), said["digest"].clone())
        };
        place(0).0.is_u64() && (1..kind.replicas).all(|replica| place(replica) == place(0))
    })
    .await;
    let grown: Vec<u64> =
        pids.iter().zip(&before).map(|(pid, before)| resident_kib(*pid).saturating_sub(*before)).collect();
    eprintln!(
        "{}: {commands} commands in {:.1} s without replica {frozen}, which had what was decided {:.1} s after it went \
         on; memory grew by {grown:?} KiB",
        kind.protocol,
        answered_in.as_secs_f64(),
        caught_up_in.as_secs_f64()
    );
    assert!(grown.iter().all(|kib| *kib < GROWTH_KIB_MAX), "memory grew by {grown:?} KiB");
}

/// The last slot that a replica executed; none if it does not answer.
fn slot(deployed: &Deployed, replica: usize) -> u64 {
    deployed.status()["replicas"][replica]["slot"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_under_pbft() {
    comes_back(PBFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_under_paxos() {
    comes_back(PAXOS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_under_mencius() {
    comes_back(MENCIUS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_under_minbft() {
    comes_back(MINBFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_under_ebawa() {
    comes_back(EBAWA).await;
}
