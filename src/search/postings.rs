//! Walks through the documents of one segment that fit a query, one by one in their order.

use tantivy::postings::SegmentPostings;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, InvertedIndexReader, SegmentReader, TERMINATED, Term};

use super::lexicon::{Committed, Lexicon};
use super::rank::{self, Plan, Stage};
use super::schema::Fields;
use super::words;

/// A plan at a stage, with the words that are near those where typos are forgiven.
pub(crate) struct Wording<'a> {
    plan: &'a Plan,
    stage: Stage,
    near: Vec<Vec<(String, u8)>>,
}

impl<'a> Wording<'a> {
    pub(crate) fn new(committed: &Committed, plan: &'a Plan, stage: Stage) -> Self {
        let near = plan
            .terms
            .iter()
            .map(|term| match term.typos.min(stage.typos()) {
                0 => Vec::new(),
                typos => committed.words_near(&term.text, typos),
            });
        let near = near.collect();
        Self { plan, stage, near }
    }
}

/// A document that fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fit {
    pub(crate) doc: DocId,
    /// How well its words fit.
    pub(crate) text: f32,
    /// How many typos its name is away from the whole query, if that counts.
    pub(crate) typos: Option<u8>,
}

/// What the next document is taken from.
enum Lead {
    Nothing,
    /// Every document from one to another.
    All(DocId, DocId),
    Filter(usize),
    Group(usize),
    AnyGroup,
}

/// The documents of one segment that fit.
pub(crate) struct Fitting {
    /// For each word what has it.
    groups: Vec<Group>,
    /// Whether every word must be there.
    every: bool,
    /// All of these must have the document.
    filters: Vec<Docs>,
    /// Documents that fit by their names, in order.
    named: std::iter::Peekable<std::vec::IntoIter<(DocId, u8)>>,
    lead: Lead,
}

impl Fitting {
    /// What fits a query.
    pub(crate) fn of(
        fields: &Fields,
        segment: &SegmentReader,
        lexicon: &Lexicon,
        wording: &Wording<'_>,
    ) -> tantivy::Result<Self> {
        let plan = wording.plan;
        let mut groups = Vec::with_capacity(plan.terms.len());
        for (term, near) in plan.terms.iter().zip(&wording.near) {
            groups.push(Group::of(fields, segment, term, near, wording.stage)?);
        }
        let mut filters = Vec::new();
        for (field, labels) in plan.filters.labels(fields) {
            for label in labels {
                let docs = postings(segment, field, label)?;
                filters.push(docs.unwrap_or(Docs::Listed(Vec::new(), 0)));
            }
        }
        let mut named = match plan.near_at(wording.stage) {
            _ if plan.whole.is_empty() => Vec::new(),
            0 => lexicon.of(&plan.whole).map(|doc| (doc, 0)).collect(),
            typos => lexicon.near(&plan.whole, typos),
        };
        named.sort_unstable();
        let every = wording.stage != Stage::AnyWord;
        let mut fitting = Self::new(groups, every, named);
        fitting.filters = filters;
        let filter = fitting.filters.iter().enumerate();
        let filter = filter.min_by_key(|(_, docs)| docs.size());
        if plan.everything {
            fitting.lead = match filter {
                Some((at, _)) => Lead::Filter(at),
                None => Lead::All(0, segment.max_doc()),
            };
        }
        Ok(fitting)
    }

    /// What has a word as it was typed.
    pub(crate) fn word(
        fields: &Fields,
        segment: &SegmentReader,
        term: &rank::Term,
    ) -> tantivy::Result<Self> {
        let group = Group::of(fields, segment, term, &[], Stage::Strict)?;
        Ok(Self::new(vec![group], false, Vec::new()))
    }

    /// What has any of these words.
    pub(crate) fn any(
        segment: &SegmentReader,
        words: &[(Field, &str, f32)],
    ) -> tantivy::Result<Self> {
        let mut docs = Vec::new();
        for (field, word, weight) in words {
            docs.extend(postings(segment, *field, word)?.map(|docs| (docs, *weight)));
        }
        Ok(Self::new(vec![Group(docs)], false, Vec::new()))
    }

