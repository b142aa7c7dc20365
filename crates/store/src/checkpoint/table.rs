//! The table of a checkpoint: for every chunk, in order, in which file and where it is.
//!
//! ```text
//!   0: sheet | 512: part 0, the header | part 1, files and runs
//!   a part: crc (4) | length (4) | number (4) | bytes
//! ```
//!
//! Chunks that follow each other in the state often do so in a file as well: a run of them takes as much as one.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Standing;
use super::chunk_file::{self, FileRef, Spot};
use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::error::{Damage, Fault, OpenError, StoreError};
use crate::names;
use crate::sheet::{self, SHEET_BYTES, Sheet, SheetFault, VERSION, word};

const PART_HEAD_BYTES: usize = 12;

/// What a checkpoint has, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    pub(super) slot: u64,
    pub(super) header: Vec<u8>,
    /// Number of the file whose chunks were verified when this was kept; 0 if none was.
    pub(super) verified: u64,
    pub(super) files: Vec<FileRef>,
    pub(super) places: Vec<Place>,
}

/// Where a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Among the table's files, from 0.
    pub(super) file: u32,
    /// In the file's index, from 0.
    pub(super) index: u32,
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

/// What stands in part 1.
#[derive(BorshSerialize, BorshDeserialize)]
struct Body {
    verified: u64,
    files: Vec<FileRef>,
    runs: Vec<Run>,
}

/// Chunks that follow each other, in the state and in a file.
#[derive(BorshSerialize, BorshDeserialize)]
struct Run {
    file: u32,
    first: u32,
    count: u32,
}

impl Table {
    /// All of the file.
    pub(super) fn encode(&self, owner: [u8; 32]) -> Vec<u8> {
        let mut runs: Vec<Run> = Vec::new();
        for Place { file, index } in &self.places {
            match runs.last_mut() {
                Some(run) if run.file == *file && run.first + run.count == *index => run.count += 1,
                _ => runs.push(Run { file: *file, first: *index, count: 1 }),
            }
        }
        let body = Body { verified: self.verified, files: self.files.clone(), runs };
        let mut bytes = sheet::encode(&CheckpointSheet { owner, slot: self.slot });
        self.add_part(&mut bytes, 0, |bytes| bytes.extend_from_slice(&self.header));
        self.add_part(&mut bytes, 1, |bytes| {
            borsh::to_writer(bytes, &body).expect("memory takes every byte");
        });
        bytes
    }

