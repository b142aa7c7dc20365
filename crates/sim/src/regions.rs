//! Places in the world, and how long messages take between them.

use std::time::Duration;

use crate::network::Host;

/// Regions at most.
pub const REGIONS_MAX: usize = 64;

/// The longest round trip, in ms.
pub const ROUND_TRIP_MS_MAX: u64 = 60_000;

/// Regions and the delays between them. Hosts stand in them by turns: the first in the first one, and so on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Regions {
    names: Vec<String>,
    /// From each to each, in microseconds.
    one_way_us: Vec<Vec<u64>>,
}

/// Why a table of regions makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegionsError {
    /// No line names one.
    #[error(
        "no region is named; write one line for each: its name and its round-trip times in ms to all of them"
    )]
    Empty,
    /// More than [`REGIONS_MAX`].
    #[error("{0} regions, but there may be {REGIONS_MAX} at most")]
    TooMany(usize),
    /// A line with more or fewer times than there are regions.
    #[error("{region} has {found} round-trip times, but there are {wanted} regions, and itself counts")]
    Count {
        /// Which line.
        region: String,
        /// How many times it has.
        found: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// Something else than a time.
    #[error("{region}: {text:?} is not a round-trip time in ms, from 0 to {ROUND_TRIP_MS_MAX}")]
    Time {
        /// Which line.
        region: String,
        /// What stands there.
        text: String,
    },
}

impl Regions {
    /// Five regions on four continents.
    #[must_use]
    pub fn five() -> Regions {
        Regions::parse(include_str!("regions/five.txt")).expect("a table that makes sense")
    }

    /// Reads a table: a line for each region with its name and the round-trip times in ms to all regions in the order of
    /// their lines, itself included. What follows a # is a remark.
    ///
    /// # Errors
    /// See [`RegionsError`].
    pub fn parse(text: &str) -> Result<Regions, RegionsError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let rows: Vec<Vec<&str>> =
            lines.filter(|line| !line.is_empty()).map(|line| line.split_whitespace().collect()).collect();
        if rows.is_empty() {
            return Err(RegionsError::Empty);
        }
        if rows.len() > REGIONS_MAX {
            return Err(RegionsError::TooMany(rows.len()));
        }
        let mut regions = Regions { names: Vec::new(), one_way_us: Vec::new() };
        for row in &rows {
            let (region, times) = (row[0].to_string(), &row[1..]);
            if times.len() != rows.len() {
                return Err(RegionsError::Count { region, found: times.len(), wanted: rows.len() });
            }
            let delays = times.iter().map(|time| {
                one_way_us(time)
                    .ok_or_else(|| RegionsError::Time { region: region.clone(), text: (*time).to_string() })
            });
            regions.one_way_us.push(delays.collect::<Result<_, _>>()?);
            regions.names.push(region);
        }
        Ok(regions)
    }

    /// Their names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How long a message is under way between two hosts, in microseconds.
    #[must_use]
    pub fn one_way_us(&self, from: Host, to: Host) -> u64 {
        let count = self.names.len();
        self.one_way_us[from % count][to % count]
    }
}

/// Half of a round trip.
fn one_way_us(text: &str) -> Option<u64> {
    let ms: f64 = text.parse().ok()?;
    let half = Duration::try_from_secs_f64(ms / 2000.0).ok()?;
    u64::try_from(half.as_micros()).ok().filter(|us| *us <= ROUND_TRIP_MS_MAX * 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stand_in_regions_by_turns() {
        let five = Regions::five();
        assert_eq!(five.names().len(), 5);
        assert_eq!(five.one_way_us(0, 1), 46_000);
        assert_eq!(five.one_way_us(1, 5), 46_000);
        assert_eq!(five.one_way_us(3, 8), 250);
        for from in 0..5 {
            for to in 0..5 {
                assert_eq!(five.one_way_us(from, to), five.one_way_us(to, from));
            }
        }
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_the_reason() {
        assert_eq!(Regions::parse("# nothing\n"), Err(RegionsError::Empty));
        let short = Regions::parse("here 0 1\nthere 1\n");
        assert_eq!(short, Err(RegionsError::Count { region: "there".into(), found: 1, wanted: 2 }));
        for text in ["-1", "NaN", "inf", "1e9", "x"] {
            let wrong = Regions::parse(&format!("here {text}"));
            assert_eq!(wrong, Err(RegionsError::Time { region: "here".into(), text: text.into() }));
        }
        assert_eq!(Regions::parse(&"a 1\n".repeat(65)), Err(RegionsError::TooMany(65)));
    }
}
