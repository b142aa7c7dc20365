//! Lies that a script asks for, always the same.

use smr_consensus::lanes::core::{Item, Operation, Refusal};

use super::*;

/// What is said in place of something else.
#[derive(Debug)]
pub(crate) struct Twist {
    /// What it is.
    pub(crate) message: Message,
    /// Why the trusted core would not vote for it, where it was asked.
    pub(crate) refusal: Option<Refusal>,
}

impl From<Message> for Twist {
    fn from(message: Message) -> Twist {
        Twist { message, refusal: None }
    }
}

impl Adversary {
    /// Whether it does wrong only where a script says so.
    #[must_use]
    pub fn follows_script(&self) -> bool {
        self.misdeed == Misdeed::FollowScript
    }

    /// Its wish for the view `wants`.
    #[must_use]
    pub fn wish(&self, wants: View) -> Message {
        self.upkeep(Upkeep::Suspects(vec![Suspect::sign(&self.seat, wants)]))
    }

    /// That it is in `view` and has decided everything up to `decided`.
    #[must_use]
    pub fn claim(&self, view: View, decided: Slot) -> Message {
        self.upkeep(Upkeep::Status { view, installed: true, decided })
    }

    /// That it keeps no decisions, but has a state up to `slot`.
    #[must_use]
    pub fn pruned(&self, slot: Slot) -> Message {
        self.upkeep(Upkeep::Pruned(self.forged_checkpoint(slot)))
    }

    /// The lie that it tells in place of `message`, always the same; none where it knows no lie.
    #[must_use]
    pub(crate) fn twist(&self, message: Message, core: Option<&mut SoftwareCore>) -> Option<Twist> {
        match message {
            Message::Consensus(Ordering::Pbft(message)) => {
                self.twist_ordering(message).map(|lie| Message::Consensus(Ordering::Pbft(lie)).into())
            }
            Message::Consensus(Ordering::Lanes(Lanes::Upkeep(Upkeep::Forward(entries)))) => {
                let spoiled = self.spoiled(&entries)?;
                Some(Message::Consensus(Ordering::Lanes(Lanes::Upkeep(Upkeep::Forward(spoiled)))).into())
            }
            Message::Consensus(Ordering::Lanes(message)) => twist_lanes(message, core),
            Message::Consensus(Ordering::Solo(_)) => None,
            Message::Peer(PeerMessage::Share { statement, .. }) => {
                Some(Message::Peer(bad_share(statement)).into())
            }
            Message::Peer(PeerMessage::Chunks { slot, chunks }) => {
                Some(Message::Peer(bad_chunks(slot, chunks)).into())
            }
            Message::Peer(_) => None,
        }
    }

    /// These entries with its own dealing spoiled; none if it is not among them.
    fn spoiled(&self, entries: &[Entry]) -> Option<Vec<Entry>> {
        let spoiled: Vec<Entry> = entries.iter().map(|entry| self.spoil_entry(entry.clone())).collect();
        (spoiled != entries).then_some(spoiled)
    }

    fn twist_ordering(&self, message: pbft::Message) -> Option<pbft::Message> {
        match message {
            pbft::Message::Proposal { view, slot, batch, .. } => {
                Some(self.other_proposal(view, slot, &batch))
            }
            pbft::Message::Vote { ballot, .. } => Some(self.other_vote(ballot)),
            pbft::Message::Upkeep(Upkeep::Forward(entries)) => {
                Some(pbft::Message::Upkeep(Upkeep::Forward(self.spoiled(&entries)?)))
            }
            pbft::Message::Upkeep(Upkeep::Decided(mut decisions)) if decisions.len() > 1 => {
                decisions.truncate(1);
                Some(pbft::Message::Upkeep(Upkeep::Decided(decisions)))
            }
            pbft::Message::NewView(new_view) => {
                Some(pbft::Message::NewView(pbft::NewView::sign(&self.seat, new_view.view, new_view.changes)))
            }
            _ => None,
        }
    }
}

/// Other batches in place of those proposed, under the same votes, as its core gives no others.
fn twist_lanes(message: Lanes, core: Option<&mut SoftwareCore>) -> Option<Twist> {
    let Lanes::Endorse { endorsement, batches } = message else { return None };
    if batches.is_empty() {
        return None;
    }
    let batches: Vec<(Slot, Batch)> =
        batches.into_iter().map(|(slot, batch)| (slot, ordering::other_batch(&batch))).collect();
    let items = batches.iter().map(|(slot, batch)| Item { slot: *slot, digest: batch.digest() }).collect();
    let operation = Operation::Endorse { view: endorsement.view, items };
    let refusal = core.and_then(|core| core.attest(&operation).err());
    let message = Message::Consensus(Ordering::Lanes(Lanes::Endorse { endorsement, batches }));
    Some(Twist { message, refusal })
}
