//! The encodings of what replicas say to each other to agree, and what they sign, stay what they are; see
//! `encodings.txt`.

use std::path::Path;
use std::sync::Arc;

use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::lanes::beginning::{self, Beginning, Ground, ViewCertificate};
use smr_consensus::lanes::core::{Item, Register, Scope};
use smr_consensus::lanes::schedule::Exclusion;
use smr_consensus::lanes::{self, Endorsement, Message as Lanes};
use smr_consensus::pbft::{Decision, Message as Pbft, NewView, PrefixProof, ViewChange};
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::record::{Began, Cease, Proof, Record, Vote};
use smr_consensus::registry::PROTOCOLS;
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Batch, Config, Entry, EntryBody, Group, Message, Seat, SystemEntry};
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
        cores: Vec::new(),
    });
    let seat = |(index, key)| Seat::new(group.clone(), ReplicaId::at(index), key);
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
    let proof = PrefixProof { checkpoint: Some(stable.clone()), commits: vec![certificate(Phase::Commit)] };
    let change = |seat: &Seat| {
        ViewChange::sign(seat, View(4), Slot(3), proof.clone(), vec![certificate(Phase::Prepare)])
    };
    let prepare = ballot(Phase::Prepare);
    let signature = seat.sign(&prepare.statement(group));
    let decision = Decision { batch: batch.clone(), certificate: certificate(Phase::Commit) };
    let messages = [
        ("forward", Pbft::Upkeep(Upkeep::Forward(entries))),
        ("proposal", Pbft::Proposal { view: View(2), slot: Slot(3), batch: batch.clone(), signature }),
        ("vote.prepare", Pbft::Vote { ballot: prepare, signature }),
        ("vote.commit", Pbft::Vote { ballot: ballot(Phase::Commit), signature }),
        (
            "suspects",
            Pbft::Upkeep(Upkeep::Suspects(seats.iter().map(|seat| Suspect::sign(seat, View(4))).collect())),
        ),
        ("view-change", Pbft::ViewChange(change(seat))),
        ("new-view", Pbft::NewView(NewView::sign(seat, View(4), seats[..3].iter().map(change).collect()))),
        ("status", Pbft::Upkeep(Upkeep::Status { view: View(2), installed: true, decided: Slot(3) })),
        ("fetch", Pbft::Upkeep(Upkeep::Fetch { after: Slot(3) })),
        ("decided", Pbft::Upkeep(Upkeep::Decided(vec![decision]))),
        ("pruned", Pbft::Upkeep(Upkeep::Pruned(stable.clone()))),
        ("fetch-body", Pbft::Upkeep(Upkeep::FetchBody { slot: Slot(3), digest: batch.digest() })),
        ("body", Pbft::Upkeep(Upkeep::Body { slot: Slot(3), batch: batch.clone() })),
    ];
    for (name, message) in messages {
        pins.add(&format!("pbft.{name}"), &Message::Pbft(message), hash);
    }
    let vote = Vote { ballot: prepare, batch: batch.clone(), ground: None };
    let new_view = NewView::sign(seat, View(4), seats[..3].iter().map(change).collect());
    let records = [
        ("entered", Record::Entered { view: View(4), wishes: vec![Suspect::sign(seat, View(4))] }),
        ("begins", Record::Begins(View(4))),
        ("began", Record::Began(Began::Pbft(new_view))),
        ("voted", Record::Voted(Box::new(vote))),
        ("prepared", Record::Prepared(certificate(Phase::Prepare))),
        ("held", Record::Held { slot: Slot(3), batch: batch.clone() }),
        (
            "ceased",
            Record::Ceased(Cease { generation: Generation(2), slot: Slot(3), order: Some(batch.digest()) }),
        ),
        ("decided", decided(Proof::Quorum(certificate(Phase::Commit)), None)),
        ("decided.alone", decided(Proof::Alone, Some(&batch))),
    ];
    for (name, record) in records {
        pins.add(&format!("record.{name}"), &record, hash);
    }
    pins.add("statement.ballot", &prepare.statement(group), hash);
    pins.add("statement.checkpoint", &checkpoint.statement(group), hash);
    pins.add("config", &Config::default(), hash);
    for protocol in PROTOCOLS {
        pins.add(&format!("protocol.{protocol}"), protocol, hash);
    }
    lanes(&mut pins, seat, batch, stable);
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encodings.txt"));
}

