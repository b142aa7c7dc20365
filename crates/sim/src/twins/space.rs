//! All scenarios of so many rounds, numbered, and which of them are worth running: of those that differ only in names
//! the one with the least code.
//!
//! A scenario's code is its digits in a mixed base. Its number is another one: neighbours in the codes are alike, so
//! numbers walk through them in long strides, and any range of numbers is a sample of the whole.

use crate::rounds::{Hearing, MACHINES, Reach, Round};

/// Replicas of the service; the twin is one of them, and the last machine is its second copy.
const REPLICAS: usize = MACHINES - 1;

/// Sides that there are at most.
const SIDES_MAX: u8 = 3;

/// Rounds that a scenario has at most: with more the codes would not fit into 64 bits.
pub const ROUNDS_MAX: usize = 6;

/// What the two copies are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Copies {
    /// Both run the correct code.
    Honest,
    /// As primary of a later view than the first, the second copy contradicts the view's beginning.
    SecondContradicts,
}

/// One scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Which replica is two machines.
    pub twin: usize,
    /// What they are.
    pub copies: Copies,
    /// Which machines clients are connected with.
    pub reach: Reach,
    /// The links in the first views.
    pub rounds: Vec<Round>,
}

/// All scenarios of so many rounds.
#[derive(Clone, Debug)]
pub struct Space {
    rounds: usize,
    choices: Vec<Round>,
    stride: u64,
}

impl Space {
    /// Those of `rounds` rounds, 1..=[`ROUNDS_MAX`].
    #[must_use]
    pub fn new(rounds: usize) -> Space {
        assert!((1..=ROUNDS_MAX).contains(&rounds), "scenarios of {rounds} rounds have no numbers");
        let mut space = Space { rounds, choices: choices(), stride: 1 };
        let size = space.size();
        // The golden ratio leaves no large gaps, wherever one stops.
        let golden = u128::from(size) * 618_034 / 1_000_000;
        let golden = u64::try_from(golden).expect("less than the size");
        space.stride = (golden..).find(|stride| gcd(*stride, size) == 1).expect("a prime is among them");
        space
    }

    /// How many there are, by number.
    #[must_use]
    pub fn size(&self) -> u64 {
        let choices = self.choices.len() as u64;
        (0..self.rounds).fold(HEADS, |size, _| size * choices)
    }

    /// How many rounds they have.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// The ways in which the links can be in one view.
    #[must_use]
    pub fn choices(&self) -> &[Round] {
        &self.choices
    }

    /// The scenario with this number, which is less than [`Space::size`].
    #[must_use]
    pub fn scenario(&self, number: u64) -> Scenario {
        let size = self.size();
        assert!(number < size, "scenario {number} of {size}");
        let code = u128::from(number) * u128::from(self.stride) % u128::from(size);
        self.decode(u64::try_from(code).expect("less than the size"))
    }

    /// The numbers worth running, from `first` on.
    pub fn from(&self, first: u64) -> impl Iterator<Item = u64> + '_ {
        (first..self.size()).filter(|number| self.is_canonical(&self.scenario(*number)))
    }

    /// Whether no scenario that differs only in names has a lesser code.
    #[must_use]
    pub fn is_canonical(&self, scenario: &Scenario) -> bool {
        let own = self.encode(scenario);
        renamings(scenario.copies, self.rounds).all(|renaming| self.encode(&renaming.apply(scenario)) >= own)
    }

    /// How many scenarios are left when of those that differ only in names one is kept: for each renaming so many as
    /// it leaves alike, divided by the number of renamings (Burnside's lemma).
    #[must_use]
    pub fn canonical(&self) -> u64 {
        let of = |copies| {
            let all: Vec<Renaming> = renamings(copies, self.rounds).collect();
            let fixed: u64 = all.iter().map(|renaming| self.fixed_by(renaming)).sum();
            fixed * REACHES / all.len() as u64
        };
        of(Copies::Honest) + of(Copies::SecondContradicts)
    }

    fn fixed_by(&self, renaming: &Renaming) -> u64 {
        let fixed = |twin: usize| {
            let machines = renaming.machines(twin);
            let rounds = self.choices.iter().filter(|round| rename(round, machines) == **round).count();
            (rounds as u64).pow(u32::try_from(self.rounds).expect("few"))
        };
        (0..REPLICAS).filter(|twin| renaming.replicas[*twin] == *twin).map(fixed).sum()
    }

    fn decode(&self, mut code: u64) -> Scenario {
        let mut digit = |base: u64| {
            let digit = code % base;
            code /= base;
            usize::try_from(digit).expect("a digit")
        };
        let rounds = (0..self.rounds).map(|_| self.choices[digit(self.choices.len() as u64)]).collect();
        let reach = if digit(REACHES) == 0 { Reach::Everywhere } else { Reach::OwnSide };
        let copies = if digit(COPIES) == 0 { Copies::Honest } else { Copies::SecondContradicts };
        Scenario { twin: digit(REPLICAS as u64), copies, reach, rounds }
    }

    fn encode(&self, scenario: &Scenario) -> u64 {
        let head = scenario.twin as u64;
        let head = head * COPIES + u64::from(scenario.copies != Copies::Honest);
        let head = head * REACHES + u64::from(scenario.reach != Reach::Everywhere);
        scenario.rounds.iter().rev().fold(head, |code, round| {
            let place = self.choices.binary_search(round).expect("every round is one of the choices");
            code * self.choices.len() as u64 + place as u64
        })
    }
}

const REACHES: u64 = 2;
const COPIES: u64 = 2;
/// Everything that is chosen once for a scenario.
const HEADS: u64 = REACHES * COPIES * REPLICAS as u64;

