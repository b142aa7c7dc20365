//! Brings back replicas whose process ended, where the protocol lets them come back, and vouches for their new trusted
//! cores. What is to be done is decided from what is known of the service; the rest does it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use smr_crypto::PublicKey;
use smr_crypto::boot::Evidence;
use smr_node::Public;
use smr_node::operator::Client;
use smr_node::serve::{GENESIS_FILE, PublicFile};
use smr_plan::{Blueprint, TrustedHardware};
use smr_wire::{Generation, ReplicaId};

use crate::deploy::{DeployError, DeployOptions, is_certified, launch};
use crate::provider::{Handle, Provider};
use crate::returns::{is_on_disk, may_return};
use crate::revive::{Revival, can_revive, revive, standings};
use crate::service::{Record, ServiceDir};
use crate::watch::{Health, ReplicaHealth, ReplicaState, health};

/// The first pause before a replica that ended again is started again; doubled each time.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The longest pause.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// A replica that has voted for so long ended for another reason than the last time.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// How long one question to a replica may take.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Something to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "mend", rename_all = "snake_case")]
pub enum Mend {
    /// Start its process again.
    Restart {
        /// Which.
        replica: ReplicaId,
    },
    /// Vouch for the key of its core.
    Vouch {
        /// Whose.
        replica: ReplicaId,
        /// In which generation it is.
        generation: Generation,
        /// The key, as it says.
        core: PublicKey,
    },
    /// Take the next step towards a generation with other cores, as too few are left.
    Revive,
}

/// Decides; remembers how often each replica had to be started again.
#[derive(Clone, Debug, Default)]
pub struct Mender {
    attempts: BTreeMap<ReplicaId, Attempt>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// How often it was started again.
    count: u32,
    /// Not again before this, on the caller's clock.
    next: Duration,
    /// Since when it votes again.
    well_since: Option<Duration>,
}

impl Mender {
    /// What is to be done for a service that is so at `now`, on a clock that goes on steadily.
    ///
    /// Only a replica that has its promises on disk, or a trusted core, may come back: any other could contradict itself.
    pub fn decide(&mut self, blueprint: &Blueprint, health: &Health, now: Duration) -> Vec<Mend> {
        let lost = health.replicas.iter().filter(|replica| replica.is_lost()).count();
        // With more cores gone than it survives nobody is left who could let one in.
        let too_many = lost > usize::from(blueprint.faults) && !is_on_disk(blueprint);
        if too_many || !may_return(blueprint) || health.service.is_none() {
            return Vec::new();
        }
        let mut mends: Vec<Mend> =
            health.replicas.iter().filter_map(|of| self.decide_for(of.replica, &of.state, now)).collect();
        // A voucher has to be ordered, and for that there are too few.
        if can_revive(blueprint) && lacks_cores(health) {
            mends.retain(|mend| !matches!(mend, Mend::Vouch { .. }));
            mends.push(Mend::Revive);
        }
        mends
    }

    fn decide_for(&mut self, replica: ReplicaId, state: &ReplicaState, now: Duration) -> Option<Mend> {
        match state {
            ReplicaState::Ended => self.is_time(replica, now).then_some(Mend::Restart { replica }),
            ReplicaState::Up { status } => {
                if !status.votes {
                    let (generation, core) = (status.generation, status.core_key?);
                    return Some(Mend::Vouch { replica, generation, core });
                }
                let attempt = self.attempts.get_mut(&replica)?;
                let since = *attempt.well_since.get_or_insert(now);
                if now.saturating_sub(since) >= WELL_AFTER {
                    self.attempts.remove(&replica);
                }
                None
            }
            ReplicaState::Down { .. } => None,
        }
    }

    /// Whether a replica that ended is to be started now.
    fn is_time(&mut self, replica: ReplicaId, now: Duration) -> bool {
        let fresh = Attempt { count: 0, next: now, well_since: None };
        let attempt = self.attempts.entry(replica).or_insert(fresh);
        attempt.well_since = None;
        if now < attempt.next {
            return false;
        }
        let pause = BACK_OFF.saturating_mul(1 << attempt.count.min(16)).min(BACK_OFF_MAX);
        *attempt = Attempt { count: attempt.count.saturating_add(1), next: now + pause, well_since: None };
        true
    }
}

/// Whether too few replicas of those that answer have a core that counts, in the generation that the last of them is in.
fn lacks_cores(health: &Health) -> bool {
    let said: Vec<_> = health.replicas.iter().filter_map(ReplicaHealth::status).collect();
    let last = said.iter().map(|status| status.generation).max();
    let voters = said.iter().filter(|status| status.votes && Some(status.generation) == last).count();
    said.len() >= health.needed && voters < health.needed
}

