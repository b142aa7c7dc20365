//! What enters a replica and what leaves it.

use std::sync::Arc;

use smr_app::state::{Chunk, Taken};
use smr_app::{CommandOutcome, LateOutcome, SlotWork, Strategy};
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_consensus::lanes::core::{Attempt, AttestedDealing, Operation, Refusal};
use smr_consensus::protocol::{Observation as ConsensusObservation, Timer as ConsensusTimer};
use smr_consensus::{Entry, Group, Record};
use smr_crypto::threshold::{GroupKey, KeyShare, ServiceSignature, SignatureShare};
use smr_crypto::{Digest, Signature, dkg};
use smr_wire::client::About;
use smr_wire::{Generation, Hint, ReplicaId, Reply, Slot, Timestamp};

use crate::chunked::Chunked;
use crate::manifest::Manifest;
use crate::message::{Incoming, Message};
use crate::replica::NotRestarted;
use crate::replies::Statement;
use crate::status::{Flaw, Halt};
use crate::system::SystemState;
use crate::voucher::Voucher;

/// One event and the machine's clock when it happened.
#[derive(Debug)]
pub struct Input {
    /// The machine's clock.
    pub clock: Timestamp,
    /// What happened.
    pub event: Event,
}

/// A client's connection, as the edge names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u64);

/// What may happen to a replica.
#[derive(Debug)]
pub enum Event {
    /// The replica begins. Comes once, first.
    Start,
    /// A message of another replica, checked.
    Peer(Incoming),
    /// A request of a client, checked against the service by [`Entry::check`].
    Request {
        /// Where replies go.
        connection: ConnectionId,
        /// The request, as an entry.
        entry: Entry,
    },
    /// A client's connection has closed.
    Closed(ConnectionId),
    /// The trusted core has done, or not, what it was asked for first of what it has not answered yet.
    Attested(Result<Signature, Refusal>),
    /// The administrator vouches for the key of this replica's trusted core, which the group does not know.
    Vouched(Voucher),
    /// The administrator is about to end a generation, whose trusted cores are gone: this replica says nothing more that counts
    /// in it, and decides nothing above this slot but what it has decided. Where it is then is a promise.
    Cease {
        /// Which generation.
        generation: Generation,
        /// So far it goes to be where others are.
        slot: Slot,
    },
    /// The administrator ends it.
    Restart(Manifest),
    /// The trusted core has dealt, or not, as it was asked by [`Effect::Deal`].
    Dealt(Result<Box<AttestedDealing>, Refusal>),
    /// A timer that was armed has run out.
    Timer(Timer),
    /// The application has executed a slot; slots come in order.
    Executed {
        /// Which.
        slot: Slot,
        /// One for each command, in their order; none for those that wait on a condition.
        outcomes: Vec<Option<CommandOutcome>>,
        /// Of commands that waited and were woken in it.
        late: Vec<LateOutcome>,
    },
    /// For a while nothing could run here because rounds of the scheduler lack newcomers.
    Starving,
    /// The time of a command that waits for it has come, by this machine's clock.
    TimersDue,
    /// The application's state after a slot, asked for by [`Effect::Checkpoint`].
    Checkpointed {
        /// After which slot.
        slot: Slot,
        /// The state, or why there is none.
        state: Result<Taken, String>,
    },
    /// What came of [`Effect::Chunk`].
    Chunked {
        /// After which slot the state is.
        slot: Slot,
        /// As it was asked.
        turn: u64,
        /// The state in chunks, or why there is none.
        state: Result<Chunked, String>,
    },
    /// The state after a slot is on disk, as [`Effect::Keep`] asked, or the service keeps nothing there.
    Kept(Slot),
    /// The application has, or has not, taken over the state of [`Effect::Restore`].
    Restored {
        /// After which slot.
        slot: Slot,
        /// Why not.
        result: Result<(), String>,
    },
    /// This replica's share, asked for by [`Effect::Sign`].
    Signed {
        /// On what.
        statement: Statement,
        /// As bytes.
        digest: Digest,
        /// The share.
        share: SignatureShare,
    },
    /// What came of [`Effect::Combine`].
    Combined {
        /// On what.
        statement: Statement,
        /// As bytes.
        digest: Digest,
        /// The signature, if there were enough good shares.
        signature: Option<ServiceSignature>,
        /// Whose shares were bad.
        culprits: Vec<ReplicaId>,
    },
}

