//! Asks the committed index and the overlay for the same sums, and takes the best of both.

use std::collections::BinaryHeap;
use std::sync::Arc;

use ggen_protocols::metadata::PackageMetadata;
use tantivy::columnar::ColumnValues;
use tantivy::{DocAddress, DocId, SegmentReader, TantivyDocument, TantivyError};

use super::copies;
use super::facets::Counter;
use super::highlight;
use super::lexicon::Committed;
use super::meant::Meant;
use super::overlay::Overlay;
use super::postings::{Fitting, Wording};
use super::rank::{self, Facts, Order, Place, Plan, Stage};
use super::schema::{self, Fields, Page};
use super::{Facets, SearchError, SearchPage, SearchQuery, SearchResult};

/// What one search sees; later changes do not change it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) committed: Committed,
    pub(crate) overlay: Arc<Overlay>,
}

/// Where a hit's package is found.
#[derive(Debug)]
pub(super) enum Source {
    Committed(DocAddress),
    Pending(Arc<Page>),
}

/// A hit whose package was not read yet.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) place: Place,
    pub(super) facts: Facts,
    pub(super) source: Source,
}

/// What a query found.
struct Found {
    total: u64,
    hits: Vec<Hit>,
    plan: Plan,
    stage: Stage,
}

/// Answers a query.
pub(crate) fn page(
    fields: &Fields,
    view: &View,
    query: &SearchQuery,
) -> Result<SearchPage, SearchError> {
    let (wanted, offset, limit) = query.window();
    let found = first(fields, view, query, wanted)?;
    let facts = found.hits.iter().map(|hit| hit.facts);
    let shown = copies::without_copies(facts, offset, limit).into_iter();
    let hits = shown.map(|(at, copies)| {
        let hit = &found.hits[at];
        let mut result = result(fields, view, hit)?;
        result.highlights = highlight::of(&found.plan, found.stage, &result.package);
        result.copies = copies;
        Ok(result)
    });
    let hits = hits.collect::<Result<_, SearchError>>()?;
    let did_you_mean = match found.total {
        0 => meant(view, &found.plan).map_err(failed)?,
        _ => Vec::new(),
    };
    Ok(SearchPage {
        total: found.total,
        hits,
        did_you_mean,
    })
}

fn meant(view: &View, plan: &Plan) -> tantivy::Result<Vec<String>> {
    let mut meant = Meant::new(plan);
    for (_, segment, lexicon) in view.committed.segments() {
        let columns = Columns::open(segment)?;
        for (at, typos) in lexicon.entries_near(&plan.whole, meant.typos()) {
            let (doc, spelled) = lexicon.entry(at);
            if is_current(view, segment, &columns, doc) {
                meant.offer(typos, columns.downloads(doc), spelled);
            }
        }
    }
    for page in view.overlay.pages() {
        meant.offer_card(&page.card);
    }
    Ok(meant.finish())
}

/// Counts the labels of what a query finds.
pub(crate) fn facets(
    fields: &Fields,
    view: &View,
    query: &SearchQuery,
) -> Result<Facets, SearchError> {
    let found = first(fields, view, query, Facets::COUNTED_MAX)?;
    let mut counter = Counter::default();
    for hit in found.hits {
        counter.add(&package(fields, view, &hit.source)?);
    }
    Ok(counter.finish(found.total))
}

/// How many packages a query finds, and the first `wanted` of them.
fn first(
    fields: &Fields,
    view: &View,
    query: &SearchQuery,
    wanted: usize,
) -> Result<Found, SearchError> {
    let mut plan = Plan::new(query);
    if plan.near > 0 && exists(view, &plan.whole).map_err(failed)? {
        plan.near = 0;
    }
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
    Ok(Found {
        total,
        hits,
        plan,
        stage,
    })
}

pub(super) fn failed(error: TantivyError) -> SearchError {
    SearchError::QueryFailed(error.to_string())
}

/// A hit as it is shown, without highlights.
pub(super) fn result(fields: &Fields, view: &View, hit: &Hit) -> Result<SearchResult, SearchError> {
    Ok(SearchResult {
        package: package(fields, view, &hit.source)?,
        score: hit.place.score,
        downloads: hit.facts.downloads,
        highlights: Default::default(),
        copies: 0,
    })
}

