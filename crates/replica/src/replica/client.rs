//! Clients of this contact: who waits for which reply, and when it is sent.

use std::collections::BTreeSet;

use smr_consensus::Entry;
use smr_consensus::batch::EntryBody;
use smr_consensus::pool::Added;
use smr_crypto::Digest;
use smr_crypto::threshold::{ServiceSignature, SignatureShare};
use smr_wire::client::About;
use smr_wire::{Call, EndpointCertificate, Hint, ReplicaId, Request, Slot};

use super::{Offering, Replica};
use crate::effect::{ConnectionId, Effect, Observation};
use crate::known_bugs;
use crate::message::PeerMessage;
use crate::replies::{BlockProof, Key, Statement};

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
        if self.endpoints.is_none() || self.is_silent() || self.transfer.is_wanted() {
            return hint(Hint::NotReady, effects);
        }
        if entry.bytes() > self.genesis.config.request_bytes_max as usize {
            let bytes_max = self.genesis.config.request_bytes_max;
            return hint(Hint::TooLarge { bytes_max }, effects);
        }
        let keys: Vec<Key> = abouts.iter().map(|about| (request.client, *about)).collect();
        if self.waiting.len_with(&keys) > self.genesis.config.waiting_max as usize {
            return hint(Hint::Busy, effects);
        }
        let (mut unsigned, mut answered) = (BTreeSet::new(), true);
        for key in &keys {
            if let Some(reply) = self.blocks.reply(key) {
                self.waiting.take(key);
                effects.push(Effect::Reply { connection, reply });
                continue;
            }
            self.waiting.add(*key, connection);
            match self.blocks.find(key) {
                Some((slot, _)) => {
                    unsigned.insert(slot);
                }
                // It was ordered and waits; its reply will come.
                None if self.system.parked.contains(key) => {}
                None => answered = false,
            }
        }
        for slot in unsigned {
            if !self.try_combine(Statement::Block(slot), effects) {
                self.ask_shares(slot, effects);
            }
        }
        if !answered {
            self.offering.insert(entry.digest(), Offering { connection, keys });
            self.inbox.push_back(smr_consensus::Event::Offer(entry));
        }
    }

    /// Asks the others for their shares on the block of `slot`, unless much was asked in this period.
    fn ask_shares(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        if self.quota.may_ask() {
            Replica::broadcast(effects, PeerMessage::ShareQuery { statement: Statement::Block(slot) });
        }
    }

    /// `from` asks for the share on a statement.
    pub(super) fn on_share_query(
        &mut self,
        from: ReplicaId,
        statement: Statement,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(share) = self.shares.of(statement, self.seat.me)
            && !self.is_silent()
            && self.quota.may_answer(from)
        {
            Replica::send(effects, from, PeerMessage::Share { statement, share });
        }
    }

    /// What became of an entry that was offered for ordering.
    pub(super) fn on_offered(&mut self, entry: Digest, added: Added, effects: &mut Vec<Effect>) {
        let Some(Offering { connection, keys }) = self.offering.remove(&entry) else {
            return;
        };
        if added == Added::Full {
            let about = keys.first().map(|(_, about)| *about);
            self.forget(&keys);
            effects.push(Effect::Hint { connection, about, hint: Hint::Busy });
        }
    }

    /// Nobody waits any more for commands that are not answered here.
    pub(super) fn forget(&mut self, keys: &[Key]) {
        for key in keys {
            self.waiting.take(key);
        }
    }

    /// Sends everybody who waits to another contact: what was asked here may have been decided where this replica
    /// cannot see it, or will not be answered by it.
    pub(super) fn send_away(&mut self, effects: &mut Vec<Effect>) {
        for connection in self.waiting.clear() {
            effects.push(Effect::Hint { connection, about: None, hint: Hint::NotReady });
        }
    }

    /// This replica's share on a statement.
    pub(super) fn on_signed(
        &mut self,
        statement: Statement,
        digest: Digest,
        share: SignatureShare,
        effects: &mut Vec<Effect>,
    ) {
        // Of a state that was wrong, and is mended or will be.
        if self.is_silent() || self.statement_digest(statement) != Some(digest) {
            return;
        }
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
        if signed && (self.blocks.is_proven(slot) || !self.is_awaited(slot)) && self.unsettled.remove(&slot) {
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
            Statement::Block(slot) => !self.blocks.is_proven(slot) && self.is_awaited(slot),
            Statement::Endpoints(_, issued) => {
                self.endpoints.as_ref().is_none_or(|certificate| certificate.endpoints.issued < issued)
            }
        };
        let (Some(key), Some(digest)) = (self.key.clone(), self.statement_digest(statement)) else {
            return false;
        };
        if !needed || self.is_silent() {
            return false;
        }
        let Some(shares) = self.shares.begin(statement, key.threshold) else {
            return false;
        };
        effects.push(Effect::Combine { statement, digest, shares, key });
        true
    }

    fn is_awaited(&self, slot: Slot) -> bool {
        self.blocks.answered_by(slot).any(|key| self.waiting.contains(&key))
    }

    /// What came of combining shares on a statement.
    pub(super) fn on_combined(
        &mut self,
        (statement, digest): (Statement, Digest),
        signature: Option<ServiceSignature>,
        culprits: &[ReplicaId],
        effects: &mut Vec<Effect>,
    ) {
        if self.statement_digest(statement) != Some(digest) {
            self.shares.combined(&[]);
            self.combine_next(effects);
            return;
        }
        for liar in self.shares.combined(culprits) {
            effects.push(Effect::Report(Observation::BadShare(liar)));
        }
        match (statement, signature) {
            (Statement::Block(slot), Some(signature)) => {
                self.blocks.prove(slot, BlockProof::Signed(signature));
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
            .commands()
            .filter_map(|key| self.blocks.find(key))
            .map(|(slot, _)| slot)
            .filter(|slot| !self.blocks.is_proven(*slot))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Sends the replies of a proven block to whoever waits for them.
    pub(super) fn reply(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        let answered: Vec<Key> =
            self.blocks.answered_by(slot).filter(|key| self.waiting.contains(key)).collect();
        for key in answered {
            if let Some(reply) = self.blocks.reply(&key)
                && let Some(connection) = self.waiting.take(&key)
            {
                effects.push(Effect::Reply { connection, reply });
            }
        }
    }

    /// Repeats what may have been lost: shares that somebody waits for, an unfinished vote, key generation.
    pub(super) fn repeat(&mut self, effects: &mut Vec<Effect>) {
        self.quota.restart();
        self.checkpoints.period_passed();
        self.mind_generations(effects);
        // Shares that do not come must not hold up ordering for longer than this.
        self.unsettled.clear();
        self.report_settled();
        let repeats = !known_bugs::REPEATS_NO_CHECKPOINT.is_on();
        if repeats
            && !self.is_silent()
            && let Some(vote) = self.checkpoints.unfinished()
        {
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
        for slot in self.awaited_slots() {
            self.ask_shares(slot, effects);
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
