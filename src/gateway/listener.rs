//! A listener whose connections are bounded in number, and in how long they may keep silent.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at a time; more wait in the system's queue. Half of the file handles that a process usually has.
const CONNECTIONS_MAX: usize = 512;
/// How long a connection may go without a byte of an answer. Longer than any answer takes; a client that
/// sends its request a byte at a time does not get more.
const SILENCE_MAX: Duration = Duration::from_secs(20);

pub(super) struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    silence_max: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with_limits(listener, CONNECTIONS_MAX, SILENCE_MAX)
    }

    fn with_limits(listener: TcpListener, connections_max: usize, silence_max: Duration) -> Self {
        Self {
            listener,
            slots: Arc::new(Semaphore::new(connections_max)),
            silence_max,
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("nobody closes the semaphore");
        // The implementation for a bare listener rests and tries again when the system refuses.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            silence: Box::pin(sleep(self.silence_max)),
            silence_max: self.silence_max,
            _slot: slot,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection. It ends with an error once nothing was written to it for too long.
pub(super) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn check_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.silence.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = written {
            let until = Instant::now() + self.silence_max;
            self.silence.as_mut().reset(until);
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.check_silence(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            // A reader that takes nothing more is silent too.
            Poll::Pending => self.check_silence(context).map(Err),
            written => self.wrote(written),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, pieces) {
            Poll::Pending => self.check_silence(context).map(Err),
            written => self.wrote(written),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);
    const DEADLINE: Duration = Duration::from_secs(20);

    async fn bounded(connections_max: usize, silence_max: Duration) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded::with_limits(listener, connections_max, silence_max);
        (bounded, address)
    }

    #[tokio::test]
    async fn a_client_that_sends_a_byte_at_a_time_is_cut_off() {
        let (mut listener, address) = bounded(1, SOON).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        let reading = async {
            loop {
                client.write_all(b"x").await.unwrap();
                if let Err(error) = connection.read_u8().await {
                    return error;
                }
            }
        };
        let error = timeout(DEADLINE, reading).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_over_the_bound_waits_for_one_to_end() {
        let (mut listener, address) = bounded(1, DEADLINE).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (first, _) = listener.accept().await;
        assert!(timeout(SOON, listener.accept()).await.is_err());
        drop(first);
        timeout(DEADLINE, listener.accept()).await.unwrap();
    }
}
