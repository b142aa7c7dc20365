//! What befalls machines and links, drawn from the seed, and the end of it.

use std::collections::BTreeSet;

use smr_wire::client::FaultModel;

use super::World;
use super::happenings::Happening;
use super::stage::{Note, Party};
use crate::adversary::{Adversary, Misdeed};
use crate::host::Health;
use crate::network::{Host, Weather};

/// Something that befalls the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// These hosts are cut off from the others.
    Cut(BTreeSet<Host>),
    /// The oldest cut is mended.
    Mend,
    /// A machine stands still for so long, in microseconds.
    Pause(usize, u64),
    /// A machine that stands still goes on at once.
    Thaw(usize),
    /// A machine is gone for good.
    Kill(usize),
    /// A machine fails and comes back after so long, in microseconds, with what is on its disk.
    Crash(usize, u64),
    /// The same, but a bit of its disk flips meanwhile; if that shows, it stays away.
    Rot(usize, u64),
    /// It comes back, with its disk as it was or not.
    Return(usize, bool),
    /// A machine begins anew with nothing but its keys and another trusted core; the administrator vouches for that.
    Reboot(usize),
    /// A bit of the memory in which a machine's application has its state flips; which follows from this number.
    Flip(usize, u64),
    /// Links behave like this from now on.
    Weather(Weather),
    /// Links are well from now on. Pauses end before.
    Heal,
}

impl World {
    /// Lets `fault` befall the world at `at_us`.
    pub fn schedule(&mut self, at_us: u64, fault: Fault) {
        self.plan(at_us, Happening::Fault(fault));
    }

    /// Draws faults for the next `chaos_us`; then the world heals. At most f replicas are killed or taken over, all
    /// others only suffer. When it heals.
    pub fn schedule_chaos(&mut self, chaos_us: u64) -> u64 {
        let now_us = self.now_us;
        let size = self.machines.len();
        let taken_over = self.setting.misdeeds.len() + usize::from(self.setting.twin.is_some());
        let may_kill = usize::from(self.setting.faults).saturating_sub(taken_over);
        for _ in 0..self.rng.within(0, may_kill as u64) {
            let victims: Vec<usize> = (0..size).filter(|m| self.is_correct(*m)).collect();
            let victim = *self.rng.pick(&victims);
            let at_us = self.rng.within(0, chaos_us);
            // Whoever has no trusted core would have to remember what it said.
            let comes_back = self.group.model == FaultModel::Hybrid && self.rng.chance(500);
            let rots = self.setting.durable && self.group.is_bound_by_disk() && self.rng.chance(500);
            let fault = if comes_back {
                Fault::Reboot(victim)
            } else if self.setting.durable && self.group.model == FaultModel::Hybrid {
                // With more cores gone than it survives, nobody but it may know what a client was told.
                Fault::Crash(victim, chaos_us - at_us)
            } else if rots {
                Fault::Rot(victim, chaos_us - at_us)
            } else {
                Fault::Kill(victim)
            };
            self.schedule(now_us + at_us, fault);
        }
        for _ in 0..self.rng.within(0, 4) {
            let at_us = self.rng.within(0, chaos_us);
            let island = (0..size).filter(|_| self.rng.chance(400)).collect();
            self.schedule(now_us + at_us, Fault::Cut(island));
            let mend_us = at_us + self.rng.within(10_000, chaos_us / 2);
            self.schedule(now_us + mend_us.min(chaos_us), Fault::Mend);
        }
        for _ in 0..self.rng.within(0, 3) {
            let at_us = self.rng.within(0, chaos_us);
            let machine = usize::try_from(self.rng.within(0, size as u64 - 1)).expect("an index");
            let pause_us = self.rng.within(1_000, chaos_us / 2).min(chaos_us - at_us);
            self.schedule(now_us + at_us, Fault::Pause(machine, pause_us));
        }
        if self.rng.chance(300) {
            let at_us = self.rng.within(0, chaos_us);
            let weather = Weather::drawn(&mut self.rng);
            self.schedule(now_us + at_us, Fault::Weather(weather));
        }
        // Whoever deals anew after its core did is left out of the key, and with a dealer that lies nobody is left who deals.
        let lies = self.setting.misdeeds.values().any(|misdeed| *misdeed == Misdeed::DealBadShares);
        if self.setting.durable && !(lies && self.group.model == FaultModel::Hybrid) {
            self.schedule_crashes(chaos_us);
        }
        for machine in self.with_failing_memory() {
            for _ in 0..self.rng.within(1, 6) {
                let (at_us, draw) = (self.rng.within(0, chaos_us), self.rng.draw());
                self.schedule(now_us + at_us, Fault::Flip(machine, draw));
            }
        }
        self.schedule(now_us + chaos_us, Fault::Heal);
        now_us + chaos_us
    }

