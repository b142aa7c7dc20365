//! Digests, identity signatures, threshold BLS, key generation and Merkle proofs.
//!
//! Knows nothing of replication: participants are indexes, statements are digests. Nothing here draws chance;
//! whoever needs a secret passes in 32 bytes from a good source. Layout:
//!
//! - [`boot`]: what a TPM says of a boot, and whether it said so;
//! - [`digest`]: tagged SHA-256, the only hash a signature covers;
//! - [`keys`]: Ed25519 identity keys and a bounded memo of what was verified;
//! - [`merkle`]: trees over digests, and paths that prove a leaf;
//! - [`threshold`]: shares of one BLS12-381 key, and the service signature that a client checks;
//! - [`dkg`]: key generation without a dealer, as commands in an agreed order.

pub mod boot;
mod curve;
pub mod digest;
pub mod dkg;
mod hex;
pub mod keys;
pub mod known_bugs;
pub mod merkle;
pub mod threshold;

pub use digest::Digest;
pub use hex::BadHex;
pub use keys::{IdentityKey, PublicKey, Signature, Verifier};
