//! Ids, and what crosses between a client and a service, with one bounded encoding.
//!
//! - [`ids`]: the newtypes that everything above speaks in;
//! - [`codec`]: bytes to values and back, refusing what is too long, too short or not canonical;
//! - [`client`]: requests, replies and their proofs, the service descriptor, the endpoint certificate.

pub mod client;
pub mod codec;
pub mod ids;
pub mod known_bugs;

pub use client::{
    Access, Call, Command, Descriptor, EndpointCertificate, Endpoints, FromContact, Hint, Outcome, Refusal,
    Reply, ReplyProof, Request, ToContact,
};
pub use codec::{decode, encode};
pub use ids::{
    ClientId, Epoch, Generation, ReplicaId, RequestNumber, ServiceId, SessionId, Slot, Timestamp, View,
};
