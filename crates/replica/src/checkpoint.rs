//! Checkpoints: every replica votes on the digest of its state every K slots; n-f equal votes make it stable, and
//! the log below may go. The votes' certificate also tells a laggard which state to fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::{Group, Seat};
use smr_crypto::Signature;
use smr_wire::{ReplicaId, Slot};

use crate::chunked::Chunked;
use crate::config::Config;
use crate::message::PeerMessage;

/// Stable images that a replica keeps beside those that are being fetched: the last one and the one before.
const IMAGES_KEPT: usize = 2;

/// Own images that are not stable yet: this replica may be ahead of the others. If it is further ahead, they get to
/// the newest of these by themselves.
const IMAGES_AHEAD_MAX: usize = 3;

/// Votes of one replica that are kept: it may be ahead of this one.
const VOTES_KEPT: usize = 3;

/// Votes, own images and the newest certificate.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    votes: BTreeMap<ReplicaId, BTreeMap<Slot, (Checkpoint, Signature)>>,
    images: BTreeMap<Slot, Kept>,
    pins: BTreeMap<ReplicaId, Pin>,
    /// Images that are pinned at once at most: one for a laggard beside one for each liar.
    pins_max: usize,
    pin_periods: u64,
    stable: Option<CheckpointCertificate>,
    own: Option<(Checkpoint, Signature)>,
}

/// An own image, with its certificate once it is stable.
#[derive(Clone, Debug)]
struct Kept {
    image: Arc<Chunked>,
    certificate: Option<CheckpointCertificate>,
}

/// An image that a peer fetches: kept for it though newer ones are stable, but not for ever.
#[derive(Clone, Copy, Debug)]
struct Pin {
    slot: Slot,
    periods_left: u64,
}

impl Checkpoints {
    /// No checkpoints yet.
    #[must_use]
    pub fn new(config: &Config, faults: u16) -> Checkpoints {
        Checkpoints {
            votes: BTreeMap::new(),
            images: BTreeMap::new(),
            pins: BTreeMap::new(),
            pins_max: usize::from(faults) + 1,
            pin_periods: config.image_pin_ms.div_ceil(config.repeat_ms),
            stable: None,
            own: None,
        }
    }

    /// Votes for this replica's own image after `slot`.
    pub fn vote(&mut self, slot: Slot, image: Chunked, seat: &Seat) -> PeerMessage {
        let checkpoint = Checkpoint { slot, digest: image.digest() };
        let signature = seat.sign(&checkpoint.statement(&seat.group));
        self.images.insert(slot, Kept { image: Arc::new(image), certificate: None });
        // Workers may finish one out of turn.
        if self.own.is_none_or(|(own, _)| own.slot < slot) {
            self.own = Some((checkpoint, signature));
        }
        self.add(seat.me, checkpoint, signature);
        self.prune();
        PeerMessage::CheckpointVote { checkpoint, signature }
    }

    /// Notes a vote that its author signed.
    pub fn add(&mut self, author: ReplicaId, checkpoint: Checkpoint, signature: Signature) {
        if checkpoint.slot <= self.stable() {
            return;
        }
        let votes = self.votes.entry(author).or_default();
        // The last word counts: a replica whose state was wrong votes again.
        votes.insert(checkpoint.slot, (checkpoint, signature));
        while votes.len() > VOTES_KEPT {
            votes.pop_first();
        }
    }

