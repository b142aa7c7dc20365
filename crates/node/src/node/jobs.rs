//! Threads for arithmetic that takes milliseconds: shares of signatures and their combination. Away from the core
//! and from the connections, which would wait for it.

use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Something to compute.
type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end once this is dropped and all jobs are done.
///
/// The queue before them has no limit of its own: the core puts at most two jobs for each block of replies that it
/// has not finished, and those are limited by the slots that may wait for execution; and one for each checkpoint,
/// few of which fit into the log.
#[derive(Debug)]
pub(super) struct Jobs(Sender<Job>);

impl Jobs {
    /// Starts `count` threads.
    pub(super) fn start(count: NonZeroUsize) -> io::Result<Jobs> {
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..count.get() {
            let receiver = receiver.clone();
            thread::Builder::new().name(format!("job-{number}")).spawn(move || work(&receiver))?;
        }
        Ok(Jobs(sender))
    }

    /// Puts a job.
    pub(super) fn put(&self, job: impl FnOnce() + Send + 'static) {
        // Threads end only when this sender does, so somebody receives.
        let _ = self.0.send(Box::new(job));
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let received = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = received else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job panicked; its result is missing");
        }
    }
}
