//! Holds the house to its plan: imports point down the floors, and what must be absent is absent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floor of each crate; a crate may depend on lower floors only.
const FLOORS: &[(&str, u32)] = &[
    ("known-bugs", 0),
    ("mutate", 0),
    ("uds", 1),
    ("crypto", 1),
    ("store", 1),
    ("wire", 2),
    ("consensus", 3),
    ("app", 3),
    ("client", 3),
    ("replica", 4),
    ("node", 5),
    ("sim", 5),
    ("plan", 5),
    ("cloud", 6),
    ("smrcloud", 7),
    ("xtask", 7),
];

/// The only places below `node` that may name a thread, a socket, a file or a clock. The last two
/// are of tests: the files of pins, and whether one of them fails.
const EDGES: &[&str] =
    &["uds/src/executor", "client/src/connect", "app/src/remote", "mutate/src/pins", "mutate/src/runs"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("beside the other crates").to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of our crates in the sections of a manifest that `wanted` chooses.
fn own_dependencies(manifest: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_string();
        } else if wanted(&section)
            && let Some(rest) = line.strip_prefix("smr-")
        {
            found.push(rest.split(['.', ' ', '=']).next().unwrap_or_default().to_string());
        }
    }
    found
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_crate_stands_on_a_floor_and_imports_point_down() {
    let floors: BTreeMap<&str, u32> = FLOORS.iter().copied().collect();
    let mut seen = 0;
    for entry in fs::read_dir(crates()).expect("the crates") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name").to_string();
        let floor = *floors.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no floor"));
        let manifest = read(&path.join("Cargo.toml"));
        for dependency in own_dependencies(&manifest, |section| section.ends_with("dependencies")) {
            // For its tests a crate may ask itself for more features.
            if dependency == name {
                continue;
            }
            let below =
                *floors.get(dependency.as_str()).unwrap_or_else(|| panic!("smr-{dependency} is unknown"));
            assert!(below < floor, "{name} (floor {floor}) imports {dependency} (floor {below})");
        }
        seen += 1;
    }
    assert_eq!(seen, FLOORS.len(), "a crate of the plan is missing");
}

#[test]
fn clients_do_not_know_the_group() {
    let manifest = read(&crates().join("client/Cargo.toml"));
    let imports = own_dependencies(&manifest, |section| section.ends_with("dependencies"));
    for hidden in ["consensus", "replica", "node"] {
        assert!(!imports.contains(&hidden.to_string()), "client imports {hidden}");
    }
}

#[test]
fn crypto_store_and_uds_know_nothing_of_replication() {
    for name in ["crypto", "store", "uds"] {
        let manifest = read(&crates().join(name).join("Cargo.toml"));
        // Deliberate bugs and changes to encodings know nothing of anything.
        let mut imports = own_dependencies(&manifest, |section| section.ends_with("dependencies"));
        imports.retain(|import| import != "known-bugs" && import != "mutate");
        assert!(imports.is_empty(), "{name} imports {imports:?} of ours");
    }
}

#[test]
fn below_the_edge_nothing_names_a_thread_a_socket_or_a_clock() {
    let names = ["std::thread", "std::net", "std::time::Instant", "SystemTime", "tokio::", "std::fs"];
    let mut checked = 0;
    for (name, _) in FLOORS.iter().filter(|(_, floor)| *floor <= 4) {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        for file in files {
            let shown = file.strip_prefix(crates()).expect("below the crates").display().to_string();
            if EDGES.iter().any(|edge| shown.starts_with(edge)) || shown.contains("tests") {
                continue;
            }
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for forbidden in names {
                    assert!(!line.contains(forbidden), "{shown} names {forbidden}: {line}");
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} files were found: the check looks in the wrong place");
}

#[test]
fn whatever_serves_contains_no_known_bug() {
    // A feature of one is a feature of all in a build, so nobody may ask for these outside of tests.
    let switches = ["switchable", "mutants", "known-bugs\"]"];
    let (mut asked, mut seen) = (0, 0);
    for (name, _) in FLOORS {
        let manifest = read(&crates().join(name).join("Cargo.toml"));
        let mut section = "";
        for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if line.starts_with('[') {
                section = line;
            }
            seen += 1;
            let asks = switches.iter().any(|switch| line.contains(switch));
            let declares = section == "[features]" && ["known-bugs", "uds", "sim"].contains(name);
            let for_tests = section == "[dev-dependencies]" || line.starts_with("required-features");
            assert!(!asks || declares || for_tests, "{name} switches known bugs on: {line}");
            asked += u32::from(asks && for_tests);
        }
    }
    assert!(seen > 100 && asked > 0, "the check looks in the wrong place");
}

#[test]
fn only_the_simulated_edge_signs_with_a_hash() {
    let mut named = 0;
    for (name, _) in FLOORS {
        let mut files = Vec::new();
        sources(&crates().join(name), &mut files);
        for file in files.iter().filter(|file| read(file).contains("Verifier::simulated(")) {
            let shown = file.strip_prefix(crates()).expect("below the crates").display().to_string();
            let may = shown.starts_with("sim/")
                || ["crypto/src/keys.rs", "smrcloud/tests/house.rs"].contains(&&*shown);
            assert!(may, "{shown} makes a verifier that believes hashes");
            named += 1;
        }
    }
    assert!(named > 2, "the check looks in the wrong place");
}

#[test]
fn only_the_edges_step_a_replica() {
    for (name, _) in FLOORS.iter().filter(|(name, _)| !["node", "sim", "replica"].contains(name)) {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        for file in files {
            assert!(!read(&file).contains("Replica::new("), "{} makes a replica", file.display());
        }
    }
}

#[test]
fn plan_does_no_io() {
    let manifest = read(&crates().join("plan/Cargo.toml"));
    assert!(!manifest.contains("tokio"), "plan imports a runtime");
    let mut files = Vec::new();
    sources(&crates().join("plan/src"), &mut files);
    for file in files {
        assert!(!read(&file).contains("std::fs"), "{} reads files", file.display());
    }
}
