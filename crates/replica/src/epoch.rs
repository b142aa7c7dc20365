//! Key generation as seen by one replica: what it has to say next, and what the ceremony's rules are. The first
//! epoch change of a service is its bootstrap; it runs through the log like everything else.

use smr_crypto::Digest;
use smr_crypto::dkg::{Command, Dealing, DecryptionKey, Phase, Setup};
use smr_wire::client::{Contact, Endpoints};
use smr_wire::{Epoch, ReplicaId, Timestamp};

use crate::genesis::Genesis;
use crate::known_bugs;
use crate::system::{SystemCommand, SystemState};

/// The rules of key generation in `attempt`: threshold f+1, and n-f dealings and confirmations, so that f absent
/// replicas cannot hold it up and f+1 correct ones hold a share when it ends.
#[must_use]
pub fn setup(genesis: &Genesis, attempt: u32) -> Setup {
    let group = genesis.group();
    let enough = u16::try_from(group.available()).expect("a group has fewer members");
    Setup {
        context: Digest::of_value("SMRCLOUD-CEREMONY-V1", &(group.service, Epoch(1), attempt)),
        threshold: if known_bugs::THRESHOLD_OF_F.is_on() { genesis.faults } else { genesis.faults + 1 },
        encryption_keys: genesis.members.iter().map(|member| member.encryption).collect(),
        dealings: enough,
        confirmations: enough,
    }
}

/// The contacts of an epoch, as issued at an agreed time.
#[must_use]
pub fn endpoints(genesis: &Genesis, epoch: Epoch, issued: Timestamp) -> Endpoints {
    let contact = |member: &crate::Member| Contact { address: member.address.clone(), key: member.channel };
    Endpoints {
        service: genesis.service(),
        epoch,
        contacts: genesis.members.iter().map(contact).collect(),
        model: genesis.protocol.profile().model,
        issued,
        expires: issued.plus_ms(genesis.config.endpoints_valid_ms),
    }
}

/// What this replica has said, so that it says each thing once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Voice {
    attempt: u32,
    dealt: bool,
    confirmed: bool,
    closed: bool,
}

impl Voice {
    /// What to say now, if anything. `waited` tells that late participants had their time.
    pub fn next(
        &mut self,
        me: ReplicaId,
        system: &SystemState,
        dealing_seed: &[u8; 32],
        key: &DecryptionKey,
        waited: bool,
    ) -> Option<SystemCommand> {
        if system.key.is_some() {
            return None;
        }
        if self.attempt != system.attempt {
            *self = Voice { attempt: system.attempt, ..Voice::default() };
        }
        let ceremony = &system.ceremony;
        let command = match ceremony.phase() {
            Phase::Dealing if !self.dealt => {
                self.dealt = true;
                Command::Deal(Dealing::make(ceremony.setup(), me.0, dealing_seed))
            }
            Phase::Confirming if !self.confirmed => {
                self.confirmed = true;
                Command::Confirm(ceremony.confirmation(me.0, key))
            }
            // Said again each time that others had time: it may have been too early.
            Phase::Confirming if (waited || !self.closed) && ceremony.may_close(waited) => {
                self.closed = true;
                Command::Close
            }
            _ => return None,
        };
        Some(SystemCommand::Ceremony { attempt: self.attempt, command: Box::new(command) })
    }
}
