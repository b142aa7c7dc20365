//! State transfer: a replica whose missing decisions nobody keeps any more, or whose own state is wrong, fetches a certified
//! state in chunks and goes on from there.
//!
//! ```text
//!   one peer offers a state: the goal --> whoever else offers the same is a source, too
//!   blocks of leaves, each with its path to the certified root --> every chunk is known by its digest
//!   chunks from all sources at once, but for those at hand from a state of before
//! ```
//!
//! So a chunk that was fetched is right whoever gave it, and a state that is given up for a newer one costs little. A source
//! that lets a question wait for a whole period has its questions put to others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smr_app::state::Chunk;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_crypto::{Digest, merkle};
use smr_wire::{ReplicaId, Slot};

use crate::chunked::{BLOCK_HEIGHT, Chunked};
use crate::known_bugs;
use crate::message::{Offer, PeerMessage};

/// Chunks that a certified state may have: as it is certified nobody has to believe more, and nobody needs it.
const CHUNKS_MAX: u32 = 1 << 26;

/// Chunks that one question asks for at most.
pub const ASKED_MAX: usize = 64;

/// Questions that one source has to answer at once.
const QUESTIONS_MAX: usize = 4;

/// A state on its way.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// The slot up to which decisions are missing that correct peers no longer keep; nothing is wanted if there is none.
    wanted: Option<Slot>,
    /// Who was asked last which state there is.
    asked: Option<ReplicaId>,
    goal: Option<Goal>,
    /// Who serves the goal.
    sources: BTreeMap<ReplicaId, Source>,
    /// Who has offered something newer instead.
    newer: BTreeMap<ReplicaId, Slot>,
    /// Who has lied of the goal.
    liars: BTreeSet<ReplicaId>,
    /// Chunks of other states, by digest.
    at_hand: BTreeMap<Digest, Chunk>,
}

/// The state that is fetched.
#[derive(Clone, Debug)]
struct Goal {
    certificate: CheckpointCertificate,
    root: Digest,
    /// What each chunk must be, once its block of leaves is there.
    leaves: Vec<Option<Digest>>,
    chunks: Vec<Option<Chunk>>,
    missing: u32,
    /// Not asked for yet, or in vain.
    blocks_left: VecDeque<u32>,
    chunks_left: VecDeque<u32>,
}

/// A peer that serves the goal.
#[derive(Clone, Debug, Default)]
struct Source {
    questions: Vec<Question>,
    /// How often it gave less than it was asked for.
    short: u64,
}

#[derive(Clone, Debug)]
struct Question {
    what: Asked,
    /// A period has ended since.
    is_old: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    Block(u32),
    Chunks(Vec<u32>),
}

impl Transfer {
    /// Wants a state, as correct peers keep no decisions up to `base`. True if that is new.
    pub fn want(&mut self, base: Slot) -> bool {
        let fresh = self.wanted.is_none();
        self.wanted = Some(base);
        fresh
    }

    /// Whether a state is wanted.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// The slot that ends the wish, however it is reached.
    #[must_use]
    pub fn wanted(&self) -> Option<Slot> {
        self.wanted
    }

    /// How many chunks are there, and of how many.
    #[must_use]
    pub fn progress(&self) -> Option<(u32, u32)> {
        let goal = self.goal.as_ref()?;
        let count = u32::try_from(goal.chunks.len()).expect("checked when it was offered");
        Some((count - goal.missing, count))
    }

