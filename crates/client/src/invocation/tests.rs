use super::*;
use smr_crypto::threshold::ServiceSignature;
use smr_crypto::{Digest, Verifier, merkle};
use smr_wire::Request;

/// Stands for the service's key: a signature is a digest that only this file makes.
struct Fake;

impl Fake {
    fn sign(statement: &Digest) -> ServiceSignature {
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(&Digest::of("FAKE", &[&statement.0]).0);
        ServiceSignature(bytes)
    }
}

impl ProofCheck for Fake {
    fn verify(&self, statement: &Digest, signature: &ServiceSignature) -> bool {
        Fake::sign(statement) == *signature
    }
}

fn service() -> ServiceId {
    ServiceId(Digest::of("TEST", &[b"service"]))
}

/// The replies of one block.
fn block(client: ClientId, slot: u64, outcomes: &[(About, Outcome)]) -> Vec<FromContact> {
    let leaves = outcomes.iter().map(|(about, outcome)| Reply::leaf(&client, about, outcome)).collect();
    let tree = merkle::Tree::new(leaves);
    let count = u32::try_from(outcomes.len()).unwrap();
    let signature = Fake::sign(&Reply::block_statement(&service(), Slot(slot), &tree.root(), count));
    let reply = |(at, (about, outcome)): (usize, &(About, Outcome))| {
        let proof = ReplyProof::Certified { slot: Slot(slot), path: tree.path(at), signature };
        FromContact::Reply(Reply { about: *about, outcome: outcome.clone(), proof })
    };
    outcomes.iter().enumerate().map(reply).collect()
}

const SESSION: SessionId = SessionId(77);
const A: ContactId = ContactId(0);

fn at(number: u64) -> About {
    About { session: SESSION, number: RequestNumber(number) }
}

fn answer(text: &str) -> Outcome {
    Outcome::Answer(text.as_bytes().to_vec())
}

fn call(ticket: u64) -> Event {
    Event::Call { ticket: Ticket(ticket), command: vec![u8::try_from(ticket).unwrap()] }
}

/// A client, its clock and what it did last.
struct Bench {
    client: Invocation,
    clock: u64,
    armed: Option<u64>,
    effects: Vec<Effect>,
    /// What contacts' certificates say that replies need.
    proof: ProofKind,
}

impl Bench {
    fn new(config: Config, contacts: u32) -> Bench {
        let key = IdentityKey::from_seed(&[1; 32]);
        let client = Invocation::new(config, service(), key, Arc::new(Fake), &[9; 32]).unwrap();
        let mut bench =
            Bench { client, clock: 1000, armed: None, effects: vec![], proof: ProofKind::Certified };
        bench.step([Event::Contacts((0..contacts).map(ContactId).collect())]);
        bench
    }

    /// With a session, all contacts connected when wanted.
    fn open(config: Config, contacts: u32) -> Bench {
        let mut bench = Bench::new(config, contacts);
        bench.step([Event::Start]);
        bench.connect_all();
        let about = bench.requests().last().map(|(_, request)| opening(request)).unwrap();
        bench.certify(bench.asked(), 1, &[(about, Outcome::Opened(SESSION))]);
        assert_eq!(bench.reports(), [Report::Opened(SESSION)]);
        bench
    }

    fn step(&mut self, events: impl IntoIterator<Item = Event>) -> &[Effect] {
        self.effects.clear();
        self.client.step(Timestamp(self.clock), events, &mut self.effects);
        for effect in &self.effects {
            if let Effect::Arm { at } = effect {
                self.armed = Some(at.0);
            }
        }
        &self.effects
    }

    /// Lets every channel that is asked for stand at once, and keeps the effects of that.
    fn connect_all(&mut self) {
        loop {
            let wanted = self.effects.iter().find_map(|effect| match effect {
                Effect::Connect(contact) => Some(*contact),
                _ => None,
            });
            let Some(contact) = wanted else { return };
            let mut before = std::mem::take(&mut self.effects);
            before.retain(|effect| *effect != Effect::Connect(contact));
            self.step([Event::Connected(contact, self.proof)]);
            before.append(&mut self.effects);
            self.effects = before;
        }
    }

