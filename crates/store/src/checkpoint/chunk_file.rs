//! A file of chunks: written once, never changed, and referred to by tables, which say what must stand in it.
//!
//! ```text
//!   0: sheet | 512: chunk chunk ... | index: for each chunk name (32) | length (4) | crc (4)
//! ```
//!
//! Checksums begin with the file's number, those of chunks also with their place in the index: bytes of another file, or
//! of another place, are no chunk of this one.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};

use super::ChunkName;
use crate::disk::Disk;
use crate::error::{Damage, Fault, StoreError};
use crate::known_bugs::{BELIEVES_CHECKPOINTS, TABLE_BEFORE_CHUNKS};
use crate::names;
use crate::sheet::{self, SHEET_BYTES, Sheet, word};

/// Bytes after which a file that is being written is synced: a sync of a whole one at its end would hold up those of the
/// log, which share the disk.
const SYNC_EVERY_BYTES: u64 = 16 << 20;

/// Bytes that are read or written at once, unless one chunk is larger.
const BLOCK_BYTES: usize = 1 << 20;

/// Bytes that the index has for a chunk.
pub(super) const INDEX_ENTRY_BYTES: usize = 40;

/// What a table says of a file that it refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct FileRef {
    pub(super) number: u64,
    pub(super) chunks: u32,
    /// Where its index stands, which is where its chunks end.
    index_at: u64,
    index_crc: u32,
}

impl FileRef {
    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.index_at.saturating_add(u64::from(self.chunks) * INDEX_ENTRY_BYTES as u64)
    }
}

/// What the index says of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IndexEntry {
    pub(super) name: ChunkName,
    pub(super) spot: Spot,
}

/// Where a chunk stands in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    offset: u64,
    pub(super) bytes: u32,
    crc: u32,
}

impl Spot {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }

    /// Whether `bytes` are this chunk.
    fn is(&self, number: u64, index: usize, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes as usize
            && (BELIEVES_CHECKPOINTS.is_on() || self.crc == chunk_crc(number, index, bytes))
    }
}

/// Says which file of chunks it is.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct ChunkSheet {
    owner: [u8; 32],
    number: u64,
}

impl Sheet for ChunkSheet {
    const MAGIC: [u8; 8] = *b"smr-chnk";
}

fn chunk_crc(number: u64, index: usize, chunk: &[u8]) -> u32 {
    let of_place =
        crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &(index as u64).to_le_bytes());
    crc32c::crc32c_append(of_place, chunk)
}

fn index_crc(number: u64, index: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), index)
}

/// A file of chunks that is being written, under a temporary name.
#[derive(Debug)]
pub(super) struct ChunkFileWriter {
    number: u64,
    made: String,
    index: Vec<u8>,
    chunks: u32,
    /// What is not written yet, and where it will be.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
}

impl ChunkFileWriter {
    pub(super) fn begin<D: Disk>(
        disk: &mut D,
        owner: [u8; 32],
        number: u64,
    ) -> Result<ChunkFileWriter, StoreError> {
        let made = names::temporary(&names::chunk_file(number));
        disk.create(&made, 0).map_err(|e| StoreError::io(&made, "making", e))?;
        let buffer = sheet::encode(&ChunkSheet { owner, number });
        Ok(ChunkFileWriter { number, made, index: Vec::new(), chunks: 0, buffer, written: 0, synced: 0 })
    }

    /// Bytes of chunks so far.
    pub(super) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64 - SHEET_BYTES as u64
    }

    /// Adds a chunk; returns its place in the index.
    pub(super) fn add<D: Disk>(
        &mut self,
        disk: &mut D,
        name: &ChunkName,
        chunk: &[u8],
    ) -> Result<u32, StoreError> {
        let place = self.chunks;
        let length = u32::try_from(chunk.len()).expect("the configuration limits chunks to 1 GiB");
        self.index.extend_from_slice(name);
        self.index.extend_from_slice(&length.to_le_bytes());
        self.index.extend_from_slice(&chunk_crc(self.number, place as usize, chunk).to_le_bytes());
        self.chunks += 1;
        if self.buffer.len() + chunk.len() > BLOCK_BYTES {
            self.write_buffer(disk)?;
        }
        if chunk.len() > BLOCK_BYTES {
            self.write(disk, chunk)?;
        } else {
            self.buffer.extend_from_slice(chunk);
        }
        Ok(place)
    }

    /// Completes it and makes its bytes durable; its name is still the temporary one.
    pub(super) fn finish<D: Disk>(mut self, disk: &mut D) -> Result<FileRef, StoreError> {
        self.write_buffer(disk)?;
        let index_at = self.written;
        let index = std::mem::take(&mut self.index);
        self.write(disk, &index)?;
        if !TABLE_BEFORE_CHUNKS.is_on() {
            self.sync(disk)?;
        }
        let index_crc = index_crc(self.number, &index);
        Ok(FileRef { number: self.number, chunks: self.chunks, index_at, index_crc })
    }

    fn write_buffer<D: Disk>(&mut self, disk: &mut D) -> Result<(), StoreError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(disk, &buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write<D: Disk>(&mut self, disk: &mut D, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        disk.write(&self.made, self.written, bytes).map_err(|e| StoreError::io(&self.made, "writing", e))?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_EVERY_BYTES && !TABLE_BEFORE_CHUNKS.is_on() {
            self.sync(disk)?;
        }
        Ok(())
    }

    fn sync<D: Disk>(&mut self, disk: &mut D) -> Result<(), StoreError> {
        self.synced = self.written;
        disk.sync(&self.made).map_err(|e| StoreError::io(&self.made, "syncing", e))
    }
}

