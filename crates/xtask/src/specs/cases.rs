//! What is checked: a specification, its constants, and what is expected of it.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::root;
use super::tools::{Tools, Trouble, create, read, specs, write};

/// One run of TLC.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) module: &'static str,
    constants: Vec<(&'static str, String)>,
    invariants: Vec<&'static str>,
    pub(crate) expected: Expected,
    /// A run of the simulator, and what is false in it.
    trace: Option<(&'static str, &'static str)>,
}

/// What should come of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// Every state is visited, and all invariants hold.
    Holds,
    /// This invariant does not hold.
    Breaks(&'static str),
    /// A run of the simulator is a behaviour of the specification, up to its end.
    Accepted,
    /// It is none.
    Refused,
}

impl Display for Expected {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Holds => f.write_str("no error"),
            Expected::Breaks(invariant) => write!(f, "that {invariant} does not hold"),
            Expected::Accepted => f.write_str("a way through the whole trace"),
            Expected::Refused => f.write_str("no way through the trace"),
        }
    }
}

/// Says that a trace has more steps. Where it does not hold the trace was followed to its end.
pub(crate) const UNFINISHED: &str = "Unfinished";

/// All that must hold of `lanes`.
const SAFE: [&str; 9] = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "Base", "Logs"];

/// Mistakes, each with the invariant that finds it and the smallest world in which it does: who is faulty, slots, views,
/// schedule.
const MISTAKES: [(&str, &str, &str, u64, u64, &str); 10] = [
    ("core-has-no-floor", "I1", "{1}", 1, 1, "stable"),
    ("core-votes-twice", "I2", "{0}", 1, 1, "stable"),
    ("votes-need-no-ground", "I3", "{1}", 1, 1, "stable"),
    ("lower-view-wins", "I3", "{}", 1, 2, "stable"),
    ("votes-beyond-the-window", "I4", "{0}", 2, 1, "stable"),
    ("votes-beyond-the-window", "I5", "{0}", 2, 1, "stable"),
    ("excludes-by-opinion", "I6", "{0}", 2, 1, "rotating"),
    ("one-word-begins-a-view", "I7", "{1}", 1, 1, "stable"),
    ("prefix-needs-no-proof", "Base", "{0}", 1, 1, "stable"),
    ("no-state-transfer", "CaughtUp", "{}", 3, 0, "rotating"),
];

/// Every case, those that take little time first.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![
        Case::classic("a laggard", "CaughtUp", &[]),
        Case::classic("a laggard, with state transfer", "CaughtUp", &[("Transfer", "TRUE")]),
        Case::classic("blacklists", "Agree", &MERGING),
        Case::classic("a blacklist that does not change", "Agree", &FIXED).holds(),
        Case::lanes("a laggard", "{}", 3, 0, "rotating")
            .with("Forgets", "TRUE")
            .invariants(vec!["CaughtUp", "Logs"]),
    ];
    for (mistake, invariant, faulty, slots, views, schedule) in MISTAKES {
        let name = format!("mistake {mistake}");
        let case = Case::lanes(&name, faulty, slots, views, schedule);
        let case = case.with("Mistake", &format!("\"{mistake}\""));
        let case = if invariant == "CaughtUp" { case.with("Forgets", "TRUE") } else { case };
        cases.push(case.invariants(vec![invariant]).expecting(Expected::Breaks(invariant)));
    }
    for run in ["normal", "view-change"] {
        cases.push(Case::trace(run, "nothing").expecting(Expected::Accepted));
    }
    for what in ["a-vote", "a-register", "a-beginning", "a-prefix"] {
        cases.push(Case::trace("view-change", what).expecting(Expected::Refused));
    }
    // It must be reachable that a slot is decided in a later view, or the cases below show little.
    let later = Case::lanes("a decision in a later view", "{0}", 1, 1, "stable");
    let never = "NothingDecidedLater";
    cases.push(later.invariants(vec![never]).expecting(Expected::Breaks(never)));
    for schedule in ["stable", "rotating"] {
        for faulty in ["{}", "{0}", "{1}", "{2}"] {
            let who = if faulty == "{}" { "any may stop".into() } else { format!("{} lies", &faulty[1..2]) };
            cases.push(Case::lanes(&format!("{schedule}, {who}"), faulty, 2, 1, schedule));
        }
    }
    cases.push(Case::lanes("three views, any may stop", "{}", 1, 2, "stable"));
    cases
}

/// One replica lies, timers run out, nothing is dropped.
const MERGING: [(&str, &str); 5] =
    [("Faulty", "{2}"), ("Views", "2"), ("Listed", "{1}"), ("Every", "0"), ("Impatient", "TRUE")];
const FIXED: [(&str, &str); 6] =
    [MERGING[0], MERGING[1], MERGING[2], MERGING[3], MERGING[4], ("Blacklist", "\"fixed\"")];