    /// A state of this replica, of which chunks may be of use. They are hashed again before they are used.
    pub fn has_at_hand<'a>(&mut self, chunks: impl Iterator<Item = &'a Chunk>) {
        self.at_hand.extend(chunks.map(|chunk| (chunk.digest(), chunk.clone())));
    }

    /// Asks for a state above this slot: the next member in turn for any, or the others for the one that is fetched.
    pub fn seek(&mut self, me: ReplicaId, size: usize, above: Slot) -> Vec<(ReplicaId, PeerMessage)> {
        let others = (0..size).map(ReplicaId::at).filter(|peer| *peer != me);
        if let Some(goal) = &self.goal {
            let begun = Some(goal.certificate.checkpoint.slot);
            let idle = others.filter(|peer| !self.sources.contains_key(peer) && !self.liars.contains(peer));
            return idle.map(|peer| (peer, PeerMessage::StateQuery { above, begun })).collect();
        }
        let after = self.asked.unwrap_or(me).index();
        let next = (1..=size).map(|step| ReplicaId::at((after + step) % size)).find(|peer| *peer != me);
        self.asked = next;
        next.map(|peer| (peer, PeerMessage::StateQuery { above, begun: None })).into_iter().collect()
    }

    /// An offer of `from`, which was checked, to a replica that needs a state above a slot. True if that is another goal than
    /// before.
    pub fn offered(&mut self, from: ReplicaId, above: Slot, offer: Offer) -> bool {
        let Offer { certificate, count, root } = offer;
        let slot = certificate.checkpoint.slot;
        if !self.is_wanted()
            || self.liars.contains(&from)
            || slot <= above
            || !(1..=CHUNKS_MAX).contains(&count)
        {
            return false;
        }
        match &self.goal {
            Some(goal) if goal.certificate.checkpoint == certificate.checkpoint => {
                self.sources.entry(from).or_default();
                false
            }
            Some(goal) => {
                if slot > goal.certificate.checkpoint.slot {
                    self.newer.insert(from, slot);
                }
                false
            }
            // Others are asked once there is something to compare with: so all keep the same state for this replica.
            None if self.asked != Some(from) => false,
            None => {
                let empty = vec![None; count as usize];
                let blocks_left = (0..merkle::in_blocks(count, BLOCK_HEIGHT)).collect();
                self.goal = Some(Goal {
                    certificate,
                    root,
                    leaves: vec![None; count as usize],
                    chunks: empty,
                    missing: count,
                    blocks_left,
                    chunks_left: VecDeque::new(),
                });
                self.sources.entry(from).or_default();
                true
            }
        }
    }

    /// What to ask sources for now.
    pub fn ask(&mut self) -> Vec<(ReplicaId, PeerMessage)> {
        let mut asks = Vec::new();
        let Some(goal) = &mut self.goal else { return asks };
        let slot = goal.certificate.checkpoint.slot;
        loop {
            // Whoever has least to do, so that each has something; and of those who gives most for a question, so that one who
            // answers little by little does not get what it left out.
            let free = self.sources.iter_mut().filter(|(_, source)| source.questions.len() < QUESTIONS_MAX);
            let next = free.min_by_key(|(_, source)| (source.questions.len(), source.short));
            let Some((peer, source)) = next else { return asks };
            let Some(what) = goal.next() else { return asks };
            asks.push((*peer, what.message(slot)));
            source.questions.push(Question { what, is_old: false });
        }
    }

    /// A block of leaves. True if it was missing and is of the certified state.
    pub fn received_leaves(
        &mut self,
        from: ReplicaId,
        slot: Slot,
        leaves: Vec<Digest>,
        path: &merkle::Path,
    ) -> bool {
        let Some(goal) = self.goal.as_mut().filter(|goal| goal.certificate.checkpoint.slot == slot) else {
            return false;
        };
        let block = path.index;
        let count = u32::try_from(goal.leaves.len()).expect("checked when it was offered");
        let first = (block as usize) << BLOCK_HEIGHT;
        let place = goal.leaves.get(first..).and_then(|rest| rest.chunks(1 << BLOCK_HEIGHT).next());
        if place.is_some_and(|place| place.iter().all(Option::is_some)) {
            self.sources.entry(from).and_modify(|source| source.answered(&Asked::Block(block)));
            return false;
        }
        let holds = place.is_some_and(|place| place.len() == leaves.len())
            && path.count == merkle::in_blocks(count, BLOCK_HEIGHT)
            && path.root_from(merkle::Tree::new(leaves.clone()).root()) == Some(goal.root);
        if !holds {
            self.found_lying(from);
            return false;
        }
        self.sources.entry(from).and_modify(|source| source.answered(&Asked::Block(block)));
        goal.blocks_left.retain(|left| *left != block);
        for (index, leaf) in (first..).zip(leaves) {
            goal.leaves[index] = Some(leaf);
            match self.at_hand.remove(&leaf).filter(Chunk::is_sound) {
                Some(chunk) => goal.put(index, chunk),
                None => goal.chunks_left.push_back(u32::try_from(index).expect("fewer than 2^32")),
            }
        }
        true
    }

    /// Chunks. True if one was missing and belongs to the certified state.
    pub fn received(&mut self, from: ReplicaId, slot: Slot, chunks: Vec<(u32, Vec<u8>)>) -> bool {
        let Some(goal) = self.goal.as_mut().filter(|goal| goal.certificate.checkpoint.slot == slot) else {
            return false;
        };
        // What an answer has no room for is asked again.
        let first = chunks.first().map(|(index, _)| *index);
        let asked = first.and_then(|first| self.sources.get_mut(&from)?.answers(first)).unwrap_or_default();
        let (mut useful, mut lies) = (false, false);
        for (index, bytes) in chunks.into_iter().take(ASKED_MAX) {
            let place = index as usize;
            let (Some(Some(leaf)), Some(None)) = (goal.leaves.get(place), goal.chunks.get(place)) else {
                continue;
            };
            let chunk = Chunk::new(bytes);
            if chunk.digest() == *leaf || known_bugs::TAKES_ANY_CHUNK.is_on() {
                goal.put(place, chunk);
                useful = true;
            } else {
                lies = true;
            }
        }
        if goal.give_back(asked) {
            self.sources.entry(from).and_modify(|source| source.short += 1);
        }
        if lies {
            self.found_lying(from);
        }
        useful
    }

    /// Nothing is believed of it as long as this state is fetched.
    fn found_lying(&mut self, peer: ReplicaId) {
        if self.sources.contains_key(&peer) {
            self.liars.insert(peer);
            self.drop_source(peer);
        }
    }

    /// What this one was asked is asked of others.
    fn drop_source(&mut self, peer: ReplicaId) {
        if let (Some(source), Some(goal)) = (self.sources.remove(&peer), &mut self.goal) {
            source.questions.into_iter().for_each(|question| goal.ask_again(question.what));
        }
    }

    /// A period has passed. Whoever has not answered since the one before is no source any more. A goal that nobody serves, or
    /// that fewer than `enough` serve while others have something newer, is given up, and its chunks stay at hand.
    pub fn period_passed(&mut self, enough: usize) {
        let is_late = |source: &Source| source.questions.iter().any(|question| question.is_old);
        let late: Vec<ReplicaId> =
            self.sources.iter().filter(|(_, source)| is_late(source)).map(|(peer, _)| *peer).collect();
        late.into_iter().for_each(|peer| self.drop_source(peer));
        let questions = self.sources.values_mut().flat_map(|source| &mut source.questions);
        questions.for_each(|question| question.is_old = true);
        let Some(goal) = &mut self.goal else { return };
        let newer = std::mem::take(&mut self.newer);
        if self.sources.is_empty() || (self.sources.len() < enough && !newer.is_empty()) {
            let chunks = std::mem::take(&mut goal.chunks);
            self.at_hand.clear();
            self.has_at_hand(chunks.iter().flatten());
            (self.goal, self.sources, self.liars) = (None, BTreeMap::new(), BTreeSet::new());
        }
    }

    /// The state, once all of it is there; the transfer then waits for [`Transfer::finish`].
    pub fn complete(&mut self) -> Option<(CheckpointCertificate, Chunked)> {
        if self.goal.as_ref()?.missing > 0 {
            return None;
        }
        let Goal { certificate, chunks, .. } = self.goal.take()?;
        self.sources.clear();
        Some((certificate, Chunked::of_chunks(chunks.into_iter().flatten().collect())))
    }

    /// Nothing is wanted any more. The next time it is the turn of the next one to be asked.
    pub fn finish(&mut self) {
        *self = Transfer { asked: self.asked, ..Transfer::default() };
    }
}

