//! What the customer asks for, read from a service description.
//!
//! ```toml
//! name = "kv"
//! [application]
//! builtin = "kv"             # or: program = "path to a binary that links the framework"
//! [wish]
//! faults = 1                 # machines that may fail at the same time
//! against = "byzantine"      # what they may do; or "crash"
//! durability = "disk"        # or "memory"; may be left out
//! checkpoints = "rolling"    # or "quiescent"; may be left out
//! trusted_hardware = "software"   # or "tpm"; may be left out: with a trusted core in each replica fewer of them do
//! [scheduler]                # may be left out
//! preset = "mat"             # or: primaries = 4, steps = 2, order = "round-robin"
//! [protocol]                 # may be left out
//! name = "ebawa"
//! ```
//!
//! All mistakes are reported at once, each with its place. Whether a wish can be served is the planner's to say.

mod reader;
mod scheduler;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::blueprint::{CheckpointStrategy, Scheduler};
use crate::problem::{Problem, Problems};
use crate::words::{alternatives, nearest, quoted};
use reader::{Found, Reader, Section};

/// A service description without mistakes. Only [`Wish::parse`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Wish {
    /// The service's name.
    pub name: ServiceName,
    /// What runs in its replicas.
    pub application: Application,
    /// Machines that may fail at the same time (f). 0..=[`FAULTS_MAX`].
    pub faults: u16,
    /// What they may do.
    pub against: FaultModel,
    /// What outlives them.
    pub durability: Durability,
    /// How states are taken; none if that is left open.
    pub checkpoints: Option<CheckpointStrategy>,
    /// What stands behind the trusted cores of replicas; none if they are to do without.
    pub trusted_hardware: Option<TrustedHardware>,
    /// How commands run side by side; none if that is left open.
    pub scheduler: Option<Scheduler>,
    /// Which protocol orders; none if that is left open.
    pub protocol: Option<String>,
    /// Where things are said, for whoever cannot serve them.
    pub(crate) places: Places,
}

/// Where a description says what the planner may refuse, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) durability: Option<Span>,
    pub(crate) faults: Span,
    pub(crate) against: Span,
    pub(crate) trusted_hardware: Option<Span>,
    pub(crate) protocol: Option<Span>,
}

/// Faults that a service can be planned for at most. Every replica talks to every other, so a Byzantine service
/// of 16 replicas already sends hundreds of messages per decision.
pub const FAULTS_MAX: u16 = 5;

/// Bytes of a service description at most.
pub const WISH_BYTES_MAX: usize = 64 << 10;

/// Bytes of the path of an application's program at most.
pub const PROGRAM_BYTES_MAX: usize = 4096;

impl Wish {
    /// Reads a service description. `file_name` only appears in errors; `builtins` are the applications that need
    /// no program.
    ///
    /// # Errors
    /// Everything that is wrong with the text, in its order.
    pub fn parse(text: &str, file_name: &str, builtins: &[&str]) -> Result<Wish, WishError> {
        if text.len() > WISH_BYTES_MAX {
            let message = format!(
                "{} bytes are too many; a service description has at most {WISH_BYTES_MAX}",
                text.len()
            );
            return Err(Problem::at(file_name, text, 0..0, message, "is this the right file?").into());
        }
        let document = reader::parse(file_name, text)?;
        let mut reader = Reader::new(file_name, text, &document);
        let name = reader.text(Section::Root, "name").and_then(|found| name(&mut reader, &found));
        let application = application(&mut reader, builtins);
        let faults = reader
            .number(Section::Wish, "faults")
            .and_then(|found| Some((faults(&mut reader, &found)?, found.span)));
        let against = reader
            .text(Section::Wish, "against")
            .and_then(|found| Some((one_of(&mut reader, "against", &found, &FAULT_MODELS)?, found.span)));
        let durability_at = reader.stated(Section::Wish, "durability");
        let durability = durability(&mut reader);
        let checkpoints = checkpoints(&mut reader);
        let trusted_hardware_at = reader.stated(Section::Wish, "trusted_hardware");
        let trusted_hardware = trusted_hardware(&mut reader);
        let scheduler = scheduler::scheduler(&mut reader);
        let protocol = reader.section(Section::Protocol).and_then(|_| reader.text(Section::Protocol, "name"));

        let read = (|| {
            let ((faults, faults_at), (against, against_at)) = (faults?, against?);
            Some(Wish {
                name: name?,
                application: application?,
                faults,
                against,
                durability: durability?,
                checkpoints,
                trusted_hardware,
                scheduler,
                places: Places {
                    durability: durability_at,
                    faults: faults_at,
                    against: against_at,
                    trusted_hardware: trusted_hardware_at,
                    protocol: protocol.as_ref().map(|found| found.span.clone()),
                },
                protocol: protocol.map(|found| found.value.to_owned()),
            })
        })();
        let read = reader.finish().none_in(read)?;
        Ok(read.expect("whatever is missing was reported"))
    }
}

