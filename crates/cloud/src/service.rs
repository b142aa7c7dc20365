//! What is kept of each service on this machine.
//!
//! ```text
//!   HOME/services/NAME/service.json     the record: blueprint, replicas, descriptor
//!                      admin.key        seed of the administrator's key, mode 0600
//!                      descriptor.json  all that a client needs; may be given to anyone
//!                      replicas/0..     a directory for each replica, which is the replica's own
//!   HOME/locks/NAME                     held while something about the service changes; goes with the service
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smr_client::connect::tls::ChannelKey;
use smr_crypto::{IdentityKey, PublicKey};
use smr_node::Public;
use smr_node::files::{self, FileError, Secrecy};
use smr_node::identity::{IdentityError, seed_file};
use smr_plan::{Blueprint, ServiceName};
use smr_replica::{Manifest, Voucher};
use smr_wire::{Descriptor, Generation, ReplicaId, ServiceId, Slot};

use crate::provider::Handle;

/// Where everything about services is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home(PathBuf);

/// Bytes of a record at most.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// How often a lock is tried whose file its holder removes meanwhile; then the service counts as busy.
const LOCK_TRIES_MAX: usize = 16;

/// The version of records that is written and read.
const RECORD_VERSION: u32 = 1;

impl Home {
    /// The one in `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Home {
        Home(path)
    }

    /// The one that the environment names: `$SMRCLOUD_HOME`, else `$XDG_STATE_HOME/smrcloud`, else
    /// `~/.local/state/smrcloud`.
    ///
    /// # Errors
    /// [`ServiceError::NoHome`].
    pub fn from_env() -> Result<Home, ServiceError> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG specification has relative paths ignored.
        let state = || named("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let path = named("SMRCLOUD_HOME")
            .or_else(|| state().map(|state| state.join("smrcloud")))
            .or_else(|| named("HOME").map(|home| home.join(".local/state/smrcloud")))
            .ok_or(ServiceError::NoHome)?;
        std::path::absolute(&path).map(Home).map_err(|error| FileError::io(&path, error).into())
    }

    /// Names of the services that there are, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn services(&self) -> Result<Vec<ServiceName>, ServiceError> {
        let path = self.0.join("services");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(FileError::io(&path, error).into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| FileError::io(&path, error))?.file_name();
            names.extend(name.to_str().and_then(|name| ServiceName::new(name).ok()));
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(names)
    }

    /// The place of one service, whether or not there is one.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> ServiceDir {
        ServiceDir { home: self.0.clone(), name: name.clone() }
    }
}

/// The place of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceDir {
    home: PathBuf,
    name: ServiceName,
}

