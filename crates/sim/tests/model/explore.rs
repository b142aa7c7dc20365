//! How a model is explored, whatever it is of: all of it, or as far as there is time, or in walks.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model, UniformChooser};

/// A model whose states name replicas that it keeps in a table.
pub(crate) trait Explored:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq>
    + Send
    + Sync
    + 'static
{
    /// What is explored, in a line.
    fn title(&self) -> String;

    /// How many replicas occur.
    fn replicas(&self) -> usize;
}

/// What was found: how it went, and which properties were met on the way, or missed though all was visited.
pub(crate) struct Found {
    pub(crate) summary: String,
    pub(crate) violations: Vec<String>,
    pub(crate) missed: Vec<&'static str>,
}

fn found<M: Explored>(checker: &impl Checker<M>, began: Instant) -> Found {
    let model = checker.model();
    let summary = format!(
        "{}: {} states, {} steps, depth {}, {} replicas occur, {:.1} s",
        model.title(),
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        model.replicas(),
        began.elapsed().as_secs_f64()
    );
    println!("{summary}");
    let (mut violations, mut missed) = (Vec::new(), Vec::new());
    for property in model.properties() {
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

/// Visits every state, deepest first, which takes less memory, or as many as there is time for.
pub(crate) fn explore_deep(model: impl Explored, time: Duration) -> Found {
    let began = Instant::now();
    let builder = model.checker().threads(2).timeout(time);
    let mut found = found(&builder.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join(), began);
    if began.elapsed() < time {
        println!("  every state was visited");
    } else {
        println!("  there are more states; not reached so far: {:?}", found.missed);
        found.missed.clear();
    }
    found
}

/// Visits every state, nearest first, so that what is found is as short as can be.
pub(crate) fn explore(model: impl Explored) -> Found {
    let began = Instant::now();
    let builder = model.checker().threads(2);
    found(&builder.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join(), began)
}

/// Walks at random from the beginning to an end, again and again, until so many steps were taken.
pub(crate) fn walk(model: impl Explored, seed: u64, steps: usize) -> Found {
    let began = Instant::now();
    let builder = model.checker().threads(1).target_state_count(steps);
    let builder = builder.finish_when(HasDiscoveries::AnyFailures);
    found(&builder.spawn_simulation(seed, UniformChooser).join(), began)
}

/// Nothing that must never be was found, and everything that must sometimes be.
pub(crate) fn holds(found: &Found) {
    assert!(found.violations.is_empty(), "{}\n{}", found.summary, found.violations.join("\n"));
    assert!(found.missed.is_empty(), "{}\nnever reached: {:?}", found.summary, found.missed);
}

/// Few walks reach everything, but all of them together must reach a decision of a later view.
pub(crate) fn walks_are_safe(model: impl Explored, seed: u64, steps: usize) {
    let found = walk(model, seed, steps);
    assert!(found.violations.is_empty(), "seed {seed}, {}\n{}", found.summary, found.violations.join("\n"));
    let later = "a slot is decided in a later view";
    assert!(!found.missed.contains(&later), "seed {seed}, {}: {later} was never reached", found.summary);
}
