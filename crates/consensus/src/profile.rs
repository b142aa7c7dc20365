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
    /// How many replicas it needs to survive `faults`; as many as can be counted where it needs more.
    #[must_use]
    pub const fn replicas(&self, faults: u16) -> u16 {
        self.per_fault.saturating_mul(faults).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use crate::ProtocolName;

    #[test]
    fn faults_that_nobody_survives_need_more_replicas_than_there_are() {
        let profile = ProtocolName::Pbft.profile();
        assert_eq!((profile.replicas(1), profile.replicas(u16::MAX)), (4, u16::MAX));
    }
}
