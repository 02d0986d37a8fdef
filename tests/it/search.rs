//! `TantivySearchEngine` keeps the contract, survives what happens to its folder, and agrees with the model.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ggen_marketplace::protocols::id::OwnerId;
use ggen_marketplace::protocols::id::PackageId;
use ggen_marketplace::protocols::metadata::PackageMetadata;
use ggen_marketplace::search::Entry;
use ggen_marketplace::search::Esteem;
use ggen_marketplace::search::SearchEngine;
use ggen_marketplace::search::SearchEngineExt;
use ggen_marketplace::search::SearchIndex;
use ggen_marketplace::search::SearchQuery;
use ggen_marketplace::search::index::Options;
use ggen_marketplace::search::index::TantivySearchEngine;
use ggen_marketplace::testing::search::MemorySearchEngine;
use ggen_marketplace::testing::search::suite;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use crate::place::DEADLINE;

/// So long that nothing is committed but on demand.
const NEVER: Duration = Duration::from_secs(3600);

async fn open(path: &Path, commit_delay: Duration) -> TantivySearchEngine {
    TantivySearchEngine::open(path, Options { commit_delay })
        .await
        .unwrap()
}

fn entry(owner: u8, name: &str, description: &str) -> Entry {
    let owner = OwnerId::from_bytes([owner; 32]);
    let id = PackageId::new(name, "1.0.0").in_namespace(owner.to_string());
    let shown = PackageMetadata {
        description: description.to_owned(),
        ..PackageMetadata::new(id)
    };
    Entry {
        owner,
        name: name.parse().unwrap(),
        shown: Some(shown),
        esteem: Esteem::default(),
    }
}

fn text(text: &str) -> SearchQuery {
    SearchQuery {
        text: text.to_owned(),
        ..SearchQuery::default()
    }
}

async fn total(index: &dyn SearchEngine, query: &str) -> u64 {
    index.search_page(&text(query)).await.unwrap().total
}

async fn suite_with(commit_delay: Duration) {
    let root = TempDir::new().unwrap();
    let made = std::cell::Cell::new(0);
    suite(async || {
        made.set(made.get() + 1);
        open(&root.path().join(made.get().to_string()), commit_delay).await
    })
    .await;
}

#[tokio::test]
async fn the_model_keeps_the_contract() {
    suite(async || MemorySearchEngine::new()).await;
}

#[tokio::test]
async fn an_index_on_disk_keeps_the_contract_while_changes_wait() {
    suite_with(NEVER).await;
}

#[tokio::test]
async fn an_index_on_disk_keeps_the_contract_while_it_commits_all_the_time() {
    suite_with(Duration::ZERO).await;
}

#[tokio::test]
async fn what_was_applied_is_there_after_a_restart() {
    let root = TempDir::new().unwrap();
    let index = open(root.path(), NEVER).await;
    index.apply(vec![entry(1, "one", "")], 3).await.unwrap();
    drop(index);
    let index = open(root.path(), NEVER).await;
    assert_eq!(index.position().await.unwrap(), 3);
    assert_eq!(total(&index, "one").await, 1);
}

