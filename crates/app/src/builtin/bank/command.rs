//! What people type, understood and within limits.

use crate::text::{BadWord, Words};

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 256;

/// Takers that one `each` pays at most.
const TAKERS_MAX: usize = 64;

/// The longest wait of an `after`, in milliseconds: a year.
const DELAY_MS_MAX: u64 = 365 * 24 * 3_600_000;

/// A command, understood and within limits.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Command<'a> {
    Open { name: Vec<u8> },
    Deposit { name: Vec<u8>, amount: u64 },
    Withdraw { name: Vec<u8>, amount: u64 },
    Transfer { from: Vec<u8>, to: Vec<u8>, amount: u64 },
    Pay { from: Vec<u8>, to: Vec<u8>, amount: u64 },
    Balance { name: Vec<u8> },
    Total,
    Each { from: Vec<u8>, amount: u64, to: Vec<Vec<u8>> },
    After { delay_ms: u64, command: &'a [u8] },
    Help,
}

impl<'a> Command<'a> {
    pub(super) fn parse(command: &'a [u8]) -> Result<Command<'a>, BadCommand> {
        let mut words = Words::new(command);
        let verb = words.word()?.ok_or(BadCommand::Empty)?.bytes;
        let (usage, command) = match verb.as_slice() {
            b"open" => {
                let usage = "open NAME";
                (usage, Command::Open { name: name(&mut words, usage)? })
            }
            b"deposit" => {
                let usage = "deposit NAME AMOUNT";
                (
                    usage,
                    Command::Deposit { name: name(&mut words, usage)?, amount: number(&mut words, usage)? },
                )
            }
            b"withdraw" => {
                let usage = "withdraw NAME AMOUNT";
                (
                    usage,
                    Command::Withdraw { name: name(&mut words, usage)?, amount: number(&mut words, usage)? },
                )
            }
            b"transfer" => {
                let usage = "transfer FROM TO AMOUNT";
                let (from, to) = (name(&mut words, usage)?, name(&mut words, usage)?);
                (usage, Command::Transfer { from, to, amount: number(&mut words, usage)? })
            }
            b"pay" => {
                let usage = "pay FROM TO AMOUNT";
                let (from, to) = (name(&mut words, usage)?, name(&mut words, usage)?);
                (usage, Command::Pay { from, to, amount: number(&mut words, usage)? })
            }
            b"balance" => {
                let usage = "balance NAME";
                (usage, Command::Balance { name: name(&mut words, usage)? })
            }
            b"total" => ("total", Command::Total),
            b"help" => ("help", Command::Help),
            b"each" => return Command::each(words),
            b"after" => {
                let usage = "after MS COMMAND...";
                let delay_ms = number(&mut words, usage)?;
                if delay_ms > DELAY_MS_MAX {
                    return Err(BadCommand::Delay);
                }
                let command = words.rest().ok_or(BadCommand::Usage(usage))?;
                return Ok(Command::After { delay_ms, command });
            }
            _ => {
                let verb = String::from_utf8_lossy(&verb[..verb.len().min(32)]).into_owned();
                return Err(BadCommand::Verb(verb));
            }
        };
        if words.is_empty() { Ok(command) } else { Err(BadCommand::Usage(usage)) }
    }

    fn each(mut words: Words<'a>) -> Result<Command<'a>, BadCommand> {
        let usage = "each FROM AMOUNT TO...";
        let (from, amount) = (name(&mut words, usage)?, number(&mut words, usage)?);
        let mut to = Vec::new();
        while !words.is_empty() {
            to.push(name(&mut words, usage)?);
        }
        match to.len() {
            0 => Err(BadCommand::Usage(usage)),
            1..=TAKERS_MAX => Ok(Command::Each { from, amount, to }),
            _ => Err(BadCommand::Takers),
        }
    }
}

fn name(words: &mut Words<'_>, usage: &'static str) -> Result<Vec<u8>, BadCommand> {
    let name = words.word()?.ok_or(BadCommand::Usage(usage))?.bytes;
    if name.len() > NAME_BYTES_MAX { Err(BadCommand::Name) } else { Ok(name) }
}

fn number(words: &mut Words<'_>, usage: &'static str) -> Result<u64, BadCommand> {
    let word = words.word()?.ok_or(BadCommand::Usage(usage))?.bytes;
    let number = std::str::from_utf8(&word).ok().and_then(|text| text.parse().ok());
    number.ok_or(BadCommand::Number)
}

/// A command that is answered with an error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCommand {
    #[error("the command is empty; try: help")]
    Empty,
    #[error(
        "there is no command {0:?}; there are open, deposit, withdraw, transfer, pay, balance, total, each, \
         after and help"
    )]
    Verb(String),
    #[error("write: {0}")]
    Usage(&'static str),
    #[error(transparent)]
    Word(#[from] BadWord),
    #[error("a name has {NAME_BYTES_MAX} bytes at most")]
    Name,
    #[error("AMOUNT and MS are whole numbers, not negative")]
    Number,
    #[error("MS is {DELAY_MS_MAX} at most")]
    Delay,
    #[error("there are {TAKERS_MAX} takers at most")]
    Takers,
    #[error("no account holds more than {}", u64::MAX)]
    TooMuch,
    #[error("the bank has as many accounts as it can have")]
    Full,
}

impl BadCommand {
    pub(super) fn reply(&self) -> Vec<u8> {
        format!("error: {self}").into_bytes()
    }
}
