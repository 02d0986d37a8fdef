//! Blobs between peers: the endpoint, serving, fetching. iroh underneath, and nobody but the peers named to it:
//! no relay, no lookup service, no port mapping.

#[cfg(feature = "testing")]
pub(crate) mod hostile;
mod lanes;
mod pool;
mod serve;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ggen_protocols::fetch::Refusal;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{PortmapperConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey, TransportAddr};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{NodeError, Progress};
use crate::crypto::PrivateKey;
use crate::store::{BlobStore, Staged};

use pool::Pool;
use serve::Server;

/// How long a connection lives on without a sign of the other side.
const IDLE_MAX: Duration = Duration::from_secs(6);
/// Requests that a peer may have open on one connection.
const STREAMS_MAX: u32 = 64;
/// How long stopping waits for the other sides.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Says whether a peer may fetch from here.
pub(crate) type Admits = Arc<dyn Fn(PeerId) -> bool + Send + Sync>;

/// The data plane of a node. Cheap to clone; it stops with [`Transfer::stop`].
#[derive(Clone)]
pub(crate) struct Transfer {
    endpoint: Endpoint,
    lookup: MemoryLookup,
    store: Arc<dyn BlobStore>,
    pool: Arc<Pool>,
    server: Arc<Server>,
    stop: CancellationToken,
    tasks: Arc<tokio::sync::Mutex<Vec<JoinHandle<()>>>>,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

/// Why a blob was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// The peers could not give it.
    #[error("blob {hash} could not be fetched: {why}")]
    Refused {
        /// Which one.
        hash: ContentHash,
        /// Why not.
        why: Refusal,
    },
    /// The store could not take it.
    #[error("blob {hash} could not be stored")]
    Store {
        /// Which one.
        hash: ContentHash,
        /// Why not.
        #[source]
        source: Box<crate::Error>,
    },
    /// The transfer was stopped.
    #[error("the node stops")]
    Stopped,
}

/// A fetched blob: whole, verified, not yet held; and how many bytes each peer gave.
pub(crate) type Fetched = (Staged, BTreeMap<PeerId, u64>);

/// One blob to be fetched.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    /// Its BLAKE3 hash.
    pub(crate) hash: ContentHash,
    /// Its length in bytes, as its record says.
    pub(crate) size: u64,
    /// Who may hold it, best first.
    pub(crate) providers: Vec<PeerId>,
}

impl Transfer {
    /// Binds a UDP socket at `bind` and serves what `store` holds to everybody.
    ///
    /// # Errors
    /// [`NodeError::Listen`].
    pub(crate) async fn start(
        key: &PrivateKey,
        bind: SocketAddr,
        store: Arc<dyn BlobStore>,
    ) -> Result<Self, NodeError> {
        Self::start_for(key, bind, store, Arc::new(|_| true)).await
    }

    /// As [`Transfer::start`], for the peers only that `admits` says yes to.
    ///
    /// # Errors
    /// [`NodeError::Listen`].
    pub(crate) async fn start_for(
        key: &PrivateKey,
        bind: SocketAddr,
        store: Arc<dyn BlobStore>,
        admits: Admits,
    ) -> Result<Self, NodeError> {
        let lookup = MemoryLookup::new();
        let endpoint = bind_endpoint(key, bind, lookup.clone()).await?;
        let stop = CancellationToken::new();
        let server = Arc::new(Server::new(store.clone(), admits));
        let pool = Arc::new(Pool::new(endpoint.clone()));
        let serving = tokio::spawn(server.clone().run(endpoint.clone(), stop.clone()));
        let closing = tokio::spawn(pool.clone().close_idle(stop.clone()));
        Ok(Self {
            endpoint,
            lookup,
            store,
            pool,
            server,
            stop,
            tasks: Arc::new(tokio::sync::Mutex::new(vec![serving, closing])),
        })
    }

    /// The addresses that it is bound to; an unspecified one stays so.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    /// Says where a peer can be reached, instead of what was said before; nowhere, if empty.
    pub(crate) fn set_addresses(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        let Some(id) = endpoint_id(peer) else {
            return;
        };
        if addresses.is_empty() {
            self.lookup.remove_endpoint_info(id);
        } else {
            let addresses = addresses.into_iter().map(TransportAddr::Ip);
            self.lookup
                .set_endpoint_info(EndpointAddr::from_parts(id, addresses));
        }
    }

    /// How many bytes each peer was sent, proofs included.
    pub(crate) fn served(&self) -> BTreeMap<PeerId, u64> {
        self.server.served()
    }

    /// How many bytes all peers were sent, proofs included.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.server.sent_bytes()
    }

    /// Fetches a blob from any of `providers`, from several at once if it is large. What is here of it already
    /// is not fetched again. `progress` may lag and misses what it has no room for. Nothing is durable until
    /// the blob is held. Dropping the future ends its requests; what came stays for a while for the next try.
    ///
    /// # Errors
    /// [`TransferError`].
    pub(crate) async fn fetch(
        &self,
        hash: ContentHash,
        size: u64,
        providers: Vec<PeerId>,
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Result<Fetched, TransferError> {
        let want = Want {
            hash,
            size,
            providers,
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(TransferError::Stopped),
            fetched = lanes::fetch(&self.store, &self.pool, want, progress) => fetched,
        }
    }

    /// Ends all fetches and connections. The store stays open.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let ended = async {
            self.endpoint.close().await;
            for task in self.tasks.lock().await.drain(..) {
                if let Err(error) = task.await {
                    tracing::warn!(%error, "a task of the transfer failed");
                }
            }
        };
        if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
            tracing::debug!("connections did not close in time");
        }
    }
}

async fn bind_endpoint(
    key: &PrivateKey,
    bind: SocketAddr,
    lookup: MemoryLookup,
) -> Result<Endpoint, NodeError> {
    let refuse = |why: String| NodeError::Listen {
        address: format!("{bind} (UDP)"),
        why,
    };
    let idle = IDLE_MAX.try_into().expect("a few seconds fit");
    let transport = QuicTransportConfig::builder()
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0u32.into())
        .build();
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr(bind)
        .map_err(|error| refuse(error.to_string()))?
        .secret_key(SecretKey::from_bytes(&key.seed()))
        .alpns(vec![iroh_blobs::ALPN.to_vec()])
        .address_lookup(lookup)
        .transport_config(transport)
        .bind()
        .await
        .map_err(|error| refuse(format!("{error:#}")))
}

/// One key is the peer's id in both networks. An id that is no key has no endpoint.
fn endpoint_id(peer: PeerId) -> Option<EndpointId> {
    EndpointId::from_bytes(peer.as_bytes()).ok()
}

fn peer_id(endpoint: EndpointId) -> PeerId {
    PeerId::from_bytes(*endpoint.as_bytes())
}
