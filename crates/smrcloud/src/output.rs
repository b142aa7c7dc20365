//! How commands speak: text for people, JSON for programs, exit codes for scripts.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

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
            let value = serde_json::json!({ "error": trouble.what, "help": trouble.help });
            line(&mut std::io::stderr(), &value.to_string());
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
}

impl Trouble {
    /// Something that was not done.
    pub(crate) fn new(what: impl fmt::Display) -> Trouble {
        let what = what.to_string();
        // Mistakes in files are drawn with their own heading.
        let what = what.strip_prefix("error: ").map_or(what.clone(), str::to_owned);
        Trouble { what, help: None, code: Code::Failed }
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

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.help {
            Some(help) => write!(f, "\n help: {help}"),
            None => Ok(()),
        }
    }
}
