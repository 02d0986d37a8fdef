//! Sets of versions of one package, by their places in its listing.

use std::cell::Cell;
use std::fmt;

use pubgrub::VersionSet;

/// Places in a listing, a bit for each. Sets of scattered versions cost no more than runs of them, which keeps
/// searches through hundreds of versions short.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Set {
    /// Bits of the first places. The last word is never the one that `rest` stands for, so that two sets of the same
    /// places are equal.
    words: Vec<u64>,
    /// Whether all further places are in it.
    rest: bool,
}

const BITS: u32 = u64::BITS;

thread_local! {
    static WORK: Cell<u64> = const { Cell::new(0) };
}

/// How often sets were compared or joined in this thread: the work of a search, the same on every machine. What
/// follows from one decision may be a thousand comparisons or ten, so decisions are no measure.
pub(super) fn work() -> u64 {
    WORK.get()
}

impl Set {
    /// These places.
    pub(super) fn of(places: impl Iterator<Item = u32>) -> Self {
        let mut words = Vec::new();
        for place in places {
            let word = (place / BITS) as usize;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (place % BITS);
        }
        Self { words, rest: false }.trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.words.last() == Some(&fill(self.rest)) {
            self.words.pop();
        }
        self
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(fill(self.rest))
    }

    fn joined(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        WORK.set(WORK.get().wrapping_add(1));
        let count = self.words.len().max(other.words.len());
        let words = (0..count).map(|at| join(self.word(at), other.word(at)));
        let words = words.collect();
        let rest = join(fill(self.rest), fill(other.rest)) != 0;
        Self { words, rest }.trimmed()
    }

    /// Whether `join` leaves nothing.
    fn is_none(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> bool {
        WORK.set(WORK.get().wrapping_add(1));
        let count = self.words.len().max(other.words.len());
        // The word after the last stands for all others.
        (0..=count).all(|at| join(self.word(at), other.word(at)) == 0)
    }

    /// Its places below `end`, ascending.
    pub(super) fn places(&self, end: u32) -> impl DoubleEndedIterator<Item = u32> {
        let known = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        let end = match self.rest {
            true => end,
            false => end.min(known.saturating_mul(BITS)),
        };
        (0..end).filter(|place| self.contains(place))
    }

    /// How many places below `end` it has.
    pub(super) fn count(&self, end: u32) -> u32 {
        self.places(end).map(|_| 1).sum()
    }

    /// Its highest place below `end`.
    pub(super) fn last(&self, end: u32) -> Option<u32> {
        self.places(end).next_back()
    }
}

fn fill(rest: bool) -> u64 {
    if rest { u64::MAX } else { 0 }
}

impl VersionSet for Set {
    type V = u32;

    fn empty() -> Self {
        Self {
            words: Vec::new(),
            rest: false,
        }
    }

    fn full() -> Self {
        Self {
            words: Vec::new(),
            rest: true,
        }
    }

    fn singleton(place: u32) -> Self {
        Self::of(std::iter::once(place))
    }

    fn complement(&self) -> Self {
        Self {
            words: self.words.iter().map(|word| !word).collect(),
            rest: !self.rest,
        }
    }

    fn intersection(&self, other: &Self) -> Self {
        self.joined(other, |one, other| one & other)
    }

    fn contains(&self, place: &u32) -> bool {
        self.word((place / BITS) as usize) >> (place % BITS) & 1 == 1
    }

    fn union(&self, other: &Self) -> Self {
        self.joined(other, |one, other| one | other)
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        self.is_none(other, |one, other| one & other)
    }

    fn subset_of(&self, other: &Self) -> bool {
        self.is_none(other, |one, other| one & !other)
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        let places: Vec<_> = self.places(known.saturating_mul(BITS)).collect();
        let more = if self.rest { " and all higher" } else { "" };
        write!(f, "{places:?}{more}")
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_the_same_places_are_equal_however_they_were_made() {
        let three = Set::of([1, 2, 3].into_iter());
        let single = |place| Set::singleton(place);
        assert_eq!(single(1).union(&single(2)).union(&single(3)), three);
        assert_eq!(three.complement().complement(), three);
        assert_eq!(three.count(3), 2);
        assert_eq!(three.last(9), Some(3));
        assert_eq!(
            Set::of([0, 2, 5].into_iter()).places(5).collect::<Vec<_>>(),
            [0, 2]
        );
        assert_eq!(Set::full().last(4), Some(3));
        assert_eq!(Set::empty().last(4), None);
    }
}
