//! From one set of voters to the next. The log says which, and where one ends; see [`crate::voters`].
//!
//! A replica enters the next generation when the state at the barrier is certified: then n-f replicas have it, and whoever
//! is behind gets there without a vote of the last generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use smr_consensus::checkpoint::CheckpointCertificate;
use smr_consensus::lanes::core::{Operation, Refusal};
use smr_consensus::protocol::Timer as ConsensusTimer;
use smr_consensus::{Group, Protocol, Seat};
use smr_crypto::{PublicKey, Signature};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, Slot};

use super::Replica;
use super::restart::Restarting;
use crate::effect::{Effect, Observation, Timer};
use crate::message::PeerMessage;
use crate::system::SystemCommand;
use crate::voucher::Voucher;

/// What a replica remembers of generations.
#[derive(Clone, Debug)]
pub(super) struct Generations {
    /// The key of its own trusted core.
    core: Option<PublicKey>,
    /// What the administrator said of that key.
    voucher: Option<Voucher>,
    /// The certified state with which this generation began; none for the first.
    opening: Option<CheckpointCertificate>,
    /// Who was shown it in this period.
    shown: BTreeSet<ReplicaId>,
    /// Where a later generation began, as far as this replica was shown.
    moved: Option<Slot>,
    /// The last slot executed when the last period ended.
    executed_before: Slot,
    /// The last slot admitted when the application last starved.
    starved: Option<Slot>,
    /// Answers that the trusted core owes.
    owed: u64,
    /// So many of them, the first ones, are to what was asked in an earlier generation.
    stale: u64,
}

impl Generations {
    pub(super) fn new(core: Option<PublicKey>) -> Generations {
        Generations {
            core,
            voucher: None,
            opening: None,
            shown: BTreeSet::new(),
            moved: None,
            executed_before: Slot(0),
            starved: None,
            owed: 0,
            stale: 0,
        }
    }
}

impl Generations {
    /// Goes on in the generation of `group`, in which this state was certified; whether the group counts on `me`.
    pub(super) fn resume(
        &mut self,
        group: &Group,
        me: ReplicaId,
        certificate: &CheckpointCertificate,
    ) -> bool {
        self.opening = Some(certificate.clone());
        votes(group, me, self.core.as_ref())
    }
}

/// Whether `group` counts on what `me` says, whose trusted core has this key.
pub(super) fn votes(group: &Group, me: ReplicaId, core: Option<&PublicKey>) -> bool {
    group.model != FaultModel::Hybrid || group.cores.get(me.index()) == core
}

impl Replica {
    pub(super) fn attest(&mut self, operation: Operation, effects: &mut Vec<Effect>) {
        self.generations.owed += 1;
        effects.push(Effect::Attest(operation));
    }

    pub(super) fn on_attested(&mut self, answer: Result<Signature, Refusal>) {
        let generations = &mut self.generations;
        generations.owed = generations.owed.saturating_sub(1);
        if generations.stale > 0 {
            generations.stale -= 1;
        } else {
            self.inbox.push_back(smr_consensus::Event::Attested(answer));
        }
    }

    pub(super) fn on_vouched(&mut self, voucher: Voucher) {
        self.generations.voucher = Some(voucher);
        self.ask_to_rejoin();
    }

    /// Has the voucher for its core ordered, as long as that helps.
    fn ask_to_rejoin(&mut self) {
        let generation = self.seat.group.generation;
        if let Some(voucher) = self.generations.voucher
            && !self.seat.votes
            && voucher.generation == generation
        {
            self.offer_system(&SystemCommand::Rejoin(voucher));
        }
    }

    /// Somebody speaks to the voters of another generation.
    pub(super) fn on_elsewhere(
        &mut self,
        from: ReplicaId,
        generation: Generation,
        effects: &mut Vec<Effect>,
    ) {
        if generation < self.seat.group.generation
            && let Some(opening) = self.generations.opening.clone()
            && self.generations.shown.insert(from)
        {
            Replica::send(effects, from, PeerMessage::Moved(opening));
        }
    }

    /// Others have a state that a later generation may have begun with. Who has the same has only missed its certificate.
    /// Whoever else goes on without decides a while later whether it needs the state, so that nobody can have it fetch
    /// what it is about to execute.
    pub(super) fn on_moved(&mut self, certificate: CheckpointCertificate, effects: &mut Vec<Effect>) {
        self.generations.moved = self.generations.moved.max(Some(certificate.checkpoint.slot));
        self.settle_checkpoint(certificate, effects);
    }

    /// Nothing runs in the application until something is admitted.
    pub(super) fn note_starving(&mut self) {
        self.generations.starved = Some(self.system.slot);
    }

