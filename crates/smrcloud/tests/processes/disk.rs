//! Replicas that write down what they promise are killed, one, some or all at once, in the middle of load, and come back with
//! everything that was acknowledged. How many rounds it takes is told by `SMRCLOUD_CRASH_ROUNDS`.

use rustix::process::Signal;

use crate::clients::Clients;
use crate::deployed::{Deployed, EBAWA, Kind, MENCIUS, MINBFT, PAXOS, PBFT, signal};
use crate::until;

/// Clients that write and read meanwhile.
const CLIENTS: usize = 4;

/// Commands that must be answered between two rounds.
const ENOUGH: u64 = 40;

/// Rounds, unless somebody wants more.
const ROUNDS: usize = 3;

fn rounds() -> usize {
    let told = std::env::var("SMRCLOUD_CRASH_ROUNDS").ok();
    told.map_or(ROUNDS, |text| text.parse().expect("SMRCLOUD_CRASH_ROUNDS is a number"))
}

/// In each round replicas are killed: one, then all of them at once, then two, and so on.
async fn goes_on(kind: Kind) {
    let (deployed, mut up) = Deployed::attended(kind.on_disk());
    until("a service", || deployed.is_healthy(|_| true)).await;
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    for round in 0..rounds() {
        clients.answered(ENOUGH).await;
        let count = [1, kind.replicas, 2][round % 3];
        let victims: Vec<usize> = (0..count).map(|next| (round + next) % kind.replicas).collect();
        let victims: Vec<u32> = victims.into_iter().map(|replica| deployed.pid(replica)).collect();
        victims.iter().for_each(|pid| signal(*pid, Signal::KILL));
        let back = |status: &serde_json::Value| {
            let replicas = status["replicas"].as_array().expect("a list");
            replicas.iter().all(|of| victims.iter().all(|pid| of["pid"] != *pid))
        };
        until("all are back", || deployed.is_healthy(back)).await;
    }
    clients.answered(ENOUGH).await;
    clients.judge().await;
    until("one history", || deployed.is_healthy(is_alike)).await;
    assert!(up.try_wait().expect("a child").is_none(), "it stays and watches");
    deployed.run(&["down", "kv"]);
    assert!(up.wait().expect("a child").success(), "it ends with the service");
}

/// Whether all replicas are at one place, and tell of one history up to there.
fn is_alike(status: &serde_json::Value) -> bool {
    let replicas = status["replicas"].as_array().expect("a list");
    let stands = |of: &serde_json::Value| (of["slot"].clone(), of["digest"].clone());
    replicas.windows(2).all(|pair| stands(&pair[0]) == stands(&pair[1]))
}

#[tokio::test(flavor = "multi_thread")]
async fn pbft_loses_nothing_when_its_replicas_are_killed() {
    goes_on(PBFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_loses_nothing_when_its_replicas_are_killed() {
    goes_on(PAXOS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mencius_loses_nothing_when_its_replicas_are_killed() {
    goes_on(MENCIUS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ebawa_loses_nothing_when_its_replicas_are_killed_and_its_cores_with_them() {
    goes_on(EBAWA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minbft_loses_nothing_when_its_replicas_are_killed_and_its_cores_with_them() {
    goes_on(MINBFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_taken_down_goes_on_under_the_same_key() {
    goes_on_after_down(PAXOS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_cores_all_ended_goes_on_under_the_same_key() {
    goes_on_after_down(EBAWA).await;
}

async fn goes_on_after_down(kind: Kind) {
    let deployed = Deployed::up(kind.on_disk());
    let before = deployed.descriptor();
    let clients = Clients::start(before.clone(), CLIENTS);
    clients.answered(ENOUGH).await;
    let down = deployed.run(&["down", "kv"]);
    assert!(down.status.success());
    let said = String::from_utf8(deployed.run(&["status", "kv"]).stdout).expect("text");
    assert!(said.contains("stopped; its state is on disk"), "{said}");
    deployed.up_again();
    assert_eq!(deployed.descriptor(), before);
    clients.answered(ENOUGH).await;
    clients.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_disk_is_gone_stays_away_however_often_it_is_started_and_the_others_go_on() {
    let deployed = Deployed::up(PAXOS.on_disk());
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    clients.answered(ENOUGH).await;
    deployed.run(&["down", "kv"]);
    let store = deployed.home.path().join("services/kv/replicas/1/store");
    std::fs::remove_dir_all(store).expect("it was there");
    for _ in 0..2 {
        deployed.up_again();
        clients.answered(ENOUGH).await;
        let status = deployed.status();
        assert_eq!(status["group"]["up"], 2, "{status}");
        assert_eq!(status["replicas"][1]["state"], "down", "{status}");
        deployed.run(&["down", "kv"]);
    }
    deployed.up_again();
    clients.judge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn up_brings_back_the_replicas_of_a_detached_service_that_ended() {
    let deployed = Deployed::up(PAXOS.on_disk());
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    clients.answered(ENOUGH).await;
    let (kept, lost) = (deployed.pid(0), deployed.pid(2));
    signal(lost, Signal::KILL);
    until("it is gone", || deployed.status()["replicas"][2]["state"] == "down").await;
    deployed.up_again();
    assert!(deployed.is_healthy(|status| status["replicas"][0]["pid"] == kept));
    clients.answered(ENOUGH).await;
    clients.judge().await;
}

/// All of them are killed while clients work, and one loses its disk: only it may know something, so nobody goes on without
/// being told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_cores_goes_on_without_a_disk_only_if_it_is_told_to() {
    let deployed = Deployed::up(MINBFT.on_disk());
    let before = deployed.descriptor();
    let clients = Clients::start(before.clone(), CLIENTS);
    clients.answered(ENOUGH).await;
    (0..3)
        .map(|replica| deployed.pid(replica))
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|pid| signal(pid, Signal::KILL));
    until("all are gone", || deployed.status()["group"]["up"] == 0).await;
    let store = deployed.home.path().join("services/kv/replicas/1/store");
    let aside = store.with_file_name("aside");
    std::fs::rename(&store, &aside).expect("it was there");
    let description = deployed.home.path().join("kv.toml").display().to_string();
    let refused = deployed.run(&["up", &description, "--detach"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("replica 1 does not say where"), "{said}");
    assert!(said.contains("--rescue"), "{said}");

    // As long as it waits, nothing is lost: with the disk back all is as it was.
    let _ = std::fs::remove_dir_all(&store);
    std::fs::rename(&aside, &store).expect("nobody took it");
    deployed.up_again();
    assert_eq!(deployed.descriptor(), before);
    clients.answered(ENOUGH).await;

    // All were told to stop, so the others know what the one that is lost did.
    deployed.run(&["down", "kv"]);
    std::fs::remove_dir_all(&store).expect("it is there");
    let rescued = deployed.run(&["up", &description, "--detach", "--rescue"]);
    let said = String::from_utf8_lossy(&rescued.stdout).into_owned();
    assert!(rescued.status.success() && said.contains("going on without what only 1 may know"), "{said}");
    assert_eq!(deployed.descriptor(), before);
    clients.answered(ENOUGH).await;
    clients.judge().await;
}
