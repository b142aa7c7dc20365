//! Real sockets, real channels, a real service key; the service behind them is one map.

use std::collections::BTreeMap;

use smr_crypto::{Digest, Verifier, merkle};
use smr_wire::client::{
    About, Contact, EndpointCertificate, Endpoints, FaultModel, FromContact, ToContact, WIRE_VERSION,
};
use smr_wire::{
    Call, Epoch, Outcome, Reply, ReplyProof, Request, RequestNumber, ServiceId, SessionId, Slot, Timestamp,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::frame::{read_frame, write_frame};
use super::tls::{ALPN_CLIENT, ChannelKey, ClientAuth, accept, server_config};
use super::*;
use crate::outcome::{Lie, Trouble};
use crate::proof::tests::Signer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Honest,
    /// Accepts everything and answers nothing.
    Silent,
    /// Answers what the service never did.
    Lying,
    /// Has no certificate yet.
    NotReady,
    /// Speaks a later version.
    Newer,
    /// Shows a channel key of its own.
    Impostor,
    /// Hangs up at the first request.
    Rude,
    /// Says what is no frame.
    Garbling,
}

/// A service: what it executed and its key.
struct Service {
    signer: Signer,
    executed: Mutex<BTreeMap<About, Outcome>>,
    count: Mutex<u64>,
    /// All its contacts, for the certificate.
    contacts: Mutex<Vec<Contact>>,
}

impl Service {
    fn id() -> ServiceId {
        ServiceId(Digest::of("TEST", &[b"service"]))
    }

    fn certificate(&self) -> EndpointCertificate {
        let endpoints = Endpoints {
            service: Service::id(),
            epoch: Epoch(1),
            contacts: self.contacts.lock().unwrap().clone(),
            model: FaultModel::Byzantine,
            issued: Timestamp(1),
            expires: Timestamp(u64::MAX),
        };
        let signature = self.signer.sign(&endpoints.statement());
        EndpointCertificate { endpoints, signature }
    }

    /// Executes once, and certifies. An answer is the command and how many were executed before it.
    fn replies(&self, request: &Request) -> Vec<FromContact> {
        assert_eq!(request.check(Service::id(), &Verifier::new(1)), Ok(()));
        let outcomes: Vec<(About, Outcome)> = match &request.call {
            Call::Open { nonce, .. } => vec![(About::opening(*nonce), Outcome::Opened(SessionId(5)))],
            Call::Commands { session, commands, .. } => commands
                .iter()
                .map(|command| {
                    let about = About { session: *session, number: command.number };
                    let mut executed = self.executed.lock().unwrap();
                    let count = executed.len();
                    let outcome = executed.entry(about).or_insert_with(|| {
                        Outcome::Answer([&command.bytes[..], format!("#{count}").as_bytes()].concat())
                    });
                    (about, outcome.clone())
                })
                .collect(),
        };
        let mut count = self.count.lock().unwrap();
        *count += 1;
        let (client, slot) = (request.client, Slot(*count));
        let leaves = outcomes.iter().map(|(about, outcome)| Reply::leaf(&client, about, outcome)).collect();
        let tree = merkle::Tree::new(leaves);
        let statement = Reply::block_statement(
            &Service::id(),
            slot,
            &tree.root(),
            u32::try_from(outcomes.len()).unwrap(),
        );
        let signature = self.signer.sign(&statement);
        let reply = |(at, (about, outcome)): (usize, (About, Outcome))| {
            let proof = ReplyProof::Certified { slot, path: tree.path(at), signature };
            FromContact::Reply(Reply { about, outcome, proof })
        };
        outcomes.into_iter().enumerate().map(reply).collect()
    }
}

/// A service with one contact per manner, all of them certified, and its descriptor.
async fn service(manners: &[Manner]) -> (Arc<Service>, Descriptor, Vec<tokio::task::JoinHandle<()>>) {
    let service = Arc::new(Service {
        signer: Signer::new(1),
        executed: Mutex::default(),
        count: Mutex::default(),
        contacts: Mutex::default(),
    });
    let mut tasks = Vec::new();
    let mut endpoints = Vec::new();
    for (seed, manner) in (1u8..).zip(manners) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let own = ChannelKey::from_seed(&[seed; 32]);
        service.contacts.lock().unwrap().push(Contact { address: address.clone(), key: own.public() });
        let shown = if *manner == Manner::Impostor { ChannelKey::from_seed(&[99; 32]) } else { own };
        endpoints.push(address);
        tasks.push(tokio::spawn(listen(Arc::clone(&service), listener, shown, *manner)));
    }
    let descriptor = Descriptor {
        name: "test".into(),
        service: Service::id(),
        service_key: service.signer.key(),
        endpoints,
        proofs: vec![ProofKind::Certified],
    };
    (service, descriptor, tasks)
}

