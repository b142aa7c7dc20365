//! The replica's end of a core in a process of its own.

use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use smr_crypto::PublicKey;
use tokio::sync::oneshot;

use super::exchange::{Ask, PACKET_BYTES_MAX, Place, Said};
use super::precautions::{Precaution, Precautions};
use super::{Answer, CoreError, Deliver, PATIENCE, Program};

/// A core's process that has its key and no place.
pub(super) struct Unjoined {
    link: Link,
    child: Child,
}

impl Unjoined {
    /// Starts it, with one end of a pair of sockets and a place for its last words, and has it make its key.
    pub(super) fn start(program: &Program) -> Result<(Unjoined, PublicKey, Precautions), CoreError> {
        let (ours, theirs) = pair().map_err(talk)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE)).map_err(talk)?;
        let (child, own_user) = spawn(program, theirs)?;
        let unjoined = Unjoined { link: Link(Arc::new(ours)), child };
        // So that it can lock its memory, all of it. Where this process may not raise limits the core finds out, and says so.
        let unlimited = Rlimit { current: None, maximum: None };
        let _ = prlimit(Pid::from_child(&unjoined.child).into(), Resource::Memlock, unlimited);
        match unjoined.ask(&Ask::Begin) {
            Ok(Said::Born { key, precautions }) => {
                let precautions = seen_from_outside(precautions, own_user);
                Ok((unjoined, key, precautions))
            }
            other => Err(unjoined.given_up(other)),
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(super) fn check(&mut self) -> Result<(), CoreError> {
        let pid = self.pid();
        match self.child.try_wait().map_err(CoreError::Talk)? {
            None => Ok(()),
            Some(status) => Err(CoreError::Gone { pid, how: how(status) }),
        }
    }

    /// Gives it its place. From then on a thread waits for its answers, and for its end.
    pub(super) fn join(
        self,
        place: Place,
        deliver: Deliver,
        loses: oneshot::Sender<CoreError>,
    ) -> Result<Process, CoreError> {
        match self.ask(&Ask::Join(place)) {
            Ok(Said::Joined) => {}
            other => return Err(self.given_up(other)),
        }
        set_socket_timeout(&*self.link.0, Timeout::Recv, None).map_err(talk)?;
        let Unjoined { link, child } = self;
        let process = Process(link.clone());
        let listen = move || {
            // Whoever waited for it may have ended before it.
            let _ = loses.send(listen(&link, child, &*deliver));
        };
        thread::Builder::new().name("trusted-core".to_owned()).spawn(listen).map_err(CoreError::Talk)?;
        Ok(process)
    }

    fn ask(&self, ask: &Ask) -> Result<Said, NoAnswer> {
        let mut room = [0; PACKET_BYTES_MAX];
        let received = self.link.send(ask).and_then(|()| self.link.receive(&mut room));
        match received {
            Ok(Some(Ok(said))) => Ok(said),
            Ok(Some(Err(what))) => Err(NoAnswer::Strange(what)),
            Err(Errno::AGAIN) => Err(NoAnswer::Late),
            Ok(None) | Err(_) => Err(NoAnswer::Ended),
        }
    }

    /// Ends it, because it did not say what it should.
    fn given_up(mut self, said: Result<Said, NoAnswer>) -> CoreError {
        let pid = self.pid();
        let strange = match said {
            Ok(said) => format!("{said:?}"),
            Err(NoAnswer::Strange(what)) => what,
            Err(NoAnswer::Late) => format!("nothing, for {PATIENCE:?}"),
            Err(NoAnswer::Ended) => return CoreError::Gone { pid, how: end(&mut self.child) },
        };
        // If it may not be ended, it sees the end of the sockets.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
        CoreError::Strange { pid, what: strange }
    }
}

/// Why there is no answer.
enum NoAnswer {
    /// It has ended, or has closed its end of the sockets.
    Ended,
    /// It takes too long.
    Late,
    /// What it says is none.
    Strange(String),
}

/// A core's process in its place. Once this is dropped it ends.
pub(super) struct Process(Link);

