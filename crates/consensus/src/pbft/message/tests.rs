use super::*;
use crate::checkpoint::{Checkpoint, CheckpointCertificate};
use crate::config::Config;
use crate::decision::DECISIONS_MAX;
use crate::pbft::tests::{group_of_four, seat};
use crate::pool::tests::entry;
use crate::suspicion::Suspect;
use smr_crypto::Verifier;
use smr_wire::Timestamp;

const ALPHA: u64 = 4;

fn batch(text: u64) -> Batch {
    Batch::new(Timestamp(text), vec![entry(1, text)])
}

/// What three of the four replicas signed.
fn certificate(phase: Phase, view: u64, slot: u64, batch: &Batch) -> QuorumCertificate {
    let ballot = Ballot { phase, view: View(view), slot: Slot(slot), digest: batch.digest() };
    let votes = (0..3).map(|i| (ReplicaId(i), seat(i).sign(&ballot.statement(&seat(i).group)))).collect();
    QuorumCertificate { ballot, votes }
}

fn commit(slot: u64) -> QuorumCertificate {
    certificate(Phase::Commit, 0, slot, &batch(slot))
}

fn prepared(view: u64, slot: u64) -> QuorumCertificate {
    certificate(Phase::Prepare, view, slot, &batch(slot))
}

fn checkpoint(slot: u64) -> CheckpointCertificate {
    let checkpoint = Checkpoint { slot: Slot(slot), digest: Digest::of("STATE", &[]) };
    let votes = (1..4).map(|i| (ReplicaId(i), seat(i).sign(&checkpoint.statement(&seat(i).group)))).collect();
    CheckpointCertificate { checkpoint, votes }
}

fn proof(commits: impl IntoIterator<Item = u64>) -> PrefixProof {
    PrefixProof { checkpoint: None, commits: commits.into_iter().map(commit).collect() }
}

fn after(slot: u64, commits: impl IntoIterator<Item = u64>) -> PrefixProof {
    PrefixProof { checkpoint: Some(checkpoint(slot)), ..proof(commits) }
}

/// Replica `author` on its way to `to`, with a window's worth of decided slots.
fn change(author: u16, to: u64, claims: Vec<QuorumCertificate>) -> ViewChange {
    ViewChange::sign(&seat(author), View(to), Slot(ALPHA), proof(1..=ALPHA), claims)
}

