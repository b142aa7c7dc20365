//! Which faults come when: all of it follows from one seed, and nothing here acts.
//!
//! Phases take turns. In one, what is faulty is one replica at most, and the service must go on. In the next, no
//! quorum can hear each other and the clients, so nothing may be answered; when it ends, service must resume.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use smr_sim::rng::Rng;

use crate::proxy::Gate;

/// Replicas of the service; one of them may be faulty.
pub(crate) const REPLICAS: usize = 4;

/// Times a thousand phases in which a client's process is killed, too.
const CLIENTS_KILLED_PER_MILLE: u64 = 250;

/// Times a thousand phases that last long enough for links to be given up and for state to be transferred.
const LONG_PER_MILLE: u64 = 120;

/// A seed, and what may be drawn from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) client_processes: usize,
    pub(crate) lengths: Lengths,
}

/// How long phases may last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lengths {
    /// A few seconds.
    Short,
    /// Some of them half a minute.
    Mixed,
}

impl Plan {
    /// The phase with this number, if `dead` was killed before.
    pub(crate) fn phase(&self, number: u64, dead: Option<usize>) -> Phase {
        let rng = &mut self.rng(number);
        let replicas = shuffled(rng, (0..REPLICAS).filter(|replica| Some(*replica) != dead));
        let gate = *rng.pick(&[Gate::Held, Gate::Broken]);
        let (stopped, cuts, service) = if dead.is_none() && number.is_multiple_of(2) {
            let (stopped, cuts) = one_faulty(rng, &replicas, gate);
            (stopped, cuts, Service::GoesOn)
        } else {
            let (stopped, cuts) = no_quorum(rng, &replicas, gate);
            (stopped, cuts, Service::Stands)
        };
        Phase { number, stopped, cuts, killed: None, service, ..self.calm(number, rng) }
    }

    /// The phase in which one replica is killed for good.
    pub(crate) fn kill(&self, number: u64) -> Phase {
        let victim = usize::try_from(Rng::new(self.seed).draw() % REPLICAS as u64).expect("few replicas");
        Phase { killed: Some(victim), ..self.calm(number, &mut self.rng(number)) }
    }

    fn rng(&self, number: u64) -> Rng {
        Rng::new(self.seed.wrapping_add(number.wrapping_mul(0x2545_f491_4f6c_dd1d))).fork()
    }

    /// A phase without a faulty replica.
    fn calm(&self, number: u64, rng: &mut Rng) -> Phase {
        let is_long = self.lengths == Lengths::Mixed && rng.chance(LONG_PER_MILLE);
        let lasts = if is_long { rng.within(12_000, 30_000) } else { rng.within(300, 4_000) };
        let killed = rng.chance(CLIENTS_KILLED_PER_MILLE);
        let process = usize::try_from(rng.draw() % self.client_processes as u64).expect("few processes");
        Phase {
            number,
            stopped: Vec::new(),
            cuts: Vec::new(),
            killed: None,
            clients_killed: killed.then_some(process),
            lasts: Duration::from_millis(lasts),
            service: Service::GoesOn,
        }
    }
}

/// What is wrong at the same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Phase {
    pub(crate) number: u64,
    /// Replicas that are stopped, and go on when the phase ends.
    pub(crate) stopped: Vec<usize>,
    /// Links that are cut, and healed when the phase ends.
    pub(crate) cuts: Vec<Cut>,
    /// A replica that is killed, for good.
    pub(crate) killed: Option<usize>,
    /// A process of clients that is killed when the phase begins; another one takes its place.
    pub(crate) clients_killed: Option<usize>,
    pub(crate) lasts: Duration,
    pub(crate) service: Service,
}

/// What the service is to do meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// It answers every client.
    GoesOn,
    /// It answers nobody.
    Stands,
}

/// One direction of a link that does not carry what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) gate: Gate,
}

/// One end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Replica(usize),
    Clients,
}

impl Display for Phase {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "phase {}, {:?}:", self.number, self.lasts)?;
        if let Some(killed) = self.killed {
            write!(f, " {killed} is killed;")?;
        }
        if !self.stopped.is_empty() {
            write!(f, " {:?} stop;", self.stopped)?;
        }
        for gate in [Gate::Held, Gate::Broken] {
            let cuts: Vec<String> =
                self.cuts.iter().filter(|cut| cut.gate == gate).map(Cut::to_string).collect();
            if !cuts.is_empty() {
                write!(f, " {gate:?} {};", cuts.join(" "))?;
            }
        }
        if let Some(process) = self.clients_killed {
            write!(f, " clients of process {process} are killed;")?;
        }
        write!(f, " the service {}", if self.service == Service::GoesOn { "goes on" } else { "stands" })
    }
}

