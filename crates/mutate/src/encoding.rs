//! The bytes of a value, field by field, and ways to change them.

use std::io::{self, Write};
use std::ops::Range;

use borsh::BorshSerialize;

use crate::Dice;

/// The encoding of a value, and where its fields stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Encoding {
    bytes: Vec<u8>,
    fields: Vec<Range<usize>>,
}

/// Bytes that a list's length takes.
const LENGTH_BYTES: usize = 4;

/// Fields that one element of a list has at most, where elements are looked for.
const ELEMENT_FIELDS_MAX: usize = 256;

/// Elements of a list among which one is chosen.
const ELEMENTS_LOOKED_AT: usize = 8;

/// Changes that are made to one encoding at once, where many are.
const CHANGES_MAX: usize = 4;

impl Encoding {
    /// The encoding of `value`.
    ///
    /// # Panics
    /// Never: writing to memory cannot fail.
    #[must_use]
    pub fn of<T: BorshSerialize + ?Sized>(value: &T) -> Encoding {
        let mut encoding = Encoding::default();
        value.serialize(&mut encoding).expect("writing to memory cannot fail");
        encoding
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many fields there are: numbers, tags, lengths, and strings of bytes of fixed or written length.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields.len()
    }

    /// The bytes with one field changed by a little: a number by one, a tag or a fixed string of bytes to one seen in
    /// `others`, one bit of a string, or one element of a list left out or said twice. `reads` tells whether bytes are
    /// still a value of the type. None if no such change was found.
    pub fn small(
        &self,
        others: &[Encoding],
        dice: &mut Dice,
        reads: impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            let field = self.fields.get(dice.below(self.fields.len().max(1)))?.clone();
            let mut bytes = self.bytes.clone();
            match field.len() {
                LENGTH_BYTES if dice.chance(700) => {
                    let Some(changed) = self.change_list(&field, dice, &reads) else { continue };
                    bytes = changed;
                }
                1 | 2 | 4 | 8 if dice.chance(600) => nudge(&mut bytes[field], dice),
                _ if dice.chance(800) => {
                    if let Some(other) = self.other_field(others, field.len(), dice) {
                        bytes[field.clone()].copy_from_slice(other);
                    }
                    if bytes == self.bytes {
                        flip(&mut bytes[field], dice);
                    }
                }
                _ => flip(&mut bytes[field], dice),
            }
            if bytes != self.bytes && reads(&bytes) {
                return Some(bytes);
            }
        }
        None
    }

    /// The bytes after one to four changes of any kind, which may leave them without any meaning.
    pub fn wild(&self, others: &[Encoding], dice: &mut Dice, reads: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        if dice.chance(300)
            && let Some(bytes) = self.small(others, dice, &reads)
        {
            return bytes;
        }
        let mut bytes = self.bytes.clone();
        for _ in 0..=dice.below(CHANGES_MAX) {
            let Some(field) = dice.pick(&self.fields).cloned() else { break };
            // Earlier changes may have cut it off.
            let inside = field.end <= bytes.len();
            match dice.below(10) {
                0 | 1 if inside => nudge(&mut bytes[field], dice),
                2 | 3 if inside => extreme(&mut bytes[field], dice),
                4 if inside => {
                    if let Some(other) = self.other_field(others, field.len(), dice) {
                        bytes[field].copy_from_slice(other);
                    }
                }
                5 => {
                    if let Some(changed) = self.change_list(&field, dice, &reads) {
                        bytes = changed;
                    }
                }
                6 => bytes.truncate(dice.below(bytes.len().max(1))),
                7 => self.splice(&mut bytes, others, dice),
                8 => bytes.extend_from_slice(&dice.draw().to_le_bytes()),
                _ => {
                    if let at @ 1.. = bytes.len() {
                        let at = dice.below(at);
                        flip(&mut bytes[at..=at], dice);
                    }
                }
            }
        }
        bytes
    }

    /// Puts a few fields of another encoding, or of this one, in place of a few of these.
    fn splice(&self, bytes: &mut Vec<u8>, others: &[Encoding], dice: &mut Dice) {
        let donor = dice.pick(others).unwrap_or(self);
        let (Some(from), Some(to)) = (donor.some_fields(dice), self.some_fields(dice)) else { return };
        let to = to.start.min(bytes.len())..to.end.min(bytes.len());
        bytes.splice(to, donor.bytes[from].iter().copied());
    }

    /// Where a few fields stand that follow each other.
    fn some_fields(&self, dice: &mut Dice) -> Option<Range<usize>> {
        let first = dice.below(self.fields.len().max(1));
        let last = (first + dice.below(ELEMENTS_LOOKED_AT)).min(self.fields.len().saturating_sub(1));
        Some(self.fields.get(first)?.start..self.fields.get(last)?.end)
    }

    /// A field of `length` bytes of another encoding, or of this one.
    fn other_field<'a>(&'a self, others: &'a [Encoding], length: usize, dice: &mut Dice) -> Option<&'a [u8]> {
        let donor = if dice.chance(300) { self } else { dice.pick(others).unwrap_or(self) };
        let same: Vec<&Range<usize>> = donor.fields.iter().filter(|field| field.len() == length).collect();
        dice.pick(&same).map(|field| &donor.bytes[(*field).clone()])
    }

    /// The bytes with one element of the list whose length stands in `field` left out or said twice; none if no list
    /// with elements begins there.
    fn change_list(
        &self,
        field: &Range<usize>,
        dice: &mut Dice,
        reads: &impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let count = length_at(&self.bytes, field)?;
        let place = self.fields.iter().position(|other| other == field)?;
        let wanted = dice.below(usize::try_from(count).ok()?.clamp(1, ELEMENTS_LOOKED_AT));
        let mut first = place + 1;
        let mut element = self.element(field, count, first, reads)?;
        for _ in 0..wanted {
            first = self.fields.iter().position(|other| other.start >= element.end)?;
            let Some(next) = self.element(field, count, first, reads) else { break };
            element = next;
        }
        Some(if dice.chance(500) {
            self.without(field, count, &element)
        } else {
            let mut bytes = self.bytes.clone();
            let again = self.bytes[element.clone()].to_vec();
            bytes.splice(element.end..element.end, again);
            bytes[field.clone()].copy_from_slice(&count.saturating_add(1).to_le_bytes());
            bytes
        })
    }

    /// Where the element that begins with the field `first` stands: what can be taken out of the list so that the rest
    /// still reads.
    fn element(
        &self,
        length: &Range<usize>,
        count: u32,
        first: usize,
        reads: &impl Fn(&[u8]) -> bool,
    ) -> Option<Range<usize>> {
        if count == 0 {
            return None;
        }
        let fields = self.fields.get(first..)?;
        let start = fields.first()?.start;
        // A list of bytes is one field; its elements are of no interest.
        let candidates = fields.iter().take(ELEMENT_FIELDS_MAX).map(|last| start..last.end);
        candidates.into_iter().find(|element| reads(&self.without(length, count, element)))
    }

    fn without(&self, length: &Range<usize>, count: u32, element: &Range<usize>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[length.clone()].copy_from_slice(&count.saturating_sub(1).to_le_bytes());
        bytes.drain(element.clone());
        bytes
    }
}

