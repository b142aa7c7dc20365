//! A service of four replicas from its first breath to its end, as its clients and its administrator see it.

mod common;

use std::io::ErrorKind;
use std::net::SocketAddr;

use common::{ADMINISTRATOR, DEADLINE, Service, call, replica_dir};
use smr_client::connect::frame::{read_frame, write_frame};
use smr_client::connect::tls::{self, ALPN_CLIENT, ALPN_OPERATOR, ALPN_PEER, ChannelKey, Expect};
use smr_consensus::checkpoint::Checkpoint;
use smr_crypto::{Digest, IdentityKey, Signature};
use smr_node::budget::BudgetLimits;
use smr_node::handshakes::RoomLimits;
use smr_node::operator::Client as Operator;
use smr_node::{Identity, NodeError, NodeStatus, Provisioned};
use smr_replica::Message;
use smr_replica::message::PeerMessage;
use smr_wire::client::WIRE_VERSION;
use smr_wire::{Call, FromContact, Generation, Hint, ReplicaId, Request, ServiceId, Slot, ToContact};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ALL: &[usize] = &[0, 1, 2, 3];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_makes_its_key_answers_and_goes_on_without_one_of_its_replicas() {
    let mut service = Service::start(|_| {}).await;
    let client = service.client(ALL).await;
    assert_eq!(call(&client, "put a one").await, "ok");
    assert_eq!(call(&client, "get a").await, "one");

    // The primary of the first view, so that the others have to find a new one.
    let statuses = service.wait("agreement on the key", ALL, |status| status.epoch.0 == 1).await;
    assert!(statuses.iter().all(|status| status.primary.0 == 0 && status.share), "{statuses:#?}");
    let primary = service.nodes[0].take().unwrap();
    timeout(DEADLINE, primary.stop()).await.unwrap().unwrap();
    assert_eq!(call(&client, "put a two").await, "ok");
    assert_eq!(call(&client, "get a").await, "two");
    client.close().await;

    let rest = service.wait("the same history", &[1, 2, 3], |status| status.view.0 >= 1).await;
    let most = rest.iter().map(|status| status.executed).max().unwrap();
    let rest = service.wait("all of it executed", &[1, 2, 3], |status| status.executed >= most).await;
    assert!(rest.iter().all(|status| status.counters["clients_refused"] == 0), "{rest:#?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_state_one_key_under_their_signatures_and_end_when_the_administrator_says_so() {
    let mut service = Service::start(|_| {}).await;
    service.wait("a certified key", ALL, |status| status.certified).await;
    let mut statements = Vec::new();
    for number in ALL {
        statements.push(service.statement(*number).await);
    }
    let members = &service.genesis.members;
    let signed = members.iter().map(|member| &member.identity).zip(&statements);
    let agreed = smr_node::statement::agreed(service.genesis.service(), 4, signed);
    assert_eq!(agreed, Some(statements[0].statement));
    assert!(!statements[0].verify(&members[1].identity));

    let mut operator = service.operator(2).await;
    let status = operator.status().await.unwrap();
    assert_eq!((status.replica.0, status.replicas, status.faults), (2, 4, 1));
    assert!(status.peers.iter().all(|peer| peer.connected), "{status:#?}");
    operator.stop().await.unwrap();
    timeout(DEADLINE, service.nodes[2].as_mut().unwrap().ended()).await.unwrap().unwrap();
    service.nodes[2] = None;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_has_the_wrong_key_or_talks_garbage_is_shown_out_and_does_no_harm() {
    let service = Service::start(|_| {}).await;
    let client = service.client(ALL).await;
    let member = &service.genesis.members[0];
    let stranger = ChannelKey::from_seed(&[99; 32]);
    let connect = async |own: Option<&ChannelKey>, alpn| {
        let stream = TcpStream::connect(&member.address).await.unwrap();
        let config = tls::client_config(own, Expect::Pinned(member.channel), alpn);
        tls::connect(&config, stream).await.unwrap().0
    };
    // Reads whatever is said last, too. That the connection is reset rather than closed makes no difference.
    let closed = async |stream: &mut (dyn tokio::io::AsyncRead + Send + Unpin)| {
        timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await.is_ok()
    };

    // A peer that is no member, one without a key, an administrator who is none.
    assert!(closed(&mut connect(Some(&stranger), ALPN_PEER).await).await);
    assert!(closed(&mut connect(None, ALPN_PEER).await).await);
    let mut pretender =
        Operator::connect(&member.address, member.channel, &stranger, DEADLINE).await.unwrap();
    let error = pretender.status().await.unwrap_err().to_string();
    assert!(error.contains("not the administrator's key"), "{error}");

    // Bytes that are no handshake.
    let mut stream = TcpStream::connect(&member.address).await.unwrap();
    stream.write_all(&[0x5a; 512]).await.unwrap();
    assert!(closed(&mut stream).await);

    // The administrator talks nonsense: told so, and may go on.
    let administrator = ChannelKey::from_seed(&ADMINISTRATOR);
    let mut stream = connect(Some(&administrator), ALPN_OPERATOR).await;
    write_frame(&mut stream, b"\"dance\"").await.unwrap();
    stream.flush().await.unwrap();
    let answer = read_frame(&mut stream, 4096).await.unwrap().unwrap();
    assert!(String::from_utf8(answer).unwrap().contains("unknown"));

    // Clients: garbage, a request before hello, another service, a frame that is too long.
    let hello = |service| smr_wire::encode(&ToContact::Hello { service, version: WIRE_VERSION });
    for (frames, wanted) in [
        (vec![b"garbage".to_vec()], "encoding"),
        (vec![hello(ServiceId(Digest::default()))], "another service"),
    ] {
        let mut stream = connect(None, ALPN_CLIENT).await;
        for frame in &frames {
            write_frame(&mut stream, frame).await.unwrap();
        }
        stream.flush().await.unwrap();
        let said = read_frame(&mut stream, 4096).await.unwrap().unwrap();
        let said: FromContact = smr_wire::decode(&said, 4096).unwrap();
        let FromContact::Hint { about: None, hint: Hint::Unacceptable(why) } = said else {
            panic!("{said:?}")
        };
        assert!(why.contains(wanted), "{why}");
        assert!(closed(&mut stream).await);
    }
    let mut stream = connect(None, ALPN_CLIENT).await;
    stream.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let said = read_frame(&mut stream, 4096).await.unwrap().unwrap();
    let said: FromContact = smr_wire::decode(&said, 4096).unwrap();
    assert!(matches!(said, FromContact::Hint { about: None, hint: Hint::TooLarge { .. } }), "{said:?}");

    assert_eq!(call(&client, "put still fine").await, "ok");
    let counted = |status: &NodeStatus| {
        status.counters["handshakes_failed"] >= 4 && status.counters["clients_refused"] >= 3
    };
    service.wait("everyone shown out is counted", &[0], counted).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_member_says_wrong_is_counted_by_kind_and_dropped() {
    let mut service = Service::start(|_| {}).await;
    let client = service.client(ALL).await;
    // The last one is taken over: whoever has it has its keys.
    service.nodes[3].take().unwrap().stop().await.unwrap();
    let taken_over = Identity::create_or_open(&replica_dir(&service.dir, 3)).unwrap();
    let member = &service.genesis.members[0];
    let link = async |hello: (ServiceId, u16, ReplicaId), frames: &[&[u8]]| {
        let stream = TcpStream::connect(&member.address).await.unwrap();
        let pinned = Expect::Pinned(member.channel);
        let config = tls::client_config(Some(taken_over.channel()), pinned, ALPN_PEER);
        let mut stream = tls::connect(&config, stream).await.unwrap().0;
        write_frame(&mut stream, &smr_wire::encode(&hello)).await.unwrap();
        for frame in frames {
            write_frame(&mut stream, frame).await.unwrap();
        }
        stream.flush().await.unwrap();
        stream
    };
    let refused = |kind: &'static str, at_least| {
        move |status: &NodeStatus| status.peers[2].refused.get(kind).is_some_and(|count| *count >= at_least)
    };
    let me = (service.genesis.service(), WIRE_VERSION, ReplicaId(3));

    link((me.0, me.1, ReplicaId(2)), &[]).await;
    service.wait("a link in another's name is refused", &[0], refused("hello", 1)).await;
    link((ServiceId(Digest::default()), me.1, me.2), &[]).await;
    service.wait("a link for another service is refused", &[0], refused("hello", 2)).await;

    let vote = PeerMessage::CheckpointVote {
        checkpoint: Checkpoint { slot: Slot(512), digest: Digest::default() },
        signature: Signature([0; 64]),
    };
    let vote = smr_wire::encode(&(Generation(0), Message::Peer(vote)));
    let mut stream = link(me, &[b"garbage", &vote]).await;
    service.wait("a message that is none is dropped", &[0], refused("malformed", 1)).await;
    service.wait("a forged vote is dropped", &[0], refused("signature", 1)).await;
    stream.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    service.wait("a frame that is too long ends the link", &[0], refused("too_long", 1)).await;

    assert_eq!(call(&client, "put still fine").await, "ok");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_repeats_another_s_request_does_not_take_its_reply_away() {
    let service = Service::start(|_| {}).await;
    service.wait("a certified key", ALL, |status| status.certified).await;
    let member = &service.genesis.members[0];
    let hello = ToContact::Hello { service: service.genesis.service(), version: WIRE_VERSION };
    let connect = async || {
        let stream = TcpStream::connect(&member.address).await.unwrap();
        let config = tls::client_config(None, Expect::Pinned(member.channel), ALPN_CLIENT);
        let mut stream = tls::connect(&config, stream).await.unwrap().0;
        write_frame(&mut stream, &smr_wire::encode(&hello)).await.unwrap();
        stream.flush().await.unwrap();
        read_frame(&mut stream, 1 << 16).await.unwrap().unwrap();
        stream
    };
    let (mut client, mut thief) = (connect().await, connect().await);
    let key = IdentityKey::from_seed(&[8; 32]);
    for nonce in 0..8 {
        let request = Request::sign(&key, service.genesis.service(), Call::Open { nonce, window: 1 });
        let frame = smr_wire::encode(&ToContact::Request(request));
        for stream in [&mut client, &mut thief] {
            write_frame(stream, &frame).await.unwrap();
            stream.flush().await.unwrap();
        }
        for stream in [&mut client, &mut thief] {
            let said = timeout(DEADLINE, read_frame(stream, 1 << 16)).await.unwrap().unwrap().unwrap();
            let said: FromContact = smr_wire::decode(&said, 1 << 16).unwrap();
            assert!(matches!(&said, FromContact::Reply(reply) if reply.about.number.0 == nonce), "{said:?}");
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contact_with_another_key_than_the_pinned_one_is_not_spoken_to() {
    let service = Service::start(|_| {}).await;
    let members = &service.genesis.members;
    let administrator = ChannelKey::from_seed(&ADMINISTRATOR);
    let wrong = Operator::connect(&members[0].address, members[1].channel, &administrator, DEADLINE).await;
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("cannot reach"), "{error}");
    service.stop().await;
}

#[tokio::test]
async fn a_replica_joins_only_a_genesis_that_names_it_as_it_is_and_runs_only_once() {
    let service = Service::start(|_| {}).await;
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let workers = std::num::NonZeroUsize::MIN;
    let stranger = Provisioned::provision(&replica_dir(&service.dir, 9), listen).await.unwrap();
    let genesis = smr_replica::Genesis::clone(&service.genesis);
    assert!(matches!(stranger.join(genesis.clone(), workers), Err(NodeError::NotAMember)));

    let moved = Provisioned::provision(&replica_dir(&service.dir, 9), listen).await.unwrap();
    let mut other = genesis.clone();
    other.members[3] = moved.public().clone().member(other.protocol);
    other.members[3].address = "127.0.0.1:1".to_owned();
    assert!(matches!(moved.join(other, workers), Err(NodeError::OtherMember { .. })));

    let again = Provisioned::provision(&replica_dir(&service.dir, 0), listen).await;
    assert!(matches!(again, Err(NodeError::HasRun { .. })));

    let taken: SocketAddr = service.genesis.members[0].address.parse().unwrap();
    let bound = Provisioned::provision(&replica_dir(&service.dir, 8), taken).await;
    assert!(matches!(bound, Err(NodeError::Bind { error, .. }) if error.kind() == ErrorKind::AddrInUse));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_that_asks_for_more_than_it_may_is_counted_and_the_service_goes_on() {
    let nothing = BudgetLimits { bytes_per_second: 0, burst_bytes: 0 };
    let service = Service::start(|parts| parts.limits.answers = nothing).await;
    let client = service.client(ALL).await;
    assert_eq!(call(&client, "put a one").await, "ok");
    let asked = |status: &NodeStatus| status.peers.iter().any(|p| p.refused.contains_key("asked_too_much"));
    service.wait("a question that is dropped", ALL, asked).await;
    assert_eq!(call(&client, "get a").await, "one");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_there_is_no_room_for_clients_members_and_the_administrator_still_come_in() {
    let none = RoomLimits { at_once_max: 0, per_address_max: 0 };
    let service = Service::start(|parts| parts.limits.handshakes.clients = none).await;
    service.wait("a certified key", ALL, |status| status.certified).await;
    let member = &service.genesis.members[0];
    let stream = TcpStream::connect(&member.address).await.unwrap();
    let config = tls::client_config(None, Expect::Pinned(member.channel), ALPN_CLIENT);
    assert!(timeout(DEADLINE, tls::connect(&config, stream)).await.unwrap().is_err());
    let status = service.operator(0).await.status().await.unwrap();
    assert!(status.counters["connections_refused"] >= 1, "{status:#?}");
    service.stop().await;
}
