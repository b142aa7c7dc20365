//! A simulated disk: what is synced stays, and of everything else a crash leaves what it likes.
//!
//! ```text
//!   write -> unsynced -> sync -> durable          crash: each unsynced write is kept, lost, or torn by sectors
//!   create, rename, remove -> sync_directory      crash: each unsynced name is kept or lost
//! ```
//!
//! Writes keep their order, as they do where a system's memory stands before the disk: a sector holds one of the contents
//! that it had in turn. Which one is drawn, for each sector by itself. After a sync that failed, what it should have
//! written is never written, though it is still read until the crash (Rebello et al., ATC 2020).

mod expected;
pub mod run;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use smr_store::{Disk, FileEntry};

use crate::rng::Rng;

/// What a disk writes at once, or tears.
const SECTOR_BYTES: usize = 512;

/// A disk. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Rc<RefCell<Platter>>);

/// A place where something was damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flip {
    /// In which file.
    pub file: String,
    /// At which byte.
    pub offset: usize,
    bit: u8,
}

impl SimDisk {
    /// An empty one without limits.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// After `calls` more that change something, the machine stops: the next one is begun, and all fail until the crash.
    pub fn stop_after(&self, calls: u64) {
        self.0.borrow_mut().calls_left = Some(calls);
    }

    /// It does not stop at a call after all.
    pub fn keep_running(&self) {
        self.0.borrow_mut().calls_left = None;
    }

    /// Whether the machine stands still.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.0.borrow().stopped
    }

    /// How many calls have changed something, ever.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// No file grows, and none is made, until there is room again.
    pub fn fill_up(&self) {
        self.0.borrow_mut().full = true;
    }

    /// After `calls` more that change something, one does nothing and fails, as on a disk that is full for a moment.
    pub fn fail_after(&self, calls: u64) {
        self.0.borrow_mut().fails_in = Some(calls);
    }

    /// There is room again.
    pub fn make_room(&self) {
        let mut platter = self.0.borrow_mut();
        (platter.full, platter.fails_in) = (false, None);
    }

    /// The next sync of a file fails, and what it should have written is never written.
    pub fn fail_a_sync(&self) {
        self.0.borrow_mut().sync_fails = true;
    }

    /// The machine stops and starts again: `rng` draws what is left of all that was not synced.
    pub fn crash(&self, rng: &mut Rng) {
        self.0.borrow_mut().crash(rng);
    }

    /// Flips a bit of what is durable, if anything is.
    pub fn flip(&self, rng: &mut Rng) -> Option<Flip> {
        let files: Vec<FileEntry> = self.durable_files().into_iter().filter(|file| file.bytes > 0).collect();
        if files.is_empty() {
            return None;
        }
        let file = rng.pick(&files);
        // Half of the time where something stands: most of a segment may be zeros.
        let bytes = self.0.borrow().durable(&file.name).to_vec();
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let anywhere = used.is_empty() || rng.chance(500);
        let all: Vec<usize> = if anywhere { (0..bytes.len()).collect() } else { used };
        let bit = 1 << rng.within(0, 7);
        let flip = Flip { file: file.name.clone(), offset: *rng.pick(&all), bit };
        self.flip_at(&flip);
        Some(flip)
    }

    /// Flips this bit, for the second time if it is to be as it was.
    pub fn flip_at(&self, flip: &Flip) {
        let mut platter = self.0.borrow_mut();
        let file = platter.named(&flip.file).expect("a file to damage");
        file.durable[flip.offset] ^= flip.bit;
        file.seen[flip.offset] ^= flip.bit;
    }

    /// The files that a crash would leave at least, by name.
    #[must_use]
    pub fn durable_files(&self) -> Vec<FileEntry> {
        let platter = self.0.borrow();
        let length = |id: &u64| platter.files[id].durable.len() as u64;
        platter
            .durable_names
            .iter()
            .map(|(name, id)| FileEntry { name: name.clone(), bytes: length(id) })
            .collect()
    }

    /// Everything that is on the disk, to be put back by [`SimDisk::put_back`].
    #[must_use]
    pub fn image(&self) -> Image {
        Image(self.0.borrow().clone())
    }

    /// Makes the disk what it was.
    pub fn put_back(&self, image: &Image) {
        self.0.replace(image.0.clone());
    }

    /// The disk reads nothing of a file any more.
    pub fn make_unreadable(&self, name: &str) {
        self.0.borrow_mut().named(name).expect("a file to damage").unreadable = true;
    }

    /// Loses a file, or what is in it from `bytes` on.
    pub fn lose(&self, name: &str, bytes: Option<usize>) {
        let mut platter = self.0.borrow_mut();
        match bytes {
            Some(bytes) => {
                let file = platter.named(name).expect("a file to damage");
                file.durable.truncate(bytes);
                file.seen.truncate(bytes);
            }
            None => {
                platter.names.remove(name);
                platter.durable_names.remove(name);
            }
        }
    }
}

