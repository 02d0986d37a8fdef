//! The stores keep what they promise, on disk and in memory, and through what a crash leaves.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use ggen_marketplace::Error;
use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::store::file::{FilePackageStore, Options};
use ggen_marketplace::store::memory::MemoryPackageStore;
use ggen_marketplace::store::{BlobStore, PackageStore, PackageStoreExt, StorageError};
use ggen_marketplace::testing::store::{SIZES, content, suite};
use tempfile::TempDir;

use crate::place::DEADLINE;

/// All files of a store but its database and lock.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let below = |name: &str| fs::read_dir(dir.join(name)).into_iter().flatten();
    let all = below("temp").chain(below("data"));
    all.map(|entry| entry.unwrap().path()).collect()
}

fn data_file(dir: &Path, hash: &ContentHash) -> PathBuf {
    dir.join("data").join(format!("{}.data", hash.to_hex()))
}

/// Opens a store that is closed. A test beside this one that starts a process shares its locks with that until it runs.
async fn open(dir: &TempDir) -> FilePackageStore {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match FilePackageStore::new(dir.path()).await {
            Err(Error::Storage(StorageError::InUse { .. })) if Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn the_file_store_keeps_the_contract() {
    let dir = TempDir::new().unwrap();
    let made = std::cell::Cell::new(0);
    suite(async || {
        made.set(made.get() + 1);
        let own = dir.path().join(made.get().to_string());
        FilePackageStore::new(own).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    suite(async || MemoryPackageStore::new()).await;
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening_and_what_was_deleted_is_not() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let mut hashes = Vec::new();
    for (seed, size) in SIZES.into_iter().enumerate() {
        hashes.push(store.store(content(seed as u64, size)).await.unwrap());
    }
    let deleted = hashes.pop().unwrap();
    store.delete(&deleted).await.unwrap();
    let metadata = store.metadata(&hashes[3]).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let store = open(&dir).await;
    for (seed, hash) in hashes.iter().enumerate() {
        let bytes = content(seed as u64, SIZES[seed]);
        assert_eq!(store.get(hash).await.unwrap(), bytes);
        assert!(store.exists(&ContentHash::sha256(&bytes)).await.unwrap());
    }
    assert_eq!(store.metadata(&hashes[3]).await.unwrap(), metadata);
    assert!(!store.exists(&deleted).await.unwrap());
    assert!(
        !data_file(dir.path(), &deleted).exists(),
        "its bytes are freed"
    );
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_is_open_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let began = Instant::now();
    let refused = FilePackageStore::new(dir.path()).await;
    assert!(matches!(
        refused,
        Err(Error::Storage(StorageError::InUse { .. }))
    ));
    // Nothing is waited for; a busy machine takes its time all the same.
    assert!(began.elapsed() < Duration::from_secs(10));
    store.close().await.unwrap();
    open(&dir).await;
}

#[tokio::test]
async fn opening_removes_what_a_crash_left() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let kept = store.store(content(1, 100_000)).await.unwrap();
    let large = store.store(content(2, 5_000_000)).await.unwrap();
    let sound = files(dir.path());
    // Whole, in the database, and never held.
    let unheld = store.stage(&mut &content(3, 200_000)[..], 1 << 20).await;
    store.close().await.unwrap();
    drop((store, unheld));

    let orphan = ContentHash::blake3("orphan").to_hex();
    for name in ["data", "obao4", "sizes4", "bitfield"] {
        fs::write(dir.path().join(format!("data/{orphan}.{name}")), "left").unwrap();
    }
    fs::write(dir.path().join("temp/0123.temp"), "left").unwrap();
    // What the crate forgets of a blob that was fetched: its tree is small enough for the database.
    let forgotten = format!("data/{}.obao4", kept.to_hex());
    fs::write(dir.path().join(forgotten), "left").unwrap();

    let store = open(&dir).await;
    assert_eq!(files(dir.path()), sound);
    assert_eq!(store.get(&kept).await.unwrap(), content(1, 100_000));
    assert_eq!(store.get(&large).await.unwrap(), content(2, 5_000_000));
    assert_eq!(
        store.blobs().blobs().list().hashes().await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn collecting_frees_what_nobody_needs_and_spares_the_rest() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let held = store.store(content(1, 100_000)).await.unwrap();
    let deleted = store.store(content(2, 100_000)).await.unwrap();
    let staged = store.stage(&mut &content(3, 100_000)[..], 1 << 20).await;
    let staged = staged.unwrap();
    let dropped = store.stage(&mut &content(4, 100_000)[..], 1 << 20).await;
    let dropped = dropped.unwrap().hash();
    store.delete(&deleted).await.unwrap();
    store.collect().await.unwrap();

    assert!(data_file(dir.path(), &held).exists());
    assert!(data_file(dir.path(), &staged.hash()).exists());
    assert!(!data_file(dir.path(), &deleted).exists());
    assert!(!data_file(dir.path(), &dropped).exists());
    let sha256 = ContentHash::sha256(content(3, 100_000));
    store.hold(staged, sha256).await.unwrap();
    store.collect().await.unwrap();
    assert_eq!(store.get(&sha256).await.unwrap(), content(3, 100_000));
    assert_eq!(store.store(content(2, 100_000)).await.unwrap(), deleted);
    assert_eq!(store.get(&deleted).await.unwrap(), content(2, 100_000));
}

#[tokio::test]
async fn unused_blobs_go_by_themselves_while_others_are_written() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        collect_interval: Duration::from_millis(5),
        ..Options::default()
    };
    let store = FilePackageStore::open(dir.path(), options).await.unwrap();
    let deadline = Instant::now() + DEADLINE;
    let deleted = store.store(content(1, 100_000)).await.unwrap();
    store.delete(&deleted).await.unwrap();
    let mut written = Vec::new();
    // Rounds run all the time here: nothing that is being written may fall into one.
    while data_file(dir.path(), &deleted).exists() || written.len() < 100 {
        assert!(Instant::now() < deadline, "never collected");
        let seed = written.len() as u64 + 10;
        let bytes = content(seed, 20_000);
        let staged = store.stage(&mut &bytes[..], 1 << 20).await.unwrap();
        if seed.is_multiple_of(3) {
            // Thrown away, and written again while it may be on its way out.
            drop(staged);
            written.push(store.store(bytes).await.unwrap());
        } else {
            let hash = staged.hash();
            store
                .hold(staged, ContentHash::sha256(bytes))
                .await
                .unwrap();
            written.push(hash);
        }
    }
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(store.stats().await.unwrap().blobs, written.len() as u64);
}

#[tokio::test]
async fn abandoned_and_refused_uploads_leave_no_file() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let bytes = content(1, 3_000_000);
    let refused = store.stage(&mut &bytes[..], 2_000_000).await;
    assert!(matches!(
        refused,
        Err(Error::Storage(StorageError::TooLarge { max: 2_000_000 }))
    ));
    none_left(&dir).await;

    // A reader that never ends, and a caller that stops waiting.
    let (mut sender, reader) = tokio::io::duplex(64 << 10);
    let upload = store.upload_stream(reader, None);
    let feed = tokio::io::AsyncWriteExt::write_all(&mut sender, &bytes);
    tokio::select! {
        biased;
        done = upload => panic!("it ended: {done:?}"),
        fed = feed => fed.unwrap(),
    }
    none_left(&dir).await;
}

/// Waits until the store has removed its files: it does so after it has answered.
async fn none_left(dir: &TempDir) {
    let deadline = Instant::now() + DEADLINE;
    while !files(dir.path()).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", files(dir.path()));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_costs_nothing_that_was_there() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let kept = store.store(content(1, 100_000)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let options = Options {
        free_bytes_min: u64::MAX / 2,
        ..Options::default()
    };
    let store = FilePackageStore::open(dir.path(), options).await.unwrap();
    let full = |result: Result<(), Error>| {
        let no_space = matches!(result, Err(Error::Storage(StorageError::NoSpace { .. })));
        assert!(no_space, "{result:?}");
    };
    full(store.store(content(2, 10)).await.map(drop));
    full(
        store
            .upload_stream(&content(2, 10)[..], None)
            .await
            .map(drop),
    );
    full(store.stage(&mut &content(2, 10)[..], 100).await.map(drop));
    full(store.protect(&ContentHash::blake3("x"), 1).await.map(drop));
    assert_eq!(store.get(&kept).await.unwrap(), content(1, 100_000));
    store.delete(&kept).await.unwrap();
}

