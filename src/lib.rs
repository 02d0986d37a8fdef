//! A package registry without a server: a content-addressed peer-to-peer node.
//!
//! Where to start: [`assemble`] puts a node together, [`node`] is what it does, and `ggen_protocols` is
//! what nodes say to each other and how they decide.
//!
//! - [`archive`] checks, reads and packs package archives; bytes in, facts out.
//! - [`assemble`] is the only place that picks implementations: a configuration in, a running node out.
//! - [`control`] lets the command talk to a running node over a socket in its home.
//! - [`crypto`] signs and checks signatures, and keeps keys in files.
//! - [`db`] opens redb databases and groups many writes into one commit.
//! - [`gateway`] answers HTTP.
//! - [`metrics`] counts and measures, and shows it to whoever watches.
//! - [`node`] is one peer: admission, swarm, reconciliation, transfer, in one loop.
//! - [`registry`] holds the catalogue: signed records and what they mean.
//! - [`search`] finds packages in an index derived from the catalogue.
//! - [`store`] holds package bytes under their BLAKE3 hash.

pub mod archive;
pub mod assemble;
pub mod control;
mod crash;
pub mod crypto;
pub mod db;
pub mod gateway;
pub mod metrics;
pub mod node;
pub mod prelude;
pub mod registry;
pub mod search;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use ggen_protocols as protocols;

use std::io;

/// Anything that can go wrong in this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From an archive.
    #[error(transparent)]
    Archive(#[from] archive::ArchiveError),
    /// From the registry.
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
    /// From the blob store.
    #[error(transparent)]
    Storage(#[from] store::StorageError),
    /// From the search index.
    #[error(transparent)]
    Search(#[from] search::SearchError),
    /// From keys and signatures.
    #[error(transparent)]
    Crypto(#[from] crypto::CryptoError),
    /// From a collector of metrics.
    #[error(transparent)]
    Metrics(#[from] metrics::MetricsError),
    /// From a running node.
    #[error(transparent)]
    Node(#[from] node::NodeError),
    /// A name, label or id out of its grammar.
    #[error(transparent)]
    Id(#[from] ggen_protocols::id::IdError),
    /// A version or requirement out of its grammar.
    #[error("not a semantic version: {0}")]
    Version(#[from] semver::Error),
    /// A URL out of its grammar.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// From the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// From JSON text.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The result of this library's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
