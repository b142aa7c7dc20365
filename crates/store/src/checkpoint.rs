//! Checkpoints, beside the log: tables over files of chunks, of which only what is new is written.
//!
//! ```text
//!   cp-40: header, table --> ck-1 | chunk chunk ... |   ck-4 | chunk chunk |         one chain
//!   cp-50: header, table --> ck-2 | chunk chunk ... |   ck-3 | chunk |   ck-5 ...    the other
//! ```
//!
//! A chunk comes with a name, and equal names mean equal bytes. What the checkpoint has that it builds on, wherever in the
//! state, is not written again: it costs its table and the chunks that changed since.
//!
//! # Chains
//! There are as many chains as checkpoints that are kept. A checkpoint builds on the one that goes when it is kept: with two
//! of them, N on N-2. It never refers to a file of one that stays. So checkpoints that are kept share no file, and damage to
//! one leaves the others. A checkpoint that cannot build on anything, because there are too few or what it would build on is
//! damaged, is written whole.
//!
//! # Bounds
//! [`plan`] leaves files behind of which little lives. A chain at rest has at most twice the bytes of its state, and while
//! the next one is written the files of that as well: three times. With each checkpoint one file of its chain is read and
//! verified, in turn; if it is damaged, what lives of it is written anew ([`Kept::mended`]). So what rots on the disk while
//! nobody starts is found before the files of its chain were gone through twice.
//!
//! # Order
//! ```text
//!   tmp-ck-5, synced -> ck-5 -> names synced -> tmp-cp-50, synced -> cp-50 -> names synced -> cp-30 goes -> names synced -> its files go
//! ```
//! A table has its name only once all that it refers to is durable, and a file goes only once no table that refers to it can
//! come back.

mod chunk_file;
mod plan;
mod table;

use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::error::{Damage, OpenError, StoreError};
use crate::known_bugs::{BUILDS_ON_THE_NEWEST, FORGETS_THE_OTHER_CHAIN, TAKES_FROM_ANOTHER_FILE};
use crate::names;
use crate::segment;

use self::chunk_file::{ChunkFileWriter, FileRef};
use self::plan::Plan;
pub use self::table::FoundCheckpoint;
pub(crate) use self::table::find;
use self::table::{Place, Table};

/// What a chunk is called. Equal names mean equal bytes: whoever gives them vouches for it, with a digest for instance.
pub type ChunkName = [u8; 32];

/// The chunks of a checkpoint, in order. Names are asked for first, and bytes only of what is written.
pub trait Chunks {
    /// How many there are.
    fn count(&self) -> usize;

    /// The name of the one at `index`, from 0.
    fn name(&self, index: usize) -> ChunkName;

    /// Its bytes.
    fn bytes(&self, index: usize) -> &[u8];
}

impl<B: AsRef<[u8]>> Chunks for Vec<(ChunkName, B)> {
    fn count(&self) -> usize {
        self.len()
    }

    fn name(&self, index: usize) -> ChunkName {
        self[index].0
    }

    fn bytes(&self, index: usize) -> &[u8] {
        self[index].1.as_ref()
    }
}

/// What was kept, and what may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The slot of the checkpoint that is durable now.
    pub slot: u64,
    /// Up to where the log may be pruned, if at all: the slot of the oldest checkpoint that stays, once as many are there
    /// as are kept.
    pub prune_to: Option<u64>,
    /// Bytes of the chunks that were written for it.
    pub written_bytes: u64,
    /// What was found damaged of the checkpoint that this one builds on. It was written anew.
    pub mended: Option<Damage>,
}

/// Writes checkpoints, beside the log and on a thread of its own if need be.
#[derive(Debug)]
pub struct CheckpointWriter<D> {
    disk: D,
    config: StoreConfig,
    owner: [u8; 32],
    /// The usable ones, by slot.
    kept: Vec<Standing>,
}

/// A checkpoint that is on the disk, and the numbers of the files that it refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) slot: u64,
    pub(crate) files: Vec<u64>,
}

