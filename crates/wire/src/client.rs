//! What crosses between a client and a service: signed requests out, certified replies back.
//!
//! ```text
//!   client -- ToContact::Hello ----> contact         the client checks the contact's channel key against the
//!          <- FromContact::Welcome -                 endpoint certificate, then speaks
//!          -- ToContact::Request -->                 one or more commands under one signature
//!          <- FromContact::Reply ---                 outcome, path to the block's root, one service signature
//! ```
//!
//! A client knows the service's name, its id and its one key. Nothing here tells it how many replicas there are,
//! which protocol they run or who leads.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use smr_crypto::merkle;
use smr_crypto::threshold::{ServiceKey, ServiceSignature};
use smr_crypto::{Digest, IdentityKey, PublicKey, Signature, Verifier};

use crate::ids::{ClientId, Epoch, RequestNumber, ServiceId, SessionId, Slot, Timestamp};

/// Version of everything in this module and of the messages between replicas. Replicas speak this one and, once
/// there is one, the one before.
pub const WIRE_VERSION: u16 = 1;

/// Commands that one request may carry.
pub const REQUEST_COMMANDS_MAX: usize = 256;

/// Largest window a session may ask for: commands in flight, and replies kept for a repeat.
pub const SESSION_WINDOW_MAX: u16 = 256;

/// One command: opaque bytes for the application, and its number in the session.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Command {
    /// Its number, from 1; whoever repeats a command repeats the number.
    pub number: RequestNumber,
    /// What the application gets.
    pub bytes: Vec<u8>,
}

/// How a command reaches the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Access {
    /// Through the total order: linearizable.
    Ordered,
}

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Call {
    /// A session, in which commands are executed at most once. A repeat with the same nonce finds the session
    /// that the first one opened.
    Open {
        /// Chosen by the client, different for each session it wants.
        nonce: u64,
        /// Commands the client will have in flight at most. 1..=[`SESSION_WINDOW_MAX`].
        window: u16,
    },
    /// Commands, all in one session.
    Commands {
        /// The session, as a certified reply to `Open` named it.
        session: SessionId,
        /// How they reach the application.
        access: Access,
        /// In ascending order of number; 1..=[`REQUEST_COMMANDS_MAX`].
        commands: Vec<Command>,
    },
}

/// A call under its client's signature.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Request {
    /// The service it is meant for; no other will take it.
    pub service: ServiceId,
    /// Who asks.
    pub client: ClientId,
    /// What for.
    pub call: Call,
    /// The client's, over all of the above.
    pub signature: Signature,
}

impl Request {
    /// Signs `call` to `service`.
    #[must_use]
    pub fn sign(key: &IdentityKey, service: ServiceId, call: Call) -> Request {
        let client = ClientId(key.public());
        let signature = key.sign(&Request::statement(&service, &client, &call));
        Request { service, client, call, signature }
    }

    /// Whether the request is for `service`, keeps the limits of this module and is signed by its client.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, service: ServiceId, verifier: &Verifier) -> Result<(), BadRequest> {
        if self.service != service {
            return Err(BadRequest::OtherService);
        }
        match &self.call {
            Call::Open { window, .. } => {
                if !(1..=SESSION_WINDOW_MAX).contains(window) {
                    return Err(BadRequest::Window);
                }
            }
            Call::Commands { commands, .. } => {
                if !(1..=REQUEST_COMMANDS_MAX).contains(&commands.len()) {
                    return Err(BadRequest::CommandCount);
                }
                let first_is_valid = commands.first().is_some_and(|first| first.number > RequestNumber(0));
                if !first_is_valid || !commands.windows(2).all(|pair| pair[0].number < pair[1].number) {
                    return Err(BadRequest::Numbers);
                }
            }
        }
        let statement = Request::statement(&self.service, &self.client, &self.call);
        if verifier.verify(&self.client.0, &statement, &self.signature) {
            Ok(())
        } else {
            Err(BadRequest::Signature)
        }
    }

    fn statement(service: &ServiceId, client: &ClientId, call: &Call) -> Digest {
        Digest::of_value("SMRCLOUD-REQUEST-V1", &(service, client, call))
    }
}

