//! Checkpoints: every replica votes on the digest of its state every K slots; n-f equal votes make it stable, and
//! the log below may go. The votes' certificate also tells a laggard which state to fetch.

use std::collections::BTreeMap;
use std::sync::Arc;

use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::{Group, Seat};
use smr_crypto::Signature;
use smr_wire::{ReplicaId, Slot};

use crate::message::PeerMessage;
use crate::system::Chunked;

/// Images that a replica keeps: the stable one and the one before, which somebody may still be fetching.
const IMAGES_KEPT: usize = 2;

/// Votes of one replica that are kept: it may be one checkpoint ahead of the others.
const VOTES_KEPT: usize = 3;

/// Votes, own images and the newest certificate.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    votes: BTreeMap<ReplicaId, BTreeMap<Slot, (Checkpoint, Signature)>>,
    images: BTreeMap<Slot, Arc<Chunked>>,
    stable: Option<CheckpointCertificate>,
    own: Option<(Checkpoint, Signature)>,
}

impl Checkpoints {
    /// Votes for this replica's own image after `slot`.
    pub fn vote(&mut self, slot: Slot, image: Chunked, seat: &Seat) -> PeerMessage {
        let checkpoint = Checkpoint { slot, digest: image.digest() };
        let signature = seat.sign(&checkpoint.statement(&seat.group));
        self.images.insert(slot, Arc::new(image));
        self.own = Some((checkpoint, signature));
        self.add(seat.me, checkpoint, signature);
        PeerMessage::CheckpointVote { checkpoint, signature }
    }

    /// Notes a vote that its author signed.
    pub fn add(&mut self, author: ReplicaId, checkpoint: Checkpoint, signature: Signature) {
        if checkpoint.slot <= self.stable() {
            return;
        }
        let votes = self.votes.entry(author).or_default();
        votes.entry(checkpoint.slot).or_insert((checkpoint, signature));
        while votes.len() > VOTES_KEPT {
            votes.pop_first();
        }
    }

    /// The highest checkpoint above the stable one that n-f votes certify, if there is one now.
    #[must_use]
    pub fn certified(&self, group: &Group) -> Option<CheckpointCertificate> {
        let mut candidates: Vec<Checkpoint> =
            self.votes.values().flat_map(|votes| votes.values().map(|(checkpoint, _)| *checkpoint)).collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().rev().find_map(|checkpoint| {
            let votes: Vec<(ReplicaId, Signature)> = self
                .votes
                .iter()
                .filter_map(|(author, votes)| {
                    let (vote, signature) = votes.get(&checkpoint.slot)?;
                    (*vote == checkpoint).then_some((*author, *signature))
                })
                .take(group.available())
                .collect();
            (votes.len() == group.available()).then_some(CheckpointCertificate { checkpoint, votes })
        })
    }

    /// Takes `certificate` as the stable one and gives up what is older.
    pub fn stabilise(&mut self, certificate: CheckpointCertificate) {
        let slot = certificate.checkpoint.slot;
        if slot <= self.stable() {
            return;
        }
        self.stable = Some(certificate);
        for votes in self.votes.values_mut() {
            votes.retain(|voted, _| *voted > slot);
        }
        let stable_images = self.images.range(..=slot).count();
        for _ in IMAGES_KEPT..stable_images {
            self.images.pop_first();
        }
    }

    /// The digest of this replica's own image after `slot`, if it keeps it.
    #[must_use]
    pub fn own_digest(&self, slot: Slot) -> Option<smr_crypto::Digest> {
        self.images.get(&slot).map(|image| image.digest())
    }

    /// The last stable slot.
    #[must_use]
    pub fn stable(&self) -> Slot {
        self.stable.as_ref().map(|certificate| certificate.checkpoint.slot).unwrap_or_default()
    }

    /// The certificate of the last stable checkpoint if it is at `slot` or above.
    #[must_use]
    pub fn certificate_from(&self, slot: Slot) -> Option<&CheckpointCertificate> {
        self.stable.as_ref().filter(|certificate| certificate.checkpoint.slot >= slot)
    }

    /// The newest certified state above `slot` that this replica has, to be offered to one that is behind.
    #[must_use]
    pub fn offer(&self, above: Slot) -> Option<(CheckpointCertificate, Arc<Chunked>)> {
        let certificate = self.stable.as_ref().filter(|c| c.checkpoint.slot > above)?;
        let image = self.images.get(&certificate.checkpoint.slot)?;
        // Own and certified state may differ if this replica is corrupted; then it has nothing to offer.
        (image.digest() == certificate.checkpoint.digest).then(|| (certificate.clone(), image.clone()))
    }

    /// The image after `slot`, if kept.
    #[must_use]
    pub fn image(&self, slot: Slot) -> Option<&Arc<Chunked>> {
        self.images.get(&slot)
    }

    /// The own vote that is not stable yet, to be repeated.
    #[must_use]
    pub fn unfinished(&self) -> Option<PeerMessage> {
        let (checkpoint, signature) = self.own.filter(|(own, _)| own.slot > self.stable())?;
        Some(PeerMessage::CheckpointVote { checkpoint, signature })
    }
}
