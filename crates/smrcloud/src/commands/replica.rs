//! `smrcloud replica`: one replica of a built-in application. `up` starts it; nobody else needs to.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::output::{Output, Trouble};

/// Arguments of `replica`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Replica {
    /// As the framework's own entry point takes them, so that an author's program is called in the same way.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Replica {
    pub(crate) fn run(self, _output: Output) -> Result<ExitCode, Trouble> {
        Ok(smr_node::entry::replica(self.arguments, &smr_node::Applications::builtin()))
    }
}
