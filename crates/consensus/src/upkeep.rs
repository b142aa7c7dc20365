//! What replicas say to each other beside proposals and votes: what waits, where each stands, what it lacks, and that
//! another view is wanted. The same in every engine that votes; a certificate of type `C` is what decides there.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Digest;
use smr_wire::{ReplicaId, Slot, View};

use crate::batch::{Batch, Entry};
use crate::checkpoint::CheckpointCertificate;
use crate::decision::{Decides, Decision, check_decisions};
use crate::known_bugs;
use crate::pool::check_parcel;
use crate::suspicion::Suspect;
use crate::verified::{Refused, Rules, Verify};

/// A message that needs no knowledge of how slots are decided.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Upkeep<C> {
    /// Entries for whoever proposes next, or that everyone should know because they were not ordered.
    Forward(Vec<Entry>),
    /// Wishes for another view, each signed by its author.
    Suspects(Vec<Suspect>),
    /// Where the sender stands.
    Status {
        /// The view it is in or on its way to.
        view: View,
        /// Whether that view has begun for it.
        installed: bool,
        /// The last slot of its decided prefix.
        decided: Slot,
    },
    /// Asks for decisions after a slot.
    Fetch {
        /// The slot.
        after: Slot,
    },
    /// Decisions, each proven by itself.
    Decided(Vec<Decision<C>>),
    /// The decisions asked for are not kept any more; the state of this checkpoint stands for them.
    Pruned(CheckpointCertificate),
    /// Asks for the batch with this digest, which may have been voted for in this slot.
    FetchBody {
        /// The slot.
        slot: Slot,
        /// The batch's digest.
        digest: Digest,
    },
    /// A batch that was asked for.
    Body {
        /// The slot.
        slot: Slot,
        /// The batch.
        batch: Batch,
    },
}

/// Entries in one [`Upkeep::Forward`] at most.
pub const FORWARD_ENTRIES_MAX: usize = 1024;

impl<C: Decides> Verify for Upkeep<C> {
    fn verify(&self, _: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
        match self {
            Upkeep::Forward(entries) => {
                check_parcel(entries, FORWARD_ENTRIES_MAX, rules.batch_limits())?;
                entries.iter().try_for_each(|entry| entry.check(rules.group, rules.verifier))
            }
            Upkeep::Suspects(suspects) => {
                if suspects.len() > rules.group.size() {
                    return Err(Refused::Shape);
                }
                suspects.iter().try_for_each(|suspect| suspect.check(rules))
            }
            Upkeep::Decided(decisions) => check_decisions(decisions, rules),
            Upkeep::Pruned(_) if known_bugs::BELIEVES_ANY_PRUNED.is_on() => Ok(()),
            Upkeep::Pruned(certificate) => certificate.check(rules),
            Upkeep::Body { batch, .. } => batch.check(rules.group, rules.batch_limits(), rules.verifier),
            Upkeep::Status { .. } | Upkeep::Fetch { .. } | Upkeep::FetchBody { .. } => Ok(()),
        }
    }

    fn asks_for_much(&self) -> bool {
        matches!(self, Upkeep::Fetch { .. } | Upkeep::FetchBody { .. } | Upkeep::Status { .. })
    }
}