    /// The highest checkpoint above the stable one that n-f votes certify and whose own image is there to be compared,
    /// if there is one now. One without lies ahead: this replica gets there by execution or by transfer, and what is
    /// certified below it must not wait for that.
    #[must_use]
    pub fn certified(&self, group: &Group) -> Option<CheckpointCertificate> {
        let mut candidates: Vec<Checkpoint> =
            self.votes.values().flat_map(|votes| votes.values().map(|(checkpoint, _)| *checkpoint)).collect();
        candidates.retain(|candidate| self.images.contains_key(&candidate.slot));
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
                .take(group.checkpoint_votes())
                .collect();
            (votes.len() == group.checkpoint_votes()).then_some(CheckpointCertificate { checkpoint, votes })
        })
    }

    /// Takes `certificate` as the stable one and gives up what is older.
    pub fn stabilise(&mut self, certificate: CheckpointCertificate) {
        let slot = certificate.checkpoint.slot;
        if slot <= self.stable() {
            return;
        }
        if let Some(kept) = self.images.get_mut(&slot) {
            kept.certificate = Some(certificate.clone());
        }
        self.stable = Some(certificate);
        for votes in self.votes.values_mut() {
            votes.retain(|voted, _| *voted > slot);
        }
        self.prune();
    }

    /// Takes over a certified image that was fetched, or found on disk.
    pub fn take(&mut self, certificate: &CheckpointCertificate, image: Arc<Chunked>) {
        let slot = certificate.checkpoint.slot;
        self.images.insert(slot, Kept { image, certificate: Some(certificate.clone()) });
    }

    /// The last stable checkpoint above a slot, with its image if that is kept.
    #[must_use]
    pub fn newest(&self, above: Slot) -> Option<(CheckpointCertificate, Arc<Chunked>)> {
        let certificate = self.stable.as_ref().filter(|certificate| certificate.checkpoint.slot > above)?;
        Some((certificate.clone(), self.image(certificate.checkpoint.slot)?.clone()))
    }

    /// What this replica made of its state and nobody certified was wrong: it will vote again.
    pub fn forget_own(&mut self, me: ReplicaId) {
        self.own = None;
        self.votes.remove(&me);
        self.images.retain(|_, kept| kept.certificate.is_some());
    }

    /// The state of which most may still be right, for one that fetches another.
    #[must_use]
    pub fn last_image(&self) -> Option<&Arc<Chunked>> {
        self.images.values().next_back().map(|kept| &kept.image)
    }

    /// Gives up images that nobody needs.
    fn prune(&mut self) {
        let stable = self.stable();
        // Those that were passed over have no certificate that could be shown to anybody.
        self.images.retain(|slot, kept| *slot > stable || kept.certificate.is_some());
        let slots: Vec<Slot> = self.images.keys().rev().copied().collect();
        let (ahead, past): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(|slot| *slot > stable);
        let pinned = |slot: &Slot| self.pins.values().any(|pin| pin.slot == *slot);
        let surplus: Vec<Slot> = ahead
            .into_iter()
            .skip(IMAGES_AHEAD_MAX)
            .chain(past.into_iter().skip(IMAGES_KEPT).filter(|slot| !pinned(slot)))
            .collect();
        for slot in surplus {
            self.images.remove(&slot);
        }
    }

    /// `peer` fetches the image after `slot`: it is kept for it for a while. One image for each peer.
    pub fn pin(&mut self, peer: ReplicaId, slot: Slot) {
        let known = self.images.get(&slot).is_some_and(|kept| kept.certificate.is_some());
        let pinned: BTreeSet<Slot> =
            self.pins.iter().filter(|(other, _)| **other != peer).map(|(_, pin)| pin.slot).collect();
        if !known || (pinned.len() >= self.pins_max && !pinned.contains(&slot)) {
            return;
        }
        // Asking again does not prolong it; otherwise it would last as long as a liar likes.
        if self.pins.get(&peer).is_none_or(|pin| pin.slot < slot) {
            self.pins.insert(peer, Pin { slot, periods_left: self.pin_periods });
            self.prune();
        }
    }

    /// One period of `repeat_ms` has passed: pins come to their end.
    pub fn period_passed(&mut self) {
        self.pins.retain(|_, pin| {
            pin.periods_left = pin.periods_left.saturating_sub(1);
            pin.periods_left > 0
        });
        self.prune();
    }

    /// The digest of this replica's own image after `slot`, if it keeps it.
    #[must_use]
    pub fn own_digest(&self, slot: Slot) -> Option<smr_crypto::Digest> {
        self.image(slot).map(|image| image.digest())
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

    /// A certified state above a slot, to be offered to one that is behind: the one that it has `begun` to fetch if it
    /// is still here, otherwise the newest.
    #[must_use]
    pub fn offer(&self, above: Slot, begun: Option<Slot>) -> Option<(CheckpointCertificate, Arc<Chunked>)> {
        let begun = begun.and_then(|slot| self.images.get_key_value(&slot));
        begun.into_iter().chain(self.images.iter().rev()).find_map(|(slot, kept)| {
            let certificate = kept.certificate.as_ref().filter(|_| *slot > above)?;
            // Own and certified state may differ if this replica is corrupted; then it has nothing to offer.
            (kept.image.digest() == certificate.checkpoint.digest)
                .then(|| (certificate.clone(), kept.image.clone()))
        })
    }

    /// The image after `slot`, if kept.
    #[must_use]
    pub fn image(&self, slot: Slot) -> Option<&Arc<Chunked>> {
        self.images.get(&slot).map(|kept| &kept.image)
    }

    /// The own vote that is not stable yet, to be repeated.
    #[must_use]
    pub fn unfinished(&self) -> Option<PeerMessage> {
        let (checkpoint, signature) = self.own.filter(|(own, _)| own.slot > self.stable())?;
        Some(PeerMessage::CheckpointVote { checkpoint, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_app::state::Chunk;
    use smr_crypto::IdentityKey;
    use smr_wire::client::FaultModel;
    use smr_wire::{Generation, ServiceId};

    fn seats() -> Vec<Seat> {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(IdentityKey::from_seed(&[seed; 32]))).collect();
        let group = Arc::new(Group {
            service: ServiceId(smr_crypto::Digest::default()),
            generation: Generation(0),
            model: FaultModel::Byzantine,
            faults: 1,
            keys: keys.iter().map(|key| key.public()).collect(),
            cores: Vec::new(),
        });
        let seat = |(index, key)| Seat::new(group.clone(), ReplicaId::at(index), key);
        keys.into_iter().enumerate().map(seat).collect()
    }

    fn image(slot: u64) -> Chunked {
        Chunked::of_chunks(vec![Chunk::new(slot.to_le_bytes().to_vec())])
    }

    fn checkpoints() -> Checkpoints {
        Checkpoints::new(&Config::default(), 1)
    }

    fn vote_of(other: &Seat, slot: u64, checkpoints: &mut Checkpoints) {
        let checkpoint = Checkpoint { slot: Slot(slot), digest: image(slot).digest() };
        let signature = other.sign(&checkpoint.statement(&other.group));
        checkpoints.add(other.me, checkpoint, signature);
    }

    /// Votes of two others, so that with the own one there are n-f.
    fn votes(seats: &[Seat], slot: u64, checkpoints: &mut Checkpoints) {
        seats[1..3].iter().for_each(|seat| vote_of(seat, slot, checkpoints));
    }

    fn stabilise(seats: &[Seat], slot: u64, checkpoints: &mut Checkpoints) {
        checkpoints.vote(Slot(slot), image(slot), &seats[0]);
        votes(seats, slot, checkpoints);
        let certificate = checkpoints.certified(&seats[0].group).expect("n-f votes");
        assert_eq!(certificate.checkpoint.slot, Slot(slot));
        checkpoints.stabilise(certificate);
    }

    #[test]
    fn one_certified_far_ahead_does_not_hide_the_one_that_can_be_compared() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        checkpoints.vote(Slot(8), image(8), &seats[0]);
        votes(&seats, 8, &mut checkpoints);
        seats[1..].iter().for_each(|seat| vote_of(seat, 16, &mut checkpoints));
        let certificate = checkpoints.certified(&seats[0].group).expect("n-f votes");
        assert_eq!(certificate.checkpoint.slot, Slot(8));
    }

    #[test]
    fn a_replica_far_ahead_keeps_few_images() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        for slot in 1..=50 {
            checkpoints.vote(Slot(slot), image(slot), &seats[0]);
        }
        assert_eq!(checkpoints.images.keys().map(|slot| slot.0).collect::<Vec<_>>(), [48, 49, 50]);
    }

    #[test]
    fn an_image_that_is_being_fetched_stays_while_newer_ones_become_stable_but_not_for_ever() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        let (laggard, liar) = (ReplicaId(3), ReplicaId(2));
        stabilise(&seats, 1, &mut checkpoints);
        checkpoints.pin(laggard, Slot(1));
        for slot in 2..=9 {
            stabilise(&seats, slot, &mut checkpoints);
            checkpoints.pin(liar, Slot(slot));
        }
        assert!(checkpoints.image(Slot(1)).is_some());
        assert_eq!(checkpoints.images.len(), IMAGES_KEPT + 1, "the liar has one, which is among the last");
        let offered = checkpoints.offer(Slot(0), Some(Slot(1))).expect("kept");
        assert_eq!(offered.0.checkpoint.slot, Slot(1));
        let newest = checkpoints.offer(Slot(1), Some(Slot(1))).expect("kept");
        assert_eq!(newest.0.checkpoint.slot, Slot(9), "of no use to one that is there already");
        for _ in 0..checkpoints.pin_periods {
            checkpoints.pin(laggard, Slot(1));
            checkpoints.period_passed();
        }
        assert!(checkpoints.image(Slot(1)).is_none(), "asking again prolongs nothing");
    }

    #[test]
    fn only_equal_votes_make_a_certificate_and_each_author_has_one_for_a_slot() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        let group = &seats[0].group;
        checkpoints.vote(Slot(8), image(8), &seats[0]);
        let other = Checkpoint { slot: Slot(8), digest: image(9).digest() };
        vote_of(&seats[1], 8, &mut checkpoints);
        checkpoints.add(seats[1].me, other, seats[1].sign(&other.statement(group)));
        vote_of(&seats[2], 8, &mut checkpoints);
        assert_eq!(checkpoints.certified(group), None, "two and one");
        vote_of(&seats[3], 8, &mut checkpoints);
        let certificate = checkpoints.certified(group).expect("n-f votes");
        let (verifier, config) = (smr_crypto::Verifier::new(8), smr_consensus::Config::default());
        let rules = smr_consensus::verified::Rules { group, config: &config, verifier: &verifier };
        assert_eq!(certificate.check(&rules), Ok(()));
        assert_eq!(checkpoints.own_digest(Slot(8)), Some(image(8).digest()));
    }

    #[test]
    fn what_is_stable_is_not_certified_again_and_older_votes_are_not_kept() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        stabilise(&seats, 8, &mut checkpoints);
        seats.iter().for_each(|seat| vote_of(seat, 8, &mut checkpoints));
        assert_eq!(checkpoints.certified(&seats[0].group), None);
        assert!(checkpoints.votes.values().all(BTreeMap::is_empty));
        stabilise(&seats, 16, &mut checkpoints);
        let earlier = CheckpointCertificate {
            checkpoint: Checkpoint { slot: Slot(8), digest: image(8).digest() },
            votes: Vec::new(),
        };
        checkpoints.stabilise(earlier);
        assert_eq!(checkpoints.stable(), Slot(16));
    }

    #[test]
    fn votes_for_later_checkpoints_outlive_an_earlier_one_and_only_so_many_are_kept() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        (9..=50).for_each(|slot| vote_of(&seats[3], slot, &mut checkpoints));
        stabilise(&seats, 8, &mut checkpoints);
        let kept: Vec<u64> = checkpoints.votes[&seats[3].me].keys().map(|slot| slot.0).collect();
        assert_eq!(kept, [48, 49, 50]);
    }

    #[test]
    fn the_own_vote_that_is_repeated_is_the_latest_though_workers_finish_out_of_turn() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        for slot in [8, 16, 12] {
            checkpoints.vote(Slot(slot), image(slot), &seats[0]);
        }
        let Some(PeerMessage::CheckpointVote { checkpoint, .. }) = checkpoints.unfinished() else {
            panic!("not stable yet");
        };
        assert_eq!(checkpoint.slot, Slot(16));
    }

    #[test]
    fn a_state_is_offered_to_those_below_it_and_only_if_it_is_the_certified_one() {
        let (seats, mut checkpoints) = (seats(), checkpoints());
        stabilise(&seats, 8, &mut checkpoints);
        assert!(checkpoints.offer(Slot(7), None).is_some());
        assert!(checkpoints.offer(Slot(8), None).is_none());
        checkpoints.vote(Slot(16), image(16), &seats[0]);
        let checkpoint = Checkpoint { slot: Slot(16), digest: image(17).digest() };
        checkpoints.stabilise(CheckpointCertificate { checkpoint, votes: Vec::new() });
        let offered = checkpoints.offer(Slot(0), None).expect("the one before");
        assert_eq!(offered.0.checkpoint.slot, Slot(8), "what this replica has at 16 is corrupted");
    }
}
