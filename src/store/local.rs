//! A blob store on iroh-blobs, wherever that keeps its bytes.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{SubsecRound, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use ggen_protocols::hash::{ContentHash, ContentHasher};
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::{Hash, HashAndFormat, api};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::collect::Collector;
use super::held::{self, Held};
use super::import::{self, Import};
use super::ledger::Ledger;
use super::{BlobStore, PackageStore, Staged, StorageError, StorageMetadata, StorageStats, read};
use crate::Result;

/// What a reader is asked for at a time, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Blobs that `verify` reads at a time.
const VERIFY_AT_ONCE: usize = 2;

/// What differs between a store on disk and one in memory.
#[async_trait]
pub trait Backing: fmt::Debug + Send + Sync + 'static {
    /// Where it is, for errors.
    fn path(&self) -> &Path;

    /// Refuses if there is no room for `bytes` more.
    fn check_room(&self, bytes: u64) -> Result<(), StorageError>;

    /// Notes that an import begins, until what is returned goes.
    fn importing(&self) -> Box<dyn Send + Sync>;

    /// Puts the bytes of a whole blob where a crash cannot take them.
    async fn persist(&self, hash: Hash, size: u64) -> io::Result<()>;

    /// Lets others have the place.
    fn release(&self);
}

/// The one implementation of `FilePackageStore` and `MemoryPackageStore`.
pub struct LocalStore<B: Backing> {
    blobs: api::Store,
    held: Arc<Held>,
    ledger: Ledger,
    collector: Collector,
    backing: Arc<B>,
    closed: AtomicBool,
}

impl<B: Backing> fmt::Debug for LocalStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore")
            .field("at", &self.backing.path())
            .finish_non_exhaustive()
    }
}

impl<B: Backing> LocalStore<B> {
    pub(super) fn with(
        blobs: api::Store,
        held: Arc<Held>,
        collector: Collector,
        backing: Arc<B>,
    ) -> Self {
        let path = backing.path().to_owned();
        Self {
            ledger: Ledger::start(blobs.clone(), held.clone(), collector.clone(), path),
            blobs,
            held,
            collector,
            backing,
            closed: AtomicBool::new(false),
        }
    }

    /// Frees the bytes of everything that is neither held nor in use now, instead of later.
    ///
    /// # Errors
    /// [`StorageError::Write`] if that does not end.
    pub async fn collect(&self) -> Result<()> {
        Ok(self.collector.collect().await?)
    }

    fn found(&self, hash: &ContentHash) -> Result<StorageMetadata, StorageError> {
        if self.closed.load(Ordering::SeqCst) {
            let source = io::Error::from(io::ErrorKind::BrokenPipe);
            return Err(self.failed("read the closed store", api::Error::Io(source)));
        }
        self.held.get(hash).ok_or(StorageError::NotFound(*hash))
    }

    fn failed(&self, what: &'static str, error: impl Into<api::Error>) -> StorageError {
        let api::Error::Io(source) = error.into();
        import::storage_error(what, self.backing.path(), source)
    }

    async fn size_if_whole(&self, hash: &ContentHash) -> Result<u64, StorageError> {
        let status = self.blobs.blobs().status(blob_hash(hash)).await;
        match status.map_err(|e| self.failed("look for a blob", e))? {
            BlobStatus::Complete { size } => Ok(size),
            _ => Err(StorageError::NotFound(*hash)),
        }
    }

