//! How commands speak: text for people, JSON for programs, exit codes for scripts.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use smr_plan::{Problem, Problems};

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether the result is printed as JSON.
    pub(crate) json: bool,
}

impl Output {
    /// Prints a command's result: one JSON document, or the text that `text` makes of it.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        let shown = if self.json {
            serde_json::to_string_pretty(value).expect("results are plain data")
        } else {
            text(value)
        };
        line(&mut std::io::stdout(), &shown);
    }

    /// Prints one of several results of a command that goes on: one line of JSON, or the text that `text` makes of it.
    pub(crate) fn event<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        let shown = if self.json {
            serde_json::to_string(value).expect("results are plain data")
        } else {
            text(value)
        };
        line(&mut std::io::stdout(), &shown);
    }

    /// Tells a person how far things are. Programs get only the result.
    pub(crate) fn progress(self, text: &str) {
        if !self.json {
            line(&mut std::io::stdout(), text);
        }
    }

    /// Whether a moving bar makes sense.
    pub(crate) fn is_lively(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Prints what went wrong.
    pub(crate) fn trouble(self, trouble: &Trouble) -> ExitCode {
        if self.json {
            line(&mut std::io::stderr(), &trouble.json().to_string());
        } else {
            line(&mut std::io::stderr(), &trouble.to_string());
        }
        ExitCode::from(trouble.code as u8)
    }
}

/// A closed pipe is the reader's choice, not an error.
fn line(to: &mut impl Write, text: &str) {
    let _closed = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// Exit codes, the same for all commands. 2 is clap's, for arguments that make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// It was not done, or the answer was a refusal.
    Failed = 1,
    /// Whether it was done is not known.
    Unknown = 3,
    /// Something was wrong that must not be: an answer that does not verify, a property that does not hold.
    Wrong = 4,
}

/// What went wrong and what helps.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    what: String,
    help: Option<String>,
    code: Code,
    /// Mistakes in a file, which `what` draws.
    mistakes: Option<Problems>,
}

impl Trouble {
    /// Something that was not done.
    pub(crate) fn new(what: impl fmt::Display) -> Trouble {
        Trouble { what: what.to_string(), help: None, code: Code::Failed, mistakes: None }
    }

    /// Mistakes in a file that was read.
    pub(crate) fn in_file(mistakes: Problems) -> Trouble {
        let what = mistakes.to_string();
        // They are drawn with their own heading.
        let what = what.strip_prefix("error: ").map_or(what.clone(), str::to_owned);
        Trouble { mistakes: Some(mistakes), ..Trouble::new(what) }
    }

    /// With what helps.
    #[must_use]
    pub(crate) fn help(self, help: impl fmt::Display) -> Trouble {
        Trouble { help: Some(help.to_string()), ..self }
    }

    /// With another exit code.
    #[must_use]
    pub(crate) fn code(self, code: Code) -> Trouble {
        Trouble { code, ..self }
    }
}

impl Trouble {
    /// For programs: of mistakes in a file their places instead of a drawing.
    fn json(&self) -> serde_json::Value {
        let Some(Problems { problems, further, .. }) = &self.mistakes else {
            return serde_json::json!({ "error": self.what, "help": self.help });
        };
        let place = |problem: &Problem| {
            serde_json::json!({
                "message": problem.message,
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "advice": problem.help,
            })
        };
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        serde_json::json!({
            "error": messages.join("; "),
            "help": self.help,
            "problems": problems.iter().map(place).collect::<Vec<_>>(),
            "further": further,
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.help {
            Some(help) => write!(f, "\n help: {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_a_file_are_told_to_programs_by_their_places() {
        let problem = Problem::at("kv.toml", "name = \"kv\"\nfaults = one\n", 21..24, "no number", "say 1");
        let trouble = Trouble::in_file(problem.into());
        let expected = serde_json::json!({
            "error": "no number",
            "help": null,
            "problems": [
                { "message": "no number", "file": "kv.toml", "line": 2, "column": 10, "advice": "say 1" }
            ],
            "further": 0,
        });
        assert_eq!(trouble.json(), expected);
        assert!(trouble.to_string().starts_with("error: no number\n --> kv.toml:2:10"), "{trouble}");
        let other = Trouble::new("nobody is there").help("wait");
        assert_eq!(other.json(), serde_json::json!({ "error": "nobody is there", "help": "wait" }));
    }
}
