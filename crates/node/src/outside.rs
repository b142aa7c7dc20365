//! Tests of all that reads bytes from outside here, fed with changed frames over pipes: connections end, nothing
//! panics, and nothing reaches the core unchecked. The decoders themselves are fuzzed in `smr-sim`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smr_client::connect::frame::{read_frame, write_frame};
use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::lanes::core::{Attempt, AttestedDealing, Operation, Refusal};
use smr_consensus::pbft::Message as Pbft;
use smr_consensus::quorum::{Ballot, Phase};
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Batch, Entry, Message as Ordering, ProtocolName, Seat};
use smr_crypto::dkg::{Dealing, DecryptionKey};
use smr_crypto::{Digest, IdentityKey, PublicKey, threshold::ServiceKey};
use smr_mutate::pins::Pins;
use smr_mutate::{Dice, Encoding, runs, text};
use smr_replica::message::PeerMessage;
use smr_replica::{Config, Event, Genesis, Member, Message, Scheduling};
use smr_wire::client::WIRE_VERSION;
use smr_wire::{
    Access, Call, Command, Epoch, FromContact, Generation, ReplicaId, Request, RequestNumber, ServiceId,
    SessionId, Slot, Timestamp, ToContact, View,
};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::edge::{Edge, Published, Queues};
use crate::limits::Limits;
use crate::operator::{self, Answer, Ask, Order};
use crate::peers::{self, Incomings, PeerHello};
use crate::statement::{ServiceStatement, SignedServiceStatement, agreed};
use crate::trusted::exchange::{Ask as CoreAsk, Said};
use crate::trusted::{Place, Precaution, Precautions, tpm};
use crate::{gateway, serve};

/// Connections made to each part in a usual run.
const CONNECTIONS: u64 = 480;

/// Those of clients that are open at once.
const AT_ONCE: u64 = 24;

/// Frames sent on one of them.
const FRAMES: usize = 12;

/// How long a connection may take to end. Only a test that fails takes so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes that a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

fn key(seed: u8) -> IdentityKey {
    IdentityKey::from_seed(&[seed; 32])
}

pub(crate) fn genesis() -> Genesis {
    let member = |seed: u8| Member {
        identity: key(seed).public(),
        channel: key(seed + 100).public(),
        encryption: DecryptionKey::from_seed(&[seed; 32]).public(),
        core: None,
        address: format!("10.0.0.{seed}:7000"),
    };
    Genesis {
        name: "test".into(),
        application: "kv".into(),
        protocol: ProtocolName::Pbft,
        faults: 1,
        members: (1..=4).map(member).collect(),
        administrator: key(9).public(),
        durable: false,
        scheduling: Scheduling::sequential(),
        config: Config::default(),
    }
}

fn edge() -> (Arc<Edge>, Queues) {
    let genesis = Arc::new(genesis());
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::for_config(&genesis.config) };
    let (edge, queues) = Edge::new(genesis, ReplicaId(0), Arc::new(key(1)), None, limits);
    edge.published.send_replace(Published { key: Some((Epoch(1), ServiceKey([7; 48]))), certificate: None });
    (edge, queues)
}

fn requests(service: ServiceId) -> Vec<ToContact> {
    let commands = |count: u64| {
        let command = |number| Command { number: RequestNumber(number), bytes: b"put k v".to_vec() };
        Call::Commands {
            session: SessionId(65_536),
            access: Access::Ordered,
            commands: (1..=count).map(command).collect(),
        }
    };
    let calls = [Call::Open { nonce: 5, window: 8 }, commands(1), commands(3), commands(40)];
    let mut frames: Vec<ToContact> =
        calls.into_iter().map(|call| ToContact::Request(Request::sign(&key(50), service, call))).collect();
    frames.push(ToContact::Hello { service, version: WIRE_VERSION });
    frames
}

/// The changed bytes of one of `corpus`, on their way in a frame, in several, or in none.
async fn send_changed<T>(
    stream: &mut DuplexStream,
    corpus: &[Encoding],
    dice: &mut Dice,
) -> std::io::Result<()>
where
    T: borsh::BorshDeserialize,
{
    let encoding = dice.pick(corpus).expect("some");
    let reads = |bytes: &[u8]| smr_wire::decode::<T>(bytes, bytes.len()).is_ok();
    let bytes = match dice.below(3) {
        0 => encoding.bytes().to_vec(),
        _ => encoding.wild(corpus, dice, reads),
    };
    if dice.chance(950) {
        write_frame(stream, &bytes).await?;
    } else {
        // A length that lies, in either direction.
        let length = u32::try_from(dice.draw() & 0xffff_ffff).expect("32 bits");
        stream.write_all(&(length >> dice.below(32)).to_le_bytes()).await?;
        stream.write_all(&bytes).await?;
    }
    stream.flush().await
}

