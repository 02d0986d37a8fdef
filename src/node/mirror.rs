//! Keeps every admitted blob: follows the catalogue's changes and fetches what is not held.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use ggen_protocols::id::{CanonicalName, OwnerId};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::actor::{Commands, Fetch};
use super::fetch::{Blob, State};
use crate::Result;
use crate::registry::{Release, Standing, Verdict};

/// Blobs fetched at the same time.
const FETCHES_MAX: usize = 32;
/// Changes read at a time.
const CHANGES_MAX: usize = 512;
/// Packages that are kept in mind because nobody held their blobs; beyond, the feed is read again.
const MISSED_MAX: usize = 65_536;
/// Pause before what was missed is tried again; it doubles while nothing comes.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

type Package = (OwnerId, CanonicalName);

/// Runs until `stop`. `peers` changes whenever somebody connects, who may hold what was missed.
pub(super) async fn run<P>(
    shared: Arc<Shared>,
    commands: Commands,
    mut peers: watch::Receiver<P>,
    stop: CancellationToken,
) {
    let mut changes = shared.catalogue.position();
    let mut mirror = Mirror {
        shared,
        commands,
        since: 0,
        missed: BTreeSet::new(),
        again: false,
    };
    let mut retry_delay = RETRY_DELAY_MIN;
    let mut retry_at = None;
    let mut retry = false;
    loop {
        changes.mark_unchanged();
        peers.mark_unchanged();
        let pass = async {
            let missed = if retry {
                mirror.fetch_missed().await?
            } else {
                0
            };
            Ok::<_, crate::Error>(missed + mirror.fetch_new().await?)
        };
        let passed = tokio::select! {
            () = stop.cancelled() => return,
            passed = pass => passed,
        };
        match passed {
            Ok(0) => {}
            Ok(_) => retry_delay = RETRY_DELAY_MIN,
            Err(error) => {
                tracing::warn!(%error, "the mirror could not read the catalogue; trying again");
                mirror.again = true;
            }
        }
        if retry_at.is_none() && (mirror.again || !mirror.missed.is_empty()) {
            retry_at = Some(Instant::now() + retry_delay);
        }
        let retry_due = async {
            match retry_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        retry = tokio::select! {
            () = stop.cancelled() => return,
            () = retry_due => {
                retry_delay = RETRY_DELAY_MAX.min(retry_delay * 2);
                true
            }
            Ok(()) = peers.changed() => {
                retry_delay = RETRY_DELAY_MIN;
                true
            }
            Ok(()) = changes.changed() => false,
        };
        if retry {
            retry_at = None;
        }
    }
}

struct Mirror {
    shared: Arc<Shared>,
    commands: Commands,
    /// The changes up to here were looked at.
    since: u64,
    missed: BTreeSet<Package>,
    /// More was missed than is kept in mind: all changes are to be looked at again.
    again: bool,
}

impl Mirror {
    /// Tries again what was missed; gives how many blobs came.
    async fn fetch_missed(&mut self) -> Result<usize> {
        if std::mem::take(&mut self.again) {
            self.since = 0;
        }
        let missed = std::mem::take(&mut self.missed);
        self.fetch(missed).await
    }

    /// Looks at all new changes; gives how many blobs came.
    async fn fetch_new(&mut self) -> Result<usize> {
        let mut came = 0;
        loop {
            let catalogue = &self.shared.catalogue;
            let changes = catalogue.changes(self.since, CHANGES_MAX).await?;
            let Some(last) = changes.last() else {
                return Ok(came);
            };
            self.since = last.position;
            let packages = changes.into_iter().filter_map(|change| change.package);
            came += self.fetch(packages.collect()).await?;
        }
    }

    /// Fetches what is not held of these packages, many at a time.
    async fn fetch(&mut self, packages: BTreeSet<Package>) -> Result<usize> {
        let mut blobs = Vec::new();
        let mut room = self.room().await?;
        let mut came = 0;
        for (owner, name) in packages {
            for release in self.shared.catalogue.releases(owner, &name).await? {
                let Some(blob) = wanted(&self.shared, &release) else {
                    continue;
                };
                if blob.size > room {
                    tracing::debug!(hash = %blob.hash, "the mirror's quota has no room for a blob");
                    continue;
                }
                room -= blob.size;
                blobs.push(((owner, name.clone()), blob));
            }
            if blobs.len() >= CHANGES_MAX {
                came += self.bring(std::mem::take(&mut blobs)).await;
            }
        }
        Ok(came + self.bring(blobs).await)
    }

    async fn bring(&mut self, blobs: Vec<(Package, Blob)>) -> usize {
        let commands = &self.commands;
        let fetches = blobs.into_iter().map(|(package, blob)| async move {
            let (reply, answer) = oneshot::channel();
            let blob = Box::new(blob);
            let sent = commands.fetches.send(Fetch { blob, reply }).await;
            let held = match (sent, answer.await) {
                (Ok(()), Ok(mut running)) => {
                    let ended = running
                        .state
                        .wait_for(|state| !matches!(state, State::Running(_)));
                    matches!(ended.await.as_deref(), Ok(State::Held(_)))
                }
                _ => false,
            };
            (package, held)
        });
        let mut fetches = stream::iter(fetches).buffer_unordered(FETCHES_MAX);
        let (mut came, mut again) = (0, false);
        while let Some((package, held)) = fetches.next().await {
            if held {
                came += 1;
            } else if self.missed.len() < MISSED_MAX {
                self.missed.insert(package);
            } else {
                again = true;
            }
        }
        self.again |= again;
        came
    }

    /// Bytes that may still come: the quota counts everything that is held.
    async fn room(&self) -> Result<u64> {
        let held = self.shared.store.stats().await?.bytes;
        Ok(self.shared.config.mirror_bytes_max.saturating_sub(held))
    }
}

/// The blob of a release, if a mirror wants it and does not have it.
fn wanted(shared: &Shared, release: &Release) -> Option<Blob> {
    let blob = Blob::of(release)?;
    let wanted = release.standing == Standing::Published
        && !release.withdrawn
        && !matches!(release.verdict, Verdict::Unsound(_))
        && blob.size <= shared.config.package_bytes_max
        && !shared.store.is_held(&blob.hash);
    wanted.then_some(blob)
}
