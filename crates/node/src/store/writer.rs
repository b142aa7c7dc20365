//! Threads that write: one for the log, a group of records with each sync; one for states, which take long.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use smr_consensus::Record;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_replica::Event;
use smr_replica::system::Chunked;
use smr_store::{CheckpointWriter, Store, StoreError};
use smr_wire::Slot;
use tokio::sync::watch;

use super::files::Files;
use crate::inbox::Results;

/// How far the disk is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Everything up to this ticket is on disk.
    pub(crate) durable: u64,
    /// What went wrong; then nothing more is written.
    pub(crate) failed: Option<String>,
}

/// Writes what it is given, in order. It ends, with everything written, once this is dropped.
///
/// The queues before the threads have no limit of their own: the core stops taking in what others bring while too much
/// waits at its gate, and a state at a time is written.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Sender<Order>,
    states: Sender<State>,
    tickets: u64,
}

/// Something for the log.
enum Order {
    Append { slot: u64, bytes: Vec<u8> },
    Prune { slot: u64, standing: Vec<Vec<u8>> },
}

type State = (CheckpointCertificate, Arc<Chunked>);

impl Writer {
    /// Starts both threads. What the disk has done shows in `progress`, and states that were kept among the results.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start(
        store: Store<Files>,
        progress: watch::Sender<Progress>,
        results: Results,
    ) -> io::Result<Writer> {
        let states = store.checkpoint_writer(store.disk().again());
        let (log, orders) = channel();
        let (states_end, states_orders) = channel();
        let of_states = progress.clone();
        let keep = move || keep_all(states, &states_orders, &of_states, &results);
        thread::Builder::new().name("states".into()).spawn(keep)?;
        thread::Builder::new().name("log".into()).spawn(move || write_all(store, &orders, &progress))?;
        Ok(Writer { log, states: states_end, tickets: 0 })
    }

    /// Writes a record down; the ticket tells when it is on disk.
    pub(crate) fn append(&mut self, record: &Record) -> u64 {
        let bytes = smr_wire::encode(record);
        let slot = record.slot().map_or(0, |slot| slot.0);
        self.order(Order::Append { slot, bytes })
    }

    /// Gives up records up to `slot`.
    pub(crate) fn prune(&mut self, slot: Slot, standing: &[Record]) {
        let standing = standing.iter().map(smr_wire::encode).collect();
        self.order(Order::Prune { slot: slot.0, standing });
    }

    /// Keeps a state.
    pub(crate) fn keep(&self, certificate: CheckpointCertificate, image: Arc<Chunked>) {
        // A thread that has ended has told why.
        let _ = self.states.send((certificate, image));
    }

    fn order(&mut self, order: Order) -> u64 {
        self.tickets += 1;
        // A thread that has ended has told why.
        let _ = self.log.send(order);
        self.tickets
    }
}

/// Takes orders until there are no more, each time all that wait, and syncs once for them.
fn write_all(mut store: Store<Files>, orders: &Receiver<Order>, progress: &watch::Sender<Progress>) {
    let mut done = 0;
    while let Ok(first) = orders.recv() {
        let mut group = std::iter::once(first).chain(orders.try_iter());
        let written = group.try_for_each(|order| {
            done += 1;
            write(&mut store, order)
        });
        if let Err(error) = written.and_then(|()| store.sync().map(drop)) {
            fail(progress, &error);
            return;
        }
        progress.send_modify(|progress| progress.durable = done);
    }
    if let Err(error) = store.close() {
        tracing::warn!(%error, "the log was not closed well");
    }
}

fn write(store: &mut Store<Files>, order: Order) -> Result<(), StoreError> {
    match order {
        Order::Append { slot, bytes } => store.append(slot, &bytes).map(drop),
        Order::Prune { slot, standing } => store.prune(slot, &standing),
    }
}

fn keep_all(
    mut writer: CheckpointWriter<Files>,
    states: &Receiver<State>,
    progress: &watch::Sender<Progress>,
    results: &Results,
) {
    while let Ok((certificate, image)) = states.recv() {
        let slot = certificate.checkpoint.slot;
        match writer.keep(slot.0, &smr_wire::encode(&certificate), image.chunks()) {
            Ok(_) => results.put(Event::Kept(slot)),
            Err(error) => {
                fail(progress, &error);
                return;
            }
        }
    }
}

fn fail(progress: &watch::Sender<Progress>, error: &StoreError) {
    progress.send_modify(|progress| {
        progress.failed.get_or_insert_with(|| error.to_string());
    });
}