fn check<M>(message: &M, check: impl Fn(&M, &Rules<'_>) -> Result<(), Refused>) -> Result<(), Refused> {
    let (group, _) = group_of_four();
    let (verifier, config) = (Verifier::new(64), Config { window_slots: ALPHA, ..Config::default() });
    check(message, &Rules { group: &group, config: &config, verifier: &verifier })
}

fn check_change(change: &ViewChange) -> Result<(), Refused> {
    check(change, ViewChange::check)
}

fn check_new_view(new_view: &NewView) -> Result<(), Refused> {
    check(new_view, NewView::check)
}

/// What a view change with this proof says of a prefix that ends at `decided`.
fn check_prefix(decided: u64, proof: PrefixProof) -> Result<(), Refused> {
    check_change(&ViewChange::sign(&seat(1), View(2), Slot(decided), proof, vec![]))
}

fn verify(from: u16, message: &Message) -> Result<(), Refused> {
    check(message, |message, rules| message.verify(ReplicaId(from), rules))
}

#[test]
fn a_view_change_claims_slots_of_the_two_windows_above_its_prefix_in_order_from_earlier_views() {
    let claims = |slots: &[u64]| slots.iter().map(|slot| prepared(1, *slot)).collect();
    for good in [&[][..], &[5], &[5, 6, 12], &[12]] {
        assert_eq!(check_change(&change(1, 2, claims(good))), Ok(()), "{good:?}");
    }
    for bad in [&[6, 5][..], &[5, 5], &[4], &[4, 5], &[13], &[5, 13]] {
        assert_eq!(check_change(&change(1, 2, claims(bad))), Err(Refused::Shape), "{bad:?}");
    }
    for view in [2, 3] {
        let early = change(1, 2, vec![prepared(view, 5)]);
        assert_eq!(check_change(&early), Err(Refused::Shape), "view {view} is not before 2");
    }
    assert_eq!(check_change(&change(1, 0, vec![])), Err(Refused::Shape), "nobody leaves for the first view");
}

#[test]
fn what_a_view_change_says_is_signed_by_its_author_and_each_claim_by_a_quorum() {
    let good = change(1, 2, vec![prepared(1, 5)]);
    let silent = ViewChange { claims: vec![], ..good.clone() };
    assert_eq!(check_change(&silent), Err(Refused::Signature), "a claim was taken out");
    let other = ViewChange { author: ReplicaId(2), ..good.clone() };
    assert_eq!(check_change(&other), Err(Refused::Signature));
    let mut unsigned = good.claims;
    unsigned[0].ballot.digest = Digest::default();
    assert_eq!(check_change(&change(1, 2, unsigned)), Err(Refused::Certificate));
}

#[test]
fn a_prefix_is_shown_by_the_commits_of_one_window_or_of_the_slots_after_a_checkpoint() {
    assert_eq!(check_prefix(0, PrefixProof::default()), Ok(()));
    assert_eq!(check_prefix(9, proof(6..=9)), Ok(()));
    assert_eq!(check_prefix(9, after(8, 9..=9)), Ok(()));
    assert_eq!(check_prefix(9, after(2, 6..=9)), Ok(()), "the checkpoint lies below the window");
    for bad in [proof(7..=9), proof(5..=9), proof(5..=8), proof(7..=10), after(8, 8..=9), after(8, [])] {
        assert_eq!(check_prefix(9, bad.clone()), Err(Refused::Shape), "{:?}", bad.commits);
    }
    let mut only_prepared = proof(6..=9);
    only_prepared.commits[3] = prepared(0, 9);
    assert_eq!(check_prefix(9, only_prepared), Err(Refused::Certificate));
}

#[test]
fn a_prefix_needs_good_certificates() {
    let mut short = proof(6..=9);
    short.commits[0].votes.pop();
    assert_eq!(check_prefix(9, short), Err(Refused::Certificate));
    let mut early = checkpoint(8);
    early.votes.pop();
    let unstable = PrefixProof { checkpoint: Some(early), ..proof(9..=9) };
    assert_eq!(check_prefix(9, unstable), Err(Refused::Certificate), "two votes make no checkpoint of four");
    let mut other = checkpoint(8);
    other.checkpoint.slot = Slot(9);
    let moved = PrefixProof { checkpoint: Some(other), ..PrefixProof::default() };
    assert_eq!(check_prefix(9, moved), Err(Refused::Certificate), "signed for another slot");
}

#[test]
fn a_view_begins_with_the_changes_of_exactly_a_quorum_for_it_that_its_primary_signed() {
    let changes = |authors: &[u16]| authors.iter().map(|i| change(*i, 2, vec![])).collect::<Vec<_>>();
    let signed = |by, changes| NewView::sign(&seat(by), View(2), changes);
    assert_eq!(check_new_view(&signed(2, changes(&[0, 1, 3]))), Ok(()));
    for bad in [&[0, 1][..], &[0, 1, 2, 3], &[0, 0, 1], &[0, 1, 1], &[1, 0, 3]] {
        assert_eq!(check_new_view(&signed(2, changes(bad))), Err(Refused::Certificate), "{bad:?}");
    }
    let mut mixed = changes(&[0, 1]);
    mixed.push(change(3, 3, vec![]));
    assert_eq!(check_new_view(&signed(2, mixed)), Err(Refused::Certificate), "one left for another view");
    assert_eq!(check_new_view(&signed(1, changes(&[0, 1, 3]))), Err(Refused::Signature), "not its primary");
    let mut chosen = signed(2, changes(&[0, 1, 3]));
    chosen.changes[2] = change(2, 2, vec![]);
    assert_eq!(check_new_view(&chosen), Err(Refused::Signature), "another quorum than the primary's");
    let forged = ViewChange { decided: Slot(0), ..change(3, 2, vec![]) };
    let mut with_forged = changes(&[0, 1]);
    with_forged.push(forged);
    assert!(check_new_view(&signed(2, with_forged)).is_err(), "the primary vouches for nobody's words");
}

#[test]
fn a_decision_is_a_batch_with_commits_of_a_quorum_for_it() {
    let decided = |batch: Batch, certificate| {
        verify(3, &Message::Upkeep(Upkeep::Decided(vec![Decision { batch, certificate }])))
    };
    assert_eq!(decided(batch(7), commit(7)), Ok(()));
    assert_eq!(decided(batch(8), commit(7)), Err(Refused::Certificate), "another batch");
    assert_eq!(decided(batch(7), prepared(0, 7)), Err(Refused::Certificate), "prepared only");
    let mut short = commit(7);
    short.votes.pop();
    assert_eq!(decided(batch(7), short), Err(Refused::Certificate));
}

#[test]
fn a_list_longer_than_any_correct_replica_sends_is_refused() {
    let wishes = |count| Message::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&seat(1), View(1)); count]));
    assert_eq!((verify(3, &wishes(4)), verify(3, &wishes(5))), (Ok(()), Err(Refused::Shape)));
    let decision = Decision { batch: batch(7), certificate: commit(7) };
    let decisions = |count| Message::Upkeep(Upkeep::Decided(vec![decision.clone(); count]));
    assert_eq!(verify(3, &decisions(DECISIONS_MAX + 1)), Err(Refused::Shape));
    assert_eq!(verify(3, &decisions(DECISIONS_MAX)), Ok(()));
}