    fn new(groups: Vec<Group>, every: bool, named: Vec<(DocId, u8)>) -> Self {
        let least = groups
            .iter()
            .enumerate()
            .min_by_key(|(_, group)| group.size());
        let lead = match least {
            Some((at, group)) if every && group.size() > 0 => Lead::Group(at),
            Some(_) if !every => Lead::AnyGroup,
            _ => Lead::Nothing,
        };
        Self {
            groups,
            every,
            filters: Vec::new(),
            named: named.into_iter().peekable(),
            lead,
        }
    }

    fn candidate(&mut self) -> DocId {
        let worded = match &self.lead {
            Lead::Nothing => TERMINATED,
            Lead::All(next, end) if next < end => *next,
            Lead::All(..) => TERMINATED,
            Lead::Filter(at) => self.filters[*at].doc(),
            Lead::Group(at) => self.groups[*at].doc(),
            Lead::AnyGroup => self
                .groups
                .iter()
                .map(Group::doc)
                .min()
                .unwrap_or(TERMINATED),
        };
        self.named
            .peek()
            .map_or(worded, |(doc, _)| worded.min(*doc))
    }

    fn pass(&mut self, doc: DocId) {
        match &mut self.lead {
            Lead::Nothing => {}
            Lead::All(next, _) => *next = doc + 1,
            Lead::Filter(at) => drop(self.filters[*at].seek(doc + 1)),
            Lead::Group(at) => self.groups[*at].pass(doc),
            Lead::AnyGroup => self.groups.iter_mut().for_each(|group| group.pass(doc)),
        }
    }

    fn fit(&mut self, doc: DocId) -> Option<Fit> {
        let typos = self.named.next_if(|(named, _)| *named == doc);
        let typos = typos.map(|(_, typos)| typos);
        if self
            .filters
            .iter_mut()
            .any(|filter| filter.seek(doc) != doc)
        {
            return None;
        }
        let (mut text, mut missing) = (0.0, false);
        for group in &mut self.groups {
            let score = group.score(doc);
            missing |= score == 0.0;
            text += score;
        }
        let fits = text > 0.0 && !(missing && self.every);
        let all = matches!(self.lead, Lead::All(..) | Lead::Filter(_));
        let text = if fits { text } else { 0.0 };
        (fits || all || typos.is_some()).then_some(Fit { doc, text, typos })
    }
}

impl Iterator for Fitting {
    type Item = Fit;

    fn next(&mut self) -> Option<Fit> {
        loop {
            let doc = self.candidate();
            if doc == TERMINATED {
                return None;
            }
            let fit = self.fit(doc);
            self.pass(doc);
            if fit.is_some() {
                return fit;
            }
        }
    }
}

/// What has a word, and what each place of the word counts.
struct Group(Vec<(Docs, f32)>);

impl Group {
    fn of(
        fields: &Fields,
        segment: &SegmentReader,
        term: &rank::Term,
        near: &[(String, u8)],
        stage: Stage,
    ) -> tantivy::Result<Self> {
        let mut all = Vec::new();
        for (field, weight) in [
            (fields.name, term.name_weight()),
            (fields.keywords, rank::KEYWORD),
            (fields.description, rank::DESCRIPTION),
        ] {
            all.extend(postings(segment, field, &term.text)?.map(|docs| (docs, weight)));
        }
        if term.prefix {
            let docs = beginnings(fields, segment, &term.text)?;
            all.extend(docs.map(|docs| (docs, rank::NAME_PREFIX)));
        }
        let forgiven = term.typos.min(stage.typos());
        for (typos, weight) in [(1, rank::NAME_TYPO), (2, rank::NAME_TYPOS)] {
            if typos <= forgiven {
                let near = near.iter().filter(|(_, own)| *own <= typos);
                let docs = any_of(segment, fields.name, near.map(|(word, _)| word.as_str()))?;
                all.push((docs, weight));
            }
        }
        Ok(Self(all))
    }

