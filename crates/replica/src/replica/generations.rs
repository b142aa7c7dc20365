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
            owed: 0,
            stale: 0,
        }
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

    /// One period has passed.
    pub(super) fn mind_generations(&mut self, effects: &mut Vec<Effect>) {
        self.generations.shown.clear();
        let before = std::mem::replace(&mut self.generations.executed_before, self.executed);
        self.generations.moved = self.generations.moved.filter(|slot| *slot > self.system.slot);
        if let Some(slot) = self.generations.moved.filter(|_| before == self.executed) {
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
        let to = group.generation;
        effects.push(Effect::Regroup(group));
        if votes && self.generations.core.is_some() {
            self.attest(Operation::Advance { to }, effects);
        }
        self.generations.stale = self.generations.owed;
        effects.push(Effect::Report(Observation::Generation(to)));
        self.inbox.push_front(smr_consensus::Event::Installed(certificate.clone()));
        self.inbox.push_front(smr_consensus::Event::Start);
        self.inbox.extend(waiting.into_iter().map(smr_consensus::Event::Offer));
        true
    }

    /// Tells consensus where the generation ends, if that is known.
    pub(super) fn show_barrier(&mut self) {
        if let Some(barrier) = self.system.voters.barrier() {
            self.inbox.push_back(smr_consensus::Event::Barrier(barrier));
        }
    }
}
