//! Each invariant can fail.

use smr_consensus::lanes::beginning::ViewChange;
use smr_consensus::lanes::core::Operation;
use smr_consensus::lanes::schedule::Exclusion;
use smr_consensus::lanes::{AskedOutline, PlaceOutline};
use smr_consensus::{ProtocolName, Seat};
use smr_crypto::{IdentityKey, Signature, Verifier};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ServiceId};

use super::*;

const WINDOW: u64 = 4;

/// A watch of three replicas of `ebawa`, and one of them that has done nothing.
fn watched() -> (Watch, Outline) {
    let key = |seed: u8| Arc::new(IdentityKey::from_seed(&[seed; 32]));
    let publics = |first: u8| (first..first + 3).map(|seed| key(seed).public()).collect();
    let group = Arc::new(Group {
        service: ServiceId(Digest::default()),
        generation: Generation(0),
        model: FaultModel::Hybrid,
        faults: 1,
        keys: publics(1),
        cores: publics(11),
    });
    let config = Config { window_slots: WINDOW, ..Config::default() };
    let seat = Seat::new(group.clone(), ReplicaId(1), key(2));
    let engine = ProtocolName::Ebawa.start(seat, config.clone());
    let lanes = engine.lanes().expect("ebawa is one of lanes");
    (Watch::new(lanes, group, config), lanes.outline())
}

fn digest(text: &str) -> Digest {
    Digest::of("T", &[text.as_bytes()])
}

fn vote(view: u64, slot: u64, text: &str) -> Register {
    Register { view: View(view), item: Item { slot: Slot(slot), digest: digest(text) } }
}

fn begun(view: u64, texts: &[&str]) -> Beginning {
    let digests = texts.iter().map(|text| digest(text)).collect();
    Beginning { view: View(view), digests, ..Beginning::default() }
}

fn out(replica: u16) -> Exclusion {
    Exclusion { replica: ReplicaId(replica), until: Slot(100), again: 0 }
}

/// Votes of these replicas, which nothing but their cores binds.
fn cast(watch: &mut Watch, voters: &[u16], what: Register) -> Verdict {
    voters.iter().try_for_each(|who| watch.votes(ReplicaId(*who), Voter::Faulty, what))
}

