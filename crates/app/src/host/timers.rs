//! Commands that begin at an agreed time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_uds::Mutex;
use smr_wire::{ClientId, Timestamp};

use super::errand::Errand;
use crate::application::{Place, Unavailable};

/// Commands that may wait for their time.
pub const TIMERS_MAX: usize = 1 << 14;

/// Bytes of them all.
pub const TIMERS_BYTES_MAX: usize = 32 << 20;

/// Commands that begin in one slot at most; the others begin in the next that says so.
pub const DUE_MAX: usize = 256;

/// What waits for its time. Changed under a deterministic lock only, so its order is part of the agreed one.
#[derive(Debug)]
pub(super) struct Timers {
    table: Mutex<Table>,
    /// When the first of them is due; `u64::MAX` if there is none. May lag behind.
    due: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    timed: BTreeMap<(Timestamp, Place), (ClientId, Vec<u8>)>,
    bytes: usize,
}

impl Timers {
    pub(super) fn new() -> Timers {
        Timers { table: Mutex::default(), due: AtomicU64::new(u64::MAX) }
    }

    /// When the first command is due, as far as known: a hint for whoever proposes, not for who executes.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let due = self.due.load(Ordering::Relaxed);
        (due != u64::MAX).then_some(Timestamp(due))
    }

    /// Puts a command in.
    pub(super) async fn add(&self, due: Timestamp, errand: Errand) -> Result<(), Unavailable> {
        let mut table = self.table.lock().await;
        let bytes = table.bytes + errand.command.len();
        if table.timed.len() >= TIMERS_MAX || bytes > TIMERS_BYTES_MAX {
            return Err(Unavailable::TooManyTimers);
        }
        table.bytes = bytes;
        table.timed.insert((due, errand.place), (errand.caller, errand.command));
        self.hint(&table);
        Ok(())
    }

    /// Takes out the first [`DUE_MAX`] commands that are due at `now`, in order of their times.
    pub(super) async fn take_due(&self, now: Timestamp) -> Vec<(ClientId, Vec<u8>)> {
        let mut table = self.table.lock().await;
        let mut taken = Vec::new();
        while taken.len() < DUE_MAX
            && let Some(first) = table.timed.first_entry().filter(|first| first.key().0 <= now)
        {
            taken.push(first.remove());
        }
        table.bytes -= taken.iter().map(|(_, command)| command.len()).sum::<usize>();
        self.hint(&table);
        taken
    }

    fn hint(&self, table: &Table) {
        let due = table.timed.first_key_value().map_or(u64::MAX, |((due, _), _)| due.0);
        self.due.store(due, Ordering::Relaxed);
    }

    pub(super) fn list(&self) -> Vec<Timed> {
        let list = |table: &mut Table| {
            let timed = table.timed.iter().map(|((due, place), (caller, command))| Timed {
                due: *due,
                errand: Errand { place: place.clone(), caller: *caller, command: command.clone() },
            });
            timed.collect()
        };
        self.table.at_rest(list).expect("nothing runs meanwhile")
    }

    pub(super) fn replace(&self, timed: Vec<Timed>) {
        let bytes = timed.iter().map(|timed| timed.errand.command.len()).sum();
        let timed = timed.into_iter().map(|Timed { due, errand: Errand { place, caller, command } }| {
            ((due, place), (caller, command))
        });
        let new = Table { timed: timed.collect(), bytes };
        self.hint(&new);
        self.table.at_rest(|table| *table = new).expect("nothing runs meanwhile");
    }
}

/// A command that waits for its time.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct Timed {
    due: Timestamp,
    errand: Errand,
}
