//! The traits `SearchEngine` and `SearchIndex`: finding packages in what this node knows.

pub(crate) mod copies;
pub(crate) mod facets;
mod folder;
pub(crate) mod highlight;
pub mod index;
mod lexicon;
pub(crate) mod meant;
mod overlay;
mod postings;
mod query;
pub(crate) mod rank;
pub(crate) mod schema;
pub(crate) mod similar;
pub(crate) mod suggest;
pub(crate) mod typos;
pub(crate) mod words;
mod writer;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use ggen_protocols::id::{CanonicalName, OwnerId, PackageId};
use ggen_protocols::metadata::PackageMetadata;

use crate::Result;

/// Finds packages by words.
///
/// # Contract (checked by `testing::search::suite`)
/// - What was indexed is found by the next `search`, without waiting for a commit.
/// - One entry for each owner and package; indexing it again replaces it.
/// - User text is words, never a query language; no text makes a search fail.
/// - A name that is the whole text comes first, unless nobody used it for years and others are used a lot. Then every
///   word must be in name, keywords or description, the name counting most. Nobody has that name: names one typo away
///   from the whole text (from four letters on) are among the hits. If nothing is found so, one typo is forgiven in
///   words of names of four letters and more that stand nowhere as they are, two from eight on; if still nothing has
///   all the words, any will do. If nothing is found at all, names are told that may have been meant.
/// - What many use and what the user trusts comes before its like, what is deprecated after. The order does not depend
///   on when what was indexed.
/// - Packages of several owners with one name and one description are one hit: the best of them, and their number.
/// - Highlights are where the words of the query stand.
/// - Suggested names begin with what was typed, then with something one typo away; what most use comes first, then
///   what is shorter; each name once.
/// - Facets count what the query finds, each package once for each of its labels.
/// - Similar packages share a word with the reference, which is not among them; the more they share, the earlier.
#[async_trait]
pub trait SearchEngine: fmt::Debug + Send + Sync {
    /// Adds a package or replaces its entry. `metadata.id.namespace` is the owner.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`].
    async fn index(&self, metadata: &PackageMetadata) -> Result<()>;

    /// Takes a package out. The version of `id` does not matter: there is one entry for a package.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`].
    async fn remove(&self, id: &PackageId) -> Result<()>;

    /// Replaces a package's entry.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`].
    async fn update(&self, metadata: &PackageMetadata) -> Result<()>;

    /// The best hits for a query, best first.
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if the index cannot be read.
    async fn search(&self, query: &SearchQuery) -> Result<Vec<SearchResult>> {
        Ok(self.search_page(query).await?.hits)
    }

    /// The same, with the number of all hits.
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if the index cannot be read.
    async fn search_page(&self, query: &SearchQuery) -> Result<SearchPage>;

    /// Names that begin with `prefix`, compared without case and joints (`-`, `_`), the best known first.
    /// If there are fewer than `limit` of them and `prefix` has four letters and more, names follow that begin with
    /// something one typo away. At most [`SearchQuery::SUGGESTIONS_MAX`].
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if the index cannot be read.
    async fn suggest(&self, prefix: &str, limit: usize) -> Result<Vec<String>>;

    /// How often each label stands on what a query finds: on the best [`Facets::COUNTED_MAX`] hits of it, whatever
    /// part of them it asks for.
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if the index cannot be read.
    async fn facets(&self, query: &SearchQuery) -> Result<Facets>;

    /// Packages that share keywords or words of name and description with a package, the most similar first; none
    /// for a package that is not in the index. `id.namespace` is the owner, the version does not matter. At most
    /// [`SearchQuery::LIMIT_MAX`].
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if the index cannot be read.
    async fn similar(&self, id: &PackageId, limit: usize) -> Result<Vec<SearchResult>>;

    /// Replaces the whole index by these packages: the form of `rebuild` that a trait object can have.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`]; the old index stays then.
    async fn rebuild_dyn(
        &self,
        packages: &mut (dyn Iterator<Item = PackageMetadata> + Send),
    ) -> Result<()>;

    /// Merges the index's segments into few.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`].
    async fn optimize(&self) -> Result<()>;

    /// How large the index is.
    ///
    /// # Errors
    /// [`SearchError::QueryFailed`] if the index cannot be read.
    async fn stats(&self) -> Result<IndexStats>;
}

/// The methods of a search engine that take generic arguments.
#[async_trait]
pub trait SearchEngineExt: SearchEngine {
    /// Replaces the whole index by these packages.
    ///
    /// # Errors
    /// As for [`SearchEngine::rebuild_dyn`].
    async fn rebuild(
        &self,
        mut packages: impl Iterator<Item = PackageMetadata> + Send + 'async_trait,
    ) -> Result<()> {
        self.rebuild_dyn(&mut packages).await
    }
}

impl<T: SearchEngine + ?Sized> SearchEngineExt for T {}

/// A search engine that follows the catalogue's change feed.
///
/// # Contract (checked by `testing::search::suite`)
/// - `position` is the last one given to `apply` whose entries are all durable: after a crash, following goes on
///   from there, and applying a change twice does no harm.
#[async_trait]
pub trait SearchIndex: SearchEngine {
    /// Takes in the entries of all packages that changed up to `position` of the change feed.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`].
    async fn apply(&self, entries: Vec<Entry>, position: u64) -> Result<()>;

