//! The ordered entries of a stripe: pages, in blocks, all shared by whoever holds a copy of the tree. To copy a tree
//! is to count one more holder; whoever writes then copies the way to what it writes, once.
//!
//! ```text
//!   Tree -- [Block, Block, ...] -- [Page, Page, ...]     up to BLOCK_PAGES_MAX pages to a block
//! ```
//!
//! Where one page ends and the next begins depends on the history of the entries, not on their set; so does the end of
//! a block. Both are part of the state: a checkpoint has a chunk for each page and names the lengths of blocks.

use std::ops::Bound;
use std::sync::Arc;

use super::page::{Page, Put};
use super::run::{First, Run};

/// Pages of a block at most. The first write after a cut copies the list of its block's pages and that of the blocks: more
/// makes the one longer, fewer the other.
pub(super) const BLOCK_PAGES_MAX: usize = 256;

/// Entries and the bytes of their keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// How many.
    pub entries: u64,
    /// Bytes of their keys and values, as they are encoded.
    pub bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    blocks: Arc<Run<Block>>,
    load: Load,
}

/// Never without pages, and no page without entries.
type Block = Run<Page>;

impl First for Page {
    fn first_key(&self) -> &[u8] {
        Page::first_key(self)
    }
}

/// Where a page is.
#[derive(Clone, Copy)]
struct At {
    block: usize,
    page: usize,
}

impl Tree {
    /// The tree of these pages, whose entries ascend, in blocks of so many. None if a block would have none or too
    /// many.
    pub(super) fn of_pages(pages: &[Arc<Page>], blocks: &[u32]) -> Option<Tree> {
        let mut load = Load::default();
        for (key, value) in pages.iter().flat_map(|page| (0..page.count()).map(|index| page.entry(index))) {
            load.entries += 1;
            load.bytes += bytes_of(key, value);
        }
        let (mut rest, mut made) = (pages, Vec::with_capacity(blocks.len()));
        for count in blocks {
            let count = usize::try_from(*count).ok().filter(|count| (1..=BLOCK_PAGES_MAX).contains(count))?;
            let (block, after) = rest.split_at_checked(count)?;
            made.push(Arc::new(Run::new(block.to_vec())));
            rest = after;
        }
        rest.is_empty().then(|| Tree { blocks: Arc::new(Run::new(made)), load })
    }

    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// How many pages each block has.
    pub(super) fn blocks(&self) -> Vec<u32> {
        let count = |block: &Arc<Block>| u32::try_from(block.items().len()).expect("few pages");
        self.blocks.items().iter().map(count).collect()
    }

