//! Entries by key, in order: what an author sees of a table.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use borsh::{BorshDeserialize, BorshSerialize};
use smr_uds::MutexGuard;

use super::key::{Key, KeyBytes};
use super::stripes::{KEY_BYTES_MAX, Stripe, Stripes, VALUE_BYTES_MAX};
use super::tree::{Load, Tree};
use super::view::{View, Whole};

/// What a container may hold: anything with a canonical encoding.
pub trait Value: BorshSerialize + BorshDeserialize + Send + Sync + 'static {}

impl<T: BorshSerialize + BorshDeserialize + Send + Sync + 'static> Value for T {}

/// Entries by key, in the order of keys. Cheap to clone; all clones are the same table.
///
/// Entries are spread over locks by their keys, so commands on different keys run side by side, nearly always. **Hold
/// no more than one lock of a table at a time:** two entries may share it, and who asks for it twice ends with a
/// fault. Whoever needs several entries asks for them in one call, [`Table::lock_each`] or [`Table::lock_all`], which
/// take the locks in an order that cannot lead into a circle. Whoever holds entries of several tables takes the tables
/// in one order everywhere.
///
/// A value is decoded when it is looked at and encoded when its guard is dropped; what the encoding is not long enough
/// or too long for (a value's own `BorshSerialize` fails) leaves the entry as it was.
pub struct Table<K, V> {
    stripes: Arc<Stripes>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Value> Table<K, V> {
    pub(super) fn new(name: &str, stripes: u32) -> Table<K, V> {
        let fits = |key: &[u8], value: &[u8]| {
            K::from_key_bytes(key).is_some_and(|read| *read.key_bytes() == *key)
                && borsh::from_slice::<V>(value).is_ok()
        };
        Table { stripes: Arc::new(Stripes::new(name, stripes, fits)), types: PhantomData }
    }

    pub(super) fn stripes(&self) -> &Arc<Stripes> {
        &self.stripes
    }

    /// The value of `key`.
    pub async fn get<Q: KeyBytes<Of = K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let key = key.key_bytes();
        let tree = self.stripes.of(&key).tree.lock().await;
        tree.get(&key).map(decode)
    }

    /// Whether `key` has a value.
    pub async fn contains<Q: KeyBytes<Of = K> + ?Sized>(&self, key: &Q) -> bool {
        let key = key.key_bytes();
        self.stripes.of(&key).tree.lock().await.get(&key).is_some()
    }

    /// Gives `key` this value.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`], or the value than [`VALUE_BYTES_MAX`], which ends the command with a fault.
    pub async fn insert<Q: KeyBytes<Of = K> + ?Sized>(&self, key: &Q, value: &V) {
        let key = key.key_bytes();
        // Encoded before the lock is taken, side by side with other commands.
        let Ok(value) = borsh::to_vec(value) else { return };
        assert!(fits(&value), "{TOO_LONG}");
        self.stripes.of(writable(&key)).tree.lock().await.set(&key, &value);
    }

    /// Takes the value from `key`; whether it had one.
    pub async fn remove<Q: KeyBytes<Of = K> + ?Sized>(&self, key: &Q) -> bool {
        let key = key.key_bytes();
        let mut tree = self.stripes.of(&key).tree.lock().await;
        tree.get(&key).is_some() && tree.remove(&key)
    }

