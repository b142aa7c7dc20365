//! A replica as the contact of clients: what it runs and keeps for them, and what it gives up.

use std::collections::VecDeque;
use std::sync::Arc;

use smr_app::state::{Chunk, Taken};
use smr_app::{CommandOutcome, SlotWork};
use smr_consensus::{Config as OrderingConfig, Entry, EntryBody, ProtocolName};
use smr_crypto::dkg::{DealingSeed, DecryptionKey};
use smr_crypto::{IdentityKey, Verifier};
use smr_replica::effect::{ConnectionId, Observation};
use smr_replica::{Chunked, Config, Effect, Event, Genesis, Input, Member, Replica, Secrets};
use smr_wire::client::About;
use smr_wire::{
    Access, Call, Command, Hint, Outcome, Refusal, ReplicaId, Reply, Request, RequestNumber, SessionId, Slot,
    Timestamp,
};

/// A lone replica whose application answers each command with so many bytes.
struct Bench {
    replica: Replica,
    client: IdentityKey,
    reply_bytes: usize,
    /// Slots that are not executed while execution is held up.
    held: Option<VecDeque<SlotWork>>,
    /// Whether states are taken at once.
    checkpoints: bool,
    /// Checkpoints that became stable.
    stable: Vec<Slot>,
    replies: Vec<Reply>,
    hints: Vec<(Option<About>, Hint)>,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let secrets = Secrets {
            identity: Arc::new(IdentityKey::from_seed(&[1; 32])),
            decryption: Arc::new(DecryptionKey::from_seed(&[2; 32])),
            dealing_seed: DealingSeed([3; 32]),
        };
        let member = Member {
            identity: secrets.identity.public(),
            channel: IdentityKey::from_seed(&[4; 32]).public(),
            encryption: secrets.decryption.public(),
            core: None,
            address: "here:1".into(),
        };
        let genesis = Genesis {
            name: "test".into(),
            application: "none".into(),
            protocol: ProtocolName::Solo,
            faults: 0,
            members: vec![member],
            administrator: IdentityKey::from_seed(&[5; 32]).public(),
            durable: false,
            scheduling: smr_replica::Scheduling::sequential(),
            config,
        };
        genesis.validate().expect("valid");
        let verifier = Arc::new(Verifier::new(8));
        let replica = Replica::new(Arc::new(genesis), ReplicaId(0), secrets, None, verifier);
        let client = IdentityKey::from_seed(&[6; 32]);
        let mut bench = Bench {
            replica,
            client,
            reply_bytes: 1,
            held: None,
            checkpoints: true,
            stable: Vec::new(),
            replies: Vec::new(),
            hints: Vec::new(),
        };
        bench.happen(Event::Start);
        assert!(bench.replica.endpoint_certificate().is_some(), "a lone replica has its key at once");
        bench
    }

    fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            self.replica.step(Input { clock: Timestamp(1000), event }, &mut effects);
            for effect in effects {
                events.extend(self.act(effect));
            }
        }
    }

    fn act(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Execute(work) => match &mut self.held {
                Some(held) => {
                    held.push_back(work);
                    None
                }
                None => Some(self.executed(&work)),
            },
            Effect::Checkpoint { slot, .. } => self.checkpoints.then(|| checkpointed(slot)),
            Effect::Chunk { slot, turn, system, application } => {
                let state = Ok(Chunked::new(&system, application.chunks().expect("sound")));
                Some(Event::Chunked { slot, turn, state })
            }
            Effect::Sign { statement, digest, share } => {
                Some(Event::Signed { statement, digest, share: share.sign(&digest) })
            }
            Effect::Combine { statement, digest, shares, key } => {
                let signature = key.combine_verified(&digest, &shares).expect("good shares").signature;
                Some(Event::Combined { statement, digest, signature: Some(signature), culprits: Vec::new() })
            }
            Effect::Reply { reply, .. } => {
                self.replies.push(reply);
                None
            }
            Effect::Hint { about, hint, .. } => {
                self.hints.push((about, hint));
                None
            }
            Effect::Report(Observation::Stable(slot)) => {
                self.stable.push(slot);
                None
            }
            _ => None,
        }
    }

    fn executed(&self, work: &SlotWork) -> Event {
        let answer = |mark: &[u8]| CommandOutcome::Answer(mark.repeat(self.reply_bytes));
        let outcomes = work.commands.iter().map(|command| Some(answer(&command.command))).collect();
        Event::Executed { slot: work.slot, outcomes, late: Vec::new() }
    }

    fn execute_held(&mut self) {
        while let Some(work) = self.held.as_mut().and_then(VecDeque::pop_front) {
            let event = self.executed(&work);
            self.happen(event);
        }
        self.held = None;
    }

    fn ask(&mut self, call: Call) {
        let service = self.replica.system().endpoints.as_ref().expect("there is a key").service;
        let request = Request::sign(&self.client, service, call);
        let entry = Entry::new(EntryBody::Client(request));
        self.happen(Event::Request { connection: ConnectionId(1), entry });
    }

    fn open(&mut self) -> SessionId {
        self.ask(Call::Open { nonce: 1, window: 64 });
        match self.replies.pop().expect("an answer").outcome {
            Outcome::Opened(session) => session,
            other => panic!("not opened: {other:?}"),
        }
    }

    fn command(&mut self, session: SessionId, numbers: std::ops::RangeInclusive<u64>) {
        let command =
            |number| Command { number: RequestNumber(number), bytes: number.to_le_bytes()[..1].to_vec() };
        let commands = numbers.map(command).collect();
        self.ask(Call::Commands { session, access: Access::Ordered, commands });
    }

    fn answered(&mut self) -> Vec<(u64, Slot, Outcome)> {
        let read = |reply: Reply| {
            let slot = reply.proof.slot();
            (reply.about.number.0, slot, reply.outcome)
        };
        std::mem::take(&mut self.replies).into_iter().map(read).collect()
    }
}

