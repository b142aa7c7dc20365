//! Commands that begin at an agreed time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Shared with whoever keeps a cut; who writes then copies the table, but not the commands.
    timed: Arc<Timed>,
    bytes: usize,
}

/// Commands, and whose they are, by their times.
pub(super) type Timed = BTreeMap<(Timestamp, Place), (ClientId, Arc<[u8]>)>;

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
        let command = errand.command.into();
        Arc::make_mut(&mut table.timed).insert((due, errand.place), (errand.caller, command));
        self.hint(&table);
        Ok(())
    }

    /// Takes out the first [`DUE_MAX`] commands that are due at `now`, in order of their times.
    pub(super) async fn take_due(&self, now: Timestamp) -> Vec<(ClientId, Vec<u8>)> {
        let mut table = self.table.lock().await;
        let due = |table: &Table| table.timed.first_key_value().is_some_and(|((due, _), _)| *due <= now);
        let mut taken = Vec::new();
        while taken.len() < DUE_MAX
            && due(&table)
            && let Some((_, (caller, command))) = Arc::make_mut(&mut table.timed).pop_first()
        {
            taken.push((caller, command.to_vec()));
        }
        table.bytes -= taken.iter().map(|(_, command)| command.len()).sum::<usize>();
        self.hint(&table);
        taken
    }

    fn hint(&self, table: &Table) {
        let due = table.timed.first_key_value().map_or(u64::MAX, |((due, _), _)| due.0);
        self.due.store(due, Ordering::Relaxed);
    }

    /// What waits for its time, while no command runs.
    pub(super) fn cut(&self) -> Arc<Timed> {
        self.table.at_rest(|table| Arc::clone(&table.timed)).expect("nothing runs meanwhile")
    }

    pub(super) fn replace(&self, timed: Timed) {
        let bytes = timed.values().map(|(_, command)| command.len()).sum();
        let new = Table { timed: Arc::new(timed), bytes };
        self.hint(&new);
        self.table.at_rest(|table| *table = new).expect("nothing runs meanwhile");
    }
}