/// Says hello and then anything; how many frames, and how many answers came.
async fn connect_as_client(edge: Arc<Edge>, corpus: Arc<Vec<Encoding>>, mut dice: Dice) -> (u64, u64) {
    let (mut ours, theirs) = duplex(PIPE_BYTES);
    let serving = tokio::spawn(gateway::serve(edge.clone(), theirs, IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let hello = ToContact::Hello { service: edge.service, version: WIRE_VERSION };
    let _ = write_frame(&mut ours, &smr_wire::encode(&hello)).await;
    let (mut frames, mut answers) = (0, 0);
    for _ in 0..FRAMES {
        // Once the contact has had enough nobody listens.
        if send_changed::<ToContact>(&mut ours, &corpus, &mut dice).await.is_err() {
            break;
        }
        frames += 1;
    }
    let _ = ours.shutdown().await;
    while let Ok(Ok(Some(bytes))) = timeout(DEADLINE, read_frame(&mut ours, 1 << 20)).await {
        answers += 1;
        assert!(smr_wire::decode::<FromContact>(&bytes, bytes.len()).is_ok(), "{bytes:02x?}");
    }
    timeout(DEADLINE, serving).await.expect("a connection ends").expect("no panic");
    (frames, answers)
}

#[tokio::test]
async fn whatever_a_client_sends_its_connection_ends_and_only_checked_requests_reach_the_core() {
    let (edge, mut queues) = edge();
    let corpus: Arc<Vec<Encoding>> = Arc::new(requests(edge.service).iter().map(Encoding::of).collect());
    let mut dice = Dice::new(runs::seed());
    let mut counted = runs::Counted::new("rounds of connections to the gateway");
    let (mut frames, mut events, mut answers) = (0u64, 0u64, 0u64);
    // One that is refused is open until its last words are read, so several are at once.
    while counted.executions() * AT_ONCE < runs::executions(CONNECTIONS) {
        counted.one();
        let mut connections = JoinSet::new();
        for _ in 0..AT_ONCE {
            connections.spawn(connect_as_client(edge.clone(), corpus.clone(), Dice::new(dice.draw())));
        }
        while let Some(ended) = connections.join_next().await {
            let (sent, heard) = ended.expect("no panic");
            (frames, answers) = (frames + sent, answers + heard);
        }
        events += drain(&mut queues, |event| match event {
            Event::Request { entry, .. } => entry.check(&edge.group, &edge.verifier).is_ok(),
            other => matches!(other, Event::Closed(_)),
        });
    }
    println!("gateway: {frames} frames, {answers} answers, {events} events for the core");
    assert_eq!(edge.clients.count(), 0, "nobody is connected any more");
    assert!(events > 0 && answers > frames / 10);
}

/// Messages that a peer may say, each with the generation in which it does: small ones of each shape that is made easily.
fn messages(edge: &Edge) -> Vec<(Generation, Message)> {
    let seat = Seat::new(edge.group.clone(), ReplicaId(1), Arc::new(key(2)));
    let entry = Entry::new(EntryBody::System(SystemEntry::sign(&seat, vec![1, 2, 3])));
    let batch = Batch::new(Timestamp(5), vec![entry.clone()]);
    let ballot = Ballot { phase: Phase::Commit, view: View(0), slot: Slot(1), digest: batch.digest() };
    let signature = seat.sign(&ballot.statement(&seat.group));
    let checkpoint = Checkpoint { slot: Slot(4), digest: batch.digest() };
    let voted = seat.sign(&checkpoint.statement(&seat.group));
    let ordering = [
        Pbft::Upkeep(Upkeep::Forward(vec![entry.clone(), entry])),
        Pbft::Vote { ballot, signature },
        Pbft::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&seat, View(1))])),
        Pbft::Upkeep(Upkeep::Status { view: View(3), installed: true, decided: Slot(9) }),
        Pbft::Upkeep(Upkeep::Fetch { after: Slot(4) }),
        Pbft::Upkeep(Upkeep::Pruned(CheckpointCertificate { checkpoint, votes: vec![(seat.me, voted)] })),
        Pbft::Upkeep(Upkeep::FetchBody { slot: Slot(3), digest: batch.digest() }),
        Pbft::Upkeep(Upkeep::Body { slot: Slot(3), batch }),
    ];
    let ordering = ordering.map(|message| Message::Consensus(Ordering::Pbft(message)));
    let state = PeerMessage::StateQuery { above: Slot(3), begun: Some(Slot(2)) };
    let chunk = PeerMessage::ChunksQuery { slot: Slot(3), indexes: vec![2] };
    let said = ordering.into_iter().chain([state, chunk].map(Message::Peer));
    said.map(|message| (Generation(0), message)).collect()
}

