//! One bounded encoding: borsh, which is canonical, fixed-width and refuses trailing bytes. A list's memory is
//! bounded by the bytes that carry it, and whoever reads a frame bounds those, so decoding cannot be made to
//! allocate more than it was sent.
//!
//! What is signed or hashed is the digest of an encoding; since there is one encoding of each value, a decoded
//! value has the digest its sender meant.

use borsh::{BorshDeserialize, BorshSerialize};

/// The bytes of `value`.
///
/// # Panics
/// Never: writing to memory cannot fail.
#[must_use]
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory cannot fail")
}

/// The value that `bytes` are the one encoding of.
///
/// # Errors
/// [`CodecError::TooLong`] above `bytes_max`, [`CodecError::Malformed`] for anything that is not exactly one value.
pub fn decode<T: BorshDeserialize>(bytes: &[u8], bytes_max: usize) -> Result<T, CodecError> {
    if bytes.len() > bytes_max {
        return Err(CodecError::TooLong { bytes: bytes.len(), bytes_max });
    }
    T::try_from_slice(bytes).map_err(|error| CodecError::Malformed(error.to_string()))
}

/// Bytes that are not a value of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the limit allows.
    #[error("{bytes} bytes, but at most {bytes_max} are accepted here")]
    TooLong {
        /// Bytes that came.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not the encoding of such a value.
    #[error("not a valid encoding: {0}")]
    Malformed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_missing_and_surplus_bytes_are_refused() {
        let bytes = encode(&(1u64, vec![1u8, 2]));
        assert_eq!(decode::<(u64, Vec<u8>)>(&bytes, 100), Ok((1, vec![1, 2])));
        assert!(decode::<(u64, Vec<u8>)>(&bytes[1..], 100).is_err());
        assert!(decode::<(u64, Vec<u8>)>(&[&bytes[..], &[0]].concat(), 100).is_err());
        assert!(matches!(decode::<(u64, Vec<u8>)>(&bytes, 5), Err(CodecError::TooLong { .. })));
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        let bytes = u32::MAX.to_le_bytes();
        assert!(decode::<Vec<u64>>(&bytes, 100).is_err());
    }
}