#[test]
fn a_wish_under_anothers_name_is_refused() {
    let forged = Suspect { author: ReplicaId(2), ..Suspect::sign(&seat(1), View(1)) };
    assert_eq!(verify(1, &Message::Upkeep(Upkeep::Suspects(vec![forged]))), Err(Refused::Signature));
    let raised = Suspect { wants: View(9), ..Suspect::sign(&seat(1), View(1)) };
    assert_eq!(verify(1, &Message::Upkeep(Upkeep::Suspects(vec![raised]))), Err(Refused::Signature));
}

#[test]
fn a_view_is_bound_to_the_claim_of_the_highest_view_whoever_makes_it() {
    let claim = |view, text| certificate(Phase::Prepare, view, 6, &batch(text));
    let begin = |claims: [Vec<QuorumCertificate>; 3]| {
        let changes = (0..).zip(claims).map(|(author, claims)| change(author, 9, claims)).collect();
        Beginning::of(&NewView::sign(&seat(1), View(9), changes))
    };
    let (low, middle, high) = (claim(2, 20), claim(3, 30), claim(4, 40));
    for claims in [[&low, &middle, &high], [&high, &middle, &low], [&middle, &high, &low]] {
        let beginning = begin(claims.map(|claim| vec![claim.clone()]));
        let bound = BTreeMap::from([(Slot(5), Batch::nil().digest()), (Slot(6), batch(40).digest())]);
        assert_eq!(beginning, Beginning { decided: Slot(ALPHA), digests: bound });
        assert_eq!(beginning.bound(), Slot(6));
    }
    assert_eq!(begin([vec![], vec![], vec![]]).bound(), Slot(ALPHA), "nothing is claimed");
}

#[test]
fn a_view_begins_at_a_prefix_that_correct_replicas_can_serve() {
    let knows = |author, decided: u64, first| {
        ViewChange::sign(&seat(author), View(9), Slot(decided), proof(first..=decided), vec![])
    };
    let begin = |changes| Beginning::of(&NewView::sign(&seat(1), View(9), changes));
    let beginning = begin(vec![knows(0, 2, 1), knows(1, 3, 1), knows(2, 4, 1)]);
    assert_eq!(beginning.decided, Slot(2), "what only some decided is proposed again");
    assert_eq!(beginning.digests.keys().copied().collect::<Vec<_>>(), [Slot(3), Slot(4)]);
    assert_eq!(beginning.digests[&Slot(4)], batch(4).digest());
    let beginning = begin(vec![knows(0, 2, 1), knows(1, 9, 6), knows(2, 4, 1)]);
    assert_eq!(beginning.decided, Slot(5), "a window below somebody's prefix correct replicas have decided");
}
