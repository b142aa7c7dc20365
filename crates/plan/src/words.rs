//! Text that people read: wrapped to a terminal, quoted without surprises, and the name that was probably meant.

/// Columns of a terminal that text is wrapped to.
pub const WIDTH: usize = 100;

/// Characters of a foreign value that a message repeats at most.
const QUOTED_MAX: usize = 40;

/// Length in characters from which on a name has no near misses; bounds the work of [`nearest`].
const NAME_MAX: usize = 64;

/// Length in characters up to which a name with two mistakes is another name.
const SHORT_NAME: usize = 4;

/// `text` in lines of at most `width` characters, broken at spaces. A longer word gets a line of its own. Never
/// empty: no text is one empty line.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().expect("begins with one line");
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    lines
}

/// `value` in double quotes with everything escaped that could confuse a terminal, shortened when it is long.
#[must_use]
pub fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED_MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

/// `words` as a list in a sentence: `a, b or c`.
#[must_use]
pub fn alternatives<S: AsRef<str>>(words: &[S]) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", most.join(", "), last.as_ref())
        }
    }
}

/// The one of `known` that `given` was probably meant to be: at most a third of it mistyped, or one character of a
/// short one, so that `raft` is not taken for `pbft`. Case does not count.
#[must_use]
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given: Vec<char> = given.chars().take(NAME_MAX).flat_map(char::to_lowercase).collect();
    let (typing_errors, name) = known.iter().map(|name| (distance(&given, name), *name)).min()?;
    let allowed = match name.chars().count() {
        ..=SHORT_NAME => 1,
        length => length.div_ceil(3),
    };
    (typing_errors <= allowed && typing_errors < given.len()).then_some(name)
}

/// Fewest characters to insert, delete, replace or swap with their neighbour to make `given` into `name`.
/// Source: Damerau, CACM 1964 (optimal string alignment).
fn distance(given: &[char], name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=name.len()).collect();
    for (i, a) in given.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in name.iter().enumerate() {
            let replaced = above[j] + usize::from(a != b);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == name[j - 1] && given[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_stand_alone() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a incomprehensible b", 5), ["a", "incomprehensible", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn what_is_quoted_is_short_and_harmless() {
        assert_eq!(quoted("kv"), "\"kv\"");
        assert_eq!(quoted("\u{1b}[2J\u{202e}"), r#""\u{1b}[2J\u{202e}""#);
        assert_eq!(quoted(&"ä".repeat(50)), format!("\"{}\"...", "ä".repeat(40)));
    }

    #[test]
    fn a_near_miss_is_recognised_and_a_stranger_is_not() {
        let known = ["faults", "against", "durability"];
        assert_eq!(nearest("fautls", &known), Some("faults"));
        assert_eq!(nearest("Faults", &known), Some("faults"));
        assert_eq!(nearest("fault", &known), Some("faults"));
        assert_eq!(nearest("durabilty", &known), Some("durability"));
        assert_eq!(nearest("replicas", &known), None);
        assert_eq!(nearest("pbtf", &["pbft"]), Some("pbft"));
        assert_eq!(nearest("raft", &["pbft"]), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest("x", &["kv"]), None);
        assert_eq!(nearest("anything", &[]), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(&["a", "b", "c"]), "a, b or c");
        assert_eq!(alternatives(&["a"]), "a");
    }
}
