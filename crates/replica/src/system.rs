//! The replicated state beside the application's: everything that must be equal on all replicas, changed only by
//! what the log says, and checkpointed with the application's state.

use borsh::{BorshDeserialize, BorshSerialize};
use smr_consensus::batch::SYSTEM_ENTRY_BYTES_MAX;
use smr_consensus::lanes::core::{AttestedDealing, Scope};
use smr_consensus::verified::Rules;
use smr_crypto::Digest;
use smr_crypto::dkg::{self, Assurance, Ceremony, Outcome, Progress};
use smr_crypto::threshold::GroupKey;
use smr_wire::client::Endpoints;
use smr_wire::{Epoch, ReplicaId, Slot, Timestamp};

use crate::epoch;
use crate::genesis::Genesis;
use crate::known_bugs;
use crate::parked::Parked;
use crate::sessions::Sessions;
use crate::voters::Voters;
use crate::voucher::Voucher;

/// Equal on all correct replicas that have admitted the same slots.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SystemState {
    /// Version of the service's behaviour; raised by an ordered command when all replicas can follow.
    pub version: u16,
    /// The last slot admitted.
    pub slot: Slot,
    /// Agreed time: never runs backwards.
    pub time: Timestamp,
    /// Digest over all batches admitted; the source of agreed chance.
    pub history: Digest,
    /// Digest over all batches and replies up to the last slot executed.
    pub results: Digest,
    /// Key generation, whose transcript stays so that a late replica finds its share.
    pub ceremony: Ceremony,
    /// How often key generation began anew.
    pub attempt: u32,
    /// The service's key, once generated.
    pub key: Option<GroupKey>,
    /// The current contacts, once there is a key to certify them.
    pub endpoints: Option<Endpoints>,
    /// Clients' sessions.
    pub sessions: Sessions,
    /// Commands that wait on a condition of the application.
    pub parked: Parked,
    /// Who votes.
    pub voters: Voters,
}

/// A command of one replica to the system, carried by an entry under its author's signature.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum SystemCommand {
    /// Of key generation.
    Ceremony {
        /// In which attempt.
        attempt: u32,
        /// What. Boxed, as dealings are large.
        command: Box<dkg::Command>,
    },
    /// What was admitted up to here waits for no newcomers; see [`smr_app::SlotWork::fill`]. Any replica that sees its
    /// application starve says so, so a primary that withholds commands cannot hold up those that were admitted.
    Fill {
        /// The last slot that its author has admitted; tells its markers apart.
        end: Slot,
    },
    /// Commands whose agreed time has come begin; see [`smr_app::SlotWork::timers`].
    Timers {
        /// The last slot that its author has admitted; tells its wishes apart.
        end: Slot,
    },
    /// The author's trusted core has another key.
    Rejoin(Voucher),
    /// Of key generation, where replicas have trusted cores: what its author's core dealt.
    Attested(Box<AttestedDealing>),
}

/// Bytes of a system command at most: what fits into an entry beside its author and signature.
pub const SYSTEM_COMMAND_BYTES_MAX: usize = SYSTEM_ENTRY_BYTES_MAX - 128;

impl SystemState {
    /// The first state of a service.
    #[must_use]
    pub fn new(genesis: &Genesis) -> SystemState {
        SystemState {
            version: 1,
            slot: Slot(0),
            time: Timestamp(0),
            history: genesis.service().0,
            results: genesis.service().0,
            ceremony: Ceremony::new(epoch::setup(genesis, 0)),
            attempt: 0,
            key: None,
            endpoints: None,
            sessions: Sessions::default(),
            parked: Parked::default(),
            voters: Voters::new(genesis),
        }
    }

