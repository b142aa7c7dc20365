//! What a customer reads of every protocol and every kind of wish, recorded in `plans.txt`, so that a change of words or
//! of choices is a change of text for somebody to read. `RECORD=1` takes what is planned now.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use smr_consensus::registry::PROTOCOLS;

use super::*;

/// What a machine has that nobody's words depend on.
const CORES: u32 = 2;

/// How much of a plan is recorded: much is the same in all of them.
#[derive(PartialEq, Eq)]
enum Form {
    Short,
    Whole,
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A description with these lines in `[wish]`, and a protocol if one is named.
fn description(wish: &str, protocol: &str) -> String {
    let named = if protocol.is_empty() { String::new() } else { format!("[protocol]\nname = {protocol:?}\n") };
    format!("name = \"kv\"\n[application]\nbuiltin = \"kv\"\n[wish]\n{wish}durability = \"memory\"\n{named}")
}

#[test]
fn what_is_said_of_each_protocol_and_wish_is_as_recorded() {
    let byzantine = "faults = 1\nagainst = \"byzantine\"\n";
    let crash = "faults = 1\nagainst = \"crash\"\n";
    let software = format!("{byzantine}trusted_hardware = \"software\"\n");
    let tpm = format!("{byzantine}trusted_hardware = \"tpm\"\n");
    let cases: [(&str, &str, Form); 11] = [
        (byzantine, "", Form::Short),
        ("faults = 2\nagainst = \"byzantine\"\n", "", Form::Short),
        (&software, "", Form::Short),
        (&software, "ebawa", Form::Whole),
        (&tpm, "", Form::Whole),
        (crash, "", Form::Whole),
        ("faults = 2\nagainst = \"crash\"\n", "", Form::Short),
        (crash, "mencius", Form::Short),
        (crash, "pbft", Form::Whole),
        ("faults = 0\nagainst = \"crash\"\n", "", Form::Short),
        ("faults = 0\nagainst = \"byzantine\"\ntrusted_hardware = \"tpm\"\n", "", Form::Short),
    ];
    let mut said = String::new();
    let mut seen = Vec::new();
    for (wish, protocol, form) in cases {
        let text = description(wish, protocol);
        let blueprint = planned(&text, "kv.toml", &facts(CORES)).expect("it can be served");
        let name = if protocol.is_empty() { String::new() } else { format!(", name = \"{protocol}\"") };
        writeln!(said, "== {}{name}\n", wish.trim_end().replace('\n', ", ")).expect("a string takes it");
        writeln!(said, "{}\n", blueprint.render_short()).expect("a string takes it");
        if form == Form::Whole {
            writeln!(said, "-- with --why\n\n{}\n", blueprint.render()).expect("a string takes it");
        }
        seen.push(blueprint.protocol);
    }
    for protocol in PROTOCOLS {
        assert!(seen.contains(&protocol.to_string()), "nobody reads what is said of {protocol}");
    }
    let path = here("src/commands/plan/plans.txt");
    if std::env::var("RECORD").is_ok_and(|value| value == "1") {
        fs::write(&path, &said).expect("the record is written");
    }
    let recorded = fs::read_to_string(&path).expect("there is a record");
    for (now, before) in said.lines().zip(recorded.lines()) {
        assert_eq!(now, before, "read {}, then record it with RECORD=1", path.display());
    }
    assert_eq!(said.lines().count(), recorded.lines().count());
}

#[test]
fn every_example_is_planned() {
    let mut planned_ones = Vec::new();
    for entry in fs::read_dir(here("../../examples")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let blueprint = blueprint(&path).unwrap_or_else(|trouble| panic!("{trouble}"));
            planned_ones.push((blueprint.protocol.clone(), blueprint.trusted_hardware.is_some()));
        }
    }
    assert!(planned_ones.contains(&("pbft".to_owned(), false)), "{planned_ones:?}");
    assert!(planned_ones.contains(&("ebawa".to_owned(), true)), "{planned_ones:?}");
}