/// What a checkpoint builds on.
#[derive(Default)]
struct Base {
    /// Number of the file that was verified last.
    verified: u64,
    /// None in the place of one that must not be shared.
    files: Vec<Option<FileRef>>,
    places: Vec<Place>,
    damage: Option<Damage>,
}

impl<D: Disk> CheckpointWriter<D> {
    pub(crate) fn new(
        disk: D,
        config: StoreConfig,
        owner: [u8; 32],
        mut kept: Vec<Standing>,
    ) -> CheckpointWriter<D> {
        kept.sort_unstable_by_key(|standing| standing.slot);
        CheckpointWriter { disk, config, owner, kept }
    }

    /// Keeps the checkpoint after `slot`; when this returns, it is durable, and so many as the configuration says stay.
    ///
    /// # Errors
    /// What the disk says, or that a part is too large. Then the ones before stay, and the log is not touched.
    pub fn keep(&mut self, slot: u64, header: &[u8], chunks: &dyn Chunks) -> Result<Kept, StoreError> {
        self.check(header, chunks)?;
        self.remove_leftovers()?;
        let mut base = self.base(slot)?;
        let mut plan = self.plan(&mut base, chunks)?;
        let (verified, damage) = self.verify_next(&mut plan, base.verified);
        let written_bytes = plan.bytes_to_write();
        let files = self.write_chunks(&mut plan, chunks)?;
        let table = table(slot, header, verified, &plan, &files);
        drop(plan);
        if let Err(error) = self.write_table(&table) {
            // It may have its name or not: what stands there counts for nothing until the next is kept.
            self.kept.retain(|standing| standing.slot != slot);
            return Err(error);
        }
        let files = table.files.iter().map(|file| file.number).collect();
        self.kept.retain(|standing| standing.slot != slot);
        self.kept.push(Standing { slot, files });
        self.kept.sort_unstable_by_key(|standing| standing.slot);
        let stay = self.config.checkpoints_kept;
        self.kept.drain(..self.kept.len().saturating_sub(stay));
        self.remove_others()?;
        let prune_to = (self.kept.len() >= stay).then(|| self.kept[0].slot);
        Ok(Kept { slot, prune_to, written_bytes, mended: base.damage.or(damage) })
    }

    fn check(&self, header: &[u8], chunks: &dyn Chunks) -> Result<(), StoreError> {
        let (bytes, bytes_max) = (header.len(), self.config.chunk_bytes_max);
        if bytes > bytes_max {
            return Err(StoreError::TooLarge { what: "checkpoint's header", bytes, bytes_max });
        }
        if chunks.count() > self.config.chunks_max as usize {
            return Err(StoreError::TooManyChunks { chunks_max: self.config.chunks_max });
        }
        Ok(())
    }

    /// What the checkpoint after `slot` builds on: the newest of those that go when it is kept, if it can be read.
    fn base(&self, slot: u64) -> Result<Base, StoreError> {
        let others: Vec<&Standing> = self.kept.iter().filter(|standing| standing.slot != slot).collect();
        let going = (others.len() + 1).saturating_sub(self.config.checkpoints_kept);
        let (going, mut staying) = others.split_at(going.min(others.len()));
        let same = self.kept.iter().find(|standing| standing.slot == slot);
        let mut base = same.or(going.last().copied());
        if BUILDS_ON_THE_NEWEST.is_on() {
            (base, staying) = (self.kept.last(), &[]);
        }
        let Some(base) = base else { return Ok(Base::default()) };
        match Table::read(&self.disk, &self.config, self.owner, base.slot) {
            Ok(Ok(Table { verified, files, places, .. })) => {
                // One that stays shares no file with this one, unless something has gone wrong in between.
                let is_free =
                    |file: &FileRef| staying.iter().all(|other| !other.files.contains(&file.number));
                let files = files.into_iter().map(|file| Some(file).filter(is_free)).collect();
                Ok(Base { verified, files, places, damage: None })
            }
            Ok(Err(damage)) => Ok(Base { damage: Some(damage), ..Base::default() }),
            Err(OpenError::Store(error)) => Err(error),
            // Of another version or owner than when it was found.
            Err(_) => Ok(Base::default()),
        }
    }

