//! All of the state after a slot, as it is certified, kept, sent and installed: in chunks under a Merkle tree.
//!
//! ```text
//!   digest of a checkpoint = H(how many chunks, root of their tree)
//!   chunks: the system's state, in one or more | what the application's host keeps | the application's
//! ```
//!
//! Chunks of tables are the memory in which the application has them, until they are written; so a state that is kept costs
//! what has changed since.

use smr_app::state::Chunk;
use smr_crypto::{Digest, merkle};

use crate::system::SystemState;

/// A state in chunks, with the tree that proves each.
#[derive(Clone, Debug)]
pub struct Chunked {
    chunks: Vec<Chunk>,
    tree: merkle::Tree,
}

/// Leaves of the tree are sent in blocks of `2^BLOCK_HEIGHT`: 128 KiB.
pub const BLOCK_HEIGHT: u32 = 12;

/// What a checkpoint certifies of a state in so many chunks under this root.
#[must_use]
pub fn digest(count: u32, root: &Digest) -> Digest {
    Digest::of("SMRCLOUD-STATE-V1", &[&count.to_le_bytes(), &root.0])
}

impl Chunked {
    /// The state of a service, of which the application has these chunks. Hashes what was not hashed before.
    #[must_use]
    pub fn new(system: &SystemState, application: Vec<Chunk>) -> Chunked {
        let mut chunks = Chunk::before_others(&smr_wire::encode(system));
        chunks.extend(application);
        Chunked::of_chunks(chunks)
    }

    /// A state that is in chunks. Hashes those that were not hashed before.
    #[must_use]
    pub fn of_chunks(chunks: Vec<Chunk>) -> Chunked {
        let tree = merkle::Tree::new(chunks.iter().map(Chunk::digest).collect());
        Chunked { chunks, tree }
    }

    /// What a checkpoint certifies.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest(self.count(), &self.root())
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// How many chunks there are; at least one.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.tree.count()
    }

    /// All of them, in order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The system's state, and the application's chunks.
    ///
    /// # Errors
    /// In words, if that is no state: if it was certified, this replica runs another version than others.
    pub fn read(&self) -> Result<(SystemState, Vec<Chunk>), String> {
        let (bytes, application) =
            Chunk::split_others(&self.chunks).ok_or("it does not begin with the state of a system")?;
        let system = smr_wire::decode(&bytes, bytes.len()).map_err(|error| error.to_string())?;
        Ok((system, application.to_vec()))
    }

    /// A block of the tree's leaves, and its path.
    #[must_use]
    pub fn leaves(&self, block: u32) -> Option<(Vec<Digest>, merkle::Path)> {
        let (leaves, path) = self.tree.block(BLOCK_HEIGHT, block)?;
        Some((leaves.to_vec(), path))
    }
}
