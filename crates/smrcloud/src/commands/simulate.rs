//! `smrcloud simulate`: whole replicas in the seeded simulator. Every run is repeated by its seed.

mod many;
mod twins;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use smr_consensus::ProtocolName;
use smr_consensus::registry::PROTOCOLS;
use smr_sim::adversary::MISDEEDS;
use smr_sim::trace::Trace;
use smr_sim::{Campaign, Failure, Misdeed, Regions, Summary};

use self::many::{Found, Totals, run_all};
use crate::output::{Code, Output, Trouble};

/// Arguments of `simulate`.
#[derive(Args)]
pub(crate) struct Simulate {
    /// Which protocol.
    #[arg(default_value = "pbft", value_parser = protocols())]
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
    /// How far hosts are from each other: `five-regions`, or a file with a line for each region, its name and the
    /// round-trip times in ms to all of them; replicas then have production's patience.
    #[arg(long, value_name = "TABLE", conflicts_with = "twins")]
    latency: Option<String>,
    /// Where replicas keep what they are bound to: with `disk` any number of them may crash, and come back.
    #[arg(long, value_enum, default_value_t = Durability::Memory, conflicts_with = "twins")]
    durability: Durability,
    #[command(flatten)]
    twins: twins::Arguments,
}

/// Where replicas keep what they are bound to.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Durability {
    /// Nowhere else.
    Memory,
    /// On disks.
    Disk,
}

impl Simulate {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let profile = self.protocol.profile();
        if self.faults > profile.faults_max {
            let most = profile.faults_max;
            return Err(Trouble::new(format!("{} serves at most {most} faults", self.protocol))
                .help(if most == 0 { "say --faults 0".to_owned() } else { format!("say --faults {most} or less") }));
        }
        if let Some(misdeed) = self.misdeed.filter(|misdeed| !Misdeed::within(profile.model).contains(misdeed)) {
            return Err(Trouble::new(format!("{} does not survive replicas that {}", self.protocol, misdeed.name()))
                .help("its machines may only stop; leave --misdeed out, or name another protocol"));
        }
        let until = self.until.unwrap_or(u64::MAX);
        if self.twins.twins {
            if self.protocol != ProtocolName::Pbft || self.faults != 1 {
                return Err(Trouble::new("--twins is there for pbft with one fault only")
                    .help("say `smrcloud simulate pbft --twins`, or leave --twins out"));
            }
            return self.twins.run(self.from, self.seeds, until, output);
        }
        let regions = self.latency.as_deref().map(|table| regions(table).map(|read| (table, read))).transpose()?;
        let campaign = || {
            let in_memory = Campaign::new(self.protocol, self.faults, self.misdeed);
            let of_one_building = match self.durability {
                Durability::Memory => in_memory,
                Durability::Disk => in_memory.on_disk(),
            };
            match &regions {
                Some((table, regions)) => of_one_building.across(table, regions.clone()),
                None => of_one_building,
            }
        };
        match self.seed {
            Some(seed) => one(&campaign(), seed, until, output),
            None => many(&campaign, self.from, self.seeds, output),
        }
    }
}

/// What a campaign showed.
#[derive(Serialize)]
struct Report {
    seeds: u64,
    #[serde(flatten)]
    totals: Totals,
}

fn one(campaign: &Campaign, seed: u64, until: u64, output: Output) -> Result<ExitCode, Trouble> {
    let began = Instant::now();
    let (result, trace) = campaign.run_until(seed, until, Trace::on());
    trace.lines().iter().for_each(|line| output.progress(line));
    let (summary, failures) = match result {
        Ok(summary) => (summary, Vec::new()),
        Err(failure) => (Summary::default(), vec![*failure]),
    };
    finish(campaign, 1, &summary, &failures, began.elapsed(), output)
}

fn many(
    campaign: &(impl Fn() -> Campaign + Sync),
    from: u64,
    seeds: u64,
    output: Output,
) -> Result<ExitCode, Trouble> {
    let began = Instant::now();
    let (mut summary, mut failures) = (Summary::default(), Vec::new());
    let run_seeds = || {
        let campaign = campaign();
        move |seed| campaign.run(seed)
    };
    let numbers = (0..seeds).map(|index| from.wrapping_add(index));
    run_all(numbers, seeds, "seeds", output, run_seeds, |_, result| match result {
        Ok(of_one) => summary += of_one,
        Err(failure) => failures.push(*failure),
    });
    failures.sort_by_key(|failure| failure.seed);
    finish(&campaign(), seeds, &summary, &failures, began.elapsed(), output)
}

fn finish(
    campaign: &Campaign,
    seeds: u64,
    summary: &Summary,
    failures: &[Failure],
    wall: Duration,
    output: Output,
) -> Result<ExitCode, Trouble> {
    let found = |failure: &Failure| Found { failure: failure.to_string(), replay: campaign.replay(failure) };
    let totals = Totals::new(summary, failures.iter().map(found).collect(), wall);
    output.result(&Report { seeds, totals }, text);
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Trouble::new(format!("{} of {seeds} seeds failed", failures.len())).code(Code::Wrong))
}

fn text(report: &Report) -> String {
    let Report { seeds, totals } = report;
    format!(
        "{seeds} seeds, {} failures. {:.0} s of simulated time in {:.1} s ({:.0} times as fast).\n{}",
        totals.failures.len(),
        totals.simulated_seconds,
        totals.wall_seconds,
        totals.simulated_seconds / totals.wall_seconds.max(1e-9),
        totals.text(),
    )
}

/// A number, decimal or 0x and hexadecimal.
fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a number such as 17 or 0x1f is wanted".to_string())
}

/// The regions that a name or a file stands for.
fn regions(table: &str) -> Result<Regions, Trouble> {
    if table == "five-regions" {
        return Ok(Regions::five());
    }
    let text = std::fs::read_to_string(Path::new(table)).map_err(|error| {
        Trouble::new(format!("cannot read the table of latencies {table}: {error}"))
            .help("name a file, or say --latency five-regions")
    })?;
    Regions::parse(&text).map_err(|error| Trouble::new(format!("{table}: {error}")))
}

/// Their names; the help lists them.
fn protocols() -> impl TypedValueParser<Value = ProtocolName> {
    let names = PROTOCOLS.iter().map(|protocol| protocol.profile().name);
    PossibleValuesParser::new(names).map(|name| name.parse().expect("the parser lets only their names through"))
}

/// Their names; the help lists them.
fn misdeeds() -> impl TypedValueParser<Value = Misdeed> {
    let names = MISDEEDS.iter().map(|misdeed| misdeed.name());
    PossibleValuesParser::new(names).map(|name| {
        let known = MISDEEDS.iter().copied().find(|misdeed| misdeed.name() == name);
        known.expect("the parser lets only their names through")
    })
}