impl Display for Cut {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = |end| match end {
            End::Replica(replica) => replica.to_string(),
            End::Clients => "clients".to_string(),
        };
        write!(f, "{}>{}", name(self.from), name(self.to))
    }
}

/// Faults of the first of `replicas` alone.
fn one_faulty(rng: &mut Rng, replicas: &[usize], gate: Gate) -> (Vec<usize>, Vec<Cut>) {
    let (one, others) = (replicas[0], &replicas[1..]);
    let cut = |from, to| Cut { from, to, gate };
    let heard_by = others.iter().map(|other| cut(End::Replica(one), End::Replica(*other)));
    let hears = others.iter().map(|other| cut(End::Replica(*other), End::Replica(one)));
    let asked = std::iter::once(cut(End::Clients, End::Replica(one)));
    match rng.within(0, 7) {
        0..=1 => (vec![one], Vec::new()),
        2 => (Vec::new(), heard_by.chain(hears).collect()),
        3 => (Vec::new(), heard_by.chain(hears).chain(asked).collect()),
        4 => (Vec::new(), heard_by.collect()),
        5 => (Vec::new(), hears.collect()),
        6 => (Vec::new(), asked.collect()),
        _ => (Vec::new(), both_ways(one, others[0], gate).to_vec()),
    }
}

/// Faults that leave no quorum among `replicas`, which are all or all but one.
fn no_quorum(rng: &mut Rng, replicas: &[usize], gate: Gate) -> (Vec<usize>, Vec<Cut>) {
    let spare = replicas.len() - (REPLICAS - 1);
    let pairs = |left: &[usize], right: &[usize]| {
        let with =
            |one: usize| right.iter().flat_map(move |other| both_ways(one, *other, gate)).collect::<Vec<_>>();
        left.iter().flat_map(|one| with(*one)).collect::<Vec<_>>()
    };
    match rng.within(0, 6) {
        0..=1 => (replicas[..=spare].to_vec(), Vec::new()),
        2 => (replicas.to_vec(), Vec::new()),
        3 => (Vec::new(), pairs(&replicas[..=spare], &replicas[spare + 1..])),
        4 => (replicas[..1].to_vec(), pairs(&replicas[1..2], &replicas[2..])),
        5 => {
            let apart = (1..replicas.len()).flat_map(|at| pairs(&replicas[..at], &replicas[at..=at]));
            (Vec::new(), apart.collect())
        }
        _ => {
            let asked = |to: &usize| Cut { from: End::Clients, to: End::Replica(*to), gate };
            (Vec::new(), replicas.iter().map(asked).collect())
        }
    }
}

fn both_ways(one: usize, other: usize, gate: Gate) -> [Cut; 2] {
    let (one, other) = (End::Replica(one), End::Replica(other));
    [Cut { from: one, to: other, gate }, Cut { from: other, to: one, gate }]
}

fn shuffled(rng: &mut Rng, items: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut items: Vec<usize> = items.collect();
    for at in (1..items.len()).rev() {
        let other = usize::try_from(rng.within(0, at as u64)).expect("an index");
        items.swap(at, other);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Plan {
        Plan { seed, client_processes: 3, lengths: Lengths::Mixed }
    }

    /// Whether three of the replicas run, hear each other, and one of them hears clients.
    fn has_quorum(phase: &Phase, dead: Option<usize>) -> bool {
        let runs = |one: usize| !phase.stopped.contains(&one) && Some(one) != dead;
        let hears = |from: End, to: usize| {
            !phase.cuts.iter().any(|cut| cut.from == from && cut.to == End::Replica(to))
        };
        (0..REPLICAS).any(|missing| {
            let group: Vec<usize> = (0..REPLICAS).filter(|one| *one != missing).collect();
            let link = |from: usize, to: usize| from == to || hears(End::Replica(from), to);
            group.iter().all(|one| runs(*one) && group.iter().all(|other| link(*one, *other)))
                && group.iter().any(|one| hears(End::Clients, *one))
        })
    }

    #[test]
    fn phases_are_what_they_say_and_follow_from_the_seed() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..300 {
            for number in 0..20 {
                for dead in [None, Some(plan(seed).kill(0).killed.unwrap())] {
                    let phase = plan(seed).phase(number, dead);
                    assert_eq!(phase, plan(seed).phase(number, dead));
                    assert_eq!(has_quorum(&phase, dead), phase.service == Service::GoesOn, "{phase}");
                    kinds.insert((phase.stopped.len(), phase.cuts.len(), phase.service == Service::GoesOn));
                }
            }
        }
        assert!(kinds.len() > 12, "few kinds of phases are drawn: {kinds:?}");
    }
}