/// Reads what a file has, if it is the one that is meant.
pub(super) fn read_index<D: Disk>(
    disk: &D,
    owner: [u8; 32],
    file: &FileRef,
) -> Result<Vec<IndexEntry>, Damage> {
    let name = names::chunk_file(file.number);
    let sheet = sheet::decode::<ChunkSheet>(&read(disk, &name, 0, SHEET_BYTES)?);
    if sheet != Ok(ChunkSheet { owner, number: file.number }) {
        return Err(Damage::new(&name, 0, Fault::Header));
    }
    let bytes = (file.chunks as usize).saturating_mul(INDEX_ENTRY_BYTES);
    let index = read(disk, &name, file.index_at, bytes)?;
    if index.len() != bytes || index_crc(file.number, &index) != file.index_crc {
        return Err(Damage::new(&name, file.index_at, Fault::Index));
    }
    let mut offset = SHEET_BYTES as u64;
    let entries = index.chunks_exact(INDEX_ENTRY_BYTES).map(|entry| {
        let spot = Spot { offset, bytes: word(entry, 32), crc: word(entry, 36) };
        offset = spot.end();
        IndexEntry { name: entry[..32].try_into().expect("32 bytes"), spot }
    });
    Ok(entries.collect())
}

/// Reads a chunk.
pub(super) fn read_chunk<D: Disk>(
    disk: &D,
    number: u64,
    index: usize,
    spot: &Spot,
) -> Result<Vec<u8>, Damage> {
    let name = names::chunk_file(number);
    let bytes = read(disk, &name, spot.offset, spot.bytes as usize)?;
    if !spot.is(number, index, &bytes) {
        return Err(damaged_chunk(&name, index, spot));
    }
    Ok(bytes)
}

/// Reads those chunks of a file that are `used`, from its beginning to its end, and verifies them.
pub(super) fn verify<D: Disk>(
    disk: &D,
    number: u64,
    spots: &[Spot],
    used: impl Fn(usize) -> bool,
) -> Result<(), Damage> {
    let name = names::chunk_file(number);
    let mut wanted = (0..spots.len()).filter(|index| used(*index)).peekable();
    while let Some(first) = wanted.next() {
        let mut block = vec![first];
        let from = spots[first].offset;
        let fits = |index: &usize| spots[*index].end() - from <= BLOCK_BYTES as u64;
        while let Some(next) = wanted.next_if(fits) {
            block.push(next);
        }
        let end = spots[block[block.len() - 1]].end();
        let bytes = read(disk, &name, from, length(end - from))?;
        for index in block {
            let spot = &spots[index];
            let chunk = bytes.get(length(spot.offset - from)..length(spot.end() - from));
            if !chunk.is_some_and(|chunk| spot.is(number, index, chunk)) {
                return Err(damaged_chunk(&name, index, spot));
            }
        }
    }
    Ok(())
}

fn damaged_chunk(name: &str, index: usize, spot: &Spot) -> Damage {
    Damage::new(name, spot.offset, Fault::Chunk { chunk: index })
}

/// What the disk says, in the words of damage.
pub(super) fn read<D: Disk>(disk: &D, file: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, Damage> {
    disk.read(file, offset, bytes).map_err(|error| {
        let fault = match error.kind() {
            io::ErrorKind::NotFound => Fault::Missing,
            _ => Fault::Unreadable(error.to_string()),
        };
        Damage::new(file, offset, fault)
    })
}

/// Bytes within a block, or of a chunk.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("no more than a chunk")
}
