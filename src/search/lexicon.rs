//! The names of what is committed, in memory: found by their beginnings and with typos, the best known first.
//!
//! One lexicon for each segment of the index, made once when the segment appears: segments never change. It keeps
//! names that were deleted since; whoever asks leaves them out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fst::{IntoStreamer, MapBuilder, SetBuilder, Streamer};
use tantivy::index::SegmentId;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, Searcher, SegmentReader, TERMINATED, TantivyError};

use super::query::Columns;
use super::schema::Fields;
use super::typos::Typed;

/// Between the whole of a name and its spelling, in the terms that lexicons are read from.
pub(crate) const SPELLED: char = '\0';
/// Words near one word that are looked up.
const NEAR_MAX: usize = 512;

/// What is committed: the index's segments, each with its lexicon.
#[derive(Clone)]
pub(crate) struct Committed {
    pub(crate) searcher: Searcher,
    lexicons: Arc<[(SegmentId, Arc<Lexicon>)]>,
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed")
            .field("segments", &self.lexicons.len())
            .finish_non_exhaustive()
    }
}

impl Committed {
    /// Reads the lexicons of segments that `before` has not.
    pub(crate) fn read(
        fields: &Fields,
        searcher: Searcher,
        before: Option<&Self>,
    ) -> tantivy::Result<Self> {
        let known = before.map_or(&[][..], |before| &before.lexicons);
        let lexicon = |segment: &SegmentReader| {
            let id = segment.segment_id();
            let known = known.iter().find(|(own, _)| *own == id);
            let lexicon = match known {
                Some((_, lexicon)) => lexicon.clone(),
                None => Arc::new(Lexicon::read(fields, segment)?),
            };
            Ok((id, lexicon))
        };
        let lexicons = searcher.segment_readers().iter().map(lexicon);
        let lexicons: tantivy::Result<Vec<_>> = lexicons.collect();
        Ok(Self {
            lexicons: lexicons?.into(),
            searcher,
        })
    }

