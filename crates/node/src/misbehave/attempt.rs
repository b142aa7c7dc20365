//! A trusted core's process that tries what it should not be able to do, as if somebody had got into it; with some of its
//! precautions left out, so that each is seen to hold alone.

use std::fs::File;
use std::net::TcpListener;
use std::process::Command;

use crate::trusted::Precaution;

/// Exit code of a process whose attempt succeeded.
pub const SUCCEEDED: i32 = 32;

/// Exit code of one whose attempt was denied, and that lived to tell.
pub const DENIED: i32 = 33;

/// What it tries once it has its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// To read a file that everybody may read.
    OpenFile,
    /// To take connections.
    Listen,
    /// To start a program.
    StartProgram,
    /// To end the replica it belongs to.
    SignalReplica,
    /// To read what is not its questions.
    ReadElsewhere,
}

/// Their names on the command line.
pub const ATTEMPTS: [(&str, Attempt); 5] = [
    ("open-file", Attempt::OpenFile),
    ("listen", Attempt::Listen),
    ("start-program", Attempt::StartProgram),
    ("signal-replica", Attempt::SignalReplica),
    ("read-elsewhere", Attempt::ReadElsewhere),
];

/// Reads `--attempt NAME`, and any number of `--without landlock` and `--without seccomp`.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(Vec<Precaution>, Attempt)> {
    let (mut without, mut attempt) = (Vec::new(), None);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match (name.as_str(), value.as_str()) {
            ("--attempt", value) => attempt = ATTEMPTS.iter().find(|(name, _)| *name == value),
            ("--without", "landlock") => without.push(Precaution::Landlock),
            ("--without", "seccomp") => without.push(Precaution::Seccomp),
            _ => return None,
        }
    }
    Some((without, attempt?.1))
}

impl Attempt {
    /// Tries it, and ends the process with how it went.
    pub(crate) fn make(self) {
        let succeeded = match self {
            Attempt::OpenFile => File::open("/etc/passwd").is_ok(),
            Attempt::Listen => TcpListener::bind("127.0.0.1:0").is_ok(),
            Attempt::StartProgram => Command::new("/bin/true").status().is_ok(),
            // The signal means nothing to a process that runs.
            Attempt::SignalReplica => rustix::process::getppid().is_some_and(|replica| {
                rustix::process::kill_process(replica, rustix::process::Signal::CONT).is_ok()
            }),
            Attempt::ReadElsewhere => rustix::io::read(std::io::stdout(), &mut [0; 1]).is_ok(),
        };
        std::process::exit(if succeeded { SUCCEEDED } else { DENIED });
    }
}
