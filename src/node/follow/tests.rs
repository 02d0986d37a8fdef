//! `follow` between a catalogue and an index that only know what it asks of them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, PackageId, PublicKey, RecordId, ReleaseKey};
use ggen_protocols::message::HeadPlace;
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::reconcile::fingerprint::{Branch, Prefix, Root};
use ggen_protocols::record::{FeedHead, Record, Verified};
use semver::{Version, VersionReq};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::registry::Admission;
use crate::registry::Admitted;
use crate::registry::Audit;
use crate::registry::DependencyGraph;
use crate::registry::MetadataUpdates;
use crate::registry::PackageStats;
use crate::registry::Registry;
use crate::registry::Sight;
use crate::registry::Standing;
use crate::registry::Totals;
use crate::registry::Verdict;
use crate::registry::Witnessed;
use crate::search::Facets;
use crate::search::IndexStats;
use crate::search::SearchEngine;
use crate::search::SearchError;
use crate::search::SearchPage;
use crate::search::SearchQuery;
use crate::search::SearchResult;

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Books {
    changes: Mutex<Vec<Admitted>>,
    releases: Mutex<BTreeMap<CanonicalName, Vec<Release>>>,
    position: watch::Sender<u64>,
    pruned: Mutex<u64>,
}

fn owner() -> OwnerId {
    OwnerId::from_bytes([1; 32])
}

fn release(name: &str, version: &str) -> Release {
    let id = PackageId::new(name, version);
    Release {
        key: ReleaseKey::new(owner(), name.parse().unwrap(), &id.version),
        record: RecordId::from_bytes([0; 32]),
        metadata: PackageMetadata::new(id),
        standing: Standing::Published,
        yanked: false,
        withdrawn: false,
        note: String::new(),
        state: None,
        package_state: None,
        verdict: Verdict::Unchecked,
        pinned: false,
        first_seen: chrono::DateTime::UNIX_EPOCH,
    }
}

impl Books {
    /// Publishes `name@version`, or lets `release` say more of it.
    fn put(&self, release: Release) {
        let name = release.key.name.clone();
        let mut all = self.releases.lock().unwrap();
        let releases = all.entry(name.clone()).or_default();
        releases.retain(|own| own.key != release.key);
        releases.push(release);
        drop(all);
        self.change(Some((owner(), name)));
    }

    fn change(&self, package: Option<(OwnerId, CanonicalName)>) {
        let mut changes = self.changes.lock().unwrap();
        let position = changes.len() as u64 + 1;
        let record = RecordId::from_bytes([0; 32]);
        changes.push(Admitted {
            position,
            record,
            package,
        });
        drop(changes);
        self.position.send_replace(position);
    }
}

