//! Suggests names for what was typed so far: names that begin so, then names that begin one typo away.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet, SegmentReader, TERMINATED, TantivyError};

use super::query::{self, Columns, Hit, View};
#[cfg(feature = "testing")]
use super::rank::Card;
use super::rank::Order;
use super::schema::{Fields, Page};
use super::{SearchError, SearchQuery, words};

/// Letters from which a typo is forgiven.
const TYPO_BYTES_MIN: usize = 4;

/// What was typed, as names are compared with it.
#[derive(Debug)]
pub(crate) struct Typed {
    whole: String,
    limit: usize,
}

impl Typed {
    /// Nothing if there is nothing to suggest.
    pub(crate) fn new(prefix: &str, limit: usize) -> Option<Self> {
        let whole = words::whole(prefix);
        let limit = limit.min(SearchQuery::SUGGESTIONS_MAX);
        (!whole.is_empty() && limit > 0).then_some(Self { whole, limit })
    }

    fn forgives(&self) -> bool {
        self.whole.len() >= TYPO_BYTES_MIN
    }
}

/// Whether a text begins with `prefix` after exactly one letter of that was replaced, left out, added or swapped
/// with its neighbour. Letters are bytes: names have no others.
fn begins_with_typo(text: &[u8], prefix: &[u8]) -> bool {
    let same = text.iter().zip(prefix).take_while(|(a, b)| a == b).count();
    let (text, prefix) = (&text[same..], &prefix[same..]);
    let [wrong, wanted @ ..] = prefix else {
        return false;
    };
    let replaced = || text.get(1..).is_some_and(|rest| rest.starts_with(wanted));
    let added = || text.get(1..).is_some_and(|rest| rest.starts_with(prefix));
    let swapped = || match (text, wanted) {
        ([first, second, rest @ ..], [next, after @ ..]) => {
            first == next && second == wrong && rest.starts_with(after)
        }
        _ => false,
    };
    text.starts_with(wanted) || replaced() || added() || swapped()
}

/// One name of possibly several owners: its letters, and its spelling's place.
type Name = (String, [u64; 2]);

/// The first names that fit, in the order of their letters; of several packages with one name the one whose key
/// has the smallest hash.
#[derive(Debug)]
pub(crate) struct First<T> {
    limit: usize,
    names: BTreeMap<Name, (u64, T)>,
}

impl<T> First<T> {
    fn new(limit: usize) -> Self {
        let names = BTreeMap::new();
        Self { limit, names }
    }

    fn offer(&mut self, whole: &str, order: Order, package: T) {
        match self.names.entry((whole.to_owned(), order.name)) {
            Entry::Occupied(mut known) if known.get().0 > order.key => {
                known.insert((order.key, package));
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(new) => drop(new.insert((order.key, package))),
        }
        if self.names.len() > self.limit {
            self.names.pop_last();
        }
    }

    fn merge(&mut self, other: Self) {
        for ((whole, name), (key, package)) in other.names {
            self.offer(&whole, Order { name, key }, package);
        }
    }
}

/// The packages whose names are suggested, out of all cards: what any index must come to.
#[cfg(feature = "testing")]
pub(crate) fn among<'a, T: Copy + 'a>(
    typed: &Typed,
    cards: impl Iterator<Item = (&'a Card, T)> + Clone,
) -> Vec<T> {
    let mut first = First::new(typed.limit);
    for (card, package) in cards.clone() {
        if card.whole.starts_with(&typed.whole) {
            first.offer(&card.whole, card.order, package);
        }
    }
    let mut near = First::new(typed.limit - first.names.len());
    if typed.forgives() && near.limit > 0 {
        for (card, package) in cards {
            if begins_with_typo(card.whole.as_bytes(), typed.whole.as_bytes()) {
                near.offer(&card.whole, card.order, package);
            }
        }
    }
    let names = first.names.into_values().chain(near.names.into_values());
    names.map(|(_, package)| package).collect()
}

/// The names to suggest out of an index.
pub(crate) fn names(
    fields: &Fields,
    view: &View,
    typed: &Typed,
) -> Result<Vec<String>, SearchError> {
    let failed = |error: TantivyError| SearchError::QueryFailed(error.to_string());
    let first = fitting(fields, view, typed, false, typed.limit).map_err(failed)?;
    let left = typed.limit - first.names.len();
    let near = if typed.forgives() && left > 0 {
        fitting(fields, view, typed, true, left).map_err(failed)?
    } else {
        First::new(0)
    };
    let hits = first.names.into_values().chain(near.names.into_values());
    hits.map(|(_, hit)| Ok(query::package(fields, view, &hit)?.id.name))
        .collect()
}

fn fitting(
    fields: &Fields,
    view: &View,
    typed: &Typed,
    typo: bool,
    limit: usize,
) -> tantivy::Result<First<Hit>> {
    let mut first = First::new(limit);
    for (at, segment) in view.searcher.segment_readers().iter().enumerate() {
        let found = in_segment(fields, view, segment, at as u32, typed, typo, limit)?;
        first.merge(found);
    }
    let fits = |page: &&Arc<Page>| {
        let whole = page.card.whole.as_str();
        if typo {
            begins_with_typo(whole.as_bytes(), typed.whole.as_bytes())
        } else {
            whole.starts_with(&typed.whole)
        }
    };
    for page in view.overlay.pages().filter(fits) {
        let hit = Hit::Pending(page.clone());
        first.offer(&page.card.whole, page.card.order, hit);
    }
    Ok(first)
}

/// Reads the names of a segment in the order of their letters, from where they may fit on.
fn in_segment(
    fields: &Fields,
    view: &View,
    segment: &SegmentReader,
    at: u32,
    typed: &Typed,
    typo: bool,
    limit: usize,
) -> tantivy::Result<First<Hit>> {
    let columns = Columns::open(segment)?;
    let inverted = segment.inverted_index(fields.whole)?;
    let wanted = typed.whole.as_bytes();
    let range = inverted.terms().range();
    // Names that begin so stand together; those one typo away stand anywhere.
    let mut terms = if typo { range } else { range.ge(wanted) }.into_stream()?;
    let mut first = First::new(limit);
    while terms.advance() {
        let whole = terms.key();
        if !typo && (first.names.len() >= limit || !whole.starts_with(wanted)) {
            break;
        }
        if typo && !begins_with_typo(whole, wanted) {
            continue;
        }
        let text = String::from_utf8_lossy(whole);
        let info = terms.value();
        let mut docs = inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        while docs.doc() != TERMINATED {
            let doc = docs.doc();
            if query::is_current(view, segment, &columns, doc) {
                let hit = Hit::Committed(DocAddress::new(at, doc));
                first.offer(&text, columns.order(doc), hit);
            }
            docs.advance();
        }
        if typo && first.names.len() >= limit {
            break;
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_may_have_one_typo() {
        let begins =
            |text: &str, prefix: &str| begins_with_typo(text.as_bytes(), prefix.as_bytes());
        for typed in ["serd", "srede", "sede", "seerde", "sarde", "xerde", "serdx"] {
            assert!(
                begins("serdejson", typed) != "serdejson".starts_with(typed),
                "{typed}"
            );
        }
        for typed in ["srdee", "xxrde", "serdexx", "esrdx", "json"] {
            assert!(!begins("serdejson", typed), "{typed}");
        }
        assert!(begins("ser", "serd"), "the last letter may be too much");
        assert!(!begins("se", "serd"));
        assert!(!begins("", "ab") && begins("", "a"));
    }
}
