//! The end of a service: its replicas end. What is on their disks stays, unless it is of no use any more, or everything is to
//! be erased, keys included.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use smr_plan::ServiceName;

use crate::provider::{Ending, Provider, ProviderError, stop_all};
use crate::returns::is_on_disk;
use crate::service::{Home, ServiceError};

/// Takes the service called `name` down. Replicas have `patience` to end when asked. What it has on disk stays unless `erase`
/// says otherwise; state in memory is gone, and everything else with it.
///
/// # Errors
/// There is no such service, or it cannot be ended.
pub async fn remove(
    home: &Home,
    name: &ServiceName,
    provider: &impl Provider,
    patience: Duration,
    erase: bool,
) -> Result<Removed, RemoveError> {
    let service = home.service(name);
    let _lock = service.lock()?;
    if !service.exists() {
        let known = home.services()?;
        return Err(RemoveError::Unknown { name: name.clone(), known: Known(known) });
    }
    // Without a record nothing was started: it is written before the first replica.
    let mut record = service.record()?;
    // Whoever watches over it brings nothing back from here on. A full disk keeps nobody from stopping it, or from erasing it.
    let noted = record.as_mut().map_or(Ok(()), |record| {
        record.stopped = true;
        service.keep(record)
    });
    let replicas = record.iter().flat_map(|record| &record.replicas);
    let handles: Vec<_> = replicas.map(|replica| replica.handle.clone()).collect();
    let endings = stop_all(provider, &handles, patience).await?;
    let can_go_on = record.is_some_and(|record| is_on_disk(&record.blueprint) && record.descriptor.is_some());
    let kept = (can_go_on && !erase).then(|| service.path());
    match kept {
        None => service.erase()?,
        Some(_) => noted?,
    }
    Ok(Removed { name: name.clone(), endings, kept })
}

/// A service that was taken down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Removed {
    /// Which.
    pub name: ServiceName,
    /// How its replicas ended, by index.
    pub endings: Vec<Ending>,
    /// Where what it has on disk is kept, if it is.
    pub kept: Option<PathBuf>,
}

/// Why a service could not be taken down.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// No such service.
    #[error("there is no service `{name}` here; {known}")]
    Unknown {
        /// What was asked for.
        name: ServiceName,
        /// What there is.
        known: Known,
    },
    /// What is kept of it.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Its replicas.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// The services that there are, for an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known(pub Vec<ServiceName>);

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter().map(ServiceName::as_str).collect();
        match names.as_slice() {
            [] => f.write_str("there are no services"),
            names => write!(f, "there are: {}", names.join(", ")),
        }
    }
}
