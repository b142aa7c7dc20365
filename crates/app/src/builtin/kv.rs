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
//! Keys are spread over shards with a lock each, so commands on different keys run side by side; `scan` and `size`
//! hold all of them, in order, and see the store at one moment.

mod command;
mod shard;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;

use smr_uds::{Mutex, RwLock, RwLockReadGuard};

use crate::application::{Application, Context, RestoreError};
use crate::text::write_word;
use command::{BadCommand, Command};
use shard::{Portions, Shard};

/// Locks around the keys. More let more commands run side by side, and make `scan` and `size` slower.
const SHARDS: usize = 16;

/// The store.
#[derive(Debug)]
pub struct Kv {
    limits: Limits,
    portions: Portions,
    shards: [RwLock<Shard>; SHARDS],
    /// Portions of `store_bytes_max` that no shard has taken. Locked last.
    free: Mutex<usize>,
}

impl Kv {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Kv {
        let portions = Portions::of(&limits);
        Kv { limits, portions, shards: Default::default(), free: Mutex::new(portions.all(&limits)) }
    }

    fn shard(&self, key: &[u8]) -> &RwLock<Shard> {
        &self.shards[shard_of(key)]
    }

    /// All shards at one moment.
    async fn all(&self) -> Vec<RwLockReadGuard<'_, Shard>> {
        let mut all = Vec::with_capacity(SHARDS);
        for shard in &self.shards {
            all.push(shard.read().await);
        }
        all
    }

    async fn apply(&self, command: Command<'_>) -> Vec<u8> {
        match command {
            Command::Get { key } => {
                self.shard(&key).read().await.entries.get(&key).cloned().unwrap_or_else(none)
            }
            Command::Put { key, value } => self.put(&mut *self.shard(&key).write().await, key, value).await,
            Command::Delete { key } => {
                let mut shard = self.shard(&key).write().await;
                let before = shard.bytes;
                if !shard.remove(&key) {
                    return none();
                }
                self.take(before, shard.bytes).await;
                ok()
            }
            Command::Cas { key, expected, new } => {
                let mut shard = self.shard(&key).write().await;
                let current = shard.entries.get(&key);
                if current == expected.as_ref() {
                    return self.put(&mut shard, key, new).await;
                }
                let mut reply = b"differs ".to_vec();
                match current {
                    None => reply.extend(none()),
                    Some(value) => write_word(&mut reply, value),
                }
                reply
            }
            Command::Scan { start, count } => scan(&self.all().await, &start, count, &self.limits),
            Command::Size => {
                let keys: usize = self.all().await.iter().map(|shard| shard.entries.len()).sum();
                keys.to_string().into_bytes()
            }
            Command::Help => HELP.as_bytes().to_vec(),
        }
    }

    async fn put(&self, shard: &mut Shard, key: Vec<u8>, value: &[u8]) -> Vec<u8> {
        if !self.take(shard.bytes, shard.bytes_with(&key, value)).await {
            return BadCommand::StoreFull { bytes_max: self.limits.store_bytes_max }.reply();
        }
        shard.insert(key, value.to_vec());
        ok()
    }

    /// Takes what a shard needs to go from so many bytes to so many, or gives back what it does not need any more.
    /// Whether there was enough.
    async fn take(&self, before: usize, after: usize) -> bool {
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

/// Bounds of a store; equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a key at most.
    pub key_bytes_max: usize,
    /// Bytes of a value at most. Below the host's `reply_bytes_max`, so that it can be read back.
    pub value_bytes_max: usize,
    /// Bytes of all keys and values at most; memory is about three times as much where they are short. Counted in
    /// portions of a 4096th for each shard, so a store may be full a little earlier.
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

    fn snapshot(&self) -> Vec<u8> {
        let mut list: Vec<Pair> = Vec::new();
        for shard in &self.shards {
            let pairs =
                |shard: &mut Shard| shard.entries.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            list.append(&mut shard.at_rest(pairs).expect(AT_REST));
        }
        list.sort_unstable();
        borsh::to_vec(&list).expect("writing to memory cannot fail")
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let mut shards: [Shard; SHARDS] = Default::default();
        for (key, value) in read(snapshot, &self.limits)? {
            shards[shard_of(&key)].insert(key, value);
        }
        let taken: usize = shards.iter().map(|shard| self.portions.taken(shard.bytes)).sum();
        let free = self.portions.all(&self.limits).checked_sub(taken);
        let free = free.ok_or_else(|| RestoreError::new(TOO_LARGE))?;
        self.free.at_rest(|old| *old = free).expect(AT_REST);
        for (old, new) in self.shards.iter().zip(shards) {
            old.at_rest(|old| *old = new).expect(AT_REST);
        }
        Ok(())
    }
}

const AT_REST: &str = "no command runs meanwhile, and none leaks its guard";
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

/// Where a key belongs. FNV-1a: short, equal everywhere, and nobody gains by crowding one shard but himself.
fn shard_of(key: &[u8]) -> usize {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from((hash ^ (hash >> 32)) % SHARDS as u64).expect("fewer than there are shards")
}

/// The lines of a scan, merged from the shards in order of keys.
fn scan(shards: &[RwLockReadGuard<'_, Shard>], start: &[u8], count: usize, limits: &Limits) -> Vec<u8> {
    let from = (Bound::Included(start), Bound::Unbounded);
    let mut rests: Vec<_> = shards.iter().map(|shard| shard.entries.range::<[u8], _>(from)).collect();
    let mut heads: BinaryHeap<_> = BinaryHeap::with_capacity(rests.len());
    for (place, rest) in rests.iter_mut().enumerate() {
        heads.extend(rest.next().map(|pair| Reverse((pair, place))));
    }
    let mut reply = Vec::new();
    for _ in 0..count {
        let Some(Reverse(((key, value), place))) =
            heads.pop().filter(|_| reply.len() <= limits.scan_bytes_max)
        else {
            break;
        };
        write_word(&mut reply, key);
        reply.push(b' ');
        write_word(&mut reply, value);
        reply.push(b'\n');
        heads.extend(rests[place].next().map(|pair| Reverse((pair, place))));
    }
    reply
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// The pairs that `snapshot` is the one encoding of.
fn read(snapshot: &[u8], limits: &Limits) -> Result<Vec<Pair>, RestoreError> {
    let list: Vec<Pair> =
        borsh::from_slice(snapshot).map_err(|error| RestoreError::new(error.to_string()))?;
    if !list.is_sorted_by(|(before, _), (after, _)| before < after) {
        return Err(RestoreError::new("its keys do not ascend"));
    }
    let fits = |(key, value): &(Vec<u8>, Vec<u8>)| {
        key.len() <= limits.key_bytes_max && value.len() <= limits.value_bytes_max
    };
    if list.iter().all(fits) { Ok(list) } else { Err(RestoreError::new(TOO_LARGE)) }
}

fn ok() -> Vec<u8> {
    b"ok".to_vec()
}

fn none() -> Vec<u8> {
    b"(none)".to_vec()
}

#[cfg(test)]
mod tests;
