//! A small case and what it takes to say anything in it: keys, batches, and messages made from plain content.
//!
//! Messages are made anew from what they say whenever they are delivered. Signatures are deterministic and any
//! quorum of votes makes as good a certificate as another, so nothing is lost by not keeping them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use smr_consensus::pbft::{ChangeOutline, Decision, Message, NewView, Pbft, PrefixProof, ViewChange};
use smr_consensus::quorum::{Ballot, Phase, QuorumCertificate};
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::verified::Rules;
use smr_consensus::{Batch, Config, Entry, EntryBody, Group, Seat};
use smr_crypto::{Digest, IdentityKey, Verifier};
use smr_wire::client::{Access, Call, Command, FaultModel};
use smr_wire::{Generation, ReplicaId, Request, RequestNumber, ServiceId, SessionId, Slot, Timestamp, View};

/// How large the world is. Nothing else is bounded: messages may be lost, repeated and delayed at will.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Which of the four replicas was taken over.
    pub(crate) faulty: u16,
    /// Slots that can be ordered.
    pub(crate) slots: u64,
    /// Views that can be entered.
    pub(crate) views: u64,
    /// Slots above the decided prefix in which a replica votes (alpha).
    pub(crate) window: u64,
    /// What is deliberately wrong, to see that it is found.
    pub(crate) mistake: Option<Mistake>,
}

/// Ways to get PBFT wrong, made where messages pass between the model and the replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    /// A quorum is one vote too small.
    QuorumOfTwo,
    /// A view change does not tell what was prepared.
    ForgetsPrepared,
    /// Votes of two views count together.
    MixesViews,
    /// A replica does not hold the primary to how the view began.
    ForgetsBeginning,
}

const SIZE: u16 = 4;
const START: Timestamp = Timestamp(1_700_000_000_000);

/// Keys, limits and batches of a case.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) case: Case,
    pub(crate) group: Arc<Group>,
    pub(crate) config: Config,
    keys: Vec<Arc<IdentityKey>>,
    verifier: Arc<Verifier>,
    batches: Mutex<BTreeMap<Digest, Batch>>,
    /// What a faulty primary may propose anywhere, besides what it is bound to: two batches that differ.
    pub(crate) choices: Vec<Digest>,
}

impl Kit {
    pub(crate) fn new(case: Case) -> Kit {
        let verifier = Arc::new(Verifier::simulated([1; 32]));
        let keys: Vec<Arc<IdentityKey>> = (0..SIZE)
            .map(|id| [u8::try_from(id + 1).unwrap(); 32])
            .map(|seed| Arc::new(IdentityKey::from_seed(&seed).known_to(verifier.clone())))
            .collect();
        let group = Group {
            service: ServiceId(Digest::default()),
            generation: Generation(0),
            model: FaultModel::Byzantine,
            faults: 1,
            keys: keys.iter().map(|key| key.public()).collect(),
            cores: Vec::new(),
        };
        let config = Config {
            window_slots: case.window,
            pipeline_slots: case.window,
            batch_entries_max: 1,
            // Without checkpoints the log ends here, and with it the world.
            log_slots_max: case.slots,
            ..Config::default()
        };
        let mut kit = Kit {
            case,
            group: Arc::new(group),
            config,
            keys,
            verifier,
            batches: Mutex::default(),
            choices: Vec::new(),
        };
        kit.choices = [kit.entry(0), kit.entry(1)].map(|e| kit.know(&Batch::new(START, vec![e]))).into();
        kit.know(&Batch::nil());
        kit
    }

    /// The entry with this number; there is always one that waits, as there is one more than there are slots.
    pub(crate) fn entry(&self, number: u64) -> Entry {
        let commands = vec![Command { number: RequestNumber(number + 1), bytes: Vec::new() }];
        let call = Call::Commands { session: SessionId(1), access: Access::Ordered, commands };
        let client = IdentityKey::from_seed(&[99; 32]).known_to(self.verifier.clone());
        Entry::new(EntryBody::Client(Request::sign(&client, self.group.service, call)))
    }

    /// A replica's clock: all differ, so that no two of them propose the same by chance.
    pub(crate) fn clock(&self, id: ReplicaId) -> Timestamp {
        START.plus_ms(id.0.into())
    }

