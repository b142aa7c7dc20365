//! The threads that write: one commits records in groups, one writes checkpoints and fills segments with zeros ahead.
//!
//! ```text
//!   append, prune -> queue -> [log]    all that waits -> one sync -> Durable(ticket)
//!   keep          -> queue -> [chores] a checkpoint -> Kept; a spare segment
//! ```
//!
//! While a sync runs, the next group gathers; so groups grow with load, and a lone record waits for nobody.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use smr_store::{CheckpointWriter, Chunks, Disk, Kept, Store, StoreConfig, StoreError, make_spare};

/// Bytes of records that wait to be written, at most. Whoever appends more waits: the disk is slower than the network then,
/// and what is appended would leave only after all that waits.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// What happened, in the order in which it did on each of the threads, which both report.
#[derive(Debug)]
pub enum Report {
    /// Everything up to this ticket is durable.
    Durable(u64),
    /// Records up to this slot may be gone, and the head is durable.
    Pruned(u64),
    /// A checkpoint is durable.
    Kept(Kept),
    /// A checkpoint could not be kept; those before stay, and the log goes on.
    NotKept {
        /// Of which slot.
        slot: u64,
        /// Why.
        error: StoreError,
    },
    /// The log failed. Said once; from then on nothing is durable that was not said to be.
    Failed(StoreError),
}

/// Who is told.
pub type Tell = Arc<dyn Fn(Report) + Send + Sync>;

/// A checkpoint's chunks, which may be shared with whoever gives them.
pub type SharedChunks = Box<dyn Chunks + Send>;

/// Writes a store, on threads of its own.
pub struct Writer {
    queue: Arc<Queue>,
    last_ticket: u64,
    /// Checkpoints, of which whoever gives them has few under way at once, and one spare.
    chores: Sender<Chore>,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    /// Starts them. `chores_disk` is another handle to the store's directory.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start<D>(store: Store<D>, chores_disk: D, tell: Tell) -> io::Result<Writer>
    where
        D: Disk + Clone + Send + 'static,
    {
        let (chores, waiting) = channel();
        let asked = Arc::new(AtomicBool::new(false));
        let checkpoints = store.checkpoint_writer(chores_disk.clone());
        let config = store.config().clone();
        let doer = Doer { checkpoints, disk: chores_disk, config, asked: asked.clone(), tell: tell.clone() };
        let doer =
            thread::Builder::new().name("store chores".to_string()).spawn(move || doer.run(&waiting))?;
        let queue = Arc::new(Queue::default());
        let log = Log { store, queue: queue.clone(), chores: chores.clone(), asked, tell };
        let log = thread::Builder::new().name("store log".to_string()).spawn(move || log.run())?;
        Ok(Writer { queue, last_ticket: 0, chores, threads: vec![log, doer] })
    }

    /// Hands over a record; [`Report::Durable`] with the ticket, or a higher one, says that it is durable. Waits where the
    /// disk is far behind.
    pub fn append(&mut self, slot: u64, record: Vec<u8>) -> u64 {
        self.last_ticket += 1;
        self.queue.put(Job::Append { ticket: self.last_ticket, slot, record });
        self.last_ticket
    }

    /// Drops what nobody needs any more, as [`Store::prune`] does, behind everything that was appended.
    pub fn prune(&mut self, slot: u64, head: Vec<Vec<u8>>) {
        self.queue.put(Job::Prune { slot, head });
    }

    /// Keeps a checkpoint beside all that, behind those that wait for their turn.
    pub fn keep(&self, slot: u64, header: Vec<u8>, chunks: SharedChunks) {
        // A thread that panicked has told so.
        let _ = self.chores.send(Chore::Keep { slot, header, chunks });
    }

    /// Writes what waits, makes it durable with the proof of it, and ends the threads.
    pub fn stop(mut self) {
        let threads = std::mem::take(&mut self.threads);
        drop(self);
        for thread in threads {
            // A thread that panicked has told so; there is nothing left to do for it.
            let _ = thread.join();
        }
    }
}

/// The threads write what waits, and end.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("last_ticket", &self.last_ticket).finish_non_exhaustive()
    }
}

enum Job {
    Append { ticket: u64, slot: u64, record: Vec<u8> },
    Prune { slot: u64, head: Vec<Vec<u8>> },
}

