//! Replicas that misbehave, named by what they do. Each runs the real replica and then alters what it says, with
//! its own keys and nobody else's: all that a machine that was taken over can do.

mod dealing;
mod floods;
mod lanes;
pub mod mutation;
mod ordering;
mod replies;
mod script;

use std::collections::BTreeMap;
use std::sync::Arc;

use smr_app::CommandOutcome;
use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::checkpoint::{Checkpoint, CheckpointCertificate};
use smr_consensus::lanes::core::SoftwareCore;
use smr_consensus::lanes::{Certificate, Endorsement, Message as Lanes};
use smr_consensus::pbft;
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Batch, Entry, Message as Ordering, Seat};
use smr_crypto::threshold::SignatureShare;
use smr_crypto::{Digest, IdentityKey, Verifier, dkg, merkle};
use smr_replica::message::PeerMessage;
use smr_replica::replies::Statement;
use smr_replica::system::SystemCommand;
use smr_replica::{Message, Voucher};
use smr_wire::client::FaultModel;
use smr_wire::{
    Access, Call, Command, Generation, Outcome, ReplicaId, Reply, Request, RequestNumber, SessionId, Slot,
    Timestamp, View,
};

use crate::rng::Rng;
use mutation::{Audience, Mutation};
use ordering::shows_decision;
pub(crate) use replies::lie;
use replies::{bad_chunks, bad_leaves, bad_share};
pub(crate) use script::Twist;

/// What a faulty replica does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Misdeed {
    /// Says nothing from some time on.
    StaySilent,
    /// Tells one half of the others one thing and the other half another: proposals and votes.
    Equivocate,
    /// Votes for batches that nobody proposed, or with signatures that are not its own; gives laggards a wrong state.
    CorruptVotes,
    /// Says again what it said long ago.
    Replay,
    /// Computes wrong replies, signs them, and tells clients more lies.
    LieInReplies,
    /// Deals shares of the key that do not fit, or, where its core deals, does with the dealing what it can.
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
    /// Proposes late, though not so late that the others' patience runs out.
    Dawdle,
    /// Does what is right, but bits of the memory flip in which its application's state is.
    FailMemory,
    /// Has it ordered that its trusted core has another key: one that it made itself.
    NameACore,
}

/// All of them that need no script. The last one takes a trusted core.
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
    Misdeed::Dawdle,
    Misdeed::FailMemory,
    Misdeed::NameACore,
];

impl Misdeed {
    /// What replicas may do wrong in this fault model.
    #[must_use]
    pub fn within(model: FaultModel) -> &'static [Misdeed] {
        match model {
            FaultModel::Crash => &[Misdeed::StaySilent, Misdeed::Dawdle],
            FaultModel::Byzantine => MISDEEDS.split_last().map_or(&[], |(_, others)| others),
            FaultModel::Hybrid => MISDEEDS,
        }
    }

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
            Misdeed::Dawdle => "dawdle",
            Misdeed::FailMemory => "fail-memory",
            Misdeed::NameACore => "name-a-core",
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

/// How late a dawdler proposes, in microseconds: less than the patience of simulated replicas.
const LATE_US_MIN: u64 = 50_000;
const LATE_US_MAX: u64 = 140_000;

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
    /// How late its proposals are, in microseconds, if it dawdles.
    late_us: u64,
    /// Its proposals out of turn, with its core's votes for them.
    out_of_turn: Vec<(Slot, Batch, Arc<Endorsement>)>,
    /// The last reply in each session.
    told: BTreeMap<SessionId, Reply>,
    mutation: Mutation,
    /// Whether it waits for a dealing of another, to show it as its own.
    borrows: bool,
}

