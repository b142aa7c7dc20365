//! Files of a data directory: written whole or not at all, and secret ones readable by their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secrecy {
    /// Whoever may enter the directory.
    Public,
    /// Its owner alone (mode 0600).
    Secret,
}

/// Writes `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the new one.
///
/// # Errors
/// What the system says, with the path.
pub fn write_atomically(path: &Path, bytes: &[u8], secrecy: Secrecy) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mode = match secrecy {
        Secrecy::Public => 0o644,
        Secrecy::Secret => 0o600,
    };
    let write = || {
        // A leftover of a process with the same id would keep its own, perhaps looser, mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        FileError::io(path, error)
    })
}

/// Reads a file of at most `bytes_max` bytes; none if there is no such file.
///
/// # Errors
/// [`FileError::TooLarge`], or what the system says.
pub fn read(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, FileError> {
    match File::open(path) {
        Ok(file) => read_open(&file, path, bytes_max).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io(path, error)),
    }
}

/// As [`read`], for a secret: refuses a file that others could have read or written, because it is no secret any
/// more.
///
/// # Errors
/// [`FileError::Exposed`], and those of [`read`].
pub fn read_secret(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io(path, error)),
    };
    // Of the open file, so that nobody can exchange it between the look and the reading.
    let metadata = file.metadata().map_err(|error| FileError::io(path, error))?;
    check_owner_only(path, &metadata, "600")?;
    read_open(&file, path, bytes_max).map(Some)
}

/// Makes a directory that only its owner may enter (mode 0700), with those above it, or checks that it is one.
///
/// # Errors
/// [`FileError::Exposed`] if it exists and others may enter, or what the system says.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| FileError::io(path, e))?;
    let metadata = fs::metadata(path).map_err(|error| FileError::io(path, error))?;
    check_owner_only(path, &metadata, "700")
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// More bytes than any good one has.
    #[error("{path} is larger than the {bytes_max} bytes that such a file has at most")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        bytes_max: usize,
    },
    /// Others than its owner may read or change it.
    #[error(
        "{path} must belong to the user who runs this and to nobody else: run `chmod {wanted} {path}`, and consider what is in it as seen by others"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// The mode it should have.
        wanted: &'static str,
    },
}

impl FileError {
    /// `error` at `path`.
    #[must_use]
    pub fn io(path: &Path, error: io::Error) -> FileError {
        FileError::Io { path: path.to_owned(), error }
    }
}

fn check_owner_only(path: &Path, metadata: &fs::Metadata, wanted: &'static str) -> Result<(), FileError> {
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(FileError::Exposed { path: path.to_owned(), wanted })
    }
}

fn read_open(file: &File, path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = file.take(bytes_max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| FileError::io(path, error))?;
    if bytes.len() > bytes_max {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomically(&path, b"one", Secrecy::Public).unwrap();
        write_atomically(&path, b"two", Secrecy::Secret).unwrap();
        assert_eq!(read_secret(&path, 3).unwrap().unwrap(), b"two");
        assert!(matches!(read(&path, 2), Err(FileError::TooLarge { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(read(&dir.path().join("b"), 9).unwrap().is_none());
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomically(&path, b"one", Secrecy::Secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_secret(&path, 3).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_dir(&path).unwrap();
        private_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(private_dir(&path), Err(FileError::Exposed { .. })));
    }
}