    /// Goes to the time of the timer.
    fn tick(&mut self) {
        let armed = self.armed.take().unwrap();
        self.clock = self.clock.max(armed);
        self.step([Event::Timer]);
    }

    /// Lets `ms` pass, with all timers and connections on the way, and collects the effects.
    fn pass(&mut self, ms: u64) {
        let end = self.clock + ms;
        let mut all = Vec::new();
        while self.armed.is_some_and(|at| at <= end) {
            self.tick();
            self.connect_all();
            all.append(&mut self.effects);
        }
        self.clock = end;
        self.effects = all;
    }

    fn certify(&mut self, contact: ContactId, slot: u64, outcomes: &[(About, Outcome)]) {
        let frames = block(self.client.client(), slot, outcomes);
        self.say(contact, frames);
    }

    fn say(&mut self, contact: ContactId, frames: Vec<FromContact>) {
        self.step(frames.into_iter().map(|frame| Event::Frame { contact, frame }));
    }

    fn requests(&self) -> Vec<(ContactId, Request)> {
        let sent = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { contact, frame: ToContact::Request(request) } => Some((*contact, request.clone())),
            _ => None,
        });
        sent.collect()
    }

    /// The contact that has the oldest exchange.
    fn asked(&self) -> ContactId {
        self.client.exchanges.values().next().unwrap().contact.unwrap()
    }

    fn done(&self) -> Vec<(u64, Result<Certified, Failure>)> {
        let done = self.effects.iter().filter_map(|effect| match effect {
            Effect::Done { ticket, result } => Some((ticket.0, result.clone())),
            _ => None,
        });
        done.collect()
    }

    fn reports(&self) -> Vec<Report> {
        let reports = self.effects.iter().filter_map(|effect| match effect {
            Effect::Report(report) => Some(report.clone()),
            _ => None,
        });
        reports.collect()
    }
}

fn opening(request: &Request) -> About {
    match &request.call {
        Call::Open { nonce, .. } => About::opening(*nonce),
        Call::Commands { .. } => panic!("not an opening: {request:?}"),
    }
}

fn numbers(request: &Request) -> Vec<u64> {
    match &request.call {
        Call::Open { .. } => panic!("an opening: {request:?}"),
        Call::Commands { commands, .. } => commands.iter().map(|command| command.number.0).collect(),
    }
}

fn certified(text: &str, slot: u64, number: u64) -> Result<Certified, Failure> {
    let outcome = text.as_bytes().to_vec();
    Ok(Certified { outcome, slot: Slot(slot), number: RequestNumber(number) })
}

#[test]
fn commands_of_one_moment_travel_under_one_signature() {
    let mut bench = Bench::open(Config::default(), 4);
    bench.step([call(1), call(2), call(3)]);
    let requests = bench.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].1.check(service(), &Verifier::new(1)), Ok(()));
    assert_eq!(numbers(&requests[0].1), [1, 2, 3]);
    bench.step([call(4)]);
    assert_eq!(numbers(&bench.requests()[0].1), [4]);
}

#[test]
fn replies_in_any_order_settle_each_call_once() {
    let mut bench = Bench::open(Config::default(), 4);
    bench.step([call(1), call(2)]);
    let contact = bench.asked();
    let frames = block(bench.client.client(), 5, &[(at(1), answer("a")), (at(2), answer("b"))]);
    bench.say(contact, vec![frames[1].clone(), frames[0].clone(), frames[1].clone()]);
    assert_eq!(bench.done(), [(2, certified("b", 5, 2)), (1, certified("a", 5, 1))]);
    assert_eq!(bench.reports(), [Report::Surplus(contact)]);
    assert!(bench.client.is_idle());
}

