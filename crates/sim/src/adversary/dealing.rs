//! Dealings of the key that do not fit.

use super::*;

impl Adversary {
    /// Its own dealing, spoiled, wherever it occurs.
    pub(super) fn spoil(&mut self, message: Message) -> Message {
        let message = match message {
            Message::Consensus(Ordering::Pbft(message)) => message,
            // Its core has voted for what it proposes itself; others propose what it forwards.
            Message::Consensus(Ordering::Lanes(Lanes::Upkeep(Upkeep::Forward(entries)))) => {
                return self.forward(entries.into_iter().map(|entry| self.spoil_entry(entry)).collect());
            }
            other => return other,
        };
        let altered = match message {
            pbft::Message::Upkeep(Upkeep::Forward(entries)) => pbft::Message::Upkeep(Upkeep::Forward(
                entries.into_iter().map(|entry| self.spoil_entry(entry)).collect(),
            )),
            pbft::Message::Proposal { view, slot, batch, .. } => {
                let entries = batch.entries().iter().map(|entry| self.spoil_entry(entry.clone())).collect();
                self.propose(view, slot, Batch::new(batch.time(), entries))
            }
            other => other,
        };
        Message::Consensus(Ordering::Pbft(altered))
    }

    pub(super) fn spoil_entry(&self, entry: Entry) -> Entry {
        let EntryBody::System(SystemEntry { author, payload, .. }) = entry.body() else { return entry };
        let decoded = smr_wire::decode(payload, payload.len());
        let Ok(SystemCommand::Ceremony { attempt, command }) = decoded else { return entry };
        let dkg::Command::Deal(mut dealing) = *command else { return entry };
        if *author != self.seat.me {
            return entry;
        }
        // A share for one of the others, so that somebody has to complain.
        let victim = (usize::from(author.0) + 1) % dealing.shares.len();
        dealing.shares[victim][0] ^= 1;
        let command = SystemCommand::Ceremony { attempt, command: Box::new(dkg::Command::Deal(dealing)) };
        Entry::new(EntryBody::System(SystemEntry::sign(&self.seat, smr_wire::encode(&command))))
    }
}
