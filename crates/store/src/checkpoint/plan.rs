//! Which chunks of a checkpoint are written, and which files of its chain are left behind for that.
//!
//! ```text
//!   names of files --> known     names of the state --> each is known: stays, or is not: written
//!   files of which little lives --> left behind: what lives of them is written as well
//! ```
//!
//! What is left behind is chosen so that, once the checkpoint is kept, files have at most [`DEAD_FACTOR`] times the bytes of
//! the state, and are at most as many as allowed. Whatever lives of a file is in the caller's memory, so nothing is read.

use super::chunk_file::{FileRef, INDEX_ENTRY_BYTES, IndexEntry};
use super::{ChunkName, Chunks};
use crate::config::CHUNK_FILES_ADDED_MAX;
use crate::error::StoreError;
use crate::known_bugs::NEVER_LEAVES_A_FILE;

/// Bytes of a chain's files, at most, in those of the state that it holds. With a larger one more is dead on the disk and in
/// what is read at a start; with a smaller one more is written again. Each is written about 1 / (factor - 1) times again.
pub(super) const DEAD_FACTOR: u64 = 2;

/// A file that the plan does not count on.
const NOT_YET: u32 = u32::MAX;

/// No entry.
const NONE: u32 = u32::MAX;

/// The plan for a checkpoint. About 60 bytes of memory for each chunk that the files have or will have.
#[derive(Debug)]
pub(super) struct Plan {
    /// Files of the chain, those that will be left behind among them.
    files: Vec<FileRef>,
    entries: Vec<Entry>,
    /// Entries of what is missing, by name: open addressing, at most three quarters full.
    slots: Vec<u32>,
    salt: u64,
    /// The entry of each chunk, in order.
    order: Vec<u32>,
    used: Vec<bool>,
}

/// A chunk that is in a file, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    name: ChunkName,
    bytes: u32,
    file: u32,
    index: u32,
}

/// How much of a file is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Use {
    bytes: u64,
    live: u64,
}