#[test]
fn where_contacts_do_not_lie_their_word_is_enough() {
    let mut bench = Bench::new(Config::default(), 2);
    bench.proof = ProofKind::Channel;
    bench.step([Event::Start]);
    bench.connect_all();
    let said = |about, outcome| {
        FromContact::Reply(Reply { about, outcome, proof: ReplyProof::Channel { slot: Slot(3) } })
    };
    let about = bench.requests().last().map(|(_, request)| opening(request)).unwrap();
    bench.say(bench.asked(), vec![said(about, Outcome::Opened(SESSION))]);
    assert_eq!(bench.reports(), [Report::Opened(SESSION)]);
    bench.step([call(1)]);
    bench.say(bench.asked(), vec![said(at(1), answer("a"))]);
    assert_eq!(bench.done(), [(1, certified("a", 3, 1))]);
}

#[test]
fn calls_before_the_session_is_open_wait_for_it() {
    let mut bench = Bench::new(Config::default(), 1);
    bench.step([call(1), call(2)]);
    assert_eq!(bench.effects[0], Effect::Connect(A));
    bench.connect_all();
    let about = opening(&bench.requests()[0].1);
    bench.certify(A, 3, &[(about, Outcome::Opened(SESSION))]);
    assert_eq!(numbers(&bench.requests()[0].1), [1, 2]);
}

/// What a contact may do to an honest frame.
type Tamper = fn(&mut Reply);

fn parts(reply: &mut Reply) -> (&mut Slot, &mut merkle::Path, &mut ServiceSignature) {
    let ReplyProof::Certified { slot, path, signature } = &mut reply.proof else { panic!("made so above") };
    (slot, path, signature)
}

#[test]
fn whatever_a_contact_alters_is_a_lie_and_the_request_goes_to_another() {
    let tampers: [(Tamper, Lie); 7] = [
        (|reply| reply.outcome = answer("forged"), Lie::Signature),
        (|reply| reply.about = at(2), Lie::Signature),
        (|reply| reply.about = at(9), Lie::NeverAsked),
        (|reply| parts(reply).1.siblings.clear(), Lie::Path),
        (|reply| parts(reply).2.0[3] ^= 1, Lie::Signature),
        (|reply| *parts(reply).0 = Slot(6), Lie::Signature),
        (|reply| reply.proof = ReplyProof::Channel { slot: Slot(5) }, Lie::Unproven),
    ];
    for (tamper, lie) in tampers {
        let mut bench = Bench::open(Config::default(), 4);
        bench.step([call(1), call(2)]);
        let liar = bench.asked();
        let mut frames = block(bench.client.client(), 5, &[(at(1), answer("a")), (at(2), answer("b"))]);
        let FromContact::Reply(reply) = &mut frames[0] else { unreachable!() };
        tamper(reply);
        bench.say(liar, vec![frames[0].clone()]);
        assert_eq!(bench.reports(), [Report::Lie { contact: liar, lie }]);
        assert!(bench.effects.contains(&Effect::Disconnect(liar)));
        bench.connect_all();
        let requests = bench.requests();
        assert_eq!(numbers(&requests[0].1), [1, 2]);
        assert_ne!(requests[0].0, liar);
        bench.certify(liar, 5, &[(at(1), answer("late"))]);
        assert_eq!(bench.done(), [], "a liar is not listened to any more");
        bench.certify(requests[0].0, 5, &[(at(1), answer("a"))]);
        assert_eq!(bench.done(), [(1, certified("a", 5, 1))]);
    }
}

#[test]
fn a_session_for_an_answer_is_a_lie_even_if_signed() {
    let mut bench = Bench::open(Config::default(), 2);
    bench.step([call(1)]);
    let contact = bench.asked();
    bench.certify(contact, 5, &[(at(1), Outcome::Opened(SessionId(9)))]);
    assert_eq!(bench.reports(), [Report::Lie { contact, lie: Lie::Kind }]);
}

