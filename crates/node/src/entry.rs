//! The command line of a replica's process: that of an author's program as well as the hidden one of the house's.
//!
//! ```no_run
//! # struct MyApp;
//! # impl MyApp { fn default() -> MyApp { MyApp } }
//! # impl smr_app::Application for MyApp {
//! #     async fn execute(&self, _: &smr_app::Context, _: &[u8]) -> Vec<u8> { Vec::new() }
//! #     fn snapshot(&self) -> Vec<u8> { Vec::new() }
//! #     fn restore(&self, _: &[u8]) -> Result<(), smr_app::RestoreError> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     smr_node::main("my-app", || MyApp::default())
//! }
//! ```

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use smr_app::Application;

use crate::applications::Applications;
use crate::serve::{Listen, NodeError, NodeOptions, run};
use crate::trusted::inside;
use crate::trusted::{Backing, BackingName, CoreOptions, Program};

/// Exit code of a process that was called in the wrong way.
const USAGE: u8 = 2;

/// The whole `main` of a program whose service is the application `name`; `make` gives a fresh one. The service
/// description names the program, and whoever deploys starts it as `program replica --dir D --listen A`; asked
/// `program name`, it tells the application's name.
pub fn main<A: Application>(name: &str, make: impl Fn() -> A + Send + Sync + 'static) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|verb| verb.to_str()) {
        Some("replica") => replica(arguments, &Applications::of(name, make)),
        Some(inside::VERB) => inside::run(arguments),
        Some("name") => {
            println!("{name}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "This program is the application `{name}` of a replicated service. Name it in a service \
                 description (application.program) and start it with `smrcloud up`."
            );
            ExitCode::from(USAGE)
        }
    }
}

/// Runs a replica with the arguments after the word `replica`, logs to standard error, and tells how the process
/// is to end.
pub fn replica(arguments: impl IntoIterator<Item = OsString>, applications: &Applications) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    // A second one in the process is no harm: the first stays.
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
    match run_in_runtime(options, applications) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Links verify signatures on the runtime's threads; one more than there are cores keeps the core's task from
/// waiting behind them.
fn run_in_runtime(options: NodeOptions, applications: &Applications) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers.get() + 1)
        .thread_name("edge")
        .enable_all()
        .build()
        .map_err(NodeError::Runtime)?;
    let result = runtime.block_on(run(options, applications));
    // Reading standard input cannot be interrupted, so it is not waited for.
    runtime.shutdown_background();
    result
}

