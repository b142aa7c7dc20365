//! A service that was stopped, or of which replicas ended, goes on: every replica from its own disk, under its own keys, at its own address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use smr_node::operator::NodePhase;
use smr_node::serve::GENESIS_FILE;
use smr_node::{NodeStatus, Public};
use smr_plan::Blueprint;
use smr_replica::restart::{Standing, left_out};
use smr_wire::{Descriptor, ReplicaId};
use tokio::time::Instant;

use super::steps::{Deployment, ask_all, log_tail};
use super::{DeployError, Losses, Progress, Waiting};
use crate::mend::vouch;
use crate::provider::Provider;
use crate::provider::process::LOG_FILE;
use crate::revive::{Revival, can_revive, revive, size, standings};

/// How long those that the service survives are waited for once enough of them serve.
const GRACE: Duration = Duration::from_secs(10);

impl<P: Provider, F: FnMut(Progress)> Deployment<'_, P, F> {
    /// Starts all replicas again that do not run, and waits until they serve, but for those that end and that it survives.
    pub(super) async fn go_on(&mut self) -> Result<Descriptor, DeployError> {
        let Some(descriptor) = self.record.descriptor.clone() else {
            return Err(DeployError::Stale { name: self.service.name().clone() });
        };
        let administrator = self.service.administrator()?;
        self.tell(Progress::Found { dir: self.service.path() });
        let members = self.known_members()?;
        let of = members.len();
        self.record.stopped = false;
        for (replica, member) in members.iter().enumerate() {
            let dir = self.service.replica(replica);
            // One whose directory is gone would make new keys, and wait for a service that does not know them.
            if self.provider.is_alive(&self.record.replicas[replica].handle)
                || !dir.join(GENESIS_FILE).exists()
            {
                continue;
            }
            let listen = member.address.parse::<SocketAddr>().map_err(|error| {
                let why = format!("{}: {error}", member.address);
                DeployError::ReplicaUnclear { replica, why }
            })?;
            let handle = self.start(dir, listen)?;
            let kept = &mut self.record.replicas[replica];
            (kept.handle, kept.vouched) = (handle, None);
            kept.restarts += 1;
            self.service.keep(&self.record)?;
            self.tell(Progress::Started { replica, of });
        }
        let needed = of - usize::from(self.record.blueprint.faults);
        let mut serves_since = None;
        self.asked_since = Instant::now();
        loop {
            let ended = self.ended();
            if ended.len() > usize::from(self.record.blueprint.faults) {
                let replica = ended[0];
                let log = log_tail(&self.service.replica(replica).join(LOG_FILE));
                return Err(DeployError::ReplicaEnded { replica, log });
            }
            let statuses = ask_all(&members, &administrator).await;
            self.let_cores_in(&statuses, &ended).await?;
            let ready =
                statuses.iter().flatten().filter(|s| s.phase == NodePhase::Ready && s.certified).count();
            self.tell(Progress::Returning { ready, of });
            // One that it survives may be in any state; it is waited for, but not for long.
            let serves = (ready >= needed).then(|| *serves_since.get_or_insert_with(Instant::now));
            if serves.is_some_and(|since| ready + ended.len() >= of || since.elapsed() > GRACE) {
                return Ok(descriptor);
            }
            let phases = statuses.iter().map(|status| status.as_ref().map(|s| s.phase)).collect();
            self.wait(Waiting::Ready { phases }).await?;
        }
    }

    /// Where trusted cores were begun anew the others are told of them, and if too few are left to be told, all are asked
    /// where they are.
    async fn let_cores_in(
        &mut self,
        statuses: &[Option<NodeStatus>],
        ended: &[usize],
    ) -> Result<(), DeployError> {
        if !can_revive(&self.record.blueprint) {
            return Ok(());
        }
        let answers: Vec<(ReplicaId, &NodeStatus)> = statuses
            .iter()
            .enumerate()
            .filter_map(|(place, of)| Some((ReplicaId::at(place), of.as_ref()?)))
            .collect();
        let said = standings(answers.iter().copied());
        match revive(self.service, &mut self.record, &said, &self.without).await? {
            Revival::Needless => {
                for (replica, status) in answers.into_iter().filter(|(_, status)| !status.votes) {
                    let place = (replica, status.generation);
                    let Some(core) = status.core_key.filter(|_| self.vouched.insert(place)) else { continue };
                    // One that cannot be reached now may be in a moment.
                    if vouch(self.service, &mut self.record, replica, status.generation, core).await.is_err()
                    {
                        self.vouched.remove(&place);
                    }
                }
            }
            Revival::Waits(whom) => self.lack(&whom, &said, ended)?,
            Revival::Ceases(_) => self.tell(Progress::Asking { of: statuses.len() }),
            Revival::Signed(generation, slot) => self.tell(Progress::Restarting { generation, slot }),
            Revival::Begins => {}
        }
        Ok(())
    }

    /// These have not said where they are, or do not get to where others are. They are waited for unless they have ended or it
    /// takes too long; then it goes on without them, if the user wants that.
    fn lack(
        &mut self,
        whom: &BTreeSet<ReplicaId>,
        said: &BTreeMap<ReplicaId, Standing>,
        ended: &[usize],
    ) -> Result<(), DeployError> {
        let is_gone = whom.iter().any(|replica| ended.contains(&replica.index()));
        let (waited, losses) = (self.asked_since.elapsed(), self.options.losses);
        let rescues = losses == Losses::Allowed && waited > GRACE;
        if let Some(without) = left_out(said, size(&self.record.blueprint)).filter(|_| rescues) {
            self.tell(Progress::Without { replicas: without.clone() });
            self.without = without;
            return Ok(());
        }
        if waited < self.options.patience / 2 && !(is_gone && losses == Losses::Refused) {
            return Ok(());
        }
        let replicas: Vec<usize> = whom.iter().map(|replica| replica.index()).collect();
        let first = *replicas.first().unwrap_or(&0);
        let log = log_tail(&self.service.replica(first).join(LOG_FILE));
        Err(DeployError::Unheard { replicas, log, losses: self.options.losses })
    }

    fn known_members(&self) -> Result<Vec<Public>, DeployError> {
        let known = self.record.replicas.iter().enumerate().map(|(replica, kept)| {
            let why = || "it never said who it is".to_owned();
            kept.public.clone().ok_or_else(|| DeployError::ReplicaUnclear { replica, why: why() })
        });
        known.collect()
    }

    /// Replicas whose processes have ended.
    fn ended(&self) -> Vec<usize> {
        let ended = |replica: &usize| !self.provider.is_alive(&self.record.replicas[*replica].handle);
        (0..self.record.replicas.len()).filter(ended).collect()
    }
}

/// Whether two blueprints are of the same service, however they came about.
pub(super) fn is_same(one: &Blueprint, other: &Blueprint) -> bool {
    let bare = |blueprint: &Blueprint| {
        let mut bare = blueprint.clone();
        bare.number = 0;
        bare.choices.clear();
        bare.warnings.clear();
        bare
    };
    bare(one) == bare(other)
}
