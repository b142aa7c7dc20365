//! `smrcloud descriptor`: what a client needs, and all that it needs.

use std::process::ExitCode;

use clap::Args;

use crate::output::{Output, Trouble};
use crate::services;

/// Arguments of `descriptor`.
#[derive(Args)]
pub(crate) struct Descriptor {
    /// The service's name.
    service: String,
}

impl Descriptor {
    pub(crate) fn run(self, _output: Output) -> Result<ExitCode, Trouble> {
        let descriptor = services::descriptor(&self.service)?;
        // A descriptor is for programs and files, so it is JSON either way.
        Output { json: true }.result(&descriptor, |_| String::new());
        Ok(ExitCode::SUCCESS)
    }
}
