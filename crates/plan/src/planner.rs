//! Decides how a wish is served, with a reason for each choice, from nothing but the wish and the facts handed in.

use crate::blueprint::{Blueprint, CheckpointStrategy, Choice, Limits, Provider, Scheduler};
use crate::problem::Problem;
use crate::wish::{Application, Durability, FaultModel, TrustedHardware, Wish};
use crate::words::{alternatives, nearest, quoted};

/// The first blueprint for `wish`.
///
/// # Errors
/// Why it cannot be served, and what could be instead.
pub fn plan(wish: &Wish, facts: &Facts) -> Result<Blueprint, Refusal> {
    let protocol = choose(wish, &facts.protocols)?;
    uses_hardware(wish, protocol, &facts.protocols)?;
    let replicas = protocol.replicas(wish.faults);
    let mut blueprint = Blueprint {
        number: 1,
        name: wish.name.clone(),
        application: wish.application.clone(),
        protocol: protocol.name.clone(),
        against: wish.against,
        faults: wish.faults,
        replicas,
        threshold: wish.faults + 1,
        quorum: quorum(protocol.model, replicas, wish.faults),
        scheduler: wish.scheduler.clone().unwrap_or_else(default_scheduler),
        checkpoint: wish.checkpoints.unwrap_or(CheckpointStrategy::Rolling),
        checkpoint_slots: CHECKPOINT_SLOTS,
        durability: wish.durability,
        trusted_hardware: wish.trusted_hardware.filter(|_| protocol.model == FaultModel::Hybrid),
        provider: Provider::Process,
        limits: LIMITS,
        choices: Vec::new(),
        warnings: Vec::new(),
    };
    blueprint.choices = choices(&blueprint, protocol, wish);
    blueprint.warnings = warnings(&blueprint, protocol, wish, facts);
    Ok(blueprint)
}

/// What the planner may know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The protocols there are. Of two that serve a wish with as many replicas, the one listed first is taken.
    pub protocols: Vec<ProtocolFact>,
    /// Processor cores of this machine, at least 1.
    pub cores: u32,
}

/// What a protocol says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProtocolFact {
    /// Its name in the registry.
    pub name: String,
    /// What its replicas may do wrong.
    pub model: FaultModel,
    /// It needs this many replicas per fault, and one more: 3 for 3f+1, 2 for 2f+1, 0 for a single one.
    pub per_fault: u16,
    /// Largest f it serves.
    pub faults_max: u16,
    /// What it is good for, in one sentence.
    pub strength: String,
}

impl ProtocolFact {
    /// Replicas it needs to survive `faults`.
    #[must_use]
    pub fn replicas(&self, faults: u16) -> u16 {
        self.per_fault.saturating_mul(faults).saturating_add(1)
    }
}

/// Why a wish cannot be served, and what could be instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no protocol for what machines may do.
    #[error("there is no protocol yet for faults = {faults} against = \"{against}\"; {instead}")]
    NoProtocol {
        /// What was asked to be survived.
        against: FaultModel,
        /// How many machines of it.
        faults: u16,
        /// What could be asked for.
        instead: String,
    },
    /// The protocols for it serve fewer faults.
    #[error(
        "against = \"{against}\" can be served for at most faults = {faults_max}, by {protocol}, not for {faults}"
    )]
    TooManyFaults {
        /// What was asked to be survived.
        against: FaultModel,
        /// How many machines of it.
        faults: u16,
        /// The most that can be had.
        faults_max: u16,
        /// By which protocol.
        protocol: String,
    },
    /// A protocol is named that there is not.
    #[error("there is no protocol {}; {instead}", quoted(name))]
    UnknownProtocol {
        /// What was named.
        name: String,
        /// What was probably meant, or what there is.
        instead: String,
    },
    /// A protocol is named that cannot serve the wish.
    #[error("{name} cannot serve this wish; {why}")]
    Unfit {
        /// Which one.
        name: String,
        /// Why, and what would help.
        why: String,
    },
    /// Trusted hardware is asked for, and nothing would be made of it.
    #[error("`trusted_hardware` would not be used: {protocol} asks no trusted core for anything; {instead}")]
    UnusedHardware {
        /// The protocol that would be chosen.
        protocol: String,
        /// What to do.
        instead: String,
    },
}