pub(super) fn package(
    fields: &Fields,
    view: &View,
    source: &Source,
) -> Result<PackageMetadata, SearchError> {
    match source {
        Source::Pending(page) => page.package(),
        Source::Committed(at) => {
            let document = view.committed.searcher.doc::<TantivyDocument>(*at);
            fields.package(&document.map_err(failed)?)
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
) -> tantivy::Result<(u64, Vec<Hit>)> {
    let wording = Wording::new(&view.committed, plan, stage);
    let mut best = Best::new(view, plan, wanted);
    for (at, segment, lexicon) in view.committed.segments() {
        best.take(
            at,
            segment,
            Fitting::of(fields, segment, lexicon, &wording)?,
        )?;
    }
    let (mut total, mut hits) = best.finish();
    for (place, page) in view.overlay.search(plan, stage) {
        total += 1;
        hits.push(Hit {
            place,
            facts: page.card.facts,
            source: Source::Pending(page.clone()),
        });
    }
    hits.sort_unstable_by_key(|hit| hit.place);
    hits.truncate(wanted);
    Ok((total, hits))
}

/// The best of what is committed.
pub(super) struct Best<'a> {
    view: &'a View,
    plan: &'a Plan,
    wanted: usize,
    total: u64,
    worst_first: BinaryHeap<(Place, DocAddress)>,
    columns: Vec<Columns>,
}

impl<'a> Best<'a> {
    pub(super) fn new(view: &'a View, plan: &'a Plan, wanted: usize) -> Self {
        Self {
            view,
            plan,
            wanted,
            total: 0,
            worst_first: BinaryHeap::new(),
            columns: Vec::new(),
        }
    }

    /// Takes what fits in a segment; segments come in their order.
    pub(super) fn take(
        &mut self,
        at: u32,
        segment: &SegmentReader,
        fitting: Fitting,
    ) -> tantivy::Result<()> {
        let (view, plan) = (self.view, self.plan);
        let columns = Columns::open(segment)?;
        let factor_max = rank::factor(columns.weight.max_value());
        let by_score = !plan.flat;
        let downloads_min = plan.filters.downloads;
        for fit in fitting {
            let doc = fit.doc;
            if !is_current(view, segment, &columns, doc)
                || (downloads_min > 0 && columns.downloads(doc) < downloads_min)
            {
                continue;
            }
            self.total += 1;
            let bonus = |typos| plan.name_bonus(typos, &columns.facts(doc));
            let text = fit.text + fit.typos.map_or(0.0, bonus);
            let full = self.worst_first.len() >= self.wanted;
            if full {
                let Some((worst, _)) = self.worst_first.peek() else {
                    continue;
                };
                if by_score && text * factor_max < worst.score {
                    continue;
                }
                if by_score && text * columns.factor(doc) < worst.score {
                    continue;
                }
            }
            let place = plan.place(text, &columns.facts(doc), columns.order(doc));
            if full
                && self
                    .worst_first
                    .peek()
                    .is_some_and(|(worst, _)| *worst <= place)
            {
                continue;
            }
            self.worst_first.push((place, DocAddress::new(at, doc)));
            if full {
                self.worst_first.pop();
            }
        }
        self.columns.push(columns);
        Ok(())
    }

    /// How many there are, and the best in no order.
    pub(super) fn finish(self) -> (u64, Vec<Hit>) {
        let columns = self.columns;
        let hits = self.worst_first.into_iter().map(|(place, at)| Hit {
            place,
            facts: columns[at.segment_ord as usize].facts(at.doc_id),
            source: Source::Committed(at),
        });
        (self.total, hits.collect())
    }
}

/// Whether a package is called so.
fn exists(view: &View, whole: &str) -> tantivy::Result<bool> {
    if view.overlay.pages().any(|page| page.card.whole == whole) {
        return Ok(true);
    }
    for (_, segment, lexicon) in view.committed.segments() {
        let mut docs = lexicon.of(whole).peekable();
        if docs.peek().is_some() {
            let columns = Columns::open(segment)?;
            if docs.any(|doc| is_current(view, segment, &columns, doc)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a word stands in some package as it was typed.
fn knows(fields: &Fields, view: &View, term: &rank::Term) -> tantivy::Result<bool> {
    if view.overlay.knows(term) {
        return Ok(true);
    }
    for (_, segment, _) in view.committed.segments() {
        let columns = Columns::open(segment)?;
        let mut found = Fitting::word(fields, segment, term)?;
        if found.any(|fit| is_current(view, segment, &columns, fit.doc)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a committed document is neither deleted nor replaced since.
pub(super) fn is_current(
    view: &View,
    segment: &SegmentReader,
    columns: &Columns,
    doc: DocId,
) -> bool {
    let alive = segment
        .alive_bitset()
        .is_none_or(|alive| alive.is_alive(doc));
    alive && (view.overlay.is_empty() || !view.overlay.hides(columns.key(doc)))
}

/// The columns that a document's place comes from.
pub(super) struct Columns {
    weight: Arc<dyn ColumnValues<u64>>,
    facts: [Arc<dyn ColumnValues<u64>>; 4],
    order: [Arc<dyn ColumnValues<u64>>; 3],
}

impl Columns {
    pub(super) fn open(segment: &SegmentReader) -> tantivy::Result<Self> {
        let column = |name: &str| {
            let column = segment.fast_fields().u64(name)?;
            Ok::<_, TantivyError>(column.first_or_default_col(0))
        };
        let [weight, downloads, published, copied, owner] = schema::FACTS;
        let [first, second, third] = schema::ORDER;
        Ok(Self {
            weight: column(weight)?,
            facts: [
                column(downloads)?,
                column(published)?,
                column(copied)?,
                column(owner)?,
            ],
            order: [column(first)?, column(second)?, column(third)?],
        })
    }

    fn factor(&self, doc: DocId) -> f32 {
        rank::factor(self.weight.get_val(doc))
    }

    pub(super) fn downloads(&self, doc: DocId) -> u64 {
        self.facts[0].get_val(doc)
    }

    fn facts(&self, doc: DocId) -> Facts {
        let [downloads, published, copied, owner] = &self.facts;
        Facts {
            weight: self.weight.get_val(doc),
            downloads: downloads.get_val(doc),
            published: published.get_val(doc),
            copied: copied.get_val(doc),
            owner: owner.get_val(doc),
        }
    }

    fn key(&self, doc: DocId) -> u64 {
        self.order[2].get_val(doc)
    }

    fn order(&self, doc: DocId) -> Order {
        let name = [self.order[0].get_val(doc), self.order[1].get_val(doc)];
        let key = self.key(doc);
        Order { name, key }
    }
}
