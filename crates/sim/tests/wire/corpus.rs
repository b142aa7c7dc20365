//! Valid messages of every kind, from a simulated run.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use smr_consensus::batch::{EntryBody, SystemEntry};
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Message as Ordering, ProtocolName, lanes, pbft};
use smr_mutate::Encoding;
use smr_replica::Message;
use smr_replica::system::{SystemCommand, SystemState};
use smr_sim::trace::{Said, Trace};
use smr_sim::world::faults::Fault;
use smr_sim::world::{World, hasty_config};
use smr_sim::{Campaign, Misdeed};
use smr_wire::{FromContact, ToContact};

/// Source of all chance in the run; it makes the key of its service, with real signatures.
const SEED: u64 = 16;

/// Steps of the run.
pub(crate) const STEPS: u64 = 30_000;

/// Values of one kind that are kept. Those that differ in length come first.
const KEPT_MAX: usize = 24;

/// Protocols whose messages are of interest, each with the number of kinds of them.
pub(crate) const SPOKEN: [(ProtocolName, usize); 3] =
    [(ProtocolName::Pbft, 22), (ProtocolName::Minbft, 23), (ProtocolName::Ebawa, 23)];

/// A run about to begin in which everything is said: the last replica but one falls behind, and a primary is left.
pub(crate) fn world(protocol: ProtocolName) -> World {
    let laggard = usize::from(protocol.profile().replicas(1)) - 2;
    let mut setting = Campaign::new(protocol, 1, Some(Misdeed::StaySilent)).setting(SEED);
    setting.misdeeds.clear();
    setting.config = hasty_config();
    (setting.application, setting.clients, setting.commands) = ("kv".into(), 3, 1_000);
    let mut world = World::new(setting, SEED, Trace::of_what_is_said());
    for (at_us, fault) in [
        (1_000_000, Fault::Cut([laggard].into())),
        (3_500_000, Fault::Mend),
        (4_500_000, Fault::Cut([0].into())),
        (5_500_000, Fault::Mend),
    ] {
        world.schedule(at_us, fault);
    }
    world
}

/// Encodings of valid values, by kind.
#[derive(Default)]
pub(crate) struct Corpus {
    pub(crate) between: Vec<Encoding>,
    pub(crate) to_contact: Vec<Encoding>,
    pub(crate) from_contact: Vec<Encoding>,
    pub(crate) system: Vec<Encoding>,
    pub(crate) states: Vec<Encoding>,
}

/// Values of each kind, by the kind and the length of their encodings.
type ByKind = BTreeMap<String, BTreeMap<usize, Encoding>>;

impl Corpus {
    /// What was said in a run; recorded once.
    pub(crate) fn recorded() -> &'static Corpus {
        static RECORDED: OnceLock<Corpus> = OnceLock::new();
        RECORDED.get_or_init(Corpus::record)
    }

    fn record() -> Corpus {
        let (mut between, mut to, mut from, mut system, mut states) =
            <(ByKind, ByKind, ByKind, ByKind, ByKind)>::default();
        for (protocol, _) in SPOKEN {
            let mut world = world(protocol);
            world.run(u64::MAX, STEPS).expect("a run in which nobody lies");
            for said in world.trace.said() {
                match said {
                    Said::Between { message, .. } => {
                        if let Some(messages) = asked_for_rarely(message) {
                            messages
                                .iter()
                                .for_each(|message| keep(&mut between, kind(message), Encoding::of(message)));
                        }
                        keep(&mut between, kind(message), Encoding::of(message));
                        system_commands(message).for_each(|command| {
                            keep(&mut system, name(&format!("{command:?}")), Encoding::of(&command));
                        });
                    }
                    Said::ToContact(frame) => keep(&mut to, kind_to(frame), Encoding::of(frame)),
                    Said::FromContact(frame) => keep(&mut from, kind_from(frame), Encoding::of(frame)),
                    Said::State(bytes) => {
                        let state: SystemState =
                            smr_wire::decode(bytes, bytes.len()).expect("what a replica encoded");
                        keep(&mut states, "SystemState".into(), Encoding::of(&state));
                    }
                }
            }
        }
        let kinds: Vec<&String> = between.keys().collect();
        // Of both engines, and what is said besides ordering.
        assert!(kinds.len() == 12 + 13 + 10, "{} kinds were said: {kinds:?}", kinds.len());
        let all = |kinds: ByKind| kinds.into_values().flat_map(BTreeMap::into_values).collect();
        Corpus {
            between: all(between),
            to_contact: all(to),
            from_contact: all(from),
            system: all(system),
            states: all(states),
        }
    }
}

/// A question for a proposed batch, and the answer: runs have them seldom.
pub(crate) fn asked_for_rarely(message: &Message) -> Option<[Message; 2]> {
    let said = match message {
        Message::Consensus(Ordering::Pbft(pbft::Message::Proposal { slot, batch, .. })) => [
            Ordering::Pbft(pbft::Message::Upkeep(Upkeep::FetchBody { slot: *slot, digest: batch.digest() })),
            Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Body { slot: *slot, batch: batch.clone() })),
        ],
        Message::Consensus(Ordering::Lanes(lanes::Message::Endorse { batches, .. })) => {
            let (slot, batch) = batches.first()?;
            [
                Ordering::Lanes(lanes::Message::Upkeep(Upkeep::FetchBody {
                    slot: *slot,
                    digest: batch.digest(),
                })),
                Ordering::Lanes(lanes::Message::Upkeep(Upkeep::Body { slot: *slot, batch: batch.clone() })),
            ]
        }
        _ => return None,
    };
    Some(said.map(Message::Consensus))
}

fn keep(kinds: &mut ByKind, kind: String, encoding: Encoding) {
    let known = kinds.entry(kind).or_default();
    if known.len() < KEPT_MAX {
        known.entry(encoding.bytes().len()).or_insert(encoding);
    }
}

/// The first word of what `Debug` writes: the name of the variant, of the inner one where engines share it.
fn name(debug: &str) -> String {
    let debug = debug.strip_prefix("Upkeep(").unwrap_or(debug);
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
}

/// What a message is called.
pub(crate) fn kind(message: &Message) -> String {
    match message {
        Message::Consensus(Ordering::Pbft(message)) => name(&format!("{message:?}")),
        Message::Consensus(Ordering::Lanes(message)) => format!("lanes {}", name(&format!("{message:?}"))),
        Message::Consensus(Ordering::Solo(never)) => match *never {},
        Message::Peer(message) => name(&format!("{message:?}")),
    }
}

fn kind_to(frame: &ToContact) -> String {
    name(&format!("{frame:?}"))
}

fn kind_from(frame: &FromContact) -> String {
    match frame {
        FromContact::Reply(reply) => name(&format!("{:?}", reply.outcome)),
        other => name(&format!("{other:?}")),
    }
}

fn system_commands(message: &Message) -> impl Iterator<Item = SystemCommand> {
    let entries = match message {
        Message::Consensus(Ordering::Pbft(pbft::Message::Upkeep(Upkeep::Forward(entries)))) => {
            entries.as_slice()
        }
        Message::Consensus(Ordering::Pbft(pbft::Message::Proposal { batch, .. })) => batch.entries(),
        Message::Consensus(_) | Message::Peer(_) => &[],
    };
    entries.iter().filter_map(|entry| match entry.body() {
        EntryBody::System(SystemEntry { payload, .. }) => smr_wire::decode(payload, payload.len()).ok(),
        EntryBody::Client(_) => None,
    })
}
