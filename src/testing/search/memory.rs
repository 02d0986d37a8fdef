//! An index in memory: the model that others are compared with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::MutexGuard;

use async_trait::async_trait;
use ggen_protocols::id::PackageId;
use ggen_protocols::metadata::PackageMetadata;

use crate::Result;
use crate::search::Entry;
use crate::search::Facets;
use crate::search::IndexStats;
use crate::search::SearchEngine;
use crate::search::SearchIndex;
use crate::search::SearchPage;
use crate::search::SearchQuery;
use crate::search::SearchResult;
use crate::search::facets::Counter;
use crate::search::rank::{self, Card, Place, Plan, Stage, Term};
use crate::search::schema;
use crate::search::similar::Likeness;
use crate::search::suggest::{self, Typed};

/// An index in memory that looks at every package for every query: the model for others.
#[derive(Debug, Default)]
pub struct MemorySearchEngine(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    packages: BTreeMap<String, (Card, PackageMetadata)>,
    position: u64,
}

impl MemorySearchEngine {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().expect("no holder of this lock can panic")
    }
}

impl Memory {
    fn put(&mut self, key: String, package: Option<&PackageMetadata>) {
        match package {
            Some(package) => {
                let card = Card::new(&key, package);
                self.packages.insert(key, (card, schema::shown(package)));
            }
            None => {
                self.packages.remove(&key);
            }
        }
    }

    fn fitting(&self, plan: &Plan, stage: Stage) -> Vec<(Place, &PackageMetadata)> {
        let fitting = self.packages.values().filter_map(|(card, package)| {
            let text = plan.score(stage, card)?;
            Some((card.place(text), package))
        });
        let mut fitting: Vec<_> = fitting.collect();
        fitting.sort_by_key(|(place, _)| *place);
        fitting
    }

    /// What fits a query, best first.
    fn found(&self, query: &SearchQuery) -> Vec<(Place, &PackageMetadata)> {
        let mut plan = Plan::new(query);
        let mut stage = Stage::Strict;
        let mut fitting = self.fitting(&plan, stage);
        if fitting.is_empty() {
            let known = plan.trust(|term| Ok::<_, Infallible>(self.knows(term)));
            known.unwrap_or_else(|never| match never {});
        }
        while let (true, Some(next)) = (fitting.is_empty(), plan.after(stage)) {
            stage = next;
            fitting = self.fitting(&plan, stage);
        }
        fitting
    }

    fn knows(&self, term: &Term) -> bool {
        self.packages.values().any(|(card, _)| term.is_in(card))
    }
}

#[async_trait]
impl SearchEngine for MemorySearchEngine {
    async fn index(&self, metadata: &PackageMetadata) -> Result<()> {
        self.memory()
            .put(schema::key_of(&metadata.id), Some(metadata));
        Ok(())
    }

    async fn remove(&self, id: &PackageId) -> Result<()> {
        self.memory().put(schema::key_of(id), None);
        Ok(())
    }

    async fn update(&self, metadata: &PackageMetadata) -> Result<()> {
        self.index(metadata).await
    }

    async fn search_page(&self, query: &SearchQuery) -> Result<SearchPage> {
        let memory = self.memory();
        let fitting = memory.found(query);
        let (offset, limit) = query.window();
        let shown = fitting.iter().skip(offset).take(limit);
        let hits = shown.map(|(place, package)| SearchResult {
            package: (*package).clone(),
            score: place.score,
        });
        Ok(SearchPage {
            total: fitting.len() as u64,
            hits: hits.collect(),
        })
    }

    async fn suggest(&self, prefix: &str, limit: usize) -> Result<Vec<String>> {
        let memory = self.memory();
        let cards = memory.packages.values();
        let cards = cards.map(|(card, package)| (card, &package.id.name));
        let names = Typed::new(prefix, limit).map(|typed| suggest::among(&typed, cards));
        Ok(names.into_iter().flatten().cloned().collect())
    }

    async fn facets(&self, query: &SearchQuery) -> Result<Facets> {
        let memory = self.memory();
        let found = memory.found(query);
        let mut counter = Counter::default();
        for (_, package) in found.iter().take(Facets::COUNTED_MAX) {
            counter.add(package);
        }
        Ok(counter.finish(found.len() as u64))
    }

    async fn similar(&self, id: &PackageId, limit: usize) -> Result<Vec<SearchResult>> {
        let memory = self.memory();
        let Some((reference, _)) = memory.packages.get(&schema::key_of(id)) else {
            return Ok(Vec::new());
        };
        let likeness = Likeness::of(reference);
        let like = memory.packages.values().filter_map(|(card, package)| {
            let score = likeness.score(card)?;
            Some((card.place(score), package))
        });
        let mut like: Vec<_> = like.collect();
        like.sort_by_key(|(place, _)| *place);
        let limit = limit.min(SearchQuery::LIMIT_MAX);
        let like = like
            .into_iter()
            .take(limit)
            .map(|(place, package)| SearchResult {
                package: package.clone(),
                score: place.score,
            });
        Ok(like.collect())
    }

    async fn rebuild_dyn(
        &self,
        packages: &mut (dyn Iterator<Item = PackageMetadata> + Send),
    ) -> Result<()> {
        let mut next = Memory::default();
        for package in packages {
            next.put(schema::key_of(&package.id), Some(&package));
        }
        *self.memory() = next;
        Ok(())
    }

    async fn optimize(&self) -> Result<()> {
        Ok(())
    }

    async fn stats(&self) -> Result<IndexStats> {
        let documents = self.memory().packages.len() as u64;
        Ok(IndexStats {
            documents,
            bytes: 0,
        })
    }
}

#[async_trait]
impl SearchIndex for MemorySearchEngine {
    async fn apply(&self, entries: Vec<Entry>, position: u64) -> Result<()> {
        let mut memory = self.memory();
        for entry in entries {
            let key = rank::key(&entry.owner.to_string(), entry.name.as_str());
            memory.put(key, entry.shown.as_ref());
        }
        memory.position = position;
        Ok(())
    }

    async fn position(&self) -> Result<u64> {
        Ok(self.memory().position)
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}
