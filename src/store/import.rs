//! Bringing bytes into iroh-blobs, whoever stops waiting for it.
//!
//! An import runs in a task of its own: one that is dropped half way would leave its file for ever, and
//! one that ends while blobs are collected could lose its file to that.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use ggen_protocols::hash::ContentHash;
use iroh_blobs::api::{self, TempTag};
use tokio::sync::{mpsc, oneshot};

use super::collect::{Collector, Entered};
use super::local::Backing;
use super::{Staged, StorageError};

/// Chunks between who reads and who writes.
const CHUNKS_MAX: usize = 4;
/// How often a long import looks whether there is room, in bytes.
const ROOM_STEP: u64 = 16 << 20;
/// When to look for what a failed import left, each after the one before.
const LEFTOVER_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

/// What an import needs of its store.
pub(super) struct Import<B> {
    pub(super) blobs: api::Store,
    pub(super) collector: Collector,
    pub(super) backing: Arc<B>,
}

/// Where the bytes of an import go. Dropping it before `finish` abandons the import.
pub(super) struct Feed(mpsc::Sender<Option<Bytes>>);

impl Feed {
    /// Waits for room. Fails if the import failed.
    pub(super) async fn send(&mut self, bytes: Bytes) -> Result<(), ()> {
        self.0.send(Some(bytes)).await.map_err(drop)
    }

    /// Says that this was all. That the import failed is told by its result.
    pub(super) async fn finish(self) {
        self.0.send(None).await.ok();
    }
}

impl<B: Backing> Import<B> {
    pub(super) async fn bytes(self, bytes: Bytes) -> Result<Staged, StorageError> {
        self.backing.check_room(bytes.len() as u64)?;
        let (reply, answer) = oneshot::channel();
        let path = self.backing.path().to_owned();
        tokio::spawn(async move {
            let importing = self.backing.importing();
            let result = self.add_bytes(bytes).await;
            drop(importing);
            reply.send(result).ok();
        });
        answer.await.unwrap_or_else(|_| Err(stopped(&path)))
    }

    async fn add_bytes(&self, bytes: Bytes) -> Result<Staged, StorageError> {
        let size = bytes.len() as u64;
        let entered = self.collector.enter().await?;
        let tag = self.blobs.blobs().add_bytes(bytes).temp_tag().await;
        drop(entered);
        self.staged(tag, size)
    }

    /// Begins an import; what is returned beside the feed gives its result.
    pub(super) fn stream(
        self,
    ) -> Result<
        (
            Feed,
            impl Future<Output = Result<Staged, StorageError>> + Send,
        ),
        StorageError,
    > {
        self.backing.check_room(0)?;
        let (feed, fed) = mpsc::channel(CHUNKS_MAX);
        let (reply, answer) = oneshot::channel();
        let path = self.backing.path().to_owned();
        tokio::spawn(async move {
            let importing = self.backing.importing();
            let result = self.add_stream(fed).await;
            drop(importing);
            let failed = result.is_err();
            let backing = Arc::downgrade(&self.backing);
            drop(self);
            reply.send(result).ok();
            if failed {
                clean_up_after(backing).await;
            }
        });
        let staged = async move { answer.await.unwrap_or_else(|_| Err(stopped(&path))) };
        Ok((Feed(feed), staged))
    }

    async fn add_stream(
        &self,
        mut fed: mpsc::Receiver<Option<Bytes>>,
    ) -> Result<Staged, StorageError> {
        let (parts, mut written) = mpsc::channel::<io::Result<Bytes>>(1);
        let written = stream::poll_fn(move |context| written.poll_recv(context));
        let adding = self.blobs.blobs().add_stream(written).await;
        let feeding = async {
            let (size, end) = self.feed(&mut fed, &parts).await;
            match end {
                // The import ends when `parts` is dropped, and nothing is collected meanwhile.
                Ok(entered) => {
                    drop(parts);
                    (size, Some(entered))
                }
                Err(why) => {
                    parts.send(Err(why)).await.ok();
                    (size, None)
                }
            }
        };
        let ((size, entered), tag) = tokio::join!(feeding, adding.temp_tag());
        drop(entered);
        self.staged(tag, size)
    }

    /// Hands on what is fed until its end, and says how much it was.
    async fn feed(
        &self,
        fed: &mut mpsc::Receiver<Option<Bytes>>,
        parts: &mpsc::Sender<io::Result<Bytes>>,
    ) -> (u64, io::Result<Entered>) {
        let mut size = 0;
        let mut checked = 0;
        loop {
            let part = match fed.recv().await {
                Some(Some(part)) => part,
                Some(None) => {
                    let entered = self.collector.enter().await;
                    return (size, entered.map_err(io::Error::other));
                }
                None => return (size, Err(io::ErrorKind::Interrupted.into())),
            };
            size += part.len() as u64;
            if size - checked >= ROOM_STEP {
                checked = size;
                if self.backing.check_room(ROOM_STEP).is_err() {
                    return (size, Err(io::ErrorKind::StorageFull.into()));
                }
            }
            if parts.send(Ok(part)).await.is_err() {
                return (size, Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }

    fn staged(&self, tag: api::RequestResult<TempTag>, size: u64) -> Result<Staged, StorageError> {
        let tag = tag.map_err(|error| {
            let api::Error::Io(source) = error.into();
            storage_error("write a blob", self.backing.path(), source)
        })?;
        Ok(Staged {
            hash: ContentHash::from_blake3(*tag.hash().as_bytes()),
            size: Some(size),
            tag,
        })
    }
}

/// Removes what a failed import leaves. The crate reports the failure when the stream ends, and may begin the
/// import's file only then: so this looks again for a while, without keeping the store open.
async fn clean_up_after<B: Backing>(backing: Weak<B>) {
    for pause in LEFTOVER_PAUSES {
        tokio::time::sleep(pause).await;
        let Some(backing) = backing.upgrade() else {
            return;
        };
        drop(backing.importing());
    }
}

fn stopped(path: &Path) -> StorageError {
    StorageError::Write {
        what: "write a blob while the store stops",
        path: path.to_owned(),
        source: io::ErrorKind::Interrupted.into(),
    }
}

/// Tells a full disk from other failures.
pub(super) fn storage_error(what: &'static str, path: &Path, source: io::Error) -> StorageError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::NoSpace { path },
        _ => StorageError::Write { what, path, source },
    }
}
