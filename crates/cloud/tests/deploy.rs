//! A service of real processes from `deploy` to `remove`. This file's own program plays the replicas, so it has a
//! `main` of its own: called with `replica` it is one, otherwise it runs the tests below, in order.
#![expect(clippy::unwrap_used, reason = "these are tests, though the harness is our own")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use smr_client::connect::Client;
use smr_cloud::provider::Ending;
use smr_cloud::{
    DeployError, DeployOptions, Deployed, Handle, Home, Life, Processes, Progress, Provider, RemoveError,
    Verdict, deploy, health, remove,
};
use smr_crypto::IdentityKey;
use smr_node::Applications;
use smr_plan::{Blueprint, Facts, FaultModel, ProtocolFact, Wish};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "replica") {
        return smr_node::entry::replica(arguments, &Applications::builtin());
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = |name: &str, test: &mut dyn FnMut()| {
        println!("test {name} ...");
        test();
    };
    run("a_service_comes_up_serves_survives_a_kill_and_goes_down", &mut || {
        runtime.block_on(a_service_comes_up_serves_survives_a_kill_and_goes_down());
    });
    run("a_deployment_that_fails_says_why_and_leaves_nothing_running", &mut || {
        runtime.block_on(a_deployment_that_fails_says_why_and_leaves_nothing_running());
    });
    run("replicas_that_live_with_their_parent_end_with_it_and_what_is_left_is_refused", &mut || {
        runtime.block_on(replicas_that_live_with_their_parent_end_with_it_and_what_is_left_is_refused());
    });
    println!("test result: ok");
    ExitCode::SUCCESS
}

fn blueprint(application: &str) -> Blueprint {
    let text = format!(
        "name = \"kv\"\n[application]\n{application}\n[wish]\nfaults = 1\nagainst = \"byzantine\"\n\
         durability = \"memory\"\n"
    );
    let wish = Wish::parse(&text, "test.toml", &["kv"]).unwrap();
    let pbft = ProtocolFact {
        name: "pbft".to_owned(),
        model: FaultModel::Byzantine,
        per_fault: 3,
        faults_max: 21,
        strength: "it is there".to_owned(),
    };
    smr_plan::plan(&wish, &Facts { protocols: vec![pbft], cores: 2 }).unwrap()
}

fn place() -> (TempDir, Home, DeployOptions) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    let options = DeployOptions::new(std::env::current_exe().unwrap(), PathBuf::from("/"));
    // So that a test that fails leaves no process behind.
    (dir, home, DeployOptions { patience: DEADLINE, life: Life::WithParent, ..options })
}

async fn call(deployed: &Deployed, command: &str) -> String {
    let key = IdentityKey::from_seed(&[5; 32]);
    let client = Client::connect(deployed.descriptor.clone(), key, smr_client::Config::default()).unwrap();
    let certified = timeout(DEADLINE, client.call(command.as_bytes().to_vec())).await.unwrap().unwrap();
    client.close().await;
    String::from_utf8(certified.outcome).unwrap()
}

async fn a_service_comes_up_serves_survives_a_kill_and_goes_down() {
    let (_dir, home, options) = place();
    let (blueprint, provider) = (blueprint("builtin = \"kv\""), Processes::default());
    let mut steps = Vec::new();
    let deployed = deploy(&home, &blueprint, &options, &provider, |step| steps.push(step)).await.unwrap();
    assert!(matches!(steps.first(), Some(Progress::Prepared { .. })), "{steps:?}");
    assert!(matches!(steps.last(), Some(Progress::Agreed { needed: 2, replicas: 2.. })), "{steps:?}");
    assert_eq!(steps.iter().filter(|step| matches!(step, Progress::Listening { .. })).count(), 4);
    assert_eq!(call(&deployed, "put a one").await, "ok");

    let again = deploy(&home, &blueprint, &options, &provider, |_| {}).await.unwrap_err();
    assert!(matches!(again, DeployError::Running { alive: 4, of: 4, .. }), "{again}");

    let service = home.service(&blueprint.name);
    let record = service.record().unwrap().unwrap();
    assert_eq!(record.descriptor.as_ref(), Some(&deployed.descriptor));
    let before = health(&service, &record, &provider, DEADLINE).await.unwrap();
    assert_eq!(before.summary, "4 of 4 up, tolerates 1 more lying or crashed replica");

    let victim = record.replicas[2].handle.clone();
    provider.end(&victim).unwrap();
    let began = Instant::now();
    while provider.is_alive(&victim) {
        assert!(began.elapsed() < DEADLINE);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(call(&deployed, "get a").await, "one");
    let after = health(&service, &record, &provider, DEADLINE).await.unwrap();
    assert_eq!((after.verdict, after.up), (Verdict::Degraded, 3));

    let removed = remove(&home, &blueprint.name, &provider, DEADLINE, false).await.unwrap();
    assert_eq!(removed.endings, [Ending::Asked, Ending::Asked, Ending::Gone, Ending::Asked]);
    assert!(home.services().unwrap().is_empty());
    let gone = remove(&home, &blueprint.name, &provider, DEADLINE, false).await.unwrap_err();
    assert!(matches!(gone, RemoveError::Unknown { .. }), "{gone}");
}

async fn a_deployment_that_fails_says_why_and_leaves_nothing_running() {
    let (_dir, home, options) = place();
    let provider = Processes::default();
    let none = blueprint("program = \"no/such/program\"");
    let error = deploy(&home, &none, &options, &provider, |_| {}).await.unwrap_err();
    assert!(matches!(error, DeployError::NotAnApplication { .. }), "{error}");
    assert!(error.to_string().contains("no such file"), "{error}");

    let blueprint = blueprint("builtin = \"kv\"");
    let wrong = DeployOptions { binary: PathBuf::from("/bin/false"), ..options };
    let mut started = 0;
    let count = |step| started += usize::from(matches!(step, Progress::Started { .. }));
    let error = deploy(&home, &blueprint, &wrong, &provider, count).await.unwrap_err();
    assert_eq!(started, 4);
    assert!(error.to_string().contains("ended by itself"), "{error}");
    assert!(error.to_string().contains("Nothing is left running"), "{error}");
    assert!(home.services().unwrap().is_empty());
}

async fn replicas_that_live_with_their_parent_end_with_it_and_what_is_left_is_refused() {
    let (_dir, home, options) = place();
    let (blueprint, provider) = (blueprint("builtin = \"kv\""), Processes::default());
    deploy(&home, &blueprint, &options, &provider, |_| {}).await.unwrap();
    let record = home.service(&blueprint.name).record().unwrap().unwrap();
    let handles: Vec<Handle> = record.replicas.into_iter().map(|replica| replica.handle).collect();
    drop(provider);
    let provider = Processes::default();
    let began = Instant::now();
    while handles.iter().any(|handle| provider.is_alive(handle)) {
        assert!(began.elapsed() < DEADLINE, "a replica outlives its parent");
        sleep(Duration::from_millis(5)).await;
    }
    let stale = deploy(&home, &blueprint, &options, &provider, |_| {}).await.unwrap_err();
    assert!(stale.to_string().contains("smrcloud down kv"), "{stale}");
    remove(&home, &blueprint.name, &provider, DEADLINE, false).await.unwrap();
}
