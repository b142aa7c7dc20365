//! How a service is, asked of every replica and said in words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smr_node::operator::{Client, NodePhase};
use smr_node::{NodeStatus, Stall};
use smr_plan::{Blueprint, FaultModel, ServiceName};
use smr_wire::{ReplicaId, ServiceId, Slot};

use crate::provider::Provider;
use crate::returns::{is_on_disk, may_return};
use crate::service::{Record, ReplicaRecord, ServiceDir, ServiceError};

/// Asks every replica of a service how it is; each has `patience` to answer.
///
/// # Errors
/// What is kept of the service cannot be used.
pub async fn health(
    service: &ServiceDir,
    record: &Record,
    provider: &impl Provider,
    patience: Duration,
) -> Result<Health, ServiceError> {
    let key = service.administrator()?.into();
    let asked = record.replicas.iter().enumerate().map(|(index, replica)| {
        let key = std::sync::Arc::clone(&key);
        let replica = replica.clone();
        let alive = provider.is_alive(&replica.handle);
        tokio::spawn(async move { ask(index, &replica, alive, &key, patience).await })
    });
    let mut replicas = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        replicas.extend(asked.await);
    }
    Ok(Health::judge(&record.blueprint, record.service, replicas))
}

async fn ask(
    index: usize,
    replica: &ReplicaRecord,
    alive: bool,
    key: &smr_client::connect::tls::ChannelKey,
    patience: Duration,
) -> ReplicaHealth {
    let public = replica.public.as_ref();
    let state = match public {
        _ if !alive => ReplicaState::Ended,
        None => ReplicaState::Down { reason: "it has not said who it is".to_owned() },
        Some(public) => {
            let status = async {
                Client::connect(&public.address, public.channel, key, patience).await?.status().await
            };
            match status.await {
                Ok(status) => ReplicaState::Up { status: Box::new(status) },
                Err(error) => ReplicaState::Down { reason: error.to_string() },
            }
        }
    };
    ReplicaHealth { replica: ReplicaId::at(index), address: public.map(|p| p.address.clone()), state }
}

/// How a service is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Its name.
    pub name: ServiceName,
    /// Its id, once it began.
    pub service: Option<ServiceId>,
    /// Replicas that answer and vote.
    pub up: usize,
    /// Replicas that there should be (n).
    pub of: usize,
    /// Replicas that it needs to go on (n-f).
    pub needed: usize,
    /// Whether it serves.
    pub verdict: Verdict,
    /// All of it in a sentence.
    pub summary: String,
    /// What would help, if something would; whole sentences.
    pub advice: Vec<String>,
    /// Each replica.
    pub replicas: Vec<ReplicaHealth>,
}

/// Whether a service serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is still making its key.
    Forming,
    /// All replicas are up.
    Healthy,
    /// It serves, with fewer replicas than it should have.
    Degraded,
    /// Too few replicas are up.
    Stopped,
}

/// How a replica is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaHealth {
    /// Which.
    pub replica: ReplicaId,
    /// Where it listens, if it has said so.
    pub address: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub state: ReplicaState,
}

/// What a replica says, if it does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReplicaState {
    /// How it is, in its own words.
    Up {
        /// Them.
        status: Box<NodeStatus>,
    },
    /// It runs, but does not answer.
    Down {
        /// Why.
        reason: String,
    },
    /// Its process has ended.
    Ended,
}

impl ReplicaHealth {
    /// What it says of itself.
    #[must_use]
    pub fn status(&self) -> Option<&NodeStatus> {
        match &self.state {
            ReplicaState::Up { status } => Some(status),
            ReplicaState::Down { .. } | ReplicaState::Ended => None,
        }
    }

    /// Why its trusted core does not answer, if it does not.
    #[must_use]
    pub fn core_stall(&self) -> Option<Stall> {
        self.status().and_then(|status| status.core_stall)
    }

    /// Whether it votes: not if it has given up, or without its trusted core, or while others do not know that core's key.
    fn counts(&self) -> bool {
        let takes_part = |status: &NodeStatus| status.votes && status.phase != NodePhase::Halted;
        self.status().is_some_and(|status| takes_part(status) && status.core_stall.is_none())
    }

