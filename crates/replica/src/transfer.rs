//! State transfer: a replica whose missing decisions nobody keeps any more fetches a certified state in chunks,
//! checking each chunk against the certificate, and goes on from there.

use smr_consensus::checkpoint::CheckpointCertificate;
use smr_crypto::merkle;
use smr_wire::{ReplicaId, Slot};

use crate::known_bugs;
use crate::system::Chunked;

/// Chunks that a certified state may have: with the largest chunks, 1 TiB.
const CHUNKS_MAX: u32 = 1 << 20;

/// A state on its way.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// The slot up to which decisions are missing that correct peers no longer keep; nothing is wanted if there is none.
    wanted: Option<Slot>,
    source: Option<ReplicaId>,
    fetching: Option<Fetching>,
    /// Useful chunks that came in this period.
    useful: u32,
}

#[derive(Clone, Debug)]
struct Fetching {
    certificate: CheckpointCertificate,
    chunks: Vec<Option<Vec<u8>>>,
    /// The first chunk not asked for yet.
    next: u32,
    missing: u32,
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

    /// The state of which something may be there already.
    #[must_use]
    pub fn begun(&self) -> Option<Slot> {
        self.fetching.as_ref().map(|fetching| fetching.certificate.checkpoint.slot)
    }

    /// Whom to ask next: the members in turn, so that a silent or lying one is followed by another. What was
    /// fetched so far is kept.
    pub fn next_source(&mut self, me: ReplicaId, size: usize) -> ReplicaId {
        let after = self.source.unwrap_or(me).index();
        let next = (1..=size).map(|step| ReplicaId::at((after + step) % size)).find(|peer| *peer != me);
        self.source = Some(next.unwrap_or(me));
        self.useful = 0;
        if let Some(fetching) = &mut self.fetching {
            fetching.next = 0;
        }
        next.unwrap_or(me)
    }

    /// A period has passed: whether the source gave at least `enough` chunks in it. One that
    /// gives fewer would hold a laggard back for as long as it likes, so it is followed by another.
    pub fn is_fast_enough(&mut self, enough: u32) -> bool {
        let useful = std::mem::take(&mut self.useful);
        self.fetching.is_some() && useful >= enough
    }

    /// An offer of `from`, whose certificate was checked, to a replica that has `above`. True if it is taken up.
    pub fn offered(
        &mut self,
        from: ReplicaId,
        above: Slot,
        certificate: CheckpointCertificate,
        chunks: u32,
    ) -> bool {
        let slot = certificate.checkpoint.slot;
        let useful = self.is_wanted() && slot > above && (1..=CHUNKS_MAX).contains(&chunks);
        if !useful || self.source != Some(from) {
            return false;
        }
        let same = |f: &Fetching| {
            f.certificate.checkpoint == certificate.checkpoint && f.chunks.len() == chunks as usize
        };
        if !self.fetching.as_ref().is_some_and(same) {
            let empty = vec![None; chunks as usize];
            self.fetching = Some(Fetching { certificate, chunks: empty, next: 0, missing: chunks });
        }
        true
    }

    /// The next chunks to ask the source for, at most `count`.
    pub fn ask(&mut self, count: u32) -> Option<(ReplicaId, Slot, Vec<u32>)> {
        let source = self.source?;
        let fetching = self.fetching.as_mut()?;
        let mut indexes = Vec::new();
        while indexes.len() < count as usize && (fetching.next as usize) < fetching.chunks.len() {
            if fetching.chunks[fetching.next as usize].is_none() {
                indexes.push(fetching.next);
            }
            fetching.next += 1;
        }
        Some((source, fetching.certificate.checkpoint.slot, indexes))
    }

    /// A chunk. True if it was missing and belongs to the certified state.
    pub fn received(&mut self, slot: Slot, bytes: Vec<u8>, path: &merkle::Path) -> bool {
        let Some(fetching) = &mut self.fetching else {
            return false;
        };
        let checkpoint = fetching.certificate.checkpoint;
        let fits = slot == checkpoint.slot
            && path.count as usize == fetching.chunks.len()
            && (path.root_from(merkle::leaf(&bytes)) == Some(checkpoint.digest)
                || known_bugs::TAKES_ANY_CHUNK.is_on());
        let Some(place) =
            fetching.chunks.get_mut(path.index as usize).filter(|place| fits && place.is_none())
        else {
            return false;
        };
        *place = Some(bytes);
        self.useful += 1;
        fetching.missing -= 1;
        true
    }

