//! A host under load: slots of commands, some of them under way at once.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use smr_app::{AnyHost, Application, Host, HostCommand, HostConfig, HostEvent, SlotWork};
use smr_crypto::{Digest, PublicKey};
use smr_uds::{Workers, preset};
use smr_wire::{ClientId, Slot, Timestamp};

use crate::chance::now;

/// Commands of a slot.
pub(crate) const COMMANDS: u64 = 64;

/// Slots under way at once.
const WINDOW: u64 = 16;

/// A host on worker threads.
pub(crate) struct Service {
    pub(crate) host: Arc<dyn AnyHost>,
    events: Receiver<(Instant, HostEvent)>,
    _workers: Workers,
    /// The last slot given.
    pub(crate) given: u64,
}

impl Service {
    pub(crate) fn new(application: impl Application, workers: usize) -> Service {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |event| {
            // Nobody listens any more when the measurement is over.
            let _ = sender.lock().expect("nobody panics").send((now(), event));
        });
        let config = HostConfig::new(preset::rounds(4, 2));
        let host: Arc<dyn AnyHost> = Arc::new(Host::new(application, config, sink).expect("valid settings"));
        let workers = NonZeroUsize::new(workers).expect("some");
        let workers = Workers::start(host.scheduler(), workers).expect("the system has threads");
        Service { host, events, _workers: workers, given: 0 }
    }

    /// Gives the next slot.
    fn give(&mut self, commands: Vec<Vec<u8>>) {
        self.given += 1;
        let caller = ClientId(PublicKey([0; 32]));
        let commands = commands.into_iter().map(|command| HostCommand { caller, command }).collect();
        let (slot, time, seed) = (Slot(self.given), Timestamp(self.given), Digest::default());
        let work = SlotWork { slot, time, seed, commands, timers: false, fill: true };
        self.host.execute(work).expect("within the host's limits");
    }

    /// Executes so many slots of [`COMMANDS`] commands. `seen` learns of every event.
    pub(crate) fn run(
        &mut self,
        slots: u64,
        mut command: impl FnMut() -> Vec<u8>,
        mut seen: impl FnMut(&mut Service, u64, Instant, HostEvent),
    ) {
        let (mut given, mut executed) = (0, 0);
        while executed < slots {
            while given < slots && given - executed < WINDOW {
                self.give((0..COMMANDS).map(|_| command()).collect());
                given += 1;
            }
            let (at, event) = self.events.recv().expect("the host reports");
            executed += u64::from(matches!(event, HostEvent::Executed { .. }));
            seen(self, executed, at, event);
        }
    }
}
