//! Checks `specs/`: that each translation is that of its algorithm, that TLC finds in each case what is expected there, and
//! that runs of the simulator are behaviours of the specification. `docs/specs.md` tells what the cases are.

mod cases;
mod tlc;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use cases::{Case, Expected};
use tlc::{Found, Verdict};
use tools::{Tools, Trouble};

/// What is wanted of the chore.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) form: Form,
    pub(crate) what: What,
    /// Part of the names of the cases; empty for all.
    pub(crate) only: String,
}

/// For whom it writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Form {
    #[default]
    Words,
    Json,
}

/// How much it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum What {
    #[default]
    Check,
    Names,
}

/// What came of one case.
#[derive(Debug, Serialize)]
struct Outcome {
    case: String,
    expected: String,
    found: String,
    as_expected: bool,
    states: u64,
    depth: u64,
    seconds: f64,
    /// Steps of the counterexample, in words.
    steps: Vec<String>,
}

/// Does the chore.
pub(crate) fn run(wanted: &Wanted) -> ExitCode {
    let cases: Vec<Case> = cases::all().into_iter().filter(|case| case.name.contains(&wanted.only)).collect();
    if wanted.what == What::Names {
        cases.iter().for_each(|case| println!("{}: {}", case.name, case.expected));
        return ExitCode::SUCCESS;
    }
    if cases.is_empty() {
        // Otherwise a word that fits no case would look as if all were well.
        eprintln!("no case has \"{}\" in its name; --list names them", wanted.only);
        return ExitCode::from(crate::MISUSE);
    }
    match check(&cases) {
        Ok(outcomes) => {
            if wanted.form == Form::Json {
                let all = serde_json::to_string_pretty(&outcomes).expect("plain data");
                println!("{all}");
            }
            let wrong: Vec<&str> =
                outcomes.iter().filter(|o| !o.as_expected).map(|o| o.case.as_str()).collect();
            eprintln!("{} of {} as expected", outcomes.len() - wrong.len(), outcomes.len());
            wrong.iter().for_each(|case| eprintln!("not as expected: {case}"));
            if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(trouble.exit_code())
        }
    }
}

fn check(cases: &[Case]) -> Result<Vec<Outcome>, Trouble> {
    let tools = Tools::find()?;
    tools.check_translations(&["lanes", "ebawa_classic"])?;
    let mut outcomes = Vec::new();
    for (place, case) in (1..).zip(cases) {
        eprintln!("{place}/{} {}: expected is {}", cases.len(), case.name, case.expected);
        let outcome = check_case(&tools, case)?;
        outcome.steps.iter().zip(1..).for_each(|(step, number)| eprintln!("     {number:>2}. {step}"));
        let verdict = if outcome.as_expected { "as expected" } else { "NOT AS EXPECTED" };
        eprintln!(
            "     {verdict}: {} ({} states, depth {}, {:.0} s)",
            outcome.found, outcome.states, outcome.depth, outcome.seconds
        );
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn check_case(tools: &Tools, case: &Case) -> Result<Outcome, Trouble> {
    let began = Instant::now();
    let folder = case.prepare(tools)?;
    let Found { verdict, states, depth, steps } = tools.check(&folder, case.module)?;
    let as_expected = match (&case.expected, &verdict) {
        (Expected::Holds, Verdict::Holds) | (Expected::Refused, Verdict::Holds) => true,
        (Expected::Breaks(invariant), Verdict::Broken(broken)) => invariant == broken,
        (Expected::Accepted, Verdict::Broken(broken)) => broken == cases::UNFINISHED,
        _ => false,
    };
    // The way through an accepted trace is the trace.
    let steps = if case.expected == Expected::Accepted { Vec::new() } else { steps };
    Ok(Outcome {
        case: case.name.clone(),
        expected: case.expected.to_string(),
        found: told(&case.expected, &verdict),
        as_expected,
        states,
        depth,
        seconds: began.elapsed().as_secs_f64(),
        steps,
    })
}

/// What was found, in the words of the case.
fn told(expected: &Expected, verdict: &Verdict) -> String {
    match (expected, verdict) {
        (Expected::Accepted | Expected::Refused, Verdict::Broken(what)) if what == cases::UNFINISHED => {
            "the trace was followed to its end".into()
        }
        (Expected::Accepted | Expected::Refused, Verdict::Holds) => {
            "no behaviour goes on as the trace does".into()
        }
        (_, Verdict::Holds) => "every state visited, no error".into(),
        (_, Verdict::Broken(invariant)) => format!("{invariant} does not hold"),
    }
}

/// Where the repository is.
fn root() -> PathBuf {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crates.ancestors().nth(2).expect("crates/xtask is two below the root").to_path_buf()
}
