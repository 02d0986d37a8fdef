//! `TantivySearchEngine`: a Tantivy index on disk with the newest changes on top.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use ggen_protocols::id::PackageId;
use ggen_protocols::metadata::PackageMetadata;
use tokio::task::spawn_blocking;

use super::folder::{self, Generation, Pace};
use super::lexicon::Committed;
use super::overlay::Change;
use super::query;
use super::rank;
use super::schema::{Fields, Page, key_of};
use super::similar;
use super::suggest::{self, Begun};
use super::writer::{self, Shared, Task};
use super::{
    Entry, Esteem, Facets, IndexStats, SearchEngine, SearchError, SearchIndex, SearchPage,
    SearchQuery, SearchResult,
};
use crate::Result;

/// Packages that a rebuild hands to its writer at once.
const REBUILD_CHUNK: usize = 1_000;

/// What can be chosen of an index.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a change may wait for others before it is made durable with them. It is found at once all the
    /// same, and lost in a crash only to be applied again.
    pub commit_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit_delay: Duration::from_secs(1),
        }
    }
}

/// An index on disk. What is applied is found at once and durable a moment later.
///
/// Dropping it commits what waits, which takes some milliseconds, and frees the folder.
pub struct TantivySearchEngine {
    root: PathBuf,
    shared: Arc<Shared>,
    /// One optimisation or rebuild at a time.
    maintenance: tokio::sync::Mutex<()>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for TantivySearchEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TantivySearchEngine")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl TantivySearchEngine {
    /// Opens the index in the folder `path`, creating what is missing.
    ///
    /// # Errors
    /// As for [`TantivySearchEngine::open`].
    pub async fn new(path: impl AsRef<Path>) -> Result<Self> {
        Self::open(path, Options::default()).await
    }

    /// Opens the index in the folder `path`, creating what is missing. An index that is damaged, or of another
    /// version of this software, is deleted and begun anew at position 0: everything in it derives from the
    /// catalogue.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`] if the folder cannot be written or another process has it open.
    pub async fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let root = path.as_ref().to_owned();
        let folder = root.clone();
        let opened = blocking(SearchError::IndexingFailed, move || {
            let fields = Fields::new();
            let generation = folder::open(&folder, &fields)?;
            let searcher = generation.reader.searcher();
            let committed = Committed::read(&fields, searcher, None).map_err(|error| {
                SearchError::IndexingFailed(format!("cannot read {}: {error}", folder.display()))
            })?;
            let delay = options.commit_delay;
            let shared = Arc::new(Shared::new(fields, &generation, committed, delay));
            let with = shared.clone();
            let thread = std::thread::Builder::new().name("search-writer".to_owned());
            let writer = thread.spawn(move || writer::write(&with, generation));
            let writer = writer.map_err(|error| {
                SearchError::IndexingFailed(format!("cannot start the writer's thread: {error}"))
            })?;
            Ok((shared, writer))
        });
        let (shared, writer) = opened.await?;
        let maintenance = tokio::sync::Mutex::new(());
        Ok(Self {
            root,
            shared,
            maintenance,
            writer: Some(writer),
        })
    }

    async fn change(&self, key: String, package: Option<&PackageMetadata>) -> Result<()> {
        let change = change(key, package, Esteem::default())?;
        Ok(self.shared.apply(vec![change], None).await?)
    }
}

impl Drop for TantivySearchEngine {
    fn drop(&mut self) {
        self.shared.stop();
        if self
            .writer
            .take()
            .is_some_and(|writer| writer.join().is_err())
        {
            tracing::error!("the search index's writer has panicked");
        }
    }
}

fn change(
    key: String,
    package: Option<&PackageMetadata>,
    esteem: Esteem,
) -> Result<Change, SearchError> {
    let page = package
        .map(|package| Page::new(&key, package, esteem))
        .transpose()?;
    Ok(Change {
        hash: rank::key_hash(&key),
        key,
        page: page.map(Arc::new),
    })
}

/// Runs blocking work; a panic in it is an error like others.
async fn blocking<T: Send + 'static>(
    kind: fn(String) -> SearchError,
    work: impl FnOnce() -> Result<T, SearchError> + Send + 'static,
) -> Result<T, SearchError> {
    let ended = spawn_blocking(work).await;
    ended.map_err(|error| kind(format!("the work was broken off: {error}")))?
}

#[async_trait]
impl SearchEngine for TantivySearchEngine {
    async fn index(&self, metadata: &PackageMetadata) -> Result<()> {
        self.change(key_of(&metadata.id), Some(metadata)).await
    }

    async fn remove(&self, id: &PackageId) -> Result<()> {
        self.change(key_of(id), None).await
    }

    async fn update(&self, metadata: &PackageMetadata) -> Result<()> {
        self.index(metadata).await
    }

    async fn search_page(&self, query: &SearchQuery) -> Result<SearchPage> {
        let shared = self.shared.clone();
        let query = query.clone();
        let page = blocking(SearchError::QueryFailed, move || {
            query::page(&shared.fields, &shared.view(), &query)
        });
        Ok(page.await?)
    }

    async fn suggest(&self, prefix: &str, limit: usize) -> Result<Vec<String>> {
        let Some(begun) = Begun::new(prefix, limit) else {
            return Ok(Vec::new());
        };
        let shared = self.shared.clone();
        let names = blocking(SearchError::QueryFailed, move || {
            suggest::names(&shared.view(), &begun)
        });
        Ok(names.await?)
    }

    async fn facets(&self, query: &SearchQuery) -> Result<Facets> {
        let shared = self.shared.clone();
        let query = query.clone();
        let facets = blocking(SearchError::QueryFailed, move || {
            query::facets(&shared.fields, &shared.view(), &query)
        });
        Ok(facets.await?)
    }

