//! Merkle trees over digests. Simple enough to check in any language:
//!
//! ```text
//!   leaf  = SHA-256(0x00 bytes)
//!   inner = SHA-256(0x01 left right)     a node without a right neighbour moves up unchanged
//!   empty = SHA-256(0x02)                the root of no leaves
//! ```
//!
//! The first byte keeps a leaf from being taken for an inner node (RFC 6962, section 2.1). The shape of a tree
//! follows from the number of its leaves alone, so a path either has exactly the siblings that its index and count
//! ask for or proves nothing. The count is not part of the root: a statement that others rely on names both.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// A tree with all of its nodes, so that a path is a few copies. About 64 bytes per leaf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// From the leaves up to the root; without leaves there are no levels.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over `leaves`, which are digests made by [`leaf`]. About 0.25 us per leaf.
    ///
    /// # Panics
    /// If there are 2^32 leaves or more.
    #[must_use]
    pub fn new(leaves: Vec<Digest>) -> Tree {
        assert!(u32::try_from(leaves.len()).is_ok(), "a tree of {} leaves", leaves.len());
        let mut levels = Vec::new();
        let mut level = leaves;
        while level.len() > 1 {
            let above =
                level.chunks(2).map(|pair| pair.get(1).map_or(pair[0], |right| inner(&pair[0], right)));
            let above = above.collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        if !level.is_empty() {
            levels.push(level);
        }
        Tree { levels }
    }

    /// What stands for all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.levels.last().map_or_else(|| Digest::plain(&[&[2]]), |top| top[0])
    }

    /// How many leaves there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.levels.first().map_or(0, Vec::len)).expect("checked when the tree was made")
    }

    /// The path from the leaf at `index`, from 0, to the root.
    ///
    /// # Panics
    /// If there is no such leaf: indexes from outside are compared with [`Tree::count`] first.
    #[must_use]
    pub fn path(&self, index: usize) -> Path {
        let count = self.count();
        let leaf = u32::try_from(index).ok().filter(|leaf| *leaf < count);
        let leaf = leaf.unwrap_or_else(|| panic!("path to leaf {index} of {count}"));
        Path { index: leaf, count, siblings: self.siblings(0, index) }
    }

    /// All leaves.
    #[must_use]
    pub fn leaves(&self) -> &[Digest] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The leaves of a block of `2^height`, fewer in the last one, with the path that leads from the root of a tree over
    /// them alone to the root of this one; none if there is no such block. [`in_blocks`] says how many there are.
    #[must_use]
    pub fn block(&self, height: u32, block: u32) -> Option<(&[Digest], Path)> {
        let index = block as usize;
        let leaves = self.leaves().chunks(1 << height).nth(index)?;
        let siblings = self.siblings(height as usize, index);
        Some((leaves, Path { index: block, count: in_blocks(self.count(), height), siblings }))
    }

    /// The neighbours on the way up from the node at `index` of a level.
    fn siblings(&self, height: usize, index: usize) -> Vec<Digest> {
        let above = self.levels.iter().skip(height).enumerate();
        above.filter_map(|(height, level)| level.get((index >> height) ^ 1).copied()).collect()
    }
}

/// How many blocks of `2^height` leaves there are, the last one smaller if need be.
#[must_use]
pub fn in_blocks(count: u32, height: u32) -> u32 {
    count.div_ceil(1 << height)
}

/// What leads from one leaf to the root.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Path {
    /// Which leaf, from 0.
    pub index: u32,
    /// How many leaves the tree has.
    pub count: u32,
    /// The neighbours on the way, from the leaf upwards; none where a node moves up unchanged.
    pub siblings: Vec<Digest>,
}

impl Path {
    /// The root that this path gives `leaf`; none unless the path has exactly the shape that its index and count ask
    /// for. What the leaf is worth depends on whether this root, and this count, are believed.
    #[must_use]
    pub fn root_from(&self, leaf: Digest) -> Option<Digest> {
        if self.index >= self.count {
            return None;
        }
        let mut siblings = self.siblings.iter();
        let (mut node, mut index, mut width) = (leaf, self.index, self.count);
        while width > 1 {
            if index % 2 == 1 {
                node = inner(siblings.next()?, &node);
            } else if index + 1 < width {
                node = inner(&node, siblings.next()?);
            }
            index /= 2;
            width = width.div_ceil(2);
        }
        siblings.next().is_none().then_some(node)
    }
}

