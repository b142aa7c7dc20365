//! One closed-loop client: draws an operation, asks the service, checks the answer, draws the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use smr_client::{Client, Failure};
use tokio::time::timeout_at;

use super::generator::{Generator, Operation};
use super::report::{Kind, Tally};
use super::workload::Workload;

/// What all clients of a run share.
#[derive(Debug)]
pub(crate) struct Load {
    /// Records to load.
    records: u64,
    /// Bytes of a record.
    record_bytes: usize,
    /// Records that are there: loaded, or inserted and answered.
    present: AtomicU64,
    /// The next record to insert.
    next_insert: AtomicU64,
    /// The next record to load.
    next_load: AtomicU64,
}

impl Load {
    pub(crate) fn new(workload: &Workload) -> Load {
        Load {
            records: workload.records,
            record_bytes: workload.fields as usize * workload.field_bytes as usize,
            present: AtomicU64::new(workload.records),
            next_insert: AtomicU64::new(workload.records),
            next_load: AtomicU64::new(0),
        }
    }
}

/// How long a client goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Until all records are loaded; nothing else is done.
    Loaded,
    /// Until then.
    Time(Instant),
    /// Until all clients together have done so many operations.
    Operations(u64),
}

/// How long clients wait, once the time is up, for the answers that are still to come. A service that serves gives them in
/// a small part of it; one that does not would keep them until the deadlines of their calls.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// One client.
pub(crate) struct Worker {
    client: Client,
    generator: Generator,
    load: Arc<Load>,
    /// Operations begun by all clients.
    begun: Arc<AtomicU64>,
    bar: ProgressBar,
    tally: Tally,
    /// When it waits for no answer any more, if there is such a time.
    waits_until: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(
        client: Client,
        generator: Generator,
        load: Arc<Load>,
        begun: Arc<AtomicU64>,
        bar: ProgressBar,
    ) -> Worker {
        Worker { client, generator, load, begun, bar, tally: Tally::default(), waits_until: None }
    }

    /// Opens the session, so that the measurement begins with commands and not with greetings.
    pub(crate) async fn greet(client: Client) -> Result<(), String> {
        client.call(b"size".to_vec()).await.map(drop).map_err(|failure| reason(&failure))
    }

    /// Goes on until it is time to stop, or until nobody answers any more.
    pub(crate) async fn run(mut self, until: Until) -> Tally {
        if let Until::Time(end) = until {
            self.waits_until = Some(end + LAST_ANSWERS);
        }
        while self.goes_on(until) && !self.tally.is_hopeless() {
            match until {
                Until::Loaded => {
                    let record = self.load.next_load.fetch_add(1, Ordering::Relaxed);
                    if record >= self.load.records {
                        break;
                    }
                    self.put(Kind::Insert, record).await;
                    self.bar.inc(1);
                }
                Until::Time(_) => self.operate().await,
                Until::Operations(_) => {
                    self.operate().await;
                    self.bar.inc(1);
                }
            }
        }
        self.tally
    }

    fn goes_on(&self, until: Until) -> bool {
        match until {
            Until::Loaded => true,
            Until::Time(end) => Instant::now() < end,
            Until::Operations(count) => self.begun.fetch_add(1, Ordering::Relaxed) < count,
        }
    }

    async fn operate(&mut self) {
        let present = self.load.present.load(Ordering::Relaxed);
        match self.generator.next(present) {
            Operation::Read { record } => {
                let began = Instant::now();
                if self.read(record).await.is_some() {
                    self.tally.done(Kind::Read, began.elapsed());
                }
            }
            Operation::Update { record } => self.put(Kind::Update, record).await,
            Operation::Insert => {
                let record = self.load.next_insert.fetch_add(1, Ordering::Relaxed);
                self.put(Kind::Insert, record).await;
                // Records are told as present in the order of their numbers, so none is read before it is there.
                let told = self.load.present.compare_exchange(
                    record,
                    record + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if told.is_err() {
                    self.tally.untold += 1;
                }
            }
            Operation::Scan { record, records } => self.scan(record, records).await,
            Operation::ReadModifyWrite { record } => self.read_modify_write(record).await,
        }
    }

    async fn read(&mut self, record: u64) -> Option<Vec<u8>> {
        let value = self.ask(format!("get {}", self.generator.key(record)).into_bytes()).await?;
        if value.len() == self.load.record_bytes {
            return Some(value);
        }
        self.tally.wrong(if value.starts_with(b"error") {
            format!("a get was answered {}", beginning(&value))
        } else {
            format!("a record has {} bytes instead of {}", value.len(), self.load.record_bytes)
        });
        None
    }

    async fn put(&mut self, kind: Kind, record: u64) {
        let value = self.generator.value();
        let began = Instant::now();
        if self.write(record, &value).await {
            self.tally.done(kind, began.elapsed());
        }
    }

    async fn write(&mut self, record: u64, value: &[u8]) -> bool {
        let command = [format!("put {} ", self.generator.key(record)).as_bytes(), value].concat();
        let Some(answer) = self.ask(command).await else { return false };
        if answer != b"ok" {
            self.tally.wrong(format!("a put was answered {}", beginning(&answer)));
        }
        answer == b"ok"
    }

    async fn scan(&mut self, record: u64, records: u32) {
        let began = Instant::now();
        let command = format!("scan {} {records}", self.generator.key(record));
        let Some(answer) = self.ask(command.into_bytes()).await else { return };
        self.tally.done(Kind::Scan, began.elapsed());
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        if lines == 0 || lines > records as usize {
            self.tally.wrong(format!("a scan for {records} records gave {lines}"));
        }
    }

    async fn read_modify_write(&mut self, record: u64) {
        let began = Instant::now();
        let Some(mut value) = self.read(record).await else { return };
        let (field, bytes) = self.generator.field();
        let start = field as usize * bytes.len();
        if let Some(place) = value.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(&bytes);
        }
        if self.write(record, &value).await {
            self.tally.done(Kind::ReadModifyWrite, began.elapsed());
        }
    }

    /// The certified answer to a command; none if there is none, which is counted.
    async fn ask(&mut self, command: Vec<u8>) -> Option<Vec<u8>> {
        let call = self.client.call(command);
        let called = match self.waits_until {
            Some(until) => match timeout_at(until.into(), call).await {
                Ok(called) => called,
                Err(_) => {
                    self.tally.unanswered("no answer before the measurement ended".to_owned());
                    return None;
                }
            },
            None => call.await,
        };
        match called {
            Ok(certified) => Some(certified.outcome),
            Err(failure @ (Failure::Fault(_) | Failure::Refused(_))) => {
                self.tally.wrong(failure.to_string());
                None
            }
            Err(failure) => {
                self.tally.unanswered(reason(&failure));
                None
            }
        }
    }
}

/// Bytes of an unexpected answer that are shown.
const SHOWN_BYTES: usize = 60;

fn beginning(answer: &[u8]) -> String {
    String::from_utf8_lossy(&answer[..answer.len().min(SHOWN_BYTES)]).into_owned()
}

/// Why there was no answer; without what is different in every command, so that equal reasons are counted together.
fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Unknown(unknown) => match &unknown.last {
            Some(last) => format!("no answer in time; last, {last}"),
            None => "no answer in time".to_owned(),
        },
        other => other.to_string(),
    }
}