#[tokio::test]
async fn damage_is_found_told_and_healed_by_storing_the_bytes_again() {
    let dir = TempDir::new().unwrap();
    let sound = content(9, 70_000);
    let hashes: Vec<ContentHash> = {
        let store = open(&dir).await;
        store.store(sound).await.unwrap();
        let mut hashes = Vec::new();
        for seed in 0..3 {
            hashes.push(store.store(content(seed, 300_000)).await.unwrap());
        }
        store.close().await.unwrap();
        hashes
    };
    let mut flipped = fs::read(data_file(dir.path(), &hashes[0])).unwrap();
    flipped[200_000] ^= 1;
    fs::write(data_file(dir.path(), &hashes[0]), flipped).unwrap();
    let path = data_file(dir.path(), &hashes[1]);
    let shortened = fs::File::options().write(true).open(path).unwrap();
    shortened.set_len(250_000).unwrap();
    fs::remove_file(data_file(dir.path(), &hashes[2])).unwrap();

    let store = open(&dir).await;
    let found = store.verify().await.unwrap();
    let mut damaged: Vec<ContentHash> = found.into_iter().map(|(hash, _)| hash).collect();
    damaged.sort();
    assert_eq!(
        damaged,
        BTreeSet::from_iter(hashes.clone())
            .into_iter()
            .collect::<Vec<_>>()
    );
    for hash in &hashes {
        let refused = store.get(hash).await;
        let told = matches!(&refused, Err(Error::Storage(StorageError::Damaged { hash: h, .. })) if h == hash);
        assert!(told, "{refused:?}");
        // A reader gets the sound beginning, then the error, and then no more.
        let items: Vec<_> = store.stream(hash).await.unwrap().collect().await;
        let (last, before) = items.split_last().unwrap();
        assert!(last.is_err() && before.iter().all(Result::is_ok));
    }
    for (seed, hash) in hashes.iter().enumerate() {
        let bytes = content(seed as u64, 300_000);
        assert_eq!(store.store(bytes.clone()).await.unwrap(), *hash);
        assert_eq!(store.get(hash).await.unwrap(), bytes);
    }
    assert_eq!(store.verify().await.unwrap(), []);
}

