//! A command on its way, as plain data: what a waiting or a timed one is in a snapshot.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_wire::ClientId;

use crate::application::Place;

/// A command, whose it is, and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct Errand {
    /// No two errands share one.
    pub(super) place: Place,
    /// Whose command it is, or whose command asked for it.
    pub(super) caller: ClientId,
    /// The bytes, for the application to understand.
    pub(super) command: Vec<u8>,
}
