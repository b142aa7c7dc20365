//! Replicas that misbehave, named by what they do. Each runs the real replica and then alters what it says, with
//! its own keys and nobody else's: all that a machine that was taken over can do.

pub mod mutation;

use std::collections::BTreeMap;
use std::sync::Arc;

use smr_app::CommandOutcome;
use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::checkpoint::Checkpoint;
use smr_consensus::pbft;
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::suspicion::Suspect;
use smr_consensus::{Batch, Entry, Message as Ordering, Seat};
use smr_crypto::threshold::SignatureShare;
use smr_crypto::{Digest, IdentityKey, Verifier, dkg, merkle};
use smr_replica::Message;
use smr_replica::message::PeerMessage;
use smr_replica::replies::Statement;
use smr_replica::system::SystemCommand;
use smr_wire::{
    Access, Call, Command, Outcome, ReplicaId, Reply, Request, RequestNumber, SessionId, Slot, Timestamp,
    View,
};

use crate::rng::Rng;
use mutation::{Audience, Mutation};

/// What a faulty replica does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Misdeed {
    /// Says nothing from some time on.
    StaySilent,
    /// Tells one half of the others one thing and the other half another: proposals and votes.
    Equivocate,
    /// Votes for batches that nobody proposed, or with signatures that are not its own.
    CorruptVotes,
    /// Says again what it said long ago.
    Replay,
    /// Computes wrong replies, signs them, and tells clients more lies.
    LieInReplies,
    /// Deals shares of the key that do not fit.
    DealBadShares,
    /// Takes part, but keeps to itself what it has decided: no commit votes, no decisions, no batches; still tells
    /// the truth when a view changes.
    KeepDecisions,
    /// Says that it is far ahead, that what others ask for is gone, and how views begin that others lead.
    LieAboutProgress,
    /// Forwards requests of clients again that were ordered long ago, and old openings of sessions.
    ReplayRequests,
    /// Forwards what is junk, too large, or more than anybody can order: of clients that it made up, and of its own.
    FloodForwards,
    /// As primary of a later view than the first, proposes something else than the view's beginning binds it to, to
    /// everybody alike, and votes to commit it at once.
    ContradictBeginnings,
    /// What a script says, and otherwise nothing wrong.
    FollowScript,
    /// Says that others decided what nobody proposed, with certificates of its own making.
    ForgeCertificates,
    /// Wants another primary all the time.
    BlamePrimaries,
    /// Sends commit votes to whom it likes, and at a change of view tells what was prepared or hides it, as it likes.
    HideClaims,
    /// Changes one field of some of its messages by a little, the same for all who hear it.
    Mutate,
    /// As [`Misdeed::Mutate`], but only some hear it, and the others the truth.
    MutateForSome,
}

/// All of them that need no script.
pub const MISDEEDS: &[Misdeed] = &[
    Misdeed::StaySilent,
    Misdeed::Equivocate,
    Misdeed::CorruptVotes,
    Misdeed::Replay,
    Misdeed::LieInReplies,
    Misdeed::DealBadShares,
    Misdeed::KeepDecisions,
    Misdeed::LieAboutProgress,
    Misdeed::ReplayRequests,
    Misdeed::FloodForwards,
    Misdeed::ContradictBeginnings,
    Misdeed::ForgeCertificates,
    Misdeed::BlamePrimaries,
    Misdeed::HideClaims,
    Misdeed::Mutate,
    Misdeed::MutateForSome,
];

impl Misdeed {
    /// How the user writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Misdeed::StaySilent => "stay-silent",
            Misdeed::Equivocate => "equivocate",
            Misdeed::CorruptVotes => "corrupt-votes",
            Misdeed::Replay => "replay",
            Misdeed::LieInReplies => "lie-in-replies",
            Misdeed::DealBadShares => "deal-bad-shares",
            Misdeed::KeepDecisions => "keep-decisions",
            Misdeed::LieAboutProgress => "lie-about-progress",
            Misdeed::ReplayRequests => "replay-requests",
            Misdeed::FloodForwards => "flood-forwards",
            Misdeed::ContradictBeginnings => "contradict-beginnings",
            Misdeed::FollowScript => "follow-script",
            Misdeed::ForgeCertificates => "forge-certificates",
            Misdeed::BlamePrimaries => "blame-primaries",
            Misdeed::HideClaims => "hide-claims",
            Misdeed::Mutate => "mutate",
            Misdeed::MutateForSome => "mutate-for-some",
        }
    }
}

