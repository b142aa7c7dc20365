//! Every interleaving of a small case of `lanes`, around the real value and real cores. What is modelled, and what is not,
//! stands in `docs/model.md`.
//!
//! ```text
//!   cargo test -p smr-sim --test model_lanes                                         bounded, about a minute
//!   cargo test --release -p smr-sim --test model_lanes -- --ignored --nocapture      larger bounds and long walks
//!   MODEL_SECONDS=600 cargo test ...                                                 no longer than that for each case
//!   MODEL_CASE="Stable, 2 slots, 3 views, window 1, 0 lies" cargo test ...           no other case
//! ```

#![allow(clippy::unwrap_used, reason = "all of it is a test; clippy knows only functions that are marked so")]

#[path = "../model/choices.rs"]
mod choices;
#[path = "../model/compact.rs"]
mod compact;
mod ear;
#[path = "../model/explore.rs"]
mod explore;
mod facts;
mod faulty;
mod kit;
mod lists;
#[path = "../model/numbers.rs"]
mod numbers;
mod replica;
mod scene;
mod system;
mod urgent;

use std::time::Duration;

use explore::{Explored, Found, explore, explore_deep, holds, walks_are_safe};
use kit::{Answers, Case, Steps};
use smr_consensus::known_bugs;
use smr_consensus::lanes::schedule::Schedule;
use smr_known_bugs::Bug;
use system::System;

/// Two slots and two views.
const SMALL: Case = Case {
    faulty: Some(0),
    schedule: Schedule::Stable,
    slots: 2,
    views: 2,
    window: 1,
    idle: None,
    answers: Answers::AtOnce,
    steps: Steps::All,
    mistake: None,
};

const SCHEDULES: [Schedule; 2] = [Schedule::Stable, Schedule::Rotating];

/// One of them lies, or any of them may stop.
const FAULTS: [Option<u16>; 4] = [Some(0), Some(1), Some(2), None];

const NO_LIMIT: Duration = Duration::MAX;

/// The same case for each schedule and fault.
fn all(case: &Case) -> impl Iterator<Item = System> {
    let with = |schedule| FAULTS.map(|faulty| Case { faulty, schedule, ..case.clone() });
    SCHEDULES.map(with).into_iter().flatten().map(System::new)
}

#[test]
fn a_stable_primary_is_safe_whoever_lies() {
    for faulty in [Some(0), Some(1), Some(2)] {
        holds(&explore(&System::new(Case { faulty, ..SMALL })));
    }
}

#[test]
fn turns_are_safe_whoever_lies() {
    for faulty in [Some(0), Some(1), Some(2)] {
        holds(&explore(&System::new(Case { faulty, schedule: Schedule::Rotating, ..SMALL })));
    }
}

#[test]
fn both_are_safe_without_cores_whoever_stops() {
    for schedule in SCHEDULES {
        holds(&explore(&System::new(Case { faulty: None, schedule, ..SMALL })));
    }
}

#[test]
fn fewer_steps_show_the_same() {
    show_the_same(&Case { slots: 1, ..SMALL });
}

#[test]
#[ignore = "takes minutes"]
fn fewer_steps_show_the_same_of_more_slots_or_views() {
    [Case { slots: 1, views: 3, ..SMALL }, SMALL].iter().for_each(show_the_same);
}

/// What is true in some state where all steps are taken is true in some where only those are that could lose something.
fn show_the_same(case: &Case) {
    for system in all(case) {
        let every = explore_deep(&system, NO_LIMIT);
        let few =
            explore_deep(&System::new(Case { steps: Steps::Fewest, ..system.case().clone() }), NO_LIMIT);
        assert_eq!(few.met, every.met, "{}\n{}", few.summary, every.summary);
    }
}

