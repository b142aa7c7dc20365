//! Lists of numbers by a number, as many as there is memory for.

use std::sync::Mutex;

use crate::compact::{Places, SHARDS, shard};

/// Lists that are forgotten, as many as share a table, when these take more than their part of the memory.
#[derive(Debug)]
pub(crate) struct Lists {
    part_bytes_max: usize,
    parts: Vec<Mutex<Part>>,
}

#[derive(Debug)]
struct Part {
    /// Where each list begins.
    begin: Places<u32>,
    /// Of each list its length, then what is in it.
    lists: Vec<u32>,
}

impl Lists {
    pub(crate) fn new(bytes_max: usize) -> Lists {
        let parts: Vec<Mutex<Part>> = (0..SHARDS).map(|_| Mutex::new(Part::new())).collect();
        Lists { part_bytes_max: bytes_max / parts.len(), parts }
    }

    /// Adds the list of this key to `all`. False if there is none.
    pub(crate) fn get(&self, key: u64, all: &mut Vec<u32>) -> bool {
        let part = self.parts[shard(key)].lock().unwrap();
        let Some(begin) = part.begin.get(key) else { return false };
        let list = &part.lists[begin as usize..];
        all.extend_from_slice(&list[1..=list[0] as usize]);
        true
    }

    pub(crate) fn put(&self, key: u64, list: &[u32]) {
        let mut part = self.parts[shard(key)].lock().unwrap();
        if part.bytes() > self.part_bytes_max {
            *part = Part::new();
        }
        let begin = u32::try_from(part.lists.len()).unwrap();
        if part.begin.add(key, begin) {
            part.lists.push(u32::try_from(list.len()).unwrap());
            part.lists.extend_from_slice(list);
        }
    }
}

impl Part {
    fn new() -> Part {
        Part { begin: Places::new(), lists: Vec::new() }
    }

    /// The memory that it takes.
    fn bytes(&self) -> usize {
        self.begin.bytes() + self.lists.capacity() * size_of::<u32>()
    }
}
