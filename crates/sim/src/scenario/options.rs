//! The service that a scenario plays with.

use std::collections::BTreeMap;

use smr_consensus::registry::UnknownProtocol;
use smr_consensus::{Config as OrderingConfig, ProtocolName};
use smr_replica::{Config, Scheduling};

use crate::adversary::{MISDEEDS, Misdeed};
use crate::network::Weather;
use crate::threshold::Scheme;
use crate::world::{Setting, hasty_config};

/// Where the keys and the cheap signatures of all scenarios come from, unless one names another seed.
const SEED: u64 = 1;

/// What a script says of its service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Options {
    pub(super) seed: u64,
    protocol: ProtocolName,
    faults: u16,
    clients: usize,
    application: String,
    misdeeds: BTreeMap<u16, Misdeed>,
    config: Config,
}

impl Default for Options {
    /// One fault, one client, and checkpoints so rare that only scenarios about them meet one.
    fn default() -> Options {
        let hasty = hasty_config();
        let consensus = OrderingConfig { log_slots_max: 64, ..hasty.consensus.clone() };
        Options {
            seed: SEED,
            protocol: ProtocolName::Pbft,
            faults: 1,
            clients: 1,
            application: "kv".into(),
            misdeeds: BTreeMap::new(),
            config: Config { consensus, checkpoint_slots: 32, ..hasty },
        }
    }
}

impl Options {
    /// Reads `NAME=VALUE ...`.
    pub(super) fn read(words: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        for word in words {
            let (name, value) = word.split_once('=').ok_or(format!("say NAME=VALUE, not {word:?}"))?;
            options.set(name, value)?;
        }
        options.config.validate().map_err(|bad| bad.to_string())?;
        let most = options.protocol.profile().faults_max;
        if options.faults > most {
            return Err(format!("faults is {}, but must be 0 to {most}", options.faults));
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let ordering = &mut self.config.consensus;
        match name {
            "protocol" => self.protocol = value.parse().map_err(|why: UnknownProtocol| why.to_string())?,
            "seed" => self.seed = number(name, value)?,
            "faults" => self.faults = number(name, value)?,
            "clients" => self.clients = number(name, value)?,
            "application" => self.application = application(value)?,
            "window_slots" => ordering.window_slots = number(name, value)?,
            "pipeline_slots" => ordering.pipeline_slots = number(name, value)?,
            "batch_entries_max" => ordering.batch_entries_max = number(name, value)?,
            "exclusion_slots" => ordering.exclusion_slots = number(name, value)?,
            "log_slots_max" => ordering.log_slots_max = number(name, value)?,
            "checkpoint_slots" => self.config.checkpoint_slots = number(name, value)?,
            "answer_bytes" => self.config.answer_bytes = number(name, value)?,
            "blocks_kept" => self.config.blocks_kept = number(name, value)?,
            replica => {
                let who = replica.strip_prefix('r').ok_or(format!("there is no option {replica}"))?;
                self.misdeeds.insert(number(replica, who)?, misdeed(value)?);
            }
        }
        Ok(())
    }

    /// The world that this stands for.
    pub(super) fn setting(self) -> Setting {
        Setting {
            regions: None,
            protocol: self.protocol,
            application: self.application,
            faults: self.faults,
            scheme: Scheme::Cheap(self.seed),
            weather: Weather::calm(),
            twin: None,
            misdeeds: self.misdeeds,
            scheduling: Scheduling::sequential(),
            config: self.config,
            clients: self.clients,
            commands: 0,
            pause_us_max: 200_000,
            near: false,
            patience: crate::clients::hasty(),
            value_bytes: 0,
            execution_us_max: 0,
            encode: true,
            durable: false,
        }
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{name} is a number, not {value:?}"))
}

fn application(name: &str) -> Result<String, String> {
    match smr_app::builtin::find(name) {
        Some(_) => Ok(name.into()),
        None => Err(format!("there is no application {name:?}")),
    }
}

fn misdeed(name: &str) -> Result<Misdeed, String> {
    let known = MISDEEDS.iter().chain(&[Misdeed::FollowScript]);
    let names: Vec<&str> = known.clone().map(|misdeed| misdeed.name()).collect();
    let found = known.copied().find(|misdeed| misdeed.name() == name);
    found.ok_or_else(|| format!("there is no misdeed {name:?}; there are {}", names.join(", ")))
}
