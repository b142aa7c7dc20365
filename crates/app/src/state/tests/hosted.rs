//! Containers under a host: commands of many kinds in seeded schedules, checkpoints of both strategies.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use smr_uds::{Seeded, Workers, preset};

use super::*;
use crate::{
    AnyHost, Application, CheckpointFailure, CommandOutcome, Host, HostCommand, HostConfig, HostEvent,
    SlotWork, Strategy, known_bugs,
};

/// Commands that use the containers in every way.
struct Shop {
    state: State,
    stock: Table<u64, u64>,
    notes: Table<(String, u64), String>,
    last: Cell<String>,
    sales: Counter,
}

impl Shop {
    fn new() -> Shop {
        let mut state = State::new();
        let (stock, notes) = (state.table("stock"), state.table_in_stripes("notes", 3));
        let (last, sales) = (state.cell("last", || "nobody".to_owned()), state.counter("sales"));
        Shop { state, stock, notes, last, sales }
    }

    async fn apply(&self, words: &[&str]) -> String {
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "put" => {
                self.stock.insert(&number(1), &number(2)).await;
                "ok".to_owned()
            }
            "drop" => self.stock.remove(&number(1)).await.to_string(),
            "get" => format!("{:?}", self.stock.get(&number(1)).await),
            "move" => {
                let mut both = self.stock.lock_each([&number(1), &number(2)]).await;
                both.swap(0, 1);
                let sum = both[0].unwrap_or(0) + both[1].unwrap_or(0);
                both.notify_all(0).await;
                both.notify_all(1).await;
                sum.to_string()
            }
            "take" => {
                let none = |value: &Option<u64>| value.is_none();
                let mut entry = self.stock.lock(&number(1)).await.wait_while(none).await;
                let taken = entry.take();
                let mut last = self.last.lock().await;
                let before = std::mem::replace(&mut *last, format!("{taken:?}"));
                format!("{before} {:?}", self.sales.add(1).await)
            }
            "give" => {
                let mut entry = self.stock.lock(&number(1)).await;
                entry.set(number(2));
                entry.notify_all().await;
                "ok".to_owned()
            }
            "note" => {
                let mut whole = self.notes.lock_all().await;
                let count = whole.range((words[1], 0)..=(words[1], u64::MAX)).count() as u64;
                whole.insert(&(words[1], count), &words[2].repeat(50));
                if count > 40 {
                    assert!(whole.remove(&(words[1], 0_u64)) || count > 41);
                }
                count.to_string()
            }
            "long" => {
                let mut entry = self.notes.lock(&(words[1].repeat(KEY_BYTES_MAX), 0_u64)).await;
                entry.set(String::new());
                "ok".to_owned()
            }
            "fat" => {
                let mut entry = self.notes.lock(&(words[1], 0_u64)).await;
                entry.set("x".repeat(VALUE_BYTES_MAX));
                assert!(words[1] != "panics", "on purpose, with a value that is too long in hand");
                "ok".to_owned()
            }
            "count" => {
                let view = self.stock.view().await;
                assert_eq!(view.iter().count() as u64, view.load().entries);
                view.load().entries.to_string()
            }
            other => panic!("{other}"),
        }
    }
}

impl Application for Shop {
    async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(command).unwrap();
        self.apply(&text.split(' ').collect::<Vec<_>>()).await.into_bytes()
    }

    fn state(&self) -> Option<&State> {
        Some(&self.state)
    }
}

/// A host, and what it reports.
struct Bench {
    host: Host<Shop>,
    events: Receiver<HostEvent>,
}

impl Bench {
    fn new(scheduler: smr_uds::Config) -> Bench {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |event| sender.lock().unwrap().send(event).unwrap());
        Bench { host: Host::new(Shop::new(), HostConfig::new(scheduler), sink).unwrap(), events }
    }

    fn next(&self) -> HostEvent {
        self.events.recv_timeout(Duration::from_secs(20)).expect("the run hangs")
    }
}

fn work(slot: u64, commands: Vec<String>) -> SlotWork {
    let caller = ClientId(PublicKey([1; 32]));
    let commands = commands.into_iter().map(|text| HostCommand { caller, command: text.into_bytes() });
    let (time, seed) = (Timestamp(slot), Digest::default());
    SlotWork { slot: Slot(slot), time, seed, commands: commands.collect(), timers: false, fill: true }
}

/// Commands of a slot, of every kind.
fn commands(slot: u64) -> Vec<String> {
    let mut chance = chance(slot);
    let mut one = || {
        let (key, other) = (chance.below(200), chance.below(199));
        let other = if other >= key { other + 1 } else { other };
        match chance.below(12) {
            0..4 => format!("put {key} {slot}"),
            4 => format!("drop {key}"),
            5 => format!("get {key}"),
            6 | 7 => format!("move {key} {other}"),
            8 => format!("take {key}"),
            9 => format!("give {key} {slot}"),
            10 => format!("note n{} {slot}", key % 3),
            _ => "count".to_owned(),
        }
    };
    (0..12).map(|_| one()).collect()
}

