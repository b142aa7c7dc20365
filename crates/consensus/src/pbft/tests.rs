use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smr_crypto::{Digest, IdentityKey, Verifier};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, ServiceId, Slot, Timestamp, View};

use super::*;
use crate::basis::Place as _;
use crate::batch::Entry;
use crate::group::Group;
use crate::kept::KEPT_BATCHES_MAX;
use crate::pool::tests::entry;
use crate::protocol::{Effect, Observation};
use crate::quorum::{Ballot, Phase};
use crate::suspicion::Suspect;
use crate::verified::{Rules, Verified};

mod views;
mod voting;

/// Four replicas and their keys.
pub(crate) fn group_of_four() -> (Arc<Group>, Vec<Arc<IdentityKey>>) {
    let keys: Vec<_> = (1..=4).map(|seed| Arc::new(IdentityKey::from_seed(&[seed; 32]))).collect();
    let group = Group {
        service: ServiceId(Digest::default()),
        generation: Generation(0),
        model: FaultModel::Byzantine,
        faults: 1,
        keys: keys.iter().map(|key| key.public()).collect(),
        cores: Vec::new(),
    };
    (Arc::new(group), keys)
}

/// The seat of one of the four.
pub(crate) fn seat(me: u16) -> Seat {
    let (group, keys) = group_of_four();
    Seat::new(group, ReplicaId(me), keys[usize::from(me)].clone())
}

/// Four replicas and a network that delivers in order until it is told to cut somebody off.
struct Net {
    replicas: Vec<Pbft>,
    queue: VecDeque<(ReplicaId, ReplicaId, Message)>,
    timers: BTreeMap<(ReplicaId, Timer), u64>,
    decided: Vec<Vec<(Slot, Batch)>>,
    reports: Vec<(ReplicaId, Observation)>,
    cut: Vec<ReplicaId>,
    config: Config,
    verifier: Verifier,
    clock: Timestamp,
}

impl Net {
    fn new(config: Config) -> Net {
        config.validate().expect("a valid configuration");
        let mut net = Net {
            replicas: (0..4).map(|me| Pbft::new(seat(me), config.clone())).collect(),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            decided: vec![Vec::new(); 4],
            reports: Vec::new(),
            cut: Vec::new(),
            config,
            verifier: Verifier::new(10_000),
            clock: Timestamp(1_000_000),
        };
        (0..4).for_each(|me| net.step(ReplicaId(me), Event::Start));
        net
    }

    fn step(&mut self, me: ReplicaId, event: Event<Message>) {
        let mut effects = Effects::default();
        self.replicas[me.index()].step(Input { clock: self.clock, event }, &mut effects);
        let mut executed = None;
        for effect in effects.drain() {
            match effect {
                Effect::Send { to, message } => self.queue.push_back((me, to, message)),
                Effect::Broadcast(message) => {
                    let others = (0..4).map(ReplicaId).filter(|to| *to != me);
                    others.for_each(|to| self.queue.push_back((me, to, message.clone())));
                }
                Effect::Decide { slot, batch } => {
                    self.decided[me.index()].push((slot, batch));
                    executed = Some(slot);
                }
                Effect::Arm { timer, after_ms } => {
                    self.timers.insert((me, timer), self.clock.0 + after_ms);
                }
                Effect::Disarm(timer) => {
                    self.timers.remove(&(me, timer));
                }
                Effect::Report(observation) => self.reports.push((me, observation)),
                Effect::Persist(_)
                | Effect::Attest(_)
                | Effect::Offered { .. }
                | Effect::NeedState { .. } => {}
            }
        }
        if let Some(slot) = executed {
            self.step(me, Event::Executed(slot));
            self.step(me, Event::Settled(slot));
        }
    }

