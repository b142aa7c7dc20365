//! Trusted cores in processes of their own, with the real program: services that count on them, cores that are killed,
//! misused and broken into.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use smr_consensus::lanes::core::{self, Item, Operation, Refusal, Registers, Scope};
use smr_consensus::{Group, ProtocolName};
use smr_crypto::dkg::{Assurance, Ceremony, Command as CeremonyCommand, DecryptionKey, Phase, Setup};
use smr_crypto::{Digest, IdentityKey, PublicKey, Verifier};
use smr_node::misbehave::attempt::{ATTEMPTS, Attempt, DENIED, SUCCEEDED};
use smr_node::trusted::exchange::{Ask, Misuse, PACKET_BYTES_MAX, Said};
use smr_node::trusted::inside::VERB;
use smr_node::trusted::{Answer, Backing, Born, CoreError, Place, Precaution, Precautions, Program};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, ServiceId, Slot, View};

#[path = "../../node/tests/common/swtpm.rs"]
mod swtpm;
use swtpm::Swtpm;

/// Far more than any of this takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// The signal that ends a process at a call to the system that it may not make.
const SIGSYS: i32 = 31;

const PROGRAM: &str = env!("CARGO_BIN_EXE_smrcloud");

fn until<T>(what: &str, mut come: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = come() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come to pass");
        std::thread::yield_now();
    }
}

/// A service with trusted cores; taken down when the test ends, however it ends.
struct Deployed {
    home: tempfile::TempDir,
}