#[test]
fn a_silent_contact_is_followed_by_another_and_may_still_answer() {
    let mut bench = Bench::open(Config::default(), 3);
    bench.step([call(1)]);
    let slow = bench.asked();
    bench.pass(600);
    let requests = bench.requests();
    assert_eq!(requests.len(), 1);
    assert_ne!(requests[0].0, slow);
    bench.certify(slow, 5, &[(at(1), answer("a"))]);
    assert_eq!(bench.done(), [(1, certified("a", 5, 1))]);
    bench.step([call(2)]);
    assert_eq!(bench.requests()[0].0, requests[0].0, "the slow one lost the preference");
}

#[test]
fn repetitions_become_rarer_and_reach_every_contact() {
    let mut bench = Bench::open(Config::default(), 3);
    bench.step([call(1)]);
    bench.pass(29_000);
    let contacts: BTreeSet<ContactId> = bench.requests().iter().map(|(contact, _)| *contact).collect();
    assert_eq!(contacts.len(), 3);
    assert!((5..=10).contains(&bench.requests().len()), "{} repetitions", bench.requests().len());
    let first = bench.requests()[0].1.clone();
    assert!(bench.requests().iter().all(|(_, request)| *request == first), "the same request, signed once");
}

#[test]
fn a_slow_service_is_asked_less_often() {
    let mut bench = Bench::open(Config::default(), 3);
    for number in 1..=20 {
        bench.step([call(number)]);
        bench.clock += 350;
        let contact = bench.asked();
        bench.certify(contact, number, &[(at(number), answer(""))]);
    }
    bench.step([call(21)]);
    bench.pass(800);
    assert_eq!(bench.requests(), []);
}

#[test]
fn a_dead_contact_is_followed_by_the_next_at_once_and_all_dead_ones_by_a_pause() {
    let mut bench = Bench::new(Config::default(), 2);
    bench.step([call(1)]);
    let mut tried = Vec::new();
    for _ in 0..2 {
        let Some(Effect::Connect(contact)) = bench.effects.iter().find(|e| matches!(e, Effect::Connect(_)))
        else {
            panic!("no connection wanted: {:?}", bench.effects);
        };
        tried.push(*contact);
        let why = "refused".to_string();
        bench.step([Event::Disconnected { contact: *tried.last().unwrap(), why }]);
    }
    assert_ne!(tried[0], tried[1]);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Connect(_))), "a pause");
    bench.pass(300);
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_request_on_a_channel_that_breaks_goes_elsewhere_at_once() {
    let mut bench = Bench::open(Config::default(), 2);
    bench.step([call(1)]);
    let contact = bench.asked();
    bench.step([Event::Disconnected { contact, why: "reset".into() }]);
    bench.connect_all();
    assert_eq!(bench.requests().len(), 1);
    assert_ne!(bench.requests()[0].0, contact);
}

#[test]
fn a_channel_that_was_silent_for_long_is_made_anew() {
    let config = Config { silence_ms: 1000, ..Config::default() };
    let mut bench = Bench::open(config, 1);
    bench.step([call(1)]);
    bench.pass(5000);
    assert!(bench.effects.contains(&Effect::Disconnect(A)));
    assert!(bench.requests().len() > 2);
}

#[test]
fn a_hint_makes_another_contact_come_sooner_and_settles_nothing() {
    let mut bench = Bench::open(Config::default(), 3);
    bench.step([call(1)]);
    let busy = bench.asked();
    bench.say(busy, vec![FromContact::Hint { about: Some(at(1)), hint: Hint::Busy }]);
    assert_eq!(bench.done(), []);
    assert_eq!(bench.reports(), [Report::Hint { contact: busy, hint: Hint::Busy }]);
    bench.pass(40);
    assert_eq!(bench.requests().len(), 1);
    assert_ne!(bench.requests()[0].0, busy);
    bench.certify(busy, 5, &[(at(1), answer("a"))]);
    assert_eq!(bench.done(), [(1, certified("a", 5, 1))]);
}

