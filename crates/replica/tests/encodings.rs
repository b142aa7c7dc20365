//! The encodings of what replicas say beside consensus, of a service's beginning and of its state stay what they are;
//! see `encodings.txt`.

use std::path::Path;

use smr_app::state::Chunk;
use smr_consensus::ProtocolName;
use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::lanes::core::AttestedDealing;
use smr_crypto::dkg::{Command, Confirm, Dealing, DecryptionKey};
use smr_crypto::threshold::SignatureShare;
use smr_crypto::{Digest, IdentityKey, Signature, merkle};
use smr_mutate::pins::Pins;
use smr_replica::message::{Offer, PeerMessage};
use smr_replica::sessions::{Opening, Place};
use smr_replica::system::{SystemCommand, SystemState};
use smr_replica::{Chunked, Config, Genesis, Manifest, Member, Message, Scheduling, Statement, Voucher};
use smr_wire::client::About;
use smr_wire::{ClientId, Epoch, Generation, Outcome, ReplicaId, RequestNumber, SessionId, Slot, Timestamp};

fn hash(bytes: &[u8]) -> String {
    Digest::plain(&[bytes]).to_string()
}

fn genesis() -> Genesis {
    let public = |seed: u8| IdentityKey::from_seed(&[seed; 32]).public();
    let member = |seed: u8| Member {
        identity: public(seed),
        channel: public(seed + 100),
        encryption: DecryptionKey::from_seed(&[seed; 32]).public(),
        core: None,
        address: format!("10.0.0.{seed}:7000"),
    };
    Genesis {
        name: "pin".into(),
        application: "kv".into(),
        protocol: ProtocolName::Pbft,
        faults: 1,
        members: (1..=4).map(member).collect(),
        administrator: public(9),
        durable: false,
        scheduling: Scheduling::sequential(),
        config: Config::default(),
    }
}

/// A state in which each kind of thing is remembered.
fn state(genesis: &Genesis) -> SystemState {
    let mut state = SystemState::new(genesis);
    let (client, session) =
        (ClientId(IdentityKey::from_seed(&[5; 32]).public()), SessionId::opened(Slot(1), 0));
    state.begin_slot(Slot(1), &Digest::of("PIN", &[b"batch"]), Timestamp(7));
    let place = Place { slot: Slot(1), now: Timestamp(7) };
    let opening = Opening { nonce: 3, window: 4, fresh: session };
    state.sessions.open(client, opening, place, &genesis.config).expect("there is room");
    for number in 1..=3 {
        state.sessions.admit(client, session, RequestNumber(number), Timestamp(8));
    }
    state.sessions.ended(session, RequestNumber(1), &Outcome::Answer(b"one".to_vec()), &genesis.config);
    let about = About { session, number: RequestNumber(2) };
    state.parked.park(Slot(1), 0, (client, about));
    state.end_slot(Slot(1), &Digest::of("PIN", &[b"batch"]), &Digest::of("PIN", &[b"replies"]));
    state
}

#[test]
fn encodings_are_those_of_before() {
    let mut pins = Pins::new();
    let genesis = genesis();
    pins.add("genesis", &genesis, hash);
    pins.add("genesis.service", &genesis.service(), hash);
    pins.add("config", &Config::default(), hash);

    let checkpoint = Checkpoint { slot: Slot(8), digest: Digest::of("PIN", &[b"state"]) };
    let signature = Signature([2; 64]);
    let certificate = CheckpointCertificate { checkpoint, votes: vec![(ReplicaId(1), signature)] };
    let statement = Statement::Block(Slot(4));
    let endpoints = Statement::Endpoints(Epoch(1), Timestamp(100));
    let path = merkle::Tree::new((0..3u8).map(|leaf| merkle::leaf(&[leaf])).collect()).path(1);
    let leaf = merkle::leaf(&[1]);
    let messages = [
        ("share", PeerMessage::Share { statement, share: SignatureShare([1; 96]) }),
        ("share-query", PeerMessage::ShareQuery { statement: endpoints }),
        ("checkpoint-vote", PeerMessage::CheckpointVote { checkpoint, signature }),
        ("stable", PeerMessage::Stable(certificate.clone())),
        ("moved", PeerMessage::Moved(certificate.clone())),
        ("state-query", PeerMessage::StateQuery { above: Slot(3), begun: Some(Slot(2)) }),
        ("state-offer", PeerMessage::StateOffer(Offer { certificate, count: 3, root: leaf })),
        ("leaves-query", PeerMessage::LeavesQuery { slot: Slot(8), block: 1 }),
        ("leaves", PeerMessage::Leaves { slot: Slot(8), leaves: vec![leaf; 2], path }),
        ("chunks-query", PeerMessage::ChunksQuery { slot: Slot(8), indexes: vec![1, 3] }),
        ("chunks", PeerMessage::Chunks { slot: Slot(8), chunks: vec![(1, vec![1, 2]), (3, vec![4])] }),
    ];
    for (name, message) in messages {
        pins.add(&format!("peer.{name}"), &Message::Peer(message), hash);
    }

    let confirm = Box::new(Command::Confirm(Confirm::default()));
    let dealing = Dealing::make(&smr_replica::epoch::setup(&genesis, 0), 0, &[7; 32]);
    let dealt = AttestedDealing { attempt: 1, dealing, attestation: signature };
    let (administrator, core) = (IdentityKey::from_seed(&[9; 32]), IdentityKey::from_seed(&[8; 32]).public());
    let voucher = Voucher::sign(&administrator, genesis.service(), ReplicaId(1), Generation(2), core);
    let manifest = Manifest::sign(
        &administrator,
        genesis.service(),
        Generation(2),
        Slot(7),
        vec![core, administrator.public()],
    );
    pins.add("manifest", &manifest, hash);
    let commands = [
        ("ceremony", SystemCommand::Ceremony { attempt: 1, command: confirm }),
        ("fill", SystemCommand::Fill { end: Slot(3) }),
        ("timers", SystemCommand::Timers { end: Slot(3) }),
        ("rejoin", SystemCommand::Rejoin(voucher)),
        ("attested", SystemCommand::Attested(Box::new(dealt))),
    ];
    for (name, command) in commands {
        pins.add(&format!("system.{name}"), &command, hash);
    }

    pins.add("state.first", &SystemState::new(&genesis), hash);
    let state = state(&genesis);
    pins.add("state.history", &state.history, hash);
    pins.add("state.results", &state.results, hash);
    pins.add("state", &state, hash);
    let chunked = Chunked::new(&state, vec![Chunk::new(b"application".to_vec())]);
    pins.add("state.digest", &chunked.digest(), hash);
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encodings.txt"));
}
