//! What of a replica is on disk, and how one goes on from there.
//!
//! ```text
//!   stable checkpoint --Keep--> Kept: the log below goes, in memory (Stable) and on disk (Prune, up to the one before)
//!   fetched state ----Keep--> Kept --Restore--> Restored: installed
//! ```
//!
//! A state stands for the records below it. So it is on disk before those go, and before anything is said that rests on it.

use std::sync::Arc;

use smr_app::state::Chunk;
use smr_consensus::checkpoint::CheckpointCertificate;
use smr_consensus::record::Unfit;
use smr_consensus::verified::Rules;
use smr_consensus::{Protocol, Record, Seat};
use smr_crypto::{PublicKey, Verifier};
use smr_wire::{ReplicaId, Slot};

use super::{Replica, Secrets};
use crate::chunked::Chunked;
use crate::effect::{Effect, Observation};
use crate::genesis::Genesis;
use crate::known_bugs;
use crate::status::Halt;
use crate::system::SystemState;

/// What a replica finds on its disk.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest certified state.
    pub checkpoint: Option<(CheckpointCertificate, Chunked)>,
    /// What was written down since, in order; more is no harm.
    pub records: Vec<Record>,
}

/// Why a replica cannot go on from what is on its disk.
#[derive(Debug, thiserror::Error)]
pub enum CannotGoOn {
    /// The records do not fit together.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// What is kept is not what the certificate is for.
    #[error("the state on disk is not the one that was certified: {0}")]
    Image(String),
}

/// A state on its way into a replica.
#[derive(Clone, Debug)]
pub(super) enum Restoring {
    /// Found on disk; the application takes its part over when this replica begins.
    Found {
        /// That it is right.
        certificate: CheckpointCertificate,
        /// The system's part.
        system: Box<SystemState>,
        /// The application's part.
        application: Vec<Chunk>,
    },
    /// Fetched, and being written to disk.
    Keeping {
        /// That it is right.
        certificate: CheckpointCertificate,
        /// The state.
        image: Arc<Chunked>,
    },
    /// The application is taking its part over.
    Application {
        /// That it is right.
        certificate: CheckpointCertificate,
        /// The other part.
        system: Box<SystemState>,
    },
}

/// States that are on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping {
    /// After these slots, the last one second.
    kept: (Slot, Slot),
    /// The one that is being written.
    under_way: Option<CheckpointCertificate>,
}

impl Replica {
    /// A replica that goes on from what is on its disk; see [`Replica::new`].
    ///
    /// # Errors
    /// Why it cannot, and must not begin as if it had never been.
    pub fn resume(
        genesis: Arc<Genesis>,
        me: ReplicaId,
        secrets: Secrets,
        core: Option<PublicKey>,
        verifier: Arc<Verifier>,
        found: Found,
    ) -> Result<Replica, CannotGoOn> {
        let mut replica = Replica::new(genesis, me, secrets, core, verifier);
        let Found { checkpoint, mut records } = found;
        let mut base = None;
        if let Some((certificate, image)) = checkpoint {
            let (system, application) = image.read().map_err(CannotGoOn::Image)?;
            replica.found_generation(&system, &certificate);
            replica.checkpoints.take(&certificate, Arc::new(image));
            replica.keeping.kept = (Slot(0), certificate.checkpoint.slot);
            let system = Box::new(system);
            replica.restoring =
                Some(Restoring::Found { certificate: certificate.clone(), system, application });
            base = Some(certificate);
        }
        if !replica.seat.group.is_bound_by_disk() {
            let config = &replica.genesis.config.consensus;
            let rules = Rules { group: &replica.seat.group, config, verifier: &replica.verifier };
            records.retain(|record| record.holds(&rules));
        }
        replica.found_end(&records);
        let mut ordered = smr_consensus::Effects::default();
        replica.engine.resume(base, records, &mut ordered)?;
        for effect in ordered.drain() {
            if let smr_consensus::Effect::Decide { slot, batch } = effect {
                replica.decided.push_back((slot, batch));
            }
        }
        Ok(replica)
    }

