//! Key generation as seen by one replica: what it has to say next, and what the ceremony's rules are. The first
//! epoch change of a service is its bootstrap; it runs through the log like everything else.

use smr_consensus::lanes::core::Attempt;
use smr_crypto::Digest;
use smr_crypto::dkg::{Assurance, Command, Dealing, Phase, Setup};
use smr_wire::client::{Contact, Endpoints, FaultModel};
use smr_wire::{Epoch, ReplicaId, Timestamp};

use crate::genesis::Genesis;
use crate::known_bugs;
use crate::replica::Secrets;
use crate::system::{SystemCommand, SystemState};

/// The rules of key generation in `attempt`: threshold f+1, and n-f dealings and confirmations, so that f absent
/// replicas cannot hold it up and f+1 correct ones hold a share when it ends. Dealings of trusted cores are good, so
/// there nobody confirms.
#[must_use]
pub fn setup(genesis: &Genesis, attempt: u32) -> Setup {
    let group = genesis.group();
    let enough = u16::try_from(group.available()).expect("a group has fewer members");
    Setup {
        context: Digest::of_value("SMRCLOUD-CEREMONY-V1", &(group.service, Epoch(1), attempt)),
        threshold: if known_bugs::THRESHOLD_OF_F.is_on() { genesis.faults } else { genesis.faults + 1 },
        encryption_keys: genesis.members.iter().map(|member| member.encryption).collect(),
        dealings: enough,
        assurance: match group.model {
            FaultModel::Hybrid => Assurance::Attested,
            FaultModel::Byzantine | FaultModel::Crash => Assurance::Confirmed(enough),
        },
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

/// What a replica wants for key generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wants {
    /// Have this ordered.
    Say(SystemCommand),
    /// Have its core deal.
    Deal(Attempt),
}

impl Voice {
    /// What to do now, if anything. `waited` tells that late participants had their time.
    pub fn next(
        &mut self,
        me: ReplicaId,
        system: &SystemState,
        secrets: &Secrets,
        waited: bool,
    ) -> Option<Wants> {
        if self.attempt != system.attempt {
            *self = Voice { attempt: system.attempt, ..Voice::default() };
        }
        let ceremony = &system.ceremony;
        let assurance = ceremony.setup().assurance;
        let command = match ceremony.phase() {
            Phase::Dealing if !self.dealt => {
                self.dealt = true;
                if assurance == Assurance::Attested {
                    return Some(Wants::Deal(Attempt {
                        number: self.attempt,
                        setup: ceremony.setup().clone(),
                    }));
                }
                Command::Deal(Dealing::make(ceremony.setup(), me.0, &secrets.dealing_seed.0))
            }
            Phase::Confirming if !self.confirmed => {
                self.confirmed = true;
                Command::Confirm(ceremony.confirmation(me.0, &secrets.decryption))
            }
            // Nothing to be said, unless a core is none.
            Phase::Closed if assurance == Assurance::Attested && !self.confirmed => {
                self.confirmed = true;
                let confirm = ceremony.confirmation(me.0, &secrets.decryption);
                if confirm.complaints.is_empty() {
                    return None;
                }
                Command::Confirm(confirm)
            }
            // Said again each time that others had time: it may have been too early.
            Phase::Confirming if (waited || !self.closed) && ceremony.may_close(waited) => {
                self.closed = true;
                Command::Close
            }
            _ => return None,
        };
        Some(Wants::Say(SystemCommand::Ceremony { attempt: self.attempt, command: Box::new(command) }))
    }
}
