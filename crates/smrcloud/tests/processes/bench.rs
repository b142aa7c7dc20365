//! `bench` ends in time though replicas stand still in the middle of it, and tells what it could not see.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::deployed::{Deployed, Kind, PAXOS, PBFT, is_stopped, signal};
use crate::until;

/// Records enough for some slots, and few enough to be loaded in a moment.
const WORKLOAD: &str =
    "recordcount=20\noperationcount=1000\nreadproportion=0.5\nupdateproportion=0.5\nfieldcount=1\n";

/// How long it measures.
const SECONDS: &str = "4";

/// A benchmark on its way.
struct Bench {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// How one ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Bench {
    /// Starts one; returns when its records are loaded and it begins to measure.
    fn measuring(deployed: &Deployed) -> Bench {
        let workload = deployed.home.path().join("workload");
        std::fs::write(&workload, WORKLOAD).expect("a workload");
        let workload = workload.display().to_string();
        let arguments = ["bench", "kv", "--workload", &workload, "--clients", "4", "--seconds", SECONDS];
        let mut command = deployed.command(&arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        while !line.starts_with("loaded 20 records") {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("text") > 0, "it ended before it measured");
        }
        Bench { child, stdout }
    }

    fn end(mut self) -> Ended {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).expect("text");
        let output = self.child.wait_with_output().expect("an end");
        Ended { code: output.status.code(), stdout, stderr: String::from_utf8(output.stderr).expect("text") }
    }
}

/// Stops so many replicas, the last ones, while a benchmark measures.
async fn ended_without(deployed: &Deployed, stopped: usize) -> Ended {
    let replicas = deployed.kind.replicas;
    let pids: Vec<u32> = (replicas - stopped..replicas).map(|replica| deployed.pid(replica)).collect();
    let bench = Bench::measuring(deployed);
    for pid in &pids {
        signal(*pid, Signal::STOP);
    }
    let began = Instant::now();
    until("they stand still", || pids.iter().all(|pid| is_stopped(*pid))).await;
    let ended = bench.end();
    let by_themselves = Duration::from_millis(smr_client::Config::default().deadline_ms);
    let took = began.elapsed();
    assert!(took < by_themselves, "{took:?}: it waits until calls are given up\n{}", ended.stdout);
    ended
}

async fn ends_without_one(kind: Kind) {
    let deployed = Deployed::up(kind);
    let Ended { code, stdout, stderr } = ended_without(&deployed, 1).await;
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("every reply verified: yes\n"), "{stdout}");
    let (asked, all) = (kind.replicas - 1, kind.replicas);
    assert!(stdout.contains(&format!("in {asked} of {all} replicas (one did not say)")), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_of_paxos_ends_in_time_while_one_replica_stands_still() {
    ends_without_one(PAXOS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_of_pbft_ends_in_time_while_one_replica_stands_still() {
    ends_without_one(PBFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_of_a_service_that_stops_ends_in_time_and_says_so() {
    let deployed = Deployed::up(PAXOS);
    let Ended { code, stdout, stderr } = ended_without(&deployed, 2).await;
    assert_eq!(code, Some(1), "not done, but nothing was wrong: {stdout}{stderr}");
    assert!(!stdout.contains("every reply verified: yes\n") && !stdout.contains("NO"), "{stdout}");
    assert!(stderr.contains("smrcloud status kv"), "{stderr}");
}
