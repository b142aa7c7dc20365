//! Applications that come with the house. To add one: a module, and a line in [`registry`].

pub mod kv;

use crate::host::{AnyHost, BadHostConfig, EventSink, Host, HostConfig};

/// An application that can be started by its name.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line for people.
    pub about: &'static str,
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
    &[Builtin {
        name: "kv",
        about: "an ordered key-value store: get, put, delete, cas, scan, size, help",
        start: |config, sink| Ok(Box::new(Host::new(kv::Kv::new(kv::Limits::default()), config, sink)?)),
    }]
}

/// The one called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Builtin> {
    registry().iter().find(|builtin| builtin.name == name)
}