    /// What is written for a state, and what is not.
    fn plan(&self, base: &mut Base, chunks: &dyn Chunks) -> Result<Plan, StoreError> {
        let known: usize = base.files.iter().flatten().map(|file| file.chunks as usize).sum();
        let mut plan = Plan::new(self.config.salt, known.max(chunks.count()));
        let mut firsts = vec![None; base.files.len()];
        for (file, first) in base.files.iter().zip(&mut firsts) {
            let Some(file) = file else { continue };
            match chunk_file::read_index(&self.disk, self.owner, file) {
                Ok(index) => *first = Some(plan.add_file(*file, &index)),
                Err(damage) => base.damage = Some(damage),
            }
        }
        let entry_of = |place: Place| Some(firsts[place.file as usize]? + place.index);
        let before: Vec<Option<u32>> = std::mem::take(&mut base.places).into_iter().map(entry_of).collect();
        plan.take(chunks, &before, self.config.chunk_bytes_max)?;
        plan.compact(self.config.chunk_files_max);
        Ok(plan)
    }

    /// Verifies one file more of those that are needed; if it is damaged, the plan does without it. Returns its number.
    fn verify_next(&self, plan: &mut Plan, verified: u64) -> (u64, Option<Damage>) {
        let needed = plan.needed();
        // Downwards: files that come meanwhile are above, so each round has an end.
        let below = needed.iter().filter(|(_, file)| file.number < verified);
        let next = below.max_by_key(|(_, file)| file.number);
        let Some((place, file)) = next.or(needed.iter().max_by_key(|(_, file)| file.number)) else {
            return (0, None);
        };
        let read = chunk_file::read_index(&self.disk, self.owner, file).and_then(|index| {
            let spots: Vec<_> = index.iter().map(|entry| entry.spot).collect();
            chunk_file::verify(&self.disk, file.number, &spots, |_| true)
        });
        if read.is_err() {
            plan.leave(|left| left == *place);
        }
        (file.number, read.err())
    }

    /// Writes what the plan says into files of their own, under their names at the end; returns them all, in the plan's
    /// order: first those that there were.
    fn write_chunks(&mut self, plan: &mut Plan, chunks: &dyn Chunks) -> Result<Vec<FileRef>, StoreError> {
        let first = self.next_number()?;
        let written = self.write_files(plan, chunks, first);
        let named = written.and_then(|files| self.name_files(&files).map(|()| files));
        if named.is_err() {
            // What is there takes room that the log may wait for. What cannot be removed now goes later.
            let _ = self.remove_leftovers();
        }
        let mut files = plan.files().to_vec();
        files.extend(named?);
        Ok(files)
    }

    fn write_files(
        &mut self,
        plan: &mut Plan,
        chunks: &dyn Chunks,
        first: u64,
    ) -> Result<Vec<FileRef>, StoreError> {
        let bytes_full = plan.file_bytes(self.config.chunk_file_bytes, self.config.chunk_files_max);
        let (mut files, mut current) = (Vec::new(), None::<ChunkFileWriter>);
        for index in 0..chunks.count() {
            if !plan.is_to_write(index) {
                continue;
            }
            let mut file = match current.take() {
                Some(file) => file,
                None => ChunkFileWriter::begin(&mut self.disk, self.owner, first + files.len() as u64)?,
            };
            let place = file.add(&mut self.disk, &chunks.name(index), chunks.bytes(index))?;
            plan.written(index, files.len(), place);
            if file.bytes() >= bytes_full {
                files.push(file.finish(&mut self.disk)?);
            } else {
                current = Some(file);
            }
        }
        if let Some(last) = current {
            files.push(last.finish(&mut self.disk)?);
        }
        Ok(files)
    }

    fn name_files(&mut self, files: &[FileRef]) -> Result<(), StoreError> {
        for file in files {
            let name = names::chunk_file(file.number);
            let named = self.disk.rename(&names::temporary(&name), &name);
            named.map_err(|e| StoreError::io(&name, "naming", e))?;
        }
        if files.is_empty() { Ok(()) } else { segment::sync_directory(&mut self.disk) }
    }

