//! A run of the simulator as a TLA+ module, for `specs/lanes_trace.tla`: what the replicas said of ordering, in order, each
//! for the first time.
//!
//! ```text
//!   cargo run -q -p smr-sim --example lanes_trace -- view-change             a primary is cut off
//!   cargo run -q -p smr-sim --example lanes_trace -- normal                  nothing happens
//!   cargo run -q -p smr-sim --example lanes_trace -- view-change a-vote      and something in it is changed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use smr_consensus::lanes::Message as Lanes;
use smr_consensus::lanes::beginning::{Beginning, ViewChange};
use smr_consensus::lanes::core::Register;
use smr_consensus::lanes::schedule::Schedule;
use smr_consensus::upkeep::Upkeep;
use smr_consensus::{Batch, Message as Ordering, ProtocolName};
use smr_crypto::Digest;
use smr_replica::Message;
use smr_sim::Campaign;
use smr_sim::network::Weather;
use smr_sim::trace::{Said, Trace};
use smr_sim::world::faults::Fault;
use smr_sim::world::{World, hasty_config};
use smr_wire::{ReplicaId, Slot, View};

/// Source of all chance in the run.
const SEED: u64 = 7;

/// More happenings than a run takes.
const STEPS: u64 = 100_000;

/// When the primary of the first slots is cut off and comes back, in microseconds.
const CUT_US: (u64, u64) = (40_000, 3_000_000);

/// How much of simulated time a run takes at most.
const UNTIL_US: u64 = 4_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (run, change) = (words.first().map(String::as_str), words.get(1).map_or("nothing", String::as_str));
    let mut record = Record::of(&match run {
        Some("normal") => world(None),
        Some("view-change") => world(Some(CUT_US)),
        _ => {
            eprintln!("which run: normal, or view-change?");
            return ExitCode::from(64);
        }
    });
    if !record.falsify(change) {
        eprintln!("nothing to change: a-vote, a-register, a-beginning, a-prefix, or nothing?");
        return ExitCode::from(64);
    }
    println!("{}", record.module());
    ExitCode::SUCCESS
}

/// A run of three replicas that take turns, with trusted cores.
fn world(cut: Option<(u64, u64)>) -> World {
    let mut setting = Campaign::new(ProtocolName::Ebawa, 1, None).setting(SEED);
    setting.misdeeds.clear();
    setting.weather = Weather::calm();
    setting.config = hasty_config();
    // Specified without checkpoints.
    setting.config.checkpoint_slots = 1_000;
    setting.config.consensus.log_slots_max = 2_000;
    (setting.application, setting.clients, setting.commands) = ("kv".into(), 1, 2);
    let mut world = World::new(setting, SEED, Trace::of_what_is_said());
    if let Some((from_us, to_us)) = cut {
        world.schedule(from_us, Fault::Cut([0].into()));
        world.schedule(to_us, Fault::Mend);
    }
    world.run(UNTIL_US, STEPS).expect("a run in which nobody lies");
    world
}

/// What was said.
#[derive(Debug)]
enum Event {
    Vote { who: ReplicaId, view: View, slot: Slot, what: String, proposes: bool },
    Leave { who: ReplicaId, view: View, lanes: Vec<String>, decided: Slot },
    Open { who: ReplicaId, view: View, how: Beginning },
    Acknowledge { who: ReplicaId, view: View },
    Stands { who: ReplicaId, view: View, installed: bool, decided: Slot },
}

#[derive(Debug, Default)]
struct Record {
    events: Vec<Event>,
    names: BTreeMap<Digest, String>,
    /// What was noted, so that it is noted once.
    noted: BTreeSet<(ReplicaId, &'static str, View, Slot)>,
    stands: BTreeMap<ReplicaId, (View, bool, Slot)>,
    slots: Slot,
    views: View,
    window_slots: u64,
    exclusion_slots: u64,
}

impl Record {
    fn of(world: &World) -> Record {
        let config = world.rules(0).config;
        let mut record = Record {
            window_slots: config.window_slots,
            exclusion_slots: config.exclusion_slots,
            ..Record::default()
        };
        for said in world.trace.said() {
            if let Said::Between { from, message: Message::Consensus(Ordering::Lanes(message)), .. } = said {
                record.hear(ReplicaId::at(*from), message, world);
            }
        }
        record
    }

