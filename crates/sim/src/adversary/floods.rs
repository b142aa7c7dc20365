//! More than anybody can order, junk, and what was ordered long ago.

use super::*;

impl Adversary {
    /// What it says besides.
    pub fn invent(&mut self, now: Timestamp) -> Vec<Message> {
        let floods =
            matches!(self.misdeed, Misdeed::ReplayRequests | Misdeed::FloodForwards | Misdeed::NameACore);
        if !floods || now >= self.tired_from || !self.rng.chance(200) {
            return Vec::new();
        }
        let entries = match self.misdeed {
            Misdeed::ReplayRequests => self.old_requests(),
            Misdeed::NameACore => vec![self.own_core()],
            _ => self.junk(),
        };
        vec![self.forward(entries)]
    }

    /// Remembers requests of clients.
    pub(super) fn hear(&mut self, message: &Message) {
        let of_clients =
            entries_of(message).iter().filter(|entry| matches!(entry.body(), EntryBody::Client(_)));
        self.requests.extend(of_clients.cloned());
        self.requests.truncate(REMEMBERED_MAX);
    }

    /// Some of what clients asked long ago, and openings of sessions that nobody will use.
    fn old_requests(&mut self) -> Vec<Entry> {
        let nonce = self.rng.within(1, 50);
        let mut old = vec![self.of_accomplice(Call::Open { nonce, window: 4 })];
        for _ in 0..self.rng.within(1, 8) {
            if !self.requests.is_empty() {
                old.push(self.rng.pick(&self.requests).clone());
            }
        }
        old
    }

    /// A key of its own for its core, for which it vouches itself.
    fn own_core(&mut self) -> Entry {
        let Seat { group, me, key, .. } = &self.seat;
        let generation = Generation(u32::try_from(self.rng.within(0, 2)).expect("small"));
        let core = self.accomplices[0].public();
        let voucher = Voucher::sign(key, group.service, *me, generation, core);
        let command = smr_wire::encode(&SystemCommand::Rejoin(voucher));
        Entry::new(EntryBody::System(SystemEntry::sign(&self.seat, command)))
    }

    /// Commands in sessions that do not exist, the same over and over, its own commands to the system that mean
    /// nothing, and now and then something too large for any batch.
    fn junk(&mut self) -> Vec<Entry> {
        let session = SessionId(self.rng.within(1, 1 << 20));
        let command = |number| Command { number: RequestNumber(number), bytes: b"put k1 junk".to_vec() };
        let commands: Vec<Command> = (1..=self.rng.within(1, 20)).map(command).collect();
        let call = Call::Commands { session, access: Access::Ordered, commands };
        let mut junk = vec![self.of_accomplice(call); 3];
        let bytes = *self.rng.pick(&[1, 1, 100, OVERSIZED]);
        let filling = self.rng.bytes32()[0];
        let system = || Entry::new(EntryBody::System(SystemEntry::sign(&self.seat, vec![filling; bytes])));
        junk.push(if bytes == OVERSIZED {
            self.oversized.get_or_insert_with(system).clone()
        } else {
            system()
        });
        junk
    }

    fn of_accomplice(&mut self, call: Call) -> Entry {
        let key = self.rng.pick(&self.accomplices);
        Entry::new(EntryBody::Client(Request::sign(key, self.seat.group.service, call)))
    }
}

/// Entries that a message shows.
pub(super) fn entries_of(message: &Message) -> &[Entry] {
    match message {
        Message::Consensus(Ordering::Pbft(message)) => match message {
            pbft::Message::Upkeep(Upkeep::Forward(entries)) => entries,
            pbft::Message::Proposal { batch, .. } | pbft::Message::Upkeep(Upkeep::Body { batch, .. }) => {
                batch.entries()
            }
            _ => &[],
        },
        Message::Consensus(Ordering::Lanes(message)) => match message {
            Lanes::Upkeep(Upkeep::Forward(entries)) => entries,
            Lanes::Endorse { batches, .. } => {
                batches.first().map(|(_, batch)| batch.entries()).unwrap_or_default()
            }
            _ => &[],
        },
        _ => &[],
    }
}
