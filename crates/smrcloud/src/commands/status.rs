//! `smrcloud status`: how a service's replicas are.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use smr_cloud::service::ReplicaRecord;
use smr_cloud::{Handle, Health, Processes, Record, ReplicaHealth, ReplicaState, ServiceDir, Verdict, health};
use smr_crypto::Digest;
use smr_crypto::threshold::ServiceKey;
use smr_node::Stall;
use smr_node::trusted::CoreStatus;
use smr_wire::{Generation, ReplicaId, Slot, View};

use crate::output::{Code, Output, Trouble};
use crate::services;

/// How long a replica may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `status`.
#[derive(Args)]
pub(crate) struct Status {
    /// The service's name; without one, all services of this user are listed.
    service: Option<String>,
}

impl Status {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let Some(service) = self.service else {
            let list = services::runtime()?.block_on(list())?;
            output.result(&list, List::render);
            return Ok(ExitCode::SUCCESS);
        };
        let (dir, record) = services::service(&service)?;
        let seen = services::runtime()?.block_on(look(&dir, &record))?;
        output.result(&seen, Seen::render);
        let works = seen.group.verdict != Verdict::Stopped;
        Ok(if works { ExitCode::SUCCESS } else { ExitCode::from(Code::Failed as u8) })
    }
}

/// All services of this user, in the order of their names.
#[derive(Serialize)]
struct List {
    services: Vec<Entry>,
}

/// One of them.
#[derive(Serialize)]
struct Entry {
    name: String,
    /// None if what is kept of it cannot be used.
    verdict: Option<Verdict>,
    /// How it is, in words.
    summary: String,
    /// Where its replicas listen.
    endpoints: Vec<String>,
}

/// Services that are looked at side by side.
const LOOKS_MAX: usize = 16;

async fn list() -> Result<List, Trouble> {
    let home = services::home()?;
    let names = home.services().map_err(Trouble::new)?;
    let mut services = Vec::new();
    for some in names.chunks(LOOKS_MAX) {
        let looks: Vec<_> = some.iter().map(|name| tokio::spawn(entry(home.service(name)))).collect();
        for look in looks {
            services.push(look.await.map_err(Trouble::new)?);
        }
    }
    Ok(List { services })
}

/// How one service is; that it cannot be told of one is no reason not to tell of the others.
async fn entry(dir: ServiceDir) -> Entry {
    let name = dir.name().as_str().to_owned();
    let unknown = |summary| Entry { name: name.clone(), verdict: None, summary, endpoints: Vec::new() };
    let record = match dir.record() {
        Ok(Some(record)) => record,
        Ok(None) => return unknown("nothing is known of it but its directory".to_owned()),
        Err(error) => return unknown(error.to_string()),
    };
    let endpoints = record.replicas.iter().filter_map(|replica| Some(replica.public.as_ref()?.address.clone()));
    let endpoints = endpoints.collect();
    match health(&dir, &record, &Processes::default(), PATIENCE).await {
        Ok(health) => Entry { name, verdict: Some(health.verdict), summary: health.summary, endpoints },
        Err(error) => unknown(error.to_string()),
    }
}

impl List {
    fn render(&self) -> String {
        if self.services.is_empty() {
            return "there are no services here; `smrcloud up FILE` deploys one".to_owned();
        }
        let width = self.services.iter().map(|entry| entry.name.len()).max().unwrap_or_default();
        let line = |entry: &Entry| {
            let endpoints = entry.endpoints.join("  ");
            let endpoints = if endpoints.is_empty() { endpoints } else { format!("\n{:width$}  {endpoints}", "") };
            format!("{:<width$}  {}{endpoints}", entry.name, entry.summary)
        };
        self.services.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Asks every replica how it is.
pub(crate) async fn look(dir: &ServiceDir, record: &Record) -> Result<Seen, Trouble> {
    Ok(Seen::new(&ask(dir, record).await?, record))
}

/// What replicas say, and what follows from it.
pub(crate) async fn ask(dir: &ServiceDir, record: &Record) -> Result<Health, Trouble> {
    health(dir, record, &Processes::default(), PATIENCE).await.map_err(Trouble::new)
}

/// How a service is, for people and programs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Seen {
    pub(crate) group: Group,
    pub(crate) replicas: Vec<Replica>,
}

/// The group as a whole.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    n: usize,
    f: u16,
    protocol: String,
    up: usize,
    needed: usize,
    verdict: Verdict,
    pub(crate) summary: String,
    pub(crate) advice: Vec<String>,
    service_key: Option<ServiceKey>,
}

/// One replica.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pid: u32,
    address: Option<String>,
    pub(crate) state: String,
    primary: bool,
    view: Option<View>,
    slot: Option<Slot>,
    digest: Option<Digest>,
    /// What stands behind its trusted core, where the protocol counts on one.
    core: Option<CoreStatus>,
    /// Why that core does not answer, if it does not.
    core_stall: Option<Stall>,
    /// The set of voters that it is in.
    generation: Option<Generation>,
    /// How often its process was started again.
    restarts: u32,
    /// How often its state was wrong, and it fetched the right one, since its process began.
    heals: u64,
    pub(crate) trouble: Option<String>,
}

