//! Decisions that prove themselves, and proofs that everything up to a slot is decided. What decides is a
//! certificate of type `C`, each engine's own.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_crypto::Digest;
use smr_wire::Slot;

use crate::batch::Batch;
use crate::checkpoint::CheckpointCertificate;
use crate::ledger::Ledger;
use crate::record::Proof;
use crate::verified::{Refused, Rules};

/// Decisions in one message at most.
pub const DECISIONS_MAX: usize = 1024;

/// Votes that decide a slot and convince anyone who knows the group.
pub trait Decides: Clone + Into<Proof> {
    /// Which slot.
    fn slot(&self) -> Slot;

    /// The digest of what stands there.
    fn digest(&self) -> Digest;

    /// Whether it does decide.
    ///
    /// # Errors
    /// [`Refused::Certificate`], or what else is wrong with it.
    fn check_decides(&self, rules: &Rules<'_>) -> Result<(), Refused>;
}

/// A decided slot with the votes that decided it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Decision<C> {
    /// What stands there.
    pub batch: Batch,
    /// Votes for it; name the slot.
    pub certificate: C,
}

impl<C: Decides> Decision<C> {
    /// Whether these are votes for this batch and enough of them.
    ///
    /// # Errors
    /// [`Refused::Certificate`], or what else is wrong with it.
    pub fn check(&self, rules: &Rules<'_>) -> Result<(), Refused> {
        if self.certificate.digest() != self.batch.digest() {
            return Err(Refused::Certificate);
        }
        self.certificate.check_decides(rules)
    }
}

/// Whether a message may carry these decisions.
///
/// # Errors
/// What is wrong with the first that is bad.
pub fn check_decisions<C: Decides>(decisions: &[Decision<C>], rules: &Rules<'_>) -> Result<(), Refused> {
    if decisions.len() > DECISIONS_MAX {
        return Err(Refused::Shape);
    }
    decisions.iter().try_for_each(|decision| decision.check(rules))
}

/// Shows that everything up to a slot is decided: a checkpoint, and certificates for the last slots. Those before
/// them follow, because no correct replica votes more than a window above its decided prefix.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct PrefixProof<C> {
    /// A stable checkpoint. One above the slot shows all by itself.
    pub checkpoint: Option<CheckpointCertificate>,
    /// Certificates of the slots after the checkpoint, or of the last window, whichever is shorter.
    pub commits: Vec<C>,
}

impl<C> Default for PrefixProof<C> {
    fn default() -> PrefixProof<C> {
        PrefixProof { checkpoint: None, commits: Vec::new() }
    }
}

impl<C: Decides> PrefixProof<C> {
    /// The slot below the first that a certificate of the proof is for. A correct replica at least has decided
    /// everything up to here, so whoever lacks it can fetch it.
    #[must_use]
    pub fn base(&self, decided: Slot) -> Slot {
        decided.minus(self.commits.len() as u64)
    }

    /// Whether this shows that everything up to `decided` is.
    ///
    /// # Errors
    /// [`Refused::Shape`], or what is wrong with the first bad certificate.
    pub fn check(&self, decided: Slot, rules: &Rules<'_>) -> Result<(), Refused> {
        let checkpoint = self.checkpoint.as_ref().map(|c| c.checkpoint.slot).unwrap_or_default();
        let from = checkpoint.max(decided.minus(rules.config.window_slots));
        let covered = self.commits.len() as u64 == decided.since(from)
            && from.up_to(decided).zip(&self.commits).all(|(slot, commit)| commit.slot() == slot);
        if !covered {
            return Err(Refused::Shape);
        }
        self.checkpoint.iter().try_for_each(|certificate| certificate.check(rules))?;
        self.commits.iter().try_for_each(|commit| commit.check_decides(rules))
    }
}

impl<P: Default, C: Decides> Ledger<P, C> {
    /// That everything up to the decided prefix is decided.
    #[must_use]
    pub fn prefix_proof(&self) -> PrefixProof<C> {
        let (stable, _) = self.checkpoints();
        let from = stable.max(self.decided().minus(self.window_slots()));
        let commits = self.log.after(from).map(|(_, (_, certificate))| certificate.clone()).collect();
        PrefixProof { checkpoint: self.stable().cloned(), commits }
    }

    /// Decisions after `after`, as many as whoever asks has places for and one message may carry, and at least one if there
    /// is any.
    #[must_use]
    pub fn decisions_after(&self, after: Slot, bytes_max: usize) -> Vec<Decision<C>> {
        let (mut decisions, mut bytes) = (Vec::new(), 0);
        for (_, (batch, certificate)) in self.log.after(after).take(self.window.places().min(DECISIONS_MAX)) {
            bytes += batch.bytes();
            if !decisions.is_empty() && bytes > bytes_max {
                break;
            }
            decisions.push(Decision { batch: batch.clone(), certificate: certificate.clone() });
        }
        decisions
    }
}
