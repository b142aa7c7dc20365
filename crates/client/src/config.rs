//! Limits and timing of a client. Plain data; [`Config::validate`] makes sure that it makes sense.

use smr_wire::client::SESSION_WINDOW_MAX;

/// What one client of a service allows itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Commands in flight at most. 1..=[`SESSION_WINDOW_MAX`]. More hide longer delays and cost the service memory.
    pub window: u16,
    /// Commands that wait for room in the window, or for a contact, at most; beyond, a call fails at once.
    pub calls_waiting_max: u32,
    /// Bytes of the commands that wait, at most; beyond, a call fails at once.
    pub waiting_bytes_max: u32,
    /// Bytes of one request at most, 1 KiB..=16 MiB; not above what the service accepts. A command that does not
    /// fit into a request of its own fails at once.
    pub request_bytes_max: u32,
    /// Silence of a contact after which a request goes to another one, in ms, at first. The client waits three
    /// times as long as replies usually take if that is more, and twice as long with each repetition. Less finds
    /// a dead contact sooner and asks a slow service more often.
    pub retry_ms: u64,
    /// What that wait grows to at most, in ms.
    pub retry_max_ms: u64,
    /// From a call to the end of its hopes, in ms. Afterwards its outcome is not known, unless it never left.
    pub deadline_ms: u64,
    /// Pause after a hint before another contact is asked, in ms, at first; doubles with each hint.
    pub hint_ms: u64,
    /// How long a contact is left alone after its channel broke, in ms, at first; doubles with each time in a row.
    pub reconnect_ms: u64,
    /// How long a contact is left alone after a lie, in ms, at first; doubles with each lie.
    pub avoid_ms: u64,
    /// What both grow to at most, in ms.
    pub avoid_max_ms: u64,
    /// Silence after which a contact's channel is given up and made anew, in ms.
    pub silence_ms: u64,
    /// Contacts that the client keeps in mind, at most. 1..=1024.
    pub contacts_max: u16,
    /// Time for a connection, its handshake and the contact's certificate together, in ms.
    pub connect_ms: u64,
    /// Bytes of one frame from a contact at most, 1 KiB..=32 MiB; not below a reply of the service with its path.
    pub frame_bytes_max: u32,
}

impl Default for Config {
    /// Settings for a service in the same region.
    fn default() -> Config {
        Config {
            window: 64,
            calls_waiting_max: 4096,
            waiting_bytes_max: 64 << 20,
            request_bytes_max: 512 << 10,
            retry_ms: 400,
            retry_max_ms: 5000,
            deadline_ms: 30_000,
            hint_ms: 20,
            reconnect_ms: 100,
            avoid_ms: 5000,
            avoid_max_ms: 60_000,
            silence_ms: 10_000,
            contacts_max: 64,
            connect_ms: 5000,
            frame_bytes_max: 1 << 20,
        }
    }
}

impl Config {
    /// Whether the numbers fit together.
    ///
    /// # Errors
    /// The first that does not, and what would.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let within = |field, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) { Ok(()) } else { Err(BadConfig { field, value, low, high }) }
        };
        within("window", self.window.into(), 1, SESSION_WINDOW_MAX.into())?;
        within("calls_waiting_max", self.calls_waiting_max.into(), 1, 1 << 20)?;
        within("request_bytes_max", self.request_bytes_max.into(), 1 << 10, 16 << 20)?;
        within("waiting_bytes_max", self.waiting_bytes_max.into(), self.request_bytes_max.into(), 1 << 31)?;
        within("retry_ms", self.retry_ms, 1, 3_600_000)?;
        within("retry_max_ms", self.retry_max_ms, self.retry_ms, 3_600_000)?;
        within("deadline_ms", self.deadline_ms, 1, 86_400_000)?;
        within("hint_ms", self.hint_ms, 1, self.retry_max_ms)?;
        within("avoid_max_ms", self.avoid_max_ms, 1, 86_400_000)?;
        within("avoid_ms", self.avoid_ms, 1, self.avoid_max_ms)?;
        within("reconnect_ms", self.reconnect_ms, 1, self.avoid_max_ms)?;
        within("silence_ms", self.silence_ms, self.retry_ms, 86_400_000)?;
        within("contacts_max", self.contacts_max.into(), 1, 1024)?;
        within("connect_ms", self.connect_ms, 1, 3_600_000)?;
        within("frame_bytes_max", self.frame_bytes_max.into(), 1 << 10, 32 << 20)
    }
}

/// A setting outside its limits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{field}` of the client is {value}, but must be {low} to {high}")]
pub struct BadConfig {
    /// Which setting.
    pub field: &'static str,
    /// What it is.
    pub value: u64,
    /// The least it may be.
    pub low: u64,
    /// The most it may be.
    pub high: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_bad_setting_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let config = Config { retry_ms: 100, retry_max_ms: 50, hint_ms: 1, ..Config::default() };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "`retry_max_ms` of the client is 50, but must be 100 to 3600000"
        );
        let wide = Config { window: SESSION_WINDOW_MAX + 1, ..Config::default() };
        assert_eq!(wide.validate().unwrap_err().field, "window");
    }
}