async fn listen(service: Arc<Service>, listener: TcpListener, key: ChannelKey, manner: Manner) {
    let config = server_config(&key, ClientAuth::Optional, &[ALPN_CLIENT]);
    let mut conversations = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, config) = (Arc::clone(&service), Arc::clone(&config));
        conversations.spawn(async move {
            // A client that leaves in the middle is none of the test's business.
            if let Ok((stream, peer)) = accept(&config, stream).await {
                assert_eq!(peer.key, None);
                let _left = converse(&service, stream, manner).await;
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    service: &Service,
    mut stream: S,
    manner: Manner,
) -> std::io::Result<()> {
    while let Some(bytes) = read_frame(&mut stream, 1 << 20).await? {
        let frames = match smr_wire::decode(&bytes, bytes.len()).unwrap() {
            ToContact::Hello { service: wanted, version } => {
                assert_eq!((wanted, version), (Service::id(), WIRE_VERSION));
                let version = if manner == Manner::Newer { WIRE_VERSION + 1 } else { WIRE_VERSION };
                let certificate = Some(service.certificate()).filter(|_| manner != Manner::NotReady);
                vec![FromContact::Welcome { version, certificate }]
            }
            ToContact::Request(request) => {
                let mut frames = match manner {
                    Manner::Silent => vec![],
                    Manner::Rude => return Ok(()),
                    Manner::Garbling => {
                        write_frame(&mut stream, b"\xff garbage").await?;
                        vec![]
                    }
                    _ => service.replies(&request),
                };
                if let (Manner::Lying, Some(FromContact::Reply(reply))) = (manner, frames.first_mut()) {
                    reply.outcome = Outcome::Answer(b"forged".to_vec());
                }
                frames
            }
        };
        for frame in frames {
            write_frame(&mut stream, &smr_wire::encode(&frame)).await?;
        }
        stream.flush().await?;
    }
    Ok(())
}

fn key(seed: u8) -> IdentityKey {
    IdentityKey::from_seed(&[seed; 32])
}

fn quick() -> Config {
    Config { retry_ms: 200, reconnect_ms: 10, connect_ms: 2000, ..Config::default() }
}

#[tokio::test]
async fn many_callers_of_one_client_each_get_their_own_certified_answer() {
    let (service, descriptor, _tasks) = service(&[Manner::Honest; 3]).await;
    let client = Client::connect(descriptor, key(1), quick()).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..300u32 {
        let client = client.clone();
        calls.spawn(async move { (n, client.call(n.to_string().into_bytes()).await.unwrap()) });
    }
    while let Some(call) = calls.join_next().await {
        let (n, certified) = call.unwrap();
        assert!(certified.outcome.starts_with(format!("{n}#").as_bytes()));
    }
    assert_eq!(service.executed.lock().unwrap().len(), 300);
    assert!(*service.count.lock().unwrap() < 100, "commands share requests");
    client.close().await;
    assert_eq!(client.call(vec![]).await, Err(Failure::Closed));
}

#[tokio::test]
async fn every_kind_of_bad_contact_is_survived_by_asking_another() {
    let bad = [
        Manner::Silent,
        Manner::Lying,
        Manner::NotReady,
        Manner::Newer,
        Manner::Impostor,
        Manner::Rude,
        Manner::Garbling,
    ];
    let mut tests = tokio::task::JoinSet::new();
    for manner in bad {
        tests.spawn(async move {
            let (service, descriptor, _tasks) = service(&[manner, manner, Manner::Honest]).await;
            let client = Client::connect(descriptor, key(2), quick()).unwrap();
            for n in 0..5u8 {
                let certified = client.call(vec![n]).await.unwrap();
                assert_eq!(certified.outcome, [&[n][..], format!("#{n}").as_bytes()].concat(), "{manner:?}");
            }
            assert_eq!(service.executed.lock().unwrap().len(), 5, "{manner:?}");
        });
    }
    while let Some(test) = tests.join_next().await {
        test.unwrap();
    }
}

/// What a caller is told when all contacts are of one bad manner.
async fn told(manner: Manner) -> Failure {
    let (_service, descriptor, _tasks) = service(&[manner]).await;
    let config = Config { deadline_ms: 400, avoid_ms: 20, ..quick() };
    Client::connect(descriptor, key(3), config).unwrap().call(vec![1]).await.unwrap_err()
}

#[tokio::test]
async fn a_failure_to_reach_the_service_tells_why() {
    for (manner, reason) in [
        (Manner::Newer, "speaks version 2 of the protocol, this client version 1"),
        (Manner::NotReady, "not ready"),
        (Manner::Impostor, "not among the service's certified ones"),
        (Manner::Garbling, "no frame"),
    ] {
        let failure = told(manner).await;
        assert!(!failure.may_have_executed());
        assert!(failure.to_string().contains(reason), "{manner:?}: {failure}");
    }
    let Failure::Unreachable { last: Some(Trouble::Lie(lie)) } = told(Manner::Lying).await else { panic!() };
    assert_eq!(lie, Lie::Signature);
}

#[tokio::test]
async fn contacts_of_the_certificate_serve_when_those_of_the_descriptor_are_gone() {
    let (_service, mut descriptor, tasks) = service(&[Manner::Honest; 3]).await;
    descriptor.endpoints.truncate(1);
    let client = Client::connect(descriptor, key(4), quick()).unwrap();
    assert!(client.call(vec![1]).await.is_ok());
    tasks[0].abort();
    assert!(client.call(vec![2]).await.is_ok());
    assert!(client.stats().lost >= 1);
}

#[tokio::test]
async fn what_was_unknown_is_found_out_by_asking_again_and_not_executed_twice() {
    let (service, mut descriptor, tasks) = service(&[Manner::Honest, Manner::Honest]).await;
    let second = descriptor.endpoints.pop().unwrap();
    service.contacts.lock().unwrap().truncate(1);
    let config = Config { deadline_ms: 300, ..quick() };
    let client = Client::connect(descriptor.clone(), key(5), config).unwrap();
    assert!(client.call(vec![1]).await.is_ok());
    tasks[0].abort();
    let unknown = Unknown { session: SessionId(5), number: RequestNumber(1), command: vec![1], last: None };
    let failure = client.ask_again(unknown).await.unwrap_err();
    let Failure::Unknown(unknown) = failure else { panic!("{failure}") };
    descriptor.endpoints = vec![second];
    let contact =
        Contact { address: descriptor.endpoints[0].clone(), key: ChannelKey::from_seed(&[2; 32]).public() };
    service.contacts.lock().unwrap().push(contact);
    let client = Client::connect(descriptor, key(5), quick()).unwrap();
    assert_eq!(client.ask_again(*unknown).await.unwrap().outcome, b"\x01#0");
    assert_eq!(service.executed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn closing_waits_for_what_is_in_flight() {
    let (_service, descriptor, _tasks) = service(&[Manner::Honest]).await;
    let client = Client::connect(descriptor, key(6), quick()).unwrap();
    let (answer, ()) = tokio::join!(client.call(vec![1]), client.close());
    assert!(answer.is_ok());
}

#[tokio::test]
async fn a_descriptor_that_cannot_work_is_refused_with_the_reason() {
    let (_service, descriptor, _tasks) = service(&[Manner::Honest]).await;
    let name = "test".to_string();
    let nowhere = Descriptor { endpoints: vec![], ..descriptor.clone() };
    let refused = Client::connect(nowhere, key(7), quick()).unwrap_err();
    assert_eq!(refused, BadClient::NoEndpoints { name: name.clone() });
    let proofless = Descriptor { proofs: vec![], ..descriptor.clone() };
    assert_eq!(
        Client::connect(proofless, key(7), quick()).unwrap_err(),
        BadClient::NoProofs { name: name.clone() }
    );
    let other = Arc::new(ServiceProofs::new(Signer::new(2).key(), 1));
    let refused = Client::connect_sharing(descriptor, key(7), quick(), other).unwrap_err();
    assert_eq!(refused, BadClient::OtherKey { name });
}

#[tokio::test]
async fn under_a_key_that_is_not_the_services_a_call_fails_at_once_and_says_so() {
    let (_service, descriptor, _tasks) = service(&[Manner::Honest; 3]).await;
    let wrong = Descriptor { service_key: Signer::new(2).key(), ..descriptor };
    let config = Config { deadline_ms: 3_600_000, ..quick() };
    let client = Client::connect(wrong, key(8), config).unwrap();
    let deadline = std::time::Duration::from_secs(60);
    let failure = tokio::time::timeout(deadline, client.call(vec![1])).await.unwrap().unwrap_err();
    assert!(!failure.may_have_executed());
    assert!(failure.to_string().contains("not the service that the descriptor names"), "{failure}");
    assert!(failure.to_string().contains("not signed by the service"), "{failure}");
}
