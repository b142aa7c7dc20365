//! Reply proofs, as a client sees them who has nothing of ours: verified here with the service key alone, and in
//! `examples/verify_reply.py` with an independent BLS library.
//!
//! ```text
//!   key generation -> block of replies -> f+1 shares -> combined -> replies -> Rust: statement, ServiceKey::verify
//!                                                                        \---> Python: JSON in, a line each out
//! ```
//!
//! The tests in Python are skipped where there is no `python3` with `blspy` 2.0.3, and say so; with
//! `SMRCLOUD_REQUIRE_PYTHON=1` in the environment they fail instead.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use smr_crypto::dkg::{self, Assurance, Ceremony, Dealing, DecryptionKey, Progress, Setup};
use smr_crypto::merkle::Path;
use smr_crypto::threshold::{GroupKey, KeyShare, ServiceKey, ServiceSignature};
use smr_crypto::{Digest, IdentityKey};
use smr_replica::replies::{Block, BlockProof, Blocks, Member, MemberState};
use smr_wire::client::About;
use smr_wire::{ClientId, Outcome, Refusal, Reply, ReplyProof, RequestNumber, ServiceId, SessionId, Slot};
use smr_wire::{decode, encode};

const SLOT: Slot = Slot(0x0102_0304_0506);

/// The verifier in the other language.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/verify_reply.py");

/// One service and one signed block of it, for all tests: key generation is the slow part.
static SERVICE: LazyLock<Service> = LazyLock::new(Service::generate);

#[test]
fn every_reply_of_a_block_verifies_under_the_one_service_key() {
    assert_eq!(SERVICE.replies.len(), 7, "an odd count, so that nodes without a neighbour occur");
    for (client, reply) in &SERVICE.replies {
        assert!(SERVICE.believes(client, reply), "{reply:?}");
    }
}

#[test]
fn a_reply_is_not_believed_for_another_client_service_or_key() {
    let (client, reply) = &SERVICE.replies[0];
    let (other_client, _) = &SERVICE.replies[1];
    assert!(!SERVICE.believes(other_client, reply));
    let other_service = ServiceId(Digest::of("TEST", &[b"another service"]));
    let (statement, signature) = reply.statement(&other_service, client).unwrap();
    assert!(!SERVICE.group.service_key.verify(&statement, &signature));
    let (statement, signature) = reply.statement(&SERVICE.id, client).unwrap();
    for share_key in &SERVICE.group.share_keys {
        assert!(!ServiceKey(share_key.0).verify(&statement, &signature));
    }
}

#[test]
fn no_bit_of_a_reply_changes_and_leaves_it_proof_of_the_same() {
    for (client, reply) in &SERVICE.replies {
        let proven = reply.statement(&SERVICE.id, client);
        for altered in one_bit_altered(reply, 0..8) {
            // Either another statement, which this signature is not over, or another signature than the only good one.
            assert_ne!(altered.statement(&SERVICE.id, client), proven, "{altered:?}");
        }
    }
}

#[test]
fn a_reply_with_any_byte_altered_is_not_believed() {
    // One bit of each byte, in the reply with the longest path: each costs a pairing.
    let (client, reply) = &SERVICE.replies[0];
    let mut refused = 0;
    for altered in one_bit_altered(reply, 0..1) {
        assert!(!SERVICE.believes(client, &altered), "{altered:?}");
        refused += 1;
    }
    assert!(refused > 200, "only {refused} alterations could be read as a reply");
}

#[test]
fn another_language_verifies_every_reply() {
    let Some(program) = Program::find() else { return };
    let documents: Vec<Document> = SERVICE.documents();
    let Answers { lines, success } = program.run(&documents);
    assert_eq!(lines, vec!["verified"; documents.len()]);
    assert!(success);
}

#[test]
fn another_language_refuses_every_alteration() {
    let Some(program) = Program::find() else { return };
    let mut alterations = Vec::new();
    // The first reply has a sibling on every level, the last one moves up without.
    for document in [&SERVICE.documents()[0], &SERVICE.documents()[6]] {
        alterations.extend(alterations_of(document));
    }
    let (names, documents): (Vec<String>, Vec<Document>) = alterations.into_iter().unzip();
    let Answers { lines, success } = program.run(&documents);
    assert_eq!(lines.len(), documents.len());
    for (name, line) in names.iter().zip(&lines) {
        assert!(line.starts_with("refused: "), "with {name} altered: {line}");
    }
    assert!(!success);
}