/// A disk at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image(Platter);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Platter {
    files: BTreeMap<u64, SimFile>,
    next_id: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// In order.
    unsynced_names: Vec<NameChange>,
    calls: u64,
    calls_left: Option<u64>,
    fails_in: Option<u64>,
    stopped: bool,
    full: bool,
    sync_fails: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct SimFile {
    /// What is read.
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// In order: where, and what.
    unsynced: Vec<(usize, Vec<u8>)>,
    unreadable: bool,
}

impl SimFile {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.seen, offset, bytes);
        self.unsynced.push((offset, bytes.to_vec()));
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum NameChange {
    Made(String, u64),
    Renamed(String, String, u64),
    Removed(String, u64),
}

impl Platter {
    fn durable(&self, name: &str) -> &[u8] {
        &self.files[&self.durable_names[name]].durable
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_string()))
    }

    fn named(&mut self, name: &str) -> io::Result<&mut SimFile> {
        let id = self.id(name)?;
        Ok(self.files.get_mut(&id).expect("a name of a file"))
    }

    /// Counts a call that changes something. If the machine stops in it, it is begun, and its caller hears nothing.
    fn call<T>(&mut self, begin: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        self.check_running()?;
        self.calls += 1;
        if let Some(left) = self.fails_in {
            self.fails_in = left.checked_sub(1);
            if left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let done = begin(self);
        match &mut self.calls_left {
            Some(0) => self.stopped = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.check_running().and(done)
    }

    fn check_running(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    /// Whether the call that has begun is the last.
    fn is_stopping(&self) -> bool {
        self.calls_left == Some(0)
    }

    fn crash(&mut self, rng: &mut Rng) {
        for change in std::mem::take(&mut self.unsynced_names) {
            if rng.chance(500) {
                change_name(&mut self.durable_names, &change);
            }
        }
        self.names = self.durable_names.clone();
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            for (offset, bytes) in std::mem::take(&mut file.unsynced) {
                match rng.within(0, 2) {
                    0 => {}
                    1 => put(&mut file.durable, offset, &bytes),
                    _ => tear(&mut file.durable, offset, &bytes, rng),
                }
            }
            file.seen = file.durable.clone();
        }
        (self.stopped, self.calls_left, self.sync_fails) = (false, None, false);
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let platter = self.0.borrow();
        platter.check_running()?;
        let length = |id: &u64| platter.files[id].seen.len() as u64;
        let entry = |(name, id): (&String, &u64)| FileEntry { name: name.clone(), bytes: length(id) };
        Ok(platter.names.iter().map(entry).collect())
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let platter = self.0.borrow();
        platter.check_running()?;
        let SimFile { seen, unreadable, .. } = &platter.files[&platter.id(name)?];
        if *unreadable {
            return Err(io::Error::other("input/output error"));
        }
        let from = place(offset).min(seen.len());
        Ok(seen[from..from.saturating_add(bytes_max).min(seen.len())].to_vec())
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        self.0.borrow_mut().call(|platter| {
            if platter.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if platter.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = platter.next_id;
            platter.next_id += 1;
            let mut file = SimFile::default();
            file.write(0, &vec![0; place(bytes)]);
            platter.files.insert(id, file);
            platter.change_name(NameChange::Made(name.to_string(), id));
            Ok(())
        })
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().call(|platter| {
            let full = platter.full;
            let file = platter.named(name)?;
            if full && place(offset) + bytes.len() > file.seen.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.write(place(offset), bytes);
            Ok(())
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().call(|platter| {
            let (fails, stops) = (std::mem::take(&mut platter.sync_fails), platter.is_stopping());
            let file = platter.named(name)?;
            // Where the machine stops meanwhile, the crash draws how far the sync has come.
            if stops {
                return Ok(());
            }
            let unsynced = std::mem::take(&mut file.unsynced);
            if fails {
                return Err(io::Error::other("input/output error"));
            }
            unsynced.into_iter().for_each(|(offset, bytes)| put(&mut file.durable, offset, &bytes));
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.0.borrow_mut().call(|platter| {
            let id = platter.id(from)?;
            platter.change_name(NameChange::Renamed(from.to_string(), to.to_string(), id));
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().call(|platter| {
            let id = platter.id(name)?;
            platter.change_name(NameChange::Removed(name.to_string(), id));
            Ok(())
        })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.0.borrow_mut().call(|platter| {
            if !platter.is_stopping() {
                platter.unsynced_names.clear();
                platter.durable_names = platter.names.clone();
            }
            Ok(())
        })
    }
}

impl Platter {
    fn change_name(&mut self, change: NameChange) {
        change_name(&mut self.names, &change);
        self.unsynced_names.push(change);
    }
}

fn change_name(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    let (gone, id) = match change {
        NameChange::Made(name, id) => {
            names.insert(name.clone(), *id);
            return;
        }
        NameChange::Renamed(from, to, id) => {
            names.insert(to.clone(), *id);
            (from, id)
        }
        NameChange::Removed(name, id) => (name, id),
    };
    if names.get(gone) == Some(id) {
        names.remove(gone);
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated files are small")
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// Writes some of the sectors, and of one of them a part.
fn tear(file: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &mut Rng) {
    let mut at = 0;
    while at < bytes.len() {
        let end = (at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(bytes.len());
        match rng.within(0, 4) {
            0 | 1 => {}
            2 | 3 => put(file, offset + at, &bytes[at..end]),
            _ => {
                let cut = at + place(rng.within(0, (end - at) as u64));
                let part = if rng.chance(500) { at..cut } else { cut..end };
                put(file, offset + part.start, &bytes[part]);
            }
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> SimDisk {
        let mut disk = SimDisk::new();
        disk.create("a", 2048).unwrap();
        disk.sync("a").unwrap();
        disk.sync_directory().unwrap();
        disk.write("a", 100, &[1; 1500]).unwrap();
        disk
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_any_part_of_the_rest() {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = written();
            disk.crash(&mut Rng::new(seed));
            let bytes = disk.read("a", 0, 4096).unwrap();
            assert!(bytes.len() == 2048 && bytes[..100].iter().chain(&bytes[1600..]).all(|byte| *byte == 0));
            left.insert(
                bytes.chunks(256).map(|chunk| chunk.iter().filter(|b| **b == 1).count()).collect::<Vec<_>>(),
            );
        }
        assert!(left.len() > 20, "only {} outcomes", left.len());

        for seed in 0..50 {
            let mut disk = written();
            disk.sync("a").unwrap();
            disk.crash(&mut Rng::new(seed));
            assert_eq!(disk.read("a", 100, 1500).unwrap(), vec![1; 1500]);
        }
    }

    #[test]
    fn names_are_lost_until_their_directory_is_synced() {
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut disk = written();
            disk.rename("a", "b").unwrap();
            disk.create("c", 1).unwrap();
            disk.crash(&mut Rng::new(seed));
            names.insert(disk.list().unwrap().into_iter().map(|file| file.name).collect::<String>());
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "ac", "b", "bc"]);
    }

    #[test]
    fn what_a_failed_sync_should_have_written_is_read_until_the_crash_and_never_again() {
        let mut disk = written();
        disk.fail_a_sync();
        assert!(disk.sync("a").is_err());
        disk.sync("a").unwrap();
        assert_eq!(disk.read("a", 100, 1500).unwrap(), vec![1; 1500]);
        disk.crash(&mut Rng::new(1));
        assert_eq!(disk.read("a", 100, 1500).unwrap(), vec![0; 1500]);
    }

    #[test]
    fn a_machine_that_stops_says_nothing_more_until_it_starts_again() {
        let mut disk = written();
        disk.stop_after(1);
        disk.write("a", 0, &[2]).unwrap();
        assert!(disk.sync("a").is_err() && disk.list().is_err());
        disk.crash(&mut Rng::new(1));
        assert_eq!(disk.list().unwrap().len(), 1);
    }
}
