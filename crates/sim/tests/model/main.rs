//! Every interleaving of a small case of PBFT, around the real value.

mod facts;
mod faulty;
mod kit;
mod replica;
mod system;

use std::time::Instant;

use kit::{Case, Mistake};
use stateright::{Checker, HasDiscoveries, Model};
use system::System;

fn explore(case: Case) {
    let began = Instant::now();
    let shown = format!("{case:?}");
    let checker = System::new(case)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{shown}: {} states, {} generated, depth {}, {} replicas, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        checker.model().known(),
        began.elapsed().as_secs_f64()
    );
    for (name, path) in checker.discoveries() {
        println!("  {name}: {} steps", path.into_actions().len());
    }
    for property in checker.model().properties() {
        if let (stateright::Expectation::Always, Some(path)) = (&property.expectation, checker.discovery(property.name)) {
            println!("VIOLATED {}", property.name);
            for action in path.into_actions() { println!("   {action:?}"); }
        }
        if checker.discovery(property.name).is_none() { println!("  not found: {}", property.name); }
    }
}

#[test]
#[ignore]
fn try_it() {
    let n = |k: &str, d: u64| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let mistake = match n("MISTAKE", 0) { 1 => Some(Mistake::QuorumOfTwo), 2 => Some(Mistake::ForgetsPrepared), 3 => Some(Mistake::MixesViews), 4 => Some(Mistake::ForgetsBeginning), _ => None };
    explore(Case { faulty: n("FAULTY", 0) as u16, slots: n("SLOTS", 1), views: n("VIEWS", 2), window: n("WINDOW", 1), mistake });
}
