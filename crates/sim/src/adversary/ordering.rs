//! Lies about the order: proposals, votes, changes of view, and how far it is.

use super::*;

impl Adversary {
    /// One face for each half, and now and then both.
    pub(super) fn equivocate(&mut self, to: ReplicaId, message: Message) -> Vec<Message> {
        let is_proposal =
            matches!(message, Message::Consensus(Ordering::Pbft(pbft::Message::Proposal { .. })));
        let other_half = to.0.is_multiple_of(2);
        if is_proposal && self.rng.chance(100) {
            let other = self.other_face(message.clone());
            if other_half { vec![other, message] } else { vec![message, other] }
        } else if other_half {
            vec![self.other_face(message)]
        } else {
            vec![message]
        }
    }

    /// With its status, decisions of batches that it made up for each: certified by its own vote alone, once or as
    /// often as it takes.
    pub(super) fn forge(&mut self, to: ReplicaId, message: Message, now: Timestamp) -> Vec<Message> {
        let mut said = vec![message];
        let Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Status {
            view, decided, ..
        }))) = &said[0]
        else {
            return said;
        };
        let slot = decided.plus(self.rng.within(1, 2));
        let batch = Batch::new(now.plus_ms(to.0.into()), Vec::new());
        let ballot = Ballot { phase: Phase::Commit, view: *view, slot, digest: batch.digest() };
        let vote = (self.seat.me, self.seat.sign(&ballot.statement(&self.seat.group)));
        let count = *self.rng.pick(&[1, self.seat.group.quorum()]);
        let certificate = QuorumCertificate { ballot, votes: vec![vote; count] };
        let decision = pbft::Decision { batch, certificate };
        said.push(Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Decided(vec![decision])))));
        said
    }

    /// Half of its commit votes, and half of its view changes without claims.
    pub(super) fn hide(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Consensus(Ordering::Pbft(pbft::Message::Vote { ballot, .. }))
                if ballot.phase == Phase::Commit && self.rng.chance(500) =>
            {
                None
            }
            Message::Consensus(Ordering::Pbft(pbft::Message::ViewChange(change))) if self.rng.chance(500) => {
                let pbft::ViewChange { to, decided, proof, .. } = change;
                let empty = pbft::ViewChange::sign(&self.seat, to, decided, proof, Vec::new());
                Some(Message::Consensus(Ordering::Pbft(pbft::Message::ViewChange(empty))))
            }
            other => Some(other),
        }
    }

    /// With its status, the wish for the next view.
    pub(super) fn blame(&self, message: Message) -> Vec<Message> {
        let Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Status { view, .. }))) = &message
        else {
            return vec![message];
        };
        let wish = pbft::Message::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&self.seat, view.next())]));
        vec![message, Message::Consensus(Ordering::Pbft(wish))]
    }

    /// The same message with another content under a good signature, for the other half.
    fn other_face(&mut self, message: Message) -> Message {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return message };
        let altered = match message {
            pbft::Message::Proposal { view, slot, batch, .. } => self.other_proposal(view, slot, &batch),
            pbft::Message::Vote { ballot, .. } if self.rng.chance(500) => self.other_vote(ballot),
            other => other,
        };
        Message::Consensus(Ordering::Pbft(altered))
    }

    /// Another batch than the one that it should propose in this view, with all the votes for it that it has.
    pub(super) fn contradict(&self, message: Message) -> Vec<Message> {
        let Message::Consensus(Ordering::Pbft(pbft::Message::Proposal { view, slot, batch, .. })) = &message
        else {
            return vec![message];
        };
        if *view == View(0) {
            return vec![message];
        }
        let batch = other_batch(batch);
        let ballot = Ballot { phase: Phase::Commit, view: *view, slot: *slot, digest: batch.digest() };
        let signature = self.seat.sign(&ballot.statement(&self.seat.group));
        let said = [self.propose(*view, *slot, batch), pbft::Message::Vote { ballot, signature }];
        said.map(|message| Message::Consensus(Ordering::Pbft(message))).to_vec()
    }

    /// The same batch of another time.
    pub(super) fn other_proposal(&self, view: View, slot: Slot, batch: &Batch) -> pbft::Message {
        self.propose(view, slot, other_batch(batch))
    }

    pub(super) fn propose(&self, view: View, slot: Slot, batch: Batch) -> pbft::Message {
        let ballot = Ballot { phase: Phase::Prepare, view, slot, digest: batch.digest() };
        let signature = self.seat.sign(&ballot.statement(&self.seat.group));
        pbft::Message::Proposal { view, slot, batch, signature }
    }

    /// A vote for what nobody proposed.
    pub(super) fn other_vote(&self, ballot: Ballot) -> pbft::Message {
        let ballot = Ballot { digest: Digest::of("SIM", &[&ballot.digest.0]), ..ballot };
        pbft::Message::Vote { ballot, signature: self.seat.sign(&ballot.statement(&self.seat.group)) }
    }

    pub(super) fn corrupt(&mut self, message: Message) -> Message {
        match message {
            Message::Consensus(Ordering::Pbft(pbft::Message::Vote { ballot, mut signature })) => {
                let forged = self.rng.chance(500);
                let ballot = Ballot { digest: Digest::of("SIM", &[&self.rng.bytes32()]), ..ballot };
                if forged {
                    signature.0[5] ^= 1;
                } else {
                    signature = self.seat.sign(&ballot.statement(&self.seat.group));
                }
                Message::Consensus(Ordering::Pbft(pbft::Message::Vote { ballot, signature }))
            }
            Message::Peer(PeerMessage::CheckpointVote { checkpoint, .. }) => {
                let checkpoint =
                    Checkpoint { digest: Digest::of("SIM", &[&self.rng.bytes32()]), ..checkpoint };
                let signature = self.seat.sign(&checkpoint.statement(&self.seat.group));
                Message::Peer(PeerMessage::CheckpointVote { checkpoint, signature })
            }
            Message::Peer(PeerMessage::Chunks { slot, chunks }) if self.rng.chance(500) => {
                Message::Peer(bad_chunks(slot, chunks))
            }
            Message::Peer(PeerMessage::Leaves { slot, leaves, path }) if self.rng.chance(500) => {
                Message::Peer(bad_leaves(slot, leaves, path))
            }
            other => other,
        }
    }

    /// A checkpoint that nobody else has, under its own signature as often as it takes.
    pub(super) fn forged_checkpoint(&self, slot: Slot) -> CheckpointCertificate {
        let checkpoint = Checkpoint { slot, digest: Digest::default() };
        let vote = (self.seat.me, self.seat.sign(&checkpoint.statement(&self.seat.group)));
        CheckpointCertificate { checkpoint, votes: vec![vote; self.seat.group.checkpoint_votes()] }
    }

    pub(super) fn lie_about_progress(&mut self, message: Message) -> Vec<Message> {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return vec![message] };
        let said = match message {
            pbft::Message::Upkeep(Upkeep::Status { view, installed, decided }) => {
                let ahead = decided.plus(self.rng.within(1, 1 << 20));
                let lies = [
                    pbft::Message::Upkeep(Upkeep::Status { view, installed, decided: ahead }),
                    pbft::Message::Upkeep(Upkeep::Pruned(self.forged_checkpoint(ahead))),
                ];
                lies.to_vec()
            }
            pbft::Message::Upkeep(Upkeep::Decided(decisions)) => {
                let last =
                    decisions.last().map(|decision| decision.certificate.ballot.slot).unwrap_or_default();
                vec![pbft::Message::Upkeep(Upkeep::Pruned(self.forged_checkpoint(last.plus(1))))]
            }
            // What it was told by others of their views' beginnings, under its own name.
            pbft::Message::NewView(new_view) => {
                vec![pbft::Message::NewView(pbft::NewView::sign(&self.seat, new_view.view, new_view.changes))]
            }
            other => vec![other],
        };
        said.into_iter().map(|message| Message::Consensus(Ordering::Pbft(message))).collect()
    }
}

/// The same requests at another time.
pub(super) fn other_batch(batch: &Batch) -> Batch {
    Batch::new(batch.time().plus_ms(1), batch.entries().to_vec())
}

/// Whether the message would let others decide, or know what is decided.
pub(super) fn shows_decision(message: &Message) -> bool {
    let Message::Consensus(Ordering::Pbft(message)) = message else { return false };
    match message {
        pbft::Message::Vote { ballot, .. } => ballot.phase == Phase::Commit,
        pbft::Message::Upkeep(Upkeep::Decided(_)) | pbft::Message::Upkeep(Upkeep::Body { .. }) => true,
        _ => false,
    }
}