/// Why a request is refused before it is ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum BadRequest {
    /// Signed for another service.
    #[error("the request is for another service")]
    OtherService,
    /// A session window outside its limits.
    #[error("a session window is 1 to {SESSION_WINDOW_MAX} commands")]
    Window,
    /// Too few or too many commands.
    #[error("a request carries 1 to {REQUEST_COMMANDS_MAX} commands")]
    CommandCount,
    /// Numbers that are not ascending from 1.
    #[error("the commands of a request have ascending numbers, from 1")]
    Numbers,
    /// Not the client's signature.
    #[error("the signature is not the client's")]
    Signature,
}

/// What became of one command, certified by the service.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// The application's answer.
    Answer(Vec<u8>),
    /// The session asked for.
    Opened(SessionId),
    /// It was not executed, and will not be under this number.
    Refused(Refusal),
    /// The application failed on it, in the same way on every replica.
    Fault(String),
}

/// Why the service, in the log's order, refused a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Refusal {
    /// No such session: never opened by this client, or given up for newer ones.
    #[error("the session is gone; whether its unanswered commands were executed cannot be told any more")]
    SessionGone,
    /// The number lies below the session's window, so its reply is no longer kept.
    #[error("the number is older than the session's window; its reply is no longer kept")]
    Stale,
    /// More bytes than the service accepts in one command.
    #[error("the command is larger than the service accepts")]
    TooLarge,
    /// A session was asked for, but there are as many as there may be, and all are in use. Asked for again, with
    /// another nonce, it may be given.
    #[error("the service has no room for another session now; try again later")]
    Full,
}

/// Which request a reply or a hint is about: the session and the number, or for a call of
/// [`Call::Open`] session 0 and the nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize)]
pub struct About {
    /// The session, 0 while it is being opened.
    pub session: SessionId,
    /// The command's number, or the nonce of the opening.
    pub number: RequestNumber,
}

impl About {
    /// The opening of a session with `nonce`.
    #[must_use]
    pub const fn opening(nonce: u64) -> About {
        About { session: SessionId(0), number: RequestNumber(nonce) }
    }
}

/// The answer to one command of one client, with what proves it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Reply {
    /// What it answers.
    pub about: About,
    /// What became of it.
    pub outcome: Outcome,
    /// Why to believe it.
    pub proof: ReplyProof,
}

/// Why to believe a reply.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum ReplyProof {
    /// f+1 replicas, so at least one correct one, signed the block of replies that this one is in.
    Certified {
        /// The slot that decided the command.
        slot: Slot,
        /// From the reply's leaf to the block's root.
        path: merkle::Path,
        /// The service's, over the block.
        signature: ServiceSignature,
    },
    /// The contact says so. Enough where machines may stop but do not lie, and the channel was proven to be a contact's by
    /// an [`EndpointCertificate`] that says they do not.
    Channel {
        /// The slot that decided the command.
        slot: Slot,
    },
}

impl ReplyProof {
    /// The slot that decided the command.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            ReplyProof::Certified { slot, .. } | ReplyProof::Channel { slot } => *slot,
        }
    }
}

impl Reply {
    /// The leaf of a reply in its block: `SHA-256(0x00 client session number SHA-256(outcome))`, the numbers as
    /// 64-bit little endian, the outcome in its one encoding. Fixed here so that clients in any language can
    /// follow.
    #[must_use]
    pub fn leaf(client: &ClientId, about: &About, outcome: &Outcome) -> Digest {
        let outcome = Digest::plain(&[&crate::encode(outcome)]);
        let mut bytes = Vec::with_capacity(80);
        bytes.extend_from_slice(&client.0.0);
        bytes.extend_from_slice(&about.session.0.to_le_bytes());
        if !crate::known_bugs::LEAF_WITHOUT_NUMBER.is_on() {
            bytes.extend_from_slice(&about.number.0.to_le_bytes());
        }
        bytes.extend_from_slice(&outcome.0);
        merkle::leaf(&bytes)
    }

