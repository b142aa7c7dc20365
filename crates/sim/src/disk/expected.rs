//! What a store must have when it is opened, from what it was told and what it answered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use smr_store::{Disk, FileEntry, Found};

/// Checkpoints that stay.
pub(super) const CHECKPOINTS_KEPT: usize = 2;

/// Files of chunks that a checkpoint has at most; the fewest that may be, so that they are written together often.
pub(super) const CHUNK_FILES_MAX: usize = 32;

/// Bytes beside a chunk in its file.
const INDEX_BYTES: usize = 40;

/// Bytes of a file before its chunks.
const SHEET_BYTES: usize = 512;

/// What was told to a store and what it has promised.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// In the order of appending. None of what was pruned and found no more.
    records: Vec<Record>,
    /// How many of them are durable.
    durable: usize,
    /// How many of them something on the disk proves to be durable, at the least.
    proven: usize,
    /// From which on they are needed.
    needed_from: usize,
    /// A prune that has not returned.
    pruning: Option<Pruning>,
    /// All that are or may be there: header and chunks.
    checkpoints: BTreeMap<u64, (Vec<u8>, Vec<Vec<u8>>)>,
    /// Those that stay, ascending.
    kept: Vec<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Record {
    /// None for one of a head.
    slot: Option<u64>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Pruning {
    slot: u64,
    head: Range<usize>,
    needed_from: usize,
}

/// How much may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Allowed {
    /// Nothing that was durable.
    Nothing,
    /// The last group, which nothing proves yet: a bit of it was flipped as well.
    TheLastGroup,
}

impl Expected {
    pub(super) fn appended(&mut self, slot: u64, bytes: Vec<u8>) {
        self.records.push(Record { slot: Some(slot), bytes });
    }

    /// The last one was not taken.
    pub(super) fn refused(&mut self) {
        self.records.pop();
    }

    /// All of them; says how many more there are.
    pub(super) fn synced(&mut self) -> u64 {
        let more = self.records.len() - self.durable;
        if more > 0 {
            self.proven = self.durable;
            self.durable = self.records.len();
        }
        more as u64
    }

    /// The proof of it is durable as well.
    pub(super) fn closed(&mut self) {
        self.synced();
        self.proven = self.durable;
    }

    pub(super) fn prunes(&mut self, slot: u64, head: &[Vec<u8>]) {
        let begin = self.records.len();
        let above = |record: &Record| record.slot.is_some_and(|at| at > slot);
        let needed_from = self.records.iter().position(above).unwrap_or(begin);
        self.records.extend(head.iter().map(|bytes| Record { slot: None, bytes: bytes.clone() }));
        self.pruning = Some(Pruning { slot, head: begin..self.records.len(), needed_from });
    }

    pub(super) fn pruned(&mut self) {
        let pruning = self.pruning.take().expect("a prune has begun");
        self.needed_from = self.needed_from.max(pruning.needed_from);
        self.closed();
    }

    pub(super) fn keeps(&mut self, slot: u64, header: &[u8], chunks: &[Vec<u8>]) {
        self.checkpoints.insert(slot, (header.to_vec(), chunks.to_vec()));
    }

    pub(super) fn kept(&mut self, slot: u64) {
        self.kept.push(slot);
        self.kept.drain(..self.kept.len().saturating_sub(CHECKPOINTS_KEPT));
    }

    /// Nothing is on the disk for ever: what the kept ones refer to has at most twice their bytes.
    pub(super) fn check_room(&self, files: &[FileEntry]) -> Result<(), String> {
        let files: Vec<&FileEntry> = files.iter().filter(|file| file.name.starts_with("ck-")).collect();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let of_state = |slot: &u64| -> u64 {
            let distinct: BTreeSet<&Vec<u8>> = self.checkpoints[slot].1.iter().collect();
            distinct.iter().map(|chunk| (chunk.len() + INDEX_BYTES) as u64).sum()
        };
        let state: u64 = self.kept.iter().map(of_state).sum();
        let bytes_max = 2 * state + (SHEET_BYTES * files.len()) as u64;
        if bytes > bytes_max {
            return Err(format!("{bytes} bytes in {} files for {state} of states", files.len()));
        }
        let files_max = CHECKPOINTS_KEPT * CHUNK_FILES_MAX;
        if files.len() > files_max {
            return Err(format!("{} files of chunks, and there may be {files_max}", files.len()));
        }
        Ok(())
    }