const SLOTS: u64 = 30;
const EVERY: u64 = 6;

/// What a run comes to: what was executed, and the chunks after every [`EVERY`]th slot.
type Outcome = (Vec<HostEvent>, Vec<Vec<Chunk>>);

/// The slots from `first` on, under workers or polled by a seed. Cuts that are rolling are made into chunks in small
/// steps while later slots run.
fn run(
    scheduler: smr_uds::Config,
    workers: Option<usize>,
    seed: u64,
    strategy: Strategy,
    from: Option<(u64, &[Chunk])>,
) -> Outcome {
    let bench = Bench::new(scheduler);
    let threads =
        workers.map(|n| Workers::start(bench.host.scheduler(), NonZeroUsize::new(n).unwrap()).unwrap());
    let (mut executor, mut chance) = (Seeded::new(seed), chance(seed));
    let first = from.map_or(1, |(slot, chunks)| {
        bench.host.restore(Slot(slot), chunks.to_vec());
        slot + 1
    });
    let (mut executed, mut checkpoints) = (Vec::new(), Vec::new());
    let mut chunking: Option<Chunking> = None;
    let mut given = first;
    let events = usize::try_from(SLOTS - first + 1 + (SLOTS - first + EVERY) / EVERY).unwrap()
        + usize::from(from.is_some());
    let mut seen = 0;
    while seen < events || chunking.is_some() {
        if given <= SLOTS {
            bench.host.execute(work(given, commands(given))).unwrap();
            if given.is_multiple_of(EVERY) {
                bench.host.checkpoint(Slot(given), strategy).unwrap();
            }
            given += 1;
        }
        if threads.is_none() && (given > SLOTS || chance.below(2) == 0) {
            executor.run(bench.host.scheduler());
        }
        if let Some(steps) = &mut chunking
            && let Some(chunks) = steps.step(usize::try_from(chance.below(2_000)).unwrap()).unwrap()
        {
            checkpoints.push(chunks);
            chunking = None;
        }
        let wait = threads.is_some() && given > SLOTS && chunking.is_none() && seen < events;
        let event = if wait { Some(bench.next()) } else { bench.events.try_recv().ok() };
        seen += usize::from(event.is_some());
        match event {
            Some(HostEvent::Checkpointed { state: Taken::Chunks(chunks), .. }) => checkpoints.push(chunks),
            Some(HostEvent::Checkpointed { state: Taken::Cut(cut), .. }) => {
                assert!(chunking.is_none(), "a second cut before the first was done");
                chunking = Some(cut.chunking());
            }
            Some(HostEvent::Restored { result, .. }) => result.unwrap(),
            Some(event) => {
                let HostEvent::Executed { outcomes, late, .. } = &event else { panic!("{event:?}") };
                let late = late.iter().map(|late| &late.outcome);
                for outcome in outcomes.iter().flatten().chain(late) {
                    assert!(matches!(outcome, CommandOutcome::Answer(_)), "{outcome:?}");
                }
                executed.push(event);
            }
            None => {}
        }
    }
    drop(threads);
    (executed, checkpoints)
}

#[test]
fn chunks_are_equal_under_both_strategies_in_all_orders_of_polls_and_on_any_number_of_threads() {
    for name in preset::NAMES {
        let scheduler = preset::by_name(name, 3).unwrap();
        let expected = run(scheduler, None, 0, Strategy::Quiescent, None);
        assert_eq!(expected.1.len() as u64, SLOTS / EVERY);
        let waited =
            |event: &HostEvent| matches!(event, HostEvent::Executed { late, .. } if !late.is_empty());
        assert!(expected.0.iter().any(waited), "{name}: nobody has waited for an entry");
        for seed in 1..12 {
            let strategy = if seed % 2 == 0 { Strategy::Quiescent } else { Strategy::Rolling };
            assert!(
                run(scheduler, None, seed, strategy, None) == expected,
                "{name}, seed {seed}, {strategy:?}"
            );
        }
        for workers in 1..=3 {
            for strategy in [Strategy::Quiescent, Strategy::Rolling] {
                let found = run(scheduler, Some(workers), 0, strategy, None);
                assert!(found == expected, "{name}, {workers} workers, {strategy:?}");
            }
        }
    }
}

#[test]
fn a_replica_that_begins_at_a_checkpoint_has_the_chunks_of_the_others_from_then_on() {
    for name in preset::NAMES {
        let scheduler = preset::by_name(name, 4).unwrap();
        let (executed, checkpoints) = run(scheduler, None, 0, Strategy::Rolling, None);
        for (index, chunks) in checkpoints.iter().enumerate().take(4) {
            let slot = (index as u64 + 1) * EVERY;
            let found = run(scheduler, None, slot, Strategy::Rolling, Some((slot, chunks)));
            assert!(found.0 == executed[usize::try_from(slot).unwrap()..], "{name}, after slot {slot}");
            assert!(found.1 == checkpoints[index + 1..], "{name}, after slot {slot}");
        }
    }
}

