//! Scenarios: scripts whose steps direct a whole service, with the recorded exchange below each step.
//!
//! ```text
//!   script, a line per step -> steps -> a directed world, where what is sent waits until a step delivers it
//!                                           -> notes -> folded into the lines below the step
//! ```
//!
//! The replicas, clients and applications are those of every other simulated run, and so are the checks. A scenario
//! asserts nothing but its record: [`play`] gives the script with what happens now below each step, and a change of
//! behaviour is a difference of text. The language is described in `tests/scenarios/README.md`. The manner is that
//! of the interaction tests of etcd's raft.

mod director;
mod options;
mod record;
mod script;
mod select;

use director::Director;
use script::Line;

/// Why a script cannot be played.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Trouble {
    /// The line of the step, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// Plays a script and returns it with what happened below each step, in place of what was recorded there.
///
/// # Errors
/// The first step that means nothing, that finds nothing to do, or after which a property of the service fails.
pub fn play(script: &str) -> Result<String, Trouble> {
    let mut played = String::new();
    let mut director = Director::default();
    for line in script::read(script) {
        match line {
            Line::Verbatim(text) => {
                played.push_str(text);
                played.push('\n');
            }
            Line::Step { number, text } => {
                let done = script::step(text).and_then(|step| director.does(step));
                let record = done.map_err(|why| Trouble { line: number, why })?;
                played.push_str(&format!("{text}\n----\n"));
                record.iter().for_each(|line| played.push_str(&format!("{line}\n")));
            }
        }
    }
    director.ends().map_err(|why| Trouble { line: script.lines().count(), why })?;
    Ok(played)
}

#[cfg(test)]
mod tests;
