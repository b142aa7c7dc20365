//! Frames on a channel: the number of bytes as 32-bit little endian, then the bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Memory given to a frame before its bytes have come.
const BYTES_AT_FIRST: usize = 16 << 10;

/// The next frame, or none if the other end closed the channel between two frames. Not safe to cancel: a frame
/// half read is lost.
///
/// # Errors
/// The channel's own; `InvalidData` for a frame of more than `bytes_max` bytes; `UnexpectedEof` if the channel ends
/// inside a frame.
pub async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0u8; 4];
    let first = reader.read(&mut length).await?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut length[first..]).await?;
    let length = u32::from_le_bytes(length);
    if u64::from(length) > bytes_max as u64 {
        let text = format!("a frame of {length} bytes, but at most {bytes_max} are accepted");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // A length alone buys little memory; the rest comes as the bytes do.
    let mut bytes = Vec::with_capacity(BYTES_AT_FIRST.min(length as usize));
    let read = reader.take(length.into()).read_to_end(&mut bytes).await?;
    if read < length as usize {
        let text = format!("the channel ended after {read} of the {length} bytes of a frame");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(Some(bytes))
}

/// Writes one frame; does not flush.
///
/// # Errors
/// The channel's own; `InvalidInput` for 4 GiB or more.
pub async fn write_frame<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of 4 GiB or more"))?;
    writer.write_all(&length.to_le_bytes()).await?;
    writer.write_all(bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_read_back_in_order_and_then_end() {
        let mut bytes = Vec::new();
        for frame in [&b"one"[..], b"", b"three"] {
            write_frame(&mut bytes, frame).await.unwrap();
        }
        let mut reader = &bytes[..];
        assert_eq!(read_frame(&mut reader, 5).await.unwrap(), Some(b"one".to_vec()));
        assert_eq!(read_frame(&mut reader, 5).await.unwrap(), Some(vec![]));
        assert_eq!(read_frame(&mut reader, 5).await.unwrap(), Some(b"three".to_vec()));
        assert_eq!(read_frame(&mut reader, 5).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_cut_short_is_an_error() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, b"four").await.unwrap();
        let too_long = read_frame(&mut &bytes[..], 3).await.unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::InvalidData);
        for end in 1..bytes.len() {
            let cut = read_frame(&mut &bytes[..end], 9).await.unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof, "cut after {end} bytes");
        }
        let boast = u32::MAX.to_le_bytes();
        assert!(read_frame(&mut &boast[..], usize::MAX).await.is_err());
    }
}