    /// Whether what is decided here leads no further: all of it is executed, or the rest waits for commands that this
    /// generation has none of any more. Commands that merely take long are no reason.
    fn is_at_a_loss(&self) -> bool {
        let decided = self.engine.status().decided;
        let starves = self.generations.starved == Some(self.system.slot);
        decided <= self.executed || (starves && decided == self.system.slot)
    }

    /// One period has passed.
    pub(super) fn mind_generations(&mut self, effects: &mut Vec<Effect>) {
        self.generations.shown.clear();
        let before = std::mem::replace(&mut self.generations.executed_before, self.executed);
        self.generations.moved = self.generations.moved.filter(|slot| *slot > self.system.slot);
        let stands = before == self.executed && self.is_at_a_loss();
        if let Some(slot) = self.generations.moved.filter(|_| stands) {
            self.want_state(slot, effects);
        }
        self.ask_to_rejoin();
    }

    /// Enters the generation that the state after the certified slot names, if that is a later one. True if it did.
    pub(super) fn enter_generation(
        &mut self,
        certificate: &CheckpointCertificate,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let voters = &self.system.voters;
        let is_here = certificate.checkpoint.slot == self.system.slot;
        if !is_here || voters.generation() == self.seat.group.generation {
            return false;
        }
        let group = Arc::new(voters.group(&self.genesis));
        let (me, key) = (self.seat.me, self.seat.key.clone());
        let votes = votes(&group, me, self.generations.core.as_ref());
        self.seat = Seat { votes, ..Seat::new(group.clone(), me, key) };
        let waiting = self.engine.waiting();
        self.engine = self.genesis.protocol.start(self.seat.clone(), self.genesis.config.consensus.clone());
        for timer in [ConsensusTimer::Patience, ConsensusTimer::NewView, ConsensusTimer::Status] {
            effects.push(Effect::Disarm(Timer::Consensus(timer)));
        }
        self.generations.opening = Some(certificate.clone());
        self.restarting = Restarting::default();
        let to = group.generation;
        effects.push(Effect::Regroup(group));
        if votes && self.generations.core.is_some() {
            self.attest(Operation::Advance { to }, effects);
        }
        self.generations.stale = self.generations.owed;
        effects.push(Effect::Report(Observation::Generation(to)));
        // Of the last generation: it is not in the state with which this one begins.
        self.decided.clear();
        self.inbox.push_front(smr_consensus::Event::Installed(certificate.clone()));
        if let Some(barrier) = self.barrier() {
            self.inbox.push_front(barrier);
        }
        self.inbox.push_front(smr_consensus::Event::Start);
        self.inbox.extend(waiting.into_iter().map(smr_consensus::Event::Offer));
        true
    }

    /// Tells consensus where the generation ends, if that is known.
    pub(super) fn show_barrier(&mut self) {
        let barrier = self.barrier();
        self.inbox.extend(barrier);
    }

    /// Where the generation ends, for consensus. It must know before it takes up a state that lies behind the slot which
    /// says so: from there its window may reach beyond.
    fn barrier(&self) -> Option<smr_consensus::Event<smr_consensus::Message>> {
        self.system.voters.barrier().map(smr_consensus::Event::Barrier)
    }

    /// Whether the last slot admitted ended a generation that this replica has not left.
    pub(super) fn is_at_the_end(&self) -> bool {
        self.system.voters.generation() != self.seat.group.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Event, Input};
    use crate::message::Message;
    use crate::system::SystemState;
    use crate::voters::tests::{genesis, key, voucher};
    use crate::{Genesis, Secrets};
    use smr_consensus::checkpoint::Checkpoint;
    use smr_consensus::{Entry, EntryBody, ProtocolName};
    use smr_crypto::dkg::{DealingSeed, DecryptionKey};
    use smr_crypto::{Digest, Verifier};
    use smr_wire::{Call, Request, Timestamp};

    /// Replica 2 of a service, with requests that wait.
    fn waiting(genesis: &Arc<Genesis>) -> Replica {
        let secrets = Secrets {
            identity: Arc::new(key(2)),
            decryption: Arc::new(DecryptionKey::from_seed(&[2; 32])),
            dealing_seed: DealingSeed([3; 32]),
        };
        let core = Some(key(22).public());
        let verifier = Arc::new(Verifier::new(8));
        let mut replica = Replica::new(genesis.clone(), ReplicaId(2), secrets, core, verifier);
        let mut effects = Vec::new();
        replica.step(Input { clock: Timestamp(1), event: Event::Start }, &mut effects);
        for nonce in 0..100 {
            let client = key(u8::try_from(100 + nonce).expect("small"));
            let request = Request::sign(&client, genesis.service(), Call::Open { nonce, window: 1 });
            replica.inbox.push_back(smr_consensus::Event::Offer(Entry::new(EntryBody::Client(request))));
        }
        replica
    }

