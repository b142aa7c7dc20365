//! Changes to texts that people or programs write: descriptions, descriptors, questions of an administrator.

use crate::Dice;

/// What a text is cut into and put together from.
const PIECES: &[&str] = &[
    "",
    " ",
    "\n",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "[",
    "]",
    "{",
    "}",
    "=",
    ":",
    ",",
    ".",
    "#",
    "0",
    "1",
    "-1",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "0x10",
    "nan",
    "true",
    "null",
    "[[",
    "]]",
    "ms",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "\u{1f980}",
    "\u{7f}",
];

/// Nested brackets that are put in at once.
const NESTED: usize = 3_000;

/// `text` after one to four changes: words put in, left out, said twice, exchanged with those of `other`, and cuts.
pub fn change(text: &str, other: &str, dice: &mut Dice) -> String {
    let mut changed = text.to_string();
    for _ in 0..=dice.below(4) {
        let (here, there) = (word(&changed, dice), word(other, dice));
        match dice.below(8) {
            0 => changed.replace_range(here, ""),
            1 => {
                let again = changed[here.clone()].to_string();
                changed.insert_str(here.end, &again);
            }
            2 | 3 => changed.replace_range(here, &other[there]),
            4 => changed.replace_range(here, dice.pick(PIECES).expect("some")),
            5 => changed.insert_str(here.start, dice.pick(PIECES).expect("some")),
            6 if dice.chance(50) => {
                let piece = *dice.pick(&["[", "{\"a\":", "(", "a."]).expect("some");
                changed.insert_str(here.start, &piece.repeat(NESTED));
            }
            _ => changed.truncate(here.end),
        }
    }
    changed
}

/// Where one word, or what stands between two words, is.
fn word(text: &str, dice: &mut Dice) -> std::ops::Range<usize> {
    let begins: Vec<usize> = std::iter::once(0)
        .chain(
            text.char_indices()
                .zip(text.char_indices().skip(1))
                .filter_map(|((_, a), (at, b))| (a.is_alphanumeric() != b.is_alphanumeric()).then_some(at)),
        )
        .chain([text.len()])
        .collect();
    let place = dice.below(begins.len() - 1);
    begins[place]..begins[place + 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn texts_are_changed_in_many_ways_and_stay_texts() {
        let mut dice = Dice::new(1);
        let text = "[service]\nname = \"kv\u{1f980}\"\nfaults = 1\n";
        let changed: BTreeSet<String> = (0..500).map(|_| change(text, "a = [2, 3]", &mut dice)).collect();
        assert!(changed.len() > 300, "only {} differ", changed.len());
        for short in ["", "x", "\u{1f980}"] {
            (0..200).for_each(|_| drop(change(short, short, &mut dice)));
        }
    }
}
