//! State that checkpoints itself: named containers behind deterministic locks. Whoever keeps all of an application's
//! state here writes no snapshot code.
//!
//! - [`Table`]: entries by key, in order; entries are locked one by one, several in one call, or all at once;
//! - [`Cell`]: a single value;
//! - [`Counter`]: a number.
//!
//! ```
//! use smr_app::{Application, Context};
//! use smr_app::state::{State, Table};
//!
//! struct Bank {
//!     state: State,
//!     accounts: Table<String, u64>,
//! }
//!
//! impl Bank {
//!     fn new() -> Bank {
//!         let mut state = State::new();
//!         let accounts = state.table("accounts");
//!         Bank { state, accounts }
//!     }
//! }
//!
//! impl Application for Bank {
//!     async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
//!         let text = String::from_utf8_lossy(command);
//!         match text.split(' ').collect::<Vec<_>>()[..] {
//!             ["deposit", name, amount] => {
//!                 let mut balance = self.accounts.lock(name).await;
//!                 let new = balance.unwrap_or(0) + amount.parse().unwrap_or(0);
//!                 *balance = Some(new);
//!                 new.to_string().into_bytes()
//!             }
//!             ["move", from, to, amount] if from != to => {
//!                 let amount: u64 = amount.parse().unwrap_or(0);
//!                 let mut both = self.accounts.lock_each([from, to]).await;
//!                 match *both {
//!                     [Some(has), Some(gets)] if has >= amount => {
//!                         *both = [Some(has - amount), Some(gets + amount)];
//!                         b"ok".to_vec()
//!                     }
//!                     _ => b"no".to_vec(),
//!                 }
//!             }
//!             ["total"] => {
//!                 let sum: u64 = self.accounts.view().await.iter().map(|(_, balance)| balance).sum();
//!                 sum.to_string().into_bytes()
//!             }
//!             _ => b"?".to_vec(),
//!         }
//!     }
//!
//!     fn state(&self) -> Option<&State> {
//!         Some(&self.state)
//!     }
//! }
//! # use smr_app::{AnyHost, CommandOutcome, Host, HostCommand, HostConfig, HostEvent, SlotWork};
//! # use std::sync::{Arc, Mutex};
//! # let seen = Arc::new(Mutex::new(Vec::new()));
//! # let sink = seen.clone();
//! # let sink = Arc::new(move |event| sink.lock().unwrap().push(event));
//! # let host = Host::new(Bank::new(), HostConfig::new(smr_uds::preset::sequential()), sink).unwrap();
//! # let caller = smr_wire::ClientId(smr_crypto::PublicKey([0; 32]));
//! # let texts = ["deposit ann 7", "deposit bob 1", "move ann bob 5", "move ann bob 5", "total"];
//! # let commands = texts.map(|text| HostCommand { caller, command: text.as_bytes().to_vec() }).to_vec();
//! # let (slot, time, seed) = (smr_wire::Slot(1), smr_wire::Timestamp(0), Default::default());
//! # host.execute(SlotWork { slot, time, seed, commands, timers: false, fill: true }).unwrap();
//! # smr_uds::Seeded::new(1).run(host.scheduler());
//! # let HostEvent::Executed { outcomes, .. } = seen.lock().unwrap().remove(0) else { panic!() };
//! # let answer = |text: &str| Some(CommandOutcome::Answer(text.into()));
//! # assert_eq!(outcomes, ["7", "1", "ok", "no", "8"].map(answer));
//! ```
//!
//! **How it fits together.** A table's entries are spread over *stripes* by a hash of their keys; a stripe is what a
//! lock guards. A stripe's entries stand in order in *pages* of a few kilobytes; a page is what is copied by who first
//! writes it after a cut, what is written to a checkpoint again if it has changed, and a checkpoint's chunk as it is:
//! entries are kept as the bytes that a checkpoint has of them, so a table of many small entries takes less memory
//! than a `BTreeMap`, a cut takes nothing but a reference for each stripe, and a chunk that has not changed costs
//! nothing. Pages are cut up and made one under the stripe's lock, and checkpoints name the pages, so all replicas
//! have the same ones, also those that began at a checkpoint.

mod cell;
mod chunk;
mod cut;
mod key;
mod page;
mod run;
mod stripes;
mod table;
mod tree;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::application::RestoreError;
use stripes::Stripes;