/// Old messages that a replaying replica keeps.
const REMEMBERED_MAX: usize = 200;

/// Clients that do what an adversary wants.
const ACCOMPLICES: usize = 3;

/// Bytes of a command that no replica may take.
const OVERSIZED: usize = 2 << 20;

/// How long a flood lasts, in ms: long enough that clients must be answered through it, but in the end all correct
/// replicas are to stand at the same slot.
const FLOOD_MS: u64 = 20_000;

/// One misbehaving replica.
#[derive(Clone, Debug)]
pub struct Adversary {
    misdeed: Misdeed,
    seat: Seat,
    rng: Rng,
    silent_from: Timestamp,
    tired_from: Timestamp,
    remembered: Vec<Message>,
    /// Requests of clients, the oldest first.
    requests: Vec<Entry>,
    /// Keys of clients that do what it wants.
    accomplices: Vec<Arc<IdentityKey>>,
    /// A command to the system that is too large, made once: it takes longer than all else in a run.
    oversized: Option<Entry>,
    /// Whether a script wants its application's outcomes to be wrong.
    miscomputes: bool,
    /// The last reply in each session.
    told: BTreeMap<SessionId, Reply>,
    mutation: Mutation,
}

impl Adversary {
    /// A replica at `seat` that does `misdeed`.
    #[must_use]
    pub fn new(
        misdeed: Misdeed,
        seat: Seat,
        mut rng: Rng,
        start: Timestamp,
        verifier: &Arc<Verifier>,
    ) -> Adversary {
        let silent_from = start.plus_ms(rng.within(0, 3_000));
        let mut key = || Arc::new(IdentityKey::from_seed(&rng.bytes32()).known_to(verifier.clone()));
        let accomplices = (0..ACCOMPLICES).map(|_| key()).collect();
        let mutation = Mutation::new(seat.clone(), &mut rng.clone());
        Adversary {
            misdeed,
            seat,
            rng,
            silent_from,
            tired_from: start.plus_ms(FLOOD_MS),
            remembered: Vec::new(),
            requests: Vec::new(),
            accomplices,
            oversized: None,
            miscomputes: false,
            told: BTreeMap::new(),
            mutation,
        }
    }

    /// What it really sends to `to` in place of `message`.
    pub fn alter(&mut self, to: ReplicaId, message: Message, now: Timestamp) -> Vec<Message> {
        match self.misdeed {
            Misdeed::StaySilent if now >= self.silent_from => Vec::new(),
            Misdeed::Equivocate => self.equivocate(to, message),
            Misdeed::CorruptVotes => vec![self.corrupt(message)],
            Misdeed::Replay => self.replay(message),
            Misdeed::LieInReplies => vec![self.lie_in_share(message)],
            Misdeed::DealBadShares => vec![self.spoil(message)],
            Misdeed::KeepDecisions => {
                if shows_decision(&message) {
                    Vec::new()
                } else {
                    vec![message]
                }
            }
            Misdeed::LieAboutProgress => self.lie_about_progress(message),
            Misdeed::ContradictBeginnings => self.contradict(message),
            Misdeed::ReplayRequests => {
                self.hear(&message);
                vec![message]
            }
            Misdeed::ForgeCertificates => self.forge(to, message, now),
            Misdeed::BlamePrimaries => self.blame(message),
            Misdeed::HideClaims => self.hide(message).into_iter().collect(),
            Misdeed::Mutate => self.mutation.alter(to, message, now, Audience::All),
            Misdeed::MutateForSome => self.mutation.alter(to, message, now, Audience::Some),
            Misdeed::StaySilent | Misdeed::FloodForwards | Misdeed::FollowScript => vec![message],
        }
    }

