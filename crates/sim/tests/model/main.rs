//! Every interleaving of a small case of PBFT, around the real value. What is modelled, and what is not, stands in
//! `docs/model.md`.
//!
//! ```text
//!   cargo test -p smr-sim --test model                                          bounded, about a minute
//!   cargo test --release -p smr-sim --test model -- --ignored --nocapture       larger bounds and long walks
//! ```

#![allow(clippy::unwrap_used, reason = "all of it is a test; clippy knows only functions that are marked so")]

mod facts;
mod faulty;
mod kit;
mod replica;
mod system;

use std::time::{Duration, Instant};

use kit::{Case, Mistake};
use stateright::{Checker, Expectation, HasDiscoveries, Model, UniformChooser};
use system::System;

/// One slot and two views.
const SMALL: Case = Case { faulty: 0, slots: 1, views: 2, window: 1, mistake: None };

/// Beyond what can be visited exhaustively.
const LARGE: Case = Case { slots: 2, views: 3, ..SMALL };

/// What was found: how it went, and which properties were met on the way.
struct Found {
    summary: String,
    violations: Vec<String>,
    missed: Vec<&'static str>,
}

fn found(case: &Case, checker: &impl Checker<System>, began: Instant) -> Found {
    let summary = format!(
        "{case:?}: {} states, {} steps, depth {}, {} replicas occur, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        checker.model().known(),
        began.elapsed().as_secs_f64()
    );
    println!("{summary}");
    let (mut violations, mut missed) = (Vec::new(), Vec::new());
    for property in checker.model().properties() {
        match (&property.expectation, checker.discovery(property.name)) {
            (Expectation::Always, Some(path)) => {
                let steps: Vec<String> = path.into_actions().iter().map(|a| format!("  {a:?}")).collect();
                violations.push(format!("not true that {}:\n{}", property.name, steps.join("\n")));
            }
            (Expectation::Sometimes, Some(path)) => {
                println!("  {}: after {} steps", property.name, path.into_actions().len());
            }
            (Expectation::Sometimes, None) => missed.push(property.name),
            (Expectation::Always, None) | (Expectation::Eventually, _) => {}
        }
    }
    Found { summary, violations, missed }
}

/// Visits every state of a case, deepest first, which takes less memory, or as many as there is time for.
fn explore_deep(case: &Case, time: Duration) -> Found {
    let began = Instant::now();
    let builder = System::new(case.clone()).checker().threads(2).timeout(time);
    let found = found(case, &builder.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join(), began);
    println!(
        "  {}",
        if began.elapsed() < time { "every state was visited" } else { "there are more states" }
    );
    found
}

/// Visits every state of a case, nearest first, so that what is found is as short as can be.
fn explore(case: &Case) -> Found {
    let began = Instant::now();
    let builder = System::new(case.clone()).checker().threads(2);
    found(case, &builder.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join(), began)
}

/// Walks at random from the beginning to an end, again and again, until so many steps were taken.
fn walk(case: &Case, seed: u64, steps: usize) -> Found {
    let began = Instant::now();
    let builder = System::new(case.clone()).checker().threads(1).target_state_count(steps);
    let builder = builder.finish_when(HasDiscoveries::AnyFailures);
    found(case, &builder.spawn_simulation(seed, UniformChooser).join(), began)
}

fn holds(found: &Found) {
    assert!(found.violations.is_empty(), "{}\n{}", found.summary, found.violations.join("\n"));
    assert!(found.missed.is_empty(), "{}\nnever reached: {:?}", found.summary, found.missed);
}

#[test]
fn one_slot_and_two_views_are_safe_when_the_first_primary_lies() {
    holds(&explore(&Case { faulty: 0, ..SMALL }));
}

#[test]
fn one_slot_and_two_views_are_safe_when_the_second_primary_lies() {
    holds(&explore(&Case { faulty: 1, ..SMALL }));
}

/// A replica that is never primary; the other one is its twin.
#[test]
fn one_slot_and_two_views_are_safe_when_a_backup_lies() {
    holds(&explore(&Case { faulty: 2, ..SMALL }));
}

#[test]
fn every_mistake_is_found() {
    for (mistake, faulty) in [
        (Mistake::QuorumOfTwo, 0),
        (Mistake::ForgetsPrepared, 0),
        (Mistake::MixesViews, 1),
        (Mistake::ForgetsBeginning, 1),
    ] {
        let found = explore(&Case { faulty, mistake: Some(mistake), ..SMALL });
        assert!(!found.violations.is_empty(), "{mistake:?} is not found: {}", found.summary);
    }
}

#[test]
fn short_walks_beyond_the_bounds_are_safe() {
    for faulty in [0, 1, 2] {
        walks_are_safe(&Case { faulty, ..LARGE }, 1, 2_000);
    }
}

#[test]
#[ignore = "takes hours"]
fn two_slots_and_two_views_are_safe() {
    for (window, faulty) in [(1, 2), (1, 1), (1, 0), (2, 2), (2, 1), (2, 0)] {
        holds(&explore_deep(&Case { faulty, slots: 2, window, ..SMALL }, Duration::from_secs(3600)));
    }
}

#[test]
#[ignore = "takes more than an hour"]
fn long_walks_beyond_the_bounds_are_safe() {
    for (seed, faulty) in (1..=10).flat_map(|seed| [0, 1, 2].map(|faulty| (seed, faulty))) {
        walks_are_safe(&Case { faulty, ..LARGE }, seed, 20_000);
        walks_are_safe(&Case { faulty, window: 2, ..LARGE }, seed, 20_000);
    }
}

/// Few walks reach everything, but all of them together must reach a decision of a later view.
fn walks_are_safe(case: &Case, seed: u64, steps: usize) {
    let found = walk(case, seed, steps);
    assert!(found.violations.is_empty(), "seed {seed}, {}\n{}", found.summary, found.violations.join("\n"));
    let later = "a slot is decided in a later view";
    assert!(!found.missed.contains(&later), "seed {seed}, {}: {later} was never reached", found.summary);
}
