//! Every interleaving of a small case of PBFT, around the real value. What is modelled, and what is not, stands in
//! `docs/model.md`.
//!
//! ```text
//!   cargo test -p smr-sim --test model                                          bounded, about a minute
//!   cargo test --release -p smr-sim --test model -- --ignored --nocapture       larger bounds and long walks
//! ```

#![allow(clippy::unwrap_used, reason = "all of it is a test; clippy knows only functions that are marked so")]

mod choices;
mod compact;
mod explore;
mod facts;
mod faulty;
mod kit;
mod replica;
mod system;

use std::time::Duration;

use explore::{explore, explore_deep, holds, walks_are_safe};
use kit::{Case, Mistake};
use system::System;

/// One slot and two views.
const SMALL: Case = Case { faulty: 0, slots: 1, views: 2, window: 1, mistake: None };

/// Beyond what can be visited exhaustively.
const LARGE: Case = Case { slots: 2, views: 3, ..SMALL };

#[test]
fn one_slot_and_two_views_are_safe_when_the_first_primary_lies() {
    holds(&explore(&System::new(Case { faulty: 0, ..SMALL })));
}

#[test]
fn one_slot_and_two_views_are_safe_when_the_second_primary_lies() {
    holds(&explore(&System::new(Case { faulty: 1, ..SMALL })));
}

/// A replica that is never primary; the other one is its twin.
#[test]
fn one_slot_and_two_views_are_safe_when_a_backup_lies() {
    holds(&explore(&System::new(Case { faulty: 2, ..SMALL })));
}

#[test]
fn every_mistake_is_found() {
    for (mistake, faulty) in [
        (Mistake::QuorumOfTwo, 0),
        (Mistake::ForgetsPrepared, 0),
        (Mistake::MixesViews, 1),
        (Mistake::ForgetsBeginning, 1),
    ] {
        let found = explore(&System::new(Case { faulty, mistake: Some(mistake), ..SMALL }));
        assert!(!found.violations.is_empty(), "{mistake:?} is not found: {}", found.summary);
    }
}

#[test]
fn short_walks_beyond_the_bounds_are_safe() {
    for faulty in [0, 1, 2] {
        walks_are_safe(&System::new(Case { faulty, ..LARGE }), 1, 2_000);
    }
}

#[test]
#[ignore = "takes hours"]
fn two_slots_and_two_views_are_safe() {
    for (window, faulty) in [(1, 2), (1, 1), (1, 0), (2, 2), (2, 1), (2, 0)] {
        let case = Case { faulty, slots: 2, window, ..SMALL };
        holds(&explore_deep(&System::new(case), Duration::from_secs(3600)));
    }
}

#[test]
#[ignore = "takes more than an hour"]
fn long_walks_beyond_the_bounds_are_safe() {
    for (seed, faulty) in (1..=10).flat_map(|seed| [0, 1, 2].map(|faulty| (seed, faulty))) {
        walks_are_safe(&System::new(Case { faulty, ..LARGE }), seed, 20_000);
        walks_are_safe(&System::new(Case { faulty, window: 2, ..LARGE }), seed, 20_000);
    }
}
