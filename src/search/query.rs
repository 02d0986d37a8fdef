//! Asks the committed index and the overlay for the same sums, and takes the best of both.

use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use ggen_protocols::metadata::PackageMetadata;
use tantivy::columnar::ColumnValues;
use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, EnableScoring, FuzzyTermQuery, Occur,
    Query, RangeQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{
    DocAddress, DocSet, Searcher, SegmentReader, TERMINATED, TantivyDocument, TantivyError,
};

use super::facets::Counter;
use super::overlay::Overlay;
use super::rank::{self, Order, Place, Plan, Stage};
use super::schema::{self, Fields, Page};
use super::words;
use super::{Facets, SearchError, SearchPage, SearchQuery, SearchResult};

type Clause = (Occur, Box<dyn Query>);

/// What one search sees; later changes do not change it.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) searcher: Searcher,
    pub(crate) overlay: Arc<Overlay>,
}

/// Where a hit's package is found.
#[derive(Debug)]
pub(super) enum Hit {
    Committed(DocAddress),
    Pending(Arc<Page>),
}

/// Answers a query.
pub(crate) fn page(
    fields: &Fields,
    view: &View,
    query: &SearchQuery,
) -> Result<SearchPage, SearchError> {
    let (offset, limit) = query.window();
    let wanted = if limit == 0 { 0 } else { offset + limit };
    let (total, hits) = first(fields, view, query, wanted)?;
    let shown = hits.into_iter().skip(offset).take(limit);
    let hits = shown.map(|(place, hit)| {
        let package = package(fields, view, &hit)?;
        let score = place.score;
        Ok(SearchResult { package, score })
    });
    let hits = hits.collect::<Result<_, SearchError>>()?;
    Ok(SearchPage { total, hits })
}

/// Counts the labels of what a query finds.
pub(crate) fn facets(
    fields: &Fields,
    view: &View,
    query: &SearchQuery,
) -> Result<Facets, SearchError> {
    let (total, hits) = first(fields, view, query, Facets::COUNTED_MAX)?;
    let mut counter = Counter::default();
    for (_, hit) in hits {
        counter.add(&package(fields, view, &hit)?);
    }
    Ok(counter.finish(total))
}

/// How many packages a query finds, and the first `wanted` of them.
fn first(
    fields: &Fields,
    view: &View,
    query: &SearchQuery,
    wanted: usize,
) -> Result<(u64, Vec<(Place, Hit)>), SearchError> {
    let failed = |error: TantivyError| SearchError::QueryFailed(error.to_string());
    let mut plan = Plan::new(query);
    let mut stage = Stage::Strict;
    let (mut total, mut hits) = best(fields, view, &plan, stage, wanted).map_err(failed)?;
    if total == 0 {
        let known = plan.trust(|term| knows(fields, view, term));
        known.map_err(failed)?;
    }
    while let (0, Some(next)) = (total, plan.after(stage)) {
        stage = next;
        (total, hits) = best(fields, view, &plan, stage, wanted).map_err(failed)?;
    }
    Ok((total, hits))
}

pub(super) fn package(
    fields: &Fields,
    view: &View,
    hit: &Hit,
) -> Result<PackageMetadata, SearchError> {
    match hit {
        Hit::Pending(page) => page.package(),
        Hit::Committed(at) => {
            let document = view.searcher.doc::<TantivyDocument>(*at);
            let document = document.map_err(|error| SearchError::QueryFailed(error.to_string()))?;
            fields.package(&document)
        }
    }
}

/// How many packages fit at this stage, and the first `wanted` of them.
fn best(
    fields: &Fields,
    view: &View,
    plan: &Plan,
    stage: Stage,
    wanted: usize,
) -> tantivy::Result<(u64, Vec<(Place, Hit)>)> {
    let query = committed_query(fields, plan, stage);
    let (mut total, committed) = best_of(view, &*query, plan.flat, wanted)?;
    let committed = committed
        .into_iter()
        .map(|(place, at)| (place, Hit::Committed(at)));
    let mut hits: Vec<_> = committed.collect();
    for (place, page) in view.overlay.search(plan, stage) {
        total += 1;
        hits.push((place, Hit::Pending(page.clone())));
    }
    hits.sort_unstable_by_key(|(place, _)| *place);
    hits.truncate(wanted);
    Ok((total, hits))
}

