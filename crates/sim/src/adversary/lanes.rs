//! Lies of a host whose trusted core does what it is asked for and no more: the core can be had to vote for anything, once.

use std::sync::Arc;

use smr_consensus::decision::Decides;
use smr_consensus::lanes::Decision;
use smr_consensus::lanes::beginning::{Beginning, Ground, ViewCertificate, ViewChange};
use smr_consensus::lanes::core::{Item, Operation, Register, SoftwareCore};
use smr_consensus::upkeep::Upkeep;

use super::*;

impl Adversary {
    /// What it really sends to `to` in place of `message`.
    pub(super) fn alter_lanes(
        &mut self,
        to: ReplicaId,
        message: Lanes,
        now: Timestamp,
        core: Option<&mut SoftwareCore>,
    ) -> Vec<Lanes> {
        let other_half = to.0.is_multiple_of(2);
        match self.misdeed {
            Misdeed::Equivocate if other_half => self.other_batches(message, core),
            Misdeed::CorruptVotes => self.vote_for_nothing(message, core),
            Misdeed::KeepDecisions if keeps(&message) => Vec::new(),
            Misdeed::LieAboutProgress => self.lie_about_lanes(message),
            Misdeed::ContradictBeginnings => match message {
                Lanes::ViewChange(change) => self.claim_turns(&change, core),
                message => self.propose_out_of_turn(message, now, core),
            },
            Misdeed::ForgeCertificates => self.forge_lanes(message, now),
            Misdeed::BlamePrimaries => {
                let Lanes::Upkeep(Upkeep::Status { view, .. }) = &message else { return vec![message] };
                let wish = Lanes::Upkeep(Upkeep::Suspects(vec![Suspect::sign(&self.seat, view.next())]));
                vec![message, wish]
            }
            Misdeed::HideClaims => self.hide_votes(message).into_iter().collect(),
            _ => vec![message],
        }
    }

    /// Its core's votes for `items` in `view`, if it gives them.
    fn attest(
        &self,
        core: Option<&mut SoftwareCore>,
        view: View,
        items: Vec<Item>,
    ) -> Option<Arc<Endorsement>> {
        let signature = match core {
            Some(core) => Some(core.attest(&Operation::Endorse { view, items: items.clone() }).ok()?),
            None => None,
        };
        Some(Arc::new(Endorsement { view, items, signature }))
    }

    /// Other batches than the first half is told of: the core does not vote twice, so either under the same votes, or
    /// nothing at all.
    fn other_batches(&mut self, message: Lanes, core: Option<&mut SoftwareCore>) -> Vec<Lanes> {
        let Lanes::Endorse { endorsement, batches } = message else { return vec![message] };
        let batches: Vec<(Slot, Batch)> =
            batches.into_iter().map(|(slot, batch)| (slot, ordering::other_batch(&batch))).collect();
        let items =
            batches.iter().map(|(slot, batch)| Item { slot: *slot, digest: batch.digest() }).collect();
        match self.attest(core, endorsement.view, items) {
            Some(endorsement) => vec![Lanes::Endorse { endorsement, batches }],
            None if self.rng.chance(500) => vec![Lanes::Endorse { endorsement, batches }],
            None => Vec::new(),
        }
    }

    /// Besides its votes, now and then one for what nobody proposed, in a slot that is not open yet: the lane is burnt.
    fn vote_for_nothing(&mut self, message: Lanes, core: Option<&mut SoftwareCore>) -> Vec<Lanes> {
        let Lanes::Endorse { endorsement, batches } = message else { return vec![message] };
        let mut said = Vec::new();
        let last = endorsement.items.last().map(|item| item.slot).unwrap_or_default();
        if self.rng.chance(200) {
            let slot = last.plus(self.rng.within(1, 6));
            let item = Item { slot, digest: Digest::of("SIM", &[&self.rng.bytes32()]) };
            let vote = self.attest(core, endorsement.view, vec![item]);
            said.extend(vote.map(|endorsement| Lanes::Endorse { endorsement, batches: Vec::new() }));
        }
        if self.rng.chance(300) {
            let mut forged = Endorsement::clone(&endorsement);
            forged.items.iter_mut().for_each(|item| item.digest.0[0] ^= 1);
            said.push(Lanes::Endorse { endorsement: Arc::new(forged), batches: Vec::new() });
        }
        said.push(Lanes::Endorse { endorsement, batches });
        said
    }

    /// With its votes, a proposal in the slot after them, whose turn it may not be.
    fn propose_out_of_turn(
        &mut self,
        message: Lanes,
        now: Timestamp,
        core: Option<&mut SoftwareCore>,
    ) -> Vec<Lanes> {
        let Lanes::Endorse { endorsement, .. } = &message else { return vec![message] };
        let last = endorsement.items.last().map(|item| item.slot).unwrap_or_default();
        if !self.rng.chance(300) {
            return vec![message];
        }
        let (slot, batch) = (last.plus(self.rng.within(0, 2)), Batch::new(now, Vec::new()));
        let item = Item { slot, digest: batch.digest() };
        let vote = self.attest(core, endorsement.view, vec![item]);
        let proposal = vote.map(|endorsement| {
            self.out_of_turn.push((slot, batch.clone(), endorsement.clone()));
            let surplus = self.out_of_turn.len().saturating_sub(REMEMBERED_MAX);
            self.out_of_turn.drain(..surplus);
            Lanes::Endorse { endorsement, batches: vec![(slot, batch)] }
        });
        std::iter::once(message).chain(proposal).collect()
    }

