//! The one command: `smrcloud VERB`. Each verb is a file in `commands/`.

mod bench;
mod commands;
mod output;
mod services;

use std::process::ExitCode;

use clap::Parser;

use commands::Verb;
use output::Output;

/// Replicated services that keep answering rightly while machines crash, rot or are taken over.
#[derive(Parser)]
#[command(name = "smrcloud", version, arg_required_else_help = true)]
struct Arguments {
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    let Arguments { json, verb } = Arguments::parse();
    let output = Output { json };
    match verb.run(&output) {
        Ok(code) => code,
        Err(trouble) => output.trouble(&trouble),
    }
}
