//! What is asked of a disk: files of one directory, written at places and synced on demand.

use std::io;

/// A file of the directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileEntry {
    /// Its name, without a path.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
}

/// One directory of one store, and nobody else's. Names are plain file names.
///
/// Nothing is durable before it is synced: bytes by [`Disk::sync`] of their file, names by [`Disk::sync_directory`].
/// Where a method fails, what it should have done may be done in part.
pub trait Disk {
    /// Every file, in any order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<FileEntry>>;

    /// The bytes of `name` from `offset` on: `bytes_max` of them, or fewer at the file's end.
    ///
    /// # Errors
    /// What the system says; there must be such a file.
    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// Makes a file of `bytes` zeros, which take their room on the disk. There must be none of that name.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::StorageFull`] among others.
    fn create(&mut self, name: &str, bytes: u64) -> io::Result<()>;

    /// Writes at `offset` of an existing file, which grows if it must.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when what was written to `name` is durable.
    ///
    /// # Errors
    /// What the system says. After that nobody knows what is on the disk, and another sync may tell a lie (Rebello et
    /// al., Can Applications Recover from fsync Failures?, ATC 2020).
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Gives a file another name, and takes it from the file that had it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says; there must be such a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Returns when all names are durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&mut self) -> io::Result<()>;
}
