//! A process that ends in the middle of evicting strangers or of forgetting ids: once the catalogue is opened again, it is
//! what it would be without that.

use std::fs;
use std::path::Path;
use std::process::Command;

use ggen_marketplace::protocols::id::RecordId;
use ggen_marketplace::protocols::reconcile::fingerprint::Root;
use ggen_marketplace::protocols::record::{Record, Verified};
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::registry::{Catalogue, Totals};
use ggen_marketplace::testing::registry::Author;

/// Where the process that is to end finds its catalogue.
const HOME: &str = "MARKET_TEST_HOME";
/// Room for a few owners beside the ids of some fifty.
const POOL_BYTES: u64 = 1 << 20;
/// More of them than ids are remembered of.
const OWNERS: u8 = 64;
const RECORDS: usize = 100;
/// Records offered together: no more than one transaction takes beside such a pool, so that a call is there or is not.
const BATCH: usize = 32;

fn batches() -> Vec<Vec<Verified<Record>>> {
    let records = (1..=OWNERS).flat_map(|number| {
        let mut author = Author::new(number);
        let releases = (0..RECORDS).map(move |n| format!("p{}@1.{}.0", n / 10, n % 10));
        releases.map(move |release| author.publish(&release, &release))
    });
    let records: Vec<_> = records.collect();
    records.chunks(BATCH).map(<[_]>::to_vec).collect()
}

async fn open(home: &Path) -> LocalRegistry {
    let options = OpenOptions {
        pool_bytes_max: POOL_BYTES,
        ..OpenOptions::default()
    };
    let path = home.join("catalogue.redb");
    LocalRegistry::open(path, options).await.unwrap()
}

/// What can be seen of a catalogue.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    root: Root,
    totals: Totals,
}

async fn seen(registry: &LocalRegistry) -> Seen {
    Seen {
        root: registry.root().await.unwrap(),
        totals: registry.totals().await.unwrap(),
    }
}

/// Offers everything, noting before each batch which one it is.
async fn offer(home: &Path, batches: &[Vec<Verified<Record>>]) -> Vec<Seen> {
    let registry = open(home).await;
    let mut all = Vec::new();
    for (at, batch) in batches.iter().enumerate() {
        fs::write(home.join("batch"), at.to_string()).unwrap();
        registry.admit(batch.clone()).await.unwrap();
        all.push(seen(&registry).await);
    }
    all
}

async fn held(registry: &LocalRegistry, batches: &[Vec<Verified<Record>>]) -> Vec<bool> {
    let ids: Vec<RecordId> = batches.iter().flatten().map(|record| record.id()).collect();
    let envelopes = registry.envelopes(ids).await.unwrap();
    envelopes.iter().map(Option::is_some).collect()
}

/// What the test below runs in another process, which ends before this does.
#[tokio::test]
async fn a_flood_until_the_end() {
    let home = tempfile::tempdir().unwrap();
    let set = std::env::var_os(HOME);
    let path = set.as_deref().map_or(home.path(), Path::new);
    let batches = batches();
    let all = offer(path, &batches).await;
    let (known, offered) = (
        all[all.len() - 1].root.count,
        batches.iter().map(Vec::len).sum::<usize>(),
    );
    assert!(known < offered as u64, "{known}: some ids are forgotten");
}

#[tokio::test]
async fn what_a_crash_interrupts_of_evicting_and_forgetting_is_done_at_the_next_start() {
    let batches = batches();
    let whole = tempfile::tempdir().unwrap();
    let without = offer(whole.path(), &batches).await;
    let expected = held(&open(whole.path()).await, &batches).await;
    for at in ["pool.evicting:20", "pool.forgetting:1", "pool.forgetting:3"] {
        let home = tempfile::tempdir().unwrap();
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["flood_crash::a_flood_until_the_end", "--exact"])
            .env(HOME, home.path())
            .env("MARKET_CRASH_AT", at)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), None, "{at}: ended by itself");
        let last = fs::read_to_string(home.path().join("batch")).unwrap();
        let last: usize = last.parse().unwrap();
        let registry = open(home.path()).await;
        assert_eq!(seen(&registry).await, without[last], "{at}");
        assert_eq!(registry.audit().await.unwrap().findings, [""; 0], "{at}");
        for (batch, without) in batches.iter().zip(&without).skip(last + 1) {
            registry.admit(batch.clone()).await.unwrap();
            assert_eq!(seen(&registry).await, *without, "{at}");
        }
        assert_eq!(held(&registry, &batches).await, expected, "{at}");
        assert_eq!(registry.audit().await.unwrap().findings, [""; 0], "{at}");
    }
}