#[tokio::test]
async fn whatever_a_peer_sends_its_link_ends_and_only_checked_messages_reach_the_core() {
    let (edge, mut queues) = edge();
    let incomings = Arc::new(Incomings::new(edge.group.size()));
    let corpus: Vec<Encoding> = messages(&edge).iter().map(Encoding::of).collect();
    let mut dice = Dice::new(runs::seed());
    let (mut frames, mut events) = (0u64, 0u64);
    let mut counted = runs::Counted::new("links");
    for _ in 0..runs::executions(CONNECTIONS / 4) {
        counted.one();
        let (mut ours, theirs) = duplex(PIPE_BYTES);
        let (edge_of, incomings) = (edge.clone(), incomings.clone());
        let receiving =
            tokio::spawn(async move { peers::receive(&edge_of, &incomings, ReplicaId(1), theirs).await });
        let hello = PeerHello { service: edge.service, version: WIRE_VERSION, from: ReplicaId(1) };
        if dice.chance(100) {
            let _ = send_changed::<PeerHello>(&mut ours, &[Encoding::of(&hello)], &mut dice).await;
        } else {
            let _ = write_frame(&mut ours, &smr_wire::encode(&hello)).await;
        }
        for _ in 0..FRAMES {
            if send_changed::<(Generation, Message)>(&mut ours, &corpus, &mut dice).await.is_err() {
                break;
            }
            frames += 1;
        }
        let _ = ours.shutdown().await;
        let ended = timeout(DEADLINE, receiving).await;
        ended.expect("a link ends").expect("no panic");
        events += drain(&mut queues, |event| matches!(event, Event::Peer(_)));
    }
    println!("peers: {frames} frames, {events} events for the core");
    assert!(events > frames / 10);
}

/// Takes what waits for the core; how much it was.
fn drain(queues: &mut Queues, fits: impl Fn(&Event) -> bool) -> u64 {
    let mut taken = Vec::new();
    let mut count = 0;
    loop {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let is_empty = std::pin::pin!(queues.inbox.turn(&mut taken)).poll(&mut context).is_pending();
        if is_empty {
            return count;
        }
        for waiting in taken.drain(..) {
            assert!(fits(&waiting.event), "{:?}", waiting.event);
            count += 1;
        }
    }
}

#[tokio::test]
async fn whatever_is_asked_as_administrator_gets_an_answer_or_the_end() {
    let (edge, queues) = edge();
    // Nobody answers for the core, which has ended.
    drop(queues.control);
    let questions = [Ask::Service, Ask::Stop].map(|ask| serde_json::to_string(&ask).expect("plain"));
    let mut dice = Dice::new(runs::seed());
    let mut answers = 0;
    let mut counted = runs::Counted::new("connections of administrators");
    for _ in 0..runs::executions(CONNECTIONS / 4) {
        counted.one();
        let (mut ours, theirs) = duplex(PIPE_BYTES);
        let serving = tokio::spawn(operator::serve(edge.clone(), theirs));
        for _ in 0..FRAMES {
            let question =
                text::change(dice.pick(&questions).expect("two"), "{\"status\":[1]}", &mut dice.clone());
            dice.draw();
            if write_frame(&mut ours, question.as_bytes()).await.is_err() {
                break;
            }
        }
        let _ = ours.shutdown().await;
        while let Ok(Ok(Some(bytes))) = timeout(DEADLINE, read_frame(&mut ours, 1 << 20)).await {
            serde_json::from_slice::<Answer>(&bytes).expect("an answer");
            answers += 1;
        }
        timeout(DEADLINE, serving).await.expect("it ends").expect("no panic");
    }
    println!("operator: {answers} answers");
    assert!(answers > runs::executions(CONNECTIONS / 4));
}

#[test]
fn no_changed_statement_passes_for_what_replicas_said() {
    let said =
        ServiceStatement { service: genesis().service(), epoch: Epoch(1), service_key: ServiceKey([7; 48]) };
    let keys: Vec<IdentityKey> = (1..=4).map(key).collect();
    let public: Vec<PublicKey> = keys.iter().map(IdentityKey::public).collect();
    let texts: Vec<String> =
        keys.iter().map(|key| serde_json::to_string(&said.sign(key)).expect("plain")).collect();
    let mut dice = Dice::new(runs::seed());
    let mut read = 0u64;
    let mut counted = runs::Counted::new("statements");
    for _ in 0..runs::executions(400) {
        counted.one();
        // One of four is as its author wrote it; f+1 = 2 have to agree.
        let mut statements: Vec<SignedServiceStatement> = Vec::new();
        for place in 0..texts.len() {
            let text = match place {
                0 => texts[0].clone(),
                _ => text::change(&texts[place], &texts[dice.below(4)], &mut dice),
            };
            statements.push(serde_json::from_str(&text).unwrap_or(said.sign(&key(77))));
        }
        let listed: Vec<_> = public.iter().zip(&statements).collect();
        let found = agreed(said.service, 2, listed);
        assert!(found.is_none_or(|found| found == said), "{statements:?}");
        read += u64::from(found.is_some());
    }
    println!("statements: {read} times two were as their authors wrote them");
}

