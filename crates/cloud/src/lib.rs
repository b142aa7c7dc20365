//! Deploys a blueprint and keeps reality equal to it.
//!
//! - [`service`]: what is kept of each service on this machine, and where;
//! - [`provider`]: who starts, stops and lists replicas: [`provider::process`];
//! - [`mod@deploy`]: from a blueprint to a running service and its one key;
//! - [`watch`]: how a service is, in words;
//! - [`mod@mend`]: replicas that ended come back, where they may;
//! - [`revive`]: a service that lost its trusted cores goes on where its disks are;
//! - [`mod@remove`]: the end of a service.

pub mod deploy;
pub mod mend;
pub mod provider;
pub mod remove;
mod returns;
pub mod revive;
pub mod service;
pub mod watch;

pub use deploy::{DeployError, DeployOptions, Deployed, Losses, Progress, deploy};
pub use mend::{Mend, Mender, mend};
pub use provider::{Handle, Life, Processes, Provider};
pub use remove::{RemoveError, Removed, remove};
pub use service::{Home, Record, ServiceDir};
pub use watch::{Health, ReplicaHealth, ReplicaState, Verdict, health};
