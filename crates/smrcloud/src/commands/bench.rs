//! `smrcloud bench`: a YCSB workload, every answer checked.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use smr_client::{Client, ServiceProofs};
use smr_cloud::{Record, ServiceDir};
use smr_wire::Descriptor;
use tokio::time::timeout;

use crate::bench::cost::Counted;
use crate::bench::generator::Generator;
use crate::bench::load::{Load, Until, Worker};
use crate::bench::report::{Report, Tally};
use crate::bench::workload::Workload;
use crate::output::{Output, Trouble};
use crate::services;

/// Blocks whose signatures all clients together remember.
const PROOFS_REMEMBERED: usize = 4096;

/// Arguments of `bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// The service's name, or a file with its descriptor.
    service: String,
    /// A YCSB workload file, such as examples/ycsb/workload_a.
    #[arg(long)]
    workload: PathBuf,
    /// Clients that each wait for an answer before they ask again; each has its own key and session.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=2048))]
    clients: u32,
    /// Measure for so many seconds instead of the workload's operationcount.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Do not load the records first: they are there.
    #[arg(long)]
    no_load: bool,
    /// What chance begins with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Bench {
    pub(crate) fn run(self, output: Output) -> Result<ExitCode, Trouble> {
        let name = self.workload.display().to_string();
        let text = std::fs::read_to_string(&self.workload).map_err(|error| {
            Trouble::new(format!("{name}: {error}")).help("the standard mixes are in examples/ycsb")
        })?;
        let workload = Workload::parse(&text, &name).map_err(Trouble::new)?;
        if !workload.ignored.is_empty() {
            output.progress(&format!("not used here: {}", workload.ignored.join(", ")));
        }
        let descriptor = services::descriptor(&self.service)?;
        let report = services::runtime()?.block_on(self.measure(&workload, &descriptor, output))?;
        output.result(&report, Report::render);
        if report.is_clean() {
            return Ok(ExitCode::SUCCESS);
        }
        let help = format!("`smrcloud status {}` tells how the service is", descriptor.name);
        Err(Trouble::new(report.trouble()).help(help).code(report.code()))
    }

    async fn measure(
        &self,
        workload: &Workload,
        descriptor: &Descriptor,
        output: Output,
    ) -> Result<Report, Trouble> {
        let load = Arc::new(Load::new(workload));
        let clients = self.connect(descriptor)?;
        greet(&clients, &descriptor.name).await?;
        if !self.no_load {
            let began = Instant::now();
            let bar = bar(output, workload.records, "loading  {bar:40} {pos}/{len} records, {eta} left");
            let tally = everyone(&clients, &load, workload, self.seed, Until::Loaded, &bar).await;
            bar.finish_and_clear();
            if tally.failed() > 0 {
                let help = format!("`smrcloud status {}` tells how the service is", descriptor.name);
                return Err(Trouble::new(tally.trouble()).help(help).code(tally.code()));
            }
            let took = began.elapsed().as_secs_f64();
            output.progress(&format!("loaded {} records in {took:.1} s", workload.records));
        }
        let deployed = services::service(&self.service).ok();
        // Before the time begins: a replica that does not answer takes some.
        let before = counted(deployed.as_ref()).await;
        let (until, bar) = match self.seconds {
            Some(seconds) => {
                let end = Instant::now() + Duration::from_secs(seconds);
                (Until::Time(end), bar(output, seconds, "measuring {bar:40} {pos}/{len} s"))
            }
            None => {
                let template = "measuring {bar:40} {pos}/{len} operations, {eta} left";
                (Until::Operations(workload.operations), bar(output, workload.operations, template))
            }
        };
        let began = Instant::now();
        let ticking = self.seconds.map(|_| tokio::spawn(tick(bar.clone())));
        let tally = everyone(&clients, &load, workload, self.seed, until, &bar).await;
        let took = began.elapsed();
        if let Some(ticking) = ticking {
            ticking.abort();
        }
        bar.finish_and_clear();
        let after = counted(deployed.as_ref()).await;
        let report = Report::new(&tally, took, self.clients, &self.workload.display().to_string());
        Ok(report.with_cost(before.as_ref(), after.as_ref()))
    }

    /// Clients of their own keys that share what they know of signed blocks, as clients of one process do.
    fn connect(&self, descriptor: &Descriptor) -> Result<Vec<Client>, Trouble> {
        let proofs = Arc::new(ServiceProofs::new(descriptor.service_key, PROOFS_REMEMBERED));
        (0..self.clients)
            .map(|_| services::client_sharing(descriptor.clone(), smr_client::Config::default(), &proofs))
            .collect()
    }
}

/// What the replicas have counted, where they can be asked: they answer their administrator only.
async fn counted(deployed: Option<&(ServiceDir, Record)>) -> Option<Counted> {
    let (dir, record) = deployed?;
    Counted::now(dir, record).await
}

async fn everyone(
    clients: &[Client],
    load: &Arc<Load>,
    workload: &Workload,
    seed: u64,
    until: Until,
    bar: &ProgressBar,
) -> Tally {
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0u64..)
        .zip(clients)
        .map(|(index, client)| {
            let generator = Generator::new(workload.clone(), seed.wrapping_mul(0x9e37_79b9).wrapping_add(index));
            let worker = Worker::new(client.clone(), generator, load.clone(), done.clone(), bar.clone());
            tokio::spawn(worker.run(until))
        })
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        match worker.await {
            Ok(part) => tally.merge(&part),
            Err(error) => tally.wrong(format!("a client ended early: {error}")),
        }
    }
    tally
}

/// How long the first client waits for its first answer. A service that serves takes a small part of it; waiting for
/// one that does not helps nobody.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Every client opens its session; the first one alone, to see whether the service serves at all.
async fn greet(clients: &[Client], service: &str) -> Result<(), Trouble> {
    let help = format!("`smrcloud status {service}` tells how the replicas are; bench needs a service that serves");
    if let Some(first) = clients.first() {
        match timeout(FIRST_ANSWER, Worker::greet(first.clone())).await {
            Ok(greeted) => greeted.map_err(|why| Trouble::new(why).help(&help))?,
            Err(_) => {
                let seconds = FIRST_ANSWER.as_secs();
                let last = first.stats().last_lost.map(|why| format!("; last, {why}")).unwrap_or_default();
                return Err(Trouble::new(format!("the service gave no answer within {seconds} s{last}")).help(help));
            }
        }
    }
    let greetings: Vec<_> = clients.iter().map(|client| tokio::spawn(Worker::greet(client.clone()))).collect();
    for greeting in greetings {
        let greeted = greeting.await.map_err(Trouble::new)?;
        greeted.map_err(|why| Trouble::new(why).help(&help))?;
    }
    Ok(())
}

async fn tick(bar: ProgressBar) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
}

fn bar(output: Output, length: u64, template: &str) -> ProgressBar {
    let bar = if output.is_lively() { ProgressBar::new(length) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
    bar
}