    /// What the service signs for a block of `count` replies: SHA-256 of `"SMRCLOUD-REPLY-V1" service slot root
    /// count`, slot as 64-bit and count as 32-bit little endian. It names neither epoch nor members, so a client
    /// needs to know neither.
    #[must_use]
    pub fn block_statement(service: &ServiceId, slot: Slot, root: &Digest, count: u32) -> Digest {
        Digest::plain(&[
            b"SMRCLOUD-REPLY-V1",
            &service.0.0,
            &slot.0.to_le_bytes(),
            &root.0,
            &count.to_le_bytes(),
        ])
    }

    /// The statement that the proof's signature must be over if this reply is to be believed by `client` of
    /// `service`; none if the path has an impossible shape.
    #[must_use]
    pub fn statement(&self, service: &ServiceId, client: &ClientId) -> Option<(Digest, ServiceSignature)> {
        let ReplyProof::Certified { slot, path, signature } = &self.proof else { return None };
        let root = path.root_from(Reply::leaf(client, &self.about, &self.outcome))?;
        Some((Reply::block_statement(service, *slot, &root, path.count), *signature))
    }
}

/// An uncertified remark of a contact. It never settles a request that was sent: another contact may know better.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Hint {
    /// The contact's queues are full.
    #[error("the contact is busy")]
    Busy,
    /// The service has no key yet, or this replica is still fetching state.
    #[error("the contact is not ready yet")]
    NotReady,
    /// The request is larger than the service accepts.
    #[error("the request is larger than the {bytes_max} bytes the service accepts")]
    TooLarge {
        /// The limit of the service, in bytes.
        bytes_max: u32,
    },
    /// The request is malformed, for another service, or wrongly signed.
    #[error("the contact does not accept the request: {0}")]
    Unacceptable(String),
}

/// First words of a client, and its requests.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum ToContact {
    /// Always first.
    Hello {
        /// The service the client wants.
        service: ServiceId,
        /// [`WIRE_VERSION`] of the client.
        version: u16,
    },
    /// A signed request.
    Request(Request),
}

/// What a contact says.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum FromContact {
    /// Answer to `Hello`. Without a certificate the service has no key yet.
    Welcome {
        /// [`WIRE_VERSION`] of the contact.
        version: u16,
        /// Which channel keys and addresses are the service's.
        certificate: Option<EndpointCertificate>,
    },
    /// A certified reply.
    Reply(Reply),
    /// A remark.
    Hint {
        /// What it is about; none when that could not be read.
        about: Option<About>,
        /// The remark.
        hint: Hint,
    },
}

/// Which faults a service is built to survive.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum FaultModel {
    /// Machines stop. 2f+1 replicas.
    Crash,
    /// Machines do anything, but for a small trusted core. 2f+1 replicas.
    Hybrid,
    /// Machines do anything. 3f+1 replicas.
    Byzantine,
}

/// One address of the service and the key of the channel that answers there.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Contact {
    /// `host:port`.
    pub address: String,
    /// Key that the channel's handshake proves.
    pub key: PublicKey,
}

/// The contacts of an epoch.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Endpoints {
    /// Whose contacts.
    pub service: ServiceId,
    /// In which epoch.
    pub epoch: Epoch,
    /// Where and with which channel keys.
    pub contacts: Vec<Contact>,
    /// Which faults the service is built to survive.
    pub model: FaultModel,
    /// Agreed time of issue.
    pub issued: Timestamp,
    /// Agreed time after which clients no longer accept it.
    pub expires: Timestamp,
}

impl Endpoints {
    /// What the service key signs.
    #[must_use]
    pub fn statement(&self) -> Digest {
        Digest::of_value("SMRCLOUD-ENDPOINTS-V1", self)
    }
}

/// The contacts of an epoch under the service's signature: how a client trusts a channel without knowing the
/// membership.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct EndpointCertificate {
    /// The contacts.
    pub endpoints: Endpoints,
    /// The service's, over [`Endpoints::statement`].
    pub signature: ServiceSignature,
}

impl EndpointCertificate {
    /// What replies over a channel that it covers must be shown with, for a client that accepts `proofs`.
    #[must_use]
    pub fn proof(&self, proofs: &[ProofKind]) -> ProofKind {
        let truthful = self.endpoints.model == FaultModel::Crash;
        if truthful && proofs.contains(&ProofKind::Channel) {
            ProofKind::Channel
        } else {
            ProofKind::Certified
        }
    }