/// The digest of a leaf: `SHA-256(0x00 bytes)`.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Digest {
    Digest::plain(&[&[0], bytes])
}

fn inner(left: &Digest, right: &Digest) -> Digest {
    Digest::plain(&[&[1], &left.0, &right.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<Digest> {
        (0..count).map(|index| leaf(&[index])).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_has_a_path_to_its_root() {
        for count in 1..=33 {
            let tree = Tree::new(leaves(count));
            for index in 0..count {
                let path = tree.path(usize::from(index));
                assert_eq!(path.root_from(leaf(&[index])), Some(tree.root()), "{index} of {count}");
                assert_ne!(path.root_from(leaf(&[index, 0])), Some(tree.root()), "{index} of {count}");
            }
        }
    }

    #[test]
    fn a_path_with_a_sibling_more_or_fewer_is_refused() {
        for count in 1..=9 {
            let tree = Tree::new(leaves(count));
            for index in 0..count {
                let mut longer = tree.path(usize::from(index));
                longer.siblings.push(Digest::default());
                assert_eq!(longer.root_from(leaf(&[index])), None);
                let mut shorter = tree.path(usize::from(index));
                if shorter.siblings.pop().is_some() {
                    assert_eq!(shorter.root_from(leaf(&[index])), None);
                }
            }
        }
    }

    #[test]
    fn a_path_holds_for_its_index_only() {
        let tree = Tree::new(leaves(7));
        let path = tree.path(3);
        for index in (0..20).filter(|index| *index != 3) {
            let moved = Path { index, ..path.clone() };
            assert_ne!(moved.root_from(leaf(&[3])), Some(tree.root()), "{index}");
        }
    }

    #[test]
    fn every_block_of_every_small_tree_has_a_path_to_its_root() {
        for (count, height) in (1..=33).flat_map(|count| (0..4).map(move |height| (count, height))) {
            let tree = Tree::new(leaves(count));
            let blocks = in_blocks(count.into(), height);
            let mut all = Vec::new();
            for block in 0..blocks {
                let (leaves, path) = tree.block(height, block).unwrap();
                let root = |leaves: &[Digest]| path.root_from(Tree::new(leaves.to_vec()).root());
                assert_eq!((path.index, path.count), (block, blocks));
                assert_eq!(root(leaves), Some(tree.root()), "block {block} of {count} in 2^{height}");
                let mut wrong = leaves.to_vec();
                wrong[leaves.len() / 2] = Digest::default();
                assert_ne!(root(&wrong), Some(tree.root()), "block {block} of {count} in 2^{height}");
                all.extend_from_slice(leaves);
            }
            assert_eq!((all.as_slice(), tree.block(height, blocks)), (tree.leaves(), None));
        }
    }

    #[test]
    fn counts_at_the_border_of_their_type_neither_overflow_nor_hang() {
        let path = Path { index: u32::MAX - 1, count: u32::MAX, siblings: vec![Digest::default(); 31] };
        assert!(path.root_from(leaf(b"")).is_some());
        assert_eq!(Path { count: 0, index: 0, siblings: vec![] }.root_from(leaf(b"")), None);
        assert_eq!(Path { index: u32::MAX, ..path }.root_from(leaf(b"")), None);
    }

    #[test]
    fn roots_are_pinned() {
        let text = |count| Tree::new(leaves(count)).root().to_string();
        assert_eq!(text(0), "dbc1b4c900ffe48d575b5da5c638040125f65db0fe3e24494b76ea986457d986");
        assert_eq!(text(1), "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7");
        assert_eq!(
            text(3),
            Digest::plain(&[&[1], &inner(&leaf(&[0]), &leaf(&[1])).0, &leaf(&[2]).0]).to_string()
        );
    }
}
