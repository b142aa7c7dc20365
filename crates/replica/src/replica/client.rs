//! Clients of this contact: who waits for which reply, and when it is sent.

use smr_consensus::Entry;
use smr_consensus::batch::EntryBody;
use smr_consensus::pool::Added;
use smr_crypto::Digest;
use smr_crypto::threshold::{ServiceSignature, SignatureShare};
use smr_wire::client::About;
use smr_wire::{Call, ClientId, EndpointCertificate, Hint, ReplicaId, Request, Slot};

use super::Replica;
use crate::effect::{ConnectionId, Effect, Observation};
use crate::message::PeerMessage;
use crate::replies::Statement;

/// Blocks whose shares are asked for again in one period at most.
const QUERIES_MAX: usize = 16;

impl Replica {
    /// A request of a client, checked.
    pub(super) fn on_request(&mut self, connection: ConnectionId, entry: Entry, effects: &mut Vec<Effect>) {
        let EntryBody::Client(request) = entry.body() else {
            return;
        };
        let abouts = abouts(request);
        let hint = |hint, effects: &mut Vec<Effect>| {
            effects.push(Effect::Hint { connection, about: abouts.first().copied(), hint });
        };
        if self.endpoints.is_none() || self.halted.is_some() || self.transfer.is_wanted() {
            return hint(Hint::NotReady, effects);
        }
        if entry.bytes() > self.genesis.config.request_bytes_max as usize {
            let bytes_max = self.genesis.config.request_bytes_max;
            return hint(Hint::TooLarge { bytes_max }, effects);
        }
        if self.waiting.len() + abouts.len() > self.genesis.config.waiting_max as usize {
            return hint(Hint::Busy, effects);
        }
        let client = request.client;
        let mut answered = true;
        for about in &abouts {
            self.wait(client, *about, connection);
            match self.blocks.find(client, *about) {
                Some((slot, _)) => self.answer_again(slot, effects),
                None => answered = false,
            }
        }
        if !answered {
            self.offering.insert(entry.digest(), connection);
            self.inbox.push_back(smr_consensus::Event::Offer(entry));
        }
    }

    /// A command that was answered before: the reply goes out if it is certified; otherwise shares are asked for.
    fn answer_again(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        if self.blocks.is_signed(slot) {
            self.reply(slot, effects);
        } else if !self.try_combine(Statement::Block(slot), effects) {
            Replica::broadcast(effects, PeerMessage::ShareQuery { statement: Statement::Block(slot) });
        }
    }

    fn wait(&mut self, client: ClientId, about: About, connection: ConnectionId) {
        self.waiting.insert((client, about), connection);
        let list = self.connections.entry(connection).or_default();
        list.push((client, about));
        // Entries of replies that went out meanwhile are dropped now and then, so the list stays in proportion.
        if list.len().is_multiple_of(1024) {
            list.retain(|key| self.waiting.get(key) == Some(&connection));
        }
    }

    /// What became of an entry that was offered for ordering.
    pub(super) fn on_offered(&mut self, entry: Digest, added: Added, effects: &mut Vec<Effect>) {
        let Some(connection) = self.offering.remove(&entry) else {
            return;
        };
        if added == Added::Full {
            effects.push(Effect::Hint { connection, about: None, hint: Hint::Busy });
        }
    }

    /// A client's connection has closed: nobody waits there any more.
    pub(super) fn on_closed(&mut self, connection: ConnectionId) {
        for key in self.connections.remove(&connection).unwrap_or_default() {
            if self.waiting.get(&key) == Some(&connection) {
                self.waiting.remove(&key);
            }
        }
    }

    /// This replica's share on a statement.
    pub(super) fn on_signed(
        &mut self,
        statement: Statement,
        share: SignatureShare,
        effects: &mut Vec<Effect>,
    ) {
        self.shares.add(statement, self.seat.me, share);
        Replica::broadcast(effects, PeerMessage::Share { statement, share });
        self.try_combine(statement, effects);
        if let Statement::Block(slot) = statement {
            self.settle(slot);
        }
    }

    /// Takes `slot` as settled if its own share is made and nobody waits here for its replies.
    fn settle(&mut self, slot: Slot) {
        let signed = self.shares.of(Statement::Block(slot), self.seat.me).is_some();
        if signed && (self.blocks.is_signed(slot) || !self.is_awaited(slot)) && self.unsettled.remove(&slot) {
            self.report_settled();
        }
    }

    /// Tells consensus up to where everything is settled.
    pub(super) fn report_settled(&mut self) {
        let settled = self.unsettled.first().map_or(self.executed, |first| first.minus(1));
        self.inbox.push_back(smr_consensus::Event::Settled(settled));
    }

