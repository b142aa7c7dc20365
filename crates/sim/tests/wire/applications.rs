//! Commands and states, given to the built-in applications: they must not panic, and each command has an outcome.

use std::sync::{Arc, Mutex, PoisonError};

use smr_app::state::{Chunk, Taken};
use smr_app::{AnyHost, HostCommand, HostConfig, HostEvent, SlotWork, Strategy, builtin};
use smr_crypto::{Digest, PublicKey};
use smr_mutate::{Dice, runs, text};
use smr_uds::Seeded;
use smr_wire::{ClientId, Slot, Timestamp};

use crate::alone;

/// Commands, and as many states, given to each application in a usual run.
const EXECUTIONS: u64 = 1_500;

struct Bench {
    host: Box<dyn AnyHost>,
    executor: Seeded,
    reported: Arc<Mutex<Vec<HostEvent>>>,
    slot: Slot,
}

impl Bench {
    fn new(application: &str, seed: u64) -> Bench {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink = reported.clone();
        let sink = Arc::new(move |event| lock(&sink).push(event));
        let config = HostConfig::new(smr_uds::preset::by_name("sat", 2).expect("a preset"));
        let host = builtin::find(application).expect("built in").start(config, sink).expect("valid settings");
        Bench { host, executor: Seeded::new(seed), reported, slot: Slot(0) }
    }

    fn run(&mut self) -> Vec<HostEvent> {
        self.executor.run(self.host.scheduler());
        std::mem::take(&mut *lock(&self.reported))
    }

    fn execute(&mut self, command: Vec<u8>) {
        self.slot = self.slot.next();
        let commands = vec![HostCommand { caller: ClientId(PublicKey([1; 32])), command }];
        let (slot, time, seed) = (self.slot, Timestamp(self.slot.0), Digest::default());
        let work = SlotWork { slot, time, seed, commands, timers: true, fill: true };
        self.host.execute(work).expect("within the host's limits");
        let events = self.run();
        let ended =
            |event: &HostEvent| matches!(event, HostEvent::Executed { slot, .. } if *slot == self.slot);
        assert!(events.iter().any(ended), "slot {} did not end: {events:?}", self.slot);
    }

    fn state(&mut self) -> Vec<Vec<u8>> {
        self.host.checkpoint(self.slot, Strategy::Quiescent).expect("nothing is executed");
        match &self.run()[..] {
            [HostEvent::Checkpointed { state: Taken::Chunks(chunks), .. }] => {
                chunks.iter().map(|chunk| chunk.bytes().to_vec()).collect()
            }
            other => panic!("a state was asked for, not {other:?}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const KV: &[&str] = &[
    "put k1 v",
    "put \"a b\" \"c\"",
    "get k1",
    "delete k1",
    "cas k1 a b",
    "cas k1 (none) \"\x00\"",
    "scan k 10",
    "size",
];
const BANK: &[&str] = &[
    "open a",
    "deposit a 5",
    "withdraw a 9",
    "transfer a b 2",
    "pay a b 3",
    "balance a",
    "each a 2 b c",
    "after 10 deposit a 1",
    "total",
];

#[test]
fn no_command_and_no_state_makes_an_application_panic() {
    let _alone = alone();
    for (application, commands) in [("kv", KV), ("bank", BANK)] {
        let mut dice = Dice::new(runs::seed());
        let mut bench = Bench::new(application, 1);
        let mut states = Vec::new();
        let mut counted = runs::Counted::new("commands and states");
        for execution in 0..runs::executions(EXECUTIONS) {
            counted.one();
            let (one, other) = (dice.pick(commands).expect("some"), dice.pick(commands).expect("some"));
            bench.execute(text::change(one, other, &mut dice).into_bytes());
            if execution % 200 == 0 {
                states.push(bench.state());
                // What waits does so for ever, so another host goes on.
                bench = Bench::new(application, execution);
            }
        }
        let mut taken = 0;
        for _ in 0..runs::executions(EXECUTIONS) {
            counted.one();
            let (one, other) = (dice.pick(&states).expect("some"), dice.pick(&states).expect("some"));
            let changed = spoil_one(one, other, &mut dice);
            let mut bench = Bench::new(application, 1);
            bench.host.restore(Slot(9), changed.into_iter().map(Chunk::new).collect());
            let [HostEvent::Restored { result, .. }] = &bench.run()[..] else { panic!("a state was given") };
            taken += u64::from(result.is_ok());
        }
        println!("{application}: {taken} changed states were taken over");
    }
}

/// A state of which a chunk is spoiled, left out, or stands in another place.
fn spoil_one(state: &[Vec<u8>], other: &[Vec<u8>], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut changed = state.to_vec();
    let (at, to) = (dice.below(changed.len()), dice.below(changed.len()));
    match dice.below(8) {
        0 => drop(changed.remove(at)),
        1 => changed.swap(at, to),
        2 => changed.push(dice.pick(other).expect("some").clone()),
        _ => changed[at] = spoil(&changed[at], dice.pick(other).expect("some"), dice),
    }
    changed
}

/// Bytes of which a few are flipped, left out, or taken from elsewhere.
fn spoil(state: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut changed = state.to_vec();
    for _ in 0..=dice.below(3) {
        let (at, from) = (dice.below(changed.len().max(1)), dice.below(other.len().max(1)));
        match dice.below(4) {
            0 => changed.truncate(at),
            1 => changed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (from % 8)),
            2 => changed.iter_mut().skip(at).zip(&other[from..]).take(8).for_each(|(to, byte)| *to = *byte),
            _ => changed.extend_from_slice(&other[from..]),
        }
    }
    changed
}
