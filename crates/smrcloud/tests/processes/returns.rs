//! Replicas with trusted cores are killed, and `smrcloud up` brings them back: with other cores, and with their votes.

use crate::clients::Clients;
use crate::deployed::{Deployed, EBAWA, Kind, MINBFT};
use crate::until;

/// Clients that write and read meanwhile.
const CLIENTS: usize = 4;

/// Commands that must be answered between two kills.
const ENOUGH: u64 = 60;

/// Each replica is killed once, one after the other; with all that were ever killed gone, nothing would be answered.
async fn comes_back(kind: Kind) {
    let (deployed, mut up) = Deployed::attended(kind);
    until("a service", || deployed.is_healthy(|_| true)).await;
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    for victim in 0..kind.replicas {
        clients.answered(ENOUGH).await;
        deployed.kill(victim);
        let generation = victim as u64 + 1;
        let back = |status: &serde_json::Value| {
            let replica = &status["replicas"][victim];
            replica["restarts"] == 1 && replica["generation"] == generation
        };
        until("it is back", || deployed.is_healthy(back)).await;
    }
    clients.answered(ENOUGH).await;
    clients.judge().await;
    assert!(up.try_wait().expect("a child").is_none(), "it stays and watches");
    deployed.run(&["down", "kv"]);
    assert!(up.wait().expect("a child").success(), "it ends with the service");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_minbft_come_back_with_other_cores() {
    comes_back(MINBFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_ebawa_come_back_with_other_cores() {
    comes_back(EBAWA).await;
}