impl Plan {
    /// One that knows nothing, with room for so many chunks. All together must be fewer than 2^32.
    pub(super) fn new(salt: u64, room: usize) -> Plan {
        Plan {
            files: Vec::new(),
            entries: Vec::with_capacity(room),
            slots: Vec::new(),
            salt,
            order: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Takes what is in a file that the checkpoint may refer to; returns the entry of its first chunk, which those of the
    /// others follow.
    pub(super) fn add_file(&mut self, file: FileRef, index: &[IndexEntry]) -> u32 {
        let (number, first) = (small(self.files.len()), small(self.entries.len()));
        self.files.push(file);
        let entries = (0..).zip(index);
        self.entries.extend(entries.map(|(place, IndexEntry { name, spot })| Entry {
            name: *name,
            bytes: spot.bytes,
            file: number,
            index: place,
        }));
        first
    }

    /// Takes the state's names. `before` has the entries of the state that this one builds on, in order: most chunks are
    /// where they were, and the others are looked for among them. What none of them is, is to be written, even where a file
    /// has it: nobody has verified what nobody needed.
    pub(super) fn take(
        &mut self,
        chunks: &dyn Chunks,
        before: &[Option<u32>],
        chunk_bytes_max: usize,
    ) -> Result<(), StoreError> {
        let had = |index: usize| {
            let entry = before.get(index).copied().flatten();
            entry.filter(|entry| self.entries[*entry as usize].name == chunks.name(index)).unwrap_or(NONE)
        };
        self.order = Vec::with_capacity(chunks.count());
        self.order.extend((0..chunks.count()).map(had));
        let missing = self.order.iter().filter(|entry| **entry == NONE).count();
        if missing > 0 {
            self.take_missing(chunks, before, missing, chunk_bytes_max)?;
        }
        self.used = vec![false; self.entries.len()];
        for entry in &self.order {
            self.used[*entry as usize] = true;
        }
        Ok(())
    }

    /// Gives entries to those chunks of the state that have none.
    fn take_missing(
        &mut self,
        chunks: &dyn Chunks,
        before: &[Option<u32>],
        missing: usize,
        bytes_max: usize,
    ) -> Result<(), StoreError> {
        let known = self.entries.len();
        self.slots = vec![NONE; (missing + missing / 3 + 1).next_power_of_two()];
        for index in 0..chunks.count() {
            if self.order[index] != NONE {
                continue;
            }
            let name = chunks.name(index);
            self.order[index] = match self.find(&name) {
                Ok(entry) => entry,
                Err(slot) => {
                    let bytes = chunks.bytes(index).len();
                    if bytes > bytes_max {
                        return Err(StoreError::TooLarge { what: "chunk", bytes, bytes_max });
                    }
                    self.slots[slot] = small(self.entries.len());
                    self.entries.push(Entry { name, bytes: small(bytes), file: NOT_YET, index: 0 });
                    self.slots[slot]
                }
            };
        }
        // Looked for among the few that are missing rather than the other way round: those fit into a cache.
        let mut found = vec![NONE; self.entries.len() - known];
        for entry in before.iter().flatten() {
            if let Ok(missing) = self.find(&self.entries[*entry as usize].name) {
                found[missing as usize - known] = *entry;
            }
        }
        for entry in self.order.iter_mut().filter(|entry| **entry as usize >= known) {
            let found = found[*entry as usize - known];
            *entry = if found == NONE { *entry } else { found };
        }
        self.slots = Vec::new();
        Ok(())
    }

    /// Leaves files behind until the rest is within the limits.
    pub(super) fn compact(&mut self, files_max: usize) {
        let mut uses: Vec<Use> = self.files.iter().map(|file| Use { bytes: file.bytes(), live: 0 }).collect();
        let mut added = 0;
        for (entry, _) in self.entries.iter().zip(&self.used).filter(|(_, used)| **used) {
            let bytes = u64::from(entry.bytes) + INDEX_ENTRY_BYTES as u64;
            match uses.get_mut(entry.file as usize) {
                Some(file) => file.live += bytes,
                None => added += bytes,
            }
        }
        let left = left_behind(&uses, added, files_max);
        self.leave(|file| left[file as usize]);
    }

    /// Leaves these files behind.
    pub(super) fn leave(&mut self, is_left: impl Fn(u32) -> bool) {
        for entry in &mut self.entries {
            if entry.file != NOT_YET && is_left(entry.file) {
                entry.file = NOT_YET;
            }
        }
    }

    /// Files that are needed.
    pub(super) fn needed(&self) -> Vec<(u32, FileRef)> {
        let mut needed = vec![false; self.files.len()];
        for (entry, used) in self.entries.iter().zip(&self.used) {
            if let Some(file) = needed.get_mut(entry.file as usize) {
                *file |= used;
            }
        }
        let files = (0..).zip(&self.files).zip(needed);
        files.filter(|(_, needed)| *needed).map(|((place, file), _)| (place, *file)).collect()
    }

    /// Bytes of chunks at which a new file ends: so many that no checkpoint adds more files than it may, and that full ones,
    /// though half of their bytes are dead, are at most half of those that may stay.
    pub(super) fn file_bytes(&self, bytes_min: u64, files_max: usize) -> u64 {
        let used = self.entries.iter().zip(&self.used).filter(|(_, used)| **used);
        let state: u64 = used.map(|(entry, _)| u64::from(entry.bytes)).sum();
        let shared = self.bytes_to_write().div_ceil(CHUNK_FILES_ADDED_MAX as u64);
        let full = (2 * DEAD_FACTOR * state).div_ceil(stay_max(files_max) as u64);
        bytes_min.max(shared).max(full)
    }

    /// Bytes of the chunks that are to be written.
    pub(super) fn bytes_to_write(&self) -> u64 {
        let entries = self.entries.iter().zip(&self.used);
        entries.filter(|(entry, used)| **used && entry.file == NOT_YET).map(|(e, _)| u64::from(e.bytes)).sum()
    }

    /// Whether the chunk at `index` of the state is still to be written.
    pub(super) fn is_to_write(&self, index: usize) -> bool {
        self.entries[self.order[index] as usize].file == NOT_YET
    }

    /// The chunk at `index` of the state is in the file at `added` of those that are new.
    pub(super) fn written(&mut self, index: usize, added: usize, place: u32) {
        let file = small(self.files.len() + added);
        let entry = &mut self.entries[self.order[index] as usize];
        (entry.file, entry.index) = (file, place);
    }

    /// All files that there were. New ones are counted on behind them.
    pub(super) fn files(&self) -> &[FileRef] {
        &self.files
    }

    /// File and place of every chunk, in order.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.order.iter().map(|entry| &self.entries[*entry as usize]).map(|entry| (entry.file, entry.index))
    }

    /// The entry of a name among those that are missing, or the slot for it.
    fn find(&self, name: &ChunkName) -> Result<u32, usize> {
        let mut slot = self.slot_of(name);
        loop {
            match self.slots[slot] {
                NONE => return Err(slot),
                number if self.entries[number as usize].name == *name => return Ok(number),
                _ => slot = (slot + 1) % self.slots.len(),
            }
        }
    }

    /// Names are digests, so any of their bytes are as good as drawn; the salt keeps whoever chooses chunks from choosing
    /// slots.
    fn slot_of(&self, name: &ChunkName) -> usize {
        let drawn = u64::from_le_bytes(name[..8].try_into().expect("8 of 32 bytes"));
        let mixed = (drawn ^ self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).expect("32 bits") % self.slots.len()
    }
}

/// Files, chunks and bytes of one are all fewer than 2^32.
fn small(number: usize) -> u32 {
    u32::try_from(number).expect("the configuration limits files, chunks and their bytes")
}

/// Which of these files are left behind, where `added` bytes are written anyway.
fn left_behind(files: &[Use], added: u64, files_max: usize) -> Vec<bool> {
    let mut left: Vec<bool> = files.iter().map(|file| file.live == 0).collect();
    if NEVER_LEAVES_A_FILE.is_on() {
        return left;
    }
    let state = added + files.iter().map(|file| file.live).sum::<u64>();
    let mut bytes = state + files.iter().map(|file| file.bytes - file.live).sum::<u64>();
    bytes -= files.iter().filter(|file| file.live == 0).map(|file| file.bytes).sum::<u64>();
    let mut staying: Vec<usize> = (0..files.len()).filter(|file| !left[*file]).collect();
    // The most dead first: it frees most for what it costs.
    staying.sort_by_key(|file| std::cmp::Reverse((files[*file].bytes << 16) / files[*file].live));
    let frees = |file: usize| files[file].bytes - files[file].live;
    let going = staying.iter().take_while(|file| {
        let too_many = bytes > state * DEAD_FACTOR;
        bytes -= if too_many { frees(**file) } else { 0 };
        too_many
    });
    let going = going.count();
    staying.drain(..going).for_each(|file| left[file] = true);
    // Some at once, the smallest: with one at a time each checkpoint would write the same chunks again.
    let stay_max = stay_max(files_max);
    if staying.len() > stay_max {
        staying.sort_by_key(|file| files[*file].live);
        let going = staying.len() - stay_max / 4 * 3;
        staying.drain(..going).for_each(|file| left[file] = true);
    }
    left
}

/// Files that may stay when others come.
fn stay_max(files_max: usize) -> usize {
    files_max - CHUNK_FILES_ADDED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES_MAX: usize = CHUNK_FILES_ADDED_MAX + 4;

    fn files<const N: usize>(of: [(u64, u64); N]) -> Vec<Use> {
        of.iter().map(|(bytes, live)| Use { bytes: *bytes, live: *live }).collect()
    }

    #[test]
    fn files_stay_while_at_most_half_of_all_is_dead() {
        let half_dead = files([(1000, 500), (400, 200)]);
        assert_eq!(left_behind(&half_dead, 0, FILES_MAX), [false, false]);
        let one_more = files([(1000, 500), (400, 199)]);
        assert_eq!(left_behind(&one_more, 0, FILES_MAX), [false, true]);
        assert_eq!(left_behind(&one_more, 10, FILES_MAX), [false, false], "what is added lives");
    }

    #[test]
    fn those_go_first_of_which_least_lives() {
        let of = files([(1000, 900), (1000, 100), (1000, 0), (1000, 200)]);
        assert_eq!(left_behind(&of, 0, FILES_MAX), [false, true, true, false]);
    }

    #[test]
    fn of_too_many_the_smallest_become_one() {
        let four = files([(10, 10), (900, 900), (30, 30), (20, 20)]);
        assert_eq!(left_behind(&four, 5, FILES_MAX), [false; 4]);
        let five = files([(10, 10), (900, 900), (30, 30), (20, 20), (40, 40)]);
        assert_eq!(left_behind(&five, 5, FILES_MAX), [true, false, false, true, false]);
    }

    #[test]
    fn names_are_found_again_however_many_there_are_and_wherever() {
        let name = |number: u64| -> ChunkName {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&(number << 40).to_le_bytes());
            name
        };
        let chunks: Vec<(ChunkName, [u8; 3])> =
            (0..5000).map(|number| (name(number % 4000), [1; 3])).collect();
        let mut first = Plan::new(5, 10);
        first.take(&chunks, &[], 3).unwrap();
        assert_eq!(first.bytes_to_write(), 4000 * 3, "each is written once");
        first.written(0, 7, 9);
        assert!(!first.is_to_write(4000) && first.is_to_write(4001));
        assert_eq!(first.places().nth(4000), Some((7, 9)));

        // All but the last hundred were there, in another order.
        let mut next = Plan::new(5, 0);
        next.entries = first.entries[..3900].to_vec();
        for (place, entry) in (0..).zip(&mut next.entries) {
            (entry.file, entry.index) = (3, place);
        }
        let before: Vec<Option<u32>> = (0..1000).chain((1000..3900).rev()).map(Some).collect();
        next.take(&chunks, &before, 3).unwrap();
        assert_eq!(next.bytes_to_write(), 100 * 3);
        assert!(next.places().take(3900).eq((0..3900).map(|place| (3, place))));
    }
}
