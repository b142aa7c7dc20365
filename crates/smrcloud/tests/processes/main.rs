//! The promise, with the real program and real processes, under every protocol: clients at work while replicas are killed,
//! or stand still and go on.

mod bench;
mod clients;
mod deployed;
mod disk;
mod frozen;
mod kill;
mod memory;
mod returns;

use std::time::{Duration, Instant};

/// Far more than any of this takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// How often to look whether something has come to pass.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < DEADLINE, "{what}: not after {DEADLINE:?}");
        tokio::time::sleep(POLL).await;
    }
}