#[test]
fn hints_alone_end_in_unknown_with_the_hint_as_the_reason() {
    let mut bench = Bench::open(Config { deadline_ms: 500, ..Config::default() }, 1);
    bench.step([call(1)]);
    for _ in 0..10 {
        bench.say(A, vec![FromContact::Hint { about: None, hint: Hint::TooLarge { bytes_max: 9 } }]);
        bench.pass(30);
        assert_eq!(bench.done(), []);
    }
    bench.pass(500);
    let done = bench.done();
    let [(1, Err(Failure::Unknown(unknown)))] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!(unknown.last, Some(Trouble::Hint(Hint::TooLarge { bytes_max: 9 })));
}

#[test]
fn after_the_deadline_a_command_may_be_asked_again_under_its_number() {
    let mut bench = Bench::open(Config::default(), 2);
    bench.step([call(1), call(2)]);
    bench.pass(31_000);
    let done = bench.done();
    let [(1, Err(Failure::Unknown(unknown))), (2, Err(_))] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!((unknown.session, unknown.number), (SESSION, RequestNumber(1)));
    assert!(bench.client.is_idle() && bench.client.exchanges.is_empty());
    bench.step([Event::Again { ticket: Ticket(7), unknown: (**unknown).clone() }]);
    assert_eq!(numbers(&bench.requests()[0].1), [1]);
    let contact = bench.asked();
    bench.step([Event::Again { ticket: Ticket(8), unknown: (**unknown).clone() }]);
    assert!(matches!(bench.done()[..], [(8, Err(Failure::Unknown(_)))]), "once at a time");
    bench.certify(contact, 4, &[(at(1), answer("a"))]);
    assert_eq!(bench.done(), [(7, certified("a", 4, 1))]);
}

/// A command whose outcome an earlier run of this client did not learn.
fn unknown(session: SessionId, number: u64) -> Unknown {
    Unknown { session, number: RequestNumber(number), command: vec![1], last: None }
}

#[test]
fn a_number_that_an_earlier_run_of_this_client_gave_out_is_given_to_no_other_command() {
    let mut bench = Bench::open(Config::default(), 1);
    bench.step([Event::Again { ticket: Ticket(7), unknown: unknown(SESSION, 5) }]);
    bench.step([Event::Again { ticket: Ticket(8), unknown: unknown(SessionId(78), 20) }]);
    bench.step([call(1)]);
    assert_eq!(numbers(&bench.requests()[0].1), [6], "numbers of another session do not count");
}

#[test]
fn what_is_no_command_of_a_session_cannot_be_asked_again() {
    let config = Config::default();
    let too_large = vec![0; exchange::command_bytes_max(&config) + 1];
    let mut bench = Bench::open(config, 1);
    let of_nobody = [unknown(SessionId(0), 5), unknown(SESSION, 0)];
    for bad in of_nobody.into_iter().chain([Unknown { command: too_large, ..unknown(SESSION, 5) }]) {
        bench.step([Event::Again { ticket: Ticket(7), unknown: bad.clone() }]);
        assert_eq!(bench.done(), [(7, Err(Failure::Unknown(Box::new(bad))))]);
        assert_eq!(bench.requests(), []);
    }
}

#[test]
fn only_so_many_are_asked_again_at_once() {
    let mut bench = Bench::open(Config { window: 2, calls_waiting_max: 3, ..Config::default() }, 1);
    let again = |number| Event::Again { ticket: Ticket(number), unknown: unknown(SESSION, number) };
    bench.step((1..=6).map(again));
    assert_eq!(bench.done(), [], "a window, those that wait, and an opening");
    bench.step([again(7)]);
    assert_eq!(bench.done(), [(7, Err(Failure::Unknown(Box::new(unknown(SESSION, 7)))))]);
}