    /// The bytes of a whole blob. What is wrong with them is told as the last item.
    fn read(&self, hash: ContentHash, size: u64) -> BoxStream<'static, Result<Bytes>> {
        let path = self.backing.path().to_owned();
        read::verified(&self.blobs, hash, size, path)
    }

    /// Reads a held blob to its end and says what is wrong with it.
    async fn check(&self, blob: &StorageMetadata) -> Result<(), String> {
        let mut hasher = ContentHasher::new();
        let mut stream = self.read(blob.blake3, blob.size);
        while let Some(bytes) = stream.next().await {
            hasher.update(&bytes.map_err(|error| error.to_string())?);
        }
        let (_, sha256, _) = hasher.finish();
        if sha256 != blob.sha256 {
            return Err(format!("its SHA-256 is {sha256}, not {}", blob.sha256));
        }
        Ok(())
    }

    fn import(&self) -> Import<B> {
        Import {
            blobs: self.blobs.clone(),
            collector: self.collector.clone(),
            backing: self.backing.clone(),
        }
    }

    /// Imports what `reader` gives, and hashes it on the way if that is wanted.
    async fn stage_hashed(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        bytes_max: u64,
        mut hasher: Option<&mut ContentHasher>,
    ) -> Result<Staged> {
        let (mut feed, staged) = self.import().stream()?;
        let mut bytes: u64 = 0;
        let mut chunk = BytesMut::new();
        loop {
            chunk.reserve(CHUNK_BYTES);
            let read = reader.read_buf(&mut chunk).await?;
            bytes += read as u64;
            if bytes > bytes_max {
                drop(feed);
                // Waits until what was written is gone again; that it fails is what was wanted.
                staged.await.ok();
                return Err(StorageError::TooLarge { max: bytes_max }.into());
            }
            if read == 0 || chunk.len() >= CHUNK_BYTES / 2 {
                let part = chunk.split().freeze();
                if let Some(hasher) = hasher.as_deref_mut() {
                    hasher.update(&part);
                }
                if !part.is_empty() && feed.send(part).await.is_err() {
                    break;
                }
            }
            if read == 0 {
                feed.finish().await;
                break;
            }
        }
        Ok(staged.await?)
    }
}

#[async_trait]
impl<B: Backing> PackageStore for LocalStore<B> {
    async fn store(&self, package_bytes: Bytes) -> Result<ContentHash> {
        let mut hasher = ContentHasher::new();
        hasher.update(&package_bytes);
        let (blake3, sha256, _) = hasher.finish();
        // A held blob is written again only if it is damaged: a new file may be lost in a crash, the old not.
        if let Some(blob) = self.held.get(&blake3)
            && self.check(&blob).await.is_ok()
        {
            return Ok(blake3);
        }
        let staged = self.import().bytes(package_bytes).await?;
        self.hold(staged, sha256).await?;
        Ok(blake3)
    }

    async fn get(&self, hash: &ContentHash) -> Result<Bytes> {
        let blob = self.found(hash)?;
        let mut stream = self.read(blob.blake3, blob.size);
        let mut first = stream.next().await.transpose()?.unwrap_or_default();
        if first.len() as u64 == blob.size {
            // Its end may still be an error.
            while let Some(more) = stream.next().await.transpose()? {
                debug_assert!(more.is_empty());
            }
            return Ok(first);
        }
        let mut all = BytesMut::new();
        loop {
            all.extend_from_slice(&first);
            match stream.next().await.transpose()? {
                Some(next) => first = next,
                None => return Ok(all.freeze()),
            }
        }
    }

    async fn stream(&self, hash: &ContentHash) -> Result<BoxStream<'static, Result<Bytes>>> {
        let blob = self.found(hash)?;
        Ok(self.read(blob.blake3, blob.size))
    }

    async fn upload_dyn(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        size_hint: Option<u64>,
    ) -> Result<ContentHash> {
        self.backing.check_room(size_hint.unwrap_or(0))?;
        let mut hasher = ContentHasher::new();
        let staged = self
            .stage_hashed(reader, u64::MAX, Some(&mut hasher))
            .await?;
        let (blake3, sha256, _) = hasher.finish();
        if staged.hash() != blake3 {
            let why = "the bytes on disk are not those that were written".to_owned();
            return Err(StorageError::Damaged { hash: blake3, why }.into());
        }
        self.hold(staged, sha256).await?;
        Ok(blake3)
    }

    async fn exists(&self, hash: &ContentHash) -> Result<bool> {
        Ok(self.held.get(hash).is_some())
    }

    async fn delete(&self, hash: &ContentHash) -> Result<()> {
        let blob = self.found(hash)?;
        self.ledger.release(blob.blake3).await?;
        self.collector.deleted(blob_hash(&blob.blake3));
        Ok(())
    }

    async fn metadata(&self, hash: &ContentHash) -> Result<StorageMetadata> {
        Ok(self.found(hash)?)
    }

    async fn list(&self, prefix: Option<&str>, limit: usize) -> Result<Vec<ContentHash>> {
        Ok(self.held.list(prefix.unwrap_or(""), limit))
    }

    async fn stats(&self) -> Result<StorageStats> {
        Ok(self.held.stats())
    }
}