enum Chore {
    Keep { slot: u64, header: Vec<u8>, chunks: SharedChunks },
    Spare,
}

/// What waits for the log's thread.
#[derive(Default)]
struct Queue {
    inner: Mutex<Waiting>,
    came: Condvar,
    went: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Nothing comes any more, or nothing is taken.
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // It is whole between any two of its changes.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: Job) {
        let bytes = match &job {
            Job::Append { record, .. } => record.len(),
            Job::Prune { head, .. } => head.iter().map(Vec::len).sum(),
        };
        let mut waiting = self.lock();
        while waiting.bytes >= QUEUED_BYTES_MAX && !waiting.closed {
            waiting = self.went.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        // After a failure nothing is durable any more, so nothing has to wait for it.
        if !waiting.closed {
            waiting.bytes += bytes;
            waiting.jobs.push_back(job);
            self.came.notify_one();
        }
    }

    /// All that waits, or nothing once it is closed.
    fn take(&self) -> VecDeque<Job> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.bytes = 0;
        self.went.notify_all();
        std::mem::take(&mut waiting.jobs)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.came.notify_all();
        self.went.notify_all();
    }
}

/// Ends the queue with its thread, even where that panics: whoever appends must not wait for it.
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Log<D> {
    store: Store<D>,
    queue: Arc<Queue>,
    chores: Sender<Chore>,
    asked: Arc<AtomicBool>,
    tell: Tell,
}

impl<D: Disk> Log<D> {
    fn run(mut self) {
        let _closing = Closing(self.queue.clone());
        self.ask_for_a_spare();
        loop {
            let jobs = self.queue.take();
            if jobs.is_empty() {
                break;
            }
            let segments = self.store.segments();
            if let Err(error) = self.write(jobs) {
                (self.tell)(Report::Failed(error));
                return;
            }
            if self.store.segments() > segments {
                self.ask_for_a_spare();
            }
        }
        if let Err(error) = self.store.close() {
            (self.tell)(Report::Failed(error));
        }
    }

    /// Writes a group; with a prune in it, two.
    fn write(&mut self, jobs: VecDeque<Job>) -> Result<(), StoreError> {
        let mut last = None;
        for job in jobs {
            match job {
                Job::Append { ticket, slot, record } => {
                    self.store.append(slot, &record)?;
                    last = Some(ticket);
                }
                Job::Prune { slot, head } => {
                    self.store.prune(slot, &head)?;
                    last.take().into_iter().for_each(|ticket| (self.tell)(Report::Durable(ticket)));
                    (self.tell)(Report::Pruned(slot));
                }
            }
        }
        if let Some(ticket) = last {
            self.store.sync()?;
            (self.tell)(Report::Durable(ticket));
        }
        Ok(())
    }

    fn ask_for_a_spare(&self) {
        // Without one the next segment is filled with zeros when it is needed, which only takes longer.
        if !self.asked.swap(true, Ordering::Relaxed) {
            let _ = self.chores.send(Chore::Spare);
        }
    }
}

struct Doer<D> {
    checkpoints: CheckpointWriter<D>,
    disk: D,
    config: StoreConfig,
    /// Whether a spare is asked for.
    asked: Arc<AtomicBool>,
    tell: Tell,
}

