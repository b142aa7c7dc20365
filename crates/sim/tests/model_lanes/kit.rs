//! A small case and what it takes to say anything in it: keys, batches, and messages made from plain content.
//!
//! Messages are made anew from what they say whenever they are delivered. Signatures are deterministic and any
//! quorum of votes makes as good a certificate as another, so nothing is lost by not keeping them.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex};

use smr_consensus::lanes::beginning::{Beginning, Ground, NewView, ViewCertificate, ViewChange};
use smr_consensus::lanes::core::{Item, Register, Scope, SoftwareCore};
use smr_consensus::lanes::schedule::Schedule;
use smr_consensus::lanes::{Certificate, ChangeOutline, Decision, Endorsement, Lanes, Message, PrefixProof};
use smr_consensus::suspicion::Suspect;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::verified::Rules;
use smr_consensus::{Batch, Config, Entry, EntryBody, Group, Seat};
use smr_crypto::dkg::DealingSeed;
use smr_crypto::{Digest, IdentityKey, Signature, Verifier};
use smr_known_bugs::{Bug, Switched};
use smr_wire::client::{Access, Call, Command, FaultModel};
use smr_wire::{Generation, ReplicaId, Request, RequestNumber, ServiceId, SessionId, Slot, Timestamp, View};

/// How large the world is. Nothing else is bounded: messages may be lost, repeated and delayed at will.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Which of the three replicas was taken over; none where machines can only stop.
    pub(crate) faulty: Option<u16>,
    /// Who proposes.
    pub(crate) schedule: Schedule,
    /// Slots that can be ordered.
    pub(crate) slots: u64,
    /// Views that can be entered.
    pub(crate) views: u64,
    /// Slots above the decided prefix in which a replica votes (alpha).
    pub(crate) window: u64,
    /// A replica at which nothing waits, so that it fills its slots with nothing.
    pub(crate) idle: Option<u16>,
    /// When cores answer.
    pub(crate) answers: Answers,
    /// Which steps are taken.
    pub(crate) steps: Steps,
    /// What is deliberately wrong, to see that it is found.
    pub(crate) mistake: Option<&'static Bug>,
}

/// When cores answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answers {
    /// Before anything else happens to their replica.
    AtOnce,
    /// At any later time, in the order of what they were asked.
    Later,
}

/// Which steps are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Steps {
    /// All that are open.
    All,
    /// Those without which something could be lost.
    Fewest,
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Case { faulty, schedule, slots, views, window, idle, answers, steps, mistake } = self;
        write!(f, "{schedule:?}, {slots} slots, {views} views, window {window}, ")?;
        match faulty {
            Some(faulty) => write!(f, "{faulty} lies")?,
            None => write!(f, "any may stop")?,
        }
        idle.iter().try_for_each(|idle| write!(f, ", nothing waits at {idle}"))?;
        if *answers == Answers::Later {
            write!(f, ", cores take their time")?;
        }
        if *steps == Steps::All {
            write!(f, ", all steps")?;
        }
        mistake.iter().try_for_each(|mistake| write!(f, ", {}", mistake.name))
    }
}

impl Case {
    /// Whether the faulty replica has a turn, where all have turns in the first view.
    pub(crate) fn faulty_proposes(&self) -> bool {
        self.faulty.is_some_and(|faulty| match self.schedule {
            Schedule::Stable => u64::from(faulty) < self.views,
            Schedule::Rotating => (1..=self.slots).any(|slot| slot % u64::from(SIZE) == u64::from(faulty)),
        })
    }
}

/// A vote of a replica, with the slots whose batches go along as proposals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Vote {
    pub(crate) view: View,
    pub(crate) items: Vec<Item>,
    pub(crate) proposes: Vec<Slot>,
}

impl Vote {
    pub(crate) fn is_for(&self, what: &Register) -> bool {
        self.view == what.view && self.items.contains(&what.item)
    }
}

/// How a coordinator says that a view begins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Opening {
    pub(crate) beginning: Beginning,
    /// Of the beginning.
    pub(crate) digest: Digest,
    /// Whether each view change from which it follows is right.
    pub(crate) right: bool,
}

const SIZE: u16 = 3;
const START: Timestamp = Timestamp(1_700_000_000_000);

