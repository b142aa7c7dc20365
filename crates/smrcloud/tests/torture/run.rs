//! One run: phases of faults, what must hold in each, and the judgement at the end.

use std::fmt::{Display, Formatter, Result};
use std::time::{Duration, Instant};

use smr_node::misbehave::Misbehaviour;
use smr_sim::check::linear::check_kv;
use smr_sim::history::{Ask, Op, Record};

use crate::clients::Clients;
use crate::clock::now_us;
use crate::plan::{Lengths, Phase, Plan, Service};
use crate::service::Deployed;
use crate::worker::COUNTER;
use crate::{DEADLINE, POLL};

/// Processes of clients, and clients at a time in each.
const CLIENT_PROCESSES: usize = 3;
const SEATS: usize = 2;

/// From here on phases may be long.
const LONG_RUN: Duration = Duration::from_secs(120);

/// Percent of a run after which a replica is killed, so that there is much before and some after it.
const KILL_AT_PERCENT: u32 = 70;

/// What a run is made from.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// How long faults come.
    pub(crate) lasts: Duration,
    pub(crate) liars: Vec<(usize, Misbehaviour)>,
}

/// A service, its clients, and what was done to them.
pub(crate) struct Run {
    // Before the service, so that clients end first.
    clients: Clients,
    service: Deployed,
    plan: Plan,
    lasts: Duration,
    liar: Option<usize>,
    dead: Option<usize>,
    summary: Summary,
    /// When nothing could be answered, in microseconds.
    standing: Vec<(u64, u64)>,
}

impl Run {
    /// Deploys the service and waits until every client has been answered.
    pub(crate) async fn start(settings: &Settings) -> Run {
        let service = Deployed::up(&settings.liars).await;
        let dir = service.dir().join("clients");
        let clients = Clients::start(&dir, &service.descriptor, CLIENT_PROCESSES, SEATS, settings.seed);
        let lengths = if settings.lasts < LONG_RUN { Lengths::Short } else { Lengths::Mixed };
        let plan = Plan { seed: settings.seed, client_processes: CLIENT_PROCESSES, lengths };
        eprintln!("torture: seed {}, {:?}", settings.seed, settings.lasts);
        let mut run = Run {
            clients,
            service,
            plan,
            lasts: settings.lasts,
            liar: settings.liars.first().map(|(liar, _)| *liar),
            dead: None,
            summary: Summary::default(),
            standing: Vec::new(),
        };
        run.all_served_since(0).await;
        run
    }

    /// Phases until the time is over, at least one of each sort; one replica is killed on the way, unless one lies.
    pub(crate) async fn torture(&mut self) {
        let began = Instant::now();
        for number in 0.. {
            let spent = began.elapsed();
            let is_time_to_kill = number >= 2 && spent * 100 >= self.lasts * KILL_AT_PERCENT;
            let phase = match (self.liar, self.dead) {
                // A liar takes part in ordering, and nobody else may be faulty when an answer is due.
                (Some(_), _) => self.plan.phase(2 * number + 1, None),
                (None, None) if is_time_to_kill => self.plan.kill(number),
                (None, dead) => self.plan.phase(number, dead),
            };
            let may_be_last = self.liar.or(self.dead).is_some();
            self.phase(&phase, spent).await;
            if may_be_last && began.elapsed() >= self.lasts {
                return;
            }
        }
    }

    async fn phase(&mut self, phase: &Phase, spent: Duration) {
        eprintln!("{:>6.1} s  {phase}", spent.as_secs_f64());
        self.begin(phase).await;
        let began_us = now_us();
        tokio::time::sleep(phase.lasts).await;
        match phase.service {
            Service::GoesOn => self.all_served_since(began_us).await,
            Service::Stands => {
                // Before anything is healed, so that whatever was answered was answered without a quorum.
                self.clients.look();
                if let Some(wrong) = self.clients.served_since(began_us).first() {
                    panic!(
                        "answered although no quorum could: {wrong:?}\n{}",
                        self.service.condition().await
                    );
                }
            }
        }
        self.heal(phase);
        let healed_us = now_us();
        self.all_served_since(healed_us).await;
        if phase.service == Service::Stands {
            let resumed = Duration::from_micros(now_us() - healed_us);
            self.summary.slowest_resumption = self.summary.slowest_resumption.max(resumed);
            self.standing.push((began_us, now_us()));
        }
    }

    async fn begin(&mut self, phase: &Phase) {
        self.summary.phases += 1;
        self.summary.cuts += phase.cuts.len();
        self.summary.stops += phase.stopped.len();
        self.service.cut(phase.cuts.clone());
        for replica in &phase.stopped {
            self.service.stop(*replica).await;
        }
        if let Some(replica) = phase.killed {
            self.service.kill(replica).await;
            self.dead = Some(replica);
            self.summary.kills += 1;
        }
        if let Some(process) = phase.clients_killed {
            self.clients.kill(process);
        }
    }

