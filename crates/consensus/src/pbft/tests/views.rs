//! How one replica, number 1 of four, leaves a view and enters the next.

use super::voting::{claim, config, new_view, proposal, vote};
use super::*;
use crate::record::Record;

fn wish(author: u16, wants: u64) -> Suspect {
    Suspect::sign(&seat(author), View(wants))
}

fn change(author: u16, to: u64) -> Message {
    let proof = PrefixProof::default();
    Message::ViewChange(ViewChange::sign(&seat(author), View(to), Slot(0), proof, vec![]))
}

fn begins(effects: &[Effect<Message>]) -> Option<NewView> {
    effects.iter().find_map(|effect| match effect {
        Effect::Broadcast(Message::NewView(new_view)) => Some(new_view.clone()),
        _ => None,
    })
}

fn entered(effects: &[Effect<Message>]) -> Vec<u64> {
    let view = |effect: &Effect<Message>| match effect {
        Effect::Persist(Record::Entered { view, .. }) => Some(view.0),
        _ => None,
    };
    effects.iter().filter_map(view).collect()
}

/// Wishes of its own that it sends.
fn own_wishes(effects: &[Effect<Message>]) -> Vec<u64> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(Message::Upkeep(Upkeep::Suspects(wishes))) => Some(wishes.clone()),
        _ => None,
    });
    sent.flatten().filter(|wish| wish.author == ReplicaId(1)).map(|wish| wish.wants.0).collect()
}

#[test]
fn a_view_that_has_begun_does_not_begin_again_in_another_way() {
    let mut replica = Alone::with(config());
    let (first, second) = (Batch::new(Timestamp(1), vec![]), Batch::new(Timestamp(2), vec![]));
    replica.hears(2, new_view([0, 2, 3], vec![claim(1, &first)]));
    assert_eq!(replica.0.beginning.digests[&Slot(1)], first.digest());
    replica.hears(2, new_view([0, 1, 2], vec![claim(1, &second)]));
    assert_eq!(replica.0.beginning.digests[&Slot(1)], first.digest());
}

#[test]
fn nobody_goes_back_to_an_earlier_view() {
    let mut replica = Alone::with(config());
    replica.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 3), wish(3, 3)])));
    assert_eq!((replica.0.basis.view, replica.0.basis.installed), (View(3), false));
    replica.hears(2, new_view([0, 2, 3], vec![]));
    assert_eq!(
        (replica.0.basis.view, replica.0.basis.installed),
        (View(3), false),
        "view 2 has begun without it"
    );
    replica.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(0, 2), wish(2, 2)])));
    assert_eq!(replica.0.basis.view, View(3));
}

#[test]
fn a_view_is_noted_when_it_is_entered_whichever_way_and_once() {
    let mut by_wishes = Alone::with(config());
    assert_eq!(
        entered(&by_wishes.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 2), wish(3, 2)])))),
        [2]
    );
    assert_eq!(entered(&by_wishes.hears(2, new_view([0, 2, 3], vec![]))), []);
    let mut by_its_beginning = Alone::with(config());
    assert_eq!(entered(&by_its_beginning.hears(2, new_view([0, 2, 3], vec![]))), [2]);
}

#[test]
fn who_leaves_wishes_for_the_view_too_unless_it_has() {
    let mut replica = Alone::with(config());
    let left = replica.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 2), wish(3, 2)])));
    assert_eq!(own_wishes(&left), [2]);
    let mut wisher = Alone::with(config());
    wisher.0.suspect("for a test", &mut wisher.1);
    assert_eq!(own_wishes(&wisher.1.drain().collect::<Vec<_>>()), [1]);
    wisher.0.suspect("for a test", &mut wisher.1);
    assert_eq!(wisher.1.drain().count(), 0, "it has said so");
    let left = wisher.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 1)])));
    assert_eq!(
        (wisher.0.basis.view, own_wishes(&left).as_slice()),
        (View(1), &[1][..]),
        "only as one of the f+1"
    );
    let left = wisher.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 5), wish(3, 5)])));
    assert_eq!(own_wishes(&left), [5]);
}

