//! What a program that uses this library imports with one line: the traits, their types, what implements them.

pub use std::collections::HashMap;
pub use std::time::Duration;

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use chrono::{DateTime, Utc};
pub use futures::StreamExt;
pub use futures::stream::BoxStream;
pub use semver::{Version, VersionReq};

pub use ggen_protocols::hash::{ContentHash, HashAlgorithm};
pub use ggen_protocols::id::PackageId;
pub use ggen_protocols::metadata::{
    Checksums, Dependencies, Dependency, DependencyKind, DependencySource, Format, PackageMetadata,
    Signature,
};

pub use crate::Error;
pub use crate::Result;
pub use crate::crypto::{
    CryptoError, CryptoVerifier, Ed25519CryptoVerifier, Key, KeyPair, PrivateKey, PublicKey,
    TrustLevel, TrustResult, VerificationResult,
};
pub use crate::metrics::{MetricValue, MetricsCollector, MetricsError, PrometheusMetricsCollector};
pub use crate::registry::local::LocalRegistry;
pub use crate::registry::{
    DependencyGraph, MetadataUpdates, PackageStats, Registry, RegistryError, Trend,
};
pub use crate::search::index::TantivySearchEngine;
pub use crate::search::{SearchEngine, SearchEngineExt, SearchError, SearchQuery, SearchResult};
pub use crate::store::file::FilePackageStore;
pub use crate::store::{
    PackageStore, PackageStoreExt, StorageError, StorageMetadata, StorageStats,
};
