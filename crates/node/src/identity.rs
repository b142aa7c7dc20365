//! A replica's secrets: made on its machine from the system's source of chance, kept in its data directory, never
//! sent, never logged.
//!
//! ```text
//!   identity.seed    signs what the replica says
//!   channel.seed     proves its channels
//!   decryption.seed  opens the shares of the service key encrypted to it
//!   dealing.seed     what its dealings are made from
//! ```
//!
//! The key of its trusted core is none of them: `trusted` has it made anew for each run, and it is kept nowhere.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smr_client::connect::tls::ChannelKey;
use smr_consensus::ProtocolName;
use smr_crypto::boot::Evidence;
use smr_crypto::dkg::{DealingSeed, DecryptionKey, EncryptionKey};
use smr_crypto::{IdentityKey, PublicKey};
use smr_replica::{Member, Secrets};
use smr_wire::client::FaultModel;
use zeroize::Zeroizing;

use crate::files::{self, FileError, Secrecy};
use crate::trusted::Born;

/// Who a replica is. The files behind it have mode 0600 in a directory of mode 0700.
pub struct Identity {
    identity: Arc<IdentityKey>,
    channel: ChannelKey,
    decryption: Arc<DecryptionKey>,
    dealing_seed: DealingSeed,
}

impl Identity {
    /// Opens the identity kept in `dir`; makes what is not there yet.
    ///
    /// # Errors
    /// A file or directory that others may read, or that is not a seed, or what the system says.
    pub fn create_or_open(dir: &Path) -> Result<Identity, IdentityError> {
        files::private_dir(dir)?;
        Ok(Identity {
            identity: Arc::new(IdentityKey::from_seed(&*seed(dir, "identity.seed")?)),
            channel: ChannelKey::from_seed(&*seed(dir, "channel.seed")?),
            decryption: Arc::new(DecryptionKey::from_seed(&*seed(dir, "decryption.seed")?)),
            dealing_seed: DealingSeed(*seed(dir, "dealing.seed")?),
        })
    }

    /// The public half, for a replica that listens at `address` and has this core.
    #[must_use]
    pub fn public(&self, core: &Born, address: &str) -> Public {
        Public {
            identity: self.identity.public(),
            channel: self.channel.public(),
            encryption: self.decryption.public(),
            core: core.key(),
            boot: core.status().boot.clone(),
            address: address.to_owned(),
        }
    }

    /// The key of its channels.
    #[must_use]
    pub fn channel(&self) -> &ChannelKey {
        &self.channel
    }

    /// The key that signs what it says.
    #[must_use]
    pub fn identity(&self) -> &Arc<IdentityKey> {
        &self.identity
    }

    /// What the replica's value needs of it.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets {
            identity: self.identity.clone(),
            decryption: self.decryption.clone(),
            dealing_seed: self.dealing_seed.clone(),
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity(of {:?})", self.identity.public())
    }
}

/// The public half of an [`Identity`] and where the replica listens: a [`Member`] before there is a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// Signs what it says.
    pub identity: PublicKey,
    /// Proves its channels.
    pub channel: PublicKey,
    /// Shares of the service key are encrypted to it.
    pub encryption: EncryptionKey,
    /// Its trusted core signs with it, in a protocol that counts on one. Of this run only: a core that was lost with its
    /// memory does not come back.
    pub core: PublicKey,
    /// What a TPM says of the boot in which that key was made, where it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Evidence>,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl Public {
    /// A member of a service that runs `protocol`, which counts on its core or does not.
    #[must_use]
    pub fn member(self, protocol: ProtocolName) -> Member {
        let hybrid = protocol.profile().model == FaultModel::Hybrid;
        Member {
            identity: self.identity,
            channel: self.channel,
            encryption: self.encryption,
            core: Some(self.core).filter(|_| hybrid),
            address: self.address,
        }
    }
}

/// Makes an Ed25519 seed and keeps it at `path`, or opens the one that is there: the administrator's key of a
/// service is such a seed, too.
///
/// # Errors
/// As [`Identity::create_or_open`].
pub fn seed_file(path: &Path) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    if let Some(bytes) = files::read_secret(path, 32)? {
        let bytes = Zeroizing::new(bytes);
        let seed = bytes.as_slice().try_into().map_err(|_| IdentityError::NoSeed { path: path.into() })?;
        return Ok(Zeroizing::new(seed));
    }
    let seed = fresh_seed()?;
    files::write_atomically(path, &*seed, Secrecy::Secret)?;
    Ok(seed)
}

/// A seed for a key that nobody else can have.
pub(crate) fn fresh_seed() -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| IdentityError::Chance(error.to_string()))?;
    Ok(seed)
}

fn seed(dir: &Path, name: &str) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    seed_file(&dir.join(name))
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that was not written here.
    #[error("{path} is not a seed of 32 bytes; a replica whose keys are lost has to be replaced")]
    NoSeed {
        /// Which.
        path: std::path::PathBuf,
    },
    /// The system gives no chance.
    #[error("the system's random source fails: {0}")]
    Chance(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trusted::Backing;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_survives_being_opened_again_and_no_two_are_alike() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (a.path().join("r"), b.path().join("r"));
        let core = Born::start(&Backing::InProcess).unwrap();
        let public = |dir| Identity::create_or_open(dir).unwrap().public(&core, "x:1");
        let first = public(&a);
        assert_eq!(public(&a), first);
        let other = public(&b);
        assert_ne!((other.identity, other.channel), (first.identity, first.channel));
        assert_ne!(first.identity, first.channel);
    }

    #[test]
    fn secrets_that_others_may_read_or_that_are_damaged_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("r");
        Identity::create_or_open(&dir).unwrap();
        let path = dir.join("channel.seed");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Identity::create_or_open(&dir), Err(IdentityError::File(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [0; 31]).unwrap();
        assert!(matches!(Identity::create_or_open(&dir), Err(IdentityError::NoSeed { .. })));
    }
}
