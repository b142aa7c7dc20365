//! Limits and timing of a whole replica. Part of the genesis, hence equal on all replicas of a service.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_consensus::config::BadConfig;

/// Plain data; [`Config::validate`] makes sure that it makes sense.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Config {
    /// Of the ordering part.
    pub consensus: smr_consensus::Config,
    /// Slots from one checkpoint to the next (K). Fewer make a shorter log and more pauses.
    pub checkpoint_slots: u64,
    /// Bytes of a chunk of state in a transfer. 1 KiB..=1 MiB.
    pub chunk_bytes: u32,
    /// Chunks that a replica asks for at the same time.
    pub chunks_in_flight: u32,
    /// How long a replica waits for a chunk before it asks another peer, in ms.
    pub transfer_ms: u64,
    /// Bytes of one command at most; larger ones get a certified refusal.
    pub command_bytes_max: u32,
    /// Bytes of one reply at most; larger ones become a certified fault.
    pub reply_bytes_max: u32,
    /// Bytes of one request at most; larger ones are not pooled.
    pub request_bytes_max: u32,
    /// Sessions of the service at most; beyond, the one unused for longest is given up.
    pub sessions_max: u32,
    /// Sessions of one client at most; beyond, its own unused for longest is given up.
    pub client_sessions_max: u32,
    /// Bytes of replies that a session keeps for repeats at most; the newest reply is always kept.
    pub session_reply_bytes_max: u32,
    /// Blocks of replies that a replica keeps in case a client asks again.
    pub blocks_kept: u32,
    /// Commands of clients that wait for a reply at one contact at most.
    pub waiting_max: u32,
    /// How often unfinished exchanges between replicas (shares, votes, key generation) are repeated, in ms.
    pub repeat_ms: u64,
    /// How long key generation waits for late participants once enough have spoken, in ms.
    pub ceremony_ms: u64,
    /// How long an endpoint certificate holds, in ms of agreed time; renewed at half of it.
    pub endpoints_valid_ms: u64,
}

impl Default for Config {
    /// Settings for machines in one building.
    fn default() -> Config {
        Config {
            consensus: smr_consensus::Config::default(),
            checkpoint_slots: 512,
            chunk_bytes: 64 << 10,
            chunks_in_flight: 8,
            transfer_ms: 1000,
            command_bytes_max: 256 << 10,
            reply_bytes_max: 512 << 10,
            request_bytes_max: 512 << 10,
            sessions_max: 4096,
            client_sessions_max: 16,
            session_reply_bytes_max: 64 << 10,
            blocks_kept: 2048,
            waiting_max: 16_384,
            repeat_ms: 300,
            ceremony_ms: 2000,
            endpoints_valid_ms: 90 * 24 * 3_600_000,
        }
    }
}

impl Config {
    /// Whether the numbers fit together.
    ///
    /// # Errors
    /// The first that does not, and what would.
    pub fn validate(&self) -> Result<(), BadConfig> {
        self.consensus.validate()?;
        let within = |field, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) { Ok(()) } else { Err(BadConfig { field, value, low, high }) }
        };
        // Ordering may not wait for a checkpoint that lies beyond where it may order.
        within("checkpoint_slots", self.checkpoint_slots, 1, self.consensus.log_slots_max / 2)?;
        within("chunk_bytes", self.chunk_bytes.into(), 1 << 10, 1 << 20)?;
        within("chunks_in_flight", self.chunks_in_flight.into(), 1, 256)?;
        within("transfer_ms", self.transfer_ms, 1, 3_600_000)?;
        within(
            "request_bytes_max",
            self.request_bytes_max.into(),
            1024,
            self.consensus.batch_bytes_max.into(),
        )?;
        within("command_bytes_max", self.command_bytes_max.into(), 1, self.request_bytes_max.into())?;
        within("reply_bytes_max", self.reply_bytes_max.into(), 1, 16 << 20)?;
        within("sessions_max", self.sessions_max.into(), 1, 1 << 20)?;
        within("client_sessions_max", self.client_sessions_max.into(), 1, self.sessions_max.into())?;
        within("session_reply_bytes_max", self.session_reply_bytes_max.into(), 0, 64 << 20)?;
        // Replies to everything that may be executing at once can be asked for again.
        let backlog = self.consensus.backlog_slots_max;
        within("blocks_kept", self.blocks_kept.into(), 2 * backlog, 1 << 20)?;
        within("waiting_max", self.waiting_max.into(), 1, 1 << 20)?;
        within("repeat_ms", self.repeat_ms, 1, 3_600_000)?;
        within("ceremony_ms", self.ceremony_ms, 1, 3_600_000)?;
        within("endpoints_valid_ms", self.endpoints_valid_ms, 3_600_000, u64::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_checkpoints_fit_into_the_log() {
        assert_eq!(Config::default().validate(), Ok(()));
        let rare = Config { checkpoint_slots: 1 << 20, ..Config::default() };
        assert_eq!(rare.validate().map_err(|bad| bad.field), Err("checkpoint_slots"));
    }
}
