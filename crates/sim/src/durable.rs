//! What a simulated machine has on its disk, and what waits until more of it is there.

use std::sync::Arc;

use smr_consensus::Record;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_replica::system::Chunked;
use smr_replica::{Effect, Found, Gate};
use smr_wire::Slot;

use crate::rng::Rng;

/// States that are kept: the last one, and the one before.
const CHECKPOINTS_KEPT: usize = 2;

/// A disk, and the gate before everything that must wait for it.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    /// With their numbers.
    records: Vec<(u64, Record)>,
    /// Up to this number they are on disk for certain.
    synced: u64,
    /// The oldest first.
    kept: Vec<(CheckpointCertificate, Arc<Chunked>)>,
    gate: Gate,
    written: u64,
    /// Whether a sync is under way.
    syncs: bool,
}

impl Durable {
    /// Writes a record down. True if the disk is to be synced and is not yet on its way to be.
    pub(crate) fn write(&mut self, record: Record) -> bool {
        self.written += 1;
        let starts = record.is_promise() && !self.syncs;
        if record.is_promise() {
            self.gate.written(self.written);
        }
        self.records.push((self.written, record));
        self.syncs |= starts;
        starts
    }

    /// What a sync that begins now will cover.
    pub(crate) fn begin_sync(&self) -> u64 {
        self.written
    }

    /// A sync up to this record has come to its end. True if another one is wanted.
    pub(crate) fn ends_sync(&mut self, up_to: u64) -> bool {
        self.syncs = self.gate.waits_beyond(up_to);
        self.syncs
    }

    /// Everything up to this record is on disk: those for which that is news, and what may be done now.
    pub(crate) fn synced(&mut self, up_to: u64) -> (Vec<Record>, Vec<Effect>) {
        let is_fresh = |number: u64| number > self.synced && number <= up_to;
        let fresh = self.records.iter().filter(|(number, _)| is_fresh(*number));
        let fresh = fresh.map(|(_, record)| record.clone()).collect();
        self.synced = self.synced.max(up_to);
        (fresh, self.gate.durable(up_to))
    }

    /// The effect, if it may be done now.
    pub(crate) fn pass(&mut self, effect: Effect) -> Option<Effect> {
        self.gate.pass(effect)
    }

    /// Whether everything promised is on disk.
    pub(crate) fn is_settled(&self) -> bool {
        self.gate.is_open()
    }

    /// Whether nothing is on its way to it.
    pub(crate) fn rests(&self) -> bool {
        self.gate.is_open() && !self.syncs
    }

    /// A state is on disk.
    pub(crate) fn keep(&mut self, certificate: CheckpointCertificate, image: Arc<Chunked>) {
        self.kept.push((certificate, image));
        self.kept.sort_by_key(|(certificate, _)| certificate.checkpoint.slot);
        let surplus = self.kept.len().saturating_sub(CHECKPOINTS_KEPT);
        self.kept.drain(..surplus);
    }

    /// Records up to `slot` go, and what stands takes the place of those without a slot. To be followed by a sync.
    pub(crate) fn prune(&mut self, slot: Slot, standing: Vec<Record>) {
        self.records.retain(|(_, record)| record.slot().is_none_or(|of| of > slot));
        for record in standing {
            self.written += 1;
            self.records.push((self.written, record));
        }
    }

    /// The same, of a machine at rest.
    pub(crate) fn again(&self) -> Durable {
        assert!(self.gate.is_open() && !self.syncs, "nothing is on its way in a world at rest");
        Durable {
            records: self.records.clone(),
            synced: self.synced,
            written: self.written,
            kept: self.kept.clone(),
            ..Durable::default()
        }
    }

    /// The machine fails: what was not synced may be lost. What it finds when it comes back, and which of the records nobody
    /// knew to be there.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> (Found, Vec<Record>) {
        let survives = rng.within(self.synced, self.written);
        self.records.retain(|(number, _)| *number <= survives);
        let fresh = self.records.iter().filter(|(number, _)| *number > self.synced);
        let fresh = fresh.map(|(_, record)| record.clone()).collect();
        let checkpoint =
            self.kept.last().map(|(certificate, image)| (certificate.clone(), (**image).clone()));
        let found =
            Found { checkpoint, records: self.records.iter().map(|(_, record)| record.clone()).collect() };
        *self = Durable {
            synced: survives,
            written: survives,
            records: std::mem::take(&mut self.records),
            kept: std::mem::take(&mut self.kept),
            ..Durable::default()
        };
        (found, fresh)
    }
}