    /// The entry of `key`, whether it has a value or not, until the guard is dropped.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`], which ends the command with a fault.
    pub async fn lock<Q: KeyBytes<Of = K> + ?Sized>(&self, key: &Q) -> Entry<'_, V> {
        let key = key.key_bytes().into_owned();
        let stripe = self.stripes.of(writable(&key));
        Entry::new(stripe, stripe.tree.lock().await, key)
    }

    /// The entries of these keys, which are all different.
    ///
    /// # Panics
    /// If two are equal or one is longer than [`KEY_BYTES_MAX`], which ends the command with a fault.
    pub async fn lock_each<Q: KeyBytes<Of = K> + ?Sized, const N: usize>(
        &self,
        keys: [&Q; N],
    ) -> Entries<'_, V, N> {
        let keys = keys.map(|key| key.key_bytes().into_owned());
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "a key was given twice");
            writable(key);
        }
        let mut places = keys.each_ref().map(|key| self.stripes.place_of(key)).to_vec();
        places.sort_unstable();
        places.dedup();
        let mut guards = Vec::with_capacity(places.len());
        for place in places {
            guards.push((place, self.stripes.at(place).tree.lock().await));
        }
        let places = keys.each_ref().map(|key| {
            let place = self.stripes.place_of(key);
            guards.iter().position(|(other, _)| *other == place).expect("all were locked")
        });
        let mut value = keys.iter().zip(places).map(|(key, place)| guards[place].1.get(key).map(decode));
        let values = std::array::from_fn(|_| value.next().expect("as many as keys"));
        drop(value);
        Entries { stripes: &self.stripes, guards, keys, places, values, wrote: false }
    }

    /// All entries at one moment. Holds no lock, so what it shows may have changed since: good for answers, not for a
    /// decision about what to write. Whoever writes after it copies the pages that it shows.
    pub async fn view(&self) -> View<K, V> {
        View::new(self.stripes.view().await)
    }

    /// All entries, those that are not there included, until the guard is dropped.
    pub async fn lock_all(&self) -> Whole<'_, K, V> {
        Whole::new(&self.stripes, self.stripes.lock_all().await)
    }

    /// What the table holds, while no command runs.
    #[must_use]
    pub fn view_at_rest(&self) -> View<K, V> {
        View::new(self.stripes.at_rest())
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Table<K, V> {
        Table { stripes: Arc::clone(&self.stripes), types: PhantomData }
    }
}

impl<K, V> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Table").field(&self.stripes.name).finish()
    }
}

pub(super) fn decode<V: Value>(bytes: &[u8]) -> V {
    borsh::from_slice(bytes).expect("what a table holds was encoded from its types, or checked")
}

/// A key that may be written. Asked before its lock is taken, since a guard that is dropped must not fail.
pub(super) fn writable(key: &[u8]) -> &[u8] {
    let bytes = key.len();
    assert!(bytes <= KEY_BYTES_MAX, "a key has {bytes} bytes, but at most {KEY_BYTES_MAX} are allowed");
    key
}

/// Whether a value may be written.
pub(super) fn fits(value: &[u8]) -> bool {
    value.len() <= VALUE_BYTES_MAX
}

pub(super) const TOO_LONG: &str = "a value has more than VALUE_BYTES_MAX = 1 MiB bytes";

/// Writes back what has become of a value. Nothing is written if it is what it was. One that is too long ends the command with a
/// fault, and the value stays what it was.
fn write_back<V: Value>(tree: &mut Tree, key: &[u8], value: Option<&V>) {
    match value.map(borsh::to_vec) {
        // A command that has failed already cannot fail again.
        Some(Ok(value)) if !fits(&value) => assert!(smr_uds::executor::is_panicking(), "{TOO_LONG}"),
        Some(Ok(value)) => tree.set(key, &value),
        Some(Err(_)) => {}
        None if tree.get(key).is_some() => {
            tree.remove(key);
        }
        None => {}
    }
}

/// An entry, locked: a guard of its value, which is none if the key has none. To write a value is to put one there;
/// what is there when the guard is dropped is what the table holds; a value longer than [`VALUE_BYTES_MAX`] ends the command with a
/// fault then.
pub struct Entry<'a, V: Value> {
    stripe: &'a Stripe,
    /// Present until a wait.
    tree: Option<MutexGuard<'a, Tree>>,
    key: Vec<u8>,
    /// Decoded when it is first looked at.
    value: OnceLock<Option<V>>,
    wrote: bool,
}

const HELD: &str = "an entry has its lock until it waits or is dropped";