#[async_trait]
impl Catalogue for Books {
    async fn changes(&self, since: u64, limit: usize) -> Result<Vec<Admitted>> {
        let changes = self.changes.lock().unwrap();
        Ok(changes
            .iter()
            .skip(since as usize)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn pruned(&self) -> Result<u64> {
        Ok(*self.pruned.lock().unwrap())
    }

    fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    async fn releases(&self, _owner: OwnerId, name: &CanonicalName) -> Result<Vec<Release>> {
        Ok(self
            .releases
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .unwrap_or_default())
    }

    fn network(&self) -> NetworkId {
        unreachable!("not asked")
    }

    fn own(&self) -> Vec<OwnerId> {
        unreachable!("not asked")
    }

    async fn admit(&self, _: Vec<Verified<Record>>) -> Result<Vec<Admission>> {
        unreachable!("not asked")
    }

    async fn root(&self) -> Result<Root> {
        unreachable!("not asked")
    }

    async fn branches(&self, _: Vec<Prefix>) -> Result<Vec<Branch>> {
        unreachable!("not asked")
    }

    async fn ids(&self, _: RangeInclusive<RecordId>, _: usize) -> Result<Vec<RecordId>> {
        unreachable!("not asked")
    }

    async fn known(&self, _: Vec<RecordId>) -> Result<Vec<bool>> {
        unreachable!("not asked")
    }

    async fn envelopes(&self, _: Vec<RecordId>) -> Result<Vec<Option<Bytes>>> {
        unreachable!("not asked")
    }

    async fn feed_head(&self, _: OwnerId, _: PublicKey) -> Result<FeedHead> {
        unreachable!("not asked")
    }

    async fn owners_of(&self, _: &CanonicalName) -> Result<Vec<OwnerId>> {
        unreachable!("not asked")
    }

    async fn packages(
        &self,
        _: Option<(OwnerId, CanonicalName)>,
        _: usize,
    ) -> Result<Vec<(OwnerId, CanonicalName)>> {
        unreachable!("not asked")
    }

    async fn owner_of(&self, _: Option<&str>, _: &CanonicalName) -> Result<OwnerId> {
        unreachable!("not asked")
    }

    async fn judge(&self, _: RecordId, _: Verdict) -> Result<()> {
        unreachable!("not asked")
    }

    async fn admit_own(&self, _: Verified<Record>) -> Result<Admission> {
        unreachable!("not asked")
    }

    async fn witness(&self, _: Verified<Record>) -> Result<Witnessed> {
        unreachable!("not asked")
    }

    async fn heads(&self, _: Option<HeadPlace>, _: usize) -> Result<Vec<(HeadPlace, Bytes)>> {
        unreachable!("not asked")
    }

    async fn sights(&self, _: OwnerId) -> Result<Vec<Sight>> {
        unreachable!("not asked")
    }

    async fn documents(&self, _: OwnerId) -> Result<Vec<Bytes>> {
        unreachable!("not asked")
    }

    async fn forked(&self, _: OwnerId) -> Result<Vec<PublicKey>> {
        unreachable!("not asked")
    }

    async fn audit(&self) -> Result<Audit> {
        unreachable!("not asked")
    }

    fn downloaded(&self, _: &ReleaseKey) {
        unreachable!("not asked")
    }

    async fn downloads(&self, _: OwnerId, _: &CanonicalName) -> Result<u64> {
        Ok(0)
    }

    async fn totals(&self) -> Result<Totals> {
        unreachable!("not asked")
    }
}

#[async_trait]
impl Registry for Books {
    async fn register(&self, _: &PackageMetadata, _: ContentHash) -> Result<PackageId> {
        unreachable!("not asked")
    }

    async fn get(&self, _: &PackageId) -> Result<PackageMetadata> {
        unreachable!("not asked")
    }

    async fn list_versions(&self, _: &str, _: Option<&str>) -> Result<Vec<Version>> {
        unreachable!("not asked")
    }

    async fn resolve_version(&self, _: &str, _: &VersionReq) -> Result<Option<PackageId>> {
        unreachable!("not asked")
    }

    async fn resolve_dependencies(&self, _: &PackageId, _: bool) -> Result<DependencyGraph> {
        unreachable!("not asked")
    }

    async fn update_metadata(&self, _: &PackageId, _: MetadataUpdates) -> Result<()> {
        unreachable!("not asked")
    }

    async fn get_stats(&self, _: &PackageId) -> Result<PackageStats> {
        unreachable!("not asked")
    }

    async fn record_download(&self, _: &PackageId) -> Result<()> {
        unreachable!("not asked")
    }

    async fn yank(&self, _: &PackageId, _: Option<&str>) -> Result<()> {
        unreachable!("not asked")
    }

    async fn unyank(&self, _: &PackageId) -> Result<()> {
        unreachable!("not asked")
    }

    async fn is_yanked(&self, _: &PackageId) -> Result<bool> {
        unreachable!("not asked")
    }

    async fn list_by_author(&self, _: &str, _: usize, _: usize) -> Result<Vec<PackageMetadata>> {
        unreachable!("not asked")
    }
}

/// An index that keeps which version it shows of each package.
#[derive(Debug, Default)]
struct Shelf {
    shown: Mutex<BTreeMap<String, String>>,
    position: Mutex<u64>,
    /// How many times `apply` fails before it works.
    failures: Mutex<u32>,
    /// How many entries each `apply` had.
    batches: Mutex<Vec<usize>>,
    flushed: Mutex<bool>,
}

#[async_trait]
impl SearchIndex for Shelf {
    async fn apply(&self, entries: Vec<Entry>, position: u64) -> Result<()> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(SearchError::IndexingFailed("no space".to_owned()).into());
        }
        self.batches.lock().unwrap().push(entries.len());
        let mut shown = self.shown.lock().unwrap();
        for entry in entries {
            let name = entry.name.to_string();
            match entry.shown {
                Some(package) => shown.insert(name, package.id.version.to_string()),
                None => shown.remove(&name),
            };
        }
        *self.position.lock().unwrap() = position;
        Ok(())
    }