impl Process {
    /// Asks; the listening thread delivers the answer.
    pub(super) fn send(&self, ask: &Ask) {
        if self.0.send(ask).is_err() {
            // It is gone, or it does not read, which comes to the same; the thread that listens says so.
            self.0.close();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Processor time of a process so far, in microseconds.
pub(super) fn cpu_us(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, in which anything may stand; see proc(5).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// Two ends that keep packets apart and in order, of which neither goes to a program unless it is given.
fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The replica's end of the pair of sockets.
#[derive(Clone)]
struct Link(Arc<OwnedFd>);

impl Link {
    /// Never waits.
    fn send(&self, ask: &Ask) -> rustix::io::Result<()> {
        let packet = smr_wire::encode(ask);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| rustix::net::send(&*self.0, &packet, flags)).map(|_| ())
    }

    /// Waits for what is said next; none at the end.
    fn receive(&self, room: &mut [u8]) -> rustix::io::Result<Option<Result<Said, String>>> {
        let received =
            rustix::io::retry_on_intr(|| rustix::net::recv(&*self.0, &mut *room, RecvFlags::empty()));
        match received {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(None),
            Ok((_, count)) => {
                let packet = &room[..count.min(room.len())];
                Ok(Some(smr_wire::decode(packet, PACKET_BYTES_MAX).map_err(|error| error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    fn close(&self) {
        // Fails only if the other end went first.
        let _ = rustix::net::shutdown(&*self.0, Shutdown::Both);
    }
}

/// Delivers what the core answers until its end, and tells how that came.
fn listen(link: &Link, mut child: Child, deliver: &dyn Fn(Answer)) -> CoreError {
    let pid = child.id();
    let mut room = [0; PACKET_BYTES_MAX];
    let strange = loop {
        match link.receive(&mut room) {
            Ok(Some(Ok(Said::Attested(answer)))) => deliver(Answer::Attested(answer)),
            Ok(Some(Ok(Said::Dealt(answer)))) => deliver(Answer::Dealt(answer)),
            Ok(Some(Ok(other))) => break Some(format!("{other:?}")),
            Ok(Some(Err(what))) => break Some(what),
            Ok(None) | Err(_) => break None,
        }
    };
    link.close();
    if let Some(what) = strange {
        // Whatever answers there is no core. If it may not be ended, it sees the end of the sockets.
        let _ = child.kill();
        return CoreError::Strange { pid, what };
    }
    CoreError::Gone { pid, how: end(&mut child) }
}

/// How long a process may take to end once its sockets are closed.
const GRACE: Duration = Duration::from_secs(5);

/// How often to look whether it has.
const POLL: Duration = Duration::from_millis(2);

/// Waits for the end of a process whose sockets are closed, and tells how it came. One that stands still is ended.
fn end(child: &mut Child) -> String {
    let until = Instant::now() + GRACE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return how(status),
            Ok(None) if Instant::now() < until => thread::sleep(POLL),
            Ok(None) => {
                let _ = child.kill();
                return "it closed its sockets, and had to be ended".to_owned();
            }
            Err(error) => return error.to_string(),
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal} ended it"),
        (None, Some(0)) => "it ended by itself".to_owned(),
        (None, code) => format!("it failed with code {}", code.unwrap_or(-1)),
    }
}

fn talk(error: Errno) -> CoreError {
    CoreError::Talk(error.into())
}

/// Users that systems keep for services without an account, so that nobody else is one of them.
/// Source: systemd, "Users, Groups, UIDs and GIDs".
const USERS: std::ops::Range<u32> = 61_184..65_520;

/// Starts the process, as a user of its own where this one may choose; tells how that went.
fn spawn(program: &Program, socket: OwnedFd) -> Result<(Child, Result<(), String>), CoreError> {
    let start = |socket: OwnedFd, user: Option<u32>| {
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).env_clear().current_dir("/");
        command.stdin(Stdio::from(socket)).stdout(Stdio::null());
        // What is typed at a terminal, or sent to all of a group, means the replica, and ends the core through it.
        command.process_group(0);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.spawn()
    };
    if !geteuid().is_root() {
        let why = "only a replica that runs as root may choose another user";
        let child = start(socket, None).map_err(CoreError::Start)?;
        return Ok((child, Err(why.to_owned())));
    }
    let spare = socket.try_clone().map_err(CoreError::Start)?;
    match start(socket, Some(user())) {
        Ok(child) => Ok((child, Ok(()))),
        // In a namespace that has no such user, for one.
        Err(error) => Ok((start(spare, None).map_err(CoreError::Start)?, Err(error.to_string()))),
    }
}

/// A user for the core of this process: another one for most others on this machine, which are untraceable besides.
fn user() -> u32 {
    USERS.start + std::process::id() % (USERS.end - USERS.start)
}

/// The core's own list, corrected by what only the replica can know.
fn seen_from_outside(inside: Precautions, own_user: Result<(), String>) -> Precautions {
    let mut precautions = Precautions::default();
    precautions.note(Precaution::OwnUser, own_user);
    for what in inside.taken {
        let holds = match what {
            Precaution::Untraceable if geteuid().is_root() => {
                Err("for root, and the replica runs as root".to_owned())
            }
            _ => Ok(()),
        };
        precautions.note(what, holds);
    }
    precautions.missing.extend(inside.missing);
    precautions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trusted::UNDER_WAY_MAX;
    use smr_consensus::lanes::core::{ITEMS_MAX, Item, Operation};
    use smr_crypto::Digest;
    use smr_wire::{Slot, View};

    #[test]
    fn the_processor_time_of_a_process_is_what_the_system_counts() {
        let own = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let us = |time: rustix::time::Timespec| {
            u64::try_from(time.tv_sec).unwrap() * 1_000_000 + u64::try_from(time.tv_nsec / 1000).unwrap()
        };
        let (pid, busy_until_us) = (std::process::id(), us(own()) + 50_000);
        while us(own()) < busy_until_us {
            std::hint::spin_loop();
        }
        let (before, told, after) = (us(own()), cpu_us(pid).unwrap(), us(own()));
        // Two figures, each to a tick of 10 ms.
        assert!(told + 20_000 >= before && told <= after + 20_000, "{before} {told} {after}");
        assert_eq!(cpu_us(u32::MAX), None);
    }

    #[test]
    fn all_that_may_be_under_way_goes_out_though_nobody_reads() {
        let (ours, _theirs) = pair().unwrap();
        let link = Link(Arc::new(ours));
        let item = |slot| Item { slot: Slot(slot), digest: Digest::default() };
        let items: Vec<Item> = (1..=ITEMS_MAX as u64).map(item).collect();
        let ask = Ask::Attest(Operation::Endorse { view: View(0), items });
        let fit = (0..).take_while(|_| link.send(&ask).is_ok()).take(100 * UNDER_WAY_MAX).count();
        println!("{fit} fit");
        assert!(fit >= UNDER_WAY_MAX, "{fit}");
        assert!(fit < 100 * UNDER_WAY_MAX, "nobody reads, so there is an end");
    }
}
