//! How fast packages are indexed and found, and how well.
//!
//! `cargo bench --bench search -- [--corpus PATH | --corpus -] [--packages N] [--queries N]`. A corpus is JSON
//! lines with `name`, `summary` or `description`, and maybe `version`, `keywords` or `tags`, `categories` or
//! `section`; `-` is standard input. Without one, packages are made up.
//!
//! Queries are asked one after another through `search_page`, as a node asks them, for the 20 best hits each.
//! MRR is the mean of 1/place of the package that the query was made from; one not among the 20 counts 0.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use ggen_marketplace::protocols::id::OwnerId;
use ggen_marketplace::protocols::id::PackageId;
use ggen_marketplace::protocols::metadata::PackageMetadata;
use ggen_marketplace::search::Entry;
use ggen_marketplace::search::SearchEngine;
use ggen_marketplace::search::SearchEngineExt;
use ggen_marketplace::search::SearchIndex;
use ggen_marketplace::search::SearchQuery;
use ggen_marketplace::search::index::Options;
use ggen_marketplace::search::index::TantivySearchEngine;
use serde_json::Value;

/// What a node that joins applies at a time.
const BATCH: usize = 8_192;

/// A small generator of the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).cloned()
    };
    let count = value("--packages").map_or(10_000, |count| count.parse().unwrap());
    let queries = value("--queries").map_or(2_000, |count| count.parse().unwrap());
    let packages = match value("--corpus").as_deref() {
        None => made_up(count),
        Some("-") => read(std::io::stdin()),
        Some(path) => read(File::open(path).unwrap()),
    };
    println!("{} packages", packages.len());
    let root = tempfile::tempdir().unwrap();
    rebuilt(&root.path().join("rebuilt"), &packages).await;
    let index = TantivySearchEngine::new(root.path().join("applied"))
        .await
        .unwrap();
    applied(&index, &packages).await;
    index.flush().await.unwrap();
    let stats = index.stats().await.unwrap();
    println!("{:.1} MiB on disk", stats.bytes as f64 / f64::from(1 << 20));
    all_queries(&index, &packages, queries).await;
    index.optimize().await.unwrap();
    println!("after optimize:");
    all_queries(&index, &packages, queries).await;
    drop(index);
    newcomers(&root.path().join("applied"), &packages).await;
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

async fn all_queries(index: &TantivySearchEngine, packages: &[PackageMetadata], count: usize) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let chosen: Vec<_> = (0..count)
        .map(|_| &packages[numbers.below(packages.len())])
        .collect();
    let name = |package: &PackageMetadata| package.id.name.clone();
    ask(
        index,
        "name",
        chosen.iter().map(|p| (name(p), *p)).collect(),
    )
    .await;
    let typos = chosen.iter().filter(|p| p.id.name.len() >= 5);
    let typos = typos
        .map(|p| (mistyped(&p.id.name, &mut numbers), *p))
        .collect();
    ask(index, "name with one typo", typos).await;
    ask(
        index,
        "two words of the description",
        chosen
            .iter()
            .filter_map(|p| Some((two_words(p)?, *p)))
            .collect(),
    )
    .await;
    let begun = chosen
        .iter()
        .map(|p| (p.id.name.chars().take(3).collect(), *p));
    ask(index, "first three letters", begun.collect()).await;
    ask(
        index,
        "nothing (everything)",
        chosen
            .iter()
            .take(100)
            .map(|p| (String::new(), *p))
            .collect(),
    )
    .await;
}

