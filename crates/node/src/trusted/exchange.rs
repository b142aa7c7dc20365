//! What crosses between a replica and the process of its core: one value to a packet of a pair of sockets, in the house's
//! encoding. The sockets keep packets apart and in order, so there is nothing to count and nothing half read.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_consensus::Group;
use smr_consensus::lanes::core::{Attempt, AttestedDealing, Operation, Refusal, SoftwareCore};
use smr_crypto::dkg::DealingSeed;
use smr_crypto::{IdentityKey, PublicKey, Signature};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, ServiceId};

use super::precautions::Precautions;
use crate::identity::{IdentityError, fresh_seed};

/// Bytes of a packet at most. The largest are what a core says of its precautions, and a dealing for the largest group; a vote
/// for as many slots as it may cover has less than 1 KiB.
pub const PACKET_BYTES_MAX: usize = 4096;

/// Slots of a window at most, as in [`smr_consensus::config`]: a core holds a register for each.
pub const WINDOW_SLOTS_MAX: u64 = 1024;

/// What a replica says to the process of its core.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Ask {
    /// That it make its key. Once, and first.
    Begin,
    /// Where it will speak. Once.
    Join(Place),
    /// That it do this and sign it.
    Attest(Operation),
    /// That it deal and sign it.
    Deal(Box<Attempt>),
}

/// What a core answers, once to each question.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Said {
    /// To [`Ask::Begin`].
    Born {
        /// It signs with this one.
        key: PublicKey,
        /// Which rights it has given up.
        precautions: Precautions,
    },
    /// To [`Ask::Join`].
    Joined,
    /// To [`Ask::Attest`]: the signature, or why its registers do not allow it.
    Attested(Result<Signature, Refusal>),
    /// To what is not to be asked; nothing was done.
    Refused(Misuse),
    /// To [`Ask::Deal`]: the dealing, or why it does not deal.
    Dealt(Result<Box<AttestedDealing>, Refusal>),
}

/// Why a core does not even look into its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Misuse {
    /// Not the encoding of a question.
    #[error("this is no question")]
    Garbage,
    /// A key or a place is asked for that it has already.
    #[error("a core begins once and has one place")]
    Again,
    /// It has no key or no place.
    #[error("a core without a key and a place says nothing")]
    Early,
    /// No slots, or more than a window may have.
    #[error("there is no window of so many slots")]
    Window,
}

/// Where a core speaks. It holds for everything the core ever signs.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// In which service.
    pub service: ServiceId,
    /// Among which voters of it.
    pub generation: Generation,
    /// For how many slots at a time.
    pub window_slots: u64,
    /// As whose core.
    pub replica: ReplicaId,
}

impl Place {
    /// That of a member of `group`.
    #[must_use]
    pub fn of(group: &Group, window_slots: u64, replica: ReplicaId) -> Place {
        Place { service: group.service, generation: group.generation, window_slots, replica }
    }

    /// Whether a core can be in this place.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        (1..=WINDOW_SLOTS_MAX).contains(&self.window_slots)
    }

    /// The register file for it, empty.
    pub(super) fn core(&self, secrets: CoreSecrets) -> SoftwareCore {
        // A core knows no peers and verifies nothing: of a group it needs what its statements name.
        let group = Group {
            service: self.service,
            generation: self.generation,
            model: FaultModel::Hybrid,
            faults: 0,
            keys: Vec::new(),
            cores: Vec::new(),
        };
        SoftwareCore::new(Arc::new(group), self.window_slots, self.replica, secrets.key, secrets.seed)
    }
}

/// What only a core knows. Made when it starts, kept nowhere.
#[derive(Clone)]
pub(super) struct CoreSecrets {
    /// Signs what it says.
    pub(super) key: Arc<IdentityKey>,
    /// What its dealings are made from.
    pub(super) seed: DealingSeed,
}

impl CoreSecrets {
    /// Fresh ones.
    pub(super) fn draw() -> Result<CoreSecrets, IdentityError> {
        let key = Arc::new(IdentityKey::from_seed(&*fresh_seed()?));
        Ok(CoreSecrets { key, seed: DealingSeed(*fresh_seed()?) })
    }
}