    /// A file is gone; if it is a checkpoint, the one before is as good.
    pub(super) fn lost(&mut self, file: &str) {
        let Some(slot) = file.strip_prefix("cp-").and_then(|slot| slot.parse().ok()) else { return };
        // One of which nothing was said may have taken the place of the oldest.
        let gone = if self.kept.contains(&slot) { Some(slot) } else { self.kept.first().copied() };
        self.kept.retain(|kept| Some(*kept) != gone);
    }

    /// Judges what was found, and goes on from there.
    pub(super) fn check<D: Disk>(&mut self, found: &Found, disk: &D, allowed: Allowed) -> Result<(), String> {
        let durable = match allowed {
            Allowed::Nothing => self.durable,
            Allowed::TheLastGroup => self.proven,
        };
        let begin = self.place_of(found, durable)?;
        let end = begin + found.records.len();
        for (place, bytes) in found.records.iter().enumerate() {
            if self.records[begin + place].bytes != *bytes {
                return Err(format!("record {place} of those found is not what was appended there"));
            }
        }
        let mut needed_from = self.needed_from;
        if let Some(Pruning { head, needed_from: then, .. }) = &self.pruning {
            if end >= head.end {
                needed_from = needed_from.max(*then);
            } else if end > head.start {
                return Err(format!("{} of {} records of a head", end - head.start, head.len()));
            }
        }
        if end < durable {
            return Err(format!("{} records that were durable are missing at the end", durable - end));
        }
        if begin > needed_from && needed_from < durable.max(end) {
            return Err(format!(
                "{} records that are needed are missing at the beginning",
                begin - needed_from
            ));
        }
        self.check_checkpoints(found, disk)?;
        self.records.truncate(end);
        self.records.drain(..begin);
        self.pruning = None;
        (self.durable, self.proven) = (self.records.len(), self.records.len());
        self.needed_from = needed_from.saturating_sub(begin);
        Ok(())
    }

    /// Where those that were found begin. No two are alike, so the first one says it.
    fn place_of(&self, found: &Found, durable: usize) -> Result<usize, String> {
        let Some(first) = found.records.first() else {
            // All that was durable must have been pruned, perhaps by a prune that has not returned.
            let not_yet = durable <= self.needed_from;
            let pruning = self.pruning.as_ref().filter(|pruning| !not_yet && found.pruned >= pruning.slot);
            return Ok(pruning.map_or(durable, |pruning| pruning.head.end));
        };
        let begin = self.records.iter().position(|record| record.bytes == *first);
        let begin = begin.ok_or("the first record that was found was never appended, or was cut before")?;
        if begin + found.records.len() > self.records.len() {
            return Err("more records than were appended".to_string());
        }
        Ok(begin)
    }

    fn check_checkpoints<D: Disk>(&mut self, found: &Found, disk: &D) -> Result<(), String> {
        let mut slots = Vec::new();
        for checkpoint in &found.checkpoints {
            let slot = checkpoint.slot;
            let read = |index| checkpoint.chunk(disk, index).map_err(|error| error.to_string());
            let chunks: Vec<Vec<u8>> = (0..checkpoint.chunks()).map(read).collect::<Result<_, _>>()?;
            if self.checkpoints.get(&slot) != Some(&(checkpoint.header.clone(), chunks)) {
                return Err(format!("the checkpoint of slot {slot} is not what was kept"));
            }
            slots.push(slot);
        }
        if !slots.is_sorted_by(|newer, older| newer > older) {
            return Err(format!("checkpoints in the order {slots:?}"));
        }
        let skipped = found.skipped.len();
        let newest = self.kept.last().filter(|_| skipped == 0);
        // Or one of which nothing was said, which has taken its place.
        if newest.is_some_and(|newest| slots.first().is_none_or(|found| found < newest)) {
            return Err(format!("the checkpoints {:?} were kept, and {slots:?} are found", self.kept));
        }
        let all = slots.len() + skipped;
        if all < self.kept.len() || (skipped > 0 && slots.is_empty() && found.pruned > 0) {
            return Err(format!("of {} checkpoints {} are found", self.kept.len(), slots.len()));
        }
        // What was skipped is not kept any more; what a crash has left of one that was being kept is.
        slots.truncate(CHECKPOINTS_KEPT);
        slots.reverse();
        self.kept = slots;
        Ok(())
    }
}