fn broken(verdict: Verdict) -> Option<Invariant> {
    match verdict {
        Ok(()) => None,
        Err(Violation::Lanes { invariant, .. }) => Some(invariant),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_is_right_holds() {
    let (mut watch, mut outline) = watched();
    assert_eq!(watch.knows(ReplicaId(1), &outline), Ok(()));
    // The turn in slot 1 of view 0 is replica 1's.
    assert_eq!(watch.votes(ReplicaId(1), Voter::Correct(Slot(0)), vote(0, 1, "a")), Ok(()));
    assert_eq!(watch.votes(ReplicaId(0), Voter::Correct(Slot(0)), vote(0, 1, "a")), Ok(()));
    outline.begun.push(begun(1, &["a"]));
    outline.beginning = begun(1, &["a"]);
    assert_eq!(watch.knows(ReplicaId(1), &outline), Ok(()));
    assert_eq!(watch.votes(ReplicaId(2), Voter::Correct(Slot(0)), vote(1, 1, "a")), Ok(()));
}

#[test]
fn i1_two_batches_are_decided_in_a_slot() {
    let (mut watch, mut outline) = watched();
    assert_eq!(cast(&mut watch, &[0, 1], vote(0, 1, "a")), Ok(()));
    let other = cast(&mut watch.clone(), &[0, 2], vote(1, 1, "b"));
    assert_eq!(broken(other), Some(Invariant::Agreement));
    outline.basis.places.push((Slot(1), PlaceOutline { decision: Some(vote(1, 1, "b")), ..place() }));
    assert_eq!(broken(watch.knows(ReplicaId(1), &outline)), Some(Invariant::Agreement));
}

fn place() -> PlaceOutline {
    PlaceOutline::default()
}

#[test]
fn i2_a_vote_is_a_second_one_or_for_what_nobody_had_the_right_to_propose() {
    let (mut watch, _) = watched();
    let correct = Voter::Correct(Slot(0));
    let groundless = watch.clone().votes(ReplicaId(0), correct, vote(0, 1, "a"));
    assert_eq!(broken(groundless), Some(Invariant::Proposal));
    assert_eq!(cast(&mut watch, &[1], vote(0, 1, "a")), Ok(()));
    assert_eq!(broken(cast(&mut watch, &[1], vote(0, 1, "b"))), Some(Invariant::Proposal));
    let other = watch.votes(ReplicaId(0), correct, vote(0, 1, "b"));
    assert_eq!(broken(other), Some(Invariant::Proposal));
}

#[test]
fn i3_another_batch_has_the_right_to_a_decided_slot_or_a_view_begins_above_what_is_known() {
    let (mut watch, outline) = watched();
    let starts = |beginning: Beginning| Outline { begun: vec![beginning], ..outline.clone() };
    let above = Beginning { decided: Slot(3), ..begun(1, &[]) };
    assert_eq!(broken(watch.clone().knows(ReplicaId(1), &starts(above))), Some(Invariant::Lock));
    assert_eq!(cast(&mut watch, &[0, 1], vote(0, 1, "a")), Ok(()));
    let unbound = watch.clone().knows(ReplicaId(1), &starts(begun(1, &["b"])));
    assert_eq!(broken(unbound), Some(Invariant::Lock));
    // A view that names nothing lets whoever has the turn propose, which is replica 2 in slot 1 of view 1.
    assert_eq!(watch.knows(ReplicaId(1), &starts(begun(1, &[]))), Ok(()));
    assert_eq!(broken(cast(&mut watch, &[2], vote(1, 1, "b"))), Some(Invariant::Lock));
}

#[test]
fn i4_a_vote_is_more_than_a_window_above_what_was_decided() {
    let (mut watch, _) = watched();
    let far = watch.votes(ReplicaId(1), Voter::Correct(Slot(2)), vote(0, 2 + WINDOW + 1, "a"));
    assert_eq!(broken(far), Some(Invariant::Window));
}

#[test]
fn i5_a_lane_lacks_a_vote_or_its_report_does_not_convince() {
    let (mut watch, outline) = watched();
    let me = ReplicaId(1);
    let mut core = outline.registers.clone();
    assert_eq!(watch.answers(me, &outline, Some(&core)), Ok(()));
    let items = vec![vote(0, 1, "a").item];
    core.apply(&Operation::Endorse { view: View(0), items }).expect("its first vote");
    assert_eq!(broken(watch.answers(me, &outline, Some(&core))), Some(Invariant::Lanes));
    assert_eq!(watch.core(me, Voter::Correct(Slot(0)), &core), Ok(()));
    assert_eq!(broken(watch.answers(me, &outline, None)), Some(Invariant::Lanes));

    let change = ViewChange {
        author: me,
        to: View(1),
        lanes: vec![None; usize::try_from(WINDOW).expect("small")],
        report: Signature([0; 64]),
        blames: None,
        decided: Slot(0),
        proof: Default::default(),
        grounds: Vec::new(),
        views: Vec::new(),
        signature: Signature([0; 64]),
    };
    let (group, config, verifier) = (watch.group.clone(), watch.config.clone(), Verifier::new(8));
    let rules = Rules { group: &group, config: &config, verifier: &verifier };
    let says = watch.says(me, &Message::ViewChange(Box::new(change)), &rules);
    assert_eq!(broken(says), Some(Invariant::Lanes));
}

#[test]
fn i6_a_replica_has_turns_of_its_own() {
    let (mut watch, mut outline) = watched();
    outline.beginning.excluded.push(out(2));
    assert_eq!(broken(watch.knows(ReplicaId(1), &outline)), Some(Invariant::Schedule));
}

#[test]
fn i7_a_view_begins_in_two_ways_or_without_turns_for_too_many() {
    let (mut watch, outline) = watched();
    let starts =
        |beginning: Beginning| Outline { begun: vec![beginning.clone()], beginning, ..outline.clone() };
    let few = Beginning { excluded: vec![out(0), out(2)], ..begun(1, &[]) };
    assert_eq!(broken(watch.clone().knows(ReplicaId(1), &starts(few))), Some(Invariant::View));
    assert_eq!(watch.knows(ReplicaId(1), &starts(begun(1, &["a"]))), Ok(()));
    assert_eq!(broken(watch.knows(ReplicaId(2), &starts(begun(1, &["b"])))), Some(Invariant::View));

    let mut says = |who, text| watch.acknowledges(ReplicaId(who), View(2), digest(text));
    assert_eq!((says(0, "a"), says(1, "a"), says(1, "b")), (Ok(()), Ok(()), Ok(())));
    assert_eq!(broken(says(2, "b")), Some(Invariant::View));
}

#[test]
fn i10_what_was_decided_or_stable_is_forgotten() {
    let losses: [fn(&mut Outline); 2] =
        [|outline| outline.basis.log_base = Slot(1), |outline| outline.basis.stable.0 = Slot(1)];
    for lost in losses {
        let (mut watch, mut outline) = watched();
        (outline.basis.log_base, outline.basis.stable.0) = (Slot(6), Slot(6));
        assert_eq!(watch.knows(ReplicaId(1), &outline), Ok(()));
        lost(&mut outline);
        assert_eq!(broken(watch.knows(ReplicaId(1), &outline)), Some(Invariant::State));
    }
}

#[test]
fn i11_more_is_remembered_than_may_be() {
    let grow: [fn(&mut Outline); 5] = [
        |outline| outline.basis.places = (1..=9).map(|slot| (Slot(slot), place())).collect(),
        |outline| outline.basis.wishes = vec![(ReplicaId(0), View(1)); 4],
        |outline| outline.basis.waiting = vec![(Digest::default(), false); 20_000],
        |outline| outline.own = vec![Slot(1); 5],
        |outline| outline.asked = vec![AskedOutline::Leave { to: View(1), lanes: Vec::new() }; 17],
    ];
    for grow in grow {
        let (mut watch, mut outline) = watched();
        grow(&mut outline);
        assert_eq!(broken(watch.knows(ReplicaId(1), &outline)), Some(Invariant::Memory));
    }
}
