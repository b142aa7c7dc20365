//! What one replica, number 1 of four, votes for and what it does not.

use super::*;
use crate::checkpoint::{Checkpoint, CheckpointCertificate};

const CLOCK: u64 = 1_000_000;

pub(super) fn config() -> Config {
    Config { window_slots: 4, log_slots_max: 8, ..Config::default() }
}

impl Alone {
    pub(super) fn with(config: Config) -> Alone {
        Alone(Pbft::new(seat(1), config), Effects::default())
    }

    pub(super) fn twin(&self) -> Alone {
        Alone(self.0.clone(), Effects::default())
    }

    /// What it does when `from` says this; forgets what it did before.
    pub(super) fn hears(&mut self, from: u16, message: Message) -> Vec<Effect<Message>> {
        let (group, _) = group_of_four();
        let (config, verifier) = (self.0.basis.config.clone(), Verifier::new(64));
        let rules = Rules { group: &group, config: &config, verifier: &verifier };
        let checked = Verified::check(ReplicaId(from), message, &rules).expect("well formed");
        self.1.drain().for_each(drop);
        self.0.step(Input { clock: Timestamp(CLOCK), event: Event::Message(checked) }, &mut self.1);
        self.1.drain().collect()
    }

    fn votes(&mut self, from: u16, message: Message) -> Vec<(Phase, u64, u64)> {
        votes(&self.hears(from, message))
    }

    /// On its way to view 2, whose primary is replica 2.
    fn leaves(&mut self) {
        let wishes = [2, 3].map(|who| Suspect::sign(&seat(who), View(2)));
        self.hears(3, Message::Upkeep(Upkeep::Suspects(wishes.to_vec())));
        assert_eq!((self.0.basis.view, self.0.basis.installed), (View(2), false));
    }
}

fn votes(effects: &[Effect<Message>]) -> Vec<(Phase, u64, u64)> {
    let vote = |effect: &Effect<Message>| match effect {
        Effect::Broadcast(Message::Vote { ballot, .. }) => Some((ballot.phase, ballot.view.0, ballot.slot.0)),
        _ => None,
    };
    effects.iter().filter_map(vote).collect()
}

fn batch(number: u64) -> Batch {
    Batch::new(Timestamp(CLOCK), vec![entry(1, number)])
}

pub(super) fn proposal(view: u64, slot: u64, batch: Batch) -> Message {
    let primary = seat(u16::try_from(view % 4).expect("small"));
    let ballot = ordering::prepare(View(view), Slot(slot), &batch);
    let signature = primary.sign(&ballot.statement(&primary.group));
    Message::Proposal { view: View(view), slot: Slot(slot), batch, signature }
}

pub(super) fn vote(author: u16, phase: Phase, view: u64, slot: u64, batch: &Batch) -> Message {
    let ballot = Ballot { phase, view: View(view), slot: Slot(slot), digest: batch.digest() };
    Message::Vote { ballot, signature: seat(author).sign(&ballot.statement(&seat(author).group)) }
}

/// What a quorum prepared for `slot` in view 0.
pub(super) fn claim(slot: u64, batch: &Batch) -> QuorumCertificate {
    let ballot = ordering::prepare(View(0), Slot(slot), batch);
    let votes = (0..3).map(|i| (ReplicaId(i), seat(i).sign(&ballot.statement(&seat(i).group)))).collect();
    QuorumCertificate { ballot, votes }
}

/// The beginning of view 2 as `authors` knew of it: one of them the claims, the others nothing.
pub(super) fn new_view(authors: [u16; 3], claims: Vec<QuorumCertificate>) -> Message {
    let mut claims = Some(claims);
    let mut knows = |author: u16| {
        let claims = claims.take().unwrap_or_default();
        ViewChange::sign(&seat(author), View(2), Slot(0), PrefixProof::default(), claims)
    };
    let changes = authors.iter().map(|author| knows(*author)).collect();
    Message::NewView(NewView::sign(&seat(2), View(2), changes))
}

fn checkpoint(slot: u64) -> CheckpointCertificate {
    let checkpoint = Checkpoint { slot: Slot(slot), digest: Digest::default() };
    CheckpointCertificate { checkpoint, votes: Vec::new() }
}

const PREPARE: Phase = Phase::Prepare;
const COMMIT: Phase = Phase::Commit;