    fn add_part(&self, bytes: &mut Vec<u8>, number: u32, add: impl FnOnce(&mut Vec<u8>)) {
        let at = bytes.len();
        bytes.resize(at + PART_HEAD_BYTES, 0);
        add(bytes);
        let length = bytes.len() - at - PART_HEAD_BYTES;
        let length = u32::try_from(length).expect("the configuration limits parts");
        bytes[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&number.to_le_bytes());
        let crc = checksum(self.slot, &bytes[at + 4..]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the table of the checkpoint after `slot`. What is wrong with it is no reason not to open the store.
    pub(super) fn read<D: Disk>(
        disk: &D,
        config: &StoreConfig,
        owner: [u8; 32],
        slot: u64,
    ) -> Result<Result<Table, Damage>, OpenError> {
        let file = names::checkpoint(slot);
        let sheet = match chunk_file::read(disk, &file, 0, SHEET_BYTES) {
            Ok(sheet) => sheet::decode::<CheckpointSheet>(&sheet),
            Err(damage) => return Ok(Err(damage)),
        };
        match sheet {
            Ok(sheet) if sheet.slot == slot && sheet.owner == owner => {}
            Ok(sheet) if sheet.slot == slot => return Err(OpenError::OtherOwner { file }),
            Err(SheetFault::Version(found)) => {
                return Err(OpenError::Version { file, found, ours: VERSION });
            }
            Ok(_) | Err(SheetFault::Destroyed) => return Ok(Err(Damage::new(&file, 0, Fault::Header))),
        }
        Ok(read_parts(disk, config, slot, &file))
    }
}

fn read_parts<D: Disk>(disk: &D, config: &StoreConfig, slot: u64, file: &str) -> Result<Table, Damage> {
    let at = SHEET_BYTES as u64;
    let header = read_part(disk, file, slot, 0, at)?;
    let at = at + (PART_HEAD_BYTES + header.len()) as u64;
    let body = read_part(disk, file, slot, 1, at)?;
    let wrong = || Damage::new(file, at, Fault::Part { part: 1 });
    let Body { verified, files, runs } = Body::try_from_slice(&body).map_err(|_| wrong())?;
    let mut places = Vec::new();
    for run in runs {
        let chunks = files.get(run.file as usize).map_or(0, |file| file.chunks);
        let fits = u64::from(run.first) + u64::from(run.count) <= u64::from(chunks);
        if !fits || places.len() + run.count as usize > config.chunks_max as usize {
            return Err(wrong());
        }
        places.extend((run.first..run.first + run.count).map(|index| Place { file: run.file, index }));
    }
    Ok(Table { slot, header, verified, files, places })
}

fn read_part<D: Disk>(disk: &D, file: &str, slot: u64, number: u32, at: u64) -> Result<Vec<u8>, Damage> {
    let wrong = || Damage::new(file, at, Fault::Part { part: number });
    let head = chunk_file::read(disk, file, at, PART_HEAD_BYTES)?;
    let head = head.get(..PART_HEAD_BYTES).ok_or_else(wrong)?;
    let length = word(head, 4) as usize;
    let part = chunk_file::read(disk, file, at + PART_HEAD_BYTES as u64, length)?;
    let crc = crc32c::crc32c_append(checksum(slot, &head[4..]), &part);
    if part.len() != length || word(head, 8) != number || word(head, 0) != crc {
        return Err(wrong());
    }
    Ok(part)
}

fn checksum(slot: u64, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot.to_le_bytes()), covered)
}

/// A checkpoint that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundCheckpoint {
    /// After which slot it was taken.
    pub slot: u64,
    /// What was kept with it.
    pub header: Vec<u8>,
    files: Vec<(u64, Vec<Spot>)>,
    places: Vec<Place>,
}

impl FoundCheckpoint {
    /// How many chunks it has.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.places.len()
    }

    /// Reads a chunk.
    ///
    /// # Errors
    /// What the disk says, or that the chunk was damaged since it was found.
    ///
    /// # Panics
    /// If there are not as many chunks.
    pub fn chunk<D: Disk>(&self, disk: &D, index: usize) -> Result<Vec<u8>, StoreError> {
        let Place { file, index } = self.places[index];
        let (number, spots) = &self.files[file as usize];
        let (index, spot) = (index as usize, &spots[index as usize]);
        chunk_file::read_chunk(disk, *number, index, spot).map_err(StoreError::Damaged)
    }

    /// What the next ones need to know of it.
    pub(crate) fn standing(&self) -> Standing {
        Standing { slot: self.slot, files: self.files.iter().map(|(number, _)| *number).collect() }
    }
}

/// Reads the table of the checkpoint after `slot` and verifies everything it refers to, file by file.
pub(crate) fn find<D: Disk>(
    disk: &D,
    config: &StoreConfig,
    owner: [u8; 32],
    slot: u64,
) -> Result<Result<FoundCheckpoint, Damage>, OpenError> {
    Ok(Table::read(disk, config, owner, slot)?.and_then(|table| verify(disk, owner, table)))
}

fn verify<D: Disk>(disk: &D, owner: [u8; 32], table: Table) -> Result<FoundCheckpoint, Damage> {
    let mut used: Vec<Vec<bool>> = table.files.iter().map(|file| vec![false; file.chunks as usize]).collect();
    for place in &table.places {
        used[place.file as usize][place.index as usize] = true;
    }
    let mut files = Vec::with_capacity(table.files.len());
    for (file, used) in table.files.iter().zip(used) {
        let index = chunk_file::read_index(disk, owner, file)?;
        let spots: Vec<Spot> = index.into_iter().map(|entry| entry.spot).collect();
        chunk_file::verify(disk, file.number, &spots, |index| used[index])?;
        files.push((file.number, spots));
    }
    Ok(FoundCheckpoint { slot: table.slot, header: table.header, files, places: table.places })
}
