//! How a service begins: its members' public keys, its protocol and its limits. The service's id is the digest of
//! it, so whoever knows the id knows that all replicas began alike.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_consensus::config::BadConfig;
use smr_consensus::{Group, ProtocolName};
use smr_crypto::dkg::{BadSetup, EncryptionKey};
use smr_crypto::{Digest, PublicKey};
use smr_wire::client::FaultModel;
use smr_wire::{Generation, ReplicaId, ServiceId};

use crate::config::Config;
use crate::scheduling::{BadScheduling, Scheduling};

/// The first state of a service; public, and the same file at every replica.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// The service's name, for people.
    pub name: String,
    /// Which application runs.
    pub application: String,
    /// Which protocol orders.
    pub protocol: ProtocolName,
    /// How many replicas may fail at the same time (f).
    pub faults: u16,
    /// The replicas, in order of id.
    pub members: Vec<Member>,
    /// Who may command the service as a whole.
    pub administrator: PublicKey,
    /// Whether replicas write down what they are bound to, and come back with it.
    pub durable: bool,
    /// How commands run side by side.
    pub scheduling: Scheduling,
    /// Limits and timing.
    pub config: Config,
}

/// One replica, as everyone knows it. The secret halves were made inside it and never leave it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Member {
    /// Signs what it says.
    pub identity: PublicKey,
    /// Proves its channels.
    pub channel: PublicKey,
    /// Shares of the service key are encrypted to it.
    pub encryption: EncryptionKey,
    /// Its trusted core signs with it, where the protocol asks for one.
    pub core: Option<PublicKey>,
    /// Where it listens, `host:port`.
    pub address: String,
}

/// Replicas that a service may have at most.
pub const MEMBERS_MAX: usize = 64;

impl Genesis {
    /// Whether the parts fit together.
    ///
    /// # Errors
    /// What does not.
    pub fn validate(&self) -> Result<(), BadGenesis> {
        let profile = self.protocol.profile();
        let needed = usize::from(profile.replicas(self.faults));
        if self.faults > profile.faults_max || self.members.len() != needed || needed > MEMBERS_MAX {
            return Err(BadGenesis::Members { protocol: self.protocol, faults: self.faults, needed });
        }
        let hybrid = profile.model == FaultModel::Hybrid;
        if self.members.iter().any(|member| member.core.is_some() != hybrid) {
            return Err(BadGenesis::Cores { protocol: self.protocol });
        }
        let own = |m: &Member| [m.identity, m.channel].into_iter().chain(m.core);
        let mut keys: Vec<PublicKey> = self.members.iter().flat_map(own).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(BadGenesis::SameKey);
        }
        crate::epoch::setup(self, 0).validate()?;
        self.scheduling.config()?;
        self.config.validate().map_err(BadGenesis::Config)
    }

    /// The service that begins so.
    #[must_use]
    pub fn service(&self) -> ServiceId {
        ServiceId(Digest::of_value("SMRCLOUD-GENESIS-V1", self))
    }

    /// Its first voters.
    #[must_use]
    pub fn group(&self) -> Group {
        Group {
            service: self.service(),
            generation: Generation(0),
            model: self.protocol.profile().model,
            faults: self.faults,
            keys: self.members.iter().map(|member| member.identity).collect(),
            cores: self.members.iter().filter_map(|member| member.core).collect(),
        }
    }

    /// The replica whose channels have this key, if it is a member's.
    #[must_use]
    pub fn member_with_channel(&self, channel: &PublicKey) -> Option<ReplicaId> {
        self.members.iter().position(|member| member.channel == *channel).map(ReplicaId::at)
    }
}

/// Why a genesis cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadGenesis {
    /// The wrong number of members.
    #[error("{protocol} with {faults} faults needs {needed} replicas, at most {MEMBERS_MAX}")]
    Members {
        /// The protocol.
        protocol: ProtocolName,
        /// f.
        faults: u16,
        /// n.
        needed: usize,
    },
    /// Members without a trusted core where the protocol counts on them, or with one where it knows none.
    #[error("each member of {protocol} has a trusted core, or none has: as the protocol is")]
    Cores {
        /// The protocol.
        protocol: ProtocolName,
    },
    /// A scheduler that there is not.
    #[error(transparent)]
    Scheduling(#[from] BadScheduling),
    /// One key in two places: then one machine would count twice.
    #[error("two of the members' keys are the same")]
    SameKey,
    /// An encryption key that is none, or too many members.
    #[error(transparent)]
    Ceremony(#[from] BadSetup),
    /// A limit outside its range.
    #[error(transparent)]
    Config(BadConfig),
}
