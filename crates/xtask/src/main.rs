//! Chores of the repository, as `cargo xtask <chore>`.

mod specs;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask specs [--json] [--only WORD] [--list]

  specs           checks the specifications in specs/ with TLC, and runs of the simulator against them
  --json          writes what was found to the standard output as JSON
  --only WORD     only the cases whose names contain WORD
  --list          only names the cases

exit codes: 0 all is as expected; 1 something is not; 2 it cannot be checked here, and why; 64 misunderstood";

/// What `sysexits.h` calls a wrong use.
const MISUSE: u8 = 64;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some("specs") {
        eprintln!("{USAGE}");
        return ExitCode::from(MISUSE);
    }
    let mut wanted = specs::Wanted::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => wanted.form = specs::Form::Json,
            "--list" => wanted.what = specs::What::Names,
            "--only" if let Some(only) = words.next() => wanted.only = only,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(MISUSE);
            }
        }
    }
    specs::run(&wanted)
}
