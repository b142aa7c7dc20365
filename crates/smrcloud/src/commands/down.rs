//! `smrcloud down`: the end of a service.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use smr_cloud::provider::Ending;
use smr_cloud::{Processes, Removed, remove};

use crate::output::{Output, Trouble};
use crate::services;

/// How long replicas may take to end when they are asked to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `down`.
#[derive(Args)]
pub(crate) struct Down {
    /// The service's name.
    service: String,
}

impl Down {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let (home, name) = (services::home()?, services::name(&self.service)?);
        let provider = Processes::default();
        let removing = services::runtime()?.block_on(remove(&home, &name, &provider, PATIENCE));
        output.result(&removing.map_err(Trouble::new)?, words);
        Ok(ExitCode::SUCCESS)
    }
}

/// What was removed, in words.
pub(crate) fn words(removed: &Removed) -> String {
    let ended = removed.endings.iter().filter(|ending| **ending != Ending::Gone).count();
    format!("{} is down: replicas ended: {ended}; their data is removed", removed.name)
}
