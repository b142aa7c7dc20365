//! Histories that no store may show, each with the operation that gives it away, and what Jepsen once saw of etcd.

use super::*;

/// What happened to one key. The last operation is the culprit.
type Story = (&'static str, Vec<KeyOp>);

fn told(client: usize, op: Op, asked: u64, answered: u64, answer: &str) -> KeyOp {
    operation(client, op, asked, Some((answered, answer)))
}

fn lost(client: usize, op: Op, asked: u64) -> KeyOp {
    operation(client, op, asked, None)
}

fn create(new: &str) -> Op {
    Op::Cas(None, new.into())
}

fn stories() -> Vec<Story> {
    vec![
        (
            "a read of what was never written",
            vec![told(0, put("a"), 0, 10, "ok"), told(1, Op::Get, 5, 15, "b")],
        ),
        (
            "a read of what is written only later",
            vec![told(0, put("b"), 20, 30, "ok"), told(1, Op::Get, 0, 10, "b")],
        ),
        (
            "a stale read by another client",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(0, put("b"), 20, 30, "ok"),
                told(1, Op::Get, 31, 40, "a"),
            ],
        ),
        (
            "a client that does not read its own write",
            vec![told(0, put("a"), 0, 10, "ok"), told(0, Op::Get, 11, 20, "(none)")],
        ),
        (
            "two reads that go back, beside a write",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(0, put("b"), 20, 99, "ok"),
                told(1, Op::Get, 30, 40, "b"),
                told(1, Op::Get, 41, 50, "a"),
            ],
        ),
        (
            "two readers who see two writes in different orders",
            vec![
                told(0, put("a"), 0, 100, "ok"),
                told(1, put("b"), 0, 100, "ok"),
                told(2, Op::Get, 10, 20, "a"),
                told(2, Op::Get, 30, 40, "b"),
                told(3, Op::Get, 41, 50, "a"),
            ],
        ),
        (
            "a lost update",
            vec![
                told(0, put("0"), 0, 10, "ok"),
                told(0, cas("0", "1"), 20, 40, "ok"),
                told(1, Op::Get, 50, 60, "0"),
            ],
        ),
        (
            "one cas that succeeds for two clients",
            vec![
                told(0, put("0"), 0, 10, "ok"),
                told(0, cas("0", "1"), 20, 40, "ok"),
                told(1, cas("0", "1"), 21, 41, "ok"),
            ],
        ),
        (
            "a key that two clients create",
            vec![told(0, create("a"), 0, 20, "ok"), told(1, create("b"), 1, 21, "ok")],
        ),
        (
            "a cas that fails on the value it expects",
            vec![told(0, put("a"), 0, 10, "ok"), told(0, cas("a", "b"), 20, 30, "differs a")],
        ),
        (
            "a cas that fails on a value of the past",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(0, put("b"), 20, 30, "ok"),
                told(1, cas("b", "c"), 40, 50, "differs a"),
            ],
        ),
        (
            "a counter that counted one cas twice",
            vec![
                told(0, create("1"), 0, 10, "ok"),
                told(0, cas("1", "2"), 20, 30, "ok"),
                told(1, Op::Get, 40, 50, "3"),
            ],
        ),
        (
            "a put that is executed again after it was overwritten",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(1, put("b"), 20, 30, "ok"),
                told(1, Op::Get, 40, 50, "b"),
                told(1, Op::Get, 60, 70, "a"),
            ],
        ),
        (
            "a put of unknown outcome that is executed twice",
            vec![
                lost(0, put("a"), 0),
                told(1, Op::Get, 10, 20, "a"),
                told(1, put("b"), 30, 40, "ok"),
                told(1, Op::Get, 50, 60, "b"),
                told(1, Op::Get, 70, 80, "a"),
            ],
        ),
        (
            "a put of unknown outcome that is seen before it was asked",
            vec![lost(0, put("a"), 30), told(1, Op::Get, 10, 20, "a")],
        ),
        (
            "a put of unknown outcome that is seen, gone, and seen again",
            vec![lost(0, put("a"), 0), told(1, Op::Get, 10, 20, "a"), told(1, Op::Get, 30, 40, "(none)")],
        ),
        (
            "one delete that succeeds twice",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(0, Op::Delete, 20, 40, "ok"),
                told(1, Op::Delete, 21, 41, "ok"),
            ],
        ),
        (
            "a deleted value that comes back",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(0, Op::Delete, 20, 30, "ok"),
                told(1, Op::Get, 40, 50, "a"),
            ],
        ),
        (
            "a delete that finds nothing where something is",
            vec![told(0, put("a"), 0, 10, "ok"), told(1, Op::Delete, 20, 30, "(none)")],
        ),
        (
            "more deletes that succeed than unknown puts that nobody saw",
            vec![
                lost(0, put("a"), 0),
                lost(1, put("b"), 0),
                told(2, Op::Delete, 10, 20, "ok"),
                told(2, Op::Delete, 30, 40, "ok"),
                told(2, Op::Delete, 50, 60, "ok"),
            ],
        ),
        (
            "halves that each go on alone",
            vec![
                told(0, put("a"), 0, 10, "ok"),
                told(0, put("left"), 20, 30, "ok"),
                told(1, put("right"), 20, 30, "ok"),
                told(0, Op::Get, 40, 50, "left"),
                told(1, Op::Get, 40, 51, "right"),
            ],
        ),
    ]
}