impl Write for Encoding {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(written);
        self.fields.push(start..self.bytes.len());
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn length_at(bytes: &[u8], field: &Range<usize>) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(field.clone())?.try_into().ok()?))
}

/// One more or one less, as a little-endian number of at most eight bytes; longer fields lose or gain a bit.
fn nudge(field: &mut [u8], dice: &mut Dice) {
    if field.len() > 8 {
        return flip(field, dice);
    }
    let mut wide = [0; 8];
    wide[..field.len()].copy_from_slice(field);
    let number = u64::from_le_bytes(wide);
    let changed = if dice.chance(500) { number.wrapping_add(1) } else { number.wrapping_sub(1) };
    field.copy_from_slice(&changed.to_le_bytes()[..field.len()]);
}

/// Zero, one, the largest, the middle, or about that.
fn extreme(field: &mut [u8], dice: &mut Dice) {
    let fill = *dice.pick(&[0x00, 0xff, 0x7f, 0x80]).expect("four of them");
    field.fill(fill);
    if dice.chance(500) {
        nudge(field, dice);
    }
}

fn flip(field: &mut [u8], dice: &mut Dice) {
    if !field.is_empty() {
        let at = dice.below(field.len());
        field[at] ^= 1 << dice.below(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    type Value = (u8, Vec<(u16, [u8; 3])>, u64, Vec<Vec<u8>>);

    fn value() -> Value {
        (1, vec![(7, [1; 3]), (8, [2; 3]), (9, [3; 3])], 40, vec![b"ab".to_vec(), Vec::new()])
    }

    fn reads(bytes: &[u8]) -> bool {
        borsh::from_slice::<Value>(bytes).is_ok()
    }

    #[test]
    fn every_write_is_a_field() {
        let encoding = Encoding::of(&value());
        let lengths: Vec<usize> = encoding.fields.iter().map(ExactSizeIterator::len).collect();
        assert_eq!(lengths, [1, 4, 2, 3, 2, 3, 2, 3, 8, 4, 4, 2, 4]);
        assert_eq!(encoding.bytes(), borsh::to_vec(&value()).unwrap());
    }

    #[test]
    fn small_changes_read_and_reach_every_kind_of_field() {
        let encoding = Encoding::of(&value());
        let others = [Encoding::of(&(3u8, [9u8; 3], 70u64))];
        let mut dice = Dice::new(1);
        let mut seen = BTreeSet::new();
        for _ in 0..3_000 {
            let bytes = encoding.small(&others, &mut dice, reads).expect("much can be changed");
            let (tag, list, number, texts) = borsh::from_slice::<Value>(&bytes).expect("it reads");
            let (before_tag, before_list, before_number, before_texts) = value();
            let changes = [
                (tag != before_tag, "tag"),
                (number.abs_diff(before_number) == 1, "number by one"),
                (number == 70, "number of another"),
                (list.len() == 2, "element left out"),
                (list.len() == 4, "element said twice"),
                (list == before_list[1..], "the first left out"),
                (list == before_list[..2], "the last left out"),
                (list.iter().any(|(_, bytes)| *bytes == [9; 3]), "bytes of another"),
                (texts.len() != before_texts.len(), "a list of lists"),
            ];
            seen.extend(changes.into_iter().filter(|(is, _)| *is).map(|(_, what)| what));
        }
        assert_eq!(seen.len(), 9, "only these happened: {seen:?}");
    }

    #[test]
    fn the_same_dice_make_the_same_changes_and_an_empty_value_is_no_trouble() {
        let encoding = Encoding::of(&value());
        let wild = |seed| encoding.wild(&[], &mut Dice::new(seed), reads);
        assert_eq!(wild(5), wild(5));
        let some: BTreeSet<Vec<u8>> = (0..200).map(wild).collect();
        assert!(some.len() > 150, "only {} differ", some.len());
        let nothing = Encoding::of(&());
        assert_eq!(nothing.small(&[], &mut Dice::new(1), |_| true), None);
        assert!(nothing.wild(&[], &mut Dice::new(1), |_| true).is_empty());
    }
}