impl Refusal {
    /// The refusal of `wish` at its place in the description `text`, which is called `file`.
    #[must_use]
    pub fn problem(&self, wish: &Wish, file: &str, text: &str) -> Problem {
        match self {
            Refusal::NoProtocol { against, faults, instead } => {
                let message =
                    format!("there is no protocol yet for faults = {faults} against = \"{against}\"");
                Problem::at(file, text, wish.places.against.clone(), message, instead)
            }
            Refusal::UnknownProtocol { name, instead } => {
                let span = wish.places.protocol.clone().unwrap_or_default();
                Problem::at(file, text, span, format!("there is no protocol {}", quoted(name)), instead)
            }
            Refusal::UnusedHardware { protocol, instead } => {
                let span = wish.places.trusted_hardware.clone().unwrap_or_default();
                let message = format!(
                    "`trusted_hardware` would not be used: {protocol} asks no trusted core for anything"
                );
                Problem::at(file, text, span, message, instead)
            }
            Refusal::Unfit { name, why } => {
                let span = wish.places.protocol.clone().unwrap_or_default();
                Problem::at(file, text, span, format!("{name} cannot serve this wish"), why)
            }
            Refusal::TooManyFaults { faults_max, .. } => {
                let help = format!("say faults = {faults_max} or less");
                Problem::at(file, text, wish.places.faults.clone(), self.to_string(), help)
            }
        }
    }
}

/// Slots between checkpoints: a laggard fetches at most a few thousand small batches, and the pause for a copy is
/// paid once in some hundred decisions.
const CHECKPOINT_SLOTS: u64 = 512;

/// Room for any ordinary command, while a full batch still crosses a slow link in a moment.
const LIMITS: Limits = Limits {
    command_bytes_max: 256 << 10,
    request_bytes_max: 512 << 10,
    reply_bytes_max: 512 << 10,
    sessions_max: 4096,
};

/// Taken where the description says nothing.
fn default_scheduler() -> Scheduler {
    Scheduler { preset: "mat".to_owned(), primaries: 1, steps: 1 }
}

/// The protocol that is named, or the one with the fewest replicas among those that serve the wish. Where nothing may
/// fail, all do.
fn choose<'a>(wish: &Wish, protocols: &'a [ProtocolFact]) -> Result<&'a ProtocolFact, Refusal> {
    if let Some(name) = &wish.protocol {
        let named = protocols.iter().find(|protocol| protocol.name == *name);
        let named = named.ok_or_else(|| unknown(name, protocols))?;
        return match unfit(wish, named) {
            None => Ok(named),
            Some(why) => Err(Refusal::Unfit { name: name.clone(), why }),
        };
    }
    let exact = |protocol: &&ProtocolFact| {
        wish.faults == 0 || protocol.model != FaultModel::Byzantine || wish.against == FaultModel::Byzantine
    };
    let serves = |protocol: &&ProtocolFact| exact(protocol) && unfit(wish, protocol).is_none();
    let chosen = protocols.iter().filter(serves).min_by_key(|protocol| protocol.per_fault);
    chosen.ok_or_else(|| refusal(wish, protocols))
}

fn unknown(name: &str, protocols: &[ProtocolFact]) -> Refusal {
    let known: Vec<&str> = protocols.iter().map(|protocol| protocol.name.as_str()).collect();
    let instead = match nearest(name, &known) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("there are {}; without [protocol] one is chosen for you", known.join(", ")),
    };
    Refusal::UnknownProtocol { name: name.to_owned(), instead }
}

/// Refuses trusted hardware that nothing would be made of: whoever asks for it believes to be protected by it. Where
/// nothing is to be survived the plan says so anyhow, and hardware is no mistake: a description may be tried with
/// `faults = 0`.
fn uses_hardware(wish: &Wish, chosen: &ProtocolFact, protocols: &[ProtocolFact]) -> Result<(), Refusal> {
    if wish.trusted_hardware.is_none() || wish.faults == 0 || chosen.model == FaultModel::Hybrid {
        return Ok(());
    }
    let hybrids = protocols.iter().filter(|protocol| protocol.model == FaultModel::Hybrid);
    let hybrids: Vec<String> = hybrids.map(|protocol| format!("{:?}", protocol.name)).collect();
    let instead = if wish.protocol.is_some() {
        let named = match alternatives(&hybrids) {
            none if none.is_empty() => String::new(),
            some => format!(", or name a protocol that counts on cores: {some}"),
        };
        format!("leave it out{named}")
    } else if wish.against == FaultModel::Crash {
        "machines that only stop need no core; leave it out, or say against = \"byzantine\" to survive lies with it"
            .to_owned()
    } else {
        "leave it out".to_owned()
    };
    Err(Refusal::UnusedHardware { protocol: chosen.name.clone(), instead })
}

