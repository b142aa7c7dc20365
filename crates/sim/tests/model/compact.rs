//! Tables of numbers that hold millions of them in little more memory than the numbers take: open addressing, and
//! growth by half. Each table is many small ones, so threads seldom meet and growing one copies little.

use std::sync::Mutex;

/// Tables that one is made of.
pub(crate) const SHARDS: u64 = 256;

/// Where nothing stands. No key may be this.
const NOTHING: u64 = u64::MAX;

/// Places of a new table.
const PLACES: usize = 16;

/// Values by number.
#[derive(Debug)]
pub(crate) struct Compact<V>(Vec<Mutex<Places<V>>>);

/// Numbers.
pub(crate) type Marks = Compact<()>;

/// A table for one thread.
#[derive(Debug)]
pub(crate) struct Places<V> {
    keys: Vec<u64>,
    values: Vec<V>,
    held: usize,
}

impl<V: Copy + Default> Compact<V> {
    pub(crate) fn new() -> Compact<V> {
        Compact((0..SHARDS).map(|_| Mutex::new(Places::new())).collect())
    }

    /// Puts `value` at `key` unless something stands there. True if nothing did.
    pub(crate) fn add(&self, key: u64, value: V) -> bool {
        self.0[shard(key)].lock().unwrap().add(key, value)
    }

    pub(crate) fn get(&self, key: u64) -> Option<V> {
        self.0[shard(key)].lock().unwrap().get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().held).sum()
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().bytes()).sum()
    }
}

impl<V: Copy + Default> Places<V> {
    pub(crate) fn new() -> Places<V> {
        Places { keys: vec![NOTHING; PLACES], values: vec![V::default(); PLACES], held: 0 }
    }

    /// Puts `value` at `key` unless something stands there. True if nothing did.
    pub(crate) fn add(&mut self, key: u64, value: V) -> bool {
        assert!(key != NOTHING, "this number says that there is none");
        let place = self.find(key);
        if self.keys[place] == key {
            return false;
        }
        (self.keys[place], self.values[place]) = (key, value);
        self.held += 1;
        if self.held * 5 > self.keys.len() * 4 {
            self.grow();
        }
        true
    }

    pub(crate) fn get(&self, key: u64) -> Option<V> {
        let place = self.find(key);
        (self.keys[place] == key).then(|| self.values[place])
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() * (size_of::<u64>() + size_of::<V>())
    }

    /// Where `key` stands, or would.
    fn find(&self, key: u64) -> usize {
        let places = self.keys.len();
        let mut place = usize::try_from((u128::from(spread(key)) * places as u128) >> u64::BITS).unwrap();
        while self.keys[place] != key && self.keys[place] != NOTHING {
            place += 1;
            if place == places {
                place = 0;
            }
        }
        place
    }

    fn grow(&mut self) {
        let places = self.keys.len() + self.keys.len() / 2;
        let keys = std::mem::replace(&mut self.keys, vec![NOTHING; places]);
        let values = std::mem::replace(&mut self.values, vec![V::default(); places]);
        for (key, value) in keys.into_iter().zip(values).filter(|(key, _)| *key != NOTHING) {
            let place = self.find(key);
            (self.keys[place], self.values[place]) = (key, value);
        }
    }
}

/// In which of so many small tables a number stands.
pub(crate) fn shard(key: u64) -> usize {
    usize::try_from(spread(key) % SHARDS).unwrap()
}

/// Spreads numbers that differ little over all numbers, each to another one.
fn spread(key: u64) -> u64 {
    smr_sim::rng::Rng::new(key).draw()
}

#[test]
fn a_table_holds_what_was_put_in_and_nothing_else() {
    let table = Compact::new();
    let keys = || (0..10_000_u64).map(|number| number * number);
    assert!(keys().all(|key| table.add(key, key + 1)), "all are new");
    assert!(keys().all(|key| !table.add(key, 0)), "none is new");
    assert!(keys().all(|key| table.get(key) == Some(key + 1)));
    assert_eq!((table.get(2), table.len()), (None, 10_000));
    assert!(table.bytes() < 30 * 10_000, "{} bytes", table.bytes());
}
