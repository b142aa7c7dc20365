//! Replicas are killed while clients work: nothing acknowledged is lost, and without a quorum nothing is answered.

use crate::clients::{Clients, client};
use crate::deployed::{Deployed, EBAWA, Kind, MENCIUS, MINBFT, PAXOS, PBFT};

/// Clients that write and read while replicas die.
const CLIENTS: usize = 4;

/// Commands that must be answered before the first kill, and again after it.
const ENOUGH: u64 = 60;

/// Kills `victim` while clients work; everything acknowledged must be there, and the service must go on.
async fn survives(kind: Kind, victim: usize) {
    let deployed = Deployed::up(kind);
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    clients.answered(ENOUGH).await;
    deployed.kill(victim);
    clients.answered(ENOUGH).await;
    clients.judge().await;

    let status = deployed.status();
    assert_eq!(status["group"]["up"], kind.replicas - 1, "{status}");
    assert_eq!(status["replicas"][victim]["state"], "down", "{status}");

    stops_at_two(&deployed, (victim + 1) % kind.replicas).await;
}

/// With a second one killed nothing is answered any more, rightly or wrongly, and `status` says so.
async fn stops_at_two(deployed: &Deployed, second: usize) {
    let descriptor = deployed.descriptor();
    deployed.kill(second);
    let client = client(&descriptor, 3_000);
    let answer = client.call(b"put k0 lost".to_vec()).await;
    assert!(answer.is_err(), "answered without a quorum: {answer:?}");
    let status = deployed.run(&["status", "kv"]);
    assert_eq!(status.status.code(), Some(1), "a stopped service is told by the exit code, too");
    let text = String::from_utf8(status.stdout).expect("text");
    let (left, all) = (deployed.kind.replicas - 2, deployed.kind.replicas);
    let said = format!("{left} of {all} up: stopped for good; its state is lost");
    assert!(text.contains(&said), "{text}");
    assert!(text.contains("smrcloud down kv"), "says what would help: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pbft_survives_its_primary_and_stops_without_a_lie_at_two() {
    survives(PBFT, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pbft_survives_a_backup_and_stops_without_a_lie_at_two() {
    survives(PBFT, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_survives_its_primary_and_stops_at_two() {
    survives(PAXOS, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mencius_survives_one_whose_turns_come_and_stops_at_two() {
    survives(MENCIUS, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minbft_survives_its_primary_and_stops_without_a_lie_at_two() {
    survives(MINBFT, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ebawa_survives_one_whose_turns_come_and_stops_without_a_lie_at_two() {
    survives(EBAWA, 1).await;
}
