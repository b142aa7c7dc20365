//! `smrcloud up`: deploys a service and, unless told otherwise, watches over it until Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use smr_app::builtin;
use smr_cloud::{
    DeployOptions, Deployed, Home, Life, Losses, Mend, Mender, Processes, Progress, Removed, deploy, mend, remove,
};
use smr_node::trusted::tpm::Device;
use smr_plan::{Application, Blueprint, Durability, TrustedHardware};
use tokio::signal::unix::{SignalKind, signal};

use super::status::{Seen, ask};
use super::{down, plan};
use crate::output::{Output, Trouble};
use crate::services;

/// How often health is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `up`.
#[derive(Args)]
pub(crate) struct Up {
    /// The service description.
    description: PathBuf,
    /// Return at once and leave the service running.
    #[arg(long)]
    detach: bool,
    /// Where trusted cores are gone and replicas cannot be asked what they know: go on without them, and lose what only they
    /// know.
    #[arg(long)]
    rescue: bool,
    /// Where the TPM is, for a service with trusted_hardware = "tpm": a path, or the address of one in software such as
    /// 127.0.0.1:2321. Left out, it is /dev/tpmrm0.
    #[arg(long)]
    tpm: Option<Device>,
}

impl Up {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let blueprint = plan::blueprint(&self.description)?;
        if self.tpm.is_some() && blueprint.trusted_hardware != Some(TrustedHardware::Tpm) {
            return Err(Trouble::new("--tpm would not be used: this service does not count on a TPM")
                .help("leave it out, or say trusted_hardware = \"tpm\" in [wish]"));
        }
        output.progress(&plan::short(&blueprint, &self.description));
        output.progress("");
        let binary = std::env::current_exe().map_err(Trouble::new)?;
        let parent = self.description.parent().filter(|parent| *parent != Path::new(""));
        let base = parent.unwrap_or(Path::new(".")).to_owned();
        let life = if self.detach { Life::Detached } else { Life::WithParent };
        let options = DeployOptions::new(binary, base);
        let tpm = self.tpm.unwrap_or(options.tpm);
        let losses = if self.rescue { Losses::Allowed } else { Losses::Refused };
        let options = DeployOptions { life, tpm, losses, ..options };
        services::runtime()?.block_on(run(&blueprint, &options, output))
    }
}

async fn run(blueprint: &Blueprint, options: &DeployOptions, output: Output) -> Result<ExitCode, Trouble> {
    let (home, provider) = (services::home()?, Processes::default());
    let mut said = String::new();
    let tell = |progress: Progress| {
        let words = words(&progress);
        if words != said {
            output.progress(&words);
            said = words;
        }
    };
    let deployed = tokio::select! {
        deployed = deploy(&home, blueprint, options, &provider, tell) => deployed.map_err(Trouble::new)?,
        () = interrupted() => {
            output.progress(&format!("\nending {} before it was ready", blueprint.name));
            end(&home, blueprint, &provider, output).await?;
            return Ok(ExitCode::FAILURE);
        }
    };
    if options.life == Life::Detached {
        output.result(&deployed, |deployed| next_steps(deployed, blueprint, true));
        return Ok(ExitCode::SUCCESS);
    }
    output.event(&Change::Ready(&deployed), |_| next_steps(&deployed, blueprint, false));
    watch(&home, blueprint, options, &provider, output).await
}