/// What is wrong with a service description.
pub type WishError = Problems;

/// A service's name: 1 to 40 of `a-z`, `0-9` and `-`, a letter first; so it can be a file, a host and a container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// Characters at most.
    pub const LENGTH_MAX: usize = 40;

    /// The name, if it is one.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn new(name: &str) -> Result<ServiceName, BadName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins_well = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if begins_well && name.len() <= ServiceName::LENGTH_MAX && name.bytes().all(allowed) {
            Ok(ServiceName(name.to_owned()))
        } else {
            Err(BadName)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = BadName;

    fn try_from(name: String) -> Result<ServiceName, BadName> {
        ServiceName::new(&name)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not the name of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a service's name has 1 to {} characters, only a-z, 0-9 and `-`, and begins with a letter",
    ServiceName::LENGTH_MAX
)]
pub struct BadName;

/// What runs in each replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Application {
    /// One that comes along, by name.
    Builtin(String),
    /// A binary that links the framework, by path; a relative one counts from the description's directory.
    Program(String),
}

/// What a failed machine may do. The same three, in the same spelling, as in the wire's endpoint certificates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultModel {
    /// It stops.
    Crash,
    /// Anything, but for a small trusted core. A customer does not ask for it; protocols offer it.
    Hybrid,
    /// Anything.
    Byzantine,
}

/// What a customer may ask to survive.
const FAULT_MODELS: [(&str, FaultModel); 2] =
    [("byzantine", FaultModel::Byzantine), ("crash", FaultModel::Crash)];

impl fmt::Display for FaultModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultModel::Crash => "crash",
            FaultModel::Hybrid => "hybrid",
            FaultModel::Byzantine => "byzantine",
        })
    }
}

/// What outlives the machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// What was acknowledged: it is on the disks of enough replicas before anybody hears of it.
    Disk,
    /// Nothing: state lives while more than f replicas' memory does, and is fetched from them by the others.
    Memory,
}

/// What stands behind the trusted core of a replica, which never says two things whatever its host is made to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustedHardware {
    /// Nothing: the core is software.
    Software,
    /// A TPM 2.0 that vouches for the boot in which the core's key was made; the core is software all the same.
    Tpm,
}

impl fmt::Display for TrustedHardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrustedHardware::Software => "software",
            TrustedHardware::Tpm => "tpm",
        })
    }
}

fn trusted_hardware(reader: &mut Reader<'_>) -> Option<TrustedHardware> {
    reader.stated(Section::Wish, "trusted_hardware")?;
    let found = reader.text(Section::Wish, "trusted_hardware")?;
    let known = [("software", TrustedHardware::Software), ("tpm", TrustedHardware::Tpm)];
    if found.value == "none" {
        let help = "to do without, leave `trusted_hardware` out";
        reader.problem(found.span, "`trusted_hardware` cannot be \"none\"", help);
        return None;
    }
    one_of(reader, "trusted_hardware", &found, &known)
}

fn name(reader: &mut Reader<'_>, found: &Found<&str>) -> Option<ServiceName> {
    let name = ServiceName::new(found.value);
    if let Err(bad) = name {
        let message = format!("{} cannot be the name of a service", quoted(found.value));
        let help = format!("{bad}{}", suggested_name(found.value));
        reader.problem(found.span.clone(), message, help);
    }
    name.ok()
}

/// The nearest name to `wrong` that would be accepted, as an addition to a sentence.
fn suggested_name(wrong: &str) -> String {
    let dashed: String = wrong
        .chars()
        .take(ServiceName::LENGTH_MAX)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let trimmed = dashed.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    ServiceName::new(trimmed)
        .map_or_else(|_| String::new(), |name| format!("; for example {:?}", name.as_str()))
}

