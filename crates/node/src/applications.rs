//! Which applications a program can run, by name.

use std::sync::Arc;

use smr_app::host::BadHostConfig;
use smr_app::{AnyHost, Application, EventSink, Host, HostConfig, builtin};

/// The applications of one program.
#[derive(Clone, Default)]
pub struct Applications(Vec<(String, Start)>);

type Start = Arc<dyn Fn(HostConfig, EventSink) -> Result<Box<dyn AnyHost>, BadHostConfig> + Send + Sync>;

impl Applications {
    /// Those that come with the house.
    #[must_use]
    pub fn builtin() -> Applications {
        let entry = |builtin: &builtin::Builtin| {
            let builtin = *builtin;
            let start: Start = Arc::new(move |config, sink| builtin.start(config, sink));
            (builtin.name.to_owned(), start)
        };
        Applications(builtin::registry().iter().map(entry).collect())
    }

    /// One of an author: `make` gives a fresh one, in the state in which a service begins.
    #[must_use]
    pub fn of<A: Application>(name: &str, make: impl Fn() -> A + Send + Sync + 'static) -> Applications {
        let start: Start = Arc::new(move |config, sink| Ok(Box::new(Host::new(make(), config, sink)?)));
        Applications(vec![(name.to_owned(), start)])
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is one called `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// A host of a fresh instance; none if there is no such application.
    pub(crate) fn start(
        &self,
        name: &str,
        config: HostConfig,
        sink: EventSink,
    ) -> Option<Result<Box<dyn AnyHost>, BadHostConfig>> {
        let (_, start) = self.0.iter().find(|(known, _)| known == name)?;
        Some(start(config, sink))
    }
}

impl std::fmt::Debug for Applications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
