//! Which replicas may come back after their process ended, without saying anything but what they said before.

use smr_consensus::ProtocolName;
use smr_plan::{Blueprint, Durability};
use smr_wire::client::FaultModel;

/// Whether the protocol counts on trusted cores.
pub(crate) fn counts_on_cores(blueprint: &Blueprint) -> bool {
    let protocol = blueprint.protocol.parse::<ProtocolName>();
    protocol.is_ok_and(|protocol| protocol.profile().model == FaultModel::Hybrid)
}

/// Whether what replicas are bound to is on their disks.
pub(crate) fn is_on_disk(blueprint: &Blueprint) -> bool {
    blueprint.durability == Durability::Disk
}

/// Whether a replica that ended may come back: it finds on its disk what it said, or the protocol counts on its trusted core
/// alone, which begins anew with it.
pub(crate) fn may_return(blueprint: &Blueprint) -> bool {
    is_on_disk(blueprint) || counts_on_cores(blueprint)
}