#[test]
fn the_next_cut_waits_until_nobody_keeps_the_one_before() {
    let bench = Bench::new(preset::sequential());
    let mut executor = Seeded::new(1);
    let mut go = |slot| {
        bench.host.execute(work(slot, vec!["put 1 1".to_owned()])).unwrap();
        bench.host.checkpoint(Slot(slot), Strategy::Rolling).unwrap();
        executor.run(bench.host.scheduler());
        bench.events.try_iter().collect::<Vec<_>>()
    };
    let first = go(1);
    let [_, HostEvent::Checkpointed { state: Taken::Cut(cut), .. }] = &first[..] else { panic!("{first:?}") };
    let chunking = cut.clone().chunking();
    assert_eq!(go(2).len(), 1, "the slot is executed, the cut waits");
    drop(first);
    assert_eq!(bench.events.try_iter().count(), 0, "there is still a clone");
    drop(chunking);
    Seeded::new(1).run(bench.host.scheduler());
    let second: Vec<HostEvent> = bench.events.try_iter().collect();
    assert!(
        matches!(second[..], [HostEvent::Checkpointed { slot: Slot(2), state: Taken::Cut(_) }]),
        "{second:?}"
    );
}

#[test]
fn memory_that_fails_ends_the_execution_instead_of_being_signed() {
    let bench = Bench::new(preset::sequential());
    let mut executor = Seeded::new(1);
    let mut go = |slot, text: &str| {
        bench.host.execute(work(slot, vec![text.to_owned()])).unwrap();
        bench.host.checkpoint(Slot(slot), Strategy::Quiescent).unwrap();
        executor.run(bench.host.scheduler());
        bench.events.try_iter().last().unwrap()
    };
    go(1, "put 1 1");
    let application = &bench.host.application();
    let stripe = application.stock.stripes().of(&1_u64.to_be_bytes());
    assert_eq!(stripe.tree.at_rest(|tree| tree.flip(0, 3)), Ok(true));
    let failed = (2..=1 + SOUND_WITHIN_CUTS).find(|slot| {
        matches!(go(*slot, "count"), HostEvent::CheckpointFailed { why: CheckpointFailure::Damaged(_), .. })
    });
    assert!(failed.is_some());
}

/// A table in which one entry moves about; every look at it has to find exactly one.
fn looks_find_what_moves(seed: u64) {
    let bench = Bench::new(preset::rounds(4, 2));
    let mut chance = chance(seed);
    let mut at = 0;
    bench.host.execute(work(1, vec!["put 0 7".to_owned()])).unwrap();
    for slot in 2..20 {
        let mut commands = Vec::new();
        for _ in 0..8 {
            let next = (at + 1 + chance.below(30)) % 40;
            if next != at {
                commands.extend([format!("move {at} {next}"), "count".to_owned()]);
            }
            at = next;
        }
        bench.host.execute(work(slot, commands)).unwrap();
    }
    Seeded::new(seed).run(bench.host.scheduler());
    for event in bench.events.try_iter() {
        let HostEvent::Executed { slot, outcomes, .. } = event else { panic!("{event:?}") };
        let outcomes = outcomes.into_iter().flatten().collect::<Vec<_>>();
        for outcome in outcomes.iter().skip(1).step_by(2) {
            assert_eq!(*outcome, CommandOutcome::Answer(b"1".to_vec()), "in slot {slot}");
        }
    }
}

#[test]
fn a_look_at_all_entries_misses_none_and_sees_none_twice() {
    (0..40).for_each(looks_find_what_moves);
}

#[test]
fn a_look_at_one_stripe_after_the_other_is_found() {
    let _on = known_bugs::STRIPES_SEEN_ONE_AFTER_THE_OTHER.switch_on();
    let found = (0..40).find(|seed| std::panic::catch_unwind(|| looks_find_what_moves(*seed)).is_err());
    assert!(found.is_some());
}

#[test]
fn a_key_or_value_that_is_too_long_ends_its_command_and_nothing_else() {
    let bench = Bench::new(preset::sequential());
    let commands = ["long x", "fat x", "fat panics", "put 1 1", "note x y"].map(str::to_owned).to_vec();
    bench.host.execute(work(1, commands)).unwrap();
    Seeded::new(1).run(bench.host.scheduler());
    let HostEvent::Executed { outcomes, .. } = bench.next() else { panic!("not executed") };
    let fault = || Some(CommandOutcome::Fault(smr_uds::Fault::Panicked.into()));
    let answer = |text: &str| Some(CommandOutcome::Answer(text.into()));
    assert_eq!(outcomes, [fault(), fault(), fault(), answer("ok"), answer("0")], "and no note was written");
}
