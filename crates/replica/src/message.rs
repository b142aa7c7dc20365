//! What replicas say to each other beside consensus, and how it is checked.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::verified::{Refused, Rules, Verified, Verify};
use smr_crypto::threshold::SignatureShare;
use smr_crypto::{Digest, Signature, merkle};
use smr_wire::{Generation, ReplicaId, Slot};

use crate::chunked;
use crate::replies::Statement;

/// Any message between replicas.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// Of the protocol that orders.
    Consensus(smr_consensus::Message),
    /// Of everything else.
    Peer(PeerMessage),
}

/// What replicas say beside consensus. The channel proves who says it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum PeerMessage {
    /// The sender's share of the service's signature on a statement.
    Share {
        /// On what.
        statement: Statement,
        /// The share; whether it is good shows when shares are combined.
        share: SignatureShare,
    },
    /// Asks for the share on a statement again.
    ShareQuery {
        /// On what.
        statement: Statement,
    },
    /// "After this slot my state has this digest."
    CheckpointVote {
        /// Which state.
        checkpoint: Checkpoint,
        /// The sender's.
        signature: Signature,
    },
    /// The certificate that made a checkpoint stable, for one whose votes for it were lost.
    Stable(CheckpointCertificate),
    /// Generations ended meanwhile: a certified state with which the sender's began. To one that speaks in an earlier one.
    Moved(CheckpointCertificate),
    /// Asks for a certified state above a slot.
    StateQuery {
        /// The slot.
        above: Slot,
        /// The state of which the sender has some chunks already, if it is still to be had.
        begun: Option<Slot>,
    },
    /// A certified state.
    StateOffer(Offer),
    /// Asks for a block of the leaves of a certified state; see [`crate::chunked::BLOCK_HEIGHT`].
    LeavesQuery {
        /// Which state.
        slot: Slot,
        /// Which block.
        block: u32,
    },
    /// A block of leaves.
    Leaves {
        /// Of which state.
        slot: Slot,
        /// The digests of its chunks.
        leaves: Vec<Digest>,
        /// From the root of a tree over them to that of the state.
        path: merkle::Path,
    },
    /// Asks for chunks of a certified state.
    ChunksQuery {
        /// Which state.
        slot: Slot,
        /// Which chunks; [`crate::transfer::ASKED_MAX`] are answered at most.
        indexes: Vec<u32>,
    },
    /// The first of the chunks that were asked for: as many as there is room for, one at least.
    Chunks {
        /// Of which state.
        slot: Slot,
        /// The chunks, each with its place.
        chunks: Vec<(u32, Vec<u8>)>,
    },
}

/// A certified state, for one that is behind.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Which.
    pub certificate: CheckpointCertificate,
    /// How many chunks it has.
    pub count: u32,
    /// The root of their tree.
    pub root: Digest,
}

impl Offer {
    fn verify(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        if chunked::digest(self.count, &self.root) != self.certificate.checkpoint.digest {
            return Err(Refused::Certificate);
        }
        self.certificate.check(rules)
    }
}

impl Verify for PeerMessage {
    fn verify(&self, from: ReplicaId, rules: &Rules<'_>) -> Result<(), Refused> {
        match self {
            PeerMessage::CheckpointVote { checkpoint, signature } => {
                let statement = checkpoint.statement(rules.group);
                if rules.group.signed_by(from, &statement, signature, rules.verifier) {
                    Ok(())
                } else {
                    Err(Refused::Signature)
                }
            }
            PeerMessage::Stable(certificate) | PeerMessage::Moved(certificate) => certificate.check(rules),
            PeerMessage::StateOffer(offer) => offer.verify(rules),
            PeerMessage::Share { .. }
            | PeerMessage::ShareQuery { .. }
            | PeerMessage::StateQuery { .. }
            | PeerMessage::LeavesQuery { .. }
            | PeerMessage::Leaves { .. }
            | PeerMessage::ChunksQuery { .. }
            | PeerMessage::Chunks { .. } => Ok(()),
        }
    }

    fn asks_for_much(&self) -> bool {
        matches!(
            self,
            PeerMessage::ChunksQuery { .. }
                | PeerMessage::LeavesQuery { .. }
                | PeerMessage::StateQuery { .. }
        )
    }
}

impl Message {
    /// Whether it is a question whose answer may be much larger than itself.
    #[must_use]
    pub fn asks_for_much(&self) -> bool {
        match self {
            Message::Consensus(message) => message.asks_for_much(),
            Message::Peer(message) => message.asks_for_much(),
        }
    }
}

/// A message that was checked.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// Of the protocol that orders.
    Consensus(Verified<smr_consensus::Message>),
    /// Of everything else.
    Peer(Verified<PeerMessage>),
    /// A message to the voters of another generation: this replica cannot check it, and can do no more than tell the sender
    /// where it is.
    Elsewhere {
        /// Who sent it.
        from: ReplicaId,
        /// In which generation it is.
        generation: Generation,
    },
}

impl Incoming {
    /// Checks a message, said in `generation`, from a member whose channel proved who it is. Costs signature
    /// verifications; may run on any thread.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(
        from: ReplicaId,
        (generation, message): (Generation, Message),
        rules: &Rules<'_>,
    ) -> Result<Incoming, Refused> {
        Ok(match message {
            Message::Consensus(_) if generation != rules.group.generation => {
                Incoming::Elsewhere { from, generation }
            }
            Message::Consensus(message) => Incoming::Consensus(Verified::check(from, message, rules)?),
            Message::Peer(message) => Incoming::Peer(Verified::check(from, message, rules)?),
        })
    }
}