async fn ask(index: &TantivySearchEngine, what: &str, queries: Vec<(String, &PackageMetadata)>) {
    let mut times = Vec::new();
    let (mut reciprocal, mut first, mut none) = (0.0, 0, 0);
    // Once for the caches of the machine, once for the clock.
    for measured in [false, true] {
        for (text, package) in &queries {
            let query = SearchQuery {
                text: text.clone(),
                ..SearchQuery::default()
            };
            let start = Instant::now();
            let hits = index.search(&query).await.unwrap();
            if !measured {
                continue;
            }
            times.push(start.elapsed());
            none += usize::from(hits.is_empty());
            let place = hits
                .iter()
                .position(|hit| hit.package.id.name == package.id.name);
            if let Some(place) = place {
                reciprocal += 1.0 / (place + 1) as f64;
                first += usize::from(place == 0);
            }
        }
    }
    times.sort_unstable();
    let count = times.len() as f64;
    let at = |part: f64| times[((count - 1.0) * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms; MRR {:.3}, first {:.1} %, no hit {:.1} %",
        at(0.5),
        at(0.99),
        at(1.0),
        reciprocal / count,
        100.0 * f64::from(first as u32) / count,
        100.0 * f64::from(none as u32) / count,
    );
}

/// From `apply` to found, and searches, while nothing is committed.
async fn newcomers(path: &std::path::Path, packages: &[PackageMetadata]) {
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
    all_queries(&index, packages, 500).await;
}

fn read(from: impl Read) -> Vec<PackageMetadata> {
    let lines = BufReader::new(from).lines();
    lines
        .filter_map(|line| package(&serde_json::from_str(&line.unwrap()).unwrap()))
        .collect()
}

fn package(row: &Value) -> Option<PackageMetadata> {
    let text = |fields: &[&str]| {
        let found = fields.iter().find_map(|field| row[*field].as_str());
        found.unwrap_or_default().to_owned()
    };
    let list = |fields: &[&str]| -> Vec<String> {
        let found = fields.iter().find_map(|field| row[*field].as_array());
        let words = found.into_iter().flatten().filter_map(Value::as_str);
        // The most that a release may have.
        words
            .take(5)
            .map(|word| word.rsplit("::").next().unwrap_or(word).to_owned())
            .collect()
    };
    let name = row["name"].as_str()?;
    let version = text(&["version"]).parse().ok()?;
    let id = PackageId {
        version,
        ..PackageId::new(name, "0.0.0")
    };
    Some(PackageMetadata {
        description: text(&["description", "summary"]),
        keywords: list(&["keywords", "tags"]),
        categories: row["section"]
            .as_str()
            .map_or_else(|| list(&["categories"]), |s| vec![s.to_owned()]),
        authors: vec![text(&["maintainer"])],
        homepage: text(&["homepage"]).parse().ok(),
        ..PackageMetadata::new(id.in_namespace(OwnerId::from_bytes([0; 32]).to_string()))
    })
}

fn made_up(count: usize) -> Vec<PackageMetadata> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let syllables = [
        "ka", "ro", "mi", "ten", "su", "lo", "par", "vi", "gen", "to", "bel", "ax",
    ];
    let mut word = move |parts: usize| -> String {
        (0..parts)
            .map(|_| syllables[numbers.below(syllables.len())])
            .collect()
    };
    let package = |at: usize| {
        let name = format!("{}-{}{at}", word(3), word(2));
        let description = (0..10).map(|_| word(3)).collect::<Vec<_>>().join(" ");
        let keywords = vec![word(2), word(3)];
        PackageMetadata {
            description,
            keywords,
            ..PackageMetadata::new(PackageId::new(&name, "1.0.0"))
        }
    };
    (0..count).map(package).collect()
}

/// The name with one letter swapped with the next, left out, doubled or replaced.
fn mistyped(name: &str, numbers: &mut Numbers) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = numbers.below(letters.len() - 1);
    match numbers.below(4) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        2 => letters.insert(at, letters[at]),
        _ => letters[at] = if letters[at] == 'e' { 'r' } else { 'e' },
    }
    letters.into_iter().collect()
}

/// The two longest words of a description.
fn two_words(package: &PackageMetadata) -> Option<String> {
    let text = package.description.to_lowercase();
    let mut words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.len() > 2)
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.dedup();
    Some(format!("{} {}", words.first()?, words.get(1)?))
}