    /// The segments with their numbers and lexicons.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u32, &SegmentReader, &Lexicon)> {
        let readers = self.searcher.segment_readers().iter();
        let both = readers.zip(self.lexicons.iter()).enumerate();
        both.map(|(at, (reader, (_, lexicon)))| (at as u32, reader, &**lexicon))
    }

    /// Words of names that are at most `max` typos away from `typed`, in the order of their letters.
    pub(crate) fn words_near(&self, typed: &str, max: u8) -> Vec<(String, u8)> {
        let mut found = Vec::new();
        for (_, _, lexicon) in self.segments() {
            let mut near = Typed::new(typed, max, false);
            near.among(lexicon.words.as_fst(), &mut |word, typos| {
                if let (true, Ok(word)) = (found.len() < NEAR_MAX, str::from_utf8(word)) {
                    found.push((word.to_owned(), typos));
                }
            });
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The names of one segment.
pub(crate) struct Lexicon {
    /// Each whole name, and the number of its first entry.
    wholes: fst::Map<Vec<u8>>,
    /// The words of all names.
    words: fst::Set<Vec<u8>>,
    /// In the order of their wholes, then of their spellings.
    entries: Vec<Entry>,
    spellings: String,
    /// The numbers of all entries, best first.
    by_rank: Vec<u32>,
    /// A tree of least ranks: the leaves are the ranks of the entries.
    tree: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    doc: u32,
    /// Where its spelling begins and ends.
    spelling: (u32, u32),
}

impl Lexicon {
    fn read(fields: &Fields, segment: &SegmentReader) -> tantivy::Result<Self> {
        let failed = |error: fst::Error| TantivyError::InternalError(error.to_string());
        let columns = Columns::open(segment)?;
        let inverted = segment.inverted_index(fields.names)?;
        let mut terms = inverted.terms().stream()?;
        let mut wholes = MapBuilder::memory();
        let mut last: Option<Vec<u8>> = None;
        let mut entries = Vec::new();
        let mut spellings = String::new();
        let mut ranks = Vec::new();
        while terms.advance() {
            let key = terms.key();
            let end = key.iter().position(|byte| *byte == SPELLED as u8);
            let (whole, spelling) = key.split_at(end.unwrap_or(key.len()));
            if last.as_deref() != Some(whole) {
                wholes.insert(whole, entries.len() as u64).map_err(failed)?;
                last = Some(whole.to_vec());
            }
            let begin = spellings.len() as u32;
            spellings.push_str(&String::from_utf8_lossy(
                spelling.get(1..).unwrap_or_default(),
            ));
            let spelling = (begin, spellings.len() as u32);
            let info = terms.value();
            let mut docs = inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            while docs.doc() != TERMINATED {
                let doc = docs.doc();
                ranks.push((Reverse(columns.downloads(doc)), whole.len(), entries.len()));
                entries.push(Entry { doc, spelling });
                docs.advance();
            }
        }
        ranks.sort_unstable();
        let by_rank: Vec<u32> = ranks.into_iter().map(|(_, _, at)| at as u32).collect();
        let mut tree = vec![u32::MAX; 2 * entries.len()];
        for (rank, at) in by_rank.iter().enumerate() {
            tree[entries.len() + *at as usize] = rank as u32;
        }
        for at in (1..entries.len()).rev() {
            tree[at] = tree[2 * at].min(tree[2 * at + 1]);
        }
        let mut words = SetBuilder::memory();
        let inverted = segment.inverted_index(fields.name)?;
        let mut terms = inverted.terms().stream()?;
        while terms.advance() {
            words.insert(terms.key()).map_err(failed)?;
        }
        Ok(Self {
            wholes: wholes.into_map(),
            words: words.into_set(),
            entries,
            spellings,
            by_rank,
            tree,
        })
    }

    /// The documents with a name that is this when it is compared as a whole.
    pub(crate) fn of(&self, whole: &str) -> impl Iterator<Item = u32> {
        let range = match self.wholes.get(whole) {
            Some(begin) => begin as usize..self.after(&[whole.as_bytes(), b"\0"].concat()),
            None => 0..0,
        };
        self.entries[range].iter().map(|entry| entry.doc)
    }

    /// The numbers of the entries with a name at most `max` typos away, and how many those are.
    pub(crate) fn entries_near(&self, whole: &str, max: u8) -> Vec<(usize, u8)> {
        let mut found = Vec::new();
        let mut names = 0;
        Typed::new(whole, max, false).among(self.wholes.as_fst(), &mut |near, typos| {
            if let (true, Some(begin)) = (names < NEAR_MAX, self.wholes.get(near)) {
                let end = self.after(&[near, b"\0"].concat());
                found.extend((begin as usize..end).map(|at| (at, typos)));
                names += 1;
            }
        });
        found
    }

    /// The documents with a name at most `max` typos away, and how many those are.
    pub(crate) fn near(&self, whole: &str, max: u8) -> Vec<(u32, u8)> {
        let entries = self.entries_near(whole, max).into_iter();
        entries
            .map(|(at, typos)| (self.entries[at].doc, typos))
            .collect()
    }

    /// The document and the spelling of an entry.
    pub(crate) fn entry(&self, at: usize) -> (u32, &str) {
        let Entry {
            doc,
            spelling: (begin, end),
        } = self.entries[at];
        (doc, &self.spellings[begin as usize..end as usize])
    }

    /// The numbers of the entries whose names begin so.
    pub(crate) fn beginning(&self, whole: &[u8]) -> Range<usize> {
        let begin = self.after(whole);
        let mut end = whole.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        match end.last_mut() {
            Some(last) => *last += 1,
            None => return begin..self.entries.len(),
        }
        begin..self.after(&end)
    }

    /// The numbers of the entries whose names begin with something one typo away, in ranges.
    pub(crate) fn beginning_near(&self, whole: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        Typed::new(whole, 1, true).among(self.wholes.as_fst(), &mut |beginning, _| {
            found.push(self.beginning(beginning));
        });
        found
    }

    /// The number of the first entry that does not come before this whole name.
    fn after(&self, whole: &[u8]) -> usize {
        let mut stream = self.wholes.range().ge(whole).into_stream();
        stream
            .next()
            .map_or(self.entries.len(), |(_, at)| at as usize)
    }

    /// Documents and spellings of the entries in these ranges, the best known first.
    pub(crate) fn best_first(
        &self,
        ranges: impl IntoIterator<Item = Range<usize>>,
    ) -> impl Iterator<Item = (u32, &str)> {
        let mut heap = BinaryHeap::new();
        for range in ranges {
            heap.extend(self.best(range));
        }
        std::iter::from_fn(move || {
            let (Reverse(rank), range) = heap.pop().map(|Found { rank, range }| (rank, range))?;
            let at = self.by_rank[rank as usize] as usize;
            heap.extend(self.best(range.start..at));
            heap.extend(self.best(at + 1..range.end));
            Some(self.entry(at))
        })
    }

    /// The best rank in a range.
    fn best(&self, range: Range<usize>) -> Option<Found> {
        let mut least = u32::MAX;
        let (mut from, mut to) = (
            range.start + self.entries.len(),
            range.end + self.entries.len(),
        );
        while from < to {
            if from % 2 == 1 {
                least = least.min(self.tree[from]);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                least = least.min(self.tree[to]);
            }
            from /= 2;
            to /= 2;
        }
        (least < u32::MAX).then_some(Found {
            rank: Reverse(least),
            range,
        })
    }
}

/// A range of entries and the best rank in it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    rank: Reverse<u32>,
    range: Range<usize>,
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