    async fn similar(&self, id: &PackageId, limit: usize) -> Result<Vec<SearchResult>> {
        let limit = limit.min(SearchQuery::LIMIT_MAX);
        let shared = self.shared.clone();
        let key = key_of(id);
        let hits = blocking(SearchError::QueryFailed, move || {
            similar::to(&shared.fields, &shared.view(), &key, limit)
        });
        Ok(hits.await?)
    }

    async fn rebuild_dyn(
        &self,
        packages: &mut (dyn Iterator<Item = PackageMetadata> + Send),
    ) -> Result<()> {
        let _alone = self.maintenance.lock().await;
        let (held, ticket) = self.shared.hold();
        let root = self.root.clone();
        let shared = self.shared.clone();
        let begin = move || folder::begin(&root, &shared.fields, Pace::Rebuild);
        let begun = blocking(SearchError::IndexingFailed, begin).await?;
        let mut next = Abandoned::new(begun);
        loop {
            let chunk: Vec<_> = (&mut *packages).take(REBUILD_CHUNK).collect();
            let last = chunk.len() < REBUILD_CHUNK;
            let shared = self.shared.clone();
            next = blocking(SearchError::IndexingFailed, move || {
                next.add(&shared.fields, &chunk)?;
                if last {
                    next.settle()?;
                }
                Ok(next)
            })
            .await?;
            if last {
                break;
            }
        }
        if let Some(generation) = next.generation.take() {
            let replace = |done| Task::Replace(Box::new(generation), ticket, done);
            self.shared.run(replace).await?;
        }
        drop(held);
        Ok(())
    }

    async fn optimize(&self) -> Result<()> {
        let _alone = self.maintenance.lock().await;
        self.shared.flush().await?;
        Ok(self.shared.run(Task::Merge).await?)
    }

    async fn stats(&self) -> Result<IndexStats> {
        let all = SearchQuery {
            limit: 0,
            ..SearchQuery::default()
        };
        let documents = self.search_page(&all).await?.total;
        let path = self.shared.path();
        let bytes = blocking(SearchError::QueryFailed, move || {
            let size = folder::size(&path);
            size.map_err(|error| {
                SearchError::QueryFailed(format!("cannot measure {}: {error}", path.display()))
            })
        });
        let bytes = bytes.await?;
        Ok(IndexStats { documents, bytes })
    }
}

#[async_trait]
impl SearchIndex for TantivySearchEngine {
    async fn apply(&self, entries: Vec<Entry>, position: u64) -> Result<()> {
        let shared = self.shared.clone();
        let changes = move || {
            let change = |entry: Entry| {
                let key = rank::key(&entry.owner.to_string(), entry.name.as_str());
                change(key, entry.shown.as_ref(), entry.esteem)
            };
            entries
                .into_iter()
                .map(change)
                .collect::<Result<Vec<_>, _>>()
        };
        let changes = blocking(SearchError::IndexingFailed, changes).await?;
        Ok(shared.apply(changes, Some(position)).await?)
    }

    async fn position(&self) -> Result<u64> {
        Ok(self.shared.durable_position())
    }

    async fn flush(&self) -> Result<()> {
        Ok(self.shared.flush().await?)
    }
}

/// A generation that is deleted if nobody takes it: a rebuild that failed or was dropped.
struct Abandoned {
    generation: Option<Generation>,
    /// Short forms of the keys that are in it.
    known: HashSet<u64>,
}

impl Abandoned {
    fn new(generation: Generation) -> Self {
        Self {
            generation: Some(generation),
            known: HashSet::new(),
        }
    }

    /// Adds packages, of which later ones replace earlier ones, with all cores.
    fn add(&mut self, fields: &Fields, packages: &[PackageMetadata]) -> Result<(), SearchError> {
        let Some(generation) = &self.generation else {
            return Ok(());
        };
        let mut later = HashSet::new();
        let mut wanted = Vec::with_capacity(packages.len());
        for package in packages.iter().rev() {
            let key = key_of(&package.id);
            let hash = rank::key_hash(&key);
            if later.insert(hash) {
                if !self.known.insert(hash) {
                    generation.writer.delete_term(fields.key_term(&key));
                }
                wanted.push((key, package));
            }
        }
        let share = wanted.len().div_ceil(folder::rebuild_threads()).max(1);
        std::thread::scope(|scope| {
            let shares = wanted.chunks(share);
            let write = |part| scope.spawn(move || add_all(generation, fields, part));
            let writing: Vec<_> = shares.map(write).collect();
            writing.into_iter().try_for_each(|part| {
                let broken = |_| SearchError::IndexingFailed("the work was broken off".to_owned());
                part.join().map_err(broken)?
            })
        })
    }

    /// Makes it ready to be searched.
    fn settle(&mut self) -> Result<(), SearchError> {
        if let Some(generation) = self.generation.take() {
            let path = generation.path.clone();
            let settled = generation.settle();
            let failed = |error| folder::failed("write the new search index", &path, &error);
            self.generation = Some(settled.map_err(failed)?);
        }
        Ok(())
    }
}

fn add_all(
    generation: &Generation,
    fields: &Fields,
    packages: &[(String, &PackageMetadata)],
) -> Result<(), SearchError> {
    for (key, package) in packages {
        let page = Page::new(key, package, Esteem::default())?;
        let added = generation.writer.add_document(fields.document(key, &page));
        added.map_err(|error| SearchError::IndexingFailed(error.to_string()))?;
    }
    Ok(())
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.generation.take().map(Generation::delete) {
            tracing::debug!(%error, "the next start deletes it");
        }
    }
}
