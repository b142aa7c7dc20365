//! Many runs side by side, and what all of them have in common to report.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use smr_sim::Summary;

use crate::output::Output;

/// Makes `count` runs with these numbers on all cores and counts what they show. Each thread has a maker of its own.
/// `of_what` stands next to the bar that shows how far they are.
pub(super) fn run_all<Make, Run, Outcome>(
    numbers: impl Iterator<Item = u64> + Send,
    count: u64,
    of_what: &str,
    output: Output,
    maker: Make,
    mut tally: impl FnMut(u64, Outcome) + Send,
) where
    Make: Fn() -> Run + Sync,
    Run: FnMut(u64) -> Outcome,
{
    let bar = if output.is_lively() { ProgressBar::new(count) } else { ProgressBar::hidden() };
    let style = format!("{{bar:40}} {{pos}}/{{len}} {of_what}, {{per_sec}}, {{eta}} left");
    bar.set_style(ProgressStyle::with_template(&style).expect("a valid template"));
    let numbers = Mutex::new(numbers);
    let tally = Mutex::new(&mut tally);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut run = maker();
                loop {
                    let next = numbers.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(number) = next else { return };
                    let outcome = run(number);
                    tally.lock().unwrap_or_else(PoisonError::into_inner)(number, outcome);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
}

/// What failed and how to see it again.
#[derive(Serialize)]
pub(super) struct Found {
    pub(super) failure: String,
    pub(super) replay: String,
}

/// What all runs showed together.
#[derive(Serialize)]
pub(super) struct Totals {
    pub(super) failures: Vec<Found>,
    pub(super) simulated_seconds: f64,
    pub(super) wall_seconds: f64,
    steps: u64,
    slots: u64,
    commands: u64,
    highest_view: u64,
    messages_lost: u64,
    messages_refused: u64,
    /// Simulated time until half of the commands, and all but one in a hundred, were answered; within an eighth.
    answered_ms_p50: Option<f64>,
    answered_ms_p99: Option<f64>,
}

impl Totals {
    pub(super) fn new(summary: &Summary, failures: Vec<Found>, wall: Duration) -> Totals {
        let ms = |per_mille| summary.answered.quantile_us(per_mille).map(|us| us as f64 / 1e3);
        Totals {
            failures,
            simulated_seconds: Duration::from_micros(summary.simulated_us).as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            steps: summary.happened,
            slots: summary.slots,
            commands: summary.commands,
            highest_view: summary.views,
            messages_lost: summary.lost,
            messages_refused: summary.refused,
            answered_ms_p50: ms(500),
            answered_ms_p99: ms(990),
        }
    }

    /// As lines below the first one of a report.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} steps, {} slots, {} commands; highest view {}; {} messages lost, {} refused.",
            self.steps,
            self.slots,
            self.commands,
            self.highest_view,
            self.messages_lost,
            self.messages_refused,
        )];
        if let (Some(half), Some(most)) = (self.answered_ms_p50, self.answered_ms_p99) {
            lines.push(format!("Answered after {half:.0} ms (p50), {most:.0} ms (p99) of simulated time."));
        }
        for found in &self.failures {
            lines.push(found.failure.clone());
            lines.push(format!("  replay with: {}", found.replay));
        }
        lines.join("\n")
    }
}
