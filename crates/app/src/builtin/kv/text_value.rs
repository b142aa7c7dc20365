//! A value of the store, which is nothing but its bytes.

use std::io::{Read, Result, Write};

use borsh::{BorshDeserialize, BorshSerialize};

/// Encoded without its length: it is all that is there.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Text(pub(super) Vec<u8>);

impl BorshSerialize for Text {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<()> {
        writer.write_all(&self.0)
    }
}

impl BorshDeserialize for Text {
    fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Text> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(Text(bytes))
    }
}
