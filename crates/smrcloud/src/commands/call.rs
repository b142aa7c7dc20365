//! `smrcloud call`: one command, and the proof of its answer checked.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use smr_client::Failure;
use smr_wire::Slot;
use smr_crypto::threshold::ServiceKey;

use crate::output::{Code, Output, Trouble};
use crate::services;

/// Arguments of `call`.
#[derive(Args)]
pub(crate) struct Call {
    /// The service's name, or a file with its descriptor.
    service: String,
    /// The command; its words are put together with a space between each two. The shell takes its own quotes away,
    /// so a word with spaces is written '"two words"'; words that begin with a dash stand behind `--`.
    #[arg(required_unless_present = "stdin")]
    words: Vec<String>,
    /// Read the command from standard input: any bytes, but for one newline at the end.
    #[arg(long, conflicts_with = "words")]
    stdin: bool,
    /// Write the answer, any bytes, to this file and nothing else; it replaces a file that is there.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// A certified answer.
#[derive(Serialize)]
struct Answer {
    /// The answer, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    /// The answer in hexadecimal digits, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_hex: Option<String>,
    /// The file that the answer was written to, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<PathBuf>,
    /// Bytes that were written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    slot: Slot,
    service_key: ServiceKey,
    verified: bool,
}

impl Call {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let command = self.command()?;
        let descriptor = services::descriptor(&self.service)?;
        let (name, service_key) = (descriptor.name.clone(), descriptor.service_key);
        let config = smr_client::Config { deadline_ms: self.timeout * 1000, ..smr_client::Config::default() };
        let result = services::runtime()?.block_on(async {
            let client = services::client(descriptor, config)?;
            Ok::<_, Trouble>(client.call(command).await)
        })?;
        let certified = result.map_err(|failure| explain(&failure, &name))?;
        let outcome = certified.outcome;
        let is_error = outcome.starts_with(b"error: ");
        let bytes = self.out.as_ref().map(|_| outcome.len());
        let (reply, reply_hex) = match &self.out {
            Some(path) => {
                // The command was executed, which whoever reads this must know before they try again.
                std::fs::write(path, &outcome).map_err(|error| {
                    Trouble::new(format!("{}: {error}", path.display()))
                        .help("the command was executed; only its answer could not be written")
                })?;
                (None, None)
            }
            None => match String::from_utf8(outcome) {
                Ok(text) => (Some(text), None),
                Err(bytes) => (None, Some(bytes.as_bytes().iter().map(|b| format!("{b:02x}")).collect())),
            },
        };
        let slot = certified.slot;
        let answer = Answer { reply, reply_hex, out: self.out, bytes, slot, service_key, verified: true };
        output.result(&answer, Answer::render);
        Ok(if is_error { ExitCode::from(Code::Failed as u8) } else { ExitCode::SUCCESS })
    }

    fn command(&self) -> Result<Vec<u8>, Trouble> {
        if !self.stdin {
            return Ok(self.words.join(" ").into_bytes());
        }
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(Trouble::new)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(bytes)
    }
}

impl Answer {
    fn render(&self) -> String {
        let written = self.out.as_ref().zip(self.bytes);
        let file = || written.map(|(path, bytes)| format!("{bytes} bytes written to {}", path.display()));
        self.reply.clone().or_else(|| self.reply_hex.clone()).or_else(file).unwrap_or_default()
    }
}

/// What a failed call to the service called `name` means for whoever made it.
fn explain(failure: &Failure, name: &str) -> Trouble {
    let trouble = Trouble::new(failure);
    match failure {
        Failure::Unknown(_) => trouble
            .code(Code::Unknown)
            .help("ask the service what it holds before you repeat a command that changes something"),
        Failure::Unreachable { .. } => {
            trouble.help(format!("`smrcloud status {name}` tells how the replicas are; nothing was executed"))
        }
        Failure::Strangers { .. } => trouble.code(Code::Wrong).help(format!(
            "the descriptor is of another service or not genuine: get it again from whoever runs the service \
             (`smrcloud descriptor {name}`), and trust no answer until then; nothing was executed"
        )),
        _ => trouble,
    }
}