impl Case {
    /// The published protocol, in which this invariant breaks.
    fn classic(name: &str, invariant: &'static str, differs: &[(&'static str, &str)]) -> Case {
        let plain = [
            ("Faulty", "{}"),
            ("Views", "3"),
            ("Listed", "{}"),
            ("Blacklist", "\"local\""),
            ("Every", "2"),
            ("Transfer", "FALSE"),
            ("Order", "\"sequential\""),
            ("Impatient", "FALSE"),
        ];
        let case = Case {
            name: format!("ebawa-classic, {name}"),
            module: "ebawa_classic",
            constants: plain.map(|(name, value)| (name, value.into())).to_vec(),
            invariants: vec![invariant],
            expected: Expected::Breaks(invariant),
            trace: None,
        };
        differs.iter().fold(case, |case, (name, value)| case.with(name, value))
    }

    /// Ours, in which everything holds.
    fn lanes(name: &str, faulty: &str, slots: u64, views: u64, schedule: &str) -> Case {
        let batches =
            if views < 2 { ("<- Two", "{\"a\", \"b\"}") } else { ("<- Three", "{\"a\", \"b\", \"c\"}") };
        let constants = vec![
            ("Faulty", faulty.into()),
            ("Slots", slots.to_string()),
            ("Views", views.to_string()),
            ("Alpha", "1".into()),
            ("Schedule", format!("\"{schedule}\"")),
            ("Exclusion", "2".into()),
            ("Batches", batches.0.into()),
            ("Nil", "\"nil\"".into()),
            ("Lies", batches.1.into()),
            ("Forgets", "FALSE".into()),
            ("Mistake", "\"none\"".into()),
        ];
        Case {
            name: format!("lanes, {name}"),
            module: "lanes",
            constants,
            invariants: SAFE.to_vec(),
            expected: Expected::Holds,
            trace: None,
        }
    }

    /// A run of the simulator, in which something was changed afterwards.
    fn trace(run: &'static str, falsified: &'static str) -> Case {
        let changed = if falsified == "nothing" { String::new() } else { format!(", {falsified} changed") };
        let mut case = Case::lanes(&format!("trace of a {run} run{changed}"), "{}", 0, 0, "stable");
        case.module = "lanes_trace";
        for name in ["Slots", "Views", "Alpha", "Schedule", "Exclusion", "Batches"] {
            case = case.with(name, &format!("<- Trace{name}"));
        }
        Case { trace: Some((run, falsified)), ..case.with("Lies", "{}").invariants(vec![UNFINISHED]) }
    }

    fn with(mut self, name: &'static str, value: &str) -> Case {
        self.constants.retain(|(other, _)| *other != name);
        self.constants.push((name, value.into()));
        self
    }

    fn invariants(self, invariants: Vec<&'static str>) -> Case {
        Case { invariants, ..self }
    }

    fn expecting(self, expected: Expected) -> Case {
        Case { expected, ..self }
    }

    fn holds(self) -> Case {
        self.expecting(Expected::Holds)
    }

    /// Puts what TLC needs into a folder of the case.
    pub(crate) fn prepare(&self, tools: &Tools) -> Result<PathBuf, Trouble> {
        let plain: String = self.name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let folder = tools.place.join("cases").join(plain);
        create(&folder)?;
        for entry in fs::read_dir(specs()).map_err(|error| Trouble::File { path: specs(), error })? {
            let path = entry.map_err(|error| Trouble::File { path: specs(), error })?.path();
            if path.extension().is_some_and(|e| e == "tla") {
                write(&folder.join(path.file_name().expect("a file")), &read(&path)?)?;
            }
        }
        write(&folder.join(format!("{}.cfg", self.module)), &self.configuration())?;
        if let Some((run, falsified)) = self.trace {
            write(&folder.join("trace_data.tla"), &simulate(run, falsified)?)?;
        }
        Ok(folder)
    }

    fn configuration(&self) -> String {
        let spec = if self.trace.is_some() { "TraceSpec" } else { "Spec" };
        let mut text = format!("SPECIFICATION {spec}\nCONSTANTS\n");
        for (name, value) in &self.constants {
            let is = if value.starts_with("<-") { "" } else { "= " };
            text.push_str(&format!("    {name} {is}{value}\n"));
        }
        let view = if self.trace.is_some() { "TraceSeen" } else { "Seen" };
        text.push_str(&format!("INVARIANTS {}\nVIEW {view}\n", self.invariants.join(" ")));
        text
    }
}

/// A run of the simulator as a TLA+ module.
fn simulate(run: &str, falsified: &str) -> Result<String, Trouble> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut export = Command::new(cargo);
    export.current_dir(root()).args([
        "run",
        "-q",
        "-p",
        "smr-sim",
        "--example",
        "lanes_trace",
        "--",
        run,
        falsified,
    ]);
    let done = export.output().map_err(|error| Trouble::NoTrace(error.to_string()))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(Trouble::NoTrace(String::from_utf8_lossy(&done.stderr).into_owned()))
    }
}
