//! A page: a run of neighbouring entries as the bytes that a checkpoint holds of them, so nothing is kept twice and
//! nothing is serialised. What is written in the house is bytes; a task decodes the value that it looks at.
//!
//! ```text
//!   entry*  start*  count      starts of the entries, and how many there are: 16 bits each, little endian
//!   entry = len(key) key value      the length in groups of seven bits, the value up to the next entry
//! ```
//!
//! Entries ascend by key. Several in a page have [`PAGE_BYTES_MAX`] bytes at most, so that their starts fit; one
//! alone may be of any length.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use smr_crypto::{Digest, merkle};

use crate::known_bugs;

/// Bytes of a page with several entries. More makes the first write after a cut, which copies the page, and every
/// later one, which moves half of it, take longer, and a checkpoint of few changes larger; fewer makes more chunks.
pub(super) const PAGE_BYTES_MAX: usize = 4 << 10;

/// Below this a page looks for a neighbour to be one with.
const PAGE_BYTES_MIN: usize = PAGE_BYTES_MAX / 4;

/// Two neighbours become one up to this length, so that it is not cut up again at once.
const MERGED_BYTES_MAX: usize = PAGE_BYTES_MAX / 2;

/// Room for growth in a page that is changed, so that not every entry more moves it.
const SLACK_BYTES: usize = 128;

const _: () = assert!(PAGE_BYTES_MAX <= u16::MAX as usize, "starts have 16 bits");

/// An entry's encoding, whose key is the first part.
type Entry<'a> = &'a [u8];

#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Of the bytes; none since they were written.
    digest: OnceLock<Digest>,
}

