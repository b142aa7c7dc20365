//! What a simulated machine has on its disk, in the same store as a real one, and what waits until more of it is there.

use std::collections::VecDeque;
use std::sync::Arc;

use smr_app::state::Chunk;
use smr_consensus::Record;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_replica::{Chunked, Effect, Found, Gate};
use smr_store::{CheckpointWriter, ChunkName, OpenError, Store, StoreConfig};
use smr_wire::Slot;

use crate::disk::SimDisk;
use crate::rng::Rng;

/// Small enough that several are filled in a run, large enough for any record of one.
const SEGMENT_BYTES: u64 = 128 << 10;

/// Whose every store here is.
const OWNER: [u8; 32] = [1; 32];

/// A disk, and the gate before everything that must wait for it.
pub(crate) struct Durable {
    disk: SimDisk,
    /// How often it was opened.
    life: u64,
    store: Store<SimDisk>,
    states: CheckpointWriter<SimDisk>,
    gate: Gate,
    /// The number of the last record.
    written: u64,
    /// Records that nobody knows to be on disk yet.
    under_way: VecDeque<(u64, Record)>,
    /// Whether a sync is under way.
    syncs: bool,
}

/// What a machine finds when it comes back.
pub(crate) struct Back {
    pub(crate) disk: Durable,
    pub(crate) found: Found,
    /// Records that are there, though nobody knew.
    pub(crate) fresh: Vec<Record>,
}

/// Each life of a disk has a salt of its own.
fn config(life: u64) -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT_BYTES,
        record_bytes_max: usize::try_from(SEGMENT_BYTES * 3 / 4).expect("small"),
        ..StoreConfig::with_salt(life)
    }
}

fn open(disk: SimDisk, life: u64) -> Result<(Durable, smr_store::Found), OpenError> {
    let (store, found) = Store::open(disk.clone(), config(life), &OWNER)?;
    let states = store.checkpoint_writer(disk.clone());
    let gate = Gate::default();
    let under_way = VecDeque::new();
    Ok((Durable { disk, life, store, states, gate, written: 0, under_way, syncs: false }, found))
}

impl Durable {
    /// An empty one.
    pub(crate) fn new() -> Durable {
        open(SimDisk::new(), 1).expect("an empty disk is in order").0
    }

    /// Writes a record down. True if the disk is to be synced and is not yet on its way to be.
    pub(crate) fn write(&mut self, record: Record) -> bool {
        self.written += 1;
        let starts = record.is_promise() && !self.syncs;
        if record.is_promise() {
            self.gate.written(self.written);
        }
        let slot = record.slot().unwrap_or_default().0;
        self.store.append(slot, &smr_wire::encode(&record)).expect("there is room");
        self.under_way.push_back((self.written, record));
        self.syncs |= starts;
        starts
    }

    /// What a sync that begins now will cover.
    pub(crate) fn begin_sync(&self) -> u64 {
        self.written
    }

    /// A sync up to this record has come to its end. True if another one is wanted.
    pub(crate) fn ends_sync(&mut self, up_to: u64) -> bool {
        self.store.sync().expect("the disk works");
        self.syncs = self.gate.waits_beyond(up_to);
        self.syncs
    }

    /// Everything up to this record is on disk: those for which that is news, and what may be done now.
    pub(crate) fn synced(&mut self, up_to: u64) -> (Vec<Record>, Vec<Effect>) {
        let fresh = self.under_way.iter().take_while(|(number, _)| *number <= up_to).count();
        let fresh = self.under_way.drain(..fresh).map(|(_, record)| record).collect();
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

    /// Keeps a state.
    pub(crate) fn keep(&mut self, certificate: &CheckpointCertificate, image: &Arc<Chunked>) {
        let header = smr_wire::encode(certificate);
        let chunks: Vec<(ChunkName, &[u8])> =
            image.chunks().iter().map(|chunk| (chunk.digest().0, chunk.bytes())).collect();
        let kept = self.states.keep(certificate.checkpoint.slot.0, &header, &chunks);
        kept.expect("there is room");
    }

    /// Records up to `slot` go, and what stands takes the place of those without a slot. Everything is on disk then.
    pub(crate) fn prune(&mut self, slot: Slot, standing: &[Record]) {
        let standing: Vec<Vec<u8>> = standing.iter().map(smr_wire::encode).collect();
        self.store.prune(slot.0, &standing).expect("there is room");
    }

    /// Has everything written that is no promise either.
    pub(crate) fn settle(&mut self) {
        self.store.sync().expect("the disk works");
    }

    /// The same, of a machine at rest.
    pub(crate) fn again(&self) -> Durable {
        assert!(self.rests(), "nothing is on its way in a world at rest");
        let disk = SimDisk::new();
        disk.put_back(&self.disk.image());
        open(disk, self.life + 1).expect("it was in order").0
    }

    /// The machine fails: what was not synced may be lost, whole or in part. With `rots` it stops in order, and then a bit of
    /// what is there flips: that the last group was durable cannot be told where both go wrong at once.
    ///
    /// # Errors
    /// What is there is damaged, so that the machine must not go on.
    pub(crate) fn crash(self, rng: &mut Rng, rots: bool) -> Result<Back, OpenError> {
        let Durable { disk, life, store, states, under_way, .. } = self;
        drop(states);
        if rots {
            store.close().expect("the disk works");
        }
        disk.crash(rng);
        if rots {
            disk.flip(rng);
        }
        let (opened, found) = open(disk, life + 1)?;
        let is_there = |count: &usize| {
            let last = under_way.iter().take(*count).map(|(_, record)| smr_wire::encode(record));
            last.rev().eq(found.records.iter().rev().take(*count).cloned())
        };
        let survived = (0..=under_way.len()).rev().find(is_there).unwrap_or_default();
        let fresh = under_way.into_iter().take(survived).map(|(_, record)| record).collect();
        let read = |bytes: &Vec<u8>| smr_wire::decode(bytes, bytes.len()).expect("it was written here");
        let records = found.records.iter().map(read).collect();
        let state = |kept: &smr_store::FoundCheckpoint| {
            let read = |index| kept.chunk(opened.store.disk(), index).expect("it was verified");
            let chunk = |index| Chunk::new(read(index));
            let image = Chunked::of_chunks((0..kept.chunks()).map(chunk).collect());
            (read_certificate(&kept.header), image)
        };
        let checkpoint = found.checkpoints.first().map(state);
        Ok(Back { disk: opened, found: Found { checkpoint, records }, fresh })
    }
}

fn read_certificate(bytes: &[u8]) -> CheckpointCertificate {
    smr_wire::decode(bytes, bytes.len()).expect("it was written here")
}
