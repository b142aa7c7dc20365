//! Limits and timing of the ordering part. Part of the genesis, hence equal on all replicas of a service.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::batch::{BATCH_ENTRIES_MAX, BatchLimits, SYSTEM_ENTRY_BYTES_MAX};

/// Plain data; [`Config::validate`] makes sure that it makes sense.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Config {
    /// Slots above the decided prefix in which a replica votes (alpha). A larger window hides longer delays and
    /// costs memory and larger view changes. 1..=1024.
    pub window_slots: u64,
    /// Slots proposed and not yet settled (decided, executed, replies signed) beyond which a primary rather lets a
    /// batch grow. 1..=`window_slots`. More keeps far replicas busy, fewer makes larger batches, so fewer signatures.
    pub pipeline_slots: u64,
    /// Entries in a batch at most. 1..=[`BATCH_ENTRIES_MAX`].
    pub batch_entries_max: u32,
    /// Bytes of the entries of a batch at most; no single entry may be larger. From [`SYSTEM_ENTRY_BYTES_MAX`] on,
    /// so that key generation fits.
    pub batch_bytes_max: u32,
    /// Entries that wait at a replica at most, divided by [`crate::pool`] among those who offer them; more are
    /// answered `Busy`.
    pub pool_entries_max: u32,
    /// Bytes that wait at a replica at most, divided likewise; but each part has room for the largest entry.
    pub pool_bytes_max: u32,
    /// Slots of log above the last stable checkpoint at most; ordering waits for the checkpoint beyond.
    pub log_slots_max: u64,
    /// Decided slots that may wait for execution; a replica that executes more slowly than others decide falls
    /// behind by this many and then catches up.
    pub backlog_slots_max: u64,
    /// Length of a period of patience, in ms. In its second period an entry that waits is shown to all; in its
    /// third the primary is suspected. Doubles with each view that fails.
    pub patience_ms: u64,
    /// The first wait for a new view, in ms; doubles with each view that fails.
    pub new_view_ms: u64,
    /// How often a replica tells the others where it stands, in ms.
    pub status_ms: u64,
    /// Slots for which a replica that held up the others gets no turns, where they propose in turn; twice as many each
    /// time in a row.
    pub exclusion_slots: u64,
    /// A replica's turns are no reason to blame it while nobody waits for them longer than this, in ms, however quick
    /// the others are.
    pub slow_turn_ms: u64,
    /// How far a proposal's time may be from a replica's own clock, in ms.
    pub skew_max_ms: u64,
    /// Bytes of decided batches that one answer to a laggard carries, at least one batch.
    pub fetch_bytes_max: u32,
}

impl Default for Config {
    /// Settings for machines in one building.
    fn default() -> Config {
        Config {
            window_slots: 32,
            pipeline_slots: 2,
            batch_entries_max: 1024,
            batch_bytes_max: 1 << 20,
            pool_entries_max: 16_384,
            pool_bytes_max: 64 << 20,
            log_slots_max: 2048,
            backlog_slots_max: 64,
            patience_ms: 500,
            new_view_ms: 1000,
            status_ms: 200,
            exclusion_slots: 256,
            slow_turn_ms: 100,
            skew_max_ms: 10_000,
            fetch_bytes_max: 4 << 20,
        }
    }
}

impl Config {
    /// How large a batch may be.
    #[must_use]
    pub fn batch_limits(&self) -> BatchLimits {
        BatchLimits { entries_max: self.batch_entries_max as usize, bytes_max: self.batch_bytes_max as usize }
    }

    /// Whether the numbers fit together.
    ///
    /// # Errors
    /// The first that does not, and what would.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let within = |field, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) { Ok(()) } else { Err(BadConfig { field, value, low, high }) }
        };
        within("window_slots", self.window_slots, 1, 1024)?;
        within("pipeline_slots", self.pipeline_slots, 1, self.window_slots)?;
        within("batch_entries_max", self.batch_entries_max.into(), 1, BATCH_ENTRIES_MAX as u64)?;
        let least = SYSTEM_ENTRY_BYTES_MAX as u64;
        within("batch_bytes_max", self.batch_bytes_max.into(), least, 64 << 20)?;
        within("pool_entries_max", self.pool_entries_max.into(), 1, 1 << 20)?;
        within("pool_bytes_max", self.pool_bytes_max.into(), self.batch_bytes_max.into(), 1 << 31)?;
        within("log_slots_max", self.log_slots_max, 2 * self.window_slots, 1 << 20)?;
        within("backlog_slots_max", self.backlog_slots_max, 1, self.log_slots_max)?;
        within("patience_ms", self.patience_ms, 1, 3_600_000)?;
        within("new_view_ms", self.new_view_ms, 1, 3_600_000)?;
        within("status_ms", self.status_ms, 1, 3_600_000)?;
        within("exclusion_slots", self.exclusion_slots, 1, 1 << 20)?;
        within("slow_turn_ms", self.slow_turn_ms, 1, 3_600_000)?;
        within("skew_max_ms", self.skew_max_ms, 1, 3_600_000)?;
        within("fetch_bytes_max", self.fetch_bytes_max.into(), 1024, 64 << 20)
    }
}

/// A setting outside its range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {value}, but must be {low} to {high}")]
pub struct BadConfig {
    /// The setting.
    pub field: &'static str,
    /// What it is.
    pub value: u64,
    /// Least allowed.
    pub low: u64,
    /// Most allowed.
    pub high: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_pipeline_wider_than_the_window_is_not() {
        assert_eq!(Config::default().validate(), Ok(()));
        let wide = Config { pipeline_slots: 33, ..Config::default() };
        assert_eq!(wide.validate().map_err(|bad| bad.field), Err("pipeline_slots"));
    }
}
