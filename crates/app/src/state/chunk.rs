//! A part of a checkpoint.

use std::fmt;
use std::sync::Arc;

use smr_crypto::Digest;

use super::page::Page;

/// Bytes of a chunk of what is no page: an application's own snapshot, and what a host keeps beside it.
pub const PIECE_BYTES: usize = 64 << 10;

/// Bytes of the number of pieces.
const COUNT_BYTES: usize = 4;

/// A part of a checkpoint: bytes, and their digest as a leaf of a Merkle tree ([`smr_crypto::merkle::leaf`]). Cheap to
/// clone. Chunks of tables are the memory in which the table is, until somebody writes there.
#[derive(Clone)]
pub struct Chunk(Arc<Page>);

impl Chunk {
    /// These bytes, from a peer or a disk.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Chunk {
        Chunk(Arc::new(Page::of_bytes(bytes)))
    }

    /// In pieces of [`PIECE_BYTES`], the last one shorter.
    pub(super) fn pieces(bytes: &[u8]) -> Vec<Chunk> {
        bytes.chunks(PIECE_BYTES).map(|piece| Chunk::new(piece.to_vec())).collect()
    }

    /// Bytes that stand before other chunks: in pieces, whose number stands before the first.
    ///
    /// # Panics
    /// If there are 2^32 pieces or more.
    #[must_use]
    pub fn before_others(bytes: &[u8]) -> Vec<Chunk> {
        let pieces = (COUNT_BYTES + bytes.len()).div_ceil(PIECE_BYTES);
        let pieces = u32::try_from(pieces).expect("what stands before others is small");
        Chunk::pieces(&[&pieces.to_le_bytes(), bytes].concat())
    }

    /// What [`Chunk::before_others`] was made from, and the others; none if these are no such chunks.
    #[must_use]
    pub fn split_others(chunks: &[Chunk]) -> Option<(Vec<u8>, &[Chunk])> {
        let count = u32::from_le_bytes(*chunks.first()?.bytes().first_chunk()?);
        let count = usize::try_from(count).ok().filter(|count| *count > 0)?;
        let (pieces, others) = chunks.split_at_checked(count)?;
        let bytes = pieces.iter().map(Chunk::bytes).collect::<Vec<_>>().concat();
        Some((bytes[COUNT_BYTES..].to_vec(), others))
    }

    pub(super) fn of_page(page: &Arc<Page>) -> Chunk {
        Chunk(Arc::clone(page))
    }

    pub(super) fn page(&self) -> &Arc<Page> {
        &self.0
    }

    /// Whether the memory still holds what the digest was computed of, if it was.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.0.is_sound()
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The digest; computed when it is first asked for.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest()
    }

    /// Whether both are the same memory, so that keeping both costs no more than one.
    #[must_use]
    pub fn is(&self, other: &Chunk) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Chunk) -> bool {
        self.is(other) || self.bytes() == other.bytes()
    }
}

impl Eq for Chunk {}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes, {})", self.bytes().len(), self.digest())
    }
}
