//! One replica that decides at once. Tolerates nothing; the floor for latency, and the simplest `Protocol`.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::client::FaultModel;
use smr_wire::{ReplicaId, Slot, Timestamp, View};

use crate::batch::Entry;
use crate::batcher;
use crate::checkpoint::CheckpointCertificate;
use crate::config::Config;
use crate::pool::{Added, Pool};
use crate::profile::Profile;
use crate::protocol::{Effect, Effects, Event, Input, Protocol, Status};
use crate::record::{Proof, Record, Unfit};
use crate::verified::{Refused, Rules, Verify};

/// What `solo` says of itself.
pub const PROFILE: Profile = Profile {
    name: "solo",
    model: FaultModel::Byzantine,
    per_fault: 0,
    faults_max: 0,
    strength: "one process, no waiting for others; for development and as the floor for latency",
    source: "none needed",
};

/// The protocol of one.
#[derive(Clone, Debug)]
pub struct Solo {
    config: Config,
    pool: Pool,
    decided: Slot,
    executed: Slot,
    settled: Slot,
    log_base: Slot,
}

/// There is nobody to talk to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {}

impl BorshSerialize for Message {
    fn serialize<W: io::Write>(&self, _writer: &mut W) -> io::Result<()> {
        match *self {}
    }
}

impl BorshDeserialize for Message {
    fn deserialize_reader<R: io::Read>(_reader: &mut R) -> io::Result<Message> {
        Err(io::Error::new(io::ErrorKind::InvalidData, "a lone replica has no messages"))
    }
}

impl Verify for Message {
    fn verify(&self, _from: ReplicaId, _rules: &Rules<'_>) -> Result<(), Refused> {
        match *self {}
    }

    fn asks_for_much(&self) -> bool {
        match *self {}
    }
}

impl Solo {
    /// A replica that has decided nothing.
    #[must_use]
    pub fn new(config: Config) -> Solo {
        let pool = Pool::new(&config, 1);
        Solo { config, pool, decided: Slot(0), executed: Slot(0), settled: Slot(0), log_base: Slot(0) }
    }

    fn decide(&mut self, clock: Timestamp, effects: &mut Effects<Message>) {
        let backlog_max = self.config.backlog_slots_max;
        while self.decided.since(self.executed) < backlog_max
            && let Some(batch) =
                batcher::cut(&mut self.pool, self.decided.since(self.settled), clock, &self.config)
        {
            self.decided = self.decided.next();
            batch.entries().iter().for_each(|entry| self.pool.remove(entry));
            let (slot, kept) = (self.decided, Some(batch.clone()));
            effects.push(Effect::Persist(Record::Decided { slot, proof: Proof::Alone, batch: kept }));
            effects.push(Effect::Decide { slot: self.decided, batch });
        }
    }
}

impl Protocol for Solo {
    type Message = Message;

    fn step(&mut self, input: Input<Message>, effects: &mut Effects<Message>) {
        match input.event {
            Event::Offer(entry) => {
                let digest = entry.digest();
                let added = self.pool.add(entry);
                effects.push(Effect::Offered { entry: digest, added });
                if added == Added::New {
                    self.decide(input.clock, effects);
                }
            }
            Event::Executed(slot) => {
                self.executed = slot;
                self.decide(input.clock, effects);
            }
            Event::Settled(slot) => {
                self.settled = slot;
                self.decide(input.clock, effects);
            }
            Event::Stable(certificate) => self.log_base = certificate.checkpoint.slot,
            Event::Installed(certificate) => {
                let slot = certificate.checkpoint.slot;
                self.decided = self.decided.max(slot);
                self.executed = self.executed.max(slot);
                self.settled = self.settled.max(slot);
            }
            // There are no messages, no timer is ever armed, no core asked, and nobody could join.
            Event::Message(_)
            | Event::Start
            | Event::Timer(_)
            | Event::Attested(_)
            | Event::Barrier(_)
            | Event::Cease(_) => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            view: View(0),
            installed: true,
            primary: ReplicaId(0),
            decided: self.decided,
            highest: self.decided,
            log_base: self.log_base,
            stable: self.log_base,
            waiting: self.pool.len(),
            ceased: None,
        }
    }

    fn waiting(&self) -> Vec<Entry> {
        self.pool.all()
    }

    fn resume(
        &mut self,
        checkpoint: Option<CheckpointCertificate>,
        records: Vec<Record>,
        effects: &mut Effects<Message>,
    ) -> Result<(), Unfit> {
        self.decided = checkpoint.map(|certificate| certificate.checkpoint.slot).unwrap_or_default();
        for record in records {
            let Record::Decided { slot, proof: Proof::Alone, batch: Some(batch) } = record else {
                return Err(Unfit("a record of another protocol"));
            };
            if slot <= self.decided {
                continue;
            }
            if slot != self.decided.next() {
                return Err(Unfit("a decision is missing"));
            }
            self.decided = slot;
            effects.push(Effect::Decide { slot, batch });
        }
        Ok(())
    }

    fn standing(&self) -> Vec<Record> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::entry;

    #[test]
    fn an_offer_is_decided_at_once_and_waits_only_for_execution_and_replies() {
        let mut solo = Solo::new(Config { backlog_slots_max: 1, pipeline_slots: 2, ..Config::default() });
        let mut effects = Effects::default();
        let mut decided = |event, solo: &mut Solo| -> Vec<Slot> {
            solo.step(Input { clock: Timestamp(5), event }, &mut effects);
            effects
                .drain()
                .filter_map(|e| if let Effect::Decide { slot, .. } = e { Some(slot) } else { None })
                .collect()
        };
        assert_eq!(decided(Event::Offer(entry(1, 1)), &mut solo), [Slot(1)]);
        assert_eq!(decided(Event::Offer(entry(1, 2)), &mut solo), []);
        assert_eq!(decided(Event::Executed(Slot(1)), &mut solo), [Slot(2)]);
        assert_eq!(decided(Event::Executed(Slot(2)), &mut solo), []);
        assert_eq!(decided(Event::Offer(entry(1, 3)), &mut solo), [], "two slots wait for their replies");
        assert_eq!(decided(Event::Settled(Slot(1)), &mut solo), [Slot(3)]);
    }
}