/// Keys, limits and batches of a case.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) case: Case,
    pub(crate) group: Arc<Group>,
    config: Config,
    keys: Vec<Arc<IdentityKey>>,
    cores: Vec<Arc<IdentityKey>>,
    verifier: Arc<Verifier>,
    batches: Mutex<BTreeMap<Digest, Batch>>,
    /// View changes from which a beginning follows.
    openings: Mutex<BTreeMap<Opening, Vec<ViewChange>>>,
    /// How a view begins after what was said.
    followed: Mutex<BTreeMap<(View, Vec<ChangeOutline>), Opening>>,
    /// Whether a view change that the faulty replica can make is accepted.
    accepted: Mutex<BTreeMap<ChangeOutline, bool>>,
    /// What the faulty replica may vote for anywhere: two batches of its own, and nothing.
    pub(crate) choices: [Digest; 3],
}

impl Kit {
    pub(crate) fn new(case: Case) -> Kit {
        let verifier = Arc::new(Verifier::simulated([1; 32]));
        let key = |seed: u16| {
            let key = IdentityKey::from_seed(&[u8::try_from(seed).unwrap(); 32]);
            Arc::new(key.known_to(verifier.clone()))
        };
        let keys: Vec<Arc<IdentityKey>> = (0..SIZE).map(|id| key(id + 1)).collect();
        let hybrid = case.faulty.is_some();
        let cores: Vec<Arc<IdentityKey>> = (0..SIZE).filter(|_| hybrid).map(|id| key(id + 11)).collect();
        let publics = |keys: &[Arc<IdentityKey>]| keys.iter().map(|key| key.public()).collect();
        let group = Group {
            service: ServiceId(Digest::default()),
            generation: Generation(0),
            model: if hybrid { FaultModel::Hybrid } else { FaultModel::Crash },
            faults: 1,
            keys: publics(&keys),
            cores: publics(&cores),
        };
        let config = Config {
            window_slots: case.window,
            pipeline_slots: case.window,
            batch_entries_max: 1,
            // Without checkpoints the log ends here, and with it the world.
            log_slots_max: case.slots,
            exclusion_slots: case.slots,
            ..Config::default()
        };
        let mut kit = Kit {
            case,
            group: Arc::new(group),
            config,
            keys,
            cores,
            verifier,
            batches: Mutex::default(),
            openings: Mutex::default(),
            followed: Mutex::default(),
            accepted: Mutex::default(),
            choices: [Batch::nil().digest(); 3],
        };
        let own = |number: u64| Batch::new(START, vec![kit.entry(100 + number)]);
        kit.choices = [kit.know(&own(0)), kit.know(&own(1)), kit.know(&Batch::nil())];
        kit
    }

