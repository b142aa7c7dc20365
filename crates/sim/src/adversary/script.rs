//! Lies that a script asks for, always the same.

use super::*;

impl Adversary {
    /// Whether it does wrong only where a script says so.
    #[must_use]
    pub fn follows_script(&self) -> bool {
        self.misdeed == Misdeed::FollowScript
    }

    /// Its wish for the view `wants`.
    #[must_use]
    pub fn wish(&self, wants: View) -> Message {
        let wish = Suspect::sign(&self.seat, wants);
        Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Suspects(vec![wish]))))
    }

    /// That it keeps no decisions, but has a state up to `slot`.
    #[must_use]
    pub fn pruned(&self, slot: Slot) -> Message {
        Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Pruned(
            self.forged_checkpoint(slot),
        ))))
    }

    /// The lie that it tells in place of `message`, always the same; none where it knows no lie.
    #[must_use]
    pub fn twist(&self, message: Message) -> Option<Message> {
        match message {
            Message::Consensus(Ordering::Pbft(message)) => {
                self.twist_ordering(message).map(|lie| Message::Consensus(Ordering::Pbft(lie)))
            }
            Message::Consensus(Ordering::Solo(_) | Ordering::Lanes(_)) => None,
            Message::Peer(PeerMessage::Share { statement, .. }) => Some(Message::Peer(bad_share(statement))),
            Message::Peer(PeerMessage::Chunk { slot, bytes, path }) => {
                Some(Message::Peer(bad_chunk(slot, bytes, path)))
            }
            Message::Peer(_) => None,
        }
    }

    fn twist_ordering(&self, message: pbft::Message) -> Option<pbft::Message> {
        match message {
            pbft::Message::Proposal { view, slot, batch, .. } => {
                Some(self.other_proposal(view, slot, &batch))
            }
            pbft::Message::Vote { ballot, .. } => Some(self.other_vote(ballot)),
            pbft::Message::Upkeep(Upkeep::Forward(entries)) => {
                let spoiled: Vec<Entry> =
                    entries.iter().map(|entry| self.spoil_entry(entry.clone())).collect();
                (spoiled != entries).then_some(pbft::Message::Upkeep(Upkeep::Forward(spoiled)))
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