    /// A state that was certified in a later generation than the first tells who its voters are.
    fn found_generation(&mut self, system: &SystemState, certificate: &CheckpointCertificate) {
        if system.voters.generation() == self.seat.group.generation {
            return;
        }
        let (group, me) = (Arc::new(system.voters.group(&self.genesis)), self.seat.me);
        let votes = self.generations.resume(&group, me, certificate);
        self.seat = Seat { votes, ..Seat::new(group, me, self.seat.key.clone()) };
        self.engine = self.genesis.protocol.start(self.seat.clone(), self.genesis.config.consensus.clone());
    }

    /// The replica begins: the application takes over what was found.
    pub(super) fn begin(&mut self, effects: &mut Vec<Effect>) {
        match self.restoring.take() {
            Some(Restoring::Found { certificate, system, application }) => {
                effects.push(Effect::Regroup(self.seat.group.clone()));
                self.restore(certificate, system, application, effects);
            }
            other => self.restoring = other,
        }
        self.admit_decided(effects);
    }

    /// Has the last stable state written to disk, unless one is being written.
    pub(super) fn keep_newest(&mut self, effects: &mut Vec<Effect>) {
        let (_, last) = self.keeping.kept;
        if self.keeping.under_way.is_none()
            && let Some((certificate, image)) = self.checkpoints.newest(last)
        {
            self.keeping.under_way = Some(certificate.clone());
            effects.push(Effect::Keep { certificate, image });
        }
    }

    /// A state was fetched: it goes to disk before anything rests on it.
    pub(super) fn keep_fetched(
        &mut self,
        certificate: CheckpointCertificate,
        image: Chunked,
        effects: &mut Vec<Effect>,
    ) {
        let image = Arc::new(image);
        effects.push(Effect::Keep { certificate: certificate.clone(), image: image.clone() });
        if known_bugs::RESTS_ON_WHAT_IS_NOT_KEPT.is_on() {
            self.restore_fetched(certificate, image, effects);
            return;
        }
        self.restoring = Some(Restoring::Keeping { certificate, image });
    }

    /// The state after `slot` is on disk.
    pub(super) fn on_kept(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        let (_, last) = self.keeping.kept;
        if slot > last {
            self.keeping.kept = (last, slot);
        }
        match self.restoring.take() {
            Some(Restoring::Keeping { certificate, image }) if certificate.checkpoint.slot == slot => {
                self.restore_fetched(certificate, image, effects);
            }
            other => self.restoring = other,
        }
        let under_way = self.keeping.under_way.take_if(|certificate| certificate.checkpoint.slot == slot);
        if let Some(certificate) = under_way {
            if !self.enter_generation(&certificate, effects) {
                self.inbox.push_back(smr_consensus::Event::Stable(certificate));
            }
            // What stands between the two is there if the last one turns out to be damaged.
            let (before, _) = self.keeping.kept;
            effects.push(Effect::Prune { slot: before, standing: self.engine.standing() });
            self.keep_newest(effects);
        }
    }

    fn restore_fetched(
        &mut self,
        certificate: CheckpointCertificate,
        image: Arc<Chunked>,
        effects: &mut Vec<Effect>,
    ) {
        match image.read() {
            // n-f replicas certified bytes that are no state here: this replica runs another version.
            Err(why) => self.cannot_restore(why, effects),
            Ok((system, application)) => {
                self.checkpoints.take(&certificate, image);
                self.restore(certificate, Box::new(system), application, effects);
            }
        }
    }

    fn restore(
        &mut self,
        certificate: CheckpointCertificate,
        system: Box<SystemState>,
        chunks: Vec<Chunk>,
        effects: &mut Vec<Effect>,
    ) {
        let slot = certificate.checkpoint.slot;
        self.restoring = Some(Restoring::Application { certificate, system });
        effects.push(Effect::Restore { slot, chunks });
    }

    /// What the application was asked to take over, if it was that.
    pub(super) fn restored(&mut self, slot: Slot) -> Option<(CheckpointCertificate, Box<SystemState>)> {
        match self.restoring.take() {
            Some(Restoring::Application { certificate, system }) if certificate.checkpoint.slot == slot => {
                Some((certificate, system))
            }
            other => {
                self.restoring = other;
                None
            }
        }
    }

    /// The application cannot read a state that is right: only another version of it can.
    pub(super) fn cannot_restore(&mut self, why: String, effects: &mut Vec<Effect>) {
        self.transfer.finish();
        effects.push(Effect::Report(Observation::TransferFailed(why.clone())));
        self.halt(Halt::RestoreFailed(why), effects);
    }
}