fn checkpointed(slot: Slot) -> Event {
    Event::Checkpointed { slot, state: Ok(Taken::Chunks(vec![Chunk::new(vec![7; 5000])])) }
}

/// Room for the replies of about four slots of three KiB each.
fn cramped() -> Config {
    Config {
        reply_bytes_max: 4 << 10,
        slot_reply_bytes_max: 8 << 10,
        blocks_bytes_max: 16 << 10,
        session_reply_bytes_max: 1 << 20,
        checkpoint_slots: 4,
        ..Config::default()
    }
}

#[test]
fn a_reply_that_was_given_up_is_ordered_again_and_certified_anew_and_a_kept_one_is_sent_as_it_was() {
    let mut bench = Bench::new(cramped());
    bench.reply_bytes = 3 << 10;
    let session = bench.open();
    (1..=10).for_each(|number| bench.command(session, number..=number));
    let first = bench.answered();
    assert_eq!(first.len(), 10);
    bench.command(session, 10..=10);
    assert_eq!(bench.answered(), [first[9].clone()]);
    bench.command(session, 1..=1);
    let again = bench.answered();
    assert_eq!((again.len(), &again[0].2), (1, &first[0].2));
    assert!(again[0].1 > first[9].1, "in a later slot than all");
}

#[test]
fn the_replies_of_one_slot_are_bounded_and_the_commands_still_end() {
    let mut bench = Bench::new(cramped());
    let session = bench.open();
    bench.reply_bytes = 3 << 10;
    bench.command(session, 1..=6);
    let answers = bench.answered();
    let kept = answers.iter().filter(|(_, _, outcome)| matches!(outcome, Outcome::Answer(_))).count();
    assert_eq!((answers.len(), kept), (6, 2));
    bench.command(session, 1..=6);
    assert_eq!(bench.answered(), answers);
}

#[test]
fn requests_without_room_leave_nobody_waiting() {
    let consensus = OrderingConfig {
        pool_entries_max: 1,
        backlog_slots_max: 1,
        pipeline_slots: 1,
        ..OrderingConfig::default()
    };
    let mut bench = Bench::new(Config { consensus, waiting_max: 3, ..Config::default() });
    let session = bench.open();
    bench.held = Some(VecDeque::new());
    for number in 1..=20 {
        bench.command(session, number..=number);
    }
    let about = |number| Some(About { session, number: RequestNumber(number) });
    let busy: Vec<_> = (3..=20).map(|number| (about(number), Hint::Busy)).collect();
    assert_eq!(bench.hints, busy, "each by name");
    bench.execute_held();
    assert_eq!(bench.answered().len(), 2);
    bench.hints.clear();
    bench.command(session, 3..=5);
    assert_eq!((bench.answered().len(), bench.hints.len()), (3, 0), "there is room for three that wait");
}

#[test]
fn a_command_that_waited_and_was_woken_is_answered_whichever_slot_ends_first() {
    let mut bench = Bench::new(cramped());
    let session = bench.open();
    bench.held = Some(VecDeque::new());
    bench.command(session, 1..=2);
    bench.command(session, 3..=4);
    let mut next = || bench.held.as_mut().expect("held").pop_front().expect("two slots").slot;
    let (first, second) = (next(), next());
    let answer = |text: &str| CommandOutcome::Answer(text.into());
    let late = |slot, position, text: &str| smr_app::LateOutcome { slot, position, outcome: answer(text) };
    // The first of each slot waits; both are woken in the first slot.
    let woken = vec![late(first, 0, "1"), late(second, 0, "3")];
    bench.happen(Event::Executed { slot: first, outcomes: vec![None, Some(answer("2"))], late: woken });
    bench.happen(Event::Executed { slot: second, outcomes: vec![None, Some(answer("4"))], late: vec![] });
    assert_eq!(bench.answered().len(), 4);
    assert!(bench.replica.system().parked.is_empty());
}

