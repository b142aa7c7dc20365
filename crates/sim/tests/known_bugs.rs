//! Every known bug is found by the checks. The full hunt, from the first run on, is a command:
//! `cargo run --release -p smr-sim --example known_bugs`.

use smr_sim::hunt::{Prey, SEEDS_MAX, hunt_all, median, preys};

/// Where the full hunt found those that take many runs. The test begins there, to stay short, and searches the rest, later
/// runs first, only if that run does not show the bug any more.
const BEGIN_AT: &[(&str, u64)] = &[
    ("accepts-short-certificates", 96),
    ("takes-any-chunk", 87),
    ("timers-not-in-the-snapshot", 83),
    ("waiting-lost-at-a-checkpoint", 110),
    ("drops-the-fill-after-a-checkpoint", 347),
    ("follows-at-the-end", 64),
    ("forgets-how-views-began", 256),
    ("asks-only-some", 70),
    ("goes-on-after-it-ceased", 321),
];

fn begin_at(prey: &Prey) -> u64 {
    BEGIN_AT.iter().find(|(name, _)| *name == prey.name).map_or(1, |(_, run)| *run)
}

#[test]
fn every_known_bug_is_found() {
    let all = preys();
    let mut found = hunt_all(&all, |prey| (begin_at(prey), SEEDS_MAX), |_, _| {});
    for (prey, found) in all.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        *found = prey.hunt(1, begin_at(prey) - 1);
    }
    let missed: Vec<&str> =
        all.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(prey, _)| prey.name).collect();
    let caught = all.len() - missed.len();
    println!("{caught} of {} found, median {} seeds", all.len(), median(&found).unwrap_or_default());
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} runs: {}", missed.join(", "));
    assert!(all.len() >= 25, "only {} bugs are known", all.len());
}

#[test]
fn known_bugs_have_names_of_their_own_and_say_where_they_come_from() {
    let all = preys();
    let mut names: Vec<(&str, &str)> = all.iter().map(|prey| (prey.place, prey.name)).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two bugs of a place have one name");
    for prey in &all {
        assert!(!prey.what.is_empty() && !prey.source.is_empty(), "{} says too little", prey.name);
    }
    for (name, _) in BEGIN_AT {
        assert!(names.iter().any(|(_, known)| known == name), "{name} is no known bug");
    }
}