#[test]
fn a_proposal_gets_one_vote_and_only_in_the_view_that_the_replica_is_in() {
    let mut replica = Alone::with(config());
    assert_eq!(replica.votes(0, proposal(4, 1, batch(1))), [], "of a view to come");
    assert_eq!(replica.votes(0, proposal(0, 1, batch(2))), [(PREPARE, 0, 1)]);
    assert_eq!(replica.votes(0, proposal(0, 1, batch(2))), [], "once");
    assert!(!replica.suspects(), "saying it again is no second proposal");
    replica.leaves();
    assert_eq!(replica.votes(0, proposal(0, 2, batch(3))), [], "of the view that it left");
    assert_eq!(replica.votes(2, proposal(2, 1, batch(3))), [], "of one that has not begun");
    replica.hears(2, new_view([0, 2, 3], vec![]));
    assert_eq!(replica.votes(0, proposal(0, 2, batch(3))), []);
    assert_eq!(replica.votes(2, proposal(2, 1, batch(3))), [(PREPARE, 2, 1)]);
}

#[test]
fn a_second_proposal_for_a_slot_gets_no_vote_and_is_a_reason_to_leave() {
    let mut replica = Alone::with(config());
    assert_eq!(replica.votes(0, proposal(0, 1, batch(1))), [(PREPARE, 0, 1)]);
    let seen = replica.hears(0, proposal(0, 1, batch(2)));
    assert_eq!(votes(&seen), []);
    let by = ReplicaId(0);
    let equivocation = Observation::Equivocation { by, view: View(0), slot: Slot(1) };
    assert!(seen.contains(&Effect::Report(equivocation)));
    assert!(replica.suspects());
}

#[test]
fn the_beginning_of_a_view_binds_its_primary_slot_by_slot() {
    let (bound, other) = (batch(1), batch(2));
    let mut replica = Alone::with(config());
    replica.hears(2, new_view([0, 2, 3], vec![claim(2, &bound)]));
    let refused = replica.hears(2, proposal(2, 1, other.clone()));
    assert_eq!(votes(&refused), [], "nothing was claimed there, so nothing it is");
    let why = Effect::Report(Observation::Dropped { from: ReplicaId(2), why: crate::Refused::NoRight });
    assert!(refused.contains(&why));
    assert_eq!(replica.votes(2, proposal(2, 2, other.clone())), []);
    let taken = replica.hears(2, proposal(2, 1, Batch::nil()));
    assert_eq!(votes(&taken), [(PREPARE, 2, 1)], "though its time is long past");
    assert!(!taken.contains(&why));
    assert_eq!(replica.votes(2, proposal(2, 2, bound)), [(PREPARE, 2, 2)]);
    assert_eq!(replica.votes(2, proposal(2, 3, other)), [(PREPARE, 2, 3)], "free again");
}

#[test]
fn nothing_is_proposed_where_the_view_begins_as_decided() {
    let mut replica = Alone::with(config());
    let proof = |decided| PrefixProof {
        checkpoint: None,
        commits: (1..=decided).map(|slot| super::decision(slot).certificate).collect(),
    };
    let change = |author| ViewChange::sign(&seat(author), View(2), Slot(2), proof(2), vec![]);
    let begun = NewView::sign(&seat(2), View(2), [0, 2, 3].map(change).to_vec());
    replica.hears(2, Message::NewView(begun));
    assert_eq!(replica.0.decided(), Slot(0), "it has missed them");
    assert_eq!(replica.votes(2, proposal(2, 1, batch(1))), []);
    assert_eq!(replica.votes(2, proposal(2, 2, batch(1))), []);
    assert_eq!(replica.votes(2, proposal(2, 3, batch(1))), [(PREPARE, 2, 3)]);
}

#[test]
fn a_proposal_may_be_as_far_from_the_clock_as_the_limit_says() {
    let skew = config().skew_max_ms;
    for (time, slots) in [(CLOCK + skew, &[1][..]), (CLOCK - skew, &[1]), (CLOCK, &[1])] {
        let mut replica = Alone::with(config());
        let message = proposal(0, 1, Batch::new(Timestamp(time), vec![]));
        assert_eq!(replica.votes(0, message).iter().map(|vote| vote.2).collect::<Vec<_>>(), slots);
    }
    for time in [CLOCK + skew + 1, CLOCK - skew - 1, 0] {
        let mut replica = Alone::with(config());
        assert_eq!(replica.votes(0, proposal(0, 1, Batch::new(Timestamp(time), vec![]))), []);
    }
}

