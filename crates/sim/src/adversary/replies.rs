//! Lies about what was computed: outcomes, replies, shares of their signatures and the state itself.

use super::*;

impl Adversary {
    /// What its application really computes.
    #[must_use]
    pub fn outcomes(&mut self, outcomes: Vec<Option<CommandOutcome>>) -> Vec<Option<CommandOutcome>> {
        let truthful = match self.misdeed {
            Misdeed::LieInReplies => self.rng.chance(300),
            _ => !self.miscomputes,
        };
        if truthful {
            return outcomes;
        }
        // What waits stays so: its outcome comes later, as the host's does.
        let lie = |outcome: Option<_>| outcome.map(|_| CommandOutcome::Answer(b"a lie".to_vec()));
        outcomes.into_iter().map(lie).collect()
    }

    /// What it really tells a client.
    #[must_use]
    pub fn reply(&mut self, mut reply: Reply, now: Timestamp) -> Reply {
        match self.misdeed {
            Misdeed::LieInReplies => {}
            Misdeed::Mutate | Misdeed::MutateForSome => return self.mutation.reply(reply, now),
            _ => return reply,
        }
        let session = reply.about.session;
        let earlier = self.told.insert(session, reply.clone());
        if self.rng.chance(500) {
            lie(&mut reply);
        } else if let Some(earlier) = earlier.filter(|_| self.rng.chance(500)) {
            // What the service signed for another command of the session.
            reply = Reply { about: reply.about, ..earlier };
        }
        reply
    }

    /// From now on its application computes something else.
    pub fn miscompute(&mut self) {
        self.miscomputes = true;
    }

    pub(super) fn lie_in_share(&mut self, message: Message) -> Message {
        match message {
            Message::Peer(PeerMessage::Share { statement, .. }) if self.rng.chance(300) => {
                Message::Peer(bad_share(statement))
            }
            other => other,
        }
    }
}

/// Makes a reply say something else than its proof.
pub(crate) fn lie(reply: &mut Reply) {
    reply.outcome = Outcome::Answer(b"another lie".to_vec());
}

pub(super) fn bad_share(statement: Statement) -> PeerMessage {
    PeerMessage::Share { statement, share: SignatureShare([7; 96]) }
}

pub(super) fn bad_chunks(slot: Slot, mut chunks: Vec<(u32, Vec<u8>)>) -> PeerMessage {
    chunks.iter_mut().flat_map(|(_, bytes)| bytes).for_each(|byte| *byte ^= 1);
    PeerMessage::Chunks { slot, chunks }
}

pub(super) fn bad_leaves(slot: Slot, mut leaves: Vec<Digest>, path: merkle::Path) -> PeerMessage {
    leaves.reverse();
    leaves.push(Digest::default());
    PeerMessage::Leaves { slot, leaves, path }
}
