//! The six commands of a TPM that are needed, as bytes, and what is read from its responses.
//! Source: Trusted Platform Module Library, family 2.0, part 3 (commands).

use smr_crypto::Digest;
use smr_crypto::boot::{
    AttestationKey, COUNTER_ATTRIBUTES, COUNTER_INDEX, ENDORSEMENT, EcdsaSignature, Evidence, counter_area,
    key_area,
};

/// Bytes of a response at most; the largest here is that of a new key.
pub(super) const RESPONSE_BYTES_MAX: usize = 4096;

/// Bytes of tag, length and code.
pub(super) const HEADER_BYTES: usize = 10;

/// The response code for a handle that means nothing yet.
pub(super) const HANDLE_UNKNOWN: u32 = 0x18b;

/// `TPM_RC_NV_DEFINED`: the counter is there already.
pub(super) const NV_DEFINED: u32 = 0x14c;

const OWNER: u32 = 0x4000_0001;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

/// An authorization with an empty password.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// What a TPM is to do.
pub(super) enum Command {
    /// Tell what the counter is.
    ReadCounterPublic,
    /// Make the counter.
    DefineCounter,
    /// Add one to it.
    Increment,
    /// Make the attestation key, from the seed it is always made from.
    CreateKey,
    /// Certify the counter beside a statement.
    Certify {
        /// Handle of the attestation key.
        key: u32,
        /// What of.
        statement: Digest,
    },
    /// Forget the attestation key.
    Flush(u32),
}

impl Command {
    /// Reads on after "does not".
    pub(super) fn name(&self) -> &'static str {
        match self {
            Command::ReadCounterPublic => "tell of its counter",
            Command::DefineCounter => "make a counter",
            Command::Increment => "count up",
            Command::CreateKey => "make an attestation key",
            Command::Certify { .. } => "certify the counter",
            Command::Flush(_) => "forget a key",
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Command::ReadCounterPublic => encode(0x169, &[COUNTER_INDEX], 0, &[]),
            Command::DefineCounter => {
                let parameters = [&[0, 0], &sized(&counter_area(COUNTER_ATTRIBUTES))[..]].concat();
                encode(0x12a, &[OWNER], 1, &parameters)
            }
            Command::Increment => encode(0x134, &[COUNTER_INDEX, COUNTER_INDEX], 1, &[]),
            Command::CreateKey => {
                // No password and no data; then the template; no outside data, and no registers at creation.
                let parameters = [&sized(&[0; 4])[..], &sized(&key_area(None)), &[0; 2], &[0; 4]].concat();
                encode(0x131, &[ENDORSEMENT], 1, &parameters)
            }
            Command::Certify { key, statement } => {
                // By the scheme that the key has; eight bytes from the first on.
                let parameters = [&sized(&statement.0)[..], &[0, 0x10], &[0, 8], &[0, 0]].concat();
                encode(0x184, &[*key, COUNTER_INDEX, COUNTER_INDEX], 2, &parameters)
            }
            Command::Flush(handle) => encode(0x165, &[], 0, &handle.to_be_bytes()),
        }
    }
}

fn encode(code: u32, handles: &[u32], authorizations: usize, parameters: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
    if authorizations > 0 {
        let all = EMPTY_PASSWORD.repeat(authorizations);
        body.extend(u32::try_from(all.len()).expect("two of them at most").to_be_bytes());
        body.extend(all);
    }
    body.extend(parameters);
    let tag = if authorizations > 0 { SESSIONS } else { NO_SESSIONS };
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("commands are short");
    [&tag.to_be_bytes()[..], &length.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("what a TPM is given is short");
    [&length.to_be_bytes()[..], content].concat()
}

/// The length of a response, from its header.
pub(super) fn length(header: &[u8]) -> Option<usize> {
    let length = usize::try_from(Reader(header.get(2..)?).u32()?).ok()?;
    (length >= HEADER_BYTES).then_some(length)
}

/// Whether a response code says: later.
pub(super) fn is_busy(code: u32) -> bool {
    const RETRY: u32 = 0x922;
    const TESTING: u32 = 0x90a;
    const WRITES_TOO_OFTEN: u32 = 0x920;
    [RETRY, TESTING, WRITES_TOO_OFTEN].contains(&code)
}

/// A response.
pub(super) struct Answer {
    /// 0 if the command was done.
    pub(super) code: u32,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
        if length(bytes)? != bytes.len() {
            return None;
        }
        let mut reader = Reader(&bytes[6..]);
        Some(Answer { code: reader.u32()?, body: reader.0.to_vec() })
    }

    /// The handle of a new key, and the key.
    pub(super) fn key(&self) -> Option<(u32, AttestationKey)> {
        let mut reader = Reader(&self.body);
        let handle = reader.u32()?;
        let _length_of_parameters = reader.u32()?;
        let mut area = Reader(reader.sized()?);
        // All that stands before the point is as it is in the template, whose point is empty: two lengths.
        let template = key_area(None);
        let fixed = &template[..template.len() - 4];
        (area.take(fixed.len())? == fixed).then_some(())?;
        Some((handle, AttestationKey(area.two_numbers()?)))
    }

    /// What was certified with `key`. Only the numbers that vary are read: whether the rest is as it should be shows when it
    /// is verified.
    pub(super) fn evidence(&self, key: AttestationKey) -> Option<Evidence> {
        let mut reader = Reader(&self.body);
        let _length_of_parameters = reader.u32()?;
        let mut attested = Reader(reader.sized()?);
        let _magic_and_type = attested.take(6)?;
        let (_signer, _statement) = (attested.sized()?, attested.sized()?);
        let (clock_ms, resets, restarts) = (attested.u64()?, attested.u32()?, attested.u32()?);
        let (safe, firmware) = (attested.take(1)?[0], attested.u64()?);
        let (_index, _offset) = (attested.sized()?, attested.take(2)?);
        let counter = Reader(attested.sized()?).u64()?;
        let _scheme_and_hash = reader.take(4)?;
        let signature = EcdsaSignature(reader.two_numbers()?);
        Some(Evidence { key, counter, clock_ms, resets, restarts, safe, firmware, signature })
    }
}

/// Takes fields from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// What stands behind its 16-bit length.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(length.into())
    }

    /// Two numbers of at most 32 bytes, of which a TPM may leave out zeros at the front.
    fn two_numbers(&mut self) -> Option<[u8; 64]> {
        let mut both = [0; 64];
        for half in both.chunks_mut(32) {
            let number = self.sized()?;
            let zeros = half.len().checked_sub(number.len())?;
            half[zeros..].copy_from_slice(number);
        }
        Some(both)
    }
}
