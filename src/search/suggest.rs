//! Suggests names for what was typed so far: names that begin so, then names that begin one typo away.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

use super::lexicon::Lexicon;
use super::query::{self, Columns, View};
use super::rank::{self, Card};
use super::typos::Typed;
use super::{SearchError, SearchQuery, words};

/// Letters from which a typo is forgiven.
const TYPO_CHARS_MIN: usize = 4;
/// Names of one segment that are looked at: some may be gone, others have many owners.
const LOOKED_AT_MAX: usize = 4_000;

/// What was typed, as names are compared with it.
#[derive(Debug)]
pub(crate) struct Begun {
    whole: String,
    limit: usize,
}

impl Begun {
    /// Nothing if there is nothing to suggest.
    pub(crate) fn new(prefix: &str, limit: usize) -> Option<Self> {
        let whole = words::whole(prefix);
        let limit = limit.min(SearchQuery::SUGGESTIONS_MAX);
        (!whole.is_empty() && limit > 0).then_some(Self { whole, limit })
    }

    fn forgives(&self) -> bool {
        self.whole.chars().count() >= TYPO_CHARS_MIN
    }
}

/// Names that fit as well as each other: the best known first, then the shortest, each once.
#[derive(Debug)]
struct Names {
    limit: usize,
    /// Downloads, length, the whole of the name, its spelling.
    names: BTreeSet<(Reverse<u64>, usize, String, String)>,
}

impl Names {
    fn new(limit: usize) -> Self {
        let names = BTreeSet::new();
        Self { limit, names }
    }

    fn offer(&mut self, downloads: u64, spelled: &str) {
        let whole = words::whole(spelled);
        let name = (Reverse(downloads), whole.len(), whole, spelled.to_owned());
        self.names.insert(name);
    }

    /// Whether a name that was spelled so is new among those of this round.
    fn finish(self) -> Vec<String> {
        let mut known = BTreeSet::new();
        let names = self.names.into_iter().map(|(.., spelled)| spelled);
        let names = names.filter(|spelled| known.insert(rank::key("", spelled)));
        names.take(self.limit).collect()
    }
}

/// The names to suggest, out of all cards: what any index must come to.
#[cfg(feature = "testing")]
pub(crate) fn among<'a>(
    begun: &Begun,
    cards: impl Iterator<Item = &'a Card> + Clone,
) -> Vec<String> {
    let of = |fits: &mut dyn FnMut(&Card) -> bool, limit: usize| {
        let mut names = Names::new(limit);
        for card in cards.clone().filter(|card| fits(card)) {
            names.offer(card.facts.downloads, &card.spelled);
        }
        names.finish()
    };
    let begins = |card: &Card| card.whole.starts_with(&begun.whole);
    let mut names = of(&mut |card| begins(card), begun.limit);
    if begun.forgives() {
        let mut near = Typed::new(&begun.whole, 1, true);
        let left = begun.limit - names.len();
        names.extend(of(
            &mut |card| !begins(card) && near.to(&card.whole).is_some(),
            left,
        ));
    }
    names
}

/// The names to suggest out of an index.
pub(crate) fn names(view: &View, begun: &Begun) -> Result<Vec<String>, SearchError> {
    let begins = |lexicon: &Lexicon| vec![lexicon.beginning(begun.whole.as_bytes())];
    let pending = |card: &Card| card.whole.starts_with(&begun.whole);
    let mut names = fitting(view, begun.limit, begins, |card| pending(card))?;
    let left = begun.limit - names.len();
    if begun.forgives() && left > 0 {
        let near = |lexicon: &Lexicon| {
            let begins = lexicon.beginning(begun.whole.as_bytes());
            let near = lexicon.beginning_near(&begun.whole).into_iter();
            near.flat_map(|near| without(near, &begins)).collect()
        };
        let mut typed = Typed::new(&begun.whole, 1, true);
        let pending = |card: &Card| !pending(card) && typed.to(&card.whole).is_some();
        names.extend(fitting(view, left, near, pending)?);
    }
    Ok(names)
}

/// What is left of a range without another.
fn without(range: Range<usize>, other: &Range<usize>) -> [Range<usize>; 2] {
    let before = range.start..range.end.min(other.start.max(range.start));
    let after = range.start.max(other.end.min(range.end))..range.end;
    if other.is_empty() {
        [range, 0..0]
    } else {
        [before, after]
    }
}

fn fitting(
    view: &View,
    limit: usize,
    ranges: impl Fn(&Lexicon) -> Vec<Range<usize>>,
    mut pending: impl FnMut(&Card) -> bool,
) -> Result<Vec<String>, SearchError> {
    let mut names = Names::new(limit);
    for (_, segment, lexicon) in view.committed.segments() {
        let columns = Columns::open(segment).map_err(query::failed)?;
        let mut different = BTreeSet::new();
        for (doc, spelled) in lexicon.best_first(ranges(lexicon)).take(LOOKED_AT_MAX) {
            if query::is_current(view, segment, &columns, doc) {
                names.offer(columns.downloads(doc), spelled);
                different.insert(rank::key("", spelled));
            }
            if different.len() >= limit {
                break;
            }
        }
    }
    for page in view.overlay.pages().filter(|page| pending(&page.card)) {
        names.offer(page.card.facts.downloads, &page.card.spelled);
    }
    Ok(names.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_another_has_two_parts() {
        for range in [0..0, 0..9, 2..5, 4..4] {
            for other in [0..0, 0..3, 3..4, 4..12, 1..7, 9..11] {
                let parts = without(range.clone(), &other).into_iter().flatten();
                let left = range.clone().filter(|at| !other.contains(at));
                assert_eq!(
                    parts.collect::<Vec<_>>(),
                    left.collect::<Vec<_>>(),
                    "{range:?} {other:?}"
                );
            }
        }
    }
}
