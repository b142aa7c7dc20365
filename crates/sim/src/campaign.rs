//! Campaigns: many runs, each of which follows from its seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use smr_consensus::ProtocolName;
use smr_replica::{Config, Scheduling};
use smr_wire::ReplicaId;

use crate::adversary::Misdeed;
use crate::clients::hasty;
use crate::network::Weather;
use crate::observe::Violation;
use crate::panics::caught;
use crate::regions::Regions;
use crate::rng::Rng;
use crate::run::{Demand, Failure, Summary, check, summary};
use crate::threshold::Scheme;
use crate::trace::Trace;
use crate::world::rest::{Awakening, Rest};
use crate::world::{Setting, World, cramped_config, hasty_config};

/// Simulated time in which anything may go wrong, in microseconds.
const CHAOS_US: u64 = 4_000_000;

/// Simulated time after healing in which everything asked must be answered: a few of the longest view changes.
const ANSWER_US: u64 = 120_000_000;

/// Simulated time after that in which all correct replicas must stand alike.
const CONVERGE_US: u64 = 30_000_000;

/// How often it is looked whether that is so.
const LOOK_US: u64 = 200_000;

/// One run in so many has real signatures; they cost milliseconds each and decide nothing.
const REAL_SCHEME_EVERY: u64 = 128;

/// One run in so many makes the key of its service, which costs more than all else in it. The others begin with one of
/// some services that have theirs.
const OWN_KEY_EVERY: u64 = 16;

/// Services that have their keys.
const SERVICES: u64 = 24;

/// Which runs to make; a seed decides all that is left open. Each thread has one of its own.
#[derive(Debug)]
pub struct Campaign {
    /// Which protocol.
    pub protocol: ProtocolName,
    /// How many replicas may fail (f).
    pub faults: u16,
    /// What a replica that was taken over does; drawn from the seed if none is named, and then often nothing.
    pub misdeed: Option<Misdeed>,
    /// Whether one replica is two machines in place of one that does a misdeed.
    cloned: bool,
    /// Whether machines have disks, and come back.
    durable: bool,
    /// Where hosts stand, and how the user writes it.
    regions: Option<(String, Regions)>,
    rests: Rests,
}

/// Services that have their keys, by number; made when they are first needed.
#[derive(Default)]
struct Rests(RefCell<BTreeMap<u64, Result<Rc<Rest>, Violation>>>);

impl fmt::Debug for Rests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rests({})", self.0.borrow().len())
    }
}

/// What runs that begin with the same service have in common.
struct Service {
    scheduling: Scheduling,
    /// Large replies, slow execution and little room.
    is_heavy: bool,
    application: &'static str,
    scheme: Scheme,
}

/// Where a run begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// With key generation.
    Own,
    /// With this service, at rest.
    Common(u64),
}

impl Campaign {
    /// Runs of `protocol` with up to `faults` faulty replicas, which do `misdeed`, if one is named.
    #[must_use]
    pub fn new(protocol: ProtocolName, faults: u16, misdeed: Option<Misdeed>) -> Campaign {
        let (cloned, durable) = (false, false);
        Campaign { protocol, faults, misdeed, cloned, durable, regions: None, rests: Rests::default() }
    }

    /// The same where machines have disks: any number of them may fail, and come back with what is there.
    #[must_use]
    pub fn on_disk(self) -> Campaign {
        Campaign { durable: true, rests: Rests::default(), ..self }
    }

    /// The same across `regions`, which the user calls `table`; with the limits and the patience of production, since the
    /// delays are those of the world.
    #[must_use]
    pub fn across(self, table: &str, regions: Regions) -> Campaign {
        Campaign { regions: Some((table.into(), regions)), rests: Rests::default(), ..self }
    }

    /// The same where one replica is two machines, each with the code of a correct one. Where there are trusted cores both
    /// have one between them, as a core cannot be copied; then the second copy is refused what the first had it vote for.
    #[must_use]
    pub fn cloned(self) -> Campaign {
        Campaign { cloned: true, ..self }
    }

    /// The setting that `seed` stands for.
    #[must_use]
    pub fn setting(&self, seed: u64) -> Setting {
        self.drawn(seed).0
    }

    fn drawn(&self, seed: u64) -> (Setting, Beginning) {
        let mut rng = Rng::new(seed ^ 0x5e77_1e55);
        let size = u64::from(self.protocol.profile().replicas(self.faults));
        let allowed = Misdeed::within(self.protocol.profile().model);
        let mut misdeeds = BTreeMap::new();
        let mut draw = || u16::try_from(rng.within(0, size - 1)).expect("a group is small");
        let twin = self.cloned.then(|| ReplicaId(draw()));
        let taken_over = if self.cloned {
            0
        } else if self.misdeed.is_some() {
            u64::from(self.faults)
        } else {
            rng.within(0, self.faults.into())
        };
        for _ in 0..taken_over {
            let who = u16::try_from(rng.within(0, size - 1)).expect("a group is small");
            misdeeds.insert(who, self.misdeed.unwrap_or_else(|| *rng.pick(allowed)));
        }
        let deals = misdeeds.values().any(|misdeed| *misdeed == Misdeed::DealBadShares);
        // Twins are two from where a service rests.
        let makes_key = deals || (seed.is_multiple_of(OWN_KEY_EVERY) && twin.is_none());
        let (service, beginning) = if makes_key {
            (Service::drawn(&mut rng, seed), Beginning::Own)
        } else {
            let number = rng.within(0, SERVICES - 1);
            (Service::common(number), Beginning::Common(number))
        };
        let setting = Setting {
            weather: if rng.chance(250) { Weather::calm() } else { Weather::drawn(&mut rng) },
            twin,
            misdeeds,
            clients: usize::try_from(rng.within(1, 4)).expect("few"),
            commands: usize::try_from(rng.within(5, 25)).expect("few"),
            encode: rng.chance(100),
            ..self.calm(&service)
        };
        (setting, beginning)
    }

