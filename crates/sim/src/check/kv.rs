//! What the key-value application would do, as a model: one key by itself, or a whole store with its scans.

use std::collections::{BTreeMap, BTreeSet};

use super::linear::{Model, NotLinear, Operation, check, check_parts};
use crate::clients::NEVER;
use crate::history::{Ask, Op, Record};

/// The text that stands for no value.
const NONE: &str = "(none)";

/// Whether what clients saw of single keys is linearizable. Commands that never left their client count as never
/// asked.
///
/// # Errors
/// The shortest beginning that no order explains, or that the search gave up; places are those in `history`,
/// without the commands that never left.
pub fn check_kv(history: &[Record]) -> Result<(), NotLinear> {
    check_keys(&operations(history))
}

/// As [`check_kv`].
///
/// # Errors
/// As [`check_kv`].
pub fn check_keys(history: &[KeyOperation]) -> Result<(), NotLinear> {
    check_parts(&Register, &nameless(history), |(key, _)| key.clone())
}

/// An operation on one key.
pub type KeyOperation = Operation<(String, Op), String>;

/// Whether a short history of a whole store is linearizable, scans and sizes included.
///
/// # Errors
/// As [`check_kv`].
pub fn check_store(history: &[Operation<StoreOp, String>]) -> Result<(), NotLinear> {
    check(&Store, history)
}

/// How the certified fault of a command ends whose reply was dropped.
const EXECUTED: &str = "the command has had its effect";

fn operations(history: &[Record]) -> Vec<KeyOperation> {
    let left = history.iter().filter(|record| record.answer.as_ref().is_none_or(|(_, text)| text != NEVER));
    let operation = |record: &Record| {
        let Ask::Kv(key, op) = &record.ask else { return None };
        Some(Operation {
            client: record.client,
            op: (key.clone(), op.clone()),
            asked: record.asked_us,
            // A reply that was dropped for its size says that the command was executed, and not what it saw.
            answer: record.answer.clone().filter(|(_, text)| !text.ends_with(EXECUTED)),
        })
    };
    left.filter_map(operation).collect()
}

/// What stands for a value of unknown fate that nobody saw or expected.
const UNSEEN: &str = "(a value that nobody saw)";

/// The same history, in which unknown operations leave one and the same value where nobody could tell the
/// difference. What is equal need not be tried one after the other.
fn nameless(history: &[KeyOperation]) -> Vec<KeyOperation> {
    let mut seen: BTreeSet<(&str, String)> = BTreeSet::new();
    for Operation { op: (key, op), answer, .. } in history {
        if let Op::Cas(Some(expected), _) = op {
            seen.insert((key, word(expected)));
        }
        if let Some((_, text)) = answer {
            let text = if *op == Op::Get { word(text) } else { text.clone() };
            seen.insert((key, text.strip_prefix("differs ").map_or(text.clone(), str::to_string)));
        }
    }
    let is_seen = |key: &str, value: &str| seen.contains(&(key, word(value)));
    let nameless = |operation: &KeyOperation| {
        let mut operation = operation.clone();
        let (key, op) = &mut operation.op;
        if let Op::Put(value) | Op::Cas(_, value) = op
            && operation.answer.is_none()
            && !is_seen(key, value)
            && !is_seen(key, UNSEEN)
        {
            *value = UNSEEN.to_string();
        }
        operation
    };
    history.iter().map(nameless).collect()
}

/// One key: its value, if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Register;

impl Model for Register {
    type State = Option<String>;
    type Op = (String, Op);
    type Answer = String;

    fn first(&self) -> Option<String> {
        None
    }

    fn step(
        &self,
        state: &Option<String>,
        (_, op): &(String, Op),
        answer: Option<&String>,
    ) -> Option<Option<String>> {
        let (after, given) = apply(state.as_deref(), op);
        answer.is_none_or(|answer| *answer == given).then_some(after)
    }

    fn only_reads(&self, (_, op): &(String, Op), answer: &String) -> bool {
        only_reads(op, answer)
    }

    fn may_need(&self, (_, then): &(String, Op), answer: Option<&String>, (_, first): &(String, Op)) -> bool {
        let left = match first {
            Op::Get => return false,
            Op::Put(value) | Op::Cas(_, value) => Some(value.as_str()),
            Op::Delete => None,
        };
        match (then, answer) {
            (Op::Put(_), _) => false,
            // Unknown itself: it is placed only where it changes something, and a delete leaves nothing either way.
            (Op::Get | Op::Delete, None) => false,
            (Op::Cas(expected, _), None) => expected.as_deref() == left,
            (Op::Get, Some(answer)) => answer == left.unwrap_or(NONE),
            (Op::Delete, Some(answer)) => (answer == "ok") == left.is_some(),
            (Op::Cas(expected, _), Some(answer)) if answer == "ok" => expected.as_deref() == left,
            (Op::Cas(..), Some(answer)) => *answer == differs(left),
        }
    }
}

/// One operation of a whole store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreOp {
    /// On one key.
    On(String, Op),
    /// Up to so many keys and values from this key on.
    Scan(String, usize),
    /// How many keys there are.
    Size,
}

/// A whole store: all keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Store;

impl Model for Store {
    type State = BTreeMap<String, String>;
    type Op = StoreOp;
    type Answer = String;

    fn first(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn step(
        &self,
        state: &BTreeMap<String, String>,
        op: &StoreOp,
        answer: Option<&String>,
    ) -> Option<BTreeMap<String, String>> {
        let mut after = state.clone();
        let given = match op {
            StoreOp::On(key, op) => {
                let (value, given) = apply(state.get(key).map(String::as_str), op);
                match value {
                    Some(value) => after.insert(key.clone(), value),
                    None => after.remove(key),
                };
                given
            }
            StoreOp::Scan(start, count) => {
                let found = state.range(start.clone()..).take(*count);
                found.map(|(key, value)| format!("{} {}\n", word(key), word(value))).collect()
            }
            StoreOp::Size => state.len().to_string(),
        };
        answer.is_none_or(|answer| *answer == given).then_some(after)
    }

    fn only_reads(&self, op: &StoreOp, answer: &String) -> bool {
        match op {
            StoreOp::On(_, op) => only_reads(op, answer),
            StoreOp::Scan(..) | StoreOp::Size => true,
        }
    }

    fn may_need(&self, _then: &StoreOp, _answer: Option<&String>, _first: &StoreOp) -> bool {
        true
    }
}

/// The value after `op`, and what is answered.
fn apply(value: Option<&str>, op: &Op) -> (Option<String>, String) {
    let same = || value.map(str::to_string);
    let ok = || "ok".to_string();
    match op {
        Op::Get => (same(), value.unwrap_or(NONE).to_string()),
        Op::Put(new) => (Some(new.clone()), ok()),
        Op::Delete if value.is_none() => (None, NONE.to_string()),
        Op::Delete => (None, ok()),
        Op::Cas(expected, new) if expected.as_deref() == value => (Some(new.clone()), ok()),
        Op::Cas(..) => (same(), differs(value)),
    }
}

/// The answer to a `cas` that found another value.
fn differs(value: Option<&str>) -> String {
    format!("differs {}", value.map_or(NONE.to_string(), word))
}

fn only_reads(op: &Op, answer: &str) -> bool {
    match op {
        Op::Get => true,
        Op::Put(_) => false,
        Op::Delete | Op::Cas(..) => answer != "ok",
    }
}

/// `text` as the application writes a word.
fn word(text: &str) -> String {
    let mut bytes = Vec::new();
    smr_app::text::write_word(&mut bytes, text.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