    /// As its core reports, which cannot be helped; but its proposals out of turn are said to have been right, and whoever
    /// wants them is given them.
    fn claim_turns(&mut self, change: &ViewChange, core: Option<&mut SoftwareCore>) -> Vec<Lanes> {
        let mut claimed = change.clone();
        let told: Vec<_> = change.open().into_iter().zip(change.grounds.iter().cloned()).collect();
        claimed.lanes = core.map_or(claimed.lanes, |core| core.registers().lanes().to_vec());
        let mut bodies = Vec::new();
        let ground = |vote: &Register| {
            let true_one = told.iter().find(|(other, _)| other == vote).map(|(_, ground)| ground.clone());
            true_one.or_else(|| {
                let own = |(slot, batch, _): &&(Slot, Batch, _)| {
                    *slot == vote.item.slot && batch.digest() == vote.item.digest
                };
                let (slot, batch, endorsement) = self.out_of_turn.iter().find(own)?;
                bodies.push(Lanes::Upkeep(Upkeep::Body { slot: *slot, batch: batch.clone() }));
                Some(Ground::Proposed(self.seat.me, endorsement.clone()))
            })
        };
        claimed.grounds = claimed.open().iter().filter_map(ground).collect();
        let claimed = Lanes::ViewChange(Box::new(claimed.signed(&self.seat)));
        std::iter::once(claimed).chain(bodies).collect()
    }

    fn lie_about_lanes(&mut self, message: Lanes) -> Vec<Lanes> {
        match message {
            Lanes::Upkeep(Upkeep::Status { view, installed, decided }) => {
                let ahead = decided.plus(self.rng.within(1, 1 << 20));
                let pruned = Lanes::Upkeep(Upkeep::Pruned(self.forged_checkpoint(ahead)));
                vec![Lanes::Upkeep(Upkeep::Status { view, installed, decided: ahead }), pruned]
            }
            Lanes::Upkeep(Upkeep::Decided(decisions)) => {
                let last = decisions.last().map(|decision| decision.certificate.slot()).unwrap_or_default();
                vec![Lanes::Upkeep(Upkeep::Pruned(self.forged_checkpoint(last.plus(1))))]
            }
            other => vec![other],
        }
    }

    /// With its status, a decision that it made up, under its own votes as often as it takes.
    fn forge_lanes(&mut self, message: Lanes, now: Timestamp) -> Vec<Lanes> {
        let Lanes::Upkeep(Upkeep::Status { view, decided, .. }) = &message else { return vec![message] };
        let batch = Batch::new(now, Vec::new());
        let item = Item { slot: decided.plus(self.rng.within(1, 2)), digest: batch.digest() };
        let signature = Some(self.seat.sign(&Digest::default()));
        let vote = Arc::new(Endorsement { view: *view, items: vec![item], signature });
        let votes = vec![(self.seat.me, vote); self.seat.group.quorum()];
        let certificate = Certificate { view: *view, item, votes };
        let decision = Lanes::Upkeep(Upkeep::Decided(vec![Decision { batch, certificate }]));
        let begun = Lanes::Begun(self.forged_beginning(view.next(), *decided));
        vec![message, decision, begun]
    }

    /// That a view begins in which nothing stands that may have been decided, on its own word alone.
    fn forged_beginning(&self, view: View, decided: Slot) -> ViewCertificate {
        let beginning = Beginning { view, decided, ..Beginning::default() };
        let statement = ViewCertificate::statement(view, &beginning.digest(), &self.seat.group);
        ViewCertificate { votes: vec![(self.seat.me, self.seat.sign(&statement))], beginning }
    }

    /// Half of its votes, and view changes that leave out what they can.
    fn hide_votes(&mut self, message: Lanes) -> Option<Lanes> {
        match message {
            Lanes::Endorse { .. } if self.rng.chance(400) => None,
            Lanes::ViewChange(change) if self.rng.chance(500) => {
                let seat = self.seat.clone();
                let mut hidden = ViewChange::clone(&change);
                match self.rng.within(0, 3) {
                    0 => hidden.grounds.clear(),
                    1 => hidden.views.clear(),
                    2 => hidden.lanes.iter_mut().for_each(|lane| *lane = None),
                    _ => hidden.proof.commits.truncate(1),
                }
                Some(Lanes::ViewChange(Box::new(hidden.signed(&seat))))
            }
            other => Some(other),
        }
    }
}

/// Whether the message would let others decide what this replica did not propose, or know what is decided.
fn keeps(message: &Lanes) -> bool {
    match message {
        Lanes::Endorse { batches, .. } => batches.is_empty(),
        Lanes::Upkeep(Upkeep::Decided(_)) | Lanes::Upkeep(Upkeep::Body { .. }) => true,
        _ => false,
    }
}