#[test]
fn another_language_answers_each_reply_for_itself() {
    let Some(program) = Program::find() else { return };
    let good = SERVICE.documents().remove(3);
    let bad = good.altered(|d| d.slot = d.slot.next());
    let Answers { lines, success } = program.run(&[&good, &bad, &good]);
    let refused = "refused: the signature is not the service's over this reply";
    assert_eq!(lines, ["verified", refused, "verified"]);
    assert!(!success, "one of three is refused");
    // A document by itself, as a person would try it.
    let alone = program.run(&good);
    assert_eq!((alone.lines, alone.success), (vec!["verified".to_owned()], true));
}

#[test]
fn another_language_explains_why_it_refuses_what_is_no_reply() {
    let Some(program) = Program::find() else { return };
    let good = serde_json::to_value(&SERVICE.documents()[0]).unwrap();
    let with = |field: &str, value: Value| {
        let mut document = good.clone();
        document[field] = value;
        document
    };
    let mut infinite = with("service_key", json!(format!("c0{}", "00".repeat(47))));
    infinite["signature"] = json!(format!("c0{}", "00".repeat(95)));
    let cases = [
        (json!(7), "a reply is a JSON object"),
        (json!({}), "service is not 32 bytes in hexadecimal digits"),
        (with("service", json!("é")), "service is not 32 bytes in hexadecimal digits"),
        (with("client", json!("ab")), "client is not 32 bytes in hexadecimal digits"),
        (with("outcome", json!("00 00")), "outcome is not bytes in hexadecimal digits"),
        (with("slot", json!(-1)), "slot is not an integer of 64 bits"),
        (with("number", json!(1.0)), "number is not an integer of 64 bits"),
        (with("session", json!(true)), "session is not an integer of 64 bits"),
        (with("count", json!(1u64 << 32)), "count is not an integer of 32 bits"),
        (with("count", json!(0)), "index 0 of 0 replies"),
        (with("count", json!(u32::MAX)), "3 siblings are too few"),
        (with("siblings", json!("00")), "siblings is not a list"),
        (with("siblings", json!([[]])), "a sibling is not 32 bytes in hexadecimal digits"),
        (with("signature", Value::Null), "signature is not 96 bytes in hexadecimal digits"),
        (infinite, "service_key is the point at infinity"),
    ];
    let (documents, whys): (Vec<Value>, Vec<String>) =
        cases.into_iter().map(|(document, why)| (document, format!("refused: {why}"))).unzip();
    assert_eq!(program.run(&documents).lines, whys);
    for garbage in ["", "{", "[\"", "\u{0}", &"[".repeat(100_000)] {
        let Answers { lines, success } = program.run_text(garbage);
        assert_eq!((lines, success), (vec!["refused: a reply is a JSON object".to_owned()], false));
    }
    assert!(!program.run(&json!([])).success, "nothing was verified");
}

/// A service of four replicas that tolerates one, and the replies of one slot with their clients.
struct Service {
    id: ServiceId,
    group: GroupKey,
    replies: Vec<(ClientId, Reply)>,
}

impl Service {
    /// Generates a key as a service does in its first epoch, and has replicas 1 and 3 sign a block.
    fn generate() -> Service {
        let (group, shares) = generate_key();
        let id = ServiceId(Digest::of("TEST", &[b"service"]));
        let mut blocks = Blocks::new(16, 1 << 20);
        blocks.add(SLOT, Block::close(members()));
        let statement = blocks.get(SLOT).expect("just added").statement(&id, SLOT);
        let signed: Vec<_> = shares.iter().map(|share| (share.index(), share.sign(&statement))).collect();
        let combined = group.combine_verified(&statement, &[signed[1], signed[3]]).expect("good shares");
        blocks.prove(SLOT, BlockProof::Signed(combined.signature));
        let block = blocks.get(SLOT).expect("just added");
        let reply =
            |(index, member): (usize, &Member)| (member.client, block.reply(SLOT, index).expect("signed"));
        let replies = block.members().iter().enumerate().map(reply).collect();
        Service { id, group, replies }
    }

    /// Whether `client` may act on `reply`: what every client does.
    fn believes(&self, client: &ClientId, reply: &Reply) -> bool {
        let claim = reply.statement(&self.id, client);
        claim.is_some_and(|(statement, signature)| self.group.service_key.verify(&statement, &signature))
    }

    fn documents(&self) -> Vec<Document> {
        self.replies.iter().map(|(client, reply)| Document::new(self, *client, reply)).collect()
    }
}

