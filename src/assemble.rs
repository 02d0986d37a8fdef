//! Puts a node together from what lies in its home: the only file that picks implementations.

pub mod home;

use std::sync::Arc;

use ggen_protocols::id::{NetworkId, OwnerId};

use crate::crypto::PrivateKey;
use crate::node::{Config, Node, Running};
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::search;
use crate::search::index::TantivySearchEngine;
use crate::store;
use crate::store::file::FilePackageStore;

pub use home::{Home, HomeError, Init, Layout};

/// Whether a node joins the network or works on its own data only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It listens, connects, announces and fetches, under the node key of its home.
    Online,
    /// It opens no socket.
    Offline,
}

/// Why no node could be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// The home or a key in it cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A part could not be opened, or the node could not be started.
    #[error("cannot start the node in {home}")]
    Part {
        /// The home, as text.
        home: String,
        /// What failed.
        #[source]
        source: crate::Error,
    },
}

/// Opens catalogue, store and index of a home and starts a node on them. The home must stay locked until
/// [`Running::stop`] has returned.
///
/// The node is told whose packages are its own, and never holds the key that signs them.
///
/// # Errors
/// [`AssembleError`]; nothing runs then.
pub async fn assemble(
    home: &Home,
    config: Config,
    presence: Presence,
) -> Result<(Node, Running), AssembleError> {
    let layout = home.layout();
    let own = layout.owner()?;
    let transport = match presence {
        Presence::Online => Some(layout.node_key()?),
        Presence::Offline => None,
    };
    let network = layout.network()?.id();
    let started = start(layout.clone(), network, own, config, transport).await;
    started.map_err(|source| AssembleError::Part {
        home: layout.dir().display().to_string(),
        source,
    })
}

async fn start(
    layout: Layout,
    network: NetworkId,
    own: Option<OwnerId>,
    config: Config,
    transport: Option<PrivateKey>,
) -> crate::Result<(Node, Running)> {
    let options = OpenOptions {
        network,
        own: own.into_iter().collect(),
        ..OpenOptions::default()
    };
    let registry = LocalRegistry::open(layout.catalogue(), options).await?;
    let store = FilePackageStore::open(layout.blobs(), store::file::Options::default()).await?;
    let options = search::index::Options::default();
    let index = TantivySearchEngine::open(layout.index(), options).await?;
    let mut builder =
        Node::builder(Arc::new(registry), Arc::new(store), config).search(Arc::new(index));
    if let Some(key) = transport {
        builder = builder.transport(key);
    }
    builder.spawn().await
}
