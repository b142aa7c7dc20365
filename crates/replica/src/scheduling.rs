//! How commands run side by side, as a service states it in its genesis.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_uds::{BadConfig, Config, preset};

/// Commands that may wait on conditions of the application at once; each costs its bytes. One more ends with a fault.
pub const WAITING_MAX: u32 = 1024;

/// Commands begun by commands or by time that may run at once. One more ends who begins it with a fault.
pub const SPAWNED_MAX: u32 = 1 << 14;

/// A preset of the deterministic scheduler and its numbers.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Scheduling {
    /// Its name; see [`preset::NAMES`].
    pub preset: String,
    /// Commands that take turns in one round (N), where the preset leaves that open.
    pub primaries: u32,
    /// Turns of each in one round (S), where the preset leaves that open.
    pub steps: u32,
}

impl Scheduling {
    /// One command after the other.
    #[must_use]
    pub fn sequential() -> Scheduling {
        Scheduling { preset: "sequential".into(), primaries: 1, steps: 1 }
    }

    /// The scheduler's settings.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn config(&self) -> Result<Config, BadScheduling> {
        let chosen = match self.preset.as_str() {
            "rounds" => Some(preset::rounds(self.primaries, self.steps)),
            "blocks" => Some(preset::blocks(self.primaries, self.steps)),
            name => preset::by_name(name, self.primaries),
        };
        let config = chosen.ok_or_else(|| BadScheduling::Unknown { name: self.preset.clone() })?;
        let config = Config { waiting_max: WAITING_MAX, spawned_max: SPAWNED_MAX, ..config };
        config.validate().map_err(BadScheduling::Config)?;
        Ok(config)
    }
}

/// Why there is no such scheduler.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadScheduling {
    /// Its name.
    #[error("there is no scheduler {name:?}; there are {}", preset::NAMES.join(", "))]
    Unknown {
        /// As it was written.
        name: String,
    },
    /// Its numbers.
    #[error("the scheduler's {0}")]
    Config(#[source] BadConfig),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_stated_and_others_cannot() {
        let state = |preset: &str, primaries| Scheduling { preset: preset.into(), primaries, steps: 2 };
        for name in preset::NAMES {
            assert!(state(name, 4).config().is_ok(), "{name}");
        }
        assert_eq!(state("rounds", 4).config().map(|config| (config.primaries, config.steps)), Ok((4, 2)));
        assert!(state("lsa", 4).config().unwrap_err().to_string().contains("there are sequential, sat"));
        assert!(state("rounds", 0).config().unwrap_err().to_string().contains("primaries is 0"));
    }
}
