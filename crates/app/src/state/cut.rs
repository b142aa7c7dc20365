//! The state at one place of the order, and the chunks that a checkpoint holds of it.
//!
//! ```text
//!   commands at rest --cut--> Cut --chunks, on any thread--> [Chunk, Chunk, ...]
//!                     |        the pages as they were; who writes one copies it first
//!                     commands run again at once (`rolling`) or when the chunks are there (`quiescent`)
//! ```
//!
//! A page that nobody has written since the cut before is the same chunk, with the digest that it has. Memory may
//! fail: at each cut a share of these pages is hashed again, all of them within [`SOUND_WITHIN_CUTS`].

use std::fmt;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Digest;

use super::chunk::Chunk;
use super::page::Page;
use super::stripes::Stripes;
use super::tree::Tree;
use crate::application::RestoreError;
use crate::known_bugs;

/// Cuts within which each page that is not written is hashed again. Fewer finds faults of the memory sooner, and
/// makes each cut hash more of what has not changed.
pub const SOUND_WITHIN_CUTS: u64 = 64;

/// Memory does not hold any more what was written to it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("memory has failed: a page of table {table} does not have the bytes that were written to it")]
pub struct Damaged {
    /// Of the application's state.
    pub table: String,
}

/// The state at one place of the order, while commands go on. Keeps the pages of that place in memory until it is
/// dropped with all of its clones; the next cut of the same host waits for that.
#[derive(Clone)]
pub struct Cut {
    /// What a host puts before the application's.
    before: Option<Before>,
    parts: Arc<Parts>,
    /// Dropped last, when the pages are no longer kept.
    _held: Option<Arc<Held>>,
}

enum Parts {
    Tables { tables: Vec<TableCut>, number: u64 },
    Own(Vec<u8>),
}

struct TableCut {
    stripes: Arc<Stripes>,
    trees: Vec<Tree>,
}

/// Makes the chunks that come first.
type Before = Arc<dyn Fn() -> Vec<Chunk> + Send + Sync>;

/// Says when the last clone is gone.
struct Held(Box<dyn Fn() + Send + Sync>);

impl Drop for Held {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Cut {
    /// Of an application that writes its snapshots itself.
    #[must_use]
    pub fn of_snapshot(bytes: Vec<u8>) -> Cut {
        Cut { before: None, parts: Arc::new(Parts::Own(bytes)), _held: None }
    }

    pub(super) fn of_tables<'a>(tables: impl Iterator<Item = &'a Arc<Stripes>>, number: u64) -> Cut {
        let cut =
            |stripes: &Arc<Stripes>| TableCut { trees: stripes.at_rest(), stripes: Arc::clone(stripes) };
        let parts = Parts::Tables { tables: tables.map(cut).collect(), number };
        Cut { before: None, parts: Arc::new(parts), _held: None }
    }

    /// The same with chunks before its own; `done` is called when all clones are gone.
    pub(crate) fn within(
        self,
        before: impl Fn() -> Vec<Chunk> + Send + Sync + 'static,
        done: impl Fn() + Send + Sync + 'static,
    ) -> Cut {
        Cut { before: Some(Arc::new(before)), _held: Some(Arc::new(Held(Box::new(done)))), ..self }
    }

    /// The chunks of the whole checkpoint, in order, with their digests computed.
    ///
    /// # Errors
    /// [`Damaged`]: the state in memory is not the one that the order of commands has led to.
    pub fn chunks(self) -> Result<Vec<Chunk>, Damaged> {
        let mut chunking = self.chunking();
        loop {
            if let Some(chunks) = chunking.step(usize::MAX)? {
                return Ok(chunks);
            }
        }
    }

    /// The same in steps, for whoever has something else to do between.
    #[must_use]
    pub fn chunking(self) -> Chunking {
        let mut chunks = self.before.as_ref().map_or_else(Vec::new, |before| before());
        let first = chunks.len();
        match &*self.parts {
            Parts::Own(bytes) => chunks.extend(Chunk::pieces(bytes)),
            Parts::Tables { tables, .. } => {
                let late = known_bugs::CUT_SEES_LATER_VALUES.is_on();
                let trees: Vec<Vec<Tree>> = tables
                    .iter()
                    .map(|table| if late { table.stripes.at_rest() } else { table.trees.clone() })
                    .collect();
                chunks.push(head(tables, &trees));
                chunks.extend(trees.iter().flatten().flat_map(Tree::pages).map(Chunk::of_page));
            }
        }
        Chunking { cut: self, first, chunks, next: 0 }
    }
}

