//! Applications that come with the house. To add one: a module, and a line in [`registry`].

pub mod bank;
pub mod kv;

use crate::host::{AnyHost, BadHostConfig, EventSink, Host, HostConfig};

/// An application that can be started by its name.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line for people.
    pub about: &'static str,
    /// Commands to try first.
    pub first_steps: &'static [&'static str],
    start: fn(HostConfig, EventSink) -> Result<Box<dyn AnyHost>, BadHostConfig>,
}

impl Builtin {
    /// A host of a fresh instance.
    ///
    /// # Errors
    /// The setting that is out of range.
    pub fn start(&self, config: HostConfig, sink: EventSink) -> Result<Box<dyn AnyHost>, BadHostConfig> {
        (self.start)(config, sink)
    }
}

/// All of them.
#[must_use]
pub fn registry() -> &'static [Builtin] {
    &[
        Builtin {
            name: "kv",
            about: "an ordered key-value store: get, put, delete, cas, scan, size, help",
            first_steps: &["put greeting hello", "get greeting"],
            start: |config, sink| Ok(Box::new(Host::new(kv::Kv::new(kv::Limits::default()), config, sink)?)),
        },
        Builtin {
            name: "bank",
            about: "accounts: open, deposit, withdraw, transfer, pay, balance, total, each, after, help",
            first_steps: &["open ann", "deposit ann 25", "help"],
            start: |config, sink| Ok(Box::new(Host::new(bank::Bank::default(), config, sink)?)),
        },
    ]
}

/// The one called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Builtin> {
    registry().iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use smr_crypto::{Digest, PublicKey};
    use smr_uds::{Scheduler, Seeded, TaskEnd, preset};
    use smr_wire::{ClientId, Slot, Timestamp};

    use crate::application::{Application, Context, Place};

    /// Replies to `commands`, one after the other.
    pub(crate) fn replies(application: impl Application, commands: &[&str]) -> Vec<String> {
        after(application, commands).1
    }

    /// The application after `commands`, one after the other, and their replies.
    pub(crate) fn after<A: Application>(application: A, commands: &[&str]) -> (Arc<A>, Vec<String>) {
        let application = Arc::new(application);
        let scheduler = Scheduler::new(preset::sequential()).unwrap();
        let replies = Replies::default();
        for (position, command) in (0..).zip(commands) {
            admit(&scheduler, &application, (position, command), &replies);
            Seeded::new(1).run(&scheduler);
        }
        (application, in_order(&replies))
    }

    /// Replies to `commands` that run beside each other and take locks in turns.
    pub(crate) fn beside(application: impl Application, commands: &[&str]) -> Vec<String> {
        let application = Arc::new(application);
        let primaries = u32::try_from(commands.len()).unwrap();
        let scheduler = Scheduler::new(preset::rounds(primaries, 1)).unwrap();
        let replies = Replies::default();
        for (position, command) in (0..).zip(commands) {
            admit(&scheduler, &application, (position, command), &replies);
        }
        scheduler.fill().unwrap();
        Seeded::new(1).run(&scheduler);
        in_order(&replies)
    }

    /// By the positions of their commands.
    type Replies = Arc<Mutex<BTreeMap<u32, String>>>;

    fn in_order(replies: &Replies) -> Vec<String> {
        replies.lock().unwrap().values().cloned().collect()
    }

    fn admit<A: Application>(
        scheduler: &Scheduler,
        application: &Arc<A>,
        (position, command): (u32, &str),
        replies: &Replies,
    ) {
        let place = Place { slot: Slot(1), position, path: Vec::new(), history: Digest::default() };
        let context = Context::new(ClientId(PublicKey([0; 32])), Timestamp(1), place);
        let (application, command) = (application.clone(), command.as_bytes().to_vec());
        let task = async move { application.execute(&context, &command).await };
        let replies = replies.clone();
        let sink = move |end| {
            let TaskEnd::Done(reply) = end else { panic!("{end:?}") };
            replies.lock().unwrap().insert(position, String::from_utf8(reply).unwrap());
        };
        scheduler.admit(task, sink).unwrap();
    }
}