    fn size(&self) -> usize {
        self.0.iter().map(|(docs, _)| docs.size()).sum()
    }

    fn doc(&self) -> DocId {
        let docs = self.0.iter().map(|(docs, _)| docs.doc());
        docs.min().unwrap_or(TERMINATED)
    }

    fn pass(&mut self, doc: DocId) {
        for (docs, _) in &mut self.0 {
            docs.seek(doc + 1);
        }
    }

    fn score(&mut self, doc: DocId) -> f32 {
        let mut score = 0.0;
        for (docs, weight) in &mut self.0 {
            if docs.seek(doc) == doc {
                score += *weight;
            }
        }
        score
    }
}

/// Documents in order.
enum Docs {
    Packed(Box<SegmentPostings>),
    Listed(Vec<DocId>, usize),
}

impl Docs {
    fn doc(&self) -> DocId {
        match self {
            Self::Packed(postings) => postings.doc(),
            Self::Listed(docs, at) => docs.get(*at).copied().unwrap_or(TERMINATED),
        }
    }

    /// Goes to the first document from this one on, never back.
    fn seek(&mut self, doc: DocId) -> DocId {
        match self {
            Self::Packed(postings) if postings.doc() < doc => postings.seek(doc),
            Self::Packed(postings) => postings.doc(),
            Self::Listed(docs, at) => {
                while docs.get(*at).is_some_and(|own| *own < doc) {
                    *at += 1;
                }
                self.doc()
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Packed(postings) => postings.size_hint() as usize,
            Self::Listed(docs, _) => docs.len(),
        }
    }
}

fn postings(segment: &SegmentReader, field: Field, word: &str) -> tantivy::Result<Option<Docs>> {
    let term = Term::from_field_text(field, word);
    let inverted = segment.inverted_index(field)?;
    let postings = inverted.read_postings(&term, IndexRecordOption::Basic)?;
    Ok(postings.map(|postings| Docs::Packed(Box::new(postings))))
}

/// The names with a word that begins like this. Short beginnings are indexed like words: thousands of words may
/// begin alike, and each would have to be looked up.
fn beginnings(
    fields: &Fields,
    segment: &SegmentReader,
    text: &str,
) -> tantivy::Result<Option<Docs>> {
    if text.chars().count() <= words::BEGINNING_CHARS_MAX {
        return postings(segment, fields.beginnings, text);
    }
    let inverted = segment.inverted_index(fields.name)?;
    let mut terms = inverted.terms().range().ge(text).into_stream()?;
    let mut all = Vec::new();
    while terms.advance() && terms.key().starts_with(text.as_bytes()) {
        list(&inverted, terms.value(), &mut all)?;
    }
    Ok(Some(listed(all)))
}

/// The documents that have any of these words.
fn any_of<'a>(
    segment: &SegmentReader,
    field: Field,
    words: impl Iterator<Item = &'a str>,
) -> tantivy::Result<Docs> {
    let inverted = segment.inverted_index(field)?;
    let mut all = Vec::new();
    for word in words {
        let term = Term::from_field_text(field, word);
        if let Some(info) = inverted.get_term_info(&term)? {
            list(&inverted, &info, &mut all)?;
        }
    }
    Ok(listed(all))
}

fn list(
    inverted: &InvertedIndexReader,
    info: &tantivy::postings::TermInfo,
    all: &mut Vec<DocId>,
) -> tantivy::Result<()> {
    let mut docs = inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
    while docs.doc() != TERMINATED {
        all.push(docs.doc());
        docs.advance();
    }
    Ok(())
}

fn listed(mut all: Vec<DocId>) -> Docs {
    all.sort_unstable();
    all.dedup();
    Docs::Listed(all, 0)
}
