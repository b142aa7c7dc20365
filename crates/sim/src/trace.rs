//! What happened: in words, a line per happening, for people who repeat a run; or what was said, as values, for fuzzers.
//! Off in long campaigns.

use smr_replica::Message;
use smr_wire::{FromContact, ToContact};

/// Where that goes.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
    said: Option<Vec<Said>>,
}

/// Something that was on its way, or that one replica could have fetched of another.
#[derive(Clone, Debug)]
pub enum Said {
    /// By a replica, to another one.
    Between {
        /// By which machine.
        from: usize,
        /// To which.
        to: usize,
        /// What.
        message: Message,
    },
    /// By a client, to a contact.
    ToContact(ToContact),
    /// By a contact, to a client.
    FromContact(FromContact),
    /// The encoding of a replica's state at a checkpoint.
    State(Vec<u8>),
}

impl Trace {
    /// Keeps nothing.
    #[must_use]
    pub fn off() -> Trace {
        Trace::default()
    }

    /// Keeps every line.
    #[must_use]
    pub fn on() -> Trace {
        Trace { lines: Some(Vec::new()), said: None }
    }

    /// Keeps what is said.
    #[must_use]
    pub fn of_what_is_said() -> Trace {
        Trace { lines: None, said: Some(Vec::new()) }
    }

    /// Notes a line, which is made only if somebody keeps it.
    pub fn note(&mut self, at_us: u64, step: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10}.{:03} ms  #{step:<7} {}", at_us / 1000, at_us % 1000, line()));
        }
    }

    /// Keeps what was said, which is made only if somebody wants it.
    pub(crate) fn hear(&mut self, said: impl FnOnce() -> Said) {
        if let Some(all) = &mut self.said {
            all.push(said());
        }
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// What was said so far.
    #[must_use]
    pub fn said(&self) -> &[Said] {
        self.said.as_deref().unwrap_or_default()
    }
}
