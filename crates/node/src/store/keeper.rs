//! Gives what a replica writes down to the threads that write, and tells what came of it.

use std::io;
use std::sync::Arc;

use smr_consensus::Record;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_replica::{Chunked, Event};
use smr_store::Store;
use smr_wire::Slot;
use tokio::sync::watch;

use super::files::Files;
use super::writer::{Report, Writer};
use crate::inbox::Results;

/// How far the disk is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Everything up to this ticket is on disk.
    pub(crate) durable: u64,
    /// What went wrong; then nothing more is written.
    pub(crate) failed: Option<String>,
}

/// A replica's disk at work. Everything is written before it ends, once this is dropped; `progress` ends with it.
#[derive(Debug)]
pub(crate) struct Keeper(Writer);

impl Keeper {
    /// Starts it. What the disk has done shows in `progress`, and states that were kept among the results.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start(
        store: Store<Files>,
        progress: watch::Sender<Progress>,
        results: Results,
    ) -> io::Result<Keeper> {
        let fail = |progress: &mut Progress, error: String| {
            progress.failed.get_or_insert(error);
        };
        let tell = move |report| match report {
            Report::Durable(ticket) => progress.send_modify(|progress| progress.durable = ticket),
            Report::Kept(kept) => results.put(Event::Kept(Slot(kept.slot))),
            Report::Pruned(_) => {}
            Report::NotKept { error, .. } | Report::Failed(error) => {
                progress.send_modify(|progress| fail(progress, error.to_string()));
            }
        };
        let disk = store.disk().clone();
        Writer::start(store, disk, Arc::new(tell)).map(Keeper)
    }

    /// Writes a record down; the ticket tells when it is on disk.
    pub(crate) fn append(&mut self, record: &Record) -> u64 {
        self.0.append(record.slot().unwrap_or_default().0, smr_wire::encode(record))
    }

    /// Gives up records up to `slot`.
    pub(crate) fn prune(&mut self, slot: Slot, standing: &[Record]) {
        self.0.prune(slot.0, standing.iter().map(smr_wire::encode).collect());
    }

    /// Keeps a state.
    pub(crate) fn keep(&self, certificate: &CheckpointCertificate, image: Arc<Chunked>) {
        let mut next = 0;
        let chunks = std::iter::from_fn(move || {
            next += 1;
            image.chunks().get(next - 1).map(|chunk| chunk.bytes().to_vec())
        });
        self.0.keep(certificate.checkpoint.slot.0, smr_wire::encode(certificate), Box::new(chunks));
    }
}
