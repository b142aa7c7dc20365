//! The entries of a table behind its locks, as bytes: what all tables share, whatever their types.
//!
//! A lock guards a *stripe*: the entries whose keys have a certain hash. So neighbours in the order of keys rarely
//! meet at a lock, an entry needs none of its own, and whoever holds all stripes sees no entry come or go.

use std::sync::Arc;

use smr_uds::{Condvar, Mutex, MutexGuard};

use super::page::Page;
use super::tree::Tree;
use crate::application::RestoreError;
use crate::known_bugs;

/// Bytes of a key at most, as it is encoded.
pub const KEY_BYTES_MAX: usize = 1 << 16;

/// Bytes of a value at most, as it is encoded: an entry is never cut up, and a chunk of a checkpoint must fit into a message.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Stripes of a table at most.
pub const STRIPES_MAX: u32 = 1 << 10;

pub(super) struct Stripes {
    pub(super) name: String,
    stripes: Box<[Stripe]>,
    /// Whether bytes are a key and a value of the table's types.
    fits: fn(&[u8], &[u8]) -> bool,
}

pub(super) struct Stripe {
    pub(super) tree: Mutex<Tree>,
    /// Told when somebody says that an entry has changed.
    pub(super) changed: Condvar,
}

impl Stripes {
    pub(super) fn new(name: &str, count: u32, fits: fn(&[u8], &[u8]) -> bool) -> Stripes {
        assert!((1..=STRIPES_MAX).contains(&count), "table {name} has {count} stripes; 1..={STRIPES_MAX}");
        let stripe = |_| Stripe { tree: Mutex::default(), changed: Condvar::new() };
        Stripes { name: name.to_owned(), stripes: (0..count).map(stripe).collect(), fits }
    }

    pub(super) fn of(&self, key: &[u8]) -> &Stripe {
        &self.stripes[self.place_of(key)]
    }

    pub(super) fn at(&self, place: usize) -> &Stripe {
        &self.stripes[place]
    }

    /// Where a key belongs. FNV-1a: short, equal everywhere, and nobody gains by crowding one stripe but himself.
    pub(super) fn place_of(&self, key: &[u8]) -> usize {
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        usize::try_from((hash ^ (hash >> 32)) % self.stripes.len() as u64).expect("fewer than stripes")
    }

    /// All stripes, in their order.
    pub(super) async fn lock_all(&self) -> Vec<MutexGuard<'_, Tree>> {
        let mut all = Vec::with_capacity(self.stripes.len());
        for stripe in &self.stripes {
            all.push(stripe.tree.lock().await);
        }
        all
    }

    /// All entries at one moment.
    pub(super) async fn view(&self) -> Vec<Tree> {
        if known_bugs::STRIPES_SEEN_ONE_AFTER_THE_OTHER.is_on() {
            let mut trees = Vec::new();
            for stripe in &self.stripes {
                trees.push(stripe.tree.lock().await.clone());
            }
            return trees;
        }
        self.lock_all().await.iter().map(|tree| Tree::clone(tree)).collect()
    }

    /// All entries, while no command runs.
    pub(super) fn at_rest(&self) -> Vec<Tree> {
        self.stripes.iter().map(|stripe| stripe.tree.at_rest(|tree| tree.clone()).expect(AT_REST)).collect()
    }

    /// The trees of these pages, in blocks of so many for each stripe.
    pub(super) fn check(&self, pages: &[Arc<Page>], blocks: &[Vec<u32>]) -> Result<Vec<Tree>, RestoreError> {
        let wrong = |what: &str| RestoreError::new(format!("table {}: {what}", self.name));
        if blocks.len() != self.stripes.len() {
            return Err(wrong(&format!("{} stripes, not {}", blocks.len(), self.stripes.len())));
        }
        let (mut rest, mut trees) = (pages, Vec::with_capacity(blocks.len()));
        for (place, blocks) in blocks.iter().enumerate() {
            let count = blocks.iter().map(|count| *count as usize).sum();
            let (own, after) = rest.split_at_checked(count).ok_or_else(|| wrong("a chunk is missing"))?;
            self.check_pages(place, own).map_err(wrong)?;
            trees.push(Tree::of_pages(own, blocks).ok_or_else(|| wrong("no such blocks"))?);
            rest = after;
        }
        if rest.is_empty() { Ok(trees) } else { Err(wrong("too many chunks")) }
    }

    fn check_pages(&self, place: usize, pages: &[Arc<Page>]) -> Result<(), &'static str> {
        let mut last: Option<&[u8]> = None;
        for page in pages {
            if !page.is_well_formed() {
                return Err("a chunk is no page");
            }
            for (key, value) in (0..page.count()).map(|index| page.entry(index)) {
                if last.replace(key).is_some_and(|last| last >= key) {
                    return Err("its keys do not ascend");
                }
                if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
                    return Err("an entry is too long");
                }
                if self.place_of(key) != place {
                    return Err("a key is not where it belongs");
                }
                if !(self.fits)(key, value) {
                    return Err("an entry is not of its types");
                }
            }
        }
        Ok(())
    }

    /// Takes these trees for its own, while no command runs.
    pub(super) fn replace(&self, trees: Vec<Tree>) {
        for (stripe, new) in self.stripes.iter().zip(trees) {
            stripe.tree.at_rest(|tree| *tree = new).expect(AT_REST);
        }
    }

    /// Flips a bit of a page; false if there is none, or somebody holds the locks.
    pub(super) fn flip_bit(&self, draw: usize) -> bool {
        let (first, page, bit) = (draw % self.stripes.len(), draw / 11, draw / 13);
        let stripes = self.stripes.iter().cycle().skip(first).take(self.stripes.len());
        stripes.into_iter().any(|stripe| stripe.tree.at_rest(|tree| tree.flip(page, bit)) == Ok(true))
    }

    /// An empty tree for each stripe.
    pub(super) fn empty(&self) -> Vec<Tree> {
        vec![Tree::default(); self.stripes.len()]
    }
}

const AT_REST: &str = "no command runs meanwhile, and none leaks its guard";

impl std::fmt::Debug for Stripes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stripes").field("name", &self.name).finish_non_exhaustive()
    }
}
