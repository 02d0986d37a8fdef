//! Joining a swarm with 100,000 records, and how long a published package takes to be found on a peer.
//!
//! Two whole nodes in one process, over loopback: signatures, catalogue, gossip or reconciliation, index.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ggen_marketplace::crypto::{PrivateKey, StrictSignatures};
use ggen_marketplace::node::{Config, Node, Running};
use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::id::{NetworkId, OwnerId, PackageId};
use ggen_marketplace::protocols::metadata::{Checksums, Format, PackageMetadata};
use ggen_marketplace::protocols::record::{Body, FeedHead, Publish, Record, Signed, Verified};
use ggen_marketplace::registry::Catalogue;
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::search::SearchQuery;
use ggen_marketplace::search::index::TantivySearchEngine;
use ggen_marketplace::store::file::FilePackageStore;

const OWNERS: usize = 128;
const BATCH: usize = 1000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        join(argument("--records").unwrap_or(100_000)).await;
        latency(argument("--publishes").unwrap_or(500)).await;
    });
}

fn argument(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

async fn registry(dir: &Path) -> Arc<LocalRegistry> {
    let registry = LocalRegistry::open(dir.join("catalogue.redb"), OpenOptions::default()).await;
    Arc::new(registry.unwrap())
}

async fn node(
    dir: &Path,
    registry: Arc<LocalRegistry>,
    bootstrap: Option<String>,
) -> (Node, Running) {
    let mut config = Config {
        bootstrap: bootstrap.into_iter().collect(),
        mdns: false,
        ..Config::default()
    };
    config.listen.swarm = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.listen.blobs = "127.0.0.1:0".parse().unwrap();
    let store = FilePackageStore::new(dir.join("blobs")).await.unwrap();
    let index = TantivySearchEngine::new(dir.join("index")).await.unwrap();
    Node::builder(registry, Arc::new(store), config)
        .search(Arc::new(index))
        .transport(PrivateKey::generate())
        .spawn()
        .await
        .unwrap()
}

async fn address(node: &Node) -> String {
    let status = node.status().await.unwrap();
    let address = &status.addresses[0];
    match address.contains("/p2p/") {
        true => address.clone(),
        false => format!("{address}/p2p/{}", status.peer.unwrap()),
    }
}

/// A release as its publisher would describe a small library.
fn publish(name: &str, archive: &[u8]) -> Publish {
    let id = PackageId::new(name, "1.0.0");
    let metadata = PackageMetadata {
        description: format!(
            "A library called {name} that does what its name says, quickly and well"
        ),
        license: "MIT OR Apache-2.0".to_owned(),
        keywords: vec!["library".to_owned(), "bench".to_owned()],
        format: Format::Generic,
        checksums: Checksums {
            blake3: Some(ContentHash::blake3(archive)),
            sha256: Some(ContentHash::sha256(archive)),
            size: Some(archive.len() as u64),
        },
        ..PackageMetadata::new(id)
    };
    Publish::from_metadata(&metadata).unwrap()
}

fn sign(key: &PrivateKey, head: FeedHead, body: Publish) -> Verified<Record> {
    let network = NetworkId::main();
    let record = Record {
        owner: Some(OwnerId::of_key(network, key.public())),
        seq: head.seq + 1,
        previous: head.last,
        time_ms: 1_700_000_000_000,
        body: Body::Publish(Box::new(body)),
    };
    let draft = record.draft(network, key.public()).unwrap();
    let signed = Signed::from_envelope(key.seal(draft)).unwrap();
    signed.verify(&StrictSignatures, network).unwrap()
}

/// Fills a catalogue with so many releases of 128 owners.
async fn fill(catalogue: &LocalRegistry, records: usize) {
    let mut feeds: Vec<_> = (0..OWNERS)
        .map(|_| (PrivateKey::generate(), FeedHead::default()))
        .collect();
    let mut batch = Vec::with_capacity(BATCH);
    for number in 0..records {
        let (key, head) = &mut feeds[number % OWNERS];
        let record = sign(
            key,
            *head,
            publish(&format!("library-{number}"), &number.to_be_bytes()),
        );
        *head = FeedHead {
            seq: head.seq + 1,
            last: Some(record.id()),
        };
        batch.push(record);
        if batch.len() == BATCH || number + 1 == records {
            catalogue.admit(std::mem::take(&mut batch)).await.unwrap();
        }
    }
}

async fn until(node: &Node, root: &str) -> Duration {
    let start = Instant::now();
    while node.status().await.unwrap().root != root {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

async fn until_indexed(node: &Node) -> Duration {
    let start = Instant::now();
    while node.status().await.unwrap().search_behind > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

async fn join(records: usize) {
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalogue = registry(dir_a.path()).await;
    fill(&catalogue, records).await;
    let (a, running_a) = node(dir_a.path(), catalogue, None).await;
    until_indexed(&a).await;
    let root = a.status().await.unwrap().root;

    let start = Instant::now();
    let empty = registry(dir_b.path()).await;
    let (b, running_b) = node(dir_b.path(), empty, Some(address(&a).await)).await;
    until(&b, &root).await;
    let equal = start.elapsed();
    until_indexed(&b).await;
    let indexed = start.elapsed();
    println!("join of {records} records by {OWNERS} owners, both nodes on this machine:");
    println!(
        "  equal roots       {:6.2} s  {:7.0} records/s",
        equal.as_secs_f64(),
        rate(records, equal)
    );
    println!(
        "  searchable index  {:6.2} s  {:7.0} records/s",
        indexed.as_secs_f64(),
        rate(records, indexed)
    );
    running_b.stop().await.unwrap();
    running_a.stop().await.unwrap();
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

async fn latency(publishes: usize) {
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, running_a) = node(dir_a.path(), registry(dir_a.path()).await, None).await;
    let bootstrap = address(&a).await;
    let (b, running_b) = node(dir_b.path(), registry(dir_b.path()).await, Some(bootstrap)).await;
    while a.peers().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let key = PrivateKey::generate();
    let owner = OwnerId::of_key(NetworkId::main(), key.public());
    let (mut acknowledged, mut found) = (Vec::new(), Vec::new());
    for number in 0..publishes + 20 {
        let archive = format!("content of package {number}").into_bytes();
        let name = format!("fresh{number}");
        let head = a.feed_head(owner, key.public()).await.unwrap();
        let record = sign(&key, head, publish(&name, &archive));
        let start = Instant::now();
        a.publish(record.envelope().clone(), &mut archive.as_slice())
            .await
            .unwrap();
        let acknowledged_after = start.elapsed();
        let query = SearchQuery {
            text: name,
            ..SearchQuery::default()
        };
        while b.search(&query).await.unwrap().hits.is_empty() {
            tokio::task::yield_now().await;
        }
        // The first ones find connections and meshes still being made.
        if number >= 20 {
            acknowledged.push(acknowledged_after);
            found.push(start.elapsed());
        }
    }
    println!(
        "publish on one node, found by search on the other, {publishes} times (p50, p99, max in ms):"
    );
    for (what, mut times) in [("acknowledged", acknowledged), ("found", found)] {
        times.sort();
        let at =
            |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "  {what:<16}  {:7.2} {:7.2} {:7.2}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    running_b.stop().await.unwrap();
    running_a.stop().await.unwrap();
}
