use super::*;
use crate::check::kv::{Register, Store, StoreOp};
use crate::history::{Ask, Op, Record};
use crate::rng::Rng;

type KeyOp = Operation<(String, Op), String>;

fn operation(client: usize, op: Op, asked: u64, answer: Option<(u64, &str)>) -> KeyOp {
    let answer = answer.map(|(at, text)| (at, text.to_string()));
    Operation { client, op: ("k".into(), op), asked, answer }
}

fn put(value: &str) -> Op {
    Op::Put(value.into())
}

fn cas(expected: &str, new: &str) -> Op {
    Op::Cas(Some(expected.into()), new.into())
}

/// The place of the operation whose answer fits nowhere.
fn stuck_at(history: &[KeyOp]) -> usize {
    match check(&Register, history) {
        Err(NotLinear::Stuck(stuck)) => stuck.operation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stale_read_is_found() {
    let history = [
        operation(0, put("a"), 0, Some((10, "ok"))),
        operation(0, put("b"), 20, Some((30, "ok"))),
        operation(1, Op::Get, 40, Some((50, "a"))),
    ];
    assert_eq!(stuck_at(&history), 2);
}

#[test]
fn a_lost_update_is_found() {
    let history = [
        operation(0, put("a"), 0, Some((10, "ok"))),
        operation(0, cas("a", "b"), 20, Some((40, "ok"))),
        operation(1, cas("a", "c"), 25, Some((45, "ok"))),
    ];
    assert_eq!(stuck_at(&history), 2);
}

#[test]
fn a_dirty_read_of_a_failed_cas_is_found() {
    let history = [
        operation(0, put("a"), 0, Some((10, "ok"))),
        operation(0, cas("x", "b"), 20, Some((40, "differs a"))),
        operation(1, Op::Get, 25, Some((35, "b"))),
    ];
    assert_eq!(stuck_at(&history), 2);
}

#[test]
fn a_double_execution_is_found() {
    let history = [
        operation(0, put("a"), 0, Some((10, "ok"))),
        operation(0, put("b"), 20, Some((30, "ok"))),
        operation(1, Op::Delete, 40, Some((50, "ok"))),
        operation(1, Op::Get, 60, Some((70, "a"))),
    ];
    assert_eq!(stuck_at(&history), 3, "the first put came once more");
}

#[test]
fn a_write_that_is_lost_after_it_was_seen_is_found_even_if_its_outcome_is_unknown() {
    let seen = operation(1, Op::Get, 20, Some((30, "a")));
    let lost = operation(1, Op::Get, 40, Some((50, "(none)")));
    assert_eq!(stuck_at(&[operation(0, put("a"), 0, None), seen.clone(), lost.clone()]), 2);
    assert_eq!(
        check(
            &Register,
            &[operation(0, put("a"), 0, None), lost, operation(1, Op::Get, 60, Some((70, "a")))]
        ),
        Ok(())
    );
    assert_eq!(stuck_at(&[operation(0, put("a"), 35, None), seen]), 1, "seen before it was asked");
}

#[test]
fn reads_of_two_clients_that_go_back_are_found() {
    let history = [
        operation(0, put("a"), 0, Some((10, "ok"))),
        operation(0, put("b"), 20, Some((90, "ok"))),
        operation(1, Op::Get, 30, Some((40, "b"))),
        operation(2, Op::Get, 50, Some((60, "a"))),
    ];
    assert_eq!(stuck_at(&history), 3);
}

#[test]
fn an_order_against_time_is_found() {
    let history =
        [operation(0, put("a"), 0, Some((10, "ok"))), operation(1, Op::Get, 11, Some((20, "(none)")))];
    assert_eq!(stuck_at(&history), 1);
    let at_once = [history[0].clone(), operation(1, Op::Get, 10, Some((20, "(none)")))];
    assert_eq!(check(&Register, &at_once), Ok(()), "asked in the moment of the answer");
}

#[test]
fn an_answer_that_the_application_never_gives_is_found() {
    assert_eq!(stuck_at(&[operation(0, Op::Get, 0, Some((1, "fault: panicked")))]), 0);
}

#[test]
fn a_counterexample_can_be_read() {
    let history = [
        operation(0, put("a"), 0, Some((10, "ok"))),
        operation(2, put("c"), 5, None),
        operation(1, Op::Get, 20, Some((30, "b"))),
        operation(1, Op::Get, 40, Some((50, "z"))),
    ];
    let text = check(&Register, &history).unwrap_err().to_string();
    assert!(text.contains("no order explains this answer: #2 client 1, 20 to 30"), "{text}");
    assert!(text.contains("#0 client 0, 0 to 10") && text.contains("#1 client 2, 5 to unknown"), "{text}");
    assert!(text.contains("Some(\"a\")"), "{text}");
}

#[test]
fn scans_and_sizes_are_judged_against_the_whole_store() {
    let on = |key: &str, op| StoreOp::On(key.into(), op);
    let seen = |op, asked, answer: &str| Operation {
        client: 0,
        op,
        asked,
        answer: Some((asked + 15, answer.to_string())),
    };
    let mut history = vec![
        seen(on("a", put("1")), 0, "ok"),
        seen(on("b", put("2")), 10, "ok"),
        seen(StoreOp::Size, 12, "1"),
        seen(StoreOp::Scan("a".into(), 9), 30, "a 1\nb 2\n"),
    ];
    assert_eq!(check(&Store, &history), Ok(()));
    history.push(seen(StoreOp::Size, 50, "1"));
    assert!(matches!(check(&Store, &history), Err(NotLinear::Stuck(Stuck { operation: 4, .. }))));
}

/// Runs clients against one honest machine with delays on both ways, as the seed wants. Some never learn their
/// outcome, and of those some are executed late or never.
fn honest(rng: &mut Rng, clients: u64, operations: u64, keys: u64, unknown_per_mille: u64) -> Vec<KeyOp> {
    drawn(rng, clients, operations, keys, unknown_per_mille, |rng, _| format!("v{}", rng.within(0, 3)))
}

/// As [`honest`], with values of one's own choice.
fn drawn(
    rng: &mut Rng,
    clients: u64,
    operations: u64,
    keys: u64,
    unknown_per_mille: u64,
    value: impl Fn(&mut Rng, u64) -> String,
) -> Vec<KeyOp> {
    let mut history: Vec<KeyOp> = Vec::new();
    let mut effects: Vec<(u64, usize)> = Vec::new();
    let mut free = vec![0u64; usize::try_from(clients).unwrap()];
    for n in 0..operations {
        let client = usize::try_from(n % clients).unwrap();
        let asked = free[client] + rng.within(0, 20);
        let lasts = rng.within(0, 40);
        let key = format!("k{}", rng.within(1, keys));
        let op = match rng.within(0, 9) {
            0..=3 => Op::Get,
            4 => Op::Delete,
            5 | 6 => {
                let guess = n.saturating_sub(rng.within(1, 10));
                Op::Cas(Some(value(rng, guess)), value(rng, n))
            }
            7 => Op::Cas(None, value(rng, n)),
            _ => Op::Put(value(rng, n)),
        };
        let is_unknown = rng.chance(unknown_per_mille);
        let late = if is_unknown && rng.chance(500) { rng.within(0, 500) } else { 0 };
        if !is_unknown || rng.chance(600) {
            effects.push((asked + rng.within(0, lasts) + late, history.len()));
        }
        let answer = (!is_unknown).then(|| (asked + lasts, String::new()));
        free[client] = asked + lasts;
        history.push(Operation { client, op: (key, op), asked, answer });
    }
    effects.sort_unstable();
    let mut state: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (_, place) in effects {
        let (key, _) = history[place].op.clone();
        let before = state.get(&key).cloned().flatten();
        // What the machine answers is what the model lets pass.
        let candidates = ["ok".to_string(), "(none)".into(), before.clone().unwrap_or_default()]
            .into_iter()
            .chain([format!("differs {}", before.clone().unwrap_or("(none)".into()))]);
        let fits = |text: &String| Register.step(&before, &history[place].op, Some(text)).is_some();
        let given = candidates.into_iter().find(fits).unwrap();
        let after = Register.step(&before, &history[place].op, None).unwrap();
        state.insert(key, after);
        if let Some((_, text)) = &mut history[place].answer {
            *text = given;
        }
    }
    history
}

#[test]
fn what_one_honest_machine_answers_is_accepted() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let clients = rng.within(1, 12);
        let history = honest(&mut rng, clients, 200, 2, 50);
        let verdict = check_parts(&Register, &history, |(key, _)| key.clone());
        assert_eq!(verdict, Ok(()), "seed {seed}");
    }
}