/// The key and all four shares of a ceremony in which three deal and all confirm.
fn generate_key() -> (GroupKey, Vec<KeyShare>) {
    let keys = [0u8, 1, 2, 3].map(|index| DecryptionKey::from_seed(&[index + 1; 32]));
    let setup = Setup {
        context: Digest::of("TEST", &[b"first epoch"]),
        threshold: 2,
        encryption_keys: keys.iter().map(DecryptionKey::public).collect(),
        dealings: 3,
        assurance: Assurance::Confirmed(3),
    };
    let mut ceremony = Ceremony::new(setup.clone());
    for (dealer, seed) in (0..3).zip(11u8..) {
        let dealing = Dealing::make(&setup, dealer, &[seed; 32]);
        ceremony.apply(dealer, dkg::Command::Deal(dealing)).expect("a good dealing");
    }
    for (me, key) in (0..).zip(&keys) {
        let confirm = ceremony.confirmation(me, key);
        ceremony.apply(me, dkg::Command::Confirm(confirm)).expect("a good confirmation");
    }
    let closed = ceremony.apply(0, dkg::Command::Close).expect("all confirmed");
    let Progress::Closed(outcome) = closed else { panic!("not closed: {}", ceremony.progress()) };
    let share = |(me, key): (u16, &DecryptionKey)| ceremony.key_share(me, key).expect("all dealt honestly");
    (outcome.group, (0..).zip(&keys).map(share).collect())
}

/// Seven members of three clients, with outcomes of every kind.
fn members() -> Vec<Member> {
    let outcomes = [
        Outcome::Answer(b"the quick brown fox".to_vec()),
        Outcome::Answer(Vec::new()),
        Outcome::Opened(SessionId::opened(SLOT, 2)),
        Outcome::Refused(Refusal::SessionGone),
        Outcome::Refused(Refusal::TooLarge),
        Outcome::Fault("division by zero, très vite".to_owned()),
        Outcome::Answer((0..=255).cycle().take(600).collect()),
    ];
    let member = |(number, outcome)| {
        let seed = u8::try_from(number % 3).expect("less than 3") + 1;
        let about = match outcome {
            Outcome::Opened(_) => About::opening(u64::MAX),
            _ => About { session: SessionId(0x0807_0605_0000), number: RequestNumber(number) },
        };
        let client = ClientId(IdentityKey::from_seed(&[seed; 32]).public());
        Member { client, about, state: MemberState::Ended(outcome) }
    };
    (1u64..).zip(outcomes).map(member).collect()
}

/// What can still be read as a reply after one bit of its encoding was altered, for these bits of every byte.
fn one_bit_altered(reply: &Reply, bits: std::ops::Range<u8>) -> impl Iterator<Item = Reply> {
    let bytes = encode(reply);
    let places = (0..bytes.len()).flat_map(move |at| bits.clone().map(move |bit| (at, bit)));
    places.filter_map(move |(at, bit)| {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << bit;
        decode(&altered, altered.len()).ok()
    })
}

/// What the program reads: a reply, and what its client knows by itself.
#[derive(Clone, Serialize)]
struct Document {
    service: ServiceId,
    service_key: ServiceKey,
    client: ClientId,
    session: SessionId,
    number: RequestNumber,
    #[serde(serialize_with = "hexadecimal")]
    outcome: Vec<u8>,
    slot: Slot,
    #[serde(flatten)]
    path: Path,
    signature: ServiceSignature,
}

impl Document {
    fn new(service: &Service, client: ClientId, reply: &Reply) -> Document {
        let ReplyProof::Certified { slot, path, signature } = reply.proof.clone() else {
            panic!("the service signs")
        };
        Document {
            service: service.id,
            service_key: service.group.service_key,
            client,
            session: reply.about.session,
            number: reply.about.number,
            outcome: encode(&reply.outcome),
            slot,
            path,
            signature,
        }
    }

    fn altered(&self, alter: impl FnOnce(&mut Document)) -> Document {
        let mut document = self.clone();
        alter(&mut document);
        document
    }
}

fn hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&digits)
}