#[test]
fn what_never_left_is_unreachable_and_never_leaves_later() {
    let mut bench = Bench::open(Config { deadline_ms: 100, ..Config::default() }, 1);
    bench.step([Event::Disconnected { contact: A, why: "refused".into() }]);
    bench.step([call(1)]);
    bench.clock += 100;
    bench.step([Event::Timer]);
    let last = Some(Trouble::Channel("refused".into()));
    assert_eq!(bench.done(), [(1, Err(Failure::Unreachable { last }))]);
    bench.step([call(2)]);
    bench.armed.get_or_insert(0);
    bench.pass(250);
    for (_, request) in bench.requests() {
        assert_eq!(numbers(&request), [2]);
    }
}

#[test]
fn a_gone_session_is_followed_by_a_new_one() {
    let mut bench = Bench::open(Config::default(), 2);
    let gone = Outcome::Refused(Refusal::SessionGone);
    bench.step([call(1), call(2)]);
    let contact = bench.asked();
    bench.certify(contact, 5, &[(at(1), gone.clone()), (at(2), answer("in time"))]);
    let refused = Err(Failure::Refused(Refusal::SessionGone));
    assert_eq!(bench.done(), [(1, refused), (2, certified("in time", 5, 2))]);
    assert_eq!(bench.requests(), [], "a new session only when a call needs one");
    bench.step([call(3)]);
    let about = opening(&bench.requests()[0].1);
    bench.certify(contact, 6, &[(about, Outcome::Opened(SessionId(78)))]);
    assert_eq!(numbers(&bench.requests()[0].1), [1]);
    bench.certify(contact, 7, &[(at(1), gone)]);
    assert_eq!(bench.done(), [], "of the old session, under the same number");
}

#[test]
fn a_session_ends_with_no_other_refusal_and_with_no_other_session() {
    let mut bench = Bench::open(Config::default(), 1);
    bench.step([call(1)]);
    bench.certify(A, 2, &[(at(1), Outcome::Refused(Refusal::TooLarge))]);
    bench.step([Event::Again { ticket: Ticket(7), unknown: unknown(SessionId(76), 3) }]);
    let of_another = About { session: SessionId(76), number: RequestNumber(3) };
    bench.certify(A, 3, &[(of_another, Outcome::Refused(Refusal::SessionGone))]);
    assert_eq!(bench.done(), [(7, Err(Failure::Refused(Refusal::SessionGone)))]);
    bench.step([call(2)]);
    assert_eq!(numbers(&bench.requests()[0].1), [2]);
}

#[test]
fn a_refusal_to_open_a_session_fails_all_that_waits() {
    let mut bench = Bench::new(Config::default(), 1);
    bench.step([call(1), call(2)]);
    bench.connect_all();
    let about = opening(&bench.requests()[0].1);
    bench.certify(A, 3, &[(about, Outcome::Fault("no".into()))]);
    assert_eq!(bench.done(), [1, 2].map(|ticket| (ticket, Err(Failure::Fault("no".into())))));
}

#[test]
fn numbers_stay_within_the_window_of_the_oldest_that_is_asked() {
    let mut bench = Bench::open(Config { window: 3, ..Config::default() }, 1);
    bench.step((1..=6).map(call));
    assert_eq!(numbers(&bench.requests()[0].1), [1, 2, 3]);
    bench.certify(A, 5, &[(at(2), answer("")), (at(3), answer(""))]);
    assert_eq!(bench.requests(), [], "1 would fall below the service's floor");
    bench.certify(A, 6, &[(at(1), answer(""))]);
    assert_eq!(numbers(&bench.requests()[0].1), [4, 5, 6]);
}

