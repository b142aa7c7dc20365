//! A sorted list of what begins with a key, searched without a look at each of them.

use std::ops::RangeBounds;
use std::sync::Arc;

/// What stands in a [`Run`].
pub(super) trait First {
    /// The least key in it.
    fn first_key(&self) -> &[u8];
}

/// Items in the order of their first keys. A few bytes of each first key stand side by side, so a search looks at one
/// stretch of memory and then at the items that these bytes do not tell apart, which are few.
#[derive(Debug)]
pub(super) struct Run<T> {
    items: Vec<Arc<T>>,
    /// With which all first keys begin.
    prefix: Vec<u8>,
    /// What follows in each, see [`head`].
    heads: Vec<u64>,
}

impl<T> Clone for Run<T> {
    fn clone(&self) -> Run<T> {
        Run { items: self.items.clone(), prefix: self.prefix.clone(), heads: self.heads.clone() }
    }
}

impl<T> Default for Run<T> {
    fn default() -> Run<T> {
        Run { items: Vec::new(), prefix: Vec::new(), heads: Vec::new() }
    }
}

impl<T: First> Run<T> {
    pub(super) fn new(items: Vec<Arc<T>>) -> Run<T> {
        let mut run = Run { items, ..Run::default() };
        run.rebuild();
        run
    }

    pub(super) fn items(&self) -> &[Arc<T>] {
        &self.items
    }

    /// An item, to be changed; whoever changes its first key says so by [`Run::renew`].
    pub(super) fn item_mut(&mut self, index: usize) -> &mut Arc<T> {
        &mut self.items[index]
    }

    /// The item in which `key` would be: the last that does not begin above it, or the first.
    pub(super) fn find(&self, key: &[u8]) -> usize {
        let Some(rest) = key.strip_prefix(self.prefix.as_slice()) else {
            return if key < self.prefix.as_slice() { 0 } else { self.items.len().saturating_sub(1) };
        };
        let wanted = head(rest);
        let low = self.heads.partition_point(|head| *head < wanted);
        let alike = self.heads[low..].iter().take_while(|head| **head == wanted).count();
        let begun = self.items[low..low + alike].partition_point(|item| item.first_key() <= key);
        (low + begun).saturating_sub(1)
    }

    /// The item at `index` may begin with another key now.
    pub(super) fn renew(&mut self, index: usize) {
        match self.items[index].first_key().strip_prefix(self.prefix.as_slice()) {
            Some(rest) => self.heads[index] = head(rest),
            None => self.rebuild(),
        }
    }

    /// Puts items in the place of others.
    pub(super) fn splice(&mut self, range: impl RangeBounds<usize> + Clone, items: Vec<Arc<T>>) {
        let heads: Option<Vec<u64>> = items
            .iter()
            .map(|item| item.first_key().strip_prefix(self.prefix.as_slice()).map(head))
            .collect();
        self.items.splice(range.clone(), items);
        match heads {
            Some(heads) => drop(self.heads.splice(range, heads)),
            None => self.rebuild(),
        }
    }

    /// Keeps the items before `at`; those from there on.
    pub(super) fn split_off(&mut self, at: usize) -> Run<T> {
        let right = self.items.split_off(at);
        self.rebuild();
        Run::new(right)
    }

    fn rebuild(&mut self) {
        let first = |item: Option<&Arc<T>>| item.map(|item| item.first_key().to_vec()).unwrap_or_default();
        let (mut prefix, last) = (first(self.items.first()), first(self.items.last()));
        let common = prefix.iter().zip(&last).take_while(|(one, other)| one == other).count();
        prefix.truncate(common);
        self.heads = self.items.iter().map(|item| head(&item.first_key()[common..])).collect();
        self.prefix = prefix;
    }
}

impl<T: First> First for Run<T> {
    fn first_key(&self) -> &[u8] {
        self.items[0].first_key()
    }
}

/// The first eight bytes as a number, zeros for those that are missing: never above that of a greater key.
fn head(key: &[u8]) -> u64 {
    if let Some(bytes) = key.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    key.iter().zip(0..).fold(0, |head, (byte, place)| head | u64::from(*byte) << (56 - 8 * place))
}
