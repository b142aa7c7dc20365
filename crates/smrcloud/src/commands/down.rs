//! `smrcloud down`: the end of a service, or a stop.

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
    /// Erase everything about it: what it has on disk, its key, its logs.
    #[arg(long)]
    erase: bool,
}

impl Down {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let (home, name) = (services::home()?, services::name(&self.service)?);
        let provider = Processes::default();
        let removing = services::runtime()?.block_on(remove(&home, &name, &provider, PATIENCE, self.erase));
        output.result(&removing.map_err(Trouble::new)?, words);
        Ok(ExitCode::SUCCESS)
    }
}

/// What was removed, in words.
pub(crate) fn words(removed: &Removed) -> String {
    let ended = removed.endings.iter().filter(|ending| **ending != Ending::Gone).count();
    let data = match &removed.kept {
        None => "their data is removed".to_owned(),
        Some(dir) => format!(
            "what it has on disk stays in {}. `smrcloud up` with its description goes on with it; `smrcloud down {} --erase` \
             removes it",
            dir.display(),
            removed.name
        ),
    };
    format!("{} is down: replicas ended: {ended}; {data}", removed.name)
}
