//! Small lies: one field of one of its own messages is another one, and the message is signed again wherever its key
//! signs. A field is whatever the encoding writes at once, so every message of every protocol is covered, also those
//! that are to come. Source: Winter et al., "Randomized Testing of Byzantine Fault Tolerant Algorithms" (ByzzFuzz),
//! OOPSLA 2023, doi:10.1145/3586053. We differ in: the fields come from the encoding instead of a list for each
//! protocol, and votes inside of certificates and view changes are signed again, too.

use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_consensus::decision::Decision;
use smr_consensus::lanes::Message as Lanes;
use smr_consensus::lanes::beginning::ViewCertificate;
use smr_consensus::pbft::{Message as Pbft, NewView, PrefixProof, ViewChange};
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Batch, Entry, Message as Ordering, Seat};
use smr_crypto::{Digest, Signature};
use smr_mutate::{Dice, Encoding};
use smr_replica::Message;
use smr_replica::message::{Offer, PeerMessage};
use smr_wire::{ReplicaId, Reply, Timestamp};

use crate::rng::Rng;

/// To whom it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// All hear the same.
    All,
    /// Some hear the lie and the others the truth.
    Some,
}

/// Old messages whose fields it puts into new ones.
const REMEMBERED_MAX: usize = 64;

/// A replica that changes fields of what it says.
#[derive(Clone, Debug)]
pub struct Mutation {
    seat: Seat,
    /// Source of what is changed. What is said to all at one time is changed alike, so that it is one lie.
    secret: u64,
    /// How many in a thousand of its messages are changed. Few leave it a part in what goes on.
    per_mille: u64,
    remembered: Vec<Encoding>,
    next: usize,
}

impl Mutation {
    /// One that lies about as often as the seed says.
    #[must_use]
    pub fn new(seat: Seat, rng: &mut Rng) -> Mutation {
        let per_mille = *rng.pick(&[20, 100, 400]);
        Mutation { seat, secret: rng.draw(), per_mille, remembered: Vec::new(), next: 0 }
    }

    /// What it sends to `to` in place of `message`; nothing where the change left no message.
    pub fn alter(
        &mut self,
        to: ReplicaId,
        message: Message,
        now: Timestamp,
        audience: Audience,
    ) -> Vec<Message> {
        let encoding = Encoding::of(&message);
        let mut dice = self.dice(encoding.bytes(), now);
        self.remember(&encoding);
        if !dice.chance(self.per_mille) {
            return vec![message];
        }
        let hears_it = dice.draw() >> (to.0 % 64) & 1 == 1;
        if audience == Audience::Some && !hears_it {
            return vec![message];
        }
        let reads = |bytes: &[u8]| smr_wire::decode::<Message>(bytes, bytes.len()).is_ok();
        let Some(bytes) = encoding.small(&self.remembered, &mut dice, reads) else { return vec![message] };
        let changed = smr_wire::decode(&bytes, bytes.len()).expect("it was just read");
        // Now and then it forgets to sign again.
        vec![if dice.chance(900) { sign_again(&self.seat, changed) } else { changed }]
    }

    /// What it tells a client in place of `reply`.
    #[must_use]
    pub fn reply(&self, reply: Reply, now: Timestamp) -> Reply {
        let encoding = Encoding::of(&reply);
        let mut dice = self.dice(encoding.bytes(), now);
        if !dice.chance(self.per_mille) {
            return reply;
        }
        let reads = |bytes: &[u8]| smr_wire::decode::<Reply>(bytes, bytes.len()).is_ok();
        let changed = encoding.small(&[], &mut dice, reads);
        changed.map_or(reply, |bytes| smr_wire::decode(&bytes, bytes.len()).expect("it was just read"))
    }

    fn dice(&self, bytes: &[u8], now: Timestamp) -> Dice {
        let digest = Digest::of_value("SIM-MUTATION", &(self.secret, now, bytes));
        let (first, _) = digest.0.split_first_chunk().expect("a digest has 32 bytes");
        Dice::new(u64::from_le_bytes(*first))
    }

    fn remember(&mut self, encoding: &Encoding) {
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push(encoding.clone());
        } else {
            self.remembered[self.next] = encoding.clone();
            self.next = (self.next + 1) % REMEMBERED_MAX;
        }
    }
}

/// The same content, signed by `seat` wherever that is what its key signs.
#[must_use]
pub fn sign_again(seat: &Seat, message: Message) -> Message {
    let signer = Signer(seat);
    match message {
        Message::Consensus(Ordering::Pbft(message)) => {
            Message::Consensus(Ordering::Pbft(signer.ordering(message)))
        }
        Message::Consensus(Ordering::Lanes(message)) => {
            Message::Consensus(Ordering::Lanes(signer.lanes(message)))
        }
        Message::Consensus(Ordering::Solo(never)) => match never {},
        Message::Peer(message) => Message::Peer(signer.peer(message)),
    }
}

struct Signer<'a>(&'a Seat);

