//! A listener whose connections are bounded in number, and in how long they may rest.
//!
//! Each connection has a time at which it is cut off. Writing to it moves that away, and so does reading, the more
//! the more is read: a client that sends its request a byte at a time gains next to nothing. Where all connections
//! are taken, the one that would be cut off first makes room for the next client, so that nobody keeps others out
//! by opening many and letting them rest.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Limits;
use super::bound::Bound;
use crate::metrics::Traffic;

/// From how many bytes a second on a client is not slow.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// How long a connection may take to make room before another one has to as well: one whose request waits for its
/// turn or is being answered goes only after that.
const GIVE_WAY: Duration = Duration::from_millis(50);

pub(super) struct Bounded {
    bound: Bound,
    slots: Arc<Semaphore>,
    rest_max: Duration,
    begin: Instant,
    lines: Mutex<Vec<Weak<Line>>>,
    traffic: Arc<Traffic>,
}

impl Bounded {
    /// Takes connections from `bound`, and counts their bytes.
    pub(super) fn new(bound: Bound, limits: &Limits, traffic: Arc<Traffic>) -> Self {
        Self {
            bound,
            slots: Arc::new(Semaphore::new(limits.connections_max)),
            rest_max: limits.rest_max,
            begin: Instant::now(),
            lines: Mutex::new(Vec::new()),
            traffic,
        }
    }

    /// A place for one more connection; if there is none, the one is cut off that would be first.
    async fn slot(&self) -> OwnedSemaphorePermit {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return slot;
        }
        loop {
            let first = {
                let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                let lines = lines.iter().filter_map(Weak::upgrade);
                let rest = lines.filter(|line| !line.cut.is_cancelled());
                rest.min_by_key(|line| line.until_ms.load(Ordering::Relaxed))
            };
            if let Some(first) = first {
                first.cut.cancel();
            }
            let slot = Arc::clone(&self.slots).acquire_owned();
            if let Ok(slot) = timeout(GIVE_WAY, slot).await {
                return slot.expect("nobody closes the semaphore");
            }
        }
    }

    fn connection(&self, stream: TcpStream, slot: OwnedSemaphorePermit) -> Connection {
        let line = Arc::new(Line {
            until_ms: AtomicU64::new(0),
            cut: CancellationToken::new(),
        });
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        let until = Instant::now() + self.rest_max;
        let mut connection = Connection {
            stream,
            cut: Box::pin(line.cut.clone().cancelled_owned()),
            rest: Box::pin(sleep_until(until)),
            until,
            rest_max: self.rest_max,
            begin: self.begin,
            line,
            traffic: Arc::clone(&self.traffic),
            _slot: slot,
        };
        connection.rest_until(until);
        connection
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The implementation for a bare listener rests and tries again when the system refuses.
        let (stream, address) = match &mut self.bound.second {
            None => Listener::accept(&mut self.bound.first).await,
            Some(second) => tokio::select! {
                accepted = Listener::accept(&mut self.bound.first) => accepted,
                accepted = Listener::accept(second) => accepted,
            },
        };
        // The beginning of an answer must not hold up the rest. Without this it is slower, and that is all.
        drop(stream.set_nodelay(true));
        let slot = self.slot().await;
        (self.connection(stream, slot), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.bound.local_addr()
    }
}

/// What the listener knows of a connection.
#[derive(Debug)]
struct Line {
    /// When it is cut off unless something moves, in milliseconds since the listener began.
    until_ms: AtomicU64,
    cut: CancellationToken,
}

