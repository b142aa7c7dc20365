use std::sync::Arc;

use smr_crypto::dkg::DealingSeed;
use smr_crypto::{IdentityKey, Verifier};
use smr_wire::{Generation, ServiceId};

use super::core::{Item, SoftwareCore};
use super::*;
use crate::batch::Entry;
use crate::checkpoint::Checkpoint;
use crate::group::Group;
use crate::pool::tests::entry;
use crate::verified::{Rules, Verified};

/// Three replicas with cores.
pub(crate) fn group_of_three() -> Arc<Group> {
    group(FaultModel::Hybrid)
}

fn key(seed: usize) -> Arc<IdentityKey> {
    Arc::new(IdentityKey::from_seed(&[u8::try_from(seed).expect("small"); 32]))
}

fn group(model: FaultModel) -> Arc<Group> {
    let keys = |first: usize| (first..first + 3).map(|seed| key(seed).public()).collect();
    let cores = if model == FaultModel::Hybrid { keys(11) } else { Vec::new() };
    let service = ServiceId(Digest::default());
    Arc::new(Group { service, generation: Generation(0), model, faults: 1, keys: keys(1), cores })
}

/// All four protocols.
const FAMILY: [(FaultModel, Schedule); 4] = [
    (FaultModel::Crash, Schedule::Stable),
    (FaultModel::Crash, Schedule::Rotating),
    (FaultModel::Hybrid, Schedule::Stable),
    (FaultModel::Hybrid, Schedule::Rotating),
];

/// Three replicas, their cores, and a network that delivers in order until it is told to cut somebody off.
struct Net {
    group: Arc<Group>,
    replicas: Vec<Lanes>,
    cores: Vec<SoftwareCore>,
    queue: VecDeque<(ReplicaId, ReplicaId, Message)>,
    timers: BTreeMap<(ReplicaId, Timer), u64>,
    decided: Vec<Vec<(Slot, Batch)>>,
    reports: Vec<(ReplicaId, Observation)>,
    cut: Vec<ReplicaId>,
    /// Whose proposals come so many ms late, and those that are on their way.
    slow: Option<(ReplicaId, u64)>,
    late: VecDeque<(u64, ReplicaId, ReplicaId, Message)>,
    config: Config,
    verifier: Verifier,
    clock: Timestamp,
    /// Whose core does not answer, and what it was asked for.
    frozen_core: Option<ReplicaId>,
    owed: Vec<Operation>,
}

impl Net {
    fn new(kind: (FaultModel, Schedule)) -> Net {
        Net::with_window(kind, 8)
    }

    fn with_window((model, schedule): (FaultModel, Schedule), window_slots: u64) -> Net {
        let pipeline_slots = window_slots.min(2);
        let config = Config { window_slots, pipeline_slots, ..Config::default() };
        let group = group(model);
        config.validate().expect("a valid configuration");
        let seat = |me: usize| Seat::new(group.clone(), ReplicaId::at(me), key(me + 1));
        let core = |me: usize| {
            SoftwareCore::new(
                group.clone(),
                window_slots,
                ReplicaId::at(me),
                key(me + 11),
                DealingSeed([0; 32]),
            )
        };
        let mut net = Net {
            replicas: (0..3).map(|me| Lanes::new(schedule, seat(me), config.clone())).collect(),
            cores: (0..3).map(core).collect(),
            group: group.clone(),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            decided: vec![Vec::new(); 3],
            reports: Vec::new(),
            cut: Vec::new(),
            slow: None,
            late: VecDeque::new(),
            frozen_core: None,
            owed: Vec::new(),
            config,
            verifier: Verifier::new(10_000),
            clock: Timestamp(1_000_000),
        };
        (0..3).for_each(|me| net.step(ReplicaId(me), Event::Start));
        net
    }

