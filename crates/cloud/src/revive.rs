//! A service of which too few trusted cores are left goes on: each replica is asked where it is, and when all have said so
//! the administrator signs where the next generation begins. [`smr_replica::restart`] decides; this asks, tells and signs.
//!
//! A manifest is kept before anybody is given it, and there is one for each generation: a second one could make a second
//! service of the first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smr_node::NodeStatus;
use smr_node::operator::{Client, OperatorError, Order};
use smr_plan::Blueprint;
use smr_replica::restart::{self, Size, Standing, Step};
use smr_wire::{Generation, ReplicaId, Slot};

use crate::deploy::DeployError;
use crate::mend::anew;
use crate::returns::{counts_on_cores, is_on_disk};
use crate::service::{Record, ServiceDir};

/// How long one question to a replica may take.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Where a revival is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revival {
    /// Enough cores count, or the service goes on otherwise.
    Needless,
    /// These have not answered, or are not where the others are.
    Waits(BTreeSet<ReplicaId>),
    /// Replicas were told to go no further than this by themselves.
    Ceases(Slot),
    /// It was signed just now that the generation has ended there.
    Signed(Generation, Slot),
    /// It was signed before, and whoever was not there yet was told again.
    Begins,
}

/// Whether a service can be revived at all: others remember their votes, or have nothing to go on from.
pub(crate) fn can_revive(blueprint: &Blueprint) -> bool {
    is_on_disk(blueprint) && counts_on_cores(blueprint)
}

/// What replicas that answered say of where they are.
pub(crate) fn standings<'s>(
    statuses: impl IntoIterator<Item = (ReplicaId, &'s NodeStatus)>,
) -> BTreeMap<ReplicaId, Standing> {
    let standing = |of: &NodeStatus| Standing {
        generation: of.generation,
        votes: of.votes,
        decided: of.decided,
        ceased: of.ceased,
    };
    statuses.into_iter().map(|(replica, status)| (replica, standing(status))).collect()
}

/// How many replicas a blueprint has.
pub(crate) fn size(blueprint: &Blueprint) -> Size {
    Size { replicas: blueprint.replicas.into(), faults: blueprint.faults.into() }
}

/// Does the next step for a service whose replicas say that they are so. The administrator goes on `without` some only if the
/// user has said so.
///
/// # Errors
/// Why it could not be done.
pub(crate) async fn revive(
    service: &ServiceDir,
    record: &mut Record,
    said: &BTreeMap<ReplicaId, Standing>,
    without: &BTreeSet<ReplicaId>,
) -> Result<Revival, DeployError> {
    if !can_revive(&record.blueprint) {
        return Ok(Revival::Needless);
    }
    for (replica, of) in said.iter().filter(|(_, of)| !of.votes) {
        let manifest = record.manifests.iter().find(|manifest| manifest.generation == of.generation);
        if let Some(manifest) = manifest.cloned() {
            order(service, record, *replica, Order::Restart(manifest)).await?;
        }
    }
    let generation = said.values().map(|of| of.generation).max().unwrap_or_default();
    if record.manifests.iter().any(|manifest| manifest.generation == generation) {
        return Ok(Revival::Begins);
    }
    match restart::next(said, size(&record.blueprint), without) {
        Step::Needless => Ok(Revival::Needless),
        Step::Wait(whom) => Ok(Revival::Waits(whom)),
        Step::Cease { whom, generation, slot } => {
            for replica in whom {
                order(service, record, replica, Order::Cease { generation, slot }).await?;
            }
            Ok(Revival::Ceases(slot))
        }
        Step::Sign { generation, slot } => {
            let cores = (0..record.replicas.len()).map(ReplicaId::at);
            let cores =
                cores.map(|replica| core(service, record, replica, without)).collect::<Result<_, _>>()?;
            let manifest = service.manifest(record, generation, slot, cores)?;
            record.manifests.push(manifest);
            service.keep(record)?;
            Ok(Revival::Signed(generation, slot))
        }
    }
}

/// The key of a replica's trusted core, as the process that was started for it says; of one that nobody waits for, the last
/// that was known.
fn core(
    service: &ServiceDir,
    record: &mut Record,
    replica: ReplicaId,
    without: &BTreeSet<ReplicaId>,
) -> Result<smr_crypto::PublicKey, DeployError> {
    let unclear = |why: &str| DeployError::ReplicaUnclear { replica: replica.index(), why: why.to_owned() };
    let fresh = anew(service, record, replica)?;
    let kept = &mut record.replicas[replica.index()];
    match fresh {
        Some(public) => {
            kept.vouched = Some(public.core);
            kept.public = Some(public);
        }
        None if without.contains(&replica) => {}
        None => return Err(unclear("it does not tell which trusted core it has now")),
    }
    kept.public.as_ref().map(|public| public.core).ok_or_else(|| unclear("it never said who it is"))
}

async fn order(
    service: &ServiceDir,
    record: &Record,
    replica: ReplicaId,
    order: Order,
) -> Result<(), DeployError> {
    let administrator = service.administrator()?;
    let Some(public) = record.replicas.get(replica.index()).and_then(|kept| kept.public.as_ref()) else {
        return Ok(());
    };
    let connected = Client::connect(&public.address, public.channel, &administrator, ASK_PATIENCE);
    let told: Result<(), OperatorError> = async { connected.await?.order(order).await }.await;
    // Whoever is gone meanwhile is told when it is back.
    match told {
        Err(OperatorError::Refused(why)) => {
            Err(DeployError::ReplicaUnclear { replica: replica.index(), why })
        }
        _ => Ok(()),
    }
}
