//! An ordered key-value store that people can talk to.
//!
//! ```text
//!   get KEY                the value, or (none)
//!   put KEY VALUE...       ok; the value is the rest of the line, as it is, possibly nothing
//!   delete KEY             ok, or (none)
//!   cas KEY EXPECTED NEW   ok if the value was EXPECTED, otherwise: differs VALUE; (none) expects no value;
//!                          NEW is the rest of the line
//!   scan START COUNT       up to COUNT lines KEY VALUE, in order of keys, from START on; "" is the first
//!   size                   how many keys there are
//!   help                   these lines
//! ```
//!
//! KEY, EXPECTED and START are words, in quotes where they hold spaces (see [`crate::text`]); `differs` and `scan`
//! write words the same way. Anything else is answered `error: ` and what would be right.

use std::collections::BTreeMap;
use std::ops::Bound;

use smr_uds::Mutex;

use crate::application::{Application, Context, RestoreError};
use crate::text::{BadWord, Word, Words, write_word};

/// The store. One lock around all of it.
#[derive(Debug)]
pub struct Kv {
    limits: Limits,
    store: Mutex<Store>,
}

impl Kv {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Kv {
        Kv { limits, store: Mutex::default() }
    }
}

/// Bounds of a store; equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a key at most.
    pub key_bytes_max: usize,
    /// Bytes of a value at most. Below the host's `reply_bytes_max`, so that it can be read back.
    pub value_bytes_max: usize,
    /// Bytes of all keys and values at most; memory is about three times as much where they are short.
    pub store_bytes_max: usize,
    /// Lines that one `scan` gives at most.
    pub scan_lines_max: usize,
    /// Bytes after which a `scan` gives no further line.
    pub scan_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: 1 << 10,
            value_bytes_max: 256 << 10,
            store_bytes_max: 1 << 30,
            scan_lines_max: 10_000,
            scan_bytes_max: 256 << 10,
        }
    }
}

impl Application for Kv {
    async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
        // Parsed before the lock, side by side with other commands.
        match Command::parse(command, &self.limits) {
            Ok(Command::Help) => HELP.as_bytes().to_vec(),
            Ok(command) => self.store.lock().await.apply(command, &self.limits),
            Err(error) => error.reply(),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.store
            .at_rest(|store| borsh::to_vec(&store.entries).expect("writing to memory cannot fail"))
            .expect("no command runs meanwhile, and none leaks its guard")
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let store = Store::read(snapshot, &self.limits)?;
        self.store.at_rest(|old| *old = store).expect("no command runs meanwhile, and none leaks its guard");
        Ok(())
    }
}

const HELP: &str = "\
get KEY                the value, or (none)
put KEY VALUE...       store the rest of the line
delete KEY             ok, or (none)
cas KEY EXPECTED NEW   store NEW, the rest of the line, if the value is EXPECTED; (none) expects no value
scan START COUNT       up to COUNT lines KEY VALUE from START on; \"\" is the first key
size                   how many keys there are
Words with spaces stand in double quotes, with \\\" \\\\ \\n \\r \\t \\xHH inside.
";

#[derive(Debug, Default)]
struct Store {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of all keys and values.
    bytes: usize,
}