    fn step(&mut self, me: ReplicaId, event: Event<Message>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Effects::default();
            self.replicas[me.index()].step(Input { clock: self.clock, event }, &mut effects);
            for effect in effects.drain() {
                match effect {
                    Effect::Send { to, message } => self.queue.push_back((me, to, message)),
                    Effect::Broadcast(message) => {
                        let others = (0..3).map(ReplicaId).filter(|to| *to != me);
                        others.for_each(|to| self.queue.push_back((me, to, message.clone())));
                    }
                    Effect::Decide { slot, batch } => {
                        self.decided[me.index()].push((slot, batch));
                        events.extend([Event::Executed(slot), Event::Settled(slot)]);
                    }
                    Effect::Attest(operation) if self.frozen_core == Some(me) => self.owed.push(operation),
                    Effect::Attest(operation) => {
                        events.push_back(Event::Attested(self.cores[me.index()].attest(&operation)));
                    }
                    Effect::Arm { timer, after_ms } => {
                        self.timers.insert((me, timer), self.clock.0 + after_ms);
                    }
                    Effect::Disarm(timer) => {
                        self.timers.remove(&(me, timer));
                    }
                    Effect::Report(observation) => self.reports.push((me, observation)),
                    Effect::Persist(_) | Effect::Offered { .. } | Effect::NeedState { .. } => {}
                }
            }
        }
    }

    fn deliver_all(&mut self) {
        self.deliver_if(|_, _| true);
    }

    /// Delivers what `passes` lets through and loses the rest.
    fn deliver_if(&mut self, passes: impl Fn(ReplicaId, &Message) -> bool) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            let proposes = matches!(&message, Message::Endorse { batches, .. } if !batches.is_empty());
            if let Some((_, ms)) = self.slow.filter(|(slow, _)| *slow == from && proposes) {
                self.late.push_back((self.clock.0 + ms, from, to, message));
            } else if !self.cut.contains(&from) && !self.cut.contains(&to) && passes(to, &message) {
                self.deliver(from, to, &message);
            }
        }
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, message: &Message) {
        let bytes = smr_wire::encode(message);
        let message = smr_wire::decode(&bytes, 1 << 24).expect("reads back");
        let rules = Rules { group: &self.group, config: &self.config, verifier: &self.verifier };
        let checked = Verified::check(from, message, &rules).expect("what correct replicas send is accepted");
        self.step(to, Event::Message(checked));
    }

    /// Lets `ms` of time pass, firing timers and delivering what follows.
    fn pass(&mut self, ms: u64) {
        let until = self.clock.0 + ms;
        loop {
            let timer = self.timers.iter().map(|(key, due)| (*due, *key)).min();
            let late = self.late.front().map_or(u64::MAX, |(due, ..)| *due);
            if late <= until && timer.is_none_or(|(due, _)| late <= due) {
                let (due, from, to, message) = self.late.pop_front().expect("just seen");
                self.clock = Timestamp(due.max(self.clock.0));
                self.deliver(from, to, &message);
                self.deliver_all();
                continue;
            }
            let Some((due, key)) = timer.filter(|(due, _)| *due <= until) else { break };
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
        let mut seen = std::collections::BTreeSet::new();
        let all = self.decided[me].iter().flat_map(|(_, batch)| batch.entries().iter().map(Entry::digest));
        all.filter(|digest| seen.insert(*digest)).collect()
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
    for kind in FAMILY {
        let mut net = Net::new(kind);
        for (to, number) in [(0, 1), (1, 2), (2, 3), (0, 4), (1, 5)] {
            net.offer(to, entry(u8::try_from(to).expect("small") + 1, number));
        }
        for me in 0..3 {
            assert_eq!(net.entries(me).len(), 5, "{kind:?}, replica {me}: {:?}", net.decided[me]);
        }
        net.assert_agreement();
        assert!(net.replicas.iter().all(|replica| replica.status().view == View(0)), "{kind:?}");
    }
}

#[test]
fn a_window_of_one_slot_is_enough_wherever_something_waits() {
    for kind in FAMILY {
        let mut net = Net::with_window(kind, 1);
        for (to, number) in [(0, 1), (1, 2), (2, 3), (0, 4), (0, 5), (2, 6)] {
            net.offer(to, entry(u8::try_from(to).expect("small") + 1, number));
            assert!((0..3).all(|me| net.entries(me).len() as u64 == number), "{kind:?}: {number}");
        }
        assert!(net.replicas.iter().all(|replica| replica.status().view == View(0)), "{kind:?}");
        net.assert_agreement();
    }
}

#[test]
fn a_dead_replica_is_passed_over_and_nothing_offered_is_lost() {
    for kind in FAMILY {
        for dead in 0..3 {
            let mut net = Net::new(kind);
            net.offer(1, entry(1, 1));
            net.cut = vec![ReplicaId(dead)];
            let alive: Vec<u16> = (0..3).filter(|me| *me != dead).collect();
            for (number, me) in (2..).zip(alive.iter().cycle().take(20)) {
                net.offer(*me, entry(u8::try_from(*me).expect("small") + 1, number));
            }
            net.pass(20_000);
            for me in &alive {
                let found = net.entries(usize::from(*me)).len();
                assert_eq!(found, 21, "{kind:?}, {dead} is dead, replica {me}: {:?}", net.reports);
            }
            net.cut.clear();
            net.pass(5_000);
            assert_eq!(net.entries(usize::from(dead)).len(), 21, "{kind:?}: {dead} is back");
            net.assert_agreement();
        }
    }
}

#[test]
fn whoever_holds_up_turns_loses_them_and_gets_them_back() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Rotating));
    net.config.exclusion_slots = 8;
    for replica in &mut net.replicas {
        replica.basis.config.exclusion_slots = 8;
    }
    net.cut = vec![ReplicaId(2)];
    for number in 1..=3 {
        net.offer(0, entry(1, number));
    }
    net.pass(20_000);
    let (view, out) = (net.replicas[0].basis.view, net.replicas[0].beginning.excluded.clone());
    assert!(view > View(0) && out.iter().any(|e| e.replica == ReplicaId(2)), "{view}: {out:?}");
    assert_eq!(net.entries(0).len(), 3);
    // It is back, and others see it propose once its time is over, without another view.
    net.cut.clear();
    net.pass(5_000);
    let until = out.iter().map(|e| e.until).max().expect("one is out");
    let mut number = 4;
    while net.replicas[0].decided() < until {
        net.offer(0, entry(1, number));
        number += 1;
    }
    net.offer(2, entry(3, 1));
    net.pass(5_000);
    assert!((0..3).all(|me| net.entries(me).contains(&entry(3, 1).digest())));
    assert!(net.replicas.iter().all(|replica| replica.basis.view == view), "nobody left {view}");
    net.assert_agreement();
}

