//! `smrcloud simulate --twins`: scenarios in which one replica is two machines. Every one is repeated by its number.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use serde::Serialize;
use smr_sim::trace::Trace;
use smr_sim::twins::{Failure, ROUNDS_MAX, Space, Twins};
use smr_sim::Summary;

use super::many::{Found, Totals, run_all};
use super::number;
use crate::output::{Code, Output, Trouble};

/// Arguments of `simulate --twins`.
#[derive(Args)]
pub(super) struct Arguments {
    /// Run scenarios of pbft, the only protocol that has them, in which one replica is two machines with the same keys,
    /// in all ways to part them from the others; --seeds and --from count scenarios then.
    #[arg(long, conflicts_with_all = ["seed", "misdeed"])]
    pub(super) twins: bool,
    /// How many views have a partition of their own.
    #[arg(long, default_value = "2", value_parser = rounds(), requires = "twins")]
    rounds: usize,
    /// Run this scenario alone and print what happens.
    #[arg(long, value_parser = number, requires = "twins", group = "one")]
    scenario: Option<u64>,
}

/// What the scenarios showed.
#[derive(Serialize)]
struct Report {
    rounds: usize,
    scenarios: u64,
    /// Those that differ in more than names; of them [`Report::scenarios`] have been run.
    canonical: u64,
    share: f64,
    numbers: u64,
    /// Where to go on.
    next: u64,
    scenarios_per_hour: f64,
    #[serde(flatten)]
    totals: Totals,
}

/// What all threads find together.
#[derive(Default)]
struct Tally {
    summary: Summary,
    failures: Vec<Failure>,
    scenarios: u64,
    next: u64,
}

impl Tally {
    fn add(&mut self, number: u64, result: Result<Summary, Box<Failure>>) {
        self.scenarios += 1;
        self.next = self.next.max(number + 1);
        match result {
            Ok(summary) => self.summary += summary,
            Err(failure) => self.failures.push(*failure),
        }
    }
}

impl Arguments {
    /// Runs `scenarios` of them from the number `from` on, or the one that is named up to step `until`.
    pub(super) fn run(&self, from: u64, scenarios: u64, until: u64, output: Output) -> Result<ExitCode, Trouble> {
        let space = Space::new(self.rounds);
        let first = self.scenario.unwrap_or(from);
        if first >= space.size() {
            let last = space.size() - 1;
            return Err(Trouble::new(format!("there is no scenario {first} of {} rounds", self.rounds))
                .help(format!("their numbers are 0 to {last}")));
        }
        let began = Instant::now();
        let tally = match self.scenario {
            Some(number) => self.one(number, until, output),
            None => self.many(&space, from, scenarios, output),
        };
        finish(&space, tally, began.elapsed(), output)
    }

    fn one(&self, number: u64, until: u64, output: Output) -> Tally {
        let twins = Twins::new(self.rounds);
        output.progress(&twins.space().scenario(number).to_string());
        let (result, trace) = twins.run_until(number, until, Trace::on());
        trace.lines().iter().for_each(|line| output.progress(line));
        let mut tally = Tally::default();
        tally.add(number, result);
        tally
    }

    fn many(&self, space: &Space, from: u64, scenarios: u64, output: Output) -> Tally {
        let mut tally = Tally { next: from, ..Tally::default() };
        let run_scenarios = || {
            let twins = Twins::new(self.rounds);
            move |number| twins.run(number)
        };
        let numbers = space.from(from).take(usize::try_from(scenarios).unwrap_or(usize::MAX));
        run_all(numbers, scenarios, "scenarios", output, run_scenarios, |number, result| {
            tally.add(number, result);
        });
        tally
    }
}

fn finish(space: &Space, tally: Tally, wall: Duration, output: Output) -> Result<ExitCode, Trouble> {
    let Tally { summary, mut failures, scenarios, next } = tally;
    failures.sort_by_key(|failure| failure.number);
    let found = |failure: &Failure| Found { failure: failure.to_string(), replay: failure.replay() };
    let canonical = space.canonical();
    let totals = Totals::new(&summary, failures.iter().map(found).collect(), wall);
    let report = Report {
        rounds: space.rounds(),
        scenarios,
        canonical,
        share: scenarios as f64 / canonical as f64,
        numbers: space.size(),
        next,
        scenarios_per_hour: scenarios as f64 / wall.as_secs_f64().max(1e-9) * 3600.0,
        totals,
    };
    output.result(&report, text);
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Trouble::new(format!("{} of {scenarios} scenarios failed", failures.len())).code(Code::Wrong))
}

fn text(report: &Report) -> String {
    let totals = &report.totals;
    format!(
        "{} scenarios of {} rounds, {} failures, in {:.1} s ({:.0} an hour).\n{:.3} % of the {} that differ in more than \
         names, of {} in all; go on with --from {}.\n{}",
        report.scenarios,
        report.rounds,
        totals.failures.len(),
        totals.wall_seconds,
        report.scenarios_per_hour,
        report.share * 100.0,
        report.canonical,
        report.numbers,
        report.next,
        totals.text(),
    )
}

fn rounds() -> impl TypedValueParser<Value = usize> {
    let range = RangedU64ValueParser::<u64>::new().range(1..=ROUNDS_MAX as u64);
    range.map(|rounds| usize::try_from(rounds).expect("few"))
}