    fn hear(&mut self, who: ReplicaId, message: &Lanes, world: &World) {
        match message {
            Lanes::Endorse { endorsement, batches } => {
                for item in &endorsement.items {
                    let (view, slot) = (endorsement.view, item.slot);
                    if self.is_new(who, "vote", view, slot) {
                        let proposes = batches.iter().any(|(other, _)| *other == slot);
                        let what = self.name(&item.digest);
                        self.slots = self.slots.max(slot);
                        self.events.push(Event::Vote { who, view, slot, what, proposes });
                    }
                }
            }
            // Who acknowledges a view has left for it.
            Lanes::ViewChange(change) if self.noted.contains(&(who, "ack", change.to, Slot(0))) => {}
            Lanes::ViewChange(change) => self.hear_change(who, change),
            Lanes::NewView(new_view) if self.is_new(who, "open", new_view.view, Slot(0)) => {
                let rules = world.rules(0);
                let how = new_view.beginning(Schedule::Rotating, rules.group, rules.config.exclusion_slots);
                how.digests.iter().for_each(|digest| drop(self.name(digest)));
                self.events.push(Event::Open { who, view: new_view.view, how });
            }
            Lanes::Acknowledge { view, .. } if self.is_new(who, "ack", *view, Slot(0)) => {
                self.events.push(Event::Acknowledge { who, view: *view });
            }
            Lanes::Upkeep(Upkeep::Status { view, installed, decided }) => {
                let stands = (*view, *installed, *decided);
                if self.stands.insert(who, stands) != Some(stands) {
                    self.events.push(Event::Stands {
                        who,
                        view: *view,
                        installed: *installed,
                        decided: *decided,
                    });
                }
            }
            _ => {}
        }
    }

    fn hear_change(&mut self, who: ReplicaId, change: &ViewChange) {
        if self.is_new(who, "leave", change.to, Slot(0)) {
            self.views = self.views.max(change.to);
            let lanes = change.lanes.iter().map(|lane| self.register(lane.as_ref())).collect();
            self.events.push(Event::Leave { who, view: change.to, lanes, decided: change.decided });
        }
    }

    fn is_new(&mut self, who: ReplicaId, kind: &'static str, view: View, slot: Slot) -> bool {
        self.noted.insert((who, kind, view, slot))
    }

    /// Batches are called b1, b2 and so on, in the order in which they are first heard of.
    fn name(&mut self, digest: &Digest) -> String {
        if *digest == Batch::nil().digest() {
            return "nil".into();
        }
        let next = self.names.len() + 1;
        self.names.entry(*digest).or_insert_with(|| format!("b{next}")).clone()
    }

    fn register(&mut self, lane: Option<&Register>) -> String {
        let (slot, view, what) = match lane {
            Some(Register { view, item }) => (item.slot, *view, self.name(&item.digest)),
            None => (Slot(0), View(0), "nil".into()),
        };
        format!("[slot |-> {slot}, view |-> {view}, what |-> \"{what}\"]")
    }