    /// Combines shares on a statement if there are enough and somebody needs the result. True if that is under
    /// way.
    pub(super) fn try_combine(&mut self, statement: Statement, effects: &mut Vec<Effect>) -> bool {
        let needed = match statement {
            Statement::Block(slot) => !self.blocks.is_signed(slot) && self.is_awaited(slot),
            Statement::Endpoints(_, issued) => {
                self.endpoints.as_ref().is_none_or(|certificate| certificate.endpoints.issued < issued)
            }
        };
        let (Some(key), Some(digest)) = (self.key.clone(), self.statement_digest(statement)) else {
            return false;
        };
        if !needed || self.halted.is_some() {
            return false;
        }
        let Some(shares) = self.shares.begin(statement, key.threshold) else {
            return false;
        };
        effects.push(Effect::Combine { statement, digest, shares, key });
        true
    }

    fn is_awaited(&self, slot: Slot) -> bool {
        self.blocks.get(slot).is_some_and(|block| {
            block.members().iter().any(|member| self.waiting.contains_key(&(member.client, member.about)))
        })
    }

    /// What came of combining shares on a statement.
    pub(super) fn on_combined(
        &mut self,
        statement: Statement,
        signature: Option<ServiceSignature>,
        culprits: &[ReplicaId],
        effects: &mut Vec<Effect>,
    ) {
        for liar in self.shares.combined(culprits) {
            effects.push(Effect::Report(Observation::BadShare(liar)));
        }
        match (statement, signature) {
            (Statement::Block(slot), Some(signature)) => {
                self.blocks.signed(slot, signature);
                self.reply(slot, effects);
                self.settle(slot);
            }
            (Statement::Endpoints(_, issued), Some(signature)) => {
                let current = self.system.endpoints.clone().filter(|endpoints| endpoints.issued == issued);
                self.endpoints = current
                    .map(|endpoints| EndpointCertificate { endpoints, signature })
                    .or(self.endpoints.take());
            }
            (_, None) => {}
        }
        self.combine_next(effects);
    }

    /// Begins the next combination that somebody waits for: the contacts' certificate, then blocks by age.
    pub(super) fn combine_next(&mut self, effects: &mut Vec<Effect>) {
        if let Some(endpoints) = &self.system.endpoints {
            let statement = Statement::Endpoints(endpoints.epoch, endpoints.issued);
            if self.try_combine(statement, effects) {
                return;
            }
        }
        let slots = self.awaited_slots();
        for slot in slots {
            if self.try_combine(Statement::Block(slot), effects) {
                return;
            }
        }
    }

    /// Executed slots with unsigned replies that somebody waits for, oldest first.
    fn awaited_slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self
            .waiting
            .keys()
            .filter_map(|(client, about)| self.blocks.find(*client, *about))
            .map(|(slot, _)| slot)
            .filter(|slot| !self.blocks.is_signed(*slot))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Sends the replies of a signed block to whoever waits for them.
    fn reply(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        let Some(block) = self.blocks.get(slot) else {
            return;
        };
        for (index, member) in block.members().iter().enumerate() {
            if let Some(connection) = self.waiting.remove(&(member.client, member.about))
                && let Some(reply) = block.reply(slot, index)
            {
                effects.push(Effect::Reply { connection, reply });
            }
        }
    }

    /// Repeats what may have been lost: shares that somebody waits for, an unfinished vote, key generation.
    pub(super) fn repeat(&mut self, effects: &mut Vec<Effect>) {
        // Shares that do not come must not hold up ordering for longer than this.
        self.unsettled.clear();
        self.report_settled();
        if let Some(vote) = self.checkpoints.unfinished() {
            Replica::broadcast(effects, vote);
        }
        if let Some(endpoints) = &self.system.endpoints {
            let statement = Statement::Endpoints(endpoints.epoch, endpoints.issued);
            let certified = self.endpoints.as_ref().map(|c| c.endpoints.issued) == Some(endpoints.issued);
            if !certified {
                match self.shares.of(statement, self.seat.me) {
                    Some(share) => Replica::broadcast(effects, PeerMessage::Share { statement, share }),
                    None => self.sign(statement, effects),
                }
                Replica::broadcast(effects, PeerMessage::ShareQuery { statement });
            }
        }
        for slot in self.awaited_slots().into_iter().take(QUERIES_MAX) {
            Replica::broadcast(effects, PeerMessage::ShareQuery { statement: Statement::Block(slot) });
        }
        self.combine_next(effects);
    }
}

fn abouts(request: &Request) -> Vec<About> {
    match &request.call {
        Call::Open { nonce, .. } => vec![About::opening(*nonce)],
        Call::Commands { session, commands, .. } => {
            commands.iter().map(|command| About { session: *session, number: command.number }).collect()
        }
    }
}