    fn deliver_all(&mut self) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            if !self.cut.contains(&from) && !self.cut.contains(&to) {
                self.deliver(from, to, &message);
            }
        }
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, message: &Message) {
        let (group, _) = group_of_four();
        let bytes = smr_wire::encode(message);
        let message = smr_wire::decode(&bytes, 1 << 24).expect("reads back");
        let rules = Rules { group: &group, config: &self.config, verifier: &self.verifier };
        let checked = Verified::check(from, message, &rules).expect("what correct replicas send is accepted");
        self.step(to, Event::Message(checked));
    }

    /// Lets `ms` of time pass, firing timers and delivering what follows.
    fn pass(&mut self, ms: u64) {
        let until = self.clock.0 + ms;
        while let Some((due, key)) =
            self.timers.iter().map(|(key, due)| (*due, *key)).min().filter(|(d, _)| *d <= until)
        {
            self.clock = Timestamp(due.max(self.clock.0));
            self.timers.remove(&key);
            self.step(key.0, Event::Timer(key.1));
            self.deliver_all();
        }
        self.clock = Timestamp(until);
    }

    fn offer(&mut self, to: u16, entry: Entry) {
        self.step(ReplicaId(to), Event::Offer(entry));
        self.deliver_all();
    }

    fn entries(&self, me: usize) -> Vec<Digest> {
        self.decided[me].iter().flat_map(|(_, batch)| batch.entries().iter().map(Entry::digest)).collect()
    }

    fn assert_agreement(&self) {
        for (i, a) in self.decided.iter().enumerate() {
            for b in &self.decided[i + 1..] {
                for ((slot, x), (other, y)) in a.iter().zip(b) {
                    assert_eq!((slot, x.digest()), (other, y.digest()));
                }
            }
        }
    }
}

#[test]
fn an_entry_offered_anywhere_is_decided_everywhere() {
    let mut net = Net::new(Config::default());
    net.offer(0, entry(1, 1));
    net.offer(2, entry(1, 2));
    for me in 0..4 {
        assert_eq!(net.entries(me), [entry(1, 1).digest(), entry(1, 2).digest()]);
    }
    net.assert_agreement();
}

#[test]
fn a_dead_primary_is_replaced_and_nothing_offered_is_lost() {
    let mut net = Net::new(Config::default());
    net.offer(1, entry(1, 1));
    net.cut.push(ReplicaId(0));
    net.offer(1, entry(1, 2));
    net.pass(10_000);
    for me in 1..4 {
        assert_eq!(net.entries(me), [entry(1, 1).digest(), entry(1, 2).digest()]);
        assert_eq!(net.replicas[me].status().view, View(1));
    }
    net.cut.clear();
    net.pass(2_000);
    assert_eq!(net.entries(0).len(), 2, "the old primary catches up");
    net.offer(0, entry(1, 3));
    assert!((0..4).all(|me| net.entries(me).len() == 3));
    net.assert_agreement();
}

#[test]
fn a_batch_that_was_prepared_survives_the_view_change() {
    let mut net = Net::new(Config::default());
    // Let everything through but commits, so that the batch is prepared at all and decided nowhere.
    net.step(ReplicaId(0), Event::Offer(entry(1, 1)));
    while let Some((from, to, message)) = net.queue.pop_front() {
        if !matches!(&message, Message::Vote { ballot, .. } if ballot.phase == crate::quorum::Phase::Commit) {
            net.deliver(from, to, &message);
        }
    }
    assert!(net.decided.iter().all(Vec::is_empty));
    net.cut.push(ReplicaId(0));
    net.pass(20_000);
    for me in 1..4 {
        assert_eq!(net.entries(me), [entry(1, 1).digest()]);
    }
    net.assert_agreement();
}

impl Net {
    /// Delivers what `passes` lets through and loses the rest.
    fn deliver_if(&mut self, passes: impl Fn(ReplicaId, &Message) -> bool) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            if passes(to, &message) {
                self.deliver(from, to, &message);
            }
        }
    }

    fn suspect(&mut self, me: usize) {
        let mut effects = Effects::default();
        self.replicas[me].suspect("for a test", &mut effects);
        for effect in effects.drain() {
            if let Effect::Broadcast(message) = effect {
                let others = (0..4).map(ReplicaId).filter(|to| to.index() != me);
                others.for_each(|to| self.queue.push_back((ReplicaId::at(me), to, message.clone())));
            }
        }
    }
}

fn is_commit(message: &Message) -> bool {
    matches!(message, Message::Vote { ballot, .. } if ballot.phase == crate::quorum::Phase::Commit)
}

