//! Threads that poll the tasks of a scheduler. Their number may change at any time and changes no order.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::executor::Scheduler;
use crate::executor::shared::{Choose, Shared};
use crate::task::Body;

/// Looks that an idle thread takes before it sleeps, about 5 us: waking a sleeper costs longer than most waits for
/// a lock, and without the looks tasks of 10 us gain half as much from a second core.
const LOOKS: u32 = 300;

/// Running threads. Dropping this stops them; the scheduler keeps its tasks and others may go on with them.
#[derive(Debug)]
pub struct Workers {
    scheduler: Scheduler,
    threads: Vec<Worker>,
    /// Told to leave, perhaps still in their last poll.
    leaving: Vec<Worker>,
}

impl Workers {
    /// Starts `count` threads, one for each core that the scheduler's tasks may use.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(scheduler: &Scheduler, count: NonZeroUsize) -> io::Result<Workers> {
        let mut workers = Workers { scheduler: scheduler.clone(), threads: Vec::new(), leaving: Vec::new() };
        workers.set_count(count)?;
        Ok(workers)
    }

    /// How many threads there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Changes how many threads there are. Does not wait: a thread that is to leave does so after its current poll.
    ///
    /// # Errors
    /// The system refuses a thread; those there were remain, and as many new ones as it gave.
    pub fn set_count(&mut self, count: NonZeroUsize) -> io::Result<()> {
        self.leaving.retain(|worker| !worker.thread.is_finished());
        let surplus = self.threads.split_off(count.get().min(self.threads.len()));
        self.dismiss(surplus);
        while self.threads.len() < count.get() {
            self.threads.push(Worker::start(Arc::clone(&self.scheduler.0))?);
        }
        Ok(())
    }

    /// Stops all threads, each after its current poll, and waits for them. Called from a task or a sink, it cannot
    /// wait for the thread that it is on; that one leaves when it can.
    pub fn stop(self) {
        drop(self);
    }

    fn dismiss(&mut self, workers: Vec<Worker>) {
        for worker in &workers {
            worker.leave.store(true, Ordering::Relaxed);
        }
        self.leaving.extend(workers);
        self.scheduler.0.wake_all();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let all = std::mem::take(&mut self.threads);
        self.dismiss(all);
        for worker in
            self.leaving.drain(..).filter(|worker| worker.thread.thread().id() != thread::current().id())
        {
            // An error means that the thread broke off on a broken invariant, which it has printed.
            let _ = worker.thread.join();
        }
    }
}

#[derive(Debug)]
struct Worker {
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(shared: Arc<Shared>) -> io::Result<Worker> {
        let leave = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&leave);
        let thread = thread::Builder::new().name("uds-worker".into()).spawn(move || work(shared, &told))?;
        Ok(Worker { leave, thread })
    }
}

/// Polls whatever can be polled until told to leave.
fn work(mut shared: Arc<Shared>, leave: &AtomicBool) {
    let leave = || leave.load(Ordering::Relaxed);
    while !leave() {
        let mut next = shared.next(&mut OwnFirst);
        while let Some(body) = next {
            if leave() {
                shared.put_back(body);
                return;
            }
            (shared, next) = shared.step(body, &mut OwnFirst);
        }
        if !(0..LOOKS).any(|_| {
            std::hint::spin_loop();
            shared.looks_ready() || leave()
        }) {
            shared.wait(leave);
        }
    }
}

/// Goes on with the task that was just polled, whose data is in the core's cache; otherwise with the one that
/// has waited longest.
struct OwnFirst;

impl Choose for OwnFirst {
    const GOES_ON: bool = true;

    fn choose(&mut self, ready: &mut VecDeque<Body>, own: Option<Body>) -> Option<Body> {
        own.or_else(|| ready.pop_front())
    }
}
