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
//!
//! Commands on different keys run side by side; `scan` and `size` see the store at one moment.

mod command;
mod portions;
mod text_value;

use smr_uds::Mutex;

use crate::application::{Application, Context, RestoreError};
use crate::state::{Entry, Load, State, Table};
use crate::text::write_word;
use command::{BadCommand, Command};
use portions::Portions;
use text_value::Text;

/// The store.
#[derive(Debug)]
pub struct Kv {
    limits: Limits,
    portions: Portions,
    state: State,
    entries: Table<Vec<u8>, Text>,
    /// Portions of `store_bytes_max` that the entries of no lock have taken. Locked last; follows from the entries.
    free: Mutex<u64>,
}

impl Kv {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Kv {
        let portions = Portions::of(&limits);
        let mut state = State::new();
        let entries = state.table("entries");
        Kv { limits, portions, state, entries, free: Mutex::new(portions.all(&limits)) }
    }

    async fn apply(&self, command: Command<'_>) -> Vec<u8> {
        match command {
            Command::Get { key } => self.entries.get(&key).await.map_or_else(none, |Text(value)| value),
            Command::Put { key, value } => self.put(self.entries.lock(&key).await, &key, value).await,
            Command::Delete { key } => {
                let mut entry = self.entries.lock(&key).await;
                if entry.stored().is_none() {
                    return none();
                }
                self.take(entry.load().bytes, bytes_without(&entry, &key)).await;
                entry.clear();
                ok()
            }
            Command::Cas { key, expected, new } => {
                let entry = self.entries.lock(&key).await;
                if entry.stored() == expected.as_deref() {
                    return self.put(entry, &key, new).await;
                }
                let mut reply = b"differs ".to_vec();
                match entry.stored() {
                    None => reply.extend(none()),
                    Some(value) => write_word(&mut reply, value),
                }
                reply
            }
            Command::Scan { start, count } => self.scan(&start, count).await,
            Command::Size => self.entries.view().await.load().entries.to_string().into_bytes(),
            Command::Help => HELP.as_bytes().to_vec(),
        }
    }

    async fn put(&self, mut entry: Entry<'_, Text>, key: &[u8], value: &[u8]) -> Vec<u8> {
        let after = bytes_without(&entry, key) + (key.len() + value.len()) as u64;
        if !self.take(entry.load().bytes, after).await {
            return BadCommand::StoreFull { bytes_max: self.limits.store_bytes_max }.reply();
        }
        entry.set(Text(value.to_vec()));
        ok()
    }

    async fn scan(&self, start: &[u8], count: usize) -> Vec<u8> {
        let view = self.entries.view().await;
        let mut reply = Vec::new();
        for (key, Text(value)) in view.range(start..).take(count) {
            write_word(&mut reply, &key);
            reply.push(b' ');
            write_word(&mut reply, &value);
            reply.push(b'\n');
            if reply.len() > self.limits.scan_bytes_max {
                break;
            }
        }
        reply
    }

    /// Takes what the entries of a lock need to go from so many bytes to so many, or gives back what they do not need
    /// any more. Whether there was enough.
    async fn take(&self, before: u64, after: u64) -> bool {
        let (has, needs) = (self.portions.taken(before), self.portions.taken(after));
        if has == needs {
            return true;
        }
        let mut free = self.free.lock().await;
        match (*free + has).checked_sub(needs) {
            Some(left) => *free = left,
            None => return false,
        }
        true
    }
}

/// Bytes of all entries that share a lock, but for this one.
fn bytes_without(entry: &Entry<'_, Text>, key: &[u8]) -> u64 {
    entry.load().bytes - entry.stored().map_or(0, |value| (key.len() + value.len()) as u64)
}

/// Bounds of a store; equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a key at most.
    pub key_bytes_max: usize,
    /// Bytes of a value at most. Below the host's `reply_bytes_max`, so that it can be read back.
    pub value_bytes_max: usize,
    /// Bytes of all keys and values at most; memory is about one and a half times as much where they are
    /// short. Counted in portions of a 4096th for each lock, so a store may be full a little earlier.
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
        // Parsed before any lock, side by side with other commands.
        match Command::parse(command, &self.limits) {
            Ok(command) => self.apply(command).await,
            Err(error) => error.reply(),
        }
    }

    fn state(&self) -> Option<&State> {
        Some(&self.state)
    }

    fn restored(&self) -> Result<(), RestoreError> {
        let view = self.entries.view_at_rest();
        let fits = |(key, Text(value)): (Vec<u8>, Text)| {
            key.len() <= self.limits.key_bytes_max && value.len() <= self.limits.value_bytes_max
        };
        let taken: u64 = view.loads().map(|Load { bytes, .. }| self.portions.taken(bytes)).sum();
        let free = self.portions.all(&self.limits).checked_sub(taken);
        let free = free.filter(|_| view.iter().all(fits)).ok_or_else(|| RestoreError::new(TOO_LARGE))?;
        self.free.at_rest(|old| *old = free).expect("no command runs meanwhile, and none leaks its guard");
        Ok(())
    }
}

const TOO_LARGE: &str = "it holds more than the store's limits allow";

const HELP: &str = "\
get KEY                the value, or (none)
put KEY VALUE...       store the rest of the line
delete KEY             ok, or (none)
cas KEY EXPECTED NEW   store NEW, the rest of the line, if the value is EXPECTED; (none) expects no value
scan START COUNT       up to COUNT lines KEY VALUE from START on; \"\" is the first key
size                   how many keys there are
Words with spaces stand in double quotes, with \\\" \\\\ \\n \\r \\t \\xHH inside.
";

fn ok() -> Vec<u8> {
    b"ok".to_vec()
}

fn none() -> Vec<u8> {
    b"(none)".to_vec()
}

#[cfg(test)]
mod tests;
