//! Every interleaving of a small case of PBFT, around the real value. What is modelled, and what is not, stands in
//! `docs/model.md`.
//!
//! ```text
//!   cargo test -p smr-sim --test model                                          bounded, about a minute
//!   cargo test --release -p smr-sim --test model -- --ignored --nocapture       larger bounds and long walks
//! ```

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

/// Visits every state of a case.
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
fn try_it() {
    let n = |k: &str, d: u64| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let case = Case { faulty: n("FAULTY", 0) as u16, slots: n("SLOTS", 1), views: n("VIEWS", 2), window: n("WINDOW", 1), mistake: None };
    if n("WALK", 0) > 0 { let f = walk(&case, 1, n("WALK", 0) as usize); println!("{:?} {:?}", f.violations, f.missed); return; }
    let began = Instant::now();
    let c = System::new(case.clone()).checker().threads(2).timeout(Duration::from_secs(n("SECS", 60))).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let f = found(&case, &c, began);
    println!("{:?} {:?}", f.violations, f.missed);
}