impl Store {
    fn apply(&mut self, command: Command<'_>, limits: &Limits) -> Vec<u8> {
        match command {
            Command::Get { key } => self.entries.get(&key).cloned().unwrap_or_else(none),
            Command::Put { key, value } => self.put(key, value, limits),
            Command::Delete { key } => match self.entries.remove(&key) {
                None => none(),
                Some(value) => {
                    self.bytes -= key.len() + value.len();
                    ok()
                }
            },
            Command::Cas { key, expected, new } => {
                let current = self.entries.get(&key);
                if current == expected.as_ref() {
                    return self.put(key, new, limits);
                }
                let mut reply = b"differs ".to_vec();
                match current {
                    None => reply.extend(none()),
                    Some(value) => write_word(&mut reply, value),
                }
                reply
            }
            Command::Scan { start, count } => self.scan(start, count, limits),
            Command::Size => self.entries.len().to_string().into_bytes(),
            Command::Help => HELP.as_bytes().to_vec(),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: &[u8], limits: &Limits) -> Vec<u8> {
        let before = self.entries.get(&key).map_or(0, |old| key.len() + old.len());
        let bytes = self.bytes - before + key.len() + value.len();
        if bytes > limits.store_bytes_max && bytes > self.bytes {
            return BadCommand::StoreFull { bytes_max: limits.store_bytes_max }.reply();
        }
        self.bytes = bytes;
        self.entries.insert(key, value.to_vec());
        ok()
    }

    fn scan(&self, start: Vec<u8>, count: usize, limits: &Limits) -> Vec<u8> {
        let mut reply = Vec::new();
        for (key, value) in self.entries.range((Bound::Included(start), Bound::Unbounded)).take(count) {
            if reply.len() > limits.scan_bytes_max {
                break;
            }
            write_word(&mut reply, key);
            reply.push(b' ');
            write_word(&mut reply, value);
            reply.push(b'\n');
        }
        reply
    }

    /// The store that `snapshot` is the one encoding of.
    fn read(snapshot: &[u8], limits: &Limits) -> Result<Store, RestoreError> {
        let list: Vec<(Vec<u8>, Vec<u8>)> =
            borsh::from_slice(snapshot).map_err(|error| RestoreError::new(error.to_string()))?;
        if !list.is_sorted_by(|(before, _), (after, _)| before < after) {
            return Err(RestoreError::new("its keys do not ascend"));
        }
        let fits = |(key, value): &(Vec<u8>, Vec<u8>)| {
            key.len() <= limits.key_bytes_max && value.len() <= limits.value_bytes_max
        };
        let bytes = list.iter().map(|(key, value)| key.len() + value.len()).sum();
        if !list.iter().all(fits) || bytes > limits.store_bytes_max {
            return Err(RestoreError::new("it holds more than the store's limits allow"));
        }
        Ok(Store { entries: list.into_iter().collect(), bytes })
    }
}

fn ok() -> Vec<u8> {
    b"ok".to_vec()
}

fn none() -> Vec<u8> {
    b"(none)".to_vec()
}

/// A command, understood and within limits.
#[derive(PartialEq, Eq, Debug)]
enum Command<'a> {
    Get { key: Vec<u8> },
    Put { key: Vec<u8>, value: &'a [u8] },
    Delete { key: Vec<u8> },
    Cas { key: Vec<u8>, expected: Option<Vec<u8>>, new: &'a [u8] },
    Scan { start: Vec<u8>, count: usize },
    Size,
    Help,
}

impl<'a> Command<'a> {
    fn parse(command: &'a [u8], limits: &Limits) -> Result<Command<'a>, BadCommand> {
        let mut words = Words::new(command);
        let verb = words.word()?.ok_or(BadCommand::Empty)?.bytes;
        let (usage, command) = match verb.as_slice() {
            b"get" => {
                let usage = "get KEY";
                (usage, Command::Get { key: key(&mut words, usage, limits)? })
            }
            b"delete" => {
                let usage = "delete KEY";
                (usage, Command::Delete { key: key(&mut words, usage, limits)? })
            }
            b"scan" => {
                let usage = "scan START COUNT";
                let start = key(&mut words, usage, limits)?;
                (usage, Command::Scan { start, count: count(&word(&mut words, usage)?, limits)? })
            }
            b"size" => ("size", Command::Size),
            b"help" => ("help", Command::Help),
            b"put" => {
                let key = key(&mut words, "put KEY VALUE...", limits)?;
                let value = value(words.rest().unwrap_or_default(), limits)?;
                return Ok(Command::Put { key, value });
            }
            b"cas" => {
                let usage = "cas KEY EXPECTED NEW";
                let key = key(&mut words, usage, limits)?;
                let expected = word(&mut words, usage)?;
                let expected = (expected.quoted || expected.bytes != b"(none)").then_some(expected.bytes);
                let new = value(words.rest().ok_or(BadCommand::Usage(usage))?, limits)?;
                return Ok(Command::Cas { key, expected, new });
            }
            _ => {
                return Err(BadCommand::Verb(
                    String::from_utf8_lossy(&verb[..verb.len().min(32)]).into_owned(),
                ));
            }
        };
        if words.is_empty() { Ok(command) } else { Err(BadCommand::Usage(usage)) }
    }
}

fn word(words: &mut Words<'_>, usage: &'static str) -> Result<Word, BadCommand> {
    words.word()?.ok_or(BadCommand::Usage(usage))
}

fn key(words: &mut Words<'_>, usage: &'static str, limits: &Limits) -> Result<Vec<u8>, BadCommand> {
    let key = word(words, usage)?.bytes;
    let bytes_max = limits.key_bytes_max;
    if key.len() > bytes_max {
        return Err(BadCommand::TooLong { what: "key", bytes: key.len(), bytes_max });
    }
    Ok(key)
}

fn value<'a>(value: &'a [u8], limits: &Limits) -> Result<&'a [u8], BadCommand> {
    let bytes_max = limits.value_bytes_max;
    if value.len() > bytes_max {
        return Err(BadCommand::TooLong { what: "value", bytes: value.len(), bytes_max });
    }
    Ok(value)
}

fn count(word: &Word, limits: &Limits) -> Result<usize, BadCommand> {
    let text = std::str::from_utf8(&word.bytes).ok();
    let count = text.and_then(|text| text.parse().ok()).filter(|count| *count <= limits.scan_lines_max);
    count.ok_or(BadCommand::Count { lines_max: limits.scan_lines_max })
}

/// A command that is answered with an error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum BadCommand {
    #[error("the command is empty; try: help")]
    Empty,
    #[error("there is no command {0:?}; there are get, put, delete, cas, scan, size and help")]
    Verb(String),
    #[error("write: {0}")]
    Usage(&'static str),
    #[error(transparent)]
    Word(#[from] BadWord),
    #[error("the {what} has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLong { what: &'static str, bytes: usize, bytes_max: usize },
    #[error("COUNT is a number from 0 to {lines_max}")]
    Count { lines_max: usize },
    #[error("the store holds {bytes_max} bytes at most; delete something first")]
    StoreFull { bytes_max: usize },
}

impl BadCommand {
    fn reply(&self) -> Vec<u8> {
        format!("error: {self}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies to `commands`, one after the other, to a store with small limits.
    fn replies(commands: &[&str]) -> Vec<String> {
        let limits = Limits {
            key_bytes_max: 8,
            value_bytes_max: 16,
            store_bytes_max: 64,
            scan_lines_max: 100,
            scan_bytes_max: 24,
        };
        let mut store = Store::default();
        let reply = |command: &&str| {
            let reply = match Command::parse(command.as_bytes(), &limits) {
                Ok(command) => store.apply(command, &limits),
                Err(error) => error.reply(),
            };
            String::from_utf8(reply).unwrap()
        };
        commands.iter().map(reply).collect()
    }

    #[test]
    fn values_are_put_read_replaced_and_deleted() {
        let commands =
            ["get k", "put k v", "get k", "put k w", "get k", "size", "delete k", "delete k", "size"];
        assert_eq!(replies(&commands), ["(none)", "ok", "v", "ok", "w", "1", "ok", "(none)", "0"]);
    }

    #[test]
    fn a_value_is_the_rest_of_the_line_as_it_is() {
        let commands = ["put k  a \"b\"  ", "get k", "put k", "get k", "put \"a b\" c", "get \"a b\""];
        assert_eq!(replies(&commands), ["ok", " a \"b\"  ", "ok", "", "ok", "c"]);
    }

    #[test]
    fn cas_stores_only_what_was_expected_to_change() {
        let commands = [
            "cas k x y",
            "cas k (none) y z",
            "cas k (none) n",
            "cas k y n",
            "cas k \"y z\" n",
            "get k",
            "put k (none)",
            "cas k (none) n",
            "cas k \"(none)\" n",
        ];
        let expected = [
            "differs (none)",
            "ok",
            "differs \"y z\"",
            "differs \"y z\"",
            "ok",
            "n",
            "ok",
            "differs \"(none)\"",
            "ok",
        ];
        assert_eq!(replies(&commands), expected);
    }

    #[test]
    fn a_scan_gives_lines_in_order_up_to_its_limits() {
        let commands = [
            "put b 2",
            "put a 1 1",
            "put c",
            "scan \"\" 9",
            "scan b 1",
            "scan d 9",
            "put a 123456789012345",
            "put b 123456789",
            "scan \"\" 9",
        ];
        let all = replies(&commands);
        assert_eq!(all[3..6], ["a \"1 1\"\nb 2\nc \"\"\n", "b 2\n", ""]);
        assert_eq!(all[8], "a 123456789012345\nb 123456789\n");
    }

    #[test]
    fn what_is_wrong_is_answered_with_what_would_be_right() {
        let commands = [
            "",
            "frob",
            "get",
            "get a b",
            "cas k v",
            "scan a",
            "scan a x",
            "scan a 101",
            "get 123456789",
            "put k 12345678901234567",
            "get \"k",
        ];
        let expected = [
            "error: the command is empty; try: help",
            "error: there is no command \"frob\"; there are get, put, delete, cas, scan, size and help",
            "error: write: get KEY",
            "error: write: get KEY",
            "error: write: cas KEY EXPECTED NEW",
            "error: write: scan START COUNT",
            "error: COUNT is a number from 0 to 100",
            "error: COUNT is a number from 0 to 100",
            "error: the key has 9 bytes; at most 8 are allowed",
            "error: the value has 17 bytes; at most 16 are allowed",
            "error: a word that begins with \" ends with \"",
        ];
        assert_eq!(replies(&commands), expected);
    }

    #[test]
    fn a_full_store_refuses_growth_and_takes_it_again_after_a_delete() {
        let commands = [
            "put a 123456789012345",
            "put b 123456789012345",
            "put c 123456789012345",
            "put d 123456789012345",
            "put e x",
            "put a x",
            "put e x",
        ];
        let full = "error: the store holds 64 bytes at most; delete something first";
        assert_eq!(replies(&commands), ["ok", "ok", "ok", "ok", full, "ok", "ok"]);
    }

    #[test]
    fn only_a_stores_own_encoding_is_restored() {
        let limits = Limits::default();
        let list = |keys: &[&str]| {
            let list: Vec<_> = keys.iter().map(|key| (key.as_bytes().to_vec(), vec![1u8])).collect();
            borsh::to_vec(&list).unwrap()
        };
        assert_eq!(Store::read(&list(&["a", "b"]), &limits).unwrap().bytes, 4);
        for bad in
            [list(&["b", "a"]), list(&["a", "a"]), vec![1], [list(&["a"]), vec![0]].concat(), vec![255; 40]]
        {
            assert!(Store::read(&bad, &limits).is_err(), "{bad:?}");
        }
        let small = Limits { store_bytes_max: 3, ..limits };
        assert!(Store::read(&list(&["a", "b"]), &small).is_err());
    }
}
