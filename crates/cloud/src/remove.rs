//! The end of a service: its replicas end, and everything kept about it is erased, keys included.

use std::time::Duration;

use serde::Serialize;
use smr_plan::ServiceName;

use crate::provider::{Ending, Provider, ProviderError, stop_all};
use crate::service::{Home, ServiceError};

/// Takes the service called `name` down. Replicas have `patience` to end when asked.
///
/// # Errors
/// There is no such service, or it cannot be ended.
pub async fn remove(
    home: &Home,
    name: &ServiceName,
    provider: &impl Provider,
    patience: Duration,
) -> Result<Removed, RemoveError> {
    let service = home.service(name);
    let _lock = service.lock()?;
    if !service.exists() {
        let known = home.services()?;
        return Err(RemoveError::Unknown { name: name.clone(), known: Known(known) });
    }
    // Without a record nothing was started: it is written before the first replica.
    let replicas = service.record()?.map_or_else(Vec::new, |record| record.replicas);
    let handles: Vec<_> = replicas.into_iter().map(|replica| replica.handle).collect();
    let endings = stop_all(provider, &handles, patience).await?;
    service.erase()?;
    Ok(Removed { name: name.clone(), endings })
}

/// A service that was taken down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Removed {
    /// Which.
    pub name: ServiceName,
    /// How its replicas ended, by index.
    pub endings: Vec<Ending>,
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
