//! Replicas as processes of this machine. Nothing needs to be installed; one power cut takes all of them.
//!
//! A process is known by its number, the moment it began and the boot it began in (from Linux's `/proc`), so that
//! another one that got its number later is never taken for it, let alone ended in its place.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use smr_node::files::private_dir;

use super::{Handle, Launch, Life, Provider, ProviderError};

/// The file in a replica's directory that takes what its process says.
pub const LOG_FILE: &str = "replica.log";

/// Starts processes of this machine.
#[derive(Debug, Default)]
pub struct Processes {
    /// Ends of pipes into processes that live with this one; they notice when it closes.
    parents: Mutex<Vec<ChildStdin>>,
}

impl Provider for Processes {
    fn start(&self, launch: &Launch) -> Result<Handle, ProviderError> {
        let started = |error| ProviderError::Start { program: launch.program.clone(), error };
        private_dir(&launch.dir).map_err(|error| started(io::Error::other(error.to_string())))?;
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(launch.dir.join(LOG_FILE));
        let log = log.map_err(started)?;
        let mut command = Command::new(&launch.program);
        command.arg("replica").arg("--dir").arg(&launch.dir);
        command.args(["--listen", &launch.listen.to_string(), "--workers", &launch.workers.to_string()]);
        command.args(["--core", launch.core.word()]);
        if let Some(tpm) = &launch.tpm {
            command.arg("--tpm").arg(tpm.to_string());
        }
        match launch.life {
            Life::Detached => command.stdin(Stdio::null()),
            Life::WithParent => command.stdin(Stdio::piped()).arg("--die-with-parent"),
        };
        command.stdout(log.try_clone().map_err(started)?).stderr(log);
        // A group of its own, so that a key typed at the terminal of whoever started it does not end it.
        command.process_group(0);
        let mut child = command.spawn().map_err(started)?;
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).extend(child.stdin.take());
        let pid = child.id();
        // One that ended already is still there until somebody waits for it, so there is always something to read.
        let began = began(pid).map_or(0, |(began, _)| began);
        Ok(Handle::Process { pid, began, boot: boot() })
    }

    fn is_alive(&self, handle: &Handle) -> bool {
        let Handle::Process { pid, began, boot: then } = handle;
        if let Some(pid) = number(*pid) {
            // If it is a child of this process and has ended, this lets it go; otherwise it is none of its business.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        *then == boot() && self::began(*pid).is_some_and(|(now, alive)| now == *began && alive)
    }

    fn ask_to_end(&self, handle: &Handle) -> Result<(), ProviderError> {
        self.signal(handle, Signal::TERM)
    }

    fn end(&self, handle: &Handle) -> Result<(), ProviderError> {
        self.signal(handle, Signal::KILL)
    }
}

impl Processes {
    fn signal(&self, handle: &Handle, signal: Signal) -> Result<(), ProviderError> {
        let Handle::Process { pid, .. } = handle;
        let Some(number) = number(*pid) else { return Ok(()) };
        let signalled = |result: Result<(), Errno>| match result {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(ProviderError::Signal { pid: *pid, error: error.into() }),
        };
        match pidfd_open(number, PidfdFlags::empty()) {
            // The descriptor means one process for ever, so it may be looked at first and signalled then.
            Ok(process) if self.is_alive(handle) => signalled(pidfd_send_signal(process, signal)),
            Ok(_) => Ok(()),
            Err(error) => signalled(Err(error)),
        }
    }
}

/// The process with this number; none for a number that no process has.
fn number(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// When the process with this number began, and whether it still runs rather than waits to be forgotten.
fn began(pid: u32) -> Option<(u64, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, in which anything may stand; see proc(5).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    Some((began, !matches!(state, "Z" | "X" | "x")))
}

/// The name of this boot of the machine.
fn boot() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Ending, stop_all};
    use smr_node::trusted::BackingName;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A stand-in for a replica's program.
    fn launch(dir: &Path, script: &str, life: Life) -> Launch {
        let program = dir.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Launch {
            program,
            dir: dir.join("replica"),
            listen: "127.0.0.1:0".parse().unwrap(),
            workers: std::num::NonZeroUsize::MIN,
            life,
            core: BackingName::InProcess,
            tpm: None,
        }
    }

    /// While another test forks, the program just written may still be open for writing there for a moment.
    fn start(processes: &Processes, launch: &Launch) -> Handle {
        loop {
            match processes.start(launch) {
                Err(ProviderError::Start { error, .. })
                    if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                result => return result.unwrap(),
            }
        }
    }

    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < PATIENCE, "{what}");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_process_is_started_with_its_arguments_and_ends_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::default();
        let launch = launch(dir.path(), "echo started \"$@\"; exec sleep 600", Life::Detached);
        let handle = start(&processes, &launch);
        let log = launch.dir.join(LOG_FILE);
        wait("the log", || fs::read_to_string(&log).unwrap().contains('\n'));
        let said = fs::read_to_string(&log).unwrap();
        assert!(
            said.starts_with("started replica --dir ") && said.contains("--workers 1 --core in-process"),
            "{said}"
        );
        assert!(processes.is_alive(&handle));
        let handles = [handle];
        assert_eq!(stop_all(&processes, &handles, PATIENCE).await.unwrap(), [Ending::Asked]);
        assert_eq!(stop_all(&processes, &handles, PATIENCE).await.unwrap(), [Ending::Gone]);
    }

    #[tokio::test]
    async fn a_process_that_does_not_listen_is_ended_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::default();
        let launch =
            launch(dir.path(), "trap '' TERM; echo up; while :; do sleep 0.05; done", Life::Detached);
        let handles = [start(&processes, &launch)];
        wait("the log", || fs::read_to_string(launch.dir.join(LOG_FILE)).unwrap().contains("up"));
        let endings = stop_all(&processes, &handles, Duration::from_millis(50)).await.unwrap();
        assert_eq!(endings, [Ending::Forced]);
    }

    #[test]
    fn another_process_with_the_same_number_is_neither_alive_nor_ended() {
        let processes = Processes::default();
        let pid = std::process::id();
        let (began, alive) = began(pid).unwrap();
        assert!(alive && processes.is_alive(&Handle::Process { pid, began, boot: boot() }));
        let earlier = Handle::Process { pid, began: began - 1, boot: boot() };
        let other_boot = Handle::Process { pid, began, boot: "another".to_owned() };
        for recycled in [earlier, other_boot, Handle::Process { pid: u32::MAX, began, boot: boot() }] {
            assert!(!processes.is_alive(&recycled));
            processes.end(&recycled).unwrap();
        }
    }

    #[test]
    fn a_process_that_lives_with_its_parent_sees_it_go() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::default();
        let handle = start(&processes, &launch(dir.path(), "cat", Life::WithParent));
        assert!(processes.is_alive(&handle));
        drop(processes);
        wait("its end", || !Processes::default().is_alive(&handle));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut launch = launch(dir.path(), "", Life::Detached);
        launch.program = dir.path().join("missing");
        let error = Processes::default().start(&launch).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
