//! What a run of a workload gave: counts, latencies, and what went wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::cost::{Cost, Counted};
use super::histogram::Histogram;
use crate::output::Code;

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

/// Distinct things that went wrong that are remembered; of the others only their number is.
const REMEMBERED_MAX: usize = 5;

/// What one client, or all together, saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    took: BTreeMap<Kind, Histogram>,
    wrong: u64,
    unanswered: u64,
    in_a_row: u32,
    /// The first distinct things that went wrong, in words, and how often each did. At most [`REMEMBERED_MAX`].
    seen: Vec<Seen>,
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
        self.see(what, 1);
    }

    /// No certified answer in time.
    pub(crate) fn unanswered(&mut self, why: String) {
        self.unanswered += 1;
        self.in_a_row += 1;
        self.see(why, 1);
    }

    fn see(&mut self, what: String, count: u64) {
        let has_room = self.seen.len() < REMEMBERED_MAX;
        match self.seen.iter_mut().find(|seen| seen.what == what) {
            Some(seen) => seen.count += count,
            None if has_room => self.seen.push(Seen { what, count }),
            None => {}
        }
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
        trouble(self.wrong, self.unanswered, &self.seen)
    }

    /// How bad it is.
    pub(crate) fn code(&self) -> Code {
        code(self.wrong)
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        for (kind, histogram) in &other.took {
            self.took.entry(*kind).or_default().merge(histogram);
        }
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.untold += other.untold;
        for Seen { what, count } in &other.seen {
            self.see(what.clone(), *count);
        }
    }
}

fn code(wrong: u64) -> Code {
    if wrong > 0 { Code::Wrong } else { Code::Failed }
}

/// Something that went wrong, and how often.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Seen {
    what: String,
    count: u64,
}

/// What went wrong, in words: how much, then the first distinct things, a line each.
fn trouble(wrong: u64, unanswered: u64, seen: &[Seen]) -> String {
    let mut lines = vec![if wrong + unanswered == 0 {
        "nothing was done at all".to_owned()
    } else {
        format!(
            "certified answers that were not the expected ones: {wrong}; commands without one: {unanswered}"
        )
    }];
    lines.extend(seen.iter().map(|seen| format!("  {} x {}", seen.count, seen.what)));
    let others = wrong + unanswered - seen.iter().map(|seen| seen.count).sum::<u64>();
    if others > 0 {
        lines.push(format!("  {others} x something else"));
    }
    lines.join("\n")
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
    /// The first distinct things that went wrong.
    failures: Vec<Seen>,
    latency_ms: Vec<Row>,
    /// What an operation cost the replicas, where they could be asked.
    cost: Option<Cost>,
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
            failures: tally.seen.clone(),
            latency_ms,
            cost: None,
        }
    }

    /// With what the replicas counted in the meantime.
    pub(crate) fn with_cost(self, before: Option<&Counted>, after: Option<&Counted>) -> Report {
        let cost =
            before.zip(after).and_then(|(before, after)| Cost::between(before, after, self.operations));
        Report { cost, ..self }
    }

    /// Whether every command was answered, and rightly.
    pub(crate) fn is_clean(&self) -> bool {
        self.verified
    }

    /// How bad it is that it is not: wrong answers must never be, answers that do not come may.
    pub(crate) fn code(&self) -> Code {
        code(self.wrong)
    }

    /// What went wrong, in words.
    pub(crate) fn trouble(&self) -> String {
        trouble(self.wrong, self.unanswered, &self.failures)
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
                match (self.wrong, self.operations, self.unanswered) {
                    (0, 0, _) => "there was none".to_owned(),
                    (0, _, 0) => "yes".to_owned(),
                    (0, _, missing) => format!("yes, but {missing} did not come"),
                    _ => "NO".to_owned(),
                },
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
        lines.extend(self.cost.iter().flat_map(|cost| [String::new(), cost.render()]));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_distinct_things_that_went_wrong_are_told_with_their_counts() {
        let mut tally = Tally::default();
        tally.wrong("a put was answered no".to_owned());
        let mut other = Tally::default();
        other.wrong("a put was answered no".to_owned());
        other.unanswered("no answer in time".to_owned());
        (0..REMEMBERED_MAX).for_each(|n| other.wrong(format!("strange {n}")));
        tally.merge(&other);
        let told = tally.trouble();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[0], "certified answers that were not the expected ones: 7; commands without one: 1");
        assert_eq!(lines[1], "  2 x a put was answered no");
        assert_eq!(lines[2], "  1 x no answer in time");
        assert_eq!((lines.len(), lines[6]), (7, "  2 x something else"));
        assert_eq!(Tally::default().trouble(), "nothing was done at all");
    }

    #[test]
    fn only_answers_that_came_are_told_as_verified_and_only_wrong_ones_are_alarming() {
        let report = |tally: &Tally| Report::new(tally, Duration::from_secs(1), 1, "w");
        let mut tally = Tally::default();
        tally.unanswered("no answer in time".to_owned());
        let none = report(&tally);
        assert!(none.render().contains("every reply verified: there was none\n"), "{}", none.render());
        assert!(!none.is_clean() && none.code() == Code::Failed);
        tally.done(Kind::Read, Duration::from_millis(1));
        let some = report(&tally);
        assert!(
            some.render().contains("every reply verified: yes, but 1 did not come\n"),
            "{}",
            some.render()
        );
        assert!(!some.is_clean() && some.code() == Code::Failed);
        tally.wrong("a put was answered no".to_owned());
        let wrong = report(&tally);
        assert!(wrong.render().contains("every reply verified: NO\n"), "{}", wrong.render());
        assert!(!wrong.is_clean() && wrong.code() == Code::Wrong);
        let mut clean = Tally::default();
        clean.done(Kind::Read, Duration::from_millis(1));
        assert!(report(&clean).is_clean() && report(&clean).render().contains("verified: yes\n"));
    }
}
