//! What an attestation costs by what stands behind the trusted core: alone, from the question to the answer, and with as
//! many under way as a busy window has; and what a dealing costs. This program plays the core's process as well.
//!
//! `cargo bench -p smr-node --bench attest`
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends, as a test does")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use smr_consensus::ProtocolName;
use smr_consensus::lanes::core::{Attempt, Item, Operation};
use smr_crypto::Digest;
use smr_crypto::dkg::{Assurance, DecryptionKey, Setup};
use smr_node::trusted::{Answer, Backing, Born, Place, Program, TrustedCore, inside};
use smr_wire::{Generation, ReplicaId, ServiceId, Slot, View};

/// Rounds, of which the best and the median are shown: the machine has other work.
const ROUNDS: usize = 21;

/// Attestations of a round.
const ATTESTATIONS: u64 = 2_000;

/// Dealings, of which the best and the median are shown.
const DEALINGS: u32 = 200;

/// Slots of the window, as services have it.
const WINDOW: u64 = 32;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == inside::VERB) {
        return inside::run(arguments);
    }
    for (name, backing) in
        [("in-process", Backing::InProcess), ("process", Backing::Process(Program::this()))]
    {
        for under_way in [1, WINDOW] {
            let mut bench = Bench::new(&backing);
            let mut rounds: Vec<Duration> = (0..ROUNDS).map(|_| bench.round(under_way)).collect();
            rounds.sort_unstable();
            let each = |round: Duration| round.as_secs_f64() * 1e6 / ATTESTATIONS as f64;
            let (best, median) = (each(rounds[0]), each(rounds[ROUNDS / 2]));
            println!("{name:<12} {under_way:>2} under way: best {best:6.1} us, median {median:6.1} us each");
        }
        for faults in [1, ProtocolName::Ebawa.profile().faults_max] {
            let mut bench = Bench::new(&backing);
            let mut times: Vec<Duration> = (0..DEALINGS).map(|number| bench.deal(number, faults)).collect();
            times.sort_unstable();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (best, median) = (ms(times[0]), ms(times[times.len() / 2]));
            let replicas = 2 * faults + 1;
            println!("{name:<12} a dealing for {replicas}: best {best:.2} ms, median {median:.2} ms");
        }
    }
    ExitCode::SUCCESS
}

struct Bench {
    core: TrustedCore,
    answers: Receiver<Answer>,
    slot: Slot,
}

impl Bench {
    fn new(backing: &Backing) -> Bench {
        let (send, answers) = channel();
        let deliver = Arc::new(move |answer| send.send(answer).unwrap());
        let place = Place {
            service: ServiceId(Digest::default()),
            generation: Generation(0),
            window_slots: WINDOW,
            replica: ReplicaId(0),
        };
        let (core, _) = Born::start(backing).unwrap().join(place, deliver).unwrap();
        Bench { core, answers, slot: Slot(0) }
    }

    fn ask(&mut self) {
        self.slot = self.slot.next();
        let item = Item { slot: self.slot, digest: Digest::default() };
        self.core.ask(Operation::Endorse { view: View(0), items: vec![item] });
    }

    fn round(&mut self, under_way: u64) -> Duration {
        let began = Instant::now();
        (0..under_way).for_each(|_| self.ask());
        for answered in 1..=ATTESTATIONS {
            let answer = self.answers.recv().unwrap();
            assert!(matches!(answer, Answer::Attested(Ok(_))), "a vote in a fresh slot is refused");
            self.core.answered();
            if answered + under_way <= ATTESTATIONS {
                self.ask();
            }
        }
        began.elapsed()
    }

    fn deal(&mut self, number: u32, faults: u16) -> Duration {
        let key = |place: u16| DecryptionKey::from_seed(&Digest::of_value("BENCH", &place).0).public();
        let setup = Setup {
            context: Digest::of_value("BENCH", &number),
            threshold: faults + 1,
            encryption_keys: (0..2 * faults + 1).map(key).collect(),
            dealings: faults + 1,
            assurance: Assurance::Attested,
        };
        let began = Instant::now();
        self.core.deal(Box::new(Attempt { number, setup }));
        let answer = self.answers.recv().unwrap();
        let took = began.elapsed();
        assert!(matches!(answer, Answer::Dealt(Ok(_))), "a first dealing is refused");
        self.core.answered();
        took
    }
}
