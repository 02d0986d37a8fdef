//! How many records per second a catalogue takes: checking signatures, writing, and both at once.
//!
//! `cargo bench --bench admit`; `RECORDS` and `OWNERS` set the size.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ggen_marketplace::crypto::{PrivateKey, StrictSignatures};
use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::id::{NetworkId, OwnerId};
use ggen_marketplace::protocols::metadata::{
    Dependency, DependencySource, OwnerIdText, PackageMetadata,
};
use ggen_marketplace::protocols::record::{Body, FeedHead, Publish, Record, Signed, Verified};
use ggen_marketplace::registry::Catalogue;
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use tokio::task::spawn_blocking;

/// Records in one call of `admit`, as one answer of a peer has them.
const BATCH_RECORDS: usize = 1000;

/// The number after the argument `name`.
fn size(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    let set = arguments.nth(1);
    set.map_or(default, |text| text.parse().unwrap())
}

/// What `owner` publishes as its release number `n`: five versions of each package, with a few dependencies.
fn metadata(owner: usize, n: usize) -> PackageMetadata {
    let id = format!("package-{owner}-{}@1.{}.0", n / 5, n % 5);
    let mut metadata = PackageMetadata {
        description: format!("Package {n} of owner {owner}: it does one thing, and does it well."),
        authors: vec![format!("Author {owner} <author-{owner}@example.org>")],
        license: "MIT OR Apache-2.0".to_owned(),
        keywords: vec!["bench".to_owned(), "admission".to_owned()],
        ..PackageMetadata::new(id.parse().unwrap())
    };
    for name in ["serde", "tokio", "bytes", "thiserror"] {
        let dependency = Dependency {
            source: DependencySource::Owner(OwnerIdText(OwnerId::from_bytes([9; 32]))),
            ..Dependency::new(name, "^1.2".parse().unwrap())
        };
        metadata
            .dependencies
            .insert(name.to_owned(), vec![dependency]);
    }
    let content = [owner, n].map(usize::to_be_bytes).concat();
    metadata.checksums.blake3 = Some(ContentHash::blake3(&content));
    metadata.checksums.sha256 = Some(ContentHash::sha256(&content));
    metadata.checksums.size = Some(12_345);
    metadata
}

fn sign_all(owner: usize, count: usize) -> Vec<Bytes> {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(owner as u64).to_be_bytes());
    let key = PrivateKey::from_seed(seed);
    let network = NetworkId::main();
    let mut head = FeedHead::default();
    let envelopes = (0..count).map(|n| {
        let publish = Publish::from_metadata(&metadata(owner, n)).unwrap();
        let record = Record {
            owner: Some(OwnerId::of_key(network, key.public())),
            seq: head.seq + 1,
            previous: head.last,
            time_ms: 1_700_000_000_000,
            body: Body::Publish(Box::new(publish)),
        };
        let envelope = key.seal(record.draft(network, key.public()).unwrap());
        let id = Signed::from_envelope(envelope.clone()).unwrap().id(network);
        head = FeedHead {
            seq: head.seq + 1,
            last: Some(id),
        };
        envelope
    });
    envelopes.collect()
}

fn verify(envelopes: &[Bytes]) -> Vec<Verified<Record>> {
    let verified = envelopes.iter().map(|envelope| {
        let signed = Signed::from_envelope(envelope.clone()).unwrap();
        signed.verify(&StrictSignatures, NetworkId::main()).unwrap()
    });
    verified.collect()
}

async fn verify_all(envelopes: Vec<Bytes>) -> Vec<Verified<Record>> {
    spawn_blocking(move || verify(&envelopes)).await.unwrap()
}

fn report(what: &str, records: usize, took: Duration) {
    let rate = records as f64 / took.as_secs_f64();
    println!(
        "{what:<40} {:>8.2} s {rate:>10.0} records/s",
        took.as_secs_f64()
    );
}

#[tokio::main]
async fn main() {
    let (records, owners) = (size("--records", 100_000), size("--owners", 100));
    let cores = std::thread::available_parallelism().unwrap().get();
    let signed = (0..owners).map(|owner| sign_all(owner, records / owners));
    let signed: Vec<Vec<Bytes>> = signed.collect();
    // Owners take turns, as they do on a network.
    let envelopes: Vec<Bytes> = (0..records / owners)
        .flat_map(|n| signed.iter().map(move |feed| feed[n].clone()))
        .collect();
    let batches: Vec<Vec<Bytes>> = envelopes.chunks(BATCH_RECORDS).map(<[_]>::to_vec).collect();
    let count = envelopes.len();
    let bytes: usize = envelopes.iter().map(Bytes::len).sum();
    println!(
        "{count} records of {owners} owners, {} bytes each, {cores} cores",
        bytes / count
    );

    let start = Instant::now();
    let verified: Vec<Vec<Verified<Record>>> = stream::iter(batches.clone())
        .map(verify_all)
        .buffered(cores)
        .collect()
        .await;
    report("verify only", count, start.elapsed());

    let home = tempfile::tempdir().unwrap();
    let open = async |name: &str| {
        let path = home.path().join(name);
        let opened = LocalRegistry::open(path, OpenOptions::default()).await;
        Arc::new(opened.unwrap())
    };
    let catalogue = open("written.redb").await;
    let start = Instant::now();
    for batch in verified {
        catalogue.admit(batch).await.unwrap();
    }
    report(
        "admit only, one batch after the other",
        count,
        start.elapsed(),
    );
    assert_eq!(catalogue.totals().await.unwrap().records, count as u64);

    let catalogue = open("both.redb").await;
    let start = Instant::now();
    stream::iter(batches)
        .map(|batch| {
            let catalogue = catalogue.clone();
            async move { catalogue.admit(verify_all(batch).await).await }
        })
        .buffered(2 * cores)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    report("verify and admit", count, start.elapsed());

    let start = Instant::now();
    let root = catalogue.root().await.unwrap();
    report("root", 1, start.elapsed());
    assert_eq!(root.count, count as u64);
    let path = home.path().join("both.redb");
    drop(catalogue);
    let size = std::fs::metadata(&path).unwrap().len();
    println!(
        "{} MiB on disk, {} bytes a record",
        size >> 20,
        size / count as u64
    );
    let start = Instant::now();
    let catalogue = open("both.redb").await;
    report("open", 1, start.elapsed());
    let start = Instant::now();
    let audit = catalogue.audit().await.unwrap();
    report("audit", count, start.elapsed());
    assert!(audit.findings.is_empty());
}
