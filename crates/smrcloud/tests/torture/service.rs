//! A service of real replica processes behind proxies, deployed for one test and taken down with it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use smr_cloud::provider::{Launch, ProviderError};
use smr_cloud::{DeployOptions, Handle, Home, Life, Processes, Provider, deploy, health};
use smr_node::misbehave::Misbehaviour;
use smr_plan::{Blueprint, ServiceName};
use smr_wire::Descriptor;

use crate::plan::{Cut, REPLICAS};
use crate::proxy::Proxies;
use crate::{DEADLINE, owner, tail, until};

/// The name in `examples/kv.toml`.
const NAME: &str = "kv";

/// How long a replica may take to tell how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The running service.
pub(crate) struct Deployed {
    home: tempfile::TempDir,
    launcher: Launcher,
    pub(crate) descriptor: Descriptor,
}

impl Deployed {
    /// Deploys `examples/kv.toml`, with these replicas lying.
    pub(crate) async fn up(liars: &[(usize, Misbehaviour)]) -> Deployed {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kv.toml");
        let plan =
            Command::new(PROGRAM).arg("plan").arg(description).arg("--json").output().expect("it runs");
        let blueprint: Blueprint = serde_json::from_slice(&plan.stdout).expect("a blueprint");
        assert_eq!(usize::from(blueprint.replicas), REPLICAS, "the plan of faults is for another group");
        let launcher = Launcher {
            processes: Processes::default(),
            proxies: Proxies::bind(REPLICAS).await,
            liars: liars.to_vec(),
            scripts: home.path().to_owned(),
            started: Mutex::new(Vec::new()),
        };
        let options = DeployOptions {
            life: Life::WithParent,
            patience: DEADLINE,
            ..DeployOptions::new(PathBuf::from(PROGRAM), PathBuf::new())
        };
        let deployed =
            deploy(&Home::at(home.path().to_owned()), &blueprint, &options, &launcher, |_| {}).await;
        let descriptor = deployed.expect("a service").descriptor;
        Deployed { home, launcher, descriptor }
    }

    /// Where the test may keep its own files as long as the service is there.
    pub(crate) fn dir(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn cut(&self, cuts: Vec<Cut>) {
        self.launcher.proxies.cut(cuts);
    }

    /// Stops a replica's process; returns once it stands still.
    pub(crate) async fn stop(&self, replica: usize) {
        let pid = self.signal(replica, Signal::STOP);
        until("a replica stands still", || owner::is_stopped(pid)).await;
    }

    /// Lets a replica that was stopped go on.
    pub(crate) fn go_on(&self, replica: usize) {
        self.signal(replica, Signal::CONT);
    }

    /// Kills a replica, for good.
    pub(crate) async fn kill(&self, replica: usize) {
        self.signal(replica, Signal::KILL);
        let handle = self.launcher.started()[replica].clone();
        until("a replica dies", || !self.launcher.is_alive(&handle)).await;
    }

    fn signal(&self, replica: usize, signal: Signal) -> u32 {
        let Handle::Process { pid, .. } = self.launcher.started()[replica];
        let number =
            Pid::from_raw(i32::try_from(pid).expect("a process's number")).expect("a process's number");
        kill_process(number, signal).expect("an own process takes signals");
        pid
    }

    /// What `smrcloud status` says.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.run(&["status", NAME, "--json"]).stdout).expect("JSON")
    }

    /// How replicas are and what they said last, for whoever looks into a failure.
    pub(crate) async fn condition(&self) -> String {
        let log = |replica: usize| {
            let path = format!("services/{NAME}/replicas/{replica}/replica.log");
            format!("replica {replica} said last:\n{}", tail(&self.home.path().join(path)))
        };
        let logs: Vec<String> = (0..REPLICAS).map(log).collect();
        let dir = Home::at(self.home.path().to_owned()).service(&ServiceName::new(NAME).expect("a name"));
        let record = dir.record().expect("a readable record").expect("a record");
        let health = health(&dir, &record, &self.launcher, PATIENCE).await.expect("a readable record");
        let health = serde_json::to_string_pretty(&health).expect("plain data");
        format!("{:#}\n{health}\n{}", self.status(), logs.join("\n"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .env("SMRCLOUD_HOME", self.home.path())
            .args(arguments)
            .output()
            .expect("it runs")
    }
}

impl Drop for Deployed {
    /// Ends every replica, also one that is stopped. What a failed test leaves is kept.
    fn drop(&mut self) {
        for handle in self.launcher.started() {
            if let Err(error) = self.launcher.end(&handle) {
                eprintln!("{error}");
            }
        }
        if std::thread::panicking() {
            eprintln!("logs and journals are kept in {}", self.home.path().display());
            self.home.disable_cleanup(true);
        }
    }
}

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_smrcloud");

/// Starts replicas as the program's own provider does, but behind their proxies, and lying where it is told so.
struct Launcher {
    processes: Processes,
    proxies: Proxies,
    liars: Vec<(usize, Misbehaviour)>,
    /// Where scripts that add arguments are kept.
    scripts: PathBuf,
    started: Mutex<Vec<Handle>>,
}

impl Launcher {
    fn started(&self) -> Vec<Handle> {
        self.started.lock().expect("nobody panics with it").clone()
    }

    /// A program that is the one under test with further arguments.
    fn script(&self, replica: usize) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let mut further = format!("--advertise {}", self.proxies.address(replica));
        for (_, how) in self.liars.iter().filter(|(liar, _)| *liar == replica) {
            further += &format!(" --misbehave {}", name(*how));
        }
        let path = self.scripts.join(format!("replica-{replica}"));
        let script = format!("#!/bin/sh\nexec '{PROGRAM}' \"$@\" {further}\n");
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
        path
    }
}

fn name(how: Misbehaviour) -> &'static str {
    match how {
        Misbehaviour::WrongOutcomes => "wrong-outcomes",
        Misbehaviour::ForgeReplies => "forge-replies",
        Misbehaviour::Equivocate => "equivocate",
        Misbehaviour::StaySilent => "stay-silent",
    }
}

impl Provider for Launcher {
    fn start(&self, launch: &Launch) -> Result<Handle, ProviderError> {
        let mut started = self.started.lock().expect("nobody panics with it");
        let replica = started.len();
        let launch = Launch { program: self.script(replica), ..launch.clone() };
        let handle = loop {
            match self.processes.start(&launch) {
                // Another thread that forks has the script open for writing for a moment.
                Err(ProviderError::Start { error, .. }) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                result => break result?,
            }
        };
        let Handle::Process { pid, .. } = handle;
        self.proxies.runs_as(replica, pid);
        started.push(handle.clone());
        Ok(handle)
    }

    fn is_alive(&self, handle: &Handle) -> bool {
        self.processes.is_alive(handle)
    }

    fn ask_to_end(&self, handle: &Handle) -> Result<(), ProviderError> {
        self.processes.ask_to_end(handle)
    }

    fn end(&self, handle: &Handle) -> Result<(), ProviderError> {
        self.processes.end(handle)
    }
}
