//! A single value, and a number.

use std::ops::{Deref, DerefMut};

use super::table::{Entry, Table, Value};

/// A single value behind a lock. It is encoded and decoded as a whole, so it is for what is small; what has many parts
/// is a [`Table`]. Cheap to clone; all clones are the same cell.
#[derive(Debug)]
pub struct Cell<T> {
    /// The value is its only entry; none before it was first written.
    table: Table<(), T>,
    first: fn() -> T,
}

impl<T: Value> Cell<T> {
    pub(super) fn new(table: Table<(), T>, first: fn() -> T) -> Cell<T> {
        Cell { table, first }
    }

    /// The value, until the guard is dropped.
    pub async fn lock(&self) -> CellGuard<'_, T> {
        let entry = self.table.lock(&()).await;
        CellGuard { first: entry.is_none().then(self.first), entry }
    }

    /// The value at this moment.
    pub async fn get(&self) -> T {
        self.table.get(&()).await.unwrap_or_else(self.first)
    }

    /// The value, while no command runs.
    #[must_use]
    pub fn at_rest(&self) -> T {
        self.table.view_at_rest().iter().next().map_or_else(self.first, |(_, value)| value)
    }
}

impl<T> Clone for Cell<T> {
    fn clone(&self) -> Cell<T> {
        Cell { table: self.table.clone(), first: self.first }
    }
}

/// The right to use the value of a [`Cell`], until dropped.
#[derive(Debug)]
pub struct CellGuard<'a, T: Value> {
    entry: Entry<'a, T>,
    /// The value that nobody has written yet.
    first: Option<T>,
}

const THERE: &str = "the value that was never written, or the one that was";

impl<'a, T: Value> CellGuard<'a, T> {
    /// Gives the lock back until somebody calls [`CellGuard::notify_all`]. See [`Entry::wait`].
    #[must_use = "the value is locked again"]
    pub async fn wait(self) -> CellGuard<'a, T> {
        let entry = self.entry.wait().await;
        CellGuard { first: self.first.filter(|_| entry.is_none()), entry }
    }

    /// Wakes all who wait at this cell. Takes a turn, as a lock does.
    pub async fn notify_all(&mut self) {
        self.entry.notify_all().await;
    }
}

impl<T: Value> Deref for CellGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.first.as_ref().or(self.entry.as_ref()).expect(THERE)
    }
}

impl<T: Value> DerefMut for CellGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        if let Some(first) = self.first.take() {
            self.entry.set(first);
        }
        self.entry.as_mut().expect(THERE)
    }
}

/// A number that commands count with. Cheap to clone; all clones are the same counter.
#[derive(Clone, Debug)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub(super) fn new(cell: Cell<u64>) -> Counter {
        Counter(cell)
    }

    /// Adds; the number then. None, and nothing is added, if it would be above `u64::MAX`.
    pub async fn add(&self, more: u64) -> Option<u64> {
        self.add_up_to(more, u64::MAX).await
    }

    /// Adds; the number then. None, and nothing is added, if it would be above `most`.
    pub async fn add_up_to(&self, more: u64, most: u64) -> Option<u64> {
        let mut number = self.0.lock().await;
        let sum = number.checked_add(more).filter(|sum| *sum <= most)?;
        *number = sum;
        Some(sum)
    }

    /// Takes away; the number then. None, and nothing is taken, if it would be below zero.
    pub async fn take(&self, less: u64) -> Option<u64> {
        let mut number = self.0.lock().await;
        let rest = number.checked_sub(less)?;
        *number = rest;
        Some(rest)
    }

    /// The number at this moment.
    pub async fn get(&self) -> u64 {
        self.0.get().await
    }

    /// The number, while no command runs.
    #[must_use]
    pub fn at_rest(&self) -> u64 {
        self.0.at_rest()
    }
}