/// Something to propose for all three, so often, and more for one of them, for which the others' turns are waited for.
fn offer_all(net: &mut Net, rounds: std::ops::Range<u64>) {
    for number in rounds {
        let more = u16::try_from(number % 3).expect("small");
        for (to, number) in [(0, 2 * number), (1, 2 * number), (2, 2 * number), (more, 2 * number + 1)] {
            net.offer(to, entry(u8::try_from(to).expect("small") + 1, number));
        }
        net.pass(200);
    }
}

#[test]
fn who_is_slow_but_not_silent_loses_its_turns_alone_and_gets_them_back() {
    for model in [FaultModel::Crash, FaultModel::Hybrid] {
        let mut net = Net::new((model, Schedule::Rotating));
        net.slow = Some((ReplicaId(2), 150));
        offer_all(&mut net, 1..12);
        let (view, out) = (net.replicas[0].basis.view, net.replicas[0].beginning.excluded.clone());
        assert_eq!(out.iter().map(|e| e.replica).collect::<Vec<_>>(), [ReplicaId(2)], "{view}");
        assert!(net.replicas.iter().all(|replica| replica.beginning.excluded == out), "the same with all");
        let limits = ("patience was not asked", net.config.patience_ms > 150);
        assert!(limits.1 && view == View(1), "{limits:?}, {view}");
        // Nobody waits for it now.
        let before = net.decided[0].len();
        net.offer(0, entry(9, 1));
        assert!(net.decided[0].len() > before && net.late.is_empty());
        // Quick again, it is trusted again.
        net.slow = None;
        let until = out.iter().map(|e| e.until).max().expect("one is out");
        let mut number = 12;
        while net.replicas[0].decided() < until.plus(20) {
            offer_all(&mut net, number..number + 1);
            number += 1;
        }
        let (last, leader) = (net.replicas[0].decided(), |slot| net.replicas[0].leader(slot));
        assert!(until.up_to(last).any(|slot| leader(slot) == ReplicaId(2)), "{model:?}");
        assert!(net.replicas.iter().all(|replica| replica.basis.view == view), "nobody left {view}");
        net.assert_agreement();
    }
}

#[test]
fn a_slow_coordinator_that_blames_another_is_blamed_by_the_next() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Rotating));
    net.config.exclusion_slots = 8;
    net.replicas.iter_mut().for_each(|replica| replica.basis.config.exclusion_slots = 8);
    net.slow = Some((ReplicaId(1), 150));
    let mut last_blamed = BTreeMap::new();
    for number in 1..30 {
        net.replicas[1].pace.accuse(ReplicaId(0));
        offer_all(&mut net, number..number + 1);
        let replica = &net.replicas[0];
        let last = replica.beginning.excluded.last().map(|e| e.replica);
        last_blamed.insert(replica.beginning.view, last);
    }
    assert!(last_blamed.len() > 2, "view 1 was its own: {last_blamed:?}");
    for (view, last) in &last_blamed {
        let expected = match view.0 {
            0 => None,
            // In its own it says what it likes.
            own if own % 3 == 1 => *last,
            _ => Some(ReplicaId(1)),
        };
        assert_eq!(*last, expected, "{last_blamed:?}");
    }
    net.assert_agreement();
}

