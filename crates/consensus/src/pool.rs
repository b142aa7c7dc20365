//! What waits to be ordered, bounded in entries and bytes, and divided so that nobody can fill it for others.
//!
//! ```text
//!   own clients --- own lane, at most half a share ----\
//!   Forward of r1 - lane of r1, at most one share -----+-- in turns --> batch
//!   Forward of r2 - lane of r2, at most one share -----/
//! ```
//!
//! A share is the n-th part of the pool. A replica *vouches* for what its own clients offered, and for a small part
//! of what each other forwarded: only that does it show to others, and only for that does it blame a primary. All of
//! it together is less than one share, so a correct primary always has room for what a correct replica vouches for,
//! whatever the others forward. Old requests that somebody forwards again cost turns of that replica's own lane.

use std::collections::{BTreeMap, BTreeSet};

use smr_crypto::Digest;
use smr_wire::{ClientId, ReplicaId};

use crate::batch::{BatchLimits, Entry, EntryBody};
use crate::config::Config;
use crate::known_bugs;
use crate::verified::Refused;

/// Entries that one client may have waiting at its contact; a greedy client meets this before it fills the lane.
pub const CLIENT_ENTRIES_MAX: u32 = 512;

/// Commands to the system that may wait for each author. Correct ones have few, so they always find room; they
/// count against no share.
pub const SYSTEM_ENTRIES_MAX: usize = 8;

/// Bytes of commands to the system that may wait for each author.
pub const SYSTEM_BYTES_MAX: usize = 256 << 10;

/// Bytes of the entries of one message that forwards them, unless it is a single one.
pub const FORWARD_BYTES_MAX: usize = 4 << 20;

/// Periods after which an entry that still waits is shown to all again.
const RELAY_PERIODS: u32 = 4;

/// Entries that wait. Each has a number of strikes: how often [`Pool::age`] found it waiting.
#[derive(Clone, Debug)]
pub struct Pool {
    /// What our own clients may have waiting.
    own_max: Load,
    /// What each other replica may have waiting here: more than it vouches for if it is correct.
    peer_max: Load,
    /// What we vouch for of that.
    passed_max: Load,
    limits: BatchLimits,
    arrivals: u64,
    waiting: BTreeMap<Digest, Waiting>,
    lanes: BTreeMap<Source, Lane>,
    authors: BTreeMap<ReplicaId, Author>,
    /// Entries of our own clients.
    clients: BTreeMap<ClientId, u32>,
    /// Entries in an open proposal that did not come from here, in case they come late.
    proposed: BTreeSet<Digest>,
    /// Lanes that a primary serves in turn: one for each replica, its own among them.
    lanes_max: usize,
    /// Whose lane gave the last entry to a batch.
    turn: Source,
}

/// Through whom an entry came here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Source {
    /// A client of ours, or this replica itself.
    Own,
    /// Another replica.
    Peer(ReplicaId),
}

#[derive(Clone, Debug)]
struct Waiting {
    entry: Entry,
    source: Source,
    arrival: u64,
    strikes: u32,
    /// Whether we show it to others and blame the primary for not ordering it.
    vouched: bool,
    /// For a command to the system: how many of its author had been decided when it came.
    decided_before: u64,
}

/// Entries and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Load {
    entries: usize,
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// In no open proposal, by arrival.
    unproposed: BTreeSet<(u64, Digest)>,
    /// Those among them that are commands to the system.
    urgent: BTreeSet<Digest>,
    /// Requests of clients.
    load: Load,
    /// Those among them that we vouch for although others forwarded them.
    passed: Load,
    /// The latest arrival among the entries of this lane that were decided.
    latest_decided: u64,
    /// Those decided in this period.
    decided: Load,
}

/// Commands to the system of one author.
#[derive(Clone, Copy, Debug, Default)]
struct Author {
    load: Load,
    decided: u64,
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
    /// An empty pool of a group of `size` with the limits of `config`.
    #[must_use]
    pub fn new(config: &Config, size: usize) -> Pool {
        // Whoever is vouched for has room for the largest entry at least.
        let part = |parts: usize| Load {
            entries: (config.pool_entries_max as usize / (size * parts)).max(1),
            bytes: (config.pool_bytes_max as usize / (size * parts)).max(config.batch_bytes_max as usize),
        };
        let (share, own_max, passed_max) = (part(1), part(if size == 1 { 1 } else { 2 }), part(4 * size));
        let peer_max = Load {
            entries: share.entries.max(own_max.entries + size * passed_max.entries),
            bytes: share.bytes.max(own_max.bytes + size * passed_max.bytes),
        };
        Pool {
            own_max,
            peer_max,
            passed_max,
            limits: config.batch_limits(),
            arrivals: 0,
            waiting: BTreeMap::new(),
            lanes: BTreeMap::new(),
            authors: BTreeMap::new(),
            clients: BTreeMap::new(),
            proposed: BTreeSet::new(),
            lanes_max: size,
            turn: Source::Own,
        }
    }