/// Why a protocol cannot serve the wish, and what would help; none if it can.
fn unfit(wish: &Wish, protocol: &ProtocolFact) -> Option<String> {
    if wish.faults == 0 {
        return None;
    }
    let Wish { faults, against, .. } = *wish;
    match protocol.model {
        FaultModel::Crash if against != FaultModel::Crash => Some(
            "its machines may stop, but none may lie: say against = \"crash\", or leave [protocol] out"
                .to_owned(),
        ),
        FaultModel::Hybrid if wish.trusted_hardware.is_none() => Some(
            "it counts on a trusted core in each replica: say trusted_hardware = \"software\" in [wish]"
                .to_owned(),
        ),
        _ if protocol.faults_max == 0 => Some(
            "it is one replica, which survives nothing: say faults = 0, or leave [protocol] out".to_owned(),
        ),
        _ if protocol.faults_max < faults => Some(format!(
            "it serves at most faults = {}: say that, or leave [protocol] out",
            protocol.faults_max
        )),
        _ => None,
    }
}

fn refusal(wish: &Wish, protocols: &[ProtocolFact]) -> Refusal {
    let (against, faults) = (wish.against, wish.faults);
    let strongest = |model| {
        let of_model = protocols.iter().filter(move |p| p.model == model && p.faults_max > 0);
        of_model.max_by_key(|p| p.faults_max)
    };
    if let Some(protocol) = strongest(against) {
        let (faults_max, protocol) = (protocol.faults_max, protocol.name.clone());
        return Refusal::TooManyFaults { against, faults, faults_max, protocol };
    }
    let instead = match (strongest(FaultModel::Byzantine), strongest(FaultModel::Crash)) {
        (Some(protocol), _) if protocol.faults_max >= faults => format!(
            "against = \"byzantine\" survives crashes as well as lies: {} serves it with {} replicas",
            protocol.name,
            protocol.replicas(faults)
        ),
        (_, Some(protocol)) if protocol.faults_max >= faults => format!(
            "against = \"crash\" survives machines that stop, but none that lie: {} serves it with {} replicas",
            protocol.name,
            protocol.replicas(faults)
        ),
        _ if protocols.is_empty() => "no protocol is there at all".to_owned(),
        _ => "faults = 0 runs one unprotected copy".to_owned(),
    };
    Refusal::NoProtocol { against, faults, instead }
}

/// Fewest votes such that any two such sets share a replica that cannot have voted twice. Replicas that cannot lie,
/// or whose trusted core cannot, never vote twice.
fn quorum(model: FaultModel, replicas: u16, faults: u16) -> u16 {
    match model {
        FaultModel::Byzantine => (replicas + faults) / 2 + 1,
        FaultModel::Crash | FaultModel::Hybrid => replicas / 2 + 1,
    }
}

fn choices(blueprint: &Blueprint, protocol: &ProtocolFact, wish: &Wish) -> Vec<Choice> {
    let mut choices = vec![application(blueprint), ordering(blueprint, protocol, wish)];
    if blueprint.faults > 0 {
        choices.extend([replicas(blueprint, protocol), agreement(blueprint, protocol)]);
        choices.extend(blueprint.trusted_hardware.map(trusted_core));
    }
    choices.extend([
        signature(blueprint, protocol),
        scheduler(blueprint, wish),
        checkpoints(blueprint),
        durability(blueprint, protocol),
        placement(blueprint),
        limits(blueprint),
    ]);
    choices
}

fn choice(what: &str, value: impl Into<String>, because: impl Into<String>) -> Choice {
    Choice { what: what.to_owned(), value: value.into(), because: because.into() }
}

fn application(blueprint: &Blueprint) -> Choice {
    match &blueprint.application {
        Application::Builtin(name) => choice(
            "application",
            format!("builtin {name:?}"),
            "you name it; it comes along, nothing to build",
        ),
        Application::Program(path) => {
            let value = format!("program {}", quoted(path));
            choice("application", value, "you name it; every replica runs a copy of it")
        }
    }
}

fn ordering(blueprint: &Blueprint, protocol: &ProtocolFact, wish: &Wish) -> Choice {
    let asked = match (blueprint.faults, blueprint.trusted_hardware) {
        _ if wish.protocol.is_some() => "you name it".to_owned(),
        (0, _) => "you ask to survive no failure".to_owned(),
        (_, Some(hardware)) => format!("trusted_hardware = \"{hardware}\" makes it possible"),
        (_, None) => format!("against = \"{}\" asks for it", blueprint.against),
    };
    let because = format!("{asked}: {}", protocol.strength);
    choice("protocol", protocol.name.as_str(), because)
}

