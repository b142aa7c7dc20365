//! The smallest service of one's own: a counter, with the text commands `add N` and `get`.
//!
//! ```toml
//! name = "counter"
//!
//! [application]
//! program = "target/release/smr-example-counter"
//!
//! [wish]
//! faults = 1
//! against = "byzantine"
//! durability = "memory"
//! ```
//!
//! Then `smrcloud up counter.toml` and `smrcloud call counter add 5`.

use std::process::ExitCode;

use smr_app::{Application, Context, RestoreError};
use smr_uds::Mutex;

fn main() -> ExitCode {
    smr_node::main("counter", Counter::default)
}

/// The whole state: one number behind one lock.
struct Counter(Mutex<u64>);

impl Default for Counter {
    fn default() -> Counter {
        Counter(Mutex::new(0))
    }
}

impl Application for Counter {
    async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
        let Some(command) = Command::parse(command) else {
            return b"error: say `add N` with a whole number N, or `get`".to_vec();
        };
        let mut count = self.0.lock().await;
        if let Command::Add(number) = command {
            match count.checked_add(number) {
                Some(sum) => *count = sum,
                None => return format!("error: the counter ends at {}", u64::MAX).into_bytes(),
            }
        }
        count.to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.at_rest(|count| count.to_le_bytes().to_vec()).expect("no command runs meanwhile")
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let bytes = snapshot.try_into().map_err(|_| RestoreError::new("a counter has 8 bytes"))?;
        self.0.at_rest(|count| *count = u64::from_le_bytes(bytes)).expect("no command runs meanwhile");
        Ok(())
    }
}

/// What the counter understands.
enum Command {
    Add(u64),
    Get,
}

impl Command {
    fn parse(bytes: &[u8]) -> Option<Command> {
        let text = std::str::from_utf8(bytes).ok()?;
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["add", number] => number.parse().ok().map(Command::Add),
            ["get"] => Some(Command::Get),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use smr_app::{AnyHost, CommandOutcome, Host, HostCommand, HostConfig, HostEvent, SlotWork};
    use smr_crypto::{Digest, PublicKey};
    use smr_uds::{Seeded, preset};
    use smr_wire::{ClientId, Slot, Timestamp};

    fn answers(commands: &[&str]) -> Vec<String> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let seen = seen.clone();
            Arc::new(move |event| {
                if let HostEvent::Executed { outcomes, .. } = event {
                    seen.lock().unwrap().extend(outcomes.into_iter().flatten());
                }
            })
        };
        let host = Host::new(Counter::default(), HostConfig::new(preset::sequential()), sink).unwrap();
        let caller = ClientId(PublicKey([0; 32]));
        let commands = commands.iter().map(|text| HostCommand { caller, command: text.as_bytes().to_vec() });
        let work = SlotWork {
            slot: Slot(1),
            time: Timestamp(0),
            seed: Digest::default(),
            commands: commands.collect(),
            timers: false,
            fill: false,
        };
        host.execute(work).unwrap();
        Seeded::new(1).run(host.scheduler());
        let outcomes = std::mem::take(&mut *seen.lock().unwrap());
        let text = |outcome| match outcome {
            CommandOutcome::Answer(bytes) => String::from_utf8(bytes).unwrap(),
            CommandOutcome::Fault(fault) => fault.to_string(),
        };
        outcomes.into_iter().map(text).collect()
    }

    #[test]
    fn it_counts_and_refuses_what_it_does_not_understand() {
        assert_eq!(answers(&["get", "add 5", "add 7", "get"]), ["0", "5", "12", "12"]);
        assert!(answers(&["add x", "sub 1"]).iter().all(|answer| answer.starts_with("error:")));
        assert!(answers(&["add 1", "add 18446744073709551615"])[1].starts_with("error:"));
    }

    #[test]
    fn a_snapshot_reads_back_and_garbage_does_not() {
        let counter = Counter::default();
        counter.restore(&9u64.to_le_bytes()).unwrap();
        assert_eq!(counter.snapshot(), 9u64.to_le_bytes());
        assert!(counter.restore(b"garbage").is_err());
    }
}
