//! What operations cost the replicas: messages and bytes between them, and processor time.

use std::time::Duration;

use serde::Serialize;
use smr_cloud::{Processes, Record, ReplicaState, ServiceDir, health};

/// How long a replica may take to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(3);

/// What all replicas together have counted since they began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    messages: u64,
    bytes: u64,
    cpu_us: u64,
    replicas: usize,
}

impl Counted {
    /// What the replicas of a service that was deployed from here say now; none if they cannot be asked.
    pub(crate) async fn now(dir: &ServiceDir, record: &Record) -> Option<Counted> {
        let seen = health(dir, record, &Processes::default(), PATIENCE).await.ok()?;
        let mut counted = Counted::default();
        for replica in &seen.replicas {
            let ReplicaState::Up { status } = &replica.state else { continue };
            counted.messages += status.peers.iter().map(|peer| peer.sent).sum::<u64>();
            counted.bytes += status.peers.iter().map(|peer| peer.sent_bytes).sum::<u64>();
            counted.cpu_us += status.cpu_us;
            counted.replicas += 1;
        }
        Some(counted)
    }

    /// What each of so many operations cost since `before`; none if a replica came or went meanwhile.
    pub(crate) fn since(&self, before: &Counted, operations: u64) -> Option<Cost> {
        let each = |now: u64, then: u64| per(now.checked_sub(then)?, operations);
        if self.replicas != before.replicas || operations == 0 {
            return None;
        }
        Some(Cost {
            replicas: self.replicas,
            messages: each(self.messages, before.messages)?,
            bytes: each(self.bytes, before.bytes)?,
            cpu_ms: each(self.cpu_us, before.cpu_us)? / 1000.0,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per(count: u64, operations: u64) -> Option<f64> {
    Some(count as f64 / operations as f64)
}

/// What one operation costs all replicas together.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Cost {
    /// How many of them were counted.
    replicas: usize,
    /// Messages between them.
    messages: f64,
    /// Bytes of those, before encryption.
    bytes: f64,
    /// Processor time, in ms.
    cpu_ms: f64,
}

impl Cost {
    pub(crate) fn render(&self) -> String {
        format!(
            "per operation, in all {} replicas: {:.1} messages and {:.0} bytes between them, {:.2} ms of processor time",
            self.replicas, self.messages, self.bytes, self.cpu_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_taken_off_and_a_replica_that_went_makes_it_unknown() {
        let before = Counted { messages: 100, bytes: 1000, cpu_us: 5_000, replicas: 3 };
        let after = Counted { messages: 160, bytes: 4000, cpu_us: 25_000, replicas: 3 };
        let cost = after.since(&before, 10).expect("the same replicas");
        assert_eq!(cost, Cost { replicas: 3, messages: 6.0, bytes: 300.0, cpu_ms: 2.0 });
        assert_eq!(Counted { replicas: 2, ..after }.since(&before, 10), None);
        assert_eq!(Counted { messages: 7, ..after }.since(&before, 10), None, "one began anew");
    }
}