/// All ways in which the links can be in one view, in ascending order: every division of the machines into sides, with
/// every loss of votes.
fn choices() -> Vec<Round> {
    let machines = 0..u8::try_from(MACHINES).expect("few");
    let hearings: Vec<Hearing> = [Hearing::All, Hearing::NoCommits]
        .into_iter()
        .chain(machines.clone().map(Hearing::CommitsOf))
        .chain(machines.map(Hearing::PreparesOf))
        .collect();
    let codes = 0..usize::from(SIDES_MAX).pow(u32::try_from(MACHINES).expect("few"));
    let sides = codes.map(|code| {
        let side = |machine: u32| code / usize::from(SIDES_MAX).pow(machine) % usize::from(SIDES_MAX);
        [0, 1, 2, 3, 4].map(|machine| u8::try_from(side(machine)).expect("few"))
    });
    let divisions = sides.filter(|sides| numbered(*sides) == *sides);
    let mut all: Vec<Round> = divisions
        .flat_map(|sides| hearings.iter().map(move |hearing| Round { sides, hearing: *hearing }))
        .collect();
    all.sort_unstable();
    all
}

/// The same division, with sides numbered in the order of their first machines.
fn numbered(sides: [u8; MACHINES]) -> [u8; MACHINES] {
    let mut first = Vec::new();
    sides.map(|side| {
        let place = first.iter().position(|known| *known == side).unwrap_or_else(|| {
            first.push(side);
            first.len() - 1
        });
        u8::try_from(place).expect("few")
    })
}

/// A way to name things anew that changes nothing: two honest copies of a replica are alike, and so are replicas that
/// lead none of the views in question.
#[derive(Clone, Debug)]
struct Renaming {
    /// What each replica is called.
    replicas: [usize; REPLICAS],
    /// Whether the copies change places.
    swaps: bool,
}

fn renamings(copies: Copies, rounds: usize) -> impl Iterator<Item = Renaming> {
    let led = rounds.min(REPLICAS);
    let swaps = if copies == Copies::Honest { &[false, true][..] } else { &[false][..] };
    permutations(led)
        .into_iter()
        .flat_map(move |replicas| swaps.iter().map(move |swaps| Renaming { replicas, swaps: *swaps }))
}

/// All permutations of the replicas from `from` on.
fn permutations(from: usize) -> Vec<[usize; REPLICAS]> {
    let mut all = vec![[0, 1, 2, 3]];
    for place in from..REPLICAS {
        let shorter = std::mem::take(&mut all);
        for other in place..REPLICAS {
            all.extend(shorter.iter().map(|earlier| {
                let mut later = *earlier;
                later.swap(place, other);
                later
            }));
        }
    }
    all
}

impl Renaming {
    /// The new places of the machines, if `twin` is the replica that is two.
    fn machines(&self, twin: usize) -> [usize; MACHINES] {
        let [a, b, c, d] = self.replicas;
        let mut machines = [a, b, c, d, REPLICAS];
        if self.swaps {
            machines.swap(twin, REPLICAS);
        }
        machines
    }

    fn apply(&self, scenario: &Scenario) -> Scenario {
        let machines = self.machines(scenario.twin);
        Scenario {
            twin: self.replicas[scenario.twin],
            rounds: scenario.rounds.iter().map(|round| rename(round, machines)).collect(),
            ..*scenario
        }
    }
}

fn rename(round: &Round, machines: [usize; MACHINES]) -> Round {
    let mut sides = [0; MACHINES];
    for (machine, side) in round.sides.iter().enumerate() {
        sides[machines[machine]] = *side;
    }
    let name = |machine: u8| u8::try_from(machines[usize::from(machine)]).expect("few");
    let hearing = match round.hearing {
        Hearing::CommitsOf(who) => Hearing::CommitsOf(name(who)),
        Hearing::PreparesOf(who) => Hearing::PreparesOf(name(who)),
        other => other,
    };
    Round { sides: numbered(sides), hearing }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_divisions_as_stirling_counted() {
        let space = Space::new(1);
        let divisions = space.choices().iter().filter(|round| round.hearing == Hearing::All).count();
        assert_eq!(divisions, 1 + 15 + 25);
        assert_eq!(space.choices().len(), divisions * (2 + 2 * MACHINES));
    }

    #[test]
    fn every_number_is_another_scenario_and_reads_back() {
        let space = Space::new(1);
        let mut codes: Vec<u64> =
            (0..space.size()).map(|number| space.encode(&space.scenario(number))).collect();
        codes.sort_unstable();
        assert!(codes.iter().copied().eq(0..space.size()));
    }

    #[test]
    fn one_of_those_that_differ_in_names_is_kept_and_they_are_as_many_as_counted() {
        let one = Space::new(1);
        let kept = (0..one.size()).filter(|number| one.is_canonical(&one.scenario(*number))).count();
        assert_eq!(kept as u64, one.canonical());
        for number in (0..one.size()).step_by(7) {
            let scenario = one.scenario(number);
            let names = renamings(scenario.copies, 1).map(|renaming| renaming.apply(&scenario));
            assert!(
                names.into_iter().any(|alike| one.is_canonical(&alike)),
                "nobody stands for {scenario:?}"
            );
        }
        // All three that lead no view are alike where one view is in question, two where two are.
        assert!(one.canonical() * 2 < one.size());
        for rounds in 2..=ROUNDS_MAX {
            let space = Space::new(rounds);
            assert!(space.canonical() < space.size() && space.canonical() > space.size() / 8);
        }
    }
}
