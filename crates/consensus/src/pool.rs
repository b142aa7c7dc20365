//! What waits to be ordered, in order of arrival, bounded in entries, bytes and per client.

use std::collections::{BTreeMap, BTreeSet};

use smr_crypto::Digest;
use smr_wire::ClientId;

use crate::batch::{BatchLimits, Entry, EntryBody};
use crate::config::Config;

/// Entries that one client may have waiting; a greedy client meets this before it fills the pool.
pub const CLIENT_ENTRIES_MAX: u32 = 512;

/// Periods after which an entry that still waits is shown to all again.
const RELAY_PERIODS: u32 = 4;

/// Entries that wait. Each has a number of strikes: how often [`Pool::age`] found it waiting.
#[derive(Clone, Debug)]
pub struct Pool {
    entries_max: usize,
    bytes_max: usize,
    /// An entry that fits into no batch would stand first in every primary's pool for ever.
    entry_bytes_max: usize,
    bytes: usize,
    arrivals: u64,
    waiting: BTreeMap<Digest, Waiting>,
    unproposed: BTreeSet<(u64, Digest)>,
    clients: BTreeMap<ClientId, u32>,
    /// The latest arrival among the entries that were decided.
    latest_decided: u64,
    /// What a primary can order at once: an entry that so many later ones overtook is passed over on purpose.
    batch: BatchLimits,
}

#[derive(Clone, Debug)]
struct Waiting {
    entry: Entry,
    arrival: u64,
    strikes: u32,
}

/// What became of an entry that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It waits now.
    New,
    /// It waited already.
    Known,
    /// There is no room.
    Full,
}

/// What [`Pool::age`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aged {
    /// Entries that have waited for one whole period, or for long: everyone should know them.
    pub relay: Vec<Entry>,
    /// Whether an entry has waited for longer than that: the primary does not order it.
    pub overdue: bool,
}

