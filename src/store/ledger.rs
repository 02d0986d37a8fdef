//! The one writer of tags: many holds and deletions share one commit of the blob database.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use iroh_blobs::api::TempTag;
use iroh_blobs::{Hash, HashAndFormat, api};
use tokio::sync::{mpsc, oneshot};

use super::collect::Collector;
use super::held::{self, Held};
use super::{StorageError, StorageMetadata};

/// Changes that share one commit, and that may wait for the next.
const BATCH_MAX: usize = 256;

type Reply = oneshot::Sender<Result<(), StorageError>>;

enum Change {
    /// With what keeps the blob from being collected until it is held, whoever stops waiting.
    Hold(StorageMetadata, TempTag, Reply),
    Release(ContentHash, Reply),
}

/// The handle of the writer. It ends when the handles are gone, after it did what was asked.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    changes: mpsc::Sender<Change>,
    path: PathBuf,
}

impl Ledger {
    pub(super) fn start(
        blobs: api::Store,
        held: Arc<Held>,
        collector: Collector,
        path: PathBuf,
    ) -> Self {
        let (changes, asked) = mpsc::channel(BATCH_MAX);
        let writer = Writer {
            blobs,
            held,
            collector,
            path: path.clone(),
        };
        tokio::spawn(writer.run(asked));
        Self { changes, path }
    }

    /// Makes a whole blob held; it is so once this returns, crash or not. Its bytes must be on disk already.
    pub(super) async fn hold(
        &self,
        blob: StorageMetadata,
        guard: TempTag,
    ) -> Result<(), StorageError> {
        self.ask(|reply| Change::Hold(blob, guard, reply)).await
    }

    /// Makes a blob not held any more: for readers before it is written, after a crash once this returns.
    pub(super) async fn release(&self, blake3: ContentHash) -> Result<(), StorageError> {
        self.ask(|reply| Change::Release(blake3, reply)).await
    }

    async fn ask(&self, change: impl FnOnce(Reply) -> Change) -> Result<(), StorageError> {
        let (reply, answer) = oneshot::channel();
        let closed = || StorageError::Write {
            what: "write to the closed store",
            path: self.path.clone(),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        self.changes
            .send(change(reply))
            .await
            .map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

struct Writer {
    blobs: api::Store,
    held: Arc<Held>,
    collector: Collector,
    path: PathBuf,
}

impl Writer {
    async fn run(self, mut asked: mpsc::Receiver<Change>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while asked.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.write(batch.drain(..)).await;
        }
    }

    async fn write(&self, batch: impl Iterator<Item = Change>) {
        let mut done = Vec::new();
        for change in batch {
            let result = match &change {
                Change::Hold(blob, ..) if self.held.get(&blob.blake3).is_some() => Ok(()),
                Change::Hold(blob, ..) => {
                    let content = HashAndFormat::raw(Hash::from_bytes(*blob.blake3.as_bytes()));
                    self.blobs
                        .tags()
                        .set(held::tag_name(blob), content)
                        .await
                        .map_err(api::Error::from)
                }
                Change::Release(blake3, _) => {
                    self.held.remove(blake3);
                    let deleted = self
                        .blobs
                        .tags()
                        .delete_prefix(held::tag_prefix(blake3))
                        .await;
                    deleted.map(drop).map_err(api::Error::from)
                }
            };
            done.push((change, result));
        }
        crate::crash::point("store.tagged");
        let synced = self.blobs.sync_db().await.map_err(api::Error::from);
        crate::crash::point("store.synced");
        let mut guards = Vec::new();
        for (change, result) in done {
            let result = match &synced {
                Err(api::Error::Io(source)) => {
                    Err(io::Error::new(source.kind(), source.to_string()).into())
                }
                Ok(()) => result,
            };
            let (what, reply) = match change {
                Change::Hold(blob, guard, reply) => {
                    guards.push(guard);
                    if result.is_ok() {
                        self.held.insert(&blob);
                    }
                    ("mark a blob as held", reply)
                }
                Change::Release(_, reply) => ("remove a blob", reply),
            };
            let result = result.map_err(|api::Error::Io(source)| StorageError::Write {
                what,
                path: self.path.clone(),
                source,
            });
            // Who asked may have stopped waiting; the change counts all the same.
            reply.send(result).ok();
        }
        // A round marks tags, then guards: one that began before a tag was set and looked for its guard after
        // that was dropped would find neither.
        match self.collector.enter().await {
            Ok(entered) => {
                drop(guards);
                drop(entered);
            }
            Err(error) => {
                tracing::warn!(%error, "blobs stay in use for longer than they are");
                guards.iter_mut().for_each(TempTag::leak);
            }
        }
    }
}
