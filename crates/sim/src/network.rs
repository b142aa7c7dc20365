//! What may happen to a message: delay, loss, repetition, and cuts between sets of hosts. Reordering follows from
//! delays that differ.

use std::collections::BTreeSet;

use crate::regions::Regions;
use crate::rng::Rng;

/// A host: a replica by its index, or a client by its index after the replicas.
pub type Host = usize;

/// How links behave. Probabilities in thousandths, times in microseconds of simulated time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Least delay.
    pub delay_us_min: u64,
    /// Most delay of an ordinary message.
    pub delay_us_max: u64,
    /// How often a message takes up to twenty times as long.
    pub straggle_per_mille: u64,
    /// How often a message is lost.
    pub loss_per_mille: u64,
    /// How often it comes twice.
    pub repeat_per_mille: u64,
}

impl Weather {
    /// A quiet building.
    #[must_use]
    pub fn calm() -> Weather {
        Weather {
            delay_us_min: 100,
            delay_us_max: 600,
            straggle_per_mille: 0,
            loss_per_mille: 0,
            repeat_per_mille: 0,
        }
    }

    /// Something between calm and hostile.
    pub fn drawn(rng: &mut Rng) -> Weather {
        let delay_us_min = rng.within(50, 5_000);
        Weather {
            delay_us_min,
            delay_us_max: delay_us_min + *rng.pick(&[500, 5_000, 50_000]),
            straggle_per_mille: *rng.pick(&[0, 10, 100]),
            loss_per_mille: *rng.pick(&[0, 5, 50, 200]),
            repeat_per_mille: *rng.pick(&[0, 20, 200]),
        }
    }
}

/// All links together.
#[derive(Clone, Debug)]
pub struct Network {
    /// How they behave now.
    pub weather: Weather,
    /// Where hosts stand, if they are not all in one building.
    regions: Option<Regions>,
    cuts: Vec<BTreeSet<Host>>,
    rng: Rng,
    /// Messages lost so far, by weather or cut.
    pub lost: u64,
}

impl Network {
    /// Links that behave like `weather` on top of the distances between `regions`, with chance of their own.
    #[must_use]
    pub fn new(weather: Weather, regions: Option<Regions>, rng: Rng) -> Network {
        Network { weather, regions, cuts: Vec::new(), rng, lost: 0 }
    }

    /// Cuts `island` off from all others until [`Network::heal`].
    pub fn cut(&mut self, island: BTreeSet<Host>) {
        self.cuts.push(island);
    }

    /// Mends the oldest cut.
    pub fn mend_one(&mut self) {
        if !self.cuts.is_empty() {
            self.cuts.remove(0);
        }
    }

    /// Mends all cuts and calms the weather.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.weather = Weather::calm();
    }

    /// When copies of a message from `from` to `to` arrive, as delays from now; none if it is lost.
    pub fn send(&mut self, from: Host, to: Host) -> Vec<u64> {
        let severed = self.cuts.iter().any(|island| island.contains(&from) != island.contains(&to));
        if severed || self.rng.chance(self.weather.loss_per_mille) {
            self.lost += 1;
            return Vec::new();
        }
        let copies = if self.rng.chance(self.weather.repeat_per_mille) { 2 } else { 1 };
        let distance_us = self.regions.as_ref().map_or(0, |regions| regions.one_way_us(from, to));
        (0..copies).map(|_| distance_us + self.delay_us()).collect()
    }

    fn delay_us(&mut self) -> u64 {
        let delay = self.rng.within(self.weather.delay_us_min, self.weather.delay_us_max);
        if self.rng.chance(self.weather.straggle_per_mille) { delay * self.rng.within(2, 20) } else { delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_separates_inside_from_outside_only() {
        let mut network = Network::new(Weather::calm(), None, Rng::new(1));
        network.cut(BTreeSet::from([0, 1]));
        assert!(network.send(0, 2).is_empty() && network.send(3, 1).is_empty());
        assert_eq!((network.send(0, 1).len(), network.send(2, 3).len()), (1, 1));
        network.heal();
        assert_eq!(network.send(0, 2).len(), 1);
        assert_eq!(network.lost, 2);
    }
}
