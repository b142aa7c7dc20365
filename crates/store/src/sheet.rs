//! A sheet: one sector at a fixed place of a file, which says what the file is and proves that it says so.
//!
//! ```text
//!   magic (8) | crc (4) | version (4) | length (4) | body, borsh | zeros up to 512
//! ```

use borsh::{BorshDeserialize, BorshSerialize};

/// Length of a sheet: a sector of most disks.
pub(crate) const SHEET_BYTES: usize = 512;

/// The version of every file here.
pub(crate) const VERSION: u32 = 2;

const HEAD_BYTES: usize = 20;

/// What can stand on a sheet.
pub(crate) trait Sheet: BorshSerialize + BorshDeserialize {
    /// Tells sheets of one kind from all else.
    const MAGIC: [u8; 8];
}

/// Why a sheet is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SheetFault {
    Destroyed,
    Version(u32),
}

pub(crate) fn encode<S: Sheet>(sheet: &S) -> Vec<u8> {
    let body = borsh::to_vec(sheet).expect("memory takes every byte");
    assert!(body.len() <= SHEET_BYTES - HEAD_BYTES, "a sheet of {} bytes", body.len());
    let mut bytes = Vec::with_capacity(SHEET_BYTES);
    bytes.extend_from_slice(&S::MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).expect("below a sector").to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes.resize(SHEET_BYTES, 0);
    let crc = checksum(&bytes);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn decode<S: Sheet>(bytes: &[u8]) -> Result<S, SheetFault> {
    let bytes = bytes.get(..SHEET_BYTES).ok_or(SheetFault::Destroyed)?;
    if bytes[..8] != S::MAGIC || word(bytes, 8) != checksum(bytes) {
        return Err(SheetFault::Destroyed);
    }
    let version = word(bytes, 12);
    if version != VERSION {
        return Err(SheetFault::Version(version));
    }
    let length = word(bytes, 16) as usize;
    let body = bytes.get(HEAD_BYTES..HEAD_BYTES.saturating_add(length)).ok_or(SheetFault::Destroyed)?;
    S::try_from_slice(body).map_err(|_| SheetFault::Destroyed)
}

/// Over the whole sector but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..8]), &bytes[12..SHEET_BYTES])
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn double(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(BorshSerialize, BorshDeserialize, PartialEq, Debug)]
    struct Note(u64);

    impl Sheet for Note {
        const MAGIC: [u8; 8] = *b"a note..";
    }

    #[test]
    fn every_flipped_bit_of_a_sheet_destroys_it() {
        let whole = encode(&Note(7));
        assert_eq!(decode::<Note>(&whole), Ok(Note(7)));
        for bit in 0..SHEET_BYTES * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<Note>(&flipped), Err(SheetFault::Destroyed), "bit {bit}");
        }
        assert_eq!(decode::<Note>(&whole[..511]), Err(SheetFault::Destroyed));
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut sheet = encode(&Note(7));
        sheet[12..16].copy_from_slice(&9_u32.to_le_bytes());
        let crc = checksum(&sheet);
        sheet[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode::<Note>(&sheet), Err(SheetFault::Version(9)));
    }
}