    /// What it says besides.
    pub fn invent(&mut self, now: Timestamp) -> Vec<Message> {
        let floods = matches!(self.misdeed, Misdeed::ReplayRequests | Misdeed::FloodForwards);
        if !floods || now >= self.tired_from || !self.rng.chance(200) {
            return Vec::new();
        }
        let entries = match self.misdeed {
            Misdeed::ReplayRequests => self.old_requests(),
            _ => self.junk(),
        };
        vec![Message::Consensus(Ordering::Pbft(pbft::Message::Forward(entries)))]
    }

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

    /// Whether it does wrong only where a script says so.
    #[must_use]
    pub fn follows_script(&self) -> bool {
        self.misdeed == Misdeed::FollowScript
    }

    /// From now on its application computes something else.
    pub fn miscompute(&mut self) {
        self.miscomputes = true;
    }

    /// Its wish for the view `wants`.
    #[must_use]
    pub fn wish(&self, wants: View) -> Message {
        let wish = Suspect::sign(&self.seat, wants);
        Message::Consensus(Ordering::Pbft(pbft::Message::Suspects(vec![wish])))
    }

    /// The lie that it tells in place of `message`, always the same; none where it knows no lie.
    #[must_use]
    pub fn twist(&self, message: Message) -> Option<Message> {
        match message {
            Message::Consensus(Ordering::Pbft(message)) => {
                self.twist_ordering(message).map(|lie| Message::Consensus(Ordering::Pbft(lie)))
            }
            Message::Consensus(Ordering::Solo(_)) => None,
            Message::Peer(PeerMessage::Share { statement, .. }) => Some(Message::Peer(bad_share(statement))),
            Message::Peer(PeerMessage::Chunk { slot, bytes, path }) => {
                Some(Message::Peer(bad_chunk(slot, bytes, path)))
            }
            Message::Peer(_) => None,
        }
    }

    fn twist_ordering(&self, message: pbft::Message) -> Option<pbft::Message> {
        match message {
            pbft::Message::Proposal { view, slot, batch, .. } => {
                Some(self.other_proposal(view, slot, &batch))
            }
            pbft::Message::Vote { ballot, .. } => Some(self.other_vote(ballot)),
            pbft::Message::Forward(entries) => {
                let spoiled: Vec<Entry> =
                    entries.iter().map(|entry| self.spoil_entry(entry.clone())).collect();
                (spoiled != entries).then_some(pbft::Message::Forward(spoiled))
            }
            pbft::Message::Decided(mut decisions) if decisions.len() > 1 => {
                decisions.truncate(1);
                Some(pbft::Message::Decided(decisions))
            }
            pbft::Message::NewView(new_view) => {
                Some(pbft::Message::NewView(pbft::NewView::sign(&self.seat, new_view.view, new_view.changes)))
            }
            _ => None,
        }
    }