#[test]
fn the_primary_of_a_view_begins_it_once_a_quorum_left_for_that_very_view() {
    let mut replica = Alone::with(config());
    assert_eq!(begins(&replica.hears(2, change(2, 1))), None);
    assert_eq!(begins(&replica.hears(3, change(3, 1))), None, "it has not left itself");
    assert_eq!(begins(&replica.hears(0, change(0, 5))), None);
    let begun = begins(&replica.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 1), wish(3, 1)]))));
    let authors: Vec<u16> = begun.expect("three of four").changes.iter().map(|c| c.author.0).collect();
    assert_eq!(authors, [1, 2, 3]);
    assert_eq!(begins(&replica.hears(0, change(0, 1))), None, "it has begun");
}

#[test]
fn a_backup_begins_no_view_and_a_primary_none_with_less_than_a_quorum() {
    let mut backup = Alone::with(config());
    backup.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 2), wish(3, 2)])));
    for author in [0, 2, 3] {
        assert_eq!(begins(&backup.hears(author, change(author, 2))), None);
    }
    let mut primary = Alone::with(config());
    primary.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 5), wish(3, 5)])));
    assert_eq!(begins(&primary.hears(2, change(2, 5))), None, "two of four");
    assert_eq!(begins(&primary.hears(3, change(3, 4))), None, "one left for an earlier view");
    assert_eq!(begins(&primary.hears(0, change(0, 6))), None, "one for a later view");
    assert!(begins(&primary.hears(3, change(3, 5))).is_some());
}

#[test]
fn of_what_a_replica_told_for_two_views_the_later_counts() {
    let mut replica = Alone::with(config());
    for to in [5, 9, 5] {
        replica.hears(2, change(2, to));
    }
    assert_eq!(replica.0.changes[&ReplicaId(2)].to, View(9));
    replica.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 5), wish(3, 5)])));
    replica.hears(3, change(3, 4));
    assert!(!replica.0.changes.contains_key(&ReplicaId(3)), "of no use any more");
    replica.hears(0, change(0, 5));
    replica.hears(3, change(3, 5));
    assert!(replica.0.basis.installed);
    assert_eq!(replica.0.changes.keys().copied().collect::<Vec<_>>(), [ReplicaId(2)], "for view 9");
}

/// What it says of slots above its prefix when it leaves for view 2.
fn claims_on_leaving(replica: &mut Alone) -> Vec<Ballot> {
    let left = replica.hears(2, Message::Upkeep(Upkeep::Suspects(vec![wish(2, 2), wish(3, 2)])));
    let told = left.iter().find_map(|effect| match effect {
        Effect::Broadcast(Message::ViewChange(change)) => Some(change.claims.clone()),
        _ => None,
    });
    told.expect("it leaves").into_iter().map(|claim| claim.ballot).collect()
}

fn batch(number: u64) -> Batch {
    Batch::new(Timestamp(1_000_000), vec![entry(1, number)])
}

#[test]
fn who_leaves_tells_what_was_prepared_and_decided_above_its_prefix_and_nothing_else() {
    let mut replica = Alone::with(config());
    for slot in [2, 3] {
        replica.hears(0, proposal(0, slot, batch(slot)));
    }
    replica.hears(2, vote(2, Phase::Prepare, 0, 2, &batch(2)));
    replica.hears(0, Message::Upkeep(Upkeep::Decided(vec![decision(4)])));
    let prepared = ordering::prepare(View(0), Slot(2), &batch(2));
    assert_eq!(claims_on_leaving(&mut replica), [prepared, decision(4).certificate.ballot]);
}

#[test]
fn a_decision_of_the_view_to_come_is_no_claim_but_what_was_prepared_before_it_is() {
    let mut replica = Alone::with(config());
    replica.hears(0, proposal(0, 2, batch(2)));
    replica.hears(2, vote(2, Phase::Prepare, 0, 2, &batch(2)));
    for view in [2, 3] {
        let mut replica = replica.twin();
        replica.hears(0, Message::Upkeep(Upkeep::Decided(vec![decision_of(View(view), 2)])));
        assert_eq!(claims_on_leaving(&mut replica), [ordering::prepare(View(0), Slot(2), &batch(2))]);
    }
    replica.hears(0, Message::Upkeep(Upkeep::Decided(vec![decision_of(View(1), 2)])));
    assert_eq!(claims_on_leaving(&mut replica), [decision_of(View(1), 2).certificate.ballot]);
}