impl Signer<'_> {
    fn ordering(&self, message: Pbft) -> Pbft {
        match message {
            Pbft::Proposal { view, slot, batch, .. } => {
                let batch = self.batch(&batch);
                let ballot = Ballot { phase: Phase::Prepare, view, slot, digest: batch.digest() };
                Pbft::Proposal { view, slot, batch, signature: self.ballot(&ballot) }
            }
            Pbft::Vote { ballot, .. } => Pbft::Vote { ballot, signature: self.ballot(&ballot) },
            Pbft::ViewChange(change) => Pbft::ViewChange(self.view_change(change)),
            Pbft::NewView(NewView { view, changes, .. }) => {
                let changes = changes.into_iter().map(|change| self.view_change(change)).collect();
                Pbft::NewView(NewView::sign(self.0, view, changes))
            }
            Pbft::Upkeep(upkeep) => Pbft::Upkeep(self.upkeep(upkeep, |vote| self.certificate(vote))),
        }
    }

    fn upkeep<C>(&self, message: Upkeep<C>, certificate: impl Fn(C) -> C) -> Upkeep<C> {
        match message {
            Upkeep::Forward(entries) => Upkeep::Forward(self.entries(&entries)),
            Upkeep::Suspects(suspects) => Upkeep::Suspects(self.wishes(suspects)),
            Upkeep::Decided(decisions) => {
                let again = |said: Decision<C>| Decision {
                    batch: self.batch(&said.batch),
                    certificate: certificate(said.certificate),
                };
                Upkeep::Decided(decisions.into_iter().map(again).collect())
            }
            Upkeep::Body { slot, batch } => Upkeep::Body { slot, batch: self.batch(&batch) },
            Upkeep::Pruned(certificate) => Upkeep::Pruned(self.checkpoint(certificate)),
            unsigned @ (Upkeep::Status { .. } | Upkeep::Fetch { .. } | Upkeep::FetchBody { .. }) => unsigned,
        }
    }

    /// What its core has signed stays as it is: the core signs nothing twice.
    fn lanes(&self, message: Lanes) -> Lanes {
        match message {
            Lanes::ViewChange(change) if self.is_own(change.author) => {
                Lanes::ViewChange(Box::new(change.signed(self.0)))
            }
            Lanes::Acknowledge { view, digest, .. } => {
                let statement = ViewCertificate::statement(view, &digest, &self.0.group);
                Lanes::Acknowledge { view, digest, signature: self.0.sign(&statement) }
            }
            Lanes::Upkeep(upkeep) => Lanes::Upkeep(self.upkeep(upkeep, |votes| votes)),
            other => other,
        }
    }

    fn wishes(&self, suspects: Vec<Suspect>) -> Vec<Suspect> {
        let again = |said: Suspect| if self.is_own(said.author) { self.wish(said) } else { said };
        suspects.into_iter().map(again).collect()
    }

    fn peer(&self, message: PeerMessage) -> PeerMessage {
        match message {
            PeerMessage::CheckpointVote { checkpoint, .. } => {
                let signature = self.0.sign(&checkpoint.statement(&self.0.group));
                PeerMessage::CheckpointVote { checkpoint, signature }
            }
            PeerMessage::Stable(certificate) => PeerMessage::Stable(self.checkpoint(certificate)),
            PeerMessage::StateOffer(offer) => {
                let certificate = self.checkpoint(offer.certificate);
                PeerMessage::StateOffer(Offer { certificate, ..offer })
            }
            unsigned => unsigned,
        }
    }

    fn is_own(&self, author: ReplicaId) -> bool {
        author == self.0.me
    }

    fn ballot(&self, ballot: &Ballot) -> Signature {
        self.0.sign(&ballot.statement(&self.0.group))
    }

    fn wish(&self, said: Suspect) -> Suspect {
        Suspect::sign(self.0, said.wants)
    }

    fn view_change(&self, change: ViewChange) -> ViewChange {
        if !self.is_own(change.author) {
            return change;
        }
        let ViewChange { to, decided, proof: PrefixProof { checkpoint, commits }, claims, .. } = change;
        let all = |list: Vec<QuorumCertificate>| list.into_iter().map(|one| self.certificate(one)).collect();
        let checkpoint = checkpoint.map(|certificate| self.checkpoint(certificate));
        ViewChange::sign(self.0, to, decided, PrefixProof { checkpoint, commits: all(commits) }, all(claims))
    }

    fn certificate(&self, certificate: QuorumCertificate) -> QuorumCertificate {
        let QuorumCertificate { ballot, votes } = certificate;
        QuorumCertificate { ballot, votes: self.votes(votes, || self.ballot(&ballot)) }
    }

    fn checkpoint(&self, certificate: CheckpointCertificate) -> CheckpointCertificate {
        let CheckpointCertificate { checkpoint, votes } = certificate;
        let sign = || self.0.sign(&checkpoint.statement(&self.0.group));
        CheckpointCertificate { checkpoint, votes: self.votes(votes, sign) }
    }

    fn votes(
        &self,
        votes: Vec<(ReplicaId, Signature)>,
        sign: impl Fn() -> Signature,
    ) -> Vec<(ReplicaId, Signature)> {
        let again = |(author, signature)| (author, if self.is_own(author) { sign() } else { signature });
        votes.into_iter().map(again).collect()
    }

    fn batch(&self, batch: &Batch) -> Batch {
        Batch::new(batch.time(), self.entries(batch.entries()))
    }

    fn entries(&self, entries: &[Entry]) -> Vec<Entry> {
        entries.iter().map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, entry: &Entry) -> Entry {
        match entry.body() {
            EntryBody::System(SystemEntry { author, payload, .. }) if self.is_own(*author) => {
                Entry::new(EntryBody::System(SystemEntry::sign(self.0, payload.clone())))
            }
            EntryBody::System(_) | EntryBody::Client(_) => entry.clone(),
        }
    }
}
