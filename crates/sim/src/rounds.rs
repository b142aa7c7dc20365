//! Links that follow the views: in each of the first views the machines stand on sides, and votes may get lost
//! besides. A message travels under the round of the view that its sender is in, so what a round does to its view
//! does not depend on how long the view lasts. Later views know no sides.

use smr_consensus::Message as Ordering;
use smr_consensus::pbft;
use smr_consensus::quorum::Phase;
use smr_consensus::upkeep::Upkeep;
use smr_replica::Message;
use smr_wire::View;

/// Machines that take part: four replicas, one of them twice.
pub const MACHINES: usize = 5;

/// How the links are in one view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Round {
    /// The side of each machine; sides are numbered from 0 in the order of their first machines.
    pub sides: [u8; MACHINES],
    /// What is lost besides.
    pub hearing: Hearing,
}

/// Who hears votes of its own side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hearing {
    /// Everybody.
    All,
    /// Nobody hears that something was decided: what is prepared stays so.
    NoCommits,
    /// Only this machine may decide.
    CommitsOf(u8),
    /// Only this machine may prepare.
    PreparesOf(u8),
}

/// Which machines clients are connected with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// All.
    Everywhere,
    /// Those of one side: the clients are spread over the sides, in their order.
    OwnSide,
}

/// The rounds of the first views.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rounds {
    /// The view of the first of them.
    pub begin: View,
    /// One after the other.
    pub rounds: Vec<Round>,
    /// Which machines clients are connected with.
    pub reach: Reach,
}

impl Rounds {
    /// Whether a message of `from`, which is in `view`, reaches `to`.
    #[must_use]
    pub fn carry(&self, view: View, from: usize, to: usize, message: &Message) -> bool {
        self.round(view).is_none_or(|round| {
            round.sides[from] == round.sides[to] && round.hearing.lets_through(to, message)
        })
    }

    /// Whether `client` and the machine `contact`, which is in `view`, can talk.
    #[must_use]
    pub fn connect(&self, view: View, client: usize, contact: usize) -> bool {
        self.round(view).is_none_or(|round| match self.reach {
            Reach::Everywhere => true,
            Reach::OwnSide => client % round.sides_count() == usize::from(round.sides[contact]),
        })
    }

    fn round(&self, view: View) -> Option<&Round> {
        let place = view.0.checked_sub(self.begin.0)?;
        self.rounds.get(usize::try_from(place).ok()?)
    }
}

impl Round {
    fn sides_count(&self) -> usize {
        self.sides.iter().max().map_or(1, |last| usize::from(*last) + 1)
    }
}

impl Hearing {
    fn lets_through(self, to: usize, message: &Message) -> bool {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return true };
        let phase = match message {
            pbft::Message::Vote { ballot, .. } => ballot.phase,
            // As good as the votes in it.
            pbft::Message::Upkeep(Upkeep::Decided(_)) => Phase::Commit,
            _ => return true,
        };
        match (self, phase) {
            (Hearing::NoCommits, Phase::Commit) => false,
            (Hearing::CommitsOf(who), Phase::Commit) | (Hearing::PreparesOf(who), Phase::Prepare) => {
                usize::from(who) == to
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_consensus::quorum::Ballot;
    use smr_crypto::{Digest, Signature};
    use smr_wire::Slot;

    fn vote(phase: Phase) -> Message {
        let ballot = Ballot { phase, view: View(0), slot: Slot(1), digest: Digest::default() };
        let signature = Signature([0; 64]);
        Message::Consensus(Ordering::Pbft(pbft::Message::Vote { ballot, signature }))
    }

    #[test]
    fn sides_and_losses_hold_in_their_view_only() {
        let round = Round { sides: [0, 0, 1, 0, 1], hearing: Hearing::CommitsOf(1) };
        let rounds = Rounds { begin: View(3), rounds: vec![round], reach: Reach::OwnSide };
        let carry = |view, from, to, phase| rounds.carry(View(view), from, to, &vote(phase));
        assert!(carry(3, 0, 3, Phase::Prepare) && carry(3, 2, 4, Phase::Prepare));
        assert!(!carry(3, 0, 2, Phase::Prepare) && !carry(3, 4, 1, Phase::Prepare));
        assert!(carry(3, 0, 1, Phase::Commit) && !carry(3, 0, 3, Phase::Commit));
        assert!(carry(2, 0, 2, Phase::Commit) && carry(4, 0, 2, Phase::Commit));
        assert!(rounds.connect(View(3), 0, 3) && !rounds.connect(View(3), 0, 2));
        assert!(rounds.connect(View(3), 1, 2) && rounds.connect(View(3), 2, 0));
        assert!(rounds.connect(View(4), 0, 2));
    }
}