    /// Changes something that was said. False if there is no such thing.
    fn falsify(&mut self, what: &str) -> bool {
        match what {
            "nothing" => true,
            "a-vote" => {
                let votes = self.events.iter_mut().rev();
                let mut voted = votes.filter_map(|event| match event {
                    Event::Vote { what, proposes: false, .. } if what != "nil" => Some(what),
                    _ => None,
                });
                voted.next().map(|what| *what = "nil".into()).is_some()
            }
            "a-register" => {
                let mut leaves = self.events.iter_mut().filter_map(|event| match event {
                    Event::Leave { lanes, .. } => Some(lanes),
                    _ => None,
                });
                leaves.next().map(|lanes| lanes.rotate_left(1)).is_some()
            }
            "a-beginning" => {
                let mut opens = self.events.iter_mut().filter_map(|event| match event {
                    Event::Open { how, .. } => Some(how),
                    _ => None,
                });
                opens.next().map(|how| how.excluded.clear()).is_some()
            }
            "a-prefix" => {
                let mut stands = self.events.iter_mut().filter_map(|event| match event {
                    Event::Stands { decided, .. } => Some(decided),
                    _ => None,
                });
                stands.next().map(|decided| *decided = decided.next()).is_some()
            }
            _ => false,
        }
    }

    fn module(&self) -> String {
        let events: Vec<String> =
            self.events.iter().map(|event| format!("    {}", self.line(event))).collect();
        let names: Vec<String> = self.names.values().map(|name| format!("\"{name}\"")).collect();
        let Record { slots, views, window_slots, exclusion_slots, .. } = self;
        let any =
            vec![format!("{{{}}}", names.join(", ")); usize::try_from(views.0).map_or(1, |views| views + 1)];
        [
            "---- MODULE trace_data ----".to_string(),
            "EXTENDS TLC, Naturals, Sequences".into(),
            format!("TraceSlots == {slots}"),
            format!("TraceViews == {views}"),
            format!("TraceAlpha == {window_slots}"),
            format!("TraceExclusion == {exclusion_slots}"),
            "TraceSchedule == \"rotating\"".into(),
            format!("TraceBatches == <<{}>>", any.join(", ")),
            format!("Trace == <<\n{}\n>>", events.join(",\n")),
            "====".into(),
        ]
        .join("\n")
    }

    fn line(&self, event: &Event) -> String {
        match event {
            Event::Vote { who, view, slot, what, proposes } => {
                let proposes = truth(*proposes);
                format!(
                    "[kind |-> \"vote\", who |-> {who}, view |-> {view}, slot |-> {slot}, what |-> \"{what}\", proposes |-> {proposes}]"
                )
            }
            Event::Leave { who, view, lanes, decided } => {
                let lanes: Vec<String> =
                    (0..).zip(lanes).map(|(lane, vote): (u64, _)| format!("{lane} :> {vote}")).collect();
                let lanes = lanes.join(" @@ ");
                format!(
                    "[kind |-> \"leave\", who |-> {who}, view |-> {view}, lanes |-> ({lanes}), decided |-> {decided}]"
                )
            }
            Event::Open { who, view, how } => {
                format!(
                    "[kind |-> \"open\", who |-> {who}, view |-> {view}, how |-> {}]",
                    self.beginning(how)
                )
            }
            Event::Acknowledge { who, view } => format!("[kind |-> \"ack\", who |-> {who}, view |-> {view}]"),
            Event::Stands { who, view, installed, decided } => {
                let installed = truth(*installed);
                format!(
                    "[kind |-> \"stands\", who |-> {who}, view |-> {view}, installed |-> {installed}, decided |-> {decided}]"
                )
            }
        }
    }

    fn beginning(&self, how: &Beginning) -> String {
        let name = |digest: &Digest| self.names.get(digest).map_or("nil", String::as_str);
        let whats: Vec<String> = how.digests.iter().map(|digest| format!("\"{}\"", name(digest))).collect();
        let out = how
            .excluded
            .iter()
            .map(|e| format!("[who |-> {}, until |-> {}, again |-> {}]", e.replica, e.until, e.again));
        format!(
            "[view |-> {}, decided |-> {}, whats |-> <<{}>>, out |-> <<{}>>]",
            how.view,
            how.decided,
            whats.join(", "),
            out.collect::<Vec<_>>().join(", ")
        )
    }
}

fn truth(holds: bool) -> &'static str {
    if holds { "TRUE" } else { "FALSE" }
}
