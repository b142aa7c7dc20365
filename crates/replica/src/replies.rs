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
use smr_wire::{ClientId, Epoch, Outcome, Refusal, ReplicaId, Reply, ReplyProof, ServiceId, Slot, Timestamp};

use crate::sessions::bytes_of;

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

/// Bytes that a reply costs in memory beside what it carries: names, leaf and path in the tree, place.
const MEMBER_BYTES: u64 = 384;

/// What becomes of a reply for which its slot has no room.
pub(crate) const CROWDED_OUT: &str = "the replies of this slot are too large together; this one was dropped, but the command has had its effect";

/// Makes the outcomes of a slot fit into `bytes_max`: the largest give way to `instead` first, so that small ones are
/// safe from whoever asks for large ones.
pub fn fit(outcomes: &mut [Outcome], bytes_max: u64, instead: &Outcome) {
    let mut total: u64 = outcomes.iter().map(bytes_of).sum();
    let mut by_size: Vec<usize> = (0..outcomes.len()).collect();
    by_size.sort_by_key(|index| std::cmp::Reverse(bytes_of(&outcomes[*index])));
    for index in by_size {
        if total <= bytes_max {
            break;
        }
        total -= bytes_of(&outcomes[index]);
        outcomes[index] = instead.clone();
    }
}

/// A slot's replies once all have ended.
#[derive(Clone, Debug)]
pub struct Block {
    members: Vec<Member>,
    bytes: u64,
    tree: merkle::Tree,
    proof: Option<BlockProof>,
}

/// Why clients may believe the replies of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockProof {
    /// The service signed it.
    Signed(ServiceSignature),
    /// Replicas of this service do not lie.
    Channel,
}

impl Block {
    /// Closes a block.
    #[must_use]
    pub fn close(members: Vec<Member>) -> Block {
        let leaves = members
            .iter()
            .map(|member| Reply::leaf(&member.client, &member.about, member.outcome()))
            .collect();
        let bytes = members.iter().map(|member| MEMBER_BYTES + bytes_of(member.outcome())).sum();
        Block { members, bytes, tree: merkle::Tree::new(leaves), proof: None }
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

    /// The reply of one member with its proof, once there is one.
    #[must_use]
    pub fn reply(&self, slot: Slot, member: usize) -> Option<Reply> {
        let proof = match self.proof? {
            BlockProof::Signed(signature) => {
                ReplyProof::Certified { slot, path: self.tree.path(member), signature }
            }
            BlockProof::Channel => ReplyProof::Channel { slot },
        };
        let Member { about, .. } = self.members[member];
        let outcome = self.members[member].outcome().clone();
        Some(Reply { about, outcome, proof })
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

/// A command of a client, by name.
pub type Key = (ClientId, About);

/// The last blocks and where to find a reply in them.
#[derive(Clone, Debug)]
pub struct Blocks {
    kept: u64,
    bytes_max: u64,
    bytes: u64,
    blocks: BTreeMap<Slot, Block>,
    places: BTreeMap<Key, (Slot, usize)>,
    last: Slot,
    /// Up to here none is kept.
    gone: Slot,
}

impl Blocks {
    /// Keeps the blocks of the last `kept` slots, as far as they fit into `bytes_max`; the last one always.
    #[must_use]
    pub fn new(kept: u32, bytes_max: u64) -> Blocks {
        Blocks {
            kept: u64::from(kept),
            bytes_max,
            bytes: 0,
            blocks: BTreeMap::new(),
            places: BTreeMap::new(),
            last: Slot(0),
            gone: Slot(0),
        }
    }

    /// Adds the block of `slot`, the latest so far, and gives up the oldest for it. Returns the commands whose
    /// replies went with them.
    pub fn add(&mut self, slot: Slot, block: Block) -> Vec<Key> {
        for (index, member) in block.members.iter().enumerate() {
            // "No longer kept" is true of sessions; here the reply may still be.
            let is_less = *member.outcome() == Outcome::Refused(Refusal::Stale);
            let key = (member.client, member.about);
            if !(is_less && self.places.contains_key(&key)) {
                self.places.insert(key, (slot, index));
            }
        }
        self.bytes += block.bytes;
        self.blocks.insert(slot, block);
        self.last = slot;
        let mut lost = Vec::new();
        while let Some(oldest) = self.blocks.first_entry().filter(|oldest| {
            let old = *oldest.key() <= slot.minus(self.kept);
            old || (self.bytes > self.bytes_max && *oldest.key() < slot)
        }) {
            let (slot, block) = oldest.remove_entry();
            self.bytes -= block.bytes;
            self.gone = slot;
            for member in &block.members {
                let key = (member.client, member.about);
                if self.places.get(&key).is_some_and(|(kept, _)| *kept == slot) {
                    self.places.remove(&key);
                    lost.push(key);
                }
            }
        }
        lost
    }

    /// The block of `slot`, if kept.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Block> {
        self.blocks.get(&slot)
    }

    /// Where the reply to a command stands.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<(Slot, usize)> {
        self.places.get(key).copied()
    }

    /// The reply to a command with its proof, if it is kept and there is one.
    #[must_use]
    pub fn reply(&self, key: &Key) -> Option<Reply> {
        let (slot, index) = self.find(key)?;
        self.blocks.get(&slot)?.reply(slot, index)
    }

    /// The commands to which the block of `slot` is the one that replies.
    pub fn answered_by(&self, slot: Slot) -> impl Iterator<Item = Key> + '_ {
        let members = self.blocks.get(&slot).map_or(&[][..], Block::members);
        members.iter().enumerate().filter_map(move |(index, member)| {
            let key = (member.client, member.about);
            (self.find(&key) == Some((slot, index))).then_some(key)
        })
    }