fn decided(proof: Proof, batch: Option<&Batch>) -> Record {
    Record::Decided { slot: Slot(3), proof, batch: batch.cloned() }
}

/// What the replicas of `lanes` say, and what their cores sign.
fn lanes(pins: &mut Pins, seat: &Seat, batch: Batch, stable: CheckpointCertificate) {
    let item = Item { slot: Slot(3), digest: batch.digest() };
    let scope = Scope { group: &seat.group, window_slots: 8, replica: seat.me };
    let kept = [None, Some(Register { view: View(2), item })];
    pins.add("core.endorse", &scope.endorse(View(2), &[item]), hash);
    pins.add("core.leave", &scope.leave(View(4), &kept), hash);
    pins.add("core.begin", &scope.begin(View(4), &item.digest), hash);

    let signature = seat.sign(&scope.endorse(View(2), &[item]));
    let vote = Arc::new(Endorsement { view: View(2), items: vec![item], signature: Some(signature) });
    let unsigned = Endorsement { signature: None, ..Endorsement::clone(&vote) };
    let certificate = lanes::Certificate {
        view: View(2),
        item,
        votes: vec![(seat.me, vote.clone()), (ReplicaId(1), vote.clone())],
    };
    let out = Exclusion { replica: ReplicaId(2), until: Slot(99), again: 1 };
    let beginning =
        Beginning { view: View(4), decided: Slot(2), digests: vec![item.digest], excluded: vec![out] };
    pins.add("lanes.beginning.digest", &beginning.digest(), hash);
    let begun = ViewCertificate { beginning: beginning.clone(), votes: vec![(seat.me, signature)] };
    let change = beginning::ViewChange {
        author: seat.me,
        to: View(4),
        lanes: kept.to_vec(),
        report: signature,
        blames: Some(ReplicaId(1)),
        decided: Slot(2),
        proof: lanes::PrefixProof { checkpoint: Some(stable.clone()), commits: vec![certificate.clone()] },
        grounds: vec![Ground::Proposed(seat.me, vote.clone()), Ground::Recovered],
        views: vec![begun.clone()],
        signature,
    }
    .signed(seat);
    let new_view =
        beginning::NewView { view: View(4), changes: vec![change.clone()], attestation: signature };
    let digest = beginning.digest();
    let ballot = Ballot { phase: Phase::Commit, view: View(2), slot: Slot(3), digest: item.digest };
    let ground = Some(Ground::Proposed(seat.me, vote.clone()));
    let voted = Vote { ballot, batch: batch.clone(), ground };
    let records = [
        ("began", Record::Began(Began::Lanes(begun.clone()))),
        ("voted", Record::Voted(Box::new(voted))),
        ("decided", decided(Proof::Lanes(certificate.clone()), Some(&batch))),
    ];
    for (name, record) in records {
        pins.add(&format!("lanes.record.{name}"), &record, hash);
    }
    let messages = [
        ("endorse", Lanes::Endorse { endorsement: vote, batches: vec![(Slot(3), batch.clone())] }),
        ("endorse.unsigned", Lanes::Endorse { endorsement: Arc::new(unsigned), batches: Vec::new() }),
        ("view-change", Lanes::ViewChange(Box::new(change))),
        ("new-view", Lanes::NewView(new_view)),
        ("acknowledge", Lanes::Acknowledge { view: View(4), digest, signature }),
        ("begun", Lanes::Begun(begun)),
        ("nudge", Lanes::Nudge { slot: Slot(3) }),
        ("status", Lanes::Upkeep(Upkeep::Status { view: View(4), installed: false, decided: Slot(2) })),
        ("decided", Lanes::Upkeep(Upkeep::Decided(vec![lanes::Decision { batch, certificate }]))),
        ("pruned", Lanes::Upkeep(Upkeep::Pruned(stable))),
    ];
    for (name, message) in messages {
        pins.add(&format!("lanes.{name}"), &Message::Lanes(message), hash);
    }
}
