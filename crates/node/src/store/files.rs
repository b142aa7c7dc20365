//! A directory as a disk for the store: files that only this user may read, one process at a time.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smr_store::{Disk, FileEntry};

use crate::files::private_dir;

/// Bytes of zeros that are written at once.
const ZEROS: usize = 1 << 20;

/// The files of one store. Handles to the same directory share its lock.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    open: HashMap<String, File>,
    _lock: Arc<File>,
}

impl Files {
    /// Takes the directory for this process, and makes it if it is not there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process has it, or what the system says.
    pub(crate) fn take(dir: &Path) -> io::Result<Files> {
        private_dir(dir).map_err(io::Error::other)?;
        let path = dir.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Files { dir: dir.to_owned(), open: HashMap::new(), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A second handle, for another thread.
    pub(crate) fn again(&self) -> Files {
        Files { dir: self.dir.clone(), open: HashMap::new(), _lock: self._lock.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
            self.open.insert(name.to_owned(), file);
        }
        Ok(&self.open[name])
    }
}

impl Disk for Files {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
            files.push(FileEntry { name, bytes: entry.metadata()?.len() });
        }
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(name))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max)];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let zeros = vec![0; ZEROS];
        let mut at = 0;
        while at < bytes {
            let count = usize::try_from(bytes - at).unwrap_or(ZEROS).min(ZEROS);
            file.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        self.open.remove(to);
        if let Some(file) = self.open.remove(from) {
            self.open.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_for_one_at_a_time_and_its_files_for_this_user() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        let mut files = Files::take(&at).unwrap();
        assert_eq!(Files::take(&at).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        files.create("a", 3 << 20).unwrap();
        files.write("a", 5, b"five").unwrap();
        files.sync("a").unwrap();
        files.rename("a", "b").unwrap();
        files.write("b", 9, b"!").unwrap();
        files.sync_directory().unwrap();
        let other = files.again();
        assert_eq!(other.read("b", 4, 7).unwrap(), b"\0five!\0");
        assert_eq!(other.list().unwrap(), [FileEntry { name: "b".into(), bytes: 3 << 20 }]);
        let mode = fs::metadata(at.join("b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files.remove("b").unwrap();
        drop(files);
        assert!(Files::take(&at).is_err(), "the second handle still has it");
        drop(other);
        Files::take(&at).unwrap();
    }
}