#[test]
fn what_was_proposed_in_slots_that_a_state_passes_over_is_proposed_again() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Rotating));
    let own = entry(1, 1);
    net.step(ReplicaId(0), Event::Offer(own.clone()));
    net.queue.clear();
    let checkpoint = Checkpoint { slot: Slot(12), digest: Digest::default() };
    net.step(ReplicaId(0), Event::Installed(CheckpointCertificate { checkpoint, votes: Vec::new() }));
    let again = net.queue.iter().any(|(from, _, message)| {
        let Message::Endorse { batches, .. } = message else { return false };
        *from == ReplicaId(0)
            && batches.iter().any(|(slot, batch)| *slot > Slot(12) && batch.entries().contains(&own))
    });
    assert!(again, "{:?}", net.queue);
}

#[test]
fn a_batch_of_a_time_to_come_that_one_core_alone_voted_for_binds_no_view() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Stable));
    let ahead = net.clock.plus_ms(1_000_000);
    let batch = Batch::new(ahead, vec![entry(9, 9)]);
    let item = super::core::Item { slot: Slot(1), digest: batch.digest() };
    let operation = Operation::Endorse { view: View(0), items: vec![item] };
    let signature = net.cores[0].attest(&operation).ok();
    let vote = Arc::new(Endorsement { view: View(0), items: vec![item], signature });
    let proposal = Message::Endorse { endorsement: vote.clone(), batches: vec![(Slot(1), batch.clone())] };
    (1..3).for_each(|to| net.deliver(ReplicaId(0), ReplicaId(to), &proposal));
    net.deliver_all();
    assert!(
        net.reports.iter().all(|(_, seen)| matches!(seen, Observation::Skewed { .. })),
        "nobody else votes"
    );
    // Its host leaves with that vote, rightly grounded, and has the batch for whoever asks.
    let lanes = {
        let mut registers = Registers::new(Generation(0), 8);
        registers.apply(&operation).expect("its first");
        registers.lanes().to_vec()
    };
    let seat = net.replicas[0].basis.seat.clone();
    let change = ViewChange {
        author: ReplicaId(0),
        to: View(1),
        blames: None,
        lanes,
        report: net.cores[0].attest(&Operation::Leave { to: View(1) }).expect("a later view"),
        decided: Slot(0),
        proof: PrefixProof::default(),
        grounds: vec![beginning::Ground::Proposed(ReplicaId(0), vote)],
        views: Vec::new(),
        signature: Signature([0; 64]),
    };
    let change = Message::ViewChange(Box::new(change.signed(&seat)));
    net.cut = vec![ReplicaId(0)];
    for to in 1..3 {
        net.step(ReplicaId(to), Event::Offer(entry(1, 1)));
        net.deliver(ReplicaId(0), ReplicaId(to), &change);
        net.deliver(
            ReplicaId(0),
            ReplicaId(to),
            &Message::Upkeep(Upkeep::Body { slot: Slot(1), batch: batch.clone() }),
        );
    }
    net.pass(20_000);
    assert_eq!(net.entries(1), [entry(1, 1).digest()]);
    assert!(net.decided.iter().flatten().all(|(_, decided)| decided.time() < ahead));
    net.assert_agreement();
}

#[test]
fn views_in_a_row_that_blame_one_after_the_other_stop_nobody() {
    let mut net = Net::new(FAMILY[3]);
    let all = [0, 1, 2].map(ReplicaId);
    let nobody: Vec<schedule::Exclusion> = Vec::new();
    let excluded = all.iter().fold(nobody, |before, id| schedule::exclude(&before, *id, Slot(1), 4, 1));
    for view in [View(3), View(4)] {
        let digests = vec![Digest::of("T", &[b"a batch that nobody has"])];
        let beginning = Beginning { view, decided: Slot(0), digests, excluded: excluded.clone() };
        let statement = ViewCertificate::statement(view, &beginning.digest(), &net.group);
        let votes = [1, 2].map(|me| (ReplicaId::at(me), key(me + 1).sign(&statement))).to_vec();
        net.deliver(ReplicaId(1), ReplicaId(0), &Message::Begun(ViewCertificate { beginning, votes }));
        assert_eq!(net.replicas[0].status().view, view);
    }
}

