//! A segment: a file of the log. It is zero-filled or an old one before it gets its header, is synced before it gets its
//! name, and then only its records and its seal are written.
//!
//! ```text
//!   0: header | 512: seal, once another segment follows | 4096: records ... | room for a marker
//! ```

use borsh::{BorshDeserialize, BorshSerialize};

use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::known_bugs::{FORGETS_THE_DIRECTORY, RENAMES_UNSYNCED};
use crate::names;
use crate::record::{HEAD_BYTES, Seed};
use crate::sheet::{self, Sheet};

/// Where the records of a segment begin.
pub(crate) const RECORDS_AT: usize = 4096;

/// Where a seal stands.
pub(crate) const SEAL_AT: usize = 512;

/// Lengths of segments are multiples of this.
const BLOCK_BYTES: u64 = 4096;

/// Says what a segment is.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Header {
    /// Whose it is.
    pub(crate) owner: [u8; 32],
    /// Which it is. Never used twice.
    pub(crate) number: u64,
    /// It stands for all segments from this one on, which it has replaced.
    pub(crate) covers_from: u64,
    /// The log begins with the segment that covers this one.
    pub(crate) oldest: u64,
    /// Its first record.
    pub(crate) first: u64,
    /// Its last record that was in it when it got its name, or the last one before it.
    pub(crate) settled: u64,
    /// Up to which slot records were removed.
    pub(crate) pruned: u64,
    /// Of the life that made it.
    pub(crate) salt: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
}

impl Header {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.number, self.salt)
    }
}

impl Sheet for Header {
    const MAGIC: [u8; 8] = *b"smr-log\0";
}

/// Says that another segment follows, so that a log whose end is missing is not taken for a shorter one.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Seal {
    /// Of the segment in which it stands.
    pub(crate) number: u64,
}

impl Sheet for Seal {
    const MAGIC: [u8; 8] = *b"smr-seal";
}

/// Says whose directory it is, and that a log is in it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Owner {
    pub(crate) owner: [u8; 32],
}

impl Sheet for Owner {
    const MAGIC: [u8; 8] = *b"smr-owns";
}

/// Makes the segment that `header` describes, with `records` in it; returns its header. When this returns, it is durable
/// under its name.
pub(crate) fn make<D: Disk>(
    disk: &mut D,
    config: &StoreConfig,
    header: &Header,
    records: &[u8],
) -> Result<Header, StoreError> {
    let needed = ((RECORDS_AT + records.len() + HEAD_BYTES) as u64).next_multiple_of(BLOCK_BYTES);
    let header = Header { bytes: needed.max(config.segment_bytes), ..header.clone() };
    let name = names::segment(header.number);
    let spare = find_spare(disk, header.bytes)?;
    let made = spare.unwrap_or_else(|| names::temporary(&name));
    if made.starts_with(names::TEMPORARY) {
        disk.create(&made, header.bytes).map_err(|e| StoreError::io(&made, "making", e))?;
    }
    // With zeros to the first record: a seal of another life ends here.
    let mut bytes = sheet::encode(&header);
    bytes.resize(RECORDS_AT, 0);
    bytes.extend_from_slice(records);
    disk.write(&made, 0, &bytes).map_err(|e| StoreError::io(&made, "writing", e))?;
    publish(disk, &made, &name)?;
    Ok(header)
}

/// Gives a finished file its name, for good.
pub(crate) fn publish<D: Disk>(disk: &mut D, made: &str, name: &str) -> Result<(), StoreError> {
    if !RENAMES_UNSYNCED.is_on() {
        disk.sync(made).map_err(|e| StoreError::io(made, "syncing", e))?;
    }
    disk.rename(made, name).map_err(|e| StoreError::io(name, "naming", e))?;
    if FORGETS_THE_DIRECTORY.is_on() {
        return Ok(());
    }
    sync_directory(disk)
}

/// Writes down that another segment follows `number`.
pub(crate) fn seal<D: Disk>(disk: &mut D, number: u64) -> Result<(), StoreError> {
    let name = names::segment(number);
    let bytes = sheet::encode(&Seal { number });
    disk.write(&name, SEAL_AT as u64, &bytes).map_err(|e| StoreError::io(&name, "sealing", e))?;
    disk.sync(&name).map_err(|e| StoreError::io(&name, "syncing", e))
}

/// Makes spares of segments that nobody needs any more, as many as may wait, and removes the others.
pub(crate) fn recycle<D: Disk>(disk: &mut D, config: &StoreConfig, old: &[u64]) -> Result<(), StoreError> {
    if old.is_empty() {
        return Ok(());
    }
    let files = list(disk)?;
    let mut spares = files.iter().filter(|file| names::is_spare(&file.name)).count();
    for number in old {
        let name = names::segment(*number);
        let fits = files.iter().any(|file| file.name == name && file.bytes == config.segment_bytes);
        if fits && spares < config.spares_max {
            disk.rename(&name, &names::spare(*number)).map_err(|e| StoreError::io(&name, "naming", e))?;
            spares += 1;
        } else {
            remove(disk, &name)?;
        }
    }
    // Before a spare is written to: after a crash it must not stand under its old name with another header.
    sync_directory(disk)
}

/// Fills a segment with zeros ahead of its use, unless a spare is there; says whether it did. Filling takes long, so
/// whoever commits lets another thread do it, with a handle of its own to the same disk.
///
/// # Errors
/// What the disk says; nothing is lost then.
pub fn make_spare<D: Disk>(disk: &mut D, config: &StoreConfig) -> Result<bool, StoreError> {
    if find_spare(disk, config.segment_bytes)?.is_some() || config.spares_max == 0 {
        return Ok(false);
    }
    let made = names::temporary(names::NEW_SPARE);
    let filled = fill(disk, &made, config.segment_bytes);
    if filled.is_err() {
        // What there is of it takes room that somebody may wait for.
        let _ = disk.remove(&made);
    }
    filled.map(|()| true)
}

fn fill<D: Disk>(disk: &mut D, made: &str, bytes: u64) -> Result<(), StoreError> {
    disk.create(made, bytes).map_err(|e| StoreError::io(made, "making", e))?;
    disk.sync(made).map_err(|e| StoreError::io(made, "syncing", e))?;
    disk.rename(made, names::NEW_SPARE).map_err(|e| StoreError::io(made, "naming", e))
}

pub(crate) fn list<D: Disk>(disk: &D) -> Result<Vec<crate::FileEntry>, StoreError> {
    disk.list().map_err(|e| StoreError::io("the directory", "listing", e))
}

pub(crate) fn remove<D: Disk>(disk: &mut D, name: &str) -> Result<(), StoreError> {
    disk.remove(name).map_err(|e| StoreError::io(name, "removing", e))
}

pub(crate) fn sync_directory<D: Disk>(disk: &mut D) -> Result<(), StoreError> {
    disk.sync_directory().map_err(|e| StoreError::io("the directory", "syncing", e))
}

fn find_spare<D: Disk>(disk: &D, bytes: u64) -> Result<Option<String>, StoreError> {
    let files = list(disk)?;
    Ok(files
        .into_iter()
        .find(|file| names::is_spare(&file.name) && file.bytes == bytes)
        .map(|file| file.name))
}
