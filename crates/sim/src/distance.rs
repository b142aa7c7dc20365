//! What a service does over long distances when nothing goes wrong: how many commands a second, and how long each takes.
//! Computing takes a few milliseconds here; what shows is how often a command waits for the other side of the world.

use smr_consensus::ProtocolName;
use smr_replica::{Config, Scheduling};
use smr_wire::View;

use crate::network::Weather;
use crate::observe::Violation;
use crate::regions::Regions;
use crate::threshold::Scheme;
use crate::times::Times;
use crate::trace::Trace;
use crate::world::rest::{Awakening, Rest};
use crate::world::{Setting, World};

/// Each client's first commands do not count: it looks for its contact and opens a session.
const FIRST: usize = 3;

/// How long all may take, in microseconds of simulated time.
const DEADLINE_US: u64 = 3_600_000_000;

/// How often it is looked whether all is answered.
const LOOK_US: u64 = 100_000;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Distance {
    /// Under which protocol.
    pub protocol: ProtocolName,
    /// How many replicas may fail (f).
    pub faults: u16,
    /// Slots that may be open at the same time (alpha).
    pub window_slots: u64,
    /// Slots that a replica proposes before the first of them is settled; more of them than in one building, where a batch
    /// rather grows.
    pub pipeline_slots: u64,
    /// Clients, by turns in the regions, each with its nearest replica as contact and one to three commands in flight.
    pub clients: usize,
    /// How many commands each asks.
    pub commands: usize,
    /// Where replicas and clients stand.
    pub regions: Regions,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// Commands answered in a second of simulated time, while all clients were at work.
    pub per_second: f64,
    /// How long they took; empty if there was no such time, because the first was done before the last had begun.
    pub times: Times,
    /// Slots that it took.
    pub slots: u64,
    /// Commands that were answered.
    pub answered: u64,
    /// The view at the end: how often replicas wanted another one.
    pub view: View,
}

impl Distance {
    /// Runs it once.
    ///
    /// # Errors
    /// What did not hold: nothing goes wrong here, so everything must be answered.
    pub fn measure(&self, seed: u64) -> Result<Measured, Violation> {
        let rest: Rest =
            World::new(Setting { clients: 0, ..self.setting() }, seed, Trace::off()).into_rest()?;
        let mut world = rest.wake(Awakening { setting: self.setting(), seed, rounds: None }, Trace::off());
        let before = world.observer().slots();
        while !world.clients().are_done() {
            if world.now_us() >= DEADLINE_US {
                return Err(Violation::Liveness(world.clients().unanswered().join("; ")));
            }
            world.run(world.now_us() + LOOK_US, u64::MAX)?;
        }
        Ok(self.judge(&world, before))
    }

    fn setting(&self) -> Setting {
        let mut config = Config::default();
        config.consensus.window_slots = self.window_slots;
        config.consensus.pipeline_slots = self.pipeline_slots.min(self.window_slots);
        Setting {
            protocol: self.protocol,
            application: "kv".into(),
            faults: self.faults,
            scheme: Scheme::Cheap(1),
            weather: Weather::calm(),
            regions: Some(self.regions.clone()),
            twin: None,
            misdeeds: std::collections::BTreeMap::new(),
            scheduling: Scheduling { preset: "mat".into(), primaries: 1, steps: 1 },
            config,
            clients: self.clients,
            commands: self.commands,
            pause_us_max: 0,
            near: true,
            patience: smr_client::Config::default(),
            value_bytes: 0,
            execution_us_max: 100,
            encode: false,
            durable: false,
        }
    }

    /// From when the last client has made its first commands until the first client has none left to ask.
    fn judge(&self, world: &World, slots_before: u64) -> Measured {
        let history = world.clients().history();
        let of = |client: usize| history.iter().filter(move |record| record.client == client);
        let begun =
            (0..self.clients).filter_map(|client| of(client).nth(FIRST).map(|record| record.asked_us)).max();
        let over =
            (0..self.clients).filter_map(|client| of(client).next_back().map(|record| record.asked_us)).min();
        let (begun_us, over_us) = (begun.unwrap_or_default(), over.unwrap_or_default());
        let (mut times, mut in_time) = (Times::default(), 0u32);
        for record in history {
            let Some((answered_us, _)) = &record.answer else { continue };
            if record.asked_us >= begun_us && record.asked_us <= over_us {
                times.add(answered_us - record.asked_us);
            }
            in_time += u32::from(*answered_us >= begun_us && *answered_us <= over_us);
        }
        let span_us = u32::try_from(over_us.saturating_sub(begun_us)).unwrap_or(u32::MAX);
        Measured {
            per_second: f64::from(in_time) * 1e6 / f64::from(span_us.max(1)),
            times,
            slots: world.observer().slots() - slots_before,
            view: world.status(0).view,
            answered: history.iter().filter(|record| record.answer.is_some()).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_side_by_side_are_answered_sooner_than_one_after_the_other() {
        let median = |window_slots| {
            let (protocol, faults, regions) = (ProtocolName::Ebawa, 1, Regions::five());
            let distance = Distance {
                protocol,
                faults,
                window_slots,
                pipeline_slots: 8,
                clients: 10,
                commands: 40,
                regions,
            };
            let measured = distance.measure(7).expect("nothing goes wrong");
            assert_eq!((measured.answered, measured.view), (400, View(0)));
            measured.times.quantile_us(500).expect("some")
        };
        let (many, one) = (median(32), median(1));
        assert!(many < one, "{many} and {one} microseconds");
    }
}