/// Does it. False if somebody else is changing the service now, it is no longer needed, or it was done before and is only
/// said again.
///
/// # Errors
/// Why it could not be done.
pub async fn mend(
    service: &ServiceDir,
    options: &DeployOptions,
    provider: &impl Provider,
    mend: Mend,
) -> Result<bool, DeployError> {
    let Ok(_lock) = service.lock() else { return Ok(false) };
    let Some(mut record) = service.record()?.filter(|record| !record.stopped) else { return Ok(false) };
    match mend {
        Mend::Restart { replica } => restart(service, options, provider, record, replica),
        Mend::Vouch { replica, generation, core } => {
            vouch(service, &mut record, replica, generation, core).await
        }
        Mend::Revive => {
            let health = health(service, &record, provider, ASK_PATIENCE).await?;
            let answers = health.replicas.iter().filter_map(|of| Some((of.replica, of.status()?)));
            let revival = revive(service, &mut record, &standings(answers), &BTreeSet::new()).await?;
            Ok(matches!(revival, Revival::Signed(..)))
        }
    }
}

fn unclear(replica: ReplicaId, why: impl Into<String>) -> DeployError {
    DeployError::ReplicaUnclear { replica: replica.index(), why: why.into() }
}

/// Starts the process of a replica again where it was.
fn restart(
    service: &ServiceDir,
    options: &DeployOptions,
    provider: &impl Provider,
    mut record: Record,
    replica: ReplicaId,
) -> Result<bool, DeployError> {
    let Some(kept) = record.replicas.get_mut(replica.index()) else { return Ok(false) };
    let Some(public) = kept.public.as_ref().filter(|_| !provider.is_alive(&kept.handle)) else {
        return Ok(false);
    };
    if !service.replica(replica.index()).join(GENESIS_FILE).exists() {
        return Err(unclear(replica, "its directory is gone, and its keys with it, so it cannot come back"));
    }
    let address = public.address.parse::<SocketAddr>();
    let listen = address.map_err(|error| unclear(replica, format!("{}: {error}", public.address)))?;
    let launch = launch(&record.blueprint, options, service.replica(replica.index()), listen);
    kept.handle = provider.start(&launch)?;
    kept.restarts += 1;
    kept.vouched = None;
    service.keep(&record)?;
    Ok(true)
}

/// What the process of a replica that runs now says of itself, if it has another trusted core than was known. The process that
/// was started here is believed, not what comes over the network; and for one key for each start, so that whoever takes over
/// a replica that runs cannot name another one.
pub(crate) fn anew(
    service: &ServiceDir,
    record: &Record,
    replica: ReplicaId,
) -> Result<Option<Public>, DeployError> {
    let needs_tpm = record.blueprint.trusted_hardware == Some(TrustedHardware::Tpm);
    let Some(kept) = record.replicas.get(replica.index()) else { return Ok(None) };
    let Some(public) = &kept.public else { return Ok(None) };
    let file = PublicFile::read(&service.replica(replica.index()))
        .map_err(|error| unclear(replica, error.to_string()))?;
    let Handle::Process { pid, .. } = kept.handle;
    let is_known = |core| kept.vouched == Some(core) || (kept.vouched.is_none() && public.core == core);
    let may = |core| is_known(core) || (kept.restarts > 0 && kept.vouched.is_none());
    let Some(file) = file.filter(|file| file.pid == pid && may(file.replica.core)) else { return Ok(None) };
    let anew = file.replica;
    let certified = || is_certified(&anew) && follows(public.boot.as_ref(), anew.boot.as_ref());
    if needs_tpm && !is_known(anew.core) && !certified() {
        return Err(unclear(
            replica,
            "its machine's TPM has not certified its new trusted core in a later boot",
        ));
    }
    Ok(Some(anew))
}

/// Vouches for the key of a trusted core that was begun anew.
pub(crate) async fn vouch(
    service: &ServiceDir,
    record: &mut Record,
    replica: ReplicaId,
    generation: Generation,
    core: PublicKey,
) -> Result<bool, DeployError> {
    let Some(anew) = anew(service, record, replica)?.filter(|anew| anew.core == core) else {
        return Ok(false);
    };
    let voucher = service.voucher(record, replica, generation, core)?;
    let kept = &mut record.replicas[replica.index()];
    let is_first = kept.vouched.is_none();
    let (address, channel) = (anew.address.clone(), anew.channel);
    if is_first {
        kept.vouched = Some(core);
        kept.public = Some(anew);
        service.keep(record)?;
    }
    let administrator = service.administrator()?;
    let connected = Client::connect(&address, channel, &administrator, ASK_PATIENCE);
    let asked = async { connected.await?.vouch(voucher).await };
    asked.await.map_err(|error| unclear(replica, error.to_string()))?;
    Ok(is_first)
}

