//! Frees the bytes of blobs that nobody holds, at times of our choosing.
//!
//! iroh-blobs deletes in rounds: it calls back, marks what is tagged, and sweeps the rest. It says neither
//! when a round ends nor does it notice what gets protected between mark and sweep. So its interval is as
//! short as can be and the callback waits until *we* want a round; the next call tells that the round is
//! over; and in between a gate keeps out what would protect or import a blob.
//!
//! A blob that is neither held nor guarded goes when two rounds in a row found it so: what a dropped fetch
//! left can be resumed for at least one interval. A deleted blob goes in the next round.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use iroh_blobs::store::{GcConfig, ProtectOutcome};
use iroh_blobs::{Hash, api};
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

use super::StorageError;
use super::held::Held;

/// Longest wait for a round to end; one takes milliseconds unless the disk or the database died.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// Pause of the crate between two calls back.
const CALL_PAUSE: Duration = Duration::from_millis(1);

/// Decides when blobs are collected, and which.
#[derive(Debug, Clone)]
pub(super) struct Collector(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    interval: Duration,
    path: PathBuf,
    gate: Arc<RwLock<()>>,
    wanted: Notify,
    rounds: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    store: Option<(api::Store, Arc<Held>)>,
    detached: bool,
    /// There may be something to collect.
    dirty: bool,
    /// Everything that is neither held nor guarded goes in the next round.
    all: bool,
    suspects: HashSet<Hash>,
    deleted: HashSet<Hash>,
    /// Present while a round runs.
    round: Option<OwnedRwLockWriteGuard<()>>,
}

/// Keeps rounds from starting while it lives.
pub(super) type Entered = OwnedRwLockReadGuard<()>;

impl Collector {
    pub(super) fn new(interval: Duration, path: PathBuf) -> Self {
        Self(Arc::new(Shared {
            interval,
            path,
            gate: Arc::default(),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
            state: Mutex::default(),
        }))
    }

    /// What a blob store is to be made with.
    pub(super) fn config(&self) -> GcConfig {
        let shared = self.0.clone();
        GcConfig {
            interval: CALL_PAUSE,
            add_protected: Some(Arc::new(move |live| called(shared.clone(), live))),
        }
    }

    /// Names the store, once it is made; no round starts before.
    pub(super) fn attach(&self, blobs: api::Store, held: Arc<Held>) {
        self.0.state().store = Some((blobs, held));
    }

    /// Lets go of the store, and the crate's loop with it; to be called when the store was shut down.
    pub(super) fn detach(&self) {
        let mut state = self.0.state();
        state.store = None;
        state.detached = true;
        drop(state);
        self.0.wanted.notify_one();
    }

    /// Must be held while a blob is protected or an import ends.
    pub(super) async fn enter(&self) -> Result<Entered, StorageError> {
        let entered = tokio::time::timeout(ROUND_MAX, self.0.gate.clone().read_owned()).await;
        let entered = entered.map_err(|_| self.0.stuck())?;
        self.0.state().dirty = true;
        Ok(entered)
    }

    /// The blob was deleted: it need not be kept for another interval.
    pub(super) fn deleted(&self, hash: Hash) {
        let mut state = self.0.state();
        state.deleted.insert(hash);
        state.dirty = true;
    }

    /// Frees everything that is neither held nor guarded now, and waits for it.
    pub(super) async fn collect(&self) -> Result<(), StorageError> {
        let mut rounds = self.0.rounds.subscribe();
        // A round that runs now may have marked before this call: the one after it counts.
        let running = self.0.state().round.is_some();
        let target = *rounds.borrow() + 1 + u64::from(running);
        self.0.state().all = true;
        self.0.wanted.notify_one();
        let over = async {
            while *rounds.borrow_and_update() < target {
                self.0.wanted.notify_one();
                if rounds.changed().await.is_err() {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(ROUND_MAX, over).await;
        waited.map_err(|_| self.0.stuck())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stuck(&self) -> StorageError {
        StorageError::Write {
            what: "collect what nobody holds",
            path: self.path.clone(),
            source: io::ErrorKind::TimedOut.into(),
        }
    }

    /// One call of the crate: ends the round before, waits until one is wanted, and says what it must spare.
    /// Nothing, if the store was closed meanwhile.
    async fn next(self: Arc<Self>) -> Option<HashSet<Hash>> {
        if self.state().round.take().is_some() {
            self.rounds.send_modify(|rounds| *rounds += 1);
        }
        loop {
            let wanted = tokio::time::timeout(self.interval, self.wanted.notified()).await;
            let (store, dirty) = {
                let mut state = self.state();
                if state.detached {
                    return None;
                }
                (state.store.clone(), std::mem::take(&mut state.dirty))
            };
            let Some((blobs, held)) = store.filter(|_| wanted.is_ok() || dirty) else {
                continue;
            };
            let round = self.gate.clone().write_owned().await;
            match self.spared(&blobs, &held).await {
                Ok(spared) => {
                    self.state().round = Some(round);
                    return Some(spared);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot list the blobs to collect; trying again later");
                    self.state().dirty = true;
                }
            }
        }
    }

    async fn spared(&self, blobs: &api::Store, held: &Held) -> api::Result<HashSet<Hash>> {
        let mut guarded = HashSet::new();
        let mut tags = blobs.tags().list_temp_tags().await?;
        while let Some(content) = tags.next().await {
            guarded.insert(content.hash);
        }
        let mut loose = HashSet::new();
        let mut listed = blobs.blobs().list().stream().await?;
        while let Some(hash) = listed.next().await {
            let hash = hash?;
            if !held.contains(hash.as_bytes()) && !guarded.contains(&hash) {
                loose.insert(hash);
            }
        }
        let mut state = self.state();
        let all = std::mem::take(&mut state.all);
        let deleted = std::mem::take(&mut state.deleted);
        let before = std::mem::take(&mut state.suspects);
        loose.retain(|hash| !(all || deleted.contains(hash) || before.contains(hash)));
        // Guards end without telling; so there may be something next time as long as there are any.
        state.dirty |= !loose.is_empty() || !guarded.is_empty();
        state.suspects.clone_from(&loose);
        Ok(loose)
    }
}

type Called<'a> = Pin<Box<dyn Future<Output = ProtectOutcome> + Send + Sync + 'a>>;

fn called(shared: Arc<Shared>, live: &mut HashSet<Hash>) -> Called<'_> {
    // A task, because the crate wants a future that is `Sync`.
    let next = tokio::spawn(shared.next());
    Box::pin(async move {
        match next.await {
            Ok(spared) => live.extend(spared.into_iter().flatten()),
            Err(_) => return ProtectOutcome::Abort,
        }
        // Once the store is shut down, going on fails, which ends the crate's loop.
        ProtectOutcome::Continue
    })
}