    /// Offers an entry of a client of ours, or of our own.
    pub fn add(&mut self, entry: Entry) -> Added {
        self.add_from(Source::Own, entry)
    }

    /// Offers what `from` forwarded. Returns what of it is new and to be passed on to the primary.
    pub fn forwarded(&mut self, from: ReplicaId, entries: Vec<Entry>) -> Vec<Entry> {
        let mut fresh = Vec::new();
        for entry in entries {
            let digest = entry.digest();
            if self.add_from(Source::Peer(from), entry.clone()) == Added::New && self.vouch(&digest) {
                fresh.push(entry);
            }
        }
        fresh
    }

    fn add_from(&mut self, source: Source, entry: Entry) -> Added {
        let digest = entry.digest();
        if entry.check_size(self.limits).is_err() {
            return Added::Full;
        }
        let known = self.waiting.get(&digest);
        // Somebody else's entry that nobody here vouches for may be a client's of ours or a better peer's.
        if known.is_some_and(|known| known.vouched || known.source == source) {
            return Added::Known;
        }
        if !self.has_room(source, &entry) {
            return if known.is_some() { Added::Known } else { Added::Full };
        }
        let (arrival, strikes) = match self.take_out(&digest) {
            Some(known) => (known.arrival, known.strikes),
            None => (self.arrivals + 1, 0),
        };
        self.arrivals = self.arrivals.max(arrival);
        let bytes = entry.bytes();
        let lane = self.lanes.entry(source).or_default();
        if !self.proposed.contains(&digest) {
            lane.line_up(arrival, &entry);
        }
        let (mut vouched, mut decided_before) = (source == Source::Own, 0);
        match entry.body() {
            EntryBody::Client(request) => {
                lane.load.add(bytes);
                if source == Source::Own {
                    *self.clients.entry(request.client).or_default() += 1;
                }
            }
            EntryBody::System(command) => {
                let author = self.authors.entry(command.author).or_default();
                author.load.add(bytes);
                (vouched, decided_before) = (true, author.decided);
            }
        }
        let waiting = Waiting { entry, source, arrival, strikes, vouched, decided_before };
        self.waiting.insert(digest, waiting);
        Added::New
    }

    fn has_room(&self, source: Source, entry: &Entry) -> bool {
        let bytes = entry.bytes();
        match entry.body() {
            EntryBody::Client(request) => {
                let of_client = self.clients.get(&request.client).copied().unwrap_or(0);
                let max = if source == Source::Own { self.own_max } else { self.peer_max };
                let load = self.lanes.get(&source).map(|lane| lane.load).unwrap_or_default();
                load.has_room(bytes, max) && (source != Source::Own || of_client < CLIENT_ENTRIES_MAX)
            }
            EntryBody::System(command) => {
                let load = self.authors.get(&command.author).map(|author| author.load).unwrap_or_default();
                load.has_room(bytes, Load { entries: SYSTEM_ENTRIES_MAX, bytes: SYSTEM_BYTES_MAX })
            }
        }
    }

    /// Whether we vouch for a waiting entry, now or already.
    fn vouch(&mut self, digest: &Digest) -> bool {
        let Some(waiting) = self.waiting.get_mut(digest) else {
            return false;
        };
        if let Some(lane) = self.lanes.get_mut(&waiting.source).filter(|_| !waiting.vouched) {
            waiting.vouched = lane.pass(waiting.entry.bytes(), self.passed_max);
        }
        waiting.vouched
    }