/// How many committed packages fit a query, and the first `wanted` of them. With `flat` they all fit equally well.
pub(super) fn best_of(
    view: &View,
    query: &dyn Query,
    flat: bool,
    wanted: usize,
) -> tantivy::Result<(u64, Vec<(Place, DocAddress)>)> {
    let searcher = &view.searcher;
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher))?;
    let mut total = 0;
    let mut worst_first: BinaryHeap<(Place, DocAddress)> = BinaryHeap::new();
    for (at, segment) in searcher.segment_readers().iter().enumerate() {
        let columns = Columns::open(segment)?;
        weight.for_each(segment, &mut |doc, text| {
            if !is_current(view, segment, &columns, doc) {
                return;
            }
            let text = if flat { 0.0 } else { text };
            total += 1;
            let score = text * columns.factor(doc);
            let full = worst_first.len() >= wanted;
            let behind = |(worst, _): &(Place, DocAddress)| columns.is_behind(doc, score, worst);
            if full && worst_first.peek().is_none_or(behind) {
                return;
            }
            let order = columns.order(doc);
            let place = Place { score, order };
            worst_first.push((place, DocAddress::new(at as u32, doc)));
            if full {
                worst_first.pop();
            }
        })?;
    }
    Ok((total, worst_first.into_vec()))
}

/// Whether a word stands in some package as it was typed.
fn knows(fields: &Fields, view: &View, term: &rank::Term) -> tantivy::Result<bool> {
    if view.overlay.knows(term) {
        return Ok(true);
    }
    let searcher = &view.searcher;
    let query = term_query(fields, term, Stage::Strict);
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    for segment in searcher.segment_readers() {
        let columns = Columns::open(segment)?;
        let mut found = weight.scorer(segment, 1.0)?;
        while found.doc() != TERMINATED {
            if is_current(view, segment, &columns, found.doc()) {
                return Ok(true);
            }
            found.advance();
        }
    }
    Ok(false)
}

/// Whether a committed document is neither deleted nor replaced since.
pub(super) fn is_current(
    view: &View,
    segment: &SegmentReader,
    columns: &Columns,
    doc: u32,
) -> bool {
    let alive = segment
        .alive_bitset()
        .is_none_or(|alive| alive.is_alive(doc));
    alive && (view.overlay.is_empty() || !view.overlay.hides(columns.key(doc)))
}

/// The columns that a document's place comes from.
pub(super) struct Columns {
    weight: Arc<dyn ColumnValues<u64>>,
    order: [Arc<dyn ColumnValues<u64>>; 3],
}

impl Columns {
    pub(super) fn open(segment: &SegmentReader) -> tantivy::Result<Self> {
        let column = |name: &str| {
            let column = segment.fast_fields().u64(name)?;
            Ok::<_, TantivyError>(column.first_or_default_col(0))
        };
        let [first, second, third] = schema::ORDER;
        Ok(Self {
            weight: column(schema::WEIGHT)?,
            order: [column(first)?, column(second)?, column(third)?],
        })
    }

    fn factor(&self, doc: u32) -> f32 {
        rank::factor(u8::try_from(self.weight.get_val(doc)).unwrap_or(u8::MAX))
    }

    fn key(&self, doc: u32) -> u64 {
        self.order[2].get_val(doc)
    }

    /// Whether the document certainly stands behind `worst`; looks at no more columns than it takes.
    fn is_behind(&self, doc: u32, score: f32, worst: &Place) -> bool {
        score < worst.score
            || (score == worst.score && self.order[0].get_val(doc) > worst.order.name[0])
    }

