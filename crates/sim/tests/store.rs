//! The store on simulated disks: whatever stops, tears, fails or is damaged, nothing that was durable is missing without
//! a word; and with a deliberate mistake in the store, these runs find it.
#![allow(clippy::unwrap_used, reason = "tests")]

use smr_sim::disk::run::{Failure, Summary, run, run_to_every_call};
use smr_store::known_bugs::ALL;

/// Seeds of every test run.
const SEEDS: u64 = 4_000;

/// Seeds of which every call is the last one in turn.
const SEEDS_TO_EVERY_CALL: u64 = 40;

/// Crashes at each of these.
const ENDINGS: u64 = 4;

/// Seeds in one of which, at least, a known bug must be found.
const SEEDS_MAX: u64 = 1_000;

/// What `seed` stands for, or how to repeat it.
fn sound(seed: u64) -> Summary {
    let repeat = format!(
        "SMRCLOUD_STORE_FIRST={seed} SMRCLOUD_STORE_SEEDS=1 cargo test -p smr-sim --test store nothing"
    );
    run(seed).unwrap_or_else(|failure| panic!("{failure}\nrepeat with: {repeat}"))
}

/// More, or others, than those of every test run.
fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().unwrap())
}

#[test]
fn nothing_durable_is_missing_without_a_word() {
    let seeds = asked("SMRCLOUD_STORE_SEEDS").unwrap_or(SEEDS);
    let first = asked("SMRCLOUD_STORE_FIRST").unwrap_or(1);
    let summary = (first..first + seeds).map(sound).fold(Summary::default(), Summary::and);
    println!("{seeds} seeds from {first}: {summary:?}");
    if seeds < SEEDS {
        return;
    }
    // Runs in which nothing happens show nothing.
    for (what, times) in [
        ("durable", summary.durable),
        ("crashes", summary.crashes),
        ("torn", summary.torn),
        ("told", summary.told),
        ("skipped", summary.skipped),
        ("kept", summary.kept),
        ("built on", summary.built_on),
        ("errors", summary.errors),
    ] {
        assert!(times > seeds / 10, "{what}: {times} in {seeds} seeds");
    }
}

#[test]
fn every_call_of_the_disk_may_be_the_last() {
    let each = |seed| run_to_every_call(seed, ENDINGS).unwrap_or_else(|failure| panic!("{failure}"));
    let summary = (1..=SEEDS_TO_EVERY_CALL).map(each).fold(Summary::default(), Summary::and);
    println!("{SEEDS_TO_EVERY_CALL} seeds: {summary:?}");
    assert!(summary.crashes > SEEDS_TO_EVERY_CALL * ENDINGS * 10, "only {} crashes", summary.crashes);
}

#[test]
fn the_same_seed_has_the_same_result() {
    for seed in 1..=200 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn each_known_bug_is_found() {
    for bug in ALL {
        let switched = bug.switch_on();
        let failures: Vec<Failure> = (1..=SEEDS_MAX).filter_map(|seed| run(seed).err()).collect();
        drop(switched);
        let first = failures.first().unwrap_or_else(|| panic!("{} in none of {SEEDS_MAX} seeds", bug.name));
        println!("{}: in {} of {SEEDS_MAX} seeds, first {first}", bug.name, failures.len());
        run(first.seed).unwrap_or_else(|failure| panic!("without {}: {failure}", bug.name));
    }
}
