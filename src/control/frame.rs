//! Frames: a tag, a bounded length, a payload.

use std::io;

use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::StreamReader;
use zeroize::Zeroizing;

/// Largest message, in bytes: a page of hits or a package with all versions that are shown fits many times.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Largest piece of an archive in one frame, in bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 10;

// An envelope travels as one chunk.
const _: () = assert!(ggen_protocols::limits::ENVELOPE_BYTES_MAX <= CHUNK_BYTES_MAX);

const TAG_MESSAGE: u8 = 1;
const TAG_CHUNK: u8 = 2;
const TAG_END: u8 = 3;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// JSON.
    Message(Vec<u8>),
    /// The next bytes of an archive, or an envelope.
    Chunk(Bytes),
    /// No more chunks come.
    End,
}

/// Reads the next frame.
///
/// # Errors
/// `UnexpectedEof` if the other side went away, `InvalidData` for what no side of ours sends.
pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let tag = reader.read_u8().await?;
    let length = reader.read_u32_le().await?;
    let length_max = match tag {
        TAG_MESSAGE => MESSAGE_BYTES_MAX,
        TAG_CHUNK => CHUNK_BYTES_MAX,
        TAG_END => 0,
        _ => return Err(invalid(format!("no frame has the tag {tag}"))),
    };
    if usize::try_from(length).map_or(true, |length| length > length_max) {
        return Err(invalid(format!(
            "a frame of {length} bytes, at most {length_max} are allowed"
        )));
    }
    let mut payload = Vec::new();
    // Memory grows with what arrives, not with what the length claims.
    reader
        .take(u64::from(length))
        .read_to_end(&mut payload)
        .await?;
    if payload.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(match tag {
        TAG_MESSAGE => Frame::Message(payload),
        TAG_CHUNK => Frame::Chunk(payload.into()),
        _ => Frame::End,
    })
}

/// Reads a frame that must be a message of this type.
pub(super) async fn read_message<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    match read(reader).await? {
        Frame::Message(json) => parse(&json),
        other => Err(unexpected(&other)),
    }
}

/// Reads a chunk that must be a key's seed. It is in no other place of memory afterwards.
pub(super) async fn read_seed(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Zeroizing<[u8; 32]>> {
    let tag = reader.read_u8().await?;
    let length = reader.read_u32_le().await?;
    let mut seed = Zeroizing::new([0; 32]);
    if tag != TAG_CHUNK || usize::try_from(length) != Ok(seed.len()) {
        return Err(invalid("a key has 32 bytes".to_owned()));
    }
    reader.read_exact(seed.as_mut()).await?;
    Ok(seed)
}

/// Reads a message of this type out of its frame.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> io::Result<T> {
    serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))
}

/// Writes a message.
pub(super) async fn write_message(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MESSAGE_BYTES_MAX {
        return Err(invalid(format!("a message of {} bytes", json.len())));
    }
    write(writer, TAG_MESSAGE, &json).await
}

/// Writes bytes of any number as chunks.
pub(super) async fn write_chunks(
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> io::Result<()> {
    for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
        write(writer, TAG_CHUNK, chunk).await?;
    }
    Ok(())
}

/// Ends a row of chunks.
pub(super) async fn write_end(writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    write(writer, TAG_END, &[]).await
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), tag: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| invalid("a frame of 4 GiB".into()))?;
    writer.write_u8(tag).await?;
    writer.write_u32_le(length).await?;
    writer.write_all(payload).await?;
    writer.flush().await
}

/// The bytes of the chunks up to the end frame. If the other side goes away before that, reading fails: what
/// arrived is never taken for the whole.
pub(super) fn body<R: AsyncRead + Unpin + Send>(reader: R) -> impl AsyncRead + Unpin + Send {
    let chunks = stream::try_unfold(reader, |mut reader| async move {
        match read(&mut reader).await? {
            Frame::Chunk(chunk) => Ok(Some((chunk, reader))),
            Frame::End => Ok(None),
            other => Err(unexpected(&other)),
        }
    });
    StreamReader::new(Box::pin(chunks))
}

pub(super) fn unexpected(frame: &Frame) -> io::Error {
    let what = match frame {
        Frame::Message(_) => "a message",
        Frame::Chunk(_) => "a chunk",
        Frame::End => "an end",
    };
    invalid(format!("{what} came where none belongs"))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_body_reads_what_was_written() {
        let content = vec![7; CHUNK_BYTES_MAX * 2 + 5];
        let mut bytes = Vec::new();
        write_chunks(&mut bytes, &content).await.unwrap();
        write_end(&mut bytes).await.unwrap();
        let mut read = Vec::new();
        body(&bytes[..]).read_to_end(&mut read).await.unwrap();
        assert!(read == content);
    }

    #[tokio::test]
    async fn a_body_without_its_end_is_an_error_wherever_it_breaks_off() {
        let mut bytes = Vec::new();
        write_chunks(&mut bytes, b"some content").await.unwrap();
        write_end(&mut bytes).await.unwrap();
        for length in 0..bytes.len() {
            let mut read = Vec::new();
            let result = body(&bytes[..length]).read_to_end(&mut read).await;
            let kind = result.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{length}");
        }
    }

    #[tokio::test]
    async fn frames_over_their_bound_or_of_no_kind_are_refused_unread() {
        for (tag, length) in [
            (TAG_CHUNK, CHUNK_BYTES_MAX as u32 + 1),
            (TAG_MESSAGE, u32::MAX),
            (TAG_END, 1),
            (0, 0),
            (9, 1),
        ] {
            let mut bytes = vec![tag];
            bytes.extend(length.to_le_bytes());
            let kind = read(&mut &bytes[..]).await.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidData, "{tag} {length}");
        }
    }
}