#[test]
fn requests_keep_their_limits_and_the_queue_its_own() {
    let config = Config {
        request_bytes_max: 1024,
        calls_waiting_max: 4,
        waiting_bytes_max: 1024,
        ..Config::default()
    };
    let bytes_max = exchange::command_bytes_max(&config);
    let mut bench = Bench::open(config, 1);
    let sized = |ticket, bytes| Event::Call { ticket: Ticket(ticket), command: vec![0; bytes] };
    let small = (2..=5).map(|ticket| sized(ticket, 0));
    bench.step([sized(1, bytes_max)].into_iter().chain(small).chain([sized(6, bytes_max + 1)]));
    let requests = bench.requests();
    assert_eq!(
        requests.iter().map(|(_, request)| numbers(request)).collect::<Vec<_>>(),
        [vec![1], vec![2, 3, 4]]
    );
    assert!(requests.iter().all(|(_, request)| smr_wire::encode(request).len() <= 1024));
    assert_eq!(
        bench.done(),
        [
            (5, Err(Failure::Overloaded { waiting: 4, bytes: bytes_max as u64 })),
            (6, Err(Failure::TooLarge { bytes: bytes_max as u64 + 1, bytes_max: bytes_max as u64 })),
        ]
    );
    bench.step([sized(7, bytes_max)]);
    assert_eq!(numbers(&bench.requests()[0].1), [5], "what has a number waits no more");
}

#[test]
fn a_call_that_is_given_up_leaves_as_much_room_as_it_took() {
    let config =
        Config { request_bytes_max: 1024, waiting_bytes_max: 1024, deadline_ms: 100, ..Config::default() };
    let mut bench = Bench::new(config, 0);
    let sized = |ticket, bytes| Event::Call { ticket: Ticket(ticket), command: vec![0; bytes] };
    bench.step([sized(1, 600)]);
    bench.clock += 50;
    bench.step([sized(2, 300)]);
    bench.clock += 50;
    bench.step([Event::Timer]);
    assert_eq!(bench.done().len(), 1);
    bench.step([sized(3, 700), sized(4, 100)]);
    assert_eq!(bench.done(), [(4, Err(Failure::Overloaded { waiting: 2, bytes: 1000 }))]);
}

#[test]
fn requests_of_contacts_that_go_are_taken_to_those_that_come() {
    let mut bench = Bench::open(Config::default(), 1);
    bench.step([call(1)]);
    bench.step([Event::Contacts(vec![ContactId(8)])]);
    assert!(bench.effects.contains(&Effect::Disconnect(A)));
    bench.connect_all();
    assert_eq!(bench.requests()[0].0, ContactId(8));
}

#[test]
fn no_contact_at_all_is_waited_for() {
    let mut bench = Bench::new(Config::default(), 0);
    bench.step([call(1)]);
    bench.step([Event::Contacts(vec![A])]);
    assert!(bench.effects.contains(&Effect::Connect(A)));
}

/// A service behind contacts that lose, delay, repeat and falsify, as the seed wants.
struct Unreliable {
    chance: Chance,
    slot: u64,
}

impl Unreliable {
    fn reply(&mut self, client: ClientId, request: &Request) -> Vec<FromContact> {
        assert_eq!(request.check(service(), &Verifier::new(1)), Ok(()));
        self.slot += 1;
        let outcomes: Vec<(About, Outcome)> = match &request.call {
            Call::Open { nonce, .. } => vec![(About::opening(*nonce), Outcome::Opened(SESSION))],
            Call::Commands { session, commands, .. } => commands
                .iter()
                .map(|command| {
                    let about = About { session: *session, number: command.number };
                    (about, Outcome::Answer(command.bytes.clone()))
                })
                .collect(),
        };
        let mut frames = block(client, self.slot, &outcomes);
        match self.chance.below(6) {
            0 => frames.clear(),
            1 => frames.extend(frames.clone()),
            2 => {
                if let Some(FromContact::Reply(reply)) = frames.first_mut() {
                    reply.outcome = answer("false");
                }
            }
            3 => frames = vec![FromContact::Hint { about: None, hint: Hint::NotReady }],
            _ => frames.reverse(),
        }
        frames
    }
}

