//! A small campaign in every test run. The large ones are a command: `smrcloud simulate pbft --seeds 10000`.

use smr_consensus::ProtocolName;
use smr_consensus::registry::PROTOCOLS;
use smr_sim::trace::Trace;
use smr_sim::{Campaign, Misdeed, Summary};

fn campaign(protocol: ProtocolName, faults: u16) -> Campaign {
    Campaign::new(protocol, faults, None)
}

/// Runs seeds to their ends; a failing one says how to repeat it.
fn run(campaign: &Campaign, seeds: impl Iterator<Item = u64>) -> Summary {
    let mut all = Summary::default();
    for seed in seeds {
        match campaign.run(seed) {
            Ok(summary) => all += summary,
            Err(failure) => panic!("{failure}\nreplay with: {}", campaign.replay(&failure)),
        }
    }
    all
}

#[test]
fn every_protocol_keeps_its_promises_in_chaos() {
    for protocol in PROTOCOLS {
        let faults = protocol.profile().faults_max.min(1);
        let all = run(&campaign(*protocol, faults), 1..=80);
        assert!(all.commands > 80 * 5, "{protocol}: only {} commands were executed", all.commands);
        if faults > 0 {
            assert!(all.lost > 0 && all.views > 0, "{protocol}: nothing went wrong, so nothing was tried");
        }
    }
}

#[test]
fn two_faults_of_seven_are_survived() {
    run(&campaign(ProtocolName::Pbft, 2), 1..=12);
}

#[test]
fn nothing_acknowledged_is_lost_where_machines_come_back_with_their_disks_and_other_cores() {
    for protocol in [ProtocolName::Ebawa, ProtocolName::Minbft] {
        run(&campaign(protocol, 1).on_disk(), 4000..4040);
        run(&campaign(protocol, 2).on_disk(), 4000..4004);
    }
}

#[test]
fn large_replies_slow_execution_and_little_room_for_blocks_are_survived() {
    let campaign = campaign(ProtocolName::Pbft, 1);
    let heavy = (1..).filter(|seed| campaign.setting(*seed).value_bytes > 0);
    let all = run(&campaign, heavy.take(25));
    assert!(all.commands > 25 * 5, "only {} commands were executed", all.commands);
}

#[test]
fn a_bank_whose_commands_lock_much_wait_and_are_timed_survives_chaos() {
    let campaign = campaign(ProtocolName::Pbft, 1);
    let of_a_bank = (1..).filter(|seed| campaign.setting(*seed).application == "bank");
    let all = run(&campaign, of_a_bank.take(40));
    assert!(all.commands > 40 * 5, "only {} deposits were made", all.commands);
}

#[test]
fn every_misdeed_that_its_fault_model_allows_is_survived_by_every_protocol() {
    for protocol in PROTOCOLS.iter().filter(|protocol| protocol.profile().faults_max > 0) {
        for misdeed in Misdeed::within(protocol.profile().model) {
            run(&Campaign::new(*protocol, 1, Some(*misdeed)), 1000..1008);
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_run_byte_for_byte() {
    let campaign = campaign(ProtocolName::Pbft, 1);
    let of_a_bank = (1..).find(|seed| campaign.setting(*seed).application == "bank").expect("one in eight");
    for seed in [7, 64, 4711, of_a_bank] {
        let (first, first_trace) = campaign.run_until(seed, u64::MAX, Trace::on());
        let (second, second_trace) = campaign.run_until(seed, u64::MAX, Trace::on());
        assert_eq!(first, second);
        assert!(first_trace.lines().len() > 100);
        assert_eq!(first_trace.lines(), second_trace.lines(), "seed {seed}");
    }
    let (_, other) = campaign.run_until(8, u64::MAX, Trace::on());
    let (_, one) = campaign.run_until(7, u64::MAX, Trace::on());
    assert_ne!(one.lines(), other.lines());
}