pub use cell::{Cell, CellGuard, Counter};
pub use chunk::{Chunk, PIECE_BYTES};
pub use cut::{Chunking, Cut, Damaged, SOUND_WITHIN_CUTS, Taken};
pub use key::{Key, KeyBytes};
pub use stripes::{KEY_BYTES_MAX, STRIPES_MAX, VALUE_BYTES_MAX};
pub use table::{Entries, Entry, Table, Value};
pub use tree::Load;
pub use view::{View, Whole};

/// Stripes of a table whose maker does not say. More lets more commands run side by side, and makes a look at all
/// entries at one moment take more locks.
pub const STRIPES: u32 = 16;

/// The named containers of an application. Their names and types are part of the application: all replicas make the
/// same ones, and a checkpoint is restored only where they are.
#[derive(Debug, Default)]
pub struct State {
    tables: BTreeMap<String, Arc<Stripes>>,
    /// Cuts taken so far: says whose turn it is to be hashed again. Of this replica alone.
    cuts: AtomicU64,
}

impl State {
    /// Without containers.
    #[must_use]
    pub fn new() -> State {
        State::default()
    }

    /// A new table.
    ///
    /// # Panics
    /// If there is a container of that name.
    pub fn table<K: Key, V: Value>(&mut self, name: &str) -> Table<K, V> {
        self.table_in_stripes(name, STRIPES)
    }

    /// A new table with so many locks, 1..=[`STRIPES_MAX`]. See [`STRIPES`].
    ///
    /// # Panics
    /// If there is a container of that name, or that is no such number.
    pub fn table_in_stripes<K: Key, V: Value>(&mut self, name: &str, stripes: u32) -> Table<K, V> {
        let table = Table::new(name, stripes);
        let before = self.tables.insert(name.to_owned(), Arc::clone(table.stripes()));
        assert!(before.is_none(), "two containers are called {name}");
        table
    }

    /// A new cell, with `first` in it until something is written.
    ///
    /// # Panics
    /// If there is a container of that name.
    pub fn cell<T: Value>(&mut self, name: &str, first: fn() -> T) -> Cell<T> {
        Cell::new(self.table_in_stripes(name, 1), first)
    }

    /// A new counter at zero.
    ///
    /// # Panics
    /// If there is a container of that name.
    pub fn counter(&mut self, name: &str) -> Counter {
        Counter::new(self.cell(name, || 0))
    }

    /// Flips a bit of the memory in which a page is, as a fault of the machine would: for tests that see it found. `draw`
    /// says which; false if there is none, or somebody holds the locks.
    #[must_use]
    pub fn flip_bit(&self, draw: u64) -> bool {
        let draw = usize::try_from(draw >> 1).unwrap_or(usize::MAX);
        let first = draw.checked_rem(self.tables.len()).unwrap_or_default();
        let tables = self.tables.values().cycle().skip(first).take(self.tables.len());
        tables.into_iter().any(|table| table.flip_bit(draw / 7))
    }

    /// The state as it is, while no command runs. Takes as long as there are locks, however much they guard.
    ///
    /// # Panics
    /// If a command holds a lock, or this is inside one.
    #[must_use]
    pub fn cut(&self) -> Cut {
        Cut::of_tables(self.tables.values(), self.cuts.fetch_add(1, Ordering::Relaxed))
    }

    /// Replaces the whole state, while no command runs. Containers that the chunks do not name are empty then.
    ///
    /// # Errors
    /// These are no chunks of such a state; nothing has changed then.
    ///
    /// # Panics
    /// If a command holds a lock, or this is inside one.
    pub fn restore(&self, chunks: &[Chunk]) -> Result<(), RestoreError> {
        let (heads, pages) = cut::read(chunks)?;
        if !heads.is_sorted_by(|one, next| one.name < next.name) {
            return Err(RestoreError::new("its tables do not ascend"));
        }
        let mut trees: BTreeMap<&str, _> =
            self.tables.iter().map(|(name, table)| (name.as_str(), table.empty())).collect();
        let mut rest = pages.as_slice();
        for head in &heads {
            let table = self.tables.get(&head.name);
            let table = table.ok_or_else(|| RestoreError::new(format!("there is no table {}", head.name)))?;
            let count = head.blocks.iter().flatten().map(|count| *count as usize).sum();
            let (own, after) =
                rest.split_at_checked(count).ok_or_else(|| RestoreError::new("a chunk is missing"))?;
            trees.insert(&table.name, table.check(own, &head.blocks)?);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(RestoreError::new("it has too many chunks"));
        }
        for (name, trees) in trees {
            self.tables[name].replace(trees);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
