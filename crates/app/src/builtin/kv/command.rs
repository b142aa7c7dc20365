//! What people type, understood and within limits.

use super::Limits;
use crate::text::{BadWord, Word, Words};

/// A command, understood and within limits.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Command<'a> {
    Get { key: Vec<u8> },
    Put { key: Vec<u8>, value: &'a [u8] },
    Delete { key: Vec<u8> },
    Cas { key: Vec<u8>, expected: Option<Vec<u8>>, new: &'a [u8] },
    Scan { start: Vec<u8>, count: usize },
    Size,
    Help,
}

impl<'a> Command<'a> {
    pub(super) fn parse(command: &'a [u8], limits: &Limits) -> Result<Command<'a>, BadCommand> {
        let mut words = Words::new(command);
        let verb = words.word()?.ok_or(BadCommand::Empty)?.bytes;
        let (usage, command) = match verb.as_slice() {
            b"get" => {
                let usage = "get KEY";
                (usage, Command::Get { key: key(&mut words, usage, limits)? })
            }
            b"delete" => {
                let usage = "delete KEY";
                (usage, Command::Delete { key: key(&mut words, usage, limits)? })
            }
            b"scan" => {
                let usage = "scan START COUNT";
                let start = key(&mut words, usage, limits)?;
                (usage, Command::Scan { start, count: count(&word(&mut words, usage)?, limits)? })
            }
            b"size" => ("size", Command::Size),
            b"help" => ("help", Command::Help),
            b"put" => {
                let key = key(&mut words, "put KEY VALUE...", limits)?;
                let value = value(words.rest().unwrap_or_default(), limits)?;
                return Ok(Command::Put { key, value });
            }
            b"cas" => {
                let usage = "cas KEY EXPECTED NEW";
                let key = key(&mut words, usage, limits)?;
                let expected = word(&mut words, usage)?;
                let expected = (expected.quoted || expected.bytes != b"(none)").then_some(expected.bytes);
                let new = value(words.rest().ok_or(BadCommand::Usage(usage))?, limits)?;
                return Ok(Command::Cas { key, expected, new });
            }
            _ => {
                return Err(BadCommand::Verb(
                    String::from_utf8_lossy(&verb[..verb.len().min(32)]).into_owned(),
                ));
            }
        };
        if words.is_empty() { Ok(command) } else { Err(BadCommand::Usage(usage)) }
    }
}

fn word(words: &mut Words<'_>, usage: &'static str) -> Result<Word, BadCommand> {
    words.word()?.ok_or(BadCommand::Usage(usage))
}

fn key(words: &mut Words<'_>, usage: &'static str, limits: &Limits) -> Result<Vec<u8>, BadCommand> {
    let key = word(words, usage)?.bytes;
    let bytes_max = limits.key_bytes_max;
    if key.len() > bytes_max {
        return Err(BadCommand::TooLong { what: "key", bytes: key.len(), bytes_max });
    }
    Ok(key)
}

fn value<'a>(value: &'a [u8], limits: &Limits) -> Result<&'a [u8], BadCommand> {
    let bytes_max = limits.value_bytes_max;
    if value.len() > bytes_max {
        return Err(BadCommand::TooLong { what: "value", bytes: value.len(), bytes_max });
    }
    Ok(value)
}

fn count(word: &Word, limits: &Limits) -> Result<usize, BadCommand> {
    let text = std::str::from_utf8(&word.bytes).ok();
    let count = text.and_then(|text| text.parse().ok()).filter(|count| *count <= limits.scan_lines_max);
    count.ok_or(BadCommand::Count { lines_max: limits.scan_lines_max })
}

/// A command that is answered with an error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCommand {
    #[error("the command is empty; try: help")]
    Empty,
    #[error("there is no command {0:?}; there are get, put, delete, cas, scan, size and help")]
    Verb(String),
    #[error("write: {0}")]
    Usage(&'static str),
    #[error(transparent)]
    Word(#[from] BadWord),
    #[error("the {what} has {bytes} bytes; at most {bytes_max} are allowed")]
    TooLong { what: &'static str, bytes: usize, bytes_max: usize },
    #[error("COUNT is a number from 0 to {lines_max}")]
    Count { lines_max: usize },
    #[error("the store holds {bytes_max} bytes at most; delete something first")]
    StoreFull { bytes_max: usize },
}

impl BadCommand {
    pub(super) fn reply(&self) -> Vec<u8> {
        format!("error: {self}").into_bytes()
    }
}
