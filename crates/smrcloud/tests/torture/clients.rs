//! Processes of clients, as seen from whoever started them: this test's own program, called to be one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use smr_sim::history::Record;
use smr_sim::rng::Rng;
use smr_wire::Descriptor;

use crate::journal::{Entry, Reader};
use crate::tail;
use crate::worker::{Orders, work};

/// Names the file with a client process's orders.
const ORDERS: &str = "SMRCLOUD_TORTURE_ORDERS";

/// The test that is the entry of such a process.
const ENTRY: &str = "client_process";

/// What a process of clients does; nothing without orders.
pub(crate) fn entry() {
    let Some(path) = std::env::var_os(ORDERS) else { return };
    let orders = fs::read(path).expect("orders");
    work(&serde_json::from_slice(&orders).expect("orders that can be read"));
}

/// All of them.
pub(crate) struct Clients {
    dir: PathBuf,
    descriptor: Descriptor,
    seats: usize,
    rng: Rng,
    processes: Vec<Process>,
    /// Journals of processes that were killed.
    past: Vec<Reader>,
    pub(crate) killed: u64,
}

struct Process {
    child: Child,
    generation: u64,
    journal: PathBuf,
    /// Once it is there.
    reader: Option<Reader>,
    log: PathBuf,
}

impl Clients {
    /// Starts so many processes with so many clients each, which keep what they write in `dir`.
    pub(crate) fn start(
        dir: &Path,
        descriptor: &Descriptor,
        processes: usize,
        seats: usize,
        seed: u64,
    ) -> Clients {
        fs::create_dir(dir).expect("a new directory");
        let mut clients = Clients {
            dir: dir.to_owned(),
            descriptor: descriptor.clone(),
            seats,
            rng: Rng::new(seed).fork(),
            processes: Vec::new(),
            past: Vec::new(),
            killed: 0,
        };
        for place in 0..processes {
            let process = clients.spawn(place, 0);
            clients.processes.push(process);
        }
        clients
    }

    fn spawn(&mut self, place: usize, generation: u64) -> Process {
        let name = format!("p{place}g{generation}");
        let file = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        let (journal, log, orders_file) = (file("journal"), file("log"), file("orders"));
        let orders = Orders {
            descriptor: self.descriptor.clone(),
            journal: journal.clone(),
            name,
            seats: self.seats,
            seed: self.rng.draw(),
        };
        fs::write(&orders_file, serde_json::to_vec(&orders).expect("plain data")).expect("a file");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", ENTRY, "--nocapture"])
            .env(ORDERS, orders_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("this program starts");
        Process { child, generation, journal, reader: None, log }
    }

    /// Kills one process; another one takes its place.
    pub(crate) fn kill(&mut self, place: usize) {
        let process = &mut self.processes[place];
        process.end();
        let generation = process.generation + 1;
        let next = self.spawn(place, generation);
        let last = std::mem::replace(&mut self.processes[place], next);
        self.past.extend(last.reader);
        self.killed += 1;
    }

    /// Reads what they have written since.
    pub(crate) fn look(&mut self) {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait().expect("a child") {
                panic!("a process of clients ended by itself, {status}:\n{}", tail(&process.log));
            }
            process.read_on();
        }
    }

    /// How many clients there are at a time.
    pub(crate) fn count(&self) -> usize {
        self.processes.len() * self.seats
    }

    /// What was asked at `since_us` or later and answered: for each seat that has something, the last of it.
    pub(crate) fn served_since(&self, since_us: u64) -> Vec<&Entry> {
        let readers = self.processes.iter().filter_map(|process| process.reader.as_ref());
        readers
            .flat_map(|reader| (0..self.seats).filter_map(|seat| reader.answered_since(seat, since_us)))
            .collect()
    }

    /// Tells them to end, and waits until they have.
    pub(crate) fn stop(&mut self, patience: Duration) {
        for process in &mut self.processes {
            drop(process.child.stdin.take());
        }
        let began = Instant::now();
        for process in &mut self.processes {
            let status = loop {
                if let Some(status) = process.child.try_wait().expect("a child") {
                    break status;
                }
                assert!(began.elapsed() < patience, "a process of clients does not end");
                std::thread::sleep(Duration::from_millis(20));
            };
            assert!(status.success(), "a process of clients failed, {status}:\n{}", tail(&process.log));
            process.read_on();
        }
    }

    /// Everything that left a client, in the order of asking.
    pub(crate) fn history(&self) -> Vec<Record> {
        let present = self.processes.iter().filter_map(|process| process.reader.as_ref());
        let mut history = Vec::new();
        for (process, reader) in self.past.iter().chain(present).enumerate() {
            let client = |seat: usize| process * self.seats + seat;
            history
                .extend(reader.entries.iter().filter_map(|((seat, _), entry)| entry.record(client(*seat))));
        }
        history.sort_by_key(|record| record.asked_us);
        history
    }
}

impl Process {
    fn read_on(&mut self) {
        self.reader = self.reader.take().or_else(|| Reader::open(&self.journal));
        self.reader.iter_mut().for_each(Reader::read_on);
    }

    fn end(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_on();
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // A journal that cannot be read is no reason to leave processes behind.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}
