//! Takes typed values out of a parsed service description and collects what is wrong with it: sections and keys
//! that are unknown, missing or of the wrong type. What the values mean is not known here.

use toml::de::{DeTable, DeValue};

use super::Span;
use crate::problem::{Problem, Problems};
use crate::words::{alternatives, nearest, quoted};

/// Reads one document.
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    tables: Vec<(Section, Span, &'a DeTable<'a>)>,
    /// Keys whose absence needs no words of its own, since a misspelt or misplaced one was reported.
    excused: Vec<(Section, &'static str)>,
    problems: Problems,
}

/// A value and where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A part of the document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What stands above all sections.
    Root,
    /// `[application]`
    Application,
    /// `[wish]`
    Wish,
    /// `[scheduler]`, which may be left out.
    Scheduler,
    /// `[protocol]`, which may be left out.
    Protocol,
}

impl Section {
    /// All of them.
    pub(super) const ALL: [Section; 5] =
        [Section::Root, Section::Application, Section::Wish, Section::Scheduler, Section::Protocol];

    /// Keys that may stand in it.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Section::Root => &["name", "application", "wish", "scheduler", "protocol"],
            Section::Application => &["builtin", "program"],
            Section::Wish => &["faults", "against", "durability", "checkpoints", "trusted_hardware"],
            Section::Scheduler => &["preset", "primaries", "steps", "order"],
            Section::Protocol => &["name"],
        }
    }

    /// The section that `key`, above all sections, begins; none for one that holds a value.
    fn begun_by(key: &str) -> Option<Section> {
        match key {
            "application" => Some(Section::Application),
            "wish" => Some(Section::Wish),
            "scheduler" => Some(Section::Scheduler),
            "protocol" => Some(Section::Protocol),
            _ => None,
        }
    }

    /// A line that may stand in it.
    fn example(self) -> &'static str {
        match self {
            Section::Root => example(self, "name"),
            Section::Application => example(self, "builtin"),
            Section::Wish => example(self, "faults"),
            Section::Scheduler => example(self, "preset"),
            Section::Protocol => example(self, "name"),
        }
    }

    /// How the user finds it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Section::Root => "the description",
            Section::Application => "[application]",
            Section::Wish => "[wish]",
            Section::Scheduler => "[scheduler]",
            Section::Protocol => "[protocol]",
        }
    }
}

/// The document, if it is TOML at all. Behind the first error a parser only guesses, so no more are reported.
pub(super) fn parse<'a>(file: &str, text: &'a str) -> Result<DeTable<'a>, Problems> {
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = format!("this is not TOML: {}", error.message());
        let help = if error.message().contains("duplicate key") {
            "say it once"
        } else {
            "a line is `key = value`, `[section]` or `# comment`; texts stand in double quotes"
        };
        Problem::at(file, text, span, message, help)
    })?;
    Ok(document.into_inner())
}

