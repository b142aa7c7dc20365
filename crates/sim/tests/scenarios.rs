//! Plays the scripts in `scenarios/` and compares with what is recorded in them. `RECORD=1` writes what happens now
//! into the scripts instead, so that a change of behaviour can be read, and accepted, as a difference of text.

use std::fs;
use std::path::{Path, PathBuf};

use smr_sim::scenario;

/// The environment variable that says to record.
const RECORD: &str = "RECORD";

/// Lines shown on either side of the first difference.
const AROUND: usize = 4;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = fs::read_dir(&folder).expect("the folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

/// The first difference, in words; none if there is none.
fn difference(recorded: &str, played: &str) -> Option<String> {
    let (before, now): (Vec<&str>, Vec<&str>) = (recorded.lines().collect(), played.lines().collect());
    let alike = before.iter().zip(&now).take_while(|(before, now)| before == now).count();
    if alike == before.len().max(now.len()) {
        return None;
    }
    let from = alike.saturating_sub(AROUND);
    let shown = |sign: &str, lines: &[&str]| {
        let lines = lines.iter().skip(alike).take(AROUND);
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let context: String = before[from..alike].iter().map(|line| format!("  {line}\n")).collect();
    Some(format!("line {}:\n{context}{}{}", alike + 1, shown("-", &before), shown("+", &now)))
}

#[test]
fn every_scenario_goes_as_recorded() {
    let records = std::env::var(RECORD).is_ok_and(|value| value == "1");
    let scripts = scripts();
    let found = scripts.len();
    let mut wrong = Vec::new();
    for path in scripts {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let script = fs::read_to_string(&path).expect("a readable script");
        match scenario::play(&script) {
            Err(trouble) => wrong.push(format!("{name}, {trouble}")),
            Ok(played) if records => fs::write(&path, played).expect("a writable script"),
            Ok(played) => wrong.extend(difference(&script, &played).map(|text| format!("{name}, {text}"))),
        }
    }
    assert!(wrong.is_empty(), "{}\nIf it is meant to be so, record it: {RECORD}=1", wrong.join("\n"));
    assert!(found >= 10, "only {found} scripts were found");
}

#[test]
fn a_difference_is_found_wherever_it_is() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    assert!(difference("a\nb\n", "a\nc\n").is_some_and(|text| text.starts_with("line 2:\n  a\n- b\n+ c")));
    assert!(difference("a\nb\n", "a\n").is_some_and(|text| text.contains("- b")));
    assert!(difference("a\n", "a\nb\n").is_some_and(|text| text.contains("+ b")));
}
