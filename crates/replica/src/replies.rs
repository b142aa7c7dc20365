//! Blocks of replies. All replies of a slot stand under one Merkle root; each replica signs one share per block,
//! and a contact combines f+1 of them into the one signature that a client checks.
//!
//! ```text
//!   members decided -> executed: leaves, root, statement -> own share, others' shares -> combined -> replies out
//! ```

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::threshold::{ServiceSignature, SignatureShare};
use smr_crypto::{Digest, merkle};
use smr_wire::client::About;
use smr_wire::{ClientId, Epoch, Outcome, ReplicaId, Reply, ReplyProof, ServiceId, Slot, Timestamp};

/// What the service signs, by name. Ordered by age among those of one kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub enum Statement {
    /// The block of replies of a slot.
    Block(Slot),
    /// The contacts of an epoch, as issued at an agreed time.
    Endpoints(Epoch, Timestamp),
}

/// One reply of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Whose command.
    pub client: ClientId,
    /// Which command.
    pub about: About,
    /// What becomes of it.
    pub state: MemberState,
}

/// What becomes of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It runs, as this command of its slot.
    Running(usize),
    /// It was admitted before: the outcome is that of the first time.
    Repeat,
    /// It is larger than commands may be.
    TooLarge,
    /// This.
    Ended(Outcome),
}

/// A slot's replies once all have ended.
#[derive(Clone, Debug)]
pub struct Block {
    members: Vec<Member>,
    tree: merkle::Tree,
    signature: Option<ServiceSignature>,
}

impl Block {
    /// Closes a block.
    #[must_use]
    pub fn close(members: Vec<Member>) -> Block {
        let leaves = members
            .iter()
            .map(|member| Reply::leaf(&member.client, &member.about, member.outcome()))
            .collect();
        Block { members, tree: merkle::Tree::new(leaves), signature: None }
    }

    /// Root over the replies.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What the service signs for this block, which is that of `slot`.
    #[must_use]
    pub fn statement(&self, service: &ServiceId, slot: Slot) -> Digest {
        let count = u32::try_from(self.members.len()).expect("a batch has fewer entries");
        Reply::block_statement(service, slot, &self.root(), count)
    }

    /// The certified reply of one member, once the block is signed.
    #[must_use]
    pub fn reply(&self, slot: Slot, member: usize) -> Option<Reply> {
        let signature = self.signature?;
        let path = self.tree.path(member);
        let Member { about, .. } = self.members[member];
        let outcome = self.members[member].outcome().clone();
        Some(Reply { about, outcome, proof: ReplyProof::Certified { slot, path, signature } })
    }
}

impl Member {
    /// What became of it.
    ///
    /// # Panics
    /// If it has not ended; blocks are closed only when all members have.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        match &self.state {
            MemberState::Ended(outcome) => outcome,
            MemberState::Running(_) | MemberState::Repeat | MemberState::TooLarge => {
                unreachable!("a closed block's members ended")
            }
        }
    }
}

/// The last blocks, their shares and where to find a reply in them.
#[derive(Clone, Debug)]
pub struct Blocks {
    kept: u64,
    blocks: BTreeMap<Slot, Block>,
    places: BTreeMap<(ClientId, About), (Slot, usize)>,
    last: Slot,
}

impl Blocks {
    /// Keeps the blocks of the last `kept` slots.
    #[must_use]
    pub fn new(kept: u32) -> Blocks {
        Blocks { kept: u64::from(kept), blocks: BTreeMap::new(), places: BTreeMap::new(), last: Slot(0) }
    }

    /// Adds the block of `slot`, the latest so far, and gives up those that are too old.
    pub fn add(&mut self, slot: Slot, block: Block) {
        for (index, member) in block.members.iter().enumerate() {
            self.places.insert((member.client, member.about), (slot, index));
        }
        self.blocks.insert(slot, block);
        self.last = slot;
        while let Some(oldest) = self.blocks.first_entry().filter(|e| *e.key() <= slot.minus(self.kept)) {
            let (slot, block) = oldest.remove_entry();
            for member in &block.members {
                let place = (member.client, member.about);
                if self.places.get(&place).is_some_and(|(kept, _)| *kept == slot) {
                    self.places.remove(&place);
                }
            }
        }
    }

    /// The block of `slot`, if kept.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Block> {
        self.blocks.get(&slot)
    }

    /// Where the latest reply to a command stands.
    #[must_use]
    pub fn find(&self, client: ClientId, about: About) -> Option<(Slot, usize)> {
        self.places.get(&(client, about)).copied()
    }

    /// Whether shares for `slot` may still be of use: it is kept, or not far ahead of what is executed.
    #[must_use]
    pub fn wants(&self, slot: Slot) -> bool {
        slot > self.last.minus(self.kept) && slot <= self.last.plus(self.kept)
    }

    /// The oldest slot that is kept.
    #[must_use]
    pub fn oldest(&self) -> Slot {
        self.last.minus(self.kept)
    }

    /// Notes the service's signature on the block of `slot`.
    pub fn signed(&mut self, slot: Slot, signature: ServiceSignature) {
        if let Some(block) = self.blocks.get_mut(&slot) {
            block.signature = Some(signature);
        }
    }

    /// Whether the block of `slot` is signed.
    #[must_use]
    pub fn is_signed(&self, slot: Slot) -> bool {
        self.blocks.get(&slot).is_some_and(|block| block.signature.is_some())
    }

    /// Forgets everything: another state takes over after `slot`.
    pub fn restart(&mut self, slot: Slot) {
        self.blocks.clear();
        self.places.clear();
        self.last = slot;
    }
}

