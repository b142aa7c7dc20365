//! Everything decided about a service: what is deployed and kept. Immutable; a change is a new blueprint with the
//! next number. As JSON it can be kept and read back, and one that contradicts itself is refused then.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::wish::{Application, Durability, FAULTS_MAX, FaultModel, ServiceName, TrustedHardware};
use crate::words::{WIDTH, wrap};

/// Every choice made for one service. Only [`crate::plan`] and reading a kept one make it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
#[non_exhaustive]
pub struct Blueprint {
    /// Which blueprint of its service this is, from 1.
    pub number: u64,
    /// The service.
    pub name: ServiceName,
    /// What runs in each replica.
    pub application: Application,
    /// The protocol that orders commands, by its name in the registry.
    pub protocol: String,
    /// What failed replicas may do. Says nothing when `faults` is 0.
    pub against: FaultModel,
    /// Replicas that may fail at the same time (f).
    pub faults: u16,
    /// Replicas (n).
    pub replicas: u16,
    /// Key shares that make a service signature: f+1.
    pub threshold: u16,
    /// Votes that decide.
    pub quorum: u16,
    /// The order in which commands run on a replica.
    pub scheduler: Scheduler,
    /// How a replica's state is copied.
    pub checkpoint: CheckpointStrategy,
    /// Slots from one checkpoint to the next (K).
    pub checkpoint_slots: u64,
    /// What outlives the machines.
    pub durability: Durability,
    /// What stands behind trusted cores; none if the protocol does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_hardware: Option<TrustedHardware>,
    /// Who starts and stops the replicas.
    pub provider: Provider,
    /// What clients have to keep to.
    pub limits: Limits,
    /// The choices above and why each was made, in the order in which they are shown.
    pub choices: Vec<Choice>,
    /// What the customer should know before relying on the service, in whole sentences.
    pub warnings: Vec<String>,
}

impl Blueprint {
    /// The blueprint for a terminal of [`WIDTH`] columns: a headline, a line or more per choice, the warnings.
    /// Plain text without a newline at the end.
    #[must_use]
    pub fn render(&self) -> String {
        self.show(&self.choices, &self.warnings)
    }

    /// The choices that a customer is most likely to ask about, each with the first part of its reason, and the
    /// warnings in a few words.
    #[must_use]
    pub fn render_short(&self) -> String {
        let asked = self.choices.iter().filter(|choice| SHORT.contains(&choice.what.as_str()));
        let choices: Vec<Choice> =
            asked.map(|choice| Choice { because: first_part(&choice.because), ..choice.clone() }).collect();
        let warnings: Vec<String> = self.warnings.iter().map(|warning| first_part(warning)).collect();
        self.show(&choices, &warnings)
    }

    fn show(&self, choices: &[Choice], warnings: &[String]) -> String {
        let mut lines = wrap(&self.headline(), WIDTH);
        lines.push(String::new());
        let whats = choices.iter().map(|choice| choice.what.chars().count());
        let what_width = whats.max().unwrap_or(0).max(WARNING.len());
        let values = choices.iter().map(|choice| choice.value.chars().count());
        let value_width = values.filter(|width| *width <= VALUE_WIDTH_MAX).max().unwrap_or(0);
        for choice in choices {
            choice.render(what_width, value_width, &mut lines);
        }
        let indent = MARGIN + what_width + GAP;
        if !warnings.is_empty() {
            lines.push(String::new());
        }
        for warning in warnings {
            hang(&format!("{:MARGIN$}{WARNING:what_width$}{:GAP$}", "", ""), indent, warning, &mut lines);
        }
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let promise = match (self.faults, self.against) {
            (0, _) => "one replica, which survives nothing".to_owned(),
            (faults, FaultModel::Byzantine | FaultModel::Hybrid) => {
                let cores = match (self.trusted_hardware, faults) {
                    (None, _) => "",
                    (Some(_), 1) => ", as long as its trusted core does not,",
                    (Some(_), _) => ", as long as their trusted cores do not,",
                };
                format!(
                    "{} replicas, of which {faults} may fail in any way{cores} without the service stopping or lying",
                    self.replicas
                )
            }
            (faults, FaultModel::Crash) => {
                format!(
                    "{} replicas, of which {faults} may crash without the service stopping",
                    self.replicas
                )
            }
        };
        format!("Service {:?}, blueprint {}: {promise}.", self.name.as_str(), self.number)
    }

