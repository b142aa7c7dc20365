//! Other replicas beside consensus: what each message is for.

use smr_wire::ReplicaId;

use super::Replica;
use crate::effect::Effect;
use crate::known_bugs;
use crate::message::PeerMessage;
use crate::replies::Statement;

impl Replica {
    /// A message of `from`, checked.
    pub(super) fn on_peer(&mut self, from: ReplicaId, message: PeerMessage, effects: &mut Vec<Effect>) {
        match message {
            PeerMessage::Share { statement, share } => {
                if self.wants_share(statement) {
                    self.shares.add(statement, from, share);
                    self.try_combine(statement, effects);
                }
            }
            PeerMessage::ShareQuery { statement } => {
                self.on_share_query(from, statement, effects);
            }
            PeerMessage::CheckpointVote { checkpoint, signature } => {
                // Whoever still votes for what is stable has missed the votes of others, who repeat them no more.
                let repeats = !known_bugs::REPEATS_NO_CHECKPOINT.is_on();
                if repeats && let Some(certificate) = self.checkpoints.certificate_from(checkpoint.slot) {
                    Replica::send(effects, from, PeerMessage::Stable(certificate.clone()));
                }
                self.checkpoints.add(from, checkpoint, signature);
                if let Some(certificate) = self.checkpoints.certified(&self.seat.group) {
                    self.settle_checkpoint(certificate, effects);
                }
            }
            PeerMessage::Stable(certificate) => self.settle_checkpoint(certificate, effects),
            PeerMessage::Moved(certificate) => self.on_moved(certificate, effects),
            PeerMessage::StateQuery { above, begun } => self.on_state_query(from, above, begun, effects),
            PeerMessage::StateOffer(offer) => self.on_state_offer(from, offer, effects),
            PeerMessage::LeavesQuery { slot, block } => self.on_leaves_query(from, slot, block, effects),
            PeerMessage::Leaves { slot, leaves, path } => {
                self.transfer.received_leaves(from, slot, leaves, &path);
                self.go_on_fetching(effects);
            }
            PeerMessage::ChunksQuery { slot, indexes } => {
                self.on_chunks_query(from, slot, &indexes, effects);
            }
            PeerMessage::Chunks { slot, chunks } => {
                self.transfer.received(from, slot, chunks);
                self.go_on_fetching(effects);
            }
        }
    }

    fn wants_share(&self, statement: Statement) -> bool {
        match statement {
            Statement::Block(slot) => self.blocks.wants(slot),
            // Of contacts only the current certificate, or before there is one the first, is of use.
            Statement::Endpoints(epoch, issued) => match &self.system.endpoints {
                Some(current) => current.epoch == epoch && current.issued == issued,
                None => false,
            },
        }
    }
}