    pub(crate) fn pbft(&self, id: ReplicaId) -> Pbft {
        Pbft::new(self.seat(id), self.config.clone())
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules { group: &self.group, config: &self.config, verifier: &self.verifier }
    }

    pub(crate) fn faulty(&self) -> ReplicaId {
        ReplicaId(self.case.faulty)
    }

    pub(crate) fn correct(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        let faulty = self.faulty();
        self.group.members().filter(move |id| *id != faulty)
    }

    /// Two correct replicas that are never primary, if there are two: they can change places.
    pub(crate) fn twins(&self) -> Option<[ReplicaId; 2]> {
        let views = self.case.views;
        let primary = |id: &ReplicaId| (0..views).any(|view| self.group.primary_of(View(view)) == *id);
        let twins: Vec<ReplicaId> = self.correct().filter(|id| !primary(id)).collect();
        twins.try_into().ok()
    }

    /// Remembers a batch by its digest.
    pub(crate) fn know(&self, batch: &Batch) -> Digest {
        self.batches.lock().unwrap().insert(batch.digest(), batch.clone());
        batch.digest()
    }

    pub(crate) fn batch(&self, digest: &Digest) -> Batch {
        self.batches.lock().unwrap()[digest].clone()
    }

    fn seat(&self, id: ReplicaId) -> Seat {
        Seat::new(self.group.clone(), id, self.keys[id.index()].clone())
    }

    pub(crate) fn proposal(&self, view: View, slot: Slot, digest: Digest) -> (ReplicaId, Message) {
        let primary = self.group.primary_of(view);
        let ballot = Ballot { phase: Phase::Prepare, view, slot, digest };
        let signature = self.seat(primary).sign(&ballot.statement(&self.group));
        (primary, Message::Proposal { view, slot, batch: self.batch(&digest), signature })
    }

    pub(crate) fn vote(&self, author: ReplicaId, ballot: Ballot) -> (ReplicaId, Message) {
        let signature = self.seat(author).sign(&ballot.statement(&self.group));
        (author, Message::Vote { ballot, signature })
    }

    pub(crate) fn wish(&self, author: ReplicaId, wants: View) -> (ReplicaId, Message) {
        (author, Message::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&self.seat(author), wants)])))
    }

    pub(crate) fn view_change(&self, change: &ChangeOutline) -> (ReplicaId, Message) {
        (change.author, Message::ViewChange(self.change(change)))
    }

    pub(crate) fn new_view(&self, view: View, changes: &[ChangeOutline]) -> (ReplicaId, Message) {
        let primary = self.group.primary_of(view);
        let mut changes: Vec<ViewChange> = changes.iter().map(|change| self.change(change)).collect();
        if self.case.mistake == Some(Mistake::ForgetsBeginning) {
            changes.iter_mut().for_each(|c| {
                *c = ViewChange::sign(&self.seat(c.author), c.to, c.decided, c.proof.clone(), Vec::new());
            });
        }
        (primary, Message::NewView(NewView::sign(&self.seat(primary), view, changes)))
    }

    pub(crate) fn decision(&self, ballot: Ballot) -> (ReplicaId, Message) {
        let decision = Decision { batch: self.batch(&ballot.digest), certificate: self.certificate(&ballot) };
        (self.faulty(), Message::Upkeep(Upkeep::Decided(vec![decision])))
    }

    pub(crate) fn body(&self, slot: Slot, digest: Digest) -> (ReplicaId, Message) {
        (self.faulty(), Message::Upkeep(Upkeep::Body { slot, batch: self.batch(&digest) }))
    }

    fn change(&self, change: &ChangeOutline) -> ViewChange {
        let certificates = |list: &[Ballot]| list.iter().map(|ballot| self.certificate(ballot)).collect();
        let proof = PrefixProof { checkpoint: None, commits: certificates(&change.commits) };
        let forgets = self.case.mistake == Some(Mistake::ForgetsPrepared) && change.author != self.faulty();
        let claims = if forgets { Vec::new() } else { certificates(&change.claims) };
        ViewChange::sign(&self.seat(change.author), change.to, change.decided, proof, claims)
    }

    fn certificate(&self, ballot: &Ballot) -> QuorumCertificate {
        let statement = ballot.statement(&self.group);
        let voters = self.group.members().take(self.group.quorum());
        let votes = voters.map(|id| (id, self.seat(id).sign(&statement))).collect();
        QuorumCertificate { ballot: *ballot, votes }
    }
}