    fn check(&self) -> Result<(), BadBlueprint> {
        let within = |field, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(BadBlueprint::Number { field, value, low, high })
            }
        };
        let (faults, replicas) = (u64::from(self.faults), u64::from(self.replicas));
        within("number", self.number, 1, u64::MAX)?;
        within("faults", faults, 0, FAULTS_MAX.into())?;
        within(
            "replicas",
            replicas,
            if faults == 0 { 1 } else { 2 * faults + 1 },
            3 * u64::from(FAULTS_MAX) + 1,
        )?;
        within("threshold", self.threshold.into(), faults + 1, faults + 1)?;
        within("quorum", self.quorum.into(), replicas / 2 + 1, replicas - faults)?;
        within("checkpoint_slots", self.checkpoint_slots, 1, u64::MAX)?;
        within("primaries", self.scheduler.primaries.into(), 1, 4096)?;
        within("steps", self.scheduler.steps.into(), 1, u32::MAX.into())?;
        if !smr_uds::preset::NAMES.contains(&self.scheduler.preset.as_str()) {
            return Err(BadBlueprint::Scheduler { preset: self.scheduler.preset.clone() });
        }
        self.limits.check()
    }
}

impl Serialize for Blueprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Blueprint::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Blueprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blueprint, D::Error> {
        let blueprint = Blueprint::deserialize(deserializer)?;
        blueprint.check().map_err(de::Error::custom)?;
        Ok(blueprint)
    }
}

/// One decision, in words that need no knowledge of replication.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// What was decided about.
    pub what: String,
    /// What was decided.
    pub value: String,
    /// Why. Reads on after "because".
    pub because: String,
}

/// How commands run on a replica: a preset of the deterministic scheduler.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    /// Its name, one of [`smr_uds::preset::NAMES`].
    pub preset: String,
    /// Commands that take turns in one round (N), where the preset leaves that open; 1 otherwise.
    pub primaries: u32,
    /// Turns of each in one round (S), where the preset leaves that open; 1 otherwise.
    pub steps: u32,
}

impl Scheduler {
    /// In a word or two, for people.
    #[must_use]
    pub fn title(&self) -> String {
        let Scheduler { preset, primaries, steps } = self;
        match preset.as_str() {
            "rounds" | "blocks" => format!("{preset} {primaries} x {steps}"),
            "sequential" | "sat" | "mat" => preset.clone(),
            _ => format!("{preset} {primaries}"),
        }
    }
}

/// How a replica copies its state for others and for the end of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointStrategy {
    /// It finishes what runs, makes the chunks of its state, and goes on.
    Quiescent,
    /// It finishes what runs and goes on at once; what is written meanwhile is copied first.
    Rolling,
}

/// Who starts, stops and lists the replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// This machine's operating system; every replica is a process of it.
    Process,
}

/// What clients have to keep to; the same names as in a replica's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one command at most. 1..=`request_bytes_max`.
    pub command_bytes_max: u32,
    /// Bytes of one request, which carries commands, at most. 1 KiB..=1 MiB.
    pub request_bytes_max: u32,
    /// Bytes of one reply at most. 1 B..=16 MiB.
    pub reply_bytes_max: u32,
    /// Sessions at most; beyond, the one unused for longest is given up. 1..=1,048,576.
    pub sessions_max: u32,
}

impl Limits {
    fn check(&self) -> Result<(), BadBlueprint> {
        let within = |field, value: u32, low: u32, high: u32| {
            let (value, low, high) = (value.into(), low.into(), high.into());
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(BadBlueprint::Number { field, value, low, high })
            }
        };
        within("request_bytes_max", self.request_bytes_max, 1 << 10, 1 << 20)?;
        within("command_bytes_max", self.command_bytes_max, 1, self.request_bytes_max)?;
        within("reply_bytes_max", self.reply_bytes_max, 1, 16 << 20)?;
        within("sessions_max", self.sessions_max, 1, 1 << 20)
    }
}

/// A blueprint that contradicts itself; it was not written by the planner.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum BadBlueprint {
    #[error("not a blueprint: {field} is {value}, but must be {low} to {high}")]
    Number { field: &'static str, value: u64, low: u64, high: u64 },
    #[error("not a blueprint: there is no scheduler {preset:?}")]
    Scheduler { preset: String },
}