impl<'a, V: Value> Entry<'a, V> {
    fn new(stripe: &'a Stripe, tree: MutexGuard<'a, Tree>, key: Vec<u8>) -> Entry<'a, V> {
        Entry { stripe, tree: Some(tree), key, value: OnceLock::new(), wrote: false }
    }

    /// Puts a value there without a look at the one before.
    pub fn set(&mut self, value: V) {
        self.value = OnceLock::from(Some(value));
        self.wrote = true;
    }

    /// Takes the value away without a look at it.
    pub fn clear(&mut self) {
        self.value = OnceLock::from(None);
        self.wrote = true;
    }

    /// The encoding of the value that the table holds: what was there when the lock was taken.
    #[must_use]
    pub fn stored(&self) -> Option<&[u8]> {
        self.tree().get(&self.key)
    }

    /// All entries that share this one's lock, as the table holds them: for whoever keeps to a limit of bytes without
    /// a lock that all writers share.
    #[must_use]
    pub fn load(&self) -> Load {
        self.tree().load()
    }

    /// Gives the lock back until somebody calls [`Entry::notify_all`], here or at an entry that shares the lock: so
    /// look again whether there is anything to go on with. See [`smr_uds::Condvar::wait`] and
    /// [`crate::Application::execute`] for what may wait, and how.
    #[must_use = "the entry is locked again"]
    pub async fn wait(mut self) -> Entry<'a, V> {
        self.flush();
        let (stripe, key) = (self.stripe, std::mem::take(&mut self.key));
        let tree = self.tree.take().expect(HELD);
        drop(self);
        Entry::new(stripe, stripe.changed.wait(tree).await, key)
    }

    /// Waits as long as `condition` holds of the value.
    #[must_use = "the entry is locked again"]
    pub async fn wait_while(mut self, condition: impl Fn(&Option<V>) -> bool) -> Entry<'a, V> {
        while condition(&self) {
            self = self.wait().await;
        }
        self
    }

    /// Wakes all who wait at this entry. Takes a turn, as a lock does.
    pub async fn notify_all(&mut self) {
        self.stripe.changed.notify_all().await;
    }

    fn tree(&self) -> &Tree {
        self.tree.as_deref().expect(HELD)
    }

    /// Touches the tree for writing only if there is something to write: who has done so may not wait any more.
    fn flush(&mut self) {
        if std::mem::take(&mut self.wrote)
            && let Some(tree) = self.tree.as_deref_mut()
        {
            write_back(tree, &self.key, self.value.get().and_then(Option::as_ref));
        }
    }
}

impl<V: Value> Deref for Entry<'_, V> {
    type Target = Option<V>;

    fn deref(&self) -> &Option<V> {
        self.value.get_or_init(|| self.tree().get(&self.key).map(decode))
    }
}

impl<V: Value> DerefMut for Entry<'_, V> {
    fn deref_mut(&mut self) -> &mut Option<V> {
        let _ = &**self;
        self.wrote = true;
        self.value.get_mut().expect("just decoded")
    }
}

impl<V: Value> Drop for Entry<'_, V> {
    fn drop(&mut self) {
        // Without its tree it has given its lock to a wait, and has written back before.
        self.flush();
    }
}

impl<V: Value> std::fmt::Debug for Entry<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Several entries, locked: a guard of their values, in the order in which their keys were given.
pub struct Entries<'a, V: Value, const N: usize> {
    stripes: &'a Stripes,
    /// With their places among the stripes, in order.
    guards: Vec<(usize, MutexGuard<'a, Tree>)>,
    keys: [Vec<u8>; N],
    /// Which of the guards each key is under.
    places: [usize; N],
    values: [Option<V>; N],
    wrote: bool,
}

impl<V: Value, const N: usize> Entries<'_, V, N> {
    /// Wakes all who wait at the entry at `index`. Takes a turn, as a lock does.
    pub async fn notify_all(&mut self, index: usize) {
        self.stripes.at(self.guards[self.places[index]].0).changed.notify_all().await;
    }
}

impl<V: Value, const N: usize> Deref for Entries<'_, V, N> {
    type Target = [Option<V>; N];

    fn deref(&self) -> &[Option<V>; N] {
        &self.values
    }
}

impl<V: Value, const N: usize> DerefMut for Entries<'_, V, N> {
    fn deref_mut(&mut self) -> &mut [Option<V>; N] {
        self.wrote = true;
        &mut self.values
    }
}

impl<V: Value, const N: usize> Drop for Entries<'_, V, N> {
    fn drop(&mut self) {
        if self.wrote {
            for ((key, place), value) in self.keys.iter().zip(self.places).zip(&self.values) {
                write_back(&mut self.guards[place].1, key, value.as_ref());
            }
        }
    }
}

impl<V: Value, const N: usize> std::fmt::Debug for Entries<'_, V, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("keys", &self.keys).finish_non_exhaustive()
    }
}
