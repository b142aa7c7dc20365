//! The encodings of what replicas say to each other to agree, and what they sign, stay what they are; see
//! `encodings.txt`.

use std::path::Path;
use std::sync::Arc;

use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::pbft::{Decision, Message as Pbft, NewView, PrefixProof, ViewChange};
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::suspicion::Suspect;
use smr_consensus::{Batch, Config, Entry, EntryBody, Group, Message, ProtocolName, Seat, SystemEntry};
use smr_crypto::{Digest, IdentityKey};
use smr_mutate::pins::Pins;
use smr_wire::client::FaultModel;
use smr_wire::{Call, Generation, ReplicaId, Request, ServiceId, Slot, Timestamp, View};

fn hash(bytes: &[u8]) -> String {
    Digest::plain(&[bytes]).to_string()
}

fn seats() -> Vec<Seat> {
    let keys: Vec<_> = (1..=4).map(|seed| Arc::new(IdentityKey::from_seed(&[seed; 32]))).collect();
    let group = Arc::new(Group {
        service: ServiceId(Digest::of("PIN", &[b"service"])),
        generation: Generation(0),
        model: FaultModel::Byzantine,
        faults: 1,
        keys: keys.iter().map(|key| key.public()).collect(),
    });
    let seat = |(index, key)| Seat { group: group.clone(), me: ReplicaId::at(index), key };
    keys.into_iter().enumerate().map(seat).collect()
}

#[test]
fn encodings_are_those_of_before() {
    let mut pins = Pins::new();
    let seats = seats();
    let (seat, group) = (&seats[0], &seats[0].group);
    let call = Call::Open { nonce: 5, window: 8 };
    let client =
        Entry::new(EntryBody::Client(Request::sign(&IdentityKey::from_seed(&[9; 32]), group.service, call)));
    let system = Entry::new(EntryBody::System(SystemEntry::sign(seat, vec![1, 2, 3])));
    let entries = vec![client, system];
    let batch = Batch::new(Timestamp(77), entries.clone());
    entries.iter().enumerate().for_each(|(place, entry)| {
        pins.add(&format!("entry-{place}"), entry, hash);
        pins.add(&format!("entry-{place}.digest"), &entry.digest(), hash);
    });
    pins.add("batch", &batch, hash);
    pins.add("batch.digest", &batch.digest(), hash);
    pins.add("batch.nil.digest", &Batch::nil().digest(), hash);

    let votes = |statement: &Digest| -> Vec<_> {
        seats[..3].iter().map(|seat| (seat.me, seat.sign(statement))).collect()
    };
    let ballot = |phase| Ballot { phase, view: View(2), slot: Slot(3), digest: batch.digest() };
    let certificate = |phase| {
        let ballot = ballot(phase);
        QuorumCertificate { ballot, votes: votes(&ballot.statement(group)) }
    };
    let checkpoint = Checkpoint { slot: Slot(2), digest: Digest::of("PIN", &[b"state"]) };
    let stable = CheckpointCertificate { checkpoint, votes: votes(&checkpoint.statement(group)) };
    let proof = PrefixProof { checkpoint: Some(stable), commits: vec![certificate(Phase::Commit)] };
    let change = |seat: &Seat| {
        ViewChange::sign(seat, View(4), Slot(3), proof.clone(), vec![certificate(Phase::Prepare)])
    };
    let prepare = ballot(Phase::Prepare);
    let signature = seat.sign(&prepare.statement(group));
    let decision = Decision { batch: batch.clone(), certificate: certificate(Phase::Commit) };
    let messages = [
        ("forward", Pbft::Forward(entries)),
        ("proposal", Pbft::Proposal { view: View(2), slot: Slot(3), batch: batch.clone(), signature }),
        ("vote.prepare", Pbft::Vote { ballot: prepare, signature }),
        ("vote.commit", Pbft::Vote { ballot: ballot(Phase::Commit), signature }),
        ("suspects", Pbft::Suspects(seats.iter().map(|seat| Suspect::sign(seat, View(4))).collect())),
        ("view-change", Pbft::ViewChange(change(seat))),
        ("new-view", Pbft::NewView(NewView::sign(seat, View(4), seats[..3].iter().map(change).collect()))),
        ("status", Pbft::Status { view: View(2), installed: true, decided: Slot(3) }),
        ("fetch", Pbft::Fetch { after: Slot(3) }),
        ("decided", Pbft::Decided(vec![decision])),
        ("pruned", Pbft::Pruned { base: Slot(3) }),
        ("fetch-body", Pbft::FetchBody { slot: Slot(3), digest: batch.digest() }),
        ("body", Pbft::Body { slot: Slot(3), batch: batch.clone() }),
    ];
    for (name, message) in messages {
        pins.add(&format!("pbft.{name}"), &Message::Pbft(message), hash);
    }
    pins.add("statement.ballot", &prepare.statement(group), hash);
    pins.add("statement.checkpoint", &checkpoint.statement(group), hash);
    pins.add("config", &Config::default(), hash);
    pins.add("protocol.solo", &ProtocolName::Solo, hash);
    pins.add("protocol.pbft", &ProtocolName::Pbft, hash);
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encodings.txt"));
}
