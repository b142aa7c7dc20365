//! Every interleaving of a small case of `lanes`, around the real value and real cores. What is modelled, and what is not,
//! stands in `docs/model.md`.
//!
//! ```text
//!   cargo test -p smr-sim --test model_lanes                                         bounded, about a minute
//!   cargo test --release -p smr-sim --test model_lanes -- --ignored --nocapture      larger bounds and long walks
//! ```

#![allow(clippy::unwrap_used, reason = "all of it is a test; clippy knows only functions that are marked so")]

#[path = "../model/choices.rs"]
mod choices;
#[path = "../model/explore.rs"]
mod explore;
mod facts;
mod faulty;
mod kit;
mod replica;
mod scene;
mod system;

use std::time::Duration;

use explore::{explore, explore_deep, holds, walks_are_safe};
use kit::Case;
use smr_consensus::known_bugs;
use smr_consensus::lanes::schedule::Schedule;
use system::System;

/// Two slots and two views.
const SMALL: Case = Case {
    faulty: Some(0),
    schedule: Schedule::Stable,
    slots: 2,
    views: 2,
    window: 1,
    mistake: None,
};

const TINY: Case = Case { slots: 1, ..SMALL };

#[test]
fn tiny() {
    for schedule in [Schedule::Stable, Schedule::Rotating] {
        for faulty in [None, Some(0), Some(1), Some(2)] {
            let f = explore(System::new(Case { faulty, schedule, ..TINY }));
            println!("{:?} {:?}", f.violations, f.missed);
        }
    }
}

#[test]
fn small() {
    for schedule in [Schedule::Stable, Schedule::Rotating] {
        for faulty in [None, Some(0), Some(1), Some(2)] {
            let f = explore_deep(System::new(Case { faulty, schedule, ..SMALL }), Duration::from_secs(100));
            println!("{:?} {:?}", f.violations, f.missed);
        }
    }
}