    /// Takes a batch's worth of entries that are in no open proposal: commands to the system, then one of each source in turn, the oldest of each
    /// first. They stay in the pool until [`Pool::remove`], in case the proposal fails.
    pub fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let mut taken = self.take_urgent(limits);
        let mut bytes = taken.iter().map(Entry::bytes).sum::<usize>();
        while taken.len() < limits.entries_max
            && let Some((source, place)) = self.next_in_turn()
        {
            let entry = self.waiting[&place.1].entry.clone();
            if bytes + entry.bytes() > limits.bytes_max && !taken.is_empty() {
                break;
            }
            bytes += entry.bytes();
            taken.push(entry);
            self.turn = source;
            if let Some(lane) = self.lanes.get_mut(&source) {
                lane.step_out(place.0, &place.1);
            }
        }
        taken
    }

    /// Notes that these entries stand in an open proposal, as after [`Pool::take`], even if they are not known here:
    /// a replica that still holds one of them will forward it.
    pub fn proposed(&mut self, entries: &[Entry]) {
        for digest in entries.iter().map(Entry::digest) {
            self.proposed.insert(digest);
            if let Some(waiting) = self.waiting.get(&digest)
                && let Some(lane) = self.lanes.get_mut(&waiting.source)
            {
                lane.step_out(waiting.arrival, &digest);
            }
        }
    }

    /// Commands to the system come first, so that a slot that is opened for them has them.
    fn take_urgent(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let (mut taken, mut bytes): (Vec<Entry>, usize) = (Vec::new(), 0);
        let urgent: Vec<Digest> = self.lanes.values().flat_map(|lane| lane.urgent.iter().copied()).collect();
        for digest in urgent {
            let Waiting { entry, source, arrival, .. } = &self.waiting[&digest];
            if taken.len() == limits.entries_max || (bytes + entry.bytes() > limits.bytes_max && bytes > 0) {
                break;
            }
            bytes += entry.bytes();
            taken.push(entry.clone());
            if let Some(lane) = self.lanes.get_mut(source) {
                lane.step_out(*arrival, &digest);
            }
        }
        taken
    }

    fn next_in_turn(&self) -> Option<(Source, (u64, Digest))> {
        let first = |(source, lane): (&Source, &Lane)| Some((*source, *lane.unproposed.first()?));
        let later = self.lanes.iter().filter(|(source, _)| **source > self.turn).find_map(first);
        later.or_else(|| self.lanes.iter().find_map(first))
    }

    /// Whether there is an entry in no open proposal.
    #[must_use]
    pub fn has_unproposed(&self) -> bool {
        self.lanes.values().any(|lane| !lane.unproposed.is_empty())
    }

    /// Whether one of those is a command to the system. Slots that are open may depend on it, as commands in them
    /// may on a fill marker, so it does not wait for them.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.lanes.values().any(|lane| !lane.urgent.is_empty())
    }

    /// Whether a command to the system waits.
    #[must_use]
    pub fn holds_system(&self) -> bool {
        self.authors.values().any(|author| author.load.entries > 0)
    }

    /// Forgets an entry that was decided.
    pub fn remove(&mut self, entry: &Entry) {
        if let Some(gone) = self.take_out(&entry.digest())
            && let Some(lane) = self.lanes.get_mut(&gone.source)
        {
            lane.latest_decided = lane.latest_decided.max(gone.arrival);
            lane.decided.add(gone.entry.bytes());
        }
        self.proposed.remove(&entry.digest());
        if let EntryBody::System(command) = entry.body() {
            self.authors.entry(command.author).or_default().decided += 1;
        }
    }

    fn take_out(&mut self, digest: &Digest) -> Option<Waiting> {
        let gone = self.waiting.remove(digest)?;
        let bytes = gone.entry.bytes();
        let lane = self.lanes.get_mut(&gone.source).expect("what waits stands in a lane");
        lane.step_out(gone.arrival, digest);
        match gone.entry.body() {
            EntryBody::System(command) => {
                let author = self.authors.get_mut(&command.author).expect("counted when it came");
                author.load.subtract(bytes);
            }
            EntryBody::Client(request) => {
                lane.load.subtract(bytes);
                if gone.source != Source::Own {
                    if gone.vouched {
                        lane.passed.subtract(bytes);
                    }
                } else if let Some(count) = self.clients.get_mut(&request.client) {
                    *count -= 1;
                    if *count == 0 {
                        self.clients.remove(&request.client);
                    }
                }
            }
        }
        Some(gone)
    }

    /// Returns every entry to the state of not being proposed, with no strikes: a new primary begins.
    pub fn restart(&mut self) {
        if known_bugs::FORGETS_WHAT_WAITS.is_on() {
            let all: Vec<Digest> = self.waiting.keys().copied().collect();
            all.iter().for_each(|digest| drop(self.take_out(digest)));
        }
        self.proposed.clear();
        for waiting in self.waiting.values_mut() {
            waiting.strikes = 0;
            let lane = self.lanes.get_mut(&waiting.source).expect("what waits stands in a lane");
            lane.line_up(waiting.arrival, &waiting.entry);
        }
    }

    /// Counts one more period for every entry; `progress` says whether anything was decided in it.
    pub fn age(&mut self, progress: bool) -> Aged {
        let mut aged = Aged::default();
        for waiting in self.waiting.values_mut() {
            waiting.strikes = waiting.strikes.saturating_add(1);
            // What was shown to all may have been lost, so it is shown again now and then.
            let due = waiting.strikes == 2 || waiting.strikes.is_multiple_of(RELAY_PERIODS);
            if due && !waiting.vouched {
                let lane = self.lanes.get_mut(&waiting.source).expect("what waits stands in a lane");
                waiting.vouched = lane.pass(waiting.entry.bytes(), self.passed_max);
                // The primary has its time from now on.
                waiting.strikes = if waiting.vouched { 2 } else { waiting.strikes };
            }
            if !waiting.vouched {
                continue;
            }
            if due {
                aged.relay.push(waiting.entry.clone());
            }
            let excused = match waiting.entry.body() {
                // Where batches are full and take their part from this lane, long waiting is only load: an entry is
                // then overdue if a batch's worth of later ones was preferred to it.
                EntryBody::Client(_) => {
                    let lane = &self.lanes[&waiting.source];
                    let overtaken = lane.latest_decided.saturating_sub(self.limits.entries_max as u64);
                    progress
                        && lane.is_crowded_and_served(self.limits, self.lanes_max)
                        && waiting.arrival >= overtaken
                }
                // An author that has more than its due may keep its room at the primary filled with others: no fault
                // of the primary's.
                EntryBody::System(command) => {
                    let decided = self.authors[&command.author].decided;
                    decided - waiting.decided_before >= SYSTEM_ENTRIES_MAX as u64
                }
            };
            aged.overdue |= waiting.strikes > 2 && !excused;
        }
        self.lanes.values_mut().for_each(|lane| lane.decided = Load::default());
        aged
    }

    /// All that waits and that we vouch for, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Entry> {
        let mut all: Vec<&Waiting> = self.waiting.values().filter(|waiting| waiting.vouched).collect();
        all.sort_unstable_by_key(|waiting| waiting.arrival);
        all.into_iter().map(|waiting| waiting.entry.clone()).collect()
    }

    /// Every entry that waits, oldest first, and whether it stands in an open proposal.
    #[must_use]
    pub fn outline(&self) -> Vec<(Digest, bool)> {
        let mut all: Vec<(u64, Digest)> =
            self.waiting.iter().map(|(digest, w)| (w.arrival, *digest)).collect();
        all.sort_unstable();
        all.into_iter()
            .map(|place| (place.1, !self.lanes.values().any(|lane| lane.unproposed.contains(&place))))
            .collect()
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

impl Load {
    fn has_room(self, bytes: usize, max: Load) -> bool {
        self.entries < max.entries && self.bytes + bytes <= max.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: usize) {
        self.entries -= 1;
        self.bytes -= bytes;
    }
}

impl Lane {
    /// An entry that came with number `arrival` is in no open proposal.
    fn line_up(&mut self, arrival: u64, entry: &Entry) {
        self.unproposed.insert((arrival, entry.digest()));
        if matches!(entry.body(), EntryBody::System(_)) {
            self.urgent.insert(entry.digest());
        }
    }

    /// An entry is in an open proposal, or gone.
    fn step_out(&mut self, arrival: u64, digest: &Digest) {
        self.unproposed.remove(&(arrival, *digest));
        self.urgent.remove(digest);
    }

    /// Whether it holds more than its part of one batch, where `lanes` are served in turn, and at least half of such
    /// a part was decided in this period: a primary that gives it less does not serve it in turn.
    fn is_crowded_and_served(&self, batch: BatchLimits, lanes: usize) -> bool {
        let exceeds = |load: Load, parts: usize| {
            load.entries * parts > batch.entries_max || load.bytes * parts > batch.bytes_max
        };
        exceeds(self.load, lanes) && exceeds(self.decided, 2 * lanes)
    }

    /// Counts one more entry that we vouch for, if there is room for it.
    fn pass(&mut self, bytes: usize, max: Load) -> bool {
        let fits = self.passed.has_room(bytes, max);
        if fits {
            self.passed.add(bytes);
        }
        fits
    }
}

/// Cuts entries that are to be forwarded into parts that fit into one message each.
#[must_use]
pub fn parcels(entries: Vec<Entry>, entries_max: usize) -> Vec<Vec<Entry>> {
    let mut parcels: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.bytes();
        match parcels.last_mut().filter(|p| p.len() < entries_max && bytes <= FORWARD_BYTES_MAX) {
            Some(parcel) => parcel.push(entry),
            None => {
                bytes = entry.bytes();
                parcels.push(vec![entry]);
            }
        }
    }
    parcels
}

