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
use crate::manifest::Manifest;
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

    /// The administrator ends this generation because its cores are gone, whatever was to end it later.
    pub fn restart(&mut self, manifest: &Manifest) {
        assert!(
            manifest.generation == self.generation,
            "a manifest for {} in {}",
            manifest.generation,
            self.generation
        );
        let generation = self.generation.next();
        *self = Voters { generation, cores: manifest.cores.clone(), next: None };
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Config, Member, Scheduling};
    use smr_consensus::ProtocolName;
    use smr_crypto::IdentityKey;
    use smr_crypto::dkg::DecryptionKey;

    pub(crate) fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(&[seed; 32])
    }

    pub(crate) fn genesis(protocol: ProtocolName) -> Genesis {
        let hybrid = protocol.profile().model == FaultModel::Hybrid;
        let member = |seed: u8| Member {
            identity: key(seed).public(),
            channel: key(seed + 10).public(),
            encryption: DecryptionKey::from_seed(&[seed; 32]).public(),
            core: hybrid.then(|| key(seed + 20).public()),
            address: format!("replica-{seed}:1"),
        };
        let members = (0..3).map(member).collect();
        let (scheduling, config) = (Scheduling::sequential(), Config::default());
        let administrator = key(99).public();
        let (name, application) = ("test".into(), "none".into());
        let durable = false;
        Genesis {
            name,
            application,
            protocol,
            faults: 1,
            members,
            administrator,
            durable,
            scheduling,
            config,
        }
    }

    /// A voucher of `by` for the core with the key of `seed`.
    pub(crate) fn voucher(genesis: &Genesis, by: u8, replica: u16, generation: u32, seed: u8) -> Voucher {
        let core = key(seed).public();
        Voucher::sign(&key(by), genesis.service(), ReplicaId(replica), Generation(generation), core)
    }

    #[test]
    fn a_generation_ends_above_all_that_may_be_under_way_and_the_next_has_the_new_core() {
        let genesis = genesis(ProtocolName::Ebawa);
        let mut voters = Voters::new(&genesis);
        let drain = genesis.config.consensus.backlog_slots_max + genesis.config.consensus.window_slots;
        assert!(voters.admit(ReplicaId(1), &voucher(&genesis, 99, 1, 0, 50), Slot(10), &genesis));
        assert_eq!(voters.barrier(), Some(Slot(10 + drain)));
        assert!(!voters.end_slot(Slot(10)) && voters.generation() == Generation(0));
        assert_eq!(voters.group(&genesis).cores[1], key(21).public(), "until the barrier");

        assert!(voters.admit(ReplicaId(2), &voucher(&genesis, 99, 2, 0, 51), Slot(12), &genesis));
        assert_eq!(voters.barrier(), Some(Slot(10 + drain)), "both together, where the first one says");
        assert!(voters.end_slot(Slot(10 + drain)));
        let group = voters.group(&genesis);
        assert_eq!((group.generation, voters.barrier()), (Generation(1), None));
        assert_eq!(group.cores, [20, 50, 51].map(|seed| key(seed).public()));
        assert_eq!(group.keys, genesis.group().keys);
    }

    #[test]
    fn a_voucher_is_of_the_administrator_for_its_author_in_this_generation_and_names_a_new_key() {
        let genesis = genesis(ProtocolName::Minbft);
        let mut voters = Voters::new(&genesis);
        for (author, bad, why) in [
            (1, voucher(&genesis, 1, 1, 0, 50), "signed by the replica itself"),
            (2, voucher(&genesis, 99, 1, 0, 50), "of another replica"),
            (1, voucher(&genesis, 99, 1, 1, 50), "of another generation"),
            (1, voucher(&genesis, 99, 1, 0, 21), "the key that it has"),
            (1, voucher(&genesis, 99, 1, 0, 20), "the key of another core"),
            (9, voucher(&genesis, 99, 9, 0, 50), "of nobody"),
        ] {
            assert!(!voters.admit(ReplicaId(author), &bad, Slot(1), &genesis), "{why}");
        }
        assert_eq!(voters, Voters::new(&genesis));
        assert!(voters.admit(ReplicaId(1), &voucher(&genesis, 99, 1, 0, 50), Slot(1), &genesis));
        assert!(voters.end_slot(voters.barrier().expect("it will be replaced")));
        let again = voucher(&genesis, 99, 1, 0, 50);
        assert!(!voters.admit(ReplicaId(1), &again, Slot(200), &genesis), "used up");
    }

    #[test]
    fn who_has_no_core_needs_none_and_brings_none() {
        let genesis = genesis(ProtocolName::Paxos);
        let mut voters = Voters::new(&genesis);
        assert!(!voters.admit(ReplicaId(1), &voucher(&genesis, 99, 1, 0, 50), Slot(1), &genesis));
    }
}
