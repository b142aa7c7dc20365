//! Checkpoints: plain files beside the log, each written under a temporary name, synced, and only then named.
//!
//! ```text
//!   0: sheet | 512: part 0, the header | part 1, a chunk | ... | the end
//!   a part: crc (4) | length (4) | number (4) | bytes
//! ```

use borsh::{BorshDeserialize, BorshSerialize};

use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::error::{Damage, Fault, OpenError, StoreError};
use crate::known_bugs::BELIEVES_CHECKPOINTS;
use crate::names;
use crate::segment;
use crate::sheet::{self, SHEET_BYTES, Sheet, SheetFault, VERSION, word};

/// Bytes after which a checkpoint that is being written is synced: a sync of a whole one at its end would hold up those
/// of the log, which share the disk.
const SYNC_EVERY_BYTES: u64 = 16 << 20;

const PART_HEAD_BYTES: usize = 12;

/// What stands as length behind the last part.
const END: u32 = u32::MAX;

/// A checkpoint that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundCheckpoint {
    /// After which slot it was taken.
    pub slot: u64,
    /// What was kept with it.
    pub header: Vec<u8>,
    chunks: Vec<Part>,
}

impl FoundCheckpoint {
    /// How many chunks it has.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Reads a chunk.
    ///
    /// # Errors
    /// What the disk says, or that the chunk was damaged since it was found.
    ///
    /// # Panics
    /// If there are not as many chunks.
    pub fn chunk<D: Disk>(&self, disk: &D, index: usize) -> Result<Vec<u8>, StoreError> {
        let file = names::checkpoint(self.slot);
        let part = &self.chunks[index];
        let bytes = disk.read(&file, part.offset, PART_HEAD_BYTES + part.bytes);
        let bytes = bytes.map_err(|e| StoreError::io(&file, "reading", e))?;
        if !part.is_in(&bytes, self.slot) {
            let fault = Fault::Part { part: part.number };
            return Err(StoreError::Damaged(Damage::new(&file, part.offset, fault)));
        }
        Ok(bytes[PART_HEAD_BYTES..].to_vec())
    }
}

/// What was kept, and what may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The slot of the checkpoint that is durable now.
    pub slot: u64,
    /// Up to where the log may be pruned, if at all: the slot of the oldest checkpoint that stays, once as many are there
    /// as are kept.
    pub prune_to: Option<u64>,
}

/// Writes checkpoints, beside the log and on a thread of its own if need be.
#[derive(Debug)]
pub struct CheckpointWriter<D> {
    disk: D,
    config: StoreConfig,
    owner: [u8; 32],
    /// Slots of the usable ones, ascending.
    kept: Vec<u64>,
}

impl<D: Disk> CheckpointWriter<D> {
    pub(crate) fn new(
        disk: D,
        config: StoreConfig,
        owner: [u8; 32],
        mut kept: Vec<u64>,
    ) -> CheckpointWriter<D> {
        kept.sort_unstable();
        CheckpointWriter { disk, config, owner, kept }
    }

    /// Keeps the checkpoint after `slot`; when this returns, it is durable, and so many as the configuration says stay.
    ///
    /// # Errors
    /// What the disk says, or that a part is too large. Then the ones before stay, and the log is not touched.
    pub fn keep<I>(&mut self, slot: u64, header: &[u8], chunks: I) -> Result<Kept, StoreError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let name = names::checkpoint(slot);
        let made = names::temporary(&name);
        if segment::list(&self.disk)?.iter().any(|file| file.name == made) {
            segment::remove(&mut self.disk, &made)?;
        }
        if let Err(error) = self.write(&made, slot, header, chunks) {
            // What is left of it is removed when the store is opened, if it cannot be now.
            let _ = self.disk.remove(&made);
            return Err(error);
        }
        segment::publish(&mut self.disk, &made, &name)?;
        if !self.kept.contains(&slot) {
            self.kept.push(slot);
            self.kept.sort_unstable();
        }
        let stay = self.config.checkpoints_kept;
        self.kept.drain(..self.kept.len().saturating_sub(stay));
        self.remove_others()?;
        let prune_to = (self.kept.len() >= stay).then(|| self.kept[0]);
        Ok(Kept { slot, prune_to })
    }

    fn write<I>(&mut self, made: &str, slot: u64, header: &[u8], chunks: I) -> Result<(), StoreError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.disk.create(made, 0).map_err(|e| StoreError::io(made, "making", e))?;
        let bytes = sheet::encode(&CheckpointSheet { owner: self.owner, slot });
        self.disk.write(made, 0, &bytes).map_err(|e| StoreError::io(made, "writing", e))?;
        let mut end = Part { number: 0, offset: SHEET_BYTES as u64, bytes: 0 };
        self.write_part(made, slot, &mut end, header, "checkpoint's header")?;
        let mut synced = 0;
        for chunk in chunks {
            if end.number > self.config.chunks_max {
                return Err(StoreError::TooManyChunks { chunks_max: self.config.chunks_max });
            }
            self.write_part(made, slot, &mut end, chunk.as_ref(), "chunk")?;
            if end.offset - synced >= SYNC_EVERY_BYTES {
                self.disk.sync(made).map_err(|e| StoreError::io(made, "syncing", e))?;
                synced = end.offset;
            }
        }
        let bytes = part_bytes(slot, end.number, END, &[]);
        self.disk.write(made, end.offset, &bytes).map_err(|e| StoreError::io(made, "writing", e))
    }

    fn write_part(
        &mut self,
        made: &str,
        slot: u64,
        at: &mut Part,
        part: &[u8],
        what: &'static str,
    ) -> Result<(), StoreError> {
        let bytes_max = self.config.chunk_bytes_max;
        if part.len() > bytes_max {
            return Err(StoreError::TooLarge { what, bytes: part.len(), bytes_max });
        }
        let length = u32::try_from(part.len()).expect("the configuration limits parts to 1 GiB");
        let bytes = part_bytes(slot, at.number, length, part);
        self.disk.write(made, at.offset, &bytes).map_err(|e| StoreError::io(made, "writing", e))?;
        at.offset += bytes.len() as u64;
        at.number += 1;
        Ok(())
    }

    fn remove_others(&mut self) -> Result<(), StoreError> {
        for file in segment::list(&self.disk)? {
            if names::checkpoint_slot(&file.name).is_some_and(|slot| !self.kept.contains(&slot)) {
                segment::remove(&mut self.disk, &file.name)?;
            }
        }
        Ok(())
    }
}