#[test]
fn every_known_bad_history_is_rejected_and_the_culprit_named() {
    for (what, story) in stories() {
        let culprit = story.len() - 1;
        assert_eq!(stuck_at(&story), culprit, "{what}");
        assert!(matches!(check_keys(&story), Err(NotLinear::Stuck(_))), "{what}: without names");
        let (last, before) = story.split_last().unwrap();
        assert_eq!(check_keys(before), Ok(()), "{what}: what went before is sound");
        let open = Operation { answer: None, ..last.clone() };
        assert_eq!(
            check_keys(&[before, &[open]].concat()),
            Ok(()),
            "{what}: unknown, the last one shows nothing"
        );
    }
}

#[test]
fn a_bad_story_is_found_amid_honest_work_and_in_any_order_of_records() {
    for (at, (what, story)) in stories().into_iter().enumerate() {
        let mut rng = Rng::new(at as u64);
        let mut whole = drawn(&mut rng, 8, 2000, 3, 20, |_, n| format!("v{n}"));
        // The story has its own key, "k".
        whole.extend(story);
        for place in (1..whole.len()).rev() {
            let other = usize::try_from(rng.within(0, place as u64)).unwrap();
            whole.swap(place, other);
        }
        assert!(matches!(check_keys(&whole), Err(NotLinear::Stuck(_))), "{what}");
    }
}

/// A register as Jepsen asks it: a failed cas does not say what it found.
struct Jepsen;

#[derive(Clone, PartialEq, Debug)]
enum Ask {
    Read,
    Write(u8),
    Cas(u8, u8),
}

impl Model for Jepsen {
    type State = Option<u8>;
    type Op = Ask;
    /// What was read; whether a cas succeeded.
    type Answer = (Option<u8>, bool);

    fn first(&self) -> Option<u8> {
        None
    }

    fn step(&self, state: &Option<u8>, op: &Ask, answer: Option<&Self::Answer>) -> Option<Option<u8>> {
        let (after, given) = match op {
            Ask::Read => (*state, (*state, true)),
            Ask::Write(value) => (Some(*value), (None, true)),
            Ask::Cas(expected, new) if *state == Some(*expected) => (Some(*new), (None, true)),
            Ask::Cas(..) => (*state, (None, false)),
        };
        answer.is_none_or(|answer| *answer == given).then_some(after)
    }

    fn only_reads(&self, op: &Ask, answer: &Self::Answer) -> bool {
        *op == Ask::Read || !answer.1
    }