#[test]
fn whatever_contacts_do_a_call_ends_once_and_with_its_own_answer() {
    for seed in 0..150u8 {
        let config = Config { window: 4, avoid_ms: 300, ..Config::default() };
        let mut bench = Bench::new(config, 3);
        let mut world = Unreliable { chance: Chance::new(&[seed; 32]), slot: 0 };
        let (mut done, mut called) = (BTreeMap::new(), 0u64);
        for _ in 0..4000 {
            if called < 20 && world.chance.below(3) == 0 {
                called += 1;
                bench.step([call(called)]);
            } else if bench.armed.is_some() {
                bench.tick();
            }
            let mut effects = std::mem::take(&mut bench.effects);
            while !effects.is_empty() {
                let effect = effects.remove(0);
                let events: Vec<Event> = match effect {
                    Effect::Connect(contact) if world.chance.below(4) == 0 => {
                        vec![Event::Disconnected { contact, why: "refused".into() }]
                    }
                    Effect::Connect(contact) => vec![Event::Connected(contact, ProofKind::Certified)],
                    Effect::Send { contact, frame: ToContact::Request(request) } => {
                        bench.clock += world.chance.below(50);
                        let frames = world.reply(bench.client.client(), &request);
                        frames.into_iter().map(|frame| Event::Frame { contact, frame }).collect()
                    }
                    Effect::Done { ticket, result } => {
                        assert!(done.insert(ticket.0, result).is_none(), "{ticket:?} is done twice");
                        continue;
                    }
                    _ => continue,
                };
                bench.step(events);
                effects.append(&mut bench.effects);
            }
            if done.len() == 20 {
                break;
            }
        }
        assert_eq!(done.len(), 20, "seed {seed}: some calls never end");
        for (ticket, result) in done {
            match result {
                Ok(certified) => assert_eq!(u64::from(certified.outcome[0]), ticket),
                Err(failure) => assert!(matches!(failure, Failure::Unknown(_)), "{failure}"),
            }
        }
        assert!(bench.client.is_idle() && bench.client.asked.is_empty() && bench.client.exchanges.is_empty());
    }
}

#[test]
fn where_most_contacts_are_strangers_calls_fail_at_once_until_one_is_not() {
    let mut bench = Bench::new(Config::default(), 2);
    bench.step([Event::Start, call(1)]);
    let strange = |contact| Event::Estranged { contact: ContactId(contact), why: "not signed".into() };
    let connect = |bench: &Bench| {
        bench.effects.iter().find_map(|effect| match effect {
            Effect::Connect(contact) => Some(contact.0),
            _ => None,
        })
    };
    let first = connect(&bench).unwrap();
    bench.step([strange(first)]);
    assert_eq!(bench.done(), [], "another contact may be of the service");
    let second = connect(&bench).unwrap();
    assert_ne!(first, second);
    bench.step([strange(second)]);
    let failure = || Err(Failure::Strangers { last: Some(Trouble::Channel("not signed".into())) });
    assert_eq!(bench.done(), [(1, failure())]);
    bench.step([call(2)]);
    assert_eq!(bench.done(), [(2, failure())]);
    // The session is still being opened; a contact that proves to be the service's serves.
    bench.tick();
    bench.connect_all();
    bench.step([call(3)]);
    assert_eq!(bench.done(), []);
}

#[test]
fn one_contact_that_is_down_does_not_hide_that_the_others_are_strangers() {
    let mut bench = Bench::new(Config::default(), 4);
    bench.step([Event::Start, call(1)]);
    let mut strangers = 0;
    while bench.done().is_empty() {
        let tried = bench.effects.iter().rev().find_map(|effect| match effect {
            Effect::Connect(contact) => Some(*contact),
            _ => None,
        });
        let contact = tried.expect("the next contact is tried");
        if contact == ContactId(0) {
            bench.step([Event::Disconnected { contact, why: "refused".into() }]);
        } else {
            bench.step([Event::Estranged { contact, why: "not signed".into() }]);
            strangers += 1;
        }
    }
    assert_eq!(strangers, 3);
}