impl Adversary {
    /// What it does wrong.
    #[must_use]
    pub fn misdeed(&self) -> Misdeed {
        self.misdeed
    }

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
        let late_us = rng.clone().within(LATE_US_MIN, LATE_US_MAX);
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
            late_us,
            out_of_turn: Vec::new(),
            told: BTreeMap::new(),
            mutation,
            borrows: false,
        }
    }

    /// How much later than it could it sends `message`, in microseconds.
    #[must_use]
    pub fn late_us(&self, message: &Message) -> u64 {
        let proposes = match message {
            Message::Consensus(Ordering::Pbft(message)) => matches!(message, pbft::Message::Proposal { .. }),
            Message::Consensus(Ordering::Lanes(Lanes::Endorse { batches, .. })) => !batches.is_empty(),
            _ => false,
        };
        if proposes && self.misdeed == Misdeed::Dawdle { self.late_us } else { 0 }
    }

    /// What it really sends to `to` in place of `message`; its trusted core, if it has one, does what it is asked for.
    pub fn alter(
        &mut self,
        to: ReplicaId,
        message: Message,
        now: Timestamp,
        core: Option<&mut SoftwareCore>,
    ) -> Vec<Message> {
        match self.misdeed {
            Misdeed::StaySilent if now >= self.silent_from => Vec::new(),
            Misdeed::Replay => self.replay(message),
            Misdeed::Mutate => self.mutation.alter(to, message, now, Audience::All),
            Misdeed::MutateForSome => self.mutation.alter(to, message, now, Audience::Some),
            Misdeed::LieInReplies => vec![self.lie_in_share(message)],
            Misdeed::DealBadShares => vec![self.spoil(message)],
            Misdeed::ReplayRequests => {
                self.hear(&message);
                vec![message]
            }
            Misdeed::StaySilent
            | Misdeed::FloodForwards
            | Misdeed::FollowScript
            | Misdeed::Dawdle
            | Misdeed::FailMemory
            | Misdeed::NameACore => vec![message],
            _ => match message {
                Message::Consensus(Ordering::Lanes(message)) => {
                    let said = self.alter_lanes(to, message, now, core);
                    said.into_iter().map(|message| Message::Consensus(Ordering::Lanes(message))).collect()
                }
                message => self.alter_pbft(to, message, now),
            },
        }
    }

    /// The same in `pbft`, and of what is said besides ordering.
    fn alter_pbft(&mut self, to: ReplicaId, message: Message, now: Timestamp) -> Vec<Message> {
        match self.misdeed {
            Misdeed::Equivocate => self.equivocate(to, message),
            Misdeed::CorruptVotes => vec![self.corrupt(message)],
            Misdeed::KeepDecisions if shows_decision(&message) => Vec::new(),
            Misdeed::LieAboutProgress => self.lie_about_progress(message),
            Misdeed::ContradictBeginnings => self.contradict(message),
            Misdeed::ForgeCertificates => self.forge(to, message, now),
            Misdeed::BlamePrimaries => self.blame(message),
            Misdeed::HideClaims => self.hide(message).into_iter().collect(),
            _ => vec![message],
        }
    }

    /// Entries for others to order, as its protocol says it.
    fn forward(&self, entries: Vec<Entry>) -> Message {
        self.upkeep(Upkeep::Forward(entries))
    }

    /// The same in the words of its protocol.
    fn upkeep(&self, said: Upkeep<Certificate>) -> Message {
        if self.seat.group.model != FaultModel::Byzantine {
            return Message::Consensus(Ordering::Lanes(Lanes::Upkeep(said)));
        }
        let said = match said {
            Upkeep::Forward(entries) => Upkeep::Forward(entries),
            Upkeep::Suspects(wishes) => Upkeep::Suspects(wishes),
            Upkeep::Status { view, installed, decided } => Upkeep::Status { view, installed, decided },
            Upkeep::Fetch { after } => Upkeep::Fetch { after },
            Upkeep::Decided(_) => unreachable!("decisions are of one engine"),
            Upkeep::Pruned(certificate) => Upkeep::Pruned(certificate),
            Upkeep::FetchBody { slot, digest } => Upkeep::FetchBody { slot, digest },
            Upkeep::Body { slot, batch } => Upkeep::Body { slot, batch },
        };
        Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(said)))
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
}