    /// A run in which nothing is asked and nothing goes wrong.
    fn calm(&self, service: &Service) -> Setting {
        let is_heavy = service.is_heavy;
        let (config, patience) = match (&self.regions, is_heavy) {
            (Some(_), _) => (Config::default(), smr_client::Config::default()),
            (None, true) => (self.roomy(cramped_config()), hasty()),
            (None, false) => (self.roomy(hasty_config()), hasty()),
        };
        Setting {
            protocol: self.protocol,
            faults: self.faults,
            scheme: service.scheme,
            weather: Weather::calm(),
            regions: self.regions.as_ref().map(|(_, regions)| regions.clone()),
            twin: None,
            misdeeds: BTreeMap::new(),
            scheduling: service.scheduling.clone(),
            config,
            clients: 0,
            commands: 0,
            pause_us_max: 200_000,
            near: false,
            // Views that fail one after the other take longer each time: nobody gives up before the run does.
            patience: smr_client::Config { deadline_ms: ANSWER_US / 1000, ..patience },
            value_bytes: if is_heavy { 6 << 10 } else { 0 },
            execution_us_max: if is_heavy { 20_000 } else { 500 },
            encode: false,
            durable: self.durable,
            application: service.application.into(),
        }
    }

    /// The accomplices of each liar open sessions without end, so there is room for those of all of them: with less, a
    /// client's session is given up for theirs before it is used, of which the client is told, as often as it tries.
    fn roomy(&self, config: Config) -> Config {
        Config { sessions_max: config.sessions_max * u32::from(self.faults.max(1)), ..config }
    }

    /// Runs `seed` to the end.
    ///
    /// # Errors
    /// The first thing that did not hold.
    pub fn run(&self, seed: u64) -> Result<Summary, Box<Failure>> {
        self.run_until(seed, u64::MAX, Trace::off()).0
    }

    /// Runs `seed` for `steps` happenings at most, with a trace.
    pub fn run_until(&self, seed: u64, steps: u64, trace: Trace) -> (Result<Summary, Box<Failure>>, Trace) {
        let (setting, beginning) = self.drawn(seed);
        let mut world = match beginning {
            Beginning::Own => World::new(setting, seed, trace),
            Beginning::Common(number) => match self.rest(number) {
                Ok(rest) => rest.wake(Awakening { setting, seed, rounds: None }, trace),
                Err(violation) => {
                    return (Err(Box::new(Failure { seed, step: 0, at_ms: 0, violation })), trace);
                }
            },
        };
        let heal_us =
            if self.faults > 0 { world.schedule_chaos(CHAOS_US) } else { world.now_us() + CHAOS_US };
        let demand = Demand { heal_us, answer_us: ANSWER_US, converge_us: CONVERGE_US, look_us: LOOK_US };
        let result = caught(|| check(&mut world, demand, steps)).map_err(|violation| {
            let (step, at_ms) = (world.happened(), world.now_us() / 1000);
            Box::new(Failure { seed, step, at_ms, violation })
        });
        (result.map(|()| summary(&world)), std::mem::take(&mut world.trace))
    }

    /// The service with this number, at rest.
    fn rest(&self, number: u64) -> Result<Rc<Rest>, Violation> {
        let make = || {
            let setting = self.calm(&Service::common(number));
            caught(|| World::new(setting, number, Trace::off()).into_rest().map(Rc::new))
        };
        self.rests.0.borrow_mut().entry(number).or_insert_with(make).clone()
    }

    /// The command that repeats a run.
    #[must_use]
    pub fn replay(&self, failure: &Failure) -> String {
        let misdeed = self.misdeed.map(|m| format!(" --misdeed {}", m.name())).unwrap_or_default();
        let latency =
            self.regions.as_ref().map(|(table, _)| format!(" --latency {table}")).unwrap_or_default();
        let disk = if self.durable { " --durability disk" } else { "" };
        format!(
            "smrcloud simulate {} --faults {}{misdeed}{latency}{disk} --seed {:#x} --until {}",
            self.protocol, self.faults, failure.seed, failure.step
        )
    }
}

impl Service {
    fn drawn(rng: &mut Rng, seed: u64) -> Service {
        let is_heavy = rng.chance(200);
        let preset = rng.pick(&smr_uds::preset::NAMES);
        Service {
            scheduling: scheduling(preset, rng),
            is_heavy,
            application: if rng.chance(125) { "bank" } else { "kv" },
            scheme: if seed.is_multiple_of(REAL_SCHEME_EVERY) { Scheme::Real } else { Scheme::Cheap(seed) },
        }
    }

    /// One of the services that have their keys: all presets, one in five heavy, one in eight a bank.
    fn common(number: u64) -> Service {
        let presets = smr_uds::preset::NAMES;
        let preset = presets[usize::try_from(number).expect("few") % presets.len()];
        Service {
            scheduling: scheduling(preset, &mut Rng::new(number)),
            is_heavy: number % 5 == 4,
            application: if number % 9 == 8 || number == SERVICES - 1 { "bank" } else { "kv" },
            scheme: Scheme::Cheap(number),
        }
    }
}

fn scheduling(preset: &str, rng: &mut Rng) -> Scheduling {
    let (primaries, steps) = (rng.within(1, 8), rng.within(1, 3));
    let number = |drawn| u32::try_from(drawn).expect("few");
    Scheduling { preset: preset.into(), primaries: number(primaries), steps: number(steps) }
}