    fn write_table(&mut self, table: &Table) -> Result<(), StoreError> {
        let name = names::checkpoint(table.slot);
        let made = names::temporary(&name);
        let written = self.disk.create(&made, 0).map_err(|e| StoreError::io(&made, "making", e));
        let written = written.and_then(|()| {
            let written = self.disk.write(&made, 0, &table.encode(self.owner));
            written.map_err(|e| StoreError::io(&made, "writing", e))
        });
        if written.is_err() {
            let _ = self.remove_leftovers();
        }
        written?;
        segment::publish(&mut self.disk, &made, &name)
    }

    /// A number that no file of chunks has had, as far as any table can tell.
    fn next_number(&self) -> Result<u64, StoreError> {
        let listed = segment::list(&self.disk)?;
        let listed = listed.iter().filter_map(|file| names::chunk_file_number(&file.name));
        let named = self.kept.iter().flat_map(|standing| standing.files.iter().copied());
        Ok(listed.chain(named).max().unwrap_or(0) + 1)
    }

    /// Removes checkpoints that are not kept, and then what only they referred to.
    fn remove_others(&mut self) -> Result<(), StoreError> {
        for name in self.list_others()? {
            segment::remove(&mut self.disk, &name)?;
        }
        self.remove_leftovers()
    }

    /// Removes what a checkpoint that failed or went has left; but no file that has its name while there is a checkpoint of
    /// which nothing is known: damaged, or named though it was said to have failed. Those go with the next that is kept.
    fn remove_leftovers(&mut self) -> Result<(), StoreError> {
        let all_are_known = self.list_others()?.is_empty();
        let first = if FORGETS_THE_OTHER_CHAIN.is_on() { self.kept.len().saturating_sub(1) } else { 0 };
        let needed: Vec<u64> =
            self.kept[first..].iter().flat_map(|standing| standing.files.clone()).collect();
        let is_left = |number: u64| all_are_known && !needed.contains(&number);
        let files = segment::list(&self.disk)?.into_iter().map(|file| file.name);
        let (named, others): (Vec<String>, Vec<String>) =
            files.partition(|name| names::chunk_file_number(name).is_some_and(is_left));
        if !named.is_empty() {
            // After a crash the checkpoint that referred to them must not be there without them.
            segment::sync_directory(&mut self.disk)?;
        }
        let unfinished = others.into_iter().filter(|name| names::is_unfinished_checkpoint(name));
        for name in named.into_iter().chain(unfinished) {
            segment::remove(&mut self.disk, &name)?;
        }
        Ok(())
    }

    /// Names of checkpoints that are not kept.
    fn list_others(&self) -> Result<Vec<String>, StoreError> {
        let is_kept = |slot: u64| self.kept.iter().any(|standing| standing.slot == slot);
        let names = segment::list(&self.disk)?.into_iter().map(|file| file.name);
        Ok(names.filter(|name| names::checkpoint_slot(name).is_some_and(|slot| !is_kept(slot))).collect())
    }
}

/// The table over what is needed of `files`, which are numbered as in the plan.
fn table(slot: u64, header: &[u8], verified: u64, plan: &Plan, files: &[FileRef]) -> Table {
    let mut needed = vec![false; files.len()];
    plan.places().for_each(|(file, _)| needed[file as usize] = true);
    let mut places_of = Vec::with_capacity(files.len());
    let mut referred: Vec<FileRef> = Vec::new();
    for (file, needed) in files.iter().zip(needed) {
        places_of.push(u32::try_from(referred.len()).expect("far fewer than 2^32 files"));
        referred.extend(needed.then_some(*file));
    }
    let place_of = |file: u32| match places_of[file as usize] {
        _ if TAKES_FROM_ANOTHER_FILE.is_on() && (file as usize) < referred.len() => file,
        place => place,
    };
    let places = plan.places().map(|(file, index)| Place { file: place_of(file), index }).collect();
    Table { slot, header: header.to_vec(), verified, files: referred, places }
}