    /// The epoch of the key's shares: 0 until there is one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(u32::from(self.key.is_some()))
    }

    /// Takes up the next slot: its place in history and its proposer's time.
    pub fn begin_slot(&mut self, slot: Slot, batch: &Digest, proposed: Timestamp) {
        assert!(slot == self.slot.next(), "slot {slot} admitted after {}", self.slot);
        self.slot = slot;
        self.time = if known_bugs::TIME_RUNS_BACKWARDS.is_on() { proposed } else { self.time.max(proposed) };
        self.history = Digest::of("SMRCLOUD-HISTORY-V1", &[&self.history.0, &slot.0.to_le_bytes(), &batch.0]);
    }

    /// Takes up what a slot's execution gave.
    pub fn end_slot(&mut self, slot: Slot, batch: &Digest, replies: &Digest) {
        let parts: [&[u8]; 4] = [&self.results.0, &slot.0.to_le_bytes(), &batch.0, &replies.0];
        self.results = Digest::of("SMRCLOUD-RESULTS-V1", &parts);
    }

    /// Applies a command of `author`; tells what came of it, or nothing if it is not acceptable here and now.
    pub fn apply(
        &mut self,
        author: ReplicaId,
        payload: &[u8],
        genesis: &Genesis,
        rules: &Rules<'_>,
    ) -> Option<Applied> {
        let command = match smr_wire::decode(payload, SYSTEM_COMMAND_BYTES_MAX).ok()? {
            SystemCommand::Fill { .. } => return Some(Applied::Fill),
            SystemCommand::Timers { .. } => return Some(Applied::Timers),
            SystemCommand::Rejoin(voucher) => {
                let replaced = self.voters.admit(author, &voucher, self.slot, genesis);
                return replaced.then_some(Applied::Rejoins(author));
            }
            SystemCommand::Ceremony { attempt, command } => self.unattested(attempt, *command)?,
            SystemCommand::Attested(dealing) => self.attested(author, *dealing, rules)?,
        };
        match self.ceremony.apply(author.0, command).ok()? {
            Progress::Closed(Outcome { group, qualified, excluded }) => {
                self.key = Some(group);
                self.endpoints = Some(epoch::endpoints(genesis, self.epoch(), self.time));
                Some(Applied::KeyGenerated { qualified, excluded })
            }
            Progress::Failed(reason) => {
                self.attempt += 1;
                self.ceremony = Ceremony::new(epoch::setup(genesis, self.attempt));
                Some(Applied::CeremonyFailed(reason.to_string()))
            }
            Progress::Broken { dealers, .. } if !dealers.is_empty() => Some(Applied::CoresBroken(dealers)),
            _ => Some(Applied::CeremonyProgressed),
        }
    }

    /// What a replica says by itself in the current attempt. Where cores deal that is no dealing: f+1 of 2f+1 replicas cannot
    /// tell one that does not fit its receivers from receivers that lie.
    fn unattested(&self, attempt: u32, command: dkg::Command) -> Option<dkg::Command> {
        let cores_deal = self.ceremony.setup().assurance == Assurance::Attested;
        let deals = matches!(command, dkg::Command::Deal(_));
        (attempt == self.attempt && !(deals && cores_deal)).then_some(command)
    }

    /// What the core of `author` dealt in the current attempt, if it did, and dealings are still of use.
    fn attested(
        &self,
        author: ReplicaId,
        dealing: AttestedDealing,
        rules: &Rules<'_>,
    ) -> Option<dkg::Command> {
        let setup = self.ceremony.setup();
        let counts = dealing.attempt == self.attempt
            && setup.assurance == Assurance::Attested
            && self.ceremony.phase() == dkg::Phase::Dealing;
        let window_slots = rules.config.window_slots;
        let scope = Scope { group: rules.group, window_slots, replica: author };
        let holds = || known_bugs::TAKES_ANY_DEALING.is_on() || dealing.holds(&scope, setup, rules.verifier);
        (counts && holds()).then_some(dkg::Command::Deal(dealing.dealing))
    }

    /// At a checkpoint: renews the contacts' certificate when half of its time has passed.
    pub fn renew_endpoints(&mut self, genesis: &Genesis) {
        let half = genesis.config.endpoints_valid_ms / 2;
        let due = self.endpoints.as_ref().is_some_and(|e| self.time.since(e.issued) > half);
        if due {
            self.endpoints = Some(epoch::endpoints(genesis, self.epoch(), self.time));
        }
    }
}

/// What came of a system command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// A fill marker stands behind this slot's commands.
    Fill,
    /// Timed commands begin with this slot.
    Timers,
    /// This replica's core is replaced with the next generation, whose beginning is known.
    Rejoins(ReplicaId),
    /// Key generation went on.
    CeremonyProgressed,
    /// Key generation has to begin anew.
    CeremonyFailed(String),
    /// The trusted cores of these replicas dealt bad shares, so they are none.
    CoresBroken(Vec<u16>),
    /// The service has its key.
    KeyGenerated {
        /// Who dealt.
        qualified: Vec<u16>,
        /// Who is excluded, and why.
        excluded: Vec<(u16, dkg::Reason)>,
    },
}
