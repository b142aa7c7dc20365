//! The language: lines, and what a step wants.

use smr_consensus::Timer as Ordering;
use smr_replica::Timer;
use smr_wire::{Slot, View};

use super::options::Options;
use super::select::{Filter, Who, whom};

/// A line of a script, or several that are taken as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// A comment or an empty line.
    Verbatim(&'a str),
    /// A step.
    Step { number: usize, text: &'a str },
}

/// What stands between a step and its record.
const RULE: &str = "----";

/// The lines of a script without what was recorded.
pub(super) fn read(script: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut in_record = false;
    for (index, text) in script.lines().enumerate() {
        if text.is_empty() {
            in_record = false;
        }
        if text == RULE {
            in_record = true;
        } else if !in_record {
            let is_step = !text.is_empty() && !text.starts_with('#');
            lines.push(if is_step { Line::Step { number: index + 1, text } } else { Line::Verbatim(text) });
        }
    }
    lines
}

/// What a step wants.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    /// A service with these options.
    Service(Box<Options>),
    /// All replicas start.
    Begin,
    /// All replicas start, and everything happens by itself until they are ready.
    BeginReady,
    /// A client knows these contacts, and opens a session.
    Connect { client: usize, contacts: Vec<Who> },
    /// A client asks for this.
    Ask { client: usize, command: String },
    /// Something is done with letters that wait.
    Mail { what: Post, filter: Filter },
    /// What waits is shown.
    ShowMail(Filter),
    /// Timers run out.
    RunOut { timer: Timer, who: Vec<Who>, quietly: bool },
    /// Clients look at their clocks.
    Look { who: Vec<Who>, quietly: bool },
    /// Time passes.
    Pass { span_us: u64, quietly: bool },
    /// These are cut off from all others.
    Isolate(Vec<Who>),
    /// All cuts are mended.
    Heal,
    /// A replica says what the script says.
    Forge { lie: Lie, from: Vec<Who>, to: Vec<Who> },
    /// The applications of these compute something else from now on.
    Miscompute(Vec<Who>),
    /// Where replicas stand.
    Status(Vec<Who>),
    /// Timers that are armed.
    Timers(Vec<Who>),
}

/// What is done with letters that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Post {
    /// Those that wait now arrive.
    Deliver,
    /// Those that wait arrive, and those that follow from that.
    Stabilize,
    /// They are lost.
    Drop,
    /// A copy of each arrives.
    Copy,
    /// Their sender says something else instead.
    Alter,
}

/// What a replica may be made to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lie {
    /// It keeps no decisions, but has a state up to here.
    Pruned(Slot),
    /// It has decided everything up to here.
    Status(View, Slot),
    /// It wants this view.
    Suspects(View),
}

/// Reads a step.
pub(super) fn step(text: &str) -> Result<Step, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let (verb, rest) = words.split_first().expect("a line is not empty");
    let mail = |what| Filter::read(rest).map(|filter| Step::Mail { what, filter });
    match *verb {
        "service" => Options::read(rest).map(|options| Step::Service(Box::new(options))),
        "begin" => match rest {
            [] => Ok(Step::Begin),
            ["ready"] => Ok(Step::BeginReady),
            _ => Err("say `begin` or `begin ready`".into()),
        },
        "connect" => match rest {
            [client, "to", contacts @ ..] if !contacts.is_empty() => {
                Ok(Step::Connect { client: one_client(client)?, contacts: whom(contacts)? })
            }
            _ => Err("say `connect c0 to r1 r2`".into()),
        },
        "ask" => match rest {
            [client, command @ ..] if !command.is_empty() => {
                Ok(Step::Ask { client: one_client(client)?, command: command.join(" ") })
            }
            _ => Err("say `ask c0 put k v`".into()),
        },
        "deliver" => mail(Post::Deliver),
        "stabilize" => mail(Post::Stabilize),
        "drop" => mail(Post::Drop),
        "copy" => mail(Post::Copy),
        "alter" => mail(Post::Alter),
        "mail" => Filter::read(rest).map(Step::ShowMail),
        "tick" => tick(rest),
        "pass" => pass(rest),
        "isolate" if !rest.is_empty() => whom(rest).map(Step::Isolate),
        "heal" if rest.is_empty() => Ok(Step::Heal),
        "forge" => forge(rest),
        "miscompute" if !rest.is_empty() => whom(rest).map(Step::Miscompute),
        "status" => whom_or_all(rest).map(Step::Status),
        "timers" => whom_or_all(rest).map(Step::Timers),
        other => Err(format!("{other:?} is no step, or lacks something; see README.md beside the scenarios")),
    }
}