impl Seen {
    pub(crate) fn new(health: &Health, record: &Record) -> Seen {
        let blueprint = &record.blueprint;
        let group = Group {
            name: health.name.as_str().to_owned(),
            n: health.of,
            f: blueprint.faults,
            protocol: blueprint.protocol.clone(),
            up: health.up,
            needed: health.needed,
            verdict: health.verdict,
            summary: health.summary.clone(),
            advice: health.advice.clone(),
            service_key: record.descriptor.as_ref().map(|descriptor| descriptor.service_key),
        };
        let seen = health.replicas.iter().zip(&record.replicas);
        let replicas = seen.map(|(seen, kept)| replica(seen, kept)).collect();
        Seen { group, replicas }
    }

    /// A table for a terminal.
    pub(crate) fn render(&self) -> String {
        let Group { name, n, f, protocol, summary, .. } = &self.group;
        let mut lines = vec![
            format!("{name}: {summary}"),
            format!("{protocol}, n = {n}, f = {f}"),
            String::new(),
            format!(
                "{:<8}{:>8}  {:<22}{:<24}{:>5}{:>9}  {}",
                "replica", "pid", "address", "state", "view", "slot", "digest"
            ),
        ];
        for replica in &self.replicas {
            let state = if replica.primary { format!("{}, primary", replica.state) } else { replica.state.clone() };
            let digest = replica.digest.map(|digest| digest.to_string()[..12].to_owned());
            lines.push(format!(
                "{:<8}{:>8}  {:<22}{:<24}{:>5}{:>9}  {}",
                replica.id.to_string(),
                replica.pid,
                shown(replica.address.as_ref()),
                state,
                shown(replica.view.as_ref()),
                shown(replica.slot.as_ref()),
                shown(digest.as_ref()),
            ));
            lines.extend(replica.trouble.as_ref().map(|trouble| format!("        {trouble}")));
            if replica.restarts > 0 {
                lines.push(format!("        started again {}", times(replica.restarts.into())));
            }
            if replica.heals > 0 {
                let times = times(replica.heals);
                lines.push(format!("        its state was wrong {times}, and it fetched the right one"));
            }
        }
        lines.extend(cores(&self.replicas));
        lines.extend(self.group.advice.iter().map(|advice| format!("\n{advice}")));
        lines.join("\n")
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn replica(seen: &ReplicaHealth, kept: &ReplicaRecord) -> Replica {
    let Handle::Process { pid, .. } = kept.handle;
    let (id, address, restarts) = (seen.replica, seen.address.clone(), kept.restarts);
    let down = |reason| Replica {
        id,
        pid,
        address: address.clone(),
        state: "down".to_owned(),
        primary: false,
        view: None,
        slot: None,
        digest: None,
        core: None,
        core_stall: None,
        generation: None,
        restarts,
        heals: 0,
        trouble: Some(reason),
    };
    match &seen.state {
        ReplicaState::Up { status } => Replica {
            id,
            pid,
            address: address.clone(),
            state: match status.core_stall {
                None => status.phase.to_string(),
                Some(Stall::Stopped) => "core stopped".to_owned(),
                Some(Stall::Silent { .. }) => "core silent".to_owned(),
            },
            primary: status.primary == id,
            view: Some(status.view),
            slot: Some(status.executed),
            digest: Some(status.digest),
            core: status.core.clone(),
            core_stall: status.core_stall,
            generation: Some(status.generation),
            restarts,
            heals: status.heals,
            trouble: status.halted.clone().or_else(|| status.healing.clone()),
        },
        ReplicaState::Down { reason } => down(reason.clone()),
        ReplicaState::Ended => down("its process has ended".to_owned()),
    }
}

/// What stands behind the trusted cores: a line for all that are alike, so that the odd one out is seen.
fn cores(replicas: &[Replica]) -> Vec<String> {
    let mut alike: Vec<(String, Vec<String>)> = Vec::new();
    for replica in replicas {
        let Some(CoreStatus { backing, precautions, boot, .. }) = &replica.core else { continue };
        let boot =
            boot.as_ref().map(|boot| format!("; boots certified by TPM {}", &boot.key.to_string()[..16]));
        let words = format!("{backing}; {precautions}{}", boot.unwrap_or_default());
        match alike.iter_mut().find(|(known, _)| *known == words) {
            Some((_, ids)) => ids.push(replica.id.to_string()),
            None => alike.push((words, vec![replica.id.to_string()])),
        }
    }
    let line = |(words, ids): &(String, Vec<String>)| format!("trusted cores of {}: {words}", ids.join(", "));
    let blank = (!alike.is_empty()).then(String::new);
    blank.into_iter().chain(alike.iter().map(line)).collect()
}

fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
