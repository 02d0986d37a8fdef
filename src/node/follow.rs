//! Keeps the search index up to date with the catalogue, by its feed of changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use futures::stream::StreamExt;
use futures::stream::TryStreamExt;
use ggen_protocols::id::{CanonicalName, OwnerId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::registry::Catalogue;
use crate::registry::Release;
use crate::search::Entry;
use crate::search::Esteem;
use crate::search::SearchIndex;

/// Changes that are taken in together: few wait for each other when few come, and a node that joins commits
/// its index a dozen times and not a hundred thousand times.
const CHANGES_MAX: usize = 8_192;
/// Packages whose releases are read at the same time.
const READS_MAX: usize = 16;
/// Between attempts after an error.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Applies every change of the catalogue to the index until `stop`, then makes the index durable. `applied`
/// gets the position up to which searches show everything.
///
/// An error is tried again for as long as it takes; the log says so once.
pub(super) async fn follow(
    catalogue: Arc<dyn Catalogue>,
    index: Arc<dyn SearchIndex>,
    applied: watch::Sender<u64>,
    stop: CancellationToken,
) {
    let mut latest = catalogue.position();
    let mut place = None;
    let mut retry = RETRY_MIN;
    loop {
        // Seen before the changes are read, so that one that comes meanwhile wakes the wait below.
        latest.mark_unchanged();
        let step = async {
            let before = match place {
                Some(place) => place,
                None => begin(&*catalogue, &*index).await?,
            };
            let next = advance(&*catalogue, &*index, before).await?;
            Ok::<_, crate::Error>((before, next))
        };
        let step = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            step = step => step,
        };
        let wait = match step {
            Ok((before, next)) => {
                if retry != RETRY_MIN {
                    tracing::info!("the search index follows the catalogue again");
                    retry = RETRY_MIN;
                }
                place = Some(next);
                applied.send_replace(next.position);
                if next != before {
                    continue;
                }
                None
            }
            Err(error) => {
                if retry == RETRY_MIN {
                    tracing::warn!(%error, "the search index cannot follow the catalogue; it is tried again");
                } else {
                    tracing::debug!(%error, "the search index still cannot follow the catalogue");
                }
                let wait = retry;
                retry = (retry * 2).min(RETRY_MAX);
                Some(wait)
            }
        };
        let more = async {
            match wait {
                Some(delay) => tokio::time::sleep(delay).await,
                None if latest.changed().await.is_ok() => {}
                // The catalogue is closed: nothing comes any more.
                None => stop.cancelled().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = more => {}
        }
    }
    if let Err(error) = index.flush().await {
        tracing::warn!(%error, "the newest changes are not in the search index; the next start adds them");
    }
}

/// How far the index has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// It shows what changed up to here.
    position: u64,
    /// What was gone of the changes up to here was gone before the index was begun, which so lacks nothing.
    pruned: u64,
}

/// Where to go on: where the index stands, unless it is ahead of this catalogue and so was made from another, or so far
/// behind that changes it lacks are gone.
async fn begin(catalogue: &dyn Catalogue, index: &dyn SearchIndex) -> Result<Place> {
    let position = index.position().await?;
    let latest = *catalogue.position().borrow();
    let pruned = catalogue.pruned().await?;
    if position == 0 || (pruned..=latest).contains(&position) {
        return Ok(Place { position, pruned });
    }
    tracing::info!(
        position,
        latest,
        pruned,
        "the search index was made from another catalogue, or from one of long ago; it is built anew"
    );
    begin_anew(index, pruned).await
}

async fn begin_anew(index: &dyn SearchIndex, pruned: u64) -> Result<Place> {
    index.rebuild_dyn(&mut std::iter::empty()).await?;
    Ok(Place {
        position: 0,
        pruned,
    })
}

/// Takes in the next changes; gives the place reached.
async fn advance(
    catalogue: &dyn Catalogue,
    index: &dyn SearchIndex,
    place: Place,
) -> Result<Place> {
    let changes = catalogue.changes(place.position, CHANGES_MAX).await?;
    // Asked after reading: what goes from now on was read.
    let pruned = catalogue.pruned().await?;
    if pruned > place.position.max(place.pruned) {
        tracing::info!(
            "the search index fell behind what is kept of the changes; it is built anew"
        );
        return begin_anew(index, pruned).await;
    }
    let Some(reached) = changes.iter().map(|change| change.position).max() else {
        return Ok(place);
    };
    let packages: BTreeSet<_> = changes
        .into_iter()
        .filter_map(|change| change.package)
        .collect();
    let entries = stream::iter(packages)
        .map(|(owner, name)| entry(catalogue, owner, name))
        .buffer_unordered(READS_MAX);
    index.apply(entries.try_collect().await?, reached).await?;
    Ok(Place {
        position: reached,
        ..place
    })
}

async fn entry(catalogue: &dyn Catalogue, owner: OwnerId, name: CanonicalName) -> Result<Entry> {
    let shown = best(catalogue.releases(owner, &name).await?).map(|release| release.metadata);
    // As of now: a download is no change of the catalogue.
    let downloads = catalogue.downloads(owner, &name).await?;
    Ok(Entry {
        owner,
        name,
        shown,
        esteem: Esteem {
            downloads,
            ..Esteem::default()
        },
    })
}

/// The release that stands for its package: the highest offered one, a pre-release only if there is no other.
fn best(releases: Vec<Release>) -> Option<Release> {
    let offered = releases.into_iter().filter(Release::is_offered);
    offered.max_by(|one, other| {
        let rank = |release: &Release| release.key.version.pre.is_empty();
        rank(one)
            .cmp(&rank(other))
            .then_with(|| one.key.version.cmp(&other.key.version))
    })
}

#[cfg(test)]
mod tests;