#[test]
fn every_mistake_is_found() {
    let one = Case { slots: 1, ..SMALL };
    let turns = Case { schedule: Schedule::Rotating, ..SMALL };
    let mistakes = [
        (&known_bugs::PREFIX_NEEDS_NO_PROOF, &one),
        (&known_bugs::VOTES_NEED_NO_GROUND, &Case { faulty: Some(1), ..one.clone() }),
        (&known_bugs::ONE_WORD_BEGINS_A_VIEW, &Case { faulty: Some(1), ..one.clone() }),
        (&known_bugs::VOTES_BEYOND_THE_WINDOW, &SMALL),
        (&known_bugs::EXCLUDES_BY_OPINION, &turns),
    ];
    for (mistake, case) in mistakes {
        is_found(mistake, case, explore);
        is_found(mistake, &Case { steps: Steps::Fewest, ..case.clone() }, explore);
    }
    // It takes three views, so the nearest example is far: deepest first finds a longer one sooner.
    for steps in [Steps::All, Steps::Fewest] {
        let case = Case { views: 3, steps, ..one.clone() };
        is_found(&known_bugs::LOWER_VIEW_WINS, &case, |system| explore_deep(system, NO_LIMIT));
    }
    let only_here = [&known_bugs::LOWER_VIEW_WINS, &known_bugs::PREFIX_NEEDS_NO_PROOF];
    assert_eq!(known_bugs::MODEL_ONLY, only_here, "what no seed finds is tried here");
}

fn is_found(mistake: &'static Bug, case: &Case, explore: impl FnOnce(&System) -> Found) {
    assert!(known_bugs::LANES.contains(&mistake), "{} is not in the list", mistake.name);
    let found = explore(&System::new(Case { mistake: Some(mistake), ..case.clone() }));
    println!("{}", found.violations.join("\n"));
    assert!(!found.violations.is_empty(), "{} is not found: {}", mistake.name, found.summary);
}

#[test]
fn short_walks_beyond_the_bounds_are_safe() {
    for window in [1, 2] {
        let case = Case { slots: 3, views: 3, window, ..SMALL };
        all(&case).for_each(|system| walks_are_safe(&system, 1, 2_000));
    }
}

#[test]
#[ignore = "takes an hour"]
fn three_slots_and_two_views_are_safe() {
    visit(&Case { slots: 3, ..SMALL });
}

#[test]
#[ignore = "takes hours"]
fn two_slots_and_three_views_are_safe() {
    visit(&Case { views: 3, steps: Steps::Fewest, ..SMALL });
}

#[test]
#[ignore = "takes many hours and several GB"]
fn two_slots_and_three_views_are_safe_whatever_steps_are_taken() {
    visit(&Case { views: 3, ..SMALL });
}

#[test]
#[ignore = "takes hours"]
fn three_slots_and_a_window_of_two_are_safe() {
    visit(&Case { slots: 3, window: 2, steps: Steps::Fewest, ..SMALL });
}

/// Nothing waits at the replica whose turn is first, so it fills its slot with nothing.
#[test]
#[ignore = "takes an hour"]
fn an_idle_replica_that_passes_its_turn_is_safe() {
    visit(&Case { window: 2, idle: Some(1), ..SMALL });
}

#[test]
#[ignore = "takes an hour"]
fn cores_that_take_their_time_are_safe() {
    visit(&Case { answers: Answers::Later, ..SMALL });
}

#[test]
#[ignore = "takes an hour"]
fn long_walks_beyond_the_bounds_are_safe() {
    for (seed, window) in (1..=10).flat_map(|seed| [1, 2].map(|window| (seed, window))) {
        let case = Case { slots: 3, views: 3, window, ..SMALL };
        all(&case).for_each(|system| walks_are_safe(&system, seed, 20_000));
        let idle = Case { idle: Some(1), slots: 4, answers: Answers::Later, ..case };
        all(&idle).for_each(|system| walks_are_safe(&system, seed, 20_000));
    }
}

/// Visits each case until all of it is visited, or for no more seconds than `MODEL_SECONDS` says; only those whose titles
/// contain `MODEL_CASE`, if that is set.
fn visit(case: &Case) {
    let seconds = std::env::var("MODEL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = seconds.map_or(NO_LIMIT, Duration::from_secs);
    let part = std::env::var("MODEL_CASE").unwrap_or_default();
    let chosen: Vec<System> = all(case).filter(|system| system.title().contains(&part)).collect();
    assert!(!chosen.is_empty(), "no case is called {part}");
    chosen.into_iter().for_each(|system| holds(&explore_deep(&system, time)));
}
