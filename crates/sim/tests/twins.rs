//! A sample of the scenarios of two machines that are one replica, in every test run. All of them are a command:
//! `smrcloud simulate pbft --twins`.

use smr_consensus::ProtocolName;
use smr_sim::trace::Trace;
use smr_sim::twins::{Copies, Twins};
use smr_sim::{Campaign, Summary};

/// Runs the first `count` canonical scenarios; a failing one says how to repeat it.
fn run(twins: &Twins, count: usize) -> Summary {
    let mut all = Summary::default();
    for number in twins.space().from(0).take(count) {
        match twins.run(number) {
            Ok(summary) => all += summary,
            Err(failure) => panic!("{failure}\nreplay with: {}", failure.replay()),
        }
    }
    all
}

#[test]
fn a_replica_that_is_two_machines_harms_nobody() {
    for rounds in [2, 3] {
        let all = run(&Twins::new(rounds), 2_500);
        assert!(all.commands > 2_500, "{rounds} rounds: only {} commands were executed", all.commands);
        assert!(all.lost > 0 && all.views >= rounds as u64, "nothing was tried in {rounds} rounds");
    }
}

#[test]
fn two_honest_copies_say_two_things_in_one_view() {
    let twins = Twins::new(2);
    let honest = |number: &u64| twins.space().scenario(*number).copies == Copies::Honest;
    let shows = |number: u64| {
        let (result, trace) = twins.run_until(number, u64::MAX, Trace::on());
        assert!(result.is_ok(), "{result:?}");
        trace.lines().iter().any(|line| line.contains("equivocates"))
    };
    assert!(twins.space().from(0).filter(honest).take(200).any(shows), "nobody saw it");
}

/// Bugs of ordering that two machines with one key bring to light, and the first scenario of two rounds that did.
const FOUND_AT: &[(&str, u64)] = &[
    ("half-is-a-quorum", 17),
    ("votes-twice-in-a-view", 6),
    ("decides-on-prepares", 26),
    ("mixes-views", 83),
    ("drops-what-was-prepared", 349),
    ("commits-in-a-view-it-left", 582),
    ("beginning-binds-nobody", 82),
];

/// Scenarios in which a bug must show, from that one on.
const SCENARIOS_MAX: usize = 1_000;

/// Happenings after which a scenario is given up. One without a bug has a hundredth of it.
const STEPS_MAX: u64 = 300_000;

#[test]
fn known_bugs_are_found_and_the_scenarios_that_show_them_hold_without() {
    let twins = Twins::new(2);
    for (name, number) in FOUND_AT {
        let bug = smr_consensus::known_bugs::ALL.iter().find(|bug| bug.name == *name).expect("it is known");
        let shows = |number: &u64| {
            twins.run(*number).expect("it holds without a bug");
            let _switched = bug.switch_on();
            twins.run_until(*number, STEPS_MAX, Trace::off()).0.is_err()
        };
        let found = twins.space().from(*number).take(SCENARIOS_MAX).find(shows);
        assert!(found.is_some(), "{name} is not found from {number} on");
    }
}

#[test]
fn the_same_number_makes_the_same_run_byte_for_byte() {
    let (twins, others) = (Twins::new(3), Twins::new(3));
    others.run(1).expect("it holds");
    for number in [7, 64, 4711] {
        let (first, first_trace) = twins.run_until(number, u64::MAX, Trace::on());
        let (second, second_trace) = others.run_until(number, u64::MAX, Trace::on());
        assert_eq!(first, second);
        assert!(first_trace.lines().len() > 100);
        assert_eq!(first_trace.lines(), second_trace.lines(), "scenario {number}");
    }
}

/// Where there are trusted cores a copy of a host has no core of its own: it is refused what the other had voted for, and
/// does not get to say a second thing. Where machines may only stop there are no copies.
#[test]
fn two_copies_of_a_host_that_have_one_core_between_them_harm_nobody() {
    for protocol in [ProtocolName::Minbft, ProtocolName::Ebawa] {
        let campaign = Campaign::new(protocol, 1, None).cloned();
        let mut refused = 0;
        for seed in 1..=40 {
            let (result, trace) = campaign.run_until(seed, u64::MAX, Trace::on());
            assert!(result.is_ok(), "{protocol}, seed {seed}: {result:?}");
            refused += trace.lines().iter().filter(|line| line.contains("is refused by its core")).count();
        }
        assert!(refused > 100, "{protocol}: only {refused} refusals, so the copies hardly did anything");
    }
}
