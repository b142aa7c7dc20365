//! The process of a core, seen from inside: a value that answers questions, and a loop that reads them from standard
//! input, which is its end of a pair of sockets. One thread, no file, no clock.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use smr_consensus::lanes::core::SoftwareCore;

use super::exchange::{Ask, CoreSecrets, Misuse, PACKET_BYTES_MAX, Said};
use super::precautions::{self, Precaution, Precautions};
use crate::identity::IdentityError;

/// The word that makes this program a core. Only a replica calls it so.
pub const VERB: &str = "trusted-core";

/// Runs the process of a core until the replica goes. It takes no arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().map(|word| word.to_string_lossy().into_owned()).peekable();
    #[cfg(feature = "misbehave")]
    if arguments.peek().is_some() {
        return match crate::misbehave::attempt::parse(arguments) {
            Some((without, attempt)) => serve(&without, || attempt.make()),
            None => ExitCode::from(USAGE),
        };
    }
    match arguments.peek() {
        None => serve(&[], || ()),
        Some(_) => ExitCode::from(USAGE),
    }
}

/// Exit code of a process that was called in the wrong way.
const USAGE: u8 = 2;

/// Answers until there is nobody to answer. `but` are the precautions that it leaves out, and `born` is what it does once it
/// has its key.
fn serve(but: &[Precaution], mut born: impl FnMut()) -> ExitCode {
    // Shown by `ps` and `top` in place of the name of the executable.
    let _ = rustix::thread::set_name(c"trusted-core");
    let mut core = Core::default();
    let mut room = vec![0; PACKET_BYTES_MAX + 1];
    let input = io::stdin();
    loop {
        let count = match read(input.as_fd(), &mut room) {
            Ok(0) => return ExitCode::SUCCESS,
            Ok(count) => count,
            Err(_) => return ExitCode::FAILURE,
        };
        let said = core.answer(&room[..count], || prepare(but));
        if write(input.as_fd(), &smr_wire::encode(&said)).is_err() {
            // The replica went while it was answered.
            return ExitCode::SUCCESS;
        }
        if matches!(said, Said::Born { .. }) {
            born();
        }
    }
}

/// The next packet; none is an end. One that is too long fills the room, which is larger than any good one.
fn read(socket: BorrowedFd<'_>, room: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut *room))
}

fn write(socket: BorrowedFd<'_>, packet: &[u8]) -> rustix::io::Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::write(socket, packet))
}

/// Gives up rights, and makes its secrets in between: chance needs a call to the system, so what it will deal is settled
/// here, too.
fn prepare(but: &[Precaution]) -> Result<(CoreSecrets, Precautions), IdentityError> {
    let mut precautions = precautions::before_the_key(but);
    let secrets = CoreSecrets::draw()?;
    precautions::after_the_key(&mut precautions, but);
    Ok((secrets, precautions))
}

/// What the process decides.
#[derive(Default)]
pub(super) enum Core {
    /// It has no key.
    #[default]
    Unborn,
    /// It has its secrets and no place.
    Born(CoreSecrets),
    /// It is in its place.
    Joined(Box<SoftwareCore>),
}

impl Core {
    /// Answers one packet. `prepare` makes the secrets.
    ///
    /// # Panics
    /// If there is no chance for a key: a core without one is no core, and its end is what the replica waits for.
    pub(super) fn answer<E: std::fmt::Debug>(
        &mut self,
        packet: &[u8],
        prepare: impl FnOnce() -> Result<(CoreSecrets, Precautions), E>,
    ) -> Said {
        let Ok(ask) = smr_wire::decode::<Ask>(packet, PACKET_BYTES_MAX) else {
            return Said::Refused(Misuse::Garbage);
        };
        match (ask, &mut *self) {
            (Ask::Begin, Core::Unborn) => {
                let (secrets, precautions) = prepare().expect("the system gives chance, or there is no core");
                let key = secrets.key.public();
                *self = Core::Born(secrets);
                Said::Born { key, precautions }
            }
            (Ask::Join(place), Core::Born(_)) if !place.is_possible() => Said::Refused(Misuse::Window),
            (Ask::Join(place), Core::Born(secrets)) => {
                let core = place.core(secrets.clone());
                *self = Core::Joined(Box::new(core));
                Said::Joined
            }
            (Ask::Attest(operation), Core::Joined(core)) => Said::Attested(core.attest(&operation)),
            (Ask::Deal(attempt), Core::Joined(core)) => Said::Dealt(core.deal(&attempt).map(Box::new)),
            (Ask::Begin, _) | (Ask::Join(_), Core::Joined(_)) => Said::Refused(Misuse::Again),
            (Ask::Join(_) | Ask::Attest(_) | Ask::Deal(_), _) => Said::Refused(Misuse::Early),
        }
    }
}