#[test]
fn long_histories_are_judged_in_a_moment_whichever_way() {
    let mut rng = Rng::new(7);
    let mut history = drawn(&mut rng, 16, 20_000, 20, 5, |_, n| format!("v{n}"));
    assert_eq!(check_parts(&Register, &history, |(key, _)| key.clone()), Ok(()));
    let is_read = |operation: &KeyOp| operation.op.1 == Op::Get && operation.answer.is_some();
    let place = 10_000 + history[10_000..].iter().position(is_read).unwrap();
    history[place].answer.as_mut().unwrap().1 = "never written".into();
    let verdict = check_parts(&Register, &history, |(key, _)| key.clone());
    let Err(NotLinear::Stuck(stuck)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(stuck.operation, place);
    assert!(stuck.shown.starts_with(&format!("#{place} ")), "{}", stuck.shown);
}

/// Whether some order, found by trying them all, has room for every operation that `must` be in it. Others may be in
/// it too, those with an answer only where it fits.
fn is_explicable(history: &[KeyOp], must: &dyn Fn(usize) -> bool) -> bool {
    explain(history, must, &None, &mut vec![false; history.len()])
}

fn explain(
    history: &[KeyOp],
    must: &dyn Fn(usize) -> bool,
    state: &Option<String>,
    placed: &mut Vec<bool>,
) -> bool {
    if (0..history.len()).all(|place| placed[place] || !must(place)) {
        return true;
    }
    let waiting = (0..history.len()).filter(|place| !placed[*place]);
    let barrier = waiting.filter_map(|place| history[place].answer.as_ref().map(|(at, _)| *at)).min();
    for place in 0..history.len() {
        let operation = &history[place];
        if placed[place] || barrier.is_some_and(|at| operation.asked > at) {
            continue;
        }
        let answer = operation.answer.as_ref().map(|(_, answer)| answer);
        let Some(after) = Register.step(state, &operation.op, answer) else { continue };
        placed[place] = true;
        let is_found = explain(history, must, &after, placed);
        placed[place] = false;
        if is_found {
            return true;
        }
    }
    false
}

#[test]
fn the_verdict_is_that_of_trying_every_order() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..6000 {
        let mut rng = Rng::new(seed ^ 0xabcd);
        let (clients, operations) = (rng.within(1, 4), rng.within(1, 7));
        let mut history = honest(&mut rng, clients, operations, 1, 200);
        // Most histories are spoiled a little; many of those stay explicable.
        for _ in 0..rng.within(0, 2) {
            let place = usize::try_from(rng.within(0, operations - 1)).unwrap();
            if let Some((_, text)) = &mut history[place].answer {
                let answers = ["ok", "(none)", "v0", "v1", "v2", "differs v1", "differs (none)"];
                *text = (*rng.pick(&answers)).to_string();
            }
        }
        let expected = is_explicable(&history, &|place| history[place].answer.is_some());
        let verdict = check(&Register, &history);
        assert_eq!(verdict.is_ok(), expected, "seed {seed}: {history:#?} {verdict:?}");
        *if expected { &mut good } else { &mut bad } += 1;
        if let Err(NotLinear::Stuck(stuck)) = verdict {
            assert_shortest(&history, &stuck, seed);
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

/// Up to the answer that is named nothing explains the history; without that answer, something does.
fn assert_shortest(history: &[KeyOp], stuck: &Stuck, seed: u64) {
    let returned = |place: usize| history[place].answer.as_ref().map(|(at, _)| (*at, place));
    let end = returned(stuck.operation);
    let before = |place: usize| returned(place).is_some() && returned(place) < end;
    assert!(is_explicable(history, &before), "seed {seed}: {stuck}");
    assert!(
        !is_explicable(history, &|place| before(place) || place == stuck.operation),
        "seed {seed}: {stuck}"
    );
}

#[test]
fn commands_that_never_left_count_as_never_asked() {
    let record = |op, asked_us, answer: &str| Record {
        client: 0,
        ask: Ask::Kv("k".into(), op),
        asked_us,
        answer: Some((asked_us + 1, answer.to_string())),
    };
    let history = [record(put("a"), 0, crate::clients::NEVER), record(Op::Get, 9, "(none)")];
    assert_eq!(check_kv(&history), Ok(()));
    let history = [record(put("a"), 0, "ok"), record(Op::Get, 9, "(none)")];
    assert!(check_kv(&history).is_err());
}

mod known_bad;
mod large;
