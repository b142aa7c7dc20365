//! Which work a benchmark does, read from a YCSB core-workload file (Java properties).
//! Source: Cooper et al., Benchmarking Cloud Serving Systems with YCSB, SoCC 2010; keys and what goes without saying
//! as in YCSB's `CoreWorkload`. We differ in: proportions must add up to 1, and what is said twice is refused.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use smr_plan::words::{alternatives, nearest, quoted};
use smr_plan::{Problem, Problems};

/// A workload that makes sense. Only [`Workload::parse`] makes one.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Workload {
    /// Records to load before measuring. 1..=100,000,000.
    pub(crate) records: u64,
    /// Operations to measure. 1..=10^12.
    pub(crate) operations: u64,
    /// Which operations.
    pub(crate) mix: Mix,
    /// Which records they meet.
    pub(crate) distribution: Distribution,
    /// Whether keys are hashes of record numbers, or the numbers.
    pub(crate) keys: KeyOrder,
    /// Fields of a record. 1..=1000.
    pub(crate) fields: u32,
    /// Bytes of a field. At least 1; `fields` of them are at most [`RECORD_BYTES_MAX`].
    pub(crate) field_bytes: u32,
    /// Records of a scan at least and at most. Within 1..=10,000.
    pub(crate) scan_records: RangeInclusive<u32>,
    /// Which of these lengths.
    pub(crate) scan_lengths: ScanLengths,
    /// Keys of the file that YCSB knows and that have no meaning here, in the order of the file.
    pub(crate) ignored: Vec<String>,
}

/// Shares of the kinds of operations, each 0 to 1; they add up to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Mix {
    /// Of reads.
    pub(crate) read: f64,
    /// Of updates.
    pub(crate) update: f64,
    /// Of inserts.
    pub(crate) insert: f64,
    /// Of scans.
    pub(crate) scan: f64,
    /// Of reads followed by an update of the same record.
    pub(crate) read_modify_write: f64,
}

/// Which records operations meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Distribution {
    /// All alike.
    Uniform,
    /// Few of them mostly, strewn over all.
    Zipfian,
    /// The ones inserted last mostly.
    Latest,
}

/// What keys look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyOrder {
    /// Records that follow each other stand far apart.
    Hashed,
    /// Records stand in the order of their insertion.
    Ordered,
}

/// How long scans are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScanLengths {
    /// All lengths alike.
    Uniform,
    /// Short ones mostly.
    Zipfian,
}

/// Bytes of a workload file at most.
pub(crate) const WORKLOAD_BYTES_MAX: usize = 64 << 10;

/// Bytes of a record at most; no service takes larger requests.
pub(crate) const RECORD_BYTES_MAX: u64 = 1 << 20;

/// How far proportions may be from adding up to 1: they are written with few digits.
const ROUNDING: f64 = 0.001;

/// Keys with a meaning here.
const KNOWN: [&str; 15] = [
    "recordcount",
    "operationcount",
    "readproportion",
    "updateproportion",
    "insertproportion",
    "scanproportion",
    "readmodifywriteproportion",
    "requestdistribution",
    "insertorder",
    "fieldcount",
    "fieldlength",
    "minscanlength",
    "maxscanlength",
    "scanlengthdistribution",
    "fieldlengthdistribution",
];

/// Further keys of YCSB. Every binding adds its own, which all have a point inside, as some of the core have.
const IGNORED: [&str; 22] = [
    "workload",
    "table",
    "db",
    "readallfields",
    "writeallfields",
    "readallfieldsbyname",
    "fieldnameprefix",
    "fieldlengthhistogram",
    "dataintegrity",
    "insertstart",
    "insertcount",
    "zeropadding",
    "threadcount",
    "target",
    "maxexecutiontime",
    "hotspotdatafraction",
    "hotspotopnfraction",
    "measurementtype",
    "core_workload_insertion_retry_limit",
    "core_workload_insertion_retry_interval",
    "exporter",
    "exportfile",
];

