//! Dealings of the key that do not fit; and all that a host can do about one that its core makes.

use smr_consensus::lanes::core::{Attempt, AttestedDealing, Refusal};
use smr_crypto::dkg::{Dealing, EncryptionKey, Setup};

use super::floods::entries_of;
use super::*;

/// What a host does when its core is to deal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trick {
    /// It keeps the dealing back.
    Withhold,
    /// It changes a share, and shows what its core says of the true dealing.
    AlterAShare,
    /// It deals by itself, badly, and shows what its core says of the true dealing.
    DealByItself,
    /// It deals by itself, badly, and attests that with the key that it has.
    AttestByItself,
    /// It has its core deal all shares to itself, so that it knows the polynomial.
    DealToItself,
    /// It has its core deal in the next attempt, and shows that in this one.
    AnotherAttempt,
    /// It waits for what another's core dealt, and says that it is its own.
    Borrow,
}

const TRICKS: &[Trick] = &[
    Trick::Withhold,
    Trick::AlterAShare,
    Trick::DealByItself,
    Trick::AttestByItself,
    Trick::DealToItself,
    Trick::AnotherAttempt,
    Trick::Borrow,
];

impl Adversary {
    /// What its replica is told that its core has dealt, after the core did what it does.
    pub(crate) fn deal(
        &mut self,
        attempt: &Attempt,
        core: &mut SoftwareCore,
    ) -> Vec<Result<AttestedDealing, Refusal>> {
        if self.misdeed != Misdeed::DealBadShares {
            return vec![core.deal(attempt)];
        }
        let me = self.seat.me;
        match *self.rng.pick(TRICKS) {
            Trick::Withhold => Vec::new(),
            Trick::AlterAShare => {
                let alter = |mut dealt: AttestedDealing| {
                    spoil(&mut dealt.dealing, me);
                    dealt
                };
                vec![core.deal(attempt).map(alter)]
            }
            Trick::DealByItself => {
                let dealing = self.own_dealing(attempt);
                vec![core.deal(attempt).map(|dealt| AttestedDealing { dealing, ..dealt })]
            }
            Trick::AttestByItself => {
                let dealing = self.own_dealing(attempt);
                let attestation = self.seat.sign(&Digest::of_value("SMRCLOUD-CORE-DEAL-V1", &dealing));
                vec![Ok(AttestedDealing { attempt: attempt.number, dealing, attestation })]
            }
            Trick::DealToItself => {
                let setup = &attempt.setup;
                let own: EncryptionKey = setup.encryption_keys[me.index()];
                let encryption_keys = vec![own; setup.participants()];
                let setup = Setup { encryption_keys, ..setup.clone() };
                vec![core.deal(&Attempt { setup, ..*attempt })]
            }
            Trick::AnotherAttempt => {
                let next = Attempt { number: attempt.number + 1, setup: attempt.setup.clone() };
                let of_this = |dealt| AttestedDealing { attempt: attempt.number, ..dealt };
                // The second answer is that it has dealt already.
                vec![core.deal(&next).map(of_this), core.deal(attempt)]
            }
            Trick::Borrow => {
                self.borrows = true;
                Vec::new()
            }
        }
    }

    fn own_dealing(&mut self, attempt: &Attempt) -> Dealing {
        let mut dealing = Dealing::make(&attempt.setup, self.seat.me.0, &self.rng.bytes32());
        spoil(&mut dealing, self.seat.me);
        dealing
    }

    /// What another's core dealt, once it hears of it, if it waits for that.
    pub(crate) fn overhear(&mut self, message: &Message) -> Option<Box<AttestedDealing>> {
        if !self.borrows {
            return None;
        }
        let dealt = entries_of(message).iter().find_map(|entry| {
            let EntryBody::System(SystemEntry { payload, .. }) = entry.body() else { return None };
            match smr_wire::decode(payload, payload.len()) {
                Ok(SystemCommand::Attested(dealt)) => Some(dealt),
                _ => None,
            }
        });
        self.borrows &= dealt.is_none();
        dealt
    }

    /// Its own dealing, spoiled, wherever it occurs, where no core makes it.
    pub(super) fn spoil(&mut self, message: Message) -> Message {
        let Message::Consensus(Ordering::Pbft(message)) = message else { return message };
        let altered = match message {
            pbft::Message::Upkeep(Upkeep::Forward(entries)) => pbft::Message::Upkeep(Upkeep::Forward(
                entries.into_iter().map(|entry| self.spoil_entry(entry)).collect(),
            )),
            pbft::Message::Proposal { view, slot, batch, .. } => {
                let entries = batch.entries().iter().map(|entry| self.spoil_entry(entry.clone())).collect();
                self.propose(view, slot, Batch::new(batch.time(), entries))
            }
            other => other,
        };
        Message::Consensus(Ordering::Pbft(altered))
    }

    pub(super) fn spoil_entry(&self, entry: Entry) -> Entry {
        let EntryBody::System(SystemEntry { author, payload, .. }) = entry.body() else { return entry };
        if *author != self.seat.me {
            return entry;
        }
        let Ok(mut command) = smr_wire::decode(payload, payload.len()) else { return entry };
        let dealing = match &mut command {
            SystemCommand::Ceremony { command, .. } => match &mut **command {
                dkg::Command::Deal(dealing) => dealing,
                _ => return entry,
            },
            SystemCommand::Attested(dealt) => &mut dealt.dealing,
            _ => return entry,
        };
        spoil(dealing, *author);
        Entry::new(EntryBody::System(SystemEntry::sign(&self.seat, smr_wire::encode(&command))))
    }
}

/// Makes a share for another than `dealer` a wrong one, so that somebody has to complain.
fn spoil(dealing: &mut Dealing, dealer: ReplicaId) {
    let victim = (dealer.index() + 1) % dealing.shares.len();
    dealing.shares[victim][0] ^= 1;
}