    /// Has the mistake of this case made on this thread for as long as the answer is held.
    pub(crate) fn switch(&self) -> Option<Switched> {
        self.case.mistake.map(Bug::switch_on)
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

    pub(crate) fn lanes(&self, id: ReplicaId) -> Lanes {
        Lanes::new(self.case.schedule, self.seat(id), self.config.clone())
    }

    /// The core of a replica, where there are cores.
    pub(crate) fn core(&self, id: ReplicaId) -> Option<SoftwareCore> {
        let key = self.cores.get(id.index())?;
        Some(SoftwareCore::new(self.group.clone(), self.case.window, id, key.clone(), DealingSeed([0; 32])))
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules { group: &self.group, config: &self.config, verifier: &self.verifier }
    }

    pub(crate) fn faulty(&self) -> Option<ReplicaId> {
        self.case.faulty.map(ReplicaId)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        Slot(0).up_to(Slot(self.case.slots))
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

    fn core_signs(&self, id: ReplicaId, statement: impl FnOnce(&Scope<'_>) -> Digest) -> Signature {
        let scope = Scope { group: &self.group, window_slots: self.case.window, replica: id };
        self.cores.get(id.index()).unwrap_or(&self.keys[id.index()]).sign(&statement(&scope))
    }

    fn endorsement(&self, author: ReplicaId, view: View, items: &[Item]) -> Arc<Endorsement> {
        let signature = self.case.faulty.map(|_| self.core_signs(author, |scope| scope.endorse(view, items)));
        Arc::new(Endorsement { view, items: items.to_vec(), signature })
    }

    pub(crate) fn vote(&self, author: ReplicaId, vote: &Vote) -> Message {
        let proposed = vote.items.iter().filter(|item| vote.proposes.contains(&item.slot));
        Message::Endorse {
            endorsement: self.endorsement(author, vote.view, &vote.items),
            batches: proposed.map(|item| (item.slot, self.batch(&item.digest))).collect(),
        }
    }

    pub(crate) fn wish(&self, author: ReplicaId, wants: View) -> Message {
        Message::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&self.seat(author), wants)]))
    }

    pub(crate) fn acknowledge(&self, author: ReplicaId, beginning: &Beginning) -> Message {
        let (view, digest) = (beginning.view, beginning.digest());
        let signature = self.seat(author).sign(&ViewCertificate::statement(view, &digest, &self.group));
        Message::Acknowledge { view, digest, signature }
    }

    pub(crate) fn view_certificate(&self, beginning: &Beginning) -> ViewCertificate {
        let statement = ViewCertificate::statement(beginning.view, &beginning.digest(), &self.group);
        let voters = self.group.members().take(self.acknowledgements_needed());
        let votes = voters.map(|id| (id, self.seat(id).sign(&statement))).collect();
        ViewCertificate { beginning: beginning.clone(), votes }
    }

    pub(crate) fn acknowledgements_needed(&self) -> usize {
        let alone = self.case.mistake == Some(&smr_consensus::known_bugs::ONE_WORD_BEGINS_A_VIEW);
        if alone { 1 } else { self.group.quorum() }
    }

    pub(crate) fn decision(&self, what: &Register) -> Message {
        let decision = Decision { batch: self.batch(&what.item.digest), certificate: self.certificate(what) };
        Message::Upkeep(Upkeep::Decided(vec![decision]))
    }

    fn certificate(&self, what: &Register) -> Certificate {
        let voters = self.group.members().take(self.group.quorum());
        let votes = voters.map(|id| (id, self.endorsement(id, what.view, &[what.item]))).collect();
        Certificate { view: what.view, item: what.item, votes }
    }

    pub(crate) fn change(&self, says: &ChangeOutline) -> ViewChange {
        let commits = says.commits.iter().map(|what| self.certificate(what)).collect();
        let mut change = ViewChange {
            author: says.author,
            to: says.to,
            lanes: says.lanes.clone(),
            report: self.core_signs(says.author, |scope| scope.leave(says.to, &says.lanes)),
            blames: says.blames,
            decided: says.decided,
            proof: PrefixProof { checkpoint: None, commits },
            grounds: Vec::new(),
            views: says.views.iter().map(|beginning| self.view_certificate(beginning)).collect(),
            signature: Signature([0; 64]),
        };
        let ground = |(vote, by): (&Register, &Option<ReplicaId>)| match by {
            Some(by) => Ground::Proposed(*by, self.endorsement(*by, vote.view, &[vote.item])),
            None => Ground::Recovered,
        };
        change.grounds = change.open().iter().zip(&says.grounds).map(ground).collect();
        change.signed(&self.seat(says.author))
    }

    /// Whether correct replicas look at this view change.
    pub(crate) fn accepts(&self, says: &ChangeOutline) -> bool {
        if let Some(accepted) = self.accepted.lock().unwrap().get(says) {
            return *accepted;
        }
        let accepted = self.change(says).check(&self.rules()).is_ok();
        self.accepted.lock().unwrap().insert(says.clone(), accepted);
        accepted
    }

    /// How a view begins after these view changes, in the order of their authors.
    pub(crate) fn follows(&self, view: View, said: Vec<ChangeOutline>) -> Opening {
        let said = (view, said);
        if let Some(opening) = self.followed.lock().unwrap().get(&said) {
            return opening.clone();
        }
        let opening = self.opening(view, said.1.iter().map(|change| self.change(change)).collect());
        self.followed.lock().unwrap().insert(said, opening.clone());
        opening
    }

    /// How a view begins after these changes.
    pub(crate) fn opening(&self, view: View, changes: Vec<ViewChange>) -> Opening {
        let right = changes.iter().all(|change| change.is_right(self.case.schedule, &self.group));
        let new_view = NewView { view, changes, attestation: Signature([0; 64]) };
        let beginning = new_view.beginning(self.case.schedule, &self.group, self.config.exclusion_slots);
        let opening = Opening { digest: beginning.digest(), beginning, right };
        self.openings.lock().unwrap().entry(opening.clone()).or_insert(new_view.changes);
        opening
    }

    /// What the coordinator's core is shown of it.
    pub(crate) fn opening_digest(&self, opening: &Opening) -> Digest {
        NewView::digest(opening.beginning.view, &self.openings.lock().unwrap()[opening])
    }

    pub(crate) fn new_view(&self, opening: &Opening) -> (ReplicaId, Message) {
        let view = opening.beginning.view;
        let (coordinator, digest) = (self.group.primary_of(view), self.opening_digest(opening));
        let changes = self.openings.lock().unwrap()[opening].clone();
        let attestation = self.core_signs(coordinator, |scope| scope.begin(view, &digest));
        (coordinator, Message::NewView(NewView { view, changes, attestation }))
    }
}