impl Workload {
    /// Reads a property file. `file_name` only appears in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the text, in its order.
    pub(crate) fn parse(text: &str, file_name: &str) -> Result<Workload, Problems> {
        if text.len() > WORKLOAD_BYTES_MAX {
            let message =
                format!("{} bytes are too many; a workload has at most {WORKLOAD_BYTES_MAX}", text.len());
            return Err(Problem::at(file_name, text, 0..0, message, "is this the right file?").into());
        }
        let mut reader = Reader::new(file_name, text);
        let records = reader.number("recordcount", None, 1..=100_000_000);
        let operations = reader.number("operationcount", None, 1..=1_000_000_000_000);
        let mix = reader.mix();
        let distribution = reader.choice("requestdistribution", &DISTRIBUTIONS);
        let keys = reader.choice("insertorder", &KEY_ORDERS);
        let fields = reader.number("fieldcount", Some(10), 1..=1000);
        let field_bytes = reader.number("fieldlength", Some(100), 1..=RECORD_BYTES_MAX);
        reader.record_size(fields * field_bytes);
        reader.choice("fieldlengthdistribution", &[("constant", ())]);
        let scan_max = reader.number("maxscanlength", Some(1000), 1..=10_000);
        let scan_min = reader.number("minscanlength", Some(1), 1..=scan_max);
        let scan_lengths = reader.choice("scanlengthdistribution", &SCAN_LENGTHS);
        let narrow = |number: u64| u32::try_from(number).expect("its range ends far below");
        let workload = Workload {
            records,
            operations,
            mix,
            distribution,
            keys,
            fields: narrow(fields),
            field_bytes: narrow(field_bytes),
            scan_records: narrow(scan_min)..=narrow(scan_max),
            scan_lengths,
            ignored: reader.ignored,
        };
        reader.problems.none_in(workload)
    }
}

const DISTRIBUTIONS: [(&str, Distribution); 3] = [
    ("uniform", Distribution::Uniform),
    ("zipfian", Distribution::Zipfian),
    ("latest", Distribution::Latest),
];

const KEY_ORDERS: [(&str, KeyOrder); 2] = [("hashed", KeyOrder::Hashed), ("ordered", KeyOrder::Ordered)];

const SCAN_LENGTHS: [(&str, ScanLengths); 2] =
    [("uniform", ScanLengths::Uniform), ("zipfian", ScanLengths::Zipfian)];