#[async_trait]
impl<B: Backing> BlobStore for LocalStore<B> {
    fn blobs(&self) -> api::Store {
        self.blobs.clone()
    }

    fn is_held(&self, hash: &ContentHash) -> bool {
        self.held.contains(hash.as_bytes())
    }

    async fn stage(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        bytes_max: u64,
    ) -> Result<Staged> {
        self.stage_hashed(reader, bytes_max, None).await
    }

    async fn protect(&self, hash: &ContentHash, bytes: u64) -> Result<Staged> {
        self.backing.check_room(bytes)?;
        let entered = self.collector.enter().await?;
        let content = HashAndFormat::raw(blob_hash(hash));
        let tag = self.blobs.tags().temp_tag(content).await;
        drop(entered);
        Ok(Staged {
            hash: *hash,
            size: None,
            tag: tag.map_err(|e| self.failed("protect a blob", e))?,
        })
    }

    async fn inspect(&self, hash: &ContentHash) -> Result<BoxStream<'static, Result<Bytes>>> {
        let size = self.size_if_whole(hash).await?;
        Ok(self.read(*hash, size))
    }

    async fn hold(&self, staged: Staged, sha256: ContentHash) -> Result<()> {
        let blake3 = staged.hash;
        let size = self.size_if_whole(&blake3).await?;
        crate::crash::point("store.staged");
        let persisted = self.backing.persist(blob_hash(&blake3), size).await;
        persisted.map_err(|e| self.failed("write a blob to disk", api::Error::Io(e)))?;
        crate::crash::point("store.persisted");
        let stored_at = Utc::now().trunc_subsecs(3);
        let blob = StorageMetadata {
            size,
            stored_at,
            blake3,
            sha256,
        };
        self.ledger.hold(blob, staged.tag).await?;
        crate::crash::point("store.held");
        Ok(())
    }

    async fn verify(&self) -> Result<Vec<(ContentHash, String)>> {
        let checks = self.held.all().into_iter().map(|blob| async move {
            let wrong = self.check(&blob).await.err()?;
            // What was deleted meanwhile is not damaged.
            self.is_held(&blob.blake3).then_some((blob.blake3, wrong))
        });
        let findings = futures::stream::iter(checks).buffer_unordered(VERIFY_AT_ONCE);
        let mut findings: Vec<_> = findings.filter_map(|f| async { f }).collect().await;
        findings.sort();
        Ok(findings)
    }

    async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let synced = self.blobs.sync_db().await;
        let down = self.blobs.shutdown().await;
        self.collector.detach();
        self.backing.release();
        synced.map_err(|e| self.failed("write the blob database", e))?;
        down.map_err(|e| self.failed("close the blob database", e))?;
        Ok(())
    }
}

impl<B: Backing> Drop for LocalStore<B> {
    /// A store that was not closed is closed in the background: iroh-blobs would keep it open for ever.
    fn drop(&mut self) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let blobs = self.blobs.clone();
        let collector = self.collector.clone();
        let backing = self.backing.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                blobs.shutdown().await.ok();
                collector.detach();
                backing.release();
            });
        }
    }
}

/// The blobs that tags name as held; tags that cannot be read are removed.
pub(super) async fn load_held(blobs: &api::Store) -> api::Result<Held> {
    let held = Held::default();
    let mut tags = blobs.tags().list().await?;
    while let Some(tag) = tags.next().await {
        let tag = tag?;
        match held::parse_tag(tag.name.as_ref()) {
            Some(blob) if blob.blake3.as_bytes() == tag.hash.as_bytes() => held.insert(&blob),
            _ => drop(blobs.tags().delete(&tag.name).await?),
        }
    }
    Ok(held)
}

pub(super) fn blob_hash(hash: &ContentHash) -> Hash {
    Hash::from_bytes(*hash.as_bytes())
}
