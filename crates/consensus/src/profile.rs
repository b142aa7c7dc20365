//! What a protocol says of itself, so that planner, simulator and tests need not know it by name.

use smr_wire::client::FaultModel;

/// A protocol's own description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Its name, as the user writes it.
    pub name: &'static str,
    /// What its replicas may do wrong.
    pub model: FaultModel,
    /// Replicas needed: `per_fault` * f + 1.
    pub per_fault: u16,
    /// Largest f it serves.
    pub faults_max: u16,
    /// What it is good for, in one sentence.
    pub strength: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

impl Profile {
    /// How many replicas it needs to survive `faults`.
    #[must_use]
    pub const fn replicas(&self, faults: u16) -> u16 {
        self.per_fault * faults + 1
    }
}
