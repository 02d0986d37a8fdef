//! Requests and responses on a stream: four bytes of length, then the canonical bytes.

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use ggen_protocols::limits;
use ggen_protocols::message::{Request, Response};
use libp2p::StreamProtocol;
use libp2p::request_response;

use crate::metrics::Traffic;

/// What a length takes.
const FRAME_BYTES: usize = 4;

/// Reads and writes what `ggen_protocols::message` defines; keeps its bounds before it allocates.
#[derive(Debug, Clone, Default)]
pub(super) struct Codec {
    traffic: Arc<Traffic>,
}

impl Codec {
    /// One that counts bytes.
    pub(super) fn counting(traffic: Arc<Traffic>) -> Self {
        Self { traffic }
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, limits::REQUEST_BYTES_MAX, &self.traffic).await?;
        Request::decode(&bytes).map_err(refuse)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read(io, limits::RESPONSE_BYTES_MAX, &self.traffic).await?;
        Response::decode(&bytes).map_err(refuse)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request.encode(), &self.traffic).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response.encode(), &self.traffic).await
    }
}

fn refuse(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Reads one message; memory grows with the bytes that come, not with the length that is claimed.
async fn read<T: AsyncRead + Unpin>(
    io: &mut T,
    bytes_max: usize,
    traffic: &Traffic,
) -> io::Result<Vec<u8>> {
    let mut length = [0; FRAME_BYTES];
    io.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        let error = format!("a message of {length} bytes, at most {bytes_max} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut bytes = Vec::new();
    io.take(length as u64).read_to_end(&mut bytes).await?;
    traffic.received(FRAME_BYTES + bytes.len());
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

async fn write<T: AsyncWrite + Unpin>(
    io: &mut T,
    bytes: &[u8],
    traffic: &Traffic,
) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(refuse)?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(bytes).await?;
    traffic.sent(FRAME_BYTES + bytes.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::executor::block_on;
    use futures::io::Cursor;
    use ggen_protocols::id::RecordId;
    use libp2p::request_response::Codec as _;

    use super::*;

    const PROTOCOL: StreamProtocol = StreamProtocol::new(ggen_protocols::SYNC_PROTOCOL);

    fn read_request(bytes: &[u8]) -> io::Result<Request> {
        block_on(Codec::default().read_request(&PROTOCOL, &mut Cursor::new(bytes)))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let request = Request::Records(vec![RecordId::from_bytes([5; 32]); 9]);
        let mut bytes = Cursor::new(Vec::new());
        block_on(Codec::default().write_request(&PROTOCOL, &mut bytes, request.clone())).unwrap();
        let bytes = bytes.into_inner();
        assert_eq!(read_request(&bytes).unwrap(), request);
        for cut in 0..bytes.len() {
            let error = read_request(&bytes[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }

        let response = Response::Busy(500);
        let mut bytes = Cursor::new(Vec::new());
        block_on(Codec::default().write_response(&PROTOCOL, &mut bytes, response.clone())).unwrap();
        let mut bytes = Cursor::new(bytes.into_inner());
        let read = block_on(Codec::default().read_response(&PROTOCOL, &mut bytes)).unwrap();
        assert_eq!(read, response);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_unread() {
        for length in [limits::REQUEST_BYTES_MAX as u32 + 1, u32::MAX] {
            let error = read_request(&length.to_be_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn bytes_that_no_peer_sends_are_refused() {
        // Number 99, and number 6 in five bytes where one would do.
        for wrong in [&[0x82, 0x18, 99, 0][..], &[0x82, 0x1a, 0, 0, 0, 6, 0]] {
            let mut bytes = (wrong.len() as u32).to_be_bytes().to_vec();
            bytes.extend(wrong);
            let error = read_request(&bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
