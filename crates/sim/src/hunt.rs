//! The hunt for known bugs: each is switched on by itself, and the same runs and checks as ever must find it. A check
//! that cannot fail proves nothing; this shows which ones can.

use std::sync::{Mutex, MutexGuard, PoisonError};

use smr_consensus::ProtocolName;
use smr_known_bugs::Bug;
use smr_uds::core::Core;

use crate::adversary::Misdeed;
use crate::campaign::Campaign;
use crate::threshold::Scheme;
use crate::trace::Trace;

/// Runs in which a bug must be found.
pub const SEEDS_MAX: u64 = 500;

/// Happenings after which a run is given up. A run without a bug has a tenth of it at most.
const STEPS_MAX: u64 = 4_000_000;

/// A known bug and the runs that are to find it.
#[derive(Clone, Debug)]
pub struct Prey {
    /// In which crate it is, or in which of its engines.
    pub place: &'static str,
    /// How it is called.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Who made this mistake, or who says why it is one.
    pub source: &'static str,
    /// In which runs it is hunted.
    pub ground: Ground,
    switch: Switch,
}

#[derive(Clone, Copy, Debug)]
enum Switch {
    Bug(&'static Bug),
    /// By its place in [`Core::MUTANTS`].
    Mutant(usize),
}

/// Which runs, out of all that seeds stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ground {
    /// What the service runs.
    pub protocol: ProtocolName,
    /// What faulty replicas do; drawn from the seed if not named.
    pub misdeed: Option<Misdeed>,
    /// Which seeds are run.
    pub runs: Runs,
}

/// Which seeds are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Runs {
    /// One after the other.
    #[default]
    All,
    /// Those of the bank, whose commands wait and are timed: one in eight.
    OfTheBank,
    /// Those with real signatures of the service: one in a hundred and twenty-eight.
    WithPairings,
    /// Those in which machines have disks and come back.
    OnDisk,
}

/// Where a bug was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// In which run, counted from 1.
    pub run: u64,
    /// The run's seed.
    pub seed: u64,
    /// Which check found it, in one word or two.
    pub check: String,
    /// What it said.
    pub said: String,
}

/// All known bugs.
#[must_use]
pub fn preys() -> Vec<Prey> {
    let lists: [(&'static str, &[&'static Bug]); 6] = [
        ("consensus", smr_consensus::known_bugs::ALL),
        ("replica", smr_replica::known_bugs::ALL),
        ("app", smr_app::known_bugs::ALL),
        ("crypto", smr_crypto::known_bugs::ALL),
        ("wire", smr_wire::known_bugs::ALL),
        ("client", smr_client::known_bugs::ALL),
    ];
    let bug = |place: &'static str, bug: &'static Bug| {
        let Bug { name, what, source } = *bug;
        Prey { place, name, what, source, ground: ground(name), switch: Switch::Bug(bug) }
    };
    let lanes = smr_consensus::known_bugs::LANES.iter().copied();
    let lanes = lanes.filter(|bug| !smr_consensus::known_bugs::MODEL_ONLY.contains(bug)).map(|bug| {
        let Bug { name, what, source } = *bug;
        Prey { place: "lanes", name, what, source, ground: ground_of_lanes(name), switch: Switch::Bug(bug) }
    });
    let ours = lists.iter().flat_map(|(place, all)| all.iter().map(|one| bug(place, one)));
    let mutants = Core::MUTANTS.iter().enumerate().map(|(index, (name, what, source))| Prey {
        place: "uds",
        name,
        what,
        source,
        ground: ground(name),
        switch: Switch::Mutant(index),
    });
    ours.chain(lanes).chain(mutants).collect()
}

/// The runs that are to find a bug: all that the seeds stand for, unless too few of them touch it.
fn ground(name: &str) -> Ground {
    let all = Ground { protocol: ProtocolName::Pbft, misdeed: None, runs: Runs::All };
    let of = |misdeed| Ground { misdeed: Some(misdeed), ..all };
    match name {
        "combines-unverified" => Ground { runs: Runs::WithPairings, ..of(Misdeed::LieInReplies) },
        "takes-any-dealing" => Ground { protocol: ProtocolName::Ebawa, ..of(Misdeed::DealBadShares) },
        "takes-any-chunk" => of(Misdeed::CorruptVotes),
        // Who is busy with a flood leaves views while votes are still on their way.
        "commits-in-a-view-it-left" => of(Misdeed::FloodForwards),
        "leaf-without-number" | "threshold-of-f" => of(Misdeed::LieInReplies),
        // It shows while the key is made, which nobody asks for again; these runs all begin with that.
        "forgets-what-waits" => of(Misdeed::DealBadShares),
        "highest-prefix-begins" => of(Misdeed::KeepDecisions),
        "needs-no-voucher" => Ground { protocol: ProtocolName::Ebawa, ..of(Misdeed::NameACore) },
        "returns-without-its-votes" => Ground { runs: Runs::OnDisk, ..all },
        "gate-stands-open" | "rests-on-what-is-not-kept" => {
            Ground { protocol: ProtocolName::Paxos, runs: Runs::OnDisk, ..all }
        }
        "restarts-below-what-it-decided" | "asks-only-some" => {
            Ground { protocol: ProtocolName::Ebawa, runs: Runs::OnDisk, ..all }
        }
        "barrier-at-once" | "begins-a-generation-alone" => Ground { protocol: ProtocolName::Ebawa, ..all },
        "timers-not-in-the-snapshot" | "waiting-lost-at-a-checkpoint" => {
            Ground { runs: Runs::OfTheBank, ..all }
        }
        _ => all,
    }
}