    /// The position that the durable index stands at; 0 for an empty one.
    async fn position(&self) -> Result<u64>;

    /// Makes everything durable now.
    ///
    /// # Errors
    /// [`SearchError::IndexingFailed`].
    async fn flush(&self) -> Result<()>;
}

/// What the index is to show of a package.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Whose package.
    pub owner: OwnerId,
    /// Its name.
    pub name: CanonicalName,
    /// Its best version; nothing if none may be shown.
    pub shown: Option<PackageMetadata>,
    /// What is thought of it.
    pub esteem: Esteem,
}

/// What a node knows of a package that its publisher does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Esteem {
    /// How often it was fetched, as far as this node knows; each tenfold lifts it.
    pub downloads: u64,
    /// Whether this user trusts its owner, which lifts it too.
    pub trusted: bool,
}

/// What to look for. Literals may end in `..SearchQuery::default()`.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Words; at most 256 characters and 16 words count. Blank: everything, by name.
    pub text: String,
    /// Only packages in all of these categories.
    pub categories: Vec<String>,
    /// Only packages with all of these keywords.
    pub tags: Vec<String>,
    /// Only packages whose authors' names have all of these words.
    pub author: Option<String>,
    /// Only packages of this owner.
    pub namespace: Option<String>,
    /// Only packages with this licence, alone or in an expression.
    pub license: Option<String>,
    /// Only packages that were downloaded so often.
    pub min_downloads: Option<u64>,
    /// At most so many hits; more than [`SearchQuery::LIMIT_MAX`] count as that.
    pub limit: usize,
    /// After so many hits; beyond [`SearchQuery::OFFSET_MAX`] none are shown.
    pub offset: usize,
    /// Which hits come first.
    pub sort: Sort,
}

/// In which order hits come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Those that fit best.
    #[default]
    Relevance,
    /// By the first 16 letters of their names; their scores are 0.
    Name,
    /// By how often they were downloaded, the most first; their scores are 0.
    Downloads,
    /// By when they were published, the newest first; their scores are 0.
    Newest,
}

impl SearchQuery {
    /// Most hits of one answer.
    pub const LIMIT_MAX: usize = 100;
    /// Most hits that can be skipped.
    pub const OFFSET_MAX: usize = 10_000;
    /// Most names of one answer.
    pub const SUGGESTIONS_MAX: usize = 50;

    /// Hits that may stand behind others as copies of them in one answer, besides those that are shown.
    const COPIES_MAX: usize = 100;

    /// Which hits are shown: how many are needed, how many are skipped, and how many come then.
    pub(crate) fn window(&self) -> (usize, usize, usize) {
        let limit = self.limit.min(Self::LIMIT_MAX);
        if self.offset > Self::OFFSET_MAX || limit == 0 {
            return (0, 0, 0);
        }
        (self.offset + limit + Self::COPIES_MAX, self.offset, limit)
    }
}

impl Default for SearchQuery {
    fn default() -> Self {
        Self {
            text: String::new(),
            categories: Vec::new(),
            tags: Vec::new(),
            author: None,
            namespace: None,
            license: None,
            min_downloads: None,
            limit: 20,
            offset: 0,
            sort: Sort::default(),
        }
    }
}

/// One hit.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchResult {
    /// The package's best version, without dependencies, features and signature: the registry has those.
    pub package: PackageMetadata,
    /// How well it fits; comparable within one answer only.
    pub score: f32,
    /// How often it was downloaded, as far as this node knows.
    pub downloads: u64,
    /// What the query's words were found as; nothing for similar packages.
    pub highlights: Highlights,
    /// Packages of other owners that have the same name and the same words in their descriptions, and fit less well.
    pub copies: u32,
}

/// Where in a hit's texts the words of a query stand, in bytes; in order, apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Highlights {
    /// In its name.
    pub name: Vec<Range<usize>>,
    /// In its description.
    pub description: Vec<Range<usize>>,
}

/// The hits of one query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchPage {
    /// How many there are in all, copies too.
    pub total: u64,
    /// The ones asked for, best first.
    pub hits: Vec<SearchResult>,
    /// If there are none, at most three names that may have been meant.
    pub did_you_mean: Vec<String>,
}

/// How often labels stand on what a query finds. Each list has its commonest labels first, labels that are as common
/// by their letters, and at most [`Facets::LABELS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// How many packages the query finds in all.
    pub total: u64,
    /// How many of them were counted.
    pub counted: u64,
    /// Categories, without case.
    pub categories: Vec<(String, u64)>,
    /// Keywords, without case.
    pub tags: Vec<(String, u64)>,
    /// Licence expressions, as they are written.
    pub licenses: Vec<(String, u64)>,
    /// What the archives are: `cargo`, `pack` or `generic`.
    pub formats: Vec<(String, u64)>,
}

impl Facets {
    /// Most hits that are counted.
    pub const COUNTED_MAX: usize = 1_000;
    /// Most labels of one kind that are told of.
    pub const LABELS_MAX: usize = 50;
}

/// How large an index is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Packages in it.
    pub documents: u64,
    /// Its size on disk in bytes.
    pub bytes: u64,
}

/// Why a search engine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The index could not be written.
    #[error("cannot index: {0}")]
    IndexingFailed(String),
    /// The index could not be read.
    #[error("cannot search: {0}")]
    QueryFailed(String),
}
