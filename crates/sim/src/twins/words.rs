//! Scenarios in words.

use std::fmt::{Display, Formatter, Result};

use super::space::{Copies, Scenario};
use crate::rounds::{Hearing, MACHINES, Reach, Round};

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let second = MACHINES - 1;
        write!(f, "machines {} and {second} are replica {}", self.twin, self.twin)?;
        if self.copies == Copies::SecondContradicts {
            write!(f, ", and {second} contradicts beginnings")?;
        }
        match self.reach {
            Reach::Everywhere => f.write_str("; clients reach all")?,
            Reach::OwnSide => f.write_str("; clients reach one side each")?,
        }
        self.rounds.iter().enumerate().try_for_each(|(view, round)| write!(f, "; round {view}: {round}"))
    }
}

impl Display for Round {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let members = |side: u8| {
            let of_side = (0..MACHINES).filter(|machine| self.sides[*machine] == side);
            of_side.map(|machine| machine.to_string()).collect::<Vec<_>>().join(" ")
        };
        let last = self.sides.iter().copied().max().unwrap_or_default();
        f.write_str(&(0..=last).map(members).collect::<Vec<_>>().join(" | "))?;
        match self.hearing {
            Hearing::All => Ok(()),
            Hearing::NoCommits => f.write_str(", nobody may decide"),
            Hearing::CommitsOf(who) => write!(f, ", only {who} may decide"),
            Hearing::PreparesOf(who) => write!(f, ", only {who} may prepare"),
        }
    }
}
