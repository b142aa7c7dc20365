//! The section that says how commands run side by side.

use smr_uds::preset;

use super::reader::{Found, Reader, Section};
use super::{one_of, quoted};
use crate::blueprint::Scheduler;

/// Commands in one round at most. More than a machine will ever have cores only makes rounds longer.
const PRIMARIES_MAX: u32 = 256;

/// Turns of a command in one round at most.
const STEPS_MAX: u32 = 64;

/// What `order` may say, and the preset that has it.
const ORDERS: [(&str, &str); 3] = [("round-robin", "rounds"), ("blocks", "blocks"), ("clocks", "kendo")];

/// The scheduler that the description asks for; none if it leaves that open.
pub(super) fn scheduler(reader: &mut Reader<'_>) -> Option<Scheduler> {
    let section = reader.section(Section::Scheduler)?;
    let chosen = match (
        reader.stated(Section::Scheduler, "preset"),
        reader.stated(Section::Scheduler, "order"),
    ) {
        (Some(_), Some(order)) => {
            let message = "both `preset` and `order` are given, and a preset has its order";
            reader.problem(order, message, "leave one of them out");
            return None;
        }
        (Some(_), None) => {
            let found = reader.text(Section::Scheduler, "preset")?;
            let names: Vec<(&'static str, &'static str)> =
                preset::NAMES.iter().map(|name| (*name, *name)).collect();
            one_of(reader, "preset", &found, &names)?
        }
        (None, Some(_)) => {
            let found = reader.text(Section::Scheduler, "order")?;
            one_of(reader, "order", &found, &ORDERS)?
        }
        (None, None) if reader.stated(Section::Scheduler, "primaries").is_some() => "rounds",
        (None, None) => {
            if !reader.excused(Section::Scheduler, &["preset", "order", "primaries"]) {
                let help = "say for example preset = \"mat\", or primaries = 4, steps = 2 and order = \"round-robin\"";
                reader.problem(section, "[scheduler] names no scheduler", help);
            }
            return None;
        }
    };
    let takes_primaries = !["sequential", "sat", "mat"].contains(&chosen);
    let takes_steps = ["rounds", "blocks"].contains(&chosen);
    let primaries = number(reader, chosen, "primaries", takes_primaries, PRIMARIES_MAX)?;
    let steps = number(reader, chosen, "steps", takes_steps, STEPS_MAX)?;
    Some(Scheduler { preset: chosen.to_owned(), primaries, steps })
}

/// The number under `key`, if the chosen scheduler has such a choice; it must be said then, but for one step.
fn number(reader: &mut Reader<'_>, chosen: &str, key: &'static str, takes: bool, max: u32) -> Option<u32> {
    let stated = reader.stated(Section::Scheduler, key);
    match stated {
        Some(span) if !takes => {
            let message = format!("the scheduler {} has no choice of `{key}`", quoted(chosen));
            reader.problem(span, message, "leave it out");
            None
        }
        None if !takes || key == "steps" => Some(1),
        _ => {
            let Found { value, span } = reader.number(Section::Scheduler, key)?;
            let number = u32::try_from(value).ok().filter(|number| (1..=max).contains(number));
            if number.is_none() {
                reader.problem(span, format!("`{key}` cannot be {value}"), format!("say 1 to {max}"));
            }
            number
        }
    }
}