#[tokio::test]
async fn a_change_becomes_durable_without_being_asked() {
    let root = TempDir::new().unwrap();
    let index = open(root.path(), Duration::from_millis(1)).await;
    index.apply(vec![entry(1, "one", "")], 3).await.unwrap();
    let durable = async {
        while index.position().await.unwrap() != 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, durable).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to.join(file.file_name()));
        } else {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_crash_leaves_the_entries_up_to_the_position() {
    let root = TempDir::new().unwrap();
    let index = open(&root.path().join("live"), NEVER).await;
    index.apply(vec![entry(1, "one", "")], 1).await.unwrap();
    index.flush().await.unwrap();
    index.apply(vec![entry(1, "two", "")], 2).await.unwrap();
    // What a power cut would leave: the files as they are now.
    let copied = root.path().join("copy");
    copy(&root.path().join("live"), &copied);
    let after = open(&copied, NEVER).await;
    assert_eq!(after.position().await.unwrap(), 1);
    assert_eq!(
        (total(&after, "one").await, total(&after, "two").await),
        (1, 0)
    );
}

/// The only generation in an index's folder.
fn generation(root: &Path) -> PathBuf {
    let mut found = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let generation = found.next().unwrap();
    assert_eq!(found.next(), None, "one generation is left");
    generation
}

async fn filled(root: &Path) -> PathBuf {
    let index = open(root, NEVER).await;
    index
        .apply(vec![entry(1, "one", "some words")], 5)
        .await
        .unwrap();
    drop(index);
    generation(root)
}

async fn begins_anew(root: &Path, what: &str) {
    let index = open(root, NEVER).await;
    assert_eq!(index.position().await.unwrap(), 0, "{what}");
    assert_eq!(total(&index, "").await, 0, "{what}");
    index.apply(vec![entry(1, "one", "")], 5).await.unwrap();
    drop(index);
    let index = open(root, NEVER).await;
    assert_eq!(index.position().await.unwrap(), 5, "{what}");
    assert_eq!(total(&index, "one").await, 1, "{what}");
    generation(root);
}

#[tokio::test]
async fn a_damaged_index_is_begun_anew() {
    let root = TempDir::new().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut damaged = 0;
    for at in 0.. {
        let root = root.path().join(at.to_string());
        let generation = filled(&root).await;
        files = fs::read_dir(&generation)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.retain(|file| file.extension().is_none_or(|end| end != "lock"));
        files.sort();
        let Some(file) = files.get(at) else { break };
        let what = file.file_name().unwrap().to_string_lossy().into_owned();
        let mut bytes = fs::read(file).unwrap();
        // The list of files is only there to delete what no commit names.
        if what == ".managed.json" || bytes.is_empty() {
            continue;
        }
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(file, &bytes).unwrap();
        begins_anew(&root, &format!("a flipped byte in {what}")).await;
        damaged += 1;
    }
    assert!(damaged >= 5, "{files:?}");
}

#[tokio::test]
async fn an_index_that_is_missing_or_of_another_version_is_begun_anew() {
    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    let generation = filled(&at("missing")).await;
    fs::remove_dir_all(generation).unwrap();
    begins_anew(&at("missing"), "a missing generation").await;
    filled(&at("gone")).await;
    fs::remove_dir_all(at("gone")).unwrap();
    begins_anew(&at("gone"), "a missing folder").await;
    for version in ["v0-1", "v999-1"] {
        let generation = filled(&at(version)).await;
        fs::rename(generation, at(version).join(version)).unwrap();
        begins_anew(&at(version), version).await;
    }
    let generation = filled(&at("truncated")).await;
    fs::write(generation.join("meta.json"), "{").unwrap();
    begins_anew(&at("truncated"), "a truncated commit").await;
}

#[tokio::test]
async fn a_rebuild_that_did_not_end_changes_nothing() {
    let root = TempDir::new().unwrap();
    let index = open(root.path(), NEVER).await;
    index.apply(vec![entry(1, "one", "")], 5).await.unwrap();
    index.flush().await.unwrap();
    let live = generation(root.path());
    let mut copied = live.clone();
    {
        // A begun generation, as a crash in a rebuild leaves it.
        let mut packages = (0..1500).map(|i| {
            if i == 1200 {
                let newest = fs::read_dir(root.path())
                    .unwrap()
                    .map(|entry| entry.unwrap().path());
                copied = newest.filter(|path| *path != live).max().unwrap();
                copy(&copied, &root.path().join("kept"));
            }
            PackageMetadata::new(PackageId::new(&format!("p{i}"), "1.0.0"))
        });
        index.rebuild_dyn(&mut packages).await.unwrap();
    }
    index.apply(vec![entry(1, "one", "")], 6).await.unwrap();
    drop(index);
    fs::rename(root.path().join("kept"), root.path().join("v1-99")).unwrap();
    let index = open(root.path(), NEVER).await;
    assert_eq!(index.position().await.unwrap(), 6);
    assert_eq!(total(&index, "").await, 1501);
    generation(root.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_go_on_while_the_index_is_rebuilt_and_changed() {
    let root = TempDir::new().unwrap();
    let index = Arc::new(open(root.path(), NEVER).await);
    index
        .apply(
            (0..50)
                .map(|i| entry(1, &format!("old-{i}"), "thing"))
                .collect(),
            1,
        )
        .await
        .unwrap();
    let searching = index.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let searches = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        while stopped.try_recv().is_err() {
            seen.insert(total(&*searching, "thing").await);
        }
        seen
    });
    let during = index.clone();
    let handle = tokio::runtime::Handle::current();
    let packages = (0..2500).map(move |i| {
        if i == 2200 {
            let entries = vec![entry(1, "applied-during", "newcomer")];
            handle.spawn({
                let during = during.clone();
                async move { during.apply(entries, 9).await.unwrap() }
            });
        }
        let id = PackageId::new(&format!("new-{i}"), "1.0.0");
        PackageMetadata {
            description: "thing".to_owned(),
            ..PackageMetadata::new(id)
        }
    });
    index.rebuild(packages).await.unwrap();
    let arrived = async {
        while total(&*index, "newcomer").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, arrived).await.unwrap();
    assert_eq!(total(&*index, "thing").await, 2500);
    stop.send(()).unwrap();
    let seen = searches.await.unwrap();
    assert!(
        seen.iter().all(|total| [50, 2500].contains(total)),
        "a search saw half an index: {seen:?}"
    );
    index.flush().await.unwrap();
    assert_eq!(index.position().await.unwrap(), 9);
    assert_eq!(total(&*index, "newcomer").await, 1);
}

#[tokio::test]
async fn changes_beyond_the_overlay_are_committed_and_not_lost() {
    let root = TempDir::new().unwrap();
    let index = open(root.path(), NEVER).await;
    for batch in 0..30u64 {
        let entries = (0..100).map(|i| entry(1, &format!("p{batch}-{i}"), "many"));
        index.apply(entries.collect(), batch + 1).await.unwrap();
        assert_eq!(total(&index, "many").await, (batch + 1) * 100);
    }
    assert!(
        index.position().await.unwrap() > 0,
        "a full overlay is committed"
    );
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_left_alone() {
    let root = TempDir::new().unwrap();
    let index = open(root.path(), NEVER).await;
    index.apply(vec![entry(1, "one", "")], 5).await.unwrap();
    index.flush().await.unwrap();
    let error = TantivySearchEngine::new(root.path())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&*root.path().to_string_lossy()), "{error}");
    assert_eq!(total(&index, "one").await, 1);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, String, String, Vec<String>, bool),
    Remove(u8, String),
    Flush,
    Merge,
    Search(String),
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "json",
        "jsno",
        "serialise",
        "serialize",
        "sreialise",
        "web",
        "we",
        "a",
        "the",
        "Framework",
        "frame",
    ];
    prop_oneof![
        proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        "[a-e]{1,9}".prop_map(|word| word),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let name = || proptest::collection::vec(word(), 1..4).prop_map(|words| words.join("-"));
    let text = || proptest::collection::vec(word(), 0..5).prop_map(|words| words.join(" "));
    let keywords = proptest::collection::vec(word(), 0..3);
    prop_oneof![
        8 => (0..2u8, name(), text(), keywords, proptest::bool::weighted(0.1))
            .prop_map(|(owner, name, text, keywords, old)| Step::Put(owner, name, text, keywords, old)),
        1 => (0..2u8, name()).prop_map(|(owner, name)| Step::Remove(owner, name)),
        1 => Just(Step::Flush),
        1 => Just(Step::Merge),
        8 => prop_oneof![text(), name()].prop_map(Step::Search),
    ]
}