impl PartialEq for Cut {
    fn eq(&self, other: &Cut) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }
}

impl Eq for Cut {}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").finish_non_exhaustive()
    }
}

/// A state that a host has given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// In chunks.
    Chunks(Vec<Chunk>),
    /// To be made into chunks while commands go on, on another thread.
    Cut(Cut),
}

impl Taken {
    /// The chunks, with their digests computed.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn chunks(self) -> Result<Vec<Chunk>, Damaged> {
        match self {
            Taken::Chunks(chunks) => Ok(chunks),
            Taken::Cut(cut) => cut.chunks(),
        }
    }
}

/// A cut on its way to chunks.
#[derive(Debug)]
pub struct Chunking {
    cut: Cut,
    /// The first chunk that is the application's.
    first: usize,
    chunks: Vec<Chunk>,
    next: usize,
}

impl Chunking {
    /// Hashes what has changed, and the share of the rest whose turn it is, up to `bytes_max` and at least one chunk.
    /// All chunks once there is nothing left to do, none before.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn step(&mut self, bytes_max: usize) -> Result<Option<Vec<Chunk>>, Damaged> {
        let mut bytes = 0;
        while let Some(page) = self.chunks.get(self.next).map(Chunk::page) {
            if bytes >= bytes_max {
                return Ok(None);
            }
            self.next += 1;
            bytes += match page.known_digest() {
                None => {
                    page.digest();
                    page.bytes().len()
                }
                Some(digest) if self.cut.checks(digest) => {
                    if !page.is_sound() {
                        return Err(Damaged { table: self.table_of(self.next - 1) });
                    }
                    page.bytes().len()
                }
                Some(_) => 0,
            };
        }
        Ok(Some(std::mem::take(&mut self.chunks)))
    }

    /// To which table a chunk belongs.
    fn table_of(&self, chunk: usize) -> String {
        let Parts::Tables { tables, .. } = &*self.cut.parts else { return String::new() };
        let mut first = self.first + 1;
        for TableCut { stripes, trees } in tables {
            first += trees.iter().map(|tree| tree.pages().count()).sum::<usize>();
            if chunk < first {
                return stripes.name.clone();
            }
        }
        String::new()
    }
}

impl Cut {
    /// Whether it is the turn of a page with this digest to be hashed again. It follows from the digest, so it comes
    /// every so many cuts as long as the page is not written, however many pages there are before it.
    fn checks(&self, digest: Digest) -> bool {
        let Parts::Tables { number, .. } = &*self.parts else { return false };
        u64::from(digest.0[0]) % SOUND_WITHIN_CUTS == number % SOUND_WITHIN_CUTS
    }
}

/// What a table's chunks are to it.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct TableHead {
    pub(super) name: String,
    /// How many pages each block has, for each stripe.
    pub(super) blocks: Vec<Vec<u32>>,
}

fn head(tables: &[TableCut], trees: &[Vec<Tree>]) -> Chunk {
    let heads = tables.iter().zip(trees).map(|(table, trees)| TableHead {
        name: table.stripes.name.clone(),
        blocks: trees.iter().map(Tree::blocks).collect(),
    });
    let heads: Vec<TableHead> = heads.collect();
    Chunk::new(borsh::to_vec(&heads).expect("writing to memory cannot fail"))
}

/// The heads of the tables, and their pages one after the other.
pub(super) fn read(chunks: &[Chunk]) -> Result<(Vec<TableHead>, Vec<Arc<Page>>), RestoreError> {
    let (head, pages) = chunks.split_first().ok_or_else(|| RestoreError::new("it has no chunk"))?;
    let heads = borsh::from_slice(head.bytes()).map_err(|error| RestoreError::new(error.to_string()))?;
    Ok((heads, pages.iter().map(|chunk| Arc::clone(chunk.page())).collect()))
}