impl Pool {
    /// An empty pool with the limits of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Pool {
        Pool {
            entries_max: config.pool_entries_max as usize,
            bytes_max: config.pool_bytes_max as usize,
            entry_bytes_max: config.batch_bytes_max as usize,
            bytes: 0,
            arrivals: 0,
            waiting: BTreeMap::new(),
            unproposed: BTreeSet::new(),
            clients: BTreeMap::new(),
            latest_decided: 0,
            batch: BatchLimits {
                entries_max: config.batch_entries_max as usize,
                bytes_max: config.batch_bytes_max as usize,
            },
        }
    }

    /// Offers an entry. Commands of replicas always find room, as there are few of them and all depend on them.
    pub fn add(&mut self, entry: Entry) -> Added {
        let digest = entry.digest();
        if self.waiting.contains_key(&digest) {
            return Added::Known;
        }
        if entry.bytes() > self.entry_bytes_max {
            return Added::Full;
        }
        if let EntryBody::Client(request) = entry.body() {
            let of_client = self.clients.get(&request.client).copied().unwrap_or(0);
            let crowded =
                self.waiting.len() >= self.entries_max || self.bytes + entry.bytes() > self.bytes_max;
            if crowded || of_client >= CLIENT_ENTRIES_MAX {
                return Added::Full;
            }
            self.clients.insert(request.client, of_client + 1);
        }
        self.bytes += entry.bytes();
        self.arrivals += 1;
        self.unproposed.insert((self.arrivals, digest));
        self.waiting.insert(digest, Waiting { entry, arrival: self.arrivals, strikes: 0 });
        Added::New
    }

    /// Takes a batch's worth of the oldest entries that are in no open proposal. They stay in the pool until
    /// [`Pool::remove`], in case the proposal fails.
    pub fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some((arrival, digest)) = self.unproposed.first().copied() {
            let entry = &self.waiting[&digest].entry;
            if taken.len() == limits.entries_max
                || (bytes + entry.bytes() > limits.bytes_max && !taken.is_empty())
            {
                break;
            }
            bytes += entry.bytes();
            taken.push(entry.clone());
            self.unproposed.remove(&(arrival, digest));
        }
        taken
    }

    /// Notes that these entries stand in an open proposal, as after [`Pool::take`], even if they were not known: a
    /// replica that still holds one of them will forward it.
    pub fn proposed(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.add(entry.clone());
            if let Some(waiting) = self.waiting.get(&entry.digest()) {
                self.unproposed.remove(&(waiting.arrival, entry.digest()));
            }
        }
    }

    /// Whether there is an entry in no open proposal.
    #[must_use]
    pub fn has_unproposed(&self) -> bool {
        !self.unproposed.is_empty()
    }

    /// Forgets an entry that was decided.
    pub fn remove(&mut self, entry: &Entry) {
        let Some(gone) = self.waiting.remove(&entry.digest()) else {
            return;
        };
        self.unproposed.remove(&(gone.arrival, entry.digest()));
        self.latest_decided = self.latest_decided.max(gone.arrival);
        self.bytes -= gone.entry.bytes();
        if let EntryBody::Client(request) = entry.body()
            && let Some(count) = self.clients.get_mut(&request.client)
        {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&request.client);
            }
        }
    }

    /// Returns every entry to the state of not being proposed, with no strikes: a new primary begins.
    pub fn restart(&mut self) {
        self.unproposed = self.waiting.iter().map(|(digest, w)| (w.arrival, *digest)).collect();
        for waiting in self.waiting.values_mut() {
            waiting.strikes = 0;
        }
    }

    /// Counts one more period for every entry; `progress` says whether anything was decided in it. While slots are
    /// decided, long waiting alone is only load: an entry is then overdue if all that waits would have found room
    /// in one batch, or if a batch's worth of later ones was preferred to it.
    pub fn age(&mut self, progress: bool) -> Aged {
        let mut aged = Aged::default();
        let crowded = self.waiting.len() > self.batch.entries_max || self.bytes > self.batch.bytes_max;
        let overtaken = self.latest_decided.saturating_sub(self.batch.entries_max as u64);
        for waiting in self.waiting.values_mut() {
            waiting.strikes = waiting.strikes.saturating_add(1);
            // What was shown to all may have been lost, so it is shown again now and then.
            if waiting.strikes == 2 || waiting.strikes.is_multiple_of(RELAY_PERIODS) {
                aged.relay.push(waiting.entry.clone());
            }
            let passed_over = !progress || !crowded || waiting.arrival < overtaken;
            aged.overdue |= waiting.strikes > 2 && passed_over;
        }
        aged
    }

    /// All that waits, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Entry> {
        let mut all: Vec<&Waiting> = self.waiting.values().collect();
        all.sort_unstable_by_key(|waiting| waiting.arrival);
        all.into_iter().map(|waiting| waiting.entry.clone()).collect()
    }

    /// How many entries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use smr_crypto::IdentityKey;
    use smr_wire::{Access, Call, Command, RequestNumber, ServiceId, SessionId};

    /// A request of the client with `seed`, carrying command `number`.
    pub(crate) fn entry(seed: u8, number: u64) -> Entry {
        let commands = vec![Command { number: RequestNumber(number), bytes: vec![0; 10] }];
        let call = Call::Commands { session: SessionId(1), access: Access::Ordered, commands };
        let key = IdentityKey::from_seed(&[seed; 32]);
        Entry::new(EntryBody::Client(Request::sign(&key, ServiceId(Digest::default()), call)))
    }
    use smr_wire::Request;

    fn limits(entries_max: usize) -> BatchLimits {
        BatchLimits { entries_max, bytes_max: 1 << 20 }
    }

    #[test]
    fn entries_are_taken_once_in_order_of_arrival_and_again_after_a_restart() {
        let mut pool = Pool::new(&Config::default());
        let entries: Vec<Entry> = (1..=3).map(|n| entry(1, n)).collect();
        for entry in entries.iter().rev() {
            assert_eq!(pool.add(entry.clone()), Added::New);
            assert_eq!(pool.add(entry.clone()), Added::Known);
        }
        assert_eq!(pool.take(limits(2)), [entries[2].clone(), entries[1].clone()]);
        assert_eq!(pool.take(limits(2)), [entries[0].clone()]);
        assert!(!pool.has_unproposed());
        pool.remove(&entries[1]);
        pool.restart();
        assert_eq!(pool.take(limits(9)), [entries[2].clone(), entries[0].clone()]);
        pool.restart();
        pool.proposed(&entries[..2]);
        assert_eq!(pool.take(limits(9)), [entries[2].clone()]);
    }

    #[test]
    fn a_full_pool_and_a_greedy_client_are_refused() {
        let mut pool = Pool::new(&Config { pool_entries_max: 2, ..Config::default() });
        assert_eq!([1, 2, 3].map(|n| pool.add(entry(1, n))), [Added::New, Added::New, Added::Full]);
        let mut pool = Pool::new(&Config::default());
        let greedy = u64::from(CLIENT_ENTRIES_MAX);
        assert!((1..=greedy).all(|n| pool.add(entry(1, n)) == Added::New));
        assert_eq!(pool.add(entry(1, greedy + 1)), Added::Full);
        assert_eq!(pool.add(entry(2, 1)), Added::New);
        pool.remove(&entry(1, 1));
        assert_eq!(pool.add(entry(1, greedy + 1)), Added::New);
    }

    #[test]
    fn a_batch_keeps_its_bytes_but_always_has_one_entry() {
        let mut pool = Pool::new(&Config::default());
        pool.add(entry(1, 1));
        pool.add(entry(1, 2));
        assert_eq!(pool.take(BatchLimits { entries_max: 9, bytes_max: 1 }).len(), 1);
    }

    #[test]
    fn under_load_only_what_was_passed_over_is_overdue() {
        let config = Config { batch_entries_max: 2, ..Config::default() };
        let mut pool = Pool::new(&config);
        (1..=9).for_each(|number| assert_eq!(pool.add(entry(1, number)), Added::New));
        assert!((0..10).all(|_| !pool.age(true).overdue), "the queue is long, and it moves");
        [2, 3].iter().for_each(|number| pool.remove(&entry(1, *number)));
        assert!(!pool.age(true).overdue, "orders differ a little between replicas");
        pool.remove(&entry(1, 4));
        assert!(pool.age(true).overdue, "the first entry was passed over");
        let mut idle = Pool::new(&config);
        idle.add(entry(1, 1));
        assert_eq!([true; 3].map(|progress| idle.age(progress).overdue), [false, false, true]);
    }

    #[test]
    fn an_entry_is_relayed_after_a_period_and_overdue_after_two() {
        let mut pool = Pool::new(&Config::default());
        pool.add(entry(1, 1));
        assert_eq!(pool.age(false), Aged::default());
        assert_eq!(pool.age(false), Aged { relay: vec![entry(1, 1)], overdue: false });
        assert_eq!(pool.age(false), Aged { relay: vec![], overdue: true });
        pool.restart();
        assert_eq!(pool.age(false), Aged::default());
    }
}
