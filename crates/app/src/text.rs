//! The convention for commands that people type, for any application that likes to follow it.
//!
//! A command is words separated by spaces; the first one is the verb. A word that holds a space, a quote, a
//! backslash or a byte that is no printable ASCII, or none at all, is written in double quotes, with `\"`, `\\`,
//! `\n`, `\r`, `\t` and `\xHH` inside. A last argument may be *the rest of the line*: all bytes after the one
//! space behind the word before it, taken as they are, quotes included.
//!
//! ```text
//!   put greeting Hello, "world"          stores   Hello, "world"
//!   put "two words" x                    the key is   two words
//!   cas k "a b" c                        expects   a b   , stores   c
//! ```
//!
//! A reply is text as well: `ok` when there is nothing to tell, the value that was asked for as it is, `(none)` when
//! there is none, and `error: ` with what would have been right. `(none)` as an argument means the same; a value
//! that happens to read so is written `"(none)"`.

/// Reads a command word by word.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    left: &'a [u8],
}

impl<'a> Words<'a> {
    /// Begins at the first word of `command`.
    #[must_use]
    pub fn new(command: &'a [u8]) -> Words<'a> {
        Words { left: command }
    }

    /// The next word, `None` at the end. The one space behind it is passed over.
    ///
    /// # Errors
    /// It is not written as a word is.
    pub fn word(&mut self) -> Result<Option<Word>, BadWord> {
        let start = self.left.iter().position(|byte| *byte != b' ').unwrap_or(self.left.len());
        self.left = &self.left[start..];
        match self.left.first() {
            None => Ok(None),
            Some(b'"') => self.quoted().map(Some),
            Some(_) => {
                let end = self.left.iter().position(|byte| *byte == b' ').unwrap_or(self.left.len());
                let word = Word { bytes: self.left[..end].to_vec(), quoted: false };
                self.pass(end);
                Ok(Some(word))
            }
        }
    }

    /// The rest of the line as it is; `None` if the line ended with the word before and no space.
    #[must_use]
    pub fn rest(self) -> Option<&'a [u8]> {
        self.has_rest().then_some(self.left)
    }

    /// Whether nothing but spaces is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.iter().all(|byte| *byte == b' ')
    }

    fn has_rest(&self) -> bool {
        !self.left.is_empty()
    }

    /// A word in quotes, which `left` begins with.
    fn quoted(&mut self) -> Result<Word, BadWord> {
        let mut bytes = Vec::new();
        let mut at = 1;
        loop {
            match self.left.get(at).copied().ok_or(BadWord::Unclosed)? {
                b'"' => break,
                b'\\' => {
                    let (byte, length) = escape(&self.left[at + 1..])?;
                    bytes.push(byte);
                    at += 1 + length;
                }
                byte => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        match self.left.get(at + 1) {
            None | Some(b' ') => {
                self.pass(at + 1);
                Ok(Word { bytes, quoted: true })
            }
            Some(_) => Err(BadWord::Trailing),
        }
    }

    /// Passes over `length` bytes and the space behind them.
    fn pass(&mut self, length: usize) {
        self.left = self.left.get(length + 1..).unwrap_or_default();
    }
}

/// A word of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// What it says.
    pub bytes: Vec<u8>,
    /// Whether it was written in quotes, so that `"(none)"` is a value and `(none)` is none.
    pub quoted: bool,
}

/// A word that is not written as words are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadWord {
    /// The closing quote is missing.
    #[error("a word that begins with \" ends with \"")]
    Unclosed,
    /// Something follows the closing quote.
    #[error("a closing \" is followed by a space; write \\\" for a quote inside a word")]
    Trailing,
    /// A backslash is followed by something else than an escape.
    #[error("inside quotes, \\ is followed by \", \\, n, r, t or xHH")]
    Escape,
}

/// The byte that the escape at the front of `text`, behind its backslash, stands for, and its length.
fn escape(text: &[u8]) -> Result<(u8, usize), BadWord> {
    match text {
        [byte @ (b'"' | b'\\'), ..] => Ok((*byte, 1)),
        [b'n', ..] => Ok((b'\n', 1)),
        [b'r', ..] => Ok((b'\r', 1)),
        [b't', ..] => Ok((b'\t', 1)),
        [b'x', high, low, ..] => match (nibble(*high), nibble(*low)) {
            (Some(high), Some(low)) => Ok((high << 4 | low, 3)),
            _ => Err(BadWord::Escape),
        },
        [] => Err(BadWord::Unclosed),
        _ => Err(BadWord::Escape),
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Writes `bytes` as one word, in quotes where it needs them.
pub fn write_word(out: &mut Vec<u8>, bytes: &[u8]) {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !bytes.is_empty() && bytes.iter().all(plain) && bytes != b"(none)" {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            _ => out.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &[u8]) -> Result<Vec<Vec<u8>>, BadWord> {
        let mut words = Words::new(command);
        let mut all = Vec::new();
        while let Some(word) = words.word()? {
            all.push(word.bytes);
        }
        Ok(all)
    }

    #[test]
    fn words_are_separated_by_any_number_of_spaces() {
        assert_eq!(words(b"  get   k ").unwrap(), [b"get".to_vec(), b"k".to_vec()]);
        assert_eq!(words(b"").unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn quotes_hold_spaces_escapes_and_nothing() {
        assert_eq!(
            words(br#""a b" "" "\"\\\n\x41""#).unwrap(),
            [b"a b".to_vec(), vec![], b"\"\\\nA".to_vec()]
        );
    }

    #[test]
    fn badly_written_words_are_refused_with_a_reason() {
        assert_eq!(words(b"\"a"), Err(BadWord::Unclosed));
        assert_eq!(words(b"\"a\\"), Err(BadWord::Unclosed));
        assert_eq!(words(b"\"a\"b"), Err(BadWord::Trailing));
        assert_eq!(words(b"\"\\q\""), Err(BadWord::Escape));
        assert_eq!(words(b"\"\\x4\""), Err(BadWord::Escape));
    }

    #[test]
    fn the_rest_of_the_line_is_taken_as_it_is() {
        let mut words = Words::new(b"put k  \"two  words\" ");
        words.word().unwrap();
        words.word().unwrap();
        assert_eq!(words.rest().unwrap(), b" \"two  words\" ");
    }

    #[test]
    fn every_word_written_reads_back() {
        let mut all: Vec<Vec<u8>> = (0..=255).map(|byte| vec![b'a', byte]).collect();
        all.extend([vec![], b"(none)".to_vec(), b"plain".to_vec()]);
        for bytes in all {
            let mut text = Vec::new();
            write_word(&mut text, &bytes);
            assert_eq!(words(&text).unwrap(), [bytes]);
        }
    }
}
