//! Whatever reads bytes from outside, fed with changed messages of simulated runs; `docs/wire-fuzzing.md` says what is
//! fuzzed where. Longer: `SMRCLOUD_FUZZ_TIMES=100 cargo test --release -p smr-sim --test wire -- --nocapture`.

mod applications;
mod corpus;
mod decoders;
mod handlers;
mod invocations;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

/// Counts the memory in use, and the most that was.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process, so tests that count it, and all beside them, run one by one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `run` gives, and the most memory that it had in use at once beyond what was before, in bytes.
fn measured<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = run();
    (result, MEMORY.peak_usage().saturating_sub(before))
}