fn replicas(blueprint: &Blueprint, protocol: &ProtocolFact) -> Choice {
    let (faults, per_fault) = (blueprint.faults, protocol.per_fault);
    let s = if faults == 1 { "s" } else { "" };
    let because = match protocol.model {
        FaultModel::Byzantine => format!(
            "{per_fault}f+1 with f = {faults}: even where {faults} cannot be heard, those that tell the truth \
             outnumber the liars"
        ),
        FaultModel::Hybrid => format!(
            "{per_fault}f+1 with f = {faults}: when {faults} stop{s}, more than half are left, and who lies cannot vote \
             twice, as its trusted core does not"
        ),
        FaultModel::Crash => {
            format!("{per_fault}f+1 with f = {faults}: when {faults} stop{s}, more than half are left")
        }
    };
    choice("replicas", blueprint.replicas.to_string(), because)
}

fn agreement(blueprint: &Blueprint, protocol: &ProtocolFact) -> Choice {
    let Blueprint { faults, replicas, quorum, .. } = *blueprint;
    let s = if faults == 1 { "s" } else { "" };
    let because = match protocol.model {
        FaultModel::Byzantine => format!(
            "any two groups of {quorum} have {} replicas in common, more than can lie, so no two orders are ever \
             agreed; and {quorum} are left to agree when {faults} fail{s}",
            2 * quorum - replicas
        ),
        FaultModel::Crash | FaultModel::Hybrid => {
            let why = if protocol.model == FaultModel::Hybrid { ", which cannot vote twice" } else { "" };
            format!(
                "any two groups of {quorum} have a replica in common{why}, so no two orders are ever agreed; and \
                 {quorum} are left to agree when {faults} fail{s}"
            )
        }
    };
    choice("agreement", format!("{quorum} of {replicas} votes"), because)
}

fn trusted_core(hardware: TrustedHardware) -> Choice {
    let because = "it never votes twice, whatever else a replica is made to say, so 2f+1 replicas do what takes 3f+1 without; \
                   a process of its own has the key, so who takes over a replica that does not run as root cannot read it";
    match hardware {
        TrustedHardware::Software => choice("trusted core", "software, own process", because),
        TrustedHardware::Tpm => {
            let because = format!("{because}; the machine's TPM says in which boot the key was made");
            choice("trusted core", "own process, TPM", because)
        }
    }
}

/// What a client checks: a signature for each answer, or, where machines do not lie, one for each connection.
fn signature(blueprint: &Blueprint, protocol: &ProtocolFact) -> Choice {
    let Blueprint { faults, replicas, threshold, .. } = *blueprint;
    let shares = if replicas == 1 { "share" } else { "shares" };
    let shares = format!("{threshold} of {replicas} key {shares}");
    if protocol.model == FaultModel::Crash {
        let because = format!(
            "machines that only stop do not lie, so clients believe the replica that answers; that it is one of the \
             service they check once, by a certificate signed with the service's one key ({shares})"
        );
        return choice("signature", "one per connection", because);
    }
    let because = if faults == 0 {
        "the one replica holds the whole key".to_owned()
    } else {
        format!(
            "one more than may fail, so at least one honest replica stands behind every answer; clients check one \
             signature with one key that never changes, and whoever steals {faults} can sign nothing"
        )
    };
    choice("signature", shares, because)
}

fn scheduler(blueprint: &Blueprint, wish: &Wish) -> Choice {
    let because = match (&wish.scheduler, blueprint.scheduler.preset.as_str()) {
        (Some(_), "sequential") => "you ask for it: commands run one after the other",
        (Some(_), _) => {
            "you ask for it; commands run side by side, and every lock is granted in the same order everywhere"
        }
        (None, _) => {
            "commands compute side by side and take locks in the agreed order, the oldest first, so a lone command \
             never waits for others"
        }
    };
    choice("scheduler", blueprint.scheduler.title(), because)
}

fn checkpoints(blueprint: &Blueprint) -> Choice {
    match blueprint.checkpoint {
        CheckpointStrategy::Quiescent => choice(
            "checkpoints",
            format!("quiescent, each {} slots", blueprint.checkpoint_slots),
            "replicas finish what runs, write down what has changed and go on: takes no memory beside the state, and all \
             commands wait meanwhile",
        ),
        CheckpointStrategy::Rolling => choice(
            "checkpoints",
            format!("rolling, each {} slots", blueprint.checkpoint_slots),
            "replicas finish what runs and go on at once, while what has changed is hashed and written: logs stay short and \
             a replica that fell behind can catch up, and no command waits long; takes memory for what is written meanwhile",
        ),
    }
}