/// Choices that the short form shows.
const SHORT: [&str; 7] =
    ["application", "protocol", "replicas", "trusted core", "signature", "durability", "placement"];

/// `reason` up to the first colon or semicolon: what comes behind explains further.
fn first_part(reason: &str) -> String {
    let end = [": ", "; "].iter().filter_map(|mark| reason.find(mark)).min().unwrap_or(reason.len());
    reason[..end].to_owned()
}

/// What a warning has in the place of a choice's name.
const WARNING: &str = "warning";

/// Columns left of the text.
const MARGIN: usize = 2;

/// Columns between two columns of text.
const GAP: usize = 2;

/// Columns that values share; a longer one has its reason below it.
const VALUE_WIDTH_MAX: usize = 26;

impl Choice {
    fn render(&self, what_width: usize, value_width: usize, lines: &mut Vec<String>) {
        let Choice { what, value, because } = self;
        let left = format!("{:MARGIN$}{what:what_width$}{:GAP$}{value:value_width$}", "", "");
        let indent = MARGIN + what_width + GAP + value_width + GAP;
        if value.chars().count() > value_width {
            lines.push(left);
            hang(&" ".repeat(indent), indent, because, lines);
        } else {
            hang(&format!("{left}{:GAP$}", ""), indent, because, lines);
        }
    }
}

/// Adds `text` behind `left`, its further lines below its first.
fn hang(left: &str, indent: usize, text: &str, lines: &mut Vec<String>) {
    for (i, part) in wrap(text, WIDTH - indent).iter().enumerate() {
        let line = if i == 0 { format!("{left}{part}") } else { format!("{:indent$}{part}", "") };
        lines.push(line.trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::tests::blueprint;

    #[test]
    fn a_blueprint_reads_back_and_one_that_contradicts_itself_does_not() {
        let blueprint = blueprint("byzantine", 1);
        let json = serde_json::to_string(&blueprint).expect("is JSON");
        assert_eq!(serde_json::from_str::<Blueprint>(&json).expect("the same"), blueprint);
        for (right, wrong, complaint) in [
            ("\"quorum\":3", "\"quorum\":4", "quorum is 4, but must be 3 to 3"),
            ("\"quorum\":3", "\"quorum\":2", "quorum is 2, but must be 3 to 3"),
            ("\"replicas\":4", "\"replicas\":0", "replicas is 0, but must be 3 to 16"),
            ("\"threshold\":2", "\"threshold\":1", "threshold is 1, but must be 2 to 2"),
            ("\"faults\":1", "\"faults\":6", "faults is 6, but must be 0 to 5"),
            ("\"number\":1", "\"number\":0", "number is 0"),
            ("\"name\":\"kv\"", "\"name\":\"../kv\"", "a service's name has 1 to 40 characters"),
            ("\"steps\":1", "\"steps\":0", "steps is 0, but must be 1 to"),
            ("\"preset\":\"", "\"preset\":\"x-", "there is no scheduler"),
            ("\"number\"", "\"munber\"", "unknown field `munber`"),
        ] {
            assert!(json.contains(right), "{right}");
            let error = serde_json::from_str::<Blueprint>(&json.replacen(right, wrong, 1)).expect_err(wrong);
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }

    #[test]
    fn the_short_form_has_the_first_part_of_the_reasons_and_warnings() {
        let text = blueprint("byzantine", 1).render_short();
        assert!(text.lines().count() <= 15, "{text}");
        assert!(text.contains("pbft               against = \"byzantine\" asks for it\n"), "{text}");
        assert!(text.contains("warning      All 4 replicas run on this machine\n"), "{text}");
        assert!(!text.contains("scheduler"), "{text}");
    }

    #[test]
    fn a_long_value_pushes_its_reason_below_and_no_line_is_too_wide() {
        let mut blueprint = blueprint("byzantine", 1);
        blueprint.choices[0].value = format!("program {:?}", "long/".repeat(8));
        let text = blueprint.render();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let mut lines = text.lines().skip_while(|line| !line.contains("long/"));
        assert!(lines.next().is_some_and(|line| line.ends_with("long/\"")), "{text}");
        assert!(lines.next().is_some_and(|line| line.trim() == blueprint.choices[0].because), "{text}");
    }
}
