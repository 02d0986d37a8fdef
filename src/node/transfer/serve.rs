//! Giving blobs to peers: only held ones, only to admitted peers, only so many at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use iroh::Endpoint;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream, VarInt};
use iroh_blobs::protocol::{ERR_LIMIT, ERR_PERMISSION, GetRequest, Request};
use iroh_blobs::provider::{self, StreamPair, events::EventSender};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Admits, peer_id};
use crate::store::BlobStore;

/// Connections that peers may have here, all and one.
const CONNECTIONS_MAX: usize = 512;
const CONNECTIONS_PER_PEER_MAX: usize = 8;
/// Requests served at a time; reading one may take 1 MiB.
const REQUESTS_MAX: usize = 256;
/// How long a peer may take to connect, and to send its request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long a peer may take nothing of what it asked for.
const WRITE_MAX: Duration = Duration::from_secs(20);
/// Peers that are counted one by one.
const COUNTED_PEERS_MAX: usize = 4096;

pub(super) struct Server {
    store: Arc<dyn BlobStore>,
    admits: Admits,
    requests: Semaphore,
    connections: Mutex<BTreeMap<PeerId, usize>>,
    served: Mutex<BTreeMap<PeerId, u64>>,
    sent: AtomicU64,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(super) fn new(store: Arc<dyn BlobStore>, admits: Admits) -> Self {
        Self {
            store,
            admits,
            requests: Semaphore::new(REQUESTS_MAX),
            connections: Mutex::default(),
            served: Mutex::default(),
            sent: AtomicU64::new(0),
        }
    }

    pub(super) fn served(&self) -> BTreeMap<PeerId, u64> {
        lock(&self.served).clone()
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Serves until `stop`.
    pub(super) async fn run(self: Arc<Self>, endpoint: Endpoint, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::warn!(%error, "serving a peer failed");
                    }
                }
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) if connections.len() < CONNECTIONS_MAX => {
                        connections.spawn(self.clone().welcome(incoming));
                    }
                    Some(incoming) => incoming.refuse(),
                    None => break,
                },
            }
        }
        connections.shutdown().await;
    }

    async fn welcome(self: Arc<Self>, incoming: Incoming) {
        let Ok(accepting) = incoming.accept() else {
            return;
        };
        let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE_MAX, accepting).await else {
            return;
        };
        let peer = peer_id(connection.remote_id());
        if !(self.admits)(peer) {
            tracing::debug!(%peer, "refused: not admitted");
            connection.close(ERR_PERMISSION, b"not admitted");
            return;
        }
        let Some(_counted) = Counted::new(&self, peer) else {
            tracing::debug!(%peer, "refused: too many connections");
            connection.close(ERR_LIMIT, b"too many connections");
            return;
        };
        self.connection(connection, peer).await;
    }

    async fn connection(self: &Arc<Self>, connection: Connection, peer: PeerId) {
        // QUIC bounds how many there can be.
        let mut requests = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = requests.join_next() => {
                    if let Err(error) = ended {
                        tracing::warn!(%peer, %error, "answering a request failed");
                    }
                }
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) => {
                        let id = connection.stable_id() as u64;
                        requests.spawn(self.clone().request(peer, id, send, recv));
                    }
                    Err(_) => break,
                },
            }
        }
    }

    async fn request(
        self: Arc<Self>,
        peer: PeerId,
        id: u64,
        mut send: SendStream,
        mut recv: RecvStream,
    ) {
        let Ok(_permit) = self.requests.try_acquire() else {
            return refuse(&mut send, ERR_LIMIT);
        };
        let request = tokio::time::timeout(HANDSHAKE_MAX, Request::read_async(&mut recv)).await;
        let Ok(Ok((request, _))) = request else {
            return refuse(&mut send, ERR_PERMISSION);
        };
        // Anything else (sequences of blobs, pushing, observing) could get round the check of what is held.
        let Some(get) = single(request).filter(|get| self.holds(get)) else {
            tracing::debug!(%peer, "refused a request");
            return refuse(&mut send, ERR_PERMISSION);
        };
        let counting = Counting {
            stream: send,
            server: self.clone(),
            peer,
        };
        let pair = StreamPair::new(id, recv, counting, EventSender::DEFAULT);
        if let Err(error) = provider::handle_get(pair, self.store.blobs(), get).await {
            tracing::debug!(%peer, "a request broke off: {error:#}");
        }
    }

    fn holds(&self, get: &GetRequest) -> bool {
        self.store
            .is_held(&ContentHash::from_blake3(*get.hash.as_bytes()))
    }

    fn count(&self, peer: PeerId, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        let mut served = lock(&self.served);
        if served.len() < COUNTED_PEERS_MAX || served.contains_key(&peer) {
            *served.entry(peer).or_default() += bytes as u64;
        }
    }
}

fn single(request: Request) -> Option<GetRequest> {
    match request {
        Request::Get(get) if get.ranges.is_blob() => Some(get),
        _ => None,
    }
}

fn refuse(send: &mut SendStream, code: VarInt) {
    // It fails if the peer has gone, who then needs no answer.
    send.reset(code).ok();
}

/// One of a peer's connections, while it lives.
struct Counted<'a> {
    server: &'a Server,
    peer: PeerId,
}

impl<'a> Counted<'a> {
    fn new(server: &'a Server, peer: PeerId) -> Option<Self> {
        let mut connections = lock(&server.connections);
        let of_peer = connections.entry(peer).or_default();
        if *of_peer >= CONNECTIONS_PER_PEER_MAX {
            return None;
        }
        *of_peer += 1;
        Some(Self { server, peer })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut connections = lock(&self.server.connections);
        if let Some(of_peer) = connections.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                connections.remove(&self.peer);
            }
        }
    }
}

/// Counts what is sent, and gives up on a peer that takes nothing.
struct Counting {
    stream: SendStream,
    server: Arc<Server>,
    peer: PeerId,
}

impl iroh_blobs::util::SendStream for Counting {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        let length = bytes.len();
        tokio::time::timeout(WRITE_MAX, self.stream.write_chunk(bytes)).await??;
        self.server.count(self.peer, length);
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(WRITE_MAX, self.stream.write_all(bytes)).await??;
        self.server.count(self.peer, bytes.len());
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self, code: VarInt) -> io::Result<()> {
        Ok(self.stream.reset(code)?)
    }

    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        Ok(self.stream.stopped().await?)
    }

    fn id(&self) -> u64 {
        self.stream.id().index()
    }
}