    fn may_need(&self, _: &Ask, _: Option<&Self::Answer>, _: &Ask) -> bool {
        true
    }
}

/// One of the histories of etcd 0.4 that Jepsen recorded and that are published with the checkers Knossos and
/// Porcupine (there `etcd_000`), which call it not linearizable. A word is a client and what it asks (`r`, `w2`, `c12`
/// for a cas from 1 to 2), or how that ended (`=` with what was read, `+`, `-` for a cas that failed, `?`).
const ETCD: &str = "\
0r 3r 2w4 1w2 4w3 3= 0= 4+ 1+ 2+ 3w3 0r 0=3 3+ 4r 4=3 1r 1=3 2c30 2+ 0w2 3r 0+ 3=0 4r 4=2 1c03 2c00 1- 2- 0c21 3r 3=2 \
0+ 4r 4=1 1r 1=1 2r 2=1 3w0 0c13 3+ 4w2 0- 4+ 1r 1=2 2c11 2- 3c00 0r 0=2 4w1 3- 1c21 2w2 2+ 0c14 3w3 4? 0- 3+ 1? 2w2 \
9w3 0r 0=3 2+ 3c34 3- 6c11 9? 0w1 0+ 2c00 2- 3c22 6? 3- 14w4 0c43 0- 2w0 11r 11=2 2+ 3w2 3+ 14? 0w1 11c21 2c03 3r 3=2 \
19r 19=2 0? 11? 2? 3r 3=2 19c13 19+ 5w0 16c43 7c12 5+ 7- 16- 3c42 3- 19c01 19+ 5c40 7c14 16r 16=1 3c13 3- 5+ 7+ 19c20 \
19- 16r 16=0 3r 3=0 5r 7c42 5=0 7- 19c23 19- 16c41 3w4 5w4 7c02 19r 19=0 16? 3? 5? 7? 19w3 19+ 21c20 21- 8w4 10w2 10+ \
12c44 19w4 21r 21=4 19+ 8? 10c01 12? 10- 21c33 21- 19r 19=4 13c22 17c44 13? 17? 10r 10=1";

fn etcd() -> Vec<OperationOf<Jepsen>> {
    let digit = |text: &str, at: usize| text.as_bytes().get(at).map(|byte| byte - b'0');
    let (mut history, mut open): (Vec<OperationOf<Jepsen>>, BTreeMap<usize, usize>) = Default::default();
    for (now, word) in (0..).zip(ETCD.split_whitespace()) {
        let (client, rest) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap());
        let client = client.parse().unwrap();
        let (verb, values) = rest.split_at(1);
        let op = match verb {
            "r" => Ask::Read,
            "w" => Ask::Write(digit(values, 0).unwrap()),
            "c" => Ask::Cas(digit(values, 0).unwrap(), digit(values, 1).unwrap()),
            _ => {
                let place = open.remove(&client).unwrap();
                history[place].answer = match verb {
                    "=" => Some((now, (digit(values, 0), true))),
                    "+" | "-" => Some((now, (None, verb == "+"))),
                    _ => None,
                };
                continue;
            }
        };
        open.insert(client, history.len());
        history.push(Operation { client, op, asked: now, answer: None });
    }
    assert!(open.is_empty(), "every operation ends, if only in doubt");
    history
}

#[test]
fn what_jepsen_saw_of_etcd_is_rejected() {
    let history = etcd();
    let verdict = check(&Jepsen, &history);
    let Err(NotLinear::Stuck(stuck)) = verdict else { panic!("{verdict:?}") };
    let sound: Vec<_> = history
        .iter()
        .filter(|operation| {
            let end = history[stuck.operation].answer.as_ref().unwrap().0;
            operation.answer.as_ref().is_none_or(|(at, _)| *at < end)
        })
        .cloned()
        .collect();
    assert_eq!(check(&Jepsen, &sound), Ok(()), "up to there it can be explained");
}
