//! What a run of a workload gave: counts, latencies, and what went wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::histogram::Histogram;

/// Kinds of operations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// One record.
    Read,
    /// A record written anew.
    Update,
    /// A new record.
    Insert,
    /// Records in order.
    Scan,
    /// A record read and then written.
    ReadModifyWrite,
}

/// Failures in a row after which a client stops asking.
const HOPELESS: u32 = 3;

/// What one client, or all together, saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    took: BTreeMap<Kind, Histogram>,
    wrong: u64,
    unanswered: u64,
    in_a_row: u32,
    /// The first thing that went wrong, in words.
    first: Option<String>,
    /// Inserts that were answered out of turn, whose records are not read in this run.
    pub(crate) untold: u64,
}

impl Tally {
    pub(crate) fn done(&mut self, kind: Kind, took: Duration) {
        self.in_a_row = 0;
        self.took.entry(kind).or_default().record(took);
    }

    /// A certified answer that is not what this workload expects: the data or the application is another one.
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.in_a_row += 1;
        self.first.get_or_insert(what);
    }

    /// No certified answer in time.
    pub(crate) fn unanswered(&mut self, why: String) {
        self.unanswered += 1;
        self.in_a_row += 1;
        self.first.get_or_insert(why);
    }

    /// Whether there is no point in asking on.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.in_a_row >= HOPELESS
    }

    /// How much went wrong.
    pub(crate) fn failed(&self) -> u64 {
        self.wrong + self.unanswered
    }

    /// That, in words.
    pub(crate) fn trouble(&self) -> String {
        let first = self.first.as_deref().unwrap_or("nothing");
        format!(
            "{} certified answers were not the ones expected, {} commands got none; first: {first}",
            self.wrong, self.unanswered
        )
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        for (kind, histogram) in &other.took {
            self.took.entry(*kind).or_default().merge(histogram);
        }
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.untold += other.untold;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: String,
    clients: u32,
    seconds: f64,
    operations: u64,
    operations_per_second: f64,
    verified: bool,
    wrong: u64,
    unanswered: u64,
    first_failure: Option<String>,
    latency_ms: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    count: u64,
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl Report {
    pub(crate) fn new(tally: &Tally, took: Duration, clients: u32, workload: &str) -> Report {
        let mut all = Histogram::default();
        tally.took.values().for_each(|histogram| all.merge(histogram));
        let mut latency_ms: Vec<Row> =
            tally.took.iter().filter_map(|(kind, histogram)| row(&format!("{kind:?}"), histogram)).collect();
        latency_ms.extend(row("all", &all));
        let operations = all.summary().map_or(0, |summary| summary.count);
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let operations_per_second = operations as f64 / seconds.max(1e-9);
        Report {
            workload: workload.to_string(),
            clients,
            seconds,
            operations,
            operations_per_second,
            verified: operations > 0 && tally.failed() == 0,
            wrong: tally.wrong,
            unanswered: tally.unanswered,
            first_failure: tally.first.clone(),
            latency_ms,
        }
    }

    /// Whether every command was answered, and rightly.
    pub(crate) fn is_clean(&self) -> bool {
        self.verified && self.operations > 0
    }

    /// What went wrong, in words.
    pub(crate) fn trouble(&self) -> String {
        let first = self.first_failure.as_deref().unwrap_or("nothing was done at all");
        format!(
            "{} certified answers were not the ones expected, {} commands got none; first: {first}",
            self.wrong, self.unanswered
        )
    }

    pub(crate) fn render(&self) -> String {
        let mut lines = vec![
            format!(
                "{}: {} clients, {:.1} s, {} operations, {:.0} operations/s, every reply verified: {}",
                self.workload,
                self.clients,
                self.seconds,
                self.operations,
                self.operations_per_second,
                if self.verified { "yes" } else { "NO" },
            ),
            String::new(),
            format!(
                "{:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "latency, ms", "count", "mean", "p50", "p95", "p99", "max"
            ),
        ];
        lines.extend(self.latency_ms.iter().map(|row| {
            format!(
                "{:<16} {:>9} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                row.operation, row.count, row.mean, row.p50, row.p95, row.p99, row.max
            )
        }));
        lines.join("\n")
    }
}

fn row(operation: &str, histogram: &Histogram) -> Option<Row> {
    let summary = histogram.summary()?;
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    Some(Row {
        operation: operation.to_string(),
        count: summary.count,
        mean: ms(summary.mean),
        p50: ms(summary.p50),
        p95: ms(summary.p95),
        p99: ms(summary.p99),
        max: ms(summary.max),
    })
}