/// Whether forwarded entries fit into one message and each of them into a batch.
///
/// # Errors
/// [`Refused::Shape`] or [`Refused::BatchLimit`].
pub fn check_parcel(entries: &[Entry], entries_max: usize, limits: BatchLimits) -> Result<(), Refused> {
    let bytes: usize = entries.iter().map(Entry::bytes).sum();
    if entries.len() > entries_max || (bytes > FORWARD_BYTES_MAX && entries.len() > 1) {
        return Err(Refused::Shape);
    }
    entries.iter().try_for_each(|entry| entry.check_size(limits))
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
        let mut pool = Pool::new(&Config::default(), 4);
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
    fn a_full_lane_and_a_greedy_client_are_refused() {
        let mut pool = Pool::new(&Config { pool_entries_max: 16, ..Config::default() }, 4);
        assert_eq!([1, 2, 3].map(|n| pool.add(entry(1, n))), [Added::New, Added::New, Added::Full]);
        let mut pool = Pool::new(&Config::default(), 4);
        let greedy = u64::from(CLIENT_ENTRIES_MAX);
        assert!((1..=greedy).all(|n| pool.add(entry(1, n)) == Added::New));
        assert_eq!(pool.add(entry(1, greedy + 1)), Added::Full);
        assert_eq!(pool.add(entry(2, 1)), Added::New);
        pool.remove(&entry(1, 1));
        assert_eq!(pool.add(entry(1, greedy + 1)), Added::New);
    }

    #[test]
    fn what_others_forward_takes_no_room_from_a_client_of_ours() {
        let mut pool = Pool::new(&Config::default(), 4);
        let flood = u64::from(CLIENT_ENTRIES_MAX) * 16;
        pool.forwarded(ReplicaId(3), (1..=flood).map(|n| entry(1, n)).collect());
        assert!(pool.len() <= Config::default().pool_entries_max as usize / 4);
        assert_eq!(pool.add(entry(1, flood + 1)), Added::New, "the client whose old requests came again");
        let of_another = vec![entry(2, 1)];
        assert_eq!(pool.forwarded(ReplicaId(2), of_another.clone()), of_another);
    }

    #[test]
    fn each_source_gets_its_turn_in_a_batch() {
        let mut pool = Pool::new(&Config::default(), 4);
        pool.forwarded(ReplicaId(3), (1..=9).map(|n| entry(1, n)).collect());
        pool.forwarded(ReplicaId(2), vec![entry(2, 1), entry(2, 2)]);
        pool.add(entry(3, 1));
        let taken = pool.take(limits(4));
        assert_eq!(taken, [entry(2, 1), entry(1, 1), entry(3, 1), entry(2, 2)]);
    }

    #[test]
    fn little_of_what_one_replica_forwards_is_passed_on_and_the_rest_blames_nobody() {
        let config = Config { pool_entries_max: 256, ..Config::default() };
        let mut pool = Pool::new(&config, 4);
        let passed = pool.forwarded(ReplicaId(3), (1..=64).map(|n| entry(1, n)).collect());
        assert_eq!(passed.len(), 256 / 4 / 16);
        assert_eq!(pool.all(), passed);
        passed.iter().for_each(|entry| pool.remove(entry));
        assert!(!pool.age(false).overdue);
        let shown = pool.age(false);
        assert_eq!((shown.relay.len(), shown.overdue), (passed.len(), false));
        shown.relay.iter().for_each(|entry| pool.remove(entry));
        assert!(!pool.age(false).overdue, "the rest waits here, but the primary does not know it from us");
    }

    #[test]
    fn an_entry_that_a_bad_replica_forwarded_first_is_still_vouched_for_when_its_client_comes() {
        let mut pool = Pool::new(&Config { pool_entries_max: 64, ..Config::default() }, 4);
        pool.forwarded(ReplicaId(3), (1..=9).map(|n| entry(1, n)).collect());
        assert_eq!(pool.add(entry(1, 9)), Added::New);
        assert!(pool.all().contains(&entry(1, 9)));
        assert_eq!(pool.add(entry(1, 9)), Added::Known);
    }

    fn command(author: u16, bytes: usize, mark: u8) -> Entry {
        let signature = smr_crypto::Signature([0; 64]);
        let payload = vec![mark; bytes];
        Entry::new(EntryBody::System(crate::SystemEntry { author: ReplicaId(author), payload, signature }))
    }

    #[test]
    fn commands_to_the_system_are_bounded_for_each_author_and_find_room_in_a_full_pool() {
        let mut pool = Pool::new(&Config { pool_entries_max: 16, ..Config::default() }, 4);
        assert_eq!([1, 2, 3].map(|n| pool.add(entry(1, n))), [Added::New, Added::New, Added::Full]);
        let many: Vec<Entry> = (0..100).map(|mark| command(3, 9, mark)).collect();
        assert_eq!(pool.forwarded(ReplicaId(3), many).len(), SYSTEM_ENTRIES_MAX);
        let large = (0..100).map(|mark| command(2, 60 << 10, mark)).collect();
        assert_eq!(pool.forwarded(ReplicaId(3), large).len(), SYSTEM_BYTES_MAX / (60 << 10));
        assert_eq!(pool.add(command(1, 100 << 10, 0)), Added::Full, "larger than any may be");
        assert_eq!(pool.add(command(0, 9, 0)), Added::New);
    }

    #[test]
    fn an_author_that_keeps_its_room_full_cannot_have_the_primary_blamed() {
        let mut pool = Pool::new(&Config::default(), 4);
        pool.forwarded(ReplicaId(3), vec![command(3, 9, 0)]);
        for mark in 1..=8 {
            pool.remove(&command(3, 9, mark));
        }
        assert!((0..9).all(|_| !pool.age(false).overdue));
        pool.forwarded(ReplicaId(2), vec![command(2, 9, 0)]);
        assert_eq!((0..3).map(|_| pool.age(false).overdue).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn parcels_keep_their_entries_and_bytes() {
        let large: Vec<Entry> = (0..100).map(|mark| command(0, 60 << 10, mark)).collect();
        let cut = parcels(large.clone(), 1024);
        assert!(cut.iter().all(|p| p.iter().map(Entry::bytes).sum::<usize>() <= FORWARD_BYTES_MAX));
        assert_eq!(cut.concat(), large);
        assert_eq!(parcels(large, 1).len(), 100);
    }

    #[test]
    fn a_batch_keeps_its_bytes_but_always_has_one_entry() {
        let mut pool = Pool::new(&Config::default(), 4);
        pool.add(entry(1, 1));
        pool.add(entry(1, 2));
        assert_eq!(pool.take(BatchLimits { entries_max: 9, bytes_max: 1 }).len(), 1);
    }

    #[test]
    fn under_load_only_what_was_passed_over_is_overdue() {
        let config = Config { batch_entries_max: 2, ..Config::default() };
        let mut pool = Pool::new(&config, 1);
        (1..=30).for_each(|number| assert_eq!(pool.add(entry(1, number)), Added::New));
        let decide = |pool: &mut Pool, numbers: [u64; 2]| {
            numbers.iter().for_each(|number| pool.remove(&entry(1, *number)));
            pool.age(true).overdue
        };
        for first in (1..10).step_by(2) {
            assert!(!decide(&mut pool, [first, first + 1]), "the queue is long, and it moves");
        }
        assert!(!decide(&mut pool, [12, 13]), "orders differ a little between replicas");
        assert!(decide(&mut pool, [14, 15]), "the eleventh was passed over");
        assert!(!decide(&mut pool, [11, 16]));
        assert!(pool.age(true).overdue, "nothing of this lane was decided in a whole period");
        let mut idle = Pool::new(&config, 1);
        idle.add(entry(1, 1));
        assert_eq!([true; 3].map(|progress| idle.age(progress).overdue), [false, false, true]);
    }

    #[test]
    fn an_entry_is_relayed_after_a_period_and_overdue_after_two() {
        let mut pool = Pool::new(&Config::default(), 4);
        pool.add(entry(1, 1));
        assert_eq!(pool.age(false), Aged::default());
        assert_eq!(pool.age(false), Aged { relay: vec![entry(1, 1)], overdue: false });
        assert_eq!(pool.age(false), Aged { relay: vec![], overdue: true });
        pool.restart();
        assert_eq!(pool.age(false), Aged::default());
    }
}