impl ServiceDir {
    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.join("services").join(self.name.as_str())
    }

    /// The directory of one replica, by its index.
    #[must_use]
    pub fn replica(&self, index: usize) -> PathBuf {
        self.path().join("replicas").join(index.to_string())
    }

    /// Where its descriptor is.
    #[must_use]
    pub fn descriptor(&self) -> PathBuf {
        self.path().join("descriptor.json")
    }

    /// Whether anything is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Keeps others from changing the service until the lock is dropped.
    ///
    /// # Errors
    /// [`ServiceError::Busy`], or what the system says.
    pub fn lock(&self) -> Result<ServiceLock, ServiceError> {
        let dir = self.home.join("locks");
        files::private_dir(&dir)?;
        let path = dir.join(self.name.as_str());
        let busy = || ServiceError::Busy { name: self.name.clone() };
        for _ in 0..LOCK_TRIES_MAX {
            let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = open.map_err(|error| FileError::io(&path, error))?;
            match file.try_lock() {
                // The holder before may have removed the file after it was opened here; who comes next opens another.
                Ok(()) if !is_at(&file, &path)? => {}
                Ok(()) => return Ok(ServiceLock { file, path, service: self.path() }),
                Err(TryLockError::WouldBlock) => return Err(busy()),
                Err(TryLockError::Error(error)) => return Err(FileError::io(&path, error).into()),
            }
        }
        Err(busy())
    }

    /// Makes its directory, which only the user may enter.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(&self) -> Result<(), ServiceError> {
        Ok(files::private_dir(&self.path().join("replicas"))?)
    }

    /// The record; none if there is no such service.
    ///
    /// # Errors
    /// The record cannot be read, or is damaged or of another version.
    pub fn record(&self) -> Result<Option<Record>, ServiceError> {
        let path = self.path().join("service.json");
        let Some(bytes) = files::read(&path, RECORD_BYTES_MAX)? else { return Ok(None) };
        let damaged = |error: String| ServiceError::Damaged { path: path.clone(), error };
        let version: Version = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if version.version != RECORD_VERSION {
            return Err(damaged(format!(
                "it has version {}, this program reads {RECORD_VERSION}",
                version.version
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Keeps the record in place of the one before, and the descriptor, once there is one, by itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&self, record: &Record) -> Result<(), ServiceError> {
        let json = serde_json::to_vec_pretty(record).expect("plain data with text keys");
        files::write_atomically(&self.path().join("service.json"), &json, Secrecy::Secret)?;
        if let Some(descriptor) = &record.descriptor {
            let json = serde_json::to_vec_pretty(descriptor).expect("plain data with text keys");
            files::write_atomically(&self.descriptor(), &json, Secrecy::Public)?;
        }
        Ok(())
    }

    /// The administrator's key; made if it is not there yet.
    ///
    /// # Errors
    /// The file cannot be read or written, or others may read it.
    pub fn administrator(&self) -> Result<ChannelKey, ServiceError> {
        Ok(ChannelKey::from_seed(&*seed_file(&self.path().join("admin.key"))?))
    }

    /// The administrator's word that `core` is the key of a replica's trusted core now.
    ///
    /// The key that proves the administrator's channels signs it, as it is the one that the genesis names. Neither signature
    /// can be taken for the other: a statement is 32 bytes, and what TLS signs begins with 64 spaces (RFC 8446, 4.4.3).
    ///
    /// # Errors
    /// The file cannot be read or written, others may read it, or the service never began.
    pub fn voucher(
        &self,
        record: &Record,
        replica: ReplicaId,
        generation: Generation,
        core: PublicKey,
    ) -> Result<Voucher, ServiceError> {
        let (key, service) = self.signs(record)?;
        Ok(Voucher::sign(&key, service, replica, generation, core))
    }

    /// The administrator's word that `generation` has ended with `slot`, and that these are the trusted cores of the next one.
    ///
    /// # Errors
    /// As [`ServiceDir::voucher`].
    pub fn manifest(
        &self,
        record: &Record,
        generation: Generation,
        slot: Slot,
        cores: Vec<PublicKey>,
    ) -> Result<Manifest, ServiceError> {
        let (key, service) = self.signs(record)?;
        Ok(Manifest::sign(&key, service, generation, slot, cores))
    }

    /// What the administrator signs with, and for which service.
    fn signs(&self, record: &Record) -> Result<(IdentityKey, ServiceId), ServiceError> {
        let service = record.service.ok_or_else(|| ServiceError::NotBegun { name: self.name.clone() })?;
        Ok((IdentityKey::from_seed(&*seed_file(&self.path().join("admin.key"))?), service))
    }

    /// Removes everything about the service, keys included.
    ///
    /// # Errors
    /// What the system says.
    pub fn erase(&self) -> Result<(), ServiceError> {
        remove_tree(&self.path())
    }

    /// Puts what is there aside, for whoever wants to know why it failed; in place of what was put there before.
    /// Tells where.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_aside(&self) -> Result<PathBuf, ServiceError> {
        let failed = self.home.join("failed");
        files::private_dir(&failed)?;
        let path = failed.join(self.name.as_str());
        remove_tree(&path)?;
        fs::rename(self.path(), &path).map_err(|error| FileError::io(&path, error))?;
        Ok(path)
    }
}

fn remove_tree(path: &Path) -> Result<(), ServiceError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::io(path, error).into()),
        _ => Ok(()),
    }
}

/// Whether `path` still names the file that was opened.
fn is_at(file: &File, path: &Path) -> Result<bool, ServiceError> {
    let opened = file.metadata().map_err(|error| FileError::io(path, error))?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::io(path, error).into()),
    }
}

/// Held while something about a service changes. The system lets go of it when its holder dies.
#[derive(Debug)]
pub struct ServiceLock {
    file: File,
    path: PathBuf,
    /// The directory of the service.
    service: PathBuf,
}

impl Drop for ServiceLock {
    /// The lock's file goes with the service. It is removed while it is still locked, so that no two hold locks.
    fn drop(&mut self) {
        if !self.service.exists() && is_at(&self.file, &self.path).unwrap_or(false) {
            // An empty file that stays does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is kept of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this form; see [`Record::new`].
    version: u32,
    /// What was to be built.
    pub blueprint: Blueprint,
    /// The replicas, by index, as far as they have been started.
    pub replicas: Vec<ReplicaRecord>,
    /// Which service came of it, once all replicas were known.
    pub service: Option<ServiceId>,
    /// What the administrator signed of generations that lost their trusted cores, one for each.
    #[serde(default)]
    pub manifests: Vec<Manifest>,
    /// Whether it was told to stop, so that nobody brings its replicas back.
    #[serde(default)]
    pub stopped: bool,
    /// What clients need, once the service had its key. Without it the deployment has not ended.
    pub descriptor: Option<Descriptor>,
}

/// What is kept of a replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaRecord {
    /// How its provider knows it.
    pub handle: Handle,
    /// Who it is and where, once it has said so.
    pub public: Option<Public>,
    /// How often its process was started again.
    #[serde(default)]
    pub restarts: u32,
    /// The key of its trusted core that was vouched for since the last start.
    #[serde(default)]
    pub vouched: Option<PublicKey>,
}

impl Record {
    /// The same, after it was told to stop.
    #[must_use]
    pub fn stopped(mut self) -> Record {
        self.stopped = true;
        self
    }