    fn certificate(slot: Slot) -> CheckpointCertificate {
        let checkpoint = Checkpoint { slot, digest: Digest::default() };
        CheckpointCertificate { checkpoint, votes: Vec::new() }
    }

    fn take_over(replica: &mut Replica, slot: Slot, system: SystemState) -> Vec<Effect> {
        let system = SystemState { slot, ..system };
        let mut effects = Vec::new();
        replica.install(slot, certificate(slot), system, &mut effects);
        replica.run_consensus(Timestamp(2), &mut effects);
        effects
    }

    /// The slots that it votes for when it has taken over the state after `slot`.
    fn votes_after(replica: &mut Replica, slot: Slot, system: SystemState) -> Vec<Slot> {
        let effects = take_over(replica, slot, system);
        let items = effects.into_iter().filter_map(|effect| match effect {
            Effect::Attest(Operation::Endorse { items, .. }) => Some(items),
            _ => None,
        });
        items.flatten().map(|item| item.slot).collect()
    }

    #[test]
    fn who_takes_over_a_state_behind_a_voucher_votes_for_nothing_beyond_the_barrier() {
        let genesis = Arc::new(genesis(ProtocolName::Ebawa));
        // A second voucher, in the generation that the first one began: the state is of another generation, too.
        for earlier in [0, 1] {
            let mut system = SystemState::new(&genesis);
            for generation in 0..=earlier {
                let seed = 50 + u8::try_from(generation).expect("small");
                let slot = Slot(10 + 200 * u64::from(generation));
                let word = voucher(&genesis, 99, 1, generation, seed);
                assert!(system.voters.admit(ReplicaId(1), &word, slot, &genesis));
                if generation < earlier {
                    let barrier = system.voters.barrier().expect("just admitted");
                    assert!(system.voters.end_slot(barrier));
                }
            }
            let barrier = system.voters.barrier().expect("just admitted");
            let mut voted = 0;
            for behind in 0..6 {
                let votes = votes_after(&mut waiting(&genesis), barrier.minus(behind), system.clone());
                assert!(votes.iter().all(|slot| *slot <= barrier), "{votes:?} beyond {barrier}");
                voted += votes.len();
            }
            assert!(voted > 0, "it votes at all");
            let after = votes_after(&mut waiting(&genesis), barrier, SystemState::new(&genesis));
            assert!(after.iter().any(|slot| *slot > barrier), "without a barrier it goes on");
        }
    }
    #[test]
    fn who_was_left_in_a_generation_fetches_the_state_once_what_it_has_leads_no_further() {
        let genesis = Arc::new(genesis(ProtocolName::Minbft));
        let step = |replica: &mut Replica, event| {
            let mut effects = Vec::new();
            replica.step(Input { clock: Timestamp(3), event }, &mut effects);
            let asks = |effect: &Effect| {
                matches!(effect, Effect::Send { message: Message::Peer(PeerMessage::StateQuery { .. }), .. })
            };
            effects.iter().any(asks)
        };
        let left_behind = |executed| {
            let mut replica = waiting(&genesis);
            take_over(&mut replica, Slot(10), SystemState::new(&genesis));
            replica.executed = executed;
            replica.on_moved(certificate(Slot(40)), &mut Vec::new());
            assert!(!step(&mut replica, Event::Timer(Timer::Repeat)), "it has had no time to go on");
            replica
        };
        let period = |replica: &mut Replica| step(replica, Event::Timer(Timer::Repeat));

        assert!(period(&mut left_behind(Slot(10))), "everything is executed");
        let mut at_work = left_behind(Slot(9));
        assert!(!period(&mut at_work) && !period(&mut at_work), "commands may take long");
        assert!(!step(&mut at_work, Event::Starving) && period(&mut at_work), "they wait for later ones");
    }
    #[test]
    fn a_checkpoint_that_is_not_reached_yet_is_one_for_consensus() {
        let mut replica = waiting(&Arc::new(genesis(ProtocolName::Minbft)));
        replica.settle_checkpoint(certificate(Slot(40)), &mut Vec::new());
        replica.run_consensus(Timestamp(2), &mut Vec::new());
        let lanes = replica.engine().lanes().expect("minbft is of lanes").outline();
        assert_eq!((lanes.basis.stable.0, replica.status().stable), (Slot(40), Slot(0)));
    }
}
