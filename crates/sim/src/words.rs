//! Messages and happenings in words, for traces.

use smr_consensus::Message as Ordering;
use smr_consensus::pbft::Message as Pbft;
use smr_replica::message::PeerMessage;
use smr_replica::{Event, Message};

use crate::world::happenings::Happening;

/// A line for a happening.
pub(crate) fn happening(happening: &Happening) -> String {
    match happening {
        Happening::Deliver { from, to, message: sent } => format!("r{from} -> r{to}  {}", message(sent)),
        Happening::Timer { machine, timer, .. } => format!("r{machine} timer {timer:?}"),
        Happening::Look { machine, .. } => format!("somebody looks after r{machine}'s application"),
        Happening::Event { machine, event } => format!("r{machine} {}", self::event(event)),
        Happening::ToContact { client, contact, frame } => format!("c{client} -> r{contact}  {frame:.60?}"),
        Happening::ToClient { client, contact, frame } => format!("r{contact} -> c{client}  {frame:.60?}"),
        Happening::Client { client } => format!("c{client} looks at its clock"),
        Happening::Fault(fault) => format!("fault: {fault:?}"),
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::Executed { slot, outcomes, late } => {
            format!("executed slot {slot}: {} commands, {} that had waited", outcomes.len(), late.len())
        }
        Event::SnapshotTaken { slot, bytes } => format!("snapshot after slot {slot}: {} bytes", bytes.len()),
        Event::Chunked { slot, image } => format!("state after slot {slot} in {} chunks", image.count()),
        Event::Restored { slot, .. } => format!("restored slot {slot}"),
        Event::Signed { statement, .. } => format!("signed {statement:?}"),
        Event::Combined { statement, signature, culprits } => {
            format!("combined {statement:?}: {}, bad shares of {culprits:?}", signature.is_some())
        }
        Event::Start => "starts".into(),
        other => format!("{other:?}"),
    }
}

/// A message in a few words.
fn message(message: &Message) -> String {
    match message {
        Message::Consensus(Ordering::Pbft(message)) => pbft(message),
        Message::Consensus(Ordering::Solo(never)) => format!("{never:?}"),
        Message::Peer(message) => peer(message),
    }
}

fn pbft(message: &Pbft) -> String {
    match message {
        Pbft::Forward(entries) => format!("Forward {} entries", entries.len()),
        Pbft::Proposal { view, slot, batch, .. } => {
            format!("Proposal v{view} s{slot}: {} entries, {}", batch.entries().len(), short(&batch.digest()))
        }
        Pbft::Vote { ballot, .. } => {
            format!("{:?} v{} s{}: {}", ballot.phase, ballot.view, ballot.slot, short(&ballot.digest))
        }
        Pbft::Suspects(suspects) => {
            let wishes: Vec<String> =
                suspects.iter().map(|s| format!("r{} wants v{}", s.author, s.wants)).collect();
            format!("Suspects: {}", wishes.join(", "))
        }
        Pbft::ViewChange(change) => {
            let claims: Vec<String> = change.claims.iter().map(|c| format!("s{}", c.ballot.slot)).collect();
            format!(
                "ViewChange of r{} to v{}: decided {}, claims {claims:?}",
                change.author, change.to, change.decided
            )
        }
        Pbft::NewView(new_view) => {
            let authors: Vec<String> = new_view.changes.iter().map(|c| format!("r{}", c.author)).collect();
            format!("NewView v{} by {}", new_view.view, authors.join(" "))
        }
        Pbft::Status { view, installed, decided } => {
            format!("Status v{view}{}: decided {decided}", if *installed { "" } else { " (not begun)" })
        }
        Pbft::Fetch { after } => format!("Fetch after s{after}"),
        Pbft::Decided(decisions) => {
            let slots: Vec<String> =
                decisions.iter().map(|d| format!("s{}", d.certificate.ballot.slot)).collect();
            format!("Decided {}", slots.join(" "))
        }
        Pbft::Pruned { base } => format!("Pruned up to s{base}"),
        Pbft::FetchBody { slot, digest } => format!("FetchBody s{slot}: {}", short(digest)),
        Pbft::Body { slot, batch } => format!("Body s{slot}: {}", short(&batch.digest())),
    }
}

fn peer(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Share { statement, .. } => format!("Share {statement:?}"),
        PeerMessage::ShareQuery { statement } => format!("ShareQuery {statement:?}"),
        PeerMessage::CheckpointVote { checkpoint, .. } => {
            format!("CheckpointVote s{}: {}", checkpoint.slot, short(&checkpoint.digest))
        }
        PeerMessage::Stable(certificate) => format!("Stable s{}", certificate.checkpoint.slot),
        PeerMessage::StateQuery { above, begun } => format!("StateQuery above s{above}, begun {begun:?}"),
        PeerMessage::StateOffer { certificate, chunks } => {
            format!("StateOffer s{}: {chunks} chunks", certificate.checkpoint.slot)
        }
        PeerMessage::ChunkQuery { slot, index } => format!("ChunkQuery s{slot} #{index}"),
        PeerMessage::Chunk { slot, path, .. } => format!("Chunk s{slot} #{}", path.index),
    }
}

fn short(digest: &smr_crypto::Digest) -> String {
    digest.to_string()[..8].to_string()
}
