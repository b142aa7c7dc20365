//! All entries of a table: as they were at one moment, or under lock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use smr_uds::MutexGuard;

use super::key::{Key, KeyBytes};
use super::stripes::Stripes;
use super::table::{TOO_LONG, Value, decode, fits, writable};
use super::tree::{Entries, Load, Tree};

/// The entries of a table at one moment. Holds no lock.
#[derive(Debug)]
pub struct View<K, V> {
    trees: Vec<Tree>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Value> View<K, V> {
    pub(super) fn new(trees: Vec<Tree>) -> View<K, V> {
        View { trees, types: PhantomData }
    }

    /// How many entries there are, and how long they are.
    #[must_use]
    pub fn load(&self) -> Load {
        load(self.trees.iter())
    }

    /// What each lock of the table guards.
    pub fn loads(&self) -> impl Iterator<Item = Load> {
        self.trees.iter().map(Tree::load)
    }

    /// All entries, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        merged(self.trees.iter(), EVERYTHING)
    }

    /// The entries with keys in `range`, in the order of keys.
    pub fn range<Q: KeyBytes<Of = K> + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl Iterator<Item = (K, V)> {
        merged(self.trees.iter(), bounds(&range))
    }
}

/// A table, locked: no entry comes, goes or changes but by its holder.
pub struct Whole<'a, K, V> {
    stripes: &'a Stripes,
    trees: Vec<MutexGuard<'a, Tree>>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'a, K: Key, V: Value> Whole<'a, K, V> {
    pub(super) fn new(stripes: &'a Stripes, trees: Vec<MutexGuard<'a, Tree>>) -> Whole<'a, K, V> {
        Whole { stripes, trees, types: PhantomData }
    }

    /// How many entries there are, and how long they are.
    #[must_use]
    pub fn load(&self) -> Load {
        load(self.trees.iter().map(|tree| &**tree))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get<Q: KeyBytes<Of = K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let key = key.key_bytes();
        self.trees[self.stripes.place_of(&key)].get(&key).map(decode)
    }

    /// Gives `key` this value.
    ///
    /// # Panics
    /// If the key is longer than [`super::KEY_BYTES_MAX`], or the value than [`super::VALUE_BYTES_MAX`], which ends the command with
    /// a fault.
    pub fn insert<Q: KeyBytes<Of = K> + ?Sized>(&mut self, key: &Q, value: &V) {
        let key = key.key_bytes();
        if let Ok(value) = borsh::to_vec(value) {
            assert!(fits(&value), "{TOO_LONG}");
            self.trees[self.stripes.place_of(writable(&key))].set(&key, &value);
        }
    }

    /// Takes the value from `key`; whether it had one.
    pub fn remove<Q: KeyBytes<Of = K> + ?Sized>(&mut self, key: &Q) -> bool {
        let key = key.key_bytes();
        let tree = &mut self.trees[self.stripes.place_of(&key)];
        tree.get(&key).is_some() && tree.remove(&key)
    }

    /// All entries, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        merged(self.trees.iter().map(|tree| &**tree), EVERYTHING)
    }

    /// The entries with keys in `range`, in the order of keys.
    pub fn range<Q: KeyBytes<Of = K> + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl Iterator<Item = (K, V)> {
        merged(self.trees.iter().map(|tree| &**tree), bounds(&range))
    }
}

impl<K, V> std::fmt::Debug for Whole<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole").field("table", &self.stripes.name).finish_non_exhaustive()
    }
}

fn load<'a>(trees: impl Iterator<Item = &'a Tree>) -> Load {
    trees.map(Tree::load).fold(Load::default(), |sum, load| Load {
        entries: sum.entries + load.entries,
        bytes: sum.bytes + load.bytes,
    })
}

type KeyBound = Bound<Vec<u8>>;

const EVERYTHING: (KeyBound, KeyBound) = (Bound::Unbounded, Bound::Unbounded);

fn bounds<Q: KeyBytes + ?Sized>(range: &impl RangeBounds<Q>) -> (KeyBound, KeyBound) {
    let bytes = |key: &Q| key.key_bytes().into_owned();
    (range.start_bound().map(bytes), range.end_bound().map(bytes))
}

fn merged<'a, K: Key, V: Value>(
    trees: impl Iterator<Item = &'a Tree>,
    range: (KeyBound, KeyBound),
) -> impl Iterator<Item = (K, V)> {
    let (start, end) = range;
    let start = start.as_ref().map(Vec::as_slice);
    let merged = Merged::new(trees.map(|tree| tree.from(start)).collect());
    let ends = move |key: &[u8]| match &end {
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Unbounded => true,
    };
    let read =
        |key| K::from_key_bytes(key).expect("what a table holds was encoded from its types, or checked");
    merged.take_while(move |(key, _)| ends(key)).map(move |(key, value)| (read(key), decode(value)))
}

/// Entries of several stripes, in the order of keys.
struct Merged<'a> {
    rests: Vec<Entries<'a>>,
    /// The next entry of each, with its place.
    heads: BinaryHeap<Reverse<(Pair<'a>, usize)>>,
}

/// Key and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

impl<'a> Merged<'a> {
    fn new(mut rests: Vec<Entries<'a>>) -> Merged<'a> {
        let heads = rests.iter_mut().enumerate();
        let heads = heads.filter_map(|(place, rest)| Some(Reverse((rest.next()?, place)))).collect();
        Merged { rests, heads }
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let Reverse((pair, place)) = self.heads.pop()?;
        self.heads.extend(self.rests[place].next().map(|next| Reverse((next, place))));
        Some(pair)
    }
}
