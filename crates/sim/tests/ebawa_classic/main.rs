//! `ebawa-classic`, for tests only: the published protocol as it can be reconstructed, small enough to visit every state.
//! Its two faults are found as counterexamples, and are shown to be absent in `lanes`. See `docs/ebawa-classic.md`.
//!
//! ```text
//!   cargo test -p smr-sim --test ebawa_classic -- --nocapture --test-threads 1      with the counterexamples, in words
//! ```

#![allow(clippy::unwrap_used, reason = "all of it is a test; clippy knows only functions that are marked so")]

mod explore;
mod ours;
mod protocol;
mod tell;

use explore::{Lost, disagreement, lost};
use ours::{Bounds, Explored, Kit, Trio};
use protocol::{Blacklist, Case, Order, Patience, SIZE, Transfer, World};
use smr_consensus::known_bugs;
use smr_consensus::lanes::{Lanes, Message, Outline};
use smr_consensus::upkeep::Upkeep;
use smr_wire::{Slot, View};
use tell::tell;

/// Nobody is faulty, nobody loses patience; messages may come late, or be dropped by their sender once a checkpoint
/// is stable.
const QUIET: Case = Case {
    faulty: None,
    views: 3,
    listed: None,
    blacklist: Blacklist::Local,
    checkpoint_every: Some(2),
    order: Order::Sequential,
    transfer: Transfer::None,
    patience: Patience::Endless,
};

/// One replica lies, timers run out, nothing is ever dropped.
const MERGING: Case =
    Case { faulty: Some(2), views: 2, checkpoint_every: None, patience: Patience::MayRunOut, ..QUIET };

/// After an earlier merge that all took part in.
fn after_a_merge(faulty: usize) -> Case {
    Case { faulty: Some(faulty), listed: Some(1), ..MERGING }
}

#[test]
fn a_replica_that_fell_behind_never_catches_up() {
    println!("\nA replica that fell behind, without state transfer");
    assert_eq!(show_lost(&QUIET), 0, "it never executes anything");
    println!("\nThe same, with state transfer");
    let transfer = Case { transfer: Transfer::OfCheckpoints, ..QUIET };
    assert_eq!(show_lost(&transfer), 2, "it executes what it was given, and nothing more");
}

/// Shows how a correct replica is lost; gives how much it can have executed at most, ever after.
fn show_lost(case: &Case) -> usize {
    let (found, states) = lost(case, case.views);
    let Lost { steps, onward } = found.expect("a state from which it cannot catch up");
    let world = tell(case, &steps);
    let most =
        |who: usize| onward.iter().map(|world| world.replicas[who].executed.len()).max().unwrap_or_default();
    let (laggard, most) = (0..SIZE).map(|who| (who, most(who))).min_by_key(|(_, most)| *most).unwrap();
    for (of, number) in (0..SIZE).filter_map(|of| world.waits_in_vain(laggard, of).map(|number| (of, number)))
    {
        println!(
            "  => r{laggard} waits for message {} of r{of}, which nobody will ever send again",
            number + 1
        );
    }
    println!(
        "  => from here {} states can be reached, and r{laggard} has executed at most {most} of {} batches in each ({states} states in all)",
        onward.len(),
        case.views
    );
    most
}

#[test]
fn without_the_order_of_the_counter_a_replica_can_always_catch_up() {
    let case = Case { order: Order::AsItComes, transfer: Transfer::OfCheckpoints, ..QUIET };
    let (found, states) = lost(&case, case.views);
    assert!(found.is_none(), "{:?}", found.map(|lost| lost.steps));
    println!(
        "votes bound to their views, with state transfer: everybody can catch up from each of {states} states"
    );
}

#[test]
fn replicas_diverge_over_their_blacklists() {
    println!("\nReplicas whose blacklists differ");
    let case = after_a_merge(2);
    let (found, states) = disagreement(&case);
    let world = tell(&case, &found.expect("a disagreement"));
    let executed = |who: usize, world: &World| protocol::list(&world.replicas[who].executed);
    println!(
        "  => correct replicas disagree: r0 has executed {}, r1 {}",
        executed(0, &world),
        executed(1, &world)
    );
    println!("  ({states} states)");
}

