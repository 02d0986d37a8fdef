//! The traits `PackageStore` and `BlobStore`: package bytes under their BLAKE3 hash.

mod collect;
pub mod file;
mod held;
mod import;
mod ledger;
mod local;
pub mod memory;
mod read;

use std::fmt;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use ggen_protocols::hash::ContentHash;
use tokio::io::AsyncRead;

use crate::Result;

/// Holds package bytes under their BLAKE3 hash.
///
/// # Contract (checked by `testing::store::suite`)
/// - `store` and `upload_stream` return only after the bytes survive a crash.
/// - `get` and `stream` give the bytes of that hash or an error, never other bytes.
/// - A SHA-256 hash finds the blob stored with that hash too.
#[async_trait]
pub trait PackageStore: fmt::Debug + Send + Sync {
    /// Stores bytes and returns their BLAKE3 hash. Bytes that are there already cost no second copy.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`], [`StorageError::Write`].
    async fn store(&self, package_bytes: Bytes) -> Result<ContentHash>;

    /// All bytes of a blob.
    ///
    /// # Errors
    /// [`StorageError::NotFound`], [`StorageError::Damaged`].
    async fn get(&self, hash: &ContentHash) -> Result<Bytes>;

    /// The bytes of a blob in order, verified piece by piece.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] at once; [`StorageError::Damaged`] as the last item.
    async fn stream(&self, hash: &ContentHash) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Stores what `reader` gives: the form of `upload_stream` that a trait object can have.
    ///
    /// # Errors
    /// As for `store`, and what the reader fails with.
    async fn upload_dyn(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        size_hint: Option<u64>,
    ) -> Result<ContentHash>;

    /// Whether the blob is here, whole.
    async fn exists(&self, hash: &ContentHash) -> Result<bool>;

    /// Removes a blob: gone for readers at once, its bytes are freed at the next collection.
    ///
    /// # Errors
    /// [`StorageError::NotFound`], [`StorageError::PermissionDenied`].
    async fn delete(&self, hash: &ContentHash) -> Result<()>;

    /// Size and dates of a blob.
    ///
    /// # Errors
    /// [`StorageError::NotFound`].
    async fn metadata(&self, hash: &ContentHash) -> Result<StorageMetadata>;

    /// Copies a blob to another store and returns its hash there.
    ///
    /// # Errors
    /// Those of `stream` here and of `upload_dyn` there.
    async fn copy_to(
        &self,
        hash: &ContentHash,
        destination: &dyn PackageStore,
    ) -> Result<ContentHash> {
        let size = self.metadata(hash).await?.size;
        let bytes = futures::TryStreamExt::map_err(self.stream(hash).await?, io::Error::other);
        let mut reader = tokio_util::io::StreamReader::new(bytes);
        destination.upload_dyn(&mut reader, Some(size)).await
    }

    /// The first `limit` BLAKE3 hashes whose hexadecimal digits begin with `prefix`, ascending.
    async fn list(&self, prefix: Option<&str>, limit: usize) -> Result<Vec<ContentHash>>;

    /// How many blobs of how many bytes there are.
    async fn stats(&self) -> Result<StorageStats>;
}

/// The methods of a store that take generic arguments.
#[async_trait]
pub trait PackageStoreExt: PackageStore {
    /// Stores what `reader` gives, without holding it in memory. `size_hint` may help to choose how.
    ///
    /// # Errors
    /// As for [`PackageStore::store`], and what the reader fails with.
    async fn upload_stream(
        &self,
        mut reader: impl AsyncRead + Unpin + Send + 'async_trait,
        size_hint: Option<u64>,
    ) -> Result<ContentHash> {
        self.upload_dyn(&mut reader, size_hint).await
    }
}

impl<T: PackageStore + ?Sized> PackageStoreExt for T {}

