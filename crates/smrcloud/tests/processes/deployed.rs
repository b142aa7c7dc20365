//! A service deployed by the real program for one test.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use smr_wire::Descriptor;

/// The protocols, each with the wish that it serves, and how many replicas that takes.
pub(crate) const PBFT: Kind =
    Kind { protocol: "pbft", wish: r#"against = "byzantine""#, replicas: 4, durability: "memory" };
pub(crate) const PAXOS: Kind =
    Kind { protocol: "paxos", wish: r#"against = "crash""#, replicas: 3, durability: "memory" };
pub(crate) const MENCIUS: Kind =
    Kind { protocol: "mencius", wish: r#"against = "crash""#, replicas: 3, durability: "memory" };
pub(crate) const MINBFT: Kind = Kind { protocol: "minbft", wish: HYBRID, replicas: 3, durability: "memory" };
pub(crate) const EBAWA: Kind = Kind { protocol: "ebawa", wish: HYBRID, replicas: 3, durability: "memory" };

/// Its file.
const DESCRIPTION: &str = "kv.toml";

const HYBRID: &str = "against = \"byzantine\"\ntrusted_hardware = \"software\"";

/// A protocol, as somebody wishes for it.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) protocol: &'static str,
    wish: &'static str,
    pub(crate) replicas: usize,
    durability: &'static str,
}

impl Kind {
    /// The same, with replicas that write down what they promise.
    pub(crate) const fn on_disk(self) -> Kind {
        Kind { durability: "disk", ..self }
    }
}

/// A service deployed for one test; taken down when the test ends, however it ends.
pub(crate) struct Deployed {
    pub(crate) home: tempfile::TempDir,
    pub(crate) kind: Kind,
}

impl Deployed {
    pub(crate) fn up(kind: Kind) -> Deployed {
        let (deployed, _) = Deployed::described(kind);
        deployed.up_again();
        deployed
    }

    /// Has it go on, after it was stopped.
    pub(crate) fn up_again(&self) {
        let description = self.home.path().join(DESCRIPTION).display().to_string();
        let output = self.run(&["up", &description, "--detach"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// With a `smrcloud up` that stays and looks after it; the process is that.
    pub(crate) fn attended(kind: Kind) -> (Deployed, Child) {
        let (deployed, description) = Deployed::described(kind);
        let mut command = deployed.command(&["up", &description]);
        let up = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        (deployed, up.expect("the program runs"))
    }

    fn described(kind: Kind) -> (Deployed, String) {
        let deployed = Deployed { home: tempfile::tempdir().expect("a directory"), kind };
        let description = deployed.home.path().join(DESCRIPTION);
        let text = format!(
            "name = \"kv\"\n[application]\nbuiltin = \"kv\"\n[wish]\nfaults = 1\n{}\ndurability = \"{}\"\n\
             [protocol]\nname = \"{}\"\n",
            kind.wish, kind.durability, kind.protocol
        );
        std::fs::write(&description, text).expect("a description");
        (deployed, description.display().to_string())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smrcloud"));
        command.env("SMRCLOUD_HOME", self.home.path()).args(arguments);
        command
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.run(arguments).stdout).expect("JSON")
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        self.json(&["status", "kv", "--json"])
    }

    /// Whether it has its key, all replicas are up, and it is otherwise as `wanted`; not while there is no such service.
    pub(crate) fn is_healthy(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> bool {
        let output = self.run(&["status", "kv", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let group = &status["group"];
        group["verdict"] == "healthy" && group["service_key"].is_string() && wanted(&status)
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        serde_json::from_value(self.json(&["descriptor", "kv"])).expect("a descriptor")
    }

    /// The process of a replica that answers.
    pub(crate) fn pid(&self, replica: usize) -> u32 {
        let status = self.status();
        let pid = status["replicas"][replica]["pid"].as_u64().expect("a process");
        u32::try_from(pid).expect("a process's number")
    }

    pub(crate) fn kill(&self, replica: usize) {
        signal(self.pid(replica), Signal::KILL);
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.run(&["down", "kv", "--erase"]);
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("small")).expect("a process's number");
    kill_process(pid, signal).expect("an own process takes signals");
}

/// Whether a process stands still.
pub(crate) fn is_stopped(pid: u32) -> bool {
    proc_field(pid, "State").is_some_and(|state| state.starts_with('T'))
}

/// Memory that a process holds, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let text = proc_field(pid, "VmRSS").expect("a process that runs");
    text.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number of kB")
}

fn proc_field(pid: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
