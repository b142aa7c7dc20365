//! One of four replicas lies; clients get right answers all the same.
#![cfg(feature = "misbehave")]

mod common;

use common::{Service, call};
use smr_node::misbehave::Misbehaviour;

/// The one that lies: the first primary, where a lie does most.
const LIAR: u16 = 0;

const HONEST: &[usize] = &[1, 2, 3];

async fn service_with(how: Misbehaviour) -> Service {
    Service::start(|parts| parts.misbehaviour = (parts.me.0 == LIAR).then_some(how)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_that_believes_in_wrong_outcomes_convinces_nobody() {
    let service = service_with(Misbehaviour::WrongOutcomes).await;
    let client = service.client(HONEST).await;
    for round in 0..8 {
        assert_eq!(call(&client, &format!("put k {round}")).await, "ok");
        assert_eq!(call(&client, "get k").await, round.to_string());
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_contact_that_forges_replies_is_seen_through() {
    let service = service_with(Misbehaviour::ForgeReplies).await;
    let mut lies = 0;
    // Which contact a client asks first is chance; sooner or later it is the liar.
    for round in 0..64 {
        let client = service.client(HONEST).await;
        assert_eq!(call(&client, &format!("put k {round}")).await, "ok");
        client.close().await;
        lies = client.stats().lies;
        if lies > 0 {
            break;
        }
    }
    assert!(lies > 0, "no client has met the liar");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_primary_that_proposes_two_things_at_once_is_replaced() {
    let service = service_with(Misbehaviour::Equivocate).await;
    let client = service.client(HONEST).await;
    assert_eq!(call(&client, "put a one").await, "ok");
    assert_eq!(call(&client, "get a").await, "one");
    service.wait("another primary", HONEST, |status| status.primary.0 != LIAR).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_primary_that_says_nothing_is_replaced() {
    let service = service_with(Misbehaviour::StaySilent).await;
    let client = service.client(HONEST).await;
    assert_eq!(call(&client, "put a one").await, "ok");
    service.wait("another primary", HONEST, |status| status.primary.0 != LIAR).await;
    service.stop().await;
}
