//! A TPM in software, for tests of whoever asks one: of this crate inside, and of the program that deploys.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than it takes to begin on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Pairs of ports that are tried.
const TRIES: usize = 20;

/// One that runs, with its state in a directory of the test; ended with it.
pub(crate) struct Swtpm {
    /// Where it takes commands.
    pub(crate) address: SocketAddr,
    child: Child,
    _state: tempfile::TempDir,
}

impl Swtpm {
    /// None where there is no such program, which is said.
    pub(crate) fn start() -> Option<Swtpm> {
        // The ports are free now; should somebody else take one before it does, it ends, and others are tried.
        for _ in 0..TRIES {
            let state = tempfile::tempdir().expect("a directory");
            let port = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
            let (address, control) = (port(), port());
            let mut command = Command::new("swtpm");
            command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
            command.arg(format!("dir={}", state.path().display()));
            command.args(["--server", &format!("type=tcp,port={}", address.port())]);
            command.args(["--ctrl", &format!("type=tcp,port={}", control.port())]);
            let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let child = match started {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    println!("skipped: there is no swtpm here");
                    return None;
                }
                started => started.expect("swtpm starts"),
            };
            let mut swtpm = Swtpm { address, child, _state: state };
            if swtpm.listens_at(control) {
                return Some(swtpm);
            }
        }
        panic!("swtpm finds no port");
    }

    /// Waits until it takes connections; not if it ends before.
    fn listens_at(&mut self, control: SocketAddr) -> bool {
        let until = Instant::now() + DEADLINE;
        while self.child.try_wait().expect("its state").is_none() {
            assert!(Instant::now() < until, "swtpm does not listen");
            if TcpStream::connect(control).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
