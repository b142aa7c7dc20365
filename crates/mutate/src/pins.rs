//! Encodings that must not change by accident: for each sample value, the length and the hash of its encoding stand in
//! a text file. A change of encoding is then a line in a diff, which somebody reviews.

use std::collections::BTreeSet;
use std::path::Path;

use borsh::BorshSerialize;

/// The encodings of some sample values, by name.
#[derive(Clone, Debug, Default)]
pub struct Pins(Vec<String>);

impl Pins {
    /// None yet.
    #[must_use]
    pub fn new() -> Pins {
        Pins::default()
    }

    /// Adds a sample, whose encoding is hashed by `hash`.
    ///
    /// # Panics
    /// Never: writing to memory cannot fail.
    pub fn add<T: BorshSerialize>(&mut self, name: &str, sample: &T, hash: impl Fn(&[u8]) -> String) {
        self.add_bytes(name, &borsh::to_vec(sample).expect("writing to memory cannot fail"), hash);
    }

    /// Adds a sample by its bytes: a statement that is signed, or an encoding that is not borsh's.
    pub fn add_bytes(&mut self, name: &str, bytes: &[u8], hash: impl Fn(&[u8]) -> String) {
        self.0.push(format!("{name} {} {}", bytes.len(), hash(bytes)));
    }

    /// Compares with what stands in the file, or with the environment variable `RECORD=1` writes it.
    ///
    /// # Panics
    /// If they differ, with the lines that do; or if two samples have one name.
    #[expect(clippy::disallowed_methods, reason = "tests alone read and write these files")]
    pub fn compare(&self, file: &Path) {
        let names: BTreeSet<&str> = self.0.iter().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.len() == self.0.len(), "two samples have one name");
        let now = self.0.iter().map(|line| format!("{line}\n")).collect::<String>();
        if std::env::var("RECORD").is_ok_and(|value| value == "1") {
            std::fs::write(file, now).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            return;
        }
        let then =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let lines = |text: &str| text.lines().map(str::to_string).collect::<BTreeSet<String>>();
        let (then, now) = (lines(&then), lines(&now));
        let gone: Vec<&String> = then.difference(&now).collect();
        let new: Vec<&String> = now.difference(&then).collect();
        assert!(
            gone.is_empty() && new.is_empty(),
            "encodings differ from {}:\n  was {gone:#?}\n  is  {new:#?}\n\
             If that is meant, replicas and clients of before do not understand it: raise the version, and record it \
             with RECORD=1",
            file.display()
        );
    }
}