/// What a replica wants done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send to one other replica.
    Send {
        /// Whom.
        to: ReplicaId,
        /// What.
        message: Message,
    },
    /// Send to all other replicas.
    Broadcast(Message),
    /// Have the trusted core do this. Answers come in the order of what was asked.
    Attest(Operation),
    /// From here on messages are said, and checked, in this group.
    Regroup(Arc<Group>),
    /// Have the trusted core deal for the service's key; 1.5 ms for three replicas and 4 to 8 for eleven. It answers
    /// in the order of what it was asked, this among the rest.
    Deal(Box<Attempt>),
    /// Give the application the commands of a slot.
    Execute(SlotWork),
    /// Take the application's state after this slot, once everything up to it has ended and before anything later
    /// begins.
    Checkpoint {
        /// After which slot.
        slot: Slot,
        /// How.
        strategy: Strategy,
    },
    /// Make the chunks of a state, and hash those that are new ([`Chunked::new`]). Takes long where much has changed, so it is
    /// done by a worker, while ordering and execution go on.
    Chunk {
        /// After which slot the state is.
        slot: Slot,
        /// To be named in the answer.
        turn: u64,
        /// The part beside the application's.
        system: Box<SystemState>,
        /// The application's part.
        application: Taken,
    },
    /// Replace the application's state.
    Restore {
        /// After which slot the state is.
        slot: Slot,
        /// The state.
        chunks: Vec<Chunk>,
    },
    /// Sign a statement with this replica's share of the service key; about 0.3 ms, so done by a worker.
    Sign {
        /// What, by name.
        statement: Statement,
        /// What, as bytes.
        digest: Digest,
        /// With what.
        share: Arc<KeyShare>,
    },
    /// Combine shares and verify the result once; about 2 ms, so done by a worker.
    Combine {
        /// What, by name.
        statement: Statement,
        /// What, as bytes.
        digest: Digest,
        /// At least f+1 of different replicas.
        shares: Vec<(u16, SignatureShare)>,
        /// Against what.
        key: Arc<GroupKey>,
    },
    /// Send a certified reply to a client.
    Reply {
        /// Where.
        connection: ConnectionId,
        /// The reply.
        reply: Reply,
    },
    /// Send a remark to a client.
    Hint {
        /// Where.
        connection: ConnectionId,
        /// About what.
        about: Option<About>,
        /// The remark.
        hint: Hint,
    },
    /// (Re)start a timer.
    Arm {
        /// Which.
        timer: Timer,
        /// How long, in ms.
        after_ms: u64,
    },
    /// Stop a timer.
    Disarm(Timer),
    /// To be written down, where the service is durable; if it is a promise, it must be on disk before what stands
    /// behind it leaves, which [`crate::Gate`] sees to.
    Persist(Record),
    /// Write a certified state to disk. Takes long where it is large, so it is done beside everything else.
    Keep {
        /// Of which state.
        certificate: CheckpointCertificate,
        /// The state.
        image: Arc<Chunked>,
    },
    /// Nothing that was written down of slots up to here is needed any more.
    Prune {
        /// The last of them.
        slot: Slot,
        /// To be written down before anything goes.
        standing: Vec<Record>,
    },
    /// Worth telling an operator or a test.
    Report(Observation),
}

/// Timers by name. Arming one again restarts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// Of the ordering part.
    Consensus(ConsensusTimer),
    /// Unfinished exchanges are to be repeated.
    Repeat,
    /// Key generation has waited for late participants.
    Ceremony,
    /// Chunks of a state are late.
    Transfer,
}

/// What is worth telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// Of the ordering part.
    Consensus(ConsensusObservation),
    /// Key generation has got so far, in words.
    Ceremony(String),
    /// The service has its key.
    KeyGenerated {
        /// Who dealt.
        qualified: Vec<u16>,
        /// Who is excluded, and why.
        excluded: Vec<(u16, dkg::Reason)>,
        /// Whether this replica has a share of it.
        share: bool,
    },
    /// It was proven that these replicas' trusted cores are none: under their attestation shares of the key are bad.
    CoresBroken(Vec<ReplicaId>),
    /// A replica's shares are bad; its further ones are ignored.
    BadShare(ReplicaId),
    /// A checkpoint became stable.
    Stable(Slot),
    /// A quorum has another state at this slot than this replica.
    Diverged {
        /// Where.
        slot: Slot,
        /// What the others have.
        certified: Digest,
        /// What this one has.
        own: Digest,
    },
    /// This replica's own state is wrong: it says nothing to clients until it has the right one.
    Flawed(Flaw),
    /// It has the right state again, after this slot, and goes on from there.
    Healed(Slot),
    /// This replica says nothing more to clients.
    Halted(Halt),
    /// A generation began here.
    Generation(Generation),
    /// An order of the administrator to end the generation was not followed.
    NotRestarted(NotRestarted),
    /// State is being fetched.
    TransferBegan(Slot),
    /// State was fetched and installed.
    TransferDone(Slot),
    /// State was fetched, but cannot be used.
    TransferFailed(String),
}