/// Every kind of alteration, with its name: each field, each byte of each sibling, and samples of the longer fields.
fn alterations_of(good: &Document) -> Vec<(String, Document)> {
    let mut all = Vec::new();
    let mut add = |name: String, document| all.push((name, document));
    let outcome_step = good.outcome.len().div_ceil(40);
    for at in (0..good.outcome.len()).step_by(outcome_step) {
        add(format!("outcome byte {at}"), good.altered(|d| d.outcome[at] ^= 1));
    }
    add("outcome cut".to_owned(), good.altered(|d| d.outcome.truncate(good.outcome.len() - 1)));
    add("outcome longer".to_owned(), good.altered(|d| d.outcome.push(0)));
    for (height, at) in (0..good.path.siblings.len()).flat_map(|height| (0..32).map(move |at| (height, at))) {
        let document = good.altered(|d| d.path.siblings[height].0[at] ^= 1);
        add(format!("byte {at} of sibling {height}"), document);
    }
    add(
        "siblings fewer".to_owned(),
        good.altered(|d| d.path.siblings.truncate(good.path.siblings.len() - 1)),
    );
    add("siblings more".to_owned(), good.altered(|d| d.path.siblings.push(Digest::default())));
    add("siblings reversed".to_owned(), good.altered(|d| d.path.siblings.reverse()));
    for at in (0..96).step_by(7) {
        add(format!("signature byte {at}"), good.altered(|d| d.signature.0[at] ^= 1));
    }
    for at in (0..48).step_by(7) {
        add(format!("key byte {at}"), good.altered(|d| d.service_key.0[at] ^= 1));
    }
    let share_key = SERVICE.group.share_keys[0].0;
    add("key, to that of a share".to_owned(), good.altered(|d| d.service_key = ServiceKey(share_key)));
    for at in (0..32).step_by(7) {
        add(format!("client byte {at}"), good.altered(|d| d.client.0.0[at] ^= 1));
        add(format!("service byte {at}"), good.altered(|d| d.service.0.0[at] ^= 1));
    }
    for index in (0..=good.path.count).chain([u32::MAX]).filter(|index| *index != good.path.index) {
        add(format!("index, to {index}"), good.altered(|d| d.path.index = index));
    }
    for count in (0..=2 * good.path.count).chain([u32::MAX]).filter(|count| *count != good.path.count) {
        add(format!("count, to {count}"), good.altered(|d| d.path.count = count));
    }
    for bit in (0..64).step_by(9) {
        add(format!("slot bit {bit}"), good.altered(|d| d.slot.0 ^= 1 << bit));
        add(format!("session bit {bit}"), good.altered(|d| d.session.0 ^= 1 << bit));
        add(format!("number bit {bit}"), good.altered(|d| d.number.0 ^= 1 << bit));
    }
    let swapped = good.altered(|d| std::mem::swap(&mut d.session.0, &mut d.number.0));
    add("session and number exchanged".to_owned(), swapped);
    all
}

/// The program, known to run on this machine.
struct Program;

/// What the program said.
struct Answers {
    lines: Vec<String>,
    success: bool,
}

impl Program {
    /// None, after saying so, if this machine cannot run it.
    ///
    /// # Panics
    /// If it cannot and `SMRCLOUD_REQUIRE_PYTHON=1`.
    #[expect(clippy::disallowed_methods, reason = "whether to skip is the choice of whoever runs the tests")]
    fn find() -> Option<Program> {
        let probe = Command::new("python3").args(["-c", "import blspy"]).output();
        let why = match probe {
            Ok(output) if output.status.success() => return Some(Program),
            Ok(_) => "python3 has no blspy; install it with: python3 -m pip install blspy==2.0.3".to_owned(),
            Err(error) => format!("python3 does not run: {error}"),
        };
        let required = std::env::var("SMRCLOUD_REQUIRE_PYTHON").is_ok_and(|value| value == "1");
        assert!(!required, "SMRCLOUD_REQUIRE_PYTHON=1, but {why}");
        // Not `eprintln!`, which is shown for failing tests only.
        writeln!(std::io::stderr(), "skipped: {why}").expect("stderr is open");
        None
    }

    fn run<T: Serialize + ?Sized>(&self, documents: &T) -> Answers {
        self.run_text(&serde_json::to_string(documents).expect("a document is JSON"))
    }

    /// # Panics
    /// If the program fails in any other way than by refusing.
    fn run_text(&self, input: &str) -> Answers {
        let mut child = Command::new("python3")
            .arg(PROGRAM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 ran a moment ago");
        // It reads all before it answers, so neither side waits for the other with a full pipe.
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("the program reads its input");
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.is_empty(), "the program fails: {complaint}");
        assert!(matches!(output.status.code(), Some(0 | 1)), "the program ends with {}", output.status);
        let text = String::from_utf8(output.stdout).expect("the program answers in UTF-8");
        Answers { lines: text.lines().map(str::to_owned).collect(), success: output.status.success() }
    }
}