#[test]
fn a_replica_votes_one_window_above_its_decided_prefix() {
    let mut replica = Alone::with(config());
    assert_eq!(replica.votes(0, proposal(0, 4, batch(4))), [(PREPARE, 0, 4)]);
    assert_eq!(replica.votes(0, proposal(0, 5, batch(5))), [], "kept until it is in reach");
    assert_eq!(replica.votes(0, proposal(0, 9, batch(9))), [], "not even kept");
    let reached = replica.hears(0, Message::Upkeep(Upkeep::Decided(vec![super::decision(1)])));
    assert_eq!(votes(&reached), [(PREPARE, 0, 5)]);
}

#[test]
fn a_replica_votes_no_further_above_the_stable_checkpoint_than_the_log_may_reach() {
    let mut replica = Alone::with(config());
    (1..=6).for_each(|slot| replica.decides(slot));
    replica.1.drain().for_each(drop);
    assert_eq!(replica.votes(0, proposal(0, 8, batch(8))), [(PREPARE, 0, 8)]);
    assert_eq!(replica.votes(0, proposal(0, 9, batch(9))), []);
    replica.step(Event::Stable(checkpoint(6)));
    assert_eq!(votes(&replica.1.drain().collect::<Vec<_>>()), [(PREPARE, 0, 9)]);
}

#[test]
fn a_checkpoint_ahead_of_a_replica_counts_and_shows_that_all_it_has_is_decided() {
    let mut replica = Alone::with(config());
    (1..=6).for_each(|slot| replica.decides(slot));
    replica.1.drain().for_each(drop);
    assert_eq!(replica.votes(0, proposal(0, 9, batch(9))), []);
    replica.step(Event::Stable(checkpoint(7)));
    assert_eq!(votes(&replica.1.drain().collect::<Vec<_>>()), [(PREPARE, 0, 9)]);
    let proof = replica.0.basis.ledger.prefix_proof();
    assert_eq!(proof.commits, []);
    assert_eq!(proof.base(Slot(6)), Slot(6), "n-f replicas have it, so it can be fetched");
    replica.decides(7);
    replica.decides(8);
    assert_eq!(replica.0.basis.ledger.prefix_proof().commits.len(), 1);
}

#[test]
fn an_older_checkpoint_changes_nothing_and_the_log_reaches_down_to_the_one_before_the_last() {
    let mut replica = Alone::with(config());
    (1..=6).for_each(|slot| replica.decides(slot));
    let stable = |replica: &mut Alone, slot| replica.step(Event::Stable(checkpoint(slot)));
    stable(&mut replica, 2);
    assert_eq!(replica.0.status().log_base, Slot(0));
    stable(&mut replica, 4);
    assert_eq!(replica.0.status().log_base, Slot(2));
    for older in [4, 3, 1] {
        stable(&mut replica, older);
        assert_eq!(replica.0.status().log_base, Slot(2));
        assert_eq!(replica.0.basis.ledger.checkpoints().0, Slot(4));
    }
}

#[test]
fn an_installed_state_moves_the_prefix_forward_and_never_back() {
    let mut replica = Alone::with(config());
    (1..=6).for_each(|slot| replica.decides(slot));
    for behind in [4, 6] {
        replica.step(Event::Installed(checkpoint(behind)));
        assert_eq!((replica.0.decided(), replica.0.status().log_base), (Slot(6), Slot(0)));
    }
    replica.step(Event::Installed(checkpoint(9)));
    assert_eq!((replica.0.decided(), replica.0.status().log_base), (Slot(9), Slot(9)));
}

#[test]
fn a_replica_commits_once_when_a_quorum_with_itself_prepared_in_its_view() {
    let (mut replica, batch) = (Alone::with(config()), batch(1));
    replica.hears(0, proposal(0, 1, batch.clone()));
    assert_eq!(replica.votes(2, vote(2, PREPARE, 0, 1, &batch)), [(COMMIT, 0, 1)]);
    assert_eq!(replica.votes(3, vote(3, PREPARE, 0, 1, &batch)), [], "once");
}

