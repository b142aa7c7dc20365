//! Limits and timing of a whole replica. Part of the genesis, hence equal on all replicas of a service.

use borsh::{BorshDeserialize, BorshSerialize};
pub use smr_app::Strategy;
use smr_consensus::config::BadConfig;

/// Bytes of replies that all sessions together keep at most. They are part of every checkpoint.
pub const SESSIONS_BYTES_MAX: u64 = 1 << 30;

/// Plain data; [`Config::validate`] makes sure that it makes sense.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Config {
    /// Of the ordering part.
    pub consensus: smr_consensus::Config,
    /// Slots from one checkpoint to the next at most (K). Fewer make a shorter log and more pauses.
    pub checkpoint_slots: u64,
    /// Bytes of batches from one checkpoint to the next at most (M), so that the log of large ones is short too.
    pub checkpoint_bytes: u64,
    /// When the chunks of a checkpoint are made.
    pub checkpoints: Strategy,
    /// Bytes of chunks of state in one answer at most; a chunk that is longer comes alone. 1 KiB..=1 MiB.
    pub answer_bytes: u32,
    /// How long a state that a peer has begun to fetch is kept for it at most, in ms, though newer ones are stable.
    /// Costs memory for one more state, or one for each fault survived if peers lie.
    pub image_pin_ms: u64,
    /// A period of a state transfer, in ms: a source that does not answer for a whole one is no source any more.
    pub transfer_ms: u64,
    /// Bytes of one command at most; larger ones get a certified refusal.
    pub command_bytes_max: u32,
    /// Bytes of one reply at most; larger ones become a certified fault.
    pub reply_bytes_max: u32,
    /// Bytes of one request at most; larger ones are not pooled.
    pub request_bytes_max: u32,
    /// Sessions of the service at most; beyond, one that is not in use is given up for a new one.
    pub sessions_max: u32,
    /// Sessions of one client at most; beyond, one of its own that is not in use is given up for a new one.
    pub client_sessions_max: u32,
    /// How long after its last command a session is in use, in ms of agreed time. Longer than clients wait for a
    /// reply; while all sessions are in use, new ones are refused.
    pub session_idle_ms: u64,
    /// Bytes of replies that a session keeps for repeats at most; a larger reply is not kept. Less where all
    /// sessions together would keep more than [`SESSIONS_BYTES_MAX`].
    pub session_reply_bytes_max: u32,
    /// Bytes of the replies of one slot at most, and of repeated ones as many again; beyond, the largest ones become
    /// certified faults. From `reply_bytes_max` on.
    pub slot_reply_bytes_max: u32,
    /// Blocks of replies that a replica keeps in case a client asks again.
    pub blocks_kept: u32,
    /// Bytes of those blocks at most; the oldest go first, the newest stays.
    pub blocks_bytes_max: u64,
    /// Commands of clients that wait for a reply at one contact at most.
    pub waiting_max: u32,
    /// How often unfinished exchanges between replicas (shares, votes, key generation) are repeated, in ms.
    pub repeat_ms: u64,
    /// How long key generation waits for late participants once enough have confirmed, in ms; nobody confirms where trusted
    /// cores deal.
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
            checkpoint_bytes: 64 << 20,
            checkpoints: Strategy::Rolling,
            answer_bytes: 256 << 10,
            image_pin_ms: 300_000,
            transfer_ms: 1000,
            command_bytes_max: 256 << 10,
            reply_bytes_max: 512 << 10,
            request_bytes_max: 512 << 10,
            sessions_max: 4096,
            client_sessions_max: 16,
            session_idle_ms: 30_000,
            session_reply_bytes_max: 64 << 10,
            slot_reply_bytes_max: 16 << 20,
            blocks_kept: 2048,
            blocks_bytes_max: 256 << 20,
            waiting_max: 16_384,
            repeat_ms: 300,
            ceremony_ms: 2000,
            endpoints_valid_ms: 90 * 24 * 3_600_000,
        }
    }
}

impl Config {
    /// Bytes of replies that a session keeps.
    #[must_use]
    pub fn session_reply_bytes(&self) -> u64 {
        u64::from(self.session_reply_bytes_max).min(SESSIONS_BYTES_MAX / u64::from(self.sessions_max))
    }

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
        within("checkpoint_bytes", self.checkpoint_bytes, 1, 1 << 40)?;
        within("answer_bytes", self.answer_bytes.into(), 1 << 10, 1 << 20)?;
        within("image_pin_ms", self.image_pin_ms, self.repeat_ms, 86_400_000)?;
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
        within("session_idle_ms", self.session_idle_ms, 1, 86_400_000)?;
        within("session_reply_bytes_max", self.session_reply_bytes_max.into(), 0, 64 << 20)?;
        let reply = u64::from(self.reply_bytes_max);
        within("slot_reply_bytes_max", self.slot_reply_bytes_max.into(), reply, 1 << 30)?;
        within("blocks_bytes_max", self.blocks_bytes_max, self.slot_reply_bytes_max.into(), 1 << 40)?;
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
