//! Switches on each known bug and hunts it: which check finds it, and in which run.
//!
//! `cargo run --release -p smr-sim --example known_bugs -- [--json] [--runs N] [NAME ...]`

use std::process::ExitCode;

use serde_json::{Value, json};
use smr_sim::hunt::{Found, Prey, SEEDS_MAX, hunt_all, median, preys};

fn main() -> ExitCode {
    let (mut as_json, mut runs_max, mut names) = (false, SEEDS_MAX, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--runs" => match arguments.next().and_then(|number| number.parse().ok()) {
                Some(number) if number > 0 => runs_max = number,
                _ => return misused("--runs wants a number above 0"),
            },
            name if !name.starts_with('-') => names.push(argument),
            other => return misused(&format!("there is no option {other}")),
        }
    }
    let all = preys();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|prey| prey.name != name.as_str())) {
        return misused(&format!("there is no known bug {unknown}"));
    }
    let wanted = |prey: &Prey| names.is_empty() || names.iter().any(|name| name == prey.name);
    let hunted: Vec<Prey> = all.into_iter().filter(wanted).collect();
    let tell = |prey: &Prey, found: Option<&Found>| match found {
        Some(found) => eprintln!("{}: run {}, seed {}: {}", prey.name, found.run, found.seed, found.said),
        None => eprintln!("{}: NOT FOUND in {runs_max} runs", prey.name),
    };
    let found = hunt_all(&hunted, |_| (1, runs_max), tell);
    if as_json {
        print_json(&hunted, &found);
    } else {
        print_table(&hunted, &found);
    }
    if found.iter().all(Option::is_some) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn misused(why: &str) -> ExitCode {
    eprintln!("{why}; say known_bugs [--json] [--runs N] [NAME ...]");
    ExitCode::from(2)
}

fn print_table(hunted: &[Prey], found: &[Option<Found>]) {
    println!("| bug | what goes wrong | source | runs | found by | in run |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (prey, found) in hunted.iter().zip(found) {
        let Prey { place, name, what, source, ground, .. } = prey;
        let (check, run) = match found {
            Some(found) => (found.check.as_str(), found.run.to_string()),
            None => ("nothing", "-".to_string()),
        };
        println!("| {place} `{name}` | {what} | {source} | {ground} | {check} | {run} |");
    }
    println!();
    println!("{}", summary(found));
}

fn print_json(hunted: &[Prey], found: &[Option<Found>]) {
    let one = |(prey, found): (&Prey, &Option<Found>)| {
        let found = found.as_ref().map(
            |found| json!({ "run": found.run, "seed": found.seed, "check": found.check, "said": found.said }),
        );
        json!({
            "crate": prey.place,
            "bug": prey.name,
            "what": prey.what,
            "source": prey.source,
            "runs": prey.ground.to_string(),
            "found": found,
        })
    };
    let bugs: Vec<Value> = hunted.iter().zip(found).map(one).collect();
    let all = json!({
        "bugs": bugs,
        "known": found.len(),
        "found": found.iter().flatten().count(),
        "median_runs": median(found),
    });
    println!("{all:#}");
}

fn summary(found: &[Option<Found>]) -> String {
    let (known, caught) = (found.len(), found.iter().flatten().count());
    match median(found) {
        Some(median) => format!("{caught} of {known} found, median {median} seeds"),
        None => format!("0 of {known} found"),
    }
}