/// The file's entries, taken out one after the other. After a mistake it goes on with any value that keeps the range,
/// since the result is thrown away.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// Where the value of each key stands, in bytes.
    entries: BTreeMap<&'static str, Range<usize>>,
    /// Keys whose absence needs no words of its own, since a misspelt one was reported.
    excused: Vec<&'static str>,
    ignored: Vec<String>,
    problems: Problems,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, text: &'a str) -> Reader<'a> {
        let entries = BTreeMap::new();
        let mut reader = Reader {
            file,
            text,
            entries,
            excused: Vec::new(),
            ignored: Vec::new(),
            problems: Problems::default(),
        };
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let content = line.trim();
            if !content.is_empty() && !content.starts_with(['#', '!']) {
                let indent = line.len() - line.trim_start().len();
                reader.entry(start + indent, content);
            }
            start += line.len();
        }
        reader
    }

    /// Takes in the line `content`, which begins at the byte `start`.
    fn entry(&mut self, start: usize, content: &str) {
        let end = start + content.len();
        if content.contains('\\') {
            self.problem(start..end, "a workload needs no `\\`", "write the value as it is, on one line");
            return;
        }
        let separates = |c: char| c == '=' || c == ':' || c.is_whitespace();
        let key = content.split(separates).next().unwrap_or(content);
        let value = content[key.len()..].trim_start();
        let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_start();
        let key_span = start..start + key.len();
        if key.is_empty() || value.is_empty() {
            self.problem(start..end, "a line is `key=value`", "for example: recordcount=1000");
        } else if let Some(known) = KNOWN.into_iter().find(|known| *known == key) {
            if self.entries.insert(known, end - value.len()..end).is_some() {
                self.problem(key_span, format!("`{key}` is said twice"), "leave one of them out");
            }
        } else if IGNORED.contains(&key) || key.contains('.') {
            self.ignored.push(key.to_owned());
        } else {
            let help = match nearest(key, &KNOWN) {
                Some(meant) => {
                    self.excused.push(meant);
                    format!("did you mean `{meant}`?")
                }
                None => "see the files in examples/ycsb for what there is".to_owned(),
            };
            self.problem(key_span, format!("YCSB knows no {}", quoted(key)), help);
        }
    }

    fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::at(self.file, self.text, span, message, help));
    }

    /// Adds a problem with something that is not there.
    fn missing(&mut self, message: impl Into<String>, help: impl Into<String>) {
        let end = self.text.trim_end().len();
        self.problem(end..end, message, help);
    }

    fn value(&self, key: &str) -> Option<(&'a str, Range<usize>)> {
        let span = self.entries.get(key)?.clone();
        Some((&self.text[span.clone()], span))
    }

    fn number(&mut self, key: &'static str, unsaid: Option<u64>, range: RangeInclusive<u64>) -> u64 {
        let Some((value, span)) = self.value(key) else {
            if unsaid.is_none() && !self.excused.contains(&key) {
                self.missing(format!("`{key}` is missing"), format!("for example: {key}=1000"));
            }
            return unsaid.unwrap_or(*range.start());
        };
        if let Some(number) = u64::from_str(value).ok().filter(|number| range.contains(number)) {
            return number;
        }
        let help = format!("a whole number from {} to {}", range.start(), range.end());
        self.problem(span, format!("`{key}` cannot be {}", quoted(value)), help);
        *range.start()
    }

    /// Refuses records of that many bytes if they are too large.
    fn record_size(&mut self, bytes: u64) {
        if bytes > RECORD_BYTES_MAX {
            let said = self.value("fieldlength").or_else(|| self.value("fieldcount"));
            let (_, span) = said.expect("records are small when neither is said");
            let help = format!("`fieldcount` times `fieldlength` is at most {RECORD_BYTES_MAX}");
            self.problem(span, format!("a record of {bytes} bytes is too large"), help);
        }
    }

    fn mix(&mut self) -> Mix {
        let shares = [
            self.proportion("readproportion", 0.95),
            self.proportion("updateproportion", 0.05),
            self.proportion("insertproportion", 0.0),
            self.proportion("scanproportion", 0.0),
            self.proportion("readmodifywriteproportion", 0.0),
        ];
        // A share that is no number was reported; what it adds up to would only be more of the same.
        let [read, update, insert, scan, read_modify_write] = shares.map(|share| share.unwrap_or(0.0));
        let sum = read + update + insert + scan + read_modify_write;
        if shares.iter().all(Option::is_some) && (sum - 1.0).abs() > ROUNDING {
            let message = format!("the proportions add up to {}", (sum * 1000.0).round() / 1000.0);
            let help = "they must add up to 1; what is not said is readproportion=0.95 and updateproportion=0.05, as \
                        in YCSB, and 0 for the others";
            let said = self.entries.iter().filter(|(key, _)| key.ends_with("proportion"));
            match said.map(|(_, span)| span.clone()).max_by_key(|span| span.start) {
                Some(last) => self.problem(last, message, help),
                None => self.missing(message, help),
            }
        }
        Mix { read, update, insert, scan, read_modify_write }
    }

    fn proportion(&mut self, key: &'static str, unsaid: f64) -> Option<f64> {
        let Some((value, span)) = self.value(key) else {
            return Some(unsaid);
        };
        let share = f64::from_str(value).ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.problem(span, format!("`{key}` cannot be {}", quoted(value)), "a number from 0 to 1");
        }
        share
    }

    /// The choice that the file names, or the first one.
    fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> T {
        let (_, first) = choices[0];
        let Some((value, span)) = self.value(key) else {
            return first;
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == value) {
            return *choice;
        }
        let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let help = match nearest(value, &known) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("{key} is {}", alternatives(&known)),
        };
        self.problem(span, format!("`{key}` cannot be {}", quoted(value)), help);
        first
    }
}

#[cfg(test)]
mod tests;