    fn heal(&self, phase: &Phase) {
        self.service.cut(Vec::new());
        for replica in &phase.stopped {
            self.service.go_on(*replica);
        }
    }

    /// Waits until every client was answered something that it asked since.
    async fn all_served_since(&mut self, since_us: u64) {
        let began = Instant::now();
        loop {
            self.clients.look();
            let (served, all) = (self.clients.served_since(since_us).len(), self.clients.count());
            if served == all {
                return;
            }
            if began.elapsed() > DEADLINE {
                let condition = self.service.condition().await;
                panic!("only {served} of {all} clients were served within {DEADLINE:?}\n{condition}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops a replica for good.
    pub(crate) async fn stop(&self, replica: usize) {
        self.service.stop(replica).await;
    }

    /// What clients saw so far.
    pub(crate) fn history(&mut self) -> Vec<Record> {
        self.clients.look();
        self.clients.history()
    }

    /// Ends the clients and judges what they saw, and whether replicas agree on it.
    pub(crate) async fn finish(mut self) {
        self.clients.stop(DEADLINE);
        let history = self.clients.history();
        self.summary.client_kills = self.clients.killed;
        self.summary.count(&history, &self.standing);
        self.agreed().await;
        let began = Instant::now();
        check_kv(&history).unwrap_or_else(|why| panic!("clients saw what cannot be: {why}"));
        self.summary.judged_in = began.elapsed();
        each_count_was_reached_once(&history);
        eprintln!("torture: seed {}: {}", self.plan.seed, self.summary);
    }

    /// Waits until all replicas that live and do not lie have the same state after the same slot.
    async fn agreed(&self) {
        let began = Instant::now();
        loop {
            let status = self.service.status();
            let live = (0..crate::plan::REPLICAS)
                .filter(|replica| ![self.liar, self.dead].contains(&Some(*replica)));
            let said: Vec<_> = live.map(|replica| &status["replicas"][replica]).collect();
            let place = |replica: &serde_json::Value| (replica["slot"].clone(), replica["digest"].clone());
            if said.iter().all(|replica| replica["slot"].is_u64() && place(replica) == place(said[0])) {
                return;
            }
            if began.elapsed() > DEADLINE {
                panic!("replicas do not agree\n{}", self.service.condition().await);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Nobody is told twice that the counter went on from the same count; and the last count is that of all who were told
/// so, and at most those who were told nothing besides. The checker says the same in general; this can be read.
fn each_count_was_reached_once(history: &[Record]) {
    let (mut told, mut open, mut last) = (Vec::new(), 0, 0);
    for record in history {
        let Ask::Kv(key, op) = &record.ask else { continue };
        if key != COUNTER {
            continue;
        }
        let number = |text: &str| text.parse::<usize>().unwrap_or_default();
        match (op, &record.answer) {
            (Op::Cas(_, next), Some((_, answer))) if answer == "ok" => told.push(number(next)),
            (Op::Cas(..), None) => open += 1,
            (Op::Get, Some((_, answer))) => last = last.max(number(answer)),
            (Op::Cas(..), Some((_, answer))) => {
                last = last.max(number(answer.strip_prefix("differs ").unwrap_or_default()));
            }
            _ => {}
        }
    }
    let counted = told.len();
    last = last.max(told.iter().copied().max().unwrap_or_default());
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), counted, "a count was reached twice");
    assert!(
        (counted..=counted + open).contains(&last),
        "{counted} were told to have counted, {open} open: {last}"
    );
}

/// What happened in a run.
#[derive(Default)]
struct Summary {
    operations: usize,
    unknown: usize,
    phases: usize,
    kills: usize,
    client_kills: u64,
    stops: usize,
    cuts: usize,
    /// Between two answers to anybody, where service was due.
    longest_gap: Duration,
    /// From the end of a phase without a quorum until every client was answered again.
    slowest_resumption: Duration,
    judged_in: Duration,
}

impl Summary {
    fn count(&mut self, history: &[Record], standing: &[(u64, u64)]) {
        self.operations = history.len();
        self.unknown = history.iter().filter(|record| record.answer.is_none()).count();
        let mut answered: Vec<u64> =
            history.iter().filter_map(|record| Some(record.answer.as_ref()?.0)).collect();
        answered.sort_unstable();
        let was_due = |from: u64, to: u64| standing.iter().all(|(began, ended)| to < *began || from > *ended);
        let gaps = answered.windows(2).filter(|pair| was_due(pair[0], pair[1])).map(|pair| pair[1] - pair[0]);
        self.longest_gap = Duration::from_micros(gaps.max().unwrap_or_default());
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "{} operations, {} unknown; {} phases: {} kills, {} stops, {} links cut, {} client processes killed; \
             longest gap while service was due {:.1?}, slowest resumption {:.1?}; judged in {:.1?}",
            self.operations,
            self.unknown,
            self.phases,
            self.kills,
            self.stops,
            self.cuts,
            self.client_kills,
            self.longest_gap,
            self.slowest_resumption,
            self.judged_in,
        )
    }
}