    /// The state, once all of it is there; the transfer then waits for [`Transfer::finish`].
    pub fn complete(&mut self) -> Option<(CheckpointCertificate, Chunked)> {
        if self.fetching.as_ref()?.missing > 0 {
            return None;
        }
        let Fetching { certificate, chunks, .. } = self.fetching.take()?;
        Some((certificate, Chunked::of_chunks(chunks.into_iter().flatten().collect())))
    }

    /// Nothing is wanted any more. The next time it is the turn of the next source.
    pub fn finish(&mut self) {
        *self = Transfer { source: self.source, ..Transfer::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smr_consensus::checkpoint::Checkpoint;

    fn offer(chunks: &[&[u8]]) -> (CheckpointCertificate, merkle::Tree) {
        let tree = merkle::Tree::new(chunks.iter().map(|chunk| merkle::leaf(chunk)).collect());
        let checkpoint = Checkpoint { slot: Slot(8), digest: tree.root() };
        (CheckpointCertificate { checkpoint, votes: Vec::new() }, tree)
    }

    #[test]
    fn only_chunks_of_the_certified_state_are_taken_and_a_new_source_is_asked_for_the_rest() {
        let mut transfer = Transfer::default();
        assert!(transfer.want(Slot(3)) && !transfer.want(Slot(4)));
        let (certificate, tree) = offer(&[b"a", b"b", b"c"]);
        let source = transfer.next_source(ReplicaId(0), 4);
        assert_eq!(source, ReplicaId(1));
        assert!(!transfer.offered(ReplicaId(2), Slot(3), certificate.clone(), 3), "was not asked");
        assert!(transfer.offered(source, Slot(3), certificate.clone(), 3));
        assert_eq!(transfer.ask(2), Some((source, Slot(8), vec![0, 1])));
        assert!(transfer.received(Slot(8), b"b".to_vec(), &tree.path(1)));
        assert!(!transfer.received(Slot(8), b"b".to_vec(), &tree.path(1)), "repeated");
        assert!(!transfer.received(Slot(8), b"x".to_vec(), &tree.path(0)), "a lie");
        let next = transfer.next_source(ReplicaId(0), 4);
        assert_eq!(next, ReplicaId(2));
        assert!(transfer.offered(next, Slot(3), certificate, 3));
        assert_eq!(transfer.ask(9), Some((next, Slot(8), vec![0, 2])), "what was fetched is kept");
    }

    #[test]
    fn a_source_that_gives_little_in_a_period_is_not_kept() {
        let mut transfer = Transfer::default();
        transfer.want(Slot(3));
        let (certificate, tree) = offer(&[b"a", b"b", b"c", b"d"]);
        assert!(!transfer.is_fast_enough(2), "nobody has offered anything");
        let source = transfer.next_source(ReplicaId(0), 4);
        assert!(transfer.offered(source, Slot(3), certificate, 4));
        assert!(transfer.received(Slot(8), b"a".to_vec(), &tree.path(0)));
        assert!(transfer.received(Slot(8), b"b".to_vec(), &tree.path(1)));
        assert!(transfer.is_fast_enough(2));
        assert!(transfer.received(Slot(8), b"c".to_vec(), &tree.path(2)));
        assert!(!transfer.is_fast_enough(2), "one chunk a period keeps nobody");
    }

    #[test]
    fn an_offer_of_no_use_is_not_taken_up() {
        let mut transfer = Transfer::default();
        let (certificate, _) = offer(&[b"a"]);
        assert!(!transfer.offered(ReplicaId(1), Slot(7), certificate.clone(), 1), "nothing wanted");
        transfer.want(Slot(8));
        let source = transfer.next_source(ReplicaId(0), 4);
        assert!(!transfer.offered(source, Slot(8), certificate.clone(), 1), "not above what we have");
        assert!(!transfer.offered(source, Slot(7), certificate, 0), "no chunks");
        transfer.finish();
        assert_ne!(transfer.next_source(ReplicaId(0), 4), source, "the next one's turn");
    }
}
