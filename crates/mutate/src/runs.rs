//! How long a fuzzer runs, and where it failed.

/// Executions that a fuzzer makes: `usual`, times what the environment variable `SMRCLOUD_FUZZ_TIMES` says.
///
/// # Panics
/// If the variable is there and no number.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests alone ask, and how long they run decides nothing")]
pub fn executions(usual: u64) -> u64 {
    match std::env::var("SMRCLOUD_FUZZ_TIMES") {
        Ok(times) => usual * times.parse::<u64>().expect("SMRCLOUD_FUZZ_TIMES is a number"),
        Err(_) => usual,
    }
}

/// The seed of all chance: 1, or what the environment variable `SMRCLOUD_FUZZ_SEED` says.
///
/// # Panics
/// If the variable is there and no number.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests alone ask, and print what they were told")]
pub fn seed() -> u64 {
    match std::env::var("SMRCLOUD_FUZZ_SEED") {
        Ok(seed) => seed.parse().expect("SMRCLOUD_FUZZ_SEED is a number"),
        Err(_) => 1,
    }
}

/// Counts executions, and tells which one failed.
#[derive(Debug)]
pub struct Counted {
    what: &'static str,
    executions: u64,
}

impl Counted {
    /// None yet, of `what`.
    #[must_use]
    pub fn new(what: &'static str) -> Counted {
        Counted { what, executions: 0 }
    }

    /// Another one begins.
    pub fn one(&mut self) {
        self.executions += 1;
    }

    /// How many have begun.
    #[must_use]
    pub fn executions(&self) -> u64 {
        self.executions
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{}: execution {} failed; SMRCLOUD_FUZZ_SEED={} repeats it",
                self.what,
                self.executions,
                seed()
            );
        }
    }
}
