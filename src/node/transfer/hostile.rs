//! A peer that misbehaves in a way of one's choice, and a peer that asks for what it should not: for tests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{Connection, SendStream, VarInt};
use iroh::{Endpoint, EndpointAddr, TransportAddr};
use iroh_blobs::Hash;
use iroh_blobs::protocol::{
    ChunkRangesSeq, GetManyRequest, GetRequest, ObserveRequest, PushRequest, Request,
};
use iroh_blobs::provider::{self, StreamPair, events::EventSender};
use iroh_blobs::store::mem::MemStore;
use tokio::task::JoinSet;

use super::{bind_endpoint, endpoint_id};
use crate::crypto::PrivateKey;
use crate::node::NodeError;
use crate::store::BlobStore;

/// How a hostile peer answers. The number says after how many bytes of each answer it begins.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// Sends nothing more, and keeps the connection.
    Silent(u64),
    /// Sends other bytes.
    Lying(u64),
    /// Says that the blob is this large.
    Size(u64),
    /// Closes the connection.
    Closing(u64),
}

/// A peer that gives everything that its store has, in its manner.
#[derive(Debug)]
pub struct Hostile {
    /// Who it is.
    pub peer: PeerId,
    /// Where it is.
    pub addresses: Vec<SocketAddr>,
    endpoint: Endpoint,
    tasks: JoinSet<()>,
}

impl Hostile {
    /// Starts it on loopback.
    ///
    /// # Errors
    /// [`NodeError::Listen`].
    pub async fn start(store: Arc<dyn BlobStore>, manner: Manner) -> Result<Self, NodeError> {
        let key = PrivateKey::generate();
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = bind_endpoint(&key, bind, MemoryLookup::new()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(endpoint.clone(), store, manner));
        Ok(Self {
            peer: key.peer(),
            addresses: endpoint.bound_sockets(),
            endpoint,
            tasks,
        })
    }

    /// Ends it as a crash would: nobody is told.
    pub fn vanish(mut self) {
        self.tasks.abort_all();
        drop(self.endpoint);
    }
}

async fn serve(endpoint: Endpoint, store: Arc<dyn BlobStore>, manner: Manner) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let store = store.clone();
        connections.spawn(async move {
            let connection = incoming.await?;
            let mut requests = JoinSet::new();
            while let Ok((send, recv)) = connection.accept_bi().await {
                let store = store.clone();
                let connection = connection.clone();
                requests.spawn(answer(connection, send, recv, store, manner));
            }
            Ok::<(), iroh::endpoint::ConnectingError>(())
        });
    }
}

async fn answer(
    connection: Connection,
    send: SendStream,
    mut recv: iroh::endpoint::RecvStream,
    store: Arc<dyn BlobStore>,
    manner: Manner,
) {
    let Ok((Request::Get(get), _)) = Request::read_async(&mut recv).await else {
        return;
    };
    let stream = Twisted {
        stream: send,
        connection,
        sent: 0,
        manner,
    };
    let pair = StreamPair::new(0, recv, stream, EventSender::DEFAULT);
    // That it fails is what it is made for.
    provider::handle_get(pair, store.blobs(), get).await.ok();
}

/// A stream that turns after some bytes.
struct Twisted {
    stream: SendStream,
    connection: Connection,
    sent: u64,
    manner: Manner,
}

impl iroh_blobs::util::SendStream for Twisted {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(&bytes).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let first = self.sent == 0;
        self.sent += bytes.len() as u64;
        match self.manner {
            Manner::Silent(after) if self.sent > after => std::future::pending().await,
            Manner::Closing(after) if self.sent > after => {
                self.connection.close(0u32.into(), b"gone");
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            // Its first 8 bytes are the blob's length.
            Manner::Lying(after) if self.sent > after && !first => {
                let mut other = bytes.to_vec();
                let last = other.len() - 1;
                other[last] ^= 1;
                Ok(self.stream.write_all(&other).await?)
            }
            Manner::Size(size) if first => Ok(self.stream.write_all(&size.to_le_bytes()).await?),
            _ => Ok(self.stream.write_all(bytes).await?),
        }
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

/// Asks a peer for one blob in every way that there is, and says which got an answer.
///
/// # Errors
/// [`NodeError::Listen`] for its own endpoint.
pub async fn answered(
    peer: PeerId,
    addresses: Vec<SocketAddr>,
    hash: &ContentHash,
) -> Result<Vec<&'static str>, NodeError> {
    let lookup = MemoryLookup::new();
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = bind_endpoint(&PrivateKey::generate(), bind, lookup).await?;
    let Some(id) = endpoint_id(peer) else {
        return Ok(vec![]);
    };
    let address = EndpointAddr::from_parts(id, addresses.into_iter().map(TransportAddr::Ip));
    let Ok(connection) = endpoint.connect(address, iroh_blobs::ALPN).await else {
        return Ok(vec![]);
    };
    let hash = Hash::from_bytes(*hash.as_bytes());
    let store = MemStore::new();
    let remote = store.remote();
    let to = || connection.clone();
    let mut answered = Vec::new();
    let many = GetManyRequest::new(vec![hash], ChunkRangesSeq::all());
    if remote.execute_get_many(to(), many).await.is_ok() {
        answered.push("get many");
    }
    if remote
        .execute_get(to(), GetRequest::all(hash))
        .await
        .is_ok()
    {
        answered.push("get a sequence");
    }
    let push = PushRequest::new(hash, ChunkRangesSeq::root());
    if remote.execute_push(to(), push).await.is_ok() {
        answered.push("push");
    }
    let mut observed = std::pin::pin!(remote.observe(to(), ObserveRequest::new(hash)));
    if observed.next().await.is_some_and(|item| item.is_ok()) {
        answered.push("observe");
    }
    if remote
        .execute_get(to(), GetRequest::blob(hash))
        .await
        .is_ok()
    {
        answered.push("get");
    }
    endpoint.close().await;
    Ok(answered)
}
