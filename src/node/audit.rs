//! What a node finds on its disk: cleaning up after a crash at the start, and checking everything on demand.

use std::collections::BTreeSet;
use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, OwnerId};

use super::fetch::{self, Blob};
use super::wanted::package;
use super::{Shared, VerifyReport, check};
use crate::Result;
use crate::registry::{Release, Standing, Verdict};

/// Packages, or changes, read at a time.
const PAGE: usize = 1024;

/// Repairs what a crash between two steps left: a held archive whose record never came is dropped, and one that
/// was not judged yet is checked again. Nothing that anybody was told of is touched.
///
/// `held` must have been listed before the node took its first record.
pub(super) async fn clean_up(shared: Arc<Shared>, held: Vec<ContentHash>) {
    if held.is_empty() {
        return;
    }
    if let Err(error) = try_clean_up(&shared, held).await {
        tracing::warn!(%error, "cannot look for what a crash left behind; trying again at the next start");
    }
}

async fn try_clean_up(shared: &Shared, held: Vec<ContentHash>) -> Result<()> {
    let mut orphans: BTreeSet<_> = held.into_iter().collect();
    let position = *shared.catalogue.position().borrow();
    let mut walk = Walk::default();
    while let Some(package) = walk.next(shared).await? {
        for release in releases(shared, &package).await? {
            for hash in blobs(shared, &release).await? {
                orphans.remove(&hash);
            }
            if let Some(blob) = unchecked(shared, &release)
                && let Err(error) = fetch::vet_held(shared, &blob).await
            {
                tracing::warn!(%error, "a held archive is not what a record says");
            }
        }
    }
    keep_named(shared, &mut orphans, 0).await?;
    if orphans.is_empty() {
        return Ok(());
    }
    // Nobody is between holding an archive and writing its record now.
    let _alone = shared.writing.write().await;
    keep_named(shared, &mut orphans, position).await?;
    for hash in orphans {
        tracing::info!(%hash, "dropping an archive whose record was never written");
        shared.store.delete(&hash).await?;
    }
    Ok(())
}

/// Takes out the blobs that records name which came after a position, effective or not: what a frozen owner
/// published is not lost, for it may recover.
async fn keep_named(
    shared: &Shared,
    orphans: &mut BTreeSet<ContentHash>,
    mut since: u64,
) -> Result<()> {
    let network = shared.catalogue.network();
    while !orphans.is_empty() {
        let changes = shared.catalogue.changes(since, PAGE).await?;
        let Some(last) = changes.last() else {
            break;
        };
        since = last.position;
        let records = changes.into_iter().map(|change| change.record).collect();
        for envelope in shared.catalogue.envelopes(records).await? {
            let publish = envelope.and_then(|envelope| check::publish_in(envelope, network));
            if let Some(hash) = publish.and_then(|publish| publish.checksums().blake3) {
                orphans.remove(&hash);
            }
        }
    }
    Ok(())
}

/// Checks everything.
pub(super) async fn verify(shared: &Shared) -> Result<VerifyReport> {
    let audit = shared.catalogue.audit().await?;
    let mut report = VerifyReport {
        records: audit.records,
        findings: audit.findings,
        ..VerifyReport::default()
    };
    for (hash, why) in shared.store.verify().await? {
        report.findings.push(format!("blob {hash}: {why}"));
    }
    let stats = shared.store.stats().await?;
    report.blobs = stats.blobs;
    report.blob_bytes = stats.bytes;
    let position = *shared.catalogue.position().borrow();
    let mut orphans: BTreeSet<_> = shared
        .store
        .list(None, usize::MAX)
        .await?
        .into_iter()
        .collect();
    let mut walk = Walk::default();
    while let Some(package) = walk.next(shared).await? {
        for release in releases(shared, &package).await? {
            for hash in blobs(shared, &release).await? {
                orphans.remove(&hash);
            }
            if let Some(finding) = verify_release(shared, &release).await? {
                report.findings.push(finding);
            }
        }
    }
    keep_named(shared, &mut orphans, 0).await?;
    {
        let _alone = shared.writing.write().await;
        keep_named(shared, &mut orphans, position).await?;
    }
    for hash in orphans {
        let finding = format!("blob {hash} is held, and no record names it");
        report.findings.push(finding);
    }
    Ok(report)
}

/// What is wrong with the archive of one release on this node, if something is.
async fn verify_release(shared: &Shared, release: &Release) -> Result<Option<String>> {
    let Some(blob) = Blob::of(release).filter(|_| release.standing == Standing::Published) else {
        return Ok(None);
    };
    let package = package(release);
    if !shared.store.is_held(&blob.hash) {
        let lost = release.verdict == Verdict::Sound;
        return Ok(
            lost.then(|| format!("{package}: its archive {} was here and is gone", blob.hash))
        );
    }
    if matches!(release.verdict, Verdict::Unsound(_)) {
        // Known, and not given out; another release may well have the same archive.
        return Ok(None);
    }
    let publish = check::publish_of(&*shared.catalogue, release).await?;
    let checked = check::archive(&shared.store, &blob.hash, publish).await;
    Ok(match checked {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{package}: {error}")),
        Err(error) => Some(format!("{package}: its archive cannot be read: {error}")),
    })
}

/// The blob of a release that is held, but was never checked against it.
fn unchecked(shared: &Shared, release: &Release) -> Option<Blob> {
    let blob = Blob::of(release)?;
    let unchecked = release.standing == Standing::Published
        && release.verdict == Verdict::Unchecked
        && shared.store.is_held(&blob.hash);
    unchecked.then_some(blob)
}

/// The blobs that the records of a release name: one, or several where they contradict each other.
async fn blobs(shared: &Shared, release: &Release) -> Result<Vec<ContentHash>> {
    let shown = release.metadata.checksums.blake3;
    let Standing::Conflicted(records) = &release.standing else {
        return Ok(shown.into_iter().collect());
    };
    let envelopes = shared.catalogue.envelopes(records.clone()).await?;
    let network = shared.catalogue.network();
    let published = envelopes
        .into_iter()
        .flatten()
        .filter_map(|envelope| check::publish_in(envelope, network));
    let claimed = published.filter_map(|publish| publish.checksums().blake3);
    Ok(claimed.chain(shown).collect())
}

async fn releases(shared: &Shared, package: &(OwnerId, CanonicalName)) -> Result<Vec<Release>> {
    shared.catalogue.releases(package.0, &package.1).await
}

/// All packages, one after another.
#[derive(Default)]
struct Walk {
    page: std::vec::IntoIter<(OwnerId, CanonicalName)>,
    last: Option<(OwnerId, CanonicalName)>,
    ended: bool,
}

impl Walk {
    async fn next(&mut self, shared: &Shared) -> Result<Option<(OwnerId, CanonicalName)>> {
        if self.page.len() == 0 && !self.ended {
            let page = shared.catalogue.packages(self.last.clone(), PAGE).await?;
            self.ended = page.len() < PAGE;
            self.page = page.into_iter();
        }
        if let Some(package) = self.page.next() {
            self.last = Some(package.clone());
            return Ok(Some(package));
        }
        Ok(None)
    }
}