impl Deployed {
    fn up(protocol: &str) -> Deployed {
        let (deployed, output) = Deployed::tried(protocol, "software", &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        deployed
    }

    fn tried(protocol: &str, hardware: &str, arguments: &[&str]) -> (Deployed, Output) {
        let text = format!(
            "name = \"kv\"\n[application]\nbuiltin = \"kv\"\n[wish]\nfaults = 1\nagainst = \"byzantine\"\n\
             durability = \"memory\"\ntrusted_hardware = \"{hardware}\"\n[protocol]\nname = \"{protocol}\"\n"
        );
        Deployed::described(&text, arguments)
    }

    fn described(text: &str, arguments: &[&str]) -> (Deployed, Output) {
        let deployed = Deployed { home: tempfile::tempdir().expect("a directory") };
        let description = deployed.home.path().join("service.toml");
        fs::write(&description, text).expect("a description");
        let up = ["up", &description.display().to_string(), "--detach"];
        let output = deployed.run(&[&up, arguments].concat());
        (deployed, output)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .env("SMRCLOUD_HOME", self.home.path())
            .args(arguments)
            .output()
            .expect("it runs")
    }

    fn call(&self, command: &[&str]) -> String {
        let output = self.run(&[&["call", "kv"], command].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.run(&["status", "kv", "--json"]).stdout).expect("JSON")
    }

    fn replica_dir(&self, replica: usize) -> PathBuf {
        self.home.path().join(format!("services/kv/replicas/{replica}"))
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.run(&["down", "kv"]);
    }
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A line of a file in `/proc`, without its title.
fn proc_line(pid: u64, file: &str, title: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(title)).expect("there is such a line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the process is gone, or waits to be forgotten.
fn is_gone(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn signal(which: &str, pid: u64) {
    let told = Command::new("kill").args([which, &pid.to_string()]).status().expect("kill runs");
    assert!(told.success(), "{pid} could not be told {which}");
}

fn kill(pid: u64) {
    signal("-KILL", pid);
}

fn serves_and_survives_the_loss_of_a_core(service: Deployed, protocol: &str) {
    assert_eq!(service.call(&["put", "a", "one"]), "ok");
    let status = service.status();
    assert_eq!(status["group"]["protocol"], protocol);
    let mut cores = Vec::new();
    for replica in 0..3 {
        let seen = &status["replicas"][replica];
        let (pid, core) = (number(&seen["pid"]), &seen["core"]);
        assert_eq!(core["backing"], "process", "{seen}");
        let core_pid = number(&core["pid"]);
        assert_ne!(pid, core_pid);
        is_apart(core_pid, core);
        has_no_key_of_its_core(&service.replica_dir(replica));
        cores.push((pid, core_pid));
    }
    let text = String::from_utf8(service.run(&["status", "kv"]).stdout).expect("text");
    assert!(text.contains("separate process"), "{text}");

    // One that stands still keeps its replica from voting, which the others do without; that is no end, but it is told.
    let (replica, core) = cores[0];
    signal("-STOP", core);
    until("the core is seen to stand still", || {
        let status = service.status();
        let told = &status["replicas"][0];
        (told["core_stall"]["why"] == "stopped" && told["state"] == "core stopped").then_some(())
    });
    let status = service.status();
    assert_eq!((number(&status["group"]["up"]), &status["group"]["verdict"]), (2, &"degraded".into()));
    let text = String::from_utf8(service.run(&["status", "kv"]).stdout).expect("text");
    assert!(text.contains("2 of 3 up: serving, but tolerates no further failure"), "{text}");
    assert!(text.contains(&format!("`kill -CONT {core}` lets it go on")), "{text}");
    assert_eq!(service.call(&["put", "a", "meanwhile"]), "ok");
    signal("-CONT", core);
    until("all have the same history", || {
        let status = service.status();
        let seen =
            |replica: usize| (&status["replicas"][replica]["digest"], &status["replicas"][replica]["state"]);
        ((0..3).all(|replica| seen(replica) == seen(0)) && seen(0).1 == "ready").then_some(())
    });
    assert_eq!(service.status()["group"]["verdict"], "healthy");

    // A core that is killed takes its replica along, and nobody else.
    kill(core);
    until("the replica ends with its core", || is_gone(replica).then_some(()));
    let log = fs::read_to_string(service.replica_dir(0).join("replica.log")).expect("a log");
    let told = format!("the trusted core (process {core}) is gone: signal 9 ended it");
    assert!(log.contains(&told), "{log}");
    assert_eq!(service.call(&["put", "a", "two"]), "ok");
    assert_eq!(service.call(&["get", "a"]), "two");
    let status = service.status();
    assert_eq!(
        (number(&status["group"]["up"]), &status["replicas"][0]["state"]),
        (2, &"down".into()),
        "{status}"
    );

    // And one does not outlive its replica, however that ends.
    let (replica, core) = cores[1];
    assert!(!is_gone(core));
    kill(replica);
    until("the core ends with its replica", || is_gone(core).then_some(()));
    drop(service);
    assert!(is_gone(cores[2].1), "a core outlives the service");
}

/// What the system says of the process agrees with what the core says of itself.
fn is_apart(pid: u64, core: &serde_json::Value) {
    let precautions: Precautions = serde_json::from_value(core["precautions"].clone()).expect("precautions");
    assert_eq!(precautions.taken.len() + precautions.missing.len(), 7, "{precautions}");
    assert!(
        precautions.has(Precaution::Seccomp) && proc_line(pid, "status", "Seccomp:") == "2",
        "{precautions}"
    );
    assert!(precautions.has(Precaution::NoNewPrivileges) && proc_line(pid, "status", "NoNewPrivs:") == "1");
    assert!(precautions.has(Precaution::NoCoreDump));
    assert_eq!(proc_line(pid, "limits", "Max core file size"), "0 0 bytes");
    assert_eq!(proc_line(pid, "status", "Threads:"), "1");
    let locked = proc_line(pid, "status", "VmLck:") != "0 kB";
    assert_eq!(precautions.has(Precaution::MemoryLocked), locked, "{precautions}");
    let user = |pid| proc_line(pid, "status", "Uid:");
    let apart = user(pid) != user(std::process::id().into());
    assert_eq!(precautions.has(Precaution::OwnUser), apart, "{precautions}");
}

/// No file of the replica is a seed of the core's key, and there are no files but those that are known.
fn has_no_key_of_its_core(dir: &Path) {
    let public = smr_node::serve::PublicFile::read(dir).expect("readable").expect("it is there").replica;
    let mut seeds = 0;
    for entry in fs::read_dir(dir).expect("the replica's directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        // What is decided, where the service keeps it; only the replica writes there.
        if name == "store" {
            continue;
        }
        let known = ["public.json", "genesis.bin", "ran", "replica.log"].contains(&name.as_str());
        assert!(known || name.ends_with(".seed"), "{name}");
        for window in fs::read(&path).expect("a readable file").windows(32) {
            if !known {
                seeds += 1;
                let seed: &[u8; 32] = window.try_into().expect("32 bytes");
                assert_ne!(IdentityKey::from_seed(seed).public(), public.core, "{name} is its seed");
            }
        }
    }
    assert_eq!(seeds, 4);
}

#[test]
fn minbft_serves_with_cores_in_their_own_processes_and_survives_the_loss_of_one() {
    serves_and_survives_the_loss_of_a_core(Deployed::up("minbft"), "minbft");
}

#[test]
fn ebawa_as_in_the_example_serves_with_cores_in_their_own_processes_and_survives_the_loss_of_one() {
    let example =
        include_str!("../../../examples/trusted.toml").replace("name = \"trusted\"", "name = \"kv\"");
    let (service, output) = Deployed::described(&example, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serves_and_survives_the_loss_of_a_core(service, "ebawa");
}

const WINDOW: u64 = 8;

fn place() -> Place {
    let service = ServiceId(Digest::of("TEST", &[]));
    Place { service, generation: Generation(0), window_slots: WINDOW, replica: ReplicaId(0) }
}

fn endorse(view: u64, slot: u64, text: &str) -> Operation {
    let item = Item { slot: Slot(slot), digest: Digest::of("TEST", &[text.as_bytes()]) };
    Operation::Endorse { view: View(view), items: vec![item] }
}

fn program(arguments: &[&str]) -> Program {
    let words = [VERB].into_iter().chain(arguments.iter().copied());
    Program { path: PROGRAM.into(), arguments: words.map(str::to_owned).collect() }
}

#[test]
fn registers_refuse_and_sign_across_the_boundary_as_they_do_inside() {
    let born = Born::start(&Backing::Process(program(&[]))).expect("a core");
    let key = born.key();
    let (send, answers) = mpsc::channel();
    let deliver = std::sync::Arc::new(move |answer| send.send(answer).expect("the test waits"));
    let (mut core, mut lost) = born.join(place(), deliver).expect("it takes its place");
    let leave = |to| Operation::Leave { to: View(to) };
    let begin = |view| Operation::Begin { view: View(view), digest: Digest::default() };
    let mut asked = vec![endorse(0, 1, "a"), endorse(0, 1, "b"), endorse(1, 2, "a"), begin(1), leave(2)];
    asked.extend([endorse(0, 2, "a"), endorse(2, 1, "b"), begin(2), begin(2), leave(1)]);
    // More than may be under way at once, so that some wait.
    asked.extend((2..400).map(|slot| endorse(2, slot, "many")));
    for operation in &asked {
        core.ask(operation.clone());
    }
    // The same registers here tell what has to come.
    let group = group_of(key);
    let scope = Scope { group: &group, window_slots: WINDOW, replica: ReplicaId(0) };
    let mut registers = Registers::new(Generation(0), WINDOW);
    let (mut signed, mut refused) = (0, 0);
    for operation in &asked {
        let Answer::Attested(answer) = answers.recv_timeout(DEADLINE).expect("an answer") else {
            panic!("nobody asked for a dealing");
        };
        core.answered();
        match (registers.apply(operation), answer) {
            (Ok(()), Ok(signature)) => {
                assert!(key.verify(&scope.of(operation, &registers), &signature), "{operation:?}");
                signed += 1;
            }
            (Err(wanted), Err(why)) => {
                assert_eq!(wanted, why, "{operation:?}");
                refused += 1;
            }
            (wanted, answer) => panic!("{operation:?}: {wanted:?}, but the core says {answer:?}"),
        }
    }
    assert_eq!((signed, refused), (402, 6));
    assert!(lost.try_recv().is_err(), "nothing is lost");
}

/// A group whose cores all have one key.
fn group_of(core: PublicKey) -> Group {
    Group {
        service: place().service,
        generation: place().generation,
        model: FaultModel::Hybrid,
        faults: 1,
        keys: vec![PublicKey([1; 32]); 3],
        cores: vec![core; 3],
    }
}

/// An attempt of 2f+1 participants at a key, who can open what is dealt to them.
fn key_generation(faults: u16) -> (core::Attempt, Vec<DecryptionKey>) {
    let key = |place: u16| DecryptionKey::from_seed(&Digest::of_value("TEST", &place).0);
    let keys: Vec<DecryptionKey> = (0..2 * faults + 1).map(key).collect();
    let setup = Setup {
        context: Digest::of("TEST", &[b"an attempt"]),
        threshold: faults + 1,
        encryption_keys: keys.iter().map(DecryptionKey::public).collect(),
        dealings: faults + 1,
        assurance: Assurance::Attested,
    };
    (core::Attempt { number: 0, setup }, keys)
}

#[test]
fn cores_behind_their_filters_deal_a_key_among_their_votes_and_once_in_an_attempt() {
    let (attempt, keys) = key_generation(1);
    let mut ceremony = Ceremony::new(attempt.setup.clone());
    for dealer in [0, 2] {
        let born = Born::start(&Backing::Process(program(&[]))).expect("a core");
        let group = group_of(born.key());
        let (send, answers) = mpsc::channel();
        let deliver = std::sync::Arc::new(move |answer| send.send(answer).expect("the test waits"));
        let place = Place { replica: ReplicaId(dealer), ..place() };
        let (mut core, _lost) = born.join(place, deliver).expect("it takes its place");
        core.ask(endorse(0, 1, "a"));
        core.deal(Box::new(attempt.clone()));
        core.ask(endorse(0, 2, "a"));
        core.deal(Box::new(attempt.clone()));
        let mut next = || {
            core.answered();
            answers.recv_timeout(DEADLINE).expect("an answer")
        };
        assert!(matches!(next(), Answer::Attested(Ok(_))));
        let Answer::Dealt(Ok(dealt)) = next() else { panic!("a first dealing") };
        assert!(matches!(next(), Answer::Attested(Ok(_))));
        assert!(matches!(next(), Answer::Dealt(Err(Refusal::Dealt))));
        let scope = Scope { group: &group, window_slots: WINDOW, replica: ReplicaId(dealer) };
        assert!(dealt.holds(&scope, &attempt.setup, &Verifier::new(1)));
        ceremony.apply(dealer, CeremonyCommand::Deal(dealt.dealing)).expect("a good dealing");
    }
    assert_eq!(ceremony.phase(), Phase::Closed);
    for (place, key) in (0..).zip(&keys) {
        ceremony.key_share(place, key).expect("everyone has a share");
    }
}

#[test]
fn a_core_that_is_lost_is_told_with_how_it_ended() {
    let born = Born::start(&Backing::Process(program(&[]))).expect("a core");
    let pid = born.status().pid.expect("a process");
    let (_core, lost) = born.join(place(), std::sync::Arc::new(|_| ())).expect("it takes its place");
    kill(pid.into());
    let gone = lost.blocking_recv().expect("it is told");
    assert!(matches!(&gone, CoreError::Gone { how, .. } if how == "signal 9 ended it"), "{gone}");

    let mut early = Born::start(&Backing::Process(program(&[]))).expect("a core");
    early.check().expect("it is there");
    kill(early.status().pid.expect("a process").into());
    let gone = until("its end is seen", || early.check().err());
    assert!(matches!(gone, CoreError::Gone { .. }), "{gone}");
}

/// A core's process with the test at the other end of its sockets, as whoever has taken over a replica would be.
struct Misused {
    socket: OwnedFd,
    child: Child,
}

impl Misused {
    fn start(arguments: &[&str]) -> Misused {
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .expect("sockets");
        let mut command = Command::new(PROGRAM);
        command.arg(VERB).args(arguments).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        Misused { socket, child: command.spawn().expect("it starts") }
    }

    fn say(&self, packet: &[u8]) -> Said {
        rustix::net::send(&self.socket, packet, SendFlags::empty()).expect("it listens");
        let mut room = [0; PACKET_BYTES_MAX];
        let (_, count) = rustix::net::recv(&self.socket, &mut room, RecvFlags::empty()).expect("it answers");
        smr_wire::decode(&room[..count], PACKET_BYTES_MAX).expect("an answer")
    }

    fn ask(&self, ask: &Ask) -> Said {
        self.say(&smr_wire::encode(ask))
    }

    fn end(mut self) -> ExitStatus {
        drop(self.socket);
        self.child.wait().expect("an end")
    }
}

#[test]
fn garbage_is_refused_and_a_core_ends_in_order_when_its_replica_goes() {
    let core = Misused::start(&[]);
    let refused = Said::Refused;
    assert_eq!(core.say(b"garbage"), refused(Misuse::Garbage));
    assert_eq!(core.ask(&Ask::Attest(endorse(0, 1, "a"))), refused(Misuse::Early));
    let Said::Born { .. } = core.ask(&Ask::Begin) else { panic!("it begins") };
    assert_eq!(core.ask(&Ask::Begin), refused(Misuse::Again));
    assert_eq!(core.ask(&Ask::Join(place())), Said::Joined);
    assert_eq!(core.ask(&Ask::Join(place())), refused(Misuse::Again));
    assert!(matches!(core.ask(&Ask::Attest(endorse(0, 1, "a"))), Said::Attested(Ok(_))));
    for garbage in [&[0xff; 3][..], &[2; PACKET_BYTES_MAX], &[0; 8 * PACKET_BYTES_MAX]] {
        assert_eq!(core.say(garbage), refused(Misuse::Garbage));
    }
    let mut trailing = smr_wire::encode(&Ask::Attest(endorse(0, 2, "a")));
    trailing.push(0);
    assert_eq!(core.say(&trailing), refused(Misuse::Garbage));
    assert_eq!(core.ask(&Ask::Attest(endorse(0, 1, "b"))), Said::Attested(Err(Refusal::Lane)));
    // In the largest group that there is a dealing takes the most memory and the longest packet.
    let (largest, _) = key_generation(ProtocolName::Ebawa.profile().faults_max);
    assert!(matches!(core.ask(&Ask::Deal(Box::new(largest.clone()))), Said::Dealt(Ok(_))));
    assert_eq!(core.ask(&Ask::Deal(Box::new(largest))), Said::Dealt(Err(Refusal::Dealt)));
    // The end is by the filter's leave, too.
    assert_eq!(core.end().code(), Some(0));
}

/// How a core's process ends that tries something as soon as it has its key, without some of its precautions.
fn attempt(name: &str, without: &[&str]) -> (ExitStatus, Precautions) {
    let without = without.iter().flat_map(|what| ["--without", what]);
    let arguments: Vec<&str> = ["--attempt", name].into_iter().chain(without).collect();
    let core = Misused::start(&arguments);
    let Said::Born { precautions, .. } = core.ask(&Ask::Begin) else { panic!("it begins") };
    (core.end(), precautions)
}

#[test]
fn whoever_gets_into_a_core_s_process_can_do_nothing_there_but_answer() {
    for (name, what) in ATTEMPTS {
        // Without precautions it can be done at all, but for what is not open: so the others show something.
        let (free, _) = attempt(name, &["seccomp", "landlock"]);
        let possible = if what == Attempt::ReadElsewhere { DENIED } else { SUCCEEDED };
        assert_eq!(free.code(), Some(possible), "{name}: {free}");
        for without in [&[][..], &["landlock"]] {
            let (ended, precautions) = attempt(name, without);
            assert_eq!(ended.signal(), Some(SIGSYS), "{name}: {ended}, {precautions}");
        }
        let (ended, precautions) = attempt(name, &["seccomp"]);
        if precautions.has(Precaution::Landlock) {
            assert_eq!(ended.code(), Some(DENIED), "{name}: {precautions}");
        } else {
            println!("{name}: not tried under Landlock alone: {precautions}");
        }
    }
}

#[test]
fn a_service_that_counts_on_a_tpm_serves_with_certified_cores_and_does_not_start_without() {
    let (deployed, output) = Deployed::tried("ebawa", "tpm", &["--tpm", "/dev/no-tpm"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the TPM at /dev/no-tpm cannot be reached"), "{said}");
    assert!(said.contains("Nothing was started") && said.contains("--tpm PATH"), "{said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("started"), "seen before a replica is started");
    assert!(!deployed.home.path().join("services").exists(), "nothing is left");
    drop(deployed);
    let (_deployed, output) = Deployed::tried("ebawa", "software", &["--tpm", "/dev/no-tpm"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--tpm would not be used"), "{said}");

    let Some(swtpm) = Swtpm::start() else { return };
    let (service, output) = Deployed::tried("ebawa", "tpm", &["--tpm", &swtpm.address.to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(service.call(&["put", "a", "one"]), "ok");
    let status = service.status();
    let (mut counts, mut keys) = (Vec::new(), Vec::new());
    for replica in 0..3 {
        let boot = &status["replicas"][replica]["core"]["boot"];
        counts.push(number(&boot["counter"]));
        keys.push(boot["key"].as_str().expect("a key").to_owned());
    }
    // One machine, so one TPM, which counts the cores in the order in which they came.
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3], "{status}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{status}");
    let log = fs::read_to_string(service.replica_dir(0).join("replica.log")).expect("a log");
    assert_eq!(log.matches("certified core").count(), 3, "{log}");
}