    async fn position(&self) -> Result<u64> {
        Ok(*self.position.lock().unwrap())
    }

    async fn flush(&self) -> Result<()> {
        *self.flushed.lock().unwrap() = true;
        Ok(())
    }
}

#[async_trait]
impl SearchEngine for Shelf {
    async fn rebuild_dyn(
        &self,
        packages: &mut (dyn Iterator<Item = PackageMetadata> + Send),
    ) -> Result<()> {
        assert!(packages.next().is_none(), "begun empty");
        self.shown.lock().unwrap().clear();
        *self.position.lock().unwrap() = 0;
        Ok(())
    }

    async fn index(&self, _: &PackageMetadata) -> Result<()> {
        unreachable!("not asked")
    }

    async fn remove(&self, _: &PackageId) -> Result<()> {
        unreachable!("not asked")
    }

    async fn update(&self, _: &PackageMetadata) -> Result<()> {
        unreachable!("not asked")
    }

    async fn search_page(&self, _: &SearchQuery) -> Result<SearchPage> {
        unreachable!("not asked")
    }

    async fn suggest(&self, _: &str, _: usize) -> Result<Vec<String>> {
        unreachable!("not asked")
    }

    async fn facets(&self, _: &SearchQuery) -> Result<Facets> {
        unreachable!("not asked")
    }

    async fn similar(&self, _: &PackageId, _: usize) -> Result<Vec<SearchResult>> {
        unreachable!("not asked")
    }

    async fn optimize(&self) -> Result<()> {
        unreachable!("not asked")
    }

    async fn stats(&self) -> Result<IndexStats> {
        unreachable!("not asked")
    }
}

struct Following {
    books: Arc<Books>,
    shelf: Arc<Shelf>,
    applied: watch::Receiver<u64>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    fn start(books: Books, shelf: Shelf) -> Self {
        let (books, shelf) = (Arc::new(books), Arc::new(shelf));
        let (sender, applied) = watch::channel(0);
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(books.clone(), shelf.clone(), sender, stop.clone()));
        Self {
            books,
            shelf,
            applied,
            stop,
            task,
        }
    }

    /// What is shown once everything up to `position` is applied.
    async fn shown(&mut self, position: u64) -> Vec<String> {
        let reached = self.applied.wait_for(|applied| *applied >= position);
        let reached = timeout(DEADLINE, reached).await.unwrap();
        assert_eq!(*reached.unwrap(), position);
        let shown = self.shelf.shown.lock().unwrap();
        shown
            .iter()
            .map(|(name, version)| format!("{name}@{version}"))
            .collect()
    }
}

#[tokio::test]
async fn each_change_is_applied_as_it_comes() {
    let mut following = Following::start(Books::default(), Shelf::default());
    for (at, version) in ["1.0.0", "1.1.0", "1.0.5"].into_iter().enumerate() {
        following.books.put(release("a", version));
        let best = ["a@1.0.0", "a@1.1.0", "a@1.1.0"][at];
        assert_eq!(following.shown(at as u64 + 1).await, [best]);
    }
    let yanked = Release {
        yanked: true,
        ..release("a", "1.1.0")
    };
    following.books.put(yanked);
    assert_eq!(following.shown(4).await, ["a@1.0.5"]);
    following.books.change(None);
    following.shown(5).await;
    following.stop.cancel();
    timeout(DEADLINE, following.task).await.unwrap().unwrap();
    assert!(
        *following.shelf.flushed.lock().unwrap(),
        "what was applied is durable after a stop"
    );
}

#[tokio::test]
async fn many_changes_are_applied_together_and_each_package_once() {
    let books = Books::default();
    for at in 0..10_000 {
        books.put(release(&format!("p{}", at % 100), &format!("1.0.{at}")));
    }
    let mut following = Following::start(books, Shelf::default());
    let shown = following.shown(10_000).await;
    assert_eq!(shown.len(), 100);
    assert!(shown.contains(&"p99@1.0.9999".to_owned()), "{shown:?}");
    assert_eq!(*following.shelf.batches.lock().unwrap(), [100, 100]);
}