#[test]
fn a_replica_commits_nothing_for_which_it_may_not_vote_yet() {
    let (mut replica, batch) = (Alone::with(config()), batch(5));
    replica.hears(0, proposal(0, 5, batch.clone()));
    for author in [2, 3] {
        assert_eq!(replica.votes(author, vote(author, PREPARE, 0, 5, &batch)), []);
    }
    let reached = replica.hears(0, Message::Upkeep(Upkeep::Decided(vec![super::decision(1)])));
    assert_eq!(votes(&reached), [(PREPARE, 0, 5), (COMMIT, 0, 5)]);
}

#[test]
fn a_replica_that_left_a_view_commits_nothing_in_it() {
    let (mut replica, batch) = (Alone::with(config()), batch(1));
    replica.hears(0, proposal(0, 1, batch.clone()));
    replica.leaves();
    assert_eq!(replica.votes(2, vote(2, PREPARE, 0, 1, &batch)), []);
    assert_eq!(replica.votes(3, vote(3, PREPARE, 0, 1, &batch)), []);
    replica.hears(2, new_view([0, 2, 3], vec![]));
    assert_eq!(replica.votes(0, vote(0, PREPARE, 0, 1, &batch)), [], "nor later, in the next one");
}

#[test]
fn a_replica_on_its_way_votes_for_nothing_that_comes_into_reach() {
    let mut replica = Alone::with(config());
    replica.hears(0, proposal(0, 5, batch(5)));
    replica.leaves();
    assert_eq!(replica.votes(0, Message::Upkeep(Upkeep::Decided(vec![super::decision(1)]))), []);
    replica.step(Event::Stable(checkpoint(1)));
    assert_eq!(votes(&replica.1.drain().collect::<Vec<_>>()), []);
}

#[test]
fn commits_of_a_quorum_decide_in_whatever_view_they_were_made() {
    let (mut replica, batch) = (Alone::with(config()), batch(1));
    replica.hears(0, proposal(0, 1, batch.clone()));
    replica.leaves();
    let decided = |effects: Vec<Effect<Message>>| {
        let decide = Effect::Decide { slot: Slot(1), batch: batch.clone() };
        effects.contains(&decide)
    };
    assert!(!decided(replica.hears(0, vote(0, COMMIT, 3, 1, &batch))));
    assert!(!decided(replica.hears(2, vote(2, COMMIT, 0, 1, &batch))), "of another view");
    assert!(!decided(replica.hears(3, vote(3, COMMIT, 3, 1, &batch))), "two of one view and one of another");
    assert!(decided(replica.hears(2, vote(2, COMMIT, 3, 1, &batch))));
}

#[test]
fn a_body_to_which_nobody_is_bound_is_not_kept() {
    let (wanted, other) = (batch(1), batch(2));
    let mut replica = Alone::with(config());
    replica.hears(2, new_view([0, 2, 3], vec![claim(2, &wanted)]));
    for (slot, body) in [(2, &other), (3, &wanted), (2, &wanted)] {
        replica.hears(3, Message::Upkeep(Upkeep::Body { slot: Slot(slot), batch: body.clone() }));
    }
    assert_eq!(replica.0.body(Slot(2), &other.digest()), None);
    assert_eq!(replica.0.body(Slot(3), &wanted.digest()), None);
    assert_eq!(replica.0.body(Slot(2), &wanted.digest()), Some(wanted));
}

#[test]
fn a_body_is_given_to_whoever_asks_for_it_by_its_digest() {
    let mut replica = Alone::with(config());
    replica.decides(1);
    replica.hears(0, proposal(0, 2, batch(2)));
    let mut asks =
        |slot, digest| replica.hears(3, Message::Upkeep(Upkeep::FetchBody { slot: Slot(slot), digest }));
    let given = |slot, batch| Effect::Send {
        to: ReplicaId(3),
        message: Message::Upkeep(Upkeep::Body { slot: Slot(slot), batch }),
    };
    assert!(asks(1, super::decision(1).batch.digest()).contains(&given(1, super::decision(1).batch)));
    assert!(asks(2, batch(2).digest()).contains(&given(2, batch(2))));
    let unknown = asks(1, batch(9).digest());
    assert!(!unknown.iter().any(|effect| matches!(effect, Effect::Send { .. })));
}
