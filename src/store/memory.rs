//! `MemoryPackageStore`: blobs in memory, for tests and for nodes that keep nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iroh_blobs::store::mem::{MemStore, Options};
use iroh_blobs::{Hash, api};

use super::StorageError;
use super::collect::Collector;
use super::held::Held;
use super::local::{Backing, LocalStore};
use crate::Result;

/// How often unused blobs are collected.
const COLLECT_INTERVAL: Duration = Duration::from_secs(120);

/// A store that is gone with its process.
pub type MemoryPackageStore = LocalStore<Memory>;

impl LocalStore<Memory> {
    /// An empty store. Must be called within a tokio runtime.
    #[allow(clippy::new_without_default)] // It starts tasks.
    pub fn new() -> Self {
        let collector = Collector::new(COLLECT_INTERVAL, Memory.path().to_owned());
        let gc_config = Some(collector.config());
        let blobs: api::Store = MemStore::new_with_opts(Options { gc_config }).into();
        let held = Arc::new(Held::default());
        collector.attach(blobs.clone(), held.clone());
        Self::with(blobs, held, collector, Arc::new(Memory))
    }
}

/// Nowhere else.
#[derive(Debug)]
pub struct Memory;

#[async_trait]
impl Backing for Memory {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn check_room(&self, _bytes: u64) -> Result<(), StorageError> {
        Ok(())
    }

    fn importing(&self) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    async fn persist(&self, _hash: Hash, _size: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn release(&self) {}
}