    /// Whether what it knew is gone: it was in its memory, or in that of its trusted core.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, ReplicaState::Ended)
            || self.status().is_some_and(|status| status.phase == NodePhase::Halted || !status.votes)
    }
}

impl Health {
    /// The judgement on what the replicas say.
    #[must_use]
    pub fn judge(blueprint: &Blueprint, service: Option<ServiceId>, replicas: Vec<ReplicaHealth>) -> Health {
        let of = usize::from(blueprint.replicas);
        let needed = of.saturating_sub(blueprint.faults.into());
        let up = replicas.iter().filter(|replica| replica.counts()).count();
        // One that comes back learns the key from the others.
        let voters = || replicas.iter().filter_map(ReplicaHealth::status).filter(|status| status.votes);
        let forming = voters().any(|status| status.epoch.0 == 0);
        let lost = replicas.iter().filter(|replica| replica.is_lost()).count();
        let verdict = match up {
            _ if up < needed => Verdict::Stopped,
            _ if forming => Verdict::Forming,
            _ if up < of => Verdict::Degraded,
            _ => Verdict::Healthy,
        };
        Health {
            name: blueprint.name.clone(),
            service,
            up,
            of,
            needed,
            verdict,
            summary: summary(blueprint, verdict, [up, of, needed], lost, &replicas),
            advice: advice(blueprint, verdict, &replicas),
            replicas,
        }
    }
}

fn summary(
    blueprint: &Blueprint,
    verdict: Verdict,
    [up, of, needed]: [usize; 3],
    lost: usize,
    replicas: &[ReplicaHealth],
) -> String {
    let spare = up.saturating_sub(needed);
    let kind = match blueprint.against {
        FaultModel::Crash => "crashed",
        FaultModel::Hybrid | FaultModel::Byzantine => "lying or crashed",
    };
    let head = format!("{up} of {of} up");
    match verdict {
        Verdict::Forming => format!("{head}, making the service's key"),
        Verdict::Stopped
            if is_on_disk(blueprint) && replicas.iter().all(|of| of.state == ReplicaState::Ended) =>
        {
            format!("{head}: stopped; its state is on disk")
        }
        Verdict::Stopped if lost > usize::from(blueprint.faults) && !is_on_disk(blueprint) => {
            format!("{head}: stopped for good; its state is lost")
        }
        Verdict::Stopped if needed == 1 => format!("{head}: stopped"),
        Verdict::Stopped => {
            format!("{head}: stopped; needs {} to go on", counted(needed - up, "more replica"))
        }
        _ if blueprint.faults == 0 => format!("{head}; made to survive no failure"),
        _ if spare == 0 => format!("{head}: serving, but tolerates no further failure"),
        _ => format!("{head}, tolerates {}", counted(spare, &format!("more {kind} replica"))),
    }
}

fn advice(blueprint: &Blueprint, verdict: Verdict, replicas: &[ReplicaHealth]) -> Vec<String> {
    let goes_on = match verdict {
        Verdict::Stopped => "",
        _ => "; the service goes on without",
    };
    let lost = replicas.iter().filter(|replica| replica.is_lost()).count();
    let too_many = verdict == Verdict::Stopped && lost > usize::from(blueprint.faults);
    let is_lost = too_many && !is_on_disk(blueprint);
    let mut advice = Vec::new();
    if is_lost {
        advice.push(all_is_lost(blueprint, lost));
    }
    advice.extend(ended(blueprint, replicas, goes_on, is_lost));
    for replica in replicas {
        if let Some(why) = replica.status().and_then(|status| status.halted.as_ref()) {
            advice.push(format!("Replica {} has given up: {why}.", replica.replica));
        }
        if replica.status().is_some_and(|status| status.heals >= HEALS_OFTEN) {
            advice.push(format!(
                "Replica {} keeps finding its own state wrong, and fetches the right one. Have the memory of its machine tested.",
                replica.replica
            ));
        }
    }
    // Nobody need wake what cannot help any more.
    if !is_lost {
        advice.extend(silent(replicas, verdict));
        advice.extend(replicas.iter().filter_map(|replica| stalled(replica, goes_on)));
    }
    advice.extend(contradiction(replicas));
    advice
}

