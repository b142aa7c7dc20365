use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use smr_crypto::PublicKey;
use smr_uds::{Fault, Seeded, Workers, preset};

use super::*;
use crate::builtin;

/// A ledger with one lock for each of four accounts: `move FROM TO AMOUNT`, `audit`, and commands that fail.
#[derive(Default)]
struct Ledger([smr_uds::Mutex<i64>; 4]);

impl Application for Ledger {
    async fn execute(&self, ctx: &Context, command: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(command).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["move", from, to, amount] => {
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                let amount: i64 = amount.parse().unwrap();
                *self.0[from].lock().await -= amount;
                let mut to = self.0[to].lock().await;
                *to += amount;
                to.to_string().into_bytes()
            }
            ["audit"] => {
                let mut all = Vec::new();
                for account in &self.0 {
                    all.push(account.lock().await);
                }
                all.iter().map(|account| **account).sum::<i64>().to_string().into_bytes()
            }
            ["chance"] => ctx.rng().next_u64().to_string().into_bytes(),
            ["time"] => ctx.now().to_string().into_bytes(),
            ["caller"] => ctx.caller().to_string().into_bytes(),
            ["long", bytes] => vec![b'x'; bytes.parse().unwrap()],
            ["wait"] => std::future::pending().await,
            _ => panic!("on purpose"),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let account = |account: &smr_uds::Mutex<i64>| account.at_rest(|value| value.to_le_bytes()).unwrap();
        self.0.iter().flat_map(account).collect()
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        if snapshot.len() != 32 {
            return Err(RestoreError::new("four accounts are 32 bytes"));
        }
        for (account, bytes) in self.0.iter().zip(snapshot.chunks(8)) {
            account.at_rest(|value| *value = i64::from_le_bytes(bytes.try_into().unwrap())).unwrap();
        }
        Ok(())
    }
}

/// A host under a seeded executor, and what it reported.
struct Bench {
    host: Box<dyn AnyHost>,
    events: Receiver<HostEvent>,
    executor: Seeded,
}

impl Bench {
    fn new(config: HostConfig) -> Bench {
        let (sink, events) = collect();
        Bench {
            host: Box::new(Host::new(Ledger::default(), config, sink).unwrap()),
            events,
            executor: Seeded::new(3),
        }
    }

    fn sequential() -> Bench {
        Bench::new(HostConfig::new(preset::sequential()))
    }

    fn kv() -> Bench {
        let (sink, events) = collect();
        let config = HostConfig::new(preset::sequential());
        Bench {
            host: builtin::find("kv").unwrap().start(config, sink).unwrap(),
            events,
            executor: Seeded::new(3),
        }
    }

    fn run(&mut self) -> Vec<HostEvent> {
        self.executor.run(self.host.scheduler());
        self.events.try_iter().collect()
    }

    /// Executes a slot and gives its replies as text.
    fn replies(&mut self, slot: u64, commands: &[&str]) -> Vec<String> {
        self.host.execute(work(slot, commands)).unwrap();
        let mut events = self.run();
        let Some(HostEvent::Executed { outcomes, .. }) = events.pop() else { panic!("not executed") };
        outcomes.into_iter().map(text).collect()
    }
}

fn collect() -> (EventSink, Receiver<HostEvent>) {
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    (Arc::new(move |event| sender.lock().unwrap().send(event).unwrap()), events)
}

fn work(slot: u64, commands: &[&str]) -> SlotWork {
    let caller = ClientId(PublicKey([7; 32]));
    let commands =
        commands.iter().map(|text| HostCommand { caller, command: text.as_bytes().to_vec() }).collect();
    SlotWork { slot: Slot(slot), time: Timestamp(1000 + slot), seed: Digest::of("TEST", &[]), commands }
}

fn text(outcome: CommandOutcome) -> String {
    match outcome {
        CommandOutcome::Answer(bytes) => String::from_utf8(bytes).unwrap(),
        CommandOutcome::Fault(fault) => fault.to_string(),
    }
}

fn slot_of(event: &HostEvent) -> u64 {
    let HostEvent::Executed { slot, .. } = event else { panic!("{event:?} is no execution") };
    slot.0
}

