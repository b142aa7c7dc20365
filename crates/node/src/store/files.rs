//! A directory of this machine as [`smr_store::Disk`]: files of mode 0600 in a directory of mode 0700, which one process
//! at a time may use.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smr_store::{Disk, FileEntry};

use crate::files::{FileError, private_dir};

/// Held while the directory is in use. The system lets go of it when the process ends, however it does.
const LOCK: &str = "lock";

/// Zeros that are written at once.
const ZEROS: &[u8] = &[0; 1 << 20];

/// A directory. Clones are handles to the same one; the last of them lets go of it.
#[derive(Debug)]
pub struct Files {
    directory: Arc<Directory>,
    /// The file that was used last, under the name that it had: commits go to one file for long.
    open: Option<(String, File)>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// For syncs of names.
    itself: File,
    /// Locked.
    _lock: File,
}

impl Files {
    /// Takes `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`FilesError::InUse`], or the directory cannot be made, or others than its owner may enter it.
    pub fn open(path: &Path) -> Result<Files, FilesError> {
        private_dir(path)?;
        let at = path.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&at);
        let lock = lock.map_err(|error| FileError::io(&at, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FilesError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(FileError::io(&at, error).into()),
        }
        let itself = File::open(path).map_err(|error| FileError::io(path, error))?;
        // Nothing is durable in a directory whose own name is not.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| FileError::io(parent, error))?;
        Ok(Files {
            directory: Arc::new(Directory { path: path.to_owned(), itself, _lock: lock }),
            open: None,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let file = OpenOptions::new().write(true).open(self.path(name))?;
            self.open = Some((name.to_string(), file));
        }
        Ok(self.open.as_ref().map(|(_, file)| file).expect("opened above"))
    }
}

impl Clone for Files {
    fn clone(&self) -> Files {
        Files { directory: self.directory.clone(), open: None }
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Somebody uses it.
    #[error("{path} is in use by another process: a replica runs once")]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// The system says no, or others may enter.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Disk for Files {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory.path)? {
            let entry = entry?;
            // The other handle may have renamed or removed a file since it was listed.
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if let Ok(name) = entry.file_name().into_string()
                && metadata.is_file()
                && name != LOCK
            {
                found.push(FileEntry { name, bytes: metadata.len() });
            }
        }
        Ok(found)
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(name))?;
        let length = file.metadata()?.len().saturating_sub(offset);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes_max);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(name))?;
        let mut filled = 0;
        while filled < bytes {
            let zeros = usize::try_from(bytes - filled).unwrap_or(ZEROS.len()).min(ZEROS.len());
            file.write_all_at(&ZEROS[..zeros], filled)?;
            filled += zeros as u64;
        }
        self.open = Some((name.to_string(), file));
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        // Another file may get the name under which this one is open.
        self.open = None;
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open = None;
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.directory.itself.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_store::{Fault, OpenError, Store, StoreConfig};
    use std::os::unix::fs::MetadataExt;

    const OWNER: [u8; 32] = [7; 32];

    fn small() -> StoreConfig {
        StoreConfig { segment_bytes: 8 << 10, record_bytes_max: 2000, ..StoreConfig::with_salt(11) }
    }

    fn open(path: &Path) -> Result<(Store<Files>, smr_store::Found), OpenError> {
        Store::open(Files::open(path).unwrap(), small(), &OWNER)
    }

    /// A log over several segments, pruned, with two checkpoints.
    fn filled(path: &Path) -> Vec<Vec<u8>> {
        let (mut store, found) = open(path).unwrap();
        assert!(found.fresh && found.records.is_empty());
        let mut checkpoints = store.checkpoint_writer(Files::clone(store.disk()));
        let record = |slot: u64| vec![u8::try_from(slot).unwrap(); 1000];
        for slot in 1..=20 {
            store.append(slot, &record(slot)).unwrap();
            store.sync().unwrap();
        }
        let state = vec![([1; 32], b"one"), ([2; 32], b"two")];
        checkpoints.keep(4, b"four", &state).unwrap();
        let kept = checkpoints.keep(8, b"eight", &state).unwrap();
        assert_eq!(kept.prune_to, Some(4));
        store.prune(4, &[b"head"]).unwrap();
        store.append(21, &record(21)).unwrap();
        store.close().unwrap();
        (4..=20).map(record).chain([b"head".to_vec(), record(21)]).collect()
    }

    #[test]
    fn what_was_stored_is_found_again_in_files_of_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let expected = filled(&path);
        let (store, found) = open(&path).unwrap();
        assert!(found.torn.is_none() && found.skipped.is_empty() && !found.fresh);
        assert!(expected.ends_with(&found.records), "{} records", found.records.len());
        assert!(found.records.len() >= 18, "{} records", found.records.len());
        assert_eq!(found.checkpoints.iter().map(|found| found.slot).collect::<Vec<_>>(), [8, 4]);
        assert_eq!(found.checkpoints[0].header, b"eight");
        assert_eq!(found.checkpoints[0].chunk(store.disk(), 1).unwrap(), b"two");
        for file in fs::read_dir(&path).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn two_never_use_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let first = Files::open(&path).unwrap();
        let other = first.clone();
        drop(first);
        assert!(matches!(Files::open(&path), Err(FilesError::InUse { .. })));
        drop(other);
        Files::open(&path).unwrap();
    }

    #[test]
    fn another_ones_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        filled(&path);
        let refused = Store::open(Files::open(&path).unwrap(), small(), &[8; 32]);
        assert!(matches!(refused, Err(OpenError::OtherOwner { .. })));
    }

    #[test]
    fn damage_is_told_with_its_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        filled(&path);
        let logs = || {
            let mut logs: Vec<PathBuf> =
                fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()).collect();
            logs.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"));
            logs.sort();
            logs
        };
        let told = || match open(&path) {
            Err(OpenError::Damaged(damage)) => damage,
            other => panic!("{:?}", other.map(|(_, found)| found)),
        };
        let last = logs().pop().unwrap();
        let whole = fs::read(&last).unwrap();
        let mut flipped = whole.clone();
        flipped[4096 + 40 + 100] ^= 4;
        fs::write(&last, &flipped).unwrap();
        let damage = told();
        assert_eq!(
            (damage.file.as_str(), damage.offset),
            (last.file_name().unwrap().to_str().unwrap(), 4136)
        );
        assert!(matches!(damage.fault, Fault::Record { .. }), "{damage}");
        fs::write(&last, &whole[..5000]).unwrap();
        assert!(matches!(told().fault, Fault::Length { found: 5000, made: 8192 }));
        fs::write(&last, &whole).unwrap();

        let first = logs().remove(0);
        let kept = fs::read(&first).unwrap();
        fs::remove_file(&first).unwrap();
        assert_eq!(told().fault, Fault::Missing);
        fs::write(&first, &kept).unwrap();
        open(&path).unwrap();
    }
}
