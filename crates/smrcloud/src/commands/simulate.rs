//! `smrcloud simulate`: whole replicas in the seeded simulator. Every run is repeated by its seed.

mod twins;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use smr_consensus::ProtocolName;
use smr_sim::adversary::MISDEEDS;
use smr_sim::trace::Trace;
use smr_sim::{Campaign, Failure, Misdeed, Summary};

use crate::output::{Code, Output, Trouble};

/// Arguments of `simulate`.
#[derive(Args)]
pub(crate) struct Simulate {
    /// Which protocol: pbft or solo.
    #[arg(default_value = "pbft")]
    protocol: ProtocolName,
    /// How many replicas may fail or lie (f).
    #[arg(long, default_value_t = 1)]
    faults: u16,
    /// How many seeds to run, each to its end.
    #[arg(long, default_value_t = 200, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, value_parser = number, conflicts_with = "seed")]
    from: u64,
    /// Run this seed alone and print what happens.
    #[arg(long, value_parser = number, group = "one")]
    seed: Option<u64>,
    /// Stop it after so many steps.
    #[arg(long, requires = "one")]
    until: Option<u64>,
    /// What faulty replicas do; drawn from the seed if not named.
    #[arg(long, value_parser = misdeeds())]
    misdeed: Option<Misdeed>,
    #[command(flatten)]
    twins: twins::Arguments,
}

impl Simulate {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let profile = self.protocol.profile();
        if self.faults > profile.faults_max {
            let most = profile.faults_max;
            return Err(Trouble::new(format!("{} serves at most {most} faults", self.protocol))
                .help(if most == 0 { "say --faults 0".to_owned() } else { format!("say --faults {most} or less") }));
        }
        let until = self.until.unwrap_or(u64::MAX);
        if self.twins.twins {
            if self.protocol != ProtocolName::Pbft || self.faults != 1 {
                return Err(Trouble::new("twins are simulated in pbft with one fault"));
            }
            return self.twins.run(self.from, self.seeds, until, output);
        }
        let campaign = Campaign::new(self.protocol, self.faults, self.misdeed);
        match self.seed {
            Some(seed) => one(&campaign, seed, until, output),
            None => many(&campaign, self.from, self.seeds, output),
        }
    }
}

/// What a campaign showed.
#[derive(Serialize)]
struct Report {
    seeds: u64,
    failures: Vec<Found>,
    simulated_seconds: f64,
    wall_seconds: f64,
    steps: u64,
    slots: u64,
    commands: u64,
    highest_view: u64,
    messages_lost: u64,
    messages_refused: u64,
}

#[derive(Serialize)]
struct Found {
    failure: String,
    replay: String,
}

fn one(campaign: &Campaign, seed: u64, until: u64, output: Output) -> Result<ExitCode, Trouble> {
    let began = Instant::now();
    let (result, trace) = campaign.run_until(seed, until, Trace::on());
    trace.lines().iter().for_each(|line| output.progress(line));
    let (summary, failures) = match result {
        Ok(summary) => (summary, Vec::new()),
        Err(failure) => (Summary::default(), vec![*failure]),
    };
    finish(campaign, 1, summary, &failures, began.elapsed(), output)
}

fn many(campaign: &Campaign, from: u64, seeds: u64, output: Output) -> Result<ExitCode, Trouble> {
    let began = Instant::now();
    let bar = if output.is_lively() { ProgressBar::new(seeds) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    bar.set_style(style.expect("a valid template"));
    let next = AtomicU64::new(0);
    let found = Mutex::new((Summary::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let &Campaign { protocol, faults, misdeed, .. } = campaign;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let campaign = Campaign::new(protocol, faults, misdeed);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= seeds {
                        return;
                    }
                    let result = campaign.run(from.wrapping_add(index));
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(summary) => found.0 += summary,
                        Err(failure) => found.1.push(*failure),
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let (summary, mut failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    finish(campaign, seeds, summary, &failures, began.elapsed(), output)
}

fn finish(
    campaign: &Campaign,
    seeds: u64,
    summary: Summary,
    failures: &[Failure],
    wall: Duration,
    output: Output,
) -> Result<ExitCode, Trouble> {
    let found = |failure: &Failure| Found { failure: failure.to_string(), replay: campaign.replay(failure) };
    let report = Report {
        seeds,
        failures: failures.iter().map(found).collect(),
        simulated_seconds: Duration::from_micros(summary.simulated_us).as_secs_f64(),
        wall_seconds: wall.as_secs_f64(),
        steps: summary.happened,
        slots: summary.slots,
        commands: summary.commands,
        highest_view: summary.views,
        messages_lost: summary.lost,
        messages_refused: summary.refused,
    };
    output.result(&report, text);
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Trouble::new(format!("{} of {seeds} seeds failed", failures.len())).code(Code::Wrong))
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} seeds, {} failures. {:.0} s of simulated time in {:.1} s ({:.0} times as fast).",
        report.seeds,
        report.failures.len(),
        report.simulated_seconds,
        report.wall_seconds,
        report.simulated_seconds / report.wall_seconds.max(1e-9),
    )];
    lines.push(format!(
        "{} steps, {} slots, {} commands; highest view {}; {} messages lost, {} refused.",
        report.steps,
        report.slots,
        report.commands,
        report.highest_view,
        report.messages_lost,
        report.messages_refused,
    ));
    list(&report.failures, &mut lines);
    lines.join("\n")
}

fn list(failures: &[Found], lines: &mut Vec<String>) {
    for found in failures {
        lines.push(found.failure.clone());
        lines.push(format!("  replay with: {}", found.replay));
    }
}

/// A number, decimal or 0x and hexadecimal.
fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a number such as 17 or 0x1f is wanted".to_string())
}

/// Their names; the help lists them.
fn misdeeds() -> impl TypedValueParser<Value = Misdeed> {
    let names = MISDEEDS.iter().map(|misdeed| misdeed.name());
    PossibleValuesParser::new(names).map(|name| {
        let known = MISDEEDS.iter().copied().find(|misdeed| misdeed.name() == name);
        known.expect("the parser lets only their names through")
    })
}