/// The points between the steps of a write and a deletion.
const POINTS: [&str; 5] = [
    "store.staged",
    "store.persisted",
    "store.tagged",
    "store.synced",
    "store.held",
];
const CHILD_DIR: &str = "MARKET_TEST_STORE";

fn child_content(round: u64) -> Bytes {
    content(round, SIZES[round as usize % SIZES.len()])
}

/// Writes and deletes in `dir`, and says on standard output what was acknowledged, until it is killed.
async fn write_until_killed(dir: &str) {
    let store = FilePackageStore::new(dir).await.unwrap();
    let mut out = std::io::stdout();
    for round in 0..20 {
        let bytes = child_content(round);
        let hash = if round % 2 == 0 {
            store.store(bytes).await.unwrap()
        } else {
            store.upload_stream(&bytes[..], None).await.unwrap()
        };
        writeln!(out, "\nheld {round} {hash}").unwrap();
        if round % 4 == 3 {
            writeln!(out, "\ndeleting {hash}").unwrap();
            store.delete(&hash).await.unwrap();
            writeln!(out, "\ndeleted {hash}").unwrap();
        }
    }
}

#[tokio::test]
async fn a_process_killed_between_any_two_steps_loses_nothing_acknowledged_and_leaves_nothing() {
    const NAME: &str = "store::a_process_killed_between_any_two_steps_loses_nothing_acknowledged_and_leaves_nothing";
    // The test starts itself as the process that is killed.
    if let Ok(dir) = std::env::var(CHILD_DIR) {
        return write_until_killed(&dir).await;
    }
    for point in POINTS {
        for count in [1, 2, 4, 5, 9] {
            let dir = TempDir::new().unwrap();
            let killed = Command::new(std::env::current_exe().unwrap())
                .args([NAME, "--exact", "--nocapture"])
                .env(CHILD_DIR, dir.path())
                .env("MARKET_CRASH_AT", format!("{point}:{count}"))
                .output()
                .unwrap();
            let said = String::from_utf8(killed.stdout).unwrap();
            assert!(!killed.status.success(), "{point}:{count} was not passed");

            let store = open(&dir).await;
            let mut held = BTreeSet::new();
            let mut maybe = BTreeSet::new();
            for line in said.lines() {
                match line.split(' ').collect::<Vec<_>>()[..] {
                    ["held", round, hash] => {
                        held.insert((round.parse::<u64>().unwrap(), hash.to_owned()));
                    }
                    ["deleting", hash] => drop(maybe.insert(hash.to_owned())),
                    ["deleted", hash] => {
                        maybe.remove(hash);
                        held.retain(|(_, h)| h != hash);
                        assert!(!store.exists(&hash.parse().unwrap()).await.unwrap());
                    }
                    _ => {}
                }
            }
            for (round, hash) in held {
                let hash_there = store.exists(&hash.parse().unwrap()).await.unwrap();
                if hash_there || !maybe.contains(&hash) {
                    let bytes = store.get(&hash.parse().unwrap()).await.unwrap();
                    assert_eq!(bytes, child_content(round), "{point}:{count}");
                }
            }
            assert_eq!(store.verify().await.unwrap(), [], "{point}:{count}");
            let listed = store.list(None, 1000).await.unwrap();
            for file in files(dir.path()) {
                let name = file.file_name().unwrap().to_str().unwrap().to_owned();
                let of_held = listed.iter().any(|hash| name.starts_with(&hash.to_hex()));
                assert!(of_held, "{point}:{count} left {}", file.display());
            }
            store.close().await.unwrap();
        }
    }
}
