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
use crate::search::Esteem;
use crate::search::Facets;
use crate::search::Highlights;
use crate::search::IndexStats;
use crate::search::SearchEngine;
use crate::search::SearchIndex;
use crate::search::SearchPage;
use crate::search::SearchQuery;
use crate::search::SearchResult;
use crate::search::copies;
use crate::search::facets::Counter;
use crate::search::highlight;
use crate::search::meant::Meant;
use crate::search::rank::{self, Card, Facts, Place, Plan, Stage, Term};
use crate::search::schema;
use crate::search::similar::Likeness;
use crate::search::suggest::{self, Begun};

/// An index in memory that looks at every package for every query: the model for others.
#[derive(Debug, Default)]
pub struct MemorySearchEngine(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    packages: BTreeMap<String, (Card, PackageMetadata)>,
    position: u64,
}

/// A package that fits.
struct Fitting<'a> {
    place: Place,
    facts: Facts,
    package: &'a PackageMetadata,
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
    fn put(&mut self, key: String, package: Option<&PackageMetadata>, esteem: Esteem) {
        match package {
            Some(package) => {
                let card = Card::new(&key, package, esteem);
                self.packages.insert(key, (card, schema::shown(package)));
            }
            None => {
                self.packages.remove(&key);
            }
        }
    }

    fn fitting<'a>(&'a self, plan: &Plan, stage: Stage) -> Vec<Fitting<'a>> {
        let fitting = self.packages.values().filter_map(|(card, package)| {
            let place = plan.find(stage, card)?;
            Some(Fitting {
                place,
                facts: card.facts,
                package,
            })
        });
        let mut fitting: Vec<_> = fitting.collect();
        fitting.sort_by_key(|fitting| fitting.place);
        fitting
    }

    /// What fits a query, best first, and how it was read.
    fn found(&self, query: &SearchQuery) -> (Vec<Fitting<'_>>, Plan, Stage) {
        let mut plan = Plan::new(query);
        if self
            .packages
            .values()
            .any(|(card, _)| card.whole == plan.whole)
        {
            plan.near = 0;
        }
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
        (fitting, plan, stage)
    }

    fn knows(&self, term: &Term) -> bool {
        self.packages.values().any(|(card, _)| term.is_in(card))
    }
}

#[async_trait]
impl SearchEngine for MemorySearchEngine {
    async fn index(&self, metadata: &PackageMetadata) -> Result<()> {
        self.memory().put(
            schema::key_of(&metadata.id),
            Some(metadata),
            Esteem::default(),
        );
        Ok(())
    }

    async fn remove(&self, id: &PackageId) -> Result<()> {
        self.memory()
            .put(schema::key_of(id), None, Esteem::default());
        Ok(())
    }

    async fn update(&self, metadata: &PackageMetadata) -> Result<()> {
        self.index(metadata).await
    }

    async fn search_page(&self, query: &SearchQuery) -> Result<SearchPage> {
        let memory = self.memory();
        let (mut fitting, plan, stage) = memory.found(query);
        let total = fitting.len() as u64;
        let (wanted, offset, limit) = query.window();
        fitting.truncate(wanted);
        let facts = fitting.iter().map(|fitting| fitting.facts);
        let shown = copies::without_copies(facts, offset, limit).into_iter();
        let hits = shown.map(|(at, copies)| {
            let Fitting {
                place,
                facts,
                package,
            } = &fitting[at];
            SearchResult {
                package: (*package).clone(),
                score: place.score,
                downloads: facts.downloads,
                highlights: highlight::of(&plan, stage, package),
                copies,
            }
        });
        let mut meant = Meant::new(&plan);
        if total == 0 {
            for (card, _) in memory.packages.values() {
                meant.offer_card(card);
            }
        }
        Ok(SearchPage {
            total,
            hits: hits.collect(),
            did_you_mean: meant.finish(),
        })
    }

    async fn suggest(&self, prefix: &str, limit: usize) -> Result<Vec<String>> {
        let memory = self.memory();
        let cards = memory.packages.values().map(|(card, _)| card);
        let names = Begun::new(prefix, limit).map(|begun| suggest::among(&begun, cards));
        Ok(names.unwrap_or_default())
    }

    async fn facets(&self, query: &SearchQuery) -> Result<Facets> {
        let memory = self.memory();
        let (found, ..) = memory.found(query);
        let mut counter = Counter::default();
        for fitting in found.iter().take(Facets::COUNTED_MAX) {
            counter.add(fitting.package);
        }
        Ok(counter.finish(found.len() as u64))
    }

    async fn similar(&self, id: &PackageId, limit: usize) -> Result<Vec<SearchResult>> {
        let memory = self.memory();
        let Some((reference, _)) = memory.packages.get(&schema::key_of(id)) else {
            return Ok(Vec::new());
        };
        let likeness = Likeness::of(reference);
        let plan = Plan::new(&SearchQuery {
            text: id.name.clone(),
            ..SearchQuery::default()
        });
        let like = memory.packages.values().filter_map(|(card, package)| {
            let score = likeness.score(card)?;
            Some((plan.place(score, &card.facts, card.order), card, package))
        });
        let mut like: Vec<_> = like.collect();
        like.sort_by_key(|(place, ..)| *place);
        let limit = limit.min(SearchQuery::LIMIT_MAX);
        let like = like
            .into_iter()
            .take(limit)
            .map(|(place, card, package)| SearchResult {
                package: package.clone(),
                score: place.score,
                downloads: card.facts.downloads,
                highlights: Highlights::default(),
                copies: 0,
            });
        Ok(like.collect())
    }

    async fn rebuild_dyn(
        &self,
        packages: &mut (dyn Iterator<Item = PackageMetadata> + Send),
    ) -> Result<()> {
        let mut next = Memory::default();
        for package in packages {
            next.put(
                schema::key_of(&package.id),
                Some(&package),
                Esteem::default(),
            );
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
            memory.put(key, entry.shown.as_ref(), entry.esteem);
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