/// A state that was wrong so often is no chance any more.
const HEALS_OFTEN: u64 = 3;

fn all_is_lost(blueprint: &Blueprint, lost: usize) -> String {
    let (name, faults) = (&blueprint.name, blueprint.faults);
    format!(
        "{} ended, gave up or lost a trusted core, and the service was made to survive {faults}. It cannot go on, and its \
         state is lost. `smrcloud down {name}` clears what is left; `smrcloud up` with its description then begins anew, \
         with a new service key.",
        counted(lost, "replica"),
    )
}

fn ended(blueprint: &Blueprint, replicas: &[ReplicaHealth], goes_on: &str, is_lost: bool) -> Option<String> {
    let ended = || replicas.iter().filter(|replica| replica.state == ReplicaState::Ended);
    let (have, they, them, logs) = match ended().count() {
        1 => ("has", "It does not", "it", "Its log is replica.log in its directory"),
        _ => ("have", "They do not", "them", "Their logs are replica.log in their directories"),
    };
    let all = ended().count() == replicas.len();
    let back = if is_lost {
        String::new()
    } else if all && is_on_disk(blueprint) {
        " `smrcloud up` with its description goes on with everything that was acknowledged.".to_owned()
    } else if may_return(blueprint) {
        format!(
            " A `smrcloud up` that still watches the service brings {them} back; one told to detach does not."
        )
    } else {
        format!(" {they} come back under memory durability.")
    };
    let ended = named(ended())?;
    Some(format!("{ended} {have} ended{goes_on}.{back} {logs}."))
}

/// Those that run and do not answer.
fn silent(replicas: &[ReplicaHealth], verdict: Verdict) -> Option<String> {
    let silent = || replicas.iter().filter(|replica| matches!(replica.state, ReplicaState::Down { .. }));
    let (runs, is, it) = match silent().count() {
        1 => ("runs, but does not answer", "is it", "it answers"),
        _ => ("run, but do not answer", "are they", "they answer"),
    };
    let silent = named(silent())?;
    let then = match verdict {
        Verdict::Stopped => format!("; once {it} again the service goes on by itself"),
        _ => "; the service goes on without".to_owned(),
    };
    Some(format!(
        "{silent} {runs}{then}: {is} paused, cut off, or very busy? `kill -CONT` wakes a paused process."
    ))
}

/// One whose trusted core does not answer.
fn stalled(replica: &ReplicaHealth, goes_on: &str) -> Option<String> {
    let (stall, status) = (replica.core_stall()?, replica.status()?);
    let pid = status.core.as_ref().and_then(|core| core.pid).map(|pid| pid.to_string()).unwrap_or_default();
    let (is, help) = match stall {
        Stall::Stopped => {
            ("is stopped", format!("`kill -CONT {pid}` lets it go on, and the replica with it"))
        }
        Stall::Silent { .. } => {
            ("does not answer", format!("is the machine very busy? `ps {pid}` shows what the process does"))
        }
    };
    Some(format!(
        "The trusted core of replica {} (process {pid}) {is}, so this replica does not vote{goes_on}: {help}.",
        replica.replica
    ))
}

