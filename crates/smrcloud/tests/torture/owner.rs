//! Whose sockets are whose on this machine, from Linux's `/proc`: a proxy sees a connection, and its encryption hides
//! which replica made it.

use std::fs;
use std::net::SocketAddr;

/// The state of a socket that listens, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

/// The first of `pids` that holds the connection that goes from `from` to `to`.
pub(crate) fn holder(pids: impl IntoIterator<Item = u32>, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let is_it = |socket: &Socket| socket.local == from.port() && socket.remote == to.port();
    let inode = sockets().into_iter().find(is_it)?.inode;
    pids.into_iter().find(|pid| inodes(*pid).contains(&inode))
}

/// The port at which process `pid` listens, once it does.
pub(crate) fn listens_at(pid: u32) -> Option<u16> {
    let own = inodes(pid);
    let mut listening = sockets().into_iter().filter(|socket| socket.listens && own.contains(&socket.inode));
    listening.next().map(|socket| socket.local)
}

/// Whether every thread of process `pid` has been stopped by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let state = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        // The second field is a name in brackets, in which anything may stand; see proc(5).
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    };
    threads.flatten().all(|thread| state(thread).is_none_or(|state| state == 'T'))
}

/// One TCP socket on the loopback.
struct Socket {
    local: u16,
    remote: u16,
    listens: bool,
    inode: u64,
}

fn sockets() -> Vec<Socket> {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
    table.lines().skip(1).filter_map(socket).collect()
}

/// A line such as `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 ...`.
fn socket(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    Some(Socket {
        local: port(fields.get(1)?)?,
        remote: port(fields.get(2)?)?,
        listens: *fields.get(3)? == LISTENS,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The sockets that process `pid` has open.
fn inodes(pid: u32) -> Vec<u64> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    open.flatten().filter_map(inode).collect()
}

#[test]
fn a_connection_is_found_with_the_process_that_made_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let connection = std::net::TcpStream::connect(at).unwrap();
    let from = connection.local_addr().unwrap();
    let (own, init) = (std::process::id(), 1);
    assert_eq!(holder([init, own], from, at), Some(own));
    drop(connection);
    assert_eq!(holder([init, own], from, at), None);
}