/// Shares by statement and author. Each replica has at most one share per statement here, and none once it was
/// caught with a bad one.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    shares: BTreeMap<Statement, BTreeMap<ReplicaId, SignatureShare>>,
    combining: Option<Statement>,
    liars: Vec<ReplicaId>,
}

impl Shares {
    /// Notes a share; the first of an author for a statement stays.
    pub fn add(&mut self, statement: Statement, author: ReplicaId, share: SignatureShare) {
        if !self.liars.contains(&author) {
            self.shares.entry(statement).or_default().entry(author).or_insert(share);
        }
    }

    /// The share of `author` on `statement`, if there is one.
    #[must_use]
    pub fn of(&self, statement: Statement, author: ReplicaId) -> Option<SignatureShare> {
        self.shares.get(&statement)?.get(&author).copied()
    }

    /// The shares on `statement` if there are `threshold` of them and nothing is being combined already: then it
    /// is, until [`Shares::combined`]. One combination at a time, so that a burst of blocks does not take every
    /// worker from the votes.
    pub fn begin(&mut self, statement: Statement, threshold: u16) -> Option<Vec<(u16, SignatureShare)>> {
        if self.combining.is_some() {
            return None;
        }
        let shares = self.shares.get(&statement).filter(|shares| shares.len() >= usize::from(threshold))?;
        self.combining = Some(statement);
        Some(shares.iter().map(|(author, share)| (author.0, *share)).collect())
    }

    /// A combination has ended; the shares of `culprits` were bad. Returns those not known as liars before.
    pub fn combined(&mut self, culprits: &[ReplicaId]) -> Vec<ReplicaId> {
        self.combining = None;
        let fresh: Vec<ReplicaId> = culprits.iter().copied().filter(|c| !self.liars.contains(c)).collect();
        self.liars.extend(&fresh);
        for shares in self.shares.values_mut() {
            shares.retain(|author, _| !self.liars.contains(author));
        }
        fresh
    }

    /// Forgets shares on statements that are too old or were renewed.
    pub fn prune(&mut self, oldest: Slot, endpoints: Option<Statement>) {
        self.shares.retain(|statement, _| match statement {
            Statement::Block(slot) => *slot > oldest,
            Statement::Endpoints(..) => endpoints.is_none_or(|current| *statement >= current),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_crypto::PublicKey;
    use smr_wire::{RequestNumber, SessionId};

    fn member(number: u64) -> Member {
        Member {
            client: ClientId(PublicKey([1; 32])),
            about: About { session: SessionId(1), number: RequestNumber(number) },
            state: MemberState::Ended(Outcome::Answer(vec![1])),
        }
    }

    #[test]
    fn a_reply_leads_to_the_statement_that_was_signed() {
        let service = ServiceId(Digest::of("TEST", &[]));
        let mut blocks = Blocks::new(16);
        blocks.add(Slot(3), Block::close((1..=5).map(member).collect()));
        assert_eq!(blocks.get(Slot(3)).and_then(|b| b.reply(Slot(3), 0)), None, "not signed yet");
        let signature = ServiceSignature([7; 96]);
        blocks.signed(Slot(3), signature);
        let block = blocks.get(Slot(3)).expect("kept");
        for index in 0..5 {
            let reply = block.reply(Slot(3), index).expect("signed");
            let statement = reply.statement(&service, &member(1).client);
            assert_eq!(statement, Some((block.statement(&service, Slot(3)), signature)));
        }
    }

    #[test]
    fn old_blocks_go_and_the_latest_place_of_a_reply_stays() {
        let mut blocks = Blocks::new(16);
        blocks.add(Slot(1), Block::close(vec![member(1), member(2)]));
        blocks.add(Slot(17), Block::close(vec![member(1)]));
        assert!(blocks.get(Slot(1)).is_none());
        assert_eq!(blocks.find(member(1).client, member(1).about), Some((Slot(17), 0)));
        assert_eq!(blocks.find(member(2).client, member(2).about), None);
    }

    #[test]
    fn a_liar_is_caught_once_and_heard_no_more() {
        let mut shares = Shares::default();
        let statement = Statement::Block(Slot(1));
        for author in 0..3 {
            shares.add(statement, ReplicaId(author), SignatureShare([0; 96]));
        }
        assert_eq!(shares.begin(statement, 2).map(|s| s.len()), Some(3));
        assert_eq!(shares.begin(statement, 2), None, "one at a time");
        assert_eq!(shares.combined(&[ReplicaId(1)]), [ReplicaId(1)]);
        assert_eq!(shares.combined(&[ReplicaId(1)]), []);
        shares.add(statement, ReplicaId(1), SignatureShare([0; 96]));
        assert_eq!(shares.begin(statement, 2).map(|s| s.len()), Some(2));
    }
}