fn whom_or_all(words: &[&str]) -> Result<Vec<Who>, String> {
    if words.is_empty() { Ok(vec![Who::All]) } else { whom(words) }
}

fn one_client(word: &str) -> Result<usize, String> {
    match Who::read(word)? {
        Who::Client(index) => Ok(index),
        _ => Err(format!("{word} is no client; say c0, c1 and so on")),
    }
}

fn quietly<'a, 'b>(words: &'b [&'a str]) -> (&'b [&'a str], bool) {
    match words {
        [before @ .., "quietly"] => (before, true),
        all => (all, false),
    }
}

fn tick(words: &[&str]) -> Result<Step, String> {
    const HOW: &str = "say `tick status r1` or `tick c0`; timers are status, patience, new-view, repeat, ceremony, transfer";
    let (words, quietly) = quietly(words);
    let (first, rest) = words.split_first().ok_or(HOW)?;
    let timer = match *first {
        "status" => Timer::Consensus(Ordering::Status),
        "patience" => Timer::Consensus(Ordering::Patience),
        "new-view" => Timer::Consensus(Ordering::NewView),
        "repeat" => Timer::Repeat,
        "ceremony" => Timer::Ceremony,
        "transfer" => Timer::Transfer,
        _ => return whom(words).map(|who| Step::Look { who, quietly }).map_err(|_| HOW.into()),
    };
    if rest.is_empty() {
        return Err(HOW.into());
    }
    Ok(Step::RunOut { timer, who: whom(rest)?, quietly })
}

fn pass(words: &[&str]) -> Result<Step, String> {
    let (words, quietly) = quietly(words);
    match words {
        [span] => {
            let ms = span.strip_suffix("ms").and_then(|ms| ms.parse::<u64>().ok());
            let ms = ms.filter(|ms| (1..=3_600_000).contains(ms)).ok_or("say `pass 100ms`")?;
            Ok(Step::Pass { span_us: ms * 1000, quietly })
        }
        _ => Err("say `pass 100ms`".into()),
    }
}

fn forge(words: &[&str]) -> Result<Step, String> {
    const HOW: &str =
        "say `forge Pruned s9 from r3 to r2`, `forge Status v0 s9 ...` or `forge Suspects v1 ...`";
    let slot = |word: &str| word.strip_prefix('s').and_then(|n| n.parse().ok()).map(Slot).ok_or(HOW);
    let view = |word: &str| word.strip_prefix('v').and_then(|n| n.parse().ok()).map(View).ok_or(HOW);
    let from = words.iter().position(|word| *word == "from").ok_or(HOW)?;
    let to = words.iter().position(|word| *word == "to").filter(|to| *to > from + 1).ok_or(HOW)?;
    let lie = match &words[..from] {
        ["Pruned", base] => Lie::Pruned(slot(base)?),
        ["Status", in_view, decided] => Lie::Status(view(in_view)?, slot(decided)?),
        ["Suspects", wants] => Lie::Suspects(view(wants)?),
        _ => return Err(HOW.into()),
    };
    Ok(Step::Forge { lie, from: whom(&words[from + 1..to])?, to: whom(&words[to + 1..])? })
}
