//! The store at work: what is appended, when it is durable, and what is not needed any more.

use crate::checkpoint::{CheckpointWriter, FoundCheckpoint, Standing};
use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::error::{Damage, OpenError, StoreError, Torn};
use crate::known_bugs::{CLAIMS_BEFORE_THE_SYNC, PRUNES_BEFORE_THE_HEAD, SYNCS_AGAIN};
use crate::names;
use crate::record::{self, HEAD_BYTES, Head, Seed};
use crate::recovery;
use crate::segment::{self, Header, RECORDS_AT};

/// A log in a directory.
///
/// Whoever gets an error that is not about what was passed in has to open the store again: nothing is stored, and
/// nothing called durable, until then.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
    config: StoreConfig,
    owner: [u8; 32],
    /// Full ones, oldest first; synced and never written again.
    full: Vec<Full>,
    current: Current,
    /// Appended and not yet written.
    buffer: Vec<u8>,
    /// The next record.
    next: u64,
    /// The first record that no sync has covered.
    unsynced_from: u64,
    /// Up to which slot records were removed.
    pruned: u64,
    /// Those that were found.
    checkpoints: Vec<Standing>,
    stopped: Option<String>,
}

/// What is found when a store is opened.
#[derive(Debug)]
pub struct Found {
    /// The directory was empty. Whoever knows that this replica has run before must not believe it.
    pub fresh: bool,
    /// Newest first, all of them whole, and all with the log behind them.
    pub checkpoints: Vec<FoundCheckpoint>,
    /// Checkpoints that are damaged, which nobody needs as long as there is one.
    pub skipped: Vec<Damage>,
    /// What is left of the log, in the order of appending; those of `head` are among them, where they were written.
    pub records: Vec<Vec<u8>>,
    /// Up to which slot records may be missing. There is a checkpoint from there on, unless it is 0.
    pub pruned: u64,
    /// What was cut from the end.
    pub torn: Option<Torn>,
}

impl<D: Disk> Store<D> {
    /// Opens what is in the directory, or begins a log in an empty one. `owner` tells whose it is.
    ///
    /// # Errors
    /// Something durable is lost, the directory is another one's, or the disk fails.
    pub fn open(disk: D, config: StoreConfig, owner: &[u8; 32]) -> Result<(Store<D>, Found), OpenError> {
        recovery::open(disk, config, *owner)
    }

    /// Adds a record, which [`Store::sync`] makes durable; returns its number, which counts from 1 over all lives. `slot`
    /// says up to where it is needed.
    ///
    /// # Errors
    /// It is too large, the log is too long, or the disk fails.
    pub fn append(&mut self, slot: u64, record: &[u8]) -> Result<u64, StoreError> {
        self.check_running()?;
        let (bytes, bytes_max) = (record.len(), self.config.record_bytes_max);
        if bytes > bytes_max {
            return Err(StoreError::TooLarge { what: "record", bytes, bytes_max });
        }
        let needed = (self.buffer.len() + record::padded(HEAD_BYTES + bytes) + HEAD_BYTES) as u64;
        if self.current.end + needed > self.current.bytes {
            if self.full.len() + 1 >= self.config.segments_max {
                return Err(StoreError::LogTooLong { segments_max: self.config.segments_max });
            }
            let rolled = self.roll();
            self.guard(rolled)?;
        }
        let sequence = self.next;
        let head = Head { sequence, slot, group: self.unsynced_from };
        record::encode(&mut self.buffer, self.current.seed, head, record);
        self.next += 1;
        self.current.slot_max = self.current.slot_max.max(slot);
        if self.buffer.len() >= self.config.buffer_bytes_max {
            let written = self.write_buffer();
            self.guard(written)?;
        }
        Ok(sequence)
    }

    /// Makes everything durable that was appended; returns the number of the last such record, 0 if there was none.
    ///
    /// # Errors
    /// The disk fails, and nobody knows what of it is durable.
    pub fn sync(&mut self) -> Result<u64, StoreError> {
        self.check_running()?;
        let synced = self.commit();
        self.guard(synced)?;
        Ok(self.next - 1)
    }

    /// Drops what nobody needs any more: whole segments, from the oldest on, of records whose slots are all at most
    /// `slot`. What is needed of them is in `head`, which is durable before anything goes. There must be a checkpoint at
    /// `slot` or above, and better one more ([`crate::Kept::prune_to`]).
    ///
    /// Everything that was appended is durable when this returns.
    ///
    /// # Errors
    /// A record is too large, or the disk fails.
    pub fn prune<R: AsRef<[u8]>>(&mut self, slot: u64, head: &[R]) -> Result<(), StoreError> {
        self.check_running()?;
        let bytes_max = self.config.record_bytes_max;
        if let Some(bytes) = head.iter().map(|record| record.as_ref().len()).find(|bytes| *bytes > bytes_max)
        {
            return Err(StoreError::TooLarge { what: "record", bytes, bytes_max });
        }
        let pruned = self.prune_segments(slot, head);
        self.guard(pruned)
    }

    /// What writes checkpoints beside this, through a handle of its own to the same directory. One of them at a time.
    pub fn checkpoint_writer(&self, disk: D) -> CheckpointWriter<D> {
        CheckpointWriter::new(disk, self.config.clone(), self.owner, self.checkpoints.clone())
    }

    /// Makes everything durable, and the proof of it as well.
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub fn close(mut self) -> Result<(), StoreError> {
        self.sync()?;
        self.sync_current()
    }

    /// The disk, to read chunks of checkpoints from.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// How large things may become.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Segments of the log.
    pub fn segments(&self) -> usize {
        self.full.len() + 1
    }