impl<D: Disk> Doer<D> {
    fn run(mut self, waiting: &Receiver<Chore>) {
        while let Ok(chore) = waiting.recv() {
            match chore {
                Chore::Keep { slot, header, chunks } => {
                    (self.tell)(match self.checkpoints.keep(slot, &header, chunks.as_ref()) {
                        Ok(kept) => Report::Kept(kept),
                        Err(error) => Report::NotKept { slot, error },
                    });
                }
                Chore::Spare => {
                    self.asked.store(false, Ordering::Relaxed);
                    // A full disk shows where the log needs a segment.
                    let _ = make_spare(&mut self.disk, &self.config);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::Files;
    use smr_store::FileEntry;
    use std::sync::mpsc;
    use std::time::Duration;

    const OWNER: [u8; 32] = [7; 32];

    /// No test waits longer for anything.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn small() -> StoreConfig {
        StoreConfig { segment_bytes: 64 << 10, record_bytes_max: 2000, ..StoreConfig::with_salt(11) }
    }

    fn start<D: Disk + Clone + Send + 'static>(disk: &D) -> (Writer, Vec<Vec<u8>>, mpsc::Receiver<Report>) {
        let (store, found) = Store::open(disk.clone(), small(), &OWNER).unwrap();
        let (send, reports) = mpsc::channel();
        // Whoever listened may be gone when the threads end.
        let tell = Arc::new(move |report| drop(send.send(report)));
        (Writer::start(store, disk.clone(), tell).unwrap(), found.records, reports)
    }

    #[test]
    fn what_was_called_durable_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(&dir.path().join("store")).unwrap();
        let (mut writer, found, reports) = start(&files);
        assert!(found.is_empty());
        let records: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number; 1000]).collect();
        let mut last = 0;
        for (slot, record) in (1..).zip(&records) {
            last = writer.append(slot, record.clone());
        }
        let mut durable = 0;
        while durable < last {
            match reports.recv_timeout(PATIENCE).unwrap() {
                Report::Durable(ticket) => {
                    assert!(ticket > durable, "{ticket} after {durable}");
                    durable = ticket;
                }
                other => panic!("{other:?}"),
            }
        }
        writer.stop();
        let (writer, found, _reports) = start(&files);
        assert_eq!(found, records);
        writer.stop();
    }

    #[test]
    fn checkpoints_and_prunes_are_reported_and_last() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(&dir.path().join("store")).unwrap();
        let (mut writer, _, reports) = start(&files);
        for slot in 1..=3 {
            writer.append(slot, vec![1; 100]);
            let state: Vec<_> = (0..3).map(|chunk| ([chunk; 32], vec![chunk; 500])).collect();
            writer.keep(slot, vec![9], Box::new(state));
        }
        let kept = |report| if let Report::Kept(kept) = report { Some(kept) } else { None };
        let kept: Vec<Kept> = reports.iter().filter_map(kept).take(3).collect();
        assert_eq!(kept.iter().map(|kept| kept.prune_to).collect::<Vec<_>>(), [None, Some(1), Some(2)]);
        writer.prune(2, vec![b"head".to_vec()]);
        let pruned =
            reports.iter().find_map(|r| if let Report::Pruned(slot) = r { Some(slot) } else { None });
        assert_eq!(pruned, Some(2));
        writer.stop();
        let (_, found) = Store::open(files, small(), &OWNER).unwrap();
        assert_eq!(found.checkpoints.iter().map(|found| found.slot).collect::<Vec<_>>(), [3, 2]);
        assert_eq!((found.records.last().unwrap().as_slice(), found.pruned), (&b"head"[..], 2));
    }

    /// A directory whose syncs fail once it is told so.
    #[derive(Clone)]
    struct Failing(Files, Arc<AtomicBool>);

    impl Disk for Failing {
        fn list(&self) -> io::Result<Vec<FileEntry>> {
            self.0.list()
        }
        fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
            self.0.read(name, offset, bytes_max)
        }
        fn create(&mut self, name: &str, bytes: u64) -> io::Result<()> {
            self.0.create(name, bytes)
        }
        fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write(name, offset, bytes)
        }
        fn sync(&mut self, name: &str) -> io::Result<()> {
            // Once: what would be told of a second one is a lie.
            if self.1.swap(false, Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.sync(name)
        }
        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&mut self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn sync_directory(&mut self) -> io::Result<()> {
            self.0.sync_directory()
        }
    }

    #[test]
    fn a_failure_is_told_once_and_nothing_is_durable_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let files = Failing(Files::open(&dir.path().join("store")).unwrap(), fails.clone());
        let (mut writer, _, reports) = start(&files);
        writer.append(1, vec![1; 10]);
        assert!(matches!(reports.recv_timeout(PATIENCE), Ok(Report::Durable(1))));
        // The other thread syncs the spare that it fills; the failure is meant for the log.
        while !files.list().unwrap().iter().any(|file| file.name == "spare-new") {
            thread::yield_now();
        }
        fails.store(true, Ordering::Relaxed);
        writer.append(2, vec![2; 10]);
        let failed = reports.recv_timeout(PATIENCE);
        assert!(matches!(failed, Ok(Report::Failed(StoreError::Full { .. }))), "{failed:?}");
        // More than the queue takes: nobody waits for a thread that is gone.
        for _ in 0..3 {
            writer.append(3, vec![3; QUEUED_BYTES_MAX]);
        }
        writer.stop();
        assert!(reports.try_recv().is_err());
    }
}
