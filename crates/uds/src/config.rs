//! Settings of a scheduler. Those that shape rounds must be equal on all replicas, at the same place of the order.

/// Plain data; [`Config::validate`] makes sure that it makes sense, and whoever takes one calls it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Tasks that take turns in one round (N). 1..=4096. More run lock-protected work side by side; a round
    /// waits until so many are there or a fill marker ends the wait.
    pub primaries: u32,
    /// Turns that each of them has in one round (S), at least 1. More let a task take several locks before the
    /// next one gets its place; fewer share the turns more evenly.
    pub steps: u32,
    /// Whose turn comes when.
    pub order: Order,
    /// When a task begins to compute.
    pub start: Start,
    /// What becomes of a task's place while it waits for a lock or a semaphore.
    pub blocked: Blocked,
    /// Tasks that have started and neither left nor wait, `primaries`..=1,048,576; spawned and woken ones come on
    /// top. All of them compute side by side before their first lock. Each costs its future's memory.
    pub tasks_max: u32,
    /// Tasks that wait on a condition or at a barrier at once, at least 1. One more ends with a fault.
    pub waiting_max: u32,
    /// Tasks spawned by tasks and not gone at the end of the last round, plus those spawned since, at least 1.
    /// The task that spawns one more ends with a fault.
    pub spawned_max: u32,
    /// Tasks and markers admitted beyond `tasks_max`, which wait to start, at least 1. Further ones are refused.
    pub backlog_max: u32,
}

/// The order of turns within a round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// Primaries `0, 1, .., N-1`, and so on S times.
    RoundRobin,
    /// All S turns of primary 0, then all of primary 1, and so on: an older task never waits for a younger one.
    Blocks,
    /// The next turn belongs to the primary with the smallest logical clock, the first of the list among equals.
    /// A turn adds one to its task's clock, [`crate::advance`] adds more.
    Clocks,
}

/// When a task begins to compute. Has no influence on any order of grants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Start {
    /// When it is admitted or spawned; it computes beside the others up to its first turn.
    AtOnce,
    /// When it becomes a primary.
    AsPrimary,
}

/// What a round's end means for a primary that waits for a lock or a semaphore.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Blocked {
    /// It is a primary again and asks again, in a turn of the new round.
    KeepsPlace,
    /// It keeps its request and gives its place to the next task of the list, until it is granted. (Before the
    /// end of the round nobody can know whether it is blocked or merely early.)
    YieldsPlace,
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
        within("waiting_max", self.waiting_max, 1, u32::MAX)?;
        within("spawned_max", self.spawned_max, 1, 1 << 20)?;
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
        for wrong in [
            Config { backlog_max: 0, ..preset::sequential() },
            Config { waiting_max: 0, ..preset::sequential() },
            Config { spawned_max: 0, ..preset::sequential() },
        ] {
            assert!(wrong.validate().is_err());
        }
    }
}