    fn check_running(&self) -> Result<(), StoreError> {
        match &self.stopped {
            Some(first) if !SYNCS_AGAIN.is_on() => Err(StoreError::Stopped { first: first.clone() }),
            _ => Ok(()),
        }
    }

    /// Stops for good after a failure.
    fn guard<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.stopped.get_or_insert_with(|| error.to_string());
        }
        result
    }

    fn write_buffer(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let name = names::segment(self.current.number);
        self.disk
            .write(&name, self.current.end, &self.buffer)
            .map_err(|e| StoreError::io(&name, "writing", e))?;
        self.current.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync_current(&mut self) -> Result<(), StoreError> {
        let name = names::segment(self.current.number);
        self.disk.sync(&name).map_err(|e| StoreError::io(&name, "syncing", e))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.write_buffer()?;
        if self.unsynced_from == self.next {
            return Ok(());
        }
        if !CLAIMS_BEFORE_THE_SYNC.is_on() {
            self.sync_current()?;
        }
        self.unsynced_from = self.next;
        let (end, bytes) = (self.current.end, self.current.bytes);
        assert!(end + HEAD_BYTES as u64 <= bytes, "no room for a marker: {end} of {bytes}");
        // Durable with the next sync, or when the system pleases. It needs none: it only proves what is so already.
        let name = names::segment(self.current.number);
        let marker = record::marker(self.current.seed, self.next);
        self.disk.write(&name, end, &marker).map_err(|e| StoreError::io(&name, "writing", e))
    }

    /// Goes on in another segment.
    fn roll(&mut self) -> Result<(), StoreError> {
        let oldest = self.full.first().map_or(self.current.covers_from, |full| full.covers_from);
        self.begin_segment(oldest, &[] as &[&[u8]])?;
        let sealed = self.full.last().expect("the one that was full").number;
        segment::seal(&mut self.disk, sealed)
    }

    /// Begins another segment with `head`, in a log that begins with the segment that covers `oldest`.
    fn begin_segment<R: AsRef<[u8]>>(&mut self, oldest: u64, head: &[R]) -> Result<(), StoreError> {
        // Its header will prove that everything before it was durable.
        self.commit()?;
        let number = self.current.number + 1;
        let first = self.next;
        let seed = Seed::new(number, self.config.salt);
        let mut records = Vec::new();
        for record in head {
            let head = Head { sequence: self.next, slot: 0, group: first };
            record::encode(&mut records, seed, head, record.as_ref());
            self.next += 1;
        }
        let header = Header {
            owner: self.owner,
            number,
            covers_from: number,
            oldest,
            first,
            settled: self.next - 1,
            pruned: self.pruned,
            salt: self.config.salt,
            bytes: 0,
        };
        let header = segment::make(&mut self.disk, &self.config, &header, &records)?;
        self.unsynced_from = self.next;
        let begun = Current::new(&header, (RECORDS_AT + records.len()) as u64, 0);
        let Current { number, covers_from, slot_max, .. } = std::mem::replace(&mut self.current, begun);
        self.full.push(Full { number, covers_from, slot_max });
        Ok(())
    }

    fn prune_segments<R: AsRef<[u8]>>(&mut self, slot: u64, head: &[R]) -> Result<(), StoreError> {
        self.pruned = self.pruned.max(slot);
        let needed = self.full.iter().position(|full| full.slot_max > slot);
        let (going, oldest) = match needed {
            Some(needed) => (needed, self.full[needed].covers_from),
            None if self.current.slot_max > slot => (self.full.len(), self.current.covers_from),
            None => (self.full.len() + 1, self.current.number + 1),
        };
        let mut old: Vec<u64> = self.full.iter().map(|full| full.number).collect();
        old.push(self.current.number);
        old.truncate(going);
        if PRUNES_BEFORE_THE_HEAD.is_on() {
            old.retain(|number| *number != self.current.number);
            segment::recycle(&mut self.disk, &self.config, &old)?;
            self.begin_segment(oldest, head)?;
        } else {
            self.begin_segment(oldest, head)?;
            if let Some(last) = self.full.last().filter(|last| !old.contains(&last.number)) {
                segment::seal(&mut self.disk, last.number)?;
            }
            segment::recycle(&mut self.disk, &self.config, &old)?;
        }
        self.full.drain(..old.len());
        Ok(())
    }
}

/// What recovery hands over.
pub(crate) struct Recovered<D> {
    pub(crate) disk: D,
    pub(crate) config: StoreConfig,
    pub(crate) owner: [u8; 32],
    pub(crate) full: Vec<Full>,
    pub(crate) current: Current,
    pub(crate) next: u64,
    pub(crate) pruned: u64,
    pub(crate) checkpoints: Vec<Standing>,
}

impl<D> From<Recovered<D>> for Store<D> {
    fn from(recovered: Recovered<D>) -> Store<D> {
        let Recovered { disk, config, owner, full, current, next, pruned, checkpoints } = recovered;
        Store {
            disk,
            config,
            owner,
            full,
            current,
            buffer: Vec::new(),
            next,
            unsynced_from: next,
            pruned,
            checkpoints,
            stopped: None,
        }
    }
}

/// A segment that is not written any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Full {
    pub(crate) number: u64,
    pub(crate) covers_from: u64,
    /// The highest slot of its records.
    pub(crate) slot_max: u64,
}

/// The segment that is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Current {
    number: u64,
    covers_from: u64,
    seed: Seed,
    bytes: u64,
    /// Where the next record will be written.
    end: u64,
    slot_max: u64,
}

impl Current {
    pub(crate) fn new(header: &Header, end: u64, slot_max: u64) -> Current {
        let Header { number, covers_from, bytes, .. } = *header;
        Current { number, covers_from, seed: header.seed(), bytes, end, slot_max }
    }
}
