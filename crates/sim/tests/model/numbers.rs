//! Values that occur many times over, kept once and named by numbers.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, RwLock};

/// Values by number. The same value has the same number always.
#[derive(Debug)]
pub(crate) struct Numbers<T>(RwLock<Table<T>>);

#[derive(Debug)]
struct Table<T> {
    /// By a hash first, so that values are seldom compared.
    numbers: BTreeMap<(u64, Arc<T>), u32>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Numbers<T> {
        Numbers(RwLock::new(Table { numbers: BTreeMap::new(), values: Vec::new() }))
    }
}

impl<T: Ord + Hash> Numbers<T> {
    pub(crate) fn of(&self, value: T) -> u32 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let key = (hasher.finish(), Arc::new(value));
        if let Some(number) = self.0.read().unwrap().numbers.get(&key) {
            return *number;
        }
        let mut table = self.0.write().unwrap();
        let next = u32::try_from(table.values.len()).unwrap();
        let value = key.1.clone();
        let number = *table.numbers.entry(key).or_insert(next);
        if number == next {
            table.values.push(value);
        }
        number
    }

    pub(crate) fn value(&self, number: u32) -> Arc<T> {
        self.0.read().unwrap().values[number as usize].clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap().values.len()
    }
}
