//! Tagged SHA-256. Every statement that is signed or compared has its own tag, so no two kinds of statement
//! can be mistaken for each other, and each part is preceded by its length, so no two lists of parts collide.

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::Digest as _;

/// 32 bytes of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Digest of `parts` under `tag`: SHA-256 of `len(tag) tag (len(part) part)*`, lengths as 64-bit little endian.
    #[must_use]
    pub fn of(tag: &str, parts: &[&[u8]]) -> Digest {
        let mut hasher = Hasher::new(tag);
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    }

    /// Digest of the canonical encoding of `value` under `tag`, as [`Digest::of`] with one part.
    ///
    /// # Panics
    /// Never: the encoding of a value in memory cannot fail.
    #[must_use]
    pub fn of_value<T: BorshSerialize + ?Sized>(tag: &str, value: &T) -> Digest {
        let bytes = borsh::to_vec(value).expect("writing to memory cannot fail");
        Digest::of(tag, &[&bytes])
    }

    /// Plain SHA-256 of the concatenation of `parts`: no tag, no lengths. For formats that are fixed elsewhere.
    #[must_use]
    pub fn plain(parts: &[&[u8]]) -> Digest {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

crate::hex::hex_bytes!(Digest, 32);

/// Builds a [`Digest::of`] part by part.
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Begins a digest under `tag`.
    #[must_use]
    pub fn new(tag: &str) -> Hasher {
        let mut hasher = Hasher(sha2::Sha256::new());
        hasher.part(tag.as_bytes());
        hasher
    }

    /// Adds one part, preceded by its length.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Ends the digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn the_border_between_parts_and_the_tag_count() {
        assert_ne!(Digest::of("T", &[b"ab", b"c"]), Digest::of("T", &[b"a", b"bc"]));
        assert_ne!(Digest::of("T", &[b"a"]), Digest::of("U", &[b"a"]));
        assert_ne!(Digest::of("T", &[b"a"]), Digest::of("T", &[b"a", b""]));
    }

    #[test]
    fn plain_is_sha_256() {
        let abc = Digest::plain(&[b"a", b"bc"]);
        assert_eq!(abc.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