    /// Whether the certificate is `service`'s under `key`, holds at `now` and covers a channel with `channel` key.
    ///
    /// # Errors
    /// Which of these does not hold.
    pub fn check(
        &self,
        service: ServiceId,
        key: &ServiceKey,
        channel: &PublicKey,
        now: Timestamp,
    ) -> Result<(), BadCertificate> {
        if self.endpoints.service != service {
            return Err(BadCertificate::OtherService);
        }
        if now > self.endpoints.expires {
            return Err(BadCertificate::Expired);
        }
        if !self.endpoints.contacts.iter().any(|contact| contact.key == *channel) {
            return Err(BadCertificate::OtherChannel);
        }
        if key.verify(&self.endpoints.statement(), &self.signature) {
            Ok(())
        } else {
            Err(BadCertificate::Signature)
        }
    }
}

/// Why a contact is not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCertificate {
    /// For another service.
    #[error("the contact's certificate is for another service")]
    OtherService,
    /// Past its time.
    #[error("the contact's certificate has expired; check this machine's clock")]
    Expired,
    /// The channel's key is not among the certified ones.
    #[error("the channel's key is not among the service's certified ones")]
    OtherChannel,
    /// Not the service's signature.
    #[error("the certificate is not signed by the service")]
    Signature,
}

/// All that a client needs: public, constant, fit for a file, a mail or a wall.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// The service's name, for people.
    pub name: String,
    /// Which service.
    pub service: ServiceId,
    /// The one key that verifies every reply, for ever.
    pub service_key: ServiceKey,
    /// Some addresses of it, `host:port`; any one that answers will do.
    pub endpoints: Vec<String>,
    /// Kinds of proof that its clients accept.
    pub proofs: Vec<ProofKind>,
}

/// Kinds of [`ReplyProof`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofKind {
    /// [`ReplyProof::Certified`].
    Certified,
    /// [`ReplyProof::Channel`].
    Channel,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    fn service() -> ServiceId {
        ServiceId(Digest::of("TEST", &[b"service"]))
    }

    fn commands(numbers: &[u64]) -> Call {
        let commands =
            numbers.iter().map(|n| Command { number: RequestNumber(*n), bytes: vec![7] }).collect();
        Call::Commands { session: SessionId(3), access: Access::Ordered, commands }
    }

    #[test]
    fn a_request_holds_for_its_service_and_content_only() {
        let verifier = Verifier::new(8);
        let key = IdentityKey::from_seed(&[1; 32]);
        let request = Request::sign(&key, service(), commands(&[1, 2]));
        assert_eq!(request.check(service(), &verifier), Ok(()));
        let elsewhere = ServiceId(Digest::of("TEST", &[b"other"]));
        assert_eq!(request.check(elsewhere, &verifier), Err(BadRequest::OtherService));
        let altered = Request { call: commands(&[1, 3]), ..request };
        assert_eq!(altered.check(service(), &verifier), Err(BadRequest::Signature));
    }

    #[test]
    fn numbers_must_ascend_from_one_and_lists_keep_their_limits() {
        let verifier = Verifier::new(8);
        let key = IdentityKey::from_seed(&[1; 32]);
        let refused = |call| Request::sign(&key, service(), call).check(service(), &verifier);
        assert_eq!(refused(commands(&[0])), Err(BadRequest::Numbers));
        assert_eq!(refused(commands(&[2, 2])), Err(BadRequest::Numbers));
        assert_eq!(refused(commands(&[])), Err(BadRequest::CommandCount));
        assert_eq!(refused(Call::Open { nonce: 1, window: 0 }), Err(BadRequest::Window));
    }

    #[test]
    fn a_frame_reads_back_and_a_damaged_one_does_not_pass_for_another() {
        let key = IdentityKey::from_seed(&[1; 32]);
        let frame = ToContact::Request(Request::sign(&key, service(), commands(&[1])));
        let bytes = encode(&frame);
        assert_eq!(decode::<ToContact>(&bytes, 1 << 16), Ok(frame.clone()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_ne!(decode::<ToContact>(&damaged, 1 << 16), Ok(frame.clone()));
        }
    }
}
