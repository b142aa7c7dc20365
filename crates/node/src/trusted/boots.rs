//! Evidence of the boots of all members, which whoever deploys puts beside the genesis. Each replica checks all of it before
//! it takes its place: the keys of cores are in the genesis, so nobody need be trusted for where the evidence came from.

use std::path::{Path, PathBuf};

use smr_crypto::PublicKey;
use smr_crypto::boot::Evidence;
use smr_replica::Genesis;
use smr_wire::ReplicaId;

use super::tpm::statement;
use crate::files::{self, FileError};

/// Written by whoever deploys: what TPMs say of the boots of the members' cores, in the order of members.
pub const BOOTS_FILE: &str = "boots.json";

/// Bytes of [`BOOTS_FILE`] at most.
const BOOTS_BYTES_MAX: usize = 64 << 10;

/// Reads the evidence in `dir` and checks that a TPM certified the core of each member.
///
/// # Errors
/// There is none, or not for one of them.
pub fn check(dir: &Path, genesis: &Genesis) -> Result<Vec<Evidence>, BadBoots> {
    let path = dir.join(BOOTS_FILE);
    let bytes = files::read(&path, BOOTS_BYTES_MAX)?.ok_or_else(|| BadBoots::None { path: path.clone() })?;
    let boots: Vec<Evidence> = serde_json::from_slice(&bytes)
        .map_err(|error| BadBoots::Malformed { path: path.clone(), error: error.to_string() })?;
    let (found, members) = (boots.len(), genesis.members.len());
    if found != members {
        return Err(BadBoots::Count { path, found, members });
    }
    for (place, (member, boot)) in genesis.members.iter().zip(&boots).enumerate() {
        if !member.core.is_some_and(|core| certifies(boot, &member.identity, &core)) {
            return Err(BadBoots::Forged { replica: ReplicaId::at(place) });
        }
    }
    Ok(boots)
}

/// Whether the evidence is of this core of this replica.
#[must_use]
pub fn certifies(boot: &Evidence, replica: &PublicKey, core: &PublicKey) -> bool {
    boot.certifies(&statement(replica, core))
}

/// Why the boots of a service's cores are not certified.
#[derive(Debug, thiserror::Error)]
pub enum BadBoots {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no evidence.
    #[error(
        "this replica was told to count on TPMs, but nobody put evidence of the members' boots into {path}"
    )]
    None {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file that is something else.
    #[error("{path} is damaged or of another version: {error}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// Not one for each.
    #[error("{path} tells of {found} boots, but there are {members} members")]
    Count {
        /// Which.
        path: PathBuf,
        /// Boots that it tells of.
        found: usize,
        /// Members of the service.
        members: usize,
    },
    /// Evidence that is none.
    #[error("no TPM has certified the trusted core that {replica} is said to have")]
    Forged {
        /// Whose.
        replica: ReplicaId,
    },
}

#[cfg(test)]
mod tests;
