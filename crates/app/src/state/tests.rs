mod hosted;
mod model;

use smr_crypto::{Digest, PublicKey};
use smr_wire::{ClientId, Slot, Timestamp};

use super::*;
use crate::{Context, Place, Rng};

/// The chance that a seed stands for.
fn chance(seed: u64) -> Rng {
    let place = Place { slot: Slot(seed), position: 0, path: Vec::new(), history: Digest::default() };
    Context::new(ClientId(PublicKey([0; 32])), Timestamp(0), place).rng()
}
