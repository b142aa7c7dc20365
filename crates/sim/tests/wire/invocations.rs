//! What a contact says, given to a client: it must not panic, and must not take for certified what the service did not
//! sign.

use std::sync::Arc;

use smr_client::{Config, ContactId, Effect, Event, Invocation, ProofCheck, Ticket};
use smr_crypto::threshold::ServiceSignature;
use smr_crypto::{Digest, IdentityKey, merkle};
use smr_mutate::{Dice, Encoding, runs};
use smr_wire::client::{About, ProofKind};
use smr_wire::{
    Call, ClientId, FromContact, Outcome, Reply, ReplyProof, Request, ServiceId, SessionId, Slot, Timestamp,
    ToContact,
};

use crate::alone;
use crate::corpus::Corpus;

/// Frames given to clients in a usual run.
const EXECUTIONS: u64 = 20_000;

/// Frames that one client gets before another takes its place.
const STREAK: usize = 60;

/// Effects that follow from one frame at most: a few for each call.
const EFFECTS_MAX: usize = 5 * STREAK;

/// The service: only this file makes its signatures.
struct Service;

impl Service {
    fn sign(statement: &Digest) -> ServiceSignature {
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(&Digest::of("SERVICE", &[&statement.0]).0);
        ServiceSignature(bytes)
    }

    fn reply(client: ClientId, about: About, outcome: Outcome) -> FromContact {
        let tree = merkle::Tree::new(vec![Reply::leaf(&client, &about, &outcome)]);
        let (slot, service) = (Slot(about.number.0), service());
        let signature = Service::sign(&Reply::block_statement(&service, slot, &tree.root(), 1));
        FromContact::Reply(Reply {
            about,
            outcome,
            proof: ReplyProof::Certified { slot, path: tree.path(0), signature },
        })
    }
}

impl ProofCheck for Service {
    fn verify(&self, statement: &Digest, signature: &ServiceSignature) -> bool {
        Service::sign(statement) == *signature
    }
}

fn service() -> ServiceId {
    ServiceId(Digest::of("TEST", &[b"service"]))
}

struct Client {
    invocation: Invocation,
    clock: Timestamp,
    /// Replies that the service gave to what was asked.
    replies: Vec<FromContact>,
    tickets: u64,
    answered: u64,
}

impl Client {
    fn new(seed: u64) -> Client {
        let key = IdentityKey::from_seed(&[1; 32]);
        let mut chance = [0; 32];
        chance[..8].copy_from_slice(&seed.to_le_bytes());
        let invocation = Invocation::new(Config::default(), service(), key, Arc::new(Service), &chance);
        let invocation = invocation.expect("the default settings are valid");
        let mut client =
            Client { invocation, clock: Timestamp(1), replies: Vec::new(), tickets: 0, answered: 0 };
        client.step(Event::Contacts((0..3).map(ContactId).collect()));
        client.step(Event::Start);
        client
    }

    fn call(&mut self) {
        self.tickets += 1;
        let (ticket, command) = (Ticket(self.tickets), self.tickets.to_le_bytes().to_vec());
        self.step(Event::Call { ticket, command });
    }

    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            self.invocation.step(self.clock, [event], &mut effects);
            assert!(effects.len() <= EFFECTS_MAX, "{} effects follow", effects.len());
            for effect in effects {
                match effect {
                    Effect::Connect(contact) => events.push(Event::Connected(contact, ProofKind::Certified)),
                    Effect::Send { frame: ToContact::Request(request), .. } => self.serve(&request),
                    Effect::Done { ticket, result } => self.done(ticket, result.ok().map(|one| one.outcome)),
                    _ => {}
                }
            }
        }
    }

    /// The service answers a command with the number of its ticket, which its bytes are.
    fn serve(&mut self, request: &Request) {
        let reply = |about, outcome| Service::reply(request.client, about, outcome);
        match &request.call {
            Call::Open { nonce, .. } => {
                self.replies.push(reply(About::opening(*nonce), Outcome::Opened(SessionId(7))));
            }
            Call::Commands { session, commands, .. } => self.replies.extend(commands.iter().map(|command| {
                let about = About { session: *session, number: command.number };
                reply(about, Outcome::Answer(command.bytes.clone()))
            })),
        }
        assert!(self.replies.len() < 10_000, "it asks without end");
    }

    fn done(&mut self, ticket: Ticket, answer: Option<Vec<u8>>) {
        if let Some(answer) = answer {
            assert!(answer == ticket.0.to_le_bytes(), "{ticket:?} got {answer:02x?}");
            self.answered += 1;
        }
    }
}

#[test]
fn no_frame_makes_a_client_panic_or_believe_what_the_service_did_not_sign() {
    let _alone = alone();
    let corpus = &Corpus::recorded().from_contact;
    let mut dice = Dice::new(runs::seed());
    let mut counted = runs::Counted::new("frames of contacts");
    let (mut read, mut answered) = (0u64, 0u64);
    while counted.executions() < runs::executions(EXECUTIONS) {
        let mut client = Client::new(dice.draw());
        for _ in 0..STREAK {
            client.call();
            let own = dice.pick(&client.replies).map(Encoding::of);
            let encoding = own.as_ref().filter(|_| dice.draw() % 10 < 8);
            let encoding = encoding.or_else(|| dice.pick(corpus)).expect("some").clone();
            let reads = |bytes: &[u8]| smr_wire::decode::<FromContact>(bytes, bytes.len()).is_ok();
            // One in eight reaches the client as it was, so that something goes on.
            let bytes = match dice.below(8) {
                0 => encoding.bytes().to_vec(),
                _ => encoding.wild(corpus, &mut dice, reads),
            };
            counted.one();
            if let Ok(frame) = smr_wire::decode::<FromContact>(&bytes, bytes.len()) {
                read += 1;
                let contact = ContactId(u32::try_from(dice.below(4)).expect("few"));
                client.step(Event::Frame { contact, frame });
            }
            client.clock = client.clock.plus_ms(dice.draw() % 200);
            client.step(Event::Timer);
        }
        answered += client.answered;
    }
    let executions = counted.executions();
    println!("clients: {executions} frames, {read} read, {answered} calls answered");
    assert!(read > executions / 4 && answered > executions / 200, "{read} read, {answered} answered");
}