#[test]
fn no_genesis_makes_a_replica_panic() {
    let encoding = Encoding::of(&genesis());
    let mut dice = Dice::new(runs::seed());
    let reads = |bytes: &[u8]| smr_wire::decode::<Genesis>(bytes, serve::GENESIS_BYTES_MAX).is_ok();
    let (mut read, mut valid) = (0u64, 0u64);
    let executions = runs::executions(4_000);
    let mut counted = runs::Counted::new("genesis files");
    for _ in 0..executions {
        counted.one();
        let bytes = encoding.wild(&[], &mut dice, reads);
        let Ok(genesis) = smr_wire::decode::<Genesis>(&bytes, serve::GENESIS_BYTES_MAX) else { continue };
        assert!(smr_wire::encode(&genesis) == bytes, "accepted in two encodings");
        read += 1;
        if let Err(why) = genesis.validate() {
            assert!(!why.to_string().is_empty());
            continue;
        }
        valid += 1;
        assert!(
            genesis.service() != ServiceId(Digest::default())
                && genesis.group().size() == genesis.members.len()
        );
    }
    println!("genesis: {executions} executions, {read} read, {valid} valid");
    assert!(valid > executions / 50 && read > valid);
}

#[test]
fn encodings_are_those_of_before() {
    let hash = |bytes: &[u8]| Digest::plain(&[bytes]).to_string();
    let mut pins = Pins::new();
    let service = genesis().service();
    pins.add("peer-hello", &PeerHello { service, version: WIRE_VERSION, from: ReplicaId(2) }, hash);
    let said = ServiceStatement { service, epoch: Epoch(1), service_key: ServiceKey([7; 48]) };
    pins.add("service-statement", &said, hash);
    pins.add("service-statement.signed", &said.sign(&key(1)), hash);
    for ask in [Ask::Status, Ask::Service, Ask::Stop] {
        let json = serde_json::to_vec(&ask).expect("plain");
        pins.add_bytes(&format!("ask.{ask:?}"), &json, hash);
    }
    let cease = Ask::Order(Order::Cease { generation: Generation(2), slot: Slot(7) });
    pins.add_bytes("ask.order.cease", &serde_json::to_vec(&cease).expect("plain"), hash);
    let place = Place { service, generation: Generation(0), window_slots: 32, replica: ReplicaId(2) };
    let operation = Operation::Leave { to: View(7) };
    let attempt = Attempt { number: 1, setup: smr_replica::epoch::setup(&genesis(), 1) };
    let dealing = Dealing::make(&attempt.setup, 2, &[5; 32]);
    let dealt = AttestedDealing { attempt: 1, dealing, attestation: key(1).sign(&Digest::default()) };
    let asks = [
        ("begin", CoreAsk::Begin),
        ("join", CoreAsk::Join(place)),
        ("attest", CoreAsk::Attest(operation)),
        ("deal", CoreAsk::Deal(Box::new(attempt))),
    ];
    for (name, packet) in asks {
        pins.add(&format!("core.ask.{name}"), &packet, hash);
    }
    let precautions = Precautions { taken: vec![Precaution::Seccomp], missing: BTreeMap::new() };
    let born = Said::Born { key: key(1).public(), precautions };
    let refused = Said::Attested(Err(Refusal::Lane));
    let dealt = Said::Dealt(Ok(Box::new(dealt)));
    for (name, packet) in [("born", born), ("joined", Said::Joined), ("refused", refused), ("dealt", dealt)] {
        pins.add(&format!("core.said.{name}"), &packet, hash);
    }
    pins.add("core.boot-statement", &tpm::statement(&key(1).public(), &key(2).public()), hash);
    let answers =
        [Answer::Service(Some(said.sign(&key(1)))), Answer::Stopping, Answer::Refused("why".into())];
    for (place, answer) in answers.iter().enumerate() {
        pins.add_bytes(&format!("answer-{place}"), &serde_json::to_vec(answer).expect("plain"), hash);
    }
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encodings.txt"));
}