impl Page {
    /// Any bytes, for a chunk.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Page {
        Page { bytes, digest: OnceLock::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A leaf of the checkpoint's tree. Computed once for the bytes that the page has now.
    pub(super) fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| merkle::leaf(&self.bytes))
    }

    /// The digest, if it is known.
    pub(super) fn known_digest(&self) -> Option<Digest> {
        self.digest.get().copied()
    }

    /// Whether the bytes in memory are still those of the digest.
    pub(super) fn is_sound(&self) -> bool {
        self.digest.get().is_none_or(|digest| *digest == merkle::leaf(&self.bytes))
    }

    /// A page with these entries, in as many as it takes. `ascending`: the last one has come behind all others, so
    /// more of that kind are to be expected, and the pages before it are left full.
    fn cut_up(entries: &[Entry<'_>], ascending: bool, pages: &mut Vec<Arc<Page>>) {
        let bytes: usize = entries.iter().map(|entry| entry.len() + 2).sum::<usize>() + 2;
        if bytes <= PAGE_BYTES_MAX || entries.len() == 1 {
            return pages.push(Arc::new(Page::of_entries(entries, bytes)));
        }
        let mut before = 0;
        let half = if ascending {
            entries.len() - 1
        } else {
            let half = entries.iter().position(|entry| {
                before += entry.len() + 2;
                before >= bytes / 2
            });
            half.unwrap_or(0).clamp(1, entries.len() - 1)
        };
        let (left, right) = entries.split_at(half);
        Page::cut_up(left, false, pages);
        Page::cut_up(right, false, pages);
    }

    fn of_entries(entries: &[Entry<'_>], len: usize) -> Page {
        let mut bytes = Vec::with_capacity(len);
        entries.iter().for_each(|entry| bytes.extend_from_slice(entry));
        let mut start = 0;
        for entry in entries {
            bytes.extend(short(start));
            start += entry.len();
        }
        bytes.extend(short(entries.len()));
        Page::of_bytes(bytes)
    }

    /// A page of one entry.
    pub(super) fn new(key: &[u8], value: &[u8]) -> Page {
        let entry = encode(key, value);
        Page::of_entries(&[&entry], entry.len() + 4)
    }

    pub(super) fn count(&self) -> usize {
        self.short_at(self.bytes.len() - 2)
    }

    /// Key and value of the entry at `index`.
    pub(super) fn entry(&self, index: usize) -> (&[u8], &[u8]) {
        let (len, rest) = decode_len(&self.bytes[self.range(index)]).expect(CHECKED);
        rest.split_at(len)
    }

    /// The key of the first entry, which is at the beginning: one look at the memory.
    pub(super) fn first_key(&self) -> &[u8] {
        key_of(&self.bytes)
    }

    /// Where the entry of `key` is, or would be.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let count = self.count();
        let starts = self.bytes.len() - 2 - 2 * count;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            match key_of(&self.bytes[self.short_at(starts + 2 * middle)..starts]).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn short_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    /// Where the starts begin, which is where the entries end.
    fn starts(&self) -> usize {
        self.bytes.len() - 2 - 2 * self.count()
    }

    /// Where the entry at `index` is.
    fn range(&self, index: usize) -> Range<usize> {
        let starts = self.starts();
        let start = self.short_at(starts + 2 * index);
        let last = index + 1 == self.count();
        start..if last { starts } else { self.short_at(starts + 2 * index + 2) }
    }

    /// Where the value of the entry at `index` is.
    fn value_range(&self, index: usize) -> Range<usize> {
        let entry = self.range(index);
        let (_, value) = self.entry(index);
        entry.end - value.len()..entry.end
    }

    /// Puts an entry in the place of one, or before the one at `found`. In place if it does not grow too long, which
    /// copies the page first if others have it; otherwise what comes of it.
    pub(super) fn put(page: &mut Arc<Page>, found: Result<usize, usize>, key: &[u8], value: &[u8]) -> Put {
        let (index, old) = match found {
            // The key stays where it is.
            Ok(index) => (index, page.value_range(index)),
            Err(index) => {
                let at = if index == page.count() { page.starts() } else { page.range(index).start };
                (index, at..at)
            }
        };
        let new = if found.is_ok() { value.len() } else { encoded_len(key) + key.len() + value.len() + 2 };
        let alone = page.count() == 1 && found.is_ok();
        if !alone && page.bytes.len() - old.len() + new > PAGE_BYTES_MAX {
            let entry = encode(key, value);
            let mut entries: Vec<Entry<'_>> = page.entries().collect();
            let ascending = found == Err(entries.len());
            entries.splice(index..index + usize::from(found.is_ok()), [entry.as_slice()]);
            let mut pages = Vec::new();
            Page::cut_up(&entries, ascending, &mut pages);
            return Put::CutUp(pages);
        }
        let own = Page::writable(page, new.saturating_sub(old.len()));
        if found.is_ok() {
            own.resize_entry(index, old, value);
        } else {
            let starts = own.starts();
            own.replace(starts + 2 * index..starts + 2 * index, &short(old.start));
            own.set_count((own.bytes.len() - 2 - starts) / 2);
            own.resize_entry(index, old, &encode(key, value));
        }
        Put::InPlace
    }

    /// Takes the entry at `index` out, which is not the only one.
    pub(super) fn remove(page: &mut Arc<Page>, index: usize) {
        let own = Page::writable(page, 0);
        let (old, starts, count) = (own.range(index), own.starts(), own.count());
        own.resize_entry(index, old.clone(), &[]);
        let starts = starts - old.len();
        own.replace(starts + 2 * index..starts + 2 * index + 2, &[]);
        own.set_count(count - 1);
    }

    fn set_count(&mut self, count: usize) {
        let at = self.bytes.len() - 2;
        self.bytes[at..].copy_from_slice(&short(count));
    }

    /// Whether it should become one with a neighbour.
    pub(super) fn is_short(&self) -> bool {
        self.bytes.len() < PAGE_BYTES_MIN
    }

    /// One page of both, if it is not too long.
    pub(super) fn merged(left: &Page, right: &Page) -> Option<Page> {
        let (one, other) = (left.bytes.len(), right.bytes.len());
        if one + other > MERGED_BYTES_MAX {
            return None;
        }
        let entries: Vec<Entry<'_>> = left.entries().chain(right.entries()).collect();
        Some(Page::of_entries(&entries, one + other - 2))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.count()).map(|index| &self.bytes[self.range(index)])
    }

    /// The page for a write that adds so many bytes: itself if nobody else has it, otherwise a copy.
    fn writable(page: &mut Arc<Page>, more: usize) -> &mut Page {
        let forgets = known_bugs::WRITE_NOT_MARKED.is_on();
        match Arc::get_mut(page) {
            Some(own) if forgets => own.digest = own.digest.clone(),
            Some(own) => own.digest = OnceLock::new(),
            None => {
                let mut bytes = Vec::with_capacity(page.bytes.len() + more + SLACK_BYTES);
                bytes.extend_from_slice(&page.bytes);
                let digest = if forgets { page.digest.clone() } else { OnceLock::new() };
                *page = Arc::new(Page { bytes, digest });
            }
        }
        Arc::get_mut(page).expect("nobody else has it")
    }

    /// What ends with the entry at `index`, and was at `old`, becomes `new`; the entries behind it move.
    fn resize_entry(&mut self, index: usize, old: Range<usize>, new: &[u8]) {
        let (before, after) = (old.len(), new.len());
        self.replace(old, new);
        if before == after {
            return;
        }
        let first = self.bytes.len() - 2 - 2 * (self.count() - index - 1);
        let end = self.bytes.len() - 2;
        for start in self.bytes[first..end].chunks_exact_mut(2) {
            let moved = usize::from(u16::from_le_bytes([start[0], start[1]])) + after - before;
            start.copy_from_slice(&short(moved));
        }
    }

    fn replace(&mut self, old: Range<usize>, new: &[u8]) {
        let len = self.bytes.len();
        let end = old.start + new.len();
        if end > old.end {
            if self.bytes.capacity() < len + end - old.end {
                self.bytes.reserve_exact(end - old.end + SLACK_BYTES);
            }
            self.bytes.resize(len + end - old.end, 0);
            self.bytes.copy_within(old.end..len, end);
        } else {
            self.bytes.copy_within(old.end.., end);
            self.bytes.truncate(len + end - old.end);
        }
        self.bytes[old.start..end].copy_from_slice(new);
    }

    /// Whether the bytes, which may come from anywhere, are a page in its one encoding.
    pub(super) fn is_well_formed(&self) -> bool {
        let Some(end) = self.bytes.len().checked_sub(2) else { return false };
        let count = self.short_at(end);
        let Some(starts) = end.checked_sub(2 * count).filter(|_| count > 0) else { return false };
        if count > 1 && self.bytes.len() > PAGE_BYTES_MAX {
            return false;
        }
        let mut ends = (1..count).map(|index| self.short_at(starts + 2 * index)).chain([starts]);
        let mut start = self.short_at(starts);
        let mut last: Option<&[u8]> = None;
        start == 0
            && ends.all(|end| {
                let entry = self.bytes.get(start..end).filter(|_| end <= starts);
                let Some((len, rest)) = entry.and_then(decode_len) else { return false };
                let Some(key) = rest.get(..len) else { return false };
                start = end;
                last.replace(key).is_none_or(|last| last < key)
            })
    }
}