/// Replicas at the same place of the order that do not agree on what happened up to it.
fn contradiction(replicas: &[ReplicaHealth]) -> Option<String> {
    let mut digests = BTreeMap::<Slot, Vec<(ReplicaId, smr_crypto::Digest)>>::new();
    for status in replicas.iter().filter_map(ReplicaHealth::status) {
        digests.entry(status.executed).or_default().push((status.replica, status.digest));
    }
    for (slot, said) in digests {
        let commonest =
            said.iter().max_by_key(|(_, digest)| said.iter().filter(|(_, d)| d == digest).count());
        let common = commonest.map(|(_, digest)| *digest)?;
        let others: Vec<_> = said.iter().filter(|(_, digest)| *digest != common).collect();
        if let Some((other, _)) = others.first() {
            return Some(format!(
                "Replica {other} tells of another history up to slot {slot} than the others: it, or they, have been \
                 corrupted. Replace it."
            ));
        }
    }
    None
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// "Replica 2", "Replicas 0 and 3"; none if there is none.
fn named<'a>(replicas: impl Iterator<Item = &'a ReplicaHealth>) -> Option<String> {
    let names: Vec<String> = replicas.map(|replica| replica.replica.to_string()).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("Replica {one}")),
        [first @ .., last] => Some(format!("Replicas {} and {last}", first.join(", "))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::service::tests::blueprint;
    use smr_crypto::Digest;
    use smr_node::trusted::{BackingName, CoreStatus, Precautions};
    use smr_wire::{Epoch, Generation, View};

    pub(crate) fn up(replica: u16) -> ReplicaHealth {
        let status = NodeStatus {
            core: None,
            core_stall: None,
            cpu_us: 0,
            service: ServiceId(Digest::default()),
            name: "kv".to_owned(),
            replica: ReplicaId(replica),
            replicas: 4,
            faults: 1,
            pid: 1,
            address: "x:1".to_owned(),
            uptime_ms: 1,
            phase: NodePhase::Ready,
            epoch: Epoch(1),
            generation: Generation(0),
            votes: true,
            core_key: None,
            ceased: None,
            not_restarted: None,
            view: View(0),
            primary: ReplicaId(0),
            decided: Slot(9),
            executed: Slot(9),
            stable: Slot(0),
            digest: Digest::default(),
            waiting: 0,
            sessions: 0,
            clients: 0,
            share: true,
            certified: true,
            ceremony: String::new(),
            healing: None,
            heals: 0,
            fetched: None,
            halted: None,
            counters: BTreeMap::new(),
            peers: Vec::new(),
        };
        let state = ReplicaState::Up { status: Box::new(status) };
        ReplicaHealth { replica: ReplicaId(replica), address: Some("x:1".to_owned()), state }
    }

    pub(crate) fn gone(replica: u16) -> ReplicaHealth {
        ReplicaHealth { replica: ReplicaId(replica), address: None, state: ReplicaState::Ended }
    }

    fn silent(replica: u16) -> ReplicaHealth {
        let state = ReplicaState::Down { reason: "no answer".to_owned() };
        ReplicaHealth { replica: ReplicaId(replica), address: None, state }
    }

    fn changed(mut health: ReplicaHealth, change: impl FnOnce(&mut NodeStatus)) -> ReplicaHealth {
        if let ReplicaState::Up { status } = &mut health.state {
            change(status);
        }
        health
    }

    fn judged(replicas: Vec<ReplicaHealth>) -> Health {
        Health::judge(&blueprint("kv", 1), None, replicas)
    }

    #[test]
    fn a_whole_service_says_what_it_tolerates() {
        let health = judged((0..4).map(up).collect());
        assert_eq!(health.summary, "4 of 4 up, tolerates 1 more lying or crashed replica");
        assert_eq!((health.verdict, health.advice), (Verdict::Healthy, vec![]));
        let one = Health::judge(&blueprint("kv", 0), None, vec![up(0)]);
        assert_eq!(one.summary, "1 of 1 up; made to survive no failure");
    }

    #[test]
    fn a_service_without_one_goes_on_and_without_two_it_stops() {
        let health = judged(vec![up(0), up(1), up(2), gone(3)]);
        assert_eq!(health.summary, "3 of 4 up: serving, but tolerates no further failure");
        assert_eq!(health.verdict, Verdict::Degraded);
        assert_eq!(
            health.advice,
            [
                "Replica 3 has ended; the service goes on without. It does not come back under memory durability. Its log \
              is replica.log in its directory."
            ]
        );
        let two = (0..7).map(|n| if n == 0 || n == 3 { gone(n) } else { up(n) }).collect();
        let health = Health::judge(&blueprint("kv", 2), None, two);
        let told = "Replicas 0 and 3 have ended; the service goes on without. They do not come back";
        assert!(health.advice[0].starts_with(told), "{:?}", health.advice);
    }

    #[test]
    fn a_stopped_service_is_told_what_would_let_it_go_on_if_anything_would() {
        let health = judged(vec![gone(0), up(1), up(2), gone(3)]);
        assert_eq!(health.summary, "2 of 4 up: stopped for good; its state is lost");
        assert_eq!(health.verdict, Verdict::Stopped);
        assert_eq!(
            health.advice,
            [
                "2 replicas ended, gave up or lost a trusted core, and the service was made to survive 1. It cannot go on, and its \
                 state is lost. `smrcloud down kv` clears what is left; `smrcloud up` with its description then begins \
                 anew, with a new service key.",
                "Replicas 0 and 3 have ended. Their logs are replica.log in their directories.",
            ]
        );
        // As many as are lost may be; one that sleeps is what keeps it from going on.
        let health = judged(vec![gone(0), up(1), up(2), silent(3)]);
        assert_eq!(health.verdict, Verdict::Stopped);
        assert_eq!(
            health.advice[1],
            "Replica 3 runs, but does not answer; once it answers again the service goes on by itself: is it paused, cut \
             off, or very busy? `kill -CONT` wakes a paused process."
        );
        assert!(health.advice.iter().all(|advice| !advice.contains("lost")), "{:?}", health.advice);
        let health = judged(vec![gone(0), up(1), silent(2), gone(3)]);
        assert!(health.advice.iter().all(|advice| !advice.contains("CONT")), "{:?}", health.advice);
        let health = judged(vec![up(0), up(1), silent(2), up(3)]);
        assert!(
            health.advice[0].starts_with("Replica 2 runs, but does not answer; the service goes on without")
        );
    }

    #[test]
    fn a_replica_whose_trusted_core_does_not_answer_does_not_count() {
        let stalled = |replica, stall| {
            changed(up(replica), |status| {
                let (backing, precautions) = (BackingName::Process, Precautions::default());
                status.core = Some(CoreStatus { backing, pid: Some(77), precautions, boot: None });
                status.core_stall = Some(stall);
            })
        };
        let health = judged(vec![up(0), stalled(1, Stall::Stopped), up(2), up(3)]);
        assert_eq!((health.up, health.verdict), (3, Verdict::Degraded));
        assert_eq!(
            health.advice,
            [
                "The trusted core of replica 1 (process 77) is stopped, so this replica does not vote; the service goes on \
              without: `kill -CONT 77` lets it go on, and the replica with it."
            ]
        );
        let rejoining = changed(up(1), |status| status.votes = false);
        assert_eq!(judged(vec![up(0), rejoining, up(2), up(3)]).verdict, Verdict::Degraded);
        let silent = Stall::Silent { for_ms: 2_000 };
        let health = judged(vec![up(0), stalled(1, silent), stalled(2, silent), up(3)]);
        assert_eq!(health.verdict, Verdict::Stopped);
        assert!(
            health.advice[1].contains("of replica 2 (process 77) does not answer"),
            "{:?}",
            health.advice
        );
    }

    #[test]
    fn one_that_has_given_up_does_not_count_and_one_with_another_history_is_named() {
        let halted = changed(up(3), |status| {
            status.phase = NodePhase::Halted;
            status.halted = Some("its state differs".to_owned());
        });
        let health = judged(vec![up(0), up(1), up(2), halted]);
        assert_eq!((health.up, health.verdict), (3, Verdict::Degraded));
        assert!(health.advice[0].contains("Replica 3 has given up: its state differs."));
        let other = changed(up(1), |status| status.digest = Digest::of("TEST", &[]));
        let health = judged(vec![up(0), other, up(2), up(3)]);
        assert!(health.advice[0].starts_with("Replica 1 tells of another history"), "{:?}", health.advice);
    }

    #[test]
    fn a_service_without_a_key_is_forming() {
        let health = judged((0..4).map(|n| changed(up(n), |status| status.epoch = Epoch(0))).collect());
        assert_eq!(health.summary, "4 of 4 up, making the service's key");
    }

    #[test]
    fn it_reads_back_as_json() {
        let health = judged(vec![up(0), gone(1)]);
        let json = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&json).unwrap(), health);
    }
}