    pub(super) fn order(&self, doc: u32) -> Order {
        let name = [self.order[0].get_val(doc), self.order[1].get_val(doc)];
        let key = self.key(doc);
        Order { name, key }
    }
}

/// [`Plan::score`], but for the factor, as a query.
fn committed_query(fields: &Fields, plan: &Plan, stage: Stage) -> Box<dyn Query> {
    let text = text_query(fields, plan, stage);
    let filter = |field: Field, labels: &[String]| -> Vec<Clause> {
        let filter = |label: &String| (Occur::Must, constant(word(field, label), 0.0));
        labels.iter().map(filter).collect()
    };
    let mut clauses = filter(fields.tags, &plan.tags);
    clauses.extend(filter(fields.categories, &plan.categories));
    if clauses.is_empty() {
        return text;
    }
    clauses.push((Occur::Must, text));
    Box::new(BooleanQuery::new(clauses))
}

fn text_query(fields: &Fields, plan: &Plan, stage: Stage) -> Box<dyn Query> {
    if plan.everything {
        return Box::new(AllQuery);
    }
    let occur = if stage == Stage::AnyWord {
        Occur::Should
    } else {
        Occur::Must
    };
    let terms = plan
        .terms
        .iter()
        .map(|term| (occur, term_query(fields, term, stage)));
    let terms: Vec<Clause> = terms.collect();
    let mut clauses: Vec<Clause> = Vec::new();
    if !terms.is_empty() {
        clauses.push((Occur::Should, Box::new(BooleanQuery::new(terms))));
    }
    if !plan.whole.is_empty() {
        let exact = constant(word(fields.whole, &plan.whole), rank::EXACT_NAME);
        clauses.push((Occur::Should, exact));
    }
    if clauses.is_empty() {
        return Box::new(EmptyQuery);
    }
    Box::new(BooleanQuery::new(clauses))
}

fn term_query(fields: &Fields, term: &rank::Term, stage: Stage) -> Box<dyn Query> {
    let text = &term.text;
    let mut clauses = vec![
        constant(word(fields.name, text), term.name_weight()),
        constant(word(fields.keywords, text), rank::KEYWORD),
        constant(word(fields.description, text), rank::DESCRIPTION),
    ];
    if term.prefix {
        clauses.push(constant(prefix(fields, text), rank::NAME_PREFIX));
    }
    let forgiven = term.typos.min(stage.typos());
    for (typos, weight) in [(1, rank::NAME_TYPO), (2, rank::NAME_TYPOS)] {
        if typos <= forgiven {
            let name = tantivy::Term::from_field_text(fields.name, text);
            let query = FuzzyTermQuery::new(name, typos, true);
            clauses.push(constant(Box::new(query), weight));
        }
    }
    let clauses = clauses.into_iter().map(|clause| (Occur::Should, clause));
    Box::new(BooleanQuery::new(clauses.collect()))
}

pub(super) fn constant(query: Box<dyn Query>, score: f32) -> Box<dyn Query> {
    Box::new(ConstScoreQuery::new(query, score))
}

pub(super) fn word(field: Field, text: &str) -> Box<dyn Query> {
    let term = tantivy::Term::from_field_text(field, text);
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

/// The names with a word that begins like this. Short beginnings are indexed like words: thousands of words may
/// begin alike, and each would have to be looked up.
fn prefix(fields: &Fields, text: &str) -> Box<dyn Query> {
    if text.chars().count() <= words::BEGINNING_CHARS_MAX {
        return word(fields.beginnings, text);
    }
    // No character comes after this one, so what begins with `text` lies between the two.
    let end = format!("{text}{}", char::MAX);
    Box::new(RangeQuery::new(
        Bound::Included(tantivy::Term::from_field_text(fields.name, text)),
        Bound::Excluded(tantivy::Term::from_field_text(fields.name, &end)),
    ))
}
