//! A digest of everything that was granted, so that replicas can see whether they granted the same.
//!
//! Each lock, condition and barrier has a chain over (task, step of the task) of its grants, and the digest is the
//! sum over the chains' values after each grant. A sum, because grants of different objects have no order among
//! each other; chains, because those of one object do. Ids of objects do not enter: they depend on timing.

/// The chain of one object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Chain {
    value: u64,
    /// The era in which `value` was begun.
    era: u64,
}

/// The sum over all chains.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Trace {
    sum: u64,
    /// Chains of an earlier era begin anew.
    era: u64,
}

impl Chain {
    pub(super) const EMPTY: Chain = Chain { value: 0, era: 0 };
}

impl Trace {
    pub(super) const fn digest(self) -> u64 {
        self.sum
    }

    /// Forgets everything, as a new scheduler knows nothing.
    pub(super) fn restart(&mut self) {
        *self = Trace { sum: 0, era: self.era + 1 };
    }

    /// A grant of the object of `chain`, for the `step`-th turn of `task`.
    pub(super) fn grant(&mut self, chain: &mut Chain, task: u64, step: u64) {
        let before = if chain.era == self.era { chain.value } else { 0 };
        *chain = Chain { value: mix(before ^ identity(task, step)), era: self.era };
        self.sum = self.sum.wrapping_add(chain.value);
    }

    /// Something that concerns one task only.
    pub(super) fn event(&mut self, task: u64, step: u64, kind: Kind) {
        self.sum = self.sum.wrapping_add(mix(identity(task, step) ^ kind as u64));
    }
}

/// What concerns one task only.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Yielded = 0x5bd1_e995,
    Spawned = 0x1b87_3593,
    Denied = 0x2545_f491,
    Left = 0x4f6c_dd1d,
}

fn identity(task: u64, step: u64) -> u64 {
    (task + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (step + 1).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
}

/// The finish of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), shortened by its last multiplication.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^ (value >> 27)
}
