//! One clock for all processes of this machine.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since some moment before, the same in every process: CLOCK_MONOTONIC.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("it counts upwards from boot");
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).expect("below a second") / 1000
}
