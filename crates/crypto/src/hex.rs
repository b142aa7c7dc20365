//! Fixed-size byte strings that people and JSON see as lower-case hexadecimal digits.

/// Writes `bytes` as lower-case hexadecimal digits.
pub(crate) fn write(f: &mut std::fmt::Formatter<'_>, bytes: &[u8]) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `N` bytes from `2 * N` hexadecimal digits of either case.
pub(crate) fn read<const N: usize>(text: &str) -> Result<[u8; N], BadHex> {
    let wrong = BadHex { expected: N * 2, found: text.len() };
    if text.len() != N * 2 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(wrong);
    }
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong)?;
    }
    Ok(bytes)
}

/// A text that is not the hexadecimal form of the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found} characters")]
pub struct BadHex {
    expected: usize,
    found: usize,
}

/// Gives a newtype over `[u8; N]` its hexadecimal face: `Display`, `Debug`, `FromStr`, and serde as a string.
macro_rules! hex_bytes {
    ($name:ident, $n:literal) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::hex::write(f, &self.0)
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                $crate::hex::write(f, &self.0[..4])?;
                write!(f, "..)")
            }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::hex::BadHex;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self($crate::hex::read::<$n>(text)?))
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hex_bytes;

#[cfg(test)]
mod tests {
    use crate::Digest;

    #[test]
    fn a_digest_reads_back_from_its_text() {
        let digest = Digest::of("TEST", &[b"x"]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn a_text_of_the_wrong_length_or_alphabet_is_refused() {
        assert!("abc".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
        assert!("+1".repeat(32).parse::<Digest>().is_err());
    }
}
