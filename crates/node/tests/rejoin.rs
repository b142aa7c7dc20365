//! A replica whose trusted core is gone with its memory comes back with another one.

mod common;

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use common::{ADMINISTRATOR, DEADLINE, Service, call, replica_dir};
use smr_consensus::ProtocolName;
use smr_crypto::IdentityKey;
use smr_node::operator::NodePhase;
use smr_node::serve::GENESIS_FILE;
use smr_node::{Applications, Node, NodeStatus, Provisioned};
use smr_replica::{Genesis, Voucher};
use smr_wire::{Generation, ReplicaId};
use tokio::time::timeout;

const ALL: &[usize] = &[0, 1, 2];

/// Starts replica 1 again in its directory, with a core that has another key.
#[expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]
async fn start_again(service: &mut Service) {
    // As whoever deployed it has left it there.
    let genesis = replica_dir(&service.dir, 1).join(GENESIS_FILE);
    std::fs::write(genesis, smr_wire::encode(&*service.genesis)).unwrap();
    let address: SocketAddr = service.genesis.members[1].address.parse().unwrap();
    let again = Provisioned::provision(&replica_dir(&service.dir, 1), address).await.unwrap();
    let parts = again.join(Genesis::clone(&service.genesis), NonZeroUsize::MIN).unwrap();
    service.nodes[1] = Some(Node::start(parts, &Applications::builtin()).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_with_a_new_core_votes_again_once_the_administrator_vouches_for_it() {
    let shape = |genesis: &mut Genesis| genesis.config.checkpoint_slots = 16;
    let mut service = Service::under(ProtocolName::Ebawa, &Applications::builtin(), shape, |_| {}).await;
    let client = service.client(ALL).await;
    assert_eq!(call(&client, "put a one").await, "ok");

    let gone = service.nodes[1].take().unwrap();
    timeout(DEADLINE, gone.stop()).await.unwrap().unwrap();
    for number in 0..40 {
        assert_eq!(call(&client, &format!("put b {number}")).await, "ok");
    }
    start_again(&mut service).await;
    let follows = |status: &NodeStatus| status.phase == NodePhase::Rejoining && status.executed.0 >= 40;
    let seen = service.wait("it follows", &[1], follows).await;
    assert_eq!(seen[0].generation, Generation(0));
    let core = seen[0].core_key.expect("it has a core");
    assert_ne!(Some(core), service.genesis.members[1].core);

    let administrator = IdentityKey::from_seed(&ADMINISTRATOR);
    let id = service.genesis.service();
    let vouch = |generation| Voucher::sign(&administrator, id, ReplicaId(1), generation, core);
    let mut operator = service.operator(1).await;
    operator.vouch(vouch(Generation(7))).await.unwrap();
    operator.vouch(vouch(Generation(0))).await.unwrap();
    let votes = |status: &NodeStatus| status.phase == NodePhase::Ready && status.generation == Generation(1);
    service.wait("all are in the next generation", ALL, votes).await;

    // One of the others goes: without the vote of the one that came back nothing would be decided.
    let other = service.nodes[2].take().unwrap();
    timeout(DEADLINE, other.stop()).await.unwrap().unwrap();
    assert_eq!(call(&client, "get b").await, "39");
    assert_eq!(call(&client, "put a two").await, "ok");
    client.close().await;
    service.agree(&[0, 1]).await;
    service.stop().await;
}
