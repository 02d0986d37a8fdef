//! Finds packages that are like another one: by the words they share.

use std::cmp::Reverse;
use std::sync::Arc;

use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, DocSet, TERMINATED};

use super::postings::Fitting;
use super::query::{self, Best, Columns, Hit, Source, View};
use super::rank::{self, Card, Plan};
use super::schema::{Fields, Page};
use super::words::Words;
use super::{Esteem, SearchError, SearchQuery, SearchResult};

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

    /// What [`Likeness::score`] counts, as words and where they stand.
    fn words(&self, fields: &Fields) -> Vec<(Field, &str, f32)> {
        let mut all = Vec::new();
        for (field, words, each) in [
            (fields.keywords, &self.keywords, KEYWORD),
            (fields.name, &self.name, NAME),
            (fields.description, &self.description, DESCRIPTION),
        ] {
            all.extend(words.iter().map(|word| (field, word.as_str(), each)));
        }
        all
    }
}

/// What is most like the package with this key, best first.
pub(crate) fn to(
    fields: &Fields,
    view: &View,
    key: &str,
    limit: usize,
) -> Result<Vec<SearchResult>, SearchError> {
    let Some(source) = find(fields, view, key).map_err(query::failed)? else {
        return Ok(Vec::new());
    };
    let reference = query::package(fields, view, &source)?;
    let likeness = Likeness::of(&Card::new(key, &reference, Esteem::default()));
    let plan = Plan::new(&SearchQuery {
        text: reference.id.name,
        ..SearchQuery::default()
    });
    let hits = like(fields, view, &plan, &likeness, limit).map_err(query::failed)?;
    hits.iter()
        .map(|hit| query::result(fields, view, hit))
        .collect()
}

fn like(
    fields: &Fields,
    view: &View,
    plan: &Plan,
    likeness: &Likeness,
    limit: usize,
) -> tantivy::Result<Vec<Hit>> {
    let words = likeness.words(fields);
    // One more than is wanted: the package is most like itself.
    let mut best = Best::new(view, plan, limit + 1);
    for (at, segment, _) in view.committed.segments() {
        best.take(at, segment, Fitting::any(segment, &words)?)?;
    }
    let (_, mut hits) = best.finish();
    hits.retain(|hit| hit.place.order.key != likeness.key);
    for page in view.overlay.pages() {
        if let Some(score) = likeness.score(&page.card) {
            hits.push(Hit {
                place: plan.place(score, &page.card.facts, page.card.order),
                facts: page.card.facts,
                source: Source::Pending(page.clone()),
            });
        }
    }
    hits.sort_unstable_by_key(|hit| hit.place);
    hits.truncate(limit);
    Ok(hits)
}

/// Where a package is found.
fn find(fields: &Fields, view: &View, key: &str) -> tantivy::Result<Option<Source>> {
    let waiting: Option<Option<&Arc<Page>>> = view.overlay.get(rank::key_hash(key));
    if let Some(page) = waiting {
        return Ok(page.map(|page| Source::Pending(page.clone())));
    }
    let term = fields.key_term(key);
    for (at, segment, _) in view.committed.segments() {
        let inverted = segment.inverted_index(fields.key)?;
        let Some(mut docs) = inverted.read_postings(&term, IndexRecordOption::Basic)? else {
            continue;
        };
        let columns = Columns::open(segment)?;
        while docs.doc() != TERMINATED {
            if query::is_current(view, segment, &columns, docs.doc()) {
                let at = DocAddress::new(at, docs.doc());
                return Ok(Some(Source::Committed(at)));
            }
            docs.advance();
        }
    }
    Ok(None)
}
