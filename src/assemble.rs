//! Puts a node together from what lies in its home: the only file that picks implementations.

pub mod home;

use std::io;
use std::sync::Arc;

use ggen_protocols::id::{NetworkId, OwnerId};
use ggen_protocols::record::Signed;

use crate::crypto::PrivateKey;
use crate::node::{Config, Node, NodeError, Running};
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::search;
use crate::search::index::TantivySearchEngine;
use crate::store;
use crate::store::file::FilePackageStore;

pub use home::{Founded, Founding, Home, HomeError, Identity, Init, Keys, Layout};

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
    let own = layout.owners()?;
    let transport = match presence {
        Presence::Online => Some(layout.node_key()?),
        Presence::Offline => None,
    };
    let network = layout.network()?.id();
    let started = start(layout.clone(), network, own, config, transport).await;
    let (node, running) = started.map_err(|source| AssembleError::Part {
        home: layout.dir().display().to_string(),
        source,
    })?;
    if let Err(error) = hand_over_foundings(layout, &node).await {
        // Whoever publishes here is told again; everything else works without.
        tracing::warn!(%error, "cannot take the record that founds the namespace of this home");
    }
    Ok((node, running))
}

/// Gives the node the records that found the namespaces of its home, which a crash may have kept from it.
async fn hand_over_foundings(layout: &Layout, node: &Node) -> Result<(), crate::Error> {
    let network = node.catalogue().network();
    for identity in layout.identities().map_err(io::Error::other)? {
        let envelope = layout.genesis(&identity.label).map_err(io::Error::other)?;
        let Some(envelope) = envelope else { continue };
        let signed = Signed::from_envelope(envelope.clone()).map_err(NodeError::from)?;
        let owner = OwnerId::of_genesis(signed.id(network));
        if node.documents(owner).await?.is_empty() {
            node.submit(envelope).await?;
        }
    }
    Ok(())
}

async fn start(
    layout: Layout,
    network: NetworkId,
    own: Vec<OwnerId>,
    config: Config,
    transport: Option<PrivateKey>,
) -> crate::Result<(Node, Running)> {
    let options = OpenOptions {
        network,
        own,
        pool_bytes_max: config.pool_bytes_max,
        ..OpenOptions::default()
    };
    let registry = Arc::new(LocalRegistry::open(layout.catalogue(), options).await?);
    let store = FilePackageStore::open(layout.blobs(), store::file::Options::default()).await?;
    let options = search::index::Options::default();
    let index = TantivySearchEngine::open(layout.index(), options).await?;
    let mut builder = Node::builder(registry.clone(), Arc::new(store), config)
        .met_note(layout.met_note())
        .choices(registry)
        .search(Arc::new(index));
    if let Some(key) = transport {
        builder = builder.transport(key);
    }
    builder.spawn().await
}
