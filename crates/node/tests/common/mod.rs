//! A whole service in one process: real sockets on the loopback, real files, one runtime.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smr_client::ServiceProofs;
use smr_client::connect::Client;
use smr_client::connect::tls::ChannelKey;
use smr_consensus::ProtocolName;
use smr_crypto::IdentityKey;
use smr_node::{Applications, Node, NodeStatus, Parts, Provisioned};
use smr_replica::Genesis;
use smr_wire::Descriptor;
use smr_wire::client::ProofKind;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take. Only a test that fails takes so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Seed of the administrator's key.
pub(crate) const ADMINISTRATOR: [u8; 32] = [77; 32];

/// A service whose replicas run in this process.
pub(crate) struct Service {
    pub(crate) genesis: Arc<Genesis>,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) dir: TempDir,
}

impl Service {
    /// Four replicas of the key-value store. `bend` may change what each is made from.
    pub(crate) async fn start(bend: impl Fn(&mut Parts)) -> Service {
        Service::of(&Applications::builtin(), |_| {}, bend).await
    }

    /// Four replicas of one of `applications`. `shape` may change how the service begins, `bend` what each replica is
    /// made from.
    pub(crate) async fn of(
        applications: &Applications,
        shape: impl FnOnce(&mut Genesis),
        bend: impl Fn(&mut Parts),
    ) -> Service {
        Service::under(ProtocolName::Pbft, applications, shape, bend).await
    }

    /// As many replicas as `protocol` takes to survive one.
    pub(crate) async fn under(
        protocol: ProtocolName,
        applications: &Applications,
        shape: impl FnOnce(&mut Genesis),
        bend: impl Fn(&mut Parts),
    ) -> Service {
        Service::begun(protocol, applications, shape, bend, usize::MAX).await.0
    }

    /// The same, of which only so many run; the others can be started later.
    pub(crate) async fn begun(
        protocol: ProtocolName,
        applications: &Applications,
        shape: impl FnOnce(&mut Genesis),
        bend: impl Fn(&mut Parts),
        running: usize,
    ) -> (Service, Vec<Parts>) {
        let dir = tempfile::tempdir().unwrap();
        let mut provisioned = Vec::new();
        for number in 0..usize::from(protocol.profile().replicas(1)) {
            let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
            provisioned.push(Provisioned::provision(&replica_dir(&dir, number), listen).await.unwrap());
        }
        let mut genesis = Genesis {
            name: "test".to_owned(),
            application: "kv".to_owned(),
            protocol,
            faults: 1,
            members: provisioned.iter().map(|one| one.public().clone().member(protocol)).collect(),
            administrator: ChannelKey::from_seed(&ADMINISTRATOR).public(),
            durable: false,
            scheduling: smr_replica::Scheduling::sequential(),
            config: smr_replica::Config { ceremony_ms: 300, ..Default::default() },
        };
        shape(&mut genesis);
        let join = |one: Provisioned| {
            let mut parts = one.join(genesis.clone(), NonZeroUsize::MIN).unwrap();
            bend(&mut parts);
            parts
        };
        let mut parts = provisioned.into_iter().map(join);
        let start = |parts| Some(Node::start(parts, applications).unwrap());
        let nodes = parts.by_ref().take(running).map(start).collect();
        let late = parts.collect();
        (Service { genesis: Arc::new(genesis), nodes, dir }, late)
    }

    /// Waits until the running replicas among `who` are as `wanted`; tells how they are.
    pub(crate) async fn wait(
        &self,
        what: &str,
        who: &[usize],
        wanted: impl Fn(&NodeStatus) -> bool,
    ) -> Vec<NodeStatus> {
        let began = Instant::now();
        loop {
            let mut seen = Vec::new();
            for number in who {
                seen.push(self.nodes[*number].as_ref().unwrap().status().await.unwrap());
            }
            if seen.iter().all(&wanted) {
                return seen;
            }
            assert!(began.elapsed() < DEADLINE, "{what} did not come to pass: {seen:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `who` have executed the same slot and agree on everything up to it; tells how they are.
    pub(crate) async fn agree(&self, who: &[usize]) -> Vec<NodeStatus> {
        let began = Instant::now();
        loop {
            let seen = self.wait("no halt", who, |_| true).await;
            assert!(seen.iter().all(|status| status.halted.is_none()), "{seen:#?}");
            if seen.iter().all(|s| (s.executed, s.digest) == (seen[0].executed, seen[0].digest)) {
                return seen;
            }
            assert!(began.elapsed() < DEADLINE, "they do not agree: {seen:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until clients can use all of them, and makes one.
    pub(crate) async fn client(&self, who: &[usize]) -> Client {
        self.clients(who, 1).await.remove(0)
    }

    /// Waits until clients can use all of them, and makes so many, each with a key of its own. They share what they
    /// have verified.
    pub(crate) async fn clients(&self, who: &[usize], count: u8) -> Vec<Client> {
        self.wait("a certified key", who, |status| status.certified).await;
        let statement = self.statement(who[0]).await;
        let descriptor = Descriptor {
            name: "test".to_owned(),
            service: self.genesis.service(),
            service_key: statement.statement.service_key,
            endpoints: self.genesis.members.iter().map(|member| member.address.clone()).collect(),
            proofs: vec![ProofKind::Certified],
        };
        let proofs = Arc::new(ServiceProofs::new(descriptor.service_key, 4096));
        let make = |number| {
            let key = IdentityKey::from_seed(&[5 + number; 32]);
            Client::connect_sharing(descriptor.clone(), key, smr_client::Config::default(), proofs.clone())
        };
        (0..count).map(|number| make(number).unwrap()).collect()
    }

    /// What one replica says the key is, asked as an administrator would.
    pub(crate) async fn statement(&self, number: usize) -> smr_node::SignedServiceStatement {
        self.operator(number).await.service().await.unwrap().expect("there is a key")
    }

    /// The administrator's connection to one replica.
    pub(crate) async fn operator(&self, number: usize) -> smr_node::operator::Client {
        let member = &self.genesis.members[number];
        let key = ChannelKey::from_seed(&ADMINISTRATOR);
        smr_node::operator::Client::connect(&member.address, member.channel, &key, DEADLINE).await.unwrap()
    }

    /// Ends all of them.
    pub(crate) async fn stop(mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            timeout(DEADLINE, node.stop()).await.unwrap().unwrap();
        }
    }
}

/// The directory of one replica.
pub(crate) fn replica_dir(dir: &TempDir, number: usize) -> PathBuf {
    dir.path().join(number.to_string())
}

/// One command's answer, as text.
pub(crate) async fn call(client: &Client, command: &str) -> String {
    let certified = timeout(DEADLINE, client.call(command.as_bytes().to_vec())).await.unwrap().unwrap();
    String::from_utf8(certified.outcome).unwrap()
}
