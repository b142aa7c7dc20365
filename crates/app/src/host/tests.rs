use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use smr_crypto::PublicKey;
use smr_uds::{Fault, Seeded, Workers, preset};

use super::*;
use crate::builtin;
use crate::state::Cut;

/// A ledger with one lock for each of four accounts: `move FROM TO AMOUNT`, `audit`, `pay FROM AMOUNT`, which waits
/// until there is as much, commands that begin others, and commands that fail.
#[derive(Default)]
struct Ledger([smr_uds::Mutex<i64>; 4], [smr_uds::Condvar; 4]);

impl Application for Ledger {
    async fn execute(&self, ctx: &Context, command: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(command).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["move", from, to, amount] => {
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                let amount: i64 = amount.parse().unwrap();
                *self.0[from].lock().await -= amount;
                let (index, mut to) = (to, self.0[to].lock().await);
                *to += amount;
                self.1[index].notify_all().await;
                to.to_string().into_bytes()
            }
            ["pay", from, amount] => {
                let (from, amount): (usize, i64) = (from.parse().unwrap(), amount.parse().unwrap());
                let mut account = self.0[from].lock().await;
                while *account < amount {
                    account = self.1[from].wait(account).await;
                }
                *account -= amount;
                format!("{} at {}", *account, ctx.now()).into_bytes()
            }
            ["spawn", ..] => {
                ctx.spawn(text.as_bytes()["spawn ".len()..].to_vec()).await.unwrap();
                b"ok".to_vec()
            }
            ["after", ms, ..] => {
                let command = text.as_bytes()["after ".len() + ms.len() + 1..].to_vec();
                ctx.after(ms.parse().unwrap(), command).await.unwrap();
                b"ok".to_vec()
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
        outcomes.into_iter().map(|outcome| outcome.map_or("waits".to_owned(), text)).collect()
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
    let (time, seed) = (Timestamp(1000 + slot), Digest::of("TEST", &[]));
    SlotWork { slot: Slot(slot), time, seed, commands, timers: false, fill: false }
}

fn text(outcome: CommandOutcome) -> String {
    match outcome {
        CommandOutcome::Answer(bytes) => String::from_utf8(bytes).unwrap(),
        CommandOutcome::Fault(fault) => fault.to_string(),
    }
}

/// The slot and the chunks of a checkpoint.
fn taken(event: &HostEvent) -> (Slot, Vec<Chunk>) {
    let HostEvent::Checkpointed { slot, state } = event else { panic!("{event:?} is no checkpoint") };
    (*slot, state.clone().chunks().unwrap())
}

/// The slot and the accounts of a checkpoint.
fn accounts(event: &HostEvent) -> (u64, [i64; 4]) {
    let (slot, chunks) = taken(event);
    let (_, application) = Kept::read(&chunks).unwrap();
    let value = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
    let values: Vec<i64> = application[0].bytes().chunks(8).map(value).collect();
    (slot.0, values.try_into().unwrap())
}

/// A checkpoint of four empty accounts.
fn nothing() -> Vec<Chunk> {
    let kept = Kept::new(0, Vec::new(), &Timers::new());
    [kept.chunks(), vec![Chunk::new(vec![0; 32])]].concat()
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
    assert_eq!(events[1], HostEvent::Executed { slot: Slot(2), outcomes: vec![], late: vec![] });
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
    assert_eq!(
        bench.host.checkpoint(Slot(2), Strategy::Quiescent),
        Err(HostError::NotLast { slot: Slot(2), last: Slot(1) })
    );
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
    let outcomes = outcomes.into_iter().map(Some).collect();
    assert_eq!(bench.run(), [HostEvent::Executed { slot: Slot(1), outcomes, late: vec![] }]);
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
    bench.host.checkpoint(Slot(1), Strategy::Quiescent).unwrap();
    bench.host.execute(SlotWork { fill: true, ..work(2, &["move 0 3 5"]) }).unwrap();
    let events = bench.run();
    assert_eq!(slot_of(&events[0]), 1);
    assert_eq!(accounts(&events[1]), (1, [-10, 5, 5, 0]));
    assert_eq!(slot_of(&events[2]), 2);
}

#[test]
fn a_restored_host_goes_on_like_the_one_that_gave_the_snapshot() {
    let mut first = Bench::kv();
    first.replies(1, &["put a 1", "put \"b c\" 2"]);
    first.host.checkpoint(Slot(1), Strategy::Quiescent).unwrap();
    let (_, chunks) = taken(&first.run()[0]);
    let mut second = Bench::kv();
    second.host.restore(Slot(1), chunks);
    assert_eq!(second.run(), [HostEvent::Restored { slot: Slot(1), result: Ok(()) }]);
    let more = ["scan \"\" 9", "delete a", "put d"];
    assert_eq!(second.replies(2, &more), first.replies(2, &more));
    first.host.checkpoint(Slot(2), Strategy::Quiescent).unwrap();
    second.host.checkpoint(Slot(2), Strategy::Quiescent).unwrap();
    assert_eq!(first.run(), second.run());
}

#[test]
fn after_a_failed_restore_nothing_is_executed_until_one_succeeds() {
    let mut bench = Bench::sequential();
    bench.host.restore(Slot(9), vec![Chunk::new(vec![1, 2, 3])]);
    assert!(matches!(&bench.run()[..], [HostEvent::Restored { result: Err(_), .. }]));
    assert_eq!(bench.host.execute(work(10, &[])), Err(HostError::NoState));
    assert_eq!(bench.host.checkpoint(Slot(9), Strategy::Quiescent), Err(HostError::NoState));
    bench.host.restore(Slot(20), nothing());
    assert_eq!(bench.run(), [HostEvent::Restored { slot: Slot(20), result: Ok(()) }]);
    assert_eq!(bench.replies(21, &["audit"]), ["0"]);
}

#[test]
fn a_restore_drops_what_came_before_it() {
    let mut bench = Bench::new(HostConfig::new(preset::rounds(2, 1)));
    bench.host.execute(work(1, &["move 0 1 5"; 50])).unwrap();
    bench.host.checkpoint(Slot(1), Strategy::Quiescent).unwrap();
    bench.host.restore(Slot(5), nothing());
    bench.host.execute(work(6, &["audit", "move 2 3 1"])).unwrap();
    bench.host.checkpoint(Slot(6), Strategy::Quiescent).unwrap();
    let events = bench.run();
    assert_eq!(events[0], HostEvent::Restored { slot: Slot(5), result: Ok(()) });
    assert_eq!(slot_of(&events[1]), 6);
    assert_eq!(accounts(&events[2]), (6, [0, 0, -1, 1]));
    assert_eq!(events.len(), 3);
}

/// While its state is taken, its host is given another one.
#[derive(Default)]
struct Overtaken(OnceLock<Weak<Host<Overtaken>>>);

impl Application for Overtaken {
    async fn execute(&self, _: &Context, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn cut(&self) -> Cut {
        let host = self.0.get().and_then(Weak::upgrade).unwrap();
        host.restore(Slot(5), nothing());
        Cut::of_snapshot(Vec::new())
    }

    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn a_restore_may_overtake_a_state_that_is_being_taken() {
    for strategy in [Strategy::Rolling, Strategy::Quiescent] {
        let (sink, events) = collect();
        let config = HostConfig::new(preset::sequential());
        let host = Arc::new(Host::new(Overtaken::default(), config, sink).unwrap());
        host.application().0.set(Arc::downgrade(&host)).unwrap();
        host.execute(work(1, &[])).unwrap();
        host.checkpoint(Slot(1), strategy).unwrap();
        Seeded::new(1).run(host.scheduler());
        let events: Vec<HostEvent> = events.try_iter().collect();
        assert!(matches!(events[1..], [HostEvent::Restored { slot: Slot(5), result: Ok(()) }]), "{events:?}");
    }
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
    bench.host.checkpoint(Slot(10), Strategy::Quiescent).unwrap();
    let events = bench.run();
    assert_eq!(events[..10].iter().map(slot_of).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(accounts(&events[10]), (10, [-70, 70, 0, 0]));
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

#[test]
fn a_command_that_waits_holds_up_nobody_and_answers_in_the_block_of_who_woke_it() {
    for scheduler in [preset::sequential(), preset::rounds(3, 2), preset::mat()] {
        let mut bench = Bench::new(HostConfig::new(scheduler));
        let filled = |slot, commands: &[&str]| SlotWork { fill: true, ..work(slot, commands) };
        bench.host.execute(filled(1, &["audit", "pay 1 5", "audit"])).unwrap();
        let answer = |text: &str| Some(CommandOutcome::Answer(text.into()));
        let outcomes = vec![answer("0"), None, answer("0")];
        let first = HostEvent::Executed { slot: Slot(1), outcomes, late: vec![] };
        assert_eq!(bench.run(), [first], "{scheduler:?}");
        bench.host.execute(filled(2, &["move 0 1 4"])).unwrap();
        assert_eq!(bench.run().len(), 1);
        bench.host.execute(filled(3, &["move 0 1 4"])).unwrap();
        let late = LateOutcome {
            slot: Slot(1),
            position: 1,
            outcome: CommandOutcome::Answer(b"3 at 1003".to_vec()),
        };
        let outcomes = vec![answer("8")];
        assert_eq!(bench.run(), [HostEvent::Executed { slot: Slot(3), outcomes, late: vec![late] }]);
    }
}

#[test]
fn who_has_written_may_not_wait_and_who_was_spawned_neither() {
    let mut bench = Bench::sequential();
    bench.host.execute(work(1, &["spawn pay 2 1", "spawn move 0 2 1", "pay 2 1"])).unwrap();
    let events = bench.run();
    let HostEvent::Executed { outcomes, late, .. } = &events[0] else { panic!("{events:?}") };
    assert!(late.is_empty());
    let outcome = CommandOutcome::Answer(b"0 at 1001".to_vec());
    assert_eq!(outcomes[2].as_ref(), Some(&outcome), "the spawned `pay` ended with a fault and took nothing");
}

#[test]
fn timed_commands_begin_in_the_first_slot_that_says_so_once_their_time_has_come() {
    let mut bench = Bench::sequential();
    let timers = |slot| SlotWork { timers: true, ..work(slot, &["audit", "pay 3 0"]) };
    assert_eq!(bench.host.due(), None);
    assert_eq!(bench.replies(1, &["after 2 move 0 3 5", "after 3 move 0 3 1"]), ["ok", "ok"]);
    assert_eq!(bench.host.due(), Some(Timestamp(1003)));
    bench.host.execute(timers(2)).unwrap();
    assert_eq!(bench.replies(3, &["pay 3 0"]), ["0 at 1003"], "its time has come, but no slot said so");
    bench.host.execute(timers(4)).unwrap();
    bench.run();
    assert_eq!(bench.replies(5, &["pay 3 0"]), ["6 at 1005"]);
    assert_eq!(bench.host.due(), None);
}

#[test]
fn who_waits_and_what_is_timed_outlives_the_host_in_a_snapshot() {
    let mut first = Bench::new(HostConfig::new(preset::rounds(3, 2)));
    let slot = ["pay 1 5", "after 5 move 0 2 7", "pay 2 6", "audit"];
    first.host.execute(work(1, &slot)).unwrap();
    first.host.checkpoint(Slot(1), Strategy::Quiescent).unwrap();
    let (_, chunks) = taken(&first.run()[1]);
    let mut second = Bench::new(HostConfig::new(preset::rounds(3, 2)));
    second.host.restore(Slot(1), chunks);
    second.run();
    let rest = |bench: &mut Bench| {
        bench.host.execute(work(2, &["move 0 1 6"])).unwrap();
        bench.host.execute(SlotWork { timers: true, ..work(9, &[]) }).unwrap_err();
        for slot in 3..9 {
            bench.host.execute(SlotWork { timers: true, fill: true, ..work(slot, &["audit"]) }).unwrap();
        }
        bench.host.checkpoint(Slot(8), Strategy::Quiescent).unwrap();
        bench.run()
    };
    let events = rest(&mut first);
    assert_eq!(rest(&mut second), events);
    let late = |event: &HostEvent| matches!(event, HostEvent::Executed { late, .. } if !late.is_empty());
    assert_eq!(events.iter().filter(|event| late(event)).count(), 2, "{events:?}");
    assert_eq!(accounts(events.last().unwrap()), (8, [-13, 1, 1, 0]));
}

#[test]
fn a_restore_forgets_who_waited() {
    let mut bench = Bench::new(HostConfig::new(preset::rounds(2, 1)));
    bench.host.execute(SlotWork { fill: true, ..work(1, &["pay 1 5", "pay 2 5", "pay 3 5"]) }).unwrap();
    bench.run();
    bench.host.restore(Slot(5), nothing());
    let move_all = ["move 0 1 9", "move 0 2 9", "move 0 3 9", "audit"];
    bench.host.execute(SlotWork { fill: true, ..work(6, &move_all) }).unwrap();
    bench.host.checkpoint(Slot(6), Strategy::Quiescent).unwrap();
    let events = bench.run();
    assert!(matches!(&events[1], HostEvent::Executed { late, .. } if late.is_empty()), "{events:?}");
    assert_eq!(accounts(&events[2]), (6, [-27, 9, 9, 9]));
    let mut other = Bench::new(HostConfig::new(preset::rounds(2, 1)));
    other.host.restore(Slot(5), nothing());
    other.host.execute(SlotWork { fill: true, ..work(6, &move_all) }).unwrap();
    other.host.checkpoint(Slot(6), Strategy::Quiescent).unwrap();
    assert_eq!(other.run(), events, "as if nobody had ever waited, to the trace of its locks");
}

/// Work that takes locks in many orders, some of it none, and fails here and there.
fn busy(slot: u64) -> SlotWork {
    let moved = [format!("move {} {} {slot}", slot % 4, (slot + 1) % 4), format!("move {} 0 1", slot % 3)];
    let (pay, spawn) = (format!("pay {} {}", slot % 4, slot % 7), format!("spawn move {} 2 3", slot % 2));
    let after = format!("after {} move 3 {} 1", slot % 5, slot % 3);
    let commands =
        [&moved[0], "chance", &pay, &moved[1], "nonsense", &spawn, "audit", &after, &moved[0], &pay];
    if slot.is_multiple_of(10) {
        // These may end before all others have left the scheduler.
        return work(slot, &["time", "chance"][..usize::try_from(slot / 10 % 2).unwrap() + 1]);
    }
    let first = usize::try_from(slot % 4).unwrap();
    let commands = &commands[first..first + usize::try_from(slot % 7).unwrap().min(6)];
    SlotWork { timers: slot.is_multiple_of(3), fill: slot.is_multiple_of(4), ..work(slot, commands) }
}

/// The events of slots `first` to 40, with a snapshot after every tenth, from `state` on. Under workers, or polled
/// by a seed: all at the end, or whenever chance will.
fn events_of(
    scheduler: smr_uds::Config,
    workers: Option<usize>,
    seed: u64,
    state: Option<(u64, Vec<Chunk>)>,
) -> Vec<HostEvent> {
    let (sink, events) = collect();
    let host = Host::new(Ledger::default(), HostConfig::new(scheduler), sink).unwrap();
    let workers =
        workers.map(|count| Workers::start(host.scheduler(), NonZeroUsize::new(count).unwrap()).unwrap());
    let mut executor = Seeded::new(seed);
    let mut chance = Context::new(
        ClientId(PublicKey([0; 32])),
        Timestamp(0),
        crate::Place { slot: Slot(seed), position: 0, path: Vec::new(), history: Digest::default() },
    )
    .rng();
    let mut next = 1;
    if let Some((slot, chunks)) = state {
        host.restore(Slot(slot), chunks);
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
            host.checkpoint(Slot(slot), Strategy::Quiescent).unwrap();
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
    for name in preset::NAMES {
        let scheduler = preset::by_name(name, 3).unwrap();
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
    for name in preset::NAMES {
        let scheduler = preset::by_name(name, 4).unwrap();
        let others = events_of(scheduler, None, 0, None);
        for (at, event) in others.iter().enumerate() {
            if !matches!(event, HostEvent::Checkpointed { .. }) {
                continue;
            }
            let (slot, chunks) = taken(event);
            for seed in 0..10 {
                let own = events_of(scheduler, None, seed, Some((slot.0, chunks.clone())));
                assert_eq!(own[0], HostEvent::Restored { slot, result: Ok(()) });
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

#[test]
fn who_waits_at_a_snapshot_answers_in_the_next_slot_even_if_that_is_given_while_the_scheduler_rests() {
    let waiting: Arc<Mutex<Option<Weak<Host<Ledger>>>>> = Arc::default();
    let (sender, events) = channel();
    let (sender, host_of_sink) = (Mutex::new(sender), waiting.clone());
    // As in production, where the next slot comes when the snapshot is reported.
    let sink: EventSink = Arc::new(move |event| {
        if let HostEvent::Checkpointed { .. } = &event {
            let host = host_of_sink.lock().unwrap().as_ref().unwrap().upgrade().unwrap();
            host.execute(work(2, &[])).unwrap();
        }
        sender.lock().unwrap().send(event).unwrap();
    });
    let host = Arc::new(Host::new(Ledger::default(), HostConfig::new(preset::sequential()), sink).unwrap());
    *waiting.lock().unwrap() = Some(Arc::downgrade(&host));
    host.execute(work(1, &["pay 1 5"])).unwrap();
    host.checkpoint(Slot(1), Strategy::Quiescent).unwrap();
    Seeded::new(1).run(host.scheduler());
    host.execute(work(3, &["move 0 1 6"])).unwrap();
    Seeded::new(1).run(host.scheduler());
    let events: Vec<HostEvent> = events.try_iter().collect();
    assert_eq!(events.len(), 4, "{events:?}");
    assert!(matches!(&events[3], HostEvent::Executed { late, .. } if late.len() == 1), "{events:?}");
}

#[test]
fn fill_markers_right_behind_a_snapshot_count_the_same_for_who_was_there_and_who_begins_there() {
    for name in preset::NAMES {
        let config = HostConfig::new(preset::by_name(name, 3).unwrap());
        let fill = |slot, commands: &[&str]| SlotWork { fill: true, ..work(slot, commands) };
        let mut first = Bench::new(config);
        first.host.execute(fill(1, &["pay 1 5"])).unwrap();
        first.run();
        first.host.checkpoint(Slot(1), Strategy::Quiescent).unwrap();
        let (_, chunks) = taken(&first.run()[0]);
        let mut second = Bench::new(config);
        second.host.restore(Slot(1), chunks);
        second.run();
        let rest = |bench: &mut Bench| {
            bench.host.execute(fill(2, &[])).unwrap();
            let mut events = bench.run();
            assert_eq!(events.len(), 1, "{name}: the marker lets the waiting command come to its wait");
            bench.host.execute(work(3, &["move 0 1 6", "move 1 2 3"])).unwrap();
            bench.host.execute(fill(4, &[])).unwrap();
            bench.host.checkpoint(Slot(4), Strategy::Quiescent).unwrap();
            events.extend(bench.run());
            events
        };
        assert_eq!(rest(&mut first), rest(&mut second), "{name}");
    }
}

#[test]
fn more_timers_than_begin_in_one_slot_begin_in_the_next() {
    let mut bench = Bench::new(HostConfig::new(preset::mat()));
    for slot in 1..=6 {
        bench.replies(slot, &vec!["after 1 move 0 1 1"; 100]);
    }
    for slot in 10..13 {
        bench.host.execute(SlotWork { timers: true, ..work(slot - 3, &[]) }).unwrap();
    }
    bench.run();
    assert_eq!(bench.replies(10, &["pay 1 0"]), ["600 at 1010"]);
    assert_eq!(bench.host.due(), None);
}
