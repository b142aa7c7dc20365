//! Settings of a scheduler. Those that shape rounds must be equal on all replicas, at the same place of the order.

/// Plain data; [`Config::validate`] makes sure that it makes sense, and whoever takes one calls it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Tasks that take turns in one round (N). 1..=4096. More run lock-protected work side by side; a round
    /// waits until so many are there or a fill marker ends the wait.
    pub primaries: u32,
    /// Turns that each of them has in one round (S), at least 1. More let a task take several locks before the
    /// next one gets its place; fewer share the turns more evenly.
    pub steps: u32,
    /// Tasks that have started and not left, `primaries`..=1,048,576. All of them compute side by side before
    /// their first lock. Each costs its future's memory.
    pub tasks_max: u32,
    /// Tasks and markers admitted beyond those, which wait to start, at least 1. Further ones are refused.
    pub backlog_max: u32,
}

impl Config {
    /// Whether the numbers fit together.
    ///
    /// # Errors
    /// The first that does not, and what would.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let within = |field, value, low, high| {
            if (low..=high).contains(&value) { Ok(()) } else { Err(BadConfig { field, value, low, high }) }
        };
        within("primaries", self.primaries, 1, 4096)?;
        within("steps", self.steps, 1, u32::MAX)?;
        within("tasks_max", self.tasks_max, self.primaries, 1 << 20)?;
        within("backlog_max", self.backlog_max, 1, u32::MAX)
    }
}

/// A setting outside of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {value}, but must be between {low} and {high}")]
pub struct BadConfig {
    field: &'static str,
    value: u32,
    low: u32,
    high: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset;

    #[test]
    fn a_round_that_could_never_fill_is_refused_with_its_reason() {
        let config = Config { tasks_max: 3, ..preset::rounds(4, 1) };
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "tasks_max is 3, but must be between 4 and 1048576");
    }

    #[test]
    fn zero_is_no_setting() {
        assert!(preset::rounds(0, 1).validate().is_err());
        assert!(preset::rounds(1, 0).validate().is_err());
        assert!(Config { backlog_max: 0, ..preset::sequential() }.validate().is_err());
    }
}
