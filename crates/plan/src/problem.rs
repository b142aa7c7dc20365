//! A mistake in a text file: where it stands, what is wrong and what would be right.
//!
//! ```text
//! error: `faults` must be a whole number, not a text
//!  --> kv.toml:7:10
//!   |
//! 7 | faults = "one"
//!   |          ^^^^^
//!   = help: for example: faults = 1
//! ```

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::words::{WIDTH, wrap};

/// One mistake in one file. Its text form is the one above, without colours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Place in the line, in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The part of the line that is shown, safe for a terminal.
    pub excerpt: String,
    /// The part of the excerpt that is wrong, in characters, from 0. May end one behind the line.
    pub marked: Range<usize>,
}

/// Characters of a line that are shown at most.
const EXCERPT_MAX: usize = WIDTH - 12;

/// Characters shown before the mistake when a line is cut.
const LEAD: usize = 30;

impl Problem {
    /// The mistake at the bytes `span` of `text`. A span outside of the text points at its end; one over several
    /// lines is marked on its first.
    #[must_use]
    pub fn at(
        file: &str,
        text: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let start = char_border(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let before = text[line_start..start].chars().count();
        let end = char_border(text, span.end).clamp(start, line_end);
        let width = text[start..end].chars().count().max(1);

        let cut = if line.chars().count() > EXCERPT_MAX { before.saturating_sub(LEAD) } else { 0 };
        let excerpt: String = line.chars().skip(cut).take(EXCERPT_MAX).map(shown).collect();
        let marked_end = (before - cut + width).min(excerpt.chars().count().max(before - cut + 1));
        Problem {
            file: file.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: before + 1,
            message: message.into(),
            help: help.into(),
            excerpt,
            marked: before - cut..marked_end,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(self.marked.start);
        let carets = "^".repeat(self.marked.len());
        writeln!(f, "error: {}", wrap(&self.message, WIDTH - 7).join("\n       "))?;
        writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{}", format!("{number} | {}", self.excerpt).trim_end())?;
        writeln!(f, "{gutter} | {indent}{carets}")?;
        let next_line = format!("\n{gutter}         ");
        write!(f, "{gutter} = help: {}", wrap(&self.help, WIDTH - 9 - gutter.len()).join(&next_line))
    }
}

/// What is wrong with one file: at least one mistake, in the order of the file, of which the first
/// [`PROBLEMS_MAX`] are kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Problems {
    /// The first of them.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub further: usize,
}

/// Mistakes that are reported of one file at most.
pub const PROBLEMS_MAX: usize = 16;

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// `value`, if there was no mistake in it; else the mistakes in the order of the file.
    ///
    /// # Errors
    /// All that were added, if there was one.
    pub fn none_in<T>(mut self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.further = self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.truncate(PROBLEMS_MAX);
        Err(self)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems { problems: vec![problem], further: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let gap = if i > 0 { "\n\n" } else { "" };
            write!(f, "{gap}{problem}")?;
        }
        match self.further {
            0 => Ok(()),
            further => write!(f, "\n\nand {further} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// The last character border at or below `offset`, so that no place from outside can split a character.
fn char_border(text: &str, offset: usize) -> usize {
    let mut border = offset.min(text.len());
    while !text.is_char_boundary(border) {
        border -= 1;
    }
    border
}

/// `character` as one column of a terminal, which it cannot command.
fn shown(character: char) -> char {
    match character {
        '\t' => ' ',
        '"' | '\'' | '\\' => character,
        _ if character.escape_debug().count() > 1 => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_points_at_the_mistake() {
        let text = "# first\r\nkey = \"ä\"; x\r\n";
        let start = text.find('x').expect("in it");
        let problem = Problem::at("a.toml", text, start..start + 1, "no x here", "leave it out");
        let expected = "\
error: no x here
 --> a.toml:2:12
  |
2 | key = \"ä\"; x
  |            ^
  = help: leave it out";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn any_span_of_any_text_can_be_shown() {
        let long = format!("{}wrong{}", "a".repeat(500), "b".repeat(500));
        let problem = Problem::at("f", &long, 500..505, "m", "h");
        assert_eq!((problem.column, problem.marked.clone()), (501, 30..35));
        assert!(problem.to_string().lines().all(|line| line.chars().count() <= WIDTH));

        let whole = Problem::at("f", &long, 0..long.len(), "m", "h");
        assert!(whole.to_string().lines().all(|line| line.chars().count() <= WIDTH));

        for text in ["", "\n", "ä", "a\nb", "\u{1b}[2J\t\r"] {
            for start in 0..text.len() + 2 {
                for end in start..text.len() + 3 {
                    let shown = Problem::at("f", text, start..end, "m", "h").to_string();
                    assert!(shown.contains('^') && !shown.contains('\u{1b}'), "{text:?} {start}..{end}");
                }
            }
        }
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_are_limited() {
        let text = "x\n".repeat(20);
        let mut problems = Problems::default();
        for line in (0..20).rev() {
            problems.push(Problem::at("f", &text, 2 * line..2 * line + 1, "m", "h"));
        }
        let problems = problems.none_in(()).expect_err("twenty");
        let lines: Vec<usize> = problems.problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, (1..=16).collect::<Vec<_>>());
        assert!(problems.to_string().ends_with("\n\nand 4 more"));
        assert_eq!(Problems::default().none_in(7), Ok(7));
    }
}
