//! How fast packages are indexed and found.
//!
//! `cargo bench --bench search -- [--corpus PATH | --corpus -] [--packages N] [--queries N]`. A corpus is JSON
//! lines with `name`, `summary` or `description`, and maybe `version`, `keywords` or `tags`, `categories` or
//! `section`; `-` is standard input. Without one, packages are made up; with one, `--packages N` repeats it under other
//! names up to so many.
//!
//! Queries are made by the rule in `search/queries.rs`, as many of each kind, and asked one after another as a node asks
//! them, for the 20 best hits each (10 suggestions). Beside them: plain tantivy over name and summary of the same rows
//! asked for the same words.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code, reason = "each bench uses its part")]
#[path = "search/corpus.rs"]
mod corpus;
#[allow(dead_code, reason = "each bench uses its part")]
#[path = "search/plain.rs"]
mod plain;
#[allow(dead_code, reason = "each bench uses its part")]
#[path = "search/queries.rs"]
mod queries;

use std::time::{Duration, Instant};

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
use plain::Plain;
use queries::{Class, Made, Maker};

/// What a node that joins applies at a time.
const BATCH: usize = 8_192;

#[tokio::main]
async fn main() {
    let queries = corpus::argument("--queries").map_or(10_000, |count| count.parse().unwrap());
    let packages = corpus::packages();
    println!("{} packages", packages.len());
    let root = tempfile::tempdir().unwrap();
    rebuilt(&root.path().join("rebuilt"), &packages).await;
    let plain = Plain::new(&packages);
    rate(
        "plain tantivy, name and summary",
        packages.len(),
        plain.took,
    );
    let index = TantivySearchEngine::new(root.path().join("applied"))
        .await
        .unwrap();
    applied(&index, &packages).await;
    index.flush().await.unwrap();
    let stats = index.stats().await.unwrap();
    println!("{:.1} MiB on disk", stats.bytes as f64 / f64::from(1 << 20));
    let mut maker = Maker::new(&packages, 1);
    let kinds = Class::ALL.iter().cycle().take(queries);
    let made: Vec<Made> = kinds.map(|class| maker.make(*class)).collect();
    drop(maker);
    all_queries(&index, &made).await;
    index.optimize().await.unwrap();
    println!("after optimize:");
    all_queries(&index, &made).await;
    let mut times = Vec::new();
    for made in made.iter().filter(|made| made.class != Class::Begun) {
        let start = Instant::now();
        plain.ask(&made.text, true, 20);
        times.push(start.elapsed());
    }
    show("plain tantivy, all words", times);
    drop(index);
    newcomers(&root.path().join("applied"), &made).await;
}

async fn rebuilt(path: &std::path::Path, packages: &[PackageMetadata]) {
    let index = TantivySearchEngine::new(path).await.unwrap();
    let start = Instant::now();
    index.rebuild(packages.iter().cloned()).await.unwrap();
    rate("rebuild", packages.len(), start.elapsed());
}

async fn applied(index: &TantivySearchEngine, packages: &[PackageMetadata]) {
    let start = Instant::now();
    for (at, batch) in packages.chunks(BATCH).enumerate() {
        let entries = batch.iter().filter_map(|package| {
            let owner = OwnerId::from_bytes([0; 32]);
            // Names that registries here do not take are indexed one by one below.
            let name = package.id.name.parse().ok()?;
            Some(Entry {
                owner,
                name,
                shown: Some(package.clone()),
                esteem: Esteem::default(),
            })
        });
        index
            .apply(entries.collect(), (at + 1) as u64)
            .await
            .unwrap();
    }
    index.flush().await.unwrap();
    let done = index.stats().await.unwrap().documents as usize;
    rate("apply in batches, all durable", done, start.elapsed());
    let strange = packages.iter().filter(|p| {
        p.id.name
            .parse::<ggen_marketplace::protocols::id::CanonicalName>()
            .is_err()
    });
    let start = Instant::now();
    let mut count = 0;
    for package in strange {
        index.index(package).await.unwrap();
        count += 1;
    }
    rate("index one by one", count, start.elapsed());
}

fn rate(what: &str, count: usize, took: Duration) {
    let rate = count as f64 / took.as_secs_f64();
    println!(
        "{what}: {count} in {:.2} s, {rate:.0}/s",
        took.as_secs_f64()
    );
}

async fn all_queries(index: &TantivySearchEngine, made: &[Made]) {
    let mut all = Vec::new();
    for class in Class::ALL {
        let own = made.iter().filter(|made| made.class == class);
        let mut times = Vec::new();
        // Once for the caches of the machine, once for the clock.
        for measured in [false, true] {
            for made in own.clone() {
                let start = Instant::now();
                ask(index, made).await;
                if measured {
                    times.push(start.elapsed());
                }
            }
        }
        if class != Class::Begun {
            all.extend(times.iter().copied());
        }
        show(&format!("{class:?}"), times);
    }
    show("all searches", all);
}

async fn ask(index: &TantivySearchEngine, made: &Made) {
    if made.class == Class::Begun {
        index.suggest(&made.text, 10).await.unwrap();
        return;
    }
    let query = SearchQuery {
        text: made.text.clone(),
        ..SearchQuery::default()
    };
    index.search(&query).await.unwrap();
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let count = times.len() as f64;
    let at = |part: f64| times[((count - 1.0) * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// From `apply` to found, and searches, while nothing is committed.
async fn newcomers(path: &std::path::Path, made: &[Made]) {
    let commit_delay = Duration::from_secs(3600);
    let index = TantivySearchEngine::open(path, Options { commit_delay })
        .await
        .unwrap();
    let mut times = Vec::new();
    let before = index.position().await.unwrap();
    for at in 0..999u64 {
        let owner = OwnerId::from_bytes([7; 32]);
        let text = format!("newcomer-{at}");
        let id = PackageId::new(&text, "1.0.0").in_namespace(owner.to_string());
        let shown = PackageMetadata {
            description: "Fresh from its maker".to_owned(),
            ..PackageMetadata::new(id)
        };
        let name = text.parse().unwrap();
        let start = Instant::now();
        index
            .apply(
                vec![Entry {
                    owner,
                    name,
                    shown: Some(shown),
                    esteem: Esteem::default(),
                }],
                before + at,
            )
            .await
            .unwrap();
        let hits = index
            .search(&SearchQuery {
                text,
                ..SearchQuery::default()
            })
            .await
            .unwrap();
        times.push(start.elapsed());
        assert!(hits[0].package.id.name.starts_with("newcomer-"));
    }
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    println!(
        "apply to found: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        ms(499),
        ms(989),
        ms(998)
    );
    println!("with 999 changes that wait for a commit:");
    all_queries(&index, &made[..made.len().min(2_000)]).await;
}