/// A store that peers fetch from and into.
///
/// A blob passes three states: *partial* while it is fetched, *whole* once every byte is there, and *held*
/// once it was checked and may be given to users and peers. `store` and `upload_dyn` make a blob held at once.
///
/// # Contract (checked by `testing::store::suite`)
/// - Only held blobs are seen by the methods of [`PackageStore`].
/// - `hold` returns only after the blob survives a crash as held.
#[async_trait]
pub trait BlobStore: PackageStore {
    /// The transfer layer's own handle.
    fn blobs(&self) -> iroh_blobs::api::Store;

    /// Whether the blob with this BLAKE3 hash is held.
    fn is_held(&self, hash: &ContentHash) -> bool;

    /// Writes what `reader` gives as a whole blob that is not held: it stays only as long as the guard lives,
    /// unless it becomes held.
    ///
    /// # Errors
    /// As for [`PackageStore::store`]; [`StorageError::TooLarge`] past `bytes_max`, with nothing left behind.
    async fn stage(
        &self,
        reader: &mut (dyn AsyncRead + Unpin + Send),
        bytes_max: u64,
    ) -> Result<Staged>;

    /// Protects a blob of `bytes` that is about to be fetched from being collected while the guard lives.
    /// What was fetched of it stays for a while longer, so that it can be resumed.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`] if there is no room for so much.
    async fn protect(&self, hash: &ContentHash, bytes: u64) -> Result<Staged>;

    /// The verified bytes of a whole blob, held or not, for checking it.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if it is not whole.
    async fn inspect(&self, hash: &ContentHash) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Makes a whole blob held. `sha256` is what was computed while checking it.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if it is not whole.
    async fn hold(&self, staged: Staged, sha256: ContentHash) -> Result<()>;

    /// Reads every held blob again and reports those that are not what they should be, by hash.
    async fn verify(&self) -> Result<Vec<(ContentHash, String)>>;

    /// Waits for running writes and closes the store.
    ///
    /// # Errors
    /// [`StorageError::Write`].
    async fn close(&self) -> Result<()>;
}

/// A blob that is here, whole or not, and stays while this guard lives.
#[derive(Debug)]
pub struct Staged {
    hash: ContentHash,
    size: Option<u64>,
    tag: iroh_blobs::api::TempTag,
}

impl Staged {
    /// Its BLAKE3 hash.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Its size in bytes, if it was staged whole.
    pub fn size(&self) -> Option<u64> {
        self.size
    }
}

/// Size and dates of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageMetadata {
    /// Its length in bytes.
    pub size: u64,
    /// When it came here.
    pub stored_at: DateTime<Utc>,
    /// Its BLAKE3 hash.
    pub blake3: ContentHash,
    /// Its SHA-256 hash.
    pub sha256: ContentHash,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageStats {
    /// Held blobs.
    pub blobs: u64,
    /// The sum of their lengths in bytes.
    pub bytes: u64,
}

/// Why a store refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no such blob here.
    #[error("blob {0} is not in the store")]
    NotFound(ContentHash),
    /// It may not be removed.
    #[error("blob {hash} may not be removed: {why}")]
    PermissionDenied {
        /// Which one.
        hash: ContentHash,
        /// Why.
        why: String,
    },
    /// More bytes than a package may have.
    #[error("the content is larger than the {max} bytes that a package may have here")]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// The disk is full, or nearly.
    #[error("no space left in {path}: free some, or start the node with its home elsewhere")]
    NoSpace {
        /// Where the store is.
        path: PathBuf,
    },
    /// The blob's bytes are not those of its hash any more.
    #[error("blob {hash} is damaged on disk: {why}")]
    Damaged {
        /// Which one.
        hash: ContentHash,
        /// What was found.
        why: String,
    },
    /// Another process has the store open.
    #[error("the store in {path} is open in another process")]
    InUse {
        /// Where the store is.
        path: PathBuf,
    },
    /// The disk or the database failed.
    #[error("cannot {what} in {path}")]
    Write {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
