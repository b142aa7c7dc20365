//! How long a fuzzer runs.

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