#[tokio::test]
async fn following_goes_on_where_the_index_stands() {
    let books = Books::default();
    for name in ["a", "b", "c"] {
        books.put(release(name, "1.0.0"));
    }
    let shelf = Shelf::default();
    *shelf.position.lock().unwrap() = 2;
    let mut following = Following::start(books, shelf);
    assert_eq!(following.shown(3).await, ["c@1.0.0"]);
}

#[tokio::test]
async fn an_index_ahead_of_the_catalogue_is_built_anew() {
    let books = Books::default();
    books.put(release("a", "1.0.0"));
    let shelf = Shelf::default();
    *shelf.position.lock().unwrap() = 99;
    shelf
        .shown
        .lock()
        .unwrap()
        .insert("of-another-catalogue".to_owned(), "1.0.0".to_owned());
    let mut following = Following::start(books, shelf);
    assert_eq!(following.shown(1).await, ["a@1.0.0"]);
}

/// An index that shows a package of which nothing is told any more.
fn stale(position: u64) -> Shelf {
    let shelf = Shelf::default();
    *shelf.position.lock().unwrap() = position;
    shelf
        .shown
        .lock()
        .unwrap()
        .insert("gone".to_owned(), "1.0.0".to_owned());
    shelf
}

#[tokio::test]
async fn an_index_that_lacks_pruned_changes_is_built_anew_and_no_other() {
    for (at, pruned, shown) in [
        (1, 2, vec!["a@1.0.0", "b@1.0.0", "c@1.0.0"]),
        (2, 2, vec!["c@1.0.0", "gone@1.0.0"]),
    ] {
        let books = Books::default();
        for name in ["a", "b", "c"] {
            books.put(release(name, "1.0.0"));
        }
        *books.pruned.lock().unwrap() = pruned;
        let mut following = Following::start(books, stale(at));
        assert_eq!(following.shown(3).await, shown);
    }
}

#[tokio::test]
async fn an_index_is_built_anew_when_changes_were_pruned_before_it_read_them() {
    let books = Books::default();
    books.put(release("a", "1.0.0"));
    let mut following = Following::start(books, stale(0));
    assert_eq!(following.shown(1).await, ["a@1.0.0", "gone@1.0.0"]);
    *following.books.pruned.lock().unwrap() = 2;
    following.books.put(release("b", "1.0.0"));
    assert_eq!(following.shown(2).await, ["a@1.0.0", "b@1.0.0"]);
}

#[tokio::test]
async fn an_error_is_tried_again() {
    let books = Books::default();
    books.put(release("a", "1.0.0"));
    let shelf = Shelf {
        failures: Mutex::new(2),
        ..Shelf::default()
    };
    let mut following = Following::start(books, shelf);
    assert_eq!(following.shown(1).await, ["a@1.0.0"]);
}

#[test]
fn the_best_release_is_the_highest_one_that_is_offered() {
    let best = |releases: Vec<Release>| best(releases).map(|best| best.key.version.to_string());
    let (old, new, next) = (
        release("a", "1.2.0"),
        release("a", "1.10.0"),
        release("a", "2.0.0-rc.1"),
    );
    let yanked = |release: &Release| Release {
        yanked: true,
        ..release.clone()
    };
    let all = vec![next.clone(), old.clone(), new.clone()];
    assert_eq!(best(all).as_deref(), Some("1.10.0"));
    assert_eq!(
        best(vec![old.clone(), yanked(&new), next.clone()]).as_deref(),
        Some("1.2.0")
    );
    let lower = release("a", "2.0.0-beta");
    assert_eq!(
        best(vec![next.clone(), lower, yanked(&old)]).as_deref(),
        Some("2.0.0-rc.1")
    );
    let mut standings = BTreeSet::new();
    for hidden in [
        yanked(&old),
        Release {
            withdrawn: true,
            ..old.clone()
        },
        Release {
            standing: Standing::Conflicted(vec![]),
            ..old.clone()
        },
        Release {
            verdict: Verdict::Unsound("bad".to_owned()),
            ..old.clone()
        },
    ] {
        standings.insert(best(vec![hidden]));
    }
    assert_eq!(standings, BTreeSet::from([None]));
}