#[test]
fn the_key_value_store_answers_through_the_host() {
    let mut bench = Bench::kv();
    assert_eq!(bench.replies(1, &["put k v w", "get k"]), ["ok", "v w"]);
    assert_eq!(bench.replies(2, &["cas k \"v w\" x", "scan \"\" 10", "size"]), ["ok", "k x\n", "1"]);
    assert!(bench.replies(3, &["help"])[0].starts_with("get KEY"));
}

#[test]
fn slots_are_reported_in_order_and_empty_ones_too() {
    let mut bench = Bench::sequential();
    for slot in 1..=6 {
        let commands: &[&str] = if slot % 2 == 0 { &[] } else { &["move 0 1 5", "audit"] };
        bench.host.execute(work(slot, commands)).unwrap();
    }
    let events = bench.run();
    assert_eq!(events.iter().map(slot_of).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(events[1], HostEvent::Executed { slot: Slot(2), outcomes: vec![] });
}

#[test]
fn an_empty_slot_is_reported_although_nobody_polls() {
    let bench = Bench::sequential();
    bench.host.execute(work(1, &[])).unwrap();
    assert_eq!(bench.events.try_iter().count(), 1);
}

#[test]
fn gaps_and_repetitions_of_slots_are_refused() {
    let bench = Bench::sequential();
    let refused = Err(HostError::NotNext { slot: Slot(2), expected: Slot(1) });
    assert_eq!(bench.host.execute(work(2, &[])), refused);
    bench.host.execute(work(1, &[])).unwrap();
    assert!(bench.host.execute(work(1, &[])).is_err());
    assert_eq!(bench.host.snapshot(Slot(2)), Err(HostError::NotLast { slot: Slot(2), last: Slot(1) }));
}

#[test]
fn failures_of_the_application_become_outcomes_and_later_commands_go_on() {
    let config = HostConfig { reply_bytes_max: 10, ..HostConfig::new(preset::sequential()) };
    let mut bench = Bench::new(config);
    bench.host.execute(work(1, &["nonsense", "wait", "long 10", "long 11", "audit"])).unwrap();
    let too_long = CommandFault::ReplyTooLong { bytes: 11, bytes_max: 10 };
    let outcomes = vec![
        CommandOutcome::Fault(Fault::Panicked.into()),
        CommandOutcome::Fault(Fault::ForeignAwait.into()),
        CommandOutcome::Answer(vec![b'x'; 10]),
        CommandOutcome::Fault(too_long),
        CommandOutcome::Answer(b"0".to_vec()),
    ];
    assert_eq!(bench.run(), [HostEvent::Executed { slot: Slot(1), outcomes }]);
}

#[test]
fn the_context_tells_time_caller_and_a_chance_of_its_own() {
    let mut bench = Bench::sequential();
    let replies = bench.replies(1, &["time", "caller", "chance", "chance"]);
    assert_eq!(replies[0], "1001");
    assert_eq!(replies[1], "07".repeat(32));
    assert_ne!(replies[2], replies[3]);
    assert_eq!(Bench::sequential().replies(1, &["time", "caller", "chance", "chance"]), replies);
}

#[test]
fn a_snapshot_holds_all_earlier_slots_and_no_later_one() {
    let mut bench = Bench::new(HostConfig::new(preset::rounds(3, 1)));
    bench.host.execute(work(1, &["move 0 1 5", "move 0 2 5"])).unwrap();
    bench.host.snapshot(Slot(1)).unwrap();
    bench.host.execute(work(2, &["move 0 3 5"])).unwrap();
    bench.host.fill().unwrap();
    let events = bench.run();
    assert_eq!(slot_of(&events[0]), 1);
    let bytes: Vec<u8> = [-10i64, 5, 5, 0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(events[1], HostEvent::SnapshotTaken { slot: Slot(1), bytes });
    assert_eq!(slot_of(&events[2]), 2);
}

#[test]
fn a_restored_host_goes_on_like_the_one_that_gave_the_snapshot() {
    let mut first = Bench::kv();
    first.replies(1, &["put a 1", "put \"b c\" 2"]);
    first.host.snapshot(Slot(1)).unwrap();
    let [HostEvent::SnapshotTaken { bytes, .. }] = &first.run()[..] else { panic!("no snapshot") };
    let mut second = Bench::kv();
    second.host.restore(Slot(1), bytes.clone());
    assert_eq!(second.run(), [HostEvent::Restored { slot: Slot(1), result: Ok(()) }]);
    let more = ["scan \"\" 9", "delete a", "put d"];
    assert_eq!(second.replies(2, &more), first.replies(2, &more));
    first.host.snapshot(Slot(2)).unwrap();
    second.host.snapshot(Slot(2)).unwrap();
    assert_eq!(first.run(), second.run());
}

#[test]
fn after_a_failed_restore_nothing_is_executed_until_one_succeeds() {
    let mut bench = Bench::sequential();
    bench.host.restore(Slot(9), vec![1, 2, 3]);
    assert!(matches!(&bench.run()[..], [HostEvent::Restored { result: Err(_), .. }]));
    assert_eq!(bench.host.execute(work(10, &[])), Err(HostError::NoState));
    assert_eq!(bench.host.snapshot(Slot(9)), Err(HostError::NoState));
    bench.host.restore(Slot(20), vec![0; 32]);
    assert_eq!(bench.run(), [HostEvent::Restored { slot: Slot(20), result: Ok(()) }]);
    assert_eq!(bench.replies(21, &["audit"]), ["0"]);
}

#[test]
fn a_restore_drops_what_came_before_it() {
    let mut bench = Bench::new(HostConfig::new(preset::rounds(2, 1)));
    bench.host.execute(work(1, &["move 0 1 5"; 50])).unwrap();
    bench.host.snapshot(Slot(1)).unwrap();
    bench.host.restore(Slot(5), vec![0; 32]);
    bench.host.execute(work(6, &["audit", "move 2 3 1"])).unwrap();
    bench.host.snapshot(Slot(6)).unwrap();
    let events = bench.run();
    assert_eq!(events[0], HostEvent::Restored { slot: Slot(5), result: Ok(()) });
    assert_eq!(slot_of(&events[1]), 6);
    let bytes: Vec<u8> = [0i64, 0, -1, 1].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(events[2], HostEvent::SnapshotTaken { slot: Slot(6), bytes });
    assert_eq!(events.len(), 3);
}

#[test]
fn a_full_line_refuses_and_takes_again_later() {
    let mut bench = Bench::new(HostConfig { queue_slots_max: 2, ..HostConfig::new(preset::sequential()) });
    bench.host.execute(work(1, &["audit"])).unwrap();
    bench.host.execute(work(2, &["audit"])).unwrap();
    let refused = Err(HostError::QueueFull { queue_slots_max: 2 });
    assert_eq!(bench.host.execute(work(3, &["audit"])), refused);
    assert_eq!(bench.run().len(), 2);
    assert_eq!(bench.replies(3, &["audit"]), ["0"]);
}

#[test]
fn more_commands_than_may_run_wait_in_line() {
    let config = HostConfig { commands_max: 4, ..HostConfig::new(preset::rounds(4, 2)) };
    let mut bench = Bench::new(config);
    for slot in 1..=10 {
        bench.host.execute(work(slot, &["move 0 1 1"; 7])).unwrap();
    }
    bench.host.snapshot(Slot(10)).unwrap();
    let events = bench.run();
    assert_eq!(events[..10].iter().map(slot_of).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert!(
        matches!(&events[10], HostEvent::SnapshotTaken { bytes, .. } if bytes[8..16] == 70i64.to_le_bytes())
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused =
        |config| Host::new(Ledger::default(), config, collect().0).err().map(|error| error.to_string());
    let config = HostConfig::new(preset::rounds(4, 1));
    let few = refused(HostConfig { commands_max: 3, ..config });
    assert_eq!(few.unwrap(), "commands_max is 3, but must be between 4 and 1048576");
    assert!(refused(HostConfig { queue_slots_max: 0, ..config }).is_some());
    assert!(refused(HostConfig::new(preset::rounds(0, 1))).is_some());
}

/// Work that takes locks in many orders, some of it none, and fails here and there.
fn busy(slot: u64) -> SlotWork {
    let moved = [format!("move {} {} {slot}", slot % 4, (slot + 1) % 4), format!("move {} 0 1", slot % 3)];
    let commands = [&moved[0], "chance", &moved[1], "nonsense", "audit", &moved[0], &moved[1]];
    if slot.is_multiple_of(10) {
        // These may end before all others have left the scheduler.
        return work(slot, &["time", "chance"][..usize::try_from(slot / 10 % 2).unwrap() + 1]);
    }
    let first = usize::try_from(slot % 3).unwrap();
    work(slot, &commands[first..first + usize::try_from(slot % 6).unwrap().min(5)])
}

/// The events of slots `first` to 40, with a snapshot after every tenth, from `state` on. Under workers, or polled
/// by a seed: all at the end, or whenever chance will.
fn events_of(
    scheduler: smr_uds::Config,
    workers: Option<usize>,
    seed: u64,
    state: Option<(u64, Vec<u8>)>,
) -> Vec<HostEvent> {
    let (sink, events) = collect();
    let host = Host::new(Ledger::default(), HostConfig::new(scheduler), sink).unwrap();
    let workers =
        workers.map(|count| Workers::start(host.scheduler(), NonZeroUsize::new(count).unwrap()).unwrap());
    let mut executor = Seeded::new(seed);
    let mut chance = Context::new(
        ClientId(PublicKey([0; 32])),
        Timestamp(0),
        crate::Place { history: Digest::default(), slot: Slot(seed), position: 0 },
    )
    .rng();
    let mut next = 1;
    if let Some((slot, bytes)) = state {
        host.restore(Slot(slot), bytes);
        next = slot + 1;
    }
    let count = usize::try_from((41 - next) + (41 - next) / 10).unwrap() + usize::from(next > 1);
    for slot in next..=40 {
        let mut poll = || {
            if workers.is_none() && seed % 2 == 1 && chance.below(2) == 0 {
                executor.run(host.scheduler());
            }
        };
        host.execute(busy(slot)).unwrap();
        poll();
        if slot.is_multiple_of(10) {
            host.snapshot(Slot(slot)).unwrap();
            poll();
        }
    }
    if workers.is_none() {
        executor.run(host.scheduler());
    }
    let all: Vec<HostEvent> =
        (0..count).map(|_| events.recv_timeout(Duration::from_secs(20)).expect("the run hangs")).collect();
    drop(workers);
    assert_eq!(events.try_iter().count(), 0);
    all
}

#[test]
fn outcomes_and_snapshots_are_equal_on_any_number_of_threads_and_in_any_order_of_polls() {
    for scheduler in [preset::sequential(), preset::rounds(1, 1), preset::rounds(3, 2), preset::rounds(4, 1)]
    {
        let expected = events_of(scheduler, None, 0, None);
        for seed in 1..40 {
            assert_eq!(events_of(scheduler, None, seed, None), expected, "{scheduler:?}, seed {seed}");
        }
        for workers in [1, 4] {
            assert_eq!(events_of(scheduler, Some(workers), 0, None), expected, "{scheduler:?}");
        }
    }
}

#[test]
fn a_replica_that_begins_at_a_snapshot_goes_on_like_the_others() {
    for scheduler in [preset::sequential(), preset::rounds(3, 2), preset::rounds(4, 1)] {
        let others = events_of(scheduler, None, 0, None);
        for (at, event) in others.iter().enumerate() {
            let HostEvent::SnapshotTaken { slot, bytes } = event else {
                continue;
            };
            for seed in 0..10 {
                let own = events_of(scheduler, None, seed, Some((slot.0, bytes.clone())));
                assert_eq!(own[0], HostEvent::Restored { slot: *slot, result: Ok(()) });
                assert_eq!(own[1..], others[at + 1..], "{scheduler:?}, after slot {slot}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_host_that_is_dropped_drops_its_application() {
    let bench = Bench::sequential();
    bench.host.execute(work(1, &["audit"])).unwrap();
    drop(bench.host);
    // Only the host's sink sends, and it is gone with the host.
    assert!(bench.events.recv().is_err());
}
