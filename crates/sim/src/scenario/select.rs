//! Who and what a step means.

use crate::words::KINDS;
use crate::world::World;
use crate::world::stage::Party;

/// Some replicas or clients, as a script names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// One replica.
    Replica(usize),
    /// One client.
    Client(usize),
    /// Who proposes next, in the highest view that has begun for a correct replica.
    Primary,
    /// Who begins the view after that.
    Next,
    /// All replicas but the primary.
    Backups,
    /// All replicas.
    All,
    /// All clients.
    Clients,
}

impl Who {
    /// Reads one name.
    pub(super) fn read(word: &str) -> Result<Who, String> {
        let numbered = |prefix| word.strip_prefix(prefix).and_then(|number: &str| number.parse().ok());
        match word {
            "primary" => Ok(Who::Primary),
            "next" => Ok(Who::Next),
            "backups" => Ok(Who::Backups),
            "all" => Ok(Who::All),
            "clients" => Ok(Who::Clients),
            _ => numbered('r').map(Who::Replica).or(numbered('c').map(Who::Client)).ok_or_else(|| {
                format!("{word:?} is nobody; say r0, c0, primary, next, backups, all or clients")
            }),
        }
    }

    /// Whom that means now.
    fn parties(self, world: &World) -> Result<Vec<Party>, String> {
        let replicas = || (0..world.size()).map(Party::Replica);
        let clients = world.setting().clients;
        let primary = world.proposes_next();
        match self {
            Who::Replica(index) if index >= world.size() => Err(format!("there is no r{index}")),
            Who::Client(index) if index >= clients => Err(format!("there is no c{index}")),
            Who::Replica(index) => Ok(vec![Party::Replica(index)]),
            Who::Client(index) => Ok(vec![Party::Client(index)]),
            Who::Primary => Ok(vec![Party::Replica(primary)]),
            Who::Next => Ok(vec![Party::Replica(world.begins(world.view().next()))]),
            Who::Backups => Ok(replicas().filter(|party| *party != Party::Replica(primary)).collect()),
            Who::All => Ok(replicas().collect()),
            Who::Clients => Ok((0..clients).map(Party::Client).collect()),
        }
    }
}

/// Reads names.
pub(super) fn whom(words: &[&str]) -> Result<Vec<Who>, String> {
    words.iter().map(|word| Who::read(word)).collect()
}

/// Whom names mean now.
pub(super) fn parties(who: &[Who], world: &World) -> Result<Vec<Party>, String> {
    let found: Result<Vec<Vec<Party>>, String> = who.iter().map(|who| who.parties(world)).collect();
    found.map(|parties| parties.concat())
}

/// Which replicas names mean now.
pub(super) fn replicas(who: &[Who], world: &World) -> Result<Vec<usize>, String> {
    let index = |party: Party| match party {
        Party::Replica(index) => Ok(index),
        Party::Client(_) => Err(format!("{party} is no replica")),
    };
    parties(who, world)?.into_iter().map(index).collect()
}

/// Which letters a step means: all that each given part fits.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Filter {
    /// At most so many.
    count: Option<usize>,
    /// Of one of these kinds.
    kinds: Vec<String>,
    /// With all these words.
    about: Vec<String>,
    /// From one of these.
    from: Vec<Who>,
    /// To one of these.
    to: Vec<Who>,
    /// The last sent comes first.
    pub(super) backwards: bool,
    /// Only counts and what shows at the parties are recorded.
    pub(super) quietly: bool,
}

impl Filter {
    /// Reads `[COUNT] [KIND...] [about WORD...] [from WHO...] [to WHO...] [backwards] [quietly]`.
    pub(super) fn read(words: &[&str]) -> Result<Filter, String> {
        let mut filter = Filter::default();
        let mut part = "";
        for word in words {
            match (*word, part) {
                ("from" | "to" | "about", _) => part = word,
                ("backwards", _) => filter.backwards = true,
                ("quietly", _) => filter.quietly = true,
                (_, "from") => filter.from.push(Who::read(word)?),
                (_, "to") => filter.to.push(Who::read(word)?),
                (_, "about") => filter.about.push((*word).to_string()),
                ("all", _) => {}
                (kind, _) if KINDS.contains(&kind) => filter.kinds.push(kind.to_string()),
                (count, _) => match count.parse() {
                    Ok(count) if count > 0 => filter.count = Some(count),
                    _ => {
                        return Err(format!(
                            "{count:?} is no kind of letter; there are {}",
                            KINDS.join(", ")
                        ));
                    }
                },
            }
        }
        Ok(filter)
    }

    /// The places of the letters that it means now, in the order in which they are to be taken.
    pub(super) fn places(&self, world: &mut World) -> Result<Vec<usize>, String> {
        let from = parties(&self.from, world)?;
        let to = parties(&self.to, world)?;
        let waiting: Vec<_> = world.waiting().iter().cloned().enumerate().collect();
        let mut places = Vec::new();
        for (place, letter) in waiting {
            let (sender, receiver) = letter.ends();
            let ends =
                (from.is_empty() || from.contains(&sender)) && (to.is_empty() || to.contains(&receiver));
            if ends && self.says(&world.words_of(&letter)) {
                places.push(place);
            }
        }
        if self.backwards {
            places.reverse();
        }
        places.truncate(self.count.unwrap_or(usize::MAX));
        Ok(places)
    }

    fn says(&self, text: &str) -> bool {
        let words = || text.split([' ', ',', ':', '|']).filter(|word| !word.is_empty());
        let kind = words().next().unwrap_or_default();
        (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
            && self.about.iter().all(|wanted| words().any(|word| word == wanted))
    }
}