/// Whether a boot comes after another one, by the same TPM.
fn follows(before: Option<&Evidence>, now: Option<&Evidence>) -> bool {
    before.zip(now).is_some_and(|(before, now)| now.key == before.key && now.counter > before.counter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::blueprint;
    use crate::watch::tests::{gone as ended, up};
    use smr_crypto::Digest;
    use smr_wire::ServiceId;

    fn seen(blueprint: &Blueprint, replicas: Vec<crate::watch::ReplicaHealth>) -> Health {
        Health::judge(blueprint, Some(ServiceId(Digest::default())), replicas)
    }

    fn hybrid() -> Blueprint {
        let mut blueprint = blueprint("kv", 1);
        (blueprint.protocol, blueprint.replicas) = ("ebawa".to_owned(), 3);
        blueprint
    }

    #[test]
    fn a_replica_that_ended_is_started_again_ever_later_until_it_was_well_for_long() {
        let (blueprint, mut mender) = (hybrid(), Mender::default());
        let gone = seen(&blueprint, vec![up(0), ended(1), up(2)]);
        let at = Duration::from_secs;
        let restart = [Mend::Restart { replica: ReplicaId(1) }];
        let mut starts = Vec::new();
        for now in 0..200 {
            if mender.decide(&blueprint, &gone, at(now)) == restart {
                starts.push(now);
            }
        }
        assert_eq!(starts, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        let well = seen(&blueprint, vec![up(0), up(1), up(2)]);
        for now in [200, 240] {
            assert_eq!(mender.decide(&blueprint, &well, at(now)), []);
        }
        assert_eq!(mender.decide(&blueprint, &gone, at(241)), [], "it was well for too short");
        assert_eq!(mender.decide(&blueprint, &well, at(242)), []);
        assert_eq!(mender.decide(&blueprint, &well, at(302)), []);
        assert_eq!(mender.decide(&blueprint, &gone, at(303)), restart, "at once, as the first time");
    }

    #[test]
    fn whose_core_is_not_known_is_vouched_for_in_its_generation() {
        let (blueprint, mut mender) = (hybrid(), Mender::default());
        let mut anew = up(1);
        let core = PublicKey([7; 32]);
        if let ReplicaState::Up { status } = &mut anew.state {
            status.votes = false;
            status.generation = Generation(3);
            status.core_key = Some(core);
        }
        let decided = mender.decide(&blueprint, &seen(&blueprint, vec![up(0), anew, up(2)]), Duration::ZERO);
        let (replica, generation) = (ReplicaId(1), Generation(3));
        assert_eq!(decided, [Mend::Vouch { replica, generation, core }]);
    }

    #[test]
    fn where_too_few_cores_count_all_are_asked_where_they_are_if_they_can_know() {
        let at = |generation, votes| {
            let mut of = up(0);
            if let ReplicaState::Up { status } = &mut of.state {
                (status.votes, status.generation) = (votes, Generation(generation));
                status.core_key = Some(PublicKey([7; 32]));
            }
            of
        };
        let mut on_disk = hybrid();
        on_disk.durability = smr_plan::Durability::Disk;
        let decided = |blueprint: &Blueprint, replicas| {
            Mender::default().decide(blueprint, &seen(blueprint, replicas), Duration::ZERO)
        };
        assert_eq!(decided(&on_disk, vec![at(0, true), at(0, false), at(0, false)]), [Mend::Revive]);
        let behind = decided(&on_disk, vec![at(1, false), at(0, true), at(0, true)]);
        assert_eq!(behind, [Mend::Revive], "those that count do so in a generation that has ended");
        let one = decided(&on_disk, vec![at(0, true), at(0, true), at(0, false)]);
        assert!(matches!(one[..], [Mend::Vouch { .. }]), "{one:?}");
        let in_memory = decided(&hybrid(), vec![at(0, true), at(0, false), at(0, false)]);
        assert!(in_memory.iter().all(|mend| matches!(mend, Mend::Vouch { .. })), "{in_memory:?}");
    }

    #[test]
    fn who_kept_its_promises_in_memory_and_has_no_core_does_not_come_back() {
        let (blueprint, mut mender) = (blueprint("kv", 1), Mender::default());
        let gone = seen(&blueprint, vec![up(0), ended(1), up(2), up(3)]);
        assert_eq!(mender.decide(&blueprint, &gone, Duration::ZERO), []);
    }
}
