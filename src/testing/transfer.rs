//! The data plane alone: a store that fetches and serves on loopback, without the rest of a node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::{StreamExt, stream};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::PeerId;
use tokio::sync::mpsc;

use crate::crypto::PrivateKey;
use crate::node::transfer::Transfer;
use crate::node::{NodeError, Progress};
use crate::store::{BlobStore, Staged};

pub use crate::node::transfer::hostile::{Hostile, Manner, answered};

/// What fetching gave: the blob, not yet held, and how many bytes of it came from whom; or why it failed.
pub type Fetched = Result<(Staged, BTreeMap<PeerId, u64>), String>;

/// Fetches at a time: with small blobs, more bring no more speed.
const FETCHES_AT_ONCE: usize = 64;
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A store with its data plane.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who it is.
    pub id: PeerId,
    /// What it serves, and where it puts what it fetches.
    pub store: Arc<dyn BlobStore>,
    transfer: Transfer,
}

impl Peer {
    /// Starts one that serves everybody.
    ///
    /// # Errors
    /// [`NodeError::Listen`].
    pub async fn start(store: Arc<dyn BlobStore>) -> Result<Self, NodeError> {
        let key = PrivateKey::generate();
        let transfer = Transfer::start(&key, LOOPBACK, store.clone()).await?;
        Ok(Self {
            id: key.peer(),
            store,
            transfer,
        })
    }

    /// Starts one that serves only whom `admits` says yes to.
    ///
    /// # Errors
    /// [`NodeError::Listen`].
    pub async fn start_for(
        store: Arc<dyn BlobStore>,
        admits: impl Fn(PeerId) -> bool + Send + Sync + 'static,
    ) -> Result<Self, NodeError> {
        let key = PrivateKey::generate();
        let admits = Arc::new(admits);
        let transfer = Transfer::start_for(&key, LOOPBACK, store.clone(), admits).await?;
        Ok(Self {
            id: key.peer(),
            store,
            transfer,
        })
    }

    /// Where it can be reached.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.transfer.addresses()
    }

    /// Says where another can be reached.
    pub fn knows(&self, peer: PeerId, addresses: &[SocketAddr]) {
        self.transfer.set_addresses(peer, addresses.to_vec());
    }

    /// How many bytes each peer was sent.
    pub fn served(&self) -> BTreeMap<PeerId, u64> {
        self.transfer.served()
    }

    /// Fetches one blob.
    ///
    /// # Errors
    /// Why not, as a text.
    pub async fn fetch(
        &self,
        hash: ContentHash,
        size: u64,
        providers: &[PeerId],
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Fetched {
        let providers = providers.to_vec();
        let fetched = self.transfer.fetch(hash, size, providers, progress).await;
        fetched.map_err(|error| error.to_string())
    }

    /// Fetches many blobs of the same providers, and says how many came.
    ///
    /// # Errors
    /// The first failure, as a text.
    pub async fn fetch_many(
        &self,
        blobs: impl IntoIterator<Item = (ContentHash, u64)>,
        providers: &[PeerId],
    ) -> Result<Vec<Staged>, String> {
        let fetches = blobs
            .into_iter()
            .map(|(hash, size)| self.fetch(hash, size, providers, None));
        let mut fetches = stream::iter(fetches).buffer_unordered(FETCHES_AT_ONCE);
        let mut all = Vec::new();
        while let Some(fetched) = fetches.next().await {
            all.push(fetched?.0);
        }
        Ok(all)
    }

    /// Ends it; its store stays open.
    pub async fn stop(&self) {
        self.transfer.stop().await;
    }
}