    /// Of a service that is about to be built.
    #[must_use]
    pub fn new(blueprint: Blueprint) -> Record {
        Record {
            version: RECORD_VERSION,
            blueprint,
            replicas: Vec::new(),
            service: None,
            manifests: Vec::new(),
            stopped: false,
            descriptor: None,
        }
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Why what is kept of a service cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The environment names no place.
    #[error(
        "neither SMRCLOUD_HOME nor HOME is set, so there is no place to keep services in; set SMRCLOUD_HOME"
    )]
    NoHome,
    /// Somebody else changes it now.
    #[error("another command is changing the service `{name}` right now; wait for it to end")]
    Busy {
        /// Which.
        name: ServiceName,
    },
    /// It was never told how it begins.
    #[error("the service `{name}` never began")]
    NotBegun {
        /// Which.
        name: ServiceName,
    },
    /// A record that is something else.
    #[error("{path} is damaged or of another version: {error}")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The administrator's key.
    #[error(transparent)]
    Key(#[from] IdentityError),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use smr_plan::{Facts, ProtocolFact, Wish};

    pub(crate) fn blueprint(name: &str, faults: u16) -> Blueprint {
        let text = format!(
            "name = \"{name}\"\n[application]\nbuiltin = \"kv\"\n[wish]\nfaults = {faults}\n\
             against = \"byzantine\"\ndurability = \"memory\"\n"
        );
        let wish = Wish::parse(&text, "test.toml", &["kv"]).unwrap();
        let fact = |name: &str, per_fault, faults_max| ProtocolFact {
            name: name.to_owned(),
            model: smr_plan::FaultModel::Byzantine,
            per_fault,
            faults_max,
            strength: "it is there".to_owned(),
        };
        let facts = Facts { protocols: vec![fact("solo", 0, 0), fact("pbft", 3, 21)], cores: 4 };
        smr_plan::plan(&wish, &facts).unwrap()
    }

    #[test]
    fn a_record_reads_back_and_a_damaged_or_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        assert!(home.services().unwrap().is_empty());
        let name = ServiceName::new("kv").unwrap();
        let service = home.service(&name);
        assert!(service.record().unwrap().is_none());
        service.create().unwrap();
        let record = Record::new(blueprint("kv", 1));
        service.keep(&record).unwrap();
        assert_eq!(service.record().unwrap(), Some(record.clone()));
        assert_eq!(home.services().unwrap(), [name]);
        service.keep(&Record { version: 2, ..record }).unwrap();
        assert!(service.record().unwrap_err().to_string().contains("version 2"));
        fs::write(service.path().join("service.json"), "{").unwrap();
        assert!(matches!(service.record(), Err(ServiceError::Damaged { .. })));
    }

    #[test]
    fn two_do_not_change_a_service_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let service = Home::at(dir.path().join("home")).service(&ServiceName::new("kv").unwrap());
        let lock = service.lock().unwrap();
        assert!(matches!(service.lock(), Err(ServiceError::Busy { .. })));
        drop(lock);
        service.lock().unwrap();
    }

    #[test]
    fn the_file_of_a_lock_stays_with_the_service_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let service = Home::at(dir.path().join("home")).service(&ServiceName::new("kv").unwrap());
        let file = dir.path().join("home/locks/kv");
        service.create().unwrap();
        drop(service.lock().unwrap());
        assert!(file.exists());
        let lock = service.lock().unwrap();
        service.erase().unwrap();
        drop(lock);
        assert!(!file.exists());
        // Whoever has a file that is gone from its name does not hold the lock.
        let lock = service.lock().unwrap();
        fs::remove_file(&file).unwrap();
        File::create(&file).unwrap();
        assert!(!is_at(&lock.file, &file).unwrap());
    }

    #[test]
    fn what_failed_is_put_aside_and_what_is_erased_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let service = Home::at(dir.path().join("home")).service(&ServiceName::new("kv").unwrap());
        service.erase().unwrap();
        for _ in 0..2 {
            service.create().unwrap();
            assert!(service.put_aside().unwrap().join("replicas").exists());
        }
        service.create().unwrap();
        let key = service.administrator().unwrap().public();
        assert_eq!(service.administrator().unwrap().public(), key);
        service.erase().unwrap();
        assert!(!service.exists());
    }
}
