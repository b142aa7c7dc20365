//! The encodings of what crosses to a client, and what is signed over them, stay what they are; see `encodings.txt`.

use std::path::Path;

use smr_crypto::threshold::{ServiceKey, ServiceSignature};
use smr_crypto::{Digest, IdentityKey, PublicKey, merkle};
use smr_mutate::pins::Pins;
use smr_wire::client::{
    About, Contact, Descriptor, EndpointCertificate, Endpoints, FaultModel, ProofKind, WIRE_VERSION,
};
use smr_wire::{
    Access, Call, ClientId, Command, Epoch, FromContact, Hint, Outcome, Refusal, Reply, ReplyProof, Request,
    RequestNumber, ServiceId, SessionId, Slot, Timestamp, ToContact,
};

fn hash(bytes: &[u8]) -> String {
    Digest::plain(&[bytes]).to_string()
}

fn service() -> ServiceId {
    ServiceId(Digest::of("PIN", &[b"service"]))
}

#[test]
fn encodings_are_those_of_before() {
    let mut pins = Pins::new();
    let key = IdentityKey::from_seed(&[1; 32]);
    let client = ClientId(key.public());
    let command = |number| Command { number: RequestNumber(number), bytes: vec![7; 3] };
    let commands = vec![command(1), command(9)];
    let calls = [
        ("open", Call::Open { nonce: 5, window: 16 }),
        ("commands", Call::Commands { session: SessionId(65_536), access: Access::Ordered, commands }),
    ];
    pins.add("to.hello", &ToContact::Hello { service: service(), version: WIRE_VERSION }, hash);
    for (name, call) in calls {
        // The signature is part of it, and so is what it is over.
        pins.add(
            &format!("to.request.{name}"),
            &ToContact::Request(Request::sign(&key, service(), call)),
            hash,
        );
    }

    let about = About { session: SessionId(65_536), number: RequestNumber(9) };
    let tree = merkle::Tree::new((0..3u8).map(|leaf| merkle::leaf(&[leaf])).collect());
    let proof =
        ReplyProof::Certified { slot: Slot(4), path: tree.path(1), signature: ServiceSignature([3; 96]) };
    let refusals = [Refusal::SessionGone, Refusal::Stale, Refusal::TooLarge, Refusal::Full];
    let outcomes =
        [Outcome::Answer(b"answer".to_vec()), Outcome::Opened(SessionId(8)), Outcome::Fault("fault".into())];
    let outcomes = outcomes.into_iter().chain(refusals.map(Outcome::Refused));
    for (place, outcome) in outcomes.enumerate() {
        let leaf = Reply::leaf(&client, &about, &outcome);
        pins.add(&format!("reply.leaf-{place}"), &leaf, hash);
        let reply = Reply { about, outcome, proof: proof.clone() };
        pins.add(&format!("from.reply-{place}"), &FromContact::Reply(reply), hash);
    }
    pins.add("reply.block-statement", &Reply::block_statement(&service(), Slot(4), &tree.root(), 3), hash);

    let hints =
        [Hint::Busy, Hint::NotReady, Hint::TooLarge { bytes_max: 9 }, Hint::Unacceptable("why".into())];
    for (place, hint) in hints.into_iter().enumerate() {
        let about = (place % 2 == 0).then_some(About::opening(3));
        pins.add(&format!("from.hint-{place}"), &FromContact::Hint { about, hint }, hash);
    }

    for model in [FaultModel::Crash, FaultModel::Hybrid, FaultModel::Byzantine] {
        let endpoints = Endpoints {
            service: service(),
            epoch: Epoch(1),
            contacts: vec![Contact { address: "10.0.0.1:7000".into(), key: PublicKey([5; 32]) }],
            model,
            issued: Timestamp(100),
            expires: Timestamp(200),
        };
        pins.add(&format!("endpoints.{model:?}.statement"), &endpoints.statement(), hash);
        let certificate = EndpointCertificate { endpoints, signature: ServiceSignature([4; 96]) };
        let certificate = Some(certificate);
        pins.add(
            &format!("from.welcome.{model:?}"),
            &FromContact::Welcome { version: WIRE_VERSION, certificate },
            hash,
        );
    }
    pins.add("from.welcome.none", &FromContact::Welcome { version: WIRE_VERSION, certificate: None }, hash);
    pins.add("session.opened", &SessionId::opened(Slot(3), 2), hash);

    let descriptor = serde_json::to_vec(&descriptor()).expect("plain");
    pins.add_bytes("descriptor.json", &descriptor, hash);
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encodings.txt"));
}

fn descriptor() -> Descriptor {
    Descriptor {
        name: "kv".into(),
        service: service(),
        service_key: ServiceKey([6; 48]),
        endpoints: vec!["10.0.0.1:7000".into()],
        proofs: vec![ProofKind::Certified],
    }
}

#[test]
fn no_descriptor_makes_its_reader_panic_and_what_is_read_is_written_alike() {
    let text = serde_json::to_string(&descriptor()).expect("plain");
    let mut dice = smr_mutate::Dice::new(smr_mutate::runs::seed());
    let mut read = 0;
    let mut counted = smr_mutate::runs::Counted::new("descriptors");
    for _ in 0..smr_mutate::runs::executions(5_000) {
        counted.one();
        let changed = smr_mutate::text::change(&text, &text, &mut dice);
        let Ok(descriptor) = serde_json::from_str::<Descriptor>(&changed) else { continue };
        let again = serde_json::to_string(&descriptor).expect("plain");
        assert_eq!(serde_json::from_str::<Descriptor>(&again).ok(), Some(descriptor));
        read += 1;
    }
    assert!(read > 50, "only {read} were read");
}
