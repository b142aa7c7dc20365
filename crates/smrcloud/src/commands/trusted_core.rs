//! `smrcloud trusted-core`: the trusted core of one replica, which starts it with one end of a pair of sockets as standard
//! input.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::output::{Output, Trouble};

/// Arguments of `trusted-core`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct TrustedCore {
    /// None, in a build that serves.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl TrustedCore {
    #[expect(clippy::unnecessary_wraps, reason = "as all verbs")]
    pub(crate) fn run(self, _output: Output) -> Result<ExitCode, Trouble> {
        Ok(smr_node::trusted::inside::run(self.arguments))
    }
}
