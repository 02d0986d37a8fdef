//! How long one question takes in a large catalogue, and how long it takes to open it.
//!
//! `cargo bench --bench registry -- [--versions N] [--reads N]`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::time::{Duration, Instant};

use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::id::{NetworkId, OwnerId, PackageId, PublicKey};
use ggen_marketplace::protocols::metadata::{
    Dependency, DependencySource, OwnerIdText, PackageMetadata,
};
use ggen_marketplace::protocols::record::{Body, FeedHead, Publish, Record, Signed, Verified};
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::registry::{Catalogue, Registry};
use redb::{ReadableDatabase, TableDefinition};

/// Records in one call of `admit`.
const BATCH_RECORDS: usize = 5_000;
/// Versions of a package, and packages of an owner.
const VERSIONS: usize = 5;
const PACKAGES: usize = 200;
/// Bytes of a row of the bare database: as many as a record has.
const ROW_BYTES: usize = 640;
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// The number after the argument `name`.
fn size(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let set = arguments.nth(1);
    set.map_or(default, |text| text.parse().unwrap())
}

fn key(owner: usize) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(owner as u64).to_be_bytes());
    PublicKey::from_bytes(bytes)
}

/// The release number `n` of all.
fn release(n: usize) -> (usize, String, String) {
    let package = n / VERSIONS;
    let owner = package / PACKAGES;
    (
        owner,
        format!("package-{package}"),
        format!("1.{}.0", n % VERSIONS),
    )
}

fn id(n: usize) -> PackageId {
    let (owner, name, version) = release(n);
    let owner = OwnerId::of_key(NetworkId::main(), key(owner));
    format!("{owner}/{name}@{version}").parse().unwrap()
}

fn metadata(n: usize) -> PackageMetadata {
    let (owner, name, version) = release(n);
    let mut metadata = PackageMetadata {
        description: format!("Release {n}: it does one thing, and does it well."),
        authors: vec![format!("Author {owner} <author-{owner}@example.org>")],
        license: "MIT OR Apache-2.0".to_owned(),
        keywords: vec!["bench".to_owned(), "reading".to_owned()],
        ..PackageMetadata::new(PackageId::new(&name, &version))
    };
    for name in ["serde", "tokio", "bytes", "thiserror"] {
        let dependency = Dependency {
            source: DependencySource::Owner(OwnerIdText(OwnerId::from_bytes([9; 32]))),
            ..Dependency::new(name, "^1.2".parse().unwrap())
        };
        let dependencies = &mut metadata.dependencies;
        dependencies.insert(name.to_owned(), vec![dependency]);
    }
    metadata.checksums.blake3 = Some(ContentHash::blake3(n.to_be_bytes()));
    metadata.checksums.sha256 = Some(ContentHash::sha256(n.to_be_bytes()));
    metadata.checksums.size = Some(12_345);
    metadata
}

/// The record of release `n`. Nobody signed it: what is measured here reads only what was checked when it came.
fn record(n: usize, heads: &mut [FeedHead]) -> Verified<Record> {
    let (network, (owner, ..)) = (NetworkId::main(), release(n));
    let (key, head) = (key(owner), &mut heads[owner]);
    let record = Record {
        owner: Some(OwnerId::of_key(network, key)),
        seq: head.seq + 1,
        previous: head.last,
        time_ms: 1_700_000_000_000,
        body: Body::Publish(Box::new(Publish::from_metadata(&metadata(n)).unwrap())),
    };
    let envelope = record.draft(network, key).unwrap().sealed([0; 64]);
    let signed = Signed::from_envelope(envelope).unwrap();
    let record = signed.trust_stored(network).unwrap();
    *head = FeedHead {
        seq: head.seq + 1,
        last: Some(record.id()),
    };
    record
}