/// One connection. It ends with an error once it rested for too long, or has to make room.
pub(super) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Wakes at `until`, or before it and then once more: most connections move it more often than they reach it.
    rest: Pin<Box<Sleep>>,
    /// When it is cut off unless something moves.
    until: Instant,
    rest_max: Duration,
    begin: Instant,
    line: Arc<Line>,
    traffic: Arc<Traffic>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn check(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut is_over = self.cut.as_mut().poll(context).is_ready();
        while !is_over && self.rest.as_mut().poll(context).is_ready() {
            is_over = self.until <= Instant::now();
            self.rest.as_mut().reset(self.until);
        }
        match is_over {
            true => Poll::Ready(io::ErrorKind::TimedOut.into()),
            false => Poll::Pending,
        }
    }

    fn rest_until(&mut self, until: Instant) {
        let ms = until.saturating_duration_since(self.begin).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.line.until_ms.store(ms, Ordering::Relaxed);
        self.until = until;
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.traffic.sent(bytes);
            self.rest_until(Instant::now() + self.rest_max);
        }
        written
    }

    fn has_read(&mut self, bytes: usize) {
        let gained = Duration::from_micros(bytes as u64 * 1_000_000 / BYTES_PER_SECOND_MIN);
        let until = self.until + gained;
        self.rest_until(until.min(Instant::now() + self.rest_max));
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.check(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        self.traffic.received(bytes);
        if bytes > 0 {
            self.has_read(bytes);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            // A reader that takes nothing more rests too.
            Poll::Pending => self.check(context).map(Err),
            written => self.wrote(written),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, pieces) {
            Poll::Pending => self.check(context).map(Err),
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

    use super::*;
    use crate::gateway::bind;

    /// A machine that does a lot besides pauses a test for less.
    const SOON: Duration = Duration::from_secs(1);
    const DEADLINE: Duration = Duration::from_secs(20);

    async fn bounded(connections_max: usize, rest_max: Duration) -> (Bounded, SocketAddr) {
        let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.local_addr().unwrap();
        let limits = Limits {
            connections_max,
            rest_max,
            ..Limits::default()
        };
        (Bounded::new(bound, &limits, Arc::default()), address)
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
                // As if a millisecond had passed: the test itself sends faster than a slow client.
                connection.rest_until(connection.until - Duration::from_millis(1));
            }
        };
        let error = timeout(DEADLINE, reading).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_sends_enough_may_go_on_without_an_answer() {
        let (mut listener, address) = bounded(1, SOON).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        let begin = Instant::now();
        let mut piece = [0; 4096];
        let exchange = async {
            while begin.elapsed() < 5 * SOON {
                client.write_all(&piece.clone()).await.unwrap();
                connection.read_exact(&mut piece).await.unwrap();
            }
        };
        timeout(DEADLINE, exchange).await.unwrap();
    }

    #[tokio::test]
    async fn one_more_connection_ends_the_one_that_rested_longest() {
        // None of them is cut off by itself before the deadline.
        let (mut listener, address) = bounded(2, 10 * DEADLINE).await;
        let mut clients = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            connections.push(listener.accept().await.0);
        }
        // The first one moves; the second has rested longest then.
        let later = connections[0].until + SOON;
        connections[0].rest_until(later);
        let _third = TcpStream::connect(address).await.unwrap();
        let mut second = connections.pop().unwrap();
        let cut = async {
            let error = second.read_u8().await.unwrap_err();
            drop(second);
            error
        };
        let both = async { tokio::join!(listener.accept(), cut) };
        let (_, error) = timeout(DEADLINE, both).await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        clients[0].write_all(b"x").await.unwrap();
        let read = timeout(DEADLINE, connections[0].read_u8()).await.unwrap();
        assert_eq!(read.unwrap(), b'x');
    }

    #[tokio::test]
    async fn one_that_cannot_go_now_does_not_keep_others_out() {
        let (mut listener, address) = bounded(2, 10 * DEADLINE).await;
        let mut clients = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            connections.push(listener.accept().await.0);
        }
        let _third = TcpStream::connect(address).await.unwrap();
        // The first one has rested longest, and nobody reads it meanwhile: its request waits for its turn.
        let mut second = connections.pop().unwrap();
        let cut = async {
            second.read_u8().await.unwrap_err();
            drop(second);
        };
        let both = async { tokio::join!(listener.accept(), cut) };
        timeout(DEADLINE, both).await.unwrap();
    }

    #[tokio::test]
    async fn both_loopback_addresses_lead_to_one_node() {
        let (mut listener, address) = bounded(2, DEADLINE).await;
        if listener.bound.second.is_none() {
            // A machine without IPv6 has one loopback address.
            assert!(TcpStream::connect(("::1", address.port())).await.is_err());
            return;
        }
        for host in ["127.0.0.1", "::1"] {
            let _client = TcpStream::connect((host, address.port())).await.unwrap();
            let (_, from) = timeout(DEADLINE, listener.accept()).await.unwrap();
            assert_eq!(from.ip().to_string(), host);
        }
    }
}