    /// Any number of machines fail, one after the other, beside each other or all at once, and come back.
    fn schedule_crashes(&mut self, chaos_us: u64) {
        let now_us = self.now_us;
        let victims: Vec<usize> = (0..self.machines.len()).filter(|m| self.is_correct(*m)).collect();
        for _ in 0..self.rng.within(0, 4) {
            let victim = *self.rng.pick(&victims);
            let at_us = self.rng.within(0, chaos_us);
            let down_us = self.rng.within(1_000, chaos_us / 2).min(chaos_us - at_us);
            self.schedule(now_us + at_us, Fault::Crash(victim, down_us));
        }
        if self.rng.chance(300) {
            let at_us = self.rng.within(0, chaos_us);
            for victim in victims {
                let down_us = self.rng.within(1_000, chaos_us / 4).min(chaos_us - at_us);
                self.schedule(now_us + at_us, Fault::Crash(victim, down_us));
            }
        }
    }

    pub(super) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(island) => self.network.cut(island),
            Fault::Mend => self.network.mend_one(),
            Fault::Pause(machine, pause_us) => {
                if self.machines[machine].health == Health::Up {
                    self.machines[machine].health = Health::PausedUntil(self.now_us + pause_us);
                }
            }
            Fault::Thaw(machine) => self.thaw(machine),
            Fault::Kill(machine) => self.machines[machine].health = Health::Dead,
            Fault::Crash(machine, down_us) => self.crash(machine, down_us, false),
            Fault::Rot(machine, down_us) => self.crash(machine, down_us, true),
            Fault::Return(machine, _) if self.group.model == FaultModel::Hybrid => self.begin_anew(machine),
            Fault::Return(machine, rots) => self.come_back(machine, rots),
            Fault::Reboot(machine) => self.reboot(machine),
            Fault::Flip(machine, draw) => {
                if self.machines[machine].host.flip_bit(draw) {
                    self.note(|_| {
                        Note::says(Party::Replica(machine), "has a bit of its memory flipped".into())
                    });
                }
            }
            Fault::Weather(weather) => self.network.weather = weather,
            Fault::Heal => {
                self.network.heal();
                self.rounds = None;
            }
        }
    }

    /// What waited for a machine that stood still comes at once.
    fn thaw(&mut self, machine: usize) {
        if !matches!(self.machines[machine].health, Health::PausedUntil(_)) {
            return;
        }
        self.machines[machine].health = Health::Up;
        let mine = |happening: &Happening| happening.machine() == Some(machine);
        let (waited, other) = std::mem::take(&mut self.queue).into_iter().partition(|(_, h)| mine(h));
        self.queue = other;
        let waited: std::collections::BTreeMap<(u64, u64), Happening> = waited;
        waited.into_values().for_each(|happening| self.plan(self.now_us, happening));
    }

    /// Replicas that would be correct if their memory held what was written to it.
    #[must_use]
    pub fn with_failing_memory(&self) -> Vec<usize> {
        let fails = |machine: &usize| {
            let misdeed = self.machines[*machine].adversary.as_ref().map(Adversary::misdeed);
            misdeed == Some(Misdeed::FailMemory) && self.machines[*machine].health != Health::Dead
        };
        (0..self.machines.len()).filter(fails).collect()
    }

    /// Replicas that are correct and alive.
    #[must_use]
    pub fn survivors(&self) -> Vec<usize> {
        (0..self.machines.len())
            .filter(|m| self.is_correct(*m) && self.machines[*m].health != Health::Dead)
            .collect()
    }

    /// Where a replica stands.
    #[must_use]
    pub fn status(&self, machine: usize) -> smr_replica::Status {
        self.machines[machine].replica.status()
    }
}