/// What programs are told while a service is watched, a line each.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Change<'a> {
    /// It serves.
    Ready(&'a Deployed),
    /// It is otherwise than before.
    Health(&'a Seen),
    /// Something was done for a replica.
    Mended(Mend),
    /// Something could not be done.
    NotMended {
        error: String,
    },
    /// It was ended by this command.
    Ended(&'a Removed),
    /// Somebody else took it down.
    TakenDown {
        name: &'a str,
    },
}

fn words(progress: &Progress) -> String {
    match progress {
        Progress::Prepared { dir } => format!("keeping everything in {}", dir.display()),
        Progress::Found { dir } => format!("going on with what is in {}", dir.display()),
        Progress::Returning { ready, of } => format!("{ready} of {of} replicas ready"),
        Progress::Asking { of } => {
            format!("its trusted cores are gone; asking all {of} replicas how far they are on their disks")
        }
        Progress::Without { replicas } => {
            let names: Vec<String> = replicas.iter().map(ToString::to_string).collect();
            format!("going on without what only {} may know", names.join(", "))
        }
        Progress::Restarting { generation, slot } => {
            format!("generation {generation} has ended with slot {slot}; the next one begins with the cores of now")
        }
        Progress::Started { replica, of } => format!("replica {replica} of {of} started"),
        Progress::Listening { replica, address } => {
            format!("replica {replica} has made its keys and listens at {address}")
        }
        Progress::Begun { service } => format!("the service begins as {service}"),
        Progress::Forming { ready, of, ceremony } => {
            format!("{ready} of {of} replicas ready; {ceremony}")
        }
        Progress::Agreed { replicas, needed } => {
            format!("{replicas} replicas state the same service key under their signatures ({needed} are enough)")
        }
    }
}

/// What someone who has just deployed wants to know.
fn next_steps(deployed: &Deployed, blueprint: &Blueprint, detached: bool) -> String {
    let name = deployed.name.as_str();
    let smrcloud = own_name();
    let (key, endpoints) = (deployed.descriptor.service_key, deployed.descriptor.endpoints.join("  "));
    let commands = match &blueprint.application {
        Application::Builtin(builtin) => builtin::find(builtin).map_or(&[][..], |found| found.first_steps),
        Application::Program(_) => &["COMMAND"],
    };
    let mut tries: String =
        commands.iter().map(|command| format!("  {smrcloud} call {name} {command}\n")).collect();
    // Workloads are written in the commands of this one.
    if blueprint.application == Application::Builtin("kv".to_owned()) {
        tries += &format!(
            "  {smrcloud} call {name} get greeting --json\n  \
             {smrcloud} bench {name} --workload examples/ycsb/workload_a --clients 16 --seconds 10\n"
        );
    }
    let end = match (detached, blueprint.durability) {
        (true, _) => format!("  {smrcloud} down {name}"),
        (false, Durability::Disk) => "Ctrl-C stops it; what it has on disk stays.".to_owned(),
        (false, Durability::Memory) => "Ctrl-C ends it.".to_owned(),
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let took = deployed.took_ms as f64 / 1000.0;
    format!(
        "\n{name} is ready after {took:.1} s.\n\nservice key  {key}\nendpoints    {endpoints}\n\nTry{}:\n{tries}  \
         {smrcloud} status {name}\n  {smrcloud} descriptor {name}\n{end}",
        if detached { "" } else { ", in another terminal" }
    )
}

/// How this program is called from here: by its name if the shell finds it, otherwise by its path.
fn own_name() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join("smrcloud").is_file()) {
        return "smrcloud".to_owned();
    }
    let Ok(exe) = std::env::current_exe() else { return "smrcloud".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    exe.strip_prefix(&here).unwrap_or(&exe).display().to_string()
}

/// Shows health whenever it changes, and brings back replicas that ended where that is possible, until Ctrl-C; then ends the
/// service.
async fn watch(
    home: &Home,
    blueprint: &Blueprint,
    options: &DeployOptions,
    provider: &Processes,
    output: Output,
) -> Result<ExitCode, Trouble> {
    let mut shown = String::new();
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let service = home.service(&blueprint.name);
    let (began, mut mender) = (Instant::now(), Mender::default());
    loop {
        // `smrcloud down` from elsewhere ends the service under our eyes.
        let record = service.record().map_err(Trouble::new)?.filter(|record| !record.stopped);
        let Some(record) = record else {
            let change = Change::TakenDown { name: blueprint.name.as_str() };
            output.event(&change, |_| format!("\n{} was taken down", blueprint.name));
            return Ok(ExitCode::SUCCESS);
        };
        let health = ask(&service, &record).await?;
        let seen = Seen::new(&health, &record);
        let words = health_words(&seen);
        if words != shown {
            output.event(&Change::Health(&seen), |_| format!("\n{words}"));
            shown = words;
        }
        for what in mender.decide(blueprint, &health, began.elapsed()) {
            match mend(&service, options, provider, what).await {
                Ok(true) => output.event(&Change::Mended(what), |_| mended(what)),
                Ok(false) => {}
                Err(error) => output.event(&Change::NotMended { error: error.to_string() }, |_| error.to_string()),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = &mut interrupted => break,
        }
    }
    output.progress(&format!("\nending {}", blueprint.name));
    end(home, blueprint, provider, output).await?;
    Ok(ExitCode::SUCCESS)
}

fn mended(what: Mend) -> String {
    match what {
        Mend::Restart { replica } => format!("replica {replica} is started again"),
        Mend::Vouch { replica, .. } => {
            format!("replica {replica} has a new trusted core, which the others will soon know")
        }
        Mend::Revive => {
            "too few trusted cores were left; all replicas have said how far they are, and go on from there with others".into()
        }
    }
}

fn health_words(seen: &Seen) -> String {
    let troubled = seen.replicas.iter().filter_map(|r| Some(format!("replica {}: {}", r.id, r.trouble.as_ref()?)));
    let lines = troubled.chain(seen.group.advice.iter().cloned()).map(|line| format!("\n  {line}"));
    format!("{}: {}{}", seen.group.name, seen.group.summary, lines.collect::<String>())
}

async fn end(
    home: &Home,
    blueprint: &Blueprint,
    provider: &Processes,
    output: Output,
) -> Result<(), Trouble> {
    let removed = remove(home, &blueprint.name, provider, down::PATIENCE, false).await.map_err(Trouble::new)?;
    output.event(&Change::Ended(&removed), |_| down::words(&removed));
    Ok(())
}

/// Waits for Ctrl-C, SIGTERM or the end of the terminal.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        // Without signals there is no orderly end to wait for; the replicas end with this process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
