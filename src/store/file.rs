//! `FilePackageStore`: blobs in a folder, by iroh-blobs.
//!
//! A write goes: temporary tag, import, data files to disk, named tag, database to disk, acknowledgement. The
//! crate acknowledges before anything is on disk and never syncs its files; its tags and entries reach the
//! disk up to half a second later in any case, which is why the files go first: a tag that survived a crash
//! then always names bytes that did too.
//!
//! Opening removes all that a crash can leave: the temporary files of imports, the files of entries that never
//! reached the database, and every blob that is not held, partial ones included. An interrupted fetch can
//! be resumed while the node runs; nobody resumes it after a restart.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::Options as FsOptions;
use iroh_blobs::{Hash, api};
use tokio::task::spawn_blocking;

use super::StorageError;
use super::collect::Collector;
use super::held::Held;
use super::local::{Backing, LocalStore, load_held};
use crate::Result;

/// Blobs and their hash trees that are not larger stand in the database: the crate's default, in bytes.
const INLINE_BYTES_MAX: u64 = 16 << 10;
/// Bytes of one block, and of the two hashes that the hash tree has for each block but one.
const BLOCK_BYTES: u64 = 16 << 10;
const NODE_BYTES: u64 = 64;
const DATA: &str = "data";
const OUTBOARD: &str = "obao4";

/// What can be set about a store on disk.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often unused blobs are collected; what an interrupted fetch left can be resumed for that long.
    pub collect_interval: Duration,
    /// Bytes of the disk that are left free: with none, the blob database could not even be closed.
    pub free_bytes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            collect_interval: Duration::from_secs(120),
            free_bytes_min: 64 << 20,
        }
    }
}

/// A store in a folder of its own.
pub type FilePackageStore = LocalStore<Disk>;

impl LocalStore<Disk> {
    /// Opens the store in `dir`, or makes one there.
    ///
    /// # Errors
    /// As for [`FilePackageStore::open`].
    pub async fn new(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open(dir, Options::default()).await
    }

    /// Opens the store in `dir`, or makes one there, and removes what a crash has left.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if it is open elsewhere, [`StorageError::NoSpace`], [`StorageError::Write`].
    pub async fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let (dir, lock) = blocking(dir.as_ref().to_owned(), "open the store", prepare).await?;
        let loading = Collector::new(options.collect_interval, dir.clone());
        let mut fs_options = FsOptions::new(&dir);
        fs_options.gc = Some(loading.config());
        let loaded = FsStore::load_with_opts(dir.join("blobs.db"), fs_options).await;
        let blobs: api::Store = loaded.map_err(|e| open_error(&dir, &e.to_string()))?.into();

        let api_failed = |error: api::Error| {
            let api::Error::Io(source) = error;
            super::import::storage_error("read the blob database", &dir, source)
        };
        let held = Arc::new(load_held(&blobs).await.map_err(api_failed)?);
        loading.attach(blobs.clone(), held.clone());
        let listed = blobs.blobs().list().hashes().await;
        let listed = listed.map_err(|e| api_failed(e.into()))?;
        if listed.iter().any(|hash| !held.contains(hash.as_bytes())) {
            loading.collect().await?;
        }
        let kept = held.clone();
        blocking(dir.clone(), "remove left-over files", move |dir| {
            remove_orphans(&dir.join(DATA), &kept)
        })
        .await?;

        let disk = Arc::new(Disk {
            dir,
            free_bytes_min: options.free_bytes_min,
            lock: Mutex::new(Some(lock)),
            imports: Arc::default(),
        });
        Ok(Self::with(blobs, held, loading, disk))
    }
}

/// Runs file operations off the runtime's threads.
async fn blocking<T: Send + 'static>(
    dir: PathBuf,
    what: &'static str,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, StorageError> {
    let path = dir.clone();
    let done = spawn_blocking(move || work(&path)).await;
    let done = done.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    done.map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => StorageError::InUse { path: dir },
        _ => super::import::storage_error(what, &dir, source),
    })
}

/// Locks the folder and empties its folder of temporary files, which the crate never does.
fn prepare(dir: &Path) -> io::Result<(PathBuf, File)> {
    std::fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    let lock = File::create(dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    empty(&dir.join("temp"))?;
    Ok((dir, lock))
}

fn open_error(dir: &Path, error: &str) -> StorageError {
    let path = dir.to_owned();
    // The crate hides the database's own error type.
    if error.contains("already open") {
        return StorageError::InUse { path };
    }
    StorageError::Write {
        what: "open the blob database",
        path,
        source: io::Error::other(error.to_owned()),
    }
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in entries(dir)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}

fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// The names of the files that a whole blob of this size has.
fn files(hash: Hash, size: u64) -> Vec<String> {
    let outboard = size.div_ceil(BLOCK_BYTES).saturating_sub(1) * NODE_BYTES;
    let mut names = Vec::new();
    if size > INLINE_BYTES_MAX {
        names.push(format!("{}.{DATA}", hash.to_hex()));
    }
    if outboard > INLINE_BYTES_MAX {
        names.push(format!("{}.{OUTBOARD}", hash.to_hex()));
    }
    names
}

/// Removes every data file that no held blob has: of entries that a crash kept out of the database, and those
/// that the crate forgets when a fetched blob becomes whole.
fn remove_orphans(data: &Path, held: &Held) -> io::Result<()> {
    let mut kept = HashSet::new();
    for blob in held.all() {
        kept.extend(files(Hash::from_bytes(*blob.blake3.as_bytes()), blob.size));
    }
    for entry in entries(data)? {
        let entry = entry?;
        let known = entry.file_name().to_str().is_some_and(|n| kept.contains(n));
        if !known {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder of a store.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    free_bytes_min: u64,
    lock: Mutex<Option<File>>,
    imports: Arc<Mutex<Imports>>,
}

#[derive(Debug, Default)]
struct Imports {
    running: usize,
    /// The folder may be another store's by now.
    released: bool,
}

/// When the last import that runs ends, what failed ones left is removed: the crate keeps their files for ever,
/// just when the disk is full.
struct Importing {
    imports: Arc<Mutex<Imports>>,
    temp: PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Importing {
    fn drop(&mut self) {
        let mut imports = lock(&self.imports);
        imports.running -= 1;
        if imports.running == 0
            && !imports.released
            && let Err(error) = empty(&self.temp)
        {
            tracing::warn!(%error, "cannot remove temporary files in {}", self.temp.display());
        }
    }
}

#[async_trait]
impl Backing for Disk {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn check_room(&self, bytes: u64) -> Result<(), StorageError> {
        // A disk that does not tell is taken to have room: writing will show.
        let Ok(disk) = rustix::fs::statvfs(&self.dir) else {
            return Ok(());
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(self.free_bytes_min) {
            let path = self.dir.clone();
            return Err(StorageError::NoSpace { path });
        }
        Ok(())
    }

    fn importing(&self) -> Box<dyn Send + Sync> {
        lock(&self.imports).running += 1;
        Box::new(Importing {
            imports: self.imports.clone(),
            temp: self.dir.join("temp"),
        })
    }

    async fn persist(&self, hash: Hash, size: u64) -> io::Result<()> {
        if size <= INLINE_BYTES_MAX {
            return Ok(());
        }
        let data = self.dir.join(DATA);
        let synced = spawn_blocking(move || {
            let names = files(hash, size);
            for name in &names {
                File::open(data.join(name))?.sync_all()?;
            }
            // Without this the files may have no names after a crash.
            File::open(&data)?.sync_all()
        });
        synced
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }

    fn release(&self) {
        lock(&self.imports).released = true;
        drop(lock(&self.lock).take());
    }
}