    /// Whether shares for `slot` may still be of use: it is kept, or not far ahead of what is executed.
    #[must_use]
    pub fn wants(&self, slot: Slot) -> bool {
        slot > self.oldest() && slot <= self.last.plus(self.kept)
    }

    /// The slot below the oldest that is kept.
    #[must_use]
    pub fn oldest(&self) -> Slot {
        self.last.minus(self.kept).max(self.gone)
    }

    /// Notes why to believe the block of `slot`.
    pub fn prove(&mut self, slot: Slot, proof: BlockProof) {
        if let Some(block) = self.blocks.get_mut(&slot) {
            block.proof = Some(proof);
        }
    }

    /// Whether the block of `slot` has its proof.
    #[must_use]
    pub fn is_proven(&self, slot: Slot) -> bool {
        self.blocks.get(&slot).is_some_and(|block| block.proof.is_some())
    }

    /// Forgets everything: another state takes over after `slot`.
    pub fn restart(&mut self, slot: Slot) {
        self.blocks.clear();
        self.places.clear();
        self.bytes = 0;
        self.last = slot;
        self.gone = slot;
    }
}

/// Shares by statement and author. Each replica has at most one share per statement here, and none once it was
/// caught with a bad one, until its state is seen to be right.
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

    /// They are of a state that was wrong, or were compared with what follows from it.
    pub fn forget(&mut self) {
        self.shares.clear();
        self.liars.clear();
    }

    /// The state of `author` was right lately: what it says counts again, as bad shares may have come from a state that was
    /// wrong and is mended.
    pub fn forgive(&mut self, author: ReplicaId) {
        self.liars.retain(|liar| *liar != author);
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
        let mut blocks = Blocks::new(16, 1 << 20);
        blocks.add(Slot(3), Block::close((1..=5).map(member).collect()));
        assert_eq!(blocks.get(Slot(3)).and_then(|b| b.reply(Slot(3), 0)), None, "not signed yet");
        assert!(!blocks.is_proven(Slot(3)));
        let signature = ServiceSignature([7; 96]);
        blocks.prove(Slot(3), BlockProof::Signed(signature));
        assert!(blocks.is_proven(Slot(3)) && !blocks.is_proven(Slot(4)));
        let block = blocks.get(Slot(3)).expect("kept");
        for index in 0..5 {
            let reply = block.reply(Slot(3), index).expect("signed");
            let statement = reply.statement(&service, &member(1).client);
            assert_eq!(statement, Some((block.statement(&service, Slot(3)), signature)));
        }
    }

    #[test]
    fn old_blocks_go_and_the_latest_place_of_a_reply_stays() {
        let mut blocks = Blocks::new(16, 1 << 20);
        blocks.add(Slot(1), Block::close(vec![member(1), member(2)]));
        blocks.add(Slot(17), Block::close(vec![member(1)]));
        assert!(blocks.get(Slot(1)).is_none());
        assert_eq!(blocks.find(&key(1)), Some((Slot(17), 0)));
        assert_eq!(blocks.find(&key(2)), None);
    }

    fn key(number: u64) -> Key {
        (member(number).client, member(number).about)
    }

    fn with(number: u64, outcome: Outcome) -> Member {
        Member { state: MemberState::Ended(outcome), ..member(number) }
    }

    #[test]
    fn blocks_of_large_replies_go_oldest_first_when_they_are_too_many_bytes() {
        let mut blocks = Blocks::new(1000, 4 << 20);
        for slot in 1..=100 {
            let large = with(slot, Outcome::Answer(vec![0; 1 << 20]));
            let lost = blocks.add(Slot(slot), Block::close(vec![large]));
            assert_eq!(lost.as_slice(), if slot > 3 { vec![key(slot - 3)] } else { vec![] });
            assert!(blocks.bytes <= 4 << 20);
        }
        assert_eq!((blocks.blocks.len(), blocks.places.len(), blocks.oldest()), (3, 3, Slot(97)));
        assert!(!blocks.wants(Slot(97)) && blocks.wants(Slot(98)));
        let huge = with(101, Outcome::Answer(vec![0; 8 << 20]));
        assert_eq!(blocks.add(Slot(101), Block::close(vec![huge])).len(), 3);
        assert_eq!(blocks.find(&key(101)), Some((Slot(101), 0)), "the last one stays");
    }

    #[test]
    fn blocks_may_fill_their_room_to_the_last_byte() {
        let mut blocks = Blocks::new(1000, 4 * (MEMBER_BYTES + 1));
        let lost: Vec<usize> =
            (1..=5).map(|slot| blocks.add(Slot(slot), Block::close(vec![member(slot)])).len()).collect();
        assert_eq!(lost, [0, 0, 0, 0, 1]);
    }

    #[test]
    fn the_word_that_a_reply_is_no_longer_kept_does_not_replace_the_reply() {
        let mut blocks = Blocks::new(16, 1 << 20);
        let stale = || with(1, Outcome::Refused(Refusal::Stale));
        blocks.add(Slot(1), Block::close(vec![member(1)]));
        blocks.add(Slot(2), Block::close(vec![stale(), member(2)]));
        assert_eq!(blocks.find(&key(1)), Some((Slot(1), 0)));
        assert_eq!(blocks.answered_by(Slot(2)).collect::<Vec<_>>(), [key(2)]);
        blocks.add(Slot(17), Block::close(vec![stale()]));
        assert_eq!(blocks.add(Slot(18), Block::close(vec![])), [key(2)]);
    }

    #[test]
    fn the_largest_replies_of_a_slot_give_way_and_small_ones_are_safe() {
        let answer = |bytes: usize| Outcome::Answer(vec![0; bytes]);
        let kept = |bytes_max| {
            let mut outcomes = [10, 900, 5, 500, 900].map(answer);
            fit(&mut outcomes, bytes_max, &Outcome::Fault(CROWDED_OUT.into()));
            outcomes.map(|outcome| matches!(outcome, Outcome::Answer(_)))
        };
        assert_eq!(kept(2315), [true; 5]);
        assert_eq!(kept(1450), [true, false, true, true, true]);
        assert_eq!(kept(14), [false, false, true, false, false]);
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

    #[test]
    fn shares_on_what_is_too_old_or_was_renewed_are_forgotten() {
        let endpoints = |issued| Statement::Endpoints(Epoch(1), Timestamp(issued));
        let all =
            [3, 4, 5].map(|slot| Statement::Block(Slot(slot))).into_iter().chain([1, 2, 3].map(endpoints));
        let mut shares = Shares::default();
        all.clone().for_each(|statement| shares.add(statement, ReplicaId(1), SignatureShare([0; 96])));
        shares.prune(Slot(2), None);
        assert!(all.clone().all(|statement| shares.of(statement, ReplicaId(1)).is_some()));
        shares.prune(Slot(4), Some(endpoints(2)));
        let kept: Vec<Statement> =
            all.filter(|statement| shares.of(*statement, ReplicaId(1)).is_some()).collect();
        assert_eq!(kept, [Statement::Block(Slot(5)), endpoints(2), endpoints(3)]);
    }
}
