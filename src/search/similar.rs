//! Finds packages that are like another one: by the words they share.

use std::cmp::Reverse;
use std::sync::Arc;

use tantivy::query::{BooleanQuery, EmptyQuery, Occur, Query};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet, TERMINATED, TantivyError};

use super::query::{self, Columns, Hit, View};
use super::rank::{self, Card};
use super::schema::{Fields, Page};
use super::words::Words;
use super::{SearchError, SearchResult};

/// For each word of the reference's keywords that is one of the keywords.
const KEYWORD: f32 = 4.0;
/// For each word of its name that is one of the name.
const NAME: f32 = 3.0;
/// For each word of its description that is one of the description.
const DESCRIPTION: f32 = 1.0;
/// Words of a description that count, the longest ones: those tell most, and each must be looked up.
const DESCRIPTION_WORDS_MAX: usize = 32;
/// Letters that a word of a name has at least.
const NAME_CHARS_MIN: usize = 2;

/// What the similarity to a package is measured by.
#[derive(Debug)]
pub(crate) struct Likeness {
    /// The package itself.
    pub(crate) key: u64,
    keywords: Vec<String>,
    name: Vec<String>,
    description: Vec<String>,
}

impl Likeness {
    pub(crate) fn of(card: &Card) -> Self {
        let all = |words: &Words| words.iter().map(str::to_owned).collect::<Vec<_>>();
        let mut name = all(&card.name);
        name.retain(|word| word.chars().count() >= NAME_CHARS_MIN);
        let mut description = all(&card.description);
        // Stable: words of the same length stay in the order of their letters.
        description.sort_by_key(|word| Reverse(word.len()));
        description.truncate(DESCRIPTION_WORDS_MAX);
        Self {
            key: card.order.key,
            keywords: all(&card.keywords),
            name,
            description,
        }
    }

    /// How much a package shares; nothing for none, and for the package itself.
    pub(crate) fn score(&self, card: &Card) -> Option<f32> {
        let shared = |own: &Words, words: &[String], each: f32| {
            words.iter().filter(|word| own.contains(word)).count() as f32 * each
        };
        let score = shared(&card.keywords, &self.keywords, KEYWORD)
            + shared(&card.name, &self.name, NAME)
            + shared(&card.description, &self.description, DESCRIPTION);
        (score > 0.0 && card.order.key != self.key).then_some(score)
    }

    /// [`Likeness::score`] as a query, which finds the package itself too.
    fn query(&self, fields: &Fields) -> Box<dyn Query> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for (field, words, each) in [
            (fields.keywords, &self.keywords, KEYWORD),
            (fields.name, &self.name, NAME),
            (fields.description, &self.description, DESCRIPTION),
        ] {
            let shared = words
                .iter()
                .map(|word| query::constant(query::word(field, word), each));
            clauses.extend(shared.map(|query| (Occur::Should, query)));
        }
        if clauses.is_empty() {
            return Box::new(EmptyQuery);
        }
        Box::new(BooleanQuery::new(clauses))
    }
}

/// What is most like the package with this key, best first.
pub(crate) fn to(
    fields: &Fields,
    view: &View,
    key: &str,
    limit: usize,
) -> Result<Vec<SearchResult>, SearchError> {
    let failed = |error: TantivyError| SearchError::QueryFailed(error.to_string());
    let Some(hit) = find(fields, view, key).map_err(failed)? else {
        return Ok(Vec::new());
    };
    let reference = query::package(fields, view, &hit)?;
    let likeness = Likeness::of(&Card::new(key, &reference));
    let query = likeness.query(fields);
    // One more than is wanted: the package is most like itself.
    let committed = query::best_of(view, &*query, false, limit + 1);
    let (_, committed) = committed.map_err(failed)?;
    let mut hits: Vec<_> = committed
        .into_iter()
        .filter(|(place, _)| place.order.key != likeness.key)
        .map(|(place, at)| (place, Hit::Committed(at)))
        .collect();
    for page in view.overlay.pages() {
        if let Some(score) = likeness.score(&page.card) {
            hits.push((page.card.place(score), Hit::Pending(page.clone())));
        }
    }
    hits.sort_unstable_by_key(|(place, _)| *place);
    hits.truncate(limit);
    let hits = hits.into_iter().map(|(place, hit)| {
        let package = query::package(fields, view, &hit)?;
        let score = place.score;
        Ok(SearchResult { package, score })
    });
    hits.collect()
}

/// Where a package is found.
fn find(fields: &Fields, view: &View, key: &str) -> tantivy::Result<Option<Hit>> {
    let waiting: Option<Option<&Arc<Page>>> = view.overlay.get(rank::key_hash(key));
    if let Some(page) = waiting {
        return Ok(page.map(|page| Hit::Pending(page.clone())));
    }
    let term = fields.key_term(key);
    for (at, segment) in view.searcher.segment_readers().iter().enumerate() {
        let inverted = segment.inverted_index(fields.key)?;
        let Some(mut docs) = inverted.read_postings(&term, IndexRecordOption::Basic)? else {
            continue;
        };
        let columns = Columns::open(segment)?;
        while docs.doc() != TERMINATED {
            if query::is_current(view, segment, &columns, docs.doc()) {
                let at = DocAddress::new(at as u32, docs.doc());
                return Ok(Some(Hit::Committed(at)));
            }
            docs.advance();
        }
    }
    Ok(None)
}
