//! Where a replica's promises are kept before they leave: on the disk of its machine, or nowhere.
//!
//! ```text
//!   core --Persist--> log thread: a group of records with each sync --> Progress: what waited at the gate leaves
//!        --Keep-----> chores' thread: states, beside it --> Event::Kept
//! ```
//!
//! [`files`] is a directory as `smr-store` wants its disk, [`writer`] the threads, `keeper` what the core knows of them.

pub mod files;
mod keeper;
pub mod writer;

use std::path::{Path, PathBuf};

use smr_app::state::Chunk;
use smr_consensus::Record;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_crypto::Digest;
use smr_replica::{Chunked, Found, Genesis};
use smr_store::{Disk as _, FoundCheckpoint, OpenError, Store, StoreConfig, StoreError};
use smr_wire::ReplicaId;
use tracing::{info, warn};

use self::files::{Files, FilesError};
pub(crate) use self::keeper::{Keeper, Progress};
use crate::files::FileError;

/// Its directory in a replica's.
const STORE_DIR: &str = "store";

/// Bytes of a segment of the log at least; twice as many records of the largest size fit into each.
const SEGMENT_BYTES_MIN: u64 = 16 << 20;

/// Segments of the log beside those for batches: votes, proofs, and what each prune leaves unused.
const SEGMENTS_BESIDE: u64 = 64;

/// Bytes of a record beside its batch at most: votes and proofs.
const PROOF_BYTES_MAX: usize = 4 << 20;

/// A store that was opened, and what was in it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store<Files>,
    pub(crate) found: Found,
}

/// Why what a replica is bound to cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Its directory.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What was there is gone.
    #[error(
        "the replica in {0} has run before, but its disk is empty: what it promised is lost, and with it gone it could \
         contradict itself. Put its {STORE_DIR} back, or replace this replica"
    )]
    Gone(PathBuf),
    /// What is there is damaged, or of another replica.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something is written that this program does not understand.
    #[error("what is in {dir} was written by another version of this program: {error}")]
    Foreign {
        /// Where.
        dir: PathBuf,
        /// What is not understood.
        error: String,
    },
    /// No salt.
    #[error("the system gives no random numbers: {0}")]
    Chance(String),
}

/// Opens the store in a replica's directory. One that `has_run` must find something.
pub(crate) fn open(dir: &Path, genesis: &Genesis, me: ReplicaId, has_run: bool) -> Result<Opened, DiskError> {
    let dir = dir.join(STORE_DIR);
    let files = Files::open(&dir)?;
    // Before anything is made: the next start would find that.
    let listed = files.list().map_err(|error| FilesError::from(FileError::io(&dir, error)))?;
    if has_run && listed.is_empty() {
        return Err(DiskError::Gone(dir));
    }
    let owner = Digest::of_value("SMRCLOUD-STORE-OWNER-V1", &(genesis.service(), me));
    let (store, found) = Store::open(files, config(genesis)?, &owner.0)?;
    if let Some(torn) = &found.torn {
        info!(%torn, "what was not durable when this replica stopped is cut off");
    }
    for damage in &found.skipped {
        warn!(%damage, "a state is damaged; the one before is used");
    }
    let foreign = |error: String| DiskError::Foreign { dir: dir.clone(), error };
    let records = found.records.iter().map(|bytes| smr_wire::decode::<Record>(bytes, bytes.len()));
    let records = records.collect::<Result<Vec<_>, _>>().map_err(|error| foreign(error.to_string()))?;
    let checkpoint = newest_state(&store, &found.checkpoints)?.map_err(&foreign)?;
    info!(
        records = records.len(),
        state = checkpoint.as_ref().map_or(0, |(certificate, _)| certificate.checkpoint.slot.0),
        "opened the store"
    );
    Ok(Opened { store, found: Found { checkpoint, records } })
}

fn config(genesis: &Genesis) -> Result<StoreConfig, DiskError> {
    let salt = getrandom::u64().map_err(|error| DiskError::Chance(error.to_string()))?;
    let limits = &genesis.config.consensus;
    let record_bytes_max = limits.batch_bytes_max as usize + PROOF_BYTES_MAX;
    let segment_bytes = (2 * record_bytes_max as u64).next_multiple_of(4096).max(SEGMENT_BYTES_MIN);
    // Voting ends a log above the last state that is on disk, and the log here reaches back to the one before. A slot may be
    // voted for in several views, so this is room for each as large as can be, twice.
    let slots = 2 * (limits.log_slots_max + genesis.config.checkpoint_slots);
    let segments = (slots * u64::from(limits.batch_bytes_max)).div_ceil(segment_bytes) + SEGMENTS_BESIDE;
    let segments_max = usize::try_from(segments).unwrap_or(usize::MAX);
    let config = StoreConfig::with_salt(salt);
    Ok(StoreConfig { record_bytes_max, segment_bytes, segments_max, ..config })
}

type State = (CheckpointCertificate, Chunked);

/// The newest state that is the one which its certificate is for: memory may have failed before one was written. Behind the
/// last one there is another, with the log from there on.
fn newest_state(
    store: &Store<Files>,
    found: &[FoundCheckpoint],
) -> Result<Result<Option<State>, String>, StoreError> {
    let mut wrong = None;
    for checkpoint in found {
        match read_state(store, checkpoint)? {
            Ok(state) => return Ok(Ok(Some(state))),
            Err(error) => {
                warn!(slot = checkpoint.slot, %error, "a state on disk is not used");
                wrong.get_or_insert(error);
            }
        }
    }
    Ok(wrong.map_or(Ok(None), Err))
}

/// Reads a state, whose checksums were verified when it was found.
fn read_state(store: &Store<Files>, found: &FoundCheckpoint) -> Result<Result<State, String>, StoreError> {
    let certificate = smr_wire::decode::<CheckpointCertificate>(&found.header, found.header.len());
    let certificate = match certificate {
        Ok(certificate) => certificate,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let chunks = (0..found.chunks()).map(|index| found.chunk(store.disk(), index).map(Chunk::new));
    let state = Chunked::of_chunks(chunks.collect::<Result<_, _>>()?);
    if state.digest() != certificate.checkpoint.digest {
        return Ok(Err(
            "its bytes are not those that were certified: memory may have failed before they were written"
                .to_owned(),
        ));
    }
    Ok(Ok((certificate, state)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::genesis;

    #[test]
    fn one_that_has_run_is_refused_an_empty_disk_however_often_it_tries() {
        let (dir, genesis) = (tempfile::tempdir().unwrap(), genesis());
        let open = |has_run| open(dir.path(), &genesis, ReplicaId(1), has_run);
        for _ in 0..3 {
            assert!(matches!(open(true), Err(DiskError::Gone(_))));
        }
        drop(open(false).unwrap());
        assert_eq!(open(true).unwrap().found.records, []);
    }
}
