//! Who votes, as the log says: which generation it is, with which trusted cores, and where it ends.
//!
//! ```text
//!   slot r: a voucher is ordered        slot e = r + backlog + window: the barrier
//!   ... generation g .............................. | checkpoint of e is stable | generation g+1, view 0, from e+1
//! ```
//!
//! Nothing above the barrier is proposed or voted for in the generation that it ends, so no quorum mixes two of them.
//! Source: Lamport, Malkhi and Zhou, "Reconfiguring a State Machine", SIGACT News 41(1), 2010, with its method of stopping
//! commands: one barrier in place of commands that fill a window.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_consensus::Group;
use smr_crypto::PublicKey;
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, Slot};

use crate::genesis::Genesis;
use crate::known_bugs;
use crate::voucher::Voucher;

/// Equal on all correct replicas that have admitted the same slots.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Voters {
    generation: Generation,
    /// Keys of the trusted cores that vote in it; none where there are no cores.
    cores: Vec<PublicKey>,
    /// Where it ends, and the cores that vote in the next one.
    next: Option<(Slot, Vec<PublicKey>)>,
}

impl Voters {
    /// Those with whom a service begins.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Voters {
        Voters { generation: Generation(0), cores: genesis.group().cores, next: None }
    }

    /// Which generation it is after the last slot admitted.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The last slot of this generation, once it is known.
    #[must_use]
    pub fn barrier(&self) -> Option<Slot> {
        self.next.as_ref().map(|(slot, _)| *slot)
    }

    /// These voters as a group.
    #[must_use]
    pub fn group(&self, genesis: &Genesis) -> Group {
        genesis.group().renewed(self.generation, self.cores.clone())
    }

    /// A voucher that `author` had ordered in `slot`. True if the core will be replaced. Several in one generation end it
    /// together, where the first one says.
    pub fn admit(&mut self, author: ReplicaId, voucher: &Voucher, slot: Slot, genesis: &Genesis) -> bool {
        let fits = genesis.protocol.profile().model == FaultModel::Hybrid
            && voucher.replica == author
            && voucher.generation == self.generation
            && (voucher.holds(genesis) || known_bugs::NEEDS_NO_VOUCHER.is_on());
        let mut cores = self.next.as_ref().map_or(&self.cores, |(_, cores)| cores).clone();
        if !fits || cores.contains(&voucher.core) || self.cores.contains(&voucher.core) {
            return false;
        }
        let Some(place) = cores.get_mut(author.index()) else { return false };
        *place = voucher.core;
        let barrier = self.barrier().unwrap_or_else(|| slot.plus(drain_slots(genesis)));
        self.next = Some((barrier, cores));
        true
    }

    /// Everything in `slot` is admitted. True if the generation ends with it.
    pub fn end_slot(&mut self, slot: Slot) -> bool {
        let Some((_, cores)) = self.next.take_if(|(barrier, _)| *barrier == slot) else {
            return false;
        };
        self.cores = cores;
        self.generation = self.generation.next();
        true
    }
}

/// How far above the slot of a voucher the barrier lies. Who has not admitted that slot has executed less, so its decided
/// prefix ends within a backlog above, and its votes within a window above that: none is above the barrier.
fn drain_slots(genesis: &Genesis) -> u64 {
    let config = &genesis.config.consensus;
    if known_bugs::BARRIER_AT_ONCE.is_on() { 1 } else { config.backlog_slots_max + config.window_slots }
}