    /// All pages, in order.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Arc<Page>> {
        self.blocks.items().iter().flat_map(|block| block.items())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let page = self.page(self.find(key)?);
        page.search(key).ok().map(|index| page.entry(index).1)
    }

    /// Puts an entry in, or another value to its key. Nothing is written if it has that value already.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) {
        let Some(at) = self.find(key) else {
            let block = Run::new(vec![Arc::new(Page::new(key, value))]);
            self.blocks = Arc::new(Run::new(vec![Arc::new(block)]));
            self.load = Load { entries: 1, bytes: bytes_of(key, value) };
            return;
        };
        let page = self.page(at);
        let found = page.search(key);
        let old = found.ok().map(|index| page.entry(index).1);
        if old == Some(value) {
            return;
        }
        let before = old.map_or(0, |old| bytes_of(key, old));
        self.load.entries += u64::from(old.is_none());
        self.load.bytes += bytes_of(key, value);
        self.load.bytes -= before;
        match Page::put(self.page_mut(at), found, key, value) {
            Put::InPlace => {
                if found == Err(0) {
                    self.renew(at);
                }
                self.merge(at);
            }
            Put::CutUp(pages) => self.replace(at, pages),
        }
    }

    /// Whether there was such an entry.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(at) = self.find(key) else { return false };
        let page = self.page(at);
        let Ok(index) = page.search(key) else { return false };
        let (bytes, alone) = (bytes_of(key, page.entry(index).1), page.count() == 1);
        self.load = Load { entries: self.load.entries - 1, bytes: self.load.bytes - bytes };
        if !alone {
            Page::remove(self.page_mut(at), index);
            if index == 0 {
                self.renew(at);
            }
            self.merge(at);
        } else {
            self.replace(at, Vec::new());
        }
        true
    }

    /// The entries from a bound on, in order.
    pub(super) fn from(&self, start: Bound<&[u8]>) -> Entries<'_> {
        let mut entries = Entries { tree: self, at: At { block: 0, page: 0 }, index: 0 };
        if let Bound::Included(key) | Bound::Excluded(key) = start
            && let Some(at) = self.find(key)
        {
            entries.at = at;
            entries.index = match self.page(at).search(key) {
                Ok(index) if matches!(start, Bound::Excluded(_)) => index + 1,
                Ok(index) | Err(index) => index,
            };
        }
        entries
    }

    /// The page in which `key` is, if anywhere.
    fn find(&self, key: &[u8]) -> Option<At> {
        let block = self.blocks.find(key);
        let page = self.blocks.items().get(block)?.find(key);
        Some(At { block, page })
    }

    fn page(&self, at: At) -> &Page {
        &self.blocks.items()[at.block].items()[at.page]
    }

    fn page_mut(&mut self, at: At) -> &mut Arc<Page> {
        self.block_mut(at.block).item_mut(at.page)
    }

    fn block_mut(&mut self, block: usize) -> &mut Block {
        Arc::make_mut(Arc::make_mut(&mut self.blocks).item_mut(block))
    }

    /// A page has another first key.
    fn renew(&mut self, at: At) {
        self.block_mut(at.block).renew(at.page);
        if at.page == 0 {
            Arc::make_mut(&mut self.blocks).renew(at.block);
        }
    }

    /// Makes a page that is short one with a neighbour in its block.
    fn merge(&mut self, at: At) {
        let pages = self.blocks.items()[at.block].items();
        if !pages[at.page].is_short() {
            return;
        }
        for left in [Some(at.page), at.page.checked_sub(1)].into_iter().flatten() {
            let Some(right) = pages.get(left + 1) else { continue };
            if let Some(merged) = Page::merged(&pages[left], right) {
                self.block_mut(at.block).splice(left..left + 2, vec![Arc::new(merged)]);
                return;
            }
        }
    }

    /// These pages stand where that one did.
    fn replace(&mut self, at: At, pages: Vec<Arc<Page>>) {
        let block = self.block_mut(at.block);
        block.splice(at.page..=at.page, pages);
        let len = block.items().len();
        let right = (len > BLOCK_PAGES_MAX).then(|| block.split_off(len / 2));
        let blocks = Arc::make_mut(&mut self.blocks);
        if len == 0 {
            blocks.splice(at.block..=at.block, Vec::new());
            return;
        }
        if at.page == 0 {
            blocks.renew(at.block);
        }
        if let Some(right) = right {
            blocks.splice(at.block + 1..at.block + 1, vec![Arc::new(right)]);
        }
    }
}

fn bytes_of(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Entries of a tree, from one on.
pub(super) struct Entries<'a> {
    tree: &'a Tree,
    at: At,
    index: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let block = self.tree.blocks.items().get(self.at.block)?;
            let Some(page) = block.items().get(self.at.page) else {
                self.at = At { block: self.at.block + 1, page: 0 };
                continue;
            };
            if self.index < page.count() {
                self.index += 1;
                return Some(page.entry(self.index - 1));
            }
            self.at.page += 1;
            self.index = 0;
        }
    }
}

/// What a fault of the memory does, for tests that see it found.
impl Tree {
    /// Flips a bit of the memory in which a page is, counted round; false if there is none.
    pub(super) fn flip(&mut self, page: usize, bit: usize) -> bool {
        let count: usize = self.blocks.items().iter().map(|block| block.items().len()).sum();
        let mut page = page.checked_rem(count).unwrap_or_default();
        for block in 0..self.blocks.items().len() {
            let len = self.blocks.items()[block].items().len();
            if page < len {
                let page = self.page_mut(At { block, page });
                *page = Arc::new(page.flipped(bit));
                return true;
            }
            page -= len;
        }
        false
    }
}