/// Reads the arguments of a replica's process.
///
/// # Errors
/// What is missing or wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<NodeOptions, BadArguments> {
    let mut arguments = arguments.into_iter();
    let (mut dir, mut listen, mut advertised, mut workers) = (None, None, None, None);
    let (mut die_with_parent, mut core) = (false, CoreOptions::default());
    #[cfg(feature = "misbehave")]
    let mut misbehaviour = None;
    while let Some(name) = arguments.next() {
        let name = name.to_string_lossy().into_owned();
        let mut value = || arguments.next().ok_or_else(|| BadArguments::NoValue(name.clone()));
        let bad = |value: &OsString, wanted| BadArguments::Value {
            name: name.clone(),
            value: value.to_string_lossy().into_owned(),
            wanted,
        };
        match name.as_str() {
            "--dir" => dir = Some(PathBuf::from(value()?)),
            "--listen" | "--advertise" => {
                let text = value()?;
                let address = text.to_str().and_then(|text| text.parse::<SocketAddr>().ok());
                let address = address.ok_or_else(|| bad(&text, "an address such as 127.0.0.1:0"))?;
                *if name == "--listen" { &mut listen } else { &mut advertised } = Some(address);
            }
            "--workers" => {
                let text = value()?;
                let count = text.to_str().and_then(|text| text.parse::<NonZeroUsize>().ok());
                let count = count.filter(|count| count.get() <= WORKERS_MAX);
                workers = Some(count.ok_or_else(|| bad(&text, "a number from 1 to 1024"))?);
            }
            "--die-with-parent" => die_with_parent = true,
            "--core" => {
                let text = value()?;
                core.backing = if text == BackingName::InProcess.word() {
                    Backing::InProcess
                } else if text == BackingName::Process.word() {
                    Backing::Process(Program::this())
                } else {
                    return Err(bad(&text, "in-process or process"));
                };
            }
            "--tpm" => {
                let text = value()?;
                let device = text.to_str().and_then(|text| text.parse().ok());
                core.tpm = Some(device.ok_or_else(|| bad(&text, "a path such as /dev/tpmrm0"))?);
            }
            #[cfg(feature = "misbehave")]
            "--misbehave" => {
                let text = value()?;
                let how = text.to_str().and_then(|text| text.parse().ok());
                misbehaviour = Some(how.ok_or_else(|| bad(&text, crate::misbehave::NAMES))?);
            }
            _ => return Err(BadArguments::Unknown(name)),
        }
    }
    let dir = dir.ok_or(BadArguments::Missing("--dir"))?;
    let at = listen.ok_or(BadArguments::Missing("--listen"))?;
    let mut options = NodeOptions::new(dir, Listen { at, advertised });
    options.workers = workers.unwrap_or(options.workers);
    options.die_with_parent = die_with_parent;
    options.core = core;
    #[cfg(feature = "misbehave")]
    {
        options.misbehaviour = misbehaviour;
    }
    Ok(options)
}

/// Threads that a replica may be given at most.
const WORKERS_MAX: usize = 1024;

/// Why a command line is not one of a replica.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadArguments {
    /// An argument that there is not.
    #[error(
        "unknown argument `{0}`; there are --dir, --listen, --advertise, --workers, --core, --tpm and --die-with-parent"
    )]
    Unknown(String),
    /// One that must be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// One without its value.
    #[error("`{0}` needs a value")]
    NoValue(String),
    /// One with a wrong value.
    #[error("`{name} {value}`: expected {wanted}")]
    Value {
        /// Which.
        name: String,
        /// What was given.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trusted::tpm::Device;

    fn parsed(line: &str) -> Result<NodeOptions, BadArguments> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_good_command_line_is_understood() {
        let options = parsed("--dir /d --listen 127.0.0.1:0 --workers 3 --die-with-parent").unwrap();
        assert_eq!(options.dir, PathBuf::from("/d"));
        assert_eq!(options.listen, "127.0.0.1:0".parse::<SocketAddr>().unwrap().into());
        assert_eq!((options.workers.get(), options.die_with_parent), (3, true));
        assert_eq!(options.core, CoreOptions::default());
        let options = parsed("--dir /d --listen 127.0.0.1:0 --core process --tpm /dev/tpmrm0").unwrap();
        assert_eq!(options.core.backing, Backing::Process(Program::this()));
        assert_eq!(options.core.tpm, Some(Device::File("/dev/tpmrm0".into())));
        let options = parsed("--dir /d --listen 10.0.0.7:70 --advertise 192.0.2.1:7070").unwrap();
        assert_eq!(options.listen.advertised, Some("192.0.2.1:7070".parse().unwrap()));
    }

    #[test]
    fn a_bad_one_is_refused_with_what_would_be_right() {
        let error = |line| parsed(line).unwrap_err().to_string();
        assert_eq!(error("--dir /d"), "`--listen` is missing");
        assert_eq!(error("--dir"), "`--dir` needs a value");
        assert!(error("--dir /d --listen here").contains("127.0.0.1:0"));
        assert!(error("--workers 0").contains("1 to 1024"));
        assert!(error("--tpm tpm0").contains("/dev/tpmrm0"));
        assert!(error("--core tpm").contains("in-process or process"));
        assert!(error("--fast").contains("--workers"));
    }
}