#[test]
fn a_decision_that_one_replica_keeps_to_itself_is_made_by_the_others_without_it() {
    let mut net = Net::new(Config::default());
    let keeper = ReplicaId(3);
    net.step(ReplicaId(0), Event::Offer(entry(1, 1)));
    net.deliver_if(|to, message| to == keeper || !is_commit(message));
    assert_eq!(net.decided.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 1]);
    // It tells the truth when the view changes, and nothing ever after.
    net.cut.push(ReplicaId(0));
    (1..3).for_each(|me| net.suspect(me));
    net.deliver_all();
    assert!(
        (1..4).all(|me| net.replicas[me].status().view == View(1) && net.replicas[me].status().installed)
    );
    net.cut = vec![keeper];
    net.pass(2_000);
    assert!((0..3).all(|me| net.entries(me) == [entry(1, 1).digest()]), "{:?}", net.decided);
    assert!((0..3).all(|me| net.replicas[me].status().view == View(1)), "without a further view");
    net.assert_agreement();
}

#[test]
fn only_its_primary_says_how_a_view_begins() {
    let mut net = Net::new(Config::default());
    net.offer(0, entry(1, 1));
    (0..2).for_each(|me| net.suspect(me));
    net.deliver_all();
    let (group, _) = group_of_four();
    let rules = Rules { group: &group, config: &net.config, verifier: &net.verifier };
    let new_view = net.replicas[2].new_view.clone().expect("view 1 has begun");
    let relayed = Message::NewView(new_view.clone());
    assert!(Verified::check(ReplicaId(2), relayed, &rules).is_ok(), "anyone may pass it on");
    let forged = Message::NewView(NewView::sign(&seat(2), new_view.view, new_view.changes));
    assert!(Verified::check(ReplicaId(2), forged, &rules).is_err(), "the same beginning by a backup");
}

#[test]
fn a_batch_that_was_voted_for_is_kept_though_a_later_view_proposes_another() {
    let mut net = Net::new(Config::default());
    let (first, second) =
        (Batch::new(net.clock, vec![entry(1, 1)]), Batch::new(net.clock, vec![entry(1, 2)]));
    let place = net.replicas[1].basis.ledger.window.entry(Slot(1)).expect("inside");
    place.accept(View(0), first.clone());
    place.prepare_sent = Some(View(0));
    for view in 1..=20 {
        let batch = if view % 2 == 1 { &second } else { &first };
        place.accept(View(view), batch.clone());
        place.prepare_sent = Some(View(view));
    }
    assert_eq!(place.body(&first.digest()), Some(first));
    assert_eq!(place.body(&second.digest()), Some(second));
    for view in 21..60 {
        place.accept(View(view), Batch::new(Timestamp(view), vec![]));
        place.prepare_sent = Some(View(view));
    }
    assert_eq!(place.voted.iter().count(), KEPT_BATCHES_MAX);
}

/// The decision of a slot with one entry.
fn decision(slot: u64) -> Decision {
    decision_of(View(0), slot)
}

fn decision_of(view: View, slot: u64) -> Decision {
    let batch = Batch::new(Timestamp(slot), vec![entry(1, slot)]);
    let ballot = Ballot { phase: Phase::Commit, view, slot: Slot(slot), digest: batch.digest() };
    let votes = (0..3).map(|i| (ReplicaId(i), seat(i).sign(&ballot.statement(&seat(i).group)))).collect();
    Decision { batch, certificate: QuorumCertificate { ballot, votes } }
}

/// One replica by itself, and what is done with it.
struct Alone(Pbft, Effects<Message>);

impl Alone {
    fn new() -> Alone {
        Alone(Pbft::new(seat(1), Config::default()), Effects::default())
    }

    fn step(&mut self, event: Event<Message>) {
        self.0.step(Input { clock: Timestamp(1_000_000), event }, &mut self.1);
    }

    fn decides(&mut self, slot: u64) {
        self.0.on_decided(ReplicaId(0), vec![decision(slot)], &mut self.1);
    }

    fn patience(&mut self, periods: usize) {
        (0..periods).for_each(|_| self.step(Event::Timer(Timer::Patience)));
    }

    fn suspects(&self) -> bool {
        self.0.basis.suspicion.wish_of(ReplicaId(1)) > View(0)
    }
}

#[test]
fn a_slow_application_is_no_reason_to_suspect_the_primary() {
    let mut replica = Alone::new();
    (1..=3).for_each(|slot| replica.decides(slot));
    replica.step(Event::Offer(entry(2, 1)));
    replica.patience(20);
    assert!(!replica.suspects(), "three slots still execute");
    replica.step(Event::Executed(Slot(3)));
    replica.patience(4);
    assert!(replica.suspects(), "nothing executes and nothing is ordered");
}

