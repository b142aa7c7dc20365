//! Keys of tables, as bytes in the order of the keys, so that pages are searched without decoding any.

use std::borrow::Cow;

use smr_crypto::PublicKey;
use smr_wire::ClientId;

/// A key, or what a key can be looked up by: `str` for `String`, `[u8]` for `Vec<u8>`.
pub trait KeyBytes {
    /// The key.
    type Of: Key;

    /// Its encoding. Keys compare as their encodings do, byte by byte, and different keys have different ones.
    fn key_bytes(&self) -> Cow<'_, [u8]>;
}

/// What a [`super::Table`] may be keyed by.
pub trait Key: KeyBytes<Of = Self> + Sized + Send + Sync + 'static {
    /// The key that these bytes are the encoding of.
    fn from_key_bytes(bytes: &[u8]) -> Option<Self>;
}

impl KeyBytes for [u8] {
    type Of = Vec<u8>;

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl<Q: KeyBytes + ?Sized> KeyBytes for &Q {
    type Of = Q::Of;

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Q::key_bytes(self)
    }
}

impl KeyBytes for Vec<u8> {
    type Of = Vec<u8>;

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl Key for Vec<u8> {
    fn from_key_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
}

impl KeyBytes for str {
    type Of = String;

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl KeyBytes for String {
    type Of = String;

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl Key for String {
    fn from_key_bytes(bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl<const N: usize> KeyBytes for [u8; N] {
    type Of = [u8; N];

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn from_key_bytes(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
}

impl KeyBytes for ClientId {
    type Of = ClientId;

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        self.0.0.key_bytes()
    }
}

impl Key for ClientId {
    fn from_key_bytes(bytes: &[u8]) -> Option<ClientId> {
        <[u8; 32]>::from_key_bytes(bytes).map(|bytes| ClientId(PublicKey(bytes)))
    }
}

/// The only key of a table with one entry.
impl KeyBytes for () {
    type Of = ();

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&[])
    }
}

impl Key for () {
    fn from_key_bytes(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

macro_rules! whole_numbers {
    ($($number:ty, $lowest:expr;)*) => {$(
        impl KeyBytes for $number {
            type Of = $number;

            fn key_bytes(&self) -> Cow<'_, [u8]> {
                // Big endian, the lowest number as zero.
                Cow::Owned((self ^ $lowest).to_be_bytes().to_vec())
            }
        }

        impl Key for $number {
            fn from_key_bytes(bytes: &[u8]) -> Option<$number> {
                Some(<$number>::from_be_bytes(bytes.try_into().ok()?) ^ $lowest)
            }
        }
    )*};
}

whole_numbers! {
    u8, 0; u16, 0; u32, 0; u64, 0; u128, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
}

/// Ends the first half of a pair. Below what a zero in it becomes, which is below every other byte.
const END: [u8; 2] = [0, 1];
/// A zero in the first half of a pair.
const ZERO: [u8; 2] = [0, 255];

impl<A: KeyBytes, B: KeyBytes> KeyBytes for (A, B) {
    type Of = (A::Of, B::Of);

    fn key_bytes(&self) -> Cow<'_, [u8]> {
        let (first, second) = (self.0.key_bytes(), self.1.key_bytes());
        let mut bytes = Vec::with_capacity(first.len() + END.len() + second.len());
        for byte in first.iter() {
            if *byte == 0 { bytes.extend(ZERO) } else { bytes.push(*byte) }
        }
        bytes.extend(END);
        bytes.extend_from_slice(&second);
        Cow::Owned(bytes)
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn from_key_bytes(bytes: &[u8]) -> Option<(A, B)> {
        let (mut first, mut rest) = (Vec::new(), bytes);
        loop {
            match rest {
                [0, 1, second @ ..] => {
                    return Some((A::from_key_bytes(&first)?, B::from_key_bytes(second)?));
                }
                [0, 255, after @ ..] => {
                    first.push(0);
                    rest = after;
                }
                [0, ..] | [] => return None,
                [byte, after @ ..] => {
                    first.push(*byte);
                    rest = after;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<K: Key + Ord + Clone + std::fmt::Debug>(mut keys: Vec<K>) {
        keys.sort();
        keys.dedup();
        for pair in keys.windows(2) {
            assert!(pair[0].key_bytes() < pair[1].key_bytes(), "{pair:?}");
        }
        for key in keys {
            assert_eq!(K::from_key_bytes(&key.key_bytes()), Some(key));
        }
    }

    #[test]
    fn encodings_are_in_the_order_of_the_keys_and_read_back() {
        let numbers = [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX];
        in_order(numbers.to_vec());
        in_order(vec![0_u32, 1, 255, 256, u32::MAX]);
        let words = ["", "\0", "\0\0", "\0\u{1}", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "\u{7f}"];
        in_order(words.map(str::to_owned).to_vec());
        let pairs = |first: &str| words.map(|second| (first.to_owned(), second.to_owned()));
        in_order(words.iter().flat_map(|first| pairs(first)).collect());
        let pairs = |first: i64| words.map(|second| (first, second.to_owned()));
        in_order(numbers.iter().flat_map(|first| pairs(*first)).collect());
    }

    #[test]
    fn bytes_that_are_no_encoding_are_refused() {
        assert_eq!(u16::from_key_bytes(&[1]), None);
        assert_eq!(String::from_key_bytes(&[255]), None);
        for bad in [&[][..], &[1], &[0], &[0, 2], &[1, 0, 255]] {
            assert_eq!(<(Vec<u8>, Vec<u8>)>::from_key_bytes(bad), None, "{bad:?}");
        }
    }
}