/// Says which checkpoint a file is.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct CheckpointSheet {
    owner: [u8; 32],
    slot: u64,
}

impl Sheet for CheckpointSheet {
    const MAGIC: [u8; 8] = *b"smr-chkp";
}

/// The place of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    number: u32,
    offset: u64,
    /// Without its head.
    bytes: usize,
}

impl Part {
    /// Whether `bytes` are this part.
    fn is_in(&self, bytes: &[u8], slot: u64) -> bool {
        let whole = bytes.len() == PART_HEAD_BYTES + self.bytes
            && word(bytes, 8) == self.number
            && word(bytes, 0) == checksum(slot, &bytes[4..]);
        whole || (BELIEVES_CHECKPOINTS.is_on() && bytes.len() >= PART_HEAD_BYTES)
    }
}

fn checksum(slot: u64, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot.to_le_bytes()), covered)
}

fn part_bytes(slot: u64, number: u32, length: u32, part: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PART_HEAD_BYTES + part.len());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(part);
    let crc = checksum(slot, &bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads and verifies the whole checkpoint after `slot`. What is wrong with it is no reason not to open the store.
pub(crate) fn find<D: Disk>(
    disk: &D,
    config: &StoreConfig,
    owner: &[u8; 32],
    slot: u64,
) -> Result<Result<FoundCheckpoint, Damage>, OpenError> {
    let file = names::checkpoint(slot);
    let read = |offset, bytes| {
        let read = disk.read(&file, offset, bytes);
        read.map_err(|error| Damage::new(&file, offset, Fault::Unreadable(error.to_string())))
    };
    let sheet = match read(0, SHEET_BYTES) {
        Ok(sheet) => sheet::decode::<CheckpointSheet>(&sheet),
        Err(damage) => return Ok(Err(damage)),
    };
    match sheet {
        Ok(sheet) if sheet.slot == slot && sheet.owner == *owner => {}
        Ok(sheet) if sheet.slot == slot => return Err(OpenError::OtherOwner { file }),
        Err(SheetFault::Version(found)) => return Err(OpenError::Version { file, found, ours: VERSION }),
        Ok(_) | Err(SheetFault::Destroyed) => return Ok(Err(Damage::new(&file, 0, Fault::Header))),
    }
    Ok(read_parts(config, slot, &file, read))
}

fn read_parts(
    config: &StoreConfig,
    slot: u64,
    file: &str,
    read: impl Fn(u64, usize) -> Result<Vec<u8>, Damage>,
) -> Result<FoundCheckpoint, Damage> {
    let mut found = FoundCheckpoint { slot, header: Vec::new(), chunks: Vec::new() };
    let mut offset = SHEET_BYTES as u64;
    for number in 0..=config.chunks_max.saturating_add(1) {
        let damage = || Err(Damage::new(file, offset, Fault::Part { part: number }));
        let head = read(offset, PART_HEAD_BYTES)?;
        if head.len() < PART_HEAD_BYTES {
            return damage();
        }
        let length = word(&head, 4);
        let part = Part { number, offset, bytes: if length == END { 0 } else { length as usize } };
        if part.bytes > config.chunk_bytes_max {
            return damage();
        }
        let bytes = read(offset, PART_HEAD_BYTES + part.bytes)?;
        if !part.is_in(&bytes, slot) {
            return damage();
        }
        match (length, number) {
            (END, 0) => return damage(),
            (END, _) => return Ok(found),
            (_, 0) => found.header = bytes[PART_HEAD_BYTES..].to_vec(),
            (..) => found.chunks.push(part),
        }
        offset += bytes.len() as u64;
    }
    Err(Damage::new(file, offset, Fault::Part { part: config.chunks_max }))
}