#[test]
fn a_blacklist_that_all_share_does_no_harm() {
    for faulty in 0..SIZE {
        let case = Case { blacklist: Blacklist::Fixed, ..after_a_merge(faulty) };
        let (found, states) = disagreement(&case);
        assert_eq!(found, None, "r{faulty} lies");
        println!("a blacklist that does not change, r{faulty} lies: no disagreement in {states} states");
    }
}

/// Three entries, offered to one replica each; a checkpoint after every slot; nobody loses patience.
const OURS: Bounds =
    Bounds { entries: 3, checkpoint_slots: 1, last_view: View(0), last_slot: Slot(8), never: |_| false };

#[test]
fn with_lanes_a_replica_that_fell_behind_can_always_catch_up() {
    let all = Explored::of(&Kit::new(OURS), usize::MAX);
    let behind = |trio: &&Trio| trio.decided().iter().max() > trio.decided().iter().min();
    let (behind, pruned) =
        (all.trios.iter().filter(behind).count(), all.trios.iter().filter(lacks_what_is_gone).count());
    let lost = all.lost(OURS.entries);
    println!(
        "lanes: {} states; in {behind} somebody is behind, in {pruned} by what others keep no more; lost in {}",
        all.trios.len(),
        lost.len()
    );
    assert!(pruned > 0, "nobody ever fell so far behind");
    assert!(lost.is_empty(), "{:?}", lost[0].decided());
}

#[test]
fn a_network_that_never_repeats_decisions_is_found_out() {
    let never = |message: &Message| {
        matches!(message, Message::Upkeep(Upkeep::Decided(_)) | Message::Upkeep(Upkeep::Pruned(_)))
    };
    let all = Explored::of(&Kit::new(Bounds { never, ..OURS }), usize::MAX);
    assert!(!all.lost(OURS.entries).is_empty(), "the check would not see a replica that is lost");
}

/// Timers run out, up to the second view after the first.
const LEAVING: Bounds = Bounds { entries: 2, last_view: View(2), ..OURS };

/// States that are visited of those in which views are left: more than it takes to reach exclusions in both views.
const LEAVING_STATES: usize = 6_000;

#[test]
fn with_lanes_nobody_has_a_blacklist_of_its_own() {
    let all = Explored::of(&Kit::new(LEAVING), LEAVING_STATES);
    let views = |trio: &Trio| {
        trio.replicas.iter().map(Lanes::outline).filter(|o| o.basis.installed).collect::<Vec<_>>()
    };
    let out = |o: &Outline| !o.beginning.excluded.is_empty();
    let both = |pair: &[Outline]| pair[0].basis.view == pair[1].basis.view && out(&pair[0]) && out(&pair[1]);
    let shared = all.trios.iter().filter(|trio| views(trio).windows(2).any(both)).count();
    println!("lanes: {} states; in {shared} two replicas agree on who gets no turns", all.trios.len());
    assert!(shared > 0, "nobody was ever excluded");
    assert_eq!(all.trios.iter().find(|trio| differ(trio)).map(Trio::decided), None);
}

#[test]
fn a_blacklist_of_its_own_is_found_out() {
    let _opinion = known_bugs::EXCLUDES_BY_OPINION.switch_on();
    let all = Explored::of(&Kit::new(LEAVING), LEAVING_STATES);
    assert!(all.trios.iter().any(differ), "the check would not see two blacklists");
}

/// Whether two replicas in one view begin it differently, so that they may not agree whose turn it is.
fn differ(trio: &Trio) -> bool {
    let outlines = trio.replicas.iter().map(Lanes::outline).filter(|outline| outline.basis.installed);
    let begun: Vec<_> = outlines.map(|outline| (outline.basis.view, outline.beginning)).collect();
    begun.iter().any(|(view, a)| begun.iter().any(|(other, b)| view == other && a != b))
}

/// Whether somebody lacks a decision that none of the others keeps.
fn lacks_what_is_gone(trio: &&Trio) -> bool {
    let outlines: Vec<_> = trio.replicas.iter().map(|replica| replica.outline()).collect();
    let decided = trio.decided();
    (0..SIZE)
        .any(|who| (0..SIZE).filter(|of| *of != who).all(|of| outlines[of].basis.log_base.0 > decided[who]))
}
