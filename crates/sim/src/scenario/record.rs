//! What happened in a step, as few lines as tell it: what is alike is told once.

use std::collections::BTreeMap;

use crate::words::KINDS;
use crate::world::stage::{Note, Party};

/// One thing that came to some parties, and what followed from it at each of them.
#[derive(Clone, Debug)]
struct Passage {
    head: Option<Head>,
    effects: Vec<Effect>,
    meanings: Vec<String>,
}

#[derive(Clone, Debug)]
struct Head {
    from: Option<Party>,
    to: Vec<Party>,
    words: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Effect {
    /// None for the party to which the head came.
    who: Option<Party>,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    Says(String),
    Sends {
        words: String,
        to: Vec<Party>,
        lost: Vec<Party>,
    },
    /// As `Sends`, to all other replicas.
    Tells {
        words: String,
        lost: Vec<Party>,
    },
}

/// All that was noted, in a group of `size` replicas.
pub(super) fn told(notes: Vec<Note>, size: usize) -> Vec<String> {
    let mut folded: Vec<Passage> = Vec::new();
    for passage in passages(notes, size) {
        match folded.last_mut() {
            Some(last) if last.is_like(&passage) => last.join(passage),
            _ => folded.push(passage),
        }
    }
    or_nothing(folded.iter().flat_map(Passage::lines).collect())
}

/// How many of what came, what was lost, and what showed at the parties.
pub(super) fn tallied(notes: Vec<Note>) -> Vec<String> {
    let (mut came, mut lost, mut ran_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut said: Vec<(String, Vec<Party>)> = Vec::new();
    for note in notes {
        match note {
            Note::Arrives { words, .. } => came.push(words),
            Note::RunsOut { words, .. } => ran_out.push(words),
            Note::Sends { words, lost: true, .. } => lost.push(words),
            Note::Sends { .. } | Note::Means(_) => {}
            Note::Says { who, words } => match said.iter_mut().find(|(known, _)| *known == words) {
                Some((_, parties)) if parties.contains(&who) => {}
                Some((_, parties)) => parties.push(who),
                None => said.push((words, vec![who])),
            },
        }
    }
    let mut lines = Vec::new();
    if !ran_out.is_empty() {
        lines.push(format!("timers that ran out: {}", ran_out.len()));
    }
    lines.extend(counts(&came).map(|counts| format!("delivered {counts}")));
    lines.extend(counts(&lost).map(|counts| format!("lost {counts}")));
    lines.extend(said.into_iter().map(|(words, mut parties)| {
        parties.sort_unstable();
        format!("{}: {words}", names(&parties))
    }));
    or_nothing(lines)
}

/// How many of each kind, in the order of kinds.
fn counts(words: &[String]) -> Option<String> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for text in words {
        let kind = text.split([' ', ':']).next().unwrap_or_default();
        let place = KINDS.iter().position(|known| *known == kind).expect("every letter begins with its kind");
        *counts.entry(place).or_default() += 1;
    }
    let told: Vec<String> =
        counts.iter().map(|(place, count)| format!("{count} {}", KINDS[*place])).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn or_nothing(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["(nothing)".into()] } else { lines }
}

fn passages(notes: Vec<Note>, size: usize) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut current = Passage { head: None, effects: Vec::new(), meanings: Vec::new() };
    for note in notes {
        let head = match note {
            Note::Arrives { from, to, words } => Head { from: Some(from), to: vec![to], words },
            Note::RunsOut { who, words } => Head { from: None, to: vec![who], words },
            Note::Sends { from, to, words, lost } => {
                current.sends(from, to, words, lost);
                continue;
            }
            Note::Says { who, words } => {
                let who = current.other_than_head(who);
                current.effects.push(Effect { who, what: What::Says(words) });
                continue;
            }
            Note::Means(text) => {
                current.meanings.push(text);
                continue;
            }
        };
        let next = Passage { head: Some(head), effects: Vec::new(), meanings: Vec::new() };
        passages.push(std::mem::replace(&mut current, next));
    }
    passages.push(current);
    passages.iter_mut().for_each(|passage| passage.name_broadcasts(size));
    passages
}

impl Passage {
    fn other_than_head(&self, who: Party) -> Option<Party> {
        let receiver = self.head.as_ref().map(|head| head.to[0]);
        (receiver != Some(who)).then_some(who)
    }

    fn sends(&mut self, from: Party, to: Party, words: String, is_lost: bool) {
        let who = self.other_than_head(from);
        let (mut reached, mut missed) = (Vec::new(), Vec::new());
        if is_lost {
            missed.push(to);
        } else {
            reached.push(to);
        }
        if let Some(last) = self.effects.last_mut()
            && last.who == who
            && let What::Sends { words: before, to, lost } = &mut last.what
            && *before == words
        {
            to.extend(reached);
            lost.extend(missed);
            return;
        }
        self.effects.push(Effect { who, what: What::Sends { words, to: reached, lost: missed } });
    }

    fn name_broadcasts(&mut self, size: usize) {
        let receiver = self.head.as_ref().map(|head| head.to[0]);
        for effect in &mut self.effects {
            let What::Sends { words, to, lost } = &effect.what else { continue };
            let others =
                (0..size).map(Party::Replica).filter(|party| Some(*party) != effect.who.or(receiver));
            let is_to_all = others.clone().count() == to.len() + lost.len()
                && others.clone().all(|other| to.contains(&other) || lost.contains(&other));
            if is_to_all {
                effect.what = What::Tells { words: words.clone(), lost: lost.clone() };
            }
        }
    }

    fn is_like(&self, other: &Passage) -> bool {
        let (Some(own), Some(head)) = (&self.head, &other.head) else { return false };
        (own.from, &own.words) == (head.from, &head.words) && self.effects == other.effects
    }

    fn join(&mut self, other: Passage) {
        let (Some(own), Some(head)) = (&mut self.head, other.head) else { return };
        own.to.extend(head.to);
        self.meanings.extend(other.meanings);
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let indent = if self.head.is_some() { "    " } else { "" };
        if let Some(Head { from, to, words }) = &self.head {
            lines.push(match from {
                Some(from) => format!("{from} > {}  {words}", names(to)),
                None => format!("{}  {words}", names(to)),
            });
        }
        for Effect { who, what } in &self.effects {
            let who = who.map(|who| format!("{who}: ")).unwrap_or_default();
            lines.push(format!("{indent}{who}{}", what.line()));
        }
        lines.extend(self.meanings.iter().map(|text| format!("{indent}{text}")));
        lines
    }
}

impl What {
    fn line(&self) -> String {
        match self {
            What::Says(words) => words.clone(),
            What::Sends { words, to, lost } if lost.is_empty() => format!("{words} > {}", names(to)),
            What::Sends { words, to, lost } if to.is_empty() => format!("{words} > {} (lost)", names(lost)),
            What::Sends { words, to, lost } => format!("{words} > {} (lost to {})", names(to), names(lost)),
            What::Tells { words, lost } if lost.is_empty() => format!("{words} > all"),
            What::Tells { words, lost } => format!("{words} > all (lost to {})", names(lost)),
        }
    }
}

fn names(parties: &[Party]) -> String {
    parties.iter().map(Party::to_string).collect::<Vec<_>>().join(" ")
}