#[test]
fn the_index_on_disk_agrees_with_the_model_in_every_score() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(1)
        .build()
        .unwrap();
    let root = TempDir::new().unwrap();
    let index = runtime.block_on(open(root.path(), NEVER));
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = proptest::collection::vec(step(), 1..60);
    runner
        .run(&steps, |steps| {
            runtime.block_on(async {
                let model = MemorySearchEngine::new();
                index.rebuild(std::iter::empty()).await.unwrap();
                for step in steps {
                    take(&index, &model, step).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

async fn take(index: &TantivySearchEngine, model: &MemorySearchEngine, step: Step) {
    let of = |owner: u8, name: &str| {
        let owner = OwnerId::from_bytes([owner; 32]).to_string();
        PackageId {
            name: name.to_owned(),
            ..PackageId::new("x", "1.0.0")
        }
        .in_namespace(owner)
    };
    match step {
        Step::Put(owner, name, description, keywords, old) => {
            let deprecated = old.then(|| "old".to_owned());
            let package = PackageMetadata::new(of(owner, &name));
            let package = PackageMetadata {
                description,
                keywords,
                deprecated,
                ..package
            };
            index.index(&package).await.unwrap();
            model.index(&package).await.unwrap();
        }
        Step::Remove(owner, name) => {
            index.remove(&of(owner, &name)).await.unwrap();
            model.remove(&of(owner, &name)).await.unwrap();
        }
        Step::Flush => index.flush().await.unwrap(),
        Step::Merge => index.optimize().await.unwrap(),
        Step::Search(query) => {
            let query = text(&query);
            let expected = model.search_page(&query).await.unwrap();
            assert_eq!(
                index.search_page(&query).await.unwrap(),
                expected,
                "{query:?}"
            );
        }
    }
}