#[test]
fn a_command_above_the_limit_ends_as_refused_and_its_repeat_too() {
    let mut bench = Bench::new(Config { command_bytes_max: 8, ..Config::default() });
    let session = bench.open();
    let sized = |number, bytes| Command { number: RequestNumber(number), bytes: vec![1; bytes] };
    let request = |commands: Vec<Command>| Call::Commands { session, access: Access::Ordered, commands };
    bench.ask(request(vec![sized(1, 7), sized(2, 8), sized(3, 9)]));
    let answers: Vec<_> =
        bench.answered().into_iter().map(|(number, _, outcome)| (number, outcome)).collect();
    let refused = Outcome::Refused(Refusal::TooLarge);
    assert_eq!(answers[2], (3, refused.clone()));
    assert!(answers[..2].iter().all(|(_, outcome)| matches!(outcome, Outcome::Answer(_))), "{answers:?}");
    bench.ask(request(vec![sized(3, 1), sized(4, 1)]));
    let again = bench.answered();
    assert_eq!((again.len(), &again[0].2), (2, &refused), "its number is used up");
}

#[test]
fn nothing_is_admitted_until_the_state_of_a_checkpoint_is_taken() {
    let mut bench = Bench::new(cramped());
    let session = bench.open();
    bench.checkpoints = false;
    (1..=6).for_each(|number| bench.command(session, number..=number));
    let last = |bench: &mut Bench| bench.answered().last().map(|(_, slot, _)| *slot);
    let checkpoint = last(&mut bench).expect("up to the checkpoint they are answered");
    assert!(checkpoint.0.is_multiple_of(4), "{checkpoint}");
    bench.happen(checkpointed(checkpoint.minus(4)));
    assert_eq!(last(&mut bench), None, "that is another state");
    bench.checkpoints = true;
    bench.happen(checkpointed(checkpoint));
    assert!(last(&mut bench) > Some(checkpoint));
    assert!(bench.stable.contains(&checkpoint));
}

#[test]
fn every_checkpoint_becomes_stable_once() {
    let mut bench = Bench::new(cramped());
    let session = bench.open();
    (1..=20).for_each(|number| bench.command(session, number..=number));
    let last = bench.replica.system().slot;
    let due: Vec<Slot> = (1..=last.0).filter(|slot| slot.is_multiple_of(4)).map(Slot).collect();
    assert_eq!(bench.stable, due);
}

#[test]
fn a_state_that_is_cut_into_chunks_late_gets_no_vote_once_its_checkpoint_is_stable() {
    let mut bench = Bench::new(cramped());
    let session = bench.open();
    (1..=20).for_each(|number| bench.command(session, number..=number));
    for (slot, votes) in [(4, false), (bench.replica.system().slot.0 + 4, true)] {
        let state = Ok(Chunked::new(bench.replica.system(), Vec::new()));
        let chunked = Event::Chunked { slot: Slot(slot), turn: 0, state };
        let mut effects = Vec::new();
        bench.replica.step(Input { clock: Timestamp(1000), event: chunked }, &mut effects);
        assert_eq!(!effects.is_empty(), votes, "slot {slot}: {effects:?}");
    }
}

#[test]
fn a_repeat_of_a_command_that_waits_is_answered_when_that_was_woken() {
    let mut bench = Bench::new(cramped());
    let session = bench.open();
    bench.held = Some(VecDeque::new());
    bench.command(session, 1..=1);
    bench.command(session, 1..=2);
    let mut next = || bench.held.as_mut().expect("held").pop_front().expect("two slots").slot;
    let (first, second) = (next(), next());
    let answer = |text: &str| CommandOutcome::Answer(text.into());
    bench.happen(Event::Executed { slot: first, outcomes: vec![None], late: vec![] });
    bench.happen(Event::Executed { slot: second, outcomes: vec![Some(answer("2"))], late: vec![] });
    let outcome = |text: &str| Outcome::Answer(text.into());
    assert_eq!(bench.answered(), [(2, second, outcome("2"))], "1 waits");
    bench.command(session, 3..=3);
    let third = bench.held.as_mut().expect("held").pop_front().expect("the third").slot;
    let woken = vec![smr_app::LateOutcome { slot: first, position: 0, outcome: answer("1") }];
    bench.happen(Event::Executed { slot: third, outcomes: vec![Some(answer("3"))], late: woken });
    let mut answers = bench.answered();
    answers.sort_by_key(|(number, ..)| *number);
    assert_eq!(answers, [(1, third, outcome("1")), (3, third, outcome("3"))]);
}
