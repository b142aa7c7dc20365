//! `smrcloud simulate --twins`: scenarios in which one replica is two machines. Every one is repeated by its number.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use smr_sim::trace::Trace;
use smr_sim::twins::{Failure, ROUNDS_MAX, Space, Twins};
use smr_sim::Summary;

use super::{Found, number};
use crate::output::{Code, Output, Trouble};

/// Arguments of `simulate --twins`.
#[derive(Args)]
pub(super) struct Arguments {
    /// Run scenarios in which one replica is two machines with the same keys, in all ways to part them from the
    /// others; --seeds and --from count scenarios then.
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
    failures: Vec<Found>,
    /// Those that differ in more than names; of them [`Report::scenarios`] have been run.
    canonical: u64,
    share: f64,
    numbers: u64,
    /// Where to go on.
    next: u64,
    scenarios_per_hour: f64,
    simulated_seconds: f64,
    wall_seconds: f64,
    steps: u64,
    slots: u64,
    commands: u64,
    highest_view: u64,
    messages_lost: u64,
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
        let bar = if output.is_lively() { ProgressBar::new(scenarios) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} scenarios, {per_sec}, {eta} left");
        bar.set_style(style.expect("a valid template"));
        let count = usize::try_from(scenarios).unwrap_or(usize::MAX);
        let numbers = Mutex::new(space.from(from).take(count));
        let tally = Mutex::new(Tally { next: from, ..Tally::default() });
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let twins = Twins::new(self.rounds);
                    loop {
                        let number = numbers.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(number) = number else { return };
                        let result = twins.run(number);
                        tally.lock().unwrap_or_else(PoisonError::into_inner).add(number, result);
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn finish(space: &Space, tally: Tally, wall: Duration, output: Output) -> Result<ExitCode, Trouble> {
    let Tally { summary, mut failures, scenarios, next } = tally;
    failures.sort_by_key(|failure| failure.number);
    let found = |failure: &Failure| Found { failure: failure.to_string(), replay: failure.replay() };
    let canonical = space.canonical();
    let wall_seconds = wall.as_secs_f64();
    let report = Report {
        rounds: space.rounds(),
        scenarios,
        failures: failures.iter().map(found).collect(),
        canonical,
        share: scenarios as f64 / canonical as f64,
        numbers: space.size(),
        next,
        scenarios_per_hour: scenarios as f64 / wall_seconds.max(1e-9) * 3600.0,
        simulated_seconds: Duration::from_micros(summary.simulated_us).as_secs_f64(),
        wall_seconds,
        steps: summary.happened,
        slots: summary.slots,
        commands: summary.commands,
        highest_view: summary.views,
        messages_lost: summary.lost,
    };
    output.result(&report, text);
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Trouble::new(format!("{} of {scenarios} scenarios failed", failures.len())).code(Code::Wrong))
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} scenarios of {} rounds, {} failures, in {:.1} s ({:.0} an hour).",
        report.scenarios,
        report.rounds,
        report.failures.len(),
        report.wall_seconds,
        report.scenarios_per_hour,
    )];
    lines.push(format!(
        "{:.3} % of the {} that differ in more than names, of {} in all; go on with --from {}.",
        report.share * 100.0,
        report.canonical,
        report.numbers,
        report.next,
    ));
    lines.push(format!(
        "{} steps, {} slots, {} commands; highest view {}; {} messages lost.",
        report.steps, report.slots, report.commands, report.highest_view, report.messages_lost,
    ));
    super::list(&report.failures, &mut lines);
    lines.join("\n")
}

fn rounds() -> impl TypedValueParser<Value = usize> {
    let range = RangedU64ValueParser::<u64>::new().range(1..=ROUNDS_MAX as u64);
    range.map(|rounds| usize::try_from(rounds).expect("few"))
}