#[test]
fn slots_up_to_a_barrier_are_filled_and_none_is_decided_above_it() {
    for kind in FAMILY {
        let mut net = Net::new(kind);
        net.offer(0, entry(1, 1));
        let barrier = Slot(90);
        net.cut.push(ReplicaId(1));
        [0, 2].into_iter().for_each(|me| net.step(ReplicaId(me), Event::Barrier(barrier)));
        net.pass(20_000);
        net.offer(0, entry(1, 2));
        net.pass(5_000);
        for me in [0, 2] {
            let last = net.decided[me].last().map(|(slot, _)| *slot);
            assert_eq!(last, Some(barrier), "{kind:?}, replica {me}");
            assert_eq!(net.entries(me), [entry(1, 1).digest()], "{kind:?}: the rest waits");
            assert!(net.replicas[me].waiting().contains(&entry(1, 2)), "{kind:?}, replica {me}");
        }
        net.assert_agreement();
    }
}

#[test]
fn who_does_not_vote_follows_and_what_it_wants_ordered_is_ordered() {
    for schedule in [Schedule::Stable, Schedule::Rotating] {
        let mut net = Net::new((FaultModel::Hybrid, schedule));
        net.replicas[1].basis.seat.votes = false;
        for number in 1..4 {
            net.offer(0, entry(1, number));
        }
        net.offer(1, entry(2, 1));
        net.pass(20_000);
        assert_eq!(net.cores[1].registers(), &Registers::new(Generation(0), net.config.window_slots));
        for me in 0..3 {
            assert_eq!(net.entries(me).len(), 4, "{schedule:?}, replica {me}");
        }
        net.assert_agreement();
    }
}

#[test]
fn a_core_that_advances_has_said_nothing_and_goes_back_nowhere() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Stable));
    net.offer(0, entry(1, 1));
    let core = &mut net.cores[0];
    assert!(core.registers().lanes().iter().any(Option::is_some));
    assert!(core.attest(&Operation::Advance { to: Generation(2) }).is_ok());
    assert_eq!(core.registers(), &Registers::new(Generation(2), net.config.window_slots));
    for to in [0, 1, 2] {
        let again = core.attest(&Operation::Advance { to: Generation(to) });
        assert_eq!(again, Err(Refusal::Generation), "to {to}");
    }
    // What it says now holds in that generation only.
    let item = Item { slot: Slot(1), digest: Digest::default() };
    let operation = Operation::Endorse { view: View(0), items: vec![item] };
    let signature = core.attest(&operation).expect("nothing was said yet");
    let valid = |group: &Group| {
        let scope = Scope { group, window_slots: net.config.window_slots, replica: ReplicaId(0) };
        let statement = scope.endorse(View(0), &[item]);
        scope.key().is_some_and(|key| net.verifier.verify(key, &statement, &signature))
    };
    let renewed = net.group.renewed(Generation(2), net.group.cores.clone());
    assert!(valid(&renewed) && !valid(&net.group));
}

#[test]
fn a_core_that_does_not_answer_is_not_asked_without_end_and_goes_on_when_it_does() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Stable));
    let (frozen, window) = (ReplicaId(1), net.config.window_slots);
    net.frozen_core = Some(frozen);
    for number in 1..=3 * window {
        net.offer(0, entry(1, number));
    }
    assert_eq!(net.decided[0].len() as u64, 3 * window, "two others are a quorum");
    assert!(!net.owed.is_empty() && net.owed.len() as u64 <= window, "{} questions", net.owed.len());
    // It answers all of it, late, and is asked again.
    net.frozen_core = None;
    for operation in std::mem::take(&mut net.owed) {
        let answer = net.cores[1].attest(&operation);
        assert!(answer.is_ok(), "{operation:?}");
        net.step(frozen, Event::Attested(answer));
    }
    net.pass(2_000);
    net.cut.push(ReplicaId(2));
    net.offer(0, entry(2, 1));
    net.pass(2_000);
    assert_eq!(net.entries(1).last(), Some(&entry(2, 1).digest()), "its vote counts");
    net.assert_agreement();
}

#[test]
fn what_was_held_against_somebody_ends_with_the_view() {
    let mut net = Net::new((FaultModel::Hybrid, Schedule::Rotating));
    net.replicas.iter_mut().for_each(|replica| replica.pace.accuse(ReplicaId(2)));
    offer_all(&mut net, 1..2);
    assert_eq!(net.replicas[0].basis.view, View(1), "they left over it");
    assert!(net.replicas.iter().all(|replica| replica.pace.slow().is_none()));
    offer_all(&mut net, 2..9);
    assert!(net.replicas.iter().all(|replica| replica.basis.view == View(1)), "and stay");
    net.assert_agreement();
}