    /// One face for each half, and now and then both.
    fn equivocate(&mut self, to: ReplicaId, message: Message) -> Vec<Message> {
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
    fn forge(&mut self, to: ReplicaId, message: Message, now: Timestamp) -> Vec<Message> {
        let mut said = vec![message];
        let Message::Consensus(Ordering::Pbft(pbft::Message::Status { view, decided, .. })) = &said[0] else {
            return said;
        };
        let slot = decided.plus(self.rng.within(1, 2));
        let batch = Batch::new(now.plus_ms(to.0.into()), Vec::new());
        let ballot = Ballot { phase: Phase::Commit, view: *view, slot, digest: batch.digest() };
        let vote = (self.seat.me, self.seat.sign(&ballot.statement(&self.seat.group)));
        let count = *self.rng.pick(&[1, self.seat.group.quorum()]);
        let certificate = QuorumCertificate { ballot, votes: vec![vote; count] };
        let decision = pbft::Decision { batch, certificate };
        said.push(Message::Consensus(Ordering::Pbft(pbft::Message::Decided(vec![decision]))));
        said
    }

    /// Half of its commit votes, and half of its view changes without claims.
    fn hide(&mut self, message: Message) -> Option<Message> {
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
    fn blame(&self, message: Message) -> Vec<Message> {
        let Message::Consensus(Ordering::Pbft(pbft::Message::Status { view, .. })) = &message else {
            return vec![message];
        };
        let wish = pbft::Message::Suspects(vec![Suspect::sign(&self.seat, view.next())]);
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
    fn contradict(&self, message: Message) -> Vec<Message> {
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
    fn other_proposal(&self, view: View, slot: Slot, batch: &Batch) -> pbft::Message {
        self.propose(view, slot, other_batch(batch))
    }

    fn propose(&self, view: View, slot: Slot, batch: Batch) -> pbft::Message {
        let ballot = Ballot { phase: Phase::Prepare, view, slot, digest: batch.digest() };
        let signature = self.seat.sign(&ballot.statement(&self.seat.group));
        pbft::Message::Proposal { view, slot, batch, signature }
    }

    /// A vote for what nobody proposed.
    fn other_vote(&self, ballot: Ballot) -> pbft::Message {
        let ballot = Ballot { digest: Digest::of("SIM", &[&ballot.digest.0]), ..ballot };
        pbft::Message::Vote { ballot, signature: self.seat.sign(&ballot.statement(&self.seat.group)) }
    }

    fn corrupt(&mut self, message: Message) -> Message {
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
            other => other,
        }
    }

    fn replay(&mut self, message: Message) -> Vec<Message> {
        let old = (!self.remembered.is_empty() && self.rng.chance(300))
            .then(|| self.rng.pick(&self.remembered).clone());
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push(message.clone());
        } else {
            let place = self.rng.within(0, REMEMBERED_MAX as u64 - 1);
            self.remembered[usize::try_from(place).expect("an index")] = message.clone();
        }
        std::iter::once(message).chain(old).collect()
    }

    /// Remembers requests of clients.
    fn hear(&mut self, message: &Message) {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return };
        let entries = match message {
            pbft::Message::Forward(entries) => entries.as_slice(),
            pbft::Message::Proposal { batch, .. } | pbft::Message::Body { batch, .. } => batch.entries(),
            _ => return,
        };
        let of_clients = entries.iter().filter(|entry| matches!(entry.body(), EntryBody::Client(_)));
        self.requests.extend(of_clients.cloned());
        self.requests.truncate(REMEMBERED_MAX);
    }

    /// Some of what clients asked long ago, and openings of sessions that nobody will use.
    fn old_requests(&mut self) -> Vec<Entry> {
        let nonce = self.rng.within(1, 50);
        let mut old = vec![self.of_accomplice(Call::Open { nonce, window: 4 })];
        for _ in 0..self.rng.within(1, 8) {
            if !self.requests.is_empty() {
                old.push(self.rng.pick(&self.requests).clone());
            }
        }
        old
    }

    /// Commands in sessions that do not exist, the same over and over, its own commands to the system that mean
    /// nothing, and now and then something too large for any batch.
    fn junk(&mut self) -> Vec<Entry> {
        let session = SessionId(self.rng.within(1, 1 << 20));
        let command = |number| Command { number: RequestNumber(number), bytes: b"put k1 junk".to_vec() };
        let commands: Vec<Command> = (1..=self.rng.within(1, 20)).map(command).collect();
        let call = Call::Commands { session, access: Access::Ordered, commands };
        let mut junk = vec![self.of_accomplice(call); 3];
        let bytes = *self.rng.pick(&[1, 1, 100, OVERSIZED]);
        let filling = self.rng.bytes32()[0];
        let system = || Entry::new(EntryBody::System(SystemEntry::sign(&self.seat, vec![filling; bytes])));
        junk.push(if bytes == OVERSIZED {
            self.oversized.get_or_insert_with(system).clone()
        } else {
            system()
        });
        junk
    }

    fn of_accomplice(&mut self, call: Call) -> Entry {
        let key = self.rng.pick(&self.accomplices);
        Entry::new(EntryBody::Client(Request::sign(key, self.seat.group.service, call)))
    }

    fn lie_in_share(&mut self, message: Message) -> Message {
        match message {
            Message::Peer(PeerMessage::Share { statement, .. }) if self.rng.chance(300) => {
                Message::Peer(bad_share(statement))
            }
            Message::Peer(PeerMessage::Chunk { slot, bytes, path }) => {
                Message::Peer(bad_chunk(slot, bytes, path))
            }
            other => other,
        }
    }

    fn lie_about_progress(&mut self, message: Message) -> Vec<Message> {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return vec![message] };
        let said = match message {
            pbft::Message::Status { view, installed, decided } => {
                let ahead = decided.plus(self.rng.within(1, 1 << 20));
                let lies = [
                    pbft::Message::Status { view, installed, decided: ahead },
                    pbft::Message::Pruned { base: ahead },
                ];
                lies.to_vec()
            }
            pbft::Message::Decided(decisions) => {
                let last =
                    decisions.last().map(|decision| decision.certificate.ballot.slot).unwrap_or_default();
                vec![pbft::Message::Pruned { base: last.plus(1) }]
            }
            // What it was told by others of their views' beginnings, under its own name.
            pbft::Message::NewView(new_view) => {
                vec![pbft::Message::NewView(pbft::NewView::sign(&self.seat, new_view.view, new_view.changes))]
            }
            other => vec![other],
        };
        said.into_iter().map(|message| Message::Consensus(Ordering::Pbft(message))).collect()
    }