impl<'a> Reader<'a> {
    /// Finds the sections of `document` and reports unknown keys and missing sections.
    pub(super) fn new(file: &'a str, text: &'a str, document: &'a DeTable<'a>) -> Reader<'a> {
        let tables = vec![(Section::Root, 0..0, document)];
        let mut reader = Reader { file, text, tables, excused: Vec::new(), problems: Problems::default() };
        reader.refuse_unknown(Section::Root);
        reader.open(Section::Application, "application");
        reader.open(Section::Wish, "wish");
        if reader.stated(Section::Root, "scheduler").is_some() {
            reader.open(Section::Scheduler, "scheduler");
        }
        if reader.stated(Section::Root, "protocol").is_some() {
            reader.open(Section::Protocol, "protocol");
        }
        reader
    }

    /// Everything that was wrong.
    pub(super) fn finish(self) -> Problems {
        self.problems
    }

    /// Adds a problem at `span`.
    pub(super) fn problem(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::at(self.file, self.text, span, message, help));
    }

    /// Where the section begins; none if it is missing, which was reported.
    pub(super) fn section(&self, section: Section) -> Option<Span> {
        self.tables.iter().find(|(found, ..)| *found == section).map(|(_, span, _)| span.clone())
    }

    /// Where the section states `key`, if it does.
    pub(super) fn stated(&self, section: Section, key: &str) -> Option<Span> {
        let table = self.table(section)?;
        table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span())
    }

    /// Whether a report about one of `keys` makes another one, that they are missing, needless.
    pub(super) fn excused(&self, section: Section, keys: &[&str]) -> bool {
        self.excused.iter().any(|(found, key)| *found == section && keys.contains(key))
    }

    /// The text under `key`; none, and a report, if there is none.
    pub(super) fn text(&mut self, section: Section, key: &'static str) -> Option<Found<&'a str>> {
        let (value, span) = self.value(section, key)?;
        if let DeValue::String(text) = value {
            return Some(Found { value: text, span });
        }
        self.wrong_type(section, key, "a text in double quotes", value, span);
        None
    }

    /// The whole number under `key`, one beyond the type as the type's last; none, and a report, if there is none.
    pub(super) fn number(&mut self, section: Section, key: &'static str) -> Option<Found<i128>> {
        let (value, span) = self.value(section, key)?;
        if let DeValue::Integer(number) = value {
            let last = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            return Some(Found {
                value: i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(last),
                span,
            });
        }
        self.wrong_type(section, key, "a whole number", value, span);
        None
    }

    fn table(&self, section: Section) -> Option<&'a DeTable<'a>> {
        self.tables.iter().find(|(found, ..)| *found == section).map(|(.., table)| *table)
    }

    fn open(&mut self, section: Section, key: &'static str) {
        let root = self.table(Section::Root).expect("the root is always there");
        let Some((name, value)) = root.iter().find(|(name, _)| name.get_ref() == key) else {
            if !self.excused(Section::Root, &[key]) {
                let end = self.text.trim_end().len();
                let help = format!("add a line `[{key}]`, and below it for example: {}", section.example());
                self.problem(end..end, format!("the section [{key}] is missing"), help);
            }
            return;
        };
        if let DeValue::Table(table) = value.get_ref() {
            self.tables.push((section, name.span(), table));
            self.refuse_unknown(section);
        } else {
            self.problem(
                name.span(),
                format!("`{key}` must be a section"),
                as_section(section, value.get_ref()),
            );
        }
    }

    fn refuse_unknown(&mut self, section: Section) {
        let table = self.table(section).expect("opened by the caller");
        for (name, value) in table {
            let key: &str = name.get_ref();
            if section.keys().contains(&key) {
                continue;
            }
            let elsewhere = Section::ALL.into_iter().find_map(|other| {
                let known = other.keys().iter().find(|known| **known == key)?;
                Some((other, *known))
            });
            let help = if let Some((other, known)) = elsewhere {
                self.excused.push((other, known));
                match (other, Section::begun_by(key)) {
                    (Section::Root, Some(begun)) => as_section(begun, value.get_ref()),
                    (Section::Root, None) => format!("`{key}` stands above all sections"),
                    _ => format!("`{key}` stands below {}", other.title()),
                }
            } else if let Some(meant) = nearest(key, section.keys()) {
                self.excused.push((section, meant));
                format!("did you mean `{meant}`?")
            } else {
                let known: Vec<String> = section.keys().iter().map(|key| format!("`{key}`")).collect();
                format!("{} has {}", section.title(), alternatives(&known).replace(" or ", " and "))
            };
            let message = format!("{} has no {}", section.title(), quoted(key).replace('"', "`"));
            self.problem(name.span(), message, help);
        }
    }

    /// The value under `key`; reports it missing, unless the section is, which was reported.
    fn value(&mut self, section: Section, key: &'static str) -> Option<(&'a DeValue<'a>, Span)> {
        let table = self.table(section)?;
        let Some((_, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else {
            if !self.excused(section, &[key]) {
                let message = format!("{} does not say `{key}`", section.title());
                let span = self.section(section).expect("its table is there");
                self.problem(span, message, format!("for example: {}", example(section, key)));
            }
            return None;
        };
        Some((value.get_ref(), value.span()))
    }

    fn wrong_type(&mut self, section: Section, key: &str, wanted: &str, value: &DeValue<'_>, span: Span) {
        let given = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        let message = format!("`{key}` must be {wanted}, not {given}");
        self.problem(span, message, format!("for example: {}", example(section, key)));
    }
}

/// How `section` is written by someone who gave it a value: with that value, where it has a single key that takes it.
fn as_section(section: Section, given: &DeValue<'_>) -> String {
    let (title, example) = (section.title(), section.example());
    match (section, given) {
        (Section::Protocol, DeValue::String(name)) => {
            format!("write a line `{title}`, and below it: name = {}", quoted(name))
        }
        _ => format!("write a line `{title}`, and below it for example: {example}"),
    }
}

/// A line that says `key` of `section` rightly.
fn example(section: Section, key: &str) -> &'static str {
    match key {
        "name" if section == Section::Protocol => "name = \"ebawa\"",
        "name" => "name = \"kv\"",
        "builtin" => "builtin = \"kv\"",
        "program" => "program = \"target/release/my-service\"",
        "faults" => "faults = 1",
        "against" => "against = \"byzantine\"",
        "preset" => "preset = \"mat\"",
        "primaries" => "primaries = 4",
        "steps" => "steps = 2",
        "order" => "order = \"round-robin\"",
        "durability" => "durability = \"disk\"",
        "checkpoints" => "checkpoints = \"rolling\"",
        "trusted_hardware" => "trusted_hardware = \"software\"",
        other => unreachable!("{other} is asked for by the code, never by a file"),
    }
}
