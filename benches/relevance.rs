//! How well packages are found, beside plain BM25.
//!
//! `cargo bench --bench relevance -- [--corpus FILE | --corpus -] [--queries N] [--seeds N]`; the corpus is as for
//! `--bench search`. Queries are made by the rule in `search/queries.rs`. Plain BM25 is tantivy over name and summary
//! of the same rows with its own words, asked for any and for all of the words.
//!
//! MRR counts 1/place of the package that a query was made from, S@5 whether it is among the first five, H@10 whether
//! among the first ten, nDCG@10 the gain of all answers.
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

use ggen_marketplace::search::SearchEngine;
use ggen_marketplace::search::SearchEngineExt;
use ggen_marketplace::search::SearchQuery;
use ggen_marketplace::search::index::TantivySearchEngine;

use plain::Plain;
use queries::{Class, Made, Maker};

/// Hits that are looked at.
const HITS: usize = 10;

#[derive(Debug, Default)]
struct Score {
    count: f64,
    reciprocal: f64,
    five: f64,
    ten: f64,
    gain: f64,
}

impl Score {
    fn add(&mut self, made: &Made, names: &[String]) {
        self.count += 1.0;
        let place = names.iter().position(|name| *name == made.answers[0]);
        if let Some(place) = place {
            self.reciprocal += 1.0 / (place + 1) as f64;
            self.five += f64::from(u8::from(place < 5));
            self.ten += 1.0;
        }
        let gain = |place: usize| 1.0 / ((place + 2) as f64).log2();
        let places = names.iter().enumerate();
        // Packages of several owners may have one name.
        let found = places
            .filter(|(place, name)| made.answers.contains(name) && !names[..*place].contains(name));
        let most: f64 = (0..made.answers.len()).map(gain).sum();
        self.gain += found.map(|(place, _)| gain(place)).sum::<f64>() / most;
    }

    fn show(&self, what: &str) -> String {
        let Self {
            count,
            reciprocal,
            five,
            ten,
            gain,
        } = self;
        format!(
            "{what}: MRR {:.3}, S@5 {:.3}, H@10 {:.3}, nDCG@10 {:.3}",
            reciprocal / count,
            five / count,
            ten / count,
            gain / count
        )
    }
}

#[tokio::main]
async fn main() {
    let number = |flag, usual| corpus::argument(flag).map_or(usual, |count| count.parse().unwrap());
    let (count, seeds) = (number("--queries", 1_000), number("--seeds", 3));
    let packages = corpus::packages();
    println!(
        "{} packages, {count} queries of each kind, {seeds} seeds",
        packages.len()
    );
    let root = tempfile::tempdir().unwrap();
    let index = TantivySearchEngine::new(root.path()).await.unwrap();
    index.rebuild(packages.iter().cloned()).await.unwrap();
    let plain = Plain::new(&packages);
    for seed in 1..=seeds as u64 {
        println!("seed {seed}");
        let mut maker = Maker::new(&packages, seed);
        let [mut all, mut all_any, mut all_every] = [(); 3].map(|()| Score::default());
        for class in Class::ALL {
            let [mut own, mut any, mut every] = [(); 3].map(|()| Score::default());
            for _ in 0..count {
                let made = maker.make(class);
                let names = ask(&index, &made).await;
                if corpus::argument("--misses").is_some()
                    && !names.iter().take(5).any(|name| *name == made.answers[0])
                {
                    println!("  {class:?} {:?} {:?}: {names:?}", made.text, made.answers);
                }
                own.add(&made, &names);
                all.add(&made, &names);
                let names = plain.ask(&made.text, false, HITS);
                any.add(&made, &names);
                all_any.add(&made, &names);
                let names = plain.ask(&made.text, true, HITS);
                every.add(&made, &names);
                all_every.add(&made, &names);
            }
            println!("  {}", own.show(&format!("{class:?}")));
            println!("    {}", any.show("BM25, any word"));
            println!("    {}", every.show("BM25, all words"));
        }
        println!("  {}", all.show("together"));
        println!("    {}", all_any.show("BM25, any word"));
        println!("    {}", all_every.show("BM25, all words"));
    }
}

async fn ask(index: &TantivySearchEngine, made: &Made) -> Vec<String> {
    if made.class == Class::Begun {
        return index.suggest(&made.text, HITS).await.unwrap();
    }
    let query = SearchQuery {
        text: made.text.clone(),
        limit: HITS,
        ..SearchQuery::default()
    };
    let hits = index.search(&query).await.unwrap();
    hits.into_iter().map(|hit| hit.package.id.name).collect()
}