    /// Its own dealing, spoiled, wherever it occurs.
    fn spoil(&mut self, message: Message) -> Message {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return message };
        let altered = match message {
            pbft::Message::Forward(entries) => {
                pbft::Message::Forward(entries.into_iter().map(|entry| self.spoil_entry(entry)).collect())
            }
            pbft::Message::Proposal { view, slot, batch, .. } => {
                let entries = batch.entries().iter().map(|entry| self.spoil_entry(entry.clone())).collect();
                self.propose(view, slot, Batch::new(batch.time(), entries))
            }
            other => other,
        };
        Message::Consensus(Ordering::Pbft(altered))
    }

    fn spoil_entry(&self, entry: Entry) -> Entry {
        let EntryBody::System(SystemEntry { author, payload, .. }) = entry.body() else { return entry };
        let decoded = smr_wire::decode(payload, payload.len());
        let Ok(SystemCommand::Ceremony { attempt, command }) = decoded else { return entry };
        let dkg::Command::Deal(mut dealing) = *command else { return entry };
        if *author != self.seat.me {
            return entry;
        }
        // A share for one of the others, so that somebody has to complain.
        let victim = (usize::from(author.0) + 1) % dealing.shares.len();
        dealing.shares[victim][0] ^= 1;
        let command = SystemCommand::Ceremony { attempt, command: Box::new(dkg::Command::Deal(dealing)) };
        Entry::new(EntryBody::System(SystemEntry::sign(&self.seat, smr_wire::encode(&command))))
    }
}

/// Makes a reply say something else than its proof.
pub(crate) fn lie(reply: &mut Reply) {
    reply.outcome = Outcome::Answer(b"another lie".to_vec());
}

/// The same requests at another time.
fn other_batch(batch: &Batch) -> Batch {
    Batch::new(batch.time().plus_ms(1), batch.entries().to_vec())
}

fn bad_share(statement: Statement) -> PeerMessage {
    PeerMessage::Share { statement, share: SignatureShare([7; 96]) }
}

fn bad_chunk(slot: Slot, mut bytes: Vec<u8>, path: merkle::Path) -> PeerMessage {
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    PeerMessage::Chunk { slot, bytes, path }
}

/// Whether the message would let others decide, or know what is decided.
fn shows_decision(message: &Message) -> bool {
    let Message::Consensus(Ordering::Pbft(message)) = message else { return false };
    match message {
        pbft::Message::Vote { ballot, .. } => ballot.phase == Phase::Commit,
        pbft::Message::Decided(_) | pbft::Message::Body { .. } => true,
        _ => false,
    }
}