/// The same for the bugs of `lanes`: runs of the protocol that has everything, unless another one touches it more often.
fn ground_of_lanes(name: &str) -> Ground {
    let all = Ground { protocol: ProtocolName::Ebawa, misdeed: None, runs: Runs::All };
    let of = |misdeed| Ground { misdeed: Some(misdeed), ..all };
    match name {
        "core-votes-twice" => of(Misdeed::Equivocate),
        "takes-any-turn" | "votes-need-no-ground" => of(Misdeed::ContradictBeginnings),
        "core-forgets-its-votes" => Ground { protocol: ProtocolName::Paxos, ..all },
        "returns-to-the-first-view" | "returns-without-its-votes" => {
            Ground { protocol: ProtocolName::Paxos, runs: Runs::OnDisk, ..all }
        }
        "goes-on-after-it-ceased" => Ground { runs: Runs::OnDisk, ..all },
        "one-word-begins-a-view" => of(Misdeed::ForgeCertificates),
        _ => all,
    }
}

impl Prey {
    /// The first of the runs from `first` to `last`, counted from 1, in which a check finds it: the run fails with the bug
    /// and holds without it.
    #[must_use]
    pub fn hunt(&self, first: u64, last: u64) -> Option<Found> {
        let campaign = self.campaign();
        let place = |run: u64| usize::try_from(run - 1).expect("few");
        let seeds = (1..).filter(|seed| self.ground.runs.include(&campaign, *seed));
        let seeds = seeds.take(place(last + 1)).skip(place(first));
        (first..).zip(seeds).find_map(|(run, seed)| {
            let switched = self.switch.turn_on();
            let (check, said) = caught(&campaign, seed)?;
            drop(switched);
            // Nothing that began with the bug may go on without it.
            let is_its_doing = caught(&self.campaign(), seed).is_none();
            is_its_doing.then_some(Found { run, seed, check, said })
        })
    }

    /// The runs as a campaign.
    #[must_use]
    pub fn campaign(&self) -> Campaign {
        let campaign = Campaign::new(self.ground.protocol, 1, self.ground.misdeed);
        if self.ground.runs == Runs::OnDisk { campaign.on_disk() } else { campaign }
    }
}

/// Which check fails in a run, if one does, and what it says.
fn caught(campaign: &Campaign, seed: u64) -> Option<(String, String)> {
    let failure = campaign.run_until(seed, STEPS_MAX, Trace::off()).0.err()?;
    let said = failure.violation.to_string();
    let check = said.split(':').next().unwrap_or_default().to_string();
    Some((check, said))
}

impl Runs {
    fn include(self, campaign: &Campaign, seed: u64) -> bool {
        match self {
            Runs::All | Runs::OnDisk => true,
            Runs::OfTheBank => campaign.setting(seed).application == "bank",
            Runs::WithPairings => campaign.setting(seed).scheme == Scheme::Real,
        }
    }
}

impl std::fmt::Display for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = match self.runs {
            Runs::All => "all",
            Runs::OfTheBank => "of the bank",
            Runs::WithPairings => "with pairings",
            Runs::OnDisk => "on disk",
        };
        if self.protocol != ProtocolName::Pbft {
            write!(f, "{}, ", self.protocol)?;
        }
        match self.misdeed {
            Some(misdeed) => write!(f, "{runs}, {}", misdeed.name()),
            None => f.write_str(runs),
        }
    }
}

/// Keeps a bug switched on, on this thread.
enum TurnedOn {
    Bug { _switched: smr_known_bugs::Switched },
    Mutant,
}

impl Switch {
    fn turn_on(self) -> TurnedOn {
        match self {
            Switch::Bug(bug) => TurnedOn::Bug { _switched: bug.switch_on() },
            Switch::Mutant(place) => {
                Core::mutate(Some(place));
                TurnedOn::Mutant
            }
        }
    }
}

impl Drop for TurnedOn {
    fn drop(&mut self) {
        if matches!(self, TurnedOn::Mutant) {
            Core::mutate(None);
        }
    }
}

/// Hunts all of `preys` on all cores, each in the runs that `runs` gives it (first and last), and tells `tell` of each
/// when it is done. What comes of each, in their order.
#[must_use]
pub fn hunt_all(
    preys: &[Prey],
    runs: impl Fn(&Prey) -> (u64, u64) + Sync,
    tell: impl Fn(&Prey, Option<&Found>) + Sync,
) -> Vec<Option<Found>> {
    let next = Mutex::new(preys.iter().enumerate());
    let results = Mutex::new(vec![None; preys.len()]);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                // The lock is given back before the hunt begins.
                let take = || lock(&next).next();
                while let Some((index, prey)) = take() {
                    let (first, last) = runs(prey);
                    let found = prey.hunt(first, last);
                    tell(prey, found.as_ref());
                    lock(&results)[index] = found;
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// After how many runs the middle one of those that were found was; the upper of two.
#[must_use]
pub fn median(found: &[Option<Found>]) -> Option<u64> {
    let mut runs: Vec<u64> = found.iter().flatten().map(|found| found.run).collect();
    runs.sort_unstable();
    runs.get(runs.len() / 2).copied()
}