/// Numbers that look random, the same in every run.
fn spread(count: usize, below: usize) -> impl Iterator<Item = usize> {
    let numbers = (0..count as u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
    numbers.map(move |n| n as usize % below)
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    println!(
        "{what:<44} p50 {:>8.1} us   p99 {:>8.1} us",
        at(0.5),
        at(0.99)
    );
}

async fn measure(what: &str, reads: usize, below: usize, ask: impl AsyncFn(usize)) {
    // The first round warms up the caches.
    for _ in 0..2 {
        let mut took = Vec::with_capacity(reads);
        for n in spread(reads, below) {
            let start = Instant::now();
            ask(n).await;
            took.push(start.elapsed());
        }
        report(what, took);
    }
}

async fn fill(path: &Path, versions: usize) -> LocalRegistry {
    let registry = open(path).await;
    let mut heads = vec![FeedHead::default(); versions / (VERSIONS * PACKAGES) + 1];
    let start = Instant::now();
    let mut from = 0;
    while from < versions {
        let to = versions.min(from + BATCH_RECORDS);
        let records = (from..to).map(|n| record(n, &mut heads)).collect();
        registry.admit(records).await.unwrap();
        from = to;
    }
    let took = start.elapsed().as_secs_f64();
    println!("{versions} versions admitted in {took:.0} s");
    registry
}

async fn open(path: &Path) -> LocalRegistry {
    let options = OpenOptions {
        pool_bytes_max: u64::MAX,
        ..OpenOptions::default()
    };
    LocalRegistry::open(path, options).await.unwrap()
}

/// The same number of rows in a database that knows nothing of packages.
async fn bare(path: &Path, rows: usize, reads: usize) {
    let database = redb::Builder::new()
        .set_cache_size(64 << 20)
        .create(path)
        .unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(ROWS).unwrap();
    for n in 0..rows as u64 {
        table.insert(n, [n as u8; ROW_BYTES].as_slice()).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(ROWS).unwrap();
    measure(
        "bare redb: one row of an open table",
        reads,
        rows,
        async |n| {
            assert!(table.get(n as u64).unwrap().is_some());
        },
    )
    .await;
    measure(
        "bare redb: snapshot, table and one row",
        reads,
        rows,
        async |n| {
            let transaction = database.begin_read().unwrap();
            let table = transaction.open_table(ROWS).unwrap();
            assert!(table.get(n as u64).unwrap().is_some());
        },
    )
    .await;
}

#[tokio::main]
async fn main() {
    let (versions, reads) = (size("--versions", 1_000_000), size("--reads", 20_000));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = fill(&path, versions).await;
    assert_eq!(registry.totals().await.unwrap().versions, versions as u64);

    let killed = home.path().join("killed.redb");
    std::fs::copy(&path, &killed).unwrap();
    let start = Instant::now();
    drop(open(&killed).await);
    println!(
        "opened after a kill in {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    std::fs::remove_file(&killed).unwrap();

    drop(registry);
    println!(
        "{} MiB on disk",
        std::fs::metadata(&path).unwrap().len() >> 20
    );
    let start = Instant::now();
    let registry = open(&path).await;
    println!("opened in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);

    measure("get, by owner id", reads, versions, async |n| {
        registry.get(&id(n)).await.unwrap();
    })
    .await;
    measure("get, by bare name", reads, versions, async |n| {
        let (_, name, version) = release(n);
        let id = PackageId::new(&name, &version);
        registry.get(&id).await.unwrap();
    })
    .await;
    measure("list_versions, by owner id", reads, versions, async |n| {
        let id = id(n);
        let listed = registry.list_versions(&id.name, id.namespace.as_deref());
        assert_eq!(listed.await.unwrap().len(), VERSIONS);
    })
    .await;
    measure("get_stats", reads, versions, async |n| {
        registry.get_stats(&id(n)).await.unwrap();
    })
    .await;
    measure("record_download", reads, versions, async |n| {
        registry.record_download(&id(n)).await.unwrap();
    })
    .await;
    drop(registry);
    bare(&home.path().join("bare.redb"), versions, reads).await;
}