#[test]
fn the_decided_prefix_runs_ahead_of_execution_by_the_backlog_and_no_further() {
    let mut replica = Alone::with(Config { backlog_slots_max: 2, ..Config::default() });
    (1..=4).for_each(|slot| replica.decides(slot));
    assert_eq!(replica.0.decided(), Slot(2));
    replica.step(Event::Executed(Slot(1)));
    assert_eq!(replica.0.decided(), Slot(3));
}

#[test]
fn a_primary_that_keeps_all_busy_with_one_slot_a_period_is_suspected_for_what_it_passes_over() {
    let mut replica = Alone::new();
    replica.step(Event::Offer(entry(2, 1)));
    for slot in 1..=30 {
        replica.decides(slot);
        replica.step(Event::Executed(Slot(slot - 1)));
        replica.patience(1);
    }
    assert!(replica.suspects());
}

#[test]
fn a_primary_that_orders_no_fill_marker_for_a_starving_application_is_suspected() {
    let mut replica = Alone::new();
    replica.decides(1);
    let fill = crate::batch::SystemEntry::sign(&seat(1), vec![1]);
    replica.step(Event::Offer(Entry::new(crate::batch::EntryBody::System(fill))));
    replica.patience(4);
    assert!(replica.suspects(), "slot 1 would execute for ever");
}

#[test]
fn a_primary_that_orders_nothing_of_a_crowded_lane_is_suspected() {
    let mut replica = Alone::new();
    (0..300).for_each(|number| replica.step(Event::Offer(entry(3, 1000 + number))));
    for slot in 1..=8 {
        replica.decides(slot);
        replica.step(Event::Executed(Slot(slot)));
        replica.patience(1);
    }
    assert!(replica.suspects());
}

#[test]
fn one_replica_alone_cannot_change_the_view() {
    let mut net = Net::new(Config::default());
    net.replicas[3].suspect("for a test", &mut Effects::default());
    net.pass(5_000);
    assert!(net.replicas.iter().all(|r| r.status().view == View(0)));
}

#[test]
fn who_left_a_view_tells_others_why_though_nobody_heard_it_then() {
    let mut net = Net::new(Config::default());
    let liar = ReplicaId(3);
    net.deliver(
        liar,
        ReplicaId(1),
        &Message::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&seat(3), View(1))])),
    );
    net.suspect(1);
    assert!(!net.replicas[1].status().installed, "two wishes of four");
    net.queue.clear();
    net.cut = vec![liar];
    net.pass(5_000);
    for me in 0..3 {
        let status = net.replicas[me].status();
        assert!(status.installed && status.view == View(1), "replica {me}: {status:?}");
    }
}

#[test]
fn two_dead_replicas_stop_progress_and_their_return_resumes_it() {
    let mut net = Net::new(Config::default());
    net.cut = vec![ReplicaId(2), ReplicaId(3)];
    net.offer(0, entry(1, 1));
    net.pass(30_000);
    assert!(net.decided.iter().all(Vec::is_empty));
    net.cut.clear();
    net.pass(120_000);
    for me in 0..4 {
        assert_eq!(net.entries(me), [entry(1, 1).digest()]);
    }
    net.assert_agreement();
}

#[test]
fn a_primary_that_proposes_two_batches_is_seen_and_replaced() {
    let mut net = Net::new(Config::default());
    let primary = seat(0);
    for (to, number) in [(1, 1), (2, 2), (3, 2)] {
        let batch = Batch::new(net.clock, vec![entry(1, number)]);
        let ballot = ordering::prepare(View(0), Slot(1), &batch);
        let signature = primary.sign(&ballot.statement(&primary.group));
        let proposal = Message::Proposal { view: View(0), slot: Slot(1), batch, signature };
        net.deliver(ReplicaId(0), ReplicaId(to), &proposal);
        if to == 3 {
            net.deliver(ReplicaId(0), ReplicaId(1), &proposal);
        }
    }
    net.cut.push(ReplicaId(0));
    net.deliver_all();
    net.pass(20_000);
    assert!(
        net.reports
            .iter()
            .any(|(_, seen)| matches!(seen, Observation::Equivocation { by: ReplicaId(0), .. }))
    );
    assert!((1..4).all(|me| net.replicas[me].status().view >= View(1)));
    net.offer(1, entry(1, 7));
    net.pass(10_000);
    assert!((1..4).all(|me| net.entries(me).contains(&entry(1, 7).digest())));
    net.assert_agreement();
}