impl Goal {
    /// What to ask for next: leaves first, as they say what is missing.
    fn next(&mut self) -> Option<Asked> {
        if let Some(block) = self.blocks_left.pop_front() {
            return Some(Asked::Block(block));
        }
        let mut chunks = Vec::new();
        while chunks.len() < ASKED_MAX
            && let Some(index) = self.chunks_left.pop_front()
        {
            if self.chunks[index as usize].is_none() {
                chunks.push(index);
            }
        }
        (!chunks.is_empty()).then_some(Asked::Chunks(chunks))
    }

    fn put(&mut self, place: usize, chunk: Chunk) {
        self.chunks[place] = Some(chunk);
        self.missing -= 1;
    }

    fn ask_again(&mut self, what: Asked) {
        match what {
            Asked::Block(block) => {
                if self.leaves[(block as usize) << BLOCK_HEIGHT].is_none() {
                    self.blocks_left.push_front(block);
                }
            }
            Asked::Chunks(chunks) => {
                self.give_back(chunks);
            }
        }
    }

    /// Of these chunks, those that are missing are asked for next; whether there are any.
    fn give_back(&mut self, chunks: Vec<u32>) -> bool {
        let before = self.chunks_left.len();
        for index in chunks.into_iter().rev().filter(|index| self.chunks[*index as usize].is_none()) {
            self.chunks_left.push_front(index);
        }
        self.chunks_left.len() > before
    }
}

impl Source {
    fn answered(&mut self, what: &Asked) {
        self.questions.retain(|question| question.what != *what);
    }

    /// The chunks of the question that an answer beginning with this chunk is to, if it is to any.
    fn answers(&mut self, first: u32) -> Option<Vec<u32>> {
        let is_it =
            |question: &Question| matches!(&question.what, Asked::Chunks(chunks) if chunks.contains(&first));
        let at = self.questions.iter().position(is_it)?;
        match self.questions.swap_remove(at).what {
            Asked::Chunks(chunks) => Some(chunks),
            Asked::Block(_) => None,
        }
    }
}

impl Asked {
    fn message(&self, slot: Slot) -> PeerMessage {
        match self {
            Asked::Block(block) => PeerMessage::LeavesQuery { slot, block: *block },
            Asked::Chunks(indexes) => PeerMessage::ChunksQuery { slot, indexes: indexes.clone() },
        }
    }
}

#[cfg(test)]
mod tests;