fn durability(blueprint: &Blueprint, protocol: &ProtocolFact) -> Choice {
    match blueprint.durability {
        Durability::Disk if protocol.model == FaultModel::Hybrid => choice(
            "durability",
            "disk",
            "what is decided is on disk before a reply leaves; so all replicas may stop at once, and go on with everything \
             that was acknowledged, once each has been asked where it is",
        ),
        Durability::Disk => choice(
            "durability",
            "disk",
            "a promise is on disk before it is said; so all replicas may stop at once, and go on with everything that was \
             acknowledged",
        ),
        Durability::Memory => choice(
            "durability",
            "memory",
            "you ask for it; nothing is written to disk, which is also fastest",
        ),
    }
}

fn placement(blueprint: &Blueprint) -> Choice {
    match blueprint.provider {
        Provider::Process => {
            let value = match blueprint.replicas {
                1 => "1 process, here".to_owned(),
                replicas => format!("{replicas} processes, here"),
            };
            choice(
                "placement",
                value,
                "you name no other machines; provider \"process\" needs nothing installed",
            )
        }
    }
}

fn limits(blueprint: &Blueprint) -> Choice {
    let Limits { command_bytes_max, reply_bytes_max, .. } = blueprint.limits;
    choice(
        "limits",
        format!("{} KiB in, {} KiB out", command_bytes_max >> 10, reply_bytes_max >> 10),
        "no single command or reply may hold up the others; larger data goes in parts",
    )
}

fn warnings(blueprint: &Blueprint, protocol: &ProtocolFact, wish: &Wish, facts: &Facts) -> Vec<String> {
    let Blueprint { faults, replicas, .. } = *blueprint;
    let mut warnings = Vec::new();
    if faults == 0 {
        warnings.push(
            match blueprint.durability {
                Durability::Disk => {
                    "faults = 0 tolerates nothing: while the one replica is stopped, so is the service; if it is taken over, \
                     its answers cannot be trusted. Fine for developing."
                }
                Durability::Memory => {
                    "faults = 0 tolerates nothing: if the one replica stops, the service stops and its state is gone; if \
                     it is taken over, its answers cannot be trusted. Fine for developing."
                }
            }
            .to_owned(),
        );
        if wish.trusted_hardware.is_some() && blueprint.trusted_hardware.is_none() {
            warnings.push("trusted_hardware is not used: one replica votes with nobody.".to_owned());
        }
        return warnings;
    }
    warnings.push(format!(
        "All {replicas} replicas run on this machine: fine for trying, but one power cut stops all of them, one broken \
         disk takes all, and whoever takes over the machine has them all."
    ));
    if protocol.model == FaultModel::Crash {
        warnings.push(
            "Only machines that stop are survived: one that is taken over, or whose memory rots, can give wrong answers, \
             and clients cannot tell. Against that, say against = \"byzantine\"."
                .to_owned(),
        );
    }
    if protocol.model == FaultModel::Hybrid {
        let tpm = match blueprint.trusted_hardware {
            Some(TrustedHardware::Tpm) => {
                " The TPM only vouches for when their keys were made; it is taken at its word that it is genuine, and it \
                 takes no part in votes."
            }
            _ => "",
        };
        warnings.push(format!(
            "Trusted cores do not stop whoever becomes root on a machine: they are software, each in a process that gave \
             up its rights. They stop errors, and whoever takes over a replica from outside, unless it runs as root.{tpm} \
             Against root, leave {} out and have {} replicas.",
            if wish.protocol.is_some() { "trusted_hardware and [protocol]" } else { "trusted_hardware" },
            3 * faults + 1
        ));
    }
    if blueprint.durability == Durability::Memory {
        warnings.push(format!(
            "The state is in memory only: when more than {faults} of the {replicas} replicas stop at once, it is gone."
        ));
    }
    if u32::from(replicas) > facts.cores {
        warnings.push(format!(
            "{replicas} replicas share {} here: separate machines would be faster than what you measure.",
            if facts.cores == 1 { "one core".to_owned() } else { format!("{} cores", facts.cores) }
        ));
    }
    warnings
}

#[cfg(test)]
pub(crate) mod tests;