/// What came of putting an entry into a page.
pub(super) enum Put {
    /// The page holds it.
    InPlace,
    /// These pages are to take the place of that one.
    CutUp(Vec<Arc<Page>>),
}

const CHECKED: &str = "pages are written here, or checked when they come from outside";

/// An entry's bytes.
fn encode(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + value.len() + 3);
    let mut len = key.len();
    while len >= 0x80 {
        bytes.push(low_bits(len) | 0x80);
        len >>= 7;
    }
    bytes.push(low_bits(len));
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes
}

/// The key of the entry with which these bytes begin.
fn key_of(bytes: &[u8]) -> &[u8] {
    let (len, rest) = decode_len(bytes).expect(CHECKED);
    &rest[..len]
}

/// Bytes that the length of a key takes.
fn encoded_len(key: &[u8]) -> usize {
    (usize::BITS - key.len().leading_zeros()).div_ceil(7).max(1) as usize
}

fn low_bits(len: usize) -> u8 {
    u8::try_from(len & 0x7f).expect("seven bits")
}

/// A length in its shortest encoding, and what comes behind it.
#[inline]
fn decode_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    if let [len @ ..0x80, rest @ ..] = bytes {
        return Some((usize::from(*len), rest));
    }
    let (mut len, mut shift) = (0, 0);
    for (place, byte) in bytes.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (*byte != 0 || place == 0).then_some((len, &bytes[place + 1..]));
        }
        shift += 7;
    }
    None
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("a page of several entries is short").to_le_bytes()
}

impl Page {
    /// A copy with one bit of its bytes flipped, counted round, and the digest that it had: what a fault of the memory leaves.
    pub(super) fn flipped(&self, bit: usize) -> Page {
        let mut bytes = self.bytes.clone();
        let place = (bit / 8) % bytes.len();
        bytes[place] ^= 1 << (bit % 8);
        Page { bytes, digest: self.digest.clone() }
    }
}
