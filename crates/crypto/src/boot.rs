//! Evidence of a boot: a TPM 2.0 certifies, under a key that only it has, a statement of ours beside a counter that it only
//! counts up. Here is what it signs, rebuilt from the few numbers that vary, so nothing of a TPM's format is ever parsed
//! from outside; `node::trusted::tpm` asks for it.
//! Source: Trusted Platform Module Library, family 2.0, part 2 (structures) and part 3 (TPM2_NV_Certify).
//!
//! ```text
//!   attestation key     ECDSA on P-256, restricted: it signs only what the TPM itself says. Made from the
//!                       endorsement seed and a fixed template, so it is the same one after each boot.
//!   counter             an index whose public area says "counter": nobody can write it, only add one to it
//!   certified           TPMS_ATTEST: key, statement, clock, resets, firmware, index, value
//! ```
//!
//! Whether the key is that of a genuine TPM is not told by its signature: whoever compares it with what the machine's maker
//! or an earlier look at the machine says knows it.

use borsh::{BorshDeserialize, BorshSerialize};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// What a TPM certified, as the numbers that vary.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The key that signed.
    pub key: AttestationKey,
    /// The counter's value.
    pub counter: u64,
    /// Milliseconds that the TPM has been on, since its owner's last clearing.
    pub clock_ms: u64,
    /// Times that it was reset, which is a start of the machine.
    pub resets: u32,
    /// Times that it resumed.
    pub restarts: u32,
    /// Whether `clock_ms` has never been lower than what it told before. 0 or 1.
    pub safe: u8,
    /// Its firmware, in its maker's numbering.
    pub firmware: u64,
    /// ECDSA over all of it.
    pub signature: EcdsaSignature,
}

/// A point of P-256: its coordinates, each as 32 bytes, big endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct AttestationKey(pub [u8; 64]);

crate::hex::hex_bytes!(AttestationKey, 64);

/// An ECDSA signature: r and s, each as 32 bytes, big endian.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EcdsaSignature(pub [u8; 64]);

crate::hex::hex_bytes!(EcdsaSignature, 64);

/// Where the counter stands, among the handles that owners of machines may give away. It is made at the first boot.
pub const COUNTER_INDEX: u32 = 0x0180_5352;

/// The hierarchy that the attestation key belongs to: only there a TPM tells its resets and firmware in clear.
pub const ENDORSEMENT: u32 = 0x4000_000b;

/// Attributes of the counter when it is made: written and read with its own, empty, authorization, no lock-out, and of the
/// type that is only counted up.
pub const COUNTER_ATTRIBUTES: u32 = 0x0204_0014;

/// Set by the TPM once it was counted up for the first time.
const WRITTEN: u32 = 0x2000_0000;

/// Attributes of the attestation key: fixed to this TPM and parent, made by it from its seed, used with its empty
/// authorization without lock-out, restricted, for signatures.
const KEY_ATTRIBUTES: u32 = 0x0005_0472;

const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
const ECC: u16 = 0x0023;
const P256: u16 = 0x0003;

/// "TPM" after a byte that no hash of a foreign document begins with by request: a restricted key signs nothing else.
const GENERATED: u32 = 0xff54_4347;
const ATTEST_NV: u16 = 0x8014;

impl Evidence {
    /// Whether the TPM certified `statement` with these numbers.
    #[must_use]
    pub fn certifies(&self, statement: &Digest) -> bool {
        let point = [&[4], &self.key.0[..]].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(&self.certified(statement), &self.signature.0).is_ok()
    }

    /// What a TPM signs: TPMS_ATTEST for the whole of the counter.
    #[must_use]
    pub fn certified(&self, statement: &Digest) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend(GENERATED.to_be_bytes());
        bytes.extend(ATTEST_NV.to_be_bytes());
        sized(&mut bytes, &self.key.qualified_name());
        sized(&mut bytes, &statement.0);
        bytes.extend(self.clock_ms.to_be_bytes());
        bytes.extend(self.resets.to_be_bytes());
        bytes.extend(self.restarts.to_be_bytes());
        bytes.push(self.safe);
        bytes.extend(self.firmware.to_be_bytes());
        sized(&mut bytes, &name(&counter_area(COUNTER_ATTRIBUTES | WRITTEN)));
        bytes.extend(0u16.to_be_bytes());
        sized(&mut bytes, &self.counter.to_be_bytes());
        bytes
    }
}

impl AttestationKey {
    /// Its name under the hierarchy it belongs to, which is in everything that it signs; so that it is a key of this
    /// template is in there, too.
    fn qualified_name(&self) -> Vec<u8> {
        let name = name(&key_area(Some(self)));
        [&SHA256.to_be_bytes()[..], &Digest::plain(&[&ENDORSEMENT.to_be_bytes(), &name]).0].concat()
    }
}

/// TPMT_PUBLIC of the attestation key; without a point it is the template.
#[must_use]
pub fn key_area(point: Option<&AttestationKey>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(88);
    bytes.extend(ECC.to_be_bytes());
    bytes.extend(SHA256.to_be_bytes());
    bytes.extend(KEY_ATTRIBUTES.to_be_bytes());
    sized(&mut bytes, &[]);
    for algorithm in [NULL, ECDSA, SHA256, P256, NULL] {
        bytes.extend(algorithm.to_be_bytes());
    }
    let (x, y) = point.map_or((&[][..], &[][..]), |point| point.0.split_at(32));
    sized(&mut bytes, x);
    sized(&mut bytes, y);
    bytes
}

/// TPMS_NV_PUBLIC of the counter.
#[must_use]
pub fn counter_area(attributes: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(14);
    bytes.extend(COUNTER_INDEX.to_be_bytes());
    bytes.extend(SHA256.to_be_bytes());
    bytes.extend(attributes.to_be_bytes());
    sized(&mut bytes, &[]);
    bytes.extend(8u16.to_be_bytes());
    bytes
}

/// The name by which a TPM means something with this public area.
fn name(area: &[u8]) -> Vec<u8> {
    [&SHA256.to_be_bytes()[..], &Digest::plain(&[area]).0].concat()
}

/// Appends `content` after its length.
fn sized(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = u16::try_from(content.len()).expect("what a TPM signs is short");
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
}
