//! What operations cost the replicas: messages and bytes between them, and processor time.

use std::time::Duration;

use serde::Serialize;
use smr_cloud::{Processes, Record, ServiceDir, health};
use smr_node::NodeStatus;

/// How long a replica may take to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the replicas have counted since they began, each by its number; none for one that does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Counted(Vec<Option<Counts>>);

/// What one replica has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    messages: u64,
    bytes: u64,
    cpu_us: u64,
}

impl Counted {
    /// What the replicas of a service that was deployed from here say now; none if they cannot be asked.
    pub(crate) async fn now(dir: &ServiceDir, record: &Record) -> Option<Counted> {
        let seen = health(dir, record, &Processes::default(), PATIENCE).await.ok()?;
        let counts = |status: &NodeStatus| Counts {
            messages: status.peers.iter().map(|peer| peer.sent).sum(),
            bytes: status.peers.iter().map(|peer| peer.sent_bytes).sum(),
            cpu_us: status.cpu_us,
        };
        Some(Counted(seen.replicas.iter().map(|replica| replica.status().map(counts)).collect()))
    }
}

impl Counts {
    /// What was counted since `before`; none if it began anew meanwhile.
    fn since(self, before: Counts) -> Option<Counts> {
        Some(Counts {
            messages: self.messages.checked_sub(before.messages)?,
            bytes: self.bytes.checked_sub(before.bytes)?,
            cpu_us: self.cpu_us.checked_sub(before.cpu_us)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per(count: u64, operations: u64) -> f64 {
    count as f64 / operations as f64
}

/// What one operation costs the replicas together that could be asked before and after.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Cost {
    /// How many of them there were.
    replicas: usize,
    /// Of so many.
    of: usize,
    /// Messages between them.
    messages: f64,
    /// Bytes of those, before encryption.
    bytes: f64,
    /// Processor time, in ms.
    cpu_ms: f64,
}

impl Cost {
    /// What each of so many operations cost from `before` to `after`; none if there was none, or no replica answered at
    /// both times.
    pub(crate) fn between(before: &Counted, after: &Counted, operations: u64) -> Option<Cost> {
        let both =
            before.0.iter().zip(&after.0).filter_map(|(before, after)| after.as_ref()?.since((*before)?));
        let both: Vec<Counts> = both.collect();
        if both.is_empty() || operations == 0 {
            return None;
        }
        let each = |count: fn(&Counts) -> u64| per(both.iter().map(count).sum(), operations);
        Some(Cost {
            replicas: both.len(),
            of: after.0.len(),
            messages: each(|counts| counts.messages),
            bytes: each(|counts| counts.bytes),
            cpu_ms: each(|counts| counts.cpu_us) / 1000.0,
        })
    }

    pub(crate) fn render(&self) -> String {
        let who = match self.of - self.replicas {
            0 if self.of == 1 => "the one replica".to_owned(),
            0 => format!("all {} replicas", self.of),
            1 => format!("{} of {} replicas (one did not say)", self.replicas, self.of),
            silent => format!("{} of {} replicas ({silent} did not say)", self.replicas, self.of),
        };
        format!(
            "per operation, in {who}: {:.1} messages and {:.0} bytes between them, {:.2} ms of processor time",
            self.messages, self.bytes, self.cpu_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_taken_off_and_a_replica_that_went_is_left_out() {
        let one = Counts { messages: 100, bytes: 1000, cpu_us: 5_000 };
        let grown = Counts { messages: 160, bytes: 4000, cpu_us: 25_000 };
        let (before, after) = (Counted(vec![Some(one); 3]), Counted(vec![Some(grown); 3]));
        let cost = Cost::between(&before, &after, 10).expect("the same replicas");
        assert_eq!(cost, Cost { replicas: 3, of: 3, messages: 18.0, bytes: 900.0, cpu_ms: 6.0 });
        assert!(
            cost.render().starts_with("per operation, in all 3 replicas: 18.0 messages"),
            "{}",
            cost.render()
        );

        let anew = Counts { messages: 7, ..grown };
        for changed in [None, Some(anew)] {
            let after = Counted(vec![Some(grown), changed, Some(grown)]);
            let cost = Cost::between(&before, &after, 10).expect("two of them");
            assert_eq!(cost, Cost { replicas: 2, of: 3, messages: 12.0, bytes: 600.0, cpu_ms: 4.0 });
            assert!(cost.render().starts_with("per operation, in 2 of 3 replicas (one did not say): 12.0"));
        }
        assert_eq!(Cost::between(&before, &Counted(vec![None; 3]), 10), None);
        assert_eq!(Cost::between(&before, &after, 0), None);
    }
}