#[test]
fn a_proposal_from_another_time_gets_no_vote() {
    let mut net = Net::new(Config::default());
    let late = Batch::new(net.clock.plus_ms(60_000), vec![entry(1, 1)]);
    let primary = seat(0);
    let ballot = ordering::prepare(View(0), Slot(1), &late);
    let signature = primary.sign(&ballot.statement(&primary.group));
    net.deliver(
        ReplicaId(0),
        ReplicaId(1),
        &Message::Proposal { view: View(0), slot: Slot(1), batch: late, signature },
    );
    assert!(net.queue.is_empty());
    assert!(net.reports.iter().any(|(_, seen)| matches!(seen, Observation::Skewed { .. })));
}

#[test]
fn a_replica_cut_off_for_long_catches_up_by_decisions_alone() {
    let mut net = Net::new(Config { window_slots: 4, ..Config::default() });
    net.cut.push(ReplicaId(3));
    for number in 1..=60 {
        net.offer(0, entry(1, number));
    }
    assert_eq!(net.entries(0).len(), 60);
    net.cut.clear();
    net.pass(5_000);
    assert_eq!(net.entries(3), net.entries(0));
}

#[test]
fn what_an_impostor_says_is_refused() {
    let (group, _) = group_of_four();
    let (verifier, config) = (Verifier::new(10), Config::default());
    let rules = Rules { group: &group, config: &config, verifier: &verifier };
    let batch = Batch::new(Timestamp(1), vec![entry(1, 1)]);
    let ballot = ordering::prepare(View(0), Slot(1), &batch);
    let forged = seat(2).sign(&ballot.statement(&group));
    let proposal = Message::Proposal { view: View(0), slot: Slot(1), batch, signature: forged };
    assert!(Verified::check(ReplicaId(2), proposal.clone(), &rules).is_err(), "a backup cannot propose");
    assert!(Verified::check(ReplicaId(0), proposal, &rules).is_err(), "nor under the primary's name");
    let vote = Message::Vote { ballot, signature: forged };
    assert!(Verified::check(ReplicaId(1), vote.clone(), &rules).is_err());
    assert!(Verified::check(ReplicaId(9), vote.clone(), &rules).is_err());
    assert!(Verified::check(ReplicaId(2), vote, &rules).is_ok());
}

#[test]
fn who_knows_a_decision_of_the_view_it_is_on_the_way_to_sends_an_acceptable_view_change() {
    let mut net = Net::new(Config::default());
    // Decided in view 1, and the slot before it is not known yet.
    net.deliver(ReplicaId(1), ReplicaId(3), &Message::Upkeep(Upkeep::Decided(vec![decision_of(View(1), 2)])));
    for wishes in [1, 2] {
        let wish = Suspect::sign(&seat(wishes), View(1));
        net.deliver(ReplicaId(wishes), ReplicaId(3), &Message::Upkeep(Upkeep::Suspects(vec![wish])));
    }
    let sent = |message: &Message| matches!(message, Message::ViewChange(change) if change.to == View(1));
    assert!(net.queue.iter().any(|(from, _, message)| *from == ReplicaId(3) && sent(message)));
    // Panics if somebody refuses it.
    net.deliver_all();
}

#[test]
fn slots_up_to_a_barrier_are_filled_and_none_is_decided_above_it_whoever_is_primary() {
    let mut net = Net::new(Config::default());
    net.offer(0, entry(1, 1));
    let barrier = Slot(90);
    (1..4).for_each(|me| net.step(ReplicaId(me), Event::Barrier(barrier)));
    net.cut.push(ReplicaId(0));
    net.pass(20_000);
    net.offer(1, entry(1, 2));
    net.pass(5_000);
    for me in 1..4 {
        assert_eq!(net.decided[me].last().map(|(slot, _)| *slot), Some(barrier), "replica {me}");
        assert_eq!(net.entries(me), [entry(1, 1).digest()], "what came later waits for the next generation");
        assert_eq!(net.replicas[me].waiting(), [entry(1, 2)]);
    }
    net.assert_agreement();
}
