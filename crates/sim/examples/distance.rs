//! Every protocol over long distances, with many slots at a time and with one: commands a second, and how long they take.
//!
//! `cargo run --release -p smr-sim --example distance -- [--faults F] [--clients N] [--commands N] [--pipeline SLOTS]`

use std::process::ExitCode;

use smr_consensus::ProtocolName;
use smr_consensus::registry::PROTOCOLS;
use smr_sim::distance::{Distance, Measured};
use smr_sim::regions::Regions;

/// Slots at a time.
const WINDOWS: [u64; 2] = [32, 1];

fn main() -> ExitCode {
    let (mut faults, mut clients, mut commands, mut pipeline_slots) = (1, 30, 40, 8);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|number| number.parse::<usize>().ok()).filter(|n| *n > 0);
        match (argument.as_str(), number) {
            ("--faults", Some(number)) => faults = u16::try_from(number).unwrap_or(1),
            ("--clients", Some(number)) => clients = number,
            ("--commands", Some(number)) => commands = number,
            ("--pipeline", Some(number)) => pipeline_slots = number as u64,
            _ => {
                eprintln!(
                    "error: {argument} is none of --faults, --clients, --commands, --pipeline, or wants a number above 0"
                );
                return ExitCode::from(2);
            }
        }
    }
    println!("f = {faults}, {clients} clients in five regions, {commands} commands each\n");
    println!(
        "| protocol | replicas | slots at a time | commands/s | p50, ms | p99, ms | commands in a slot |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for protocol in PROTOCOLS.iter().copied().filter(|protocol| *protocol != ProtocolName::Solo) {
        for window_slots in WINDOWS {
            let regions = Regions::five();
            let distance =
                Distance { protocol, faults, window_slots, pipeline_slots, clients, commands, regions };
            match distance.measure(1) {
                Ok(measured) if measured.times.count() == 0 => {
                    eprintln!(
                        "{protocol}: the first client was done before the last had begun; use more --commands"
                    );
                    return ExitCode::FAILURE;
                }
                Ok(measured) => println!("{}", row(&distance, &measured)),
                Err(violation) => {
                    eprintln!("{protocol}, {window_slots}: {violation}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(distance: &Distance, measured: &Measured) -> String {
    let ms = |per_mille| measured.times.quantile_us(per_mille).unwrap_or_default() / 1000;
    format!(
        "| `{}` | {} | {} | {:.0} | {} | {} | {:.1} |",
        distance.protocol,
        distance.protocol.profile().replicas(distance.faults),
        distance.window_slots,
        measured.per_second,
        ms(500),
        ms(990),
        measured.answered as f64 / measured.slots.max(1) as f64,
    )
}
