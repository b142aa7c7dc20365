//! What clients asked and saw, in a file for each of their processes: a line when a command is asked, before it is
//! sent, and a line when its outcome is known. So a process may be killed at any moment, and what it left open is
//! known to be open.
//!
//! ```text
//!   ask SEAT NUMBER MICROSECONDS COMMAND
//!   answer SEAT NUMBER MICROSECONDS OUTCOME
//!   never SEAT NUMBER MICROSECONDS WHY        it never left the client
//! ```
//!
//! A seat is a place for one client after the other in a process; a command is known by seat and number.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use smr_sim::history::{Ask, Record};

use crate::clock::now_us;

/// The writing side.
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn create(path: &Path) -> Journal {
        Journal(File::create_new(path).expect("a new file"))
    }

    /// A command is about to be sent.
    pub(crate) fn asks(&self, seat: usize, number: u64, command: &str) {
        self.write(&format!("ask {seat} {number} {} {command}\n", now_us()));
    }

    /// Its outcome was learned just now.
    pub(crate) fn learns(&self, seat: usize, number: u64, outcome: &str) {
        assert!(!outcome.contains('\n'), "an outcome of more than a line: {outcome:?}");
        self.write(&format!("answer {seat} {number} {} {outcome}\n", now_us()));
    }

    /// It never left.
    pub(crate) fn never_sent(&self, seat: usize, number: u64, why: &str) {
        self.write(&format!("never {seat} {number} {} {why}\n", now_us()));
    }

    fn write(&self, line: &str) {
        // One write each, so that seats of a process do not mix their lines.
        let written = (&self.0).write(line.as_bytes()).expect("a file that can be written");
        assert_eq!(written, line.len(), "a line was torn");
    }
}

/// The reading side: everything so far.
pub(crate) struct Reader {
    file: File,
    unfinished: Vec<u8>,
    /// By seat and number.
    pub(crate) entries: BTreeMap<(usize, u64), Entry>,
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) asked_us: u64,
    pub(crate) command: String,
    pub(crate) end: End,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Not known: it may have been executed at any time since, or never.
    Open,
    NeverSent,
    Answered {
        at_us: u64,
        outcome: String,
    },
}

impl Reader {
    /// Of the journal at `path`, once it is there.
    pub(crate) fn open(path: &Path) -> Option<Reader> {
        Some(Reader { file: File::open(path).ok()?, unfinished: Vec::new(), entries: BTreeMap::new() })
    }

    /// Reads what has been added.
    pub(crate) fn read_on(&mut self) {
        self.file.read_to_end(&mut self.unfinished).expect("a file that can be read");
        let end = self.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.unfinished.drain(..end).collect();
        for line in String::from_utf8(lines).expect("text").lines() {
            self.take(line);
        }
    }

    /// The last command of a seat that was asked at `since_us` or later and answered.
    pub(crate) fn answered_since(&self, seat: usize, since_us: u64) -> Option<&Entry> {
        let late = self.entries.range((seat, 0)..(seat + 1, 0)).rev().map(|(_, entry)| entry);
        let mut late = late.take_while(|entry| entry.asked_us >= since_us);
        late.find(|entry| matches!(entry.end, End::Answered { .. }))
    }

    fn take(&mut self, line: &str) {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("a journal has the line {line:?}"));
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{line:?}"));
        let verb = word();
        let seat = usize::try_from(number(word())).expect("a seat");
        let key = (seat, number(word()));
        let at_us = number(word());
        if verb == "ask" {
            let entry = Entry { asked_us: at_us, command: word().to_string(), end: End::Open };
            assert_eq!(self.entries.insert(key, entry), None, "asked twice: {line:?}");
            return;
        }
        let entry = self.entries.get_mut(&key).unwrap_or_else(|| panic!("never asked: {line:?}"));
        assert_eq!(entry.end, End::Open, "ended twice: {line:?}");
        entry.end = match verb {
            "answer" => End::Answered { at_us, outcome: word().to_string() },
            "never" => End::NeverSent,
            _ => panic!("a journal has the line {line:?}"),
        };
    }
}

impl Entry {
    /// For the checker; none if it never left its client.
    pub(crate) fn record(&self, client: usize) -> Option<Record> {
        let answer = match &self.end {
            End::Open => None,
            End::NeverSent => return None,
            End::Answered { at_us, outcome } => Some((*at_us, outcome.clone())),
        };
        let ask = Ask::of_store(&self.command).unwrap_or_else(|| panic!("no model of {:?}", self.command));
        Some(Record { client, ask, asked_us: self.asked_us, answer })
    }
}

#[test]
fn a_journal_is_read_as_it_was_written_and_a_torn_line_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = Journal::create(&path);
    let mut reader = Reader::open(&path).unwrap();
    journal.asks(1, 7, "cas k (none) a");
    journal.asks(0, 7, "get k");
    journal.learns(1, 7, "differs b");
    journal.never_sent(0, 7, "nobody is there");
    journal.asks(0, 8, "put k c");
    (&journal.0).write_all(b"answer 0 8").unwrap();
    reader.read_on();
    let command = |seat, number| reader.entries[&(seat, number)].clone();
    let answered = command(1, 7);
    assert!(matches!(&answered.end, End::Answered { outcome, .. } if outcome == "differs b"));
    assert_eq!(answered.record(3).unwrap().command(), b"cas k (none) a");
    assert_eq!(command(0, 7).record(3), None);
    assert_eq!(command(0, 8).end, End::Open);
}