fn application(reader: &mut Reader<'_>, builtins: &[&str]) -> Option<Application> {
    let section = reader.section(Section::Application)?;
    let builtin = reader.stated(Section::Application, "builtin");
    let program = reader.stated(Section::Application, "program");
    match (builtin, program) {
        (Some(_), None) => {
            let found = reader.text(Section::Application, "builtin")?;
            builtin_application(reader, &found, builtins)
        }
        (None, Some(_)) => {
            let found = reader.text(Section::Application, "program")?;
            program_application(reader, &found)
        }
        (Some(first), Some(second)) => {
            let later = if first.start > second.start { first } else { second };
            let message = "both `builtin` and `program` are given, but one application runs in a service";
            reader.problem(later, message, "leave one of them out");
            None
        }
        (None, None) => {
            if !reader.excused(Section::Application, &["builtin", "program"]) {
                let help = format!(
                    "add builtin = {:?} for the example that comes along, or program = \"path to your binary\"",
                    builtins.first().unwrap_or(&"name")
                );
                reader.problem(section, "[application] names no application", help);
            }
            None
        }
    }
}

fn builtin_application(
    reader: &mut Reader<'_>,
    found: &Found<&str>,
    builtins: &[&str],
) -> Option<Application> {
    if builtins.contains(&found.value) {
        return Some(Application::Builtin(found.value.to_owned()));
    }
    let message = format!("there is no builtin application {}", quoted(found.value));
    let help = match nearest(found.value, builtins) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("there is {}; your own is given as program = \"path\"", names(builtins)),
    };
    reader.problem(found.span.clone(), message, help);
    None
}

fn program_application(reader: &mut Reader<'_>, found: &Found<&str>) -> Option<Application> {
    let path = found.value;
    let fits = (1..=PROGRAM_BYTES_MAX).contains(&path.len()) && !path.chars().any(char::is_control);
    if !fits {
        let message = "this cannot be the path of a program";
        let help = format!("a path has 1 to {PROGRAM_BYTES_MAX} bytes and no control characters");
        reader.problem(found.span.clone(), message, help);
    }
    fits.then(|| Application::Program(path.to_owned()))
}

fn faults(reader: &mut Reader<'_>, found: &Found<i128>) -> Option<u16> {
    let faults = u16::try_from(found.value).ok().filter(|faults| *faults <= FAULTS_MAX);
    if faults.is_some() {
        return faults;
    }
    let message = if found.value < 0 {
        "`faults` counts machines and cannot be negative".to_owned()
    } else {
        format!("`faults` cannot be more than {FAULTS_MAX}")
    };
    let (more, fewest, most) = (FAULTS_MAX + 1, 2 * FAULTS_MAX + 3, 3 * FAULTS_MAX + 4);
    let help = format!(
        "say 0 to {FAULTS_MAX}; every replica talks to every other, and {more} faults take {fewest} to {most} replicas, \
         which would be slower than it is worth"
    );
    reader.problem(found.span.clone(), message, help);
    None
}

/// What is not said is the safe choice.
fn durability(reader: &mut Reader<'_>) -> Option<Durability> {
    reader.section(Section::Wish)?;
    if reader.stated(Section::Wish, "durability").is_none() {
        return Some(Durability::Disk);
    }
    let found = reader.text(Section::Wish, "durability")?;
    let choices = [("disk", Durability::Disk), ("memory", Durability::Memory)];
    one_of(reader, "durability", &found, &choices)
}

fn checkpoints(reader: &mut Reader<'_>) -> Option<CheckpointStrategy> {
    reader.stated(Section::Wish, "checkpoints")?;
    let found = reader.text(Section::Wish, "checkpoints")?;
    let choices = [("rolling", CheckpointStrategy::Rolling), ("quiescent", CheckpointStrategy::Quiescent)];
    one_of(reader, "checkpoints", &found, &choices)
}

/// The choice that the text names.
fn one_of<T: Copy>(
    reader: &mut Reader<'_>,
    key: &str,
    found: &Found<&str>,
    choices: &[(&'static str, T)],
) -> Option<T> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == found.value) {
        return Some(*choice);
    }
    let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let help = match nearest(found.value, &known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("{key} is {}", names(&known)),
    };
    let message = format!("`{key}` cannot be {}", quoted(found.value));
    reader.problem(found.span.clone(), message, help);
    None
}

fn names(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    alternatives(&names)
}

/// Where a value or a section stands, in bytes.
type Span = Range<usize>;

#[cfg(test)]
mod tests;
